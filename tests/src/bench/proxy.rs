//! The proxies that are compared, as child processes on a core of their own.

use super::machine::on_proxy_core;
use serde_json::Value;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a proxy may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a model may take to load.
const LOADING: Duration = Duration::from_secs(120);

/// A running proxy; it is killed when dropped.
pub struct Proxy {
    child: Child,
    _folder: tempfile::TempDir,
    /// Where whole answers are asked for.
    pub whole: SocketAddr,
    /// Where streams are asked for.
    pub stream: SocketAddr,
    /// Sluice's admin listener.
    pub admin: Option<SocketAddr>,
    /// Sluice's key.
    pub key: Option<String>,
    /// Lines of the head that it wants besides (`name: value\r\n`).
    pub head: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// nginx, where it is installed.
pub fn nginx_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")];
    std::env::split_paths(&path).chain(sbin).map(|folder| folder.join("nginx")).find(|program| program.is_file())
}

// === impl Proxy ===

impl Proxy {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// nginx as one process that keeps connections to the upstream alive: buffered on one port for whole answers,
    /// unbuffered on another for streams. It logs nothing.
    pub fn nginx(program: &Path, upstream: SocketAddr, pinned: bool) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let root = folder.path().display();
        let (whole, stream) = (free_port()?, free_port()?);
        let server = |address: SocketAddr, buffering: &str| {
            format!(
                "server {{ listen {address}; location / {{ proxy_pass http://upstream; proxy_http_version 1.1; \
                 proxy_set_header Connection \"\"; proxy_buffering {buffering}; }} }}\n"
            )
        };
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\naccess_log off; keepalive_requests 100000000; client_body_buffer_size 64k;\n\
             client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;\n\
             uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n\
             upstream upstream {{ server {upstream}; keepalive 256; keepalive_requests 100000000; }}\n{}{}}}\n",
            server(whole, "on"),
            server(stream, "off"),
        );
        let path = folder.path().join("nginx.conf");
        fs::write(&path, config).map_err(|error| error.to_string())?;
        let errors = folder.path().join("error.log");
        let child = on_proxy_core(program, pinned)
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&path)
            .arg("-e")
            .arg(&errors)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file(&folder)?)
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut proxy = Self { child, _folder: folder, whole, stream, admin: None, key: None, head: String::new() };
        proxy.until(&errors, || [whole, stream].iter().all(|at| TcpStream::connect(at).is_ok()).then_some(()))?;
        Ok(proxy)
    }

    /// Sluice with a configuration; it logs each request to a file, as it does by default. With `key`, one is made with a
    /// budget of its own.
    pub fn sluice(binary: &Path, config: &str, key: bool, pinned: bool) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let config = format!("[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n{config}");
        fs::write(folder.path().join("sluice.toml"), config).map_err(|error| error.to_string())?;
        let key = if key { Some(create_key(binary, folder.path())?) } else { None };
        let child = on_proxy_core(binary, pinned)
            .arg("serve")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file(&folder)?)
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let log = folder.path().join("log");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut proxy =
            Self { child, _folder: folder, whole: nowhere, stream: nowhere, admin: None, key, head: String::new() };
        let (data, admin) = proxy.until(&log, || {
            let text = fs::read_to_string(&log).ok()?;
            Some((listening(&text, "data")?, listening(&text, "admin")?))
        })?;
        (proxy.whole, proxy.stream, proxy.admin) = (data, data, Some(admin));
        Ok(proxy)
    }

    /// Waits until its models have loaded.
    pub async fn ready(&self) -> Result<(), String> {
        let end = Instant::now() + LOADING;
        loop {
            let asked = client().get(format!("http://{}/readyz", self.whole)).send().await;
            if asked.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err("its model does not load (fetch it first: sluice models pull smollm2-135m)".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A chat request.
    pub fn chat(&self, body: &Value) -> reqwest::RequestBuilder {
        client()
            .post(format!("http://{}/v1/chat/completions", self.whole))
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    /// Attempts and tokens on the ledger.
    pub async fn ledger(&self) -> Option<Value> {
        self.admin_get("/api/spend?group_by=route").await.map(|spend| spend["total"].clone())
    }

    /// What the admin listener says.
    pub async fn admin_get(&self, path: &str) -> Option<Value> {
        let address = self.admin?;
        let text = client().get(format!("http://{address}{path}")).send().await.ok()?.text().await.ok()?;
        serde_json::from_str::<Value>(&text).ok()
    }

    /// A program that listens on one port for everything, once it does.
    pub(super) fn other(
        mut command: Command,
        folder: tempfile::TempDir,
        at: SocketAddr,
        head: String,
    ) -> Result<Self, String> {
        let log = folder.path().join("log");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file(&folder)?)
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut proxy = Self { child, _folder: folder, whole: at, stream: at, admin: None, key: None, head };
        proxy.until(&log, || TcpStream::connect(at).is_ok().then_some(()))?;
        Ok(proxy)
    }

    fn until<T>(&mut self, log: &Path, mut look: impl FnMut() -> Option<T>) -> Result<T, String> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            let said = || fs::read_to_string(log).unwrap_or_default();
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended with {status}:\n{}", said()));
            }
            if Instant::now() > end {
                return Err(format!("it does not listen:\n{}", said()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A client without proxies, retries and a pool.
fn client() -> reqwest::Client {
    // Both providers of cryptography are in the graph; a second installation is no harm.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().retry(reqwest::retry::never());
    builder.timeout(Duration::from_secs(300)).build().expect("a client")
}

fn log_file(folder: &tempfile::TempDir) -> Result<File, String> {
    File::create(folder.path().join("log")).map_err(|error| error.to_string())
}

/// A port that was free a moment ago: nginx cannot tell which one it took.
pub(super) fn free_port() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map_err(|error| error.to_string())
}

fn create_key(binary: &Path, folder: &Path) -> Result<String, String> {
    let output = Command::new(binary)
        .args(["keys", "create", "--name", "bench", "--team", "bench", "--budget", "1000000 USD/month", "--json"])
        .current_dir(folder)
        .output()
        .map_err(|error| format!("{}: {error}", binary.display()))?;
    let made: Value =
        serde_json::from_slice(&output.stdout).map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
    made["key"].as_str().map(str::to_owned).ok_or_else(|| "the key is missing".to_owned())
}

fn listening(log: &str, listener: &str) -> Option<SocketAddr> {
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.find(|line| line["fields"]["message"] == "listening" && line["fields"]["listener"] == listener)?;
    line["fields"]["address"].as_str()?.parse().ok()
}

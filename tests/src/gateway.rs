//! The real binary, with a folder and ports of its own.

use crate::client::{Live, Told};
pub use crate::client::{client, header};
use crate::{PATIENCE, PROVIDER_KEY, PROVIDER_KEY_VARIABLE, eventually};
use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// A running gateway; it is killed when dropped.
pub struct Gateway {
    child: Child,
    /// Its folder: configuration and ledger.
    pub folder: Arc<TempDir>,
    /// `http://127.0.0.1:PORT` of the data listener.
    pub data: String,
    /// `http://127.0.0.1:PORT` of the admin listener.
    pub admin: String,
    /// Everything it wrote to standard error.
    pub log: Arc<Mutex<String>>,
    /// A client without proxies and retries.
    pub client: Client,
}

/// The binary under test: `SLUICE_BIN`, else the release build.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SLUICE_BIN") {
        return path.into();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target));
    target.join("release/sluice")
}

/// The binary, ready to run in a folder, with nothing of the caller's own configuration.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(binary());
    command.current_dir(folder).env(PROVIDER_KEY_VARIABLE, PROVIDER_KEY);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name == "OPENAI_API_KEY" || name == "SLUICE_CONFIG" || name.starts_with("SLUICE__") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command of the binary to its end in a folder.
pub fn run(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = command(folder)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary is built: cargo build --release --workspace");
    // A command that reads no input may have closed it.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// Runs a command that reports as JSON and gives what it printed.
pub fn run_json(folder: &Path, arguments: &[&str], input: &str) -> Value {
    let output = run(folder, arguments, input);
    let text = String::from_utf8(output.stdout).expect("text");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{text}\n{complaint}", output.status);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?} prints JSON: {error}\n{text}"))
}

/// A folder with this configuration; ports are added where `rest` names none.
pub fn folder(rest: &str) -> Arc<TempDir> {
    let folder = tempfile::tempdir().expect("a folder");
    write_config(folder.path(), rest);
    Arc::new(folder)
}

/// A configuration with free ports around `rest`, where it names none.
pub fn config(rest: &str) -> String {
    if rest.contains("[server]") {
        return rest.to_owned();
    }
    format!("[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n{rest}")
}

/// Writes the configuration of a folder.
pub fn write_config(folder: &Path, rest: &str) {
    // As an editor does: the gateway may be watching.
    let next = folder.join("sluice.toml.next");
    std::fs::write(&next, config(rest)).expect("written");
    std::fs::rename(next, folder.join("sluice.toml")).expect("renamed");
}

// === impl Gateway ===

impl Gateway {
    /// Starts with this configuration (ports are added) and waits until it listens.
    pub async fn start(rest: &str) -> Self {
        Self::serve(folder(rest), &[]).await
    }

    /// As [`Gateway::start`], in a given folder and with environment variables.
    pub async fn start_in(folder: Arc<TempDir>, rest: &str, environment: &[(&str, &str)]) -> Self {
        write_config(folder.path(), rest);
        Self::serve(folder, environment).await
    }

    /// Starts with the configuration that is in the folder.
    pub async fn serve(folder: Arc<TempDir>, environment: &[(&str, &str)]) -> Self {
        let mut serve = command(folder.path());
        serve.arg("serve").envs(environment.iter().copied());
        Self::launch(folder, serve).await
    }

    /// Starts in a shell that has done `first` before: `ulimit -n 256`, say.
    pub async fn after(first: &str, rest: &str) -> Self {
        let folder = folder(rest);
        let plain = command(folder.path());
        let mut shell = Command::new("sh");
        shell
            .current_dir(folder.path())
            .args(["-c", &format!("{first} && exec \"$0\" serve")])
            .arg(plain.get_program());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        Self::launch(folder, shell).await
    }

    async fn launch(folder: Arc<TempDir>, mut serve: Command) -> Self {
        let mut child = serve
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is built: cargo build --release --workspace");
        let log = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().expect("piped"));
        let writing = log.clone();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut log = writing.lock();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut gateway = Self { child, folder, data: String::new(), admin: String::new(), client: client(), log };
        let end = Instant::now() + PATIENCE;
        while gateway.data.is_empty() || gateway.admin.is_empty() {
            if let Some(status) = gateway.child.try_wait().expect("a child") {
                panic!("the gateway ended with {status}:\n{}", gateway.log.lock());
            }
            assert!(Instant::now() < end, "the gateway does not listen:\n{}", gateway.log.lock());
            gateway.data = gateway.address("data").unwrap_or_default();
            gateway.admin = gateway.address("admin").unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        gateway
    }

    fn address(&self, listener: &str) -> Option<String> {
        let line = self
            .log_lines()
            .into_iter()
            .find(|line| line["fields"]["message"] == "listening" && line["fields"]["listener"] == listener)?;
        Some(format!("http://{}", line["fields"]["address"].as_str()?))
    }

    /// The JSON lines of its log.
    pub fn log_lines(&self) -> Vec<Value> {
        self.log.lock().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until a log line has this message.
    pub async fn logged(&self, message: &str) -> Value {
        eventually(&format!("the log says `{message}`"), async || {
            self.log_lines().into_iter().find(|line| line["fields"]["message"] == message)
        })
        .await
    }

    /// Waits for `/readyz`.
    pub async fn ready(&self) -> &Self {
        eventually("the gateway is ready", async || {
            let ready = self.client.get(format!("{}/readyz", self.data)).send().await.ok()?;
            ready.status().is_success().then_some(())
        })
        .await;
        self
    }

    /// A request to the data listener.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.data)).header("content-type", "application/json")
    }

    /// A chat request.
    pub async fn chat(&self, body: &Value) -> Response {
        self.chat_with(body, &[]).await
    }

    /// A chat request with headers.
    pub async fn chat_with(&self, body: &Value, headers: &[(&str, &str)]) -> Response {
        let mut request = self.post("/v1/chat/completions").body(body.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer")
    }

    /// A chat request, its answer read to the end.
    pub async fn tell(&self, body: &Value) -> Told {
        self.tell_with(body, &[]).await
    }

    /// A chat request with headers, its answer read to the end.
    pub async fn tell_with(&self, body: &Value, headers: &[(&str, &str)]) -> Told {
        Told::read(self.chat_with(body, headers).await).await
    }

    /// Any body to any path of the data listener; its type is JSON where `headers` say nothing.
    pub async fn send(&self, path: &str, body: impl Into<Bytes>, headers: &[(&str, &str)]) -> Told {
        let mut request = self.client.post(format!("{}{path}", self.data)).body(body.into());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Told::of(request).await
    }

    /// A GET at the data listener.
    pub async fn get(&self, path: &str) -> Told {
        Told::of(self.client.get(format!("{}{path}", self.data))).await
    }

    /// A GET at the admin listener.
    pub async fn admin_get(&self, path: &str) -> Told {
        Told::of(self.client.get(format!("{}{path}", self.admin))).await
    }

    /// A chat request whose stream is read event by event.
    pub async fn live(&self, body: &Value) -> Live {
        Live::open(&self.client, &self.data, body, &[]).await
    }

    /// An answer of the admin API.
    pub async fn api(&self, path: &str) -> Value {
        let told = self.admin_get(path).await;
        assert_eq!(told.status, 200, "{path}: {}", told.text());
        told.json()
    }

    /// A command of the binary with this gateway's configuration, reporting as JSON.
    pub fn cli(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        run_json(self.folder.path(), &arguments, "")
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        // The shell's own: not every machine has a program `kill`.
        let line = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &line]).status().expect("a shell").success(), "{line}");
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < end, "the gateway does not end:\n{}", self.log.lock());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Tells it to stop and waits for its orderly end.
    pub async fn stop(&mut self) {
        self.signal("TERM");
        let status = self.ended().await;
        assert_eq!(status.code(), Some(0), "{}", self.log.lock());
    }

    /// Kills it and waits for its end.
    pub async fn kill(&mut self) {
        self.signal("KILL");
        self.ended().await;
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory that was ever resident, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a status");
        let line = status.lines().find(|line| line.starts_with(name)).expect("a line of that name");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Gateway {
    /// Ends it; whatever the test was about, the provider's key is in no log.
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            assert!(!self.log.lock().contains(PROVIDER_KEY), "the provider's key is in the log");
        } else {
            // Shown with a failing test only.
            println!("--- the gateway's log\n{}", self.log.lock());
        }
    }
}

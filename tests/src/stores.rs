//! PostgreSQL and Redis as Debian packages them, started for a test and thrown away.
//!
//! **Promise.** Each runs on a free port of this machine with its files in a folder of its own, and ends with the process
//! that started it, however that ends: a shell waits on a pipe whose other end only that process has.
//!
//! **Who is missing is said.** Where a program is not installed (`scripts/setup-tests` does it), starting gives `None`, with
//! what [`skip`] does.
//!
//! This file is also compiled into the unit tests of `router`, so it uses the standard library alone.

#[path = "skip.rs"]
pub mod skip;

use skip::skipped;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; it ends when this is dropped.
struct Server {
    shell: Child,
    output: BufReader<ChildStdout>,
    pid: u32,
}

/// A PostgreSQL server.
pub struct Postgres {
    server: Server,
    port: u16,
    programs: PathBuf,
    databases: AtomicU32,
}

/// A Redis server, without anything on disk.
pub struct Redis {
    server: Option<Server>,
    port: u16,
}

// === impl Server ===

impl Server {
    /// Starts `command` with `folder` for its files, which is removed afterwards.
    fn start(folder: &Path, end: &str, command: &[&str]) -> Self {
        let script = "folder=$1; end=$2; shift 2; \"$@\" >\"$folder.log\" 2>&1 </dev/null & server=$!; echo $server; \
                      read -r _; kill -\"$end\" $server; wait $server; rm -rf \"$folder\" \"$folder.log\"";
        let mut shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(folder)
            .arg(end)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut output = BufReader::new(shell.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a process id");
        let pid = line.trim().parse().expect("a process id");
        Self { shell, output, pid }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let mut rest = String::new();
        // The end of the pipe is the end of the shell.
        let _ = self.output.read_line(&mut rest);
        let _ = self.shell.wait();
    }
}

// === impl Postgres ===

impl Postgres {
    /// Makes a cluster and starts it; `None`: PostgreSQL is not installed.
    pub fn start() -> Option<Self> {
        Self::start_as(None, false)
    }

    /// The same, which proves who it is by a certificate and its key, in PEM.
    pub fn start_with(certificate: Option<(&str, &str)>) -> Option<Self> {
        Self::start_as(certificate, false)
    }

    /// The same, which waits for its disk as one does that keeps something: to measure it.
    pub fn durable() -> Option<Self> {
        Self::start_as(None, true)
    }

    fn start_as(certificate: Option<(&str, &str)>, durable: bool) -> Option<Self> {
        let Some(programs) = postgres_programs() else {
            skipped("postgresql", "it is not installed (scripts/setup-tests does it, as root)");
            return None;
        };
        let folder = fresh_folder("postgres");
        let data = folder.join("data");
        // It refuses to run as root.
        let root = std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
        let as_user: &[&str] =
            if root { &["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] } else { &[] };
        if root {
            run(&["chown", "postgres:postgres", text(&folder)]);
        }
        let initdb = programs.join("initdb");
        let initdb = [text(&initdb), "-D", text(&data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"];
        run(&[as_user, &initdb].concat());
        let port = free_port();
        let ssl = if let Some((certificate, key)) = certificate {
            for (name, text) in [("server.crt", certificate), ("server.key", key)] {
                let file = data.join(name);
                std::fs::write(&file, text).expect("a file");
                run(&["chmod", "600", self::text(&file)]);
                if root {
                    run(&["chown", "postgres:postgres", self::text(&file)]);
                }
            }
            "ssl=on"
        } else {
            "ssl=off"
        };
        let (program, number) = (programs.join("postgres"), port.to_string());
        let sockets = format!("unix_socket_directories={}", text(&folder));
        let postgres = [text(&program), "-D", text(&data), "-p", &number, "-c", &sockets];
        let fsync = if durable { "fsync=on" } else { "fsync=off" };
        let quick = ["-c", "listen_addresses=127.0.0.1", "-c", fsync, "-c", "max_connections=200", "-c", ssl];
        let server = Server::start(&folder, "QUIT", &[as_user, &postgres, &quick].concat());
        let this = Self { server, port, programs, databases: AtomicU32::new(0) };
        let until = Instant::now() + PATIENCE;
        while !this.psql("postgres", "SELECT 1") {
            assert!(Instant::now() < until, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(this)
    }

    /// Makes an empty database and gives its URL.
    pub fn database(&self) -> String {
        let name = format!("sluice_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        assert!(self.psql("postgres", &format!("CREATE DATABASE {name}")), "a database");
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs a statement in the database that a URL names; says whether it succeeded.
    pub fn run(&self, url: &str, sql: &str) -> bool {
        self.psql(url.rsplit('/').next().unwrap_or_default(), sql)
    }

    /// Lets nobody into the database that a URL names, and ends who is in; or lets them in again.
    pub fn let_in(&self, url: &str, open: bool) {
        let name = url.rsplit('/').next().unwrap_or_default();
        assert!(self.psql("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {open}")), "altered");
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        assert!(open || self.psql("postgres", &end), "ended");
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.server.pid
    }

    fn psql(&self, database: &str, sql: &str) -> bool {
        let port = self.port.to_string();
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", database, "-qAtc", sql];
        let psql = Command::new(self.programs.join("psql")).args(arguments).stdin(Stdio::null()).output();
        psql.is_ok_and(|psql| psql.status.success())
    }
}

// === impl Redis ===

impl Redis {
    /// Starts one; `None`: neither Redis nor Valkey is installed.
    pub fn start() -> Option<Self> {
        let this = Self { server: None, port: free_port() };
        this.again()
    }

    /// Starts it again on the same port, empty, after [`Redis::stop`].
    pub fn again(mut self) -> Option<Self> {
        let Some(program) = on_path("redis-server").or_else(|| on_path("valkey-server")) else {
            skipped("redis", "it is not installed (scripts/setup-tests does it, as root)");
            return None;
        };
        let folder = fresh_folder("redis");
        let port = self.port.to_string();
        let command = [text(&program), "--port", &port, "--bind", "127.0.0.1", "--dir", text(&folder)];
        let memory = ["--save", "", "--appendonly", "no"];
        self.server = Some(Server::start(&folder, "TERM", &[&command[..], &memory].concat()));
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "Redis does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(self)
    }

    /// Ends it, and everything in it.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

fn postgres_programs() -> Option<PathBuf> {
    let packaged = std::fs::read_dir("/usr/lib/postgresql").ok();
    let mut versions: Vec<PathBuf> =
        packaged.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect();
    versions.sort();
    let found = versions.into_iter().rfind(|programs| programs.join("initdb").is_file());
    found.or_else(|| on_path("initdb").and_then(|program| Some(program.parent()?.to_owned())))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn fresh_folder(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("sluice-{name}-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn run(command: &[&str]) {
    let (program, arguments) = command.split_first().expect("a program");
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("a program");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

//! A hub of models, as far as hf-hub 0.4 asks one: the list of a repository's files, and files by ranges.
//!
//! It can cut a file off in the midst and turn a byte of it; every request it gets is counted. Each connection has one answer.
//!
//! This file is also compiled into unit tests of `adapters`, so it uses no more than both have.

use parking_lot::Mutex;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A file of the repository.
#[derive(Clone, Debug)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// What the hub calls it: the SHA-256 of a large file, the git id of a small one.
    pub etag: String,
}

/// What goes wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The connection ends in its midst.
    Cut(String),
    /// A byte of it is another one.
    Turned(String),
}

#[derive(Debug, Default)]
struct State {
    trouble: Option<Trouble>,
    asked: Vec<String>,
}

/// A hub with one repository; it ends with the process.
#[derive(Debug)]
pub struct Hub {
    /// What `HF_ENDPOINT` has to say.
    pub url: String,
    state: Arc<Mutex<State>>,
}

// === impl Hub ===

impl Hub {
    /// Serves these files as `repository` in one revision.
    pub fn start(repository: &str, revision: &str, files: Vec<File>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::<Mutex<State>>::default();
        let (shared, repository, revision) = (state.clone(), repository.to_owned(), revision.to_owned());
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                // Whoever leaves in the midst is no fault of the hub.
                let _ = answer(socket, &shared, (&repository, &revision), &files);
            }
        });
        Self { url, state }
    }

    /// From now on this goes wrong; `None`: nothing.
    pub fn trouble(&self, trouble: Option<Trouble>) {
        self.state.lock().trouble = trouble;
    }

    /// The paths that were asked for.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().asked.clone()
    }
}

fn answer(
    mut socket: TcpStream,
    state: &Mutex<State>,
    (repository, revision): (&str, &str),
    files: &[File],
) -> std::io::Result<()> {
    let mut lines = BufReader::new(socket.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut range = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some((from, to)) = line.strip_prefix("range: bytes=").and_then(|range| range.split_once('-')) {
            range = from.parse::<usize>().ok().zip(to.parse::<usize>().ok());
        }
    }
    let trouble = {
        let mut state = state.lock();
        state.asked.push(path.clone());
        state.trouble.clone()
    };
    let end = "connection: close\r\n\r\n";
    if path == format!("/api/models/{repository}/revision/{revision}") {
        let names: Vec<String> = files.iter().map(|file| format!("{{\"rfilename\":\"{}\"}}", file.name)).collect();
        let body = format!("{{\"siblings\":[{}],\"sha\":\"c0ffee\"}}", names.join(","));
        let kind = "content-type: application/json";
        return write!(socket, "HTTP/1.1 200 OK\r\n{kind}\r\ncontent-length: {}\r\n{end}{body}", body.len());
    }
    let name = path.strip_prefix(&format!("/{repository}/resolve/{revision}/")).unwrap_or_default();
    let Some(file) = files.iter().find(|file| file.name == name) else {
        return write!(socket, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n{end}");
    };
    let mut bytes = file.bytes.clone();
    if trouble == Some(Trouble::Turned(file.name.clone())) {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }
    let last = bytes.len() - 1;
    let (from, to) = range.unwrap_or((0, last));
    let part = &bytes[from.min(last)..=to.min(last)];
    write!(
        socket,
        "HTTP/1.1 206 Partial Content\r\netag: \"{}\"\r\nx-repo-commit: c0ffee\r\ncontent-range: bytes {from}-{}/{}\r\n\
         content-length: {}\r\n{end}",
        file.etag,
        to.min(last),
        bytes.len(),
        part.len()
    )?;
    match trouble {
        // A look at the first byte alone is no download.
        Some(Trouble::Cut(name)) if name == file.name && part.len() > 1 => socket.write_all(&part[..part.len() / 2]),
        Some(_) | None => socket.write_all(part),
    }
}

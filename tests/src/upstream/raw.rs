//! An upstream on the bare socket, for what no well-behaved server would send.

use crate::accept;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What is sent after a request was read.
#[derive(Clone, Debug)]
pub enum Step {
    /// These bytes.
    Send(Vec<u8>),
    /// These bytes until the other side has enough.
    Endlessly(Vec<u8>),
    /// Nothing more, but the connection stays.
    Hold,
}

#[derive(Default)]
struct State {
    script: Mutex<Vec<Step>>,
    requests: AtomicUsize,
    sent: AtomicUsize,
}

/// A running upstream; each connection serves one request, then closes.
#[derive(Clone)]
pub struct RawUpstream {
    state: Arc<State>,
    _serving: Arc<JoinSet<()>>,
    /// `http://127.0.0.1:PORT/v1`.
    pub url: String,
}

impl RawUpstream {
    /// Starts on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let state = Arc::new(State::default());
        let mut serving = JoinSet::new();
        let shared = state.clone();
        serving.spawn(accept::each(listener, move |socket| {
            let state = shared.clone();
            async move { connection(socket, &state).await }
        }));
        Self { state, _serving: Arc::new(serving), url }
    }

    /// What follows on the next requests.
    pub fn play(&self, steps: Vec<Step>) {
        *self.state.script.lock() = steps;
    }

    /// The next requests get these bytes, then the connection closes.
    pub fn send(&self, bytes: impl Into<Vec<u8>>) {
        self.play(vec![Step::Send(bytes.into())]);
    }

    /// Requests so far.
    pub fn count(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Bytes that were taken from it so far.
    pub fn sent(&self) -> usize {
        self.state.sent.load(Ordering::SeqCst)
    }
}

async fn connection(mut socket: TcpStream, state: &State) {
    socket.set_nodelay(true).expect("TCP_NODELAY");
    if !read_request(&mut socket).await {
        return;
    }
    state.requests.fetch_add(1, Ordering::SeqCst);
    let steps = state.script.lock().clone();
    for step in steps {
        match step {
            Step::Send(bytes) => {
                if socket.write_all(&bytes).await.is_err() {
                    return;
                }
                state.sent.fetch_add(bytes.len(), Ordering::SeqCst);
            }
            Step::Endlessly(bytes) => {
                while socket.write_all(&bytes).await.is_ok() {
                    state.sent.fetch_add(bytes.len(), Ordering::SeqCst);
                }
            }
            // Until the other side leaves.
            Step::Hold => while socket.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {},
        }
    }
    // A proper end, so that all that was sent arrives.
    if socket.shutdown().await.is_ok() {
        while socket.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
    }
}

/// Reads head and body of one request; false when the connection ended before.
async fn read_request(socket: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    let mut chunk = vec![0; 16 << 10];
    loop {
        if let Some(head) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            if read.len() >= head + 4 + length.unwrap_or(0) {
                return true;
            }
        }
        match socket.read(&mut chunk).await {
            Ok(0) | Err(_) => return false,
            Ok(count) => read.extend_from_slice(&chunk[..count]),
        }
    }
}

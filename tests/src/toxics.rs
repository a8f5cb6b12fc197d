//! A link between the gateway and an upstream that is slow, cut, silent or full of garbage on demand.
//!
//! What `toxiproxy` and `tc netem` do, in process: no root, no ports of its own choosing, and the same bytes each time. A
//! link's trouble is what it was when the connection was made; bytes towards the upstream pass as they are until the link
//! is cut.

use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What a link does to the bytes of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toxic {
    /// Nothing.
    Clean,
    /// Each piece comes so much later.
    Latency(Duration),
    /// Each piece comes later by up to so much; the second number is the seed.
    Jitter(Duration, u64),
    /// So many bytes at a time, with a pause between.
    Slices(usize, Duration),
    /// After so many bytes the connection is reset.
    Reset(usize),
    /// After so many bytes the sending half ends properly, and what is sent is still read.
    HalfClose(usize),
    /// After so many bytes both sides are dropped, properly.
    Close(usize),
    /// After so many bytes nothing comes any more, and the connection stays.
    BlackHole(usize),
    /// The connection is accepted, and nothing is ever read or sent.
    Deaf,
    /// The connection is accepted and reset at once.
    Refuse,
    /// These bytes come in place of the upstream's, then the end.
    Garbage(Vec<u8>),
    /// The bit at this place of the answer is turned.
    FlipBit(usize),
}

#[derive(Default)]
struct State {
    toxic: Mutex<Option<Toxic>>,
    made: AtomicUsize,
    open: AtomicUsize,
}

/// A link; it is cut when the last copy is dropped.
#[derive(Clone)]
pub struct Link {
    state: Arc<State>,
    _serving: Arc<JoinSet<()>>,
    /// `http://127.0.0.1:PORT/v1`.
    pub url: String,
}

struct Open(Arc<State>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

// === impl Link ===

impl Link {
    /// A clean link to `http://HOST:PORT`.
    pub async fn to(root: &str) -> Self {
        let target: SocketAddr = root.trim_start_matches("http://").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let state = Arc::new(State::default());
        let mut serving = JoinSet::new();
        let shared = state.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((socket, _)) = accepted else { return };
                        shared.made.fetch_add(1, Ordering::SeqCst);
                        shared.open.fetch_add(1, Ordering::SeqCst);
                        let open = Open(shared.clone());
                        let toxic = shared.toxic.lock().clone().unwrap_or(Toxic::Clean);
                        connections.spawn(async move {
                            carry(socket, target, toxic).await;
                            drop(open);
                        });
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { state, _serving: Arc::new(serving), url }
    }

    /// What connections from now on suffer.
    pub fn set(&self, toxic: Toxic) {
        *self.state.toxic.lock() = Some(toxic);
    }

    /// Connections that were ever made.
    pub fn made(&self) -> usize {
        self.state.made.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }
}

/// Carries one connection to its end.
async fn carry(mut near: TcpStream, target: SocketAddr, toxic: Toxic) {
    match &toxic {
        // Whoever gave up closes; then it ends here, too.
        Toxic::Deaf => return watch(&mut near).await,
        Toxic::Refuse => return reset(&near),
        Toxic::Garbage(bytes) => {
            // The request first: who has not sent yet may not look.
            let _ = near.read(&mut [0; 16 << 10]).await;
            let _ = near.write_all(bytes).await;
            let _ = near.shutdown().await;
            return watch(&mut near).await;
        }
        Toxic::Clean
        | Toxic::Latency(_)
        | Toxic::Jitter(..)
        | Toxic::Slices(..)
        | Toxic::Reset(_)
        | Toxic::HalfClose(_)
        | Toxic::Close(_)
        | Toxic::BlackHole(_)
        | Toxic::FlipBit(_) => {}
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    for socket in [&near, &far] {
        // A socket that is gone already shows below.
        let _ = socket.set_nodelay(true);
    }
    let (mut near_read, mut near_write) = near.split();
    let (mut far_read, mut far_write) = { far.into_split() };
    let there = async {
        let mut chunk = vec![0; 16 << 10];
        while let Ok(count @ 1..) = near_read.read(&mut chunk).await {
            if far_write.write_all(&chunk[..count]).await.is_err() {
                return;
            }
        }
        // The client is gone, or has said all.
        let _ = far_write.shutdown().await;
    };
    let back = async {
        let mut passed = 0;
        let mut chunk = vec![0; 16 << 10];
        let mut dice = match toxic {
            Toxic::Jitter(_, seed) => seed | 1,
            _ => 1,
        };
        loop {
            let count = match far_read.read(&mut chunk).await {
                Ok(0) | Err(_) => {
                    let _ = near_write.shutdown().await;
                    return End::Over;
                }
                Ok(count) => count,
            };
            let bytes = &mut chunk[..count];
            let most = match &toxic {
                Toxic::Reset(after) | Toxic::HalfClose(after) | Toxic::Close(after) | Toxic::BlackHole(after) => {
                    bytes.len().min(after.saturating_sub(passed))
                }
                _ => bytes.len(),
            };
            match &toxic {
                Toxic::Latency(time) => tokio::time::sleep(*time).await,
                Toxic::Jitter(most, _) => {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    tokio::time::sleep(most.mul_f64((dice >> 40) as f64 / (1u64 << 24) as f64)).await;
                }
                Toxic::FlipBit(at) => {
                    if let Some(byte) = at.checked_sub(passed).and_then(|at| bytes.get_mut(at)) {
                        *byte ^= 1;
                    }
                }
                _ => {}
            }
            let slice = match &toxic {
                Toxic::Slices(bytes, _) => (*bytes).max(1),
                _ => usize::MAX,
            };
            for piece in bytes[..most].chunks(slice) {
                if near_write.write_all(piece).await.is_err() {
                    return End::Over;
                }
                if let Toxic::Slices(_, pause) = &toxic {
                    tokio::time::sleep(*pause).await;
                }
            }
            passed += most;
            if most < count {
                return match &toxic {
                    Toxic::Reset(_) => End::Reset,
                    Toxic::HalfClose(_) => {
                        let _ = near_write.shutdown().await;
                        End::Hold
                    }
                    Toxic::BlackHole(_) => End::Hold,
                    _ => End::Over,
                };
            }
        }
    };
    let end = {
        tokio::pin!(there);
        tokio::pin!(back);
        tokio::select! {
            end = &mut back => match end {
                // Nothing comes any more; the client's end is waited for.
                End::Hold => {
                    there.await;
                    End::Over
                }
                End::Over | End::Reset => end,
            },
            // The client is gone: so is its connection to the upstream.
            () = &mut there => End::Over,
        }
    };
    if matches!(end, End::Reset) {
        reset(&near);
    }
}

enum End {
    Over,
    Reset,
    Hold,
}

/// Closes with RST in place of FIN.
fn reset(socket: &TcpStream) {
    // A socket that is gone needs no reset.
    let _ = socket.set_zero_linger();
}

/// Reads to the end of what the client says.
async fn watch(socket: &mut TcpStream) {
    while socket.read(&mut [0; 1 << 10]).await.is_ok_and(|count| count > 0) {}
}

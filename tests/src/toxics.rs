//! A link between the gateway and an upstream that is slow, cut, silent or full of garbage on demand.
//!
//! What `toxiproxy` and `tc netem` do, in process: no root, no ports of its own choosing, and the same bytes each time. A
//! link's trouble is what it was when the connection was made; bytes towards the upstream pass as they are until the link
//! is cut.

use crate::accept;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, WriteHalf};
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
        serving.spawn(accept::each(listener, move |socket| {
            shared.made.fetch_add(1, Ordering::SeqCst);
            shared.open.fetch_add(1, Ordering::SeqCst);
            let open = Open(shared.clone());
            let toxic = shared.toxic.lock().clone().unwrap_or(Toxic::Clean);
            async move {
                Box::pin(carry(socket, target, toxic)).await;
                drop(open);
            }
        }));
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

/// What follows once the bytes of an answer are over or cut.
#[derive(Clone, Copy)]
enum End {
    Over,
    Reset,
    HalfClose,
    Hold,
}

/// A toxic as [`pass`] applies it.
struct Treatment {
    /// Bytes after which something else follows.
    cut: Option<(usize, End)>,
    /// Each piece comes later by this, or by up to this where there are dice.
    late: Duration,
    dice: Option<u64>,
    slice: usize,
    pause: Duration,
    flip: Option<usize>,
}

impl Treatment {
    /// `None`: no byte of the upstream passes.
    fn of(toxic: &Toxic) -> Option<Self> {
        let clean =
            Self { cut: None, late: Duration::ZERO, dice: None, slice: usize::MAX, pause: Duration::ZERO, flip: None };
        Some(match toxic {
            Toxic::Clean => clean,
            Toxic::Latency(late) => Self { late: *late, ..clean },
            Toxic::Jitter(late, seed) => Self { late: *late, dice: Some(*seed), ..clean },
            Toxic::Slices(slice, pause) => Self { slice: (*slice).max(1), pause: *pause, ..clean },
            Toxic::Reset(after) => Self { cut: Some((*after, End::Reset)), ..clean },
            Toxic::HalfClose(after) => Self { cut: Some((*after, End::HalfClose)), ..clean },
            Toxic::Close(after) => Self { cut: Some((*after, End::Over)), ..clean },
            Toxic::BlackHole(after) => Self { cut: Some((*after, End::Hold)), ..clean },
            Toxic::FlipBit(at) => Self { flip: Some(*at), ..clean },
            Toxic::Deaf | Toxic::Refuse | Toxic::Garbage(_) => return None,
        })
    }

    /// How much later the next piece comes.
    fn delay(&mut self) -> Duration {
        let Some(dice) = &mut self.dice else { return self.late };
        *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.late.mul_f64((*dice >> 40) as f64 / (1u64 << 24) as f64)
    }
}

/// Carries one connection to its end.
async fn carry(mut near: TcpStream, target: SocketAddr, toxic: Toxic) {
    let Some(treatment) = Treatment::of(&toxic) else {
        match toxic {
            Toxic::Refuse => return reset(&near),
            Toxic::Garbage(bytes) => {
                // The request first: who has not sent yet may not look.
                let _ = near.read(&mut [0; 1 << 10]).await;
                let _ = near.write_all(&bytes).await;
                let _ = near.shutdown().await;
            }
            Toxic::Deaf
            | Toxic::Clean
            | Toxic::Latency(_)
            | Toxic::Jitter(..)
            | Toxic::Slices(..)
            | Toxic::Reset(_)
            | Toxic::HalfClose(_)
            | Toxic::Close(_)
            | Toxic::BlackHole(_)
            | Toxic::FlipBit(_) => {}
        }
        // Whoever gave up closes; then it ends here, too.
        return discard(&mut near).await;
    };
    let Ok(far) = TcpStream::connect(target).await else { return };
    for socket in [&near, &far] {
        // A socket that is gone already shows below.
        let _ = socket.set_nodelay(true);
    }
    let (mut far_read, mut far_write) = far.into_split();
    let end = {
        let (mut near_read, mut near_write) = near.split();
        let there = async {
            let mut chunk = vec![0; 16 << 10];
            while let Ok(count @ 1..) = near_read.read(&mut chunk).await {
                if far_write.write_all(&chunk[..count]).await.is_err() {
                    return;
                }
            }
        };
        let back = async {
            let end = pass(&mut far_read, &mut near_write, treatment).await;
            if matches!(end, End::HalfClose) {
                let _ = near_write.shutdown().await;
            }
            end
        };
        tokio::pin!(there);
        tokio::pin!(back);
        tokio::select! {
            end = &mut back => {
                if matches!(end, End::Hold | End::HalfClose) {
                    // Nothing comes any more; the client's end is waited for.
                    there.await;
                }
                end
            }
            // The client is gone: so is its connection to the upstream.
            () = &mut there => End::Over,
        }
    };
    if matches!(end, End::Reset) {
        reset(&near);
    }
}

/// Passes the bytes of an answer on, as the treatment says.
async fn pass(from: &mut OwnedReadHalf, to: &mut WriteHalf<'_>, mut treatment: Treatment) -> End {
    let mut passed = 0;
    let mut chunk = vec![0; 16 << 10];
    loop {
        let count = match from.read(&mut chunk).await {
            Ok(0) | Err(_) => return End::Over,
            Ok(count) => count,
        };
        let most = treatment.cut.map_or(count, |(after, _)| count.min(after.saturating_sub(passed)));
        let bytes = &mut chunk[..most];
        let flip = treatment.flip.and_then(|at| at.checked_sub(passed));
        if let Some(byte) = flip.and_then(|at| bytes.get_mut(at)) {
            *byte ^= 1;
        }
        tokio::time::sleep(treatment.delay()).await;
        for piece in bytes.chunks(treatment.slice) {
            if to.write_all(piece).await.is_err() {
                return End::Over;
            }
            if !treatment.pause.is_zero() {
                tokio::time::sleep(treatment.pause).await;
            }
        }
        passed += most;
        if let Some((_, end)) = treatment.cut
            && most < count
        {
            return end;
        }
    }
}

/// Closes with RST in place of FIN.
fn reset(socket: &TcpStream) {
    // A socket that is gone needs no reset.
    let _ = socket.set_zero_linger();
}

/// Reads to the end of what the client says.
async fn discard(socket: &mut TcpStream) {
    while socket.read(&mut [0; 1 << 10]).await.is_ok_and(|count| count > 0) {}
}

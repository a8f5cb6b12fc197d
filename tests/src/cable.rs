//! A cable between a gateway and a store that can be cut in the midst, in three ways, and mended again.
//!
//! What was under way when it was cut is not lost: it arrives when the cable is mended, late, as a network delivers what
//! it has kept and what is sent again. Unlike a link that spoils answers, a cable changes its mind for connections that
//! there are already.

use crate::accept;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a cable does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cable {
    /// It carries everything.
    Whole,
    /// Nothing passes, in either direction; connections stay, and new ones are made.
    BlackHole,
    /// Connections are reset, new ones at once.
    Reset,
    /// What is asked arrives and is carried out; no answer comes back.
    HalfOpen,
}

/// A cable to one address; it is cut for good when this is dropped.
pub struct Cut {
    state: watch::Sender<Cable>,
    _serving: Arc<JoinSet<()>>,
    /// The port on this machine where it begins.
    pub port: u16,
}

// === impl Cut ===

impl Cut {
    /// Lays a cable to a port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let begins = listener.local_addr().expect("an address").port();
        let (state, seen) = watch::channel(Cable::Whole);
        let mut serving = JoinSet::new();
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        serving.spawn(accept::each(listener, move |socket| carry(socket, to, seen.clone())));
        Self { state, _serving: Arc::new(serving), port: begins }
    }

    /// Lays a cable to where a URL points, and gives the URL that goes over it.
    pub async fn over(url: &str) -> (Self, String) {
        let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).expect("a URL");
        let port = authority.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let cut = Self::to(port).await;
        let through = url.replace(&format!(":{port}"), &format!(":{}", cut.port));
        (cut, through)
    }

    /// Changes what it does, for connections that there are, too.
    pub fn be(&self, cable: Cable) {
        self.state.send_replace(cable);
    }
}

async fn carry(mut near: TcpStream, to: SocketAddr, mut seen: watch::Receiver<Cable>) {
    loop {
        match *seen.borrow_and_update() {
            Cable::Whole | Cable::HalfOpen => break,
            Cable::BlackHole => {}
            Cable::Reset => return reset(&near),
        }
        if seen.changed().await.is_err() {
            return;
        }
    }
    let Ok(mut far) = TcpStream::connect(to).await else { return };
    if near.set_nodelay(true).is_err() || far.set_nodelay(true).is_err() {
        return;
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.split(), far.split());
    let asked = pump(near_in, far_out, seen.clone(), false);
    let answered = pump(far_in, near_out, seen, true);
    let cut = tokio::select! { cut = asked => cut, cut = answered => cut };
    if cut {
        reset(&near);
    }
}

/// So that closing it resets it.
fn reset(socket: &TcpStream) {
    // It may be closed by the other side already.
    let _ = socket.set_zero_linger();
}

/// Carries bytes one way until there are no more; says whether it was cut off.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut seen: watch::Receiver<Cable>, answers: bool) -> bool {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let cable = *seen.borrow_and_update();
        let blocked = match cable {
            Cable::Whole => false,
            Cable::BlackHole => true,
            Cable::Reset => return true,
            Cable::HalfOpen => answers,
        };
        if blocked {
            if seen.changed().await.is_err() {
                return false;
            }
            continue;
        }
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return false },
            read = from.read(&mut bytes) => {
                let Ok(count @ 1..) = read else { return false };
                if to.write_all(&bytes[..count]).await.is_err() {
                    return false;
                }
            }
        }
    }
}

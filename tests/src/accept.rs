//! Connections that are taken one after the other and served side by side.

use std::future::Future;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Serves each connection in a task of its own until the listener fails or this is dropped; the tasks end with it.
pub async fn each<F>(listener: TcpListener, mut serve: impl FnMut(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { return };
                connections.spawn(serve(socket));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

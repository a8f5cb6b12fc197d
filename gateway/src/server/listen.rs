//! Accepting connections, and letting them go.
//!
//! hyper's header timeout is silently off unless a timer is installed, so both protocols get one. Connections are
//! accepted only while there is a place for them; beyond that they wait in the kernel's queue.

use super::app::App;
use super::data;
use super::fault::Fault;
use super::routes::Shape;
use super::sign_in::Peer;
use super::tls::{Tls, TlsFiles};
use super::{Answered, admin};
use crate::config::ServerSettings;
use axum::body::Body;
use futures::FutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Connections at once on the admin listener.
const ADMIN_CONNECTIONS: usize = 128;

/// The connections of both listeners.
pub struct Connections {
    /// Of clients.
    pub data: Places,
    /// Of operators.
    pub admin: Places,
}

/// The connections of a listener.
#[derive(Clone)]
pub struct Places {
    open: TaskTracker,
    most: usize,
}

// === impl Connections ===

impl Connections {
    /// None yet, and at most so many of clients.
    pub fn up_to(data: usize) -> Self {
        let places = |most| Places { open: TaskTracker::new(), most };
        Self { data: places(data), admin: places(ADMIN_CONNECTIONS) }
    }
}

// === impl Places ===

impl Places {
    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// How many may be.
    pub fn most(&self) -> usize {
        self.most
    }
}

/// Both sockets, bound.
pub struct Listeners {
    /// For clients.
    pub data: TcpListener,
    /// For operators.
    pub admin: TcpListener,
    /// TLS of both, where it is configured.
    pub tls: Certificates,
}

/// The certificates of both listeners.
#[derive(Clone, Default)]
pub struct Certificates {
    /// For clients.
    pub data: Option<Arc<Tls>>,
    /// For operators.
    pub admin: Option<Arc<Tls>>,
}

#[derive(Clone)]
struct Manner {
    tls: Option<Arc<Tls>>,
    limits: ConnectionLimits,
}

#[derive(Clone, Copy)]
struct ConnectionLimits {
    header: Duration,
    head_bytes: usize,
}

/// Binds both sockets, or says which one cannot be.
pub async fn bind(server: &ServerSettings) -> Result<Listeners, String> {
    let bind = async |address: SocketAddr, name: &str| {
        TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address} ({name}): {error}"))
    };
    let tls = |files: &Option<TlsFiles>| files.clone().map(Tls::start).transpose().map(|tls| tls.map(Arc::new));
    Ok(Listeners {
        tls: Certificates { data: tls(&server.tls)?, admin: tls(&server.admin_tls)? },
        data: bind(server.listen, "server.listen").await?,
        admin: bind(server.admin_listen, "server.admin_listen").await?,
    })
}

/// Serves both until `stop`; returns when no connection is left or `force` is set.
pub async fn serve(app: Arc<App>, listeners: Listeners, stop: CancellationToken, force: CancellationToken) {
    let settings = app.settings.load();
    let limits = ConnectionLimits {
        header: settings.timeouts.header,
        head_bytes: usize::try_from(settings.head_bytes).unwrap_or(64 << 10),
    };
    drop(settings);
    let (places, admin_places) = (app.connections.data.clone(), app.connections.admin.clone());
    let data_app = app.clone();
    let manner = Manner { tls: listeners.tls.data, limits };
    let answer = move |request, peer| data::handle(data_app.clone(), request, peer);
    let data = accept(listeners.data, places, manner, stop.clone(), force.clone(), answer);
    let routes = admin::routes(app);
    // The admin listener stays until the data connections are gone: operators watch the drain there.
    let admin_stop = CancellationToken::new();
    let admin_done = admin_stop.clone();
    let manner = Manner { tls: listeners.tls.admin, limits };
    let admin = accept(listeners.admin, admin_places, manner, admin_stop, force, move |mut request, peer| {
        let routes = routes.clone();
        request.extensions_mut().insert(Peer(peer.ip()));
        async move {
            match routes.oneshot(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    });
    let data_then_admin = async {
        data.await;
        admin_done.cancel();
    };
    tokio::join!(data_then_admin, admin);
}

async fn accept<H, F>(
    listener: TcpListener,
    Places { open: connections, most }: Places,
    manner: Manner,
    stop: CancellationToken,
    force: CancellationToken,
    handler: H,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answered> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                let place = places.clone().acquire_owned().await;
                (listener.accept().await, place)
            } => accepted,
        };
        match accepted {
            (Ok((socket, address)), Ok(place)) => {
                let serving = secured(socket, address, manner.clone(), stop.clone(), force.clone(), handler.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            (Err(error), _) => {
                // Out of descriptors, or a connection that was gone already: give others time to end.
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (_, Err(_)) => break,
        }
    }
    drop(listener);
    connections.close();
    tokio::select! {
        () = connections.wait() => {}
        () = force.cancelled() => {}
    }
}

/// Shakes hands, where the listener speaks TLS, and serves.
async fn secured<H, F>(
    socket: TcpStream,
    address: SocketAddr,
    Manner { tls, limits }: Manner,
    stop: CancellationToken,
    force: CancellationToken,
    handler: H,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answered> + Send + 'static,
{
    // Without it every small event of a stream waits for the client's acknowledgement.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(error = %error, "cannot set TCP_NODELAY");
    }
    let Some(tls) = tls else {
        return connection(socket, address, limits, stop, force, handler).await;
    };
    let handshake = tls.acceptor().accept(socket);
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limits.header, handshake) => shaken,
        () = stop.cancelled() => return,
    };
    match shaken {
        Ok(Ok(socket)) => connection(socket, address, limits, stop, force, handler).await,
        Ok(Err(error)) => tracing::debug!(error = %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// A panic costs one request its answer: its connection and the process live on, and what it held was given back or
/// charged as it unwound.
///
/// Not an `async fn`: that would be twice as large as what it waits for, and each request's future is moved once.
fn rescued(answer: impl Future<Output = Answered>, shape: Shape) -> impl Future<Output = Answered> {
    AssertUnwindSafe(answer).catch_unwind().map(move |ended| {
        ended.unwrap_or_else(|_| {
            tracing::error!("a request ended in a panic");
            Fault::internal().response(shape)
        })
    })
}

async fn connection<S, H, F>(
    socket: S,
    address: SocketAddr,
    limits: ConnectionLimits,
    stop: CancellationToken,
    force: CancellationToken,
    handler: H,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answered> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let shape = Shape::at(request.uri().path());
        rescued(handler(request, address), shape).map(Ok::<_, Infallible>)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(limits.head_bytes)
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(64 << 10))
        .max_concurrent_streams(100)
        .keep_alive_interval(Duration::from_secs(30));
    let serving = builder.serve_connection(TokioIo::new(socket), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = force.cancelled() => return,
        () = stop.cancelled() => {
            // Answers that are under way come to their end; then the connection closes.
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = serving.as_mut() => ended,
                () = force.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[tokio::test]
    async fn a_panic_costs_one_request_its_answer_and_nothing_else() {
        for at in 0..20 {
            let answer = async move {
                for step in 0..20 {
                    assert!(step < at, "scripted panic");
                    tokio::task::yield_now().await;
                }
                unreachable!("it panics before")
            };
            assert_eq!(rescued(answer, Shape::OpenAi).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
    }
}

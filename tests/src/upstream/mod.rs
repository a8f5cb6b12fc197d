//! An upstream that speaks OpenAI's and Azure's HTTP API (chats, completions, embeddings) and Anthropic's (messages), and
//! misbehaves on demand, with a log of its own.
//!
//! What it does is chosen by the model it is asked for, so that one upstream serves a whole test: see [`Play::named`] for
//! the names; [`Upstream::play`] gives a name another meaning. What hyper would never send is in [`raw`].

mod messages;
mod play;
pub mod raw;
mod render;

pub use play::{Fault, Manner, Pace, Play, Script, Usage};

use crate::accept;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use render::{Asked, Rendered, Step};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// One request as the upstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body's bytes.
    pub body: Bytes,
    /// The model it was asked for.
    pub model: String,
    /// Tokens it stated, input and output.
    pub stated: Option<(u64, u64)>,
    /// The body of the answer, where it was whole.
    pub answered: Option<Bytes>,
    /// Pieces of the answer that were handed over.
    pub sent: Arc<AtomicUsize>,
    /// Set when the other side went away before the end.
    pub left: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    log: Mutex<Vec<Seen>>,
    plays: Mutex<HashMap<String, Play>>,
    connections: AtomicUsize,
    /// What is at the paths by which a server in the house is looked at.
    pages: Mutex<HashMap<String, (u16, String)>>,
}

/// A running upstream; it ends when the last copy is dropped.
#[derive(Clone)]
pub struct Upstream {
    state: Arc<State>,
    _serving: Arc<JoinSet<()>>,
    /// `http://127.0.0.1:PORT/v1`.
    pub url: String,
    /// `http://127.0.0.1:PORT`.
    pub root: String,
}

/// A port that nobody listens on, kept from others.
pub struct Nobody {
    _socket: TcpSocket,
    /// `http://127.0.0.1:PORT/v1`.
    pub url: String,
}

/// Watches one answer: what is dropped before its end was left by the other side.
struct Watch {
    sent: Arc<AtomicUsize>,
    left: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

// === impl Seen ===

impl Seen {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the gateway sends JSON")
    }

    /// Whether the other side went away before the end.
    pub fn was_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    /// Whether the answer has ended, one way or the other.
    pub fn over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

// === impl Upstream ===

impl Upstream {
    /// Starts on a free port.
    pub async fn start() -> Self {
        Self::on("127.0.0.1:0").await
    }

    /// Starts on an address.
    pub async fn on(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let root = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(State::default());
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, state.clone()));
        Self { state, _serving: Arc::new(serving), url: format!("{root}/v1"), root }
    }

    /// Gives a model's name another meaning.
    pub fn play(&self, model: &str, play: Play) {
        self.state.plays.lock().insert(model.to_owned(), play);
    }

    /// Gives a model's name exact bytes.
    pub fn script(&self, model: &str, script: Script) {
        self.play(model, Play::Script(script));
    }

    /// Puts a page where a server in the house is looked at: `/health`, `/props`, `/metrics`, `/v1/models`. Looks are not logged.
    pub fn page(&self, path: &str, status: u16, body: &str) {
        self.state.pages.lock().insert(path.to_owned(), (status, body.to_owned()));
    }

    /// Everything that was asked so far.
    pub fn log(&self) -> Vec<Seen> {
        self.state.log.lock().clone()
    }

    /// The last request.
    pub fn last(&self) -> Seen {
        self.log().pop().expect("the upstream was asked")
    }

    /// The request that carried this id, if it came here.
    pub fn of(&self, request_id: &str) -> Option<Seen> {
        self.state.log.lock().iter().rev().find(|seen| seen.header("x-request-id") == Some(request_id)).cloned()
    }

    /// Number of requests so far.
    pub fn count(&self) -> usize {
        self.state.log.lock().len()
    }

    /// Forgets what was asked so far.
    pub fn forget(&self) {
        self.state.log.lock().clear();
    }

    /// Answers that are under way.
    pub fn open(&self) -> usize {
        self.state.log.lock().iter().filter(|seen| !seen.over()).count()
    }

    /// Connections that were ever made to it.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// A provider section with this upstream, and models of it: `(name, upstream name)`. Hosted ones cost $2.50 and
    /// $10.00 a million tokens.
    pub fn provider(&self, name: &str, location: &str, models: &[(&str, &str)]) -> String {
        provider(&self.url, name, location, models)
    }
}

/// A provider section with an upstream anywhere.
pub fn provider(url: &str, name: &str, location: &str, models: &[(&str, &str)]) -> String {
    let mut text = format!(
        "[providers.{name}]\nkind = \"openai\"\nbase_url = \"{url}\"\nregion = \"us\"\nlocation = \"{location}\"\n"
    );
    for (model, upstream) in models {
        text.push_str(&format!("[models.\"{model}\"]\nprovider = \"{name}\"\nupstream = \"{upstream}\"\n"));
        if location == "hosted" {
            text.push_str("input_usd_per_mtok = \"2.50\"\noutput_usd_per_mtok = \"10.00\"\n");
        }
    }
    text
}

impl Nobody {
    /// Takes a port and does not listen on it: connections are refused.
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let url = format!("http://{}/v1", socket.local_addr().expect("an address"));
        Self { _socket: socket, url }
    }
}

impl Default for Nobody {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Watch ===

impl Watch {
    fn over(&self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.over.swap(true, Ordering::SeqCst) {
            self.left.store(true, Ordering::SeqCst);
        }
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    accept::each(listener, |socket| {
        state.connections.fetch_add(1, Ordering::SeqCst);
        connection(socket, state.clone())
    })
    .await;
}

async fn connection(socket: TcpStream, state: Arc<State>) {
    socket.set_nodelay(true).expect("TCP_NODELAY");
    let service = service_fn(move |request| answer(state.clone(), request));
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    // A connection that breaks is the other side's business, or the script's.
    let _ = server.serve_connection(TokioIo::new(socket), service).await;
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if path == "/__log" {
        return Ok(shown_log(&state));
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    if parts.method == Method::GET {
        let page = state.pages.lock().get(&path).cloned();
        let known = ["/health", "/props", "/metrics"].contains(&path.as_str());
        if let Some((status, text)) = page.or_else(|| known.then(|| (404, "{}".to_owned()))) {
            return Ok(json_response(status, Bytes::from(text)));
        }
    }
    if path.ends_with("/models") {
        let models =
            json!({"object": "list", "data": [{"id": "echo", "object": "model", "created": 0, "owned_by": "fake"}]});
        return Ok(json_response(200, Bytes::from(models.to_string())));
    }
    let deployment = path.strip_prefix("/openai/deployments/").and_then(|rest| rest.split('/').next());
    let bare = path.ends_with("/completions") && !path.ends_with("/chat/completions");
    let messages = path.ends_with("/messages");
    let asked = match path.ends_with("/embeddings") {
        true => Asked::vectors(&body, deployment),
        false if messages => Asked::messages(&body),
        false => Asked::read(&body, bare, deployment),
    };
    let play = state.plays.lock().get(&asked.model).cloned().unwrap_or_else(|| Play::named(&asked.model));
    let play = match play {
        Play::Refusing(field) => {
            let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
            if asked.get(&field).is_some() { Play::status(400) } else { Play::Answer(Manner::default()) }
        }
        Play::Answer(_) | Play::Status(..) | Play::Script(_) | Play::Hang => play,
    };
    let watch = Watch { sent: Arc::default(), left: Arc::default(), over: Arc::default() };
    let rendered = match &play {
        Play::Answer(manner) => Some(asked.render(manner)),
        Play::Status(..) | Play::Script(_) | Play::Refusing(_) | Play::Hang => None,
    };
    state.log.lock().push(Seen {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: parts.headers,
        body,
        model: asked.model.clone(),
        stated: rendered.as_ref().and_then(|rendered| rendered.stated),
        answered: rendered.as_ref().and_then(|rendered| rendered.whole.clone()),
        sent: watch.sent.clone(),
        left: watch.left.clone(),
        over: watch.over.clone(),
    });
    Ok(match (play, rendered) {
        (Play::Answer(_), Some(Rendered { whole: Some(body), .. })) => {
            watch.over();
            json_response(200, body)
        }
        (Play::Answer(_), Some(Rendered { steps, .. })) => Response::builder()
            .header("content-type", "text/event-stream")
            .body(stepped(steps, watch))
            .expect("a response"),
        (Play::Status(status, headers), _) => {
            watch.over();
            let error = match messages {
                true => json!({"type": "error", "error": {"type": "scripted_error", "message": "scripted"}}),
                false => {
                    json!({"error": {"message": "scripted", "type": "scripted", "param": null, "code": "scripted"}})
                }
            };
            let mut response = json_response(status, Bytes::from(error.to_string()));
            put(&mut response, &headers);
            response
        }
        (Play::Script(script), _) => {
            let end = script.cut.then_some(Step::Break);
            let steps = script.pieces.into_iter().map(Step::Send).chain(end).collect();
            let mut response =
                Response::builder().status(script.status).body(stepped(steps, watch)).expect("a response");
            put(&mut response, &script.headers);
            response
        }
        (Play::Hang | Play::Refusing(_) | Play::Answer(_), _) => std::future::pending().await,
    })
}

fn put(response: &mut Response<Body>, headers: &[(String, String)]) {
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().expect("a header's name");
        response.headers_mut().append(name, value.parse().expect("a header's value"));
    }
}

fn stepped(steps: Vec<Step>, watch: Watch) -> Body {
    let start = (VecDeque::from(steps), watch);
    let frames = futures::stream::unfold(start, |(mut steps, watch)| async move {
        loop {
            match steps.pop_front() {
                None => {
                    watch.over();
                    return None;
                }
                Some(Step::Send(bytes)) => {
                    watch.sent.fetch_add(1, Ordering::SeqCst);
                    return Some((Ok(Frame::data(bytes)), (steps, watch)));
                }
                Some(Step::Pause(time)) => tokio::time::sleep(time).await,
                Some(Step::Gate(gate)) => gate.acquire().await.expect("the gate stays").forget(),
                Some(Step::Forever) => std::future::pending().await,
                Some(Step::Break) => {
                    // Whoever writes gets to write what it has.
                    tokio::task::yield_now().await;
                    watch.over();
                    return Some((Err(io::Error::other("scripted break")), (steps, watch)));
                }
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// The log for a program in another language.
fn shown_log(state: &State) -> Response<Body> {
    let log: Vec<Value> = state
        .log
        .lock()
        .iter()
        .map(|seen| {
            json!({"path": seen.path, "model": seen.model, "stated": seen.stated, "left": seen.was_left(),
                "over": seen.over(), "request_id": seen.header("x-request-id"),
                "body": serde_json::from_slice::<Value>(&seen.body).unwrap_or_default()})
        })
        .collect();
    json_response(200, Bytes::from(Value::from(log).to_string()))
}

fn json_response(status: u16, body: Bytes) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync())
        .expect("a response")
}

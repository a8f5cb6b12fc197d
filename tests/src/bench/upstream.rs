//! A hosted provider that costs next to nothing: it reads a request to its end and answers fixed bytes, a JSON object of
//! 16 tokens or a stream of 17 events (16 with a token each, one with the usage) and `[DONE]`, sent back to back.

use super::wire::Reader;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Events of a stream, `[DONE]` not counted.
pub const EVENTS: usize = 17;
/// What the answer says, token by token.
pub const WORDS: [&str; 16] = [
    "The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog", " and", " runs", " into", " the",
    " dark", " forest", ".",
];

/// A running upstream; its connections end with it.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

/// When an answer is sent; back to back unless said.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    before: Duration,
    between: Duration,
}

/// The bytes of both answers.
struct Answers {
    whole: Vec<u8>,
    stream: Vec<u8>,
    /// Both again, with the log-probability of each token.
    sure: [Vec<u8>; 2],
}

// === impl Upstream ===

impl Upstream {
    /// Starts on a free port, in tasks of the current runtime.
    pub async fn start() -> Self {
        Self::at(Pace::default()).await
    }

    /// The same; each answer begins so long after its request was read.
    pub async fn slow(before: Duration) -> Self {
        Self::at(Pace { before, ..Pace::default() }).await
    }

    /// The same, with a pause before each event of a stream.
    pub async fn paced(between: Duration) -> Self {
        Self::at(Pace { between, ..Pace::default() }).await
    }

    async fn at(pace: Pace) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let answers = Arc::new(Answers::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).ok();
                connections.spawn(serve(socket, answers.clone(), pace));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, _tasks: tasks }
    }

    /// Payload bytes of an answer.
    pub fn payload(stream: bool) -> usize {
        if stream { events(false).len() } else { object(false).len() }
    }
}

// === impl Answers ===

impl Answers {
    fn new() -> Self {
        let [whole, stream] = [false, true].map(|stream| Self::bytes(stream, false));
        Self { whole, stream, sure: [false, true].map(|stream| Self::bytes(stream, true)) }
    }

    fn bytes(stream: bool, sure: bool) -> Vec<u8> {
        if stream {
            return Self::chunked(&events(sure));
        }
        let body = object(sure);
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        [head, body].concat().into_bytes()
    }

    fn chunked(events: &str) -> Vec<u8> {
        let mut stream =
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        // One chunk an event, as a provider sends them.
        for event in events.split_inclusive("\n\n") {
            stream.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
        }
        stream.extend_from_slice(b"0\r\n\r\n");
        stream
    }
}

async fn serve(mut socket: TcpStream, answers: Arc<Answers>, pace: Pace) {
    let mut reader = Reader::default();
    reader.bytes.reserve(16 << 10);
    loop {
        match socket.read_buf(&mut reader.bytes).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        let body = match reader.message() {
            Ok(Some(message)) => message.body,
            Ok(None) => continue,
            Err(_) => return,
        };
        // The generator writes `stream` first, and proxies keep the order.
        let start = &reader.bytes[body.start..body.end.min(body.start + 64)];
        let stream = start.windows(13).any(|window| window == b"\"stream\":true");
        // What Sluice asks of a server in the house it adds at the end.
        let end = &reader.bytes[body.end.saturating_sub(64).max(body.start)..body.end];
        let answer = match (end.windows(15).any(|window| window == b"\"logprobs\":true"), stream) {
            (true, stream) => &answers.sure[usize::from(stream)],
            (false, true) => &answers.stream,
            (false, false) => &answers.whole,
        };
        if !pace.before.is_zero() {
            tokio::time::sleep(pace.before).await;
        }
        let sent = if stream && !pace.between.is_zero() {
            slowly(&mut socket, answer, pace.between).await
        } else {
            socket.write_all(answer).await
        };
        if sent.is_err() {
            return;
        }
        reader.clear();
    }
}

/// A pause before each chunk.
async fn slowly(socket: &mut TcpStream, answer: &[u8], pause: Duration) -> std::io::Result<()> {
    let text = String::from_utf8_lossy(answer);
    for piece in text.split_inclusive("\n\n\r\n") {
        tokio::time::sleep(pause).await;
        socket.write_all(piece.as_bytes()).await?;
    }
    Ok(())
}

fn usage() -> Value {
    json!({"prompt_tokens": 210, "completion_tokens": 16, "total_tokens": 226})
}

/// Of these tokens; nothing where nobody asked.
fn logprobs(words: &[&str], sure: bool) -> Value {
    let tokens = words.iter().map(|word| {
        let top =
            json!([{"token": word, "logprob": -0.1, "bytes": null}, {"token": " the", "logprob": -3.0, "bytes": null}]);
        json!({"token": word, "logprob": -0.1, "bytes": null, "top_logprobs": top})
    });
    if sure { json!({"content": tokens.collect::<Vec<_>>(), "refusal": null}) } else { Value::Null }
}

fn object(sure: bool) -> String {
    json!({
        "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG", "object": "chat.completion", "created": 1_741_570_283,
        "model": "gpt-4o-2024-08-06",
        "choices": [{
            "index": 0, "message": {"role": "assistant", "content": WORDS.concat(), "refusal": null},
            "logprobs": logprobs(&WORDS, sure), "finish_reason": "stop",
        }],
        "usage": usage(), "service_tier": "default", "system_fingerprint": "fp_fc9f1d7035",
    })
    .to_string()
}

/// The events of a stream, `[DONE]` included.
pub fn events(sure: bool) -> String {
    let chunk = |choices: Value, usage: Value| {
        let object = json!({
            "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG", "object": "chat.completion.chunk",
            "created": 1_741_570_283, "model": "gpt-4o-2024-08-06", "service_tier": "default",
            "system_fingerprint": "fp_fc9f1d7035", "choices": choices, "usage": usage,
        });
        format!("data: {object}\n\n")
    };
    let last = WORDS.len() - 1;
    let mut text: String = WORDS
        .iter()
        .enumerate()
        .map(|(at, word)| {
            let finish = if at == last { json!("stop") } else { Value::Null };
            // The first one says who speaks, as OpenAI's does.
            let delta = if at == 0 { json!({"role": "assistant", "content": word}) } else { json!({"content": word}) };
            let sure = logprobs(&[word], sure);
            let choice = json!({"index": 0, "delta": delta, "logprobs": sure, "finish_reason": finish});
            chunk(json!([choice]), Value::Null)
        })
        .collect();
    text.push_str(&chunk(json!([]), usage()));
    text.push_str("data: [DONE]\n\n");
    text
}

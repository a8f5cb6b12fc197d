//! The generators: a closed loop (as fast as the other side answers) and an open one (at a given rate, whatever the other
//! side does).

use super::upstream::{EVENTS, Upstream, WORDS};
use super::wire::{Message, Reader, unframed};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// Threads of the open loop: at 200 a second each of them has 80 ms for an answer before it delays its next.
const SENDERS: u32 = 16;
/// A connection that fails so often is given up.
const MOST_ERRORS: u64 = 100;
/// The longest answer, in microseconds.
const LONGEST: u64 = 60_000_000;
/// The word of the prompt in whose place [`Target::each_anew`] puts a number.
const SERIAL: &[u8] = b"committee";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whom to ask, and what.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// The request as bytes.
    pub request: Arc<[u8]>,
    /// The fewest bytes a right answer has; a proxy may add, never take away.
    pub payload: usize,
    /// Whether it is a stream.
    pub stream: bool,
    /// Only its text has to be right: the proxy writes events of its own.
    pub rewritten: bool,
    /// Where each request has a number of its own, and the next of them.
    serial: Option<(usize, Arc<AtomicU64>)>,
}

/// What came of a load.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Right answers.
    pub answers: u64,
    /// Everything else.
    pub errors: u64,
    /// How long it took.
    pub took: Duration,
    /// Latencies in microseconds.
    pub latency: Histogram<u64>,
}

// === impl Target ===

impl Target {
    /// A chat request with a prompt of 0.9 kB that asks for 16 tokens.
    pub fn new(address: SocketAddr, model: &str, key: Option<&str>, stream: bool) -> Self {
        let sentence = "Summarise what the committee decided about the harbour, and name who objected and why. ";
        let prompt: String = sentence.chars().cycle().take(900).collect();
        let messages = json!([
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": prompt},
        ]);
        let body = if stream {
            json!({"stream": true, "stream_options": {"include_usage": true}, "model": model, "max_tokens": 16,
                "messages": messages})
        } else {
            json!({"model": model, "max_tokens": 16, "messages": messages})
        };
        let body = body.to_string();
        let key = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n{key}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        Self {
            address,
            request: request.into_bytes().into(),
            payload: Upstream::payload(stream),
            stream,
            rewritten: false,
            serial: None,
        }
    }

    /// A stream whose client does not ask for the usage.
    pub fn without_usage(address: SocketAddr, model: &str, key: Option<&str>) -> Self {
        let target = Self::new(address, model, key, true);
        let text = String::from_utf8_lossy(&target.request).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let shorter = body.replace(r#""stream_options":{"include_usage":true},"#, "");
        let head =
            head.replace(&format!("content-length: {}", body.len()), &format!("content-length: {}", shorter.len()));
        Self { request: format!("{head}\r\n\r\n{shorter}").into_bytes().into(), ..target }
    }

    /// The same request with further lines in its head.
    pub fn with_head(mut self, lines: &str) -> Self {
        let end = self.request.windows(2).position(|window| window == b"\r\n").map_or(0, |at| at + 2);
        let (first, rest) = self.request.split_at(end);
        self.request = [first, lines.as_bytes(), rest].concat().into();
        self
    }

    /// The same request at a proxy that writes answers anew.
    pub fn rewritten(self) -> Self {
        Self { payload: WORDS.concat().len(), rewritten: true, ..self }
    }

    /// The same, but no prompt comes twice: a number stands in the place of a word.
    pub fn each_anew(self) -> Self {
        let at = self.request.windows(SERIAL.len()).position(|window| window == SERIAL).expect("the prompt's word");
        Self { serial: Some((at, Arc::default())), ..self }
    }

    /// The bytes of the next request; `own` is room for them.
    fn next<'a>(&'a self, own: &'a mut Vec<u8>) -> &'a [u8] {
        let Some((at, serial)) = &self.serial else { return &self.request };
        own.clear();
        own.extend_from_slice(&self.request);
        let number = format!("{:0width$}", serial.fetch_add(1, Ordering::Relaxed), width = SERIAL.len());
        own[*at..*at + SERIAL.len()].copy_from_slice(number.as_bytes());
        own
    }

    /// Asks once and reads the answer to the letter: a fast wrong answer is no answer. Blocks.
    pub fn verify(&self) -> Result<(), String> {
        let mut socket = self.connect().map_err(|error| error.to_string())?;
        let mut reader = Reader::default();
        let message = self.ask(&mut socket, &mut reader).map_err(|error| {
            format!("{error}: {}", String::from_utf8_lossy(&reader.bytes[..reader.bytes.len().min(1_500)]))
        })?;
        let body = unframed(&reader.bytes[message.body], message.payload);
        let text = String::from_utf8_lossy(&body);
        let said: String = if self.stream {
            let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            let counted = self.rewritten || data.len() == EVENTS + 1;
            if !counted || data.last() != Some(&"[DONE]") {
                return Err(format!("{} events instead of {EVENTS} and [DONE]:\n{text}", data.len()));
            }
            let events = data.iter().filter_map(|data| serde_json::from_str::<Value>(data).ok());
            events.filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect()
        } else {
            let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
            answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
        };
        if said == WORDS.concat() { Ok(()) } else { Err(format!("it says {said:?}:\n{text}")) }
    }

    /// Keeps `connections` connections busy for a time; each lets its last answer end.
    pub async fn closed(&self, connections: usize, time: Duration) -> Loaded {
        let latency = Arc::new(Mutex::new(histogram()));
        let start = Instant::now();
        let end = start + time;
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            tasks.spawn(busy(self.clone(), end, latency.clone()));
        }
        let (mut answers, mut errors) = (0, 0);
        for (right, wrong) in tasks.join_all().await {
            answers += right;
            errors += wrong;
        }
        let took = start.elapsed();
        let latency = latency.lock().clone();
        Loaded { answers, errors, took, latency }
    }

    /// Asks at a constant rate. A latency counts from the moment the request was due, not from when it was sent, so that a
    /// stall shows in every request it delayed. Blocks.
    pub fn open(&self, rate: u32, time: Duration) -> Loaded {
        let period = Duration::from_secs(1) / rate;
        let count = (time.as_secs_f64() * f64::from(rate)).round() as u32;
        let start = Instant::now() + Duration::from_millis(50);
        let parts: Vec<_> = std::thread::scope(|scope| {
            let senders: Vec<_> =
                (0..SENDERS).map(|first| scope.spawn(move || self.sender(first, count, start, period))).collect();
            senders.into_iter().map(|sender| sender.join().expect("a sender")).collect()
        });
        let mut all = Loaded { answers: 0, errors: 0, took: start.elapsed(), latency: histogram() };
        parts.iter().for_each(|part| all.add(part));
        all
    }

    fn sender(&self, first: u32, count: u32, start: Instant, period: Duration) -> Loaded {
        let mut loaded = Loaded { answers: 0, errors: 0, took: Duration::ZERO, latency: histogram() };
        let mut socket = self.connect().ok();
        let mut reader = Reader::default();
        for at in (first..count).step_by(SENDERS as usize) {
            let due = start + period * at;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let asked = match &mut socket {
                Some(socket) => self.ask(socket, &mut reader),
                None => Err(io::ErrorKind::NotConnected.into()),
            };
            match asked {
                Ok(_) => loaded.right(due.elapsed()),
                Err(_) => {
                    loaded.errors += 1;
                    socket = self.connect().ok();
                }
            }
            reader.clear();
        }
        loaded
    }

    fn connect(&self) -> io::Result<std::net::TcpStream> {
        let socket = std::net::TcpStream::connect_timeout(&self.address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    }

    fn ask(&self, socket: &mut std::net::TcpStream, reader: &mut Reader) -> io::Result<Message> {
        socket.write_all(self.next(&mut Vec::new()))?;
        let mut piece = [0; 16 << 10];
        loop {
            match socket.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => reader.bytes.extend_from_slice(&piece[..read]),
            }
            if let Some(message) = self.answer(reader)? {
                return Ok(message);
            }
        }
    }

    /// The answer, once it is there; an error when it is not the right one.
    fn answer(&self, reader: &mut Reader) -> io::Result<Option<Message>> {
        match reader.message() {
            Ok(None) => Ok(None),
            Ok(Some(message)) if message.status == 200 && message.payload >= self.payload => Ok(Some(message)),
            Ok(Some(message)) => Err(io::Error::other(format!("status {}", message.status))),
            Err(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

// === impl Loaded ===

impl Loaded {
    /// Nothing yet.
    pub fn nothing() -> Self {
        Self { answers: 0, errors: 0, took: Duration::ZERO, latency: histogram() }
    }

    /// Adds another load's answers; the time stays.
    pub fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.errors += other.errors;
        self.latency.add(&other.latency).expect("the same bounds");
    }

    /// Adds a load that ran after this one.
    pub fn then(&mut self, other: &Self) {
        self.add(other);
        self.took += other.took;
    }

    /// Answers a second.
    pub fn rate(&self) -> f64 {
        self.answers as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// A quantile in milliseconds.
    pub fn ms(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }

    fn right(&mut self, latency: Duration) {
        self.answers += 1;
        record(&mut self.latency, latency);
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds")
}

fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LONGEST).clamp(1, LONGEST));
}

/// One connection of the closed loop.
async fn busy(target: Target, end: Instant, latency: Arc<Mutex<Histogram<u64>>>) -> (u64, u64) {
    let (mut answers, mut errors) = (0, 0);
    let (mut reader, mut own) = (Reader::default(), Vec::new());
    reader.bytes.reserve(16 << 10);
    'connection: while Instant::now() < end && errors < MOST_ERRORS {
        let Ok(mut socket) = tokio::net::TcpStream::connect(target.address).await else {
            errors += 1;
            continue;
        };
        socket.set_nodelay(true).ok();
        loop {
            let sent = Instant::now();
            if sent >= end {
                break 'connection;
            }
            reader.clear();
            let asked = async {
                socket.write_all(target.next(&mut own)).await?;
                loop {
                    if socket.read_buf(&mut reader.bytes).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    if target.answer(&mut reader)?.is_some() {
                        return Ok(());
                    }
                }
            };
            let asked: io::Result<()> = asked.await;
            match asked {
                Ok(()) => {
                    answers += 1;
                    record(&mut latency.lock(), sent.elapsed());
                }
                Err(_) => {
                    errors += 1;
                    continue 'connection;
                }
            }
        }
    }
    (answers, errors)
}

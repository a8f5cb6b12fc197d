//! A stream on its way to the client.
//!
//! Each stream is pumped by a task of its own into a small bounded buffer: a client that does not read stalls only its own
//! stream and is cut after the write timeout, and should it read on, the stream breaks off; a client that leaves is noticed at once, even while the upstream is silent,
//! and dropping the stream stops the upstream.

use super::app::App;
use super::fault::Fault;
use super::headers;
use super::idempotency::First;
use adapters::wire::Telling;
use adapters::{BackendError, Kind};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, Stream, StreamExt, stream};
use http::{HeaderMap, StatusCode};
use policies::Permit;
use router::{AnswerStream, Piece};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

/// Events that wait for a slow reader.
const BUFFERED: usize = 16;

/// About so many events leave in one write, however many more there are.
const MOST_AT_ONCE: usize = 4 * BUFFERED;

/// Nor more bytes than about so many: they wait together for a slow reader.
const MOST_BYTES: usize = 8 << 10;

/// What a pump works with.
pub(super) struct Pump {
    /// Held until the body has ended.
    pub(super) permit: OwnedSemaphorePermit,
    /// How long a reader may take for one event.
    pub(super) write: Duration,
    /// Keeps the bytes for repeats.
    pub(super) record: Option<Record>,
    /// Tells the stream in another form; `None`: its frames leave as they are.
    pub(super) telling: Option<Telling>,
}

/// The bytes of a stream, for repeats of its request.
pub(super) struct Record {
    first: First,
    leave: Permit,
    headers: HeaderMap,
    bytes: BytesMut,
}

// === impl Record ===

impl Record {
    pub(super) fn new(first: First, headers: HeaderMap, leave: Permit) -> Self {
        Self { first, leave, headers, bytes: BytesMut::new() }
    }

    async fn keep(self) {
        self.first.keep(StatusCode::OK, &self.headers, self.bytes.freeze(), Some(&self.leave)).await;
    }
}

/// Starts the pump.
pub(super) fn body(app: &Arc<App>, stream: Box<AnswerStream>, pump: Pump) -> Body {
    let (to_client, from_pump) = mpsc::channel::<Result<Bytes, BrokenOff>>(BUFFERED);
    let cut = app.cut.clone();
    let whole = Arc::new(AtomicBool::new(false));
    let said = whole.clone();
    app.tasks.spawn(async move {
        let (broken, told) = (to_client.clone(), pump.telling.is_some());
        let (write, running) = (pump.write, pump.run(stream, to_client, cut, &said));
        if AssertUnwindSafe(running).catch_unwind().await.is_err() {
            // The attempt was closed when it was dropped. A stream that ends in silence would look like a finished one.
            let error = BackendError::streaming(Kind::Internal("a panic".into()));
            if !told {
                // Whoever tells it in another form is gone with the panic: there the cut alone says it.
                let _ = tokio::time::timeout(write, broken.send(Ok(Fault::event(&error, None)))).await;
            }
            let _ = tokio::time::timeout(write, broken.send(Err(BrokenOff))).await;
        }
    });
    let frames = stream::unfold((from_pump, false, whole), |(mut from_pump, mut broken, whole)| async move {
        let mut ready = Vec::with_capacity(BUFFERED);
        if !broken {
            if from_pump.recv_many(&mut ready, BUFFERED).await == 0 {
                if whole.load(Ordering::Acquire) {
                    return None;
                }
                // The reader stopped and was given up; should it read on, it must not take this for the end.
                broken = true;
            }
            broken |= ready.pop_if(|last| last.is_err()).is_some();
        }
        if ready.is_empty() {
            // Pending once: the connection writes out what it has before it learns that it must break off.
            tokio::task::yield_now().await;
            return Some((Err(BrokenOff), (from_pump, false, whole)));
        }
        Some((Ok(joined(ready.into_iter().flatten())), (from_pump, broken, whole)))
    });
    Body::from_stream(frames.fuse())
}

/// Events that are ready together leave in one write; one alone is not copied.
fn joined(frames: impl IntoIterator<Item = Bytes>) -> Bytes {
    let mut frames = frames.into_iter().filter(|frame| !frame.is_empty());
    let Some(first) = frames.next() else { return Bytes::new() };
    let Some(second) = frames.next() else { return first };
    let mut all = BytesMut::from(first);
    all.extend_from_slice(&second);
    frames.for_each(|frame| all.extend_from_slice(&frame));
    all.freeze()
}

/// Takes the frames that come while everybody else who is ready has a turn, as long as more comes each time; gives back the piece
/// that is none.
///
/// A provider that is ahead of its reader sends many events at once, of which the connection to it hands over one at a time: each
/// would be a write of its own, which costs more than all the rest of an event. Where no more comes, a frame waits for one turn.
async fn gather(mut pieces: Pin<&mut (impl Stream<Item = Piece> + Send)>, frames: &mut Vec<Bytes>) -> Option<Piece> {
    while frames.len() < MOST_AT_ONCE && frames.iter().map(Bytes::len).sum::<usize>() < MOST_BYTES {
        tokio::task::yield_now().await;
        match pieces.next().now_or_never()?? {
            Piece::Frame(frame) => frames.push(frame),
            other @ (Piece::End { .. } | Piece::Error(_)) => return Some(other),
        }
    }
    None
}

/// Ends a body without its proper end, so that no client takes it for one, nor the connection for one to use again.
#[derive(Debug, thiserror::Error)]
#[error("the stream broke off")]
struct BrokenOff;

// === impl Pump ===

impl Pump {
    async fn run(
        self,
        stream: Box<AnswerStream>,
        to_client: mpsc::Sender<Result<Bytes, BrokenOff>>,
        cut: CancellationToken,
        whole: &AtomicBool,
    ) {
        let Self { permit: _held, write, mut record, mut telling } = self;
        // Waited for once, not anew with each event.
        let (mut stopping, mut gone) = (pin!(cut.cancelled()), pin!(to_client.closed()));
        let pieces = stream::unfold(stream, |mut stream| async { stream.next().await.map(|piece| (piece, stream)) });
        let mut pieces = pin!(pieces.fuse());
        let mut next = None;
        let mut frames = Vec::new();
        loop {
            let piece = tokio::select! {
                biased;
                () = &mut stopping => {
                    let error = BackendError::streaming(Kind::Truncated("the gateway is stopping".into()));
                    Some(Piece::Error(error))
                }
                () = &mut gone => None,
                piece = async { next.take() }, if next.is_some() => piece,
                piece = pieces.next() => piece,
            };
            let mut broken = false;
            let (bytes, last) = match piece {
                None => return,
                Some(Piece::Frame(frame)) => {
                    frames.push(frame);
                    next = gather(pieces.as_mut(), &mut frames).await;
                    let frames = frames.drain(..);
                    match &mut telling {
                        None => (joined(frames), false),
                        Some(telling) => (joined(frames.map(|frame| telling.frame(&frame))), false),
                    }
                }
                Some(Piece::End { cost, note }) => {
                    // A comment is one line, and a scope may hold what a configuration file lets it hold.
                    let note = note.map(|note| note.replace(['\r', '\n'], " "));
                    let note = note.map(|note| format!(": sluice-note={note}\n\n")).unwrap_or_default();
                    let comments = format!("{note}: sluice-cost-usd={}\n\n", headers::cost_text(cost));
                    let end = match &mut telling {
                        None => Bytes::from(comments + "data: [DONE]\n\n"),
                        Some(telling) => telling.end(&comments),
                    };
                    (end, true)
                }
                Some(Piece::Error(error)) => {
                    tracing::info!(error = %error, "a stream broke off");
                    record = None;
                    broken = true;
                    (Fault::event(&error, telling.as_mut()), true)
                }
            };
            if bytes.is_empty() {
                // A frame that says nothing in the other form.
                continue;
            }
            if let Some(record) = &mut record {
                record.bytes.extend_from_slice(&bytes);
            }
            // Before the last byte: whoever has the answer is never billed for it again.
            if last && let Some(record) = record.take() {
                record.keep().await;
            }
            // A reader that does not take a frame in time is gone, as far as the upstream is concerned.
            let sent = match to_client.try_send(Ok(bytes)) {
                Ok(()) => true,
                Err(TrySendError::Closed(_)) => false,
                Err(TrySendError::Full(bytes)) => {
                    matches!(tokio::time::timeout(write, to_client.send(bytes)).await, Ok(Ok(())))
                }
            };
            if broken {
                // A client that is gone needs no breaking off.
                let _ = tokio::time::timeout(write, to_client.send(Err(BrokenOff))).await;
            }
            if last || !sent {
                // Before the channel closes, which is how the body learns of the end.
                whole.store(last && sent && !broken, Ordering::Release);
                return;
            }
        }
    }
}

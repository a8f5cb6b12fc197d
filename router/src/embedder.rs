//! Vectors made in this process: the sentence encoder that the judge reads with ([`crate::classify::encoder`]), as a backend.
//!
//! **Promise.** Each text becomes the vector that the judge would get of it: 384 numbers, of length one. Tokens are those that
//! the network read, its two marks included. Nothing leaves the process, so it may have data of any class that local models may.
//!
//! **Why an encoder of its own.** The judge waits 25 ms for one and then does without; a batch of a thousand texts would make it
//! blind for ten seconds.
//!
//! **Failure behaviour.** A text of more than 128 tokens is refused, never cut: a vector of its two ends would pass for one of the whole.
//! One request runs at a time; beyond the queue others are refused at once. A request whose client left stops before its next text.
//! All that takes time, the text of the answer included, is done on one thread that may block: those that serve wait for it.
//!
//! **What it does not do.** No other length than 384 (the network was not trained to be cut), no tokens in place of texts.

use crate::classify::encoder::{DIMENSIONS, Encoder, EncoderError, MOST_TOKENS};
use adapters::wire::{Seen, vectors};
use adapters::{Backend, BackendError, Call, Clock, Description, Event, Events, Kind, Load};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use policies::{Capabilities, Counted, ProviderName, Readiness, Usage};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the encoder holds, about.
const MEMORY: u64 = 18 << 20;

/// Makes vectors of texts.
pub struct Embedder {
    provider: ProviderName,
    encoder: Arc<Encoder>,
    /// Those that run or wait.
    places: Arc<Semaphore>,
    /// Who runs.
    turn: Arc<Semaphore>,
    /// The most that wait.
    queue: usize,
    /// How long one waits for its turn.
    patience: Duration,
}

/// What came of a request's texts.
struct Made {
    /// The answer, ready to be sent.
    body: Bytes,
    tokens: u64,
    busy: Duration,
}

/// How the answer is to be told.
struct Form {
    model: String,
    base64: bool,
}

/// Tells the worker that nobody waits for it any longer.
struct Leaving(Arc<AtomicBool>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder").field("provider", &self.provider).finish_non_exhaustive()
    }
}

// === impl Embedder ===

impl Embedder {
    /// Loads the encoder, in about 30 ms; `queue` requests may wait, each for `patience`.
    ///
    /// # Errors
    /// Assets that do not fit each other.
    pub fn new(provider: ProviderName, queue: usize, patience: Duration) -> Result<Self, EncoderError> {
        let (places, turn) = (Arc::new(Semaphore::new(queue.saturating_add(1))), Arc::new(Semaphore::new(1)));
        Ok(Self { provider, encoder: Arc::new(Encoder::bundled()?), places, turn, queue, patience })
    }

    /// A place among those that wait, and then the turn.
    async fn enter(&self) -> Result<[OwnedSemaphorePermit; 2], Kind> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Kind::QueueFull)?;
        let turn = tokio::time::timeout(self.patience, self.turn.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| Kind::Timeout(Clock::Queue))?;
        let turn = turn.map_err(|_| Kind::NotReady("the encoder was shut down".into()))?;
        Ok([place, turn])
    }
}

#[async_trait]
impl Backend for Embedder {
    async fn call(&self, call: Call) -> Result<Events, BackendError> {
        call.permitted_for(&self.provider)?;
        let Some(inputs) = call.request.view.inputs() else {
            return Err(BackendError::before_send(Kind::Unsupported("this model makes embeddings only".into())));
        };
        let refused = if !inputs.tokens().is_empty() {
            Some(Kind::Unsupported("this model reads texts: it cannot know whose tokens these are".into()))
        } else if inputs.dimensions.is_some_and(|wanted| wanted != DIMENSIONS as u64) {
            Some(Kind::Invalid(format!("`dimensions` of this model are {DIMENSIONS}: leave it out")))
        } else {
            None
        };
        if let Some(kind) = refused {
            return Err(BackendError::before_send(kind));
        }
        let permits = self.enter().await.map_err(BackendError::before_send)?;
        let (encoder, request, gone) = (self.encoder.clone(), call.request.clone(), Arc::new(AtomicBool::new(false)));
        let leaving = Leaving(gone.clone());
        let form = Form { model: call.model, base64: inputs.base64 };
        let working = tokio::task::spawn_blocking(move || {
            let _permits = permits;
            make(&encoder, request.view.texts(), &form, &gone)
        });
        let made = working.await.unwrap_or_else(|_| Err(Kind::Internal("the encoder panicked".into())));
        drop(leaving);
        let Made { body, tokens, busy } = made.map_err(BackendError::before_send)?;
        let usage = Some(Counted::Exact(Usage::plain(tokens, 0)));
        let seen = Seen { usage, finish: Some("stop".into()), busy: Some(busy), ..Seen::default() };
        Ok(stream::iter([Ok(Event::Whole { body, seen })]).boxed())
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    fn describe(&self) -> Description {
        let capabilities = Capabilities { tools: false, json_schema: false, logprobs: false, ..Capabilities::TEXT };
        Description {
            capabilities,
            context_window: Some(MOST_TOKENS as u64),
            memory_bytes: Some(MEMORY),
            source: "all-MiniLM-L6-v2 in int8, in the program".into(),
        }
    }

    fn load(&self) -> Option<Load> {
        let inside = self.queue.saturating_add(1).saturating_sub(self.places.available_permits());
        let running = 1usize.saturating_sub(self.turn.available_permits()).min(inside);
        let count = |requests: usize| requests as u64;
        let (waiting, running) = (count(inside - running), count(running));
        Some(Load { waiting, running, most_waiting: Some(count(self.queue)) })
    }

    async fn shutdown(&self) {
        self.turn.close();
    }
}

/// Encodes one text after the other, and writes the answer; ends early where nobody waits any longer.
fn make<'a>(
    encoder: &Encoder,
    texts: impl Iterator<Item = &'a str>,
    form: &Form,
    gone: &AtomicBool,
) -> Result<Made, Kind> {
    let begun = Instant::now();
    let failed = |error: EncoderError| Kind::Internal(error.to_string());
    let (mut made, mut tokens) = (Vec::new(), 0u64);
    for text in texts {
        if gone.load(Ordering::Relaxed) {
            return Err(Kind::NotReady("nobody waits for it".into()));
        }
        let encoded = encoder.encode(text, "").map_err(failed)?;
        if encoded.unread_bytes > 0 {
            let prompt = encoder.tokens(text).map_err(failed)? as u64;
            return Err(Kind::ContextLength { prompt, window: MOST_TOKENS as u64 });
        }
        tokens += encoded.tokens as u64;
        made.push(*encoded.vector);
    }
    let body = vectors(&form.model, &made, form.base64, tokens);
    Ok(Made { body, tokens, busy: begun.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use adapters::wire::WireRequest;
    use policies::{Classes, Endpoint, Location};
    use serde_json::{Value, json};

    fn call(endpoint: Endpoint, body: Value) -> Call {
        let classes = Classes::standard();
        let class = classes.named("restricted").unwrap();
        Call {
            permit: classes.permit(class, &"p".into(), Location::Local, None).unwrap(),
            request: Arc::new(WireRequest::parse(endpoint, body.to_string().into()).unwrap()),
            masked: None,
            id: "r".into(),
            model: "minilm".into(),
            stream: false,
            max_output: None,
            traceparent: None,
            watch: false,
        }
    }

    async fn answer(embedder: &Embedder, input: Value, more: Value) -> Result<Value, Kind> {
        let mut body = json!({"model": "minilm", "input": input});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut events = embedder.call(call(Endpoint::Embeddings, body)).await.map_err(|error| error.kind)?;
        match events.next().await {
            Some(Ok(Event::Whole { body, seen })) => {
                let answer: Value = serde_json::from_slice(&body).unwrap();
                let told = answer["usage"]["prompt_tokens"].as_u64().unwrap();
                assert_eq!(seen.usage, Some(Counted::Exact(Usage::plain(told, 0))));
                Ok(answer)
            }
            other => unreachable!("{other:?}"),
        }
    }

    fn vector(answer: &Value, at: usize) -> Vec<f64> {
        answer["data"][at]["embedding"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    }

    fn embedder() -> Embedder {
        Embedder::new("p".into(), 4, Duration::from_secs(60)).unwrap()
    }

    #[tokio::test]
    async fn vectors_have_length_one_mean_what_was_said_and_count_each_token() {
        let texts =
            json!(["A cat sat on the mat.", "The kitten is sitting on a rug.", "Quarterly revenue fell by 3%."]);
        let answer = answer(&embedder(), texts, json!({})).await.unwrap();
        let product = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
        let [cat, kitten, money] = [0, 1, 2].map(|at| vector(&answer, at));
        assert!(cat.len() == DIMENSIONS && (product(&cat, &cat) - 1.0).abs() < 1e-4);
        assert!(product(&cat, &kitten) > product(&cat, &money) + 0.3);
        // [CLS] and [SEP] with seven, eight and seven pieces (`%` and `.` are pieces, too).
        assert_eq!(answer["usage"]["prompt_tokens"], 9 + 10 + 9);
    }

    #[tokio::test]
    async fn what_it_cannot_do_is_refused_and_nothing_is_cut() {
        let embedder = embedder();
        let long = "word ".repeat(127);
        match answer(&embedder, json!(["short", long]), json!({})).await {
            Err(Kind::ContextLength { prompt, window }) => assert_eq!((prompt, window), (129, 128)),
            other => unreachable!("{other:?}"),
        }
        assert!(answer(&embedder, json!("word ".repeat(126)), json!({})).await.is_ok(), "it fits just");
        assert!(matches!(answer(&embedder, json!([1, 2]), json!({})).await, Err(Kind::Unsupported(_))));
        assert!(matches!(answer(&embedder, json!("x"), json!({"dimensions": 64})).await, Err(Kind::Invalid(_))));
        assert!(answer(&embedder, json!("x"), json!({"dimensions": 384, "encoding_format": "float"})).await.is_ok());
        let chat = json!({"model": "minilm", "messages": [{"role": "user", "content": "x"}]});
        assert!(embedder.call(call(Endpoint::Chat, chat)).await.is_err());
    }

    #[tokio::test]
    async fn more_than_may_wait_are_refused_at_once_and_a_place_comes_back() {
        let embedder = Embedder::new("p".into(), 0, Duration::from_secs(60)).unwrap();
        let held = embedder.enter().await.unwrap();
        assert!(matches!(answer(&embedder, json!("x"), json!({})).await, Err(Kind::QueueFull)));
        assert_eq!(embedder.load(), Some(Load { waiting: 0, running: 1, most_waiting: Some(0) }));
        drop(held);
        assert!(answer(&embedder, json!("x"), json!({})).await.is_ok());
        assert_eq!(embedder.load(), Some(Load { most_waiting: Some(0), ..Load::default() }));
    }

    #[test]
    fn a_request_that_nobody_waits_for_stops_before_its_next_text() {
        let encoder = Encoder::bundled().unwrap();
        let gone = AtomicBool::new(false);
        let texts = ["a", "b", "c"].into_iter().inspect(|text| gone.store(*text == "b", Ordering::Relaxed));
        let form = Form { model: "m".into(), base64: false };
        assert!(matches!(make(&encoder, texts, &form, &gone), Err(Kind::NotReady(_))));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn vectors_are_told_on_no_thread_that_serves() {
        const TEXTS: usize = 24;
        let made = vec![[0.123_456_78_f32; DIMENSIONS]; TEXTS];
        let embedder = Arc::new(embedder());
        let metrics = tokio::runtime::Handle::current().metrics();
        let mut seen = Vec::new();
        // A machine that is busy may stop a thread at any moment, so one quiet try of some says it: a thread that tells the
        // vectors itself is never that quick.
        let quiet = async {
            for _ in 0..5 {
                let begun = Instant::now();
                assert!(vectors("minilm", &made, false, 1).len() > TEXTS * DIMENSIONS * 5);
                let telling = begun.elapsed();
                let (embedder, before) = (embedder.clone(), metrics.worker_total_busy_duration(0));
                // Spawned, so that it runs on the one worker and not on the thread of the test.
                let mut answering = tokio::task::JoinSet::new();
                answering.spawn(async move { answer_untouched(&embedder, vec!["a"; TEXTS]).await });
                answering.join_next().await.unwrap().unwrap();
                let busy = metrics.worker_total_busy_duration(0) - before;
                seen.push((busy, telling));
                if busy < telling / 2 {
                    return true;
                }
            }
            false
        };
        assert!(quiet.await, "how long a thread that serves was busy, and how long telling takes: {seen:?}");
    }

    /// Asks, and reads nothing of what comes.
    async fn answer_untouched(embedder: &Embedder, texts: Vec<&str>) {
        let call = call(Endpoint::Embeddings, json!({"model": "minilm", "input": texts}));
        let mut events = embedder.call(call).await.unwrap();
        assert!(matches!(events.next().await, Some(Ok(Event::Whole { .. }))));
    }
}

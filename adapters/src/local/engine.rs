//! A local model as a [`Backend`].
//!
//! **Promise.** [`LocalEngine::spawn`] returns at once; the model loads in the background. A call is checked, tokenised and
//! counted before it waits; it waits in a bounded queue; its events come from a buffer that the engine never waits for.
//! Dropping the events ends the generation with the next token.
//!
//! **Failure behaviour.** Not loaded, down, full, too long: an error before anything was sent. A death of the engine in the
//! midst: one error, with the phase that was reached.
//!
//! **What it does not do.** Nothing of routing, money or HTTP.

use super::chunks::{Composer, Head};
use super::host::{self, State};
use super::line::{End, Line, Meter, Piece};
use super::load::{Loaded, Voice};
use super::queue::{Queue, Rates};
use super::request::{self, Prepared};
use super::spec::{DEFAULT_CONCURRENCY, LocalSpec};
use super::tools::Mode;
use crate::backend::{Backend, Call, Description, Event, Events, Load, Question};
use crate::error::{BackendError, Kind};
use async_trait::async_trait;
use futures::StreamExt;
use mistralrs_core::{
    Constraint, CustomLogitsProcessor, MistralRs, NormalRequest, Request, RequestMessage, Response, SamplingParams,
};
use parking_lot::Mutex;
use policies::{Capabilities, Readiness};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};

/// Prompts that are tokenised at once: it is CPU work that the engine needs, too.
const TOKENISERS: usize = 2;
/// Room in the engine's reply channel: a sequence that ends with its first token ends twice (mistral.rs 0.8.1).
const REPLIES: usize = 8;
/// How long shutting down waits for the sequences in the engine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tokens of the warm-up's prompt: enough to measure prefill.
const WARM_UP_PROMPT: usize = 64;
/// Tokens of the warm-up's answer.
const WARM_UP_ANSWER: u64 = 8;

/// What runs, when it runs.
struct Running {
    voice: Arc<Voice>,
    sender: mpsc::Sender<Request>,
    /// Keeps the engine's thread.
    _engine: Arc<MistralRs>,
    bytes: u64,
}

/// What the threads of a model share.
pub(super) struct Shared {
    pub(super) spec: LocalSpec,
    source: Arc<str>,
    state: Mutex<State>,
    running: Mutex<Option<Running>>,
    queue: Arc<Queue>,
    meter: Arc<Meter>,
    tokenisers: Semaphore,
    changed: watch::Sender<u64>,
}

/// A local model.
pub struct LocalEngine {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

/// Everything a request leaves behind when its reader goes: the line sees it at its next step.
struct Reader {
    pieces: mpsc::Receiver<Piece>,
    replies: Arc<Mutex<mpsc::Receiver<Response>>>,
    gone: Arc<AtomicBool>,
}

// === impl LocalEngine ===

impl LocalEngine {
    /// Starts loading a model in the background.
    pub fn spawn(spec: LocalSpec) -> Arc<Self> {
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            source: spec.source.to_string().into(),
            // Whatever the specification says: clients must not read each other's answers.
            queue: Queue::new(spec.queue, spec.concurrency.min(DEFAULT_CONCURRENCY), spec.queue_wait),
            state: Mutex::new(State { readiness: Readiness::Loading, progress: 0.0 }),
            running: Mutex::new(None),
            meter: Arc::default(),
            tokenisers: Semaphore::new(TOKENISERS),
            changed: watch::channel(0).0,
            spec,
        });
        if !super::spec::built_for_speed() {
            tracing::warn!("this binary was built without AVX2 or NEON: local models run three to four times slower");
        }
        let inside = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("sluice-local".into()).spawn(move || host::run(&inside, stopped));
        if let Err(error) = thread {
            shared.down(format!("no thread for the model: {error}"), None);
        }
        Arc::new(Self { shared, stop })
    }

    /// Waits until the model has loaded or failed; gives the state it then has.
    pub async fn settled(&self) -> Readiness {
        let mut changes = self.shared.changed.subscribe();
        loop {
            let readiness = self.readiness();
            if readiness != Readiness::Loading || changes.changed().await.is_err() {
                return readiness;
            }
        }
    }

    /// Ticks whenever the readiness changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Tokens that the model chose since it was spawned: for tests and metrics.
    pub fn generated(&self) -> u64 {
        self.shared.meter.generated.load(Ordering::Relaxed)
    }

    /// Measured rates: for `/api/models` and benchmarks.
    pub fn rates(&self) -> Rates {
        self.shared.queue.rates()
    }

    /// Makes the engine panic at its next step: for tests of the restart.
    #[doc(hidden)]
    pub fn fail_next_step(&self) {
        self.shared.meter.fault.store(true, Ordering::Relaxed);
    }

    /// Exact number of prompt tokens of a chat or completion request.
    ///
    /// # Errors
    /// As [`Backend::call`] before anything is sent.
    pub async fn count(&self, call: &Call) -> Result<u64, BackendError> {
        let voice = self.shared.voice()?;
        self.shared.prepared(voice, call.clone()).await.map(|prepared| prepared.tokens.len() as u64)
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.stop.send_replace(true);
    }
}

#[async_trait]
impl Backend for LocalEngine {
    async fn call(&self, call: Call) -> Result<Events, BackendError> {
        call.permitted_for(&self.shared.spec.provider)?;
        let voice = self.shared.voice()?;
        let head = Head {
            endpoint: call.request.endpoint,
            id: call.id.as_str().to_owned(),
            model: call.model.clone(),
            prompt: 0,
            logprobs: call.request.view.sampling.logprobs.is_some(),
            watch: call.watch,
        };
        let prepared = self.shared.prepared(Arc::clone(&voice), call).await?;
        let head = Head { prompt: prepared.tokens.len() as u64, ..head };
        let (mode, reader) = self.shared.submit(&voice, prepared).await?;
        Ok(events(reader, Composer::new(head, voice, mode)))
    }

    fn readiness(&self) -> Readiness {
        self.shared.state.lock().readiness.clone()
    }

    fn progress(&self) -> Option<f32> {
        Some(self.shared.state.lock().progress)
    }

    fn describe(&self) -> Description {
        let running = self.shared.running.lock();
        let window = running.as_ref().map(|running| running.voice.window);
        Description {
            capabilities: Capabilities::TEXT,
            context_window: window.or(self.shared.spec.context_window),
            memory_bytes: running.as_ref().map(|running| running.bytes),
            source: self.shared.source.clone(),
        }
    }

    fn first_token_in(&self, prompt_tokens: u64) -> Option<Duration> {
        Some(self.shared.queue.first_token_in(prompt_tokens))
    }

    fn load(&self) -> Option<Load> {
        Some(self.shared.queue.load())
    }

    async fn ask(&self, question: Question) -> Result<f32, BackendError> {
        let voice = self.shared.voice()?;
        let asked = Arc::clone(&voice);
        let prepared = self.shared.tokenise(move |_| request::compare(&asked, &question)).await?;
        let (_, mut reader) = self.shared.submit(&voice, prepared).await?;
        match reader.pieces.recv().await {
            Some(Piece::Share(share)) => Ok(share),
            Some(Piece::Failed(why)) => Err(BackendError::before_first_event(Kind::Internal(why))),
            Some(Piece::Text { .. }) | None => {
                Err(BackendError::before_first_event(Kind::Internal(reader.last_words())))
            }
        }
    }

    async fn shutdown(&self) {
        self.shared.queue.close();
        if tokio::time::timeout(PATIENCE, self.shared.queue.idle()).await.is_err() {
            tracing::warn!("the local model is still busy; it is stopped now");
        }
        self.stop.send_replace(true);
    }
}

/// The events of an answer: a stream over the reader's pieces.
fn events(reader: Reader, composer: Composer) -> Events {
    let start = (reader, composer, VecDeque::new(), false);
    let events = futures::stream::unfold(start, |(mut reader, mut composer, mut ready, over)| async move {
        loop {
            if let Some(event) = ready.pop_front() {
                let over = over || matches!(event, Err(_) | Ok(Event::Done));
                return Some((event, (reader, composer, ready, over)));
            }
            if over {
                return None;
            }
            match reader.pieces.recv().await {
                Some(piece) => ready.extend(composer.events(piece)),
                None => ready.push_back(Err(composer.broken(reader.last_words()))),
            }
        }
    });
    events.boxed()
}

// === impl Reader ===

impl Reader {
    /// What the engine said before it fell silent.
    fn last_words(&mut self) -> String {
        match self.replies.lock().try_recv() {
            Ok(Response::InternalError(error) | Response::ValidationError(error)) => error.to_string(),
            Ok(Response::ModelError(error, _) | Response::CompletionModelError(error, _)) => error,
            Ok(_) | Err(_) => "the engine stopped in the midst of the answer".into(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

// === impl Shared ===

impl Shared {
    fn voice(&self) -> Result<Arc<Voice>, BackendError> {
        let why = match &self.state.lock().readiness {
            Readiness::Ready => None,
            Readiness::Loading => Some("the model is being loaded".to_owned()),
            Readiness::Down { why, .. } => Some(why.clone()),
        };
        match (why, self.running.lock().as_ref()) {
            (None, Some(running)) => Ok(Arc::clone(&running.voice)),
            (why, _) => Err(BackendError::before_send(Kind::NotReady(
                why.unwrap_or_else(|| "the model is being loaded".into()),
            ))),
        }
    }

    async fn prepared(self: &Arc<Self>, voice: Arc<Voice>, call: Call) -> Result<Prepared, BackendError> {
        self.tokenise(move |spec| request::prepare(spec, &voice, &call)).await
    }

    /// Prepares a request on a thread for such work, a few at a time.
    async fn tokenise(
        self: &Arc<Self>,
        work: impl FnOnce(&LocalSpec) -> Result<Prepared, Kind> + Send + 'static,
    ) -> Result<Prepared, BackendError> {
        let before = BackendError::before_send;
        let _turn = self.tokenisers.acquire().await.map_err(|error| before(Kind::Internal(error.to_string())))?;
        let shared = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&shared.spec)).await {
            Ok(prepared) => prepared.map_err(before),
            Err(_) => Err(before(Kind::Internal("tokenising the prompt panicked".into()))),
        }
    }

    /// Waits for a turn and hands a request to the engine.
    async fn submit(&self, voice: &Arc<Voice>, prepared: Prepared) -> Result<(Mode, Reader), BackendError> {
        let Prepared { tokens, task, limit, mode } = prepared;
        let before = BackendError::before_send;
        let ticket = self.queue.enter(tokens.len() as u64, limit).await.map_err(before)?;
        let Some(sender) = self.running.lock().as_ref().map(|running| running.sender.clone()) else {
            return Err(before(Kind::NotReady("the engine is being started again".into())));
        };
        // One piece a token, and one for the end: whoever reads slowly slows nobody.
        let (pieces, received) = mpsc::channel(limit as usize + 2);
        let (reply, replies) = mpsc::channel(REPLIES);
        let replies = Arc::new(Mutex::new(replies));
        let gone = Arc::new(AtomicBool::new(false));
        let fixed = (voice.ends.clone(), Arc::clone(&self.meter));
        let line: Arc<dyn CustomLogitsProcessor> =
            Arc::new(Line::new(task, pieces, Arc::clone(&replies), Arc::clone(&gone), fixed, ticket));
        let request = NormalRequest {
            messages: RequestMessage::CompletionTokens(tokens),
            // The line ends the answer itself; this ceiling is only for a line that failed to.
            sampling_params: SamplingParams { max_len: Some(limit as usize + 2), ..SamplingParams::deterministic() },
            response: reply,
            return_logprobs: false,
            is_streaming: false,
            id: 0,
            constraint: Constraint::None,
            suffix: None,
            tools: None,
            tool_choice: None,
            logits_processors: Some(vec![line]),
            return_raw_logits: false,
            web_search_options: None,
            model_id: None,
            truncate_sequence: false,
        };
        sender
            .send(Request::Normal(Box::new(request)))
            .await
            .map_err(|_| before(Kind::NotReady("the engine is being started again".into())))?;
        Ok((mode, Reader { pieces: received, replies, gone }))
    }

    /// Takes a loaded model and runs a short prompt through it: the first requests are slower, the rates start from it, and a
    /// model without all its weights shows it here.
    pub(super) async fn warm_up(&self, loaded: Loaded) -> Result<(), String> {
        let voice = Arc::clone(&loaded.voice);
        tracing::info!(provider = %self.spec.provider, path = %loaded.path.display(), window = voice.window, "the local model is loaded");
        *self.running.lock() = Some(Running {
            voice: Arc::clone(&voice),
            sender: loaded.sender,
            _engine: loaded.engine,
            bytes: loaded.bytes,
        });
        let filler = (0..voice.ends.vocabulary as u32).find(|token| !voice.ends.tokens.contains(token)).unwrap_or(0);
        let lengths: &[usize] = if self.spec.warm_up { &[WARM_UP_PROMPT, WARM_UP_PROMPT] } else { &[1] };
        for length in lengths {
            let length = (*length).min(voice.window as usize / 2).max(1);
            let limit = if self.spec.warm_up { WARM_UP_ANSWER.min(voice.window - length as u64) } else { 1 };
            let prepared =
                Prepared { tokens: vec![filler; length], task: request::probe(&voice, limit), limit, mode: Mode::None };
            let (_, mut reader) = self.submit(&voice, prepared).await.map_err(|error| error.to_string())?;
            loop {
                match reader.pieces.recv().await {
                    Some(Piece::Text { end: Some(End::Stop | End::Length), .. }) => break,
                    Some(Piece::Text { .. } | Piece::Share(_)) => {}
                    Some(Piece::Failed(why)) => return Err(format!("the model fails: {why}")),
                    None => return Err(format!("the model fails: {}", reader.last_words())),
                }
            }
        }
        Ok(())
    }

    pub(super) fn progress(&self, share: f32) {
        self.state.lock().progress = share.clamp(0.0, 0.99);
    }

    pub(super) fn ready(&self) {
        self.set(State { readiness: Readiness::Ready, progress: 1.0 });
    }

    pub(super) fn loading(&self) {
        self.set(State { readiness: Readiness::Loading, progress: 0.0 });
    }

    pub(super) fn down(&self, why: String, retry_after: Option<Duration>) {
        if retry_after.is_none() {
            tracing::warn!(provider = %self.spec.provider, %why, "the local model is down");
        }
        self.set(State { readiness: Readiness::Down { why, retry_after }, progress: 0.0 });
    }

    /// Lets go of the engine: its thread ends with the last reference.
    pub(super) fn leave(&self) {
        drop(self.running.lock().take());
    }

    fn set(&self, state: State) {
        *self.state.lock() = state;
        self.changed.send_modify(|count| *count += 1);
    }
}

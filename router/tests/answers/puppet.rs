//! Models whose every call is played by the test, event by event, and a bench with one local and two hosted ones.

use super::bench::{Bench, LOCAL, LONG, ask, config, half, model};
use adapters::scripted::{Play, Scripted};
use adapters::wire::{Certainty, Seen, seen_in_chunk, seen_in_whole, sse};
use adapters::{Backend, BackendError, Call, Description, Event, Events, Kind};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use policies::detect::Detectors;
use policies::{Capabilities, Location, ModelName, NanoDollars, OnExceeded, Readiness};
use router::compare::Question;
use router::{
    Answer, Ask, BudgetSpec, CascadeConfig, Drains, ExperimentSpec, Masking, PairJudge, RouterConfig, Scope, Trial,
    Window,
};
use serde_json::{Value, json};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

pub(crate) const HOSTED: [&str; 2] = ["hosted", "other-hosted"];
/// So unsure, or so sure, of a token that any beginning is settled at the second.
pub(crate) const UNSURE: Certainty = Certainty { logprob: -9.0, entropy: 9.0 };
pub(crate) const SURE: Certainty = Certainty { logprob: -0.01, entropy: 9.0 };

pub(crate) type Sent = Result<Event, BackendError>;

/// A backend whose every call is played by the test.
pub(crate) struct Puppet(mpsc::Sender<Line>);

/// A call under way; its events are sent, and that it is dropped is seen, from here.
pub(crate) struct Line {
    pub(crate) call: Call,
    events: mpsc::Sender<Sent>,
    /// How many events were read.
    pub(crate) read: Arc<AtomicUsize>,
}

/// The calls that come to a model.
pub(crate) struct Calls(Mutex<mpsc::Receiver<Line>>);

#[async_trait]
impl Backend for Puppet {
    async fn call(&self, call: Call) -> Result<Events, BackendError> {
        let (events, mut coming) = mpsc::channel(64);
        let read: Arc<AtomicUsize> = Arc::default();
        self.0.send(Line { call, events, read: read.clone() }).await.unwrap();
        let next = move |cx: &mut Context<'_>| {
            let polled = coming.poll_recv(cx);
            read.fetch_add(usize::from(polled.is_ready()), Ordering::SeqCst);
            polled
        };
        Ok(stream::poll_fn(next).boxed())
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    fn describe(&self) -> Description {
        Description {
            capabilities: Capabilities::ALL,
            context_window: None,
            memory_bytes: None,
            source: "puppet".into(),
        }
    }
}

// === impl Calls ===

impl Calls {
    pub(crate) async fn next(&self) -> Line {
        timeout(LONG, self.0.lock().await.recv()).await.expect("a call in time").unwrap()
    }

    pub(crate) async fn none(&self) -> bool {
        self.0.lock().await.try_recv().is_err()
    }
}

// === impl Line ===

impl Line {
    pub(crate) fn delta(&self, text: &str, finish: Option<&str>, certainty: Option<Certainty>) {
        let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": finish});
        let payload = json!({"object": "chat.completion.chunk", "choices": [choice]}).to_string();
        let seen = seen_in_chunk(payload.as_bytes()).unwrap();
        let seen = Seen { certainty: certainty.into_iter().collect(), ..seen };
        self.send(Ok(Event::Delta { frame: sse::frame(payload.as_bytes()), seen }));
    }

    /// A token of a model that is so sure of it.
    pub(crate) fn token(&self, text: &str, certainty: Certainty) {
        self.delta(text, None, Some(certainty));
    }

    /// A piece of a hosted stream.
    pub(crate) fn text(&self, text: &str) {
        self.delta(text, None, None);
    }

    pub(crate) fn whole(&self, text: &str, input: u64, output: u64) {
        let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
        let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
        let body = json!({"object": "chat.completion", "choices": [choice], "usage": usage}).to_string();
        let seen = seen_in_whole(body.as_bytes()).unwrap();
        self.send(Ok(Event::Whole { body: body.into(), seen }));
    }

    /// The event that says what the answer cost.
    pub(crate) fn usage(&self, input: u64, output: u64) {
        let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
        self.payload(&json!({"object": "chat.completion.chunk", "choices": [], "usage": usage}));
    }

    pub(crate) fn payload(&self, payload: &Value) {
        let payload = payload.to_string();
        let seen = seen_in_chunk(payload.as_bytes()).unwrap();
        self.send(Ok(Event::Delta { frame: sse::frame(payload.as_bytes()), seen }));
    }

    pub(crate) fn fail(&self) {
        self.send(Err(BackendError::before_first_event(Kind::Truncated("scripted".into()))));
    }

    pub(crate) fn end(&self) {
        self.delta("", Some("stop"), None);
        self.send(Ok(Event::Done));
    }

    /// What nobody listens to any longer is lost, as on a real connection.
    pub(crate) fn send(&self, event: Sent) {
        let _ = self.events.try_send(event);
    }

    /// Waits until so many of its events were read.
    pub(crate) async fn read(&self, count: usize) {
        let until = Instant::now() + LONG;
        while self.read.load(Ordering::SeqCst) < count {
            assert!(Instant::now() < until, "read in time");
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn dropped(&self) {
        timeout(LONG, self.events.closed()).await.expect("dropped in time");
    }
}

/// The bench, and the calls that come to each model.
pub(crate) struct Stage {
    bench: Bench,
    pub(crate) local: Calls,
    pub(crate) hosted: [Calls; 2],
    tasks: TaskTracker,
}

/// What a stage is set up with.
pub(crate) struct Setting {
    pub(crate) cascade: CascadeConfig,
    pub(crate) limit: Option<NanoDollars>,
    /// The context window of the first hosted model.
    pub(crate) window: Option<u64>,
    /// Every request is answered by the other side, too.
    pub(crate) shadowed: bool,
    /// What the local model answers by itself, without being waited for.
    pub(crate) at_once: Option<Play>,
    /// What hosted models get placeholders for, and who finds it.
    pub(crate) masking: Option<(Masking, Arc<Detectors>)>,
    /// Whether the first hosted provider bills answers that are cancelled.
    pub(crate) bills: bool,
}

pub(crate) const ON: CascadeConfig = CascadeConfig {
    width: 0.5,
    observe: false,
    hold_tokens: 6,
    hold: Duration::from_secs(60),
    hedge: true,
    samples: 1,
};

impl Default for Setting {
    fn default() -> Self {
        Self { cascade: ON, limit: None, window: None, shadowed: false, at_once: None, masking: None, bills: false }
    }
}

impl Deref for Stage {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        &self.bench
    }
}

// === impl Stage ===

impl Stage {
    pub(crate) fn new(setting: Setting) -> Self {
        let played = |name: &str, location| {
            let (calls, coming) = mpsc::channel(64);
            (model(name, location, Arc::new(Puppet(calls))), Calls(Mutex::new(coming)))
        };
        let (mut local, local_calls) = played(LOCAL, Location::Local);
        if let Some(play) = setting.at_once {
            local.provider.backend = Arc::new(Scripted::new([play]));
        }
        let (mut first, first_calls) = played(HOSTED[0], Location::Hosted);
        first.context_window = setting.window;
        first.provider.drains = setting.bills.then(Drains::default);
        let (second, second_calls) = played(HOSTED[1], Location::Hosted);
        let (masking, detectors) = setting.masking.unzip();
        let config = RouterConfig {
            masking,
            detectors,
            hosted: HOSTED.iter().map(|name| ModelName::from(*name)).collect(),
            cascade: setting.cascade,
            ..config()
        };
        let limits = setting.limit.map(|limit| BudgetSpec {
            on_exceeded: OnExceeded::Local,
            ..BudgetSpec::dollars(Scope::Org, limit, Window::Total)
        });
        let shadow = setting.shadowed.then(|| ExperimentSpec {
            name: "all".into(),
            kind: Trial::Shadow(1.0),
            sides: None,
            judge: PairJudge::Nobody,
            question: Question { margin: 0.05, error: 0.05 },
            daily: None,
            act: None,
            system: None,
            quiet: None,
        });
        let (models, limits) = (vec![local, first, second], limits.into_iter().collect());
        let bench = Bench::shadowed(config, models, half(), limits, shadow);
        Self { bench, local: local_calls, hosted: [first_calls, second_calls], tasks: TaskTracker::new() }
    }

    pub(crate) fn ask(&self, id: &str, stream: bool, class: Option<&str>) -> JoinHandle<Answer> {
        let asked = ask(id, "Compare two things.", &json!({"stream": stream}));
        self.answer_to(Ask { class: class.map(Into::into), ..asked })
    }

    pub(crate) fn answer_to(&self, asked: Ask) -> JoinHandle<Answer> {
        let router = self.router.clone();
        self.tasks
            .spawn(async move { router.answer(asked).await.unwrap_or_else(|denied| panic!("denied: {denied:?}")) })
    }
}

pub(crate) async fn answered(asked: JoinHandle<Answer>) -> Answer {
    timeout(LONG, asked).await.expect("an answer in time").unwrap()
}

/// Enough to set aside for one hosted call, and not for two.
pub(crate) async fn money_for_one() -> NanoDollars {
    let bench = Stage::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let _local = bench.local.next().await;
    let _hosted = bench.hosted[0].next().await;
    asked.abort();
    let ceiling = dollars(&bench.lines("r", 2).await[1]["ceiling_usd"]);
    NanoDollars(ceiling.0 * 3 / 2)
}

pub(crate) fn dollars(value: &Value) -> NanoDollars {
    serde_json::from_value(value.clone()).unwrap_or_else(|_| panic!("an amount: {value}"))
}

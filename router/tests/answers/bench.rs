//! A router with one local and some hosted models, its ledger in a folder of its own, and everything else switched off.

use adapters::Backend;
use adapters::wire::WireRequest;
use parking_lot::Mutex;
use policies::{Classes, Endpoint, Location, Price, PriceSource, Pricing, Principal, Rate, RouteWish, Unsure};
use router::ledger::{AttemptClose, Durability, Ledger, Retention};
use router::{
    Answer, AnswerBody, Ask, Breaker, BudgetSpec, Budgets, Cascade, CascadeConfig, Classifier, Control, Experiment,
    ExperimentSpec, Fleet, Idle, Live, Model, Observer, Piece, Provider, Router, RouterConfig, Share,
};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(20);
pub(crate) const LOCAL: &str = "local";
pub(crate) const HOSTED: &str = "hosted";

/// Nothing is pruned.
const EVERYTHING: Retention = Retention { age: Duration::from_secs(86_400), bytes: u64::MAX };

/// A second look that nobody takes.
pub(crate) const NO_LOOK: CascadeConfig = CascadeConfig {
    width: 0.0,
    observe: false,
    hold_tokens: 6,
    hold: Duration::from_secs(5),
    hedge: false,
    samples: 1,
};

/// Attempts that have ended, by request; told as they end.
#[derive(Default)]
struct Ended {
    counts: Mutex<HashMap<String, usize>>,
    more: Notify,
}

impl Observer for Ended {
    fn attempt(&self, closed: &AttemptClose, _: Duration) {
        *self.counts.lock().entry(closed.open.request.to_string()).or_default() += 1;
        self.more.notify_waiters();
    }
}

pub(crate) struct Bench {
    pub(crate) router: Arc<Router>,
    pub(crate) ledger: Ledger,
    pub(crate) budgets: Arc<Budgets>,
    ended: Arc<Ended>,
    folder: tempfile::TempDir,
}

// === impl Bench ===

impl Bench {
    pub(crate) fn new(config: RouterConfig, models: Vec<Model>, control: Control) -> Self {
        Self::limited(config, models, control, vec![])
    }

    /// With budgets.
    pub(crate) fn limited(config: RouterConfig, models: Vec<Model>, control: Control, limits: Vec<BudgetSpec>) -> Self {
        Self::shadowed(config, models, control, limits, None)
    }

    /// With budgets and, perhaps, a shadow experiment.
    pub(crate) fn shadowed(
        mut config: RouterConfig,
        models: Vec<Model>,
        control: Control,
        limits: Vec<BudgetSpec>,
        shadow: Option<ExperimentSpec>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::start(folder.path().join("l.db"), Durability::Process).unwrap().0;
        config.experiments.extend(shadow.map(|spec| {
            let live = Arc::new(Live::recall(&ledger, &spec).unwrap());
            Arc::new(Experiment::new(spec, live, [7; 32]))
        }));
        let budgets = Budgets::start(ledger.clone(), limits, jiff::Timestamp::now()).unwrap();
        let ended = Arc::new(Ended::default());
        let steering = (Arc::new(control), Arc::new(Cascade::default()));
        let fleet = Fleet::new(models);
        let router =
            Router::new(config, fleet, steering, budgets.clone(), ledger.clone(), ended.clone(), TaskTracker::new());
        Self { router: Arc::new(router), ledger, budgets, ended, folder }
    }

    pub(crate) async fn answer(&self, ask: Ask) -> Answer {
        self.router.answer(ask).await.unwrap_or_else(|denied| panic!("denied: {denied:?}"))
    }

    /// Waits until so many attempts of a request have ended and what is known of them is on disk.
    pub(crate) async fn ended(&self, id: &str, count: usize) {
        let all = async {
            loop {
                let more = self.ended.more.notified();
                if self.ended.counts.lock().get(id).copied().unwrap_or_default() >= count {
                    break;
                }
                more.await;
            }
        };
        timeout(LONG, all).await.expect("attempts end in time");
        // The writer takes one thing after the other: behind this one, all are written.
        self.ledger.prune(EVERYTHING).await.unwrap();
    }

    /// What is kept of a shadow, once it is: its attempt has ended before.
    pub(crate) async fn shadow(&self) -> Value {
        let kept = async {
            loop {
                if let Some(pair) = self.ledger.shadows(10).unwrap().pop() {
                    break pair;
                }
                // A turn of the writer.
                self.ledger.prune(EVERYTHING).await.unwrap();
            }
        };
        timeout(LONG, kept).await.expect("a shadow is kept in time")
    }

    /// The lines of a request once so many attempts of it have ended.
    pub(crate) async fn lines(&self, id: &str, count: usize) -> Vec<Value> {
        self.ended(id, count).await;
        let lines = self.story(id)["attempt_log"].as_array().unwrap().clone();
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }

    pub(crate) async fn outcomes(&self, id: &str, count: usize) -> Vec<String> {
        let lines = self.lines(id, count).await;
        lines.iter().map(|line| line["outcome"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn story(&self, id: &str) -> Value {
        self.ledger.request(id).unwrap().unwrap()
    }

    /// The number of attempts in the request's own row.
    pub(crate) fn attempts(&self, id: &str) -> u64 {
        let ledger = rusqlite::Connection::open(self.folder.path().join("l.db")).unwrap();
        ledger.query_row("SELECT attempts FROM requests WHERE id = ?1", [id], |row| row.get(0)).unwrap()
    }
}

/// A model with a provider of its own; a hosted one costs a dollar a million tokens.
pub(crate) fn model(name: &str, location: Location, backend: Arc<dyn Backend>) -> Model {
    let price = Price { input: Rate(1_000_000_000), output: Rate(1_000_000_000), ..Price::default() };
    Model {
        name: name.into(),
        provider: Provider {
            name: format!("provider-of-{name}").into(),
            location,
            region: Some("us".into()),
            backend,
            breaker: Arc::new(Breaker::default()),
            drains: None,
            idle: Idle::default(),
        },
        upstream: name.into(),
        kind: policies::ModelKind::Chat,
        pricing: match location {
            Location::Local => Pricing::Free,
            Location::Hosted => Pricing::Priced(price, PriceSource::Config),
        },
        context_window: None,
        max_output: None,
        capabilities: None,
    }
}

/// One model on each side, judged by the heuristic, and nothing else.
pub(crate) fn config() -> RouterConfig {
    RouterConfig {
        local: [LOCAL.into()].into(),
        hosted: [HOSTED.into()].into(),
        classes: Arc::new(Classes::standard()),
        default_class: "internal".into(),
        matchers: Arc::from([]),
        detectors: None,
        masking: None,
        rules: [].into(),
        max_per_request: None,
        max_first_token: None,
        assumed_output: 100,
        unsure: Unsure::Heuristic,
        classifier: Classifier::Heuristic,
        lanes: vec![],
        second: None,
        spender: None,
        cascade: NO_LOOK,
        affinity: Arc::default(),
        taint: Arc::default(),
        switch_cost: 0.0,
        exploration: 0.0,
        keep_prompts: false,
        again: None,
        experiments: vec![],
        baseline: None,
        local_cost: None,
        holdout: None,
    }
}

/// Half of the requests go hosted; with a second look every need is too close to call.
pub(crate) fn half() -> Control {
    Control::from(Share::new(0.5, &[0.0, 0.5, 1.0]))
}

/// A request with one message; `more` are further fields.
pub(crate) fn ask(id: &str, prompt: &str, more: &Value) -> Ask {
    let mut body = json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Ask {
        id: id.into(),
        request: Arc::new(WireRequest::parse(Endpoint::Chat, body.to_string().into()).unwrap()),
        principal: Principal::default(),
        wish: RouteWish::Auto,
        class: None,
        session: None,
        tags: vec![],
        traceparent: None,
        received: Instant::now(),
        charge: None,
        looked: router::Looked::default(),
    }
}

/// An event's payload.
pub(crate) fn chunk(text: &str, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": finish});
    json!({"object": "chat.completion.chunk", "choices": [choice]}).to_string()
}

/// All that the client gets.
pub(crate) async fn text_of(answer: Answer) -> String {
    match answer.body {
        AnswerBody::Whole { body, .. } => String::from_utf8(body.to_vec()).unwrap(),
        AnswerBody::Stream(mut stream) => {
            let mut all = String::new();
            while let Some(piece) = timeout(LONG, stream.next()).await.expect("a piece in time") {
                match piece {
                    Piece::Frame(frame) => all.push_str(std::str::from_utf8(&frame).unwrap()),
                    Piece::End { .. } => break,
                    Piece::Error(error) => panic!("{error}"),
                }
            }
            all
        }
    }
}

//! Hedging: a hosted call that runs beside a local answer while that one is judged. Every event is sent by the test.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use adapters::scripted::{Play, Scripted};
use adapters::wire::{Certainty, Seen, WireRequest, seen_in_chunk, seen_in_whole, sse};
use adapters::{Backend, BackendError, Call, Description, Event, Events, Kind};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use policies::{
    Capabilities, Classes, Endpoint, Location, ModelName, NanoDollars, OnExceeded, Price, PriceSource, Pricing,
    Principal, Rate, Readiness, RouteWish, Unsure,
};
use router::compare::Question;
use router::ledger::{Durability, Ledger};
use router::{
    Answer, AnswerBody, Ask, Breaker, BudgetSpec, Budgets, Cascade, CascadeConfig, Classifier, Control, Experiment,
    ExperimentSpec, Fleet, Live, Model, PairJudge, Piece, Provider, Router, RouterConfig, Scope, Share, Silent, Trial,
    Window,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);
const LOCAL: &str = "local";
const HOSTED: [&str; 2] = ["hosted", "other-hosted"];
/// So unsure, or so sure, of a token that any beginning is settled at the second.
const UNSURE: Certainty = Certainty { logprob: -9.0, entropy: 9.0 };
const SURE: Certainty = Certainty { logprob: -0.01, entropy: 9.0 };

type Sent = Result<Event, BackendError>;

/// A backend whose every call is played by the test.
struct Puppet(mpsc::Sender<Line>);

/// A call under way; its events are sent, and that it is dropped is seen, from here.
struct Line {
    call: Call,
    events: mpsc::Sender<Sent>,
    /// How many events were read.
    read: Arc<AtomicUsize>,
}

/// The calls that come to a model.
struct Calls(Mutex<mpsc::Receiver<Line>>);

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
    async fn next(&self) -> Line {
        timeout(LONG, self.0.lock().await.recv()).await.expect("a call in time").unwrap()
    }

    async fn none(&self) -> bool {
        self.0.lock().await.try_recv().is_err()
    }
}

// === impl Line ===

impl Line {
    fn delta(&self, text: &str, finish: Option<&str>, certainty: Option<Certainty>) {
        let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": finish});
        let payload = json!({"object": "chat.completion.chunk", "choices": [choice]}).to_string();
        let seen = seen_in_chunk(payload.as_bytes()).unwrap();
        let seen = Seen { certainty: certainty.into_iter().collect(), ..seen };
        self.send(Ok(Event::Delta { frame: sse::frame(payload.as_bytes()), seen }));
    }

    /// A token of a model that is so sure of it.
    fn token(&self, text: &str, certainty: Certainty) {
        self.delta(text, None, Some(certainty));
    }

    /// A piece of a hosted stream.
    fn text(&self, text: &str) {
        self.delta(text, None, None);
    }

    fn whole(&self, text: &str, input: u64, output: u64) {
        let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
        let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
        let body = json!({"object": "chat.completion", "choices": [choice], "usage": usage}).to_string();
        let seen = seen_in_whole(body.as_bytes()).unwrap();
        self.send(Ok(Event::Whole { body: body.into(), seen }));
    }

    fn fail(&self) {
        self.send(Err(BackendError::before_first_event(Kind::Truncated("scripted".into()))));
    }

    fn end(&self) {
        self.delta("", Some("stop"), None);
        self.send(Ok(Event::Done));
    }

    /// What nobody listens to any longer is lost, as on a real connection.
    fn send(&self, event: Sent) {
        let _ = self.events.try_send(event);
    }

    /// Waits until so many of its events were read.
    async fn read(&self, count: usize) {
        let until = Instant::now() + LONG;
        while self.read.load(Ordering::SeqCst) < count {
            assert!(Instant::now() < until, "read in time");
            tokio::task::yield_now().await;
        }
    }

    async fn dropped(&self) {
        timeout(LONG, self.events.closed()).await.expect("dropped in time");
    }
}

struct Bench {
    router: Arc<Router>,
    ledger: Ledger,
    budgets: Arc<Budgets>,
    local: Calls,
    hosted: [Calls; 2],
    tasks: TaskTracker,
    folder: tempfile::TempDir,
}

/// What a bench is set up with.
struct Setting {
    cascade: CascadeConfig,
    limit: Option<NanoDollars>,
    /// The context window of the first hosted model.
    window: Option<u64>,
    /// Every request is answered by the other side, too.
    shadowed: bool,
    /// What the local model answers by itself, without being waited for.
    at_once: Option<Play>,
}

const ON: CascadeConfig = CascadeConfig {
    width: 0.5,
    observe: false,
    hold_tokens: 6,
    hold: Duration::from_secs(60),
    hedge: true,
    samples: 1,
};

impl Default for Setting {
    fn default() -> Self {
        Self { cascade: ON, limit: None, window: None, shadowed: false, at_once: None }
    }
}

// === impl Bench ===

impl Bench {
    fn new(setting: Setting) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::start(folder.path().join("l.db"), Durability::Process).unwrap().0;
        let model = |name: &str, location, pricing, context_window| {
            let (calls, coming) = mpsc::channel(64);
            let provider = Provider {
                name: format!("provider-of-{name}").as_str().into(),
                location,
                region: Some("us".into()),
                backend: Arc::new(Puppet(calls)) as Arc<dyn Backend>,
                breaker: Arc::new(Breaker::default()),
            };
            let model = Model {
                name: name.into(),
                provider,
                upstream: name.into(),
                pricing,
                context_window,
                max_output: None,
                capabilities: None,
            };
            (model, Calls(Mutex::new(coming)))
        };
        let price = Price { input: Rate(1_000_000_000), output: Rate(1_000_000_000), ..Price::default() };
        let priced = || Pricing::Priced(price, PriceSource::Config);
        let (mut local, local_calls) = model(LOCAL, Location::Local, Pricing::Free, None);
        if let Some(play) = setting.at_once {
            local.provider.backend = Arc::new(Scripted::new([play]));
        }
        let (first, first_calls) = model(HOSTED[0], Location::Hosted, priced(), setting.window);
        let (second, second_calls) = model(HOSTED[1], Location::Hosted, priced(), None);
        let fleet = Fleet::new(vec![local, first, second]);
        let shadow = ExperimentSpec {
            name: "all".into(),
            kind: Trial::Shadow(1.0),
            sides: None,
            judge: PairJudge::Nobody,
            question: Question { margin: 0.05, error: 0.05 },
            daily: None,
            act: None,
        };
        let experiment = |spec: ExperimentSpec| {
            let live = Arc::new(Live::recall(&ledger, &spec).unwrap());
            Arc::new(Experiment::new(spec, live, [7; 32]))
        };
        let experiments = setting.shadowed.then(|| experiment(shadow)).into_iter().collect();
        let config = RouterConfig {
            local: [LOCAL.into()].into(),
            hosted: HOSTED.iter().map(|name| ModelName::from(*name)).collect(),
            classes: Arc::new(Classes::standard()),
            default_class: "internal".into(),
            matchers: Arc::from([]),
            rules: [].into(),
            max_per_request: None,
            max_first_token: None,
            assumed_output: 100,
            unsure: Unsure::Heuristic,
            classifier: Classifier::Heuristic,
            lanes: vec![],
            second: None,
            spender: None,
            affinity: Arc::default(),
            taint: Arc::default(),
            switch_cost: 0.0,
            cascade: setting.cascade,
            exploration: 0.0,
            keep_prompts: false,
            experiments,
            baseline: None,
            detectors: None,
            masking: None,
            local_cost: None,
            holdout: None,
        };
        let limits = setting.limit.map(|limit| BudgetSpec {
            on_exceeded: OnExceeded::Local,
            ..BudgetSpec::dollars(Scope::Org, limit, Window::Total)
        });
        let budgets = Budgets::start(ledger.clone(), limits.into_iter().collect(), jiff::Timestamp::now()).unwrap();
        // Every need is too close to call.
        let share = Arc::new(Control::from(Share::new(0.5, &[0.0, 0.5, 1.0])));
        let steering = (share, Arc::new(Cascade::default()));
        let router =
            Router::new(config, fleet, steering, budgets.clone(), ledger.clone(), Arc::new(Silent), TaskTracker::new());
        Self {
            router: Arc::new(router),
            ledger,
            budgets,
            local: local_calls,
            hosted: [first_calls, second_calls],
            tasks: TaskTracker::new(),
            folder,
        }
    }

    fn ask(&self, id: &str, stream: bool, class: Option<&str>) -> JoinHandle<Answer> {
        let messages = json!([{"role": "user", "content": "Compare two things."}]);
        let body = json!({"model": "auto", "stream": stream, "messages": messages}).to_string();
        let ask = Ask {
            id: id.into(),
            request: Arc::new(WireRequest::parse(Endpoint::Chat, body.into()).unwrap()),
            principal: Principal::default(),
            wish: RouteWish::Auto,
            class: class.map(Into::into),
            session: None,
            tags: vec![],
            traceparent: None,
            received: Instant::now(),
            charge: None,
            looked: router::Looked::default(),
        };
        let router = self.router.clone();
        self.tasks.spawn(async move { router.answer(ask).await.unwrap_or_else(|denied| panic!("denied: {denied:?}")) })
    }

    /// The lines of a request once they are all closed, and there are so many.
    async fn lines(&self, id: &str, count: usize) -> Vec<Value> {
        let until = Instant::now() + LONG;
        loop {
            let story = self.ledger.request(id).unwrap();
            let lines = story.map(|story| story["attempt_log"].as_array().unwrap().clone()).unwrap_or_default();
            if lines.len() == count && lines.iter().all(|line| !line["outcome"].is_null()) {
                return lines;
            }
            assert!(Instant::now() < until, "{lines:#?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn outcomes(&self, id: &str, count: usize) -> Vec<String> {
        let lines = self.lines(id, count).await;
        lines.iter().map(|line| line["outcome"].as_str().unwrap().to_owned()).collect()
    }

    /// The number of attempts in the request's own row.
    fn attempts(&self, id: &str) -> u64 {
        let ledger = rusqlite::Connection::open(self.folder.path().join("l.db")).unwrap();
        ledger.query_row("SELECT attempts FROM requests WHERE id = ?1", [id], |row| row.get(0)).unwrap()
    }

    fn story(&self, id: &str) -> Value {
        self.ledger.request(id).unwrap().unwrap()
    }
}

async fn answered(asked: JoinHandle<Answer>) -> Answer {
    timeout(LONG, asked).await.expect("an answer in time").unwrap()
}

/// All that the client gets.
async fn text_of(answer: Answer) -> String {
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

/// Enough to set aside for one hosted call, and not for two.
async fn money_for_one() -> NanoDollars {
    let bench = Bench::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let _local = bench.local.next().await;
    let _hosted = bench.hosted[0].next().await;
    asked.abort();
    let ceiling = dollars(&bench.lines("r", 2).await[1]["ceiling_usd"]);
    NanoDollars(ceiling.0 * 3 / 2)
}

fn dollars(value: &Value) -> NanoDollars {
    serde_json::from_value(value.clone()).unwrap_or_else(|_| panic!("an amount: {value}"))
}

#[tokio::test]
async fn the_hosted_call_is_on_the_ledger_and_dialled_while_the_local_beginning_is_held() {
    let bench = Bench::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    local.token("local ", UNSURE);
    let hosted = bench.hosted[0].next().await;
    assert!(local.call.watch && !hosted.call.watch);
    // The local attempt costs nothing and has no opening line: this one is the hosted attempt's.
    assert!(bench.ledger.knows("r").unwrap() && bench.ledger.request("r").unwrap().is_none());
    assert!(!asked.is_finished());
    local.token("local ", UNSURE);
    hosted.text("hosted ");
    hosted.end();
    assert!(text_of(answered(asked).await).await.contains("hosted "));
}

#[tokio::test]
async fn a_kept_local_answer_cancels_the_hosted_call_and_its_line_says_what_it_cost() {
    let bench = Bench::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    local.token("local ", SURE);
    let hosted = bench.hosted[0].next().await;
    hosted.text("hosted words nobody reads ");
    hosted.read(1).await;
    local.token("local ", SURE);
    let answer = answered(asked).await;
    hosted.dropped().await;
    assert_eq!((answer.head.reason.as_str(), answer.head.attempts), ("classifier", 2));
    local.end();
    let text = text_of(answer).await;
    assert!(text.contains("local ") && !text.contains("hosted"), "{text}");
    let lines = bench.lines("r", 2).await;
    let (kept, cancelled) = (&lines[0], &lines[1]);
    assert_eq!((&kept["outcome"], &cancelled["outcome"]), (&json!("ok"), &json!("cancelled")));
    assert_eq!((&cancelled["counted"], &cancelled["model"]), (&json!("at_least"), &json!(HOSTED[0])));
    assert!(dollars(&cancelled["cost_usd"]) > NanoDollars::ZERO, "{cancelled}");
    assert!(cancelled["output_tokens"].as_u64().unwrap() > 0 && cancelled["input_tokens"].as_u64().unwrap() > 0);
    assert!(cancelled["baseline_usd"].is_null() && cancelled["error"].is_null(), "{cancelled}");
    let story = bench.story("r");
    assert_eq!((&story["route"], bench.attempts("r")), (&json!("local"), 2));
    assert_eq!(story["cascade"]["verdict"], "kept");
}

#[tokio::test]
async fn a_rejected_local_answer_is_followed_by_the_call_already_under_way_and_by_no_other() {
    // The hosted stream has begun before the verdict, or begins only after it.
    for early in [true, false] {
        let bench = Bench::new(Setting::default());
        let asked = bench.ask("r", true, None);
        let local = bench.local.next().await;
        local.token("local ", UNSURE);
        let hosted = bench.hosted[0].next().await;
        if early {
            hosted.text("hosted first ");
            hosted.text("hosted second ");
            hosted.read(1).await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(hosted.read.load(Ordering::SeqCst), 1, "no more is read than shows that it answers");
            local.token("local ", UNSURE);
            local.dropped().await;
        } else {
            local.token("local ", UNSURE);
            local.dropped().await;
            hosted.text("hosted first ");
            hosted.text("hosted second ");
        }
        hosted.end();
        let answer = answered(asked).await;
        assert_eq!((answer.head.reason.as_str(), answer.head.attempts), ("cascade", 2));
        let text = text_of(answer).await;
        assert!(!text.contains("local"), "no byte of the rejected one: {text}");
        assert_eq!(text.matches("hosted first ").count(), 1, "{text}");
        assert_eq!(text.matches("hosted second ").count(), 1, "{text}");
        assert_eq!(bench.outcomes("r", 2).await, ["rejected", "ok"]);
        assert!(bench.hosted[0].none().await && bench.hosted[1].none().await, "one hosted call");
        let story = bench.story("r");
        assert_eq!((&story["model"], bench.attempts("r")), (&json!(HOSTED[0]), 2));
        assert_eq!(story["cascade"]["verdict"], "escalated");
        // Its tokens are counted once, however early the first of them came.
        let spoken = adapters::tokens::count("hosted first hosted second ");
        assert_eq!(story["attempt_log"][1]["output_tokens"], json!(spoken));
        assert_eq!(story["attempt_log"][1]["baseline_usd"], story["attempt_log"][1]["cost_usd"]);
    }
}

#[tokio::test]
async fn a_whole_answer_is_hedged_too_and_a_cancelled_one_is_charged_the_providers_count() {
    for (certainty, words, outcomes) in
        [(UNSURE, "hosted words", ["rejected", "ok"]), (SURE, "local words", ["ok", "cancelled"])]
    {
        let bench = Bench::new(Setting::default());
        let asked = bench.ask("r", false, None);
        let local = bench.local.next().await;
        let hosted = bench.hosted[0].next().await;
        hosted.whole("hosted words", 11, 7);
        local.token("local words", certainty);
        local.delta("", Some("stop"), Some(certainty));
        local.send(Ok(Event::Done));
        let text = text_of(answered(asked).await).await;
        assert!(text.contains(words) && text.contains("hosted") != text.contains("local"), "{text}");
        let lines = bench.lines("r", 2).await;
        assert_eq!([&lines[0]["outcome"], &lines[1]["outcome"]], outcomes);
        assert!(bench.hosted[0].none().await);
        if certainty == UNSURE {
            assert_eq!((&lines[1]["input_tokens"], &lines[1]["output_tokens"]), (&json!(11), &json!(7)));
        }
    }
}

#[tokio::test]
async fn a_whole_hosted_answer_that_came_in_vain_is_charged_what_its_provider_counted() {
    let bench = Bench::new(Setting::default());
    let asked = bench.ask("r", false, None);
    let local = bench.local.next().await;
    local.token("local words", SURE);
    let hosted = bench.hosted[0].next().await;
    hosted.whole("hosted words", 11, 7);
    hosted.read(1).await;
    local.delta("", Some("stop"), Some(SURE));
    local.send(Ok(Event::Done));
    assert!(text_of(answered(asked).await).await.contains("local words"));
    let lines = bench.lines("r", 2).await;
    assert_eq!(lines[1]["outcome"], "cancelled");
    assert_eq!((&lines[1]["input_tokens"], &lines[1]["output_tokens"]), (&json!(11), &json!(7)));
}

#[tokio::test]
async fn without_money_for_it_there_is_no_hedge_and_no_harm() {
    // One hosted call fits; a shadow copy has taken that money before the hedge could.
    let limit = Some(money_for_one().await);
    let bench = Bench::new(Setting { limit, shadowed: true, ..Setting::default() });
    let asked = bench.ask("kept", true, None);
    let local = bench.local.next().await;
    local.token("local ", SURE);
    local.token("local ", SURE);
    local.end();
    let answer = answered(asked).await;
    assert_eq!(answer.head.attempts, 1);
    assert!(bench.hosted[0].none().await);
    assert!(text_of(answer).await.contains("local "));
    // The shadow copy itself, once the client has its answer.
    let shadow = bench.hosted[0].next().await;
    shadow.text("shadow");
    shadow.end();
    assert_eq!(bench.outcomes("kept", 2).await, ["ok", "ok"]);
}

#[tokio::test]
async fn money_that_a_hedge_holds_is_free_again_when_it_is_cancelled() {
    let bench = Bench::new(Setting { limit: Some(money_for_one().await), ..Setting::default() });
    let first = bench.ask("first", true, None);
    let local = bench.local.next().await;
    local.token("local ", SURE);
    let hosted = bench.hosted[0].next().await;
    // Meanwhile nobody else can be hedged; who can be answered locally is.
    let second = bench.ask("second", true, None);
    let other = bench.local.next().await;
    other.token("local ", UNSURE);
    other.token("local ", UNSURE);
    other.end();
    assert!(text_of(answered(second).await).await.contains("local "));
    assert_eq!(bench.outcomes("second", 1).await, ["ok"]);
    assert!(bench.hosted[0].none().await && bench.hosted[1].none().await);
    local.token("local ", SURE);
    local.end();
    assert!(text_of(answered(first).await).await.contains("local "));
    hosted.dropped().await;
    let lines = bench.lines("first", 2).await;
    let state = bench.budgets.states(jiff::Timestamp::now()).remove(0).dollars.unwrap();
    assert_eq!((state.held_usd, state.spent_usd), (NanoDollars::ZERO, dollars(&lines[1]["cost_usd"])));
    let third = bench.ask("third", true, None);
    let _local = bench.local.next().await;
    let _hosted = bench.hosted[0].next().await;
    third.abort();
}

#[tokio::test]
async fn a_hedge_that_fails_before_the_verdict_is_followed_by_the_next_target() {
    let bench = Bench::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    local.token("local ", UNSURE);
    let hosted = bench.hosted[0].next().await;
    hosted.fail();
    hosted.dropped().await;
    local.token("local ", UNSURE);
    let next = bench.hosted[1].next().await;
    next.text("hosted ");
    next.end();
    let answer = answered(asked).await;
    assert_eq!((answer.head.reason.as_str(), answer.head.attempts), ("fallback", 3));
    assert!(text_of(answer).await.contains("hosted "));
    let lines = bench.lines("r", 3).await;
    let outcomes: Vec<_> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["rejected", "error", "ok"]);
    assert_eq!(lines[1]["error"], "upstream_truncated");
    assert!(bench.hosted[0].none().await, "nobody is asked twice");
}

#[tokio::test]
async fn a_hedge_that_fails_does_no_harm_to_a_local_answer_that_is_kept() {
    let bench = Bench::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    local.token("local ", SURE);
    let hosted = bench.hosted[0].next().await;
    hosted.fail();
    hosted.dropped().await;
    local.token("local ", SURE);
    local.end();
    assert!(text_of(answered(asked).await).await.contains("local "));
    assert_eq!(bench.outcomes("r", 2).await, ["ok", "error"]);
}

#[tokio::test]
async fn a_hedge_that_fails_after_it_was_taken_up_is_followed_by_the_next_target() {
    let bench = Bench::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    local.token("local ", UNSURE);
    let hosted = bench.hosted[0].next().await;
    local.token("local ", UNSURE);
    local.dropped().await;
    hosted.fail();
    let next = bench.hosted[1].next().await;
    next.text("hosted ");
    next.end();
    assert!(text_of(answered(asked).await).await.contains("hosted "));
    assert_eq!(bench.outcomes("r", 3).await, ["rejected", "error", "ok"]);
}

#[tokio::test]
async fn when_the_local_model_fails_the_call_under_way_answers() {
    let bench = Bench::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    let hosted = bench.hosted[0].next().await;
    local.fail();
    hosted.text("hosted ");
    hosted.end();
    let answer = answered(asked).await;
    assert_eq!((answer.head.reason.as_str(), answer.head.attempts), ("fallback", 2));
    assert!(text_of(answer).await.contains("hosted "));
    assert_eq!(bench.outcomes("r", 2).await, ["error", "ok"]);
    assert!(bench.hosted[0].none().await && bench.hosted[1].none().await);
}

#[tokio::test]
async fn observing_hedges_nothing() {
    let bench = Bench::new(Setting { cascade: CascadeConfig { observe: true, ..ON }, ..Setting::default() });
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    for _ in 0..ON.hold_tokens {
        local.token("local ", UNSURE);
    }
    local.end();
    assert!(text_of(answered(asked).await).await.contains("local "));
    assert_eq!(bench.story("r")["cascade"]["verdict"], "would_escalate");
    assert!(bench.hosted[0].none().await);
    assert_eq!(bench.outcomes("r", 1).await, ["ok"]);
}

#[tokio::test]
async fn a_client_that_leaves_closes_both() {
    let bench = Bench::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    local.token("local ", UNSURE);
    let hosted = bench.hosted[0].next().await;
    asked.abort();
    local.dropped().await;
    hosted.dropped().await;
    assert_eq!(bench.outcomes("r", 2).await, ["disconnected", "cancelled"]);
    assert_eq!((&bench.story("r")["status"], bench.attempts("r")), (&json!(499), 2));
}

#[tokio::test]
async fn a_client_that_leaves_after_the_verdict_leaves_the_call_that_was_taken_up() {
    let bench = Bench::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    local.token("local ", UNSURE);
    let hosted = bench.hosted[0].next().await;
    local.token("local ", UNSURE);
    // The rejected line is written before the call is taken up.
    let until = Instant::now() + LONG;
    while bench.ledger.overview(0).unwrap() == json!([]) {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::task::yield_now().await;
    asked.abort();
    hosted.dropped().await;
    let outcomes = bench.outcomes("r", 2).await;
    assert_eq!(outcomes, ["rejected", "disconnected"]);
    assert_eq!(bench.story("r")["status"], 499);
}

#[tokio::test]
async fn nobody_is_hedged_whom_a_constraint_keeps_out() {
    // Data that has to stay.
    let bench = Bench::new(Setting::default());
    let asked = bench.ask("stays", true, Some("restricted"));
    let local = bench.local.next().await;
    local.token("local ", UNSURE);
    local.token("local ", UNSURE);
    local.end();
    assert!(text_of(answered(asked).await).await.contains("local "));
    assert!(bench.hosted[0].none().await && bench.hosted[1].none().await);
    // The first hosted model is too small for the prompt: it is the second that is hedged.
    let bench = Bench::new(Setting { window: Some(1), ..Setting::default() });
    let asked = bench.ask("small", true, None);
    let local = bench.local.next().await;
    local.token("local ", SURE);
    let hosted = bench.hosted[1].next().await;
    local.token("local ", SURE);
    local.end();
    assert!(text_of(answered(asked).await).await.contains("local "));
    hosted.dropped().await;
    assert!(bench.hosted[0].none().await);
    assert_eq!(bench.lines("small", 2).await[1]["model"], HOSTED[1]);
}

#[tokio::test]
async fn a_local_answer_that_nobody_waits_for_needs_no_hedge() {
    let token = |text: &str, finish: Option<&str>| {
        let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": finish});
        (json!({"object": "chat.completion.chunk", "choices": [choice]}).to_string(), SURE)
    };
    let told = Play::Told(vec![token("local ", None), token("local ", None), token("", Some("stop"))]);
    let limit = Some(NanoDollars(1_000_000_000));
    let bench = Bench::new(Setting { at_once: Some(told), limit, ..Setting::default() });
    for stream in [true, false] {
        let id = format!("stream-{stream}");
        let answer = answered(bench.ask(&id, stream, None)).await;
        assert_eq!(answer.head.attempts, 1);
        assert!(text_of(answer).await.contains("local "));
        assert!(bench.hosted[0].none().await);
        assert_eq!(bench.outcomes(&id, 1).await, ["ok"]);
        assert_eq!((bench.attempts(&id), &bench.story(&id)["cascade"]["verdict"]), (1, &json!("kept")));
        let state = bench.budgets.states(jiff::Timestamp::now()).remove(0).dollars.unwrap();
        assert_eq!((state.held_usd, state.spent_usd), (NanoDollars::ZERO, NanoDollars::ZERO));
    }
}

#[tokio::test]
async fn the_accounts_and_the_ledger_agree_over_all_outcomes() {
    let bench = Bench::new(Setting { limit: Some(NanoDollars(1_000_000_000)), ..Setting::default() });
    let mut sum = NanoDollars::ZERO;
    for n in 0..12 {
        let id = format!("r{n}");
        let certainty = if n % 2 == 0 { SURE } else { UNSURE };
        let asked = bench.ask(&id, true, None);
        let local = bench.local.next().await;
        local.token("local ", certainty);
        let hosted = bench.hosted[0].next().await;
        if n % 3 == 0 {
            hosted.text("hosted ");
        }
        let mut lines = 2;
        if n % 6 == 5 {
            hosted.fail();
            hosted.dropped().await;
            lines = 3;
        }
        local.token("local ", certainty);
        local.end();
        if lines == 3 {
            let next = bench.hosted[1].next().await;
            next.text("other ");
            next.end();
        }
        hosted.text("hosted ");
        hosted.end();
        text_of(answered(asked).await).await;
        let lines = bench.lines(&id, lines).await;
        for line in &lines {
            sum = NanoDollars(sum.0 + dollars(&line["cost_usd"]).0);
        }
        assert_eq!(bench.attempts(&id), lines.len() as u64);
    }
    let state = bench.budgets.states(jiff::Timestamp::now()).remove(0).dollars.unwrap();
    assert_eq!((state.held_usd, state.spent_usd), (NanoDollars::ZERO, sum));
    assert!(bench.ledger.verify().unwrap().is_empty());
}

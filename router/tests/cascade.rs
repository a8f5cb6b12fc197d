//! The second look at local answers, with a local backend that says how sure it is of each token.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use adapters::scripted::{Play, Scripted};
use adapters::wire::{Certainty, WireRequest};
use adapters::{Backend, BackendError, Kind};
use policies::{
    Classes, Endpoint, Location, ModelName, Price, PriceSource, Pricing, Principal, Rate, RouteWish, Unsure,
};
use router::ledger::{Durability, Ledger};
use router::{
    Answer, AnswerBody, Ask, Breaker, Budgets, Cascade, CascadeConfig, Classifier, Control, Fleet, Model, Piece,
    Provider, Router, RouterConfig, Share, Silent,
};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

const LOCAL: &str = "local";
const HOSTED: &str = "hosted";

fn chunk(text: &str, finish: Option<&str>) -> String {
    json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})
        .to_string()
}

/// A local answer of so many tokens that its model is so sure of.
fn told(tokens: usize, logprob: f32, entropy: f32) -> Play {
    let certainty = Certainty { logprob, entropy };
    let mut all: Vec<_> = (0..tokens).map(|_| (chunk("local ", None), certainty)).collect();
    all.push((chunk("", Some("stop")), certainty));
    Play::Told(all)
}

fn hosted_answer() -> Play {
    Play::Stream(vec![chunk("hosted ", None), chunk("", Some("stop"))], None)
}

struct Bench {
    router: Arc<Router>,
    ledger: Ledger,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(local: Vec<Play>, hosted: Vec<Play>, cascade: CascadeConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::start(folder.path().join("l.db"), Durability::Process).unwrap().0;
        let provider = |name: &str, location, script: Vec<Play>| Provider {
            name: name.into(),
            location,
            region: Some("us".into()),
            backend: Arc::new(Scripted::new(script)) as Arc<dyn Backend>,
            breaker: Arc::new(Breaker::default()),
        };
        let model = |name: &str, provider, pricing| Model {
            name: name.into(),
            provider,
            upstream: name.into(),
            pricing,
            context_window: None,
            max_output: None,
            capabilities: None,
        };
        let price = Price { input: Rate(1_000_000_000), output: Rate(1_000_000_000), ..Price::default() };
        let fleet = Fleet::new(vec![
            model(LOCAL, provider("in-process", Location::Local, local), Pricing::Free),
            model(HOSTED, provider("far", Location::Hosted, hosted), Pricing::Priced(price, PriceSource::Config)),
        ]);
        let names = |name: &str| -> Arc<[ModelName]> { [name.into()].into() };
        let config = RouterConfig {
            local: names(LOCAL),
            hosted: names(HOSTED),
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
            affinity: Arc::default(),
            taint: Arc::default(),
            switch_cost: 0.0,
            cascade,
            exploration: 0.0,
            keep_prompts: false,
            experiments: vec![],
            baseline: None,
            local_cost: None,
            holdout: None,
        };
        let budgets = Budgets::start(ledger.clone(), vec![], jiff::Timestamp::now()).unwrap();
        // Every need is too close to call.
        let share = Arc::new(Control::from(Share::new(0.5, &[0.0, 0.5, 1.0])));
        let steering = (share, Arc::new(Cascade::default()));
        let router =
            Router::new(config, fleet, steering, budgets, ledger.clone(), Arc::new(Silent), TaskTracker::new());
        Self { router: Arc::new(router), ledger, _folder: folder }
    }

    async fn ask(&self, id: &str, stream: bool, class: Option<&str>) -> Answer {
        let body = json!({"model": "auto", "stream": stream, "messages": [{"role": "user", "content": "Compare two things."}]});
        let ask = Ask {
            id: id.into(),
            request: Arc::new(WireRequest::parse(Endpoint::Chat, body.to_string().into()).unwrap()),
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
        self.router.answer(ask).await.unwrap_or_else(|denied| panic!("denied: {denied:?}"))
    }

    fn story(&self, id: &str) -> serde_json::Value {
        self.ledger.request(id).unwrap().unwrap()
    }
}

const ON: CascadeConfig = CascadeConfig {
    width: 0.5,
    observe: false,
    hold_tokens: 6,
    hold: Duration::from_secs(5),
    hedge: false,
    samples: 1,
};

/// All that the client gets.
async fn text_of(answer: Answer) -> String {
    match answer.body {
        AnswerBody::Whole { body, .. } => String::from_utf8(body.to_vec()).unwrap(),
        AnswerBody::Stream(mut stream) => {
            let mut all = String::new();
            while let Some(piece) = stream.next().await {
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

#[tokio::test]
async fn no_token_of_a_rejected_answer_reaches_a_client_in_two_thousand_streams() {
    let number = |n: usize| (n * 7_919 % 2_003) as f32 / 2_003.0;
    let local = (0..2_000).map(|n| told(1 + n % 11, -3.0 * number(n), 4.0 * number(n))).collect();
    let bench = Bench::new(local, vec![hosted_answer()], ON);
    let (mut escalated, mut watched) = (0, 0);
    for n in 0..2_000 {
        let id = format!("r{n}");
        let answer = bench.ask(&id, n % 4 != 0, None).await;
        let reason = answer.head.reason.clone();
        let text = text_of(answer).await;
        assert!(text.contains(LOCAL) != text.contains(HOSTED), "{n}: {text}");
        let story = bench.story(&id);
        watched += usize::from(!story["cascade"].is_null());
        if text.contains(HOSTED) && reason == "cascade" {
            escalated += 1;
            assert_eq!(story["cascade"]["verdict"], "escalated");
            let outcomes: Vec<_> = story["attempt_log"].as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
            assert_eq!(outcomes, ["rejected", "ok"]);
        }
    }
    assert!(watched > 1_500, "most needs are too close to call: {watched} of 2000");
    assert!((watched * 2 / 5..watched * 3 / 5).contains(&escalated), "half of those go: {escalated} of {watched}");
}

#[tokio::test]
async fn restricted_data_stays_however_unsure_the_model_is() {
    let bench = Bench::new(vec![told(8, -9.0, 9.0)], vec![hosted_answer()], ON);
    let answer = bench.ask("r", true, Some("restricted")).await;
    assert_eq!(answer.head.reason, "residency");
    assert!(text_of(answer).await.contains(LOCAL));
}

#[tokio::test]
async fn observing_keeps_every_answer_and_says_what_it_would_have_done() {
    let bench = Bench::new(vec![told(8, -9.0, 9.0)], vec![hosted_answer()], CascadeConfig { observe: true, ..ON });
    for n in 0..20 {
        let id = format!("r{n}");
        assert!(text_of(bench.ask(&id, true, None).await).await.contains(LOCAL));
    }
    assert_eq!(bench.story("r0")["cascade"]["verdict"], "would_escalate");
}

#[tokio::test]
async fn when_the_strong_side_fails_after_a_rejection_the_weak_answer_is_given() {
    let down = Play::Fail(BackendError::before_send(Kind::NotReady("down".into())));
    let bench = Bench::new(vec![told(8, -9.0, 9.0)], vec![down], ON);
    let answer = bench.ask("r", true, None).await;
    assert_eq!((answer.head.reason.as_str(), answer.head.attempts), ("fallback", 3));
    assert!(text_of(answer).await.contains(LOCAL));
}

#[tokio::test]
async fn a_model_that_does_not_tell_how_sure_it_is_streams_at_once() {
    let plain = Play::Stream(vec![chunk("local ", None), chunk("", Some("stop"))], None);
    let bench = Bench::new(vec![plain], vec![hosted_answer()], ON);
    assert!(text_of(bench.ask("r", true, None).await).await.contains(LOCAL));
    assert!(bench.story("r")["cascade"].is_null());
}

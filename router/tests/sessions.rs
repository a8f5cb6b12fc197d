//! What the router remembers of a conversation, with a local and a hosted model that play scripts.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use adapters::scripted::{Play, Scripted};
use adapters::wire::WireRequest;
use policies::{
    Classes, Endpoint, Location, ModelName, Price, PriceSource, Pricing, Principal, Rate, RouteWish, Unsure,
};
use router::ledger::{Durability, Ledger};
use router::{
    Ask, Breaker, Budgets, Cascade, CascadeConfig, Classifier, Control, Fleet, Model, Provider, Router, RouterConfig,
    Share, Silent,
};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Prompts of growing need, as the heuristic reads them.
const GROWING: [&str; 3] = [
    "What is the capital of France?",
    "What is the capital of France? Explain why.",
    "What is the capital of France? Explain why. Compare it with others step by step.",
];
/// More than each step from one of those prompts to the next, and less than all steps together.
const SWITCH_COST: f32 = 0.6;

struct Bench {
    router: Arc<Router>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(switch_cost: f32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::start(folder.path().join("l.db"), Durability::Process).unwrap().0;
        let model = |name: &str, location, pricing| {
            let chunk = json!({"object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": {"content": name}, "finish_reason": "stop"}]});
            let script = vec![Play::Stream(vec![chunk.to_string()], None)];
            let provider = Provider {
                name: name.into(),
                location,
                region: Some("us".into()),
                backend: Arc::new(Scripted::new(script)),
                breaker: Arc::new(Breaker::default()),
            };
            Model {
                name: name.into(),
                provider,
                upstream: name.into(),
                pricing,
                context_window: None,
                max_output: None,
                capabilities: None,
            }
        };
        let price = Price { input: Rate(1_000_000_000), output: Rate(1_000_000_000), ..Price::default() };
        let fleet = Fleet::new(vec![
            model("small", Location::Local, Pricing::Free),
            model("big", Location::Hosted, Pricing::Priced(price, PriceSource::Config)),
        ]);
        let names = |name: &str| -> Arc<[ModelName]> { [name.into()].into() };
        let config = RouterConfig {
            local: names("small"),
            hosted: names("big"),
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
            switch_cost,
            cascade: CascadeConfig {
                width: 0.0,
                observe: false,
                hold_tokens: 6,
                hold: Duration::from_secs(5),
                hedge: false,
                samples: 1,
            },
            exploration: 0.0,
            keep_prompts: false,
            experiments: vec![],
            baseline: None,
            local_cost: None,
            holdout: None,
        };
        let budgets = Budgets::start(ledger.clone(), vec![], jiff::Timestamp::now()).unwrap();
        let share = Arc::new(Control::from(Share::new(0.5, &[0.0, 0.5, 1.0])));
        let steering = (share, Arc::new(Cascade::default()));
        let router = Router::new(config, fleet, steering, budgets, ledger, Arc::new(Silent), TaskTracker::new());
        Self { router: Arc::new(router), _folder: folder }
    }

    /// Answers a request of a session: its need, where it went and why.
    async fn ask(&self, id: &str, prompt: &str, session: &str) -> (f32, String, String) {
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]});
        let ask = Ask {
            id: id.into(),
            request: Arc::new(WireRequest::parse(Endpoint::Chat, body.to_string().into()).unwrap()),
            principal: Principal::default(),
            wish: RouteWish::Auto,
            class: None,
            session: Some(session.into()),
            tags: vec![],
            traceparent: None,
            received: Instant::now(),
            charge: None,
            looked: router::Looked::default(),
        };
        let answer = self.router.answer(ask).await.unwrap_or_else(|denied| panic!("denied: {denied:?}"));
        let head = answer.head;
        (head.score.unwrap(), head.route.unwrap().word().to_owned(), head.reason)
    }
}

#[tokio::test]
async fn a_conversation_that_creeps_is_judged_anew_once_it_is_far_from_where_it_was_put() {
    let bench = Bench::new(SWITCH_COST);
    let mut asked = Vec::new();
    for (n, prompt) in GROWING.iter().enumerate() {
        asked.push(bench.ask(&format!("r{n}"), prompt, "one").await);
    }
    let needs: Vec<f32> = asked.iter().map(|(need, ..)| *need).collect();
    assert!(needs.windows(2).all(|pair| pair[1] - pair[0] < SWITCH_COST), "each step is small: {needs:?}");
    assert!(needs[2] - needs[0] > SWITCH_COST, "and the way is far: {needs:?}");
    let went: Vec<String> = asked.into_iter().map(|(_, route, reason)| format!("{route} {reason}")).collect();
    assert_eq!(went, ["local classifier", "local session", "hosted classifier"]);
    // From there on it is with the hosted model, counted from the need that put it there.
    let (_, route, reason) = bench.ask("r3", GROWING[1], "one").await;
    assert_eq!((route.as_str(), reason.as_str()), ("hosted", "session"));
}

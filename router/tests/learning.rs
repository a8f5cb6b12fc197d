//! What a request leaves on the ledger to learn from, exploration included, and what labels do to a risk target.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use adapters::Backend;
use adapters::scripted::{Play, Scripted};
use adapters::wire::WireRequest;
use policies::{
    Classes, Endpoint, Location, ModelName, Price, PriceSource, Pricing, Principal, Rate, RouteWish, Unsure,
};
use router::ledger::{Durability, LabelRecord, Ledger};
use router::{
    Answer, Ask, Breaker, Budgets, Cascade, CascadeConfig, Classifier, Control, Fleet, Model, Provider, Risk, RiskGoal,
    Router, RouterConfig, Share, Silent, probe,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

const EASY: &str = "What is the capital of France?";

struct Bench {
    router: Router,
    ledger: Ledger,
    _folder: tempfile::TempDir,
}

fn without_encoder() -> Classifier {
    let probe = probe::Probe::bundled().unwrap().without_encoder();
    Classifier::Probe(Arc::new(probe::Live::new(probe, Duration::from_secs(5))))
}

impl Bench {
    fn new(control: Control, classifier: Classifier, exploration: f32, keep_prompts: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::start(folder.path().join("l.db"), Durability::Process).unwrap().0;
        let price = Price { input: Rate(1_000_000_000), output: Rate(1_000_000_000), ..Price::default() };
        let model = |name: &str, location, pricing| {
            let answer = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": name}}]});
            Model {
                name: name.into(),
                provider: Provider {
                    name: format!("p-{name}").into(),
                    location,
                    region: Some("us".into()),
                    backend: Arc::new(Scripted::new([Play::Whole(answer.to_string())])) as Arc<dyn Backend>,
                    breaker: Arc::new(Breaker::default()),
                },
                upstream: name.into(),
                pricing,
                context_window: None,
                max_output: None,
                capabilities: None,
            }
        };
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
            classifier,
            cascade: CascadeConfig {
                width: 0.0,
                observe: false,
                hold_tokens: 1,
                hold: Duration::ZERO,
                hedge: false,
                samples: 1,
            },
            lanes: vec![],
            second: None,
            spender: None,
            affinity: Arc::default(),
            taint: Arc::default(),
            switch_cost: 0.0,
            exploration,
            keep_prompts,
            experiments: vec![],
            baseline: None,
            local_cost: None,
            holdout: None,
        };
        let budgets = Budgets::start(ledger.clone(), vec![], jiff::Timestamp::now()).unwrap();
        let steering = (Arc::new(control), Arc::new(Cascade::default()));
        let router =
            Router::new(config, fleet, steering, budgets, ledger.clone(), Arc::new(Silent), TaskTracker::new());
        Self { router, ledger, _folder: folder }
    }

    fn ask(id: &str, prompt: &str, class: Option<&str>) -> Ask {
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]});
        Ask {
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
        }
    }
}

async fn answer(router: &Arc<Router>, id: &str, class: Option<&str>) -> Answer {
    router.answer(Bench::ask(id, EASY, class)).await.unwrap_or_else(|denied| panic!("denied: {denied:?}"))
}

fn half() -> Control {
    Control::from(Share::new(0.5, &[0.0, 0.5, 1.0]))
}

#[tokio::test]
async fn what_the_head_saw_is_kept_without_the_prompt() {
    let bench = Bench::new(half(), without_encoder(), 0.0, false);
    let router = Arc::new(bench.router);
    answer(&router, "r", None).await;
    answer(&router, "restricted", Some("restricted")).await;
    let rows = bench.ledger.judged(10).unwrap();
    assert_eq!(rows.len(), 1, "what could not be decided was not judged");
    let kept = &rows[0].judgement;
    let reading = probe::Reading::of_request(&Bench::ask("r", EASY, None).request);
    assert_eq!(kept.evidence.as_ref().unwrap().views().features, probe::features::compute(&reading));
    assert_eq!((kept.propensity, kept.explored, kept.prompt.as_deref()), (1.0, false, None));
    assert!(kept.head.as_deref().is_some_and(|head| kept.judge.contains(head)), "{} {:?}", kept.judge, kept.head);
}

#[tokio::test]
async fn the_text_is_kept_where_the_operator_allows_it() {
    let bench = Bench::new(half(), Classifier::Heuristic, 0.0, true);
    answer(&Arc::new(bench.router), "r", None).await;
    let kept = &bench.ledger.judged(10).unwrap()[0].judgement;
    assert_eq!((kept.prompt.as_deref(), kept.evidence.is_none()), (Some(EASY), true));
}

#[tokio::test]
async fn an_explored_request_takes_the_other_side_and_its_story_says_with_which_probability() {
    let bench = Bench::new(half(), Classifier::Heuristic, 1.0, false);
    let explained = bench.router.explain(&Bench::ask("e", EASY, None)).await.unwrap();
    let explained: Value = serde_json::from_str(&explained).unwrap();
    assert_eq!(
        (&explained["route"], &explained["reason"]),
        (&"local".into(), &"classifier".into()),
        "asking draws nothing"
    );
    let router = Arc::new(bench.router);
    let head = answer(&router, "r", None).await.head;
    assert_eq!((head.route, head.reason.as_str()), (Some(Location::Hosted), "exploration"));
    let head = answer(&router, "restricted", Some("restricted")).await.head;
    assert_eq!((head.route, head.reason.as_str()), (Some(Location::Local), "residency"));
    let story = bench.ledger.request("r").unwrap().unwrap();
    let told = &story["judgement"];
    assert_eq!((&told["propensity"], &told["explored"], &told["side"]), (&1.0.into(), &true.into(), &"hosted".into()));
}

#[tokio::test]
async fn some_are_explored_and_each_says_with_which_probability_its_side_was_taken() {
    let bench = Bench::new(half(), Classifier::Heuristic, 0.25, false);
    let router = Arc::new(bench.router);
    for n in 0..400 {
        answer(&router, &format!("r{n}"), None).await;
    }
    let rows = bench.ledger.judged(1_000).unwrap();
    let explored = rows.iter().filter(|row| row.judgement.explored).count();
    // Four standard deviations.
    assert!((65..=135).contains(&explored), "{explored} of 400");
    for row in rows {
        let expected = if row.judgement.explored { 0.25 } else { 0.75 };
        assert_eq!(row.judgement.propensity, expected);
    }
}

#[tokio::test]
async fn labels_of_explored_answers_open_the_local_side_and_are_remembered() {
    let goal = RiskGoal { target: 0.05, confidence: 0.9 };
    let bench = Bench::new(Control::from(Risk::new(goal, &[])), Classifier::Heuristic, 0.5, false);
    let router = Arc::new(bench.router);
    let mut needed = 0;
    while router.control().risk().is_some_and(|risk| risk.state == "learning") {
        let id = format!("r{needed}");
        needed += 1;
        assert!(needed < 2_000, "{:?}", router.control().risk());
        let head = answer(&router, &id, None).await.head;
        let expected = if head.route == Some(Location::Local) { "exploration" } else { "classifier" };
        assert_eq!(head.reason, expected, "until it is shown, only exploration goes local");
        let label = LabelRecord {
            request: id.as_str().into(),
            source: "feedback",
            at_us: needed,
            kind: "up",
            value: 1.0,
            corrected: false,
            correction: None,
            comment: None,
        };
        bench.ledger.label(label).await.unwrap();
        router.labelled(&id).unwrap();
    }
    let state = router.control().risk().unwrap();
    assert_eq!((state.used, state.wrong), (state.least_labels, 0), "no more than it takes");
    assert!(state.bound.unwrap() <= 0.05, "{state:?}");
    // Another life of the same ledger.
    let risk = Risk::new(goal, &[]);
    assert_eq!(risk.load(bench.ledger.labels("Heuristic", router::RISK_WINDOW).unwrap()), state);
    assert_eq!(bench.ledger.request("r0").unwrap().unwrap()["labels"][0]["kind"], "up");
}

//! Prompts that try to steer the router: what they do to the score is reported, and none of them crosses a constraint.
#![expect(clippy::unwrap_used, reason = "tests")]

use adapters::Backend;
use adapters::scripted::{Play, Scripted};
use adapters::wire::WireRequest;
use policies::{
    Classes, Endpoint, Location, ModelName, Price, PriceSource, Pricing, Principal, Rate, RouteWish, Rule, Unsure,
};
use router::ledger::{Durability, Ledger};
use router::{
    Answer, Ask, Breaker, Budgets, Cascade, CascadeConfig, Classifier, Denied, Fleet, Idle, Model, Provider, Router,
    RouterConfig, Share, Silent,
};
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

#[derive(Deserialize)]
struct Row {
    id: String,
    kind: String,
    prompt: String,
    base: String,
}

fn rows() -> Vec<Row> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/adversarial/prompts.jsonl");
    let rows: Vec<Row> =
        std::fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 200);
    rows
}

fn request(prompt: &str, model: &str) -> Arc<WireRequest> {
    let body = json!({"model": model, "messages": [{"role": "user", "content": prompt}]});
    Arc::new(WireRequest::parse(Endpoint::Chat, body.to_string().into()).unwrap())
}

fn probe() -> Classifier {
    Classifier::probe(None, Duration::from_secs(60))
}

#[tokio::test]
async fn what_disguises_do_to_the_score_is_reported() {
    let (probe, rows) = (probe(), rows());
    // The threshold of a share of 30%, from the head's own quantiles.
    let threshold = Share::new(0.3, probe.cold_quantiles()).threshold();
    let mut bases: HashMap<&str, f32> = HashMap::new();
    let mut kinds: BTreeMap<&str, Vec<(f32, bool)>> = BTreeMap::new();
    for row in &rows {
        let need = async |prompt: &str| {
            let classes = policies::Classes::standard();
            let leave = classes.permit_sink(classes.named("internal").unwrap(), policies::Sink::Classifier).ok();
            let judgement = probe.judge(&request(prompt, "auto"), Unsure::Heuristic, leave.as_ref()).await;
            judgement.signals.need.unwrap()
        };
        let base = match bases.get(row.base.as_str()) {
            Some(known) => *known,
            None => need(&row.base).await,
        };
        bases.insert(&row.base, base);
        let score = need(&row.prompt).await;
        assert!((0.0..=1.0).contains(&score), "{}", row.id);
        let turned = (score >= threshold) != (base >= threshold);
        kinds.entry(&row.kind).or_default().push((score - base, turned));
    }
    println!("| disguise | mean change | 90th percentile of its size | sides changed |\n|---|---:|---:|---:|");
    for (kind, changes) in &kinds {
        let mean = changes.iter().map(|(change, _)| change).sum::<f32>() / changes.len() as f32;
        let mut sizes: Vec<f32> = changes.iter().map(|(change, _)| change.abs()).collect();
        sizes.sort_by(f32::total_cmp);
        let turned = changes.iter().filter(|(_, turned)| *turned).count();
        println!("| {kind} | {mean:+.3} | {:.3} | {turned} of {} |", sizes[sizes.len() * 9 / 10], changes.len());
    }
    assert_eq!(kinds.len(), 10);
}

struct Bench {
    router: Arc<Router>,
    local: Arc<Scripted>,
    hosted: Arc<Scripted>,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// A router whose threshold lets about half of what it judges go hosted; `rules` and the most a request may cost.
    fn new(rules: Vec<Rule>, most: Option<u64>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::start(folder.path().join("l.db"), Durability::Process).unwrap().0;
        let whole = |text: &str| {
            Play::Whole(
                json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": text},
            "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
                .to_string(),
            )
        };
        let scripted = |text: &str| Arc::new(Scripted::new([whole(text)]));
        let (local, hosted) = (scripted("local"), scripted("hosted"));
        let model = |name: &str, location, backend: &Arc<Scripted>, pricing| Model {
            name: name.into(),
            provider: Provider {
                name: format!("of-{name}").into(),
                location,
                region: Some("us".into()),
                backend: backend.clone() as Arc<dyn Backend>,
                breaker: Arc::new(Breaker::default()),
                drains: None,
                idle: Idle::default(),
            },
            upstream: name.into(),
            kind: policies::ModelKind::Chat,
            pricing,
            context_window: None,
            max_output: None,
            capabilities: None,
        };
        let price = Price { input: Rate(1_000_000_000), output: Rate(1_000_000_000), ..Price::default() };
        let fleet = Fleet::new(vec![
            model("small", Location::Local, &local, Pricing::Free),
            model("big", Location::Hosted, &hosted, Pricing::Priced(price, PriceSource::Config)),
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
            rules: rules.into(),
            max_per_request: most.map(policies::NanoDollars),
            max_first_token: None,
            assumed_output: 100,
            unsure: Unsure::Heuristic,
            classifier: Classifier::Heuristic,
            lanes: vec![],
            second: None,
            spender: None,
            cascade: CascadeConfig {
                width: 0.0,
                observe: false,
                hold_tokens: 1,
                hold: Duration::ZERO,
                hedge: false,
                samples: 1,
            },
            affinity: Arc::default(),
            taint: Arc::default(),
            switch_cost: 0.15,
            exploration: 0.5,
            keep_prompts: false,
            again: None,
            experiments: vec![],
            baseline: None,
            local_cost: None,
            holdout: None,
        };
        let budgets = Budgets::start(ledger.clone(), vec![], jiff::Timestamp::now()).unwrap();
        let steering = (Arc::new(Share::new(0.5, &[0.0, 0.5, 1.0]).into()), Arc::new(Cascade::default()));
        let router = Router::new(config, fleet, steering, budgets, ledger, Arc::new(Silent), TaskTracker::new());
        Self { router: Arc::new(router), local, hosted, _folder: folder }
    }

    async fn ask(&self, row: &Row, model: &str, class: Option<&str>, wish: RouteWish) -> Result<Answer, Box<Denied>> {
        let ask = Ask {
            id: row.id.as_str().into(),
            request: request(&row.prompt, model),
            principal: Principal::default(),
            wish,
            class: class.map(Into::into),
            session: None,
            tags: vec![],
            traceparent: None,
            received: Instant::now(),
            charge: None,
            looked: router::Looked::default(),
        };
        self.router.answer(ask).await
    }

    fn calls(&self) -> (usize, usize) {
        (self.local.calls(), self.hosted.calls())
    }
}

#[tokio::test]
async fn no_prompt_crosses_a_constraint() {
    let rows = rows();
    let to_hosted = Rule { route: RouteWish::Hosted, ..Rule::default() };
    let to_local = Rule { route: RouteWish::Local, ..Rule::default() };
    // What is asked, and whether each side may be called.
    for (name, rules, most, model, class, wish, may) in [
        ("restricted data", vec![], None, "auto", Some("restricted"), RouteWish::Auto, (true, false)),
        ("a request that may cost nothing", vec![], Some(1), "auto", None, RouteWish::Auto, (true, false)),
        ("a rule to the local side", vec![to_local], None, "auto", None, RouteWish::Auto, (true, false)),
        ("a rule to the hosted side", vec![to_hosted], None, "auto", None, RouteWish::Auto, (false, true)),
        ("a header to the local side", vec![], None, "auto", None, RouteWish::Local, (true, false)),
        ("the small model pinned", vec![], None, "small", None, RouteWish::Auto, (true, false)),
        ("the large model pinned", vec![], None, "big", None, RouteWish::Auto, (false, true)),
    ] {
        let bench = Bench::new(rules, most);
        for row in &rows {
            let answer = bench.ask(row, model, class, wish).await;
            let answer = answer.unwrap_or_else(|denied| panic!("{name}: {}: {denied:?}", row.id));
            let expected = if may.0 { Location::Local } else { Location::Hosted };
            assert_eq!(answer.head.route, Some(expected), "{name}: {}", row.id);
        }
        let (local, hosted) = bench.calls();
        assert!((may.0 || local == 0) && (may.1 || hosted == 0), "{name}: {local} local and {hosted} hosted calls");
    }
    // Nothing forbidden: both sides are called, so the test above could have failed.
    let bench = Bench::new(vec![], None);
    for row in &rows {
        assert!(bench.ask(row, "auto", None, RouteWish::Auto).await.is_ok());
    }
    let (local, hosted) = bench.calls();
    assert!(local > 20 && hosted > 20 && local + hosted == rows.len(), "{local} {hosted}");
    // And restricted data that asks for the hosted model gets a refusal, whatever it says.
    let bench = Bench::new(vec![], None);
    for row in &rows {
        let denied = bench.ask(row, "big", Some("restricted"), RouteWish::Auto).await;
        assert!(denied.is_err(), "{}", row.id);
    }
    assert_eq!(bench.calls(), (0, 0));
}

//! What a decision and a scan of one request cost: `make bench-micro`.
//!
//! Times for a single call, as divan takes them; throughput of the detectors on large texts of many kinds is
//! `benches/detect.rs`.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use policies::detect::{DetectConfig, Detectors, Kind, Unscanned};
use policies::{
    Account, BudgetView, Candidate, Capabilities, Choice, Classed, Classes, Endpoint, Facts, JudgedBy, Location,
    Measure, ModelKind, ModelName, Needs, OnExceeded, Price, PriceSource, Pricing, Principal, Rate, Readiness,
    RouteWish, Rule, Signals, Steering, TokenEstimate, Unsure, World, admit, decide,
};
use std::borrow::Cow;
use std::time::Duration;

#[path = "../src/decide/tests/plain.rs"]
mod plain;

use plain::facts;

fn main() {
    divan::main();
}

fn candidate(number: usize) -> Candidate {
    let local = number.is_multiple_of(2);
    let price = Price { input: Rate(2_500_000_000), output: Rate(10_000_000_000), ..Price::default() };
    Candidate {
        model: format!("model-{number}").as_str().into(),
        provider: format!("provider-{number}").as_str().into(),
        location: if local { Location::Local } else { Location::Hosted },
        region: (!local).then(|| "eu".into()),
        capabilities: Capabilities::ALL,
        context_window: Some(32_768),
        kind: ModelKind::Chat,
        max_output: None,
        tells: local,
        pricing: if local { Pricing::Free } else { Pricing::Priced(price, PriceSource::Config) },
        readiness: Readiness::Ready,
        first_token_in: local.then_some(Duration::from_millis(300)),
        expected_output: None,
    }
}

/// So many models, ten rules of which none matches, ten budgets of which none is spent.
fn world(candidates: usize) -> World {
    let names =
        |rest: usize| (0..candidates).filter(move |n| n % 2 == rest).map(|n| format!("model-{n}").as_str().into());
    let names = |rest: usize| names(rest).collect::<Vec<ModelName>>();
    let rule = |n: usize| Rule {
        key: Some(format!("key-{n}")),
        team: None,
        tag: None,
        class: None,
        tools: None,
        model: None,
        route: RouteWish::Auto,
        pin: None,
    };
    let budget = |n: usize| BudgetView {
        scope: format!("team:{n}"),
        only_model: None,
        measure: Measure::Money,
        account: Account { limit: 1_000_000_000_000, spent: 1_000, held: 0 },
        on_exceeded: OnExceeded::Local,
        near: None,
    };
    World {
        candidates: (0..candidates).map(candidate).collect(),
        local: names(0).into(),
        hosted: names(1).into(),
        classes: Classes::standard().into(),
        rules: (0..10).map(rule).collect(),
        budgets: (0..10).map(budget).collect(),
        max_per_request: None,
        max_first_token: Some(Duration::from_secs(20)),
        assumed_output: 4_096,
        steering: Steering::new(0.5, Unsure::Heuristic, 0.15),
    }
}

/// From facts and a judgement to a plan.
#[divan::bench(args = [2, 10, 50])]
fn decision(bencher: Bencher<'_, '_>, candidates: usize) {
    let (facts, world) = (facts(), world(candidates));
    let signals = Signals {
        need: Some(0.7),
        judged_by: JudgedBy::Probe,
        abstained: None,
        skipped: None,
        unread_bytes: 0,
        took_us: 1,
        features: vec![],
        head: None,
    };
    bencher.bench(|| decide(admit(black_box(&facts), black_box(&world)), Some(signals.clone())).unwrap());
}

const PROSE: &str = "The committee met on Tuesday to discuss the budget for the coming year, and decided after a long debate \
    that the library in the old town hall should stay open. Nobody had expected the mayor to agree.\n";
const JSON: &str =
    "{\"id\": 48213977, \"price\": 1299.95, \"at\": \"2024-05-17T08:31:22Z\", \"stock\": [12, 7, 133]},\n";

/// Every reading and detector over 8 KiB.
#[divan::bench(args = ["prose", "json"])]
fn scan(bencher: Bencher<'_, '_>, name: &str) {
    let classes = Classes::standard();
    let detectors = Detectors::new(DetectConfig {
        kinds: Kind::ALL.map(|kind| classes.named(kind.sensitivity().class()).ok()),
        patterns: vec![],
        words: vec![],
        unscanned: None,
        most_bytes: u64::MAX,
        observe: false,
    })
    .unwrap();
    let unit = if name == "prose" { PROSE } else { JSON };
    let text = unit.repeat(8_192 / unit.len());
    let passages = [vec![Cow::Borrowed(text.as_str())]];
    bencher.counter(BytesCount::of_str(&text)).bench(|| detectors.scan(black_box(&passages), Unscanned::default()));
}

//! A judge that is late is not waited for: `unsure` decides, each time.

use super::bench::{Bench, HOSTED, LOCAL, ask, config, half, model};
use adapters::scripted::{Play, Scripted};
use policies::{Location, Unsure};
use router::{Classifier, RouterConfig, probe};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Requests, as many as `SLUICE_TEST_SIZE` wants.
fn requests() -> usize {
    if std::env::var_os("SLUICE_TEST_SIZE").is_some_and(|size| size == "full") { 1_000 } else { 50 }
}

#[tokio::test]
async fn a_deadline_that_is_missed_leaves_the_decision_to_unsure_every_time() {
    for (unsure, route, reason) in [
        (Unsure::Local, Some(Location::Local), "unsure"),
        (Unsure::Hosted, Some(Location::Hosted), "unsure"),
        // The heuristic stands in: its score meets the threshold.
        (Unsure::Heuristic, None, "classifier"),
    ] {
        let whole = |name: &str, location| {
            let answer = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": name}}]});
            model(name, location, Arc::new(Scripted::new([Play::Whole(answer.to_string())])))
        };
        let models = vec![whole(LOCAL, Location::Local), whole(HOSTED, Location::Hosted)];
        let judge = probe::Probe::bundled().unwrap();
        assert!(judge.has_encoder(), "running it takes milliseconds");
        let classifier = Classifier::Probe(Arc::new(probe::Live::new(judge, Duration::from_micros(50))));
        let bench = Bench::new(RouterConfig { classifier, unsure, ..config() }, models, half());
        for n in 0..requests() {
            let (id, prompt) = (format!("r{n}"), format!("{n} why is the sky blue? ").repeat(40));
            let head = bench.answer(ask(&id, &prompt, &json!({}))).await.head;
            assert_eq!(head.reason, reason, "{n}");
            assert!(route.is_none() || head.route == route, "{n}: {head:?}");
            assert_eq!(head.score.is_some(), unsure == Unsure::Heuristic, "{n}");
            let signals = &bench.story(&id)["signals"];
            let by = if unsure == Unsure::Heuristic { "heuristic" } else { "probe" };
            assert_eq!((&signals["abstained"], &signals["judged_by"]), (&json!("deadline"), &json!(by)), "{n}");
        }
    }
}

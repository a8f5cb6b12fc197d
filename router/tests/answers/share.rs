//! What the share counts is who answers, faults excepted.

use super::bench::{Bench, HOSTED, LOCAL, ask, config, model};
use adapters::scripted::{Play, Scripted};
use adapters::{BackendError, Clock, Kind};
use policies::Location;
use router::{Control, RouterConfig, Share};
use serde_json::json;
use std::sync::Arc;

/// Half of the requests go hosted, and enough were seen for the running quantile to count alone: 200 scores, evenly from 0 to 1.
fn settled() -> Control {
    let share = Share::new(0.5, &[]);
    for n in 0..200usize {
        share.observe((n * 7_919 % 200) as f32 / 200.0, n.is_multiple_of(2));
    }
    Control::from(share)
}

fn whole(text: &str) -> Play {
    Play::Whole(json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}).to_string())
}

/// The threshold before and after an easy request that a local model meets so.
async fn moved(local: Vec<Play>) -> (f32, f32) {
    let models = vec![
        model(LOCAL, Location::Local, Arc::new(Scripted::new(local))),
        model(HOSTED, Location::Hosted, Arc::new(Scripted::new([whole(HOSTED)]))),
    ];
    let bench = Bench::new(RouterConfig { ..config() }, models, settled());
    let before = bench.router.control().threshold();
    for n in 0..2 {
        bench.answer(ask(&format!("r{n}"), "What is the capital of France?", &json!({}))).await;
    }
    (before, bench.router.control().threshold())
}

#[tokio::test]
async fn what_a_full_side_sends_to_the_other_one_counts_and_what_a_fault_sends_there_does_not() {
    let (before, answered) = moved(vec![whole(LOCAL)]).await;
    assert!(answered < before, "two local answers: {before} {answered}");
    let (before, full) = moved(vec![Play::Fail(BackendError::before_send(Kind::QueueFull))]).await;
    assert!(full > before, "two hosted answers: {before} {full}");
    let fault = Play::Fail(BackendError::before_first_event(Kind::Timeout(Clock::FirstEvent)));
    assert_eq!(moved(vec![fault]).await.1, answered, "a fault counts as it was decided");
}

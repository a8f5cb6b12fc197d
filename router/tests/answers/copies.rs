//! A shadow copies the share of requests that its configuration says, and each that was drawn is counted.

use super::bench::{Bench, HOSTED, LOCAL, ask, chunk, config, half, model, text_of};
use adapters::scripted::{Play, Scripted};
use policies::Location;
use router::compare::Question;
use router::{ExperimentSpec, PairJudge, Trial};
use serde_json::json;
use std::sync::Arc;

#[tokio::test]
async fn half_of_the_requests_are_drawn_where_half_of_them_should_be() {
    const ASKED: u64 = 400;
    let answers = || Arc::new(Scripted::new([Play::Stream(vec![chunk("hi", Some("stop"))], None)]));
    let models = vec![model(LOCAL, Location::Local, answers()), model(HOSTED, Location::Hosted, answers())];
    let shadow = ExperimentSpec {
        name: "half".into(),
        kind: Trial::Shadow(0.5),
        sides: None,
        judge: PairJudge::Nobody,
        question: Question { margin: 0.05, error: 0.05 },
        daily: None,
        act: None,
        system: None,
        quiet: None,
    };
    let bench = Bench::shadowed(config(), models, half(), vec![], Some(shadow));
    for n in 0..ASKED {
        text_of(bench.answer(ask(&format!("r{n}"), "x", &json!({"stream": true}))).await).await;
    }
    let live = bench.router.config().experiments[0].live().clone();
    // Copies end after their answers; whatever became of one, it was drawn once.
    let drawn = async {
        loop {
            let before: u64 = live.copies().map(|(_, count)| count).sum();
            // A turn of the writer, which copies wait for.
            bench.ended("r0", 1).await;
            let now: u64 = live.copies().map(|(_, count)| count).sum();
            if now == before && now > ASKED * 3 / 8 {
                return now;
            }
        }
    };
    // Ten standard deviations of a fair coin; drawn twice over it would be a quarter.
    let drawn = tokio::time::timeout(super::bench::LONG, drawn).await.expect("three eighths are drawn, and end");
    assert!(drawn < ASKED * 5 / 8, "{drawn} of {ASKED}");
}

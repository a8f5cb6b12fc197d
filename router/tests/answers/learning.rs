//! What a request leaves on the ledger to learn from, exploration included, and what labels do to a risk target.

use super::bench::{self, Bench, HOSTED, LOCAL, config, half, model};
use adapters::scripted::{Play, Scripted};
use policies::Location;
use router::ledger::LabelRecord;
use router::{Answer, Ask, Classifier, Control, Risk, RiskGoal, RouterConfig, probe};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const EASY: &str = "What is the capital of France?";

fn without_encoder() -> Classifier {
    let probe = probe::Probe::bundled().unwrap().without_encoder();
    Classifier::Probe(Arc::new(probe::Live::new(probe, Duration::from_secs(5))))
}

fn start(control: Control, classifier: Classifier, exploration: f32, keep_prompts: bool) -> Bench {
    let whole = |name: &str, location| {
        let answer = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": name}}]});
        model(name, location, Arc::new(Scripted::new([Play::Whole(answer.to_string())])))
    };
    let models = vec![whole(LOCAL, Location::Local), whole(HOSTED, Location::Hosted)];
    Bench::new(RouterConfig { classifier, exploration, keep_prompts, ..config() }, models, control)
}

fn ask(id: &str, class: Option<&str>) -> Ask {
    Ask { class: class.map(Into::into), ..bench::ask(id, EASY, &json!({})) }
}

async fn answer(bench: &Bench, id: &str, class: Option<&str>) -> Answer {
    bench.answer(ask(id, class)).await
}

#[tokio::test]
async fn what_the_head_saw_is_kept_without_the_prompt() {
    let bench = start(half(), without_encoder(), 0.0, false);
    answer(&bench, "r", None).await;
    answer(&bench, "restricted", Some("restricted")).await;
    let rows = bench.ledger.judged(10).unwrap();
    assert_eq!(rows.len(), 1, "what could not be decided was not judged");
    let kept = &rows[0].judgement;
    let reading = probe::Reading::of_request(&ask("r", None).request);
    assert_eq!(kept.evidence.as_ref().unwrap().views().features, probe::features::compute(&reading));
    assert_eq!((kept.propensity, kept.explored, kept.prompt.as_deref()), (1.0, false, None));
    assert!(kept.head.as_deref().is_some_and(|head| kept.judge.contains(head)), "{} {:?}", kept.judge, kept.head);
}

#[tokio::test]
async fn the_text_is_kept_where_the_operator_allows_it() {
    let bench = start(half(), Classifier::Heuristic, 0.0, true);
    answer(&bench, "r", None).await;
    let kept = &bench.ledger.judged(10).unwrap()[0].judgement;
    assert_eq!((kept.prompt.as_deref(), kept.evidence.is_none()), (Some(EASY), true));
}

#[tokio::test]
async fn an_explored_request_takes_the_other_side_and_its_story_says_with_which_probability() {
    let bench = start(half(), Classifier::Heuristic, 1.0, false);
    let explained = bench.router.explain(&ask("e", None)).await.unwrap();
    let explained: Value = serde_json::from_str(&explained).unwrap();
    assert_eq!(
        (&explained["route"], &explained["reason"]),
        (&"local".into(), &"classifier".into()),
        "asking draws nothing"
    );
    let head = answer(&bench, "r", None).await.head;
    assert_eq!((head.route, head.reason.as_str()), (Some(Location::Hosted), "exploration"));
    let head = answer(&bench, "restricted", Some("restricted")).await.head;
    assert_eq!((head.route, head.reason.as_str()), (Some(Location::Local), "residency"));
    let story = bench.ledger.request("r").unwrap().unwrap();
    let told = &story["judgement"];
    assert_eq!((&told["propensity"], &told["explored"], &told["side"]), (&1.0.into(), &true.into(), &"hosted".into()));
}

#[tokio::test]
async fn some_are_explored_and_each_says_with_which_probability_its_side_was_taken() {
    let bench = start(half(), Classifier::Heuristic, 0.25, false);
    for n in 0..400 {
        answer(&bench, &format!("r{n}"), None).await;
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
    let goal = RiskGoal { target: 0.05, confidence: 0.9, shadows: false };
    let bench = start(Control::from(Risk::new(goal, &[])), Classifier::Heuristic, 0.5, false);
    let mut needed = 0;
    while bench.router.control().risk().is_some_and(|risk| risk.state == "learning") {
        let id = format!("r{needed}");
        needed += 1;
        assert!(needed < 2_000, "{:?}", bench.router.control().risk());
        let head = answer(&bench, &id, None).await.head;
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
        bench.router.labelled(&id).unwrap();
    }
    let state = bench.router.control().risk().unwrap();
    assert_eq!((state.used, state.wrong), (state.least_labels, 0), "no more than it takes");
    assert!(state.bound.unwrap() <= 0.05, "{state:?}");
    // Another life of the same ledger.
    let risk = Risk::new(goal, &[]);
    assert_eq!(risk.load(bench.ledger.labels("Heuristic", false, router::RISK_WINDOW).unwrap()), state);
    assert_eq!(bench.ledger.request("r0").unwrap().unwrap()["labels"][0]["kind"], "up");
}

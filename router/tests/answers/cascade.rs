//! The second look at local answers, with a local backend that says how sure it is of each token.

use super::bench::{self, HOSTED, LOCAL, NO_LOOK, chunk, config, half, model, text_of};
use adapters::scripted::{Play, Scripted};
use adapters::wire::Certainty;
use adapters::{BackendError, Kind};
use policies::Location;
use router::{Answer, Ask, CascadeConfig, RouterConfig};
use serde_json::{Value, json};
use std::sync::Arc;

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

struct Bench(bench::Bench);

// === impl Bench ===

impl Bench {
    fn new(local: Vec<Play>, hosted: Vec<Play>, cascade: CascadeConfig) -> Self {
        let scripted = |script| Arc::new(Scripted::new(script));
        let models =
            vec![model(LOCAL, Location::Local, scripted(local)), model(HOSTED, Location::Hosted, scripted(hosted))];
        Self(bench::Bench::new(RouterConfig { cascade, ..config() }, models, half()))
    }

    async fn ask(&self, id: &str, stream: bool, class: Option<&str>) -> Answer {
        let asked = bench::ask(id, "Compare two things.", &json!({"stream": stream}));
        self.0.answer(Ask { class: class.map(Into::into), ..asked }).await
    }

    fn story(&self, id: &str) -> Value {
        self.0.story(id)
    }
}

const ON: CascadeConfig = CascadeConfig { width: 0.5, ..NO_LOOK };

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

//! What the router remembers of a conversation, and what it knows of a request before it judges it, with a local and a hosted
//! model that play scripts.

use super::bench::{self, HOSTED, LOCAL, chunk, config, half, model};
use adapters::scripted::{Play, Scripted};
use adapters::{Backend, BackendError, Call, Description, Events, Question};
use async_trait::async_trait;
use policies::{Location, Readiness};
use router::{Ask, Classifier, RouterConfig};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Prompts of growing need, as the heuristic reads them.
const GROWING: [&str; 3] = [
    "What is the capital of France?",
    "What is the capital of France? Explain why.",
    "What is the capital of France? Explain why. Compare it with others step by step.",
];
/// More than each step from one of those prompts to the next, and less than all steps together.
const SWITCH_COST: f32 = 0.6;

struct Bench(bench::Bench);

// === impl Bench ===

impl Bench {
    fn new(switch_cost: f32) -> Self {
        let played = |name: &str, location| {
            let script = vec![Play::Stream(vec![chunk(name, Some("stop"))], None)];
            model(name, location, Arc::new(Scripted::new(script)))
        };
        let models = vec![played(LOCAL, Location::Local), played(HOSTED, Location::Hosted)];
        Self(bench::Bench::new(RouterConfig { switch_cost, ..config() }, models, half()))
    }

    /// Answers a request of a session: its need, where it went and why.
    async fn ask(&self, id: &str, prompt: &str, session: &str) -> (f32, String, String) {
        let asked = bench::ask(id, prompt, &json!({}));
        let head = self.0.answer(Ask { session: Some(session.into()), ..asked }).await.head;
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

/// A local model that is asked for its opinion, and counts how often.
struct Judge(AtomicUsize);

#[async_trait]
impl Backend for Judge {
    async fn call(&self, _: Call) -> Result<Events, BackendError> {
        unreachable!("it judges, and answers nothing")
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    fn describe(&self) -> Description {
        Scripted::new([]).describe()
    }

    async fn ask(&self, _: Question) -> Result<f32, BackendError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(0.1)
    }
}

/// The page's playground has to know whether it may tell an answer before anybody is asked for one.
#[tokio::test]
async fn the_class_of_a_request_is_known_without_asking_the_judge_who_is_asked_once_for_its_answer() {
    let judge = Arc::new(Judge(AtomicUsize::new(0)));
    let played = |name: &str, location| {
        let script = vec![Play::Stream(vec![chunk(name, Some("stop"))], None)];
        model(name, location, Arc::new(Scripted::new(script)))
    };
    let classifier = Classifier::Slm { backend: judge.clone(), deadline: Duration::from_secs(5) };
    let models = vec![played(LOCAL, Location::Local), played(HOSTED, Location::Hosted)];
    let bench = bench::Bench::new(RouterConfig { classifier, ..config() }, models, half());
    let ask = Ask { class: Some("confidential".into()), ..bench::ask("r", GROWING[0], &json!({})) };
    let class = bench.router.class_of(&ask).await.unwrap();
    assert_eq!(bench.router.config().classes.name(class), "confidential");
    assert_eq!(judge.0.load(Ordering::SeqCst), 0);
    bench.answer(ask).await;
    assert_eq!(judge.0.load(Ordering::SeqCst), 1);
    let unknown = Ask { class: Some("secret".into()), ..bench::ask("s", GROWING[0], &json!({})) };
    assert!(bench.router.class_of(&unknown).await.is_err());
}

//! What the router remembers of a conversation, with a local and a hosted model that play scripts.

use super::bench::{self, HOSTED, LOCAL, chunk, config, half, model};
use adapters::scripted::{Play, Scripted};
use policies::Location;
use router::{Ask, RouterConfig};
use serde_json::json;
use std::sync::Arc;

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

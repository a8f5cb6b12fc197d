//! A backend that panics costs one request its answer: its hold is charged, its line is closed, and the next request is
//! served (reliability test 35).

use super::bench::{Bench, HOSTED, LOCAL, LONG, NO_LOOK, ask, chunk, config, half, model, text_of};
use super::puppet::dollars;
use adapters::scripted::{Play, Scripted};
use policies::{Location, NanoDollars, RouteWish};
use router::{Ask, BudgetSpec, RouterConfig, Scope, Window};
use serde_json::json;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

#[tokio::test]
async fn a_backend_that_panics_charges_its_hold_and_leaves_everything_else_as_it_was() {
    const TIMES: usize = 20;
    let fine = Play::Stream(vec![chunk("hi", Some("stop"))], None);
    // A panic, then an answer, and so on.
    let script: Vec<Play> = (0..TIMES).flat_map(|_| [Play::Panic, fine.clone()]).collect();
    let local = model(LOCAL, Location::Local, Arc::new(Scripted::new([Play::Hang])));
    let hosted = model(HOSTED, Location::Hosted, Arc::new(Scripted::new(script)));
    let limit = BudgetSpec::dollars(Scope::Org, NanoDollars(1_000_000_000), Window::Total);
    let config = RouterConfig { cascade: NO_LOOK, ..config() };
    let bench = Bench::limited(config, vec![local, hosted], half(), vec![limit]);
    let mut charged = 0;
    for n in 0..TIMES {
        let asked = |id: String| Ask { wish: RouteWish::Hosted, ..ask(&id, "x", &json!({"stream": true})) };
        let (router, broken) = (bench.router.clone(), asked(format!("broken-{n}")));
        let ended = TaskTracker::new().spawn(async move { router.answer(broken).await.is_ok() });
        let ended = tokio::time::timeout(LONG, ended).await.expect("in time");
        assert!(ended.is_err_and(|error| error.is_panic()), "the panic reaches whoever answers clients");
        let line = bench.lines(&format!("broken-{n}"), 1).await.remove(0);
        assert!(!line["outcome"].is_null() && line["outcome"] != "ok", "it is closed: {line}");
        charged += dollars(&line["cost_usd"]).0;
        let answer = bench.answer(asked(format!("fine-{n}"))).await;
        assert!(text_of(answer).await.contains("hi"));
        charged += dollars(&bench.lines(&format!("fine-{n}"), 1).await[0]["cost_usd"]).0;
        let state = bench.budgets.states(jiff::Timestamp::now()).remove(0).dollars.unwrap();
        assert_eq!(state.held_usd, NanoDollars::ZERO, "nothing stays set aside");
        assert_eq!(state.spent_usd.0, charged, "and the account says what the ledger says");
    }
}

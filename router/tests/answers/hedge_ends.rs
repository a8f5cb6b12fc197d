//! Hedging where money is short, where somebody fails and where the client leaves.

use super::bench::text_of;
use super::puppet::{SURE, Setting, Stage, UNSURE, answered, dollars, money_for_one};
use policies::NanoDollars;
use serde_json::json;

#[tokio::test]
async fn without_money_for_it_there_is_no_hedge_and_no_harm() {
    // One hosted call fits; a shadow copy has taken that money before the hedge could.
    let bench = Stage::new(Setting { limit: Some(money_for_one().await), shadowed: true, ..Setting::default() });
    let asked = bench.ask("kept", true, None);
    let local = bench.local.next().await;
    local.token("local ", SURE);
    local.token("local ", SURE);
    local.end();
    let answer = answered(asked).await;
    assert_eq!(answer.head.attempts, 1);
    assert!(bench.hosted[0].none().await);
    assert!(text_of(answer).await.contains("local "));
    // The shadow copy itself, once the client has its answer.
    let shadow = bench.hosted[0].next().await;
    shadow.text("shadow");
    shadow.end();
    assert_eq!(bench.outcomes("kept", 2).await, ["ok", "ok"]);
}

#[tokio::test]
async fn money_that_a_hedge_holds_is_free_again_when_it_is_cancelled() {
    let bench = Stage::new(Setting { limit: Some(money_for_one().await), ..Setting::default() });
    let first = bench.ask("first", true, None);
    let local = bench.local.next().await;
    local.token("local ", SURE);
    let hosted = bench.hosted[0].next().await;
    // Meanwhile nobody else can be hedged; who can be answered locally is.
    let second = bench.ask("second", true, None);
    let other = bench.local.next().await;
    other.token("local ", UNSURE);
    other.token("local ", UNSURE);
    other.end();
    assert!(text_of(answered(second).await).await.contains("local "));
    assert_eq!(bench.outcomes("second", 1).await, ["ok"]);
    assert!(bench.hosted[0].none().await && bench.hosted[1].none().await);
    local.token("local ", SURE);
    local.end();
    assert!(text_of(answered(first).await).await.contains("local "));
    hosted.dropped().await;
    let lines = bench.lines("first", 2).await;
    let state = bench.budgets.states(jiff::Timestamp::now()).remove(0).dollars.unwrap();
    assert_eq!((state.held_usd, state.spent_usd), (NanoDollars::ZERO, dollars(&lines[1]["cost_usd"])));
    let third = bench.ask("third", true, None);
    let _local = bench.local.next().await;
    let _hosted = bench.hosted[0].next().await;
    third.abort();
}

#[tokio::test]
async fn a_hedge_that_fails_before_the_verdict_is_followed_by_the_next_target() {
    let bench = Stage::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    local.token("local ", UNSURE);
    let hosted = bench.hosted[0].next().await;
    hosted.fail();
    hosted.dropped().await;
    local.token("local ", UNSURE);
    let next = bench.hosted[1].next().await;
    next.text("hosted ");
    next.end();
    let answer = answered(asked).await;
    assert_eq!((answer.head.reason.as_str(), answer.head.attempts), ("fallback", 3));
    assert!(text_of(answer).await.contains("hosted "));
    let lines = bench.lines("r", 3).await;
    let outcomes: Vec<_> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["rejected", "error", "ok"]);
    assert_eq!(lines[1]["error"], "upstream_truncated");
    assert!(bench.hosted[0].none().await, "nobody is asked twice");
}

#[tokio::test]
async fn a_hedge_that_fails_does_no_harm_to_a_local_answer_that_is_kept() {
    let bench = Stage::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    local.token("local ", SURE);
    let hosted = bench.hosted[0].next().await;
    hosted.fail();
    hosted.dropped().await;
    local.token("local ", SURE);
    local.end();
    assert!(text_of(answered(asked).await).await.contains("local "));
    assert_eq!(bench.outcomes("r", 2).await, ["ok", "error"]);
}

#[tokio::test]
async fn a_hedge_that_fails_after_it_was_taken_up_is_followed_by_the_next_target() {
    let bench = Stage::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    local.token("local ", UNSURE);
    let hosted = bench.hosted[0].next().await;
    local.token("local ", UNSURE);
    local.dropped().await;
    hosted.fail();
    let next = bench.hosted[1].next().await;
    next.text("hosted ");
    next.end();
    assert!(text_of(answered(asked).await).await.contains("hosted "));
    assert_eq!(bench.outcomes("r", 3).await, ["rejected", "error", "ok"]);
}

#[tokio::test]
async fn when_the_local_model_fails_the_call_under_way_answers() {
    let bench = Stage::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    let hosted = bench.hosted[0].next().await;
    local.fail();
    hosted.text("hosted ");
    hosted.end();
    let answer = answered(asked).await;
    assert_eq!((answer.head.reason.as_str(), answer.head.attempts), ("fallback", 2));
    assert!(text_of(answer).await.contains("hosted "));
    assert_eq!(bench.outcomes("r", 2).await, ["error", "ok"]);
    assert!(bench.hosted[0].none().await && bench.hosted[1].none().await);
}

#[tokio::test]
async fn a_client_that_leaves_closes_both() {
    let bench = Stage::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    local.token("local ", UNSURE);
    let hosted = bench.hosted[0].next().await;
    asked.abort();
    local.dropped().await;
    hosted.dropped().await;
    assert_eq!(bench.outcomes("r", 2).await, ["disconnected", "cancelled"]);
    assert_eq!((&bench.story("r")["status"], bench.attempts("r")), (&json!(499), 2));
}

#[tokio::test]
async fn a_client_that_leaves_after_the_verdict_leaves_the_call_that_was_taken_up() {
    let bench = Stage::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    local.token("local ", UNSURE);
    let hosted = bench.hosted[0].next().await;
    local.token("local ", UNSURE);
    // The rejected attempt ends before the call is taken up.
    bench.ended("r", 1).await;
    tokio::task::yield_now().await;
    asked.abort();
    hosted.dropped().await;
    let outcomes = bench.outcomes("r", 2).await;
    assert_eq!(outcomes, ["rejected", "disconnected"]);
    assert_eq!(bench.story("r")["status"], 499);
}

#[tokio::test]
async fn the_accounts_and_the_ledger_agree_over_all_outcomes() {
    let bench = Stage::new(Setting { limit: Some(NanoDollars(1_000_000_000)), ..Setting::default() });
    let mut sum = NanoDollars::ZERO;
    for n in 0..12 {
        let id = format!("r{n}");
        let certainty = if n % 2 == 0 { SURE } else { UNSURE };
        let asked = bench.ask(&id, true, None);
        let local = bench.local.next().await;
        local.token("local ", certainty);
        let hosted = bench.hosted[0].next().await;
        if n % 3 == 0 {
            hosted.text("hosted ");
        }
        let mut lines = 2;
        if n % 6 == 5 {
            hosted.fail();
            hosted.dropped().await;
            lines = 3;
        }
        local.token("local ", certainty);
        local.end();
        if lines == 3 {
            let next = bench.hosted[1].next().await;
            next.text("other ");
            next.end();
        }
        hosted.text("hosted ");
        hosted.end();
        text_of(answered(asked).await).await;
        let lines = bench.lines(&id, lines).await;
        for line in &lines {
            sum = NanoDollars(sum.0 + dollars(&line["cost_usd"]).0);
        }
        assert_eq!(bench.attempts(&id), lines.len() as u64);
    }
    let state = bench.budgets.states(jiff::Timestamp::now()).remove(0).dollars.unwrap();
    assert_eq!((state.held_usd, state.spent_usd), (NanoDollars::ZERO, sum));
    assert!(bench.ledger.verify().unwrap().is_empty());
}

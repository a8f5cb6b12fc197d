//! Budgets that hold: under many hands, in the midst of a stream, in dollars and in tokens, and never in the way of an
//! agent whose real spend is small.

use futures::future::join_all;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tests::oracle::{BIG, attempt, cost, nanos, nanos_of};
use tests::upstream::{Manner, Pace, Play, Usage};
use tests::{Gateway, Hand, Told, Upstream, chat, eventually, hosted_only, size, streamed, streamed_with_usage};
use tokio::sync::{Notify, Semaphore};

/// A dollar text for nano-dollars.
fn dollars(nanos: u128) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn with_budget(upstream: &Upstream, budget: &str) -> String {
    format!("{}{budget}", hosted_only(upstream, "echo"))
}

fn budget(scope: &str, limit: u128, policy: &str) -> String {
    let limit = dollars(limit);
    format!(
        "[[budgets]]\nscope = \"{scope}\"\nlimit_usd = \"{limit}\"\nwindow = \"total\"\non_exceeded = \"{policy}\"\n"
    )
}

fn most(mut body: Value, tokens: u64) -> Value {
    body["max_tokens"] = tokens.into();
    body
}

async fn budgets(gateway: &Gateway) -> Vec<Value> {
    gateway.api("/api/budgets").await["budgets"].as_array().expect("budgets").clone()
}

/// Nothing is overspent; gives what is spent and held.
fn within(budget: &Value) -> (u128, u128) {
    let of = |name: &str| nanos(&budget[name]).expect("dollars");
    let (spent, held, limit) = (of("spent_usd"), of("held_usd"), of("limit_usd"));
    assert!(spent + held <= limit, "{budget}");
    (spent, held)
}

/// Budgets of so many rounds are in one process: every look at them says all, and that should not be what takes the time.
const TOGETHER: usize = 50;

#[tokio::test]
async fn many_calls_at_once_spend_no_more_than_there_is() {
    let upstream = Upstream::start().await;
    let rounds = size(8, 1_000);
    let bodies = [chat("big", "x"), streamed("big", "x")].map(|body| most(body, 5));
    let (mut looks, mut calls) = (0, 0);
    for first in (0..rounds).step_by(TOGETHER) {
        let here = first..rounds.min(first + TOGETHER);
        // What ten calls cost, which one that is set aside for with its prompt's bytes fits into; or three times that,
        // where all ten fit at once.
        let limit = |round: usize| cost((11, 5), BIG) * if round.is_multiple_of(2) { 10 } else { 30 };
        let all: String =
            here.clone().map(|round| budget(&format!("tag:round={round}"), limit(round), "refuse")).collect();
        let gateway = Gateway::start(&with_budget(&upstream, &all)).await;
        let mut hands = Hand::crowd(&gateway.data, 256).await;
        upstream.forget();
        for round in here {
            let (at, before, tags) = (round - first, upstream.count(), format!("round={round}"));
            let call = async |(n, hand): (usize, &mut Hand)| {
                hand.chat(&bodies[n % 2], &[("x-sluice-tags", &tags)]).await.expect("an answer").status
            };
            let done = Notify::new();
            let look = async {
                loop {
                    within(&budgets(&gateway).await[at]);
                    looks += 1;
                    if tokio::time::timeout(Duration::from_millis(1), done.notified()).await.is_ok() {
                        return;
                    }
                }
            };
            let all = async {
                let statuses = join_all(hands.iter_mut().enumerate().map(call)).await;
                done.notify_one();
                statuses
            };
            let (statuses, ()) = tokio::join!(all, look);
            assert!(statuses.iter().all(|status| [200, 402, 429].contains(status)), "{statuses:?}");
            let answered = statuses.iter().filter(|status| **status == 200).count();
            let range = if round.is_multiple_of(2) { 1..=10 } else { 10..=30 };
            assert!(range.contains(&answered) && answered == upstream.count() - before, "{answered} in round {round}");
            let (spent, held) = within(&budgets(&gateway).await[at]);
            assert_eq!((spent, held), (answered as u128 * cost((11, 5), BIG), 0), "{answered}");
            calls += statuses.len();
        }
    }
    println!("{rounds} rounds, {calls} calls, {looks} looks at the budget, overspent in none");
}

#[tokio::test]
async fn an_agent_is_never_blocked_by_what_is_only_set_aside() {
    let upstream = Upstream::start().await;
    let real = 200 * cost((11, 5), BIG);
    let gateway = Gateway::start(&with_budget(&upstream, &budget("org", real * 11 / 10, "refuse"))).await;
    for turn in 0..200 {
        let body = if turn % 2 == 0 { streamed("big", "x") } else { chat("big", "x") };
        // Fifty times what a turn really costs.
        let told = gateway.tell(&most(body, 380)).await;
        assert_eq!(told.status, 200, "turn {turn}: {}", told.text());
        within(&budgets(&gateway).await[0]);
    }
    assert_eq!(within(&budgets(&gateway).await[0]), (real, 0));
    // What is known outlives the process.
    let mut gateway = gateway;
    let folder = gateway.folder.clone();
    gateway.stop().await;
    let gateway = Gateway::serve(folder, &[]).await;
    assert_eq!(gateway.tell(&most(streamed("big", "x"), 380)).await.status, 200);
}

/// Short answers, until it is known that they are short; then one of `events`, with a budget for so many of its tokens.
async fn long_after_short(policy: &str, events: usize, tokens: u128) -> (Gateway, Upstream, Told) {
    let upstream = Upstream::start().await;
    let short = 30;
    let limit = short * cost((11, 5), BIG) + cost((500, 0), BIG) + cost((0, tokens as u64), BIG);
    let gateway = Gateway::start(&with_budget(&upstream, &budget("org", limit, policy))).await;
    for _ in 0..short {
        assert_eq!(gateway.tell(&most(streamed("big", "x"), 8)).await.status, 200);
    }
    upstream.forget();
    // Paced, so that it is still at it when it is left.
    let (usage, pace) = (Usage::Stated(11, events as u64), Pace::Every(Duration::from_millis(1)));
    upstream.play("echo", Play::Answer(Manner { events, usage, pace, ..Manner::default() }));
    let told = gateway.tell(&most(streamed_with_usage("big", "x"), 4_000)).await;
    assert_eq!(told.status, 200, "{}", told.text());
    (gateway, upstream, told)
}

#[tokio::test]
async fn a_hold_grows_with_a_stream_as_long_as_there_is_money() {
    for policy in ["refuse", "local", "end"] {
        let (gateway, _upstream, told) = long_after_short(policy, 300, 4_000).await;
        assert!(told.done() && told.stream_error().is_none(), "{policy}");
        assert_eq!(told.cost().map(|cost| nanos_of(&cost)), Some(cost((11, 300), BIG)), "{policy}");
        let line = attempt(&gateway, told.id()).await;
        assert_eq!(line["outcome"], "ok", "{policy}: {line}");
        within(&budgets(&gateway).await[0]);
    }
}

#[tokio::test]
async fn a_stream_that_money_does_not_reach_for_is_ended_as_the_policy_says() {
    for policy in ["refuse", "local", "clamp", "end"] {
        let (gateway, upstream, told) = long_after_short(policy, 3_000, 400).await;
        let (_, held) = within(&budgets(&gateway).await[0]);
        assert_eq!(held, 0, "{policy}");
        let came = told.answer().split_whitespace().count();
        assert!((50..=400).contains(&came), "{policy}: {came} words");
        let line = attempt(&gateway, told.id()).await;
        assert_eq!((&line["outcome"], &line["counted"]), (&json!("ended"), &json!("at_least")), "{policy}: {line}");
        eventually("the upstream is left", async || upstream.log()[0].was_left().then_some(())).await;
        if policy == "refuse" {
            let error = told.stream_error().expect("an error event");
            assert_eq!(error["code"], "budget_exceeded");
            assert!(!told.done() && !told.whole);
            continue;
        }
        assert!(told.done() && told.whole, "{policy}: {}", told.text());
        assert!(told.text().contains(": sluice-note=budget `org` ended this stream"), "{policy}");
        let events: Vec<Value> = told.data().iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
        let [.., finish, usage] = events.as_slice() else { panic!("{policy}: {events:?}") };
        assert_eq!(finish["choices"][0]["finish_reason"], "length", "{policy}");
        assert_eq!(finish["id"], events[0]["id"]);
        assert_eq!(usage["usage"]["completion_tokens"], line["output_tokens"], "{policy}: {line}");
    }
}

#[tokio::test]
async fn streams_at_once_share_what_is_left_and_pass_it_never() {
    for policy in ["refuse", "local", "clamp", "end"] {
        let upstream = Upstream::start().await;
        let limit = 30 * cost((11, 5), BIG) + 16 * cost((500, 100), BIG);
        let gateway = Gateway::start(&with_budget(&upstream, &budget("org", limit, policy))).await;
        for _ in 0..30 {
            assert_eq!(gateway.tell(&most(streamed("big", "x"), 8)).await.status, 200);
        }
        let gate = Arc::new(Semaphore::new(0));
        upstream.play("echo", Play::gated(400, &gate));
        let body = most(streamed("big", "x"), 4_000);
        let calls = join_all((0..16).map(|_| gateway.tell(&body)));
        let feed = async {
            for _ in 0..400 {
                gate.add_permits(16);
                within(&budgets(&gateway).await[0]);
            }
        };
        let (answers, ()) = tokio::join!(calls, feed);
        assert!(answers.iter().all(|told| [200, 402, 429].contains(&told.status)), "{policy}");
        assert!(answers.iter().any(|told| told.status == 200), "{policy}");
        let (_, held) = within(&budgets(&gateway).await[0]);
        assert_eq!(held, 0, "{policy}");
    }
}

#[tokio::test]
async fn tokens_have_budgets_of_their_own() {
    let upstream = Upstream::start().await;
    let tokens = "[[budgets]]\nscope = \"org\"\nlimit_tokens = 400\nwindow = \"day\"\n";
    let gateway = Gateway::start(&with_budget(&upstream, tokens)).await;
    let mut refused = None;
    for turn in 1..=200 {
        let told = gateway.tell(&most(chat("big", "x"), 5)).await;
        if told.status != 200 {
            refused = Some((turn, told));
            break;
        }
        let state = budgets(&gateway).await[0].clone();
        assert_eq!(state["spent_tokens"].as_u64(), Some(16 * turn), "{state}");
        assert!(state["limit_usd"].is_null() && state["measure"] == "tokens", "{state}");
    }
    let (turn, told) = refused.expect("a refusal");
    assert!(turn > 5, "{turn}");
    assert_eq!(told.error(402)["code"], "budget_exceeded");
    assert!(told.text().contains("tokens left"), "{}", told.text());
    let mut gateway = gateway;
    let folder = gateway.folder.clone();
    gateway.stop().await;
    let gateway = Gateway::serve(folder, &[]).await;
    assert_eq!(budgets(&gateway).await[0]["spent_tokens"].as_u64(), Some(16 * (turn - 1)), "after a restart");
}

#[tokio::test]
async fn a_soft_budget_says_so_and_refuses_nothing() {
    let upstream = Upstream::start().await;
    let limit = dollars(2 * cost((11, 5), BIG));
    let soft = format!(
        "[[budgets]]\nscope = \"org\"\nlimit_usd = \"{limit}\"\nwindow = \"month\"\non_exceeded = \"warn\"\nwarn_at = \"90%\"\n"
    );
    let gateway = Gateway::start(&with_budget(&upstream, &soft)).await;
    for turn in 1..=4 {
        let told = gateway.tell(&chat("big", "x")).await;
        assert_eq!(told.status, 200);
        let warned = told.header("x-sluice-budget-warning");
        assert_eq!(warned.is_some(), turn > 2, "turn {turn}: {warned:?}");
        assert!(warned.is_none_or(|text| text.starts_with("org month 1")), "{warned:?}");
    }
    assert_eq!(budgets(&gateway).await[0]["used"].as_f64(), Some(2.0));
    let line = gateway.logged("a budget is nearly used up").await;
    assert_eq!((&line["fields"]["budget"], line["fields"]["percent"].as_f64()), (&json!("org"), Some(100.0)), "{line}");
    let said = gateway.log_lines().iter().filter(|line| line.to_string().contains("nearly used up")).count();
    assert_eq!(said, 1, "once a window");
}

#[tokio::test]
async fn what_was_set_aside_and_no_more_is_charged_for_a_stream_that_a_killed_process_left() {
    let upstream = Upstream::start().await;
    let limit = 60 * cost((11, 5), BIG);
    let mut gateway = Gateway::start(&with_budget(&upstream, &budget("org", limit, "refuse"))).await;
    for _ in 0..30 {
        assert_eq!(gateway.tell(&most(streamed("big", "x"), 8)).await.status, 200);
    }
    let gate = Arc::new(Semaphore::new(3));
    upstream.play("echo", Play::gated(400, &gate));
    let mut live = gateway.live(&most(streamed("big", "x"), 4_000)).await;
    assert_eq!(live.status, 200);
    assert!(live.next().await.is_some());
    let (spent, held) = within(&budgets(&gateway).await[0]);
    assert!(held > 0);
    let folder = gateway.folder.clone();
    gateway.kill().await;
    let gateway = Gateway::serve(folder, &[]).await;
    assert_eq!(within(&budgets(&gateway).await[0]), (spent + held, 0));
}

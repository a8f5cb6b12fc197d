//! Clients that leave: each attempt has exactly one outcome, none is free, none costs more than was set aside for it, and
//! neither money nor a place in flight stays taken.

use futures::future::join_all;
use serde_json::json;
use std::time::Duration;
use tests::oracle::{attempts, nanos};
use tests::upstream::{Manner, Pace, Play, Usage};
use tests::{Gateway, Live, Upstream, eventually, hosted_only, size, streamed};

const AT_ONCE: usize = 8;
const EVENTS: usize = 10;

#[tokio::test]
async fn a_provider_that_bills_after_a_cancel_is_paid_what_it_states_or_the_most() {
    const EVENTS: usize = 40;
    for usage in [Usage::Stated(11, EVENTS as u64), Usage::Zero, Usage::Missing] {
        let upstream = Upstream::start().await;
        let bills = hosted_only(&upstream, "echo").replacen("region =", "bills_after_cancel = true\nregion =", 1);
        let limit = "[[budgets]]\nscope = \"org\"\nlimit_usd = \"100\"\nwindow = \"total\"\n";
        let gateway = Gateway::start(&format!("{bills}{limit}")).await;
        let pace = Pace::Every(Duration::from_millis(1));
        upstream.play("echo", Play::Answer(Manner { events: EVENTS, usage: usage.clone(), pace, ..Manner::default() }));
        let mut body = streamed("big", "one two three four five six");
        body["max_tokens"] = json!(50);
        let leave = async |after: usize| {
            let mut live = Live::open(&gateway.client, &gateway.data, &body, &[]).await;
            assert_eq!(live.status, 200);
            for _ in 0..after {
                live.next().await;
            }
            live.headers["x-sluice-request-id"].to_str().expect("text").to_owned()
        };
        // More at a time than are read on.
        let leavers = size(64, 500);
        let mut ids = Vec::new();
        for first in (0..leavers).step_by(40) {
            ids.extend(join_all((first..leavers.min(first + 40)).map(|n| leave(1 + n % 4))).await);
        }
        let (mut stated, mut left) = (0, 0);
        for id in &ids {
            let line = eventually("the attempt is closed", async || {
                attempts(&gateway, id).await.pop().filter(|line| !line["outcome"].is_null())
            })
            .await;
            let exact = line["counted"] == "exact";
            stated += usize::from(exact);
            // One that had come to its end before its client was missed.
            let ended = line["outcome"] == "ok";
            left += usize::from(!ended);
            let expected = match (&usage, exact) {
                (Usage::Stated(input, output), true) => Some(u128::from(*input) * 2_500 + u128::from(*output) * 10_000),
                (_, true) => Some(0),
                (_, false) if ended => nanos(&line["cost_usd"]).filter(|cost| *cost > 0),
                (_, false) => nanos(&line["ceiling_usd"]),
            };
            assert_eq!(nanos(&line["cost_usd"]), expected, "{usage:?}: {line}");
        }
        assert!(left > leavers / 4, "{left} of {leavers} left in the midst");
        assert!((usage == Usage::Missing) == (stated == 0), "{usage:?}: {stated} of {leavers} were read on");
        let budget = gateway.api("/api/budgets").await["budgets"][0].clone();
        let total = gateway.api("/api/spend").await["total"]["cost_usd"].clone();
        assert_eq!((nanos(&budget["held_usd"]), nanos(&budget["spent_usd"])), (Some(0), nanos(&total)), "{budget}");
    }
}

#[tokio::test]
async fn clients_that_leave_anywhere_in_a_stream_have_one_outcome_each_and_none_is_free() {
    let upstream = Upstream::start().await;
    let rest = format!(
        "{}[limits]\nin_flight = {AT_ONCE}\n[[budgets]]\nscope = \"org\"\nlimit_usd = \"100\"\nwindow = \"total\"\n",
        hosted_only(&upstream, "echo")
    );
    let gateway = Gateway::start(&rest).await;
    let (usage, pace) = (Usage::Stated(11, EVENTS as u64), Pace::Every(Duration::from_millis(1)));
    upstream.play("echo", Play::Answer(Manner { events: EVENTS, usage, pace, ..Manner::default() }));
    let mut body = streamed("big", "one two three four five six");
    body["max_tokens"] = json!(50);
    let leave = async |after: usize| {
        // Whoever comes while the places of those who left are not free yet comes again.
        let mut live = eventually("a place is free", async || {
            let live = Live::open(&gateway.client, &gateway.data, &body, &[]).await;
            (live.status == 200).then_some(live)
        })
        .await;
        let id = live.headers["x-sluice-request-id"].to_str().expect("text").to_owned();
        for _ in 0..after {
            if live.next().await.is_none() {
                break;
            }
        }
        id
    };
    let leavers = size(64, 500);
    let mut ids = Vec::new();
    for first in (0..leavers).step_by(AT_ONCE) {
        // Some leave with the head, some in the midst, some when everything has come.
        let together = (first..leavers.min(first + AT_ONCE)).map(|n| leave(n * 7 % (EVENTS + 6)));
        ids.extend(join_all(together).await);
    }
    let mut left = 0;
    for id in &ids {
        let lines = eventually("the attempt is closed", async || {
            let lines = attempts(&gateway, id).await;
            (!lines.is_empty() && lines.iter().all(|line| !line["outcome"].is_null())).then_some(lines)
        })
        .await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        let (cost, ceiling) = (nanos(&lines[0]["cost_usd"]), nanos(&lines[0]["ceiling_usd"]));
        assert!(cost > Some(0) && cost <= ceiling, "{}", lines[0]);
        match lines[0]["outcome"].as_str() {
            Some("ok") => assert_eq!(lines[0]["counted"], "exact"),
            Some("disconnected") => left += 1,
            _ => panic!("{}", lines[0]),
        }
    }
    assert!(left > leavers / 4, "{left} of {leavers} left in the midst");
    let budget = gateway.api("/api/budgets").await["budgets"][0].clone();
    assert_eq!(nanos(&budget["held_usd"]), Some(0), "{budget}");
    let total = gateway.api("/api/spend").await["total"]["cost_usd"].clone();
    assert_eq!(nanos(&budget["spent_usd"]), nanos(&total));
    let all = join_all((0..AT_ONCE).map(|_| gateway.tell(&body))).await;
    assert!(all.iter().all(|told| told.status == 200 && told.done()), "every place is free again");
}

//! A request with an `idempotency-key` is answered once and billed once, however often it is sent.

use futures::future::join_all;
use serde_json::Value;
use std::sync::Arc;
use tests::gateway::run_json;
use tests::upstream::{Manner, Play, Usage};
use tests::{Gateway, Upstream, chat, eventually, hosted_only, streamed};
use tokio::sync::Semaphore;

async fn start() -> (Gateway, Upstream) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    (gateway, upstream)
}

/// Attempts and money on the ledger.
async fn billed(gateway: &Gateway) -> (u64, String) {
    let total: Value = gateway.api("/api/spend").await["total"].clone();
    (total["requests"].as_u64().expect("a count"), total["cost_usd"].as_str().expect("an amount").to_owned())
}

#[tokio::test]
async fn a_repeat_gets_the_same_bytes_and_costs_nothing_more() {
    for body in [chat("big", "one two three"), streamed("big", "one two three")] {
        let (gateway, upstream) = start().await;
        let key = [("idempotency-key", "k-1")];
        let first = gateway.tell_with(&body, &key).await;
        assert_eq!(first.status, 200);
        let bill = billed(&gateway).await;
        for _ in 0..3 {
            let again = gateway.tell_with(&body, &key).await;
            assert_eq!((again.status, &again.body), (200, &first.body));
            assert_eq!(again.said("content-type"), first.said("content-type"));
            assert_eq!(again.cost(), first.cost(), "it says what the one answer cost");
        }
        assert_eq!((upstream.count(), billed(&gateway).await), (1, bill));
        assert_eq!(gateway.tell(&body).await.status, 200);
        assert_eq!(upstream.count(), 2, "without the key it is a request of its own");
    }
}

#[tokio::test]
async fn a_repeat_after_a_restart_gets_the_same_bytes_and_costs_nothing_more() {
    for body in [chat("big", "one two three"), streamed("big", "one two three")] {
        let (mut gateway, upstream) = start().await;
        let key = [("idempotency-key", "k-1")];
        let first = gateway.tell_with(&body, &key).await;
        assert_eq!(first.status, 200);
        let (bill, folder) = (billed(&gateway).await, gateway.folder.clone());
        // Not asked to end: whatever the client has is on disk.
        gateway.kill().await;
        let gateway = Gateway::serve(folder, &[]).await;
        let again = gateway.tell_with(&body, &key).await;
        assert_eq!((again.status, &again.body), (200, &first.body));
        assert_eq!(again.said("x-sluice-idempotent-replay"), "true");
        assert_eq!((upstream.count(), billed(&gateway).await), (1, bill));
        gateway.tell_with(&chat("big", "another"), &key).await.error(409);
    }
}

#[tokio::test]
async fn repeats_that_come_while_the_first_runs_wait_for_its_answer() {
    for stream in [false, true] {
        let (gateway, upstream) = start().await;
        let gate = Arc::new(Semaphore::new(0));
        upstream.play("echo", Play::gated(5, &gate));
        // A whole answer has no events to hold back, so it is asked for as a stream here, too; the whole one is below.
        let body = if stream { streamed("big", "x") } else { chat("big", "x") };
        let key = [("idempotency-key", "k-1")];
        let together = join_all((0..8).map(|_| gateway.tell_with(&body, &key)));
        let open = async {
            if stream {
                eventually("the first is under way", async || (upstream.count() > 0).then_some(())).await;
            }
            gate.add_permits(100);
        };
        let (answers, ()) = tokio::join!(together, open);
        for answer in &answers {
            assert_eq!((answer.status, &answer.body), (200, &answers[0].body), "{}", answer.text());
        }
        assert_eq!((upstream.count(), billed(&gateway).await.0), (1, 1), "stream: {stream}");
    }
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused_with_409() {
    let (gateway, upstream) = start().await;
    let key = [("idempotency-key", "k-1")];
    assert_eq!(gateway.tell_with(&chat("big", "x"), &key).await.status, 200);
    gateway.tell_with(&chat("big", "y"), &key).await.error(409);
    gateway.tell_with(&streamed("big", "x"), &key).await.error(409);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn what_failed_can_be_repeated_and_is_answered_then() {
    let (gateway, upstream) = start().await;
    let key = [("idempotency-key", "k-1")];
    upstream.play("echo", Play::status(500));
    for body in [chat("big", "x"), chat("big", "x")] {
        gateway.tell_with(&body, &key).await.error(502);
    }
    assert_eq!(upstream.count(), 2, "each was tried");
    upstream.play("echo", Play::named("echo"));
    assert_eq!(gateway.tell_with(&chat("big", "x"), &key).await.status, 200);
    assert_eq!(gateway.tell_with(&chat("big", "x"), &key).await.status, 200);
    assert_eq!(upstream.count(), 3);
}

#[tokio::test]
async fn a_stream_that_broke_off_or_was_left_can_be_repeated() {
    let (gateway, upstream) = start().await;
    let key = [("idempotency-key", "k-1")];
    upstream.play("echo", Play::named("error-event"));
    assert!(!gateway.tell_with(&streamed("big", "x"), &key).await.done());
    let gate = Arc::new(Semaphore::new(1));
    upstream.play("echo", Play::gated(5, &gate));
    let mut left = tests::Live::open(&gateway.client, &gateway.data, &streamed("big", "x"), &key).await;
    assert!(left.next().await.is_some());
    drop(left);
    eventually("the upstream is let go", async || (upstream.open() == 0).then_some(())).await;
    upstream.play("echo", Play::named("echo"));
    assert!(gateway.tell_with(&streamed("big", "x"), &key).await.done());
    assert_eq!(upstream.count(), 3);
}

#[tokio::test]
async fn one_callers_key_is_nothing_to_another() {
    let (gateway, upstream) = start().await;
    let folder = gateway.folder.path();
    let keys = ["one", "two"].map(|name| {
        let made = run_json(folder, &["keys", "create", "--name", name, "--json"], "");
        format!("Bearer {}", made["key"].as_str().expect("a key"))
    });
    eventually("the keys count", async || (gateway.tell(&chat("big", "x")).await.status == 401).then_some(())).await;
    for key in &keys {
        // They were made one after the other, and the gateway may have looked in between.
        let list = || gateway.client.get(format!("{}/v1/models", gateway.data)).header("authorization", key);
        eventually("each does", async || (tests::Told::of(list()).await.status == 200).then_some(())).await;
    }
    upstream.forget();
    upstream.play("echo", Play::Answer(Manner { usage: Usage::Stated(1, 1), ..Manner::default() }));
    for _ in 0..2 {
        for key in &keys {
            let headers = [("authorization", key.as_str()), ("idempotency-key", "shared")];
            assert_eq!(gateway.tell_with(&chat("big", "x"), &headers).await.status, 200);
        }
    }
    assert_eq!(upstream.count(), 2, "once for each caller");
}

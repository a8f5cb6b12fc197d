//! Rate limits: who is over is told when to come again, truthfully, and costs nobody anything.

use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tests::gateway::{folder, run, write_config};
use tests::upstream::Play;
use tests::{Gateway, Told, Upstream, chat, eventually, hosted_only, streamed};
use tokio::sync::Semaphore;

async fn start(limits: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&format!("{}[limits]\n{limits}", hosted_only(&upstream, "echo"))).await;
    (gateway, upstream)
}

fn number(told: &Told, name: &str) -> u64 {
    told.said(name).parse().unwrap_or_else(|_| panic!("`{name}` is a number: {}", told.said(name)))
}

fn left(told: &Told, measure: &str) -> u64 {
    number(told, &format!("x-ratelimit-remaining-{measure}"))
}

#[tokio::test]
async fn every_answer_says_where_its_caller_stands_and_tokens_are_those_that_were_used() {
    // Ten tokens a second come back: far from what an estimate holds.
    let (gateway, upstream) = start("requests_per_minute = 6\ntokens_per_minute = 600\n").await;
    let whole = gateway.tell(&chat("big", "x")).await;
    assert_eq!(whole.status, 200);
    for (measure, limit, remaining) in [("requests", 6, 5..=5), ("tokens", 600, 584..=600)] {
        assert_eq!(number(&whole, &format!("x-ratelimit-limit-{measure}")), limit);
        assert!(remaining.contains(&left(&whole, measure)), "{measure}: {}", left(&whole, measure));
        let reset = whole.said(&format!("x-ratelimit-reset-{measure}"));
        assert!(reset.ends_with('s'), "{reset}");
    }
    let stream = gateway.tell(&streamed("big", "x")).await;
    assert!(stream.done());
    assert!(left(&stream, "tokens") < 400, "the estimate, while it runs: {}", left(&stream, "tokens"));
    let malformed = gateway.send("/v1/chat/completions", "{", &[]).await;
    malformed.error(400);
    assert_eq!(left(&malformed, "requests"), 3, "it is a request, too");
    assert!(left(&malformed, "tokens") >= 560, "the stream's were put right: {}", left(&malformed, "tokens"));
    upstream.play("echo", Play::status(500));
    let failed = gateway.tell(&chat("big", "x")).await;
    failed.error(502);
    assert!(left(&failed, "tokens") >= 560, "without an answer they come back: {}", left(&failed, "tokens"));
    let decision = gateway.send("/v1/route", chat("big", "x").to_string(), &[]).await;
    assert_eq!((decision.status, left(&decision, "requests")), (200, 1));
    let list = gateway.get("/v1/models").await;
    assert!(list.header("x-ratelimit-limit-requests").is_none(), "what costs nothing is not limited");
}

#[tokio::test]
async fn who_is_over_is_refused_with_429_before_anything_is_dialled_and_is_on_record() {
    let (gateway, upstream) = start("requests_per_minute = 2\n").await;
    for _ in 0..2 {
        assert_eq!(gateway.tell(&chat("big", "x")).await.status, 200);
    }
    let spent = gateway.api("/api/spend").await;
    for body in [chat("big", "x"), streamed("big", "x"), chat("auto", "x")] {
        let told = gateway.tell(&body).await;
        let error = told.error(429);
        assert_eq!(
            (error["code"].as_str(), error["type"].as_str()),
            (Some("rate_limit_exceeded"), Some("rate_limit_error"))
        );
        assert!(error["message"].as_str().is_some_and(|text| text.contains("2 requests/minute")), "{error}");
        assert_eq!((told.said("x-sluice-reason"), told.said("x-sluice-attempts")), ("rate_limit", "0"));
        assert!((1..=30).contains(&number(&told, "retry-after")));
        assert_eq!((left(&told, "requests"), number(&told, "x-ratelimit-limit-requests")), (0, 2));
        let kept = eventually("it is on record", async || {
            let told = gateway.admin_get(&format!("/api/requests/{}", told.id())).await;
            (told.status == 200).then(|| told.json())
        })
        .await;
        assert_eq!((kept["status"].as_u64(), kept["reason"].as_str()), (Some(429), Some("rate_limit")), "{kept}");
    }
    assert_eq!(upstream.count(), 2);
    assert_eq!(gateway.api("/api/spend").await, spent, "nothing was charged");
}

#[tokio::test]
async fn a_retry_after_the_time_that_was_said_succeeds() {
    let (gateway, _upstream) = start("requests_per_minute = 30\n").await;
    let refused = loop {
        let told = gateway.tell(&chat("big", "x")).await;
        match told.status {
            200 => {}
            _ => break told,
        }
    };
    refused.error(429);
    let told = number(&refused, "retry-after");
    assert!((1..=2).contains(&told), "one comes back in two seconds: {told}");
    // Not a wait for something else to happen: that this time is enough is what is promised.
    tokio::time::sleep(Duration::from_secs(told)).await;
    assert_eq!(gateway.tell(&chat("big", "x")).await.status, 200);
}

#[tokio::test]
async fn what_can_never_fit_is_told_so_at_once() {
    let (gateway, upstream) = start("tokens_per_minute = 300\n").await;
    let mut large = chat("big", "x");
    large["max_tokens"] = json!(1_000);
    for body in [large, chat("big", &"word ".repeat(400))] {
        let told = gateway.tell(&body).await;
        let error = told.error(400);
        assert_eq!(error["code"], "request_above_rate_limit");
        assert!(error["message"].as_str().is_some_and(|text| text.contains("300 tokens/minute")), "{error}");
        assert!(told.header("retry-after").is_none());
        assert_eq!(left(&told, "tokens"), 300, "nothing was taken");
    }
    assert_eq!(upstream.count(), 0);
    // Without a ceiling the answer's length is a guess, and that never refuses for good.
    assert_eq!(gateway.tell(&chat("big", &"word ".repeat(200))).await.status, 200);
}

#[tokio::test]
async fn who_is_over_takes_no_place_in_flight() {
    let (gateway, upstream) = start("requests_per_minute = 1\nin_flight = 1\n").await;
    let gate = Arc::new(Semaphore::new(1));
    upstream.play("echo", Play::gated(5, &gate));
    let mut running = gateway.live(&streamed("big", "x")).await;
    assert!(running.next().await.is_some());
    for _ in 0..3 {
        gateway.tell(&chat("big", "x")).await.error(429);
    }
    gate.add_permits(100);
    while running.next().await.is_some() {}
    gateway.tell(&chat("big", "x")).await.error(429);
}

#[tokio::test]
async fn changed_limits_count_at_once_and_keep_what_was_taken() {
    let (gateway, upstream) = start("requests_per_minute = 5\n").await;
    for _ in 0..3 {
        assert_eq!(gateway.tell(&chat("big", "x")).await.status, 200);
    }
    write_config(
        gateway.folder.path(),
        &format!("{}[limits]\nrequests_per_minute = 50\n", hosted_only(&upstream, "echo")),
    );
    gateway.signal("HUP");
    let told = eventually("the new limit counts", async || {
        let told = gateway.send("/v1/chat/completions", "{", &[]).await;
        (number(&told, "x-ratelimit-limit-requests") == 50).then_some(told)
    })
    .await;
    assert!((1..=46).contains(&left(&told, "requests")), "{}", left(&told, "requests"));
    write_config(gateway.folder.path(), &hosted_only(&upstream, "echo"));
    gateway.signal("HUP");
    eventually("there is no limit", async || {
        let told = gateway.tell(&chat("big", "x")).await;
        told.header("x-ratelimit-limit-requests").is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_limit_of_nothing_is_refused_by_its_name() {
    let upstream = Upstream::start().await;
    for (limits, key) in [
        ("[limits]\nrequests_per_minute = 0\n", "limits.requests_per_minute"),
        ("[limits]\ntokens_per_minute = 0\n", "limits.tokens_per_minute"),
        ("[limits.teams.research]\ntokens_per_minute = 0\n", "limits.teams.research.tokens_per_minute"),
        ("[limits]\nrequests_per_minute = -1\n", "limits.requests_per_minute"),
        ("[limits]\nrequest_per_minute = 1\n", "requests_per_minute"),
    ] {
        let folder = folder(&format!("{}{limits}", hosted_only(&upstream, "echo")));
        let output = run(folder.path(), &["check"], "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{limits}: {said}");
        assert!(said.contains(key), "{limits}: {said}");
    }
}

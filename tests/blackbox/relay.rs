//! Bytes go through unchanged, save the fields that Sluice owns.

use bytes::Bytes;
use serde_json::Value;
use std::time::Duration;
use tests::gateway::{Gateway, header};
use tests::upstream::{Script, Upstream};
use tests::{chat, eventually, streamed};

async fn gateway(upstream: &Upstream) -> Gateway {
    let models = [("big", "echo"), ("raw", "raw"), ("slow", "echo-slow"), ("silent", "stall")];
    let provider = upstream.provider("hosted", "hosted", &models);
    Gateway::start(&format!("{provider}\n[router]\nhosted = \"big\"\n")).await
}

#[tokio::test]
async fn unknown_fields_reach_the_upstream_byte_for_byte() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let body = r#"{ "x_future" : {"deep":[1.50, 1e3,"é\u00e9"]},"model":"big" , "messages":[{"role":"user","content":"hi","x_kept":null}],"seed":18446744073709551615 }"#;
    let response = gateway
        .post("/v1/chat/completions")
        .body(body.replace("18446744073709551615", "77"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 200);
    let sent = upstream.log().remove(0);
    let text = std::str::from_utf8(&sent.body).expect("text");
    assert!(text.contains(r#""x_future":{"deep":[1.50, 1e3,"é\u00e9"]}"#), "{text}");
    assert!(text.contains(r#"[{"role":"user","content":"hi","x_kept":null}]"#), "{text}");
    assert_eq!(serde_json::from_str::<Value>(text).expect("JSON")["model"], "echo");
    for name in ["cookie", "x-forwarded-for", "x-sluice-tags"] {
        assert!(!sent.headers.contains_key(name));
    }
}

#[tokio::test]
async fn only_listed_headers_leave() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let said = [
        ("cookie", "a=b"),
        ("x-forwarded-for", "1.2.3.4"),
        ("proxy-authorization", "x"),
        ("openai-organization", "o"),
        ("x-anything", "y"),
        ("authorization", "Bearer client"),
        ("x-sluice-tags", "a=b"),
    ];
    gateway.chat_with(&chat("big", "x"), &said).await;
    let sent = upstream.log().remove(0);
    let mut names: Vec<&str> = sent.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "content-length", "content-type", "host", "user-agent", "x-request-id"]);
}

#[tokio::test]
async fn a_whole_answer_comes_back_byte_for_byte() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let body = "{ \"id\":\"1\",\n \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"caf\\u00e9\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5},\"x\": 1.50}\n";
    upstream.script(
        "raw",
        Script {
            status: 200,
            headers: vec![("content-type".into(), "application/json".into())],
            pieces: vec![Bytes::from(body)],
            cut: false,
        },
    );
    let response = gateway.chat(&chat("raw", "x")).await;
    assert_eq!(header(&response, "x-sluice-cost-usd"), Some("0.0000275"));
    assert_eq!(response.text().await.expect("text"), body);
}

fn sse(usage: bool) -> String {
    let mut text = String::from(
        "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"h\u{e9}\"}}],\"x\": 1.50}\n\n: beat\n\n",
    );
    text.push_str("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"llo\"},\"finish_reason\":null}]}\r\n\r\n");
    text.push_str("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    if usage {
        text.push_str(
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n",
        );
    }
    text
}

fn script(pieces: Vec<Bytes>, cut: bool) -> Script {
    Script { status: 200, headers: vec![("content-type".into(), "text/event-stream".into())], pieces, cut }
}

#[tokio::test]
async fn a_stream_is_the_same_however_it_is_cut() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let whole = format!("{}data: [DONE]\n\n", sse(true));
    let expected = format!("{}: sluice-cost-usd=0.0000275\n\ndata: [DONE]\n\n", sse(false));
    for at in 0..whole.len() {
        let (head, tail) = whole.as_bytes().split_at(at);
        upstream.script("raw", script(vec![Bytes::copy_from_slice(head), Bytes::copy_from_slice(tail)], false));
        let text = gateway.chat(&streamed("raw", "x")).await.text().await.expect("text");
        assert_eq!(text, expected, "cut at {at}");
    }
    let bytes = whole.bytes().map(|byte| Bytes::copy_from_slice(&[byte])).collect();
    upstream.script("raw", script(bytes, false));
    assert_eq!(gateway.chat(&streamed("raw", "x")).await.text().await.expect("text"), expected, "byte by byte");
}

#[tokio::test]
async fn the_usage_event_is_there_only_for_those_who_asked() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let text = gateway.chat(&streamed("big", "x")).await.text().await.expect("text");
    assert!(!text.contains("\"usage\"") && text.contains("sluice-cost-usd="), "{text}");
    let mut body = streamed("big", "x");
    body["stream_options"] = serde_json::json!({"include_usage": true});
    let text = gateway.chat(&body).await.text().await.expect("text");
    assert!(text.contains("\"usage\"") && text.ends_with("data: [DONE]\n\n"), "{text}");
    for seen in upstream.log() {
        let sent: Value = serde_json::from_slice(&seen.body).expect("JSON");
        assert_eq!(sent["stream_options"]["include_usage"], true, "the upstream is always asked");
    }
}

#[tokio::test]
async fn a_truncated_stream_never_looks_finished() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let whole = format!("{}data: [DONE]\n\n", sse(true));
    let full = tests::size(3, 1);
    let mut ids = Vec::new();
    // The last three bytes are the terminator's line end and its blank line: without them `[DONE]` is still whole.
    for at in (0..whole.len() - 2).step_by(full) {
        upstream.script("raw", script(vec![Bytes::copy_from_slice(&whole.as_bytes()[..at])], at % 2 == 0));
        let told = gateway.tell(&streamed("raw", "x")).await;
        let (status, id, text) = (told.status, told.id().to_owned(), told.text());
        assert!(!text.contains("[DONE]"), "cut at {at}: {text}");
        assert!(text.contains("\"error\""), "cut at {at}: {text}");
        if status == 200 {
            ids.push(id);
        } else {
            assert_eq!(status, 502, "cut at {at}");
            // Good answers between the failures, so that the provider's breaker stays closed.
            for _ in 0..2 {
                assert_eq!(gateway.tell(&chat("big", "x")).await.status, 200);
            }
        }
    }
    assert!(ids.len() > 20);
    for id in ids {
        let story = gateway.api(&format!("/api/requests/{id}")).await;
        assert_eq!(story["attempt_log"][0]["outcome"], "truncated");
        assert_eq!(story["attempt_log"].as_array().map(Vec::len), Some(1));
    }
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_upstream_and_is_charged_for_what_it_got() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut ids = Vec::new();
    for model in ["slow", "silent"] {
        let mut response = gateway.chat(&streamed(model, "one two three")).await;
        ids.push(header(&response, "x-sluice-request-id").expect("an id").to_owned());
        assert!(response.chunk().await.expect("a chunk").is_some());
        drop(response);
    }
    eventually("the upstream sees both leave", async || (upstream.open() == 0).then_some(())).await;
    let sent = upstream.log()[0].sent.load(std::sync::atomic::Ordering::SeqCst);
    assert!(sent < 150, "it was stopped long before its end: {sent}");
    for id in ids {
        let story = eventually("the attempt is closed", async || {
            let story = gateway.api("/api/requests?limit=50").await;
            let row = story["requests"].as_array()?.iter().find(|row| row["id"] == id.as_str())?.clone();
            (row["status"] == 499).then_some(row)
        })
        .await;
        assert!(story["output_tokens"].as_u64().is_some_and(|tokens| tokens >= 1), "{story}");
        let attempt = gateway.api(&format!("/api/requests/{id}")).await["attempt_log"][0].clone();
        assert_eq!(
            (attempt["outcome"].as_str(), attempt["counted"].as_str()),
            (Some("disconnected"), Some("at_least"))
        );
        assert_ne!(attempt["cost_usd"], "0.000000");
    }
}

#[tokio::test]
async fn missing_usage_is_counted_and_a_stated_zero_is_a_zero() {
    let upstream = Upstream::start().await;
    let rest = upstream.provider("hosted", "hosted", &[("none", "echo-nousage"), ("zero", "echo-zero")]);
    let gateway = Gateway::start(&rest).await;
    for body in [chat("none", "one two three"), streamed("none", "one two three")] {
        let response = gateway.chat(&body).await;
        let id = header(&response, "x-sluice-request-id").expect("an id").to_owned();
        response.text().await.expect("text");
        let attempt = gateway.api(&format!("/api/requests/{id}")).await["attempt_log"][0].clone();
        assert_eq!(attempt["counted"], "at_least");
        assert!(
            attempt["input_tokens"].as_u64() >= Some(3) && attempt["output_tokens"].as_u64() >= Some(5),
            "{attempt}"
        );
    }
    let response = gateway.chat(&chat("zero", "x")).await;
    assert_eq!(header(&response, "x-sluice-cost-usd"), Some("0.000000"));
}

#[tokio::test]
async fn a_slow_upstream_is_not_cut_while_events_come() {
    let upstream = Upstream::start().await;
    let rest = format!(
        "{}\n[timeouts]\nidle = \"500ms\"\n",
        upstream.provider("hosted", "hosted", &[("slow", "echo-slow"), ("silent", "stall")])
    );
    let gateway = Gateway::start(&rest).await;
    let text = gateway.chat(&streamed("slow", "x")).await.text().await.expect("text");
    assert!(text.contains("word199") && text.ends_with("[DONE]\n\n"));
    let begun = std::time::Instant::now();
    let text = gateway.tell(&streamed("silent", "x")).await.text();
    assert!(text.contains("timeout_idle") && !text.contains("[DONE]"), "{text}");
    assert!(begun.elapsed() > Duration::from_millis(400));
}

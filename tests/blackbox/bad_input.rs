//! Each bad request gets its own clear error in OpenAI's shape; nothing is dialled, nothing secret logged, and the
//! process goes on unharmed.

use serde_json::{Value, json};
use tests::wire::{self, Wire};
use tests::{EASY, Gateway, PROVIDER_KEY, Upstream, chat, hosted_only, two_sides};

/// A secret that the bad requests below carry in all places a client could put one.
const CANARY: &str = "canary-7f3a-prompt";

async fn start() -> (Gateway, Upstream) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    (gateway, upstream)
}

/// After whatever happened: nothing was dialled, nothing is secret in the log, and a good request is answered.
async fn unharmed(mut gateway: Gateway, upstream: &Upstream) {
    assert_eq!(upstream.count(), 0, "a bad request was dialled");
    assert!(gateway.alive());
    let good = gateway.tell(&chat("big", EASY)).await;
    assert_eq!((good.status, good.answer().as_str()), (200, "one two three four five"));
    let log = gateway.log.lock().clone();
    assert!(!log.contains(CANARY), "the prompt is in the log:\n{log}");
    assert!(!log.contains(PROVIDER_KEY));
    assert!(!log.contains("panicked"), "{log}");
}

fn with(changes: Value) -> Value {
    let mut body = chat("big", CANARY);
    for (key, value) in changes.as_object().expect("an object") {
        body[key] = value.clone();
    }
    body
}

#[tokio::test]
async fn malformed_json_is_refused_with_400() {
    let (gateway, upstream) = start().await;
    for body in [
        "".to_owned(),
        "{".into(),
        "nonsense".into(),
        "null".into(),
        "[]".into(),
        "\"text\"".into(),
        format!("{{\"model\":\"big\",\"messages\":[{{\"role\":\"user\",\"content\":\"{CANARY}\"}}]"),
        format!("{{\"model\":\"big\",\"messages\":[{{\"role\":\"user\",\"content\":\"{CANARY}\"}}]}} trailing"),
        format!(
            "{{\"model\":\"big\",\"model\":\"big\",\"messages\":[{{\"role\":\"user\",\"content\":\"{CANARY}\"}}]}}"
        ),
        "{'model': 'big'}".into(),
    ] {
        let error = gateway.send("/v1/chat/completions", body.clone(), &[]).await.error(400);
        assert_eq!(error["type"], "invalid_request_error", "{body}");
        assert!(!error["message"].as_str().unwrap().contains(CANARY), "{error}");
    }
    unharmed(gateway, &upstream).await;
}

#[tokio::test]
async fn wrong_types_are_refused_with_400_and_name_the_field() {
    let (gateway, upstream) = start().await;
    for (changes, param) in [
        (json!({"model": 7}), "model"),
        (json!({"model": null}), "model"),
        (json!({"messages": "hello"}), "messages"),
        (json!({"messages": {}}), "messages"),
        (json!({"messages": [7]}), "messages"),
        (json!({"messages": [["user", CANARY]]}), "messages"),
        (json!({"messages": [{"role": "king", "content": CANARY}]}), "messages"),
        (json!({"messages": [{"content": CANARY}]}), "messages"),
        (json!({"messages": [{"role": "user", "content": 5}]}), "messages"),
        (json!({"messages": [{"role": "user", "content": [{"type": "text"}]}]}), "messages"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"max_tokens": "ten"}), "max_tokens"),
        (json!({"max_tokens": -1}), "max_tokens"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": 1.5}), "max_tokens"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"top_p": [1]}), "top_p"),
        (json!({"n": 0}), "n"),
        (json!({"stop": [1]}), "stop"),
        (json!({"seed": "x"}), "seed"),
        (json!({"tools": {}}), "tools"),
        (json!({"tools": [{"type": "function"}]}), "tools"),
        (json!({"tool_choice": 5}), "tool_choice"),
        (json!({"response_format": "json"}), "response_format"),
        (json!({"logprobs": 5}), "logprobs"),
        (json!({"stream_options": true}), "stream_options"),
        (json!({"stream_options": [true]}), "stream_options"),
    ] {
        let error = gateway.tell(&with(changes.clone())).await.error(400);
        assert_eq!(error["param"], param, "{changes}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(!error["message"].as_str().unwrap().contains(CANARY), "{error}");
    }
    unharmed(gateway, &upstream).await;
}

#[tokio::test]
async fn an_unknown_model_is_404_and_names_the_way_out() {
    let (gateway, upstream) = start().await;
    for name in ["gpt-9", "BIG", "big ", "../big", "auto2"] {
        let told = gateway.tell(&with(json!({"model": name}))).await;
        let error = told.error(404);
        assert_eq!(
            (error["code"].as_str(), error["param"].as_str()),
            (Some("model_not_found"), Some("model")),
            "{name}"
        );
        assert_eq!(told.header("x-sluice-route"), None);
    }
    assert_eq!(gateway.get("/v1/models/gpt-9").await.error(404)["code"], "model_not_found");
    unharmed(gateway, &upstream).await;
}

#[tokio::test]
async fn a_body_of_10_mib_is_413_whether_its_length_is_said_or_not() {
    let (gateway, upstream) = start().await;
    let large = with(json!({"messages": [{"role": "user", "content": "x".repeat(10 << 20)}]})).to_string();
    gateway.send("/v1/chat/completions", large.clone(), &[]).await.error(413);

    // Chunked, so that only reading tells.
    let mut wire = Wire::open(&gateway.data).await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: s\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    wire.send(head.as_bytes()).await;
    let chunk = format!("{:x}\r\n{}\r\n", 64 << 10, "x".repeat(64 << 10));
    for _ in 0..160 {
        // It may answer, and close, before it was all sent.
        if !wire.send(chunk.as_bytes()).await {
            break;
        }
    }
    wire.send(b"0\r\n\r\n").await;
    assert_eq!(wire::status(&wire.until("\r\n\r\n").await), 413);
    unharmed(gateway, &upstream).await;
}

#[tokio::test]
async fn nesting_of_100_000_levels_is_400_wherever_it_is() {
    let (gateway, upstream) = start().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    for body in [
        deep.clone(),
        objects.clone(),
        "[".repeat(100_000),
        format!("{{\"model\":\"big\",\"messages\":[{{\"role\":\"user\",\"content\":{deep}}}]}}"),
        format!("{{\"model\":\"big\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}],\"unknown\":{objects}}}"),
        format!("{{\"model\":\"big\",\"messages\":{deep}}}"),
    ] {
        gateway.send("/v1/chat/completions", body, &[]).await.error(400);
    }
    unharmed(gateway, &upstream).await;
}

#[tokio::test]
async fn invalid_utf_8_is_400() {
    let (gateway, upstream) = start().await;
    for bad in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"] {
        let mut body = b"{\"model\":\"big\",\"messages\":[{\"role\":\"user\",\"content\":\"".to_vec();
        body.extend_from_slice(bad);
        body.extend_from_slice(b"\"}]}");
        gateway.send("/v1/chat/completions", body, &[]).await.error(400);
    }
    unharmed(gateway, &upstream).await;
}

#[tokio::test]
async fn a_wrong_content_type_is_415() {
    let (gateway, upstream) = start().await;
    let body = with(json!({})).to_string();
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"]
    {
        gateway.send("/v1/chat/completions", body.clone(), &[("content-type", kind)]).await.error(415);
    }
    for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        let told = gateway.send("/v1/chat/completions", "{}", &[("content-type", kind)]).await;
        assert_eq!(told.error(400)["param"], "model", "{kind} is read");
    }
    unharmed(gateway, &upstream).await;
}

#[tokio::test]
async fn an_encoded_body_is_415_and_never_inflated() {
    let (gateway, upstream) = start().await;
    for encoding in ["gzip", "deflate", "br", "zstd", "identity, gzip"] {
        let headers = [("content-encoding", encoding)];
        gateway.send("/v1/chat/completions", with(json!({})).to_string(), &headers).await.error(415);
    }
    unharmed(gateway, &upstream).await;
}

#[tokio::test]
async fn unknown_paths_are_404_and_wrong_methods_405() {
    let (gateway, upstream) = start().await;
    for path in
        ["/", "/v1", "/v1/", "/v1/chat", "/v2/chat/completions", "/v1/chat/completions/", "/metrics", "/api/spend"]
    {
        gateway.get(path).await.error(404);
    }
    gateway.get("/v1/chat/completions").await.error(405);
    gateway.send("/v1/models", "{}", &[]).await.error(405);
    unharmed(gateway, &upstream).await;
}

#[tokio::test]
async fn headers_that_cannot_be_read_are_refused_not_ignored() {
    let (gateway, upstream) = start().await;
    for (name, value) in [
        ("x-sluice-route", "everywhere"),
        ("x-sluice-tags", "no-equals-sign"),
        ("x-sluice-tags", "a=1,a=2"),
        ("x-sluice-session", &"s".repeat(1_000)),
    ] {
        gateway.tell_with(&with(json!({})), &[(name, value)]).await.error(400);
    }
    let unknown = gateway.tell_with(&with(json!({})), &[("x-sluice-data-class", "top-secret")]).await.error(403);
    assert!(unknown["message"].as_str().unwrap().contains("top-secret"), "{unknown}");
    unharmed(gateway, &upstream).await;
}

#[tokio::test]
async fn several_choices_go_hosted_and_are_422_where_only_local_is_allowed() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    // A server in the house that says what it can do: no `n`.
    let config = two_sides(&hosted, &house)
        .replace("location = \"local\"\n", "location = \"local\"\ncapabilities = [\"tools\"]\n");
    let gateway = Gateway::start(&config).await;
    let several = json!({"n": 2, "model": "auto"});
    let hosted_answer = gateway.tell(&with(several.clone())).await;
    assert_eq!(hosted_answer.said("x-sluice-reason"), "capability");
    assert_eq!(hosted_answer.json()["choices"].as_array().unwrap().len(), 2);
    let refused = gateway.tell_with(&with(several), &[("x-sluice-route", "local")]).await;
    assert!(refused.error(422)["message"].as_str().unwrap().contains('n'));
    assert_eq!(refused.said("x-sluice-reason"), "capability");
    assert_eq!((hosted.count(), house.count()), (1, 0));
}

#[tokio::test]
async fn what_hyper_cannot_read_ends_that_connection_only() {
    let (gateway, upstream) = start().await;
    let body = chat("big", "x").to_string();
    let head = |extra: &str| {
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: s\r\ncontent-type: application/json\r\n{extra}\r\n{body}")
    };
    for request in [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "GET\r\n\r\n".into(),
        "GET / HTTP/9.9\r\n\r\n".into(),
        head("content-length: abc\r\n"),
        head("content-length: -5\r\n"),
        head(&format!("content-length: {}\r\ncontent-length: {}\r\n", body.len(), body.len() + 1)),
        head("transfer-encoding: gzip\r\n"),
        head("bad header\r\ncontent-length: 2\r\n"),
    ] {
        let mut wire = Wire::open(&gateway.data).await;
        wire.send(request.as_bytes()).await;
        wire.finish().await;
        let answer = wire.to_end().await;
        assert!(answer.is_empty() || (400..500).contains(&wire::status(&answer)), "{request}\n{answer}");
    }
    unharmed(gateway, &upstream).await;
}

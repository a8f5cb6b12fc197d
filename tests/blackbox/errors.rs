//! Bad input gets a clear error in the right shape and status, and does no harm.

use serde_json::{Value, json};
use tests::gateway::{Gateway, client, header};
use tests::upstream::Upstream;
use tests::{chat, streamed};

async fn gateway(upstream: &Upstream) -> Gateway {
    let models = [
        ("big", "echo"),
        ("broken", "status-500"),
        ("busy", "status-503"),
        ("limited", "status-429"),
        ("wrong", "status-400"),
        ("locked", "status-401"),
        ("page", "html"),
        ("sorry", "ok-error"),
        ("hung", "hang"),
    ];
    // A provider each: one that keeps failing is left alone for a while, which is another test's promise.
    let providers = models.map(|model| upstream.provider(&format!("p-{}", model.0), "hosted", &[model])).concat();
    Gateway::start(&format!(
        "{providers}\n[router]\nhosted = \"big\"\n[timeouts]\nfirst_event = \"300ms\"\nconnect = \"300ms\"\n"
    ))
    .await
}

fn is_openai_error(body: &str) -> Value {
    let value: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("JSON: {body}"));
    let error = value["error"].as_object().unwrap_or_else(|| panic!("an error object: {body}"));
    let keys: Vec<&str> = error.keys().map(String::as_str).collect();
    assert_eq!(keys, ["message", "type", "param", "code"], "{body}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    value["error"].clone()
}

#[tokio::test]
async fn bad_bodies_are_refused_with_their_reason_before_anything_is_dialled() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let deep = format!(r#"{{"model":"big","messages":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let long = chat("big", &"x".repeat(10 << 20)).to_string();
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("malformed", b"{\"model\":".to_vec(), 400),
        ("empty", b"".to_vec(), 400),
        ("not an object", b"[1]".to_vec(), 400),
        ("wrong type", br#"{"model":"big","messages":"hi"}"#.to_vec(), 400),
        (
            "wrong field type",
            br#"{"model":"big","messages":[{"role":"user","content":"x"}],"temperature":"hot"}"#.to_vec(),
            400,
        ),
        ("no messages", br#"{"model":"big","messages":[]}"#.to_vec(), 400),
        ("no model", br#"{"messages":[{"role":"user","content":"x"}]}"#.to_vec(), 400),
        ("repeated key", br#"{"model":"big","model":"auto","messages":[{"role":"user","content":"x"}]}"#.to_vec(), 400),
        ("deep", deep.into_bytes(), 400),
        ("not UTF-8", b"{\"model\":\"big\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}".to_vec(), 400),
        ("too large", long.into_bytes(), 413),
        ("unknown model", chat("nobody", "x").to_string().into_bytes(), 404),
    ];
    for (name, body, status) in cases {
        let response = gateway.post("/v1/chat/completions").body(body).send().await.expect(name);
        assert_eq!(response.status(), status, "{name}");
        assert!(header(&response, "x-sluice-request-id").is_some(), "{name}");
        assert!(header(&response, "x-sluice-route").is_none(), "{name}");
        is_openai_error(&response.text().await.expect("text"));
    }
    let plain = |kind: &'static str, encoding: Option<&'static str>| {
        let request = client().post(format!("{}/v1/chat/completions", gateway.data)).header("content-type", kind);
        let request = match encoding {
            Some(encoding) => request.header("content-encoding", encoding),
            None => request,
        };
        request.body(chat("big", "x").to_string()).send()
    };
    for (kind, encoding) in
        [("text/plain", None), ("application/x-www-form-urlencoded", None), ("application/json", Some("gzip"))]
    {
        let response = plain(kind, encoding).await.expect("an answer");
        assert_eq!(response.status(), 415, "{kind} {encoding:?}");
        is_openai_error(&response.text().await.expect("text"));
    }
    assert_eq!(upstream.count(), 0, "nothing was dialled");
    assert_eq!(gateway.chat(&chat("big", "x")).await.status(), 200, "unharmed");
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_say_so() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    for (method, path, status) in [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/nothing", 404),
        ("GET", "/v1/models/nobody", 404),
        ("GET", "/v1/embeddings", 405),
        ("GET", "/v1/responses", 405),
        ("GET", "/api/spend", 404),
        ("GET", "/metrics", 404),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let response =
            gateway.client.request(method, format!("{}{path}", gateway.data)).send().await.expect("an answer");
        assert_eq!(response.status(), status, "{path}");
        is_openai_error(&response.text().await.expect("text"));
    }
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        for (method, status) in [(reqwest::Method::POST, 400), (reqwest::Method::GET, 405)] {
            let request = gateway.client.request(method, format!("{}{path}", gateway.data));
            let response =
                request.header("content-type", "application/json").body("{}").send().await.expect("an answer");
            assert_eq!(response.status(), status, "{path}");
            let body: Value = response.json().await.expect("JSON");
            assert_eq!(body["type"], "error", "Anthropic's endpoints have Anthropic's shape");
        }
    }
}

#[tokio::test]
async fn headers_that_cannot_be_read_are_refused() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    for (name, value, status) in
        [("x-sluice-route", "everywhere", 400), ("x-sluice-tags", "a", 400), ("x-sluice-data-class", "topsecret", 403)]
    {
        let response = gateway.chat_with(&chat("auto", "x"), &[(name, value)]).await;
        assert_eq!(response.status(), status, "{name}");
        is_openai_error(&response.text().await.expect("text"));
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn failures_of_the_upstream_have_their_status_and_are_on_record() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    for (model, status, code) in [
        ("broken", 502, "upstream_status"),
        ("locked", 502, "upstream_status"),
        ("limited", 429, "upstream_rate_limit"),
        ("page", 502, "upstream_protocol"),
        ("sorry", 502, "upstream_error"),
        ("hung", 504, "timeout_first_event"),
    ] {
        for body in [chat(model, "x"), streamed(model, "x")] {
            let response = gateway.chat(&body).await;
            let id = header(&response, "x-sluice-request-id").expect("an id").to_owned();
            let after = header(&response, "retry-after").map(str::to_owned);
            assert_eq!(response.status(), status, "{model}");
            assert_eq!(after.is_some(), status == 429, "{model}");
            let error = is_openai_error(&response.text().await.expect("text"));
            assert_eq!(error["code"], code, "{model}");
            let story = tests::oracle::record(&gateway, &id).await;
            assert_eq!(story["attempt_log"][0]["outcome"], "error", "{model}: {story}");
            assert_eq!(story["attempt_log"][0]["cost_usd"], "0.000000", "{model}");
        }
    }
    let response = gateway.chat(&chat("wrong", "x")).await;
    assert_eq!(response.status(), 400);
    let error = is_openai_error(&response.text().await.expect("text"));
    assert_eq!(error["code"], "scripted", "the request's own fault is told in the upstream's words");
}

#[tokio::test]
async fn secrets_and_prompts_are_in_no_log_no_error_and_no_page() {
    let upstream = Upstream::start().await;
    let rest = format!(
        "{}\n[router]\nhosted = \"big\"\n[telemetry]\nlog = \"trace\"\n",
        upstream
            .provider("hosted", "hosted", &[("big", "echo"), ("broken", "status-500")])
            .replace("region", "api_key_env = \"CANARY_KEY\"\nregion")
    );
    let folder = std::sync::Arc::new(tempfile::tempdir().expect("a folder"));
    let gateway = Gateway::start_in(folder, &rest, &[("CANARY_KEY", "sk-canary-provider")]).await;
    for model in ["big", "broken", "nobody"] {
        let body = chat(model, "canary-prompt is here");
        let response = gateway.chat_with(&body, &[("authorization", "Bearer sk-canary-client")]).await;
        let text = response.text().await.expect("text");
        assert!(!text.contains("canary"), "{text}");
    }
    let key = upstream.log()[0].headers["authorization"].to_str().expect("text").to_owned();
    assert_eq!(key, "Bearer sk-canary-provider", "the provider's own key, not the client's");
    let mut pages = gateway.api("/api/requests").await.to_string();
    pages.push_str(&gateway.api("/api/models").await.to_string());
    pages.push_str(
        &gateway
            .client
            .get(format!("{}/metrics", gateway.admin))
            .send()
            .await
            .expect("a page")
            .text()
            .await
            .expect("text"),
    );
    for canary in ["sk-canary-provider", "sk-canary-client", "canary-prompt"] {
        assert!(!pages.contains(canary), "{canary} is on a page");
        assert!(!gateway.log.lock().contains(canary), "{canary} is in the log");
    }
    let ledger = std::fs::read(gateway.folder.path().join("sluice.db")).expect("a ledger");
    let wal = std::fs::read(gateway.folder.path().join("sluice.db-wal")).unwrap_or_default();
    let holds =
        |canary: &[u8]| [&ledger, &wal].iter().any(|bytes| bytes.windows(canary.len()).any(|window| window == canary));
    assert!(!holds(b"canary"), "nothing of it is in the ledger's file");
}

#[tokio::test]
async fn what_only_some_model_can_do_is_asked_of_that_one_or_refused() {
    let upstream = Upstream::start().await;
    let local = upstream
        .provider("house", "local", &[("small", "echo")])
        .replace("region", "capabilities = [\"tools\"]\nregion");
    let rest = format!(
        "{local}\n{}\n[router]\nlocal = \"small\"\nhosted = \"big\"\n",
        upstream.provider("hosted", "hosted", &[("big", "echo")])
    );
    let gateway = Gateway::start(&rest).await;
    let mut body = chat("auto", "What is this?");
    body["messages"][0]["content"] = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]);
    let response = gateway.chat(&body).await;
    assert_eq!((response.status().as_u16(), header(&response, "x-sluice-reason")), (200, Some("capability")));
    let response = gateway.chat_with(&body, &[("x-sluice-route", "local")]).await;
    assert_eq!(response.status(), 422);
    let error = is_openai_error(&response.text().await.expect("text"));
    assert_eq!(error["code"], "no_eligible_model");
}

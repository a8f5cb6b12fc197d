//! Where requests go is the configuration's word alone, and keys open only what they should.

use serde_json::json;
use tests::{Gateway, Upstream, chat, eventually, hosted_only, streamed};

#[tokio::test]
async fn no_field_of_a_body_and_no_header_sends_a_request_elsewhere() {
    let (upstream, trap) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    let host = trap.root.trim_start_matches("http://").to_owned();
    for field in [
        "api_base",
        "base_url",
        "api_key",
        "url",
        "endpoint",
        "host",
        "proxy",
        "provider",
        "custom_llm_provider",
        "deployment_id",
        "organization",
        "extra_body",
        "extra_headers",
        "litellm_params",
        "fallbacks",
        "router",
        "target",
        "upstream",
        "callback_url",
        "webhook",
    ] {
        for value in
            [json!(trap.url), json!({"url": trap.url, "base_url": trap.url, "api_key": "x"}), json!([trap.url])]
        {
            let mut body = chat("big", "x");
            body[field] = value;
            assert_eq!(gateway.tell(&body).await.status, 200, "{field}");
        }
    }
    for (name, value) in [
        ("x-portkey-custom-host", trap.url.as_str()),
        ("x-custom-host", &trap.url),
        ("x-forwarded-host", &host),
        ("x-original-url", &trap.url),
        ("x-sluice-provider", &trap.url),
        ("helicone-target-url", &trap.url),
        ("host", &host),
        ("forwarded", &format!("host={host}")),
    ] {
        assert_eq!(gateway.tell_with(&chat("big", "x"), &[(name, value)]).await.status, 200, "{name}");
    }
    assert_eq!((trap.count(), trap.connections()), (0, 0));
    assert_eq!(upstream.count(), 20 * 3 + 8);
    let host = upstream.root.trim_start_matches("http://");
    assert!(upstream.log().iter().all(|seen| seen.header("host") == Some(host)));
}

#[tokio::test]
async fn proxies_of_the_environment_are_not_used() {
    let (upstream, trap) = (Upstream::start().await, Upstream::start().await);
    let folder = tests::gateway::folder(&hosted_only(&upstream, "echo"));
    let environment =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"].map(|name| (name, trap.root.as_str()));
    let gateway = Gateway::serve(folder, &environment).await;
    for body in [chat("big", "x"), streamed("big", "x")] {
        assert_eq!(gateway.tell(&body).await.status, 200);
    }
    assert_eq!((upstream.count(), trap.connections()), (2, 0));
}

#[tokio::test]
async fn keys_that_are_almost_right_open_nothing() {
    let upstream = Upstream::start().await;
    let rest = format!("{}[keys]\nrequired = true\n", hosted_only(&upstream, "echo"));
    let gateway = Gateway::start(&rest).await;
    let made = gateway.cli(&["keys", "create", "--name", "one"]);
    let key = made["key"].as_str().expect("a key").to_owned();
    let status = async |name: &str, value: &str| gateway.tell_with(&chat("big", "x"), &[(name, value)]).await.status;
    let bearer = format!("Bearer {key}");
    eventually("the key counts", async || (status("authorization", &bearer).await == 200).then_some(())).await;
    let count = upstream.count();
    let mut wrong = vec![
        String::new(),
        "sk-sluice-".into(),
        key[..key.len() - 1].into(),
        format!("{key}x"),
        format!("{key}{key}"),
        key.to_uppercase(),
        key.replacen("sk-", "sk_", 1),
        key.chars().rev().collect(),
        "' OR '1'='1".into(),
        "*".into(),
        "null".into(),
        "a".repeat(8 << 10),
        made["id"].as_str().expect("an id").into(),
    ];
    for at in 10..key.len().min(60) {
        let mut near = key.clone().into_bytes();
        near[at] = if near[at] == b'a' { b'b' } else { b'a' };
        let near = String::from_utf8(near).expect("text");
        if near != key {
            wrong.push(near);
        }
    }
    for value in &wrong {
        let told = gateway.tell_with(&chat("big", "x"), &[("authorization", &format!("Bearer {value}"))]).await;
        told.error(401);
        assert!(value.len() < 12 || !told.text().contains(value.as_str()), "a key is repeated");
        if !value.is_empty() {
            assert_eq!(status("x-api-key", value).await, 401, "{value}");
        }
    }
    for (name, value) in [
        ("authorization", format!("Basic {key}")),
        ("authorization", key.clone()),
        ("authorization", format!("Token {key}")),
        ("api-key", key.clone()),
        ("cookie", format!("key={key}")),
    ] {
        assert_eq!(status(name, &value).await, 401, "{name}: {value}");
    }
    let in_address =
        gateway.send(&format!("/v1/chat/completions?key={key}&api_key={key}"), chat("big", "x").to_string(), &[]).await;
    in_address.error(401);
    assert_eq!(upstream.count(), count);
    let log = gateway.log.lock().clone();
    assert!(!log.contains(&key[10..]), "the key is in the log");
}

#[tokio::test]
async fn every_route_but_health_needs_the_key_however_it_is_spelled() {
    let upstream = Upstream::start().await;
    let rest = format!("{}[keys]\nrequired = true\n", hosted_only(&upstream, "echo"));
    let gateway = Gateway::start(&rest).await;
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for path in [
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/models",
            "/v1/models/big",
            "/v1/route",
            "/v1/embeddings",
            "/v1/responses",
            "/v1/messages",
            "/v1/feedback",
            "/v1",
            "/",
            "/v1/nothing",
            "//v1/models",
            "/v1//models",
            "/v1/models/",
            "/V1/models",
            "/v1/./models",
            "/livez/../v1/models",
            "/v1/models%2f",
            "/livez/x",
            "/api/spend",
            "/metrics",
        ] {
            let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
            // Bytes as they are: a client library would tidy the path.
            let request =
                format!("{method} {path} HTTP/1.1\r\nhost: s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            let answer = tests::wire::exchange(&gateway.data, request.as_bytes()).await;
            assert_eq!(tests::wire::status(&answer), 401, "{method} {path}: {answer}");
        }
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_key_sees_and_uses_only_the_models_it_may() {
    let upstream = Upstream::start().await;
    let rest = format!(
        "{}[router]\nhosted = [\"dear\", \"cheap\"]\n",
        upstream.provider("p", "hosted", &[("dear", "echo"), ("cheap", "echo")])
    );
    let gateway = Gateway::start(&rest).await;
    let made = gateway.cli(&["keys", "create", "--name", "one", "--models", "cheap"]);
    let bearer = format!("Bearer {}", made["key"].as_str().expect("a key"));
    let headers = [("authorization", bearer.as_str())];
    eventually("keys are needed", async || (gateway.tell(&chat("cheap", "x")).await.status == 401).then_some(())).await;
    assert_eq!(gateway.tell_with(&chat("cheap", "x"), &headers).await.status, 200);
    let auto = gateway.tell_with(&chat("auto", "x"), &headers).await;
    assert_eq!((auto.status, auto.said("x-sluice-model")), (200, "cheap"), "the next one it may use");
    let refused = gateway.tell_with(&chat("dear", "x"), &headers).await;
    assert_eq!(refused.error(403)["code"], "model_not_allowed");
    assert_eq!(refused.said("x-sluice-reason"), "allow_list");
    let get = |path: &str| {
        tests::Told::of(gateway.client.get(format!("{}{path}", gateway.data)).header("authorization", &bearer))
    };
    let list = get("/v1/models").await;
    assert!(!list.text().contains("dear"), "{}", list.text());
    get("/v1/models/dear").await.error(404);
}

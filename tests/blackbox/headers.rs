//! Every data answer says who answered, why and at what price; every refusal says what is known of it.

use serde_json::json;
use tests::{EASY, Gateway, HARD, PROVIDER_KEY, PROVIDER_KEY_VARIABLE, Told, Upstream, chat, streamed, two_sides};

async fn start() -> (Gateway, Upstream, Upstream) {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    (gateway, hosted, house)
}

/// What every data answer carries, refusals included.
fn always(told: &Told, context: &str) {
    for name in ["x-sluice-request-id", "x-sluice-reason", "x-sluice-attempts", "x-sluice-overhead-ms"] {
        assert!(told.header(name).is_some(), "{context}: no `{name}` in {:?}", told.headers);
    }
    let overhead: f64 = told.said("x-sluice-overhead-ms").parse().expect("milliseconds");
    assert!((0.0..5_000.0).contains(&overhead), "{context}: {overhead}");
    let attempts: u32 = told.said("x-sluice-attempts").parse().expect("a count");
    let unrouted = told.header("x-sluice-route").is_none() || context == "a decision";
    assert!(unrouted || attempts > 0, "{context}");
    assert_eq!(told.header("x-request-id"), told.header("x-sluice-request-id"), "{context}");
    let reason = told.said("x-sluice-reason");
    assert!(!reason.is_empty() && reason.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{reason}");
}

#[tokio::test]
async fn an_answer_names_route_model_provider_reason_score_and_cost() {
    let (gateway, _hosted, _house) = start().await;
    for (prompt, route, model, provider) in [(EASY, "local", "small", "house"), (HARD, "hosted", "big", "hosted")] {
        for body in [chat("auto", prompt), streamed("auto", prompt)] {
            let told = gateway.tell(&body).await;
            assert_eq!(told.status, 200, "{}", told.text());
            always(&told, route);
            assert_eq!(told.said("x-sluice-route"), route);
            assert_eq!(told.said("x-sluice-model"), model);
            assert_eq!(told.said("x-sluice-provider"), provider);
            assert_eq!(told.said("x-sluice-reason"), "classifier");
            assert_eq!(told.said("x-sluice-attempts"), "1");
            let score: f64 = told.said("x-sluice-score").parse().expect("a score");
            assert!((0.0..=1.0).contains(&score), "{score}");
            let free = told.cost().is_some_and(|cost| cost == "0.000000");
            assert_eq!(free, route == "local");
            let in_header = told.header("x-sluice-cost-usd").is_some();
            assert_eq!(in_header, body["stream"].is_null(), "whole answers carry it in a header, streams in a comment");
        }
    }
}

#[tokio::test]
async fn lists_and_decisions_say_so_too_and_a_decision_what_its_answer_would() {
    let (gateway, hosted, house) = start().await;
    let size = gateway.send("/v1/messages/count_tokens", chat("small", "x").to_string(), &[]).await;
    for (told, reason) in
        [(gateway.get("/v1/models").await, "models"), (gateway.get("/v1/models/small").await, "models"), (size, "size")]
    {
        assert_eq!((told.status, told.said("x-sluice-reason"), told.said("x-sluice-attempts")), (200, reason, "0"));
        always(&told, reason);
        for name in ["x-sluice-route", "x-sluice-model", "x-sluice-provider", "x-sluice-score"] {
            assert!(told.header(name).is_none(), "{reason}: {name}");
        }
    }
    let absent = gateway.get("/v1/models/nobody").await;
    absent.error(404);
    always(&absent, "no such model");
    for (prompt, route, model, provider) in [(EASY, "local", "small", "house"), (HARD, "hosted", "big", "hosted")] {
        let told = gateway.send("/v1/route", chat("auto", prompt).to_string(), &[]).await;
        always(&told, "a decision");
        let names = ["x-sluice-route", "x-sluice-model", "x-sluice-provider"].map(|name| told.said(name));
        assert_eq!(names, [route, model, provider]);
        assert_eq!((told.said("x-sluice-reason"), told.said("x-sluice-attempts")), ("classifier", "0"));
        let score: f64 = told.said("x-sluice-score").parse().expect("a score");
        assert!((told.json()["score"].as_f64().expect("a score") - score).abs() < 1e-3);
    }
    let forbidden = [("x-sluice-data-class", "restricted"), ("x-sluice-route", "hosted")];
    let told = gateway.send("/v1/route", chat("auto", EASY).to_string(), &forbidden).await;
    assert_eq!((told.status, told.header("x-sluice-route").is_none()), (200, true), "{}", told.text());
    always(&told, "a decision");
    assert_eq!(told.said("x-sluice-reason"), told.json()["reason"].as_str().expect("a reason"));
    assert_eq!((hosted.count(), house.count()), (0, 0), "nobody was asked");
}

#[tokio::test]
async fn the_answers_model_is_the_upstreams_own_word() {
    let (gateway, hosted, _house) = start().await;
    let told = gateway.tell(&chat("big", "x")).await;
    assert_eq!(told.json()["model"], "echo");
    assert_eq!(told.said("x-sluice-model"), "big");
    assert_eq!(hosted.last().json()["model"], "echo");
}

#[tokio::test]
async fn there_is_no_score_where_nothing_was_judged() {
    let (gateway, _hosted, _house) = start().await;
    for (body, headers) in [
        (chat("big", HARD), vec![]),
        (chat("auto", HARD), vec![("x-sluice-route", "local")]),
        (chat("auto", HARD), vec![("x-sluice-data-class", "restricted")]),
    ] {
        let told = gateway.tell_with(&body, &headers).await;
        assert_eq!((told.status, told.header("x-sluice-score")), (200, None), "{headers:?}");
        always(&told, &format!("{headers:?}"));
    }
}

#[tokio::test]
async fn a_refusal_by_policy_says_who_refused_and_names_no_route() {
    let (gateway, hosted, house) = start().await;
    let restricted = ("x-sluice-data-class", "restricted");
    for (body, headers, status, reason) in [
        (chat("nobody", "x"), vec![], 404, "unknown_model"),
        (chat("big", "x"), vec![restricted], 403, "residency"),
        (chat("auto", "x"), vec![restricted, ("x-sluice-route", "hosted")], 403, "residency"),
        (chat("auto", "x"), vec![("x-sluice-data-class", "nonsense")], 403, "residency"),
        (chat("big", "x"), vec![("x-sluice-route", "local")], 422, "route"),
    ] {
        let told = gateway.tell_with(&body, &headers).await;
        told.error(status);
        always(&told, reason);
        assert_eq!(told.said("x-sluice-reason"), reason);
        assert_eq!(told.said("x-sluice-attempts"), "0");
        for absent in ["x-sluice-route", "x-sluice-cost-usd"] {
            assert_eq!(told.header(absent), None, "{reason}");
        }
    }
    assert_eq!((hosted.count(), house.count()), (0, 0));
}

#[tokio::test]
async fn a_refusal_before_routing_carries_the_same_headers() {
    let (gateway, _hosted, _house) = start().await;
    let large = chat("big", &"x".repeat(5 << 20)).to_string();
    for (name, told) in [
        ("malformed", gateway.send("/v1/chat/completions", "{", &[]).await),
        ("wrong type", gateway.tell(&json!({"model": 5})).await),
        ("content type", gateway.send("/v1/chat/completions", "{}", &[("content-type", "text/plain")]).await),
        ("too large", gateway.send("/v1/chat/completions", large, &[]).await),
        ("bad header", gateway.tell_with(&chat("big", "x"), &[("x-sluice-route", "moon")]).await),
        ("no input", gateway.send("/v1/embeddings", r#"{"model": "big"}"#, &[]).await),
        ("unknown path", gateway.get("/v1/nothing").await),
        ("wrong method", gateway.get("/v1/chat/completions").await),
    ] {
        assert!(told.status >= 400, "{name}");
        always(&told, name);
        assert_eq!((told.said("x-sluice-attempts"), told.header("x-sluice-route")), ("0", None), "{name}");
    }
}

#[tokio::test]
async fn all_targets_failing_says_how_many_were_tried() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&tests::two_sides_as(&hosted, "status-500", &house, "status-500")).await;
    let told = gateway.tell(&chat("auto", HARD)).await;
    told.error(502);
    always(&told, "all failed");
    assert_eq!((told.said("x-sluice-attempts"), told.header("x-sluice-route")), ("2", None));
}

#[tokio::test]
async fn a_clients_id_and_trace_context_are_honoured() {
    let (gateway, hosted, _house) = start().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let told = gateway.tell_with(&chat("big", "x"), &[("x-request-id", "mine-1"), ("traceparent", trace)]).await;
    assert_eq!(told.id(), "mine-1");
    let seen = hosted.of("mine-1").expect("the upstream sees the client's id");
    let parent = seen.header("traceparent").expect("a trace context");
    assert!(parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "the same trace: {parent}");
    let odd =
        gateway.tell_with(&chat("big", "x"), &[("x-request-id", "what ever'; DROP TABLE"), ("traceparent", "x")]).await;
    assert_eq!(odd.status, 200);
    assert!(!odd.id().contains(' '), "an unfit id is replaced: {}", odd.id());
    assert_eq!(hosted.last().header("traceparent"), None, "nonsense is not handed on");
}

#[tokio::test]
async fn session_and_tags_are_on_record() {
    let (gateway, _hosted, _house) = start().await;
    for (name, value) in [("x-sluice-session", "s-1"), ("x-session-id", "s-2"), ("x-conversation-id", "s-3")] {
        let told =
            gateway.tell_with(&chat("big", "x"), &[(name, value), ("x-sluice-tags", "job=nightly,owner=ada")]).await;
        let record = tests::oracle::record(&gateway, told.id()).await;
        assert_eq!(record["session"], value, "{name}");
        assert_eq!(record["tags"], json!({"job": "nightly", "owner": "ada"}));
    }
}

#[tokio::test]
async fn nothing_of_the_clients_headers_reaches_the_provider_but_the_providers_own_key() {
    let upstream = Upstream::start().await;
    let rest = upstream
        .provider("hosted", "hosted", &[("big", "echo")])
        .replace("region", &format!("api_key_env = \"{PROVIDER_KEY_VARIABLE}\"\nregion"));
    let gateway = Gateway::start(&rest).await;
    let smuggled: Vec<(String, String)> = (0..60)
        .map(|n| (format!("x-custom-{n}"), format!("smuggled-{n}")))
        .chain(
            [
                ("authorization", "Bearer smuggled"),
                ("x-api-key", "smuggled"),
                ("api-key", "smuggled"),
                ("cookie", "smuggled=1"),
                ("x-forwarded-for", "smuggled"),
                ("x-forwarded-host", "smuggled"),
                ("x-real-ip", "smuggled"),
                ("forwarded", "for=smuggled"),
                ("proxy-authorization", "smuggled"),
                ("x_underscore", "smuggled"),
                ("openai-organization", "smuggled"),
                ("x-sluice-tags", "k=smuggled"),
                ("x-sluice-session", "smuggled"),
                ("user-agent", "smuggled"),
                ("referer", "http://smuggled"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        )
        .collect();
    let headers: Vec<(&str, &str)> = smuggled.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for body in [chat("big", "x"), streamed("big", "x")] {
        assert_eq!(gateway.tell_with(&body, &headers).await.status, 200);
        let seen = upstream.last();
        assert!(!format!("{:?}", seen.headers).contains("smuggled"), "{:?}", seen.headers);
        assert_eq!(seen.header("authorization"), Some(format!("Bearer {PROVIDER_KEY}").as_str()));
    }
}

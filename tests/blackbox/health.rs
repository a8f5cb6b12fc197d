//! Health is told at once, truthfully and whatever else goes on.

use tests::upstream::raw::{RawUpstream, Step};
use tests::wire::Wire;
use tests::{Gateway, Upstream, chat, gateway, hosted_only, streamed};

#[tokio::test]
async fn it_lives_at_once_and_is_not_ready_while_a_model_is_on_its_way() {
    // A hub that takes the request and never answers: the model loads for as long as the test wants.
    let (hub, hosted) = (RawUpstream::start().await, Upstream::start().await);
    hub.play(vec![Step::Hold]);
    let rest = format!(
        "{}[providers.in-process]\nkind = \"mistralrs\"\nsource = \"hf:sluice/never\"\n[models.slow]\nprovider = \"in-process\"\n\
         [router]\nlocal = [\"slow\"]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\n",
        hosted.provider("hosted", "hosted", &[("big", "echo")])
    );
    let folder = gateway::folder(&rest);
    let cache = folder.path().join("cache");
    let endpoint = hub.url.trim_end_matches("/v1").to_owned();
    let environment = [
        ("HF_ENDPOINT", endpoint.as_str()),
        ("HF_HOME", cache.to_str().expect("text")),
        ("XDG_CACHE_HOME", cache.to_str().expect("text")),
    ];
    let mut gateway = Gateway::serve(folder.clone(), &environment).await;
    for base in [&gateway.data, &gateway.admin] {
        let live = gateway.client.get(format!("{base}/livez")).send().await.expect("an answer");
        assert_eq!(live.status(), 200);
        let ready = tests::Told::of(gateway.client.get(format!("{base}/readyz"))).await;
        assert_eq!(ready.status, 503);
        let body = ready.json();
        assert_eq!(body["status"], "loading", "{body}");
        let slow =
            body["models"].as_array().expect("models").iter().find(|model| model["model"] == "slow").expect("slow");
        assert_eq!(slow["state"], "loading", "{body}");
    }
    // Whoever needs it waits elsewhere; whoever does not is served.
    let pinned = gateway.tell(&chat("slow", "hello")).await;
    pinned.error(503);
    assert!(pinned.header("retry-after").is_some());
    let auto = gateway.tell(&chat("auto", "hello")).await;
    assert_eq!((auto.status, auto.said("x-sluice-model"), auto.said("x-sluice-reason")), (200, "big", "health"));
    let restricted = gateway.tell_with(&chat("auto", "hello"), &[("x-sluice-data-class", "restricted")]).await;
    restricted.error(503);
    assert!(restricted.header("retry-after").is_some());
    assert_eq!(hosted.count(), 1);
    // And it stops when told to, a model on its way or not.
    gateway.stop().await;
}

#[tokio::test]
async fn health_needs_no_key_and_no_place() {
    let upstream = Upstream::start().await;
    let models = [("big", "echo"), ("stall", "stall")];
    let rest =
        format!("{}[limits]\nin_flight = 2\n[keys]\nrequired = true\n", upstream.provider("hosted", "hosted", &models));
    let gateway = Gateway::start(&rest).await;
    assert_eq!(gateway.tell(&chat("big", "x")).await.status, 401);
    let key = gateway.cli(&["keys", "create", "--name", "one"]);
    let bearer = format!("Bearer {}", key["key"].as_str().expect("a key"));
    let headers = [("authorization", bearer.as_str())];
    let stalled = streamed("stall", "x");
    let ask = || tests::Live::open(&gateway.client, &gateway.data, &stalled, &headers);
    tests::eventually("the key counts", async || {
        let told = gateway.tell_with(&chat("nobody", "x"), &headers).await;
        (told.status == 404).then_some(())
    })
    .await;
    let running = [ask().await, ask().await];
    let refused = gateway.tell_with(&chat("big", "x"), &headers).await;
    refused.error(503);
    assert!(refused.header("retry-after").is_some(), "a place may be free soon");
    for path in ["/livez", "/readyz"] {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
    }
    drop(running);
    tests::eventually("places come back", async || {
        (gateway.tell_with(&chat("big", "x"), &headers).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn liveness_depends_on_no_upstream() {
    let nobody = tests::upstream::Nobody::new();
    let gateway = Gateway::start(&tests::upstream::provider(&nobody.url, "p", "hosted", &[("big", "x")])).await;
    for _ in 0..10 {
        gateway.tell(&chat("big", "x")).await;
        assert_eq!(gateway.get("/livez").await.status, 200);
        assert_eq!(
            gateway.get("/readyz").await.status,
            200,
            "a provider that is down is no reason to take no requests"
        );
    }
}

#[tokio::test]
async fn nobody_is_asked_anything_until_a_client_asks() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    for path in ["/livez", "/readyz", "/v1/models"] {
        assert_eq!(gateway.get(path).await.status, 200);
    }
    for path in ["/api/models", "/api/spend", "/metrics"] {
        assert_eq!(gateway.admin_get(path).await.status, 200);
    }
    assert_eq!((upstream.count(), upstream.connections()), (0, 0), "no probe costs money");
}

#[tokio::test]
async fn a_head_and_a_body_that_do_not_come_are_given_up() {
    let upstream = Upstream::start().await;
    let rest = format!("{}[timeouts]\nheader = \"300ms\"\nbody = \"300ms\"\n", hosted_only(&upstream, "echo"));
    let gateway = Gateway::start(&rest).await;
    let mut head = Wire::open(&gateway.data).await;
    head.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: s\r\nx-slow: ").await;
    let answer = head.to_end().await;
    assert!(answer.is_empty() || answer.contains(" 408 "), "{answer}");
    let mut body = Wire::open(&gateway.data).await;
    body.send(tests::wire::post_head("/v1/chat/completions", 100).as_bytes()).await;
    body.send(b"{\"model\":").await;
    let answer = body.to_end().await;
    assert_eq!(tests::wire::status(&answer), 408, "{answer}");
    assert_eq!(gateway.tell(&chat("big", "x")).await.status, 200);
}

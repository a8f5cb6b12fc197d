//! Stopping in good order, and health on the way.

use tests::Told;
use tests::gateway::Gateway;
use tests::upstream::Upstream;
use tests::{chat, eventually, streamed};

#[tokio::test]
async fn live_streams_come_to_their_end_after_sigterm() {
    let upstream = Upstream::start().await;
    let rest = format!(
        "{}\n[timeouts]\ndrain = \"20s\"\ndrain_delay = \"200ms\"\n",
        upstream.provider("hosted", "hosted", &[("slow", "echo-slow"), ("big", "echo")])
    );
    let mut gateway = Gateway::start(&rest).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(gateway.chat(&streamed("slow", "x")).await);
    }
    gateway.signal("TERM");
    eventually("readiness fails", async || {
        let ready = gateway.client.get(format!("{}/readyz", gateway.admin)).send().await.ok()?;
        (ready.status() == 503).then_some(())
    })
    .await;
    assert_eq!(gateway.chat(&chat("big", "x")).await.status(), 200, "it still accepts for the minimum delay");
    for stream in streams {
        assert!(stream.text().await.expect("text").ends_with("data: [DONE]\n\n"));
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(
        !gateway.folder.path().join("sluice.db-wal").metadata().is_ok_and(|wal| wal.len() > 0),
        "the ledger is closed clean"
    );
}

#[tokio::test]
async fn what_does_not_end_in_time_gets_an_error_event() {
    let upstream = Upstream::start().await;
    let rest =
        format!("{}\n[timeouts]\ndrain = \"300ms\"\n", upstream.provider("hosted", "hosted", &[("silent", "stall")]));
    let mut gateway = Gateway::start(&rest).await;
    let mut response = gateway.chat(&streamed("silent", "x")).await;
    response.chunk().await.expect("a chunk");
    gateway.signal("TERM");
    let text = Told::read(response).await.text();
    assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{text}");
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_forces() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream.provider("hosted", "hosted", &[("silent", "stall")])).await;
    let mut response = gateway.chat(&streamed("silent", "x")).await;
    response.chunk().await.expect("a chunk");
    gateway.signal("TERM");
    eventually("it drains", async || gateway.log.lock().contains("draining").then_some(())).await;
    let begun = std::time::Instant::now();
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(begun.elapsed().as_secs() < 10, "long before the drain's 30 s");
}

#[tokio::test]
async fn it_is_alive_while_the_model_loads_and_says_when_it_failed_for_good() {
    let folder = std::sync::Arc::new(tempfile::tempdir().expect("a folder"));
    let torn = folder.path().join("torn.gguf");
    std::fs::write(&torn, b"GGUF\x03\0\0\0\x05\0\0\0\0\0\0\0").expect("written");
    let upstream = Upstream::start().await;
    let rest = format!(
        "[providers.engine]\nkind = \"mistralrs\"\nsource = \"torn.gguf\"\n[models.small]\nprovider = \"engine\"\n{}\n[router]\nlocal = \"small\"\nhosted = \"big\"\n",
        upstream.provider("hosted", "hosted", &[("big", "echo")])
    );
    let gateway = Gateway::start_in(folder, &rest, &[]).await;
    let live = gateway.client.get(format!("{}/livez", gateway.data)).send().await.expect("an answer");
    assert_eq!(live.status(), 200);
    gateway.ready().await;
    let body: serde_json::Value = gateway
        .client
        .get(format!("{}/readyz", gateway.data))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let small = body["models"]
        .as_array()
        .expect("models")
        .iter()
        .find(|model| model["model"] == "small")
        .expect("small")
        .clone();
    assert_eq!(small["state"], "down");
    assert!(small["why"].as_str().is_some_and(|why| !why.is_empty()), "{small}");
    let response = gateway.chat(&chat("small", "x")).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(gateway.chat(&chat("auto", "Hello!")).await.status(), 200, "the other side serves");
    let restricted = gateway.chat_with(&chat("auto", "Hello!"), &[("x-sluice-data-class", "restricted")]).await;
    assert_eq!((restricted.status().as_u16(), upstream.count()), (503, 1));
}

//! Many streams at once, slow readers, and readers that go.

use futures::StreamExt;
use futures::future::join_all;
use tests::gateway::Gateway;
use tests::upstream::Upstream;
use tests::{eventually, soon, streamed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn many_streams_at_once_are_each_complete() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.provider("hosted", "hosted", &[("slow", "echo-slow")])).await;
    let streams = (0..100).map(|_| async {
        let response = gateway.chat(&streamed("slow", "x")).await;
        let mut text = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            text.extend_from_slice(&chunk.expect("a chunk"));
        }
        String::from_utf8(text).expect("text")
    });
    for text in join_all(streams).await {
        assert!(text.contains("word199") && text.ends_with("data: [DONE]\n\n"));
    }
    assert_eq!(gateway.api("/api/spend").await["total"]["requests"], 100);
}

#[tokio::test]
async fn a_reader_that_stops_is_cut_and_the_upstream_with_it() {
    let upstream = Upstream::start().await;
    let body = "x".repeat(64 << 10);
    let event = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{body}\"}}}}]}}\n\n");
    upstream.script(
        "flood",
        tests::upstream::Script {
            status: 200,
            headers: vec![("content-type".into(), "text/event-stream".into())],
            pieces: vec![event.into(); 2_000],
            cut: false,
        },
    );
    let models = [("flood", "flood"), ("uncounted", "echo-nousage")];
    let rest = format!("{}\n[timeouts]\nwrite = \"1s\"\n", upstream.provider("hosted", "hosted", &models));
    let gateway = Gateway::start(&rest).await;
    // Counting tokens loads a table of its own, once: that is not what is measured here.
    assert_eq!(gateway.tell(&tests::chat("uncounted", "x")).await.status, 200);
    upstream.forget();
    let before = gateway.resident_kib();
    let address = gateway.data.trim_start_matches("http://").to_owned();
    let mut socket = tokio::net::TcpStream::connect(&address).await.expect("a connection");
    let request = streamed("flood", "x").to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        request.len()
    );
    socket.write_all(head.as_bytes()).await.expect("written");
    socket.write_all(request.as_bytes()).await.expect("written");
    let mut byte = [0u8; 1];
    socket.read_exact(&mut byte).await.expect("the answer begins");
    eventually("the upstream is let go", async || (upstream.count() == 1 && upstream.open() == 0).then_some(())).await;
    let sent = upstream.log()[0].sent.load(std::sync::atomic::Ordering::SeqCst);
    assert!(sent < 1_000, "{sent} events of 64 KiB were taken for a reader that took none");
    let row = eventually("its line is written", async || {
        let rows = gateway.api("/api/requests").await;
        let row = rows["requests"].as_array()?.iter().find(|row| row["model"] == "flood")?.clone();
        row.get("status").cloned()
    })
    .await;
    assert_eq!(row, 499);
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "memory is bounded, it grew by {grown} KiB");
    // It reads on after all: what it gets breaks off, and does not look like an answer that has its end.
    let mut rest = Vec::new();
    let ended = soon("the end of the connection", socket.read_to_end(&mut rest)).await;
    assert!(ended.is_err() || !rest.ends_with(b"\r\n0\r\n\r\n"), "{} bytes, then a proper end", rest.len());
}

#[tokio::test]
async fn places_in_flight_are_bounded_and_come_back() {
    let upstream = Upstream::start().await;
    let rest = format!(
        "{}\n[limits]\nin_flight = 4\n",
        upstream.provider("hosted", "hosted", &[("slow", "echo-slow"), ("big", "echo")])
    );
    let gateway = Gateway::start(&rest).await;
    let mut running = Vec::new();
    for _ in 0..4 {
        running.push(gateway.chat(&streamed("slow", "x")).await);
    }
    let refused = gateway.chat(&tests::chat("big", "x")).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let live = gateway.client.get(format!("{}/livez", gateway.data)).send().await.expect("an answer");
    assert_eq!(live.status(), 200, "health takes no place");
    drop(running);
    eventually("places come back", async || {
        (gateway.chat(&tests::chat("big", "x")).await.status() == 200).then_some(())
    })
    .await;
}

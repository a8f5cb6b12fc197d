//! Each limit in section 4 of the reliability notes: what just fits passes, one unit more is refused by its own name, and
//! what is refused costs no memory (reliability test 10). Headers of a client: none leaves (test 14).

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use tests::wire::{Wire, status};
use tests::{Gateway, Told, Upstream, chat, hosted_only, size, streamed};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

async fn start(more: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&format!("{}{more}", hosted_only(&upstream, "echo"))).await;
    (gateway, upstream)
}

async fn post(gateway: &Gateway, body: String) -> Told {
    gateway.send("/v1/chat/completions", body, &[]).await
}

/// A request of exactly so many bytes.
fn sized(bytes: usize) -> String {
    let empty = chat("big", "").to_string();
    chat("big", &"x".repeat(bytes - empty.len())).to_string()
}

/// A request with a field that is nested so deep, itself included.
fn nested(depth: usize) -> String {
    let inner = depth - 1;
    let plain = chat("big", "x").to_string();
    format!("{},\"x\":{}1{}}}", &plain[..plain.len() - 1], "[".repeat(inner), "]".repeat(inner))
}

fn messages(count: usize) -> String {
    let message = json!({"role": "user", "content": "x"});
    json!({"model": "big", "messages": vec![message; count]}).to_string()
}

#[tokio::test]
async fn what_just_fits_passes_and_one_more_is_refused_by_its_name() {
    let (gateway, upstream) = start("[limits]\nbody = \"64 KiB\"\n").await;
    for (name, fits, beyond, refused, code) in [
        ("body", sized(64 << 10), sized((64 << 10) + 1), 413, "request_too_large"),
        ("depth", nested(64), nested(65), 400, "invalid_request"),
        ("messages", messages(1_024), messages(1_025), 400, "invalid_request"),
    ] {
        let told = post(&gateway, fits).await;
        assert_eq!(told.status, 200, "{name}: {}", told.text());
        let error = post(&gateway, beyond).await.error(refused);
        assert_eq!(error["code"], code, "{name}: {error}");
    }
    assert_eq!(upstream.count(), 3, "nothing that was refused was sent");
    for (name, value) in [("content-encoding", "gzip"), ("content-encoding", "br")] {
        let error = gateway.send("/v1/chat/completions", sized(200), &[(name, value)]).await.error(415);
        assert_eq!(error["code"], "unsupported_encoding");
    }
    assert_eq!(upstream.count(), 3);
}

#[tokio::test]
async fn a_head_that_just_fits_passes_and_a_larger_one_is_431() {
    let (gateway, upstream) = start("[limits]\nhead = \"16 KiB\"\n").await;
    let body = chat("big", "x").to_string();
    let ask = async |filler: usize| {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: s\r\nconnection: close\r\ncontent-type: application/json\r\nx-fill: {}\r\ncontent-length: {}\r\n\r\n",
            "y".repeat(filler),
            body.len()
        );
        let mut wire = Wire::open(&gateway.data).await;
        wire.send(head.as_bytes()).await;
        wire.send(body.as_bytes()).await;
        status(&wire.to_end().await)
    };
    assert_eq!(ask((16 << 10) - 200).await, 200);
    assert_eq!(ask(16 << 10).await, 431);
    assert_eq!(upstream.count(), 1);
    let many = async |count: usize| {
        let lines: String = (0..count).map(|n| format!("x-{n}: y\r\n")).collect();
        let head = format!("GET /livez HTTP/1.1\r\nhost: s\r\nconnection: close\r\n{lines}\r\n");
        status(&tests::wire::exchange(&gateway.data, head.as_bytes()).await)
    };
    assert_eq!((many(98).await, many(101).await), (200, 431), "a hundred headers");
}

#[tokio::test]
async fn places_in_flight_and_connections_are_as_many_as_configured() {
    let (gateway, upstream) = start("[limits]\nin_flight = 3\nconnections = 20\n").await;
    let gate = Arc::new(Semaphore::new(0));
    upstream.play("echo", tests::upstream::Play::gated(2, &gate));
    let mut running = JoinSet::new();
    for _ in 0..3 {
        let request = gateway.post("/v1/chat/completions").body(streamed("big", "x").to_string());
        running.spawn(Told::of(request));
    }
    tests::eventually("three are under way", async || (upstream.count() == 3).then_some(())).await;
    let refused = gateway.tell(&chat("big", "x")).await;
    assert_eq!(refused.error(503)["code"], "overloaded");
    assert!(refused.header("retry-after").is_some());
    gate.add_permits(1_000);
    assert!(running.join_all().await.iter().all(Told::done));
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut wire = Wire::open(&gateway.data).await;
        wire.send(b"GET /livez HTTP/1.1\r\nhost: s\r\n\r\n").await;
        wire.until("ok").await;
        held.push(wire);
    }
    // The kernel takes the next one, and the gateway does not, before there is a place.
    let mut next = Wire::open(&gateway.data).await;
    next.send(b"GET /livez HTTP/1.1\r\nhost: s\r\nconnection: close\r\n\r\n").await;
    assert_eq!(gateway.admin_get("/livez").await.status, 200, "the other listener has places of its own");
    assert!(next.read.is_empty());
    held.pop();
    assert_eq!(status(&next.to_end().await), 200, "and now it has");
}

#[tokio::test]
async fn a_body_without_end_is_refused_and_takes_no_memory() {
    let (gateway, upstream) = start("[limits]\nbody = \"1 MiB\"\n").await;
    assert_eq!(post(&gateway, sized(1 << 20)).await.status, 200);
    let before = gateway.resident_kib();
    let piece = [format!("{:x}\r\n", 64 << 10).into_bytes(), vec![b'x'; 64 << 10], b"\r\n".to_vec()].concat();
    let (said, chunks) = ("content-length: 1073741824\r\n", "transfer-encoding: chunked\r\n");
    for framing in [said, chunks] {
        let mut wire = Wire::open(&gateway.data).await;
        let head =
            format!("POST /v1/chat/completions HTTP/1.1\r\nhost: s\r\ncontent-type: application/json\r\n{framing}\r\n");
        wire.send(head.as_bytes()).await;
        let mut sent = 0u64;
        while sent < 1 << 30 {
            let bytes = if framing == said { &piece[7..7 + (64 << 10)] } else { &piece };
            if !wire.send(bytes).await {
                break;
            }
            sent += bytes.len() as u64;
        }
        assert!(sent < 200 << 20, "{sent} bytes were taken");
        let grown = gateway.resident_kib().saturating_sub(before);
        assert!(grown < 8 << 10, "it grew by {grown} KiB");
    }
    assert_eq!(upstream.count(), 1);
}

/// A header's name that a client may make up, from a number.
fn name(n: usize) -> String {
    const WORDS: [&str; 24] = [
        "x-forwarded",
        "proxy",
        "x",
        "cookie",
        "authorization",
        "x-amz",
        "openai",
        "anthropic",
        "api",
        "host",
        "via",
        "te",
        "trailer",
        "x-real",
        "forwarded",
        "x-api",
        "x-request",
        "traceparent",
        "baggage",
        "sec",
        "if",
        "range",
        "x_y",
        "http2",
    ];
    let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
    format!("{}-{}{}{}", WORDS[n % WORDS.len()], letter(n / 7), letter(n / 3), n)
}

#[tokio::test]
async fn of_any_header_a_client_makes_up_none_reaches_the_provider() {
    let (gateway, upstream) = start("").await;
    let listed: BTreeSet<&str> = [
        "accept",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-request-id",
        "traceparent",
        "authorization",
    ]
    .into();
    let mut made_up = BTreeSet::new();
    for case in 0..size(40, 1_000) {
        // hyper takes a hundred at most.
        let names: Vec<String> = (0..80).map(|n| name(case * 80 + n)).collect();
        let mut request = gateway.post("/v1/chat/completions").body(chat("big", "x").to_string());
        for name in &names {
            request = request.header(name, "smuggled");
        }
        // Named by `connection`, so that it would be stripped by those who forward the rest.
        request = request.header("connection", names[0].as_str());
        let told = Told::of(request).await;
        assert_eq!(told.status, 200, "{}", told.text());
        let seen = upstream.last();
        let left: Vec<&str> =
            seen.headers.keys().map(http::HeaderName::as_str).filter(|name| !listed.contains(name)).collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(!format!("{:?}", seen.headers).contains("smuggled"), "{:?}", seen.headers);
        made_up.extend(names);
    }
    assert!(made_up.len() >= 300);
}

#[tokio::test]
async fn invented_names_and_paths_make_no_series_of_metrics() {
    let (gateway, _upstream) = start("").await;
    let series = async || {
        let text = gateway.admin_get("/metrics").await.text();
        text.lines().filter(|line| !line.starts_with('#')).count()
    };
    // One of each kind first: what is refused has its series, once.
    let invented = async |n: usize| {
        gateway.tell(&chat(&format!("invented-{n}"), "x")).await.error(404);
        gateway.get(&format!("/v1/invented/{n}")).await.error(404);
        let body: Value =
            json!({"model": "big", "messages": [{"role": "user", "content": "x"}], "user": format!("u{n}")});
        let tags = format!("job=j{n}");
        let headers = [("x-sluice-tags", tags.as_str()), ("x-sluice-session", tags.as_str())];
        assert_eq!(gateway.tell_with(&body, &headers).await.status, 200);
    };
    invented(0).await;
    let before = series().await;
    for n in 1..size(300, 10_000) {
        invented(n).await;
    }
    assert_eq!(series().await, before, "whatever clients make up, there is no series more");
}

#[tokio::test]
async fn each_refusal_and_each_clock_has_a_code_in_the_metrics() {
    let upstream = Upstream::start().await;
    let models = [("big", "echo"), ("hang", "hang"), ("stall", "stall")];
    let clocks = "first_event = \"300ms\"\nidle = \"300ms\"\nbody = \"300ms\"\n";
    let rest = format!("{}[timeouts]\n{clocks}[limits]\nbody = \"4 KiB\"\n", upstream.provider("p", "hosted", &models));
    let gateway = Gateway::start(&rest).await;
    post(&gateway, sized(5 << 10)).await.error(413);
    post(&gateway, "{".into()).await.error(400);
    gateway.send("/v1/chat/completions", sized(200), &[("content-encoding", "gzip")]).await.error(415);
    let mut slow = Wire::open(&gateway.data).await;
    slow.send(tests::wire::post_head("/v1/chat/completions", 100).as_bytes()).await;
    assert_eq!(status(&slow.to_end().await), 408);
    gateway.tell(&chat("hang", "x")).await.error(504);
    assert!(gateway.tell(&streamed("stall", "x")).await.stream_error().is_some());
    let text = gateway.admin_get("/metrics").await.text();
    for (counter, code) in [
        ("sluice_refusals_total", "request_too_large"),
        ("sluice_refusals_total", "invalid_request"),
        ("sluice_refusals_total", "unsupported_encoding"),
        ("sluice_refusals_total", "body_timeout"),
        ("sluice_failures_total", "timeout_first_event"),
        ("sluice_failures_total", "timeout_idle"),
    ] {
        let line = text.lines().find(|line| line.starts_with(counter) && line.contains(&format!("\"{code}\"")));
        assert!(line.is_some_and(|line| line.ends_with(" 1")), "{counter} {code}: {line:?}");
    }
}

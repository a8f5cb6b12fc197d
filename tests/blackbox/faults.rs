//! An upstream that misbehaves costs one request its answer and nothing else: right status, bounded memory, no panic.

use tests::upstream::raw::{RawUpstream, Step};
use tests::upstream::{Nobody, Play, Script, provider};
use tests::{Gateway, Upstream, chat, streamed};

/// One odd reply: what it is, what is sent, and the status a client gets for a whole and for a streamed request.
struct Odd {
    name: &'static str,
    steps: Vec<Step>,
    whole: u16,
    streamed: u16,
}

fn odd(name: &'static str, bytes: impl Into<Vec<u8>>, whole: u16, streamed: u16) -> Odd {
    Odd { name, steps: vec![Step::Send(bytes.into())], whole, streamed }
}

fn ok(kind: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn json(body: &str) -> String {
    ok("application/json", body)
}

fn sse(body: &str) -> String {
    ok("text/event-stream", body)
}

fn status(status: u16, more: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

const FINE: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
const ERROR: &str = r#"{"error":{"message":"m","type":"t","param":null,"code":"c"}}"#;

/// Whatever is not HTTP, or breaks its rules.
fn not_http() -> Vec<Odd> {
    let chunked = |chunks: &str| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    vec![
        odd("nothing at all", "", 502, 502),
        odd("not HTTP", "SSH-2.0-OpenSSH_9.2\r\n", 502, 502),
        odd("binary", vec![0u8, 159, 146, 150, 13, 10, 13, 10], 502, 502),
        odd("TLS", vec![0x15, 3, 1, 0, 2, 2, 0x46], 502, 502),
        odd("a bad version", "HTTP/9.9 200 OK\r\ncontent-length: 2\r\n\r\n{}", 502, 502),
        odd("a bad status", "HTTP/1.1 two OK\r\ncontent-length: 2\r\n\r\n{}", 502, 502),
        odd("a status of four digits", "HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\n{}", 502, 502),
        odd("a head that breaks off", "HTTP/1.1 200 OK\r\ncontent-ty", 502, 502),
        odd("a header without a colon", format!("{head}nonsense\r\n\r\n{FINE}"), 502, 502),
        odd(
            "a huge header",
            format!("{head}x-huge: {}\r\ncontent-length: 2\r\n\r\n{{}}", "y".repeat(2 << 20)),
            502,
            502,
        ),
        odd("a thousand headers", format!("{head}{}\r\n{FINE}", "x-a: b\r\n".repeat(1_000)), 502, 502),
        Odd {
            name: "endless headers",
            steps: vec![Step::Send(head.into()), Step::Endlessly(b"x-a: bbbbbbbbbbbbbbbbbbbbbbbb\r\n".to_vec())],
            whole: 502,
            streamed: 502,
        },
        Odd {
            name: "endless informational answers",
            steps: vec![Step::Endlessly(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())],
            whole: 504,
            streamed: 504,
        },
        odd("101", "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", 502, 502),
        odd("two lengths", format!("{head}content-length: 2\r\ncontent-length: 90\r\n\r\n{FINE}"), 502, 502),
        odd("a negative length", format!("{head}content-length: -1\r\n\r\n{FINE}"), 502, 502),
        odd(
            "a length that overflows",
            format!("{head}content-length: 99999999999999999999999\r\n\r\n{FINE}"),
            502,
            502,
        ),
        odd("a length too long", format!("{head}content-length: {}\r\n\r\n{FINE}", FINE.len() + 1), 502, 502),
        odd("a length too short", format!("{head}content-length: {}\r\n\r\n{FINE}", FINE.len() - 1), 502, 502),
        odd("a chunk size that overflows", chunked("fffffffffffffffff\r\n{}\r\n0\r\n\r\n"), 502, 502),
        odd("a negative chunk size", chunked("-2\r\n{}\r\n0\r\n\r\n"), 502, 502),
        odd("a chunk size that is none", chunked("zz\r\n{}\r\n0\r\n\r\n"), 502, 502),
        odd("a chunk without its end", chunked("5\r\n{}"), 502, 502),
    ]
}

/// Proper HTTP that is no answer.
fn no_answer() -> Vec<Odd> {
    vec![
        odd("a page", ok("text/html", "<html>log in</html>"), 502, 502),
        odd("a page that says it is JSON", json("<html>log in</html>"), 502, 502),
        odd("no content", "HTTP/1.1 204 No Content\r\n\r\n", 502, 502),
        odd("an empty body", json(""), 502, 502),
        odd("null", json("null"), 502, 502),
        odd("a list", json("[]"), 502, 502),
        odd("a text", json("\"hi\""), 502, 502),
        odd("an empty object", json("{}"), 502, 502),
        odd("no choices", json(r#"{"choices":[]}"#), 502, 502),
        odd(
            "no list of choices, but a count",
            json(r#"{"cioices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#),
            502,
            502,
        ),
        odd("choices of another form", json(r#"{"choices":{"a":1}}"#), 502, 502),
        odd("an error in place of an answer", json(ERROR), 502, 502),
        odd("deep nesting", json(&format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000))), 502, 502),
        odd(
            "bytes that are not UTF-8",
            [json("").replace("length: 0", "length: 4").as_bytes(), b"{\"\xff}"].concat(),
            502,
            502,
        ),
        odd(
            "a compressed body",
            json("\x1f\u{8b}\u{8}").replace("content-type", "content-encoding: gzip\r\ncontent-type"),
            502,
            502,
        ),
        odd("a whole answer for a stream", json(FINE), 200, 502),
        odd("a stream for a whole answer", sse("data: nothing\n\ndata: [DONE]\n\n"), 502, 502),
        odd("an empty stream", sse(""), 502, 502),
        odd("a stream of comments", sse(": a\n\n: b\n\n"), 502, 502),
        odd("a terminator and nothing else", sse("data: [DONE]\n\n"), 502, 502),
        odd("a stream of nonsense", sse("data: nonsense\n\n"), 502, 502),
        odd("a stream without its framing", sse("{\"choices\":[]}"), 502, 502),
        odd("an event that never ends", sse(&format!("data: {}", "x".repeat(6 << 20))), 502, 502),
        odd(
            "deep nesting in an event",
            sse(&format!("data: {}1{}\n\n", "[".repeat(100_000), "]".repeat(100_000))),
            502,
            502,
        ),
    ]
}

/// Statuses. What is the request's own fault comes back with its status; the rest is 502, and 429 stays 429.
fn statuses() -> Vec<Odd> {
    let away = "location: http://169.254.169.254/latest/meta-data\r\n";
    vec![
        odd("300", status(300, "", ERROR), 502, 502),
        odd("301", status(301, away, ERROR), 502, 502),
        odd("302", status(302, away, ERROR), 502, 502),
        odd("307", status(307, away, ERROR), 502, 502),
        odd("308", status(308, away, ERROR), 502, 502),
        odd("304", "HTTP/1.1 304 Not Modified\r\n\r\n", 502, 502),
        odd("400", status(400, "", ERROR), 400, 400),
        odd("401", status(401, "", ERROR), 502, 502),
        odd("402", status(402, "", ERROR), 502, 502),
        odd("403", status(403, "", ERROR), 502, 502),
        odd("422", status(422, "", ERROR), 422, 422),
        odd("429", status(429, "retry-after: 3\r\n", ERROR), 429, 429),
        odd("429 with a page", status(429, "", "<html>"), 429, 429),
        odd("500", status(500, "", ERROR), 502, 502),
        odd("501", status(501, "", ERROR), 502, 502),
        odd("502", status(502, "", "<html>"), 502, 502),
        odd("503", status(503, "retry-after: 3\r\n", ERROR), 502, 502),
        odd("504", status(504, "", ""), 502, 502),
        odd("529", status(529, "", ERROR), 502, 502),
        odd("999", status(999, "", ERROR), 502, 502),
        odd("500 with a body that breaks off", status(500, "", ERROR).replace("length: ", "length: 9"), 502, 502),
        odd("400 with a page", status(400, "", "<html>secret page</html>"), 400, 400),
        odd("400 with a huge body", status(400, "", &format!("{{\"error\":\"{}\"}}", "x".repeat(1 << 20))), 400, 400),
    ]
}

/// Each odd reply on a provider of its own: a breaker that opens is another test's promise.
async fn survives(replies: Vec<Odd>) {
    let raw = RawUpstream::start().await;
    let mut rest = String::from(
        "[timeouts]\nfirst_event = \"1s\"\nidle = \"1s\"\nconnect = \"1s\"\n[ledger]\ndurability = \"process\"\n",
    );
    for at in 0..replies.len() {
        let name = format!("m{at}");
        rest.push_str(&provider(&raw.url, &format!("p{at}"), "hosted", &[(&name, "x")]));
    }
    let mut gateway = Gateway::start(&rest).await;
    let before = gateway.resident_kib();
    for (at, odd) in replies.iter().enumerate() {
        let name = odd.name;
        raw.play(odd.steps.clone());
        let asked = raw.count();
        for (body, expected) in
            [(chat(&format!("m{at}"), "x"), odd.whole), (streamed(&format!("m{at}"), "x"), odd.streamed)]
        {
            let told = gateway.tell(&body).await;
            assert_eq!(told.status, expected, "{name}: {}", told.text());
            assert!(!told.text().contains("DONE") && !told.text().contains("<html>"), "{name}: {}", told.text());
            if expected >= 400 {
                told.error(expected);
                let line = tests::oracle::attempt(&gateway, told.id()).await;
                assert_eq!(line["outcome"], "error", "{name}: {line}");
            }
        }
        assert_eq!(raw.count() - asked, 2, "{name}: each was asked once");
    }
    assert!(gateway.alive());
    assert!(!gateway.log.lock().contains("panicked"));
    let grown = gateway.resident_kib().saturating_sub(before) >> 10;
    assert!(grown < 100, "memory is bounded: it grew by {grown} MiB");
}

#[tokio::test]
async fn what_is_not_http_is_502() {
    survives(not_http()).await;
}

#[tokio::test]
async fn what_is_no_answer_is_502() {
    survives(no_answer()).await;
}

#[tokio::test]
async fn statuses_are_told_apart_and_no_redirect_is_followed() {
    survives(statuses()).await;
}

#[tokio::test]
async fn the_upstreams_retry_after_is_told_truthfully() {
    let upstream = Upstream::start().await;
    for (after, said) in [("7", Some("7")), ("0.2", Some("1")), ("Wed, 21 Oct 2099 07:28:00 GMT", Some("1"))] {
        upstream.play("busy", Play::retry_after(429, after));
        let gateway = Gateway::start(&upstream.provider("p", "hosted", &[("busy", "busy")])).await;
        let told = gateway.tell(&chat("busy", "x")).await;
        assert_eq!(told.error(429)["type"], "rate_limit_error");
        assert_eq!(told.header("retry-after"), said, "{after}");
    }
}

#[tokio::test]
async fn clocks_of_connect_first_event_gap_and_total_each_fire() {
    let (upstream, raw, nobody) = (Upstream::start().await, RawUpstream::start().await, Nobody::new());
    let slow = tests::upstream::Manner {
        events: 10_000,
        pace: tests::upstream::Pace::Every(std::time::Duration::from_millis(20)),
        ..Default::default()
    };
    upstream.play("endless", Play::Answer(slow));
    let models = [("hang", "hang"), ("stall-first", "stall-first"), ("stall", "stall"), ("endless", "endless")];
    let providers: String = models.map(|model| upstream.provider(model.0, "hosted", &[model])).concat();
    raw.play(vec![
        Step::Send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{".to_vec()),
        Step::Hold,
    ]);
    let rest = format!(
        "{providers}{}{}[timeouts]\nconnect = \"1s\"\nfirst_event = \"1s\"\nidle = \"1s\"\ntotal = \"3s\"\n",
        provider(&raw.url, "half", "hosted", &[("half", "x")]),
        provider(&nobody.url, "nobody", "hosted", &[("nobody", "x")]),
    );
    let gateway = Gateway::start(&rest).await;
    for (model, stream, status, code) in [
        ("nobody", false, 502, "connect"),
        ("nobody", true, 502, "connect"),
        ("hang", false, 504, "timeout_first_event"),
        ("hang", true, 504, "timeout_first_event"),
        ("stall-first", true, 504, "timeout_first_event"),
        ("half", false, 504, "timeout_total"),
        ("stall", true, 200, "timeout_idle"),
        ("endless", true, 200, "timeout_total"),
    ] {
        let told = gateway.tell(&if stream { streamed(model, "x") } else { chat(model, "x") }).await;
        assert_eq!(told.status, status, "{model}: {}", told.text());
        let error = if status == 200 { told.stream_error().expect("an error event") } else { told.error(status) };
        assert_eq!(error["code"], code, "{model}");
        tests::eventually(&format!("the upstream of {model} is let go"), async || (upstream.open() == 0).then_some(()))
            .await;
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_and_memory_given_back() {
    let raw = RawUpstream::start().await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = [format!("{:x}\r\n", 64 << 10).into_bytes(), vec![b' '; 64 << 10], b"\r\n".to_vec()].concat();
    raw.play(vec![Step::Send(head.into()), Step::Endlessly(chunk)]);
    let gateway = Gateway::start(&provider(&raw.url, "p", "hosted", &[("endless", "x")])).await;
    let before = gateway.resident_kib();
    for _ in 0..3 {
        gateway.tell(&chat("endless", "x")).await.error(502);
    }
    assert!(raw.sent() < 3 * (160 << 20), "some 64 MiB are read of one answer, and what the kernel holds");
    let grown = gateway.resident_kib().saturating_sub(before) >> 10;
    assert!(grown < 160, "it grew by {grown} MiB");
}

#[tokio::test]
async fn every_way_to_cut_and_to_write_events_gives_the_same_answer() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.provider("p", "hosted", &[("raw", "raw")])).await;
    let (first, second, last) = (
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"h\u00e9"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"llo 😀"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
    );
    let (one, two) = second.split_at(second.find("\"delta\"").expect("a delta"));
    for (name, text) in [
        ("LF", format!("data: {first}\n\ndata: {second}\n\ndata: {last}\n\ndata: [DONE]\n\n")),
        ("CRLF", format!("data: {first}\r\n\r\ndata: {second}\r\n\r\ndata: {last}\r\n\r\ndata: [DONE]\r\n\r\n")),
        ("CR", format!("data: {first}\r\rdata: {second}\r\rdata: {last}\r\rdata: [DONE]\r\r")),
        ("mixed", format!("data: {first}\n\r\ndata: {second}\r\rdata: {last}\r\n\ndata: [DONE]\n\n")),
        ("a byte-order mark", format!("\u{feff}data: {first}\n\ndata: {second}\n\ndata: {last}\n\ndata: [DONE]\n\n")),
        (
            "comments",
            format!(": hi\n\ndata: {first}\n: x\n\n:\n\ndata: {second}\n\ndata: {last}\n\n: bye\n\ndata: [DONE]\n\n"),
        ),
        ("no space", format!("data:{first}\n\ndata:{second}\n\ndata:{last}\n\ndata:[DONE]\n\n")),
        (
            "several data lines",
            format!("data: {first}\n\ndata: {one}\ndata: {two}\n\ndata: {last}\n\ndata: [DONE]\n\n"),
        ),
        (
            "ids and types",
            format!(
                "id: 1\nevent: message\ndata: {first}\n\nretry: 5\ndata: {second}\n\ndata: {last}\n\ndata: [DONE]\n\n"
            ),
        ),
    ] {
        let bytes = text.as_bytes();
        // Bytes one by one, and cut once at every seventh place (every place in full size).
        let singles = bytes.iter().map(|byte| vec![*byte]).collect::<Vec<_>>();
        let cuts =
            (0..bytes.len()).step_by(tests::size(7, 1)).map(|at| vec![bytes[..at].to_vec(), bytes[at..].to_vec()]);
        for pieces in [singles].into_iter().chain(cuts) {
            upstream.script("raw", Script::stream(pieces.into_iter().filter(|piece| !piece.is_empty())));
            let told = gateway.tell(&streamed("raw", "x")).await;
            assert!(told.status == 200 && told.done(), "{name}: {} {}", told.status, told.text());
            assert_eq!(told.answer(), "hé".to_owned() + "llo 😀", "{name}");
            assert_eq!(told.cost().as_deref(), Some("0.0000275"), "{name}");
        }
    }
}

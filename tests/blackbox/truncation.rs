//! An answer that breaks off is never passed off as a finished one, wherever it breaks and however HTTP frames it.

use tests::upstream::raw::{RawUpstream, Step};
use tests::upstream::{Fault, Play, provider};
use tests::wire::{self, Wire};
use tests::{Gateway, Told, Upstream, chat, hosted_only, size, streamed};

const WHOLE: &str = concat!(
    "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"h\u{e9}\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"llo\"},\"finish_reason\":null}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n",
    "data: [DONE]\n\n",
);

/// How the upstream's HTTP says where its body ends.
#[derive(Clone, Copy, Debug)]
enum Framing {
    /// Chunked, and the connection ends without the last chunk.
    Torn,
    /// Chunked, with a last chunk: the body is whole, as far as HTTP knows.
    Chunked,
    /// The end of the connection is the end of the body.
    Close,
    /// A length that is not reached.
    Length,
}

fn response(framing: Framing, body: &[u8]) -> Vec<u8> {
    let head =
        |more: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{more}\r\n\r\n").into_bytes();
    let chunk = || {
        let mut bytes = head("transfer-encoding: chunked");
        if !body.is_empty() {
            bytes.extend(format!("{:x}\r\n", body.len()).into_bytes());
            bytes.extend(body);
            bytes.extend(b"\r\n");
        }
        bytes
    };
    match framing {
        Framing::Torn => chunk(),
        Framing::Chunked => [chunk(), b"0\r\n\r\n".to_vec()].concat(),
        Framing::Close => [head("connection: close"), body.to_vec()].concat(),
        Framing::Length => [head(&format!("content-length: {}", WHOLE.len())), body.to_vec()].concat(),
    }
}

const ANSWER: &str =
    r#"{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;

fn whole_answer() -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
    format!("{head}: {}\r\n\r\n{ANSWER}", ANSWER.len()).into_bytes()
}

/// Good answers between the failures, so that the provider's breaker stays closed.
async fn good_answers(gateway: &Gateway, raw: &RawUpstream) {
    raw.send(whole_answer());
    for _ in 0..2 {
        let told = gateway.tell(&chat("raw", "x")).await;
        assert_eq!((told.status, told.text().as_str()), (200, ANSWER));
    }
}

/// What a client must have been told when the upstream broke off: an error, and never the end of a finished stream.
fn broken_off(told: &Told, context: &str) {
    let text = told.text();
    assert!(!text.contains("[DONE]"), "{context}: {text}");
    match told.status {
        200 => {
            let error = told.stream_error().unwrap_or_else(|| panic!("{context}: no error event: {text}"));
            assert!(error["message"].is_string() && error["type"].is_string() && error["code"].is_string(), "{error}");
        }
        502 => drop(told.error(502)),
        status => panic!("{context}: {status}"),
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_at_any_byte_ends_with_an_error_event() {
    let raw = RawUpstream::start().await;
    let rest =
        format!("{}[ledger]\ndurability = \"process\"\n", provider(&raw.url, "raw", "hosted", &[("raw", "raw")]),);
    let gateway = Gateway::start(&rest).await;
    // All offsets of one framing at least; each framing at some.
    let step = size(5, 1);
    for (framing, step) in
        [(Framing::Torn, 1), (Framing::Chunked, step), (Framing::Close, step), (Framing::Length, step)]
    {
        // Without its blank line the terminator is still whole: then the stream may count as finished.
        let last = WHOLE.len() - "\n\n".len();
        for at in (0..last).step_by(step) {
            raw.send(response(framing, &WHOLE.as_bytes()[..at]));
            let told = gateway.tell(&streamed("raw", "x")).await;
            broken_off(&told, &format!("{framing:?} at {at}"));
            if told.status == 502 {
                good_answers(&gateway, &raw).await;
            } else {
                let line = tests::oracle::attempt(&gateway, told.id()).await;
                assert_eq!(line["outcome"], "truncated", "{framing:?} at {at}: {line}");
                assert!(line["cost_usd"] != "0.000000", "what was seen is charged: {line}");
            }
        }
    }
    raw.send(response(Framing::Chunked, WHOLE.as_bytes()));
    let told = gateway.tell(&streamed("raw", "x")).await;
    assert!(told.done() && told.cost().as_deref() == Some("0.0000275"), "{}", told.text());
}

#[tokio::test]
async fn a_whole_answer_that_breaks_off_at_any_byte_is_502() {
    let raw = RawUpstream::start().await;
    let gateway = Gateway::start(&format!(
        "{}[ledger]\ndurability = \"process\"\n",
        provider(&raw.url, "raw", "hosted", &[("raw", "raw")])
    ))
    .await;
    let whole = whole_answer();
    for at in (0..whole.len()).step_by(size(7, 1)) {
        raw.send(&whole[..at]);
        gateway.tell(&chat("raw", "x")).await.error(502);
        good_answers(&gateway, &raw).await;
    }
}

#[tokio::test]
async fn errors_in_the_midst_of_a_stream_are_told_once_and_never_retried() {
    let upstream = Upstream::start().await;
    let models = [
        ("event", "error-event"),
        ("named", "named-error"),
        ("bare", "bare-error"),
        ("break", "break"),
        ("early", "early-end"),
        ("no-finish", "no-finish"),
        ("spare", "echo"),
    ];
    let rest = format!(
        "{}[router]\nhosted = [\"event\", \"named\", \"bare\", \"break\", \"early\", \"no-finish\", \"spare\"]\n",
        upstream.provider("hosted", "hosted", &models)
    );
    let gateway = Gateway::start(&rest).await;
    for (model, _) in &models[..6] {
        upstream.forget();
        let told = gateway.tell(&streamed(model, "x")).await;
        assert_eq!(told.status, 200);
        broken_off(&told, model);
        assert_eq!(told.answer(), "word0 word1 ", "{model}: what came before stays");
        assert_eq!(told.data().iter().filter(|data| data.contains("\"error\"")).count(), 1, "{model}");
        assert!(!told.text().contains("scripted"), "{model}: the upstream's own words are not the public's");
        assert_eq!(upstream.count(), 1, "{model}");
        let line = tests::oracle::attempt(&gateway, told.id()).await;
        assert_eq!((line["outcome"].as_str(), line["attempt"].as_u64()), (Some("truncated"), Some(1)), "{model}");
    }
}

#[tokio::test]
async fn an_error_in_place_of_the_first_event_is_a_proper_error_answer() {
    let upstream = Upstream::start().await;
    for (name, fault) in [
        ("event", Fault::ErrorEvent),
        ("named", Fault::NamedError),
        ("bare", Fault::BareError),
        ("break", Fault::Break),
        ("early", Fault::EarlyEnd),
        ("no-finish", Fault::NoFinish),
    ] {
        upstream.play("bad", Play::fault(0, fault));
        let gateway = Gateway::start(&hosted_only(&upstream, "bad")).await;
        let told = gateway.tell(&streamed("big", "x")).await;
        told.error(502);
        assert_eq!(told.header("x-sluice-route"), None, "{name}");
    }
}

/// The connection ends; the body does not. A client with a pool would otherwise send its next request on a connection
/// that is about to close.
#[tokio::test]
async fn after_an_error_event_the_connection_ends_not_the_body() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "error-event")).await;
    let body = streamed("big", "x").to_string();
    let head = wire::post_head("/v1/chat/completions", body.len()).replace("connection: close\r\n", "");
    let mut wire = Wire::open(&gateway.data).await;
    wire.send(format!("{head}{body}").as_bytes()).await;
    let answer = wire.to_end().await;
    assert!(answer.contains("data: {\"error\""), "{answer}");
    assert!(!answer.ends_with("\r\n0\r\n\r\n"), "the body ended as if it were whole: {answer}");
}

#[tokio::test]
async fn an_upstream_that_sends_more_than_it_said_or_after_the_end_is_not_believed() {
    let raw = RawUpstream::start().await;
    let gateway = Gateway::start(&provider(&raw.url, "raw", "hosted", &[("raw", "raw")])).await;
    let ghost = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    for _ in 0..3 {
        raw.play(vec![Step::Send([whole_answer(), ghost.into()].concat())]);
        let told = gateway.tell(&chat("raw", "x")).await;
        assert_eq!((told.status, told.text().as_str()), (200, ANSWER));
    }
    // Events after the terminator are nobody's.
    let late = format!("{WHOLE}data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"late\"}}}}]}}\n\n");
    raw.send(response(Framing::Chunked, late.as_bytes()));
    let told = gateway.tell(&streamed("raw", "x")).await;
    assert!(told.done() && !told.text().contains("late"), "{}", told.text());
}

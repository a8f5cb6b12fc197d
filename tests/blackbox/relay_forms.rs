//! What nobody here foresaw in an answer is relayed, not refused: a proxy that understands less than both ends must not
//! stand between them.

use tests::upstream::{Script, Upstream};
use tests::{Gateway, chat, sse, streamed_with_usage};

async fn start() -> (Gateway, Upstream) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.provider("p", "hosted", &[("raw", "raw")])).await;
    (gateway, upstream)
}

/// Choices of whole answers, each of another form.
const MESSAGES: [&str; 10] = [
    r#""message":{"role":"assistant","content":"hi"},"finish_reason":"stop""#,
    r#""message":{"role":"assistant","content":[{"type":"text","text":"hi"}]},"finish_reason":"stop""#,
    r#""message":{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},"hi"]},"finish_reason":"stop""#,
    r#""message":{"role":"assistant","content":"hi","audio":{"id":"a","data":"AA=="},"annotations":[]},"finish_reason":"stop""#,
    r#""message":{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"custom","custom":{"name":"f","input":"x"}}]},"finish_reason":"tool_calls""#,
    r#""message":{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},"finish_reason":"function_call""#,
    r#""message":{"role":"assistant","content":"hi","reasoning":{"effort":"low"},"reasoning_content":["a"]},"finish_reason":"stop""#,
    r#""message":{"role":"assistant","content":"hi"},"finish_reason":"content_filter","content_filter_results":{"hate":{"filtered":false}}"#,
    r#""message":{"role":"assistant","content":"hi"},"finish_reason":"stop","stop_reason":128009,"matched_stop":[1]"#,
    r#""message":{"role":"assistant","content":{"parts":["hi"]}},"finish_reason":"stop""#,
];

#[tokio::test]
async fn whole_answers_of_any_form_are_relayed_and_charged() {
    let (gateway, upstream) = start().await;
    let usage = r#""usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}"#;
    for message in MESSAGES {
        let body = format!(r#"{{"id":"1","choices":[{{"index":0,{message}}}],{usage}}}"#);
        upstream.script("raw", Script::json(body.clone()));
        let told = gateway.tell(&chat("raw", "x")).await;
        assert_eq!((told.status, told.text()), (200, body));
        assert_eq!(told.cost().as_deref(), Some("0.0000275"), "{message}");
    }
}

#[tokio::test]
async fn deltas_of_any_form_are_relayed_and_charged() {
    let (gateway, upstream) = start().await;
    for message in MESSAGES {
        let delta = message.replace("\"message\"", "\"delta\"");
        let (delta, finish) = delta.split_once(",\"finish_reason\"").expect("a finish");
        let text = format!(
            "data: {{\"choices\":[{{\"index\":0,{delta}}}]}}\n\ndata: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\"{finish}}}]}}\n\n\
             data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":3,\"completion_tokens\":2}}}}\n\ndata: [DONE]\n\n"
        );
        upstream.script("raw", Script::stream([text.clone()]));
        let told = gateway.tell(&streamed_with_usage("raw", "x")).await;
        let relayed = String::from_utf8(sse::without(&told.body, |_| false)).expect("text");
        assert_eq!((told.status, relayed), (200, text));
        assert_eq!(told.cost().as_deref(), Some("0.0000275"), "{message}");
    }
}

#[tokio::test]
async fn events_that_say_nothing_known_are_relayed() {
    let (gateway, upstream) = start().await;
    let (first, last, done) = (
        r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"hi"}}]}"#,
        r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
        "data: [DONE]",
    );
    for odd in [
        r#"data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#,
        r#"data: {"choices":null}"#,
        r#"data: {"choices":[{"index":0,"delta":null}]}"#,
        r#"data: {"choices":[{"index":0,"delta":{"content":null,"tool_calls":null,"refusal":null}}]}"#,
        r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":null}]}}]}"#,
        r#"data: {"choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        r#"data: {"object":"x.metadata","timings":{"predicted_ms":1.5}}"#,
        r#"data: {"usage":null,"error":null,"choices":[]}"#,
        "event: ping\ndata: {}",
    ] {
        let text = [first, odd, last, done].map(|event| format!("{event}\n\n")).concat();
        upstream.script("raw", Script::stream([text.clone()]));
        let told = gateway.tell(&streamed_with_usage("raw", "x")).await;
        let relayed = String::from_utf8(sse::without(&told.body, |_| false)).expect("text");
        assert_eq!((told.status, relayed), (200, text));
    }
}

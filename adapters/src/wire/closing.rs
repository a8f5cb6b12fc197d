//! The end of a stream that its upstream did not end: a legal one, as if the ceiling on output had been reached.
//!
//! Source: OpenAI API reference, "The chat completion chunk object": `finish_reason` is `length` if the maximum number of
//! tokens was reached; with `include_usage` a last chunk has `usage` and no choice.

use super::sse;
use bytes::Bytes;
use policies::Usage;
use serde_json::{Map, Value, json};

/// What a chunk says of its whole stream.
pub(super) const SHARED: [&str; 6] = ["id", "object", "created", "model", "system_fingerprint", "service_tier"];

/// The events that end a stream whose latest payload was `last`: the finish, and the usage where it is wanted.
pub fn closing(last: &[u8], usage: Option<&Usage>) -> Vec<Bytes> {
    let known: Map<String, Value> = serde_json::from_slice(last).unwrap_or_default();
    let mut shared = Map::new();
    for name in SHARED {
        if let Some(value) = known.get(name) {
            shared.insert(name.into(), value.clone());
        }
    }
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut chunk = shared.clone();
        chunk.insert("choices".into(), choices);
        if let Some(usage) = usage {
            chunk.insert("usage".into(), usage);
        }
        sse::frame(Value::Object(chunk).to_string().as_bytes())
    };
    let text = known.get("object").is_some_and(|object| object == "text_completion");
    let content = if text { ("text", json!("")) } else { ("delta", json!({})) };
    let finish = json!([{"index": 0, (content.0): content.1, "logprobs": null, "finish_reason": "length"}]);
    let last = usage.map(|usage| {
        let (input, output) = (usage.input.0, usage.output.0);
        let counts = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
        chunk(json!([]), Some(counts))
    });
    std::iter::once(chunk(finish, None)).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use super::super::seen_in_chunk;
    use super::*;

    fn payloads(last: &str, usage: Option<&Usage>) -> Vec<Value> {
        let frames = closing(last.as_bytes(), usage);
        frames.iter().map(|frame| serde_json::from_slice(&sse::data(frame).unwrap()).unwrap()).collect()
    }

    #[test]
    fn a_closed_stream_finishes_like_one_that_reached_its_ceiling() {
        let last = r#"{"id":"c1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"x"}}]}"#;
        let end = payloads(last, Some(&Usage::plain(3, 4)));
        assert_eq!(end[0]["id"], "c1");
        assert_eq!(end[0]["choices"][0]["finish_reason"], "length");
        assert_eq!(end[0]["choices"][0]["delta"], json!({}));
        assert_eq!(end[1]["usage"]["total_tokens"], 7);
        let seen = seen_in_chunk(end[1].to_string().as_bytes()).unwrap();
        assert!(seen.usage_only && seen.usage.is_some());
    }

    #[test]
    fn completions_and_streams_nobody_can_read_are_closed_too() {
        let end = payloads(r#"{"id":"c1","object":"text_completion","choices":[]}"#, None);
        assert_eq!((end.len(), &end[0]["choices"][0]["text"]), (1, &json!("")));
        assert_eq!(payloads("[1", None)[0]["choices"][0]["finish_reason"], "length");
    }
}

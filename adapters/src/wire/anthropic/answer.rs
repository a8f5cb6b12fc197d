//! From a whole message to a chat answer, and from its errors to a chat's.

use super::{Told, finish};
use crate::wire::Seen;
use bytes::Bytes;
use policies::Counted;
use serde_json::{Value, json};

/// The chat answer that says what a message says, with what was read in it; `None` for what is no message.
///
/// `created` is in seconds since 1970: a message has no time of its own.
pub fn completion(body: &[u8], created: u64) -> Option<(Bytes, Seen)> {
    let message: Value = serde_json::from_slice(body).ok()?;
    let blocks = message.get("content").and_then(Value::as_array).filter(|_| message["type"] == "message")?;
    let (mut said, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    for block in blocks {
        let text = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "text" => said.push_str(text("text")),
            "thinking" => thoughts.push_str(text("thinking")),
            "tool_use" => {
                let arguments = block.get("input").map_or_else(|| "{}".to_owned(), Value::to_string);
                let function = json!({"name": text("name"), "arguments": arguments});
                calls.push(json!({"id": text("id"), "type": "function", "function": function}));
            }
            // Thoughts that only the model can read, and whatever is new: a chat has no place for them.
            _ => {}
        }
    }
    let mut text = format!("{thoughts}{said}");
    for call in &calls {
        text.extend(["name", "arguments"].map(|name| call["function"][name].as_str().unwrap_or_default()));
    }
    let mut told = json!({"role": "assistant", "content": (!said.is_empty()).then_some(said), "refusal": null});
    if !thoughts.is_empty() {
        told["reasoning_content"] = thoughts.into();
    }
    if !calls.is_empty() {
        told["tool_calls"] = calls.into();
    }
    let (reason, at) = finish(message["stop_reason"].as_str(), message.get("stop_sequence"));
    let mut choice = json!({"index": 0, "message": told, "logprobs": null, "finish_reason": reason});
    if at.is_string() {
        choice["stop_reason"] = at;
    }
    let mut tokens = Told::default();
    tokens.hear(message.get("usage"));
    let mut answer = json!({"id": message["id"], "object": "chat.completion", "created": created,
        "model": message["model"], "choices": [choice]});
    if let Some(usage) = tokens.shown() {
        answer["usage"] = usage;
    }
    let usage = tokens.usage().map(Counted::Exact);
    let seen = Seen { text, finish: Some(reason.into()), usage, ..Seen::default() };
    Some((answer.to_string().into(), seen))
}

/// An error body of the provider in a chat's form.
pub fn error(body: &[u8]) -> Option<Bytes> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let said = body.get("error")?;
    let error =
        json!({"message": said.get("message")?.as_str()?, "type": said.get("type"), "param": null, "code": null});
    Some(json!({"error": error}).to_string().into())
}

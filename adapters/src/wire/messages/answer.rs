//! From a whole chat answer to a message.

use super::{id, stop, usage};
use crate::wire::WireError;
use serde_json::{Value, json};

/// The message that says what a chat answer says.
///
/// # Errors
/// An answer without a choice, or arguments of a tool that are no JSON object.
pub(crate) fn message(answer: &Value) -> Result<Value, WireError> {
    let broken = |what: &str| WireError::new(format!("the model's answer cannot be told: {what}"), None);
    let choice = answer.pointer("/choices/0").ok_or_else(|| broken("it has no choice"))?;
    let said = choice.get("message").ok_or_else(|| broken("it has no message"))?;
    let text = |name: &str| said.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut content = Vec::new();
    if let Some(thoughts) = text("reasoning_content") {
        content.push(json!({"type": "thinking", "thinking": thoughts, "signature": ""}));
    }
    for text in ["content", "refusal"].iter().filter_map(|name| text(name)) {
        content.push(json!({"type": "text", "text": text}));
    }
    for call in said.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        let part = |path: &str| call.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let arguments = Some(part("/function/arguments")).filter(|text| !text.trim().is_empty()).unwrap_or("{}");
        let input: serde_json::Map<String, Value> =
            serde_json::from_str(arguments).map_err(|_| broken("arguments of a tool are not a JSON object"))?;
        let (id, name) = (part("/id"), part("/function/name"));
        content.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
    }
    let (reason, at) = stop(choice).unwrap_or(("end_turn", Value::Null));
    Ok(json!({
        "id": id(answer), "type": "message", "role": "assistant",
        "model": answer.get("model").cloned().unwrap_or_default(),
        "content": content, "stop_reason": reason, "stop_sequence": at,
        "usage": usage(answer.get("usage")),
    }))
}

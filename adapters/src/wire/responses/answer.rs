//! From a whole chat answer to a response.

use super::{Item, State, begun, ended, id};
use crate::wire::WireError;
use crate::wire::walk::Object;
use serde_json::Value;

/// The response that says what a chat answer says.
///
/// # Errors
/// An answer without a choice.
pub(crate) fn response(echo: &Object, answer: &Value) -> Result<Value, WireError> {
    let broken = || WireError::new("the model's answer cannot be told: it has no choice", None);
    let choice = answer.pointer("/choices/0").ok_or_else(broken)?;
    let said = choice.get("message").ok_or_else(broken)?;
    let text = |name: &str| said.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let mut items: Vec<Item> = Vec::new();
    items.extend(text("reasoning_content").map(Item::Thoughts));
    items.extend(text("content").map(Item::Text));
    items.extend(text("refusal").map(Item::Refusal));
    for call in said.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        let part = |path: &str| call.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (id, name, arguments) = (part("/id"), part("/function/name"), part("/function/arguments"));
        items.push(Item::Call { id, name, arguments });
    }
    let finish = choice.get("finish_reason").and_then(Value::as_str);
    let state = |at| State::at_the_end(at, items.len(), finish);
    let output = items.iter().enumerate().map(|(at, item)| item.told(id(answer), at, state(at))).collect();
    Ok(Value::Object(ended(begun(echo, answer), finish, answer.get("usage"), output)))
}

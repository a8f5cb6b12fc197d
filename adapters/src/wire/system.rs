//! A conversation under another system prompt.
//!
//! **Promise.** The new prompt takes the place of the conversation's own (all messages of `system` and `developer`) and stands first;
//! [`OWN`] in it stands for what those said. Every other message stays byte for byte, in its order.

use super::{WireError, WireRequest};
use policies::Endpoint;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Stands for the conversation's own system prompt.
pub const OWN: &str = "{system}";

/// What is read of a message.
#[derive(Deserialize)]
struct Spoken<'a> {
    #[serde(borrow, default)]
    role: Cow<'a, str>,
    #[serde(default)]
    content: Value,
}

/// The list of messages, as JSON text, under another system prompt; a blank one is left out.
///
/// # Errors
/// It is no list of messages.
pub fn under_system(messages: &str, system: &str) -> Result<String, WireError> {
    let wrong = |error: serde_json::Error| WireError::new(format!("invalid `messages`: {error}"), Some("messages"));
    let all: Vec<&RawValue> = serde_json::from_str(messages).map_err(wrong)?;
    let (mut own, mut kept) = (Vec::new(), Vec::with_capacity(all.len() + 1));
    for message in all {
        let Spoken { role, content } = serde_json::from_str(message.get()).map_err(wrong)?;
        match &*role {
            "system" | "developer" => own.push(text(&content)),
            _ => kept.push(message.get()),
        }
    }
    let said = system.replace(OWN, &own.join("\n"));
    let first = match said.trim() {
        "" => None,
        said => Some(serde_json::json!({"role": "system", "content": said}).to_string()),
    };
    let all: Vec<&str> = first.as_deref().into_iter().chain(kept).collect();
    Ok(format!("[{}]", all.join(",")))
}

/// The request under another system prompt; `None` where it has no messages.
///
/// # Errors
/// A request that makes no sense afterwards.
pub fn prompted(request: &WireRequest, system: &str) -> Result<Option<WireRequest>, WireError> {
    match (request.endpoint, request.raw.field("messages")) {
        (Endpoint::Chat, Some(messages)) => {
            let changed = request.raw.with(&[("messages", Some(under_system(messages, system)?))]);
            WireRequest::parse(request.endpoint, changed).map(Some)
        }
        (Endpoint::Chat | Endpoint::Completions | Endpoint::Embeddings, _) => Ok(None),
    }
}

/// The text of a message: a string, or the text of its parts.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use serde_json::json;

    fn with(messages: &Value, system: &str) -> Value {
        serde_json::from_str(&under_system(&messages.to_string(), system).unwrap()).unwrap()
    }

    #[test]
    fn a_system_prompt_takes_the_place_of_the_own_or_contains_it() {
        let own = json!([
            {"role": "system", "content": "One."}, {"role": "user", "content": "Hi"},
            {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
        ]);
        let system = |text: &str| json!([{"role": "system", "content": text}, {"role": "user", "content": "Hi"}]);
        assert_eq!(with(&own, "Other."), system("Other."));
        assert_eq!(with(&own, "First. {system}\n"), system("First. One.\nTwo."));
        let bare = json!([{"role": "user", "content": "Hi"}]);
        assert_eq!(with(&bare, "{system}"), bare, "nothing to say is not said");
        assert_eq!(with(&bare, "Other."), system("Other."));
        assert_eq!(with(&own, ""), bare, "a blank prompt takes the own one away");
        assert!(under_system("{}", "x").is_err() && under_system("[1]", "x").is_err());
    }

    #[test]
    fn other_messages_and_fields_stay_byte_for_byte() {
        let body = r#"{"model":"auto","messages":[{"role":"system","content":"Own."}, {"content" : "a\u00e9", "role":"user","x":1.50}],"seed":9007199254740993}"#;
        let request = WireRequest::parse(Endpoint::Chat, Bytes::from_static(body.as_bytes())).unwrap();
        let sent = prompted(&request, "New.").unwrap().unwrap();
        assert_eq!(
            std::str::from_utf8(sent.raw.body()).unwrap(),
            r#"{"model":"auto","messages":[{"role":"system","content":"New."},{"content" : "a\u00e9", "role":"user","x":1.50}],"seed":9007199254740993}"#
        );
        let bare = Bytes::from_static(br#"{"model":"auto","prompt":"x"}"#);
        let bare = WireRequest::parse(Endpoint::Completions, bare).unwrap();
        assert!(prompted(&bare, "New.").unwrap().is_none());
    }
}

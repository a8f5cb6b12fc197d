//! A conversation under another system prompt.
//!
//! **Promise.** The new prompt takes the place of the conversation's own (all messages of `system` and `developer`) and stands first;
//! [`OWN`] in it stands for what those said. Every other message stays byte for byte, in its order. A mark for a provider's cache
//! ([`super::marks`]) that the conversation's own prompt had is one of the new prompt: that is what comes again each time.

use super::{RawObject, WireError, WireRequest, marks};
use bytes::Bytes;
use policies::Endpoint;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
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
    let (mut own, mut mark, mut kept) = (Vec::new(), None, Vec::with_capacity(all.len() + 1));
    for message in all {
        let Spoken { role, content } = serde_json::from_str(message.get()).map_err(wrong)?;
        match &*role {
            "system" | "developer" => {
                own.push(text(&content));
                mark = marked(&content).or(mark);
            }
            _ => kept.push(message.get()),
        }
    }
    let said = system.replace(OWN, &own.join("\n"));
    let first = match said.trim() {
        "" => None,
        said => {
            let content = match mark {
                None => json!(said),
                Some(mark) => json!([{"type": "text", "text": said, "cache_control": mark}]),
            };
            Some(json!({"role": "system", "content": content}).to_string())
        }
    };
    let all: Vec<&str> = first.as_deref().into_iter().chain(kept).collect();
    Ok(format!("[{}]", all.join(",")))
}

/// The request under another system prompt, with its marks for a cache; `None` where it has no messages.
///
/// # Errors
/// A request that makes no sense afterwards.
pub fn prompted(request: &WireRequest, system: &str) -> Result<Option<WireRequest>, WireError> {
    match request.endpoint {
        Endpoint::Chat => {
            let Some(body) = replaced(&request.raw, system)? else { return Ok(None) };
            let plain = WireRequest::parse(request.endpoint, body)?;
            let marked = match request.marked.clone() {
                None => None,
                Some(body) => replaced(&RawObject::parse(body)?, system)?,
            };
            Ok(Some(WireRequest { marked, ..plain }))
        }
        Endpoint::Completions | Endpoint::Embeddings => Ok(None),
    }
}

/// The body under another system prompt.
fn replaced(raw: &RawObject, system: &str) -> Result<Option<Bytes>, WireError> {
    let Some(messages) = raw.field("messages") else { return Ok(None) };
    Ok(Some(raw.with(&[("messages", Some(under_system(messages, system)?))])))
}

/// The last mark in a message's parts.
fn marked(content: &Value) -> Option<Value> {
    content.as_array()?.iter().rev().find_map(|part| marks::known(part.get("cache_control")?))
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
    use crate::wire::{Door, MessagesVersion};

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
    fn marks_for_a_cache_stay_and_nothing_else_differs_from_the_plain_request() {
        let mark = json!({"type": "ephemeral"});
        let body = json!({"model": "auto", "max_tokens": 9, "cache_control": mark,
            "system": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two.", "cache_control": mark}],
            "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": mark}],
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": mark}]}]});
        let (request, _) = Door::Messages.read(body.to_string().into(), MessagesVersion::June2023).unwrap();
        let sent = prompted(&request, "New. {system}").unwrap().unwrap();
        let plain: Value = serde_json::from_slice(sent.raw.body()).unwrap();
        let marked: Value = serde_json::from_slice(sent.marked.as_ref().expect("its marks")).unwrap();
        assert_eq!(plain["messages"][0], json!({"role": "system", "content": "New. One.\nTwo."}));
        assert_eq!(
            marked["messages"],
            json!([
                {"role": "system", "content": [{"type": "text", "text": "New. One.\nTwo.", "cache_control": mark}]},
                {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": mark}]},
            ])
        );
        assert_eq!((&marked["tools"][0]["cache_control"], &marked["cache_control"]), (&mark, &mark));
        assert_eq!(marks::without(marked.as_object().unwrap()).map(Value::Object), Some(plain));
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

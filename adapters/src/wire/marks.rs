//! Marks for a provider's cache: `cache_control`, which Anthropic's clients put on blocks.
//!
//! **Promise.** A chat that was made of a Messages request exists twice where it has marks: without them, for everybody who reads
//! it and for providers that would refuse them, and with them, for providers that speak Anthropic's API. The two differ in
//! nothing else, and a mark can hold nothing but what is known: its type. Each lasts five minutes, whatever time it asks for. So what was looked at is what leaves.
//!
//! Source: Anthropic API reference, "Prompt caching".

use super::walk::Object;
use serde_json::{Value, json};

/// The name of the field.
const MARK: &str = "cache_control";

/// Puts the mark of a block on what became of it; one that is not known is left out, as the hint that it is.
pub(super) fn put(on: &mut Value, block: &Object) {
    if let Some(mark) = block.get(MARK).and_then(known) {
        on[MARK] = mark;
    }
}

/// A mark, made anew of what is known in it.
pub(super) fn known(mark: &Value) -> Option<Value> {
    let of = |name: &str| mark.get(name).and_then(Value::as_str);
    if of("type") != Some("ephemeral") {
        return None;
    }
    // An hour costs more to write than the price that is held and booked: what asks for it gets the five minutes.
    matches!(of("ttl"), None | Some("5m" | "1h")).then(|| json!({"type": "ephemeral"}))
}

/// The chat without its marks; `None`: it has none.
pub(super) fn without(chat: &Object) -> Option<Object> {
    let mut plain = chat.clone();
    let mut found = plain.remove(MARK).is_some();
    let mut strip = |value: &mut Value| {
        if let Some(object) = value.as_object_mut() {
            found |= object.remove(MARK).is_some();
        }
    };
    for tool in entries(plain.get_mut("tools")) {
        strip(tool);
    }
    for message in entries(plain.get_mut("messages")) {
        strip(message);
        entries(message.get_mut("tool_calls")).for_each(&mut strip);
        entries(message.get_mut("content")).for_each(&mut strip);
        if let Some(content) = message.get_mut("content") {
            flatten(content);
        }
    }
    found.then_some(plain)
}

/// A list with one text is that text.
pub(super) fn flatten(content: &mut Value) {
    if let Some([only]) = content.as_array_mut().map(Vec::as_mut_slice)
        && only["type"] == "text"
        && only.get(MARK).is_none()
    {
        *content = only["text"].take();
    }
}

fn entries(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_array_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_holds_nothing_but_what_is_known() {
        for (mark, told) in [
            (json!({"type": "ephemeral"}), Some(json!({"type": "ephemeral"}))),
            (json!({"type": "ephemeral", "ttl": "1h", "x": "4111"}), Some(json!({"type": "ephemeral"}))),
            (json!({"type": "ephemeral", "ttl": "4111 1111 1111 1111"}), None),
            (json!({"type": "4111 1111 1111 1111"}), None),
            (json!("ephemeral"), None),
        ] {
            assert_eq!(known(&mark), told, "{mark}");
        }
    }

    #[test]
    fn without_its_marks_a_chat_is_what_it_would_be() {
        let mark = json!({"type": "ephemeral"});
        let marked = json!({"cache_control": mark, "tools": [{"type": "function", "cache_control": mark,
                "function": {"name": "f", "parameters": {"properties": {"cache_control": {"type": "string"}}}}}],
            "messages": [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": mark}]},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "cache_control": mark}]},
                {"role": "tool", "tool_call_id": "c", "content": "b", "cache_control": mark}]});
        let plain = without(marked.as_object().unwrap()).map(Value::Object);
        assert_eq!(
            plain,
            Some(json!({"tools": [{"type": "function",
                    "function": {"name": "f", "parameters": {"properties": {"cache_control": {"type": "string"}}}}}],
                "messages": [{"role": "user", "content": "a"},
                    {"role": "assistant", "content": null, "tool_calls": [{"id": "c"}]},
                    {"role": "tool", "tool_call_id": "c", "content": "b"}]}))
        );
        assert_eq!(without(plain.unwrap().as_object().unwrap()), None);
    }
}

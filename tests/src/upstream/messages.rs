//! Proper answers in Anthropic's wire format.

use super::play::{Manner, Usage};
use super::render::{Asked, Rendered, steps};
use bytes::Bytes;
use serde_json::{Value, json};

/// An error in the midst of a stream.
const ERROR: &str =
    "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"scripted\"}}\n\n";

/// A message, whole or streamed; `counted` are its tokens.
pub(super) fn render(asked: &Asked, manner: &Manner, counted: (u64, u64)) -> Rendered {
    let stated = match &manner.usage {
        Usage::Counted => Some(counted),
        Usage::Missing | Usage::Odd(_) => None,
        Usage::Zero => Some((0, 0)),
        Usage::Stated(input, output) => Some((*input, *output)),
    };
    let usage = |output: u64| {
        stated.map(|(input, _)| {
            json!({"input_tokens": input, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                "output_tokens": output})
        })
    };
    let whole = usage(stated.unwrap_or_default().1);
    let reason = if manner.tools { "tool_use" } else { "end_turn" };
    let pieces = asked.pieces(manner);
    let message = |content: Value, reason: Value, usage: Option<Value>| {
        json!({"id": "msg_fake", "type": "message", "role": "assistant", "model": asked.model, "content": content,
            "stop_reason": reason, "stop_sequence": null, "usage": usage})
    };
    if !asked.stream {
        let text = pieces.concat();
        let block = if manner.tools {
            let input: Value = serde_json::from_str(&text).expect("arguments are JSON");
            json!({"type": "tool_use", "id": "toolu_1", "name": "lookup", "input": input})
        } else {
            json!({"type": "text", "text": text})
        };
        let body = message(json!([block]), reason.into(), whole).to_string();
        return Rendered { whole: Some(body.into()), steps: vec![], stated };
    }
    let empty = if manner.tools {
        json!({"type": "tool_use", "id": "toolu_1", "name": "lookup", "input": {}})
    } else {
        json!({"type": "text", "text": ""})
    };
    let deltas = pieces.iter().map(|piece| {
        let delta = if manner.tools {
            json!({"type": "input_json_delta", "partial_json": piece})
        } else {
            json!({"type": "text_delta", "text": piece})
        };
        json!({"type": "content_block_delta", "index": 0, "delta": delta})
    });
    let ended = json!({"stop_reason": reason, "stop_sequence": null});
    let begin = [
        json!({"type": "message_start", "message": message(json!([]), Value::Null, usage(1))}),
        json!({"type": "content_block_start", "index": 0, "content_block": empty}),
        json!({"type": "ping"}),
    ];
    let end = [
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": ended, "usage": stated.map(|(_, output)| json!({"output_tokens": output}))}),
        json!({"type": "message_stop"}),
    ];
    let events = begin.into_iter().chain(deltas).chain(end);
    let named = |event: Value| {
        let name = event["type"].as_str().expect("a type").to_owned();
        Bytes::from(format!("event: {name}\ndata: {event}\n\n"))
    };
    Rendered {
        whole: None,
        steps: steps(events.map(named).collect(), manner, ERROR),
        stated: stated.filter(|_| manner.fault.is_none()),
    }
}

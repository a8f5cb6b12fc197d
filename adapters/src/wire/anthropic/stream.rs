//! From the events of a message to those of a chat stream.

use super::{Told, finish};
use crate::backend::Event;
use crate::error::Kind;
use crate::wire::{Seen, sse};
use policies::Counted;
use serde_json::{Value, json};
use std::collections::HashMap;

/// The chat stream of one message; feed it the payloads of its events in order.
///
/// The last events say how it ended and what it used; then comes [`Event::Done`].
#[derive(Debug, Default)]
pub struct Chunks {
    created: u64,
    /// What every chunk says: id and model.
    head: Option<(Value, Value)>,
    /// The number of a call, by the number of its block.
    calls: HashMap<u64, u64>,
    /// The number of a call that was told no arguments so far; blocks come one after the other.
    bare: Option<u64>,
    tokens: Told,
    ended: bool,
}

// === impl Chunks ===

impl Chunks {
    /// Nothing yet, of a message that began at this second since 1970.
    pub fn new(created: u64) -> Self {
        Self { created, ..Self::default() }
    }

    /// What one event becomes: nothing, or chunks in their order.
    ///
    /// # Errors
    /// An error event; what is not of the protocol; an end without a reason.
    pub fn event(&mut self, payload: &[u8]) -> Result<Vec<Event>, Kind> {
        let event: Value = serde_json::from_slice(payload)
            .map_err(|_| Kind::Protocol("an event is not a JSON object of the expected form".into()))?;
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let block = event.get("index").and_then(Value::as_u64).unwrap_or(0);
        match text("/type") {
            "message_start" => {
                let of = |name: &str| event.pointer(&format!("/message/{name}")).cloned().unwrap_or_default();
                self.head = Some((of("id"), of("model")));
                self.tokens.hear(event.pointer("/message/usage"));
                Ok(vec![self.delta(json!({"role": "assistant", "content": ""}), "")?])
            }
            "content_block_start" => match text("/content_block/type") {
                "tool_use" => {
                    let number = self.calls.len() as u64;
                    self.calls.insert(block, number);
                    self.bare = Some(number);
                    let (id, name) = (text("/content_block/id"), text("/content_block/name"));
                    let call = json!({"index": number, "id": id, "type": "function",
                        "function": {"name": name, "arguments": ""}});
                    Ok(vec![self.delta(json!({"tool_calls": [call]}), name)?])
                }
                // Usually empty.
                "text" => self.said("content", text("/content_block/text")),
                _ => Ok(vec![]),
            },
            "content_block_delta" => match text("/delta/type") {
                "text_delta" => self.said("content", text("/delta/text")),
                "thinking_delta" => self.said("reasoning_content", text("/delta/thinking")),
                "input_json_delta" => {
                    let more = text("/delta/partial_json");
                    match self.calls.get(&block) {
                        Some(number) if !more.is_empty() => {
                            self.bare = None;
                            let call = json!({"index": number, "function": {"arguments": more}});
                            Ok(vec![self.delta(json!({"tool_calls": [call]}), more)?])
                        }
                        Some(_) | None => Ok(vec![]),
                    }
                }
                _ => Ok(vec![]),
            },
            // A tool that takes nothing is told no arguments; a client reads JSON.
            "content_block_stop" => match self.bare.take() {
                Some(number) => {
                    let call = json!({"index": number, "function": {"arguments": "{}"}});
                    Ok(vec![self.delta(json!({"tool_calls": [call]}), "")?])
                }
                None => Ok(vec![]),
            },
            "message_delta" => {
                self.tokens.hear(event.get("usage"));
                match event.pointer("/delta/stop_reason").and_then(Value::as_str) {
                    Some(reason) => Ok(vec![self.finish(reason, event.pointer("/delta/stop_sequence"))?]),
                    None => Ok(vec![]),
                }
            }
            "message_stop" if self.ended => Ok(self.usage()?.into_iter().chain([Event::Done]).collect()),
            "message_stop" => Err(Kind::Truncated("the stream ended without a reason".into())),
            "error" => Err(Kind::InStream),
            // `ping`, and whatever is new.
            _ => Ok(vec![]),
        }
    }

    fn said(&self, name: &str, text: &str) -> Result<Vec<Event>, Kind> {
        if text.is_empty() { Ok(vec![]) } else { Ok(vec![self.delta(json!({name: text}), text)?]) }
    }

    fn delta(&self, delta: Value, text: &str) -> Result<Event, Kind> {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null});
        self.chunk(json!([choice]), None, Seen { text: text.to_owned(), ..Seen::default() })
    }

    fn finish(&mut self, reason: &str, at: Option<&Value>) -> Result<Event, Kind> {
        self.ended = true;
        let (reason, at) = finish(Some(reason), at);
        let mut choice = json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": reason});
        if at.is_string() {
            choice["stop_reason"] = at;
        }
        self.chunk(json!([choice]), None, Seen { finish: Some(reason.into()), ..Seen::default() })
    }

    /// What it used, where it told.
    fn usage(&self) -> Result<Option<Event>, Kind> {
        let Some((usage, shown)) = self.tokens.usage().zip(self.tokens.shown()) else { return Ok(None) };
        let seen = Seen { usage: Some(Counted::Exact(usage)), usage_only: true, ..Seen::default() };
        self.chunk(json!([]), Some(shown), seen).map(Some)
    }

    fn chunk(&self, choices: Value, usage: Option<Value>, seen: Seen) -> Result<Event, Kind> {
        let Some((id, model)) = &self.head else {
            return Err(Kind::Protocol("a stream has to begin with `message_start`".into()));
        };
        let mut chunk = json!({"id": id, "object": "chat.completion.chunk", "created": self.created, "model": model,
            "choices": choices});
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        Ok(Event::Delta { frame: sse::frame(chunk.to_string().as_bytes()), seen })
    }
}

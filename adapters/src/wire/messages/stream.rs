//! From a chat stream to the events of a message.

use super::{id, stop, usage};
use crate::wire::delta::{CallPiece, Delta, usage_of};
use crate::wire::sse;
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

/// What kind of block is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    /// The call of this number.
    Tool(u64),
}

/// The events of one message; feed it the frames of a chat stream in order.
#[derive(Debug, Default)]
pub(crate) struct MessageStream {
    started: bool,
    /// The blocks so far; the last one may be open.
    blocks: Vec<Kind>,
    open: bool,
    stop: Option<(&'static str, Value)>,
    usage: Option<Value>,
    out: BytesMut,
}

// === impl MessageStream ===

impl MessageStream {
    /// The events that one frame becomes: none or many.
    pub(crate) fn frame(&mut self, frame: &Bytes) -> Bytes {
        match sse::data(frame) {
            None if self.started => self.say("ping", &json!({"type": "ping"})),
            None => {}
            Some(payload) => {
                if let Ok(chunk) = serde_json::from_slice::<Value>(&payload) {
                    self.chunk(&chunk);
                }
            }
        }
        self.out.split().freeze()
    }

    /// The events of the end; `comments` go before the last one.
    pub(crate) fn end(&mut self, comments: &str) -> Bytes {
        self.start(&Value::Null);
        self.close();
        let (reason, at) = self.stop.take().unwrap_or(("end_turn", Value::Null));
        let used = usage(self.usage.as_ref());
        let delta = json!({"stop_reason": reason, "stop_sequence": at});
        self.say("message_delta", &json!({"type": "message_delta", "delta": delta, "usage": used}));
        self.out.extend_from_slice(comments.as_bytes());
        self.say("message_stop", &json!({"type": "message_stop"}));
        self.out.split().freeze()
    }

    fn chunk(&mut self, chunk: &Value) {
        self.start(chunk);
        self.usage = usage_of(chunk).cloned().or(self.usage.take());
        let Some(delta) = Delta::of(chunk) else { return };
        if let Some(thoughts) = delta.text("reasoning_content") {
            self.add(Kind::Thinking, &json!({"type": "thinking_delta", "thinking": thoughts}));
        }
        for text in ["content", "refusal"].iter().filter_map(|name| delta.text(name)) {
            self.add(Kind::Text, &json!({"type": "text_delta", "text": text}));
        }
        delta.calls().for_each(|call| self.call(call));
        if let Some(stop) = stop(delta.choice) {
            self.stop = Some(stop);
        }
    }

    fn call(&mut self, call: CallPiece<'_>) {
        let CallPiece { number, id, name, arguments } = call;
        let kind = Kind::Tool(number);
        if !self.blocks.contains(&kind) {
            self.begin(kind, &json!({"type": "tool_use", "id": id, "name": name, "input": {}}));
        }
        if !arguments.is_empty() {
            self.delta(kind, &json!({"type": "input_json_delta", "partial_json": arguments}));
        }
    }

    /// Adds to the open block of this kind, or opens one.
    fn add(&mut self, kind: Kind, delta: &Value) {
        if !self.open || self.blocks.last() != Some(&kind) {
            let empty = match kind {
                Kind::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
                Kind::Text | Kind::Tool(_) => json!({"type": "text", "text": ""}),
            };
            self.begin(kind, &empty);
        }
        self.delta(kind, delta);
    }

    fn begin(&mut self, kind: Kind, block: &Value) {
        self.close();
        let index = self.blocks.len();
        self.blocks.push(kind);
        self.open = true;
        let event = json!({"type": "content_block_start", "index": index, "content_block": block});
        self.say("content_block_start", &event);
    }

    /// More of the latest block of this kind.
    fn delta(&mut self, kind: Kind, delta: &Value) {
        let index = self.blocks.iter().rposition(|known| *known == kind).unwrap_or_default();
        self.say("content_block_delta", &json!({"type": "content_block_delta", "index": index, "delta": delta}));
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            let index = self.blocks.len() - 1;
            self.say("content_block_stop", &json!({"type": "content_block_stop", "index": index}));
        }
    }

    fn start(&mut self, chunk: &Value) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let model = chunk.get("model").and_then(Value::as_str).unwrap_or_default();
        let message = json!({
            "id": id(chunk), "type": "message", "role": "assistant", "model": model, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage(None),
        });
        self.say("message_start", &json!({"type": "message_start", "message": message}));
        self.say("ping", &json!({"type": "ping"}));
    }

    fn say(&mut self, name: &str, event: &Value) {
        self.out.extend_from_slice(&sse::named(name, event.to_string().as_bytes()));
    }
}

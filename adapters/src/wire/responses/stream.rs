//! From a chat stream to the events of a response.

use super::{Item, State, begun, ended};
use crate::wire::delta::{CallPiece, Delta, usage_of};
use crate::wire::sse;
use crate::wire::walk::Object;
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

/// The events of one response; feed it the frames of a chat stream in order.
///
/// The text of the whole answer is held until the end, because the last events repeat it.
#[derive(Debug)]
pub(crate) struct ResponseStream {
    echo: Object,
    /// The response so far, once it began, and the id of the chat answer.
    response: Option<(Object, String)>,
    /// The items so far.
    items: Vec<Slot>,
    finish: Option<String>,
    usage: Option<Value>,
    sequence: u64,
    out: BytesMut,
}

/// An item on its way.
///
/// Calls of tools are open until the end, because some upstreams write several of them in turns; whatever else is closed when
/// the next item begins.
#[derive(Debug)]
struct Slot {
    item: Item,
    /// The number of its call.
    call: Option<u64>,
    /// Its end was not told yet.
    open: bool,
}

// === impl ResponseStream ===

impl ResponseStream {
    /// Nothing yet, of a response that repeats this of its request.
    pub(crate) fn new(echo: Object) -> Self {
        let (items, out) = (Vec::new(), BytesMut::new());
        Self { echo, response: None, items, finish: None, usage: None, sequence: 0, out }
    }

    /// The events that one frame becomes: none or many. Comments stay comments.
    pub(crate) fn frame(&mut self, frame: &Bytes) -> Bytes {
        match sse::data(frame) {
            None => self.out.extend_from_slice(frame),
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
        let (all, finish) = (self.items.len(), self.finish.take());
        let state = |at| State::at_the_end(at, all, finish.as_deref());
        (0..all).for_each(|at| self.close(at, state(at)));
        let (response, answer) = self.response.take().unwrap_or_default();
        let output = self.items.iter().enumerate().map(|(at, slot)| slot.item.told(&answer, at, state(at))).collect();
        let response = ended(response, finish.as_deref(), self.usage.as_ref(), output);
        let incomplete = response.get("status").is_some_and(|status| status == "incomplete");
        self.out.extend_from_slice(comments.as_bytes());
        let name = if incomplete { "response.incomplete" } else { "response.completed" };
        self.say(name, json!({"response": response}));
        self.out.split().freeze()
    }

    /// The one event of a stream that broke off.
    pub(crate) fn error(&mut self, code: &str, message: &str) -> Bytes {
        self.say("error", json!({"code": code, "message": message, "param": null}));
        self.out.split().freeze()
    }

    fn chunk(&mut self, chunk: &Value) {
        self.start(chunk);
        self.usage = usage_of(chunk).cloned().or(self.usage.take());
        let Some(delta) = Delta::of(chunk) else { return };
        for (name, empty) in [
            ("reasoning_content", Item::Thoughts(String::new())),
            ("content", Item::Text(String::new())),
            ("refusal", Item::Refusal(String::new())),
        ] {
            if let Some(more) = delta.text(name) {
                self.add(empty, more);
            }
        }
        delta.calls().for_each(|call| self.call(call));
        if let Some(finish) = delta.choice.get("finish_reason").and_then(Value::as_str) {
            self.finish = Some(finish.to_owned());
        }
    }

    fn call(&mut self, call: CallPiece<'_>) {
        let CallPiece { number, id, name, arguments } = call;
        let known = self.items.iter().position(|slot| slot.call == Some(number));
        let at = known.unwrap_or_else(|| {
            self.begin(Item::Call { id: id.into(), name: name.into(), arguments: String::new() }, Some(number));
            self.items.len() - 1
        });
        if !arguments.is_empty() {
            self.more(at, arguments);
        }
    }

    /// Adds to the open item of this kind, or opens one.
    fn add(&mut self, empty: Item, more: &str) {
        let same = |slot: &Slot| slot.open && std::mem::discriminant(&slot.item) == std::mem::discriminant(&empty);
        if !self.items.last().is_some_and(same) {
            self.begin(empty, None);
        }
        self.more(self.items.len() - 1, more);
    }

    fn more(&mut self, at: usize, more: &str) {
        let answer = self.answer();
        let Some(Slot { item, .. }) = self.items.get_mut(at) else { return };
        let (name, text) = match item {
            Item::Thoughts(text) => ("response.reasoning_text.delta", text),
            Item::Text(text) => ("response.output_text.delta", text),
            Item::Refusal(text) => ("response.refusal.delta", text),
            Item::Call { arguments, .. } => ("response.function_call_arguments.delta", arguments),
        };
        text.push_str(more);
        let mut event = json!({"item_id": item.id(&answer, at), "output_index": at, "delta": more});
        if !matches!(item, Item::Call { .. }) {
            event["content_index"] = 0.into();
        }
        if matches!(item, Item::Text(_)) {
            event["logprobs"] = json!([]);
        }
        self.say(name, event);
    }

    fn begin(&mut self, item: Item, call: Option<u64>) {
        if let Some(last) = self.items.len().checked_sub(1).filter(|last| self.items[*last].call.is_none()) {
            self.close(last, State::Done);
        }
        let (answer, at) = (self.answer(), self.items.len());
        self.say(
            "response.output_item.added",
            json!({"output_index": at, "item": item.told(&answer, at, State::Begun)}),
        );
        if let Some(part) = item.part() {
            let id = item.id(&answer, at);
            let event = json!({"item_id": id, "output_index": at, "content_index": 0, "part": part});
            self.say("response.content_part.added", event);
        }
        self.items.push(Slot { item, call, open: true });
    }

    fn close(&mut self, at: usize, state: State) {
        let Some(slot) = self.items.get_mut(at).filter(|slot| slot.open) else { return };
        slot.open = false;
        let (item, answer) = (slot.item.clone(), self.answer());
        let place = json!({"item_id": item.id(&answer, at), "output_index": at});
        let with = |more: Value| {
            let mut event = place.as_object().cloned().unwrap_or_default();
            event.extend(more.as_object().cloned().unwrap_or_default());
            Value::Object(event)
        };
        let (name, event) = match &item {
            Item::Thoughts(text) => ("response.reasoning_text.done", json!({"content_index": 0, "text": text})),
            Item::Text(text) => {
                ("response.output_text.done", json!({"content_index": 0, "text": text, "logprobs": []}))
            }
            Item::Refusal(text) => ("response.refusal.done", json!({"content_index": 0, "refusal": text})),
            Item::Call { name, arguments, .. } => {
                ("response.function_call_arguments.done", json!({"name": name, "arguments": arguments}))
            }
        };
        self.say(name, with(event));
        if let Some(part) = item.part() {
            self.say("response.content_part.done", with(json!({"content_index": 0, "part": part})));
        }
        self.say("response.output_item.done", json!({"output_index": at, "item": item.told(&answer, at, state)}));
    }

    fn start(&mut self, chunk: &Value) {
        if self.response.is_some() {
            return;
        }
        let mut response = begun(&self.echo, chunk);
        response.insert("status".into(), "in_progress".into());
        response.insert("output".into(), json!([]));
        response.insert("usage".into(), Value::Null);
        self.response = Some((response.clone(), super::id(chunk).to_owned()));
        self.say("response.created", json!({"response": response}));
        self.say("response.in_progress", json!({"response": response}));
    }

    fn answer(&self) -> String {
        self.response.as_ref().map(|(_, id)| id.clone()).unwrap_or_default()
    }

    fn say(&mut self, name: &str, mut event: Value) {
        event["type"] = name.into();
        event["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        self.out.extend_from_slice(&sse::named(name, event.to_string().as_bytes()));
    }
}

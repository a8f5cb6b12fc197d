//! OpenAI's Responses API, the part of it that keeps no state, translated at the edge.
//!
//! **Promise.** A Responses request becomes the chat request that everything inside understands, and the chat answer becomes
//! a response again, whole or as its sequence of events. Both ways are pure. What has no counterpart and would change the
//! meaning is refused by its name ([`request`]).
//!
//! **Why stateless.** Nothing is stored, so `previous_response_id`, `conversation`, `background` and `store: true` are
//! refused, and every answer says `store: false`. Residency has no say over what was never kept.
//!
//! Source: OpenAI API reference, "Responses" and "Streaming events", as the official Python client 3.54 types it.

mod answer;
mod request;
mod stream;

pub(super) use answer::response;
pub(super) use request::chat;
pub(super) use stream::ResponseStream;

use super::walk::Object;
use serde_json::{Value, json};

/// What an answer repeats of its request.
pub(super) fn echo(from: &Object) -> Object {
    let defaults = json!({
        "instructions": null, "max_output_tokens": null, "metadata": {}, "parallel_tool_calls": true,
        "temperature": null, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": null,
        "reasoning": {"effort": null, "summary": null}, "user": null,
    });
    let mut echo = defaults.as_object().cloned().unwrap_or_default();
    for (name, value) in &mut echo {
        if let Some(said) = from.get(name).filter(|said| !said.is_null()) {
            *value = said.clone();
        }
    }
    for (name, value) in [
        ("object", json!("response")),
        ("store", json!(false)),
        ("background", json!(false)),
        ("previous_response_id", Value::Null),
        ("truncation", json!("disabled")),
        ("error", Value::Null),
        ("incomplete_details", Value::Null),
    ] {
        echo.insert(name.into(), value);
    }
    echo
}

/// What is the same in every state of a response to a chat answer with this head.
fn begun(echo: &Object, head: &Value) -> Object {
    let mut response = echo.clone();
    response.insert("id".into(), format!("resp_{}", id(head)).into());
    response.insert("model".into(), head.get("model").cloned().unwrap_or_default());
    response.insert("created_at".into(), head.get("created").cloned().unwrap_or(json!(0)));
    response
}

fn id(head: &Value) -> &str {
    head.get("id").and_then(Value::as_str).unwrap_or_default()
}

/// Why a response is incomplete, in its own words; `None`: it is not.
fn cut(finish: Option<&str>) -> Option<&'static str> {
    match finish {
        Some("length") => Some("max_output_tokens"),
        Some("content_filter") => Some("content_filter"),
        Some(_) | None => None,
    }
}

/// Ends a response: its status, its usage, its output.
fn ended(mut response: Object, finish: Option<&str>, used: Option<&Value>, output: Vec<Value>) -> Object {
    let why = cut(finish);
    response.insert("status".into(), if why.is_some() { "incomplete" } else { "completed" }.into());
    if let Some(why) = why {
        response.insert("incomplete_details".into(), json!({"reason": why}));
    }
    response.insert("output".into(), output.into());
    let number = |path: &str| used.and_then(|used| used.pointer(path)).and_then(Value::as_u64).unwrap_or(0);
    let (input, output) = (number("/prompt_tokens"), number("/completion_tokens"));
    let usage = json!({
        "input_tokens": input, "output_tokens": output, "total_tokens": input + output,
        "input_tokens_details": {"cached_tokens": number("/prompt_tokens_details/cached_tokens")},
        "output_tokens_details": {"reasoning_tokens": number("/completion_tokens_details/reasoning_tokens")},
    });
    response.insert("usage".into(), if used.is_some() { usage } else { Value::Null });
    response
}

/// The finished items of an output.
#[derive(Clone, Debug)]
enum Item {
    Thoughts(String),
    Text(String),
    Refusal(String),
    Call { id: String, name: String, arguments: String },
}

/// How far an item has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of it was told yet.
    Begun,
    /// The answer ended in its midst.
    Cut,
    /// It is whole.
    Done,
}

// === impl State ===

impl State {
    /// What became of an item when the answer ended for that reason: the last one was being written, the others were over.
    fn at_the_end(index: usize, of: usize, finish: Option<&str>) -> Self {
        if index + 1 == of && cut(finish).is_some() { Self::Cut } else { Self::Done }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Begun => "in_progress",
            Self::Cut => "incomplete",
            Self::Done => "completed",
        }
    }
}

// === impl Item ===

impl Item {
    /// The item's id, in an answer with this id.
    fn id(&self, answer: &str, index: usize) -> String {
        match self {
            Self::Thoughts(_) => format!("rs_{answer}_{index}"),
            Self::Text(_) | Self::Refusal(_) => format!("msg_{answer}_{index}"),
            Self::Call { id, .. } => format!("fc_{id}"),
        }
    }

    /// Its one part; a call has none.
    fn part(&self) -> Option<Value> {
        match self {
            Self::Thoughts(text) => Some(json!({"type": "reasoning_text", "text": text})),
            Self::Text(text) => Some(json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})),
            Self::Refusal(text) => Some(json!({"type": "refusal", "refusal": text})),
            Self::Call { .. } => None,
        }
    }

    /// The item; one in progress has no part yet.
    fn told(&self, answer: &str, index: usize, state: State) -> Value {
        let (id, status, begun) = (self.id(answer, index), state.word(), state == State::Begun);
        let parts: Vec<Value> = self.part().filter(|_| !begun).into_iter().collect();
        match self {
            Self::Thoughts(_) => {
                json!({"type": "reasoning", "id": id, "status": status, "summary": [], "content": parts})
            }
            Self::Text(_) | Self::Refusal(_) => {
                json!({"type": "message", "id": id, "status": status, "role": "assistant", "content": parts})
            }
            Self::Call { id: call, name, arguments } => json!({
                "type": "function_call", "id": id, "status": status, "call_id": call, "name": name,
                "arguments": if begun { "" } else { arguments.as_str() },
            }),
        }
    }
}

#[cfg(test)]
mod tests;

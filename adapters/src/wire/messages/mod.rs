//! Anthropic's Messages API, as clients speak it, translated at the edge.
//!
//! **Promise.** A Messages request becomes the chat request that everything inside understands, and the chat answer becomes
//! a message again, whole or as its sequence of events. Both ways are pure. What has no counterpart and would change the
//! meaning is refused by its name ([`request`]); what is a hint (`service_tier`) is left out, and marks for a
//! cache (`cache_control`) are kept apart ([`super::marks`]).
//!
//! **Why at the edge.** Facts, detectors, masking, the judge, budgets and the ledger see one form of request, so that none of
//! them can be passed by with another.
//!
//! **What it does not do.** No server tools, no extended thinking on demand, no citations, no files by id. The tokens of the
//! prompt are known only with the last event of a stream: `message_start` says 0, `message_delta` says the real number.
//!
//! Source: Anthropic API reference, "Messages" and "Streaming messages", as the official Python client 2.14 types it.

mod answer;
mod request;
mod stream;

pub(super) use answer::message;
pub use request::Version;
pub(super) use request::chat;
pub(super) use stream::MessageStream;

use serde_json::{Value, json};

/// Why a message ended, and at which text, from a choice that has finished.
fn stop(choice: &Value) -> Option<(&'static str, Value)> {
    let finish = choice.get("finish_reason").and_then(Value::as_str)?;
    // vLLM and its kin say which text ended the answer.
    let at = choice.get("stop_reason").filter(|at| at.is_string());
    Some(match (finish, at) {
        ("stop", Some(text)) => ("stop_sequence", text.clone()),
        ("length", _) => ("max_tokens", Value::Null),
        ("tool_calls" | "function_call", _) => ("tool_use", Value::Null),
        ("content_filter", _) => ("refusal", Value::Null),
        (_, _) => ("end_turn", Value::Null),
    })
}

/// Usage in Anthropic's words: tokens read from a cache, or written to one, are not part of `input_tokens`.
fn usage(usage: Option<&Value>) -> Value {
    let number = |path: &str| usage.and_then(|usage| usage.pointer(path)).and_then(Value::as_u64).unwrap_or(0);
    let cached = number("/prompt_tokens_details/cached_tokens");
    // As our own adapter to Anthropic's API says it.
    let written = number("/prompt_tokens_details/cache_creation_tokens");
    json!({
        "input_tokens": number("/prompt_tokens").saturating_sub(cached).saturating_sub(written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": number("/completion_tokens"),
    })
}

/// The id of a message whose chat answer has this id.
fn id(answer: &Value) -> String {
    let id = answer.get("id").and_then(Value::as_str).unwrap_or_default();
    if id.starts_with("msg_") { id.to_owned() } else { format!("msg_{id}") }
}

#[cfg(test)]
mod tests;

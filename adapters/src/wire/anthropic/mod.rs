//! Anthropic's Messages API, as providers speak it: a chat on its way out, and a message on its way back.
//!
//! **Promise.** A chat request becomes the Messages request that means the same, and the message becomes a chat answer again,
//! whole or event by event. All three are pure. What has no counterpart and would change the meaning is refused by its name
//! ([`request`]), so that another target may be tried; hints are left out.
//!
//! **Why translated also for clients of `/v1/messages`.** Facts, detectors, masking, the judge and the ledger see one form of
//! request ([`super::messages`]), and what they have seen is what leaves. So what that door leaves out (signed thoughts, hints) does
//! not reach the provider either. Marks for its cache do: they hold no text ([`super::marks`]).
//!
//! **What it does not do.** No thoughts on demand, no tools that a server runs, no files by id, no citations.
//!
//! Source: Anthropic API reference, "Messages", "Streaming messages", "Errors" and "Versions", version `2023-06-01`.

mod answer;
mod request;
mod stream;

pub use answer::{completion, error};
pub use request::message;
pub use stream::Chunks;

use policies::{TokenCount, Usage};
use serde_json::{Value, json};

/// The version that is spoken.
pub const VERSION: &str = "2023-06-01";

/// Why a message ended, in a chat's words, and the text that it ended at.
fn finish(reason: Option<&str>, at: Option<&Value>) -> (&'static str, Value) {
    let at = at.filter(|at| at.is_string()).cloned().unwrap_or_default();
    match reason {
        Some("max_tokens" | "model_context_window_exceeded") => ("length", Value::Null),
        Some("tool_use") => ("tool_calls", Value::Null),
        Some("refusal") => ("content_filter", Value::Null),
        // vLLM and its kin say in `stop_reason` which text it was.
        Some("stop_sequence") => ("stop", at),
        Some(_) | None => ("stop", Value::Null),
    }
}

/// What a message says of its tokens, each number as it was told last.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    input: Option<u64>,
    read: u64,
    written: u64,
    output: Option<u64>,
}

// === impl Told ===

impl Told {
    fn hear(&mut self, usage: Option<&Value>) {
        let number = |name: &str| usage.and_then(|usage| usage.get(name)).and_then(Value::as_u64);
        self.input = number("input_tokens").or(self.input);
        self.output = number("output_tokens").or(self.output);
        self.read = number("cache_read_input_tokens").unwrap_or(self.read);
        self.written = number("cache_creation_input_tokens").unwrap_or(self.written);
    }

    /// The tokens as they are counted here: what was read from a cache, or written to one, is part of the input. `None`
    /// where a number was not told.
    fn usage(self) -> Option<Usage> {
        let input = self.input?.saturating_add(self.read).saturating_add(self.written);
        Some(Usage {
            input: TokenCount(input),
            cached_input: TokenCount(self.read),
            cache_write: TokenCount(self.written),
            output: TokenCount(self.output?),
            ..Usage::default()
        })
    }

    /// The same in a chat's words.
    fn shown(self) -> Option<Value> {
        let Usage { input, cached_input, cache_write, output, .. } = self.usage()?;
        Some(json!({
            "prompt_tokens": input, "completion_tokens": output, "total_tokens": input.0.saturating_add(output.0),
            "prompt_tokens_details": {"cached_tokens": cached_input, "cache_creation_tokens": cache_write},
        }))
    }
}

#[cfg(test)]
mod tests;

//! Wire types: what clients send and providers answer, kept whole and read narrowly.
//!
//! **Promise.** A request is a [`RawObject`] (all its bytes) with a typed [`View`] of the fields that somebody here
//! reads; an answer is bytes with what was [`Seen`] in them. Nothing unknown is dropped on the way.

pub mod anthropic;
mod chat;
mod closing;
mod common_form;
mod content;
mod delta;
mod edit;
mod embeddings;
mod fold;
mod json;
mod marks;
mod messages;
mod responses;
mod restore;
mod seen;
pub mod sse;
mod sure;
mod surface;
mod system;
mod walk;

pub use chat::{Format, Message, Prompt, Role, Sampling, Tool, ToolChoice, View, WireRequest};
pub use closing::closing;
pub use content::{Content, Place};
pub use edit::{Edit, edited};
pub use embeddings::{Inputs, seen_in_vectors, vectors};
pub use fold::Fold;
pub use json::{MAX_DEPTH, RawObject};
pub use messages::Version as MessagesVersion;
pub use restore::Restoring;
pub(crate) use restore::in_error as restored_error;
pub use seen::{Certainty, Seen, error_in, seen_in_chunk, seen_in_whole, version_in};
pub(crate) use sure::{ALTERNATIVES, certainty_in, without_logprobs};
pub use surface::{Door, Face, Telling};
pub use system::{prompted, under_system};

/// Something in the request is wrong: the client's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// One sentence for the client, without its data.
    pub message: String,
    /// The field, as OpenAI's errors name it.
    pub param: Option<String>,
}

impl WireError {
    pub(crate) fn new(message: impl Into<String>, param: Option<&str>) -> Self {
        Self { message: message.into(), param: param.map(Into::into) }
    }
}

//! The narrow typed view of a request: a chat, a completion, or texts to make vectors of.
//!
//! Only fields that somebody here reads are typed; a wrong type is the client's error and names the field. Everything
//! else stays in the [`RawObject`] and reaches the provider as it came.
//!
//! Sources: OpenAI API reference ("Create chat completion", "Create completion"); `guided_regex` and `guided_json` are
//! vLLM's names for constraints that OpenAI has no field for; `top_k`, `min_p` and `repetition_penalty` are vLLM's and
//! llama.cpp's.

mod settings;
mod turns;

pub use settings::{Format, Sampling, Tool, ToolChoice};
pub use turns::{Message, Role};

use super::embeddings::{self, Inputs};
use super::{RawObject, WireError};
use bytes::Bytes;
use policies::{Endpoint, Redacted};
use serde::Deserialize;

/// A request: all its bytes, and what was read.
#[derive(Debug)]
pub struct WireRequest {
    /// The endpoint it came to.
    pub endpoint: Endpoint,
    /// Everything.
    pub raw: RawObject,
    /// What is read.
    pub view: View,
    /// The body with the client's marks for a provider's cache ([`super::marks`]), where it has any; else nothing differs.
    pub marked: Option<Bytes>,
}

/// The fields that are read.
#[derive(Debug)]
pub struct View {
    /// `auto` or a configured name.
    pub model: String,
    /// Messages or a bare prompt.
    pub prompt: Prompt,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// Whether the client asked for the usage event.
    pub include_usage: bool,
    /// How to draw tokens.
    pub sampling: Sampling,
    /// The form the answer must have.
    pub format: Format,
    /// Tools on offer: where the choice is among some, those.
    pub tools: Vec<Tool>,
    /// Whether and which tool must be called.
    pub tool_choice: ToolChoice,
    /// Whether the answer shall be audio, too.
    pub audio: bool,
}

/// What to continue.
#[derive(Debug)]
pub enum Prompt {
    /// A conversation.
    Messages(Vec<Message>),
    /// Bare text (`/v1/completions`).
    Text(Redacted<String>),
    /// What is to be turned into vectors (`/v1/embeddings`).
    Inputs(Inputs),
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

// === impl WireRequest ===

impl WireRequest {
    /// Reads and type-checks a body.
    pub fn parse(endpoint: Endpoint, body: Bytes) -> Result<Self, WireError> {
        let raw = RawObject::parse(body)?;
        let view = View::read(endpoint, &raw)?;
        Ok(Self { endpoint, raw, view, marked: None })
    }
}

// === impl View ===

impl View {
    fn read(endpoint: Endpoint, raw: &RawObject) -> Result<Self, WireError> {
        let Some(model) = raw.read::<String>("model")? else {
            return Err(WireError::new("`model` is missing: name a configured model, or `auto`", Some("model")));
        };
        let prompt = match endpoint {
            Endpoint::Chat => Prompt::Messages(turns::messages(raw)?),
            Endpoint::Completions => Prompt::Text(Redacted(turns::bare_prompt(raw)?)),
            Endpoint::Embeddings => return embeddings::view(model, raw),
        };
        let options = raw.read_object::<StreamOptions>("stream_options")?;
        let mut tools = settings::tools(raw)?;
        let tool_choice = settings::tool_choice(raw, &mut tools)?;
        let modalities = raw.read::<Vec<String>>("modalities")?.unwrap_or_default();
        Ok(Self {
            model,
            prompt,
            stream: raw.read("stream")?.unwrap_or(false),
            include_usage: options.and_then(|options| options.include_usage).unwrap_or(false),
            sampling: settings::sampling(endpoint, raw)?,
            format: settings::format(raw)?,
            tools,
            tool_choice,
            audio: modalities.iter().any(|modality| modality == "audio"),
        })
    }

    /// All texts of the prompt, in order.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let (messages, bare, inputs) = match &self.prompt {
            Prompt::Messages(messages) => (messages.as_slice(), None, &[][..]),
            Prompt::Text(text) => (&[][..], Some(text.0.as_str()), &[][..]),
            Prompt::Inputs(inputs) => (&[][..], None, inputs.texts()),
        };
        let messages = messages.iter().map(|message| message.text.0.as_str());
        messages.chain(bare).chain(inputs.iter().map(|text| text.0.as_str()))
    }

    /// Texts of system and developer messages.
    pub fn instructions(&self) -> impl Iterator<Item = &str> {
        let told = |message: &&Message| matches!(message.role, Role::System | Role::Developer);
        self.messages().iter().filter(told).map(|message| message.text.0.as_str())
    }

    /// The messages; none for a bare prompt.
    pub fn messages(&self) -> &[Message] {
        match &self.prompt {
            Prompt::Messages(messages) => messages,
            Prompt::Text(_) | Prompt::Inputs(_) => &[],
        }
    }

    /// What is to be turned into vectors; `None`: no vectors are asked for.
    pub fn inputs(&self) -> Option<&Inputs> {
        match &self.prompt {
            Prompt::Inputs(inputs) => Some(inputs),
            Prompt::Messages(_) | Prompt::Text(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;

//! The forms of API that clients speak, and the way between them and the one that everything inside understands.
//!
//! **Promise.** Chat, completions and embeddings pass untouched: no byte of them is read here. Messages and Responses are translated
//! once on their way in, and their answers once on their way out; a stream is translated event by event, so that nothing
//! waits for its end. What a client gets of an error has the form of the API that it called.

use super::messages::{self, MessageStream, Version};
use super::responses::{self, ResponseStream};
use super::walk::Object;
use super::{RawObject, WireError, WireRequest, marks};
use bytes::Bytes;
use policies::Endpoint;
use serde_json::{Value, json};

/// The API that a client called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/messages`
    Messages,
    /// `/v1/messages/count_tokens`: no answer, only the size of the prompt.
    CountTokens,
    /// `/v1/responses`
    Responses,
    /// `/v1/embeddings`
    Embeddings,
}

/// How an answer must look that was asked for in another form than chat.
#[derive(Clone, Debug)]
pub struct Face(Form);

#[derive(Clone, Debug)]
enum Form {
    Messages,
    /// With what the answer repeats of its request.
    Responses(Object),
}

/// A stream on its way out.
#[derive(Debug)]
pub struct Telling(Stream);

#[derive(Debug)]
enum Stream {
    Messages(MessageStream),
    Responses(ResponseStream),
}

// === impl Door ===

impl Door {
    /// Reads and type-checks a body, and says how its answer must look; `None`: as it comes. `version` is that of
    /// the Messages API.
    ///
    /// # Errors
    /// What is malformed, and what has no counterpart inside, by its path.
    pub fn read(self, body: Bytes, version: Version) -> Result<(WireRequest, Option<Face>), WireError> {
        let (chat, face) = match self {
            Self::Chat => return WireRequest::parse(Endpoint::Chat, body).map(|request| (request, None)),
            Self::Completions => return WireRequest::parse(Endpoint::Completions, body).map(|request| (request, None)),
            Self::Embeddings => return WireRequest::parse(Endpoint::Embeddings, body).map(|request| (request, None)),
            Self::Messages | Self::CountTokens => {
                (messages::chat(&outline(body)?, version, self == Self::CountTokens)?, Form::Messages)
            }
            Self::Responses => {
                let said = outline(body)?;
                (responses::chat(&said)?, Form::Responses(responses::echo(&said)))
            }
        };
        let whole = |chat: Object| Bytes::from(Value::Object(chat).to_string());
        let request = match marks::without(&chat) {
            None => WireRequest::parse(Endpoint::Chat, whole(chat))?,
            Some(plain) => {
                let plain = WireRequest::parse(Endpoint::Chat, whole(plain))?;
                WireRequest { marked: Some(whole(chat)), ..plain }
            }
        };
        Ok((request, Some(Face(face))))
    }
}

/// The body with all checks of a body from outside: depth, repeated keys, one object.
fn outline(body: Bytes) -> Result<Object, WireError> {
    let raw = RawObject::parse(body)?;
    serde_json::from_slice(raw.body()).map_err(|_| WireError::new("the body is not a valid JSON object", None))
}

// === impl Face ===

impl Face {
    /// A whole chat answer in this form.
    ///
    /// # Errors
    /// An answer that cannot be told in it.
    pub fn whole(&self, answer: &[u8]) -> Result<Bytes, WireError> {
        let answer: Value = serde_json::from_slice(answer)
            .map_err(|_| WireError::new("the model's answer cannot be told: it is not JSON", None))?;
        let told = match &self.0 {
            Form::Messages => messages::message(&answer)?,
            Form::Responses(echo) => responses::response(echo, &answer)?,
        };
        Ok(told.to_string().into())
    }

    /// Whether it is Anthropic's.
    pub fn is_message(&self) -> bool {
        matches!(self.0, Form::Messages)
    }

    /// A chat stream in this form, from its beginning.
    pub fn streamed(self) -> Telling {
        Telling(match self.0 {
            Form::Messages => Stream::Messages(MessageStream::default()),
            Form::Responses(echo) => Stream::Responses(ResponseStream::new(echo)),
        })
    }
}

// === impl Telling ===

impl Telling {
    /// The events that one frame of the chat stream becomes; empty: none yet.
    pub fn frame(&mut self, frame: &Bytes) -> Bytes {
        match &mut self.0 {
            Stream::Messages(stream) => stream.frame(frame),
            Stream::Responses(stream) => stream.frame(frame),
        }
    }

    /// The events of the end, with comments (whole lines, each with a blank one) before the last.
    pub fn end(&mut self, comments: &str) -> Bytes {
        match &mut self.0 {
            Stream::Messages(stream) => stream.end(comments),
            Stream::Responses(stream) => stream.end(comments),
        }
    }

    /// The one event of a stream that broke off; `kind` in Anthropic's words, `code` in ours.
    pub fn error(&mut self, kind: &str, code: &str, message: &str) -> Bytes {
        match &mut self.0 {
            Stream::Messages(_) => {
                let error = json!({"type": "error", "error": {"type": kind, "message": message}});
                super::sse::named("error", error.to_string().as_bytes())
            }
            Stream::Responses(stream) => stream.error(code, message),
        }
    }
}

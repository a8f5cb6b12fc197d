//! How an upstream behaves.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// What an upstream does with a request.
#[derive(Clone, Debug)]
pub enum Play {
    /// It answers as asked: whole or streamed, with tools, JSON or log-probabilities.
    Answer(Manner),
    /// It refuses with a status, OpenAI's error body and these headers.
    Status(u16, Vec<(String, String)>),
    /// It sends exact bytes.
    Script(Script),
    /// It refuses what has this field, and answers everything else as asked.
    Refusing(String),
    /// It never sends a head.
    Hang,
}

/// How a proper answer is given, and where it goes wrong.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Words of the text, an event each.
    pub events: usize,
    /// When the next event is sent.
    pub pace: Pace,
    /// What it says of tokens.
    pub usage: Usage,
    /// After so many events something goes wrong.
    pub fault: Option<(usize, Fault)>,
    /// It calls the tool `lookup` in place of text.
    pub tools: bool,
    /// Its text is JSON.
    pub json: bool,
    /// Its text is that of the last message, in pieces of so many letters; calling the tool, it is an argument.
    pub repeat: Option<usize>,
}

/// When the next event is sent.
#[derive(Clone, Debug)]
pub enum Pace {
    /// At once.
    AtOnce,
    /// So much later.
    Every(Duration),
    /// When a permit is added, one for each event.
    Gated(Arc<Semaphore>),
}

/// What an upstream says of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// What it counts: words of the prompt plus ten, and one for each event.
    Counted,
    /// Nothing.
    Missing,
    /// Two zeros.
    Zero,
    /// These.
    Stated(u64, u64),
    /// This JSON text in place of the object.
    Odd(String),
}

/// What goes wrong in the midst of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `data: {"error": ...}`.
    ErrorEvent,
    /// `event: error`.
    NamedError,
    /// A JSON object without any framing.
    BareError,
    /// Silence.
    Stall,
    /// The connection cut.
    Break,
    /// The body ends properly, but too early.
    EarlyEnd,
    /// Events go on, but `[DONE]` comes without a finish reason.
    NoFinish,
}

/// Exact bytes.
#[derive(Clone, Debug)]
pub struct Script {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// Pieces of the body, a chunk each.
    pub pieces: Vec<Bytes>,
    /// The connection cut in place of the body's end.
    pub cut: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            events: 5,
            pace: Pace::AtOnce,
            usage: Usage::Counted,
            fault: None,
            tools: false,
            json: false,
            repeat: None,
        }
    }
}

impl Script {
    /// An event stream in these pieces.
    pub fn stream(pieces: impl IntoIterator<Item = impl Into<Bytes>>) -> Self {
        Self::of("text/event-stream", pieces)
    }

    /// A whole JSON body.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self::of("application/json", [body])
    }

    /// A body of this type in these pieces.
    pub fn of(kind: &str, pieces: impl IntoIterator<Item = impl Into<Bytes>>) -> Self {
        Self {
            headers: vec![("content-type".into(), kind.into())],
            pieces: pieces.into_iter().map(Into::into).collect(),
            status: 200,
            cut: false,
        }
    }
}

impl Play {
    /// A proper answer with so many events.
    pub fn events(events: usize) -> Self {
        Self::Answer(Manner { events, ..Manner::default() })
    }

    /// A proper answer whose events wait for permits.
    pub fn gated(events: usize, gate: &Arc<Semaphore>) -> Self {
        Self::Answer(Manner { events, pace: Pace::Gated(gate.clone()), ..Manner::default() })
    }

    /// A proper answer that repeats the last message in pieces of so many letters.
    pub fn repeat(letters: usize) -> Self {
        Self::Answer(Manner { repeat: Some(letters), ..Manner::default() })
    }

    /// The same as the argument `said` of a call of the tool.
    pub fn repeat_to_tool(letters: usize) -> Self {
        Self::Answer(Manner { repeat: Some(letters), tools: true, ..Manner::default() })
    }

    /// A stream that goes wrong after so many events.
    pub fn fault(after: usize, fault: Fault) -> Self {
        Self::Answer(Manner { fault: Some((after, fault)), ..Manner::default() })
    }

    /// A proper answer that says this of tokens.
    pub fn usage(usage: Usage) -> Self {
        Self::Answer(Manner { usage, ..Manner::default() })
    }

    /// It refuses what has this field, as a server that does not know it, and answers everything else as asked.
    pub fn refusing(field: &str) -> Self {
        Self::Refusing(field.to_owned())
    }

    /// A bare status.
    pub fn status(status: u16) -> Self {
        Self::Status(status, vec![])
    }

    /// A status with `Retry-After`.
    pub fn retry_after(status: u16, after: &str) -> Self {
        Self::Status(status, vec![("retry-after".into(), after.into())])
    }

    /// What the name of a model asks for, so that a program in another language can ask, too: `status-503`, `hang`,
    /// `stall`, `stall-first`, `error-event`, `named-error`, `bare-error`, `break`, `early-end`, `no-finish`, `html`,
    /// `ok-error`; everything else is a proper answer, with `-nousage`, `-zero`, `-tools`,
    /// `-json` or `-slow` (200 events, 20 ms apart) anywhere in its name.
    pub fn named(model: &str) -> Self {
        if let Some(status) = model.strip_prefix("status-").and_then(|status| status.parse().ok()) {
            return match status {
                429 | 503 => Self::retry_after(status, "7"),
                _ => Self::status(status),
            };
        }
        match model {
            "hang" => Self::Hang,
            "stall" => Self::fault(2, Fault::Stall),
            "stall-first" => Self::fault(0, Fault::Stall),
            "error-event" => Self::fault(2, Fault::ErrorEvent),
            "named-error" => Self::fault(2, Fault::NamedError),
            "bare-error" => Self::fault(2, Fault::BareError),
            "break" => Self::fault(2, Fault::Break),
            "early-end" => Self::fault(2, Fault::EarlyEnd),
            "no-finish" => Self::fault(2, Fault::NoFinish),
            "html" => Self::Script(Script::of("text/html", ["<html><body>please log in</body></html>"])),
            "ok-error" => Self::Script(Script::json(r#"{"error":{"message":"scripted","type":"server_error"}}"#)),
            _ => {
                let usage = if model.contains("-nousage") {
                    Usage::Missing
                } else if model.contains("-zero") {
                    Usage::Zero
                } else {
                    Usage::Counted
                };
                let (events, pace) = if model.contains("-slow") {
                    (200, Pace::Every(Duration::from_millis(20)))
                } else {
                    (5, Pace::AtOnce)
                };
                let (tools, json) = (model.contains("-tools"), model.contains("-json"));
                Self::Answer(Manner { events, pace, usage, fault: None, tools, json, repeat: None })
            }
        }
    }
}

//! From pieces of an answer to events in OpenAI's form.
//!
//! **Promise.** The first chunk names the role, the last one the finish, then comes usage alone (exact), then
//! [`Event::Done`]. Every delta's [`Seen`] says what text it carried and how many tokens there were so far.
//!
//! **Tools.** Arguments of a forced call are streamed as they are written: its name is known once its opening is. Under
//! `auto` text that may become a call is held until the end and then sent as the one or the other; meanwhile empty deltas
//! say that the model is at work.
//!
//! Source: OpenAI API reference, "The chat completion chunk object", "The completion object".

use super::line::{End, Piece};
use super::load::Voice;
use super::sampling::Choice;
use super::tools::{Called, Mode, calls_in, may_be_call, opening};
use crate::backend::Event;
use crate::error::{BackendError, Kind};
use crate::wire::{Certainty, Seen, sse};
use policies::{Counted, Endpoint, Usage};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// An empty delta goes out after so many held tokens.
const SIGN_OF_LIFE: u32 = 16;

/// What stands in every chunk.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) endpoint: Endpoint,
    pub(super) id: String,
    pub(super) model: String,
    pub(super) prompt: u64,
    pub(super) logprobs: bool,
    pub(super) watch: bool,
}

enum Tools {
    /// Text.
    Off,
    /// Text or a call: undecided, with what was held.
    Open(String, Vec<Choice>),
    /// A call that is being written: what came, and how much of its arguments went out.
    Forced { names: Vec<String>, text: String, name: Option<String>, sent: usize },
}

/// Writes the events of one answer.
pub(super) struct Composer {
    head: Head,
    created: u64,
    /// When the engine had taken the request: the wait for a turn was over.
    taken: Instant,
    voice: Arc<Voice>,
    names: Vec<String>,
    tools: Tools,
    began: bool,
    held: u32,
    offset: usize,
    /// Of tokens that no event has carried yet.
    certainty: Vec<Certainty>,
}

// === impl Composer ===

impl Composer {
    pub(super) fn new(head: Head, voice: Arc<Voice>, mode: Mode) -> Self {
        let (names, tools) = match mode {
            Mode::None => (Vec::new(), Tools::Off),
            Mode::Auto(names) => (names, Tools::Open(String::new(), Vec::new())),
            Mode::Forced(names, _) => {
                (names.clone(), Tools::Forced { names, text: String::new(), name: None, sent: 0 })
            }
        };
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            head,
            created,
            taken: Instant::now(),
            voice,
            names,
            tools,
            began: false,
            held: 0,
            offset: 0,
            certainty: Vec::new(),
        }
    }

    /// Turns a piece into events.
    pub(super) fn events(&mut self, piece: Piece) -> Vec<Result<Event, BackendError>> {
        let (text, tokens, generated, end) = match piece {
            Piece::Text { text, tokens, generated, end } => (text, tokens, generated, end),
            Piece::Share(_) => return vec![Err(self.failed("an answer was expected"))],
            Piece::Failed(why) => return vec![Err(self.failed(&why))],
        };
        let mut out = Vec::new();
        if !self.began && self.head.endpoint == Endpoint::Chat {
            out.push(self.delta(json!({"role": "assistant", "content": ""}), "", None, generated));
        }
        self.began = true;
        if self.head.watch {
            let seen = |token: &Choice| Certainty { logprob: token.logprob, entropy: token.entropy };
            self.certainty.extend(tokens.iter().map(seen));
        }
        let mut called = self.text(text, tokens, generated, end.is_some(), &mut out);
        if let Some(end) = end {
            called |= matches!(self.tools, Tools::Forced { .. }) && end == End::Stop;
            let finish = match end {
                End::Length => "length",
                End::Stop if called => "tool_calls",
                End::Stop => "stop",
            };
            out.push(self.finish(finish, generated));
            out.push(self.usage(generated));
            out.push(Event::Done);
        }
        if let Some(Event::Delta { seen, .. }) = out.last_mut() {
            seen.certainty = std::mem::take(&mut self.certainty);
        } else if let [.., Event::Delta { seen, .. }, _, Event::Done] = out.as_mut_slice() {
            seen.certainty = std::mem::take(&mut self.certainty);
        }
        out.into_iter().map(Ok).collect()
    }

    fn failed(&self, why: &str) -> BackendError {
        let kind = Kind::Internal(why.to_owned());
        if self.began { BackendError::streaming(kind) } else { BackendError::before_first_event(kind) }
    }

    /// The error for an answer that stopped in silence.
    pub(super) fn broken(&self, why: String) -> BackendError {
        self.failed(&why)
    }

    /// Sends or holds text; tells whether calls were sent.
    fn text(&mut self, text: String, tokens: Vec<Choice>, generated: u64, last: bool, out: &mut Vec<Event>) -> bool {
        match std::mem::replace(&mut self.tools, Tools::Off) {
            Tools::Off => self.plain(&text, &tokens, generated, out),
            Tools::Open(held, mut kept) => {
                let held = held + &text;
                kept.extend(tokens);
                if last {
                    if let Some(calls) = calls_in(&held, &self.names) {
                        self.calls(&calls, generated, out);
                        return true;
                    }
                } else if may_be_call(&held) {
                    self.tools = Tools::Open(held, kept);
                    self.sign_of_life(generated, out);
                    return false;
                }
                self.plain(&held, &kept, generated, out);
            }
            Tools::Forced { names, text: known, name, sent } => {
                let known = known + &text;
                let (name, sent) = self.arguments(&names, &known, name, sent, last, generated, out);
                self.tools = Tools::Forced { names, text: known, name, sent };
            }
        }
        false
    }

    fn plain(&mut self, text: &str, tokens: &[Choice], generated: u64, out: &mut Vec<Event>) {
        let logprobs = self.logprobs(tokens);
        if text.is_empty() && logprobs.is_null() {
            return;
        }
        let event = match self.head.endpoint {
            Endpoint::Chat => self.delta(json!({"content": text}), text, Some(logprobs), generated),
            Endpoint::Completions | Endpoint::Embeddings => {
                let choice = json!({"text": text, "index": 0, "logprobs": logprobs, "finish_reason": null});
                self.chunk(vec![choice], text, None, generated)
            }
        };
        out.push(event);
    }

    fn sign_of_life(&mut self, generated: u64, out: &mut Vec<Event>) {
        self.held += 1;
        if self.held.is_multiple_of(SIGN_OF_LIFE) {
            out.push(self.delta(json!({}), "", None, generated));
        }
    }

    /// Streams the arguments of a forced call; the object's closing brace is not among them.
    #[expect(clippy::too_many_arguments, reason = "one step of a state machine, called once")]
    fn arguments(
        &self,
        names: &[String],
        known: &str,
        name: Option<String>,
        sent: usize,
        last: bool,
        generated: u64,
        out: &mut Vec<Event>,
    ) -> (Option<String>, usize) {
        let Some(name) = name.or_else(|| names.iter().find(|name| known.starts_with(&opening(name))).cloned()) else {
            return (None, 0);
        };
        if sent == 0 {
            let function = json!({"name": name, "arguments": ""});
            let call = json!({"index": 0, "id": self.call_id(0), "type": "function", "function": function});
            out.push(self.delta(json!({"tool_calls": [call]}), &name, None, generated));
        }
        let from = opening(&name).len().max(sent);
        // What is held back is the brace, unless the limit cut the answer: then all of it is arguments.
        let whole = last && serde_json::from_str::<Value>(known).is_err();
        let end = if whole {
            known.len()
        } else {
            known.trim_end().len().saturating_sub(usize::from(known.trim_end().ends_with('}')))
        };
        let Some(fresh) = known.get(from..end.max(from)).filter(|fresh| !fresh.is_empty()) else {
            return (Some(name), from);
        };
        let call = json!({"index": 0, "function": {"arguments": fresh}});
        out.push(self.delta(json!({"tool_calls": [call]}), fresh, None, generated));
        (Some(name), end.max(from))
    }

    fn calls(&self, calls: &[Called], generated: u64, out: &mut Vec<Event>) {
        for (at, call) in calls.iter().enumerate() {
            let function = json!({"name": call.name, "arguments": call.arguments});
            let delta = json!({"index": at, "id": self.call_id(at), "type": "function", "function": function});
            out.push(self.delta(
                json!({"tool_calls": [delta]}),
                &format!("{}{}", call.name, call.arguments),
                None,
                generated,
            ));
        }
    }

    fn call_id(&self, at: usize) -> String {
        let digest = Sha256::digest(format!("{}/{}/{at}", self.head.id, self.created));
        format!("call_{}", &hex::encode(digest)[..24])
    }

    fn delta(&self, delta: Value, text: &str, logprobs: Option<Value>, generated: u64) -> Event {
        let choice =
            json!({"index": 0, "delta": delta, "logprobs": logprobs.unwrap_or(Value::Null), "finish_reason": null});
        self.chunk(vec![choice], text, None, generated)
    }

    fn finish(&self, finish: &str, generated: u64) -> Event {
        let choice = match self.head.endpoint {
            Endpoint::Chat => json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish}),
            Endpoint::Completions | Endpoint::Embeddings => {
                json!({"text": "", "index": 0, "logprobs": null, "finish_reason": finish})
            }
        };
        self.chunk(vec![choice], "", Some(finish), generated)
    }

    fn chunk(&self, choices: Vec<Value>, text: &str, finish: Option<&str>, generated: u64) -> Event {
        let usage = Some(Counted::AtLeast(Usage::plain(self.head.prompt, generated)));
        let busy = Some(self.taken.elapsed());
        let seen = Seen { text: text.to_owned(), finish: finish.map(Into::into), usage, busy, ..Seen::default() };
        Event::Delta { frame: sse::frame(self.body(choices, Value::Null).to_string().as_bytes()), seen }
    }

    fn usage(&self, generated: u64) -> Event {
        let usage = json!({
            "prompt_tokens": self.head.prompt,
            "completion_tokens": generated,
            "total_tokens": self.head.prompt + generated,
            "prompt_tokens_details": {"cached_tokens": 0},
        });
        let counted = Some(Counted::Exact(Usage::plain(self.head.prompt, generated)));
        let busy = Some(self.taken.elapsed());
        let seen = Seen { usage: counted, usage_only: true, busy, ..Seen::default() };
        Event::Delta { frame: sse::frame(self.body(vec![], usage).to_string().as_bytes()), seen }
    }

    fn body(&self, choices: Vec<Value>, usage: Value) -> Value {
        let (object, prefix) = match self.head.endpoint {
            Endpoint::Chat => ("chat.completion.chunk", "chatcmpl"),
            Endpoint::Completions | Endpoint::Embeddings => ("text_completion", "cmpl"),
        };
        let mut body = json!({
            "id": format!("{prefix}-{}", self.head.id),
            "object": object,
            "created": self.created,
            "model": self.head.model,
            "choices": choices,
        });
        if !usage.is_null() {
            body["usage"] = usage;
        }
        body
    }

    fn logprobs(&mut self, tokens: &[Choice]) -> Value {
        if !self.head.logprobs || tokens.is_empty() {
            return Value::Null;
        }
        match self.head.endpoint {
            Endpoint::Chat => {
                let content: Vec<Value> = tokens
                    .iter()
                    .map(|choice| {
                        let top: Vec<Value> =
                            choice.top.iter().map(|(token, logprob)| self.entry(*token, *logprob)).collect();
                        let mut entry = self.entry(choice.token, choice.logprob);
                        entry["top_logprobs"] = top.into();
                        entry
                    })
                    .collect();
                json!({"content": content, "refusal": null})
            }
            Endpoint::Completions | Endpoint::Embeddings => {
                let mut offsets = Vec::new();
                let names: Vec<String> = tokens
                    .iter()
                    .map(|choice| String::from_utf8_lossy(&self.bytes(choice.token)).into_owned())
                    .collect();
                for name in &names {
                    offsets.push(self.offset);
                    self.offset += name.chars().count();
                }
                let top = |choice: &Choice| {
                    let named = choice.top.iter().map(|(token, logprob)| {
                        (String::from_utf8_lossy(&self.bytes(*token)).into_owned(), json!(logprob))
                    });
                    Value::Object(named.collect())
                };
                json!({
                    "tokens": names,
                    "token_logprobs": tokens.iter().map(|choice| choice.logprob).collect::<Vec<_>>(),
                    "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
                    "text_offset": offsets,
                })
            }
        }
    }

    fn entry(&self, token: u32, logprob: f32) -> Value {
        let bytes = self.bytes(token);
        // -9999.0 is OpenAI's own word for "not among the likely ones".
        let logprob = if logprob.is_finite() { logprob } else { -9999.0 };
        json!({"token": String::from_utf8_lossy(&bytes), "logprob": logprob, "bytes": bytes})
    }

    fn bytes(&self, token: u32) -> Vec<u8> {
        match &self.voice.grammars {
            Some(grammars) => grammars.tok_env().tok_trie().decode_ext(&[token], true),
            None => self.voice.tokenizer.decode(&[token], false).unwrap_or_default().into_bytes(),
        }
    }
}

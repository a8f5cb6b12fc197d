//! Proper answers in OpenAI's wire format.

use super::play::{Fault, Manner, Pace, Usage};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A request, as far as the upstream reads it.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// `/completions`, not `/chat/completions`.
    pub(super) bare: bool,
    logprobs: bool,
    choices: u64,
    words: u64,
    /// The text of the last message.
    said: String,
    /// Vectors are wanted, of so many inputs.
    inputs: Option<u64>,
    /// So many numbers each.
    dimensions: usize,
    /// As base64.
    base64: bool,
    /// A message of Anthropic's is wanted.
    message: bool,
}

/// A step of sending.
#[derive(Debug)]
pub(super) enum Step {
    Send(Bytes),
    Pause(Duration),
    Gate(Arc<Semaphore>),
    Forever,
    Break,
}

/// A whole body, or the steps of a stream, with the tokens that were stated.
pub(super) struct Rendered {
    pub(super) whole: Option<Bytes>,
    pub(super) steps: Vec<Step>,
    pub(super) stated: Option<(u64, u64)>,
}

impl Asked {
    pub(super) fn read(body: &[u8], bare: bool, deployment: Option<&str>) -> Self {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let messages = asked["messages"].as_array().into_iter().flatten();
        let last = asked["messages"].as_array().and_then(|messages| messages.last());
        let said = last.map_or(&asked["prompt"], |last| &last["content"]).as_str().unwrap_or_default().to_owned();
        let texts = messages.filter_map(|message| message["content"].as_str());
        Self {
            model: deployment.or(asked["model"].as_str()).unwrap_or_default().to_owned(),
            stream: asked["stream"] == true,
            include_usage: asked["stream_options"]["include_usage"] == true,
            bare,
            logprobs: asked["logprobs"] == true,
            choices: asked["n"].as_u64().unwrap_or(1),
            said,
            words: texts.map(|text| text.split_whitespace().count() as u64).sum(),
            inputs: None,
            dimensions: 0,
            base64: false,
            message: false,
        }
    }

    /// A Messages request: its content may be blocks.
    pub(super) fn messages(body: &[u8]) -> Self {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |content: &Value| match content.as_array() {
            Some(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join(" "),
            None => content.as_str().unwrap_or_default().to_owned(),
        };
        let turns = asked["messages"].as_array().into_iter().flatten();
        let texts: Vec<String> =
            std::iter::once(text(&asked["system"])).chain(turns.map(|turn| text(&turn["content"]))).collect();
        Self {
            model: asked["model"].as_str().unwrap_or_default().to_owned(),
            stream: asked["stream"] == true,
            choices: 1,
            said: texts.last().cloned().unwrap_or_default(),
            words: texts.iter().map(|text| text.split_whitespace().count() as u64).sum(),
            message: true,
            ..Self::default()
        }
    }

    /// A request for vectors: `words` are the tokens of its inputs.
    pub(super) fn vectors(body: &[u8], deployment: Option<&str>) -> Self {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let input = &asked["input"];
        let inputs = match input.as_array() {
            Some(list) if !list[0].is_number() => list.iter().collect(),
            Some(_) | None => vec![input],
        };
        let tokens = |input: &&Value| match input.as_array() {
            Some(tokens) => tokens.len() as u64,
            None => input.as_str().unwrap_or_default().split_whitespace().count() as u64,
        };
        Self {
            model: deployment.or(asked["model"].as_str()).unwrap_or_default().to_owned(),
            words: inputs.iter().map(tokens).sum(),
            inputs: Some(inputs.len() as u64),
            dimensions: asked["dimensions"].as_u64().and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(3),
            base64: asked["encoding_format"] == "base64",
            ..Self::default()
        }
    }

    pub(super) fn render(&self, manner: &Manner) -> Rendered {
        if let Some(inputs) = self.inputs {
            return self.listed(inputs, manner);
        }
        // The usual answer has five tokens, however it is cut.
        let counted = (self.words + 10, 5 * self.choices);
        let usage = match &manner.usage {
            Usage::Counted => Some(usage_object(counted)),
            Usage::Missing => None,
            Usage::Zero => Some(usage_object((0, 0))),
            Usage::Stated(input, output) => Some(usage_object((*input, *output))),
            Usage::Odd(text) => Some(serde_json::from_str(text).expect("JSON")),
        };
        if self.message {
            return super::messages::render(self, manner, counted);
        }
        let number = |key: &str| usage.as_ref().and_then(|usage| usage[key].as_u64());
        let stated = number("prompt_tokens").zip(number("completion_tokens"));
        let pieces = self.pieces(manner);
        let finish = if manner.tools { "tool_calls" } else { "stop" };
        if self.stream {
            let events = self.deltas(manner, &pieces, finish, usage.filter(|_| self.include_usage));
            let faulty = matches!(manner.fault, Some((_, fault)) if fault != Fault::NoFinish);
            let stated = stated.filter(|_| self.include_usage && !faulty);
            return Rendered { whole: None, steps: steps(events, manner, ERROR), stated };
        }
        let body = self.whole(manner, &pieces, finish, usage).to_string();
        Rendered { whole: Some(body.into()), steps: vec![], stated }
    }

    /// As many vectors as inputs; the first number of each says which one it is.
    fn listed(&self, inputs: u64, manner: &Manner) -> Rendered {
        let stated = match &manner.usage {
            Usage::Missing | Usage::Odd(_) => None,
            Usage::Zero => Some(0),
            Usage::Counted => Some(self.words),
            Usage::Stated(input, _) => Some(*input),
        };
        let data = (0..inputs).map(|index| {
            let numbers: Vec<f32> =
                [index as f32].into_iter().chain([0.5, -0.25].into_iter().cycle()).take(self.dimensions).collect();
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            let vector = if self.base64 { BASE64_STANDARD.encode(bytes).into() } else { json!(numbers) };
            json!({"object": "embedding", "index": index, "embedding": vector})
        });
        let data: Vec<Value> = data.collect();
        let mut answer = json!({"object": "list", "data": data, "model": self.model, "x_unknown": {"kept": [1, 2.50]}});
        if let Some(tokens) = stated {
            answer["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
        }
        let stated = stated.map(|tokens| (tokens, 0));
        Rendered { whole: Some(answer.to_string().into()), steps: vec![], stated }
    }

    /// The text of the answer, or the arguments of its call, in pieces.
    pub(super) fn pieces(&self, manner: &Manner) -> Vec<String> {
        match manner.repeat {
            Some(letters) => self.repeated(letters, manner),
            None => pieces(manner, self.stream),
        }
    }

    /// The last message's text in pieces.
    fn repeated(&self, letters: usize, manner: &Manner) -> Vec<String> {
        let text = if manner.tools { json!({"said": self.said}).to_string() } else { self.said.clone() };
        let all: Vec<char> = text.chars().collect();
        all.chunks(letters.max(1)).map(|piece| piece.iter().collect()).collect()
    }

    fn whole(&self, manner: &Manner, pieces: &[String], finish: &str, usage: Option<Value>) -> Value {
        let text = pieces.concat();
        let choices = (0..self.choices).map(|index| {
            if self.bare {
                return json!({"index": index, "text": text, "logprobs": null, "finish_reason": finish});
            }
            let message = if manner.tools {
                json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": text}}]})
            } else {
                json!({"role": "assistant", "content": text, "refusal": null})
            };
            let logprobs = if self.logprobs { logprobs(pieces) } else { Value::Null };
            json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish})
        });
        let choices: Vec<Value> = choices.collect();
        let mut answer = json!({"id": "chatcmpl-fake", "object": if self.bare { "text_completion" } else { "chat.completion" },
            "created": 1_700_000_000, "model": self.model, "choices": choices, "service_tier": "default",
            "system_fingerprint": "fp_fake", "x_unknown": {"kept": [1, 2.50]}});
        if let Some(usage) = usage {
            answer["usage"] = usage;
        }
        answer
    }

    /// The events of a stream, `[DONE]` last.
    fn deltas(&self, manner: &Manner, pieces: &[String], finish: &str, usage: Option<Value>) -> Vec<Bytes> {
        let kind = if self.bare { "text_completion" } else { "chat.completion.chunk" };
        let chunk = |choices: Value| {
            json!({"id": "chatcmpl-fake", "object": kind, "created": 1_700_000_000, "model": self.model,
                "choices": choices, "system_fingerprint": "fp_fake", "x_unknown": [1.0]})
        };
        let mut chunks = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            for index in 0..self.choices {
                chunks.push(chunk(json!([self.delta(manner, index, n, piece)])));
            }
        }
        for index in 0..self.choices {
            let mut last = json!({"index": index, "finish_reason": finish});
            last[if self.bare { "text" } else { "delta" }] = if self.bare { "".into() } else { json!({}) };
            chunks.push(chunk(json!([last])));
        }
        if let Some(usage) = usage {
            let mut last = chunk(json!([]));
            last["usage"] = usage;
            chunks.push(last);
        }
        let mut events: Vec<Bytes> = chunks.iter().map(|chunk| Bytes::from(format!("data: {chunk}\n\n"))).collect();
        events.push(Bytes::from_static(b"data: [DONE]\n\n"));
        events
    }

    fn delta(&self, manner: &Manner, index: u64, n: usize, piece: &str) -> Value {
        if self.bare {
            return json!({"index": index, "text": piece, "finish_reason": null});
        }
        let mut delta = match (manner.tools, n) {
            (true, 0) => json!({"tool_calls": [
                {"index": 0, "id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": piece}}]}),
            (true, _) => json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}),
            (false, _) => json!({"content": piece}),
        };
        if n == 0 {
            delta["role"] = "assistant".into();
        }
        let logprobs = if self.logprobs { logprobs(&[piece.to_owned()]) } else { Value::Null };
        json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null})
    }
}

/// The text, a piece each event.
fn pieces(manner: &Manner, stream: bool) -> Vec<String> {
    let words: &[&str] = match (manner.tools, manner.json) {
        (true, _) => &["", "{\"city\":", "\"Paris\"}"],
        (false, true) => &["{\"answer\":", " \"yes\"", "}"],
        (false, false) if !stream => &["one two three four five"],
        (false, false) => return (0..manner.events).map(|n| format!("word{n} ")).collect(),
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// An error in the midst of a stream.
const ERROR: &str = "data: {\"error\":{\"message\":\"scripted\",\"type\":\"server_error\"}}\n\n";

/// The steps of a stream whose last event is its end, with what goes wrong in it.
pub(super) fn steps(mut events: Vec<Bytes>, manner: &Manner, error: &'static str) -> Vec<Step> {
    let mut after = None;
    if let Some((count, fault)) = manner.fault {
        if fault == Fault::NoFinish {
            let done = events.pop();
            events.truncate(count);
            events.extend(done);
        } else {
            events.truncate(count);
            after = match fault {
                Fault::ErrorEvent => Some(send(error)),
                Fault::NamedError => Some(send("event: error\ndata: {\"message\":\"scripted\"}\n\n")),
                Fault::BareError => Some(send("{\"error\":{\"message\":\"scripted\",\"type\":\"server_error\"}}")),
                Fault::Stall => Some(Step::Forever),
                Fault::Break => Some(Step::Break),
                Fault::EarlyEnd | Fault::NoFinish => None,
            };
        }
    }
    let mut steps = Vec::new();
    for event in events {
        match &manner.pace {
            Pace::AtOnce => {}
            Pace::Every(gap) => steps.push(Step::Pause(*gap)),
            Pace::Gated(gate) => steps.push(Step::Gate(gate.clone())),
        }
        steps.push(Step::Send(event));
    }
    steps.extend(after);
    steps
}

fn send(text: &'static str) -> Step {
    Step::Send(Bytes::from_static(text.as_bytes()))
}

fn usage_object((input, output): (u64, u64)) -> Value {
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
        "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}})
}

fn logprobs(pieces: &[String]) -> Value {
    let content = pieces.iter().map(|piece| {
        let top = json!([{"token": piece, "logprob": -0.25, "bytes": piece.as_bytes()}]);
        json!({"token": piece, "logprob": -0.25, "bytes": piece.as_bytes(), "top_logprobs": top})
    });
    json!({"content": content.collect::<Vec<_>>(), "refusal": null})
}

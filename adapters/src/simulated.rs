//! The built-in provider for a first look: no account, no network, and every answer says that it is simulated.
//!
//! It is what `make run` escalates to while no provider key is set, so that the whole path (judgement, ledger, headers,
//! web page) can be seen. Its prices are made up and marked so on the ledger.

use crate::backend::{Backend, Call, Description, Event, Events};
use crate::error::{BackendError, Kind};
use crate::wire::{Seen, sse};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use policies::{Capabilities, Counted, Endpoint, Readiness, Usage};
use serde_json::{Value, json};

const ANSWER: &str = "[simulated] This answer comes from Sluice's built-in simulated provider, not from a hosted model. \
    Set OPENAI_API_KEY, or configure a provider in sluice.toml, and restart to get real hosted answers.";

/// The simulated provider.
#[derive(Debug, Default)]
pub struct Simulated;

#[async_trait]
impl Backend for Simulated {
    async fn call(&self, call: Call) -> Result<Events, BackendError> {
        if call.request.endpoint == Endpoint::Embeddings {
            let why = "the simulated provider makes no embeddings".to_owned();
            return Err(BackendError::before_send(Kind::Unsupported(why)));
        }
        let prompt: usize = call.request.view.texts().map(str::len).sum();
        let words: Vec<&str> = ANSWER.split_inclusive(' ').collect();
        let wanted = [call.max_output, call.request.view.sampling.max_tokens].into_iter().flatten().min();
        let limit = wanted.map_or(words.len(), |most| usize::try_from(most).unwrap_or(usize::MAX).min(words.len()));
        let finish = if limit < words.len() { "length" } else { "stop" };
        // Four bytes a token for the prompt, one word a token for the answer: stated, so it is exact here.
        let usage = Usage::plain(prompt.div_ceil(4) as u64, limit as u64);
        let endpoint = call.request.endpoint;
        let events = if call.stream {
            streamed(&call, &words[..limit], finish, usage)
        } else {
            let text = words[..limit].concat();
            let body = Bytes::from(object(&call, endpoint, false, Some(&text), Some(finish), Some(usage)).to_string());
            let seen =
                Seen { text, finish: Some(finish.into()), usage: Some(Counted::Exact(usage)), ..Seen::default() };
            vec![Event::Whole { body, seen }]
        };
        Ok(stream::iter(events.into_iter().map(Ok)).boxed())
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    fn describe(&self) -> Description {
        let capabilities = Capabilities { tools: false, json_schema: false, logprobs: false, ..Capabilities::TEXT };
        Description { capabilities, context_window: None, memory_bytes: None, source: "simulated".into() }
    }
}

fn streamed(call: &Call, words: &[&str], finish: &str, usage: Usage) -> Vec<Event> {
    let endpoint = call.request.endpoint;
    let event = |value: Value, seen: Seen| Event::Delta { frame: sse::frame(value.to_string().as_bytes()), seen };
    let mut events: Vec<Event> = words
        .iter()
        .map(|word| {
            let seen = Seen { text: (*word).to_owned(), ..Seen::default() };
            event(object(call, endpoint, true, Some(word), None, None), seen)
        })
        .collect();
    let seen = Seen { finish: Some(finish.into()), ..Seen::default() };
    events.push(event(object(call, endpoint, true, None, Some(finish), None), seen));
    let mut last = object(call, endpoint, true, None, None, Some(usage));
    last["choices"] = json!([]);
    let seen = Seen { usage: Some(Counted::Exact(usage)), usage_only: true, ..Seen::default() };
    events.push(event(last, seen));
    events.push(Event::Done);
    events
}

fn object(
    call: &Call,
    endpoint: Endpoint,
    chunk: bool,
    text: Option<&str>,
    finish: Option<&str>,
    usage: Option<Usage>,
) -> Value {
    let created = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let kind = match (endpoint, chunk) {
        (Endpoint::Chat, false) => "chat.completion",
        (Endpoint::Chat, true) => "chat.completion.chunk",
        (Endpoint::Completions | Endpoint::Embeddings, _) => "text_completion",
    };
    let message = match text {
        Some(text) => json!({"role": "assistant", "content": text}),
        None => json!({}),
    };
    let mut choice = json!({"index": 0, "logprobs": null, "finish_reason": finish});
    match (endpoint, chunk) {
        (Endpoint::Chat, false) => choice["message"] = message,
        (Endpoint::Chat, true) => choice["delta"] = message,
        (Endpoint::Completions | Endpoint::Embeddings, _) => choice["text"] = text.unwrap_or_default().into(),
    }
    let mut object = json!({
        "id": format!("simulated-{}", call.id), "object": kind, "created": created, "model": call.model, "choices": [choice],
    });
    if let Some(usage) = usage {
        let (input, output) = (usage.input.0, usage.output.0);
        object["usage"] = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
    }
    object
}

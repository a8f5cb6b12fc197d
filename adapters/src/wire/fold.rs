//! From a stream of deltas to a whole answer.
//!
//! The local engine always streams; a client that wants the answer whole gets the deltas folded into one object of the
//! OpenAI shape. Works on JSON values, so that fields of an engine nobody here knows survive, too.
//!
//! Source: OpenAI API reference, "The chat completion chunk object".

use policies::Endpoint;
use serde_json::{Map, Value, json};

/// Collects deltas.
#[derive(Debug)]
pub struct Fold {
    endpoint: Endpoint,
    head: Map<String, Value>,
    choices: Vec<Map<String, Value>>,
    usage: Option<Value>,
}

// === impl Fold ===

impl Fold {
    /// An empty answer.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, head: Map::new(), choices: Vec::new(), usage: None }
    }

    /// Adds the payload of one event; what is not an object is passed over.
    pub fn push(&mut self, payload: &[u8]) {
        let Ok(Value::Object(mut chunk)) = serde_json::from_slice(payload) else { return };
        if let Some(Value::Array(choices)) = chunk.remove("choices") {
            for choice in choices {
                if let Value::Object(choice) = choice {
                    self.add(choice);
                }
            }
        }
        if let Some(usage @ Value::Object(_)) = chunk.remove("usage") {
            self.usage = Some(usage);
        }
        for (key, value) in chunk {
            self.head.entry(key).or_insert(value);
        }
    }

    /// The whole answer.
    pub fn finish(mut self) -> Value {
        let object = match self.endpoint {
            Endpoint::Chat => "chat.completion",
            // Vectors are never streamed.
            Endpoint::Completions | Endpoint::Embeddings => "text_completion",
        };
        self.head.insert("object".into(), object.into());
        for calls in self.choices.iter_mut().filter_map(|choice| choice.get_mut("message")?.get_mut("tool_calls")) {
            for call in calls.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                // Deltas are numbered, calls of a whole message are not.
                call.remove("index");
            }
        }
        let choices = self.choices.into_iter().map(Value::Object).collect();
        self.head.insert("choices".into(), Value::Array(choices));
        if let Some(usage) = self.usage {
            self.head.insert("usage".into(), usage);
        }
        Value::Object(self.head)
    }

    fn add(&mut self, mut choice: Map<String, Value>) {
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        let known = self.choices.iter().position(|known| known.get("index").and_then(Value::as_u64) == Some(index));
        let at = known.unwrap_or_else(|| {
            let mut fresh = Map::new();
            fresh.insert("index".into(), index.into());
            match self.endpoint {
                Endpoint::Chat => fresh.insert("message".into(), json!({"role": "assistant", "content": null})),
                Endpoint::Completions | Endpoint::Embeddings => fresh.insert("text".into(), "".into()),
            };
            fresh.insert("logprobs".into(), Value::Null);
            fresh.insert("finish_reason".into(), Value::Null);
            self.choices.push(fresh);
            self.choices.len() - 1
        });
        let into = &mut self.choices[at];
        choice.remove("index");
        if let (Some(Value::Object(delta)), Some(Value::Object(message))) =
            (choice.remove("delta"), into.get_mut("message"))
        {
            for (key, value) in delta {
                merge(message, key, value);
            }
        }
        for (key, value) in choice {
            merge(into, key, value);
        }
    }
}

/// Texts are appended, lists with an `index` are merged by it, other lists are joined, anything else is set.
fn merge(into: &mut Map<String, Value>, key: String, value: Value) {
    if value.is_null() {
        return;
    }
    let appends = !matches!(key.as_str(), "role" | "finish_reason" | "id" | "type" | "name" | "object");
    match (into.get_mut(&key), value) {
        (Some(Value::String(known)), Value::String(more)) if appends => known.push_str(&more),
        (Some(Value::Object(known)), Value::Object(more)) => {
            for (key, value) in more {
                merge(known, key, value);
            }
        }
        (Some(Value::Array(known)), Value::Array(more)) => join(known, more),
        (None | Some(Value::Null), Value::Array(more)) => {
            let mut list = Vec::new();
            join(&mut list, more);
            into.insert(key, Value::Array(list));
        }
        (_, value) => {
            into.insert(key, value);
        }
    }
}

fn join(known: &mut Vec<Value>, more: Vec<Value>) {
    for item in more {
        let index = item.get("index").and_then(Value::as_u64);
        let same = known.iter().position(|old| index.is_some() && old.get("index").and_then(Value::as_u64) == index);
        match (same, item) {
            (Some(at), Value::Object(fields)) => {
                if let Value::Object(old) = &mut known[at] {
                    for (key, value) in fields {
                        if key != "index" {
                            merge(old, key, value);
                        }
                    }
                }
            }
            (_, item) => known.push(item),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(endpoint: Endpoint, chunks: &[Value]) -> Value {
        let mut fold = Fold::new(endpoint);
        chunks.iter().for_each(|chunk| fold.push(chunk.to_string().as_bytes()));
        fold.finish()
    }

    #[test]
    fn deltas_become_one_message() {
        let whole = fold(
            Endpoint::Chat,
            &[
                json!({"id":"i","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}),
                json!({"id":"i","choices":[{"index":0,"delta":{"content":"He"},"logprobs":{"content":[{"token":"He"}]}}]}),
                json!({"id":"i","choices":[{"index":0,"delta":{"content":"y"},"logprobs":{"content":[{"token":"y"}]}}]}),
                json!({"id":"i","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}),
                json!({"id":"i","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}),
            ],
        );
        assert_eq!(
            whole,
            json!({"id":"i","created":1,"model":"m","object":"chat.completion","choices":[{"index":0,
                "message":{"role":"assistant","content":"Hey"},
                "logprobs":{"content":[{"token":"He"},{"token":"y"}]},"finish_reason":"stop"}],
                "usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}})
        );
    }

    #[test]
    fn tool_calls_are_merged_by_index() {
        let whole = fold(
            Endpoint::Chat,
            &[
                json!({"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}}]}),
                json!({"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]}}]}),
                json!({"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]},"finish_reason":"tool_calls"}]}),
            ],
        );
        let call = &whole["choices"][0]["message"]["tool_calls"][0];
        assert_eq!(call["function"]["arguments"], "{\"a\":1}");
        assert!(call.get("index").is_none());
        assert_eq!((call["id"].as_str(), whole["choices"][0]["message"]["content"].is_null()), (Some("c"), true));
    }

    #[test]
    fn completions_are_texts() {
        let whole = fold(
            Endpoint::Completions,
            &[
                json!({"choices":[{"index":0,"text":"a"}]}),
                json!({"choices":[{"index":0,"text":"b","finish_reason":"length"}]}),
            ],
        );
        assert_eq!(
            (whole["choices"][0]["text"].as_str(), whole["object"].as_str()),
            (Some("ab"), Some("text_completion"))
        );
    }
}

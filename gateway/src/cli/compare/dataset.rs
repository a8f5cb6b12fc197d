//! The rows of a dataset: JSON Lines, one request each.

use crate::cli::Failure;
use adapters::wire::under_system;
use policies::Endpoint;
use router::compare::{Expected, Side};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::io::BufRead;
use std::path::Path;

/// A row as it is typed; other fields are let pass.
#[derive(Debug, Deserialize)]
struct WireRow {
    id: Value,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    messages: Option<Value>,
    #[serde(default)]
    tools: Option<Value>,
    #[serde(default)]
    response_format: Option<Value>,
    #[serde(default)]
    reference: Option<Value>,
    #[serde(default)]
    answer: Option<Value>,
    #[serde(default)]
    schema: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Value>,
    #[serde(default)]
    tests: Option<String>,
    #[serde(default)]
    human: Option<Side>,
    #[serde(default)]
    data_class: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    tags: Map<String, Value>,
}

/// A request to be answered by both sides.
#[derive(Debug)]
pub struct Row {
    /// Unique in the file.
    pub id: String,
    /// Everything that is asked, as text.
    pub text: String,
    /// The fields of the request that the row gives: messages, tools, form.
    fields: Map<String, Value>,
    /// What a right answer is.
    pub expected: Expected,
    /// What a command tests an answer with.
    pub tests: Option<String>,
    /// Whom a person prefers.
    pub human: Option<Side>,
    /// The data class; it can only raise.
    pub class: Option<String>,
    /// The key that the slices name.
    pub key: Option<String>,
    /// Labels, sorted.
    pub tags: Vec<(String, String)>,
    /// JSON is wanted.
    pub json: bool,
    /// Tools are on offer.
    pub tools: bool,
}

// === impl Row ===

impl Row {
    fn read(line: &str) -> Result<Self, String> {
        let row: WireRow = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let id = match row.id {
            Value::String(id) if !id.is_empty() => id,
            Value::Number(id) => id.to_string(),
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                return Err("`id` must be a text or a number".into());
            }
        };
        let messages = match (row.prompt, row.messages) {
            (Some(prompt), None) => json!([{"role": "user", "content": prompt}]),
            (None, Some(messages)) => messages,
            (None, None) => return Err("`prompt` or `messages` is missing".into()),
            (Some(_), Some(_)) => return Err("`prompt` and `messages` say the same: give one of them".into()),
        };
        let reference = match row.reference.or(row.answer) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => Some(other.to_string()),
        };
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let named = [("kind", row.kind), ("language", row.language)];
        let named = named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let mut tags: Vec<_> = row.tags.into_iter().map(|(key, value)| (key, text(value))).chain(named).collect();
        tags.sort();
        tags.dedup_by(|one, other| one.0 == other.0);
        let mut fields = Map::new();
        fields.insert("messages".into(), messages);
        let (tools, json) = (row.tools.is_some(), row.response_format.is_some());
        for (key, value) in [("tools", row.tools), ("response_format", row.response_format)] {
            fields.extend(value.map(|value| (key.to_owned(), value)));
        }
        let mut read = Self {
            id,
            text: String::new(),
            fields,
            expected: Expected { reference, schema: row.schema, tool_calls: row.tool_calls },
            tests: row.tests,
            human: row.human,
            class: row.data_class,
            key: row.key,
            tags,
            json,
            tools,
        };
        // Read as the gateway reads it, so that a row that no model could be asked is refused with its line.
        let body = read.body("auto", None, 1, None).to_string();
        let request = adapters::wire::WireRequest::parse(Endpoint::Chat, body.into()).map_err(|error| error.message)?;
        read.text = request.view.texts().collect::<Vec<_>>().join("\n");
        Ok(read)
    }

    /// The chat request for a model; `system` is what a side says in place of the row's system prompt ([`under_system`]).
    pub fn body(&self, model: &str, system: Option<&str>, max_tokens: u64, temperature: Option<f64>) -> Value {
        let mut body = Map::new();
        body.insert("model".into(), model.into());
        body.extend(self.fields.clone());
        if let (Some(system), Some(messages)) = (system, body.get_mut("messages")) {
            // What could be asked as it stands is a list of messages.
            let changed = under_system(&messages.to_string(), system).ok();
            *messages = changed.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        }
        body.insert("max_tokens".into(), max_tokens.into());
        body.extend(temperature.map(|temperature| ("temperature".to_owned(), temperature.into())));
        Value::Object(body)
    }
}

/// Reads a dataset.
pub fn read(path: &Path) -> Result<Vec<Row>, Failure> {
    let wrong = |what: String| Failure::Usage(format!("`{}`{what}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| wrong(format!(": {error}")))?;
    let (mut rows, mut ids) = (Vec::new(), HashSet::new());
    for (at, line) in std::io::BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| wrong(format!(": {error}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let row = Row::read(&line).map_err(|what| wrong(format!(", line {}: {what}", at + 1)))?;
        if !ids.insert(row.id.clone()) {
            return Err(wrong(format!(", line {}: the id `{}` occurs twice", at + 1, row.id)));
        }
        rows.push(row);
    }
    if rows.is_empty() { Err(wrong(" holds no rows".into())) } else { Ok(rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_request_with_what_is_known_of_its_answer() {
        let row = Row::read(
            r#"{"id": 7, "prompt": "2+2?", "answer": 4, "human": "tie", "kind": "sums", "tags": {"b": 1, "a": "x"}, "other": []}"#,
        )
        .unwrap();
        assert_eq!((row.id.as_str(), row.text.as_str(), row.human), ("7", "2+2?", Some(Side::Tie)));
        assert_eq!(row.expected.reference.as_deref(), Some("4"));
        let tags: Vec<String> = row.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(tags, ["a=x", "b=1", "kind=sums"]);
        let body = row.body("m", None, 9, Some(0.0));
        assert_eq!(
            body,
            json!({"model": "m", "messages": [{"role": "user", "content": "2+2?"}], "max_tokens": 9, "temperature": 0.0})
        );
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_its_reason() {
        for (line, says) in [
            ("{", "EOF"),
            (r#"{"prompt": "x"}"#, "missing field `id`"),
            (r#"{"id": "", "prompt": "x"}"#, "`id` must be"),
            (r#"{"id": "1"}"#, "`prompt` or `messages` is missing"),
            (r#"{"id": "1", "prompt": "x", "messages": []}"#, "give one of them"),
            (r#"{"id": "1", "messages": [{"role": "nobody", "content": "x"}]}"#, "messages"),
            (r#"{"id": "1", "prompt": "x", "human": "both"}"#, "unknown variant"),
        ] {
            let said = Row::read(line).unwrap_err();
            assert!(said.contains(says), "{line}: {said}");
        }
    }
}

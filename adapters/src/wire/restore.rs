//! An answer to a masked request, with its values put back.
//!
//! **Promise.** Every string of every choice is restored: content, refusal, reasoning, arguments of tool calls, and texts that
//! nobody here knows. In a stream a placeholder may be cut anywhere, across events, too: texts of one choice and place are one
//! text, and only what can still become a placeholder is held back, until more of that text, the choice's finish or the
//! stream's end decides it. Together the client gets what it would get of the whole answer. An event that needs no change
//! keeps its bytes; in one that does nothing else changes.
//!
//! **Why no escaping.** No value holds anything that JSON would have to escape, so it is right inside of arguments, too, which
//! are JSON in a string.
//!
//! **What it does not do.** Log-probabilities and sound cannot be restored: a request that asks for them is not masked.
//! Places counted in characters (`annotations`) are the provider's, in its own text.

use super::closing::SHARED;
use super::edit::strings_of;
use super::sse;
use crate::backend::Event;
use crate::error::{BackendError, Kind};
use bytes::Bytes;
use policies::mask::{Restorer, Values};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Deeper than any answer's text is; what is deeper is left as it is.
const DEEPEST: usize = 16;

/// A step on the way to a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    /// Of a list: the entry's own `index`, or its place.
    Entry(u64),
}

/// Restores one answer, event by event.
#[derive(Debug)]
pub struct Restoring {
    values: Arc<Values>,
    /// Texts that are under way, by choice and place.
    texts: BTreeMap<(u64, Vec<Step>), Restorer>,
    /// What the latest event says of the stream.
    shared: Map<String, Value>,
}

/// A string in a payload and what takes its place.
type Change = (Range<usize>, String);

// === impl Restoring ===

impl Restoring {
    /// Nothing has come yet.
    pub fn new(values: Arc<Values>) -> Self {
        Self { values, texts: BTreeMap::new(), shared: Map::new() }
    }

    /// Restores an event; it may give one more before it, and holds nothing back of a whole answer.
    pub fn event(&mut self, event: Event) -> Vec<Event> {
        match event {
            Event::Whole { body, seen } => {
                let (restored, _) = Self::new(self.values.clone()).payload(&body, true);
                vec![Event::Whole { body: restored.map_or(body, Bytes::from), seen }]
            }
            Event::Delta { frame, seen } => {
                let Some(payload) = sse::data(&frame) else { return vec![Event::Delta { frame, seen }] };
                let (restored, finished) = self.payload(&payload, false);
                let frame =
                    restored.map_or_else(|| frame.clone(), |payload| sse::with_data(&frame, payload.as_bytes()));
                // Texts that are not in this event and hold something back end before their choice does.
                let rest = self.release(|choice| finished.contains(&choice));
                rest.into_iter().chain([Event::Delta { frame, seen }]).collect()
            }
            Event::Done => self.end().into_iter().chain([Event::Done]).collect(),
        }
    }

    /// What is held back when nothing more comes, as an event of its own.
    pub fn end(&mut self) -> Option<Event> {
        self.release(|_| true)
    }

    fn release(&mut self, these: impl Fn(u64) -> bool) -> Option<Event> {
        let mut choices: BTreeMap<u64, Value> = BTreeMap::new();
        self.texts.retain(|(choice, path), restorer| {
            if !these(*choice) {
                return true;
            }
            let fresh = || json!({"index": choice, "finish_reason": null});
            put(choices.entry(*choice).or_insert_with(fresh), path, restorer.finish());
            false
        });
        if choices.is_empty() {
            return None;
        }
        let mut chunk = self.shared.clone();
        chunk.insert("choices".into(), choices.into_values().collect());
        let frame = sse::frame(Value::Object(chunk).to_string().as_bytes());
        Some(Event::Delta { frame, seen: super::Seen::default() })
    }

    /// The payload with its texts restored (`None` where that changes nothing), and the choices that finish in it.
    fn payload(&mut self, payload: &[u8], whole: bool) -> (Option<String>, Vec<u64>) {
        let Ok(text) = std::str::from_utf8(payload) else { return (None, vec![]) };
        let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else { return (None, vec![]) };
        if !whole {
            self.shared.clear();
            for name in SHARED {
                if let Some(value) = fields.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok()) {
                    self.shared.insert(name.into(), value);
                }
            }
        }
        let (mut changes, mut finished) = (Vec::new(), Vec::new());
        for (number, choice) in fields.get("choices").map(|choices| entries(choices)).unwrap_or_default() {
            let last = whole || finishes(choice);
            self.walk(choice, (number, &mut Vec::new()), text, last, &mut changes);
            finished.extend(last.then_some(number));
        }
        (apply(text, changes), finished)
    }

    fn walk(
        &mut self,
        raw: &RawValue,
        (choice, path): (u64, &mut Vec<Step>),
        payload: &str,
        last: bool,
        changes: &mut Vec<Change>,
    ) {
        let json = raw.get();
        if path.len() > DEEPEST {
            return;
        }
        match json.as_bytes().first() {
            Some(b'{') => {
                let Ok(fields) = serde_json::from_str::<Fields<'_>>(json) else { return };
                for (key, value) in fields.0 {
                    path.push(Step::Key(key));
                    self.walk(value, (choice, path), payload, last, changes);
                    path.pop();
                }
            }
            Some(b'[') => {
                for (place, entry) in entries(raw) {
                    path.push(Step::Entry(place));
                    self.walk(entry, (choice, path), payload, last, changes);
                    path.pop();
                }
            }
            Some(b'"') => {
                let Ok(text) = serde_json::from_str::<String>(json) else { return };
                let place = (choice, path.clone());
                let known = self.texts.remove(&place);
                let mut restorer = known.unwrap_or_else(|| Restorer::new(self.values.clone()));
                let mut restored = restorer.push(&text);
                if last {
                    restored.push_str(&restorer.finish());
                } else if restorer.holds() {
                    self.texts.insert(place, restorer);
                }
                if restored != text {
                    let start = json.as_ptr() as usize - payload.as_ptr() as usize;
                    changes.push((start..start + json.len(), Value::String(restored).to_string()));
                }
            }
            Some(_) | None => {}
        }
    }
}

/// An error of a provider may repeat what it was sent: it is the client's own.
pub(crate) fn in_error(values: &Arc<Values>, error: BackendError) -> BackendError {
    let BackendError { kind: Kind::Status { status, body: Some(body), retry_after }, phase } = error else {
        return error;
    };
    let restored = std::str::from_utf8(&body).ok().and_then(|text| {
        let strings = strings_of(text).filter_map(|span| {
            let said: String = serde_json::from_str(&text[span.clone()]).ok()?;
            let restored = values.restore(&said);
            (restored != said).then(|| (span, Value::String(restored).to_string()))
        });
        apply(text, strings.collect())
    });
    let body = Some(restored.map_or(body, Bytes::from));
    BackendError { kind: Kind::Status { status, body, retry_after }, phase }
}

/// Whether a choice says why it ended.
fn finishes(choice: &RawValue) -> bool {
    let fields = serde_json::from_str::<Fields<'_>>(choice.get());
    fields.is_ok_and(|fields| fields.0.iter().any(|(key, raw)| key == "finish_reason" && raw.get() != "null"))
}

/// Fields in their order; one that is there twice is there twice.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Fields<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> serde::de::Visitor<'de> for Visit {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

/// The entries of a list, each with its own `index`, or its place.
fn entries(raw: &RawValue) -> Vec<(u64, &RawValue)> {
    let entries: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    let numbered = entries.into_iter().enumerate().map(|(place, entry)| {
        let own = match serde_json::from_str::<Fields<'_>>(entry.get()) {
            Ok(fields) => fields.0.iter().find(|(key, _)| key == "index").and_then(|(_, raw)| raw.get().parse().ok()),
            Err(_) => None,
        };
        (own.unwrap_or(place as u64), entry)
    });
    numbered.collect()
}

/// Puts a text where a path leads, making what is not there.
fn put(mut into: &mut Value, path: &[Step], text: String) {
    for step in path {
        into = match step {
            Step::Key(key) => {
                if !into.is_object() {
                    *into = json!({});
                }
                &mut into[key.as_str()]
            }
            Step::Entry(number) => {
                if !into.is_array() {
                    *into = json!([]);
                }
                let list = into.as_array_mut();
                let Some(list) = list else { return };
                let at = list.iter().position(|entry| entry.get("index") == Some(&json!(number)));
                let at = at.unwrap_or_else(|| {
                    list.push(json!({"index": number}));
                    list.len() - 1
                });
                &mut list[at]
            }
        };
    }
    *into = Value::String(text);
}

/// A text with some stretches exchanged; `None` where there are none.
fn apply(text: &str, changes: Vec<Change>) -> Option<String> {
    if changes.is_empty() {
        return None;
    }
    let (mut out, mut done) = (String::with_capacity(text.len() + 64), 0);
    for (span, fresh) in changes {
        out.push_str(&text[done..span.start]);
        out.push_str(&fresh);
        done = span.end;
    }
    out.push_str(&text[done..]);
    Some(out)
}

#[cfg(test)]
mod tests;

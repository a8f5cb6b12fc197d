//! Strings of a request exchanged for others, everything else byte for byte.
//!
//! **Promise.** Only the strings that are named change; white space, order, numbers and unknown fields stay as they came.
//!
//! **Failure behaviour.** What cannot be done exactly is not done: the whole edit is refused.

use super::{Place, WireError, WireRequest};
use std::collections::BTreeMap;
use std::ops::Range;

/// A stretch of a string that something else takes the place of.
#[derive(Clone, Debug)]
pub struct Edit {
    /// The string.
    pub place: Place,
    /// Its stretch, counted in the part: the key before it included.
    pub range: Range<usize>,
    /// What stands there.
    pub was: String,
    /// What takes its place.
    pub with: String,
}

/// A request with some strings changed; those of one string in their order.
///
/// # Errors
/// A stretch that is not there, or a request that makes no sense afterwards.
pub fn edited(request: &WireRequest, edits: &[Edit]) -> Result<WireRequest, WireError> {
    let mut fields: BTreeMap<usize, BTreeMap<usize, Vec<&Edit>>> = BTreeMap::new();
    for edit in edits {
        fields.entry(edit.place.field).or_default().entry(edit.place.string).or_default().push(edit);
    }
    let mut overrides = Vec::with_capacity(fields.len());
    for (field, (key, value)) in request.raw.fields().enumerate() {
        let Some(strings) = fields.remove(&field) else { continue };
        overrides.push((key, Some(changed(value, strings)?)));
    }
    if !fields.is_empty() {
        return Err(gone());
    }
    WireRequest::parse(request.endpoint, request.raw.with(&overrides))
}

fn gone() -> WireError {
    WireError::new("a text to be changed is not where it was", None)
}

/// A JSON text with some of its strings changed.
fn changed(json: &str, mut strings: BTreeMap<usize, Vec<&Edit>>) -> Result<String, WireError> {
    let (mut out, mut done) = (String::with_capacity(json.len() + 64), 0);
    for (number, span) in strings_of(json).enumerate() {
        let Some(edits) = strings.remove(&number) else { continue };
        let text: String = serde_json::from_str(&json[span.clone()]).map_err(|_| gone())?;
        out.push_str(&json[done..span.start]);
        let (mut fresh, mut at) = (String::with_capacity(text.len() + 16), 0);
        for edit in edits {
            let start =
                edit.range.start.checked_sub(edit.place.prefix).filter(|start| *start >= at).ok_or_else(gone)?;
            let end = edit.range.end - edit.place.prefix;
            text.get(start..end).filter(|text| *text == edit.was).ok_or_else(gone)?;
            fresh.push_str(text.get(at..start).ok_or_else(gone)?);
            fresh.push_str(&edit.with);
            at = end;
        }
        fresh.push_str(text.get(at..).ok_or_else(gone)?);
        out.push_str(&serde_json::Value::String(fresh).to_string());
        done = span.end;
    }
    out.push_str(&json[done..]);
    if strings.is_empty() { Ok(out) } else { Err(gone()) }
}

/// The strings of a JSON text that was parsed before, keys included, each with its quotes.
pub(super) fn strings_of(json: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let (bytes, mut at) = (json.as_bytes(), 0);
    std::iter::from_fn(move || {
        let start = at + bytes[at..].iter().position(|byte| *byte == b'"')?;
        let mut end = start + 1;
        loop {
            end += bytes[end..].iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            if bytes[end] == b'"' {
                break;
            }
            end += 2;
            if end > bytes.len() {
                return None;
            }
        }
        at = end + 1;
        Some(start..at)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Content;
    use super::*;
    use bytes::Bytes;
    use policies::Endpoint;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn request(body: String) -> WireRequest {
        WireRequest::parse(Endpoint::Chat, Bytes::from(body)).unwrap()
    }

    /// Puts a mark at the end of every text that may change.
    fn marked(request: &WireRequest) -> String {
        let content = Content::of(request);
        let parts = content.passages.iter().flatten().zip(content.places.iter().flatten());
        let edits: Vec<Edit> = parts
            .filter_map(|(text, place)| {
                Some(Edit { place: (*place)?, range: text.len()..text.len(), was: String::new(), with: "<X>".into() })
            })
            .collect();
        let sent = edited(request, &edits).unwrap();
        String::from_utf8(sent.raw.body().to_vec()).unwrap()
    }

    #[test]
    fn only_texts_change_and_everything_else_stays_byte_for_byte() {
        let body = r#"{"model" : "auto", "messages":[ {"role":"user","name":"n","content":[{"type":"text","text":"a\u00e9\n"},
            {"type":"image_url","image_url":{"url":"https://h/x"}},{"type":"text","text":"b"}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"k\": \"v\"}"}}]},
            {"role":"tool","tool_call_id":"c","content":"r"} ],"user":"u", "x" :1.50,"metadata":{"q\"":"w"}}"#;
        let expected = r#"{"model":"auto","messages":[ {"role":"user","name":"n","content":[{"type":"text","text":"aé\n<X>"},
            {"type":"image_url","image_url":{"url":"https://h/x"}},{"type":"text","text":"b<X>"}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"k\": \"v\"}<X>"}}]},
            {"role":"tool","tool_call_id":"c","content":"r<X>"} ],"user":"u<X>","x":1.50,"metadata":{"q\"":"w<X>"}}"#;
        assert_eq!(marked(&request(body.into())), expected);
    }

    #[test]
    fn a_stretch_that_is_not_there_is_refused() {
        let request = request(r#"{"model":"m","messages":[{"role":"user","content":"abc"}]}"#.into());
        let edit = |field, string, range, was: &str| Edit {
            place: Place { field, string, prefix: 0 },
            range,
            was: was.into(),
            with: "x".into(),
        };
        assert!(edited(&request, &[edit(1, 3, 0..1, "a"), edit(1, 3, 1..2, "b")]).is_ok());
        for wrong in [edit(7, 0, 0..1, "a"), edit(1, 99, 0..1, "a"), edit(1, 3, 2..9, "c"), edit(1, 3, 0..1, "b")] {
            assert!(edited(&request, &[wrong]).is_err());
        }
        let twice = [edit(1, 3, 1..2, "b"), edit(1, 3, 0..1, "a")];
        assert!(edited(&request, &twice).is_err(), "out of order");
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z\\\\\"\u{e9}\n ]{0,8}".prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[jkvwxz\"\\\\1@]{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// What marking does to a value, said independently: every string that is no key and under no fixed key.
    fn strings(value: &Value, under: &str, into: &mut Vec<String>) {
        match value {
            Value::String(text) => into.push(format!("{under}={text}")),
            Value::Array(list) => list.iter().for_each(|value| strings(value, under, into)),
            Value::Object(map) => map.iter().for_each(|(key, value)| strings(value, key, into)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    proptest! {
        #[test]
        fn every_place_leads_back_to_its_own_string(value in value()) {
            let body = json!({"model": "m", "messages": [{"role": "user", "content": "c"}], "unknown": value});
            let sent: Value = serde_json::from_str(&marked(&request(body.to_string()))).unwrap();
            let (mut before, mut after) = (vec![], vec![]);
            strings(&body["unknown"], "unknown", &mut before);
            strings(&sent["unknown"], "unknown", &mut after);
            let marked: Vec<String> = before.iter().map(|text| format!("{text}<X>")).collect();
            prop_assert_eq!(after, marked);
        }
    }
}

//! Walking through a JSON body of another dialect, field by field.
//!
//! **Promise.** What a translation does not know is refused by its path, never dropped: a field that is left out could have
//! changed what the request means.

use super::WireError;
use serde_json::{Map, Value};

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// The error of one place in a body.
pub(super) fn wrong(path: &str, what: &str) -> WireError {
    let field = path.split(['.', '[']).next().filter(|field| !field.is_empty());
    WireError::new(format!("`{path}` {what}"), field)
}

/// The path of a key.
pub(super) fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The value as an object.
pub(super) fn object<'a>(value: &'a Value, path: &str) -> Result<&'a Object, WireError> {
    value.as_object().ok_or_else(|| wrong(path, "must be an object"))
}

/// The value as a list.
pub(super) fn list<'a>(value: &'a Value, path: &str) -> Result<&'a [Value], WireError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(path, "must be a list"))
}

/// A field; `null` counts as absent.
pub(super) fn field<'a>(from: &'a Object, key: &str) -> Option<&'a Value> {
    from.get(key).filter(|value| !value.is_null())
}

/// A field that must be there.
pub(super) fn needed<'a>(from: &'a Object, path: &str, key: &str) -> Result<&'a Value, WireError> {
    field(from, key).ok_or_else(|| wrong(&below(path, key), "is missing"))
}

/// A text that may be there.
pub(super) fn maybe_text<'a>(from: &'a Object, path: &str, key: &str) -> Result<Option<&'a str>, WireError> {
    let text = |value: &'a Value| value.as_str().ok_or_else(|| wrong(&below(path, key), "must be a text"));
    field(from, key).map(text).transpose()
}

/// A text that must be there.
pub(super) fn text<'a>(from: &'a Object, path: &str, key: &str) -> Result<&'a str, WireError> {
    maybe_text(from, path, key)?.ok_or_else(|| wrong(&below(path, key), "is missing"))
}

/// A switch that may be there.
pub(super) fn flag(from: &Object, path: &str, key: &str) -> Result<Option<bool>, WireError> {
    let read = |value: &Value| value.as_bool().ok_or_else(|| wrong(&below(path, key), "must be true or false"));
    field(from, key).map(read).transpose()
}

/// Refuses every field that is not known.
pub(super) fn only(from: &Object, path: &str, known: &[&str]) -> Result<(), WireError> {
    let unknown = from.iter().find(|(key, value)| !value.is_null() && !known.contains(&key.as_str()));
    unknown.map_or(Ok(()), |(key, _)| Err(wrong(&below(path, key), "is not supported here")))
}

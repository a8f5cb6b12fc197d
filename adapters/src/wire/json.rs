//! A JSON object kept as it came.
//!
//! **Promise.** Fields nobody here knows survive byte for byte, in their order; only the fields that are overridden
//! change. The body is parsed once for its outline; values are spans into the client's own bytes.
//!
//! **Failure behaviour.** Nesting beyond [`MAX_DEPTH`] is refused before any recursive parser sees it, a repeated key is
//! refused (two readers could take different ones), and so is anything that is not one object.

use super::WireError;
use bytes::{BufMut, Bytes, BytesMut};
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::fmt;
use std::ops::Range;

/// Deepest nesting of arrays and objects that is read.
pub const MAX_DEPTH: usize = 64;

/// A JSON object with its bytes.
#[derive(Clone)]
pub struct RawObject {
    body: Bytes,
    fields: Vec<(String, Range<usize>)>,
}

impl fmt::Debug for RawObject {
    /// Names of fields, never their values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields.iter().map(|(key, _)| key)).finish()
    }
}

struct Outline<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Outline<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Outline<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(String, &'de RawValue)> = Vec::with_capacity(8);
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if fields.iter().any(|(known, _)| *known == key) {
                        return Err(serde::de::Error::custom(format!("the key `{key}` occurs twice")));
                    }
                    fields.push((key, value));
                }
                Ok(Outline(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

// === impl RawObject ===

impl RawObject {
    /// Reads the outline of a body.
    pub fn parse(body: Bytes) -> Result<Self, WireError> {
        let Ok(text) = std::str::from_utf8(&body) else {
            return Err(WireError::new("the body is not valid UTF-8", None));
        };
        if depth(&body) > MAX_DEPTH {
            return Err(WireError::new(format!("the body is nested deeper than {MAX_DEPTH} levels"), None));
        }
        let outline: Outline<'_> = serde_json::from_str(text)
            .map_err(|error| WireError::new(format!("the body is not a valid JSON object: {error}"), None))?;
        let start = body.as_ptr() as usize;
        let fields = outline
            .0
            .into_iter()
            .map(|(key, value)| {
                let from = value.get().as_ptr() as usize - start;
                (key, from..from + value.get().len())
            })
            .collect();
        Ok(Self { body, fields })
    }

    /// The JSON text of a field; `null` counts as absent.
    pub fn field(&self, key: &str) -> Option<&str> {
        let (_, span) = self.fields.iter().find(|(known, _)| known == key)?;
        std::str::from_utf8(&self.body[span.clone()]).ok().filter(|text| *text != "null")
    }

    /// Reads a field as `T`; the error names the field.
    pub fn read<'a, T: Deserialize<'a>>(&'a self, key: &str) -> Result<Option<T>, WireError> {
        let Some(text) = self.field(key) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|error| {
            // serde names line and column of the fragment, which mean nothing to the client.
            let text = error.to_string();
            let what = text.split(" at line ").next().unwrap_or_default();
            WireError::new(format!("invalid `{key}`: {what}"), Some(key))
        })
    }

    /// Reads a field that must be an object: a derived reader would take a list of its fields, too.
    pub fn read_object<'a, T: Deserialize<'a>>(&'a self, key: &str) -> Result<Option<T>, WireError> {
        match self.field(key) {
            Some(text) if !text.starts_with('{') => {
                Err(WireError::new(format!("invalid `{key}`: expected an object"), Some(key)))
            }
            Some(_) | None => self.read(key),
        }
    }

    /// Reads a field that must be a list of objects.
    pub fn read_objects<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Vec<T>>, WireError> {
        let Some(entries) = self.read::<Vec<&RawValue>>(key)? else { return Ok(None) };
        let wrong = |at: usize, what: &str| WireError::new(format!("invalid `{key}[{at}]`: {what}"), Some(key));
        let read = entries.into_iter().enumerate().map(|(at, entry)| {
            if !entry.get().starts_with('{') {
                return Err(wrong(at, "expected an object"));
            }
            serde_json::from_str(entry.get()).map_err(|error| {
                let text = error.to_string();
                wrong(at, text.split(" at line ").next().unwrap_or_default())
            })
        });
        read.collect::<Result<_, _>>().map(Some)
    }

    /// All fields in their order, each with its JSON text.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .filter_map(|(key, span)| Some((key.as_str(), std::str::from_utf8(&self.body[span.clone()]).ok()?)))
    }

    /// The bytes as they came.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The object with some fields set (`Some`, JSON text) or removed (`None`); everything else keeps bytes and order.
    pub fn with(&self, overrides: &[(&str, Option<String>)]) -> Bytes {
        let changed = overrides.iter().any(|(key, value)| match (self.raw(key), value) {
            (None, None) => false,
            (Some(is), Some(wanted)) => is != wanted,
            (Some(_), None) | (None, Some(_)) => true,
        });
        if !changed {
            return self.body.clone();
        }
        let mut out = BytesMut::with_capacity(self.body.len() + 128);
        out.put_u8(b'{');
        let mut put = |key: &str, value: &[u8]| {
            if out.len() > 1 {
                out.put_u8(b',');
            }
            out.put_slice(serde_json::Value::from(key).to_string().as_bytes());
            out.put_u8(b':');
            out.put_slice(value);
        };
        for (key, span) in &self.fields {
            match overrides.iter().find(|(name, _)| name == key) {
                None => put(key, &self.body[span.clone()]),
                Some((_, Some(value))) => put(key, value.as_bytes()),
                Some((_, None)) => {}
            }
        }
        for (key, value) in overrides {
            if let (None, Some(value)) = (self.raw(key), value) {
                put(key, value.as_bytes());
            }
        }
        out.put_u8(b'}');
        out.freeze()
    }

    fn raw(&self, key: &str) -> Option<&str> {
        let (_, span) = self.fields.iter().find(|(known, _)| known == key)?;
        std::str::from_utf8(&self.body[span.clone()]).ok()
    }
}

/// The deepest nesting of a JSON text, without parsing it.
fn depth(body: &[u8]) -> usize {
    let (mut now, mut deepest, mut at) = (0usize, 0usize, 0);
    while let Some(byte) = body.get(at) {
        at += 1;
        match byte {
            // Prompts are long strings: their end is looked for many bytes at a time.
            b'"' => at = end_of_string(body, at),
            b'{' | b'[' => {
                now += 1;
                deepest = deepest.max(now);
            }
            b'}' | b']' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The place behind the quote that ends the string which `at` is in.
fn end_of_string(body: &[u8], mut at: usize) -> usize {
    while let Some(found) = body.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if body[at - 1] == b'"' {
            return at;
        }
        // Whatever is escaped, it does not end the string.
        at += 1;
    }
    body.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(text: &str) -> Result<RawObject, WireError> {
        RawObject::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn unknown_fields_keep_bytes_and_order() {
        let raw = object(r#"{"a": 1.50, "model":"auto", "z":{"k" : [1,2 ]},"seed":18446744073709551615}"#).unwrap();
        let out = raw.with(&[("model", Some("\"m\"".into())), ("stream_options", Some("{}".into())), ("gone", None)]);
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            r#"{"a":1.50,"model":"m","z":{"k" : [1,2 ]},"seed":18446744073709551615,"stream_options":{}}"#
        );
    }

    #[test]
    fn an_object_that_needs_no_change_is_the_same_bytes() {
        let raw = object(r#"{ "model" : "m" }"#).unwrap();
        assert_eq!(raw.with(&[("model", Some("\"m\"".into())), ("x", None)]), raw.body());
    }

    #[test]
    fn hostile_bodies_are_refused_with_a_reason() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        for (body, says) in [
            ("", "not a valid JSON object"),
            ("[]", "a JSON object"),
            ("{\"a\":1", "not a valid JSON object"),
            ("{\"a\":1} x", "trailing"),
            ("{\"a\":1,\"a\":2}", "occurs twice"),
            (deep.as_str(), "nested deeper"),
        ] {
            let error = object(body).unwrap_err();
            assert!(error.message.contains(says), "{}", error.message);
        }
        assert!(RawObject::parse(Bytes::from_static(b"{\"a\":\"\xff\"}")).unwrap_err().message.contains("UTF-8"));
    }

    proptest! {
        /// Byte by byte, as the format is defined.
        #[test]
        fn nesting_is_counted_as_by_a_reader_of_single_bytes(text in r#"[\\"{}\[\]a,]{0,60}"#) {
            let (mut now, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
            for byte in text.bytes() {
                match (in_string, byte) {
                    (true, _) if escaped => escaped = false,
                    (true, b'\\') => escaped = true,
                    (true, b'"') => in_string = false,
                    (false, b'"') => in_string = true,
                    (false, b'{' | b'[') => {
                        now += 1;
                        deepest = deepest.max(now);
                    }
                    (false, b'}' | b']') => now = now.saturating_sub(1),
                    (_, _) => {}
                }
            }
            prop_assert_eq!(depth(text.as_bytes()), deepest);
        }

        #[test]
        fn rewriting_loses_nothing(keys in proptest::collection::hash_set("[a-z\\\\\" ]{1,6}", 0..8), n in any::<i64>()) {
            let mut map = serde_json::Map::new();
            for key in &keys { map.insert(key.clone(), n.into()); }
            let raw = object(&serde_json::Value::Object(map.clone()).to_string()).unwrap();
            let out: serde_json::Value = serde_json::from_slice(&raw.with(&[("model", Some("1".into()))])).unwrap();
            map.insert("model".into(), 1.into());
            prop_assert_eq!(out, serde_json::Value::Object(map));
        }
    }
}

//! All text of a request, for those who look for data in it.
//!
//! **Promise.** Every string, key and whole number of the body is in it, in fields that are known here or not: a provider
//! gets the whole body, so what nobody here reads can carry data, too. Text parts of one message belong together, so that
//! what was split between them is seen. What is no text is counted: pictures, sound, files by value (unless they are text)
//! and whatever is only named by an address or an id. So are lists of tokens (`/v1/embeddings`), each as a file: what they say only
//! the model knows.
//!
//! **Failure behaviour.** None: the body was parsed before. A value that cannot be read again counts as an unscanned file.

use super::WireRequest;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use policies::detect::{Passage, Unscanned};
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The text of a request.
#[derive(Debug, Default)]
pub struct Content<'a> {
    /// In the body's order.
    pub passages: Vec<Passage<'a>>,
    /// Where each part of each passage is in the body; `None`: it is no text of its own there, or one that must not change.
    pub places: Vec<Vec<Option<Place>>>,
    /// What is no text.
    pub unscanned: Unscanned,
    /// Strings, keys included, that were read of the field that is walked through.
    strings: usize,
    field: usize,
}

/// Where in a body a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the top-level field.
    pub field: usize,
    /// The number of the string in it, keys counted, too.
    pub string: usize,
    /// Bytes that the part has before the string's own: its key.
    pub prefix: usize,
}

/// Keys whose values speak for themselves; any other is read together with its value: `ssn: ...`.
const PLAIN: [&str; 12] =
    ["content", "text", "refusal", "arguments", "description", "name", "role", "type", "url", "prompt", "model", "id"];

/// Keys whose values mean something to the provider as they are.
const FIXED: [&str; 14] = [
    "model",
    "type",
    "role",
    "url",
    "name",
    "id",
    "tool_call_id",
    "image_url",
    "audio_url",
    "format",
    "pattern",
    "$ref",
    "media_type",
    "detail",
];

/// What a value is that is no text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Medium {
    Picture,
    Audio,
    File,
}

/// Walks one value.
struct Walk<'c, 'a> {
    content: &'c mut Content<'a>,
    key: &'c str,
    /// The key of the object around it.
    parent: &'c str,
    /// Where texts of a message's parts go.
    parts: Option<&'c mut Parts<'a>>,
}

/// Texts that belong together, with their places.
type Parts<'a> = (Passage<'a>, Vec<Option<Place>>);

// === impl Content ===

impl<'a> Content<'a> {
    /// Reads a request.
    pub fn of(request: &'a WireRequest) -> Self {
        let mut content = Self::default();
        for (field, (key, value)) in request.raw.fields().enumerate() {
            (content.field, content.strings) = (field, 0);
            if let Some(inputs) =
                request.view.inputs().filter(|_| key == "input").filter(|inputs| inputs.texts().is_empty())
            {
                // Tokens of a vocabulary that only the model knows.
                content.unscanned.files += u32::try_from(inputs.tokens().len()).unwrap_or(u32::MAX);
                continue;
            }
            let mut reader = serde_json::Deserializer::from_str(value);
            let walk = Walk { content: &mut content, key, parent: "", parts: None };
            if walk.deserialize(&mut reader).is_err() {
                content.unscanned.files += 1;
            }
        }
        content
    }

    /// A text that stands alone, and where it may be changed.
    fn add(&mut self, text: Cow<'a, str>, place: Option<Place>) {
        self.passages.push(vec![text]);
        self.places.push(vec![place]);
    }

    fn count(&mut self, medium: Medium) {
        match medium {
            Medium::Picture => self.unscanned.pictures += 1,
            Medium::Audio => self.unscanned.audio += 1,
            Medium::File => self.unscanned.files += 1,
        }
    }

    /// A picture, sound or file: by value, or by its address.
    fn attach(&mut self, medium: Medium, value: Cow<'a, str>) {
        let payload = match value.strip_prefix("data:").map(|data| data.split_once(',')) {
            Some(Some((kind, payload))) if kind.ends_with("base64") => payload,
            Some(_) => return self.add(value, None),
            None if value.contains("://") => {
                self.count(medium);
                return self.add(value, None);
            }
            None => value.as_ref(),
        };
        match BASE64_STANDARD.decode(payload).map(String::from_utf8) {
            Ok(Ok(text)) => self.add(Cow::Owned(text), None),
            Ok(Err(_)) => self.count(medium),
            // An id, or what somebody took for base64: it is read, and stands for something that is not here.
            Err(_) => {
                self.count(medium);
                self.add(value, None);
            }
        }
    }
}

// === impl Walk ===

impl<'a> Walk<'_, 'a> {
    fn medium(&self) -> Option<Medium> {
        match (self.parent, self.key) {
            (_, "image_url") | ("image_url", "url") => Some(Medium::Picture),
            (_, "audio_url") | ("audio_url", "url") | ("input_audio", "data") | ("audio", "id" | "data") => {
                Some(Medium::Audio)
            }
            (_, "file_data" | "file_id" | "file_url" | "video_url") | ("source", "data") => Some(Medium::File),
            ("file_url" | "video_url", "url") => Some(Medium::File),
            _ => None,
        }
    }

    /// A number: nothing else can take its place.
    fn number(self, text: String) {
        self.put(Cow::Owned(text), false);
    }

    fn text(self, text: Cow<'a, str>) {
        self.content.strings += 1;
        let open = !FIXED.contains(&self.key);
        self.put(text, open);
    }

    fn put(self, text: Cow<'a, str>, open: bool) {
        if let Some(medium) = self.medium() {
            return self.content.attach(medium, text);
        }
        let (field, string) = (self.content.field, self.content.strings.saturating_sub(1));
        let place = |prefix: usize| open.then_some(Place { field, string, prefix });
        match self.parts {
            Some(parts) if matches!(self.key, "text" | "refusal") => {
                parts.0.push(text);
                parts.1.push(place(0));
            }
            _ if PLAIN.contains(&self.key) || self.key.is_empty() => self.content.add(text, place(0)),
            _ => {
                let prefix = self.key.len() + 2;
                self.content.add(Cow::Owned(format!("{}: {text}", self.key)), place(prefix));
            }
        }
    }
}

impl<'a> DeserializeSeed<'a> for Walk<'_, 'a> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Walk<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.number(number.to_string());
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.number(number.to_string());
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        // 4111111111111111.0 is a whole number, too; 19 digits do not fit into a float exactly, and no client writes so.
        if number.fract() == 0.0 {
            self.number(format!("{number:.0}"));
        }
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<(), E> {
        self.text(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.text(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        let Walk { content, key, parent, parts } = self;
        let mut own = Parts::default();
        // The outermost list of parts keeps its texts together, and its entries have no key.
        let mine = key == "content" && parts.is_none();
        let (key, parent) = if mine { ("", key) } else { (key, parent) };
        let mut parts = if mine { Some(&mut own) } else { parts };
        loop {
            let walk = Walk { content: &mut *content, key, parent, parts: parts.as_deref_mut() };
            if list.next_element_seed(walk)?.is_none() {
                break;
            }
        }
        if !own.0.is_empty() {
            content.passages.push(own.0);
            content.places.push(own.1);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let Walk { content, key: parent, parts, .. } = self;
        let mut parts = parts;
        while let Some(key) = map.next_key::<String>()? {
            content.strings += 1;
            // A key that could itself be what is looked for.
            if key.bytes().any(|byte| byte.is_ascii_digit() || !byte.is_ascii() || matches!(byte, b'@' | b':' | b'-')) {
                content.add(Cow::Owned(key.clone()), None);
            }
            map.next_value_seed(Walk { content: &mut *content, key: &key, parent, parts: parts.as_deref_mut() })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use policies::Endpoint;
    use serde_json::json;

    #[test]
    fn every_string_is_read_parts_stay_together_and_what_is_no_text_is_counted() {
        let body = json!({
            "model": "auto",
            "messages": [
                {"role": "system", "content": "sys"},
                {"role": "user", "name": "nam", "content": [
                    {"type": "text", "text": "par"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                    {"type": "image_url", "image_url": {"url": "https://pictures.example/1"}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA/w==", "format": "wav"}},
                    {"type": "file", "file": {"filename": "fil", "file_data": "data:text/plain;base64,aW5uZXI="}},
                    {"type": "file", "file": {"file_id": "file-abc"}},
                    {"type": "text", "text": "ted"},
                ]},
                {"role": "assistant", "tool_calls": [{"id": "c", "type": "function",
                    "function": {"name": "fun", "arguments": "{\"a\":\"arg\"}"}}]},
                {"role": "tool", "tool_call_id": "c", "content": "res"},
            ],
            "tools": [{"type": "function", "function": {"name": "t", "description": "des",
                "parameters": {"properties": {"p": {"enum": ["enu"]}}}}}],
            "metadata": {"ssn": "met", "a@b.co": true},
            "unknown": [[4_111_111_111_111_111_u64]],
        });
        let request = WireRequest::parse(Endpoint::Chat, Bytes::from(body.to_string())).unwrap();
        let content = Content::of(&request);
        assert!(content.passages.iter().any(|passage| passage.as_slice() == ["par", "ted"]));
        let all: Vec<&str> = content.passages.iter().flatten().map(AsRef::as_ref).collect();
        for text in [
            "sys",
            "nam",
            "filename: fil",
            "inner",
            "fun",
            "{\"a\":\"arg\"}",
            "res",
            "des",
            "enum: enu",
            "ssn: met",
            "a@b.co",
            "https://pictures.example/1",
            "unknown: 4111111111111111",
            "file_id: file-abc",
        ] {
            let bare = text.strip_prefix("file_id: ").unwrap_or(text);
            assert!(all.contains(&text) || all.contains(&bare), "{text}: {all:?}");
        }
        assert_eq!(content.unscanned, Unscanned { text_bytes: 0, pictures: 2, audio: 1, files: 1 });
    }
}

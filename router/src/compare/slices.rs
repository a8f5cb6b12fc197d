//! The parts of the traffic that are judged on their own: kind of task, length, language, key and tags.
//!
//! **Promise.** What slice a request is in depends on what was asked and by whom, never on an answer: a slice that looked at
//! answers would choose its own verdict.
//!
//! **How.** By rules that anybody can check by eye, not by a model. They are coarse; a row or a client that names the kind
//! or the language (a tag `kind` or `language`) is believed.

use policies::Endpoint;
use serde::{Deserialize, Serialize};

/// A part of the traffic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slice {
    /// What it is cut by: `kind`, `length`, `language`, `key` or `tag`.
    pub by: String,
    /// Its value there.
    pub value: String,
}

/// What slices are read from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Everything that was asked, as text.
    pub text: &'a str,
    /// Tools are on offer.
    pub tools: bool,
    /// JSON is wanted.
    pub json: bool,
    /// The caller's key.
    pub key: Option<&'a str>,
    /// Labels.
    pub tags: &'a [(String, String)],
}

/// Labels that name a slice in place of the rules below.
const NAMED: [&str; 2] = ["kind", "language"];
/// Labels of a request that become slices.
const MOST_TAGS: usize = 8;

// === impl Slice ===

impl Slice {
    fn new(by: &str, value: impl Into<String>) -> Self {
        Self { by: by.into(), value: value.into() }
    }
}

impl std::fmt::Display for Slice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.by, self.value)
    }
}

// === impl Asked ===

impl<'a> Asked<'a> {
    /// What a request asks.
    pub fn of(
        request: &adapters::wire::WireRequest,
        text: &'a str,
        key: Option<&'a str>,
        tags: &'a [(String, String)],
    ) -> Self {
        use adapters::wire::Format;
        let view = &request.view;
        let json = matches!(view.format, Format::JsonObject | Format::JsonSchema(_));
        let tools = request.endpoint == Endpoint::Chat && !view.tools.is_empty();
        Self { text, tools, json, key, tags }
    }

    /// The slices that it is in.
    pub fn slices(&self) -> Vec<Slice> {
        let named = |name: &str| self.tags.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let mut slices = vec![
            Slice::new("kind", named("kind").unwrap_or_else(|| self.kind().into())),
            Slice::new("length", self.length()),
            Slice::new("language", named("language").unwrap_or_else(|| language(self.text).into())),
        ];
        slices.extend(self.key.map(|key| Slice::new("key", key)));
        let tags = self.tags.iter().filter(|(key, _)| !NAMED.contains(&key.as_str())).take(MOST_TAGS);
        slices.extend(tags.map(|(key, value)| Slice::new("tag", format!("{key}={value}"))));
        slices
    }

    fn kind(&self) -> &'static str {
        let lower = self.text.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if self.tools {
            "tools"
        } else if self.json {
            "json"
        } else if has(&[
            "```",
            "function",
            "def ",
            "class ",
            "compile",
            "sql",
            "regex",
            "python",
            "javascript",
            " rust",
        ]) {
            "code"
        } else if has(&["translate", "übersetze", "traduis", "traduce"]) {
            "translation"
        } else if has(&["summar", "zusammenfass", "tl;dr", "résum"]) {
            "summary"
        } else if has(&["calculate", "solve", "how many", "how much", "equation", "berechne", "prove"]) || sums(&lower)
        {
            "mathematics"
        } else if has(&["classify", "sentiment", "extract", "which of the following"]) {
            "extraction"
        } else if self.text.trim_end().ends_with('?') {
            "question"
        } else {
            "other"
        }
    }

    fn length(&self) -> &'static str {
        match self.text.len() {
            0..400 => "short",
            400..4_000 => "medium",
            _ => "long",
        }
    }
}

/// A number, a sign of arithmetic and another number.
fn sums(text: &str) -> bool {
    let mut digits_then_sign = false;
    let mut before = ' ';
    for char in text.chars().filter(|char| !char.is_whitespace()) {
        if digits_then_sign && char.is_ascii_digit() {
            return true;
        }
        digits_then_sign = before.is_ascii_digit() && matches!(char, '+' | '*' | '×' | '÷' | '=' | '^');
        before = char;
    }
    false
}

/// The language of a text: by its script, else by small words.
fn language(text: &str) -> &'static str {
    let script = text.chars().filter(|char| char.is_alphabetic()).take(400);
    let (mut latin, mut others) = (0, [0; 7]);
    for char in script {
        match u32::from(char) {
            0x0400..=0x052f => others[0] += 1,
            0x0590..=0x05ff => others[1] += 1,
            0x0600..=0x06ff => others[2] += 1,
            0x0900..=0x097f => others[3] += 1,
            0x3040..=0x30ff => others[4] += 1,
            0xac00..=0xd7af => others[5] += 1,
            0x4e00..=0x9fff => others[6] += 1,
            _ => latin += 1,
        }
    }
    let names = ["cyrillic", "he", "ar", "hi", "ja", "ko", "zh"];
    // Japanese is written with Han signs, too; its own are what tells.
    if others[4] > 0 && others[4] + others[6] > latin {
        return "ja";
    }
    if let Some((at, most)) = others.iter().enumerate().max_by_key(|(_, count)| **count)
        && *most > latin
    {
        return names[at];
    }
    let words: Vec<String> = text.split(|char: char| !char.is_alphabetic()).take(400).map(str::to_lowercase).collect();
    let small: [(&str, &[&str]); 5] = [
        ("en", &["the", "of", "is", "what", "and", "to", "how", "a"]),
        ("de", &["der", "die", "das", "und", "ist", "ein", "eine", "wie"]),
        ("fr", &["le", "la", "les", "est", "et", "une", "des", "quelle"]),
        ("es", &["el", "los", "es", "qué", "una", "y", "cómo", "las"]),
        ("it", &["il", "che", "è", "gli", "di", "una", "come", "della"]),
    ];
    let counted = small.map(|(name, of)| (name, words.iter().filter(|word| of.contains(&word.as_str())).count()));
    counted
        .iter()
        .rev()
        .max_by_key(|(_, count)| *count)
        .filter(|(_, count)| *count > 0)
        .map_or("unknown", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        Asked { text, ..Asked::default() }.slices().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_request_is_in_slices_that_anybody_can_check() {
        for (text, kind, language) in [
            ("What is the capital of France?", "question", "en"),
            ("Write a Python function that sorts.", "code", "en"),
            ("Wie ist das Wetter und wo ist die Sonne?", "question", "de"),
            ("Quelle est la capitale et les villes ?", "question", "fr"),
            ("12 + 30 =", "mathematics", "unknown"),
            ("これは何ですか", "other", "ja"),
            ("Переведи это", "other", "cyrillic"),
        ] {
            assert_eq!(
                of(text),
                [format!("kind={kind}"), "length=short".into(), format!("language={language}")],
                "{text}"
            );
        }
        assert_eq!(of(&"word ".repeat(2_000))[1], "length=long");
    }

    #[test]
    fn what_a_client_names_is_believed_and_keys_and_tags_are_slices() {
        let tags: Vec<(String, String)> =
            [("job", "nightly"), ("kind", "triage")].map(|(key, value)| (key.into(), value.into())).to_vec();
        let asked = Asked { text: "Which one?", key: Some("k1"), tags: &tags, ..Asked::default() };
        let slices: Vec<String> = asked.slices().iter().map(ToString::to_string).collect();
        assert_eq!(slices, ["kind=triage", "length=short", "language=unknown", "key=k1", "tag=job=nightly"]);
    }
}

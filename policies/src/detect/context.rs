//! Words beside a candidate that say what it is.
//!
//! A number whose check digit leaves one random number in ten standing is a finding only beside such a word, in any of
//! some twenty languages. Only the surroundings of a candidate are read: [`BEFORE`] bytes and [`AFTER`] bytes, so that a
//! candidate costs the same wherever it stands.

use super::DetectError;
use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};
use std::ops::Range;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Bytes before a candidate that are read.
const BEFORE: usize = 96;
/// Bytes after it.
const AFTER: usize = 48;
/// A word of so many letters must stand alone; a longer one may be inflected or compounded.
const ALONE: usize = 4;

const WORDS: &str = include_str!("words.txt");

/// What surroundings speak of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Topics(u16);

/// The words, compiled.
#[derive(Debug)]
pub(super) struct Words {
    search: AhoCorasick,
    /// Of each pattern: what it speaks of, and whether it must stand alone.
    meanings: Vec<(Topics, bool)>,
}

// === impl Topics ===

impl Topics {
    pub(super) const CARD: Self = Self(1);
    pub(super) const ID: Self = Self(1 << 1);
    pub(super) const PASSPORT: Self = Self(1 << 2);
    pub(super) const MEDICAL: Self = Self(1 << 3);
    pub(super) const PHONE: Self = Self(1 << 4);
    pub(super) const MACHINE: Self = Self(1 << 5);
    pub(super) const VERSION: Self = Self(1 << 6);
    pub(super) const SOCIAL: Self = Self(1 << 7);
    /// Those that make a number a finding that its form alone does not.
    pub(super) const OF_NUMBERS: Self = Self::CARD.and(Self::ID).and(Self::SOCIAL).and(Self::OF_BEFORE);
    /// Those that count right before a number.
    pub(super) const OF_BEFORE: Self = Self::PASSPORT.and(Self::MEDICAL).and(Self::PHONE);

    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "card" => Self::CARD,
            "id" => Self::ID,
            "passport" => Self::PASSPORT,
            "medical" => Self::MEDICAL,
            "phone" => Self::PHONE,
            "machine" => Self::MACHINE,
            "version" => Self::VERSION,
            "social" => Self::SOCIAL,
            _ => return None,
        })
    }

    /// Whether they speak of that.
    pub(super) fn has(self, topic: Self) -> bool {
        self.0 & topic.0 != 0
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

// === impl Words ===

impl Words {
    pub(super) fn compile() -> Result<Self, DetectError> {
        let (mut patterns, mut meanings) = (Vec::new(), Vec::new());
        for line in WORDS.lines().filter(|line| !line.starts_with('#')) {
            let Some((topic, words)) = line.split_once(": ") else { continue };
            let Some(topic) = Topics::named(topic) else { continue };
            for word in words.split(',').map(|word| fold(word.trim())) {
                let wide = word.chars().any(is_unspaced);
                meanings.push((topic, !wide && word.chars().count() <= ALONE));
                patterns.push(word);
            }
        }
        let search = AhoCorasickBuilder::new()
            .kind(Some(AhoCorasickKind::DFA))
            .match_kind(MatchKind::Standard)
            .build(&patterns)?;
        Ok(Self { search, meanings })
    }

    /// What the surroundings of a candidate speak of.
    pub(super) fn around(&self, text: &str, candidate: &Range<usize>) -> Topics {
        let before = &text[floor(text, candidate.start.saturating_sub(BEFORE))..candidate.start];
        let after = &text[candidate.end..ceil(text, candidate.end.saturating_add(AFTER))];
        self.in_text(&fold(before)).and(self.in_text(&fold(after)))
    }

    /// What the words right before a candidate speak of, within so many bytes.
    pub(super) fn before(&self, text: &str, start: usize, reach: usize) -> Topics {
        self.in_text(&fold(&text[floor(text, start.saturating_sub(reach))..start]))
    }

    /// What a whole text speaks of anywhere.
    pub(super) fn anywhere(&self, text: &str) -> Topics {
        self.in_text(&fold(text))
    }

    fn in_text(&self, folded: &str) -> Topics {
        let mut topics = Topics::default();
        for found in self.search.find_overlapping_iter(folded) {
            let Some((topic, alone)) = self.meanings.get(found.pattern().as_usize()) else { continue };
            let begins = folded[..found.start()].chars().next_back();
            let first = folded[found.start()..].chars().next();
            let starts = begins.is_none_or(|letter| !letter.is_alphanumeric() || is_unspaced(letter))
                || first.is_some_and(is_unspaced);
            let ends = !alone || !folded[found.end()..].starts_with(|letter: char| letter.is_alphabetic());
            if starts && ends {
                topics = topics.and(*topic);
            }
        }
        topics
    }
}

/// Lower case without accents: people type `numero` and `número`.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_lowercase).nfd().filter(|letter| !is_combining_mark(*letter)).collect()
}

/// A letter of a script that puts no spaces between words, or composes syllables (Hangul's parts after decomposition).
fn is_unspaced(letter: char) -> bool {
    matches!(letter, '\u{1100}'..='\u{11FF}' | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}')
}

/// The next boundary of a character at or below.
pub(super) fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The next boundary of a character at or above.
pub(super) fn ceil(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole_inflected_and_in_scripts_without_spaces() {
        let words = Words::compile().unwrap();
        for (text, topic, there) in [
            ("My Credit Card is #", Topics::CARD, true),
            ("discarded: #", Topics::CARD, false),
            ("Número de identificación: #", Topics::ID, true),
            ("a cardinal number #", Topics::CARD, false),
            ("Henkilötunnukseni on #", Topics::ID, true),
            ("我的身份证号是#", Topics::ID, true),
            ("여권번호는 #", Topics::PASSPORT, true),
            ("passport_number=#", Topics::PASSPORT, true),
            ("it is # (my SSN)", Topics::ID, true),
            ("single #", Topics::ID, false),
            ("ni idea, sin nada #", Topics::ID, false),
            ("hotel #", Topics::PHONE, false),
        ] {
            let at = text.find('#').unwrap();
            assert_eq!(words.around(text, &(at..at + 1)).has(topic), there, "{text}");
        }
    }
}

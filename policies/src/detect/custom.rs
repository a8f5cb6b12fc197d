//! Patterns and lists of words from the configuration.
//!
//! Expressions run as one set without backtracking. Whether one matches is asked, not how often: to list every match takes
//! time with the square of a text for some expressions, so a text counts once.

use super::DetectError;
use crate::residency::DataClass;
use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use regex::{RegexSet, RegexSetBuilder};
use std::sync::Arc;

/// An expression to look for.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// What records call it.
    pub name: String,
    /// In the syntax of the crate `regex`.
    pub regex: String,
    /// The class that it sets.
    pub class: DataClass,
}

/// Words to look for, whole and in any case.
#[derive(Clone, Debug)]
pub struct WordList {
    /// What records call it.
    pub name: String,
    /// The words; none may be empty.
    pub words: Vec<String>,
    /// The class that they set.
    pub class: DataClass,
}

/// The most memory that all expressions together may take, in bytes.
const SIZE: usize = 16 << 20;

/// What was configured, compiled.
#[derive(Debug)]
pub(super) struct Custom {
    set: RegexSet,
    words: AhoCorasick,
    /// Of each word: its list, behind the expressions.
    lists: Vec<usize>,
    /// Names and classes: expressions, then lists.
    pub(super) rules: Vec<(Arc<str>, DataClass)>,
}

// === impl Custom ===

impl Custom {
    pub(super) fn compile(patterns: &[Pattern], lists: &[WordList]) -> Result<Self, DetectError> {
        let set = RegexSetBuilder::new(patterns.iter().map(|pattern| &pattern.regex)).size_limit(SIZE).build();
        let set = set.map_err(|error| named(patterns, &error))?;
        if let Some(empty) =
            patterns.iter().find(|pattern| regex::Regex::new(&pattern.regex).is_ok_and(|r| r.is_match("")))
        {
            return Err(DetectError::MatchesNothing(empty.name.clone()));
        }
        let mut rules: Vec<(Arc<str>, DataClass)> = Vec::new();
        rules.extend(patterns.iter().map(|pattern| (pattern.name.as_str().into(), pattern.class)));
        let (mut words, mut owners) = (Vec::new(), Vec::new());
        for list in lists {
            if list.words.is_empty() || list.words.iter().any(|word| word.trim().is_empty()) {
                return Err(DetectError::EmptyWord(list.name.clone()));
            }
            words.extend(list.words.iter().map(|word| word.trim().to_lowercase()));
            owners.extend(list.words.iter().map(|_| rules.len()));
            rules.push((list.name.as_str().into(), list.class));
        }
        let words = AhoCorasickBuilder::new()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .build(words)?;
        Ok(Self { set, words, lists: owners, rules })
    }

    /// What is in a text: a rule, and the word in lower case or (for an expression) nothing.
    pub(super) fn find(&self, text: &str, mut found: impl FnMut(usize, &str)) {
        if !self.set.is_empty() {
            self.set.matches(text).into_iter().for_each(|rule| found(rule, ""));
        }
        if self.lists.is_empty() {
            return;
        }
        let lower;
        let text = if text.is_ascii() {
            text
        } else {
            lower = text.to_lowercase();
            &lower
        };
        for word in self.words.find_iter(text) {
            let before = text[..word.start()].chars().next_back();
            let after = text[word.end()..].chars().next();
            let whole =
                [before, after].into_iter().flatten().all(|letter| !letter.is_alphanumeric() || !letter.is_ascii());
            if let (true, Some(rule)) = (whole, self.lists.get(word.pattern().as_usize())) {
                found(*rule, &text[word.range()].to_lowercase());
            }
        }
    }
}

/// The expression that cannot be compiled, by name.
fn named(patterns: &[Pattern], error: &regex::Error) -> DetectError {
    let wrong = patterns.iter().find_map(|pattern| {
        let error = regex::Regex::new(&pattern.regex).err()?;
        // The first line only: the rest repeats the expression.
        let text = error.to_string();
        Some((pattern.name.clone(), text.lines().last().unwrap_or_default().trim().to_owned()))
    });
    let (name, why) = wrong.unwrap_or_else(|| ("patterns".into(), error.to_string()));
    DetectError::Regex { name, why }
}

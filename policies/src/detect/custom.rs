//! Patterns and lists of words from the configuration.
//!
//! Expressions run as one set without backtracking. Whether one matches is asked, not how often: to list every match takes
//! time with the square of a text for some expressions, so a text counts once. Where matches have to be located, the first
//! [`LOCATED`] of each expression are.

use super::DetectError;
use super::kind::Kind;
use super::places::Places;
use crate::residency::DataClass;
use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use std::ops::Range;
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

/// The most matches of an expression in a text that are located: each may take a pass over the text.
const LOCATED: usize = 256;

/// What was configured, compiled.
#[derive(Debug)]
pub(super) struct Custom {
    set: RegexSet,
    /// The same by themselves.
    each: Vec<Regex>,
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
        let mut each = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let regex = RegexBuilder::new(&pattern.regex).size_limit(SIZE).build();
            let regex = regex.map_err(|error| named(patterns, &error))?;
            if regex.is_match("") {
                return Err(DetectError::MatchesNothing(pattern.name.clone()));
            }
            each.push(regex);
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
        Ok(Self { set, each, words, lists: owners, rules })
    }

    /// What is in a text: a rule, and the word in lower case or (for an expression) nothing.
    pub(super) fn find(&self, text: &str, mut found: impl FnMut(usize, &str)) {
        if !self.set.is_empty() {
            self.set.matches(text).into_iter().for_each(|rule| found(rule, ""));
        }
        self.words(text, |rule, _, word| found(rule, word));
    }

    /// Where matches are, and what they are in lower case.
    pub(super) fn locate(&self, text: &str, mut found: impl FnMut(Kind, Range<usize>, String)) {
        let kind = |rule: usize| Kind::Configured(u16::try_from(rule).unwrap_or(u16::MAX));
        for rule in &self.set.matches(text) {
            let matches = self.each.get(rule).into_iter().flat_map(|regex| regex.find_iter(text).take(LOCATED));
            matches.filter(|one| !one.is_empty()).for_each(|one| {
                found(kind(rule), one.range(), one.as_str().to_lowercase());
            });
        }
        // In lower case a letter may be longer or shorter.
        let places = (!text.is_ascii() && !self.lists.is_empty()).then(|| Places::of_lower(text));
        self.words(text, |rule, range, word| {
            let range = match &places {
                Some(places) => places.of(&range),
                None => Some(range),
            };
            range.into_iter().for_each(|range| found(kind(rule), range, word.to_owned()));
        });
    }

    /// The kind of the rule with that name.
    pub(super) fn kind(&self, name: &str) -> Option<Kind> {
        let place = self.rules.iter().position(|(rule, _)| **rule == *name)?;
        u16::try_from(place).ok().map(Kind::Configured)
    }

    /// Name and class of a rule.
    pub(super) fn rule(&self, place: u16) -> Option<&(Arc<str>, DataClass)> {
        self.rules.get(usize::from(place))
    }

    /// Words of lists in a text: the list's rule, where in the text in lower case, and the word.
    fn words(&self, text: &str, mut found: impl FnMut(usize, Range<usize>, &str)) {
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
                found(*rule, word.range(), &text[word.range()].to_lowercase());
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

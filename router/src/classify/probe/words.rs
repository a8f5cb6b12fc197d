//! What is counted of the words of a text.

use super::lexicon::{KINDS, is_grammar, kinds_of};
use std::collections::HashSet;

/// What was counted of the words of a question.
#[derive(Default)]
pub(super) struct Words {
    pub(super) count: usize,
    pub(super) chars: usize,
    pub(super) longest: usize,
    pub(super) long: usize,
    pub(super) grammar: usize,
    pub(super) single_letters: usize,
    pub(super) all_capitals: usize,
    pub(super) names: usize,
    pub(super) different: HashSet<String>,
    pub(super) kinds: [u32; KINDS.len()],
    pub(super) first_kinds: u32,
}

// === impl Words ===

impl Words {
    pub(super) fn of(text: &str) -> Self {
        let mut words = Self::default();
        let mut before = '\n';
        for word in text.split(|char: char| !char.is_alphabetic() && char != '\'').filter(|word| !word.is_empty()) {
            let at = word.as_ptr() as usize - text.as_ptr() as usize;
            if let Some(char) = text[..at].trim_end_matches(' ').chars().next_back() {
                before = char;
            }
            words.take(word.trim_matches('\''), before);
        }
        words
    }

    fn take(&mut self, word: &str, before: char) {
        let chars = word.chars().count();
        if chars == 0 {
            return;
        }
        let lower = word.to_lowercase();
        self.count += 1;
        self.chars += chars;
        self.longest = self.longest.max(chars.min(40));
        self.long += usize::from(chars >= 9);
        self.single_letters += usize::from(chars == 1);
        let first_is_capital = word.starts_with(char::is_uppercase);
        self.all_capitals += usize::from(chars >= 2 && word.chars().all(char::is_uppercase));
        let goes_on = before.is_lowercase() || before == ',';
        self.names += usize::from(goes_on && first_is_capital && chars > 1);
        self.grammar += usize::from(is_grammar(&lower));
        let kinds = kinds_of(&lower);
        for (bit, count) in self.kinds.iter_mut().enumerate() {
            *count += kinds >> bit & 1;
        }
        if self.count <= 2 {
            self.first_kinds |= kinds;
        }
        self.different.insert(lower);
    }

    pub(super) fn share(&self, count: usize) -> f32 {
        count as f32 / self.count.max(1) as f32
    }
}

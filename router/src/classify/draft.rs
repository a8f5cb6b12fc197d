//! Judging a local answer by itself: is it likely wrong?
//!
//! **Promise.** From what was generated so far, pure arithmetic gives the probability that the answer is not good enough.
//! The same draft gives the same number.
//!
//! **Why.** Looking at the local answer beats every judge that reads only the prompt: how sure the model was of its first
//! tokens, how much it repeats itself, whether it refuses, whether the form is the one that was asked for. Two linear heads
//! over the same features: one for a beginning, one for a whole answer. They were fitted on answers of the default
//! model to tasks with known answers (`scripts/train-answer-head`), their file says when and how well.
//!
//! **What it does not do.** It does not know whether a statement is true.

use adapters::wire::{Certainty, Seen};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::LazyLock;

const HEAD: &str = include_str!("../../assets/heads/answer.json");

/// The names of the features, in the order of the head's weights.
pub const FEATURES: [&str; 12] = [
    "mean_logprob",
    "min_logprob",
    "first_logprob",
    "mean_entropy",
    "max_entropy",
    "first_entropy",
    "log_tokens",
    "repetition",
    "refusal",
    "wrong_form",
    "cut",
    "need",
];

/// Beginnings and phrases with which small models give up.
const REFUSALS: [&str; 14] = [
    "i'm sorry",
    "i am sorry",
    "i cannot",
    "i can't",
    "i'm not able",
    "i am not able",
    "i'm unable",
    "as an ai",
    "as a language model",
    "i don't have",
    "i do not have",
    "i don't know",
    "es tut mir leid",
    "lo siento",
];

/// What was generated so far.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    text: String,
    certainty: Vec<Certainty>,
    finish: Option<String>,
}

/// What the request says about a good answer.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// How much the strong model was thought to be needed.
    pub need: f32,
    /// The answer has to be JSON.
    pub json: bool,
}

/// How likely a draft is not good enough, and what that was read from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Doubt {
    /// 0 to 1.
    pub wrong: f32,
    /// The features by name.
    pub features: Vec<(&'static str, f32)>,
}

/// The two heads.
#[derive(Debug, Deserialize)]
pub struct AnswerHead {
    /// Names it.
    pub version: String,
    prefix: Linear,
    whole: Linear,
}

#[derive(Debug, Deserialize)]
struct Linear {
    bias: f32,
    mean: Vec<f32>,
    scale: Vec<f32>,
    weights: Vec<f32>,
}

// === impl Draft ===

impl Draft {
    /// Takes an event in.
    pub fn push(&mut self, seen: &Seen) {
        self.text.push_str(&seen.text);
        self.certainty.extend_from_slice(&seen.certainty);
        if seen.finish.is_some() {
            self.finish.clone_from(&seen.finish);
        }
    }

    /// Tokens whose certainty is known.
    pub fn tokens(&self) -> usize {
        self.certainty.len()
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// There is text, or an end.
    pub fn has_text(&self) -> bool {
        !self.text.is_empty() || self.finished()
    }

    /// The answer is complete.
    pub fn finished(&self) -> bool {
        self.finish.is_some()
    }

    fn features(&self, wanted: Wanted) -> [f32; FEATURES.len()] {
        let count = self.certainty.len().max(1) as f32;
        let logprobs = || self.certainty.iter().map(|token| token.logprob.max(-20.0));
        let entropies = || self.certainty.iter().map(|token| token.entropy);
        let first = self.certainty.first().copied().unwrap_or(Certainty { logprob: 0.0, entropy: 0.0 });
        let flag = |is: bool| f32::from(u8::from(is));
        let lower = self.text.chars().take(400).collect::<String>().to_lowercase().replace('\u{2019}', "'");
        [
            logprobs().sum::<f32>() / count,
            logprobs().fold(0.0, f32::min),
            first.logprob.max(-20.0),
            entropies().sum::<f32>() / count,
            entropies().fold(0.0, f32::max),
            first.entropy,
            (1.0 + self.certainty.len() as f32).log2(),
            repetition(&self.text),
            flag(REFUSALS.iter().any(|phrase| lower.contains(phrase))),
            flag(wanted.json && self.is_no_json()),
            flag(self.finish.as_deref() == Some("length")),
            wanted.need,
        ]
    }

    fn is_no_json(&self) -> bool {
        let text = self.text.trim();
        match self.finished() {
            true => serde_json::from_str::<serde::de::IgnoredAny>(text).is_err(),
            false => !text.is_empty() && !text.starts_with(['{', '[', '"']),
        }
    }
}

/// The share of word triples that were there before.
fn repetition(text: &str) -> f32 {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() < 6 {
        return 0.0;
    }
    let mut known = HashSet::new();
    let again = words.windows(3).filter(|triple| !known.insert(*triple)).count();
    again as f32 / (words.len() - 2) as f32
}

// === impl AnswerHead ===

impl AnswerHead {
    /// The heads in the binary.
    pub fn bundled() -> &'static Self {
        static BUNDLED: LazyLock<AnswerHead> = LazyLock::new(|| {
            // A test reads the file: it is what it should be.
            serde_json::from_str(HEAD).unwrap_or_else(|_| AnswerHead::ignorant())
        });
        &BUNDLED
    }

    fn ignorant() -> Self {
        let none = || Linear { bias: 0.0, mean: vec![], scale: vec![], weights: vec![] };
        Self { version: "none".into(), prefix: none(), whole: none() }
    }

    /// Judges what was generated so far.
    pub fn doubt(&self, draft: &Draft, wanted: Wanted) -> Doubt {
        let features = draft.features(wanted);
        let linear = if draft.finished() { &self.whole } else { &self.prefix };
        Doubt { wrong: linear.probability(&features), features: FEATURES.into_iter().zip(features).collect() }
    }
}

impl Linear {
    fn probability(&self, features: &[f32]) -> f32 {
        let standard = features.iter().zip(&self.mean).zip(&self.scale).map(|((is, mean), scale)| (is - mean) / scale);
        let sum = self.bias + standard.zip(&self.weights).map(|(is, weight)| is * weight).sum::<f32>();
        1.0 / (1.0 + (-sum).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = Wanted { need: 0.3, json: false };

    fn draft(text: &str, logprob: f32, entropy: f32, tokens: usize, finish: Option<&str>) -> Draft {
        let certainty = vec![Certainty { logprob, entropy }; tokens];
        Draft { text: text.into(), certainty, finish: finish.map(Into::into) }
    }

    #[test]
    fn the_heads_in_the_binary_fit_the_features() {
        let head: AnswerHead = serde_json::from_str(HEAD).unwrap();
        for linear in [&head.prefix, &head.whole] {
            assert_eq!([linear.mean.len(), linear.scale.len(), linear.weights.len()], [FEATURES.len(); 3]);
            assert!(linear.scale.iter().all(|scale| *scale > 0.0));
        }
    }

    #[test]
    fn an_unsure_answer_is_doubted_more_than_a_sure_one() {
        let head = AnswerHead::bundled();
        for finish in [None, Some("stop")] {
            let sure = head.doubt(&draft("Paris.", -0.01, 0.05, 3, finish), WANTED);
            let unsure = head.doubt(&draft("Maybe it", -2.5, 3.5, 3, finish), WANTED);
            assert!(sure.wrong < unsure.wrong, "{sure:?} {unsure:?}");
        }
    }

    #[test]
    fn what_repeats_itself_is_seen() {
        assert!(repetition("a b c a b c a b c a b c") > 0.6 && repetition("one two three four five six seven") == 0.0);
    }

    #[test]
    fn the_form_is_checked_only_where_one_was_asked_for() {
        let at = FEATURES.iter().position(|name| *name == "wrong_form").unwrap();
        let json = Wanted { json: true, ..WANTED };
        let form = |text: &str, finish, wanted| draft(text, -0.1, 0.1, 4, finish).features(wanted)[at];
        assert_eq!(form("{\"a\":", None, json), 0.0);
        assert_eq!(form("{\"a\":", Some("length"), json), 1.0);
        assert_eq!(form("Sure, here", None, json), 1.0);
        assert_eq!(form("Sure, here", None, WANTED), 0.0);
    }
}

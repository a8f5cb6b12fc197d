//! How long the answers of a caller and a model have been.
//!
//! **Why.** An agent asks for 4,096 tokens at most and gets eighty. Setting the most aside would block its next call long
//! before its money is spent. So what is set aside for a stream is a high quantile of what the same key's answers of the
//! same model have had; should one be longer, its hold grows before it passes it.
//!
//! **What it does not know.** Tokens that are billed and not seen (reasoning): there a hold could not grow in time, so
//! models that had any are unknown here, and their ceiling is set aside.
//!
//! **Bounds.** [`KEPT`] pairs in each of two generations, [`RECENT`] answers a pair.

use parking_lot::Mutex;
use policies::{KeyId, ModelName, Usage};
use std::collections::{HashMap, VecDeque};

/// Pairs of key and model in each of the two generations.
const KEPT: usize = 4_096;
/// Answers that are remembered of a pair.
const RECENT: usize = 128;
/// Answers from which on a quantile is one.
const ENOUGH: usize = 20;
/// Which quantile.
const HIGH: f64 = 0.98;
/// No expectation is below this, in tokens.
const LEAST: u64 = 16;

type Pair = (Option<KeyId>, ModelName);

/// Remembers how long answers were.
#[derive(Debug, Default)]
pub(super) struct History {
    known: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Pair, Lengths>,
    old: HashMap<Pair, Lengths>,
}

#[derive(Debug, Default)]
struct Lengths {
    /// Output tokens, and whether some of them could not be seen.
    recent: VecDeque<(u64, bool)>,
}

// === impl History ===

impl History {
    /// Takes an answer that came to its end into account.
    pub(super) fn answered(&self, key: Option<&KeyId>, model: &ModelName, usage: &Usage) {
        let mut known = self.known.lock();
        let pair = (key.cloned(), model.clone());
        if known.young.len() >= KEPT && !known.young.contains_key(&pair) {
            known.old = std::mem::take(&mut known.young);
        }
        let old = known.old.remove(&pair).unwrap_or_default();
        let lengths = known.young.entry(pair).or_insert(old);
        if lengths.recent.len() == RECENT {
            lengths.recent.pop_front();
        }
        lengths.recent.push_back((usage.output.0, usage.reasoning.0 > 0 || usage.audio_output.0 > 0));
    }

    /// Output tokens that the next answer will hardly pass; `None`: not enough is known.
    pub(super) fn expected(&self, key: Option<&KeyId>, model: &ModelName) -> Option<u64> {
        let known = self.known.lock();
        let pair = (key.cloned(), model.clone());
        let lengths = known.young.get(&pair).or_else(|| known.old.get(&pair))?;
        if lengths.recent.len() < ENOUGH || lengths.recent.iter().any(|(_, unseen)| *unseen) {
            return None;
        }
        let mut sorted: Vec<u64> = lengths.recent.iter().map(|(output, _)| *output).collect();
        sorted.sort_unstable();
        let place = (sorted.len() as f64 * HIGH).ceil() as usize;
        sorted.get(place.clamp(1, sorted.len()) - 1).map(|output| (*output).max(LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_high_quantile_is_expected_once_enough_is_known() {
        let history = History::default();
        let (key, model) = (KeyId::from("k"), ModelName::from("m"));
        for output in 1..=19 {
            history.answered(Some(&key), &model, &Usage::plain(5, output * 10));
        }
        assert_eq!(history.expected(Some(&key), &model), None);
        history.answered(Some(&key), &model, &Usage::plain(5, 5));
        assert_eq!(history.expected(Some(&key), &model), Some(190));
        assert_eq!(history.expected(None, &model), None, "another caller");
        for _ in 0..RECENT {
            history.answered(Some(&key), &model, &Usage::plain(5, 3));
        }
        assert_eq!(history.expected(Some(&key), &model), Some(LEAST), "what is long ago is forgotten");
    }

    #[test]
    fn a_model_that_reasons_unseen_is_not_expected_to_be_short() {
        let history = History::default();
        let model = ModelName::from("m");
        for _ in 0..30 {
            history.answered(None, &model, &Usage::plain(5, 50));
        }
        let reasoned = Usage { reasoning: 40.into(), ..Usage::plain(5, 50) };
        history.answered(None, &model, &reasoned);
        assert_eq!(history.expected(None, &model), None);
    }

    #[test]
    fn memory_is_bounded() {
        let history = History::default();
        for at in 0..3 * KEPT {
            history.answered(None, &format!("m{at}").as_str().into(), &Usage::plain(1, 1));
        }
        let known = history.known.lock();
        assert!(known.young.len() <= KEPT && known.old.len() <= KEPT);
    }
}

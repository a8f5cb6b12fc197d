//! From logits to a token: pure arithmetic, no engine.
//!
//! **Promise.** The same logits, settings and step give the same token; log-probabilities are natural, of the model's own
//! distribution (before temperature, penalties and masks), so they mean the same at every setting.
//!
//! **Why here.** mistral.rs reports log10, of raw logits at temperature 0, knows no seed per request and applies min-p
//! only beside top-p.
//!
//! **Order.** Penalties, mask, temperature, top-k, top-p, min-p, draw. Presence and frequency count what was generated,
//! repetition the prompt too (vLLM's reading of OpenAI's text).

use mistralrs_core::llguidance::toktrie::SimpleVob;
use std::collections::{HashMap, HashSet};

/// Below this distance from the best logit a token has no weight worth computing: e to the -30 is 1e-13.
const NEGLIGIBLE: f32 = -30.0;

/// How to draw.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// 0 is greedy.
    pub(super) temperature: f64,
    /// 1 is all.
    pub(super) top_p: f64,
    /// 0 is all.
    pub(super) top_k: usize,
    /// 0 is all.
    pub(super) min_p: f64,
    /// 0 is none.
    pub(super) presence: f64,
    /// 0 is none.
    pub(super) frequency: f64,
    /// 1 is none.
    pub(super) repetition: f64,
    /// Where the noise comes from.
    pub(super) seed: u64,
    /// Alternatives whose log-probabilities are wanted.
    pub(super) alternatives: usize,
}

/// What was drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) token: u32,
    /// Natural, of the model's own distribution.
    pub(super) logprob: f32,
    /// The likeliest, best first.
    pub(super) top: Vec<(u32, f32)>,
    /// Of the model's own distribution, in nats.
    pub(super) entropy: f32,
}

/// What penalties look at.
#[derive(Debug, Default)]
pub(super) struct Past {
    pub(super) prompt: HashSet<u32>,
    pub(super) generated: HashMap<u32, u32>,
}

/// The model's own distribution, as far as it is reported.
struct Shape {
    best: f32,
    log_sum: f32,
    entropy: f32,
}

/// Draws the token of a step; `None` when nothing is allowed or the logits are not numbers.
pub(super) fn choose(
    settings: &Settings,
    logits: &[f32],
    past: &Past,
    mask: Option<&SimpleVob>,
    step: u64,
) -> Option<Choice> {
    let shape = shape(logits)?;
    let logprob =
        |token: u32| logits.get(token as usize).map_or(f32::NEG_INFINITY, |logit| logit - shape.best - shape.log_sum);
    let penalised = settings.presence != 0.0 || settings.frequency != 0.0 || settings.repetition != 1.0;
    let adjusted = penalised.then(|| penalise(settings, logits, past));
    let used = adjusted.as_deref().unwrap_or(logits);
    let token = match mask {
        None => draw(settings, used, |_| true, step)?,
        Some(mask) => draw(settings, used, |token| (token as usize) < mask.len() && mask.is_allowed(token), step)?,
    };
    let top = likeliest(logits, settings.alternatives).into_iter().map(|token| (token, logprob(token))).collect();
    Some(Choice { token, logprob: logprob(token).min(0.0), top, entropy: shape.entropy })
}

/// The probability of one of two tokens against the other.
pub(super) fn first_of_two(logits: &[f32], tokens: [u32; 2]) -> Option<f32> {
    let [first, second] = tokens.map(|token| logits.get(token as usize).copied());
    let share = 1.0 / (1.0 + (second? - first?).exp());
    share.is_finite().then_some(share)
}

fn shape(logits: &[f32]) -> Option<Shape> {
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !best.is_finite() {
        return None;
    }
    let (mut sum, mut weighted) = (0f32, 0f32);
    for logit in logits {
        let below = logit - best;
        if below > NEGLIGIBLE {
            let weight = below.exp();
            sum += weight;
            weighted += weight * below;
        }
    }
    let log_sum = sum.ln();
    Some(Shape { best, log_sum, entropy: (log_sum - weighted / sum).max(0.0) })
}

fn penalise(settings: &Settings, logits: &[f32], past: &Past) -> Vec<f32> {
    let mut adjusted = logits.to_vec();
    if settings.repetition != 1.0 && settings.repetition > 0.0 {
        let by = settings.repetition as f32;
        let seen: HashSet<u32> = past.prompt.iter().chain(past.generated.keys()).copied().collect();
        for token in seen {
            if let Some(logit) = adjusted.get_mut(token as usize) {
                *logit = if *logit > 0.0 { *logit / by } else { *logit * by };
            }
        }
    }
    for (token, count) in &past.generated {
        if let Some(logit) = adjusted.get_mut(*token as usize) {
            *logit -= (settings.presence + settings.frequency * f64::from(*count)) as f32;
        }
    }
    adjusted
}

fn draw(settings: &Settings, logits: &[f32], allowed: impl Fn(u32) -> bool, step: u64) -> Option<u32> {
    let allowed_logits =
        || (0u32..).zip(logits.iter().copied()).filter(|(token, logit)| !logit.is_nan() && allowed(*token));
    let (best_token, best) = allowed_logits().fold(None, |best: Option<(u32, f32)>, this| match best {
        Some(best) if best.1 >= this.1 => Some(best),
        Some(_) | None => Some(this),
    })?;
    if settings.temperature <= 1e-6 || settings.top_k == 1 || best == f32::NEG_INFINITY {
        return (best > f32::NEG_INFINITY).then_some(best_token);
    }
    let temperature = settings.temperature as f32;
    let mut candidates: Vec<(u32, f32)> = allowed_logits()
        .map(|(token, logit)| (token, (logit - best) / temperature))
        .filter(|(_, below)| *below > NEGLIGIBLE)
        .map(|(token, below)| (token, below.exp()))
        .collect();
    candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if settings.top_k > 0 {
        candidates.truncate(settings.top_k);
    }
    if settings.top_p < 1.0 {
        let wanted = candidates.iter().map(|(_, weight)| *weight).sum::<f32>() * settings.top_p as f32;
        let mut held = 0.0;
        let enough = candidates.iter().position(|(_, weight)| {
            held += weight;
            held >= wanted
        });
        candidates.truncate(enough.map_or(candidates.len(), |at| at + 1));
    }
    if settings.min_p > 0.0 {
        let least = settings.min_p as f32;
        candidates.retain(|(_, weight)| *weight >= least);
    }
    let mut point = uniform(settings.seed, step) as f32 * candidates.iter().map(|(_, weight)| *weight).sum::<f32>();
    for (token, weight) in &candidates {
        point -= weight;
        if point < 0.0 {
            return Some(*token);
        }
    }
    Some(candidates.last().map_or(best_token, |(token, _)| *token))
}

fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    if count == 0 {
        return Vec::new();
    }
    let mut tokens: Vec<u32> = (0..logits.len() as u32).collect();
    let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if count < tokens.len() {
        tokens.select_nth_unstable_by(count - 1, by_logit);
        tokens.truncate(count);
    }
    tokens.sort_unstable_by(by_logit);
    tokens
}

/// A number in 0..1 that depends on seed and step alone (SplitMix64).
fn uniform(seed: u64, step: u64) -> f64 {
    let mix = |state: u64| {
        let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^ (state >> 31)
    };
    let state =
        mix(mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    (state >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            presence: 0.0,
            frequency: 0.0,
            repetition: 1.0,
            seed: 7,
            alternatives: 0,
        }
    }

    #[test]
    fn logprobs_are_natural_and_top_ones_are_sorted() {
        let logits = [0.0, 1.0, 2.0, -1.0];
        let wanted = Settings { temperature: 0.0, alternatives: 3, ..settings() };
        let choice = choose(&wanted, &logits, &Past::default(), None, 0).unwrap();
        let sum: f32 = logits.iter().map(|logit: &f32| logit.exp()).sum();
        assert_eq!(choice.token, 2);
        assert!((choice.logprob - (2f32.exp() / sum).ln()).abs() < 1e-5);
        assert_eq!(choice.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [2, 1, 0]);
        let entropy: f32 = logits.iter().map(|logit| logit.exp() / sum).map(|p| -p * p.ln()).sum();
        assert!((choice.entropy - entropy).abs() < 1e-5);
    }

    #[test]
    fn frequencies_follow_the_distribution_and_the_filters() {
        let logits = [3f32.ln(), 1f32.ln(), 0f32.ln()];
        let count = |settings: &Settings| {
            let mut counts = [0u32; 3];
            for step in 0..4000 {
                counts[choose(settings, &logits, &Past::default(), None, step).unwrap().token as usize] += 1;
            }
            counts
        };
        let [first, second, never] = count(&settings());
        assert!((2850..3150).contains(&first) && never == 0, "{first} {second} {never}");
        assert_eq!(count(&Settings { top_p: 0.7, ..settings() }), [4000, 0, 0]);
        assert_eq!(count(&Settings { min_p: 0.5, ..settings() }), [4000, 0, 0]);
        assert_eq!(count(&Settings { top_k: 1, ..settings() }), [4000, 0, 0]);
    }

    #[test]
    fn seeds_repeat_and_differ() {
        let logits: Vec<f32> = (0..50).map(|n| (n % 7) as f32 / 7.0).collect();
        let run = |seed| {
            (0..20)
                .map(|step| {
                    choose(&Settings { seed, ..settings() }, &logits, &Past::default(), None, step).unwrap().token
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn penalties_and_masks_bite() {
        let greedy = Settings { temperature: 0.0, ..settings() };
        let past = Past { prompt: [1].into(), generated: [(0, 2)].into() };
        let logits = [2.0, 1.9, 1.5];
        let token =
            |settings: &Settings, mask: Option<&SimpleVob>| choose(settings, &logits, &past, mask, 0).unwrap().token;
        assert_eq!(token(&greedy, None), 0);
        assert_eq!(token(&Settings { frequency: 0.2, ..greedy.clone() }, None), 1);
        assert_eq!(token(&Settings { repetition: 2.0, ..greedy.clone() }, None), 2);
        let mut mask = SimpleVob::alloc(3);
        mask.allow_token(2);
        assert_eq!(token(&greedy, Some(&mask)), 2);
        assert_eq!(choose(&greedy, &[f32::NAN; 3], &past, None, 0), None);
    }

    #[test]
    fn two_words_share_one() {
        assert_eq!(first_of_two(&[1.0, 1.0], [0, 1]), Some(0.5));
        assert!(first_of_two(&[3.0, 1.0], [0, 1]).unwrap() > 0.8);
        assert_eq!(first_of_two(&[1.0], [0, 9]), None);
    }
}

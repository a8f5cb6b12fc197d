//! The threshold that keeps the share.
//!
//! **Promise.** Over any stretch of requests the part that goes to the strong side stays near the goal, whatever the
//! workload: on average over n requests it is at most (1 + [`STEP`]) / (n [`STEP`]) away from it, also when the
//! workload changes in the midst.
//!
//! **Why so.** A constant threshold does not travel: one set for 30% hosted gives 3% to 57% on other workloads. The
//! threshold is the running quantile of the scores seen lately, at a level that is itself steered by what happened:
//! too many hosted raise it, too few lower it. This is adaptive conformal inference (Gibbs and Candès, "Adaptive
//! Conformal Inference Under Distribution Shift", NeurIPS 2021), whose bound above needs no assumption on the scores.
//!
//! **Cold start.** Before anything was seen the quantile is that of the scores which the judge gave to everyday prompts
//! when it was made ([`Share::new`]); until [`SETTLED`] requests were seen the threshold moves from the one to the other.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// The threshold before anything was seen, for a judge that brings no quantiles.
const COLD: f32 = 0.5;
/// Scores after which the running quantile counts alone.
const SETTLED: usize = 200;
/// Scores that are remembered.
const WINDOW: usize = 500;
/// How far one request moves the level.
const STEP: f32 = 0.03;

/// Keeps the share of judged requests that go to the strong side.
#[derive(Debug)]
pub struct Share {
    cold: Box<[f32]>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    goal: f32,
    order: VecDeque<f32>,
    sorted: Vec<f32>,
    /// Where in the scores the threshold is taken, 0 to 1; steered.
    level: f32,
}

// === impl Share ===

impl Share {
    /// Aims at this share (0 to 1) of hosted answers.
    ///
    /// `cold`: ascending quantiles of the judge's scores on everyday requests; empty where nobody knows them.
    pub fn new(goal: f32, cold: &[f32]) -> Self {
        let goal = goal.clamp(0.0, 1.0);
        let seen = Seen { goal, order: VecDeque::new(), sorted: Vec::new(), level: 1.0 - goal };
        Self { cold: cold.into(), seen: Mutex::new(seen) }
    }

    /// Aims at another share from now on; what was seen stays known.
    pub fn aim(&self, goal: f32) {
        let goal = goal.clamp(0.0, 1.0);
        let mut seen = self.seen.lock();
        seen.level = (seen.level + seen.goal - goal).clamp(-STEP, 1.0 + STEP);
        seen.goal = goal;
    }

    /// The threshold now: from this score on, hosted.
    pub fn threshold(&self) -> f32 {
        let seen = self.seen.lock();
        if seen.goal <= 0.0 {
            return f32::INFINITY;
        }
        if seen.goal >= 1.0 {
            return 0.0;
        }
        self.at(&seen, 0.0)
    }

    /// Scores too close to the threshold to call: those within `width` (0 to 1) of it in rank, on either side.
    ///
    /// Symmetric in rank, so that a second look which sends half of them to the strong side keeps the share.
    /// `None` where the goal leaves no room.
    pub fn uncertain(&self, width: f32) -> Option<(f32, f32)> {
        let seen = self.seen.lock();
        let width = width.min(seen.goal).min(1.0 - seen.goal);
        if width <= 0.0 {
            return None;
        }
        Some((self.at(&seen, -width), self.at(&seen, width)))
    }

    /// Takes a request into account: its score, and whether it went to the strong side on account of it.
    pub fn observe(&self, score: f32, hosted: bool) {
        if score.is_nan() {
            return;
        }
        let mut seen = self.seen.lock();
        if seen.order.len() == WINDOW
            && let Some(oldest) = seen.order.pop_front()
        {
            let at = seen.sorted.partition_point(|known| *known < oldest);
            seen.sorted.remove(at);
        }
        seen.order.push_back(score);
        let at = seen.sorted.partition_point(|known| *known < score);
        seen.sorted.insert(at, score);
        let error = if hosted { 1.0 - seen.goal } else { -seen.goal };
        // A level outside of 0 to 1 sends all or nothing; a step beyond is enough to come back at once.
        seen.level = (seen.level + STEP * error).clamp(-STEP, 1.0 + STEP);
    }

    /// The quantile so far above the threshold's own: the running one, as far as it is settled, and the cold one, which
    /// is not steered: a few easy requests at the start are no reason to send the next easy one away.
    fn at(&self, seen: &Seen, above: f32) -> f32 {
        let cold = quantile(&self.cold, 1.0 - seen.goal + above).unwrap_or(COLD);
        let Some(running) = quantile(&seen.sorted, seen.level + above) else { return cold };
        let trust = (seen.sorted.len() as f32 / SETTLED as f32).min(1.0);
        match (cold.is_finite(), running.is_finite()) {
            (true, true) => cold + (running - cold) * trust,
            // The top of the band, as long as few were seen.
            (false, _) if trust < 1.0 => cold,
            (_, _) => running,
        }
    }
}

/// The quantile of ascending scores; beyond the ends, infinity and zero.
fn quantile(sorted: &[f32], level: f32) -> Option<f32> {
    if sorted.is_empty() {
        return None;
    }
    if level >= 1.0 {
        return Some(f32::INFINITY);
    }
    if level <= 0.0 {
        return Some(0.0);
    }
    let at = (level * sorted.len() as f32) as usize;
    sorted.get(at.min(sorted.len() - 1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Streams scores through; the share that went hosted among the last `last` of them.
    fn kept(share: &Share, scores: impl IntoIterator<Item = f32>, last: usize) -> f32 {
        let went: Vec<bool> = scores
            .into_iter()
            .map(|score| {
                let hosted = score >= share.threshold();
                share.observe(score, hosted);
                hosted
            })
            .collect();
        let counted = &went[went.len() - last..];
        counted.iter().filter(|hosted| **hosted).count() as f32 / last as f32
    }

    fn scrambled(count: usize, low: f32, width: f32) -> impl Iterator<Item = f32> {
        (0..count).map(move |n| low + width * ((n * 7_919 % 2_003) as f32 / 2_003.0))
    }

    proptest! {
        #[test]
        fn whatever_the_workload_the_share_is_kept(low in 0f32..0.5, width in 0.01f32..0.5, goal in 0.1f32..0.9) {
            let kept = kept(&Share::new(goal, &[]), scrambled(2_000, low, width), 500);
            prop_assert!((kept - goal).abs() < 0.03, "{} for {}", kept, goal);
        }

        #[test]
        fn a_workload_that_changes_in_the_midst_keeps_it_too(
            before in 0f32..0.9, after in 0f32..0.9, width in 0.01f32..0.1, goal in 0.1f32..0.9,
        ) {
            let share = Share::new(goal, &[]);
            let scores = scrambled(1_000, before, width).chain(scrambled(500, after, width));
            let kept = kept(&share, scores, 500);
            prop_assert!((kept - goal).abs() < 0.07, "{} for {}", kept, goal);
        }

        #[test]
        fn scores_that_are_all_the_same_keep_it_too(score in 0f32..1.0, goal in 0.1f32..0.9) {
            let kept = kept(&Share::new(goal, &[]), std::iter::repeat_n(score, 1_500), 500);
            prop_assert!((kept - goal).abs() < 0.07, "{} for {}", kept, goal);
        }

        #[test]
        fn the_uncertain_scores_lie_around_the_threshold(goal in 0.1f32..0.9, width in 0.01f32..0.5) {
            let share = Share::new(goal, &[]);
            scrambled(1_000, 0.1, 0.8).for_each(|score| share.observe(score, score >= share.threshold()));
            let (from, to) = share.uncertain(width).unwrap();
            prop_assert!(from <= share.threshold() && share.threshold() <= to, "{from} {to}");
        }
    }

    #[test]
    fn the_ends_are_absolute() {
        let (none, all) = (Share::new(0.0, &[]), Share::new(1.0, &[]));
        assert!(none.threshold() > 1.0 && all.threshold() == 0.0 && none.uncertain(0.2).is_none());
        assert!(Share::new(0.3, &[]).threshold() == COLD);
    }

    #[test]
    fn a_band_as_wide_as_everything_has_everything_in_it_from_the_start() {
        let share = Share::new(0.5, &[0.1, 0.4, 0.9]);
        for score in [0.05, 0.95, 0.5] {
            let (from, to) = share.uncertain(0.5).unwrap();
            assert!(from <= score && score <= to, "{from} {to}");
            share.observe(score, score >= share.threshold());
        }
    }

    #[test]
    fn the_first_request_meets_the_judges_own_quantile() {
        let cold: Vec<f32> = (0..=100).map(|percent| percent as f32 / 200.0).collect();
        let threshold = Share::new(0.3, &cold).threshold();
        assert!((threshold - 0.35).abs() < 0.01, "{threshold}");
    }
}

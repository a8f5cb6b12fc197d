//! The threshold that keeps the share.
//!
//! **Promise.** Over any stretch of requests the part that the strong side answers stays near the goal, whatever the
//! workload: on average over n requests that the threshold decides it is at most (1 + 2 [`STEP`]) / (n [`STEP`]) away from
//! it, also when the workload changes in the midst.
//!
//! **Why so.** A constant threshold does not travel: one set for 30% hosted gives 3% to 57% on other workloads. The
//! threshold is the running quantile of the scores seen lately, at a level that is itself steered by what happened:
//! too many hosted raise it, too few lower it. This is adaptive conformal inference (Gibbs and Candès, "Adaptive
//! Conformal Inference Under Distribution Shift", NeurIPS 2021), whose bound above needs no assumption on the scores.
//!
//! **What is counted** is who answered, not who was meant to: only then does nothing that is decided after the score (a second
//! look, a side that is full, a conversation that stays where it is, a draw) move the share for long. But who answers is known
//! late, and an integrator that is told late swings: with a step of [`STEP`] from some fifty requests under way on. So a
//! request is counted twice. [`Share::expect`] counts at once what is to be expected of it, which for all but those that are
//! looked at is what the threshold made of it; [`Share::settle`] makes the difference good when it is known. What the level
//! decides thus steers without delay; what comes late is by how much an expectation was wrong, which does not depend on
//! the level, so that no delay can make the loop swing.
//!
//! **What others decide** is made up for as far as the threshold can, and no further: once it sends everything one way the
//! level stands still, a step (and the width of the band, where there is one) beyond the end, and comes back at once.
//!
//! **Whole numbers.** The level is a sum of whole numbers: in whatever order requests end, and in whichever process they are
//! counted, the same requests give the same level ([`Share::resume`]).
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
pub(crate) const WINDOW: usize = 500;
/// How far one request moves the level, in hundredths.
const STEP_PERCENT: i64 = 3;
/// The same, 0 to 1.
const STEP: f32 = STEP_PERCENT as f32 / 100.0;
/// A share in whole numbers: this is all.
const WHOLE: i64 = 1_000_000_000;
/// A level of one: hundredths of a share, so that a step is a whole number, too.
const LEVEL: i64 = 100 * WHOLE;

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
    /// Where in the scores the threshold is taken, 0 to [`LEVEL`]; steered.
    level: i64,
    /// The width of the band that was asked for last: how far beyond the ends the level has to go until nobody is in it.
    room: f32,
}

/// A request that was counted in an earlier life.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    /// Its score.
    pub score: f32,
    /// The threshold that it met; infinite: none.
    pub threshold: f32,
    /// The strong side answered it.
    pub hosted: bool,
    /// The goal (0 to 1) from then on, where that is moved; `None`: it stayed.
    pub aim: Option<f32>,
}

// === impl Share ===

impl Share {
    /// Aims at this share (0 to 1) of hosted answers.
    ///
    /// `cold`: ascending quantiles of the judge's scores on everyday requests; empty where nobody knows them.
    pub fn new(goal: f32, cold: &[f32]) -> Self {
        let goal = goal.clamp(0.0, 1.0);
        let level = LEVEL - 100 * whole(goal);
        let seen = Seen { goal, order: VecDeque::new(), sorted: Vec::new(), level, room: 0.0 };
        Self { cold: cold.into(), seen: Mutex::new(seen) }
    }

    /// Aims at another share from now on; what was seen stays known.
    pub fn aim(&self, goal: f32) {
        self.seen.lock().aim(goal);
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
        let mut seen = self.seen.lock();
        let width = width.min(seen.goal).min(1.0 - seen.goal);
        seen.room = width.max(0.0);
        if width <= 0.0 {
            return None;
        }
        Some((self.at(&seen, -width), self.at(&seen, width)))
    }

    /// Takes a request into account whose end is known: its score, and whether the strong side answered.
    pub fn observe(&self, score: f32, hosted: bool) {
        self.expect(score, f32::from(u8::from(hosted)));
    }

    /// Takes a request into account before its end is known: its score, and how probably (0 to 1) the strong side will
    /// answer. [`Share::settle`] may follow.
    pub fn expect(&self, score: f32, hosted: f32) {
        if !score.is_nan() {
            self.seen.lock().count(score, hosted);
        }
    }

    /// Says which side answered a request of which this was expected.
    pub fn settle(&self, expected: f32, hosted: bool) {
        let happened = if hosted { WHOLE } else { 0 };
        self.seen.lock().moves(STEP_PERCENT * (happened - whole(expected)));
    }

    /// Goes on where an earlier life stopped, with the last requests that it counted, the oldest first. Who has seen
    /// requests already goes on with those.
    ///
    /// Where these are all there were, the level comes out as it was. Where there were more, their sum lacks a beginning: then
    /// the threshold that the last one met tells, to a rank, where the level stood.
    pub fn resume(&self, counted: &[Counted]) {
        let mut seen = self.seen.lock();
        if !seen.order.is_empty() {
            return;
        }
        for (at, one) in counted.iter().enumerate().filter(|(_, one)| !one.score.is_nan()) {
            if at + 1 == counted.len() {
                let levels = self.levels(&seen, one.threshold);
                seen.level = seen.level.clamp(levels.0, levels.1);
            }
            seen.count(one.score, f32::from(u8::from(one.hosted)));
            one.aim.iter().for_each(|goal| seen.aim(*goal));
        }
    }

    /// The lowest and the highest level at which this would have been the threshold.
    fn levels(&self, seen: &Seen, threshold: f32) -> (i64, i64) {
        let (least, most) = seen.ends();
        if threshold >= f32::INFINITY {
            return (LEVEL, most.max(LEVEL));
        }
        let count = seen.sorted.len();
        if count == 0 {
            return (least, most);
        }
        let blended = |running: f32| self.blended(seen, self.cold(seen, 0.0), running);
        // The first level of a rank: the quantile rounds down.
        let level = |rank: usize| (LEVEL * rank as i64 + count as i64 - 1) / count as i64;
        // Thresholds rise with the rank.
        let first = seen.sorted.partition_point(|running| blended(*running) < threshold);
        let beyond = seen.sorted.partition_point(|running| blended(*running) <= threshold).max(first + 1).min(count);
        let lowest = if threshold <= blended(0.0) { least } else { level(first) };
        let highest =
            if seen.sorted.first().is_some_and(|low| threshold < blended(*low)) { 0 } else { level(beyond) - 1 };
        (lowest, highest.max(lowest))
    }

    /// The quantile so far above the threshold's own: the running one, as far as it is settled, and the cold one, which
    /// is not steered: a few easy requests at the start are no reason to send the next easy one away.
    fn at(&self, seen: &Seen, above: f32) -> f32 {
        let cold = self.cold(seen, above);
        let Some(running) = quantile(&seen.sorted, seen.level + 100 * whole(above)) else { return cold };
        self.blended(seen, cold, running)
    }

    fn cold(&self, seen: &Seen, above: f32) -> f32 {
        quantile(&self.cold, LEVEL + 100 * (whole(above) - whole(seen.goal))).unwrap_or(COLD)
    }

    fn blended(&self, seen: &Seen, cold: f32, running: f32) -> f32 {
        let trust = (seen.sorted.len() as f32 / SETTLED as f32).min(1.0);
        match (cold.is_finite(), running.is_finite()) {
            (true, true) => cold + (running - cold) * trust,
            // The top of the band, as long as few were seen.
            (false, _) if trust < 1.0 => cold,
            (_, _) => running,
        }
    }
}

// === impl Seen ===

impl Seen {
    fn count(&mut self, score: f32, hosted: f32) {
        if self.order.len() == WINDOW
            && let Some(oldest) = self.order.pop_front()
        {
            let at = self.sorted.partition_point(|known| *known < oldest);
            self.sorted.remove(at);
        }
        self.order.push_back(score);
        let at = self.sorted.partition_point(|known| *known < score);
        self.sorted.insert(at, score);
        self.moves(STEP_PERCENT * (whole(hosted) - whole(self.goal)));
    }

    fn aim(&mut self, goal: f32) {
        let goal = goal.clamp(0.0, 1.0);
        let by = 100 * (whole(self.goal) - whole(goal));
        self.goal = goal;
        self.moves(by);
    }

    fn moves(&mut self, by: i64) {
        let (least, most) = self.ends();
        self.level = self.level.saturating_add(by).clamp(least, most);
    }

    /// A level outside of 0 to 1 sends all or nothing; a step beyond is enough to come back at once.
    fn ends(&self) -> (i64, i64) {
        let beyond = 100 * whole(self.room + STEP);
        (-beyond, LEVEL + beyond)
    }
}

/// A share in whole numbers.
fn whole(share: f32) -> i64 {
    (f64::from(share) * WHOLE as f64).round() as i64
}

/// The quantile of ascending scores; beyond the ends, infinity and zero.
fn quantile(sorted: &[f32], level: i64) -> Option<f32> {
    if sorted.is_empty() {
        return None;
    }
    if level >= LEVEL {
        return Some(f32::INFINITY);
    }
    if level <= 0 {
        return Some(0.0);
    }
    let at = usize::try_from(level * sorted.len() as i64 / LEVEL).unwrap_or(0);
    sorted.get(at).copied()
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

    /// Streams scores through as a router does whose second look has a word on those in the band: it sends `escalated` (0 to 1) of
    /// them on, and says so `late` requests later. The share that went hosted among the last 500.
    fn looked_at(scores: impl IntoIterator<Item = f32>, goal: f32, escalated: f32, late: usize) -> f32 {
        let share = Share::new(goal, &[]);
        let (mut went, mut under_way, mut due) = (Vec::new(), VecDeque::new(), 0.0);
        for score in scores {
            let (from, to) = share.uncertain(0.15).unwrap();
            let (expected, hosted) = if score >= from && score <= to {
                due += escalated;
                (0.5, due >= 1.0)
            } else {
                let hosted = score >= share.threshold();
                (f32::from(u8::from(hosted)), hosted)
            };
            due -= f32::from(u8::from(due >= 1.0));
            share.expect(score, expected);
            under_way.push_back((expected, hosted));
            went.push(hosted);
            if under_way.len() > late {
                let (expected, hosted) = under_way.pop_front().unwrap();
                share.settle(expected, hosted);
            }
        }
        let counted = &went[went.len() - 500..];
        counted.iter().filter(|hosted| **hosted).count() as f32 / 500.0
    }

    proptest! {
        #[test]
        fn whatever_the_second_look_sends_on_and_however_late_it_is_known_the_share_is_kept(
            low in 0f32..0.5, width in 0.01f32..0.5, goal in 0.2f32..0.8, escalated in 0f32..1.0, late in 0usize..200,
        ) {
            let kept = looked_at(scrambled(2_000, low, width), goal, escalated, late);
            prop_assert!((kept - goal).abs() < 0.03, "{} for {}", kept, goal);
        }

        #[test]
        fn scores_that_are_all_the_same_keep_it_whatever_the_second_look_sends_on(
            score in 0.1f32..0.9, goal in 0.2f32..0.8, escalated in 0f32..1.0,
        ) {
            let kept = looked_at(std::iter::repeat_n(score, 2_000), goal, escalated, 0);
            prop_assert!((kept - goal).abs() < 0.07, "{} for {}", kept, goal);
        }

        #[test]
        fn another_life_goes_on_where_the_last_one_stopped(
            low in 0f32..0.5, width in 0.01f32..0.5, goal in 0.1f32..0.9, count in 1usize..1_500,
        ) {
            let cold: Vec<f32> = (0..=100).map(|percent| percent as f32 / 100.0).collect();
            let share = Share::new(goal, &cold);
            let counted: Vec<Counted> = scrambled(count, low, width).map(|score| {
                let threshold = share.threshold();
                share.observe(score, score >= threshold);
                Counted { score, threshold, hosted: score >= threshold, aim: None }
            }).collect();
            let next = Share::new(goal, &cold);
            next.resume(&counted[count.saturating_sub(WINDOW)..]);
            let levels = [share.seen.lock().level, next.seen.lock().level];
            if count <= WINDOW {
                prop_assert_eq!(levels[0], levels[1]);
                prop_assert_eq!(share.threshold(), next.threshold());
            } else {
                // To a rank and a step.
                let apart = (levels[0] - levels[1]).abs() as f64 / LEVEL as f64;
                prop_assert!(apart <= f64::from(STEP), "{} {:?}", apart, levels);
            }
        }
    }

    #[test]
    fn a_level_beyond_the_end_is_known_from_a_threshold_that_nobody_meets() {
        let share = Share::new(0.3, &[]);
        let counted: Vec<Counted> = (0..600)
            .map(|_| {
                let threshold = share.threshold();
                share.observe(0.5, 0.5 >= threshold);
                Counted { score: 0.5, threshold, hosted: 0.5 >= threshold, aim: None }
            })
            .collect();
        let next = Share::new(0.3, &[]);
        next.resume(&counted[100..]);
        let kept = kept(&next, std::iter::repeat_n(0.5, 500), 500);
        assert!((kept - 0.3).abs() < 0.03, "{kept}");
        // Who has seen requests goes on with those.
        let before = next.threshold();
        next.resume(&[Counted { score: 0.9, threshold: 0.9, hosted: true, aim: Some(0.9) }]);
        assert_eq!(next.threshold(), before);
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

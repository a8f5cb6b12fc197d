//! The threshold that keeps the risk.
//!
//! **Promise.** Of the requests that the judgement sends to the local side, at most the target (`risk = "5%"`) should
//! have been escalated; at any one time this holds with the stated confidence, whatever the head is worth. Until that is
//! shown by labels the threshold is 0: what can go hosted goes hosted.
//!
//! **How.** Learn-then-Test (Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then Test: Calibrating Predictive
//! Algorithms to Achieve Risk Control", 2021). A fixed grid of thresholds, from the safest on; for each the hypothesis
//! "below this threshold the risk is above the target" is tested with the exact binomial tail of the labels below it, and
//! a chain of tests goes on while they reject. There are [`STARTS`] chains that begin at different places of the grid
//! (the one at the lowest threshold alone would wait for labels that hardly ever come), each at its part of the level,
//! so that all rejections together are right with the stated confidence. Nothing is assumed about how errors depend on
//! the score. The grid is made from the head's own quantiles, never from labels.
//!
//! **Whose labels count.** A label says something about a threshold only if every request below that threshold had the
//! same chance to be answered locally. Below the threshold of its time that chance is nearly 1, above it only that of
//! exploration; so for a threshold above that of its time a label from below is kept with the quotient of the two
//! ([`Label::stands_for`]), and what remains is an even sample that the exact test is valid for. Weighting all instead
//! would be less wasteful but not exact. Without exploration nothing is known above the thresholds of the past, and
//! nothing above them is ever reached. Labels from scores that a second look had a say in count for no threshold above
//! these.
//!
//! **Shadows.** What a shadow experiment's judge says of local answers counts only where the operator says so
//! (`risk_labels`): the bound then holds for the judge's word, and that is not a person's. Shadows are drawn whatever the
//! score is and whoever answers, so their labels are an even sample of all scores at once ([`Label::drawn`]), and need no
//! exploration. The verdict of a cascade counts never: it is there only for requests near a threshold, so it is no even
//! sample of those below one, and it is the guess of a small head on the very answer that is in question: a bound that is
//! made of it would say how sure that head is, not how often it is right.
//!
//! **What it does not do.** It cannot know whether answers that somebody rates are like those that nobody rates. It
//! promises for each point in time, not for all of them at once. Explored requests are beside the promise: they go
//! local although the judgement spoke against it. A workload that changes is followed at the pace of [`WINDOW`] labels.

use parking_lot::Mutex;
use serde::Serialize;
use statrs::distribution::{Binomial, DiscreteCDF};
use std::collections::VecDeque;
use twox_hash::XxHash3_64;

/// Labels that are remembered, the newest.
pub const WINDOW: usize = 5_000;
/// Thresholds in the grid: each lets this part of everyday traffic more stay local.
const STEPS: usize = 20;
/// Chains of tests.
const STARTS: usize = 4;

/// `[router] risk` and `risk_confidence`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RiskGoal {
    /// At most this part (0 to 1) of the requests that are sent to the local side should have been escalated.
    pub target: f32,
    /// With this confidence (0 to 1).
    pub confidence: f32,
    /// What a shadow experiment's judge says of local answers counts, too.
    pub shadows: bool,
}

/// What was said of a local answer that the judgement, or a draw, asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    /// A hash of the request's id.
    request: u64,
    score: f32,
    /// The threshold of its time.
    threshold: f32,
    /// From this score on answers were looked at before they were sent.
    looked_from: f32,
    /// The rate of exploration of its time.
    rate: f32,
    wrong: bool,
}

/// Where the risk stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RiskState {
    /// `learning`: everything goes hosted, too little is shown yet; `holding`: below `threshold` the target is kept.
    pub state: &'static str,
    /// The target, 0 to 1.
    pub target: f32,
    /// The confidence, 0 to 1.
    pub confidence: f32,
    /// From this score on, hosted; `None`: no score is that high.
    pub threshold: Option<f32>,
    /// Labels that are remembered.
    pub labels: usize,
    /// Those that speak for this threshold.
    pub used: u64,
    /// Those of them that say that it should have been escalated.
    pub wrong: u64,
    /// The upper bound of the risk below the threshold, 0 to 1; `None` while learning.
    pub bound: Option<f64>,
    /// Labels below a threshold without which nothing is ever shown, if none of them is bad.
    pub least_labels: u64,
}

/// Keeps the risk of what goes to the local side.
#[derive(Debug)]
pub struct Risk {
    goal: RiskGoal,
    grid: Box<[f32]>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    labels: VecDeque<Label>,
    counts: Box<[Count]>,
    /// The place in the grid of the threshold that holds.
    holds: Option<usize>,
}

/// The labels that speak for one threshold.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    all: u64,
    wrong: u64,
}

// === impl Label ===

impl Label {
    /// A label of a request by its id: its score, the threshold of its time, from which score on answers were looked at,
    /// the rate of exploration (0 to 1), and whether it should have been escalated.
    pub fn new(request: &str, score: f32, threshold: f32, looked_from: Option<f32>, rate: f32, wrong: bool) -> Self {
        let request = XxHash3_64::oneshot(request.as_bytes());
        Self { request, score, threshold, looked_from: looked_from.unwrap_or(f32::INFINITY), rate, wrong }
    }

    /// A label of a request that was drawn whatever its score was, and whoever answered it: it stands for every threshold above
    /// its score.
    pub fn drawn(request: &str, score: f32, wrong: bool) -> Self {
        Self::new(request, score, f32::INFINITY, None, 0.0, wrong)
    }

    /// A number of its own, from 0 to 1, that nothing else depends on; the same after a restart.
    fn draw(&self) -> f64 {
        let bits = XxHash3_64::oneshot_with_seed(1, &self.request.to_le_bytes()) >> 11;
        bits as f64 / (1u64 << 53) as f64
    }

    /// Whether it is one of an even sample of the requests below this threshold.
    fn stands_for(&self, threshold: f32) -> bool {
        if self.score >= threshold || self.looked_from < threshold {
            return false;
        }
        if self.threshold >= threshold {
            return true;
        }
        let rate = f64::from(self.rate);
        let own = if self.score < self.threshold { 1.0 - rate } else { rate };
        self.draw() * own < rate.min(1.0 - rate)
    }
}

// === impl Risk ===

impl Risk {
    /// Stays under this risk.
    ///
    /// `cold`: ascending quantiles of the judge's scores on everyday requests; empty where nobody knows them.
    pub fn new(goal: RiskGoal, cold: &[f32]) -> Self {
        let mut grid: Vec<f32> = (1..STEPS)
            .map(|step| {
                let part = step as f32 / STEPS as f32;
                let at = (part * cold.len().saturating_sub(1) as f32).round() as usize;
                cold.get(at).copied().unwrap_or(part)
            })
            .collect();
        grid.push(f32::INFINITY);
        grid.dedup();
        let counts = vec![Count::default(); grid.len()].into();
        let seen = Seen { labels: VecDeque::new(), counts, holds: None };
        Self { goal, grid: grid.into(), seen: Mutex::new(seen) }
    }

    /// What is kept.
    pub fn goal(&self) -> RiskGoal {
        self.goal
    }

    /// The threshold now: from this score on, hosted.
    pub fn threshold(&self) -> f32 {
        let holds = self.seen.lock().holds;
        holds.and_then(|at| self.grid.get(at)).copied().unwrap_or(0.0)
    }

    /// Takes labels into account, the oldest first; gives the new state.
    pub fn load(&self, labels: impl IntoIterator<Item = Label>) -> RiskState {
        let mut seen = self.seen.lock();
        labels.into_iter().for_each(|label| self.take(&mut seen, label));
        self.judge(&mut seen);
        self.told(&seen)
    }

    /// Takes a label into account, in place of what was said of the request before; gives the new state.
    pub fn learn(&self, label: Label) -> RiskState {
        self.load([label])
    }

    /// Where it stands.
    pub fn state(&self) -> RiskState {
        self.told(&self.seen.lock())
    }

    fn take(&self, seen: &mut Seen, label: Label) {
        let known = seen.labels.iter().position(|known| known.request == label.request);
        let oldest = (seen.labels.len() >= WINDOW).then_some(0);
        if let Some(gone) = known.or(oldest).and_then(|at| seen.labels.remove(at)) {
            self.count(seen, &gone, |number| *number = number.saturating_sub(1));
        }
        self.count(seen, &label, |number| *number += 1);
        seen.labels.push_back(label);
    }

    fn count(&self, seen: &mut Seen, label: &Label, change: impl Fn(&mut u64)) {
        for (count, threshold) in seen.counts.iter_mut().zip(&self.grid) {
            if label.stands_for(*threshold) {
                change(&mut count.all);
                if label.wrong {
                    change(&mut count.wrong);
                }
            }
        }
    }

    /// Goes along the chains; the highest threshold that one of them reaches holds.
    fn judge(&self, seen: &mut Seen) {
        let (target, level) = (f64::from(self.goal.target), self.level());
        // The one that begins highest and rejects at all reaches highest: a lower one would have to come through it.
        seen.holds = (0..STARTS).rev().find_map(|start| {
            let start = start * self.grid.len() / STARTS;
            let rejected = seen.counts.iter().skip(start).take_while(|count| tail(**count, target) <= level).count();
            (rejected > 0).then(|| start + rejected - 1)
        });
    }

    /// The level of one chain.
    fn level(&self) -> f64 {
        (1.0 - f64::from(self.goal.confidence)) / STARTS as f64
    }

    fn told(&self, seen: &Seen) -> RiskState {
        let count = seen.holds.and_then(|at| seen.counts.get(at)).copied();
        let threshold = seen.holds.and_then(|at| self.grid.get(at)).copied();
        let used = count.unwrap_or_default();
        RiskState {
            state: if count.is_some() { "holding" } else { "learning" },
            target: self.goal.target,
            confidence: self.goal.confidence,
            threshold: Some(threshold.unwrap_or(0.0)).filter(|threshold| threshold.is_finite()),
            labels: seen.labels.len(),
            used: used.all,
            wrong: used.wrong,
            bound: count.map(|count| bound(count, self.level())),
            least_labels: (self.level().ln() / (-f64::from(self.goal.target)).ln_1p()).ceil() as u64,
        }
    }
}

/// How probable so few bad labels are, were the risk as large as `risk`.
fn tail(count: Count, risk: f64) -> f64 {
    Binomial::new(risk, count.all).map_or(1.0, |binomial| binomial.cdf(count.wrong))
}

/// The upper bound of Clopper and Pearson: the largest risk that is not rejected at this level.
fn bound(count: Count, level: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if tail(count, middle) <= level { high = middle } else { low = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOAL: RiskGoal = RiskGoal { target: 0.05, confidence: 0.9, shadows: false };

    fn risk(labels: impl IntoIterator<Item = Label>) -> Risk {
        let risk = Risk::new(GOAL, &[]);
        risk.load(labels);
        risk
    }

    /// Labels of explored requests, everything else hosted: an even sample of all scores below `to`.
    fn even(count: usize, to: f32, wrong: impl Fn(f32) -> bool) -> impl Iterator<Item = Label> {
        (0..count).map(move |n| {
            let score = to * ((n * 7_919 % 2_003) as f32 / 2_003.0);
            Label::new(&format!("r{n}"), score, 0.0, None, 0.1, wrong(score))
        })
    }

    #[test]
    fn without_labels_everything_goes_hosted_and_it_says_so() {
        let state = risk([]).state();
        assert_eq!((state.state, state.threshold, state.bound, state.labels), ("learning", Some(0.0), None, 0));
        // 0.95 to the power of 72 is below a quarter of a tenth, to that of 71 it is not.
        assert_eq!(state.least_labels, 72);
        assert_eq!(risk([]).threshold(), 0.0);
    }

    #[test]
    fn good_answers_everywhere_let_everything_stay_and_bad_ones_nothing() {
        let good = risk(even(2_000, 1.0, |_| false));
        assert_eq!((good.threshold(), good.state().threshold), (f32::INFINITY, None));
        assert_eq!(risk(even(2_000, 1.0, |_| true)).threshold(), 0.0);
        assert_eq!(risk(even(71, 0.8, |_| false)).threshold(), 0.0, "too few to show anything");
        assert_eq!(risk(even(72, 0.8, |_| false)).threshold(), f32::INFINITY, "just enough for one of the chains");
    }

    #[test]
    fn the_threshold_stands_below_where_errors_begin_and_the_bound_below_the_target() {
        let state = risk(even(4_000, 1.0, |score| score > 0.6)).state();
        let threshold = state.threshold.unwrap();
        assert!((0.55..0.65).contains(&threshold), "{state:?}");
        assert!(state.bound.unwrap() <= 0.05, "{state:?}");
    }

    #[test]
    fn nothing_is_concluded_about_scores_that_were_never_answered_locally() {
        // A threshold of 0.5 without exploration: good below, unknown above.
        let below = (0..1_000).map(|n| Label::new(&format!("r{n}"), n as f32 / 2_000.0, 0.5, None, 0.0, false));
        assert_eq!(risk(below).threshold(), 0.5);
        // A second look from 0.3 on chose which answers were sent.
        let looked = (0..1_000).map(|n| Label::new(&format!("r{n}"), n as f32 / 2_000.0, 0.5, Some(0.3), 0.0, false));
        assert_eq!(risk(looked).threshold(), 0.3);
    }

    #[test]
    fn many_good_answers_below_do_not_drown_the_bad_ones_above() {
        // 0.25 was the threshold: nine of ten stayed below it, one of ten above, where half are wrong.
        let below =
            (0..3_600).map(|n| Label::new(&format!("b{n}"), 0.25 * (n as f32 / 3_600.0), 0.25, None, 0.1, false));
        let above = (0..1_200)
            .map(|n| Label::new(&format!("a{n}"), 0.25 + 0.75 * (n as f32 / 1_200.0), 0.25, None, 0.1, n % 2 == 0));
        // Counting all alike, only 41 in 1000 would be wrong below 0.45, where in truth 22 in 100 are.
        assert_eq!(risk(below.chain(above)).threshold(), 0.25);
    }

    #[test]
    fn the_last_word_on_a_request_counts_and_old_labels_go() {
        let risk = risk(even(72, 0.8, |_| false));
        let bad = even(72, 0.8, |_| true).next().unwrap();
        assert_eq!((risk.learn(bad).state, risk.state().labels), ("learning", 72));
        let good = Label { wrong: false, ..bad };
        assert_eq!((risk.learn(good).state, risk.state().wrong), ("holding", 0));
        let state =
            risk.load(even(WINDOW + 1_000, 1.0, |_| true).map(|label| Label { request: !label.request, ..label }));
        assert_eq!((state.labels, state.state), (WINDOW, "learning"));
        let counts: Vec<u64> = risk.seen.lock().counts.iter().map(|count| count.all).collect();
        assert_eq!(counts.last().copied(), Some(WINDOW as u64), "{counts:?}");
    }

    #[test]
    fn the_bound_is_the_largest_risk_that_is_not_rejected() {
        // None of 59: 1 - 0.05^(1/59).
        let none = bound(Count { all: 59, wrong: 0 }, 0.05);
        assert!((none - 0.049_507).abs() < 1e-4, "{none}");
    }
}

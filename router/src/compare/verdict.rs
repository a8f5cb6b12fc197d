//! Not worse, worse, or not yet known.
//!
//! **Non-inferiority.** The left side is *not worse* when its mean score lies above the right side's less a margin that the
//! user sets, *worse* when it lies below. Each has half of the error probability; whoever looks every day is wrong at any
//! look with at most that probability ([`Evidence`]). A percentage without an interval is never a verdict.
//!
//! **Slices.** The comparison as a whole is one question with its own error. Its slices (kind of task, length, language, key,
//! tag) are many questions, asked of the same pairs: of those that get a verdict at most the wanted share is wrong in the
//! mean. That is the false discovery rate under e-BH (Wang and Ramdas, "False discovery rate control with e-values", JRSS B
//! 84(3), 2022), which holds however slices overlap, and at any time one stops. The evidence in a slice therefore needs more
//! than the whole needs, and the fewer slices speak, the more.
//!
//! **What it does not do.** A slice's verdict can go back to *not yet known* when more pairs take its evidence away: the
//! guarantee is for the set that stands at one look.

use super::evidence::{Evidence, Interval, Way};
use serde::Serialize;

/// What is known of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The left side is not worse than the right one by more than the margin.
    NotWorse,
    /// It is worse by more than the margin.
    Worse,
    /// The pairs do not tell yet.
    NotYetKnown,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Question {
    /// So much worse, in the mean score of 0 to 1, is still not worse.
    pub margin: f64,
    /// The probability of a wrong verdict at any look; of slices the share of wrong verdicts.
    pub error: f64,
}

/// What pairs say to a question.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// Pairs.
    pub pairs: u64,
    /// The mean difference, left less right; `None` of no pairs.
    pub mean: Option<f64>,
    /// Where it lies, at every look at once.
    pub interval: Interval,
    /// Pairs in which left was better, neither, right.
    pub tally: [u64; 3],
    /// Pairs that are still needed for a verdict, should they go on as before; `None`: nobody can tell, or there is one.
    pub still_needed: Option<u64>,
    /// Logarithms of the evidence for not worse and for worse.
    #[serde(skip)]
    pub evidence: [f64; 2],
}

// === impl Verdict ===

impl Verdict {
    /// As a person reads it.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotWorse => "not worse",
            Self::Worse => "worse",
            Self::NotYetKnown => "not yet known",
        }
    }
}

// === impl Question ===

impl Question {
    /// The evidence for both answers, as logarithms: not worse, worse.
    pub fn asked(&self, evidence: &Evidence) -> [f64; 2] {
        [evidence.log_wealth(-self.margin, Way::Above), evidence.log_wealth(-self.margin, Way::Below)]
    }

    /// The verdict on the whole.
    pub fn whole(&self, evidence: &Evidence) -> Finding {
        self.finding(evidence, (2.0 / self.error).ln())
    }

    /// The verdicts on slices, in their order.
    pub fn slices<'a>(&self, slices: impl IntoIterator<Item = &'a Evidence>) -> Vec<Finding> {
        let slices: Vec<&Evidence> = slices.into_iter().collect();
        let asked: Vec<[f64; 2]> = slices.iter().map(|evidence| self.asked(evidence)).collect();
        let limit = e_bh(asked.as_flattened(), self.error);
        slices.into_iter().map(|evidence| self.finding(evidence, limit)).collect()
    }

    fn finding(&self, evidence: &Evidence, limit: f64) -> Finding {
        let asked = self.asked(evidence);
        let verdict = match asked {
            [not_worse, _] if not_worse >= limit => Verdict::NotWorse,
            [_, worse] if worse >= limit => Verdict::Worse,
            _ => Verdict::NotYetKnown,
        };
        let still_needed = (verdict == Verdict::NotYetKnown).then(|| {
            let ways = [Way::Above, Way::Below].into_iter();
            ways.filter_map(|way| evidence.still_needed(-self.margin, way, limit)).min()
        });
        Finding {
            verdict,
            pairs: evidence.pairs(),
            mean: (evidence.pairs() > 0).then(|| evidence.mean()),
            interval: evidence.interval(self.error),
            tally: evidence.tally(),
            still_needed: still_needed.flatten(),
            evidence: asked,
        }
    }
}

/// The evidence (a logarithm) from which on a hypothesis is rejected: of `n` the k-th largest has to reach `n/(k error)`.
pub fn e_bh(evidence: &[f64], error: f64) -> f64 {
    let mut sorted = evidence.to_vec();
    sorted.sort_by(|one, other| other.total_cmp(one));
    let n = sorted.len() as f64;
    let needed = |k: usize| (n / (error * k as f64)).ln();
    let most = (1..=sorted.len()).rev().find(|k| sorted[k - 1] >= needed(*k));
    // Nobody: what the first would have needed.
    needed(most.unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated(cycle: &[f64], n: usize) -> Evidence {
        let mut evidence = Evidence::default();
        (0..n).for_each(|at| evidence.add(cycle[at % cycle.len()]));
        evidence
    }

    const QUESTION: Question = Question { margin: 0.05, error: 0.05 };

    #[test]
    fn a_side_is_judged_only_when_the_pairs_tell() {
        let even = [1.0, -1.0, 0.0, 0.0];
        assert_eq!(QUESTION.whole(&Evidence::default()).verdict, Verdict::NotYetKnown);
        assert_eq!(QUESTION.whole(&repeated(&even, 20)).verdict, Verdict::NotYetKnown);
        let known = QUESTION.whole(&repeated(&even, 4_000));
        assert_eq!((known.verdict, known.still_needed, known.tally), (Verdict::NotWorse, None, [1_000, 2_000, 1_000]));
        assert!(known.interval.low > -0.05, "{:?}", known.interval);
        assert_eq!(QUESTION.whole(&repeated(&[0.0, -1.0, 0.0, 0.0], 400)).verdict, Verdict::Worse);
    }

    #[test]
    fn more_slices_need_more_evidence_and_agreeing_ones_less() {
        let one = e_bh(&[3.0, -2.0], 0.05);
        assert!((one - 40.0_f64.ln()).abs() < 1e-12, "one slice has two questions");
        assert!((e_bh(&[3.0; 20], 0.05) - 20.0_f64.ln()).abs() < 1e-12, "all of them are above 1/error");
        assert!((e_bh(&[1.0; 20], 0.05) - 400.0_f64.ln()).abs() < 1e-12, "none is");
        let findings = QUESTION.slices([&repeated(&[0.0], 300), &repeated(&[0.0, -1.0], 3)]);
        assert_eq!([findings[0].verdict, findings[1].verdict], [Verdict::NotWorse, Verdict::NotYetKnown]);
    }
}

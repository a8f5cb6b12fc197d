//! What pairs come to: the whole, its slices, its course, and whether its judge may say so.

use super::evidence::Evidence;
use super::slices::Slice;
use super::trust::Trust;
use super::verdict::{Finding, Question, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;

/// A judged pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The left score less the right one, -1 to 1.
    pub difference: f64,
    /// The slices that it is in.
    pub slices: Vec<Slice>,
}

/// How the interval stood after so many pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Look {
    /// Pairs.
    pub pairs: u64,
    /// The mean difference.
    pub mean: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// A slice with its finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SliceFinding {
    /// The slice.
    #[serde(flatten)]
    pub slice: Slice,
    /// What is known of it.
    #[serde(flatten)]
    pub finding: Finding,
}

/// What pairs come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// What was asked.
    pub question: Question,
    /// The verdict that counts: *not yet known* where the judge's word does not.
    pub verdict: Verdict,
    /// The whole.
    pub whole: Finding,
    /// The slices, the largest first.
    pub slices: Vec<SliceFinding>,
    /// How the interval became what it is.
    pub course: Vec<Look>,
    /// What is known of the judge; `None`: it is a rule, which needs no trust.
    pub judge: Option<Trust>,
}

/// A slice of fewer pairs is not looked at: it could not have a verdict, and would cost the others evidence.
const LEAST_PAIRS: u64 = 20;
/// Looks in the course.
const LOOKS: usize = 60;

// === impl Summary ===

impl Summary {
    /// Sums up pairs in the order in which they came.
    pub fn of(question: Question, pairs: &[Judged], judge: Option<Trust>) -> Self {
        let mut whole = Evidence::default();
        let mut slices: BTreeMap<&Slice, Evidence> = BTreeMap::new();
        let mut course = vec![];
        let step = pairs.len().div_ceil(LOOKS).max(1);
        for (at, pair) in pairs.iter().enumerate() {
            whole.add(pair.difference);
            for slice in &pair.slices {
                slices.entry(slice).or_default().add(pair.difference);
            }
            if (at + 1) % step == 0 || at + 1 == pairs.len() {
                let interval = whole.interval(question.error);
                course.push(Look { pairs: whole.pairs(), mean: whole.mean(), low: interval.low, high: interval.high });
            }
        }
        // A slice that is everything says nothing that the whole does not.
        slices.retain(|_, evidence| (LEAST_PAIRS..whole.pairs()).contains(&evidence.pairs()));
        let findings = question.slices(slices.values());
        let trusted = judge.as_ref().is_none_or(Trust::granted);
        let counts = |verdict: Verdict| if trusted { verdict } else { Verdict::NotYetKnown };
        let found = slices.keys().zip(findings);
        let mut slices: Vec<SliceFinding> = found
            .map(|(slice, finding)| {
                let finding = Finding { verdict: counts(finding.verdict), ..finding };
                SliceFinding { slice: (*slice).clone(), finding }
            })
            .collect();
        slices.sort_by_key(|found| std::cmp::Reverse(found.finding.pairs));
        let whole = question.whole(&whole);
        Self { question, verdict: counts(whole.verdict), whole, slices, course, judge }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::judge::{Ballot, Word};

    const QUESTION: Question = Question { margin: 0.05, error: 0.05 };

    fn pairs(n: usize) -> Vec<Judged> {
        let slice = |by: &str, value: &str| Slice { by: by.into(), value: value.into() };
        let pair = |at: usize| {
            let hard = at.is_multiple_of(4);
            let slices = vec![slice("kind", if hard { "code" } else { "question" }), slice("language", "en")];
            Judged { difference: if hard && at.is_multiple_of(8) { -1.0 } else { 0.0 }, slices }
        };
        (0..n).map(pair).collect()
    }

    #[test]
    fn a_side_can_be_worse_in_one_slice_and_not_in_another() {
        let summary = Summary::of(QUESTION, &pairs(1_600), None);
        let told: Vec<(String, Verdict)> =
            summary.slices.iter().map(|found| (found.slice.to_string(), found.finding.verdict)).collect();
        assert_eq!(told, [("kind=question".into(), Verdict::NotWorse), ("kind=code".into(), Verdict::Worse)]);
        assert_eq!(summary.verdict, Verdict::Worse, "a loss in an eighth of the pairs is more than the margin");
        assert!(summary.course.len() <= LOOKS && summary.course.last().unwrap().pairs == 1_600);
    }

    #[test]
    fn the_word_of_a_judge_without_trust_is_no_verdict() {
        let ballot = Ballot { left_first: Some(Word::Second), right_first: Some(Word::First) };
        let trust = Trust::of([(&ballot, None); 100]);
        let summary = Summary::of(QUESTION, &pairs(1_600), Some(trust));
        assert_eq!(summary.verdict, Verdict::NotYetKnown);
        assert!(summary.slices.iter().all(|found| found.finding.verdict == Verdict::NotYetKnown));
        assert_eq!(summary.whole.verdict, Verdict::Worse, "what the pairs alone would say is on record");
    }
}

//! A promoted head stays watched by the one that it was promoted over.
//!
//! **Promise.** As long as [`Bounds::watch`] is above zero the former head goes on judging that part of the lane's sessions, and what is said of
//! both parts' answers is compared pair by pair, as in a trial, from the promotion on. Once an alarm rings ([`Alarm`]: worse by more than the
//! margin), the promoted head is taken back. As long as it is not worse by the margin, a false alarm comes after [`PATIENCE`]
//! pairs in the mean, or later.
//!
//! **What it does not do.** While another head is tried nobody watches: one comparison at a time. A head that was taken back
//! leaves the one before it unwatched.

use super::assess::{Bounds, Marked, differences};
use crate::compare::{Alarm, Evidence, Interval};
use serde::Serialize;

/// Pairs between two false alarms, in the mean.
const PATIENCE: u32 = 10_000;

/// The head that was promoted last, beside the one that it was promoted over.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// The former head.
    pub former: String,
    /// Since when, microseconds since 1970.
    pub since_us: i64,
}

/// What is known of a promoted head.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Watching {
    /// Pairs of marks since it was promoted, among the newest 200,000 marks.
    pub pairs: u64,
    /// How good answers are, in the mean: the promoted head's less the former's.
    pub mean: Option<f64>,
    /// Where that mean lies.
    pub interval: Interval,
    /// It has become worse.
    pub rung: bool,
}

// === impl Watching ===

impl Watching {
    pub(super) fn of(bounds: &Bounds, marks: &[Marked]) -> Self {
        let mut evidence = Evidence::default();
        let mut alarm = Alarm::new(bounds.question.margin, PATIENCE);
        let mut rung = false;
        for difference in differences(&bounds.labels, marks) {
            evidence.add(difference);
            rung = alarm.add(difference);
        }
        let pairs = evidence.pairs();
        let mean = (pairs > 0).then(|| evidence.mean());
        Self { pairs, mean, interval: evidence.interval(bounds.question.error), rung }
    }

    /// Why it is taken back.
    pub(super) fn why(&self, bounds: &Bounds) -> String {
        let margin = bounds.question.margin * 100.0;
        format!(
            "its answers have become worse than the former head's by more than {margin:.0}%, in {} pairs",
            self.pairs
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Question;
    use std::time::Duration;

    fn marks(n: usize, promoted: impl Fn(usize) -> bool, former: impl Fn(usize) -> bool) -> Vec<Marked> {
        (0..n)
            .map(|at| {
                let tried = at % 4 != 0;
                let good = if tried { promoted(at) } else { former(at) };
                Marked {
                    tried,
                    session: format!("s{at}"),
                    request: format!("r{at}"),
                    hosted: false,
                    source: "feedback".into(),
                    value: f64::from(u8::from(good)),
                }
            })
            .collect()
    }

    fn bounds() -> Bounds {
        Bounds {
            part: 0.1,
            question: Question { margin: 0.1, error: 0.05 },
            least: 30,
            longest: Duration::from_secs(3_600),
            labels: vec!["feedback".into()],
            watch: 0.05,
            train: None,
        }
    }

    #[test]
    fn an_alarm_rings_when_a_promoted_head_becomes_worse_and_not_while_it_is_as_good() {
        // In an order of its own on each side.
        let nine_of_ten = |at: usize| !(at / 4 * 7 + at % 4 * 3).is_multiple_of(10);
        let good = Watching::of(&bounds(), &marks(8_000, nine_of_ten, nine_of_ten));
        assert!(!good.rung && good.pairs >= 1_900 && good.mean.is_some_and(|mean| mean.abs() < 0.1), "{good:?}");
        let turned = |at: usize| if at < 6_000 { nine_of_ten(at) } else { at.is_multiple_of(3) };
        let worse = Watching::of(&bounds(), &marks(8_000, turned, nine_of_ten));
        assert!(worse.rung, "{worse:?}");
        assert!(worse.why(&bounds()).contains("worse"));
        assert_eq!(Watching::of(&bounds(), &[]).mean, None);
    }
}

//! What paired scores say of their mean, at every look.
//!
//! **Promise.** [`Evidence`] takes differences in \[-1, 1\] one after the other and can be asked after any number of them. For
//! each possible mean it holds the wealth of somebody who bets against that mean: were the mean right, the wealth would be a
//! non-negative supermartingale that begins at 1, so that it ever reaches `1/a` with probability at most `a` (Ville 1939).
//! So the interval holds at all looks at once, and so does a verdict.
//!
//! **How.** Betting on a bounded mean: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
//! Journal of the Royal Statistical Society B 86(1), 2024, the hedged capital process. Both directions have half of the
//! error. In place of one bet that is predicted from the past the capital is spread over [`BETS`] fixed fractions (their
//! "diversified" bettor; Orabona and Jun, IEEE Trans. Information Theory 70(1), 2024, show that a mixture loses only a
//! logarithm against the best fraction in hindsight). A fixed mixture does not depend on the order of what it has seen, so
//! that a histogram is all that is kept: an update is one addition, however many pairs there are, and a look costs the number
//! of *different* scores.
//!
//! **Rounding.** Scores are kept to a thousandth, downwards where they speak for a side and upwards where they speak against
//! it: rounding makes an interval wider, never narrower.
//!
//! **What it assumes.** That the mean of each difference, given those before it, is the same. Where it wanders, a verdict
//! speaks of no single number; a watch for change is [`super::alarm`].

use std::collections::BTreeMap;

/// Steps of a score.
const STEPS: f64 = 1_000.0;
/// Fractions of the most that can be bet, each 0.6 times the one before: from large differences to such of a percent.
pub(super) const BETS: [f64; 12] =
    [0.95, 0.57, 0.342, 0.205, 0.123, 0.0739, 0.0443, 0.0266, 0.016, 0.0096, 0.0057, 0.0034];

/// Differences that were seen, and what they say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Twice the score in steps, rounded down; odd where something was rounded away.
    seen: BTreeMap<i32, u64>,
    pairs: u64,
    sum: f64,
    squares: f64,
}

/// A mean between two ends.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Which way is bet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The mean lies above the boundary.
    Above,
    /// The mean lies below it.
    Below,
}

// === impl Evidence ===

impl Evidence {
    /// Takes a difference; what lies beyond -1 and 1, or is no number, counts as the end, or as nothing.
    pub fn add(&mut self, difference: f64) {
        if difference.is_nan() {
            return;
        }
        let difference = difference.clamp(-1.0, 1.0);
        let steps = difference * STEPS;
        let down = steps.floor();
        // A thousandth that binary numbers cannot say is still that thousandth.
        let near = steps.round();
        let key = if (steps - near).abs() < 1e-6 { 2 * near as i32 } else { 2 * down as i32 + 1 };
        *self.seen.entry(key).or_default() += 1;
        self.pairs += 1;
        self.sum += difference;
        self.squares += difference * difference;
    }

    /// Pairs so far.
    pub fn pairs(&self) -> u64 {
        self.pairs
    }

    /// The mean difference; 0 of nothing.
    pub fn mean(&self) -> f64 {
        if self.pairs == 0 { 0.0 } else { self.sum / self.pairs as f64 }
    }

    /// The variance of a difference.
    pub fn variance(&self) -> f64 {
        if self.pairs == 0 { 0.0 } else { (self.squares / self.pairs as f64 - self.mean().powi(2)).max(0.0) }
    }

    /// Pairs in which the left side did better, neither did, and the right side did.
    pub fn tally(&self) -> [u64; 3] {
        let count = |of: &dyn Fn(i32) -> bool| self.seen.iter().filter(|(key, _)| of(**key)).map(|(_, n)| n).sum();
        [count(&|key| key > 0), count(&|key| key == 0), count(&|key| key < 0)]
    }

    /// The logarithm of the evidence (an e-value) against the mean being on the other side of `boundary`.
    pub fn log_wealth(&self, boundary: f64, way: Way) -> f64 {
        let logs: [f64; BETS.len()] = self.log_bets(boundary, way);
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs.iter().map(|log| (log - most).exp()).sum();
        most + (sum / BETS.len() as f64).ln()
    }

    /// The logarithm of the wealth of each fraction.
    fn log_bets(&self, boundary: f64, way: Way) -> [f64; BETS.len()] {
        // A bet that could lose everything is none: the boundary keeps clear of the end.
        let boundary = boundary.clamp(-0.999, 0.999);
        BETS.map(|part| {
            self.seen
                .iter()
                .fold(0.0, |log, (key, n)| log + *n as f64 * growth(part, score(*key, way), boundary, way).ln())
        })
    }

    /// An interval for the mean that holds at every look at once with probability `1 - error`.
    pub fn interval(&self, error: f64) -> Interval {
        let limit = (2.0 / error).ln();
        let end = |way: Way| {
            // The wealth falls as the boundary comes nearer to what was seen: a bisection over a monotone function. The end
            // that is kept is always the wider one.
            let (mut refuted, mut possible) = match way {
                Way::Above => (-1.0, 1.0),
                Way::Below => (1.0, -1.0),
            };
            if self.log_wealth(refuted, way) < limit {
                return refuted;
            }
            for _ in 0..24 {
                let middle = (refuted + possible) / 2.0;
                if self.log_wealth(middle, way) >= limit { refuted = middle } else { possible = middle }
            }
            refuted
        };
        Interval { low: end(Way::Above), high: end(Way::Below) }
    }

    /// Pairs that are still needed until the evidence reaches `limit` (a logarithm), should they go on as before.
    pub fn still_needed(&self, boundary: f64, way: Way, limit: f64) -> Option<u64> {
        if self.pairs == 0 {
            return None;
        }
        let least = self.log_bets(boundary, way).into_iter().filter_map(|log| {
            let each = log / self.pairs as f64;
            let missing = limit + (BETS.len() as f64).ln() - log;
            (each > 0.0).then(|| (missing / each).ceil().max(1.0))
        });
        let needed = least.fold(f64::INFINITY, f64::min);
        (needed < 1e9).then_some(needed as u64)
    }
}

/// The score that stands for a cell of the histogram: the one that says less for the way that is bet on.
fn score(key: i32, way: Way) -> f64 {
    let down = f64::from(key.div_euclid(2));
    match way {
        Way::Above => down / STEPS,
        Way::Below => (down + f64::from(key.rem_euclid(2))) / STEPS,
    }
}

/// What one pair makes of one unit that `part` of the most is bet with.
pub(super) fn growth(part: f64, score: f64, boundary: f64, way: Way) -> f64 {
    let (score, boundary) = match way {
        Way::Above => (score, boundary),
        Way::Below => (-score, -boundary),
    };
    1.0 - part + part * (1.0 + score) / (1.0 + boundary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scores: &[f64]) -> Evidence {
        let mut evidence = Evidence::default();
        scores.iter().for_each(|score| evidence.add(*score));
        evidence
    }

    #[test]
    fn nothing_says_nothing() {
        let none = Evidence::default();
        assert_eq!(none.interval(0.05), Interval { low: -1.0, high: 1.0 });
        assert_eq!((none.log_wealth(0.0, Way::Above), none.still_needed(0.0, Way::Above, 3.0)), (0.0, None));
    }

    #[test]
    fn the_interval_holds_the_mean_and_narrows() {
        let cycle = [1.0, 0.0, 0.0, -1.0, 0.25];
        let mut widths = vec![];
        for n in [20, 200, 2_000, 20_000] {
            let scores: Vec<f64> = (0..n).map(|at| cycle[at % 5]).collect();
            let Interval { low, high } = of(&scores).interval(0.05);
            assert!(low < 0.05 && 0.05 < high, "{n}: {low} {high}");
            widths.push(high - low);
        }
        assert!(widths.windows(2).all(|pair| pair[1] < pair[0] * 0.5), "{widths:?}");
    }

    #[test]
    fn the_order_does_not_matter_and_both_ways_mirror_each_other() {
        let scores = [0.5, -1.0, 0.25, 1.0, 1.0, 0.0, 0.75];
        let mut turned = scores;
        turned.reverse();
        assert_eq!(of(&scores).log_wealth(-0.1, Way::Above), of(&turned).log_wealth(-0.1, Way::Above));
        let mirrored = of(&scores.map(|score| -score));
        assert!((of(&scores).log_wealth(-0.1, Way::Above) - mirrored.log_wealth(0.1, Way::Below)).abs() < 1e-12);
        assert_eq!(of(&scores).tally(), [5, 1, 1]);
    }

    #[test]
    fn what_is_rounded_speaks_for_nobody() {
        let exact = of(&[0.25; 50]);
        for (rounded, way) in [(of(&[0.2504; 50]), Way::Above), (of(&[0.2496; 50]), Way::Below)] {
            assert_eq!(rounded.log_wealth(0.1, way), exact.log_wealth(0.1, way), "{way:?}");
        }
        let odd = of(&[f64::NAN, 7.0, -7.0]);
        assert_eq!((odd.pairs(), odd.mean()), (2, 0.0));
        assert_eq!(of(&[0.1 + 0.2]).seen, of(&[0.3]).seen, "a thousandth is a thousandth");
    }

    #[test]
    fn the_forecast_comes_true_when_pairs_go_on_as_before() {
        let cycle = [1.0, 0.0, 0.0, -1.0, 0.25];
        let mut evidence = Evidence::default();
        (0..100).for_each(|at| evidence.add(cycle[at % 5]));
        let limit = 40.0_f64.ln();
        let needed = evidence.still_needed(-0.1, Way::Above, limit).unwrap();
        assert!(evidence.log_wealth(-0.1, Way::Above) < limit);
        let first = (100..).find(|at| {
            evidence.add(cycle[at % 5]);
            evidence.log_wealth(-0.1, Way::Above) >= limit
        });
        let took = first.unwrap() as u64 - 99;
        assert!((took..took * 2).contains(&needed), "{needed} were said, {took} it took");
        assert_eq!(of(&[-1.0; 30]).still_needed(-0.1, Way::Above, limit), None, "it goes the other way");
    }
}

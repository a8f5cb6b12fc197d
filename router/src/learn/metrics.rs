//! Figures of a score against labels, equal to those of the pack's `eval.py`.
//!
//! A threshold over the scores gives a curve from all weak to all strong; across equal scores it is straight, which is
//! their order at random in expectation. APGR is the area under the recovered share of the gap between the two models
//! (random: 0.5), CPT(x) the least share of strong calls that recovers x of it. Intervals are 95% percentile bootstrap
//! intervals over prompts; the draws come from another generator than numpy's, so they agree up to chance.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::Serialize;

/// Bins of the calibration error.
const BINS: usize = 10;

/// A scored prompt with its label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The score, 0 to 1.
    pub score: f64,
    /// Quality of the weak answer.
    pub weak: f64,
    /// Quality of the strong answer.
    pub strong: f64,
    /// The need: 0 or 1, or graded between.
    pub need: f64,
    /// How much the prompt counts beside the others; 1 as a rule.
    pub weight: f64,
}

/// The figures of one set of prompts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// How many prompts.
    pub n: usize,
    /// Mean quality of the weak model.
    pub q_weak: f64,
    /// Mean quality of the strong model.
    pub q_strong: f64,
    /// Area under the recovered gap.
    pub apgr: f64,
    /// Share of strong calls that recovers half of the gap; NaN when none does.
    pub cpt50: f64,
    /// Share of strong calls that recovers 80% of it.
    pub cpt80: f64,
    /// The chance that a prompt that gains is above one that does not.
    pub auroc: f64,
    /// Mean squared error of the score read as the need.
    pub brier: f64,
    /// Expected calibration error, ten bins of equal width.
    pub ece: f64,
}

/// An interval of 95%.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The intervals of the figures that vary.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Intervals {
    /// Of APGR.
    pub apgr: Interval,
    /// Of CPT(50).
    pub cpt50: Interval,
    /// Of CPT(80).
    pub cpt80: Interval,
    /// Of AUROC.
    pub auroc: Interval,
    /// Of the Brier score.
    pub brier: Interval,
    /// Of the calibration error.
    pub ece: Interval,
}

/// A bin of the reliability diagram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Mean score.
    pub score: f64,
    /// Mean need.
    pub need: f64,
    /// How many prompts.
    pub n: usize,
}

/// Prompts in the order of their scores, so that a resample costs no sorting.
struct Ordered {
    /// Highest score first.
    rows: Vec<Scored>,
}

// === impl Figures ===

impl Figures {
    /// The figures of these prompts.
    pub fn of(rows: &[Scored]) -> Self {
        let ordered = Ordered::of(rows);
        ordered.figures(&vec![1; rows.len()])
    }
}

/// The figures and their intervals from `draws` resamples.
pub fn with_intervals(rows: &[Scored], draws: usize, seed: u64) -> (Figures, Intervals) {
    let ordered = Ordered::of(rows);
    let drawn = ordered.draws(draws, seed);
    let of = |pick: fn(&Figures) -> f64| interval(drawn.iter().map(pick).collect());
    let intervals = Intervals {
        apgr: of(|figures| figures.apgr),
        cpt50: of(|figures| figures.cpt50),
        cpt80: of(|figures| figures.cpt80),
        auroc: of(|figures| figures.auroc),
        brier: of(|figures| figures.brier),
        ece: of(|figures| figures.ece),
    };
    (ordered.figures(&vec![1; rows.len()]), intervals)
}

/// The points (share of strong calls, mean quality) from all weak to all strong.
pub fn curve(rows: &[Scored]) -> Vec<(f64, f64)> {
    let ordered = Ordered::of(rows);
    let mut points = Vec::new();
    ordered.walk(&vec![1; rows.len()], |share, quality| points.push((share, quality)));
    points
}

/// The bins of the reliability diagram, empty ones left out.
pub fn reliability(rows: &[Scored]) -> Vec<Bin> {
    let (sums, _) = bins(rows.iter().map(|row| (*row, 1.0)));
    let mean = |(n, score, need): &(f64, f64, f64)| Bin { score: score / n, need: need / n, n: *n as usize };
    sums.iter().filter(|(n, ..)| *n > 0.0).map(mean).collect()
}

/// The difference in APGR of two scores on the same prompts (first less second), with its interval.
pub fn difference(first: &[Scored], second: &[Scored], draws: usize, seed: u64) -> (f64, Interval) {
    let value = Figures::of(first).apgr - Figures::of(second).apgr;
    let (first, second) = (Placed::of(first), Placed::of(second));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = Vec::with_capacity(draws);
    for _ in 0..draws {
        let counts = resample(first.places.len(), &mut random);
        drawn.push(first.apgr(&counts) - second.apgr(&counts));
    }
    (value, interval(drawn))
}

/// Prompts in order, and where each came from.
struct Placed {
    ordered: Ordered,
    places: Vec<usize>,
}

// === impl Placed ===

impl Placed {
    fn of(rows: &[Scored]) -> Self {
        let mut places: Vec<usize> = (0..rows.len()).collect();
        places.sort_by(|a, b| rows[*b].score.total_cmp(&rows[*a].score));
        Self { ordered: Ordered { rows: places.iter().map(|at| rows[*at]).collect() }, places }
    }

    fn apgr(&self, counts: &[u32]) -> f64 {
        let here: Vec<u32> = self.places.iter().map(|at| counts[*at]).collect();
        self.ordered.figures(&here).apgr
    }
}

// === impl Ordered ===

impl Ordered {
    fn of(rows: &[Scored]) -> Self {
        let mut rows = rows.to_vec();
        rows.sort_by(|a, b| b.score.total_cmp(&a.score));
        Self { rows }
    }

    /// The figures when each prompt counts so often.
    fn figures(&self, counts: &[u32]) -> Figures {
        let counted = || self.rows.iter().zip(counts).map(|(row, count)| (row, f64::from(*count) * row.weight));
        let n: f64 = counted().map(|(_, count)| count).sum();
        let q_weak = counted().map(|(row, count)| row.weak * count).sum::<f64>() / n;
        let q_strong = counted().map(|(row, count)| row.strong * count).sum::<f64>() / n;
        let gap = q_strong - q_weak;
        let mut before: Option<(f64, f64)> = None;
        let (mut apgr, mut cpt50, mut cpt80) = (0.0, f64::NAN, f64::NAN);
        self.walk(counts, |share, quality| {
            let recovered = (quality - q_weak) / gap;
            if let Some((last_share, last)) = before {
                apgr += (share - last_share) * (recovered + last) / 2.0;
                for (target, cpt) in [(0.5, &mut cpt50), (0.8, &mut cpt80)] {
                    if cpt.is_nan() && recovered >= target {
                        *cpt = last_share + (target - last) * (share - last_share) / (recovered - last);
                    }
                }
            }
            before = Some((share, recovered));
        });
        let brier = counted().map(|(row, count)| (row.score.clamp(0.0, 1.0) - row.need).powi(2) * count).sum::<f64>();
        let (_, ece) = bins(counted().map(|(row, count)| (*row, count)));
        let auroc = self.auroc(counts);
        let prompts: u32 = counts.iter().sum();
        Figures { n: prompts as usize, q_weak, q_strong, apgr, cpt50, cpt80, auroc, brier: brier / n, ece }
    }

    /// Calls `point` at (0, all weak) and at the end of every group of equal scores.
    fn walk(&self, counts: &[u32], mut point: impl FnMut(f64, f64)) {
        let count_of = |row: &Scored, count: u32| f64::from(count) * row.weight;
        let n: f64 = self.rows.iter().zip(counts).map(|(row, count)| count_of(row, *count)).sum();
        let weak: f64 = self.rows.iter().zip(counts).map(|(row, count)| row.weak * count_of(row, *count)).sum();
        point(0.0, weak / n);
        let (mut strong_calls, mut quality) = (0.0, weak);
        for (at, (row, count)) in self.rows.iter().zip(counts).enumerate() {
            strong_calls += count_of(row, *count);
            quality += (row.strong - row.weak) * count_of(row, *count);
            let ends = self.rows.get(at + 1).is_none_or(|next| next.score != row.score);
            if ends {
                point(strong_calls / n, quality / n);
            }
        }
    }

    fn auroc(&self, counts: &[u32]) -> f64 {
        // From the lowest score up: each gaining prompt beats what was below it, and half of its equals.
        let (mut below, mut gaining, mut wins) = (0.0, 0.0, 0.0);
        let (mut equal, mut equal_gaining) = (0.0, 0.0);
        let mut last: Option<f64> = None;
        for (row, count) in self.rows.iter().zip(counts).rev() {
            if last != Some(row.score) {
                wins += equal_gaining * (below + equal / 2.0);
                below += equal;
                gaining += equal_gaining;
                (equal, equal_gaining) = (0.0, 0.0);
                last = Some(row.score);
            }
            let count = f64::from(*count) * row.weight;
            if row.strong > row.weak { equal_gaining += count } else { equal += count }
        }
        wins += equal_gaining * (below + equal / 2.0);
        wins / ((below + equal) * (gaining + equal_gaining))
    }

    fn draws(&self, draws: usize, seed: u64) -> Vec<Figures> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (0..draws).map(|_| self.figures(&resample(self.rows.len(), &mut random))).collect()
    }
}

/// How often each of `n` prompts is drawn in `n` draws.
fn resample(n: usize, random: &mut ChaCha8Rng) -> Vec<u32> {
    let mut counts = vec![0u32; n];
    for _ in 0..n {
        counts[(random.next_u64() % n as u64) as usize] += 1;
    }
    counts
}

fn bins(rows: impl Iterator<Item = (Scored, f64)>) -> ([(f64, f64, f64); BINS], f64) {
    let mut sums = [(0.0, 0.0, 0.0); BINS];
    let mut total = 0.0;
    for (row, count) in rows {
        let score = row.score.clamp(0.0, 1.0);
        // As `eval.py` compares (b / 10 as a double), not by multiplying.
        let bin = (1..BINS).take_while(|bin| score >= *bin as f64 / BINS as f64).count();
        let sum = &mut sums[bin];
        *sum = (sum.0 + count, sum.1 + count * score, sum.2 + count * row.need);
        total += count;
    }
    let ece = sums.iter().map(|(_, score, need)| (score - need).abs()).sum::<f64>() / f64::max(total, 1.0);
    (sums, ece)
}

/// The 2.5th and the 97.5th percentile, between neighbours as numpy does.
fn interval(mut values: Vec<f64>) -> Interval {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let at = |part: f64| -> f64 {
        let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
        let place = part * last as f64;
        let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
        low + (high - low) * place.fract()
    };
    Interval { low: at(0.025), high: at(0.975) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `eval.py` gives for `score = (i * 7 % 11) / 11`, `q_weak = i % 3 == 0`, `q_strong = i % 4 != 0` for i in
    /// 0..40 (numpy 2, `metrics()` and `calibration()`).
    fn fixture() -> Vec<Scored> {
        let is = |is: bool| f64::from(u8::from(is));
        let row = |i: u32| {
            let (weak, strong) = (is(i.is_multiple_of(3)), is(!i.is_multiple_of(4)));
            Scored { score: f64::from(i * 7 % 11) / 11.0, weak, strong, need: is(strong > weak), weight: 1.0 }
        };
        (0..40).map(row).collect()
    }

    #[test]
    fn figures_equal_those_of_eval_py() {
        let figures = Figures::of(&fixture());
        let wanted =
            [0.48359375, 0.5125000000000001, 0.7650000000000001, 0.47375, 0.3508264462809917, 0.3090909090909091];
        let found = [figures.apgr, figures.cpt50, figures.cpt80, figures.auroc, figures.brier, figures.ece];
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-9, "{found} {wanted}");
        }
    }

    #[test]
    fn intervals_hold_the_value_and_a_difference_with_oneself_is_nothing() {
        let rows = fixture();
        let (figures, intervals) = with_intervals(&rows, 300, 1);
        assert!(intervals.apgr.low < figures.apgr && figures.apgr < intervals.apgr.high);
        assert_eq!(difference(&rows, &rows, 100, 1), (0.0, Interval { low: 0.0, high: 0.0 }));
    }

    #[test]
    fn a_prompt_that_counts_for_two_counts_as_two() {
        let mut rows = fixture();
        let doubled: Vec<Scored> = rows.iter().chain(&rows[..7]).copied().collect();
        rows.iter_mut().take(7).for_each(|row| row.weight = 2.0);
        let (weighted, doubled) = (Figures::of(&rows), Figures::of(&doubled));
        let pairs = [
            (weighted.apgr, doubled.apgr),
            (weighted.cpt80, doubled.cpt80),
            (weighted.auroc, doubled.auroc),
            (weighted.brier, doubled.brier),
            (weighted.ece, doubled.ece),
        ];
        assert!(pairs.iter().all(|(one, other)| (one - other).abs() < 1e-9), "{pairs:?}");
    }

    proptest! {
        #[test]
        fn one_score_for_all_is_as_good_as_chance(labels in proptest::collection::vec((any::<bool>(), any::<bool>()), 10..100)) {
            let row = |(weak, strong): &(bool, bool)| Scored {
                score: 0.5, weak: f64::from(u8::from(*weak)), strong: f64::from(u8::from(*strong)), need: 0.0, weight: 1.0,
            };
            let rows: Vec<Scored> = labels.iter().map(row).collect();
            let figures = Figures::of(&rows);
            prop_assume!(figures.q_strong != figures.q_weak);
            prop_assert!((figures.apgr - 0.5).abs() < 1e-9 && (figures.cpt80 - 0.8).abs() < 1e-9);
        }
    }
}

//! From a head's raw value to a probability.
//!
//! A rising curve of straight pieces, fitted on values of rows that the head had not seen (isotonic regression, then
//! knots in the middle of its steps). It never falls and never stays flat, so that calibrating changes no order and
//! makes no ties.

use serde::{Deserialize, Serialize};

/// The least rise from knot to knot: keeps the order where the data see no difference.
const RISE: f32 = 1e-4;

/// A rising curve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    at: Vec<f32>,
    gives: Vec<f32>,
}

// === impl Curve ===

impl Curve {
    /// Fits the probability of `wanted` (0 to 1) to raw values; `weights` are at least 0.
    pub fn fit(raw: &[f32], wanted: &[f32], weights: &[f32], least: f32) -> Self {
        let mut order: Vec<usize> = (0..raw.len()).filter(|row| weights[*row] > 0.0 && raw[*row].is_finite()).collect();
        order.sort_by(|a, b| raw[*a].total_cmp(&raw[*b]));
        // Small steps first, so that a knot stands on enough rows; then neighbours that fall are pooled.
        let mut steps: Vec<Step> = Vec::new();
        let mut open = Step::default();
        for row in order {
            open.add(raw[row], wanted[row], weights[row]);
            if open.weight >= f64::from(least) {
                pool(&mut steps, std::mem::take(&mut open));
            }
        }
        if open.weight > 0.0 {
            match steps.pop() {
                Some(last) => pool(&mut steps, last.and(open)),
                None => steps.push(open),
            }
        }
        let mut curve = Self::default();
        for step in steps {
            let at = (step.raw / step.weight) as f32;
            let gives = ((step.wanted / step.weight) as f32).clamp(RISE, 1.0 - RISE);
            match (curve.at.last(), curve.gives.last()) {
                (Some(last_at), Some(last)) if at > *last_at => {
                    let risen = gives.max(*last + RISE);
                    curve.at.push(at);
                    curve.gives.push(risen);
                }
                (Some(_), _) => {}
                (None, _) => {
                    curve.at.push(at);
                    curve.gives.push(gives);
                }
            }
        }
        curve
    }

    /// The probability for a raw value; beyond the last knots it goes on slowly towards 0 and 1.
    pub fn apply(&self, raw: f32) -> f32 {
        let (Some(first), Some(last)) = (self.at.first(), self.at.last()) else { return 0.5 };
        let (low, high) = (self.gives[0], self.gives[self.gives.len() - 1]);
        if raw <= *first {
            let beyond = first - raw;
            return low / (1.0 + beyond);
        }
        if raw >= *last {
            let beyond = raw - last;
            return 1.0 - (1.0 - high).max(0.0) / (1.0 + beyond);
        }
        let right = self.at.partition_point(|at| *at < raw).clamp(1, self.at.len() - 1);
        let left = right - 1;
        let part = (raw - self.at[left]) / (self.at[right] - self.at[left]);
        (self.gives[left] + part * (self.gives[right] - self.gives[left])).clamp(0.0, 1.0)
    }

    /// The raw value that gives a probability; `None` where no finite one does.
    pub fn raw(&self, gives: f32) -> Option<f32> {
        let (first, last) = (*self.at.first()?, *self.at.last()?);
        let (low, high) = (*self.gives.first()?, *self.gives.last()?);
        let raw = if gives < low {
            first - (low / gives - 1.0)
        } else if gives > high {
            last + (1.0 - high) / (1.0 - gives) - 1.0
        } else {
            let right = self.gives.partition_point(|known| *known < gives).clamp(1, self.gives.len().max(2) - 1);
            let (Some(to), left) = (self.gives.get(right), right - 1) else { return Some(first) };
            let part = (gives - self.gives[left]) / (to - self.gives[left]);
            self.at[left] + part * (self.at[right] - self.at[left])
        };
        raw.is_finite().then_some(raw)
    }

    /// Whether it is what it should be: as many values as knots, both rising.
    pub(super) fn is_sound(&self) -> bool {
        let rises = |values: &[f32]| values.windows(2).all(|two| two[0] < two[1]);
        self.at.len() == self.gives.len() && rises(&self.at) && rises(&self.gives)
    }
}

#[derive(Clone, Default)]
struct Step {
    raw: f64,
    wanted: f64,
    weight: f64,
}

// === impl Step ===

impl Step {
    fn add(&mut self, raw: f32, wanted: f32, weight: f32) {
        let weight = f64::from(weight);
        self.raw += f64::from(raw) * weight;
        self.wanted += f64::from(wanted) * weight;
        self.weight += weight;
    }

    fn and(self, other: Self) -> Self {
        Self { raw: self.raw + other.raw, wanted: self.wanted + other.wanted, weight: self.weight + other.weight }
    }
}

/// Pools adjacent violators: Ayer and others, 1955.
fn pool(steps: &mut Vec<Step>, mut new: Step) {
    while let Some(last) = steps.last() {
        if last.wanted / last.weight < new.wanted / new.weight {
            break;
        }
        if let Some(last) = steps.pop() {
            new = last.and(new);
        }
    }
    steps.push(new);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fair_curve_is_found() {
        let raw: Vec<f32> = (0..2_000).map(|n| n as f32 / 1_000.0 - 1.0).collect();
        let wanted: Vec<f32> = (0..2_000u32).map(|n| f32::from(u8::from(n * 7_919 % 2_000 < n))).collect();
        let curve = Curve::fit(&raw, &wanted, &vec![1.0; 2_000], 50.0);
        for at in [-0.6, 0.0, 0.6] {
            assert!((curve.apply(at) - (at + 1.0) / 2.0).abs() < 0.08, "{at}: {}", curve.apply(at));
        }
    }

    proptest! {
        #[test]
        fn order_is_kept(values in proptest::collection::vec((-2f32..2.0, 0f32..1.0), 1..200), low in -3f32..3.0, up in 0.01f32..2.0) {
            let (raw, wanted): (Vec<f32>, Vec<f32>) = values.into_iter().unzip();
            let curve = Curve::fit(&raw, &wanted, &vec![1.0; raw.len()], 5.0);
            prop_assert!(curve.is_sound());
            prop_assert!(curve.apply(low) < curve.apply(low + up), "{} {}", curve.apply(low), curve.apply(low + up));
            prop_assert!((0.0..=1.0).contains(&curve.apply(low)));
            let back = curve.raw(curve.apply(low)).map_or(low, |raw| curve.apply(raw));
            prop_assert!((curve.apply(low) - back).abs() < 1e-4, "{} {}", curve.apply(low), back);
        }
    }
}

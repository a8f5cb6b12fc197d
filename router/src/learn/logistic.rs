//! Logistic regression with an L2 penalty on sparse rows.
//!
//! Dual coordinate descent (Yu, Huang and Lin: Dual coordinate descent methods for logistic regression and maximum
//! entropy models, 2011; LIBLINEAR's solver 7). It needs a few passes over the rows and no step size, and is the same
//! for 131,072 buckets and for 384 dimensions. The maintained crates for logistic regression take dense matrices only,
//! which would be 10 GB here.
//!
//! Labels may lie between 0 and 1: such a row counts as both classes, in proportion.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Most passes over the rows.
const PASSES: usize = 60;
/// It has converged when no gradient is larger.
const ENOUGH: f64 = 0.02;
/// Most Newton steps on one coordinate.
const STEPS: usize = 40;

/// Rows of which most values are 0.
#[derive(Clone, Debug, Default)]
pub struct Sparse {
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

/// Fitted weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// A weight a column.
    pub weights: Vec<f32>,
    /// What is added.
    pub bias: f32,
}

/// One class of one row.
struct Instance {
    row: u32,
    sign: f64,
    cost: f64,
    alpha: [f64; 2],
}

// === impl Sparse ===

impl Sparse {
    /// No rows yet.
    pub fn new() -> Self {
        Self { starts: vec![0], ..Self::default() }
    }

    /// Appends a row.
    pub fn push(&mut self, entries: impl IntoIterator<Item = (u32, f32)>) {
        for (column, value) in entries {
            self.columns.push(column);
            self.values.push(value);
        }
        self.starts.push(self.columns.len());
    }

    /// A row's columns and values.
    pub fn row(&self, at: usize) -> (&[u32], &[f32]) {
        let range = self.starts[at]..self.starts[at + 1];
        (&self.columns[range.clone()], &self.values[range])
    }

    fn dot(&self, at: usize, weights: &[f64]) -> f64 {
        let (columns, values) = self.row(at);
        columns.iter().zip(values).map(|(column, value)| weights[*column as usize] * f64::from(*value)).sum()
    }
}

// === impl Linear ===

impl Linear {
    /// The raw value (log-odds) of a row.
    pub fn apply(&self, (columns, values): (&[u32], &[f32])) -> f32 {
        let sum: f32 = columns.iter().zip(values).map(|(column, value)| self.weights[*column as usize] * value).sum();
        self.bias + sum
    }
}

/// Fits the rows named in `rows` to `labels` (0 to 1), each counting by its weight; `cost` is the price of an error
/// against that of a large weight.
pub fn fit(
    matrix: &Sparse,
    width: usize,
    rows: &[u32],
    labels: &[f32],
    counts: &[f32],
    cost: f64,
    seed: u64,
) -> Linear {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = vec![0f64; width];
    let mut bias = 0f64;
    let mut instances: Vec<Instance> = Vec::with_capacity(rows.len());
    for row in rows {
        let (label, count) = (f64::from(labels[*row as usize]), f64::from(counts[*row as usize]));
        for (sign, share) in [(1.0, label), (-1.0, 1.0 - label)] {
            let cost = cost * count * share;
            if cost > 1e-9 {
                let small = (0.001 * cost).min(1e-8);
                instances.push(Instance { row: *row, sign, cost, alpha: [small, cost - small] });
            }
        }
    }
    let squares: Vec<f64> = instances
        .iter()
        .map(|instance| {
            1.0 + matrix.row(instance.row as usize).1.iter().map(|value| f64::from(value * value)).sum::<f64>()
        })
        .collect();
    for instance in &instances {
        step(matrix, &mut weights, &mut bias, instance.row, instance.sign * instance.alpha[0]);
    }
    let mut order: Vec<usize> = (0..instances.len()).collect();
    let mut precision = 0.01f64;
    for _ in 0..PASSES {
        for at in (1..order.len()).rev() {
            order.swap(at, (random.next_u64() % (at as u64 + 1)) as usize);
        }
        let (mut worst, mut newton_steps) = (0f64, 0usize);
        for at in &order {
            let instance = &mut instances[*at];
            let margin = instance.sign * (matrix.dot(instance.row as usize, &weights) + bias);
            let (moved, gradient, steps) = solve(instance, margin, squares[*at], precision);
            worst = worst.max(gradient.abs());
            newton_steps += steps;
            if moved != 0.0 {
                step(matrix, &mut weights, &mut bias, instance.row, instance.sign * moved);
            }
        }
        if worst < ENOUGH {
            break;
        }
        if newton_steps <= order.len() / 10 {
            precision = (precision * 0.1).max(1e-8);
        }
    }
    Linear { weights: weights.into_iter().map(|weight| weight as f32).collect(), bias: bias as f32 }
}

/// Newton's method on one pair of dual variables: how far the first moves, the gradient met, steps taken.
fn solve(instance: &mut Instance, margin: f64, square: f64, precision: f64) -> (f64, f64, usize) {
    let cost = instance.cost;
    let flipped = 0.5 * square * (instance.alpha[1] - instance.alpha[0]) + margin < 0.0;
    let (first, sign) = if flipped { (1, -1.0) } else { (0, 1.0) };
    let old = instance.alpha[first];
    let mut z = if cost - old < 0.5 * cost { 0.1 * old } else { old };
    let slope = |z: f64| square * (z - old) + sign * margin + (z / (cost - z)).ln();
    let mut gradient = slope(z);
    let met = gradient;
    let mut steps = 0;
    while steps < STEPS && gradient.abs() >= precision {
        let curvature = square + cost / (cost - z) / z;
        let next = z - gradient / curvature;
        z = if next <= 0.0 { z * 0.1 } else { next.min(cost * (1.0 - 1e-12)) };
        gradient = slope(z);
        steps += 1;
    }
    if steps == 0 {
        return (0.0, met, 0);
    }
    instance.alpha[first] = z;
    instance.alpha[1 - first] = cost - z;
    (sign * (z - old), met, steps)
}

fn step(matrix: &Sparse, weights: &mut [f64], bias: &mut f64, row: u32, by: f64) {
    let (columns, values) = matrix.row(row as usize);
    for (column, value) in columns.iter().zip(values) {
        weights[*column as usize] += by * f64::from(*value);
    }
    *bias += by;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gradient descent on the primal problem, slow and plain.
    fn plainly(matrix: &Sparse, width: usize, labels: &[f32], cost: f64) -> Vec<f64> {
        let mut weights = vec![0f64; width + 1];
        for _ in 0..20_000 {
            let mut gradient = weights.clone();
            for (row, label) in labels.iter().enumerate() {
                let (columns, values) = matrix.row(row);
                let sum: f64 = columns.iter().zip(values).map(|(c, v)| weights[*c as usize] * f64::from(*v)).sum();
                let error = 1.0 / (1.0 + (-(sum + weights[width])).exp()) - f64::from(*label);
                columns.iter().zip(values).for_each(|(c, v)| gradient[*c as usize] += cost * error * f64::from(*v));
                gradient[width] += cost * error;
            }
            weights.iter_mut().zip(gradient).for_each(|(weight, gradient)| *weight -= 0.01 * gradient);
        }
        weights
    }

    #[test]
    fn it_finds_what_plain_descent_finds_soft_labels_included() {
        let mut matrix = Sparse::new();
        let mut labels = Vec::new();
        for n in 0..60u32 {
            let (a, b) = ((n * 37 % 19) as f32 / 19.0, (n * 53 % 23) as f32 / 23.0);
            matrix.push([(0, a), (1, b)]);
            labels.push(if n % 5 == 0 { 0.4 } else { f32::from(u8::from(a + 0.3 * b > 0.6)) });
        }
        let rows: Vec<u32> = (0..60).collect();
        let found = fit(&matrix, 2, &rows, &labels, &[1.0; 60], 1.0, 3);
        let wanted = plainly(&matrix, 2, &labels, 1.0);
        for (found, wanted) in found.weights.iter().chain([&found.bias]).zip(wanted) {
            assert!((f64::from(*found) - wanted).abs() < 0.05, "{found} {wanted}");
        }
    }
}

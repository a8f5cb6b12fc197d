//! Small numerical tools of fitting: norms, quantiles, least squares for a handful of unknowns, centres of vectors.

use super::folds::spread;

/// A text's buckets, damped and brought to length 1: as `Part::output` reads them.
pub(super) fn normed(grams: &[(u32, u32)]) -> impl Iterator<Item = (u32, f32)> {
    let damped = |times: u32| 1.0 + (times as f32).ln();
    let length = grams.iter().map(|(_, times)| damped(*times).powi(2)).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    grams.iter().map(move |(bucket, times)| (*bucket, damped(*times) / length))
}

pub(super) fn quantile(values: &mut [f32], part: f32) -> Option<f32> {
    values.sort_by(f32::total_cmp);
    let last = values.len().checked_sub(1)?;
    values.get((part * last as f32).round() as usize).copied()
}

pub(super) fn percentiles(mut values: Vec<f32>) -> Vec<f32> {
    (0..=100).filter_map(|percent| quantile(&mut values, percent as f32 / 100.0)).collect()
}

/// Weighted least squares with a pull of the weights to 0, and the bias.
pub(super) fn ridge(columns: &[&[f32]], targets: &[f32], weights: &[f32], pull: f32) -> (Vec<f32>, f32) {
    let width = columns.len() + 1;
    let mut system = vec![vec![0f64; width + 1]; width];
    for (row, (target, weight)) in targets.iter().zip(weights).enumerate() {
        let value = |at: usize| columns.get(at).map_or(1.0, |column| f64::from(column[row]));
        for (at, line) in system.iter_mut().enumerate() {
            let left = f64::from(*weight) * value(at);
            for (to, cell) in line.iter_mut().take(width).enumerate() {
                *cell += left * value(to);
            }
            line[width] += left * f64::from(*target);
        }
    }
    for (at, line) in system.iter_mut().enumerate().take(columns.len()) {
        line[at] += f64::from(pull);
    }
    let mut solved = eliminate(system);
    let bias = solved.pop().unwrap_or(0.0);
    (solved.into_iter().map(|weight| weight as f32).collect(), bias as f32)
}

/// Gaussian elimination with pivots, for a handful of unknowns; the last column is the right side.
fn eliminate(mut system: Vec<Vec<f64>>) -> Vec<f64> {
    let width = system.len();
    for at in 0..width {
        let pivot = (at..width).max_by(|a, b| system[*a][at].abs().total_cmp(&system[*b][at].abs())).unwrap_or(at);
        system.swap(at, pivot);
        let line = system[at].clone();
        if line[at].abs() < 1e-12 {
            continue;
        }
        for (_, cells) in system.iter_mut().enumerate().filter(|(other, _)| *other != at) {
            let times = cells[at] / line[at];
            cells.iter_mut().zip(&line).for_each(|(cell, own)| *cell -= times * own);
        }
    }
    (0..width).map(|at| if system[at][at].abs() < 1e-12 { 0.0 } else { system[at][width] / system[at][at] }).collect()
}

/// Centres of unit vectors by Lloyd's algorithm on cosines; the first ones are rows at even distances.
pub(super) fn centres(vectors: &[&[f32]], count: usize, seed: u64) -> Vec<f32> {
    let Some(width) = vectors.first().map(|vector| vector.len()) else { return Vec::new() };
    let step = (vectors.len() / count).max(1);
    let start = seed as usize % step;
    let mut centres: Vec<f32> =
        vectors.iter().skip(start).step_by(step).take(count).flat_map(|vector| vector.iter().copied()).collect();
    for _ in 0..8 {
        let nearest = spread(vectors.len().div_ceil(512), |chunk| {
            let of = |vector: &&[f32]| {
                let likeness = |centre: &[f32]| centre.iter().zip(*vector).map(|(a, b)| a * b).sum::<f32>();
                let all = centres.chunks_exact(width).map(likeness).enumerate();
                all.max_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(at, _)| at)
            };
            vectors[chunk * 512..vectors.len().min(chunk * 512 + 512)].iter().map(of).collect::<Vec<usize>>()
        });
        let mut sums = vec![0f32; centres.len()];
        for (vector, at) in vectors.iter().zip(nearest.into_iter().flatten()) {
            sums[at * width..][..width].iter_mut().zip(*vector).for_each(|(sum, value)| *sum += value);
        }
        for (sum, centre) in sums.chunks_exact(width).zip(centres.chunks_exact_mut(width)) {
            let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
            if length > 0.0 {
                centre.iter_mut().zip(sum).for_each(|(centre, value)| *centre = value / length);
            }
        }
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ridge_finds_the_plane() {
        let (a, b): (Vec<f32>, Vec<f32>) = (0..500).map(|n| ((n % 17) as f32, (n % 23) as f32)).unzip();
        let targets: Vec<f32> = a.iter().zip(&b).map(|(a, b)| 0.5 * a - 0.25 * b + 2.0).collect();
        let (weights, bias) = ridge(&[&a, &b], &targets, &[1.0; 500], 1.0);
        assert!((weights[0] - 0.5).abs() < 1e-3 && (weights[1] + 0.25).abs() < 1e-3 && (bias - 2.0).abs() < 1e-2);
    }
}

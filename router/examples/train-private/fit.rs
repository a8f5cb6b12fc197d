//! Rows to heads.

use crate::rows::{Row, SEED, digest};
use router::learn::logistic::{Linear, Sparse, fit};
use router::private_text::{Calibration, Heads, Kind, Provenance, Reader, WIDTH};
use sha2::{Digest, Sha256};

/// Folds of the cross-validation that calibration and thresholds rest on.
const FOLDS: usize = 5;
/// What a miss counts against a false alarm where the threshold is chosen: data that leaves cannot be called back. (1 was tried
/// first; `docs/detectors.md` has the figures of both.)
const BETA: f64 = 2.0;

/// Heads, and what was seen on rows that they were not fitted to.
pub struct Fitted {
    /// Them.
    pub heads: Heads,
    /// Of each kind: recall and precision at its threshold, and the mean log loss, all out of fold.
    pub out_of_fold: [(f64, f64, f64); 3],
}

/// Fits one head for each kind. Calibration and threshold come from values of rows whose templates were left out.
pub fn heads(rows: &[Row], vectors: &[Vec<f32>], reader: &Reader, cost: f64) -> Fitted {
    let mut matrix = Sparse::new();
    for (row, vector) in rows.iter().zip(vectors) {
        matrix.push(reader.read(&row.window, vector));
    }
    let all: Vec<u32> = (0..rows.len() as u32).collect();
    let counts = vec![1f32; rows.len()];
    let mut fitted: Vec<Linear> = Vec::new();
    let mut calibration = [Calibration::default(); 3];
    let mut out_of_fold = [(0.0, 0.0, 0.0); 3];
    for kind in Kind::ALL {
        let labels: Vec<f32> = rows.iter().map(|row| f32::from(u8::from(row.truth[kind.place()]))).collect();
        let mut values = vec![0f32; rows.len()];
        for fold in 0..FOLDS {
            let (left_out, kept): (Vec<u32>, Vec<u32>) =
                all.iter().partition(|at| fold_of(rows[**at as usize].group) == fold);
            let linear = fit(&matrix, WIDTH, &kept, &labels, &counts, cost, SEED);
            left_out.iter().for_each(|at| values[*at as usize] = linear.apply(matrix.row(*at as usize)));
        }
        let (mut found, figures) = calibrate(&values, &labels);
        found.threshold = (found.threshold * 1e3).round() / 1e3;
        calibration[kind.place()] = found;
        out_of_fold[kind.place()] = figures;
        fitted.push(fit(&matrix, WIDTH, &all, &labels, &counts, cost, SEED));
    }
    let provenance = Provenance { windows_sha256: digest(rows), windows: rows.len(), seed: SEED };
    let parts = [0, 1, 2].map(|at| (fitted[at].weights.as_slice(), fitted[at].bias));
    Fitted { heads: Heads::new(parts, calibration, provenance), out_of_fold }
}

/// Rows of one template are in one fold.
fn fold_of(group: usize) -> usize {
    usize::from(Sha256::digest(group.to_le_bytes())[0]) % FOLDS
}

/// Platt's curve by Newton's method, the threshold with the best F score on it, and what that gives.
fn calibrate(values: &[f32], labels: &[f32]) -> (Calibration, (f64, f64, f64)) {
    let (mut slope, mut shift) = (1f64, 0f64);
    for _ in 0..50 {
        let (mut gradient, mut second) = ([1e-3 * slope, 0.0], [1e-3, 0.0, 1e-9]);
        for (value, label) in values.iter().zip(labels) {
            let (value, label) = (f64::from(*value), f64::from(*label));
            let probability = 1.0 / (1.0 + (-(slope * value + shift)).exp());
            let (error, spread) = (probability - label, probability * (1.0 - probability));
            gradient = [gradient[0] + error * value, gradient[1] + error];
            second = [second[0] + spread * value * value, second[1] + spread * value, second[2] + spread];
        }
        let determinant = second[0] * second[2] - second[1] * second[1];
        slope -= (second[2] * gradient[0] - second[1] * gradient[1]) / determinant;
        shift -= (second[0] * gradient[1] - second[1] * gradient[0]) / determinant;
    }
    let mut calibration = Calibration { slope: slope as f32, shift: shift as f32, threshold: 0.5 };
    let probabilities: Vec<f32> = values.iter().map(|value| calibration.probability(*value)).collect();
    let at = |threshold: f32| {
        let (mut found, mut wrong, mut there) = (0f64, 0f64, 0f64);
        for (probability, label) in probabilities.iter().zip(labels) {
            let (hit, is) = (*probability >= threshold, *label > 0.5);
            found += f64::from(u8::from(hit && is));
            wrong += f64::from(u8::from(hit && !is));
            there += f64::from(u8::from(is));
        }
        (found / there.max(1.0), found / (found + wrong).max(1.0))
    };
    let score = |(recall, precision): (f64, f64)| {
        (1.0 + BETA * BETA) * recall * precision / (BETA * BETA * precision + recall).max(1e-9)
    };
    let candidates = (4..=96).map(|hundredths| hundredths as f32 / 100.0);
    let best = candidates.max_by(|one, two| score(at(*one)).total_cmp(&score(at(*two))));
    calibration.threshold = best.unwrap_or(0.5);
    let loss = probabilities.iter().zip(labels).map(|(probability, label)| {
        let right = if *label > 0.5 { *probability } else { 1.0 - probability };
        -f64::from(right.max(1e-6)).ln()
    });
    let loss = loss.sum::<f64>() / values.len().max(1) as f64;
    let (recall, precision) = at(calibration.threshold);
    (calibration, (recall, precision, loss))
}

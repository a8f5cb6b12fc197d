//! How far from the training rows is too far: the limits of the [guard](crate::probe::guard).
//!
//! Measured out of fold, and for measured and graded rows apart, the more lenient limit being taken: graded rows are few,
//! and a limit taken over all rows would call a fifth of everyday traffic far because exam questions are alike.

use super::algebra::{centres, quantile};
use super::folds::FOLDS;
use super::material::Material;
use crate::probe::guard::{self, Guard};

/// The percentile of the training rows beyond which a text is far.
const FAR: f32 = 0.995;
/// Centres of the embeddings of each kind of rows.
const CENTRES: usize = 32;

/// The limits of a head that is fitted to these rows.
pub(super) fn guard(material: &Material<'_>, seed: u64) -> Guard {
    let kinds: Vec<Vec<usize>> = if material.has_both() {
        let of = |graded: bool| (0..material.rows.len()).filter(|row| material.graded[*row] == graded).collect();
        vec![of(false), of(true)]
    } else {
        vec![(0..material.rows.len()).collect()]
    };
    let unknown = kinds.iter().filter_map(|rows| quantile(&mut unknown_shares(material, rows), FAR));
    // Rows without a text say nothing of which words are unusual: nothing is far by its words.
    let unknown = if material.has_words() { unknown.fold(0.0, f32::max) } else { 1.0 };
    if material.dimensions() == 0 {
        return Guard { unknown, ..Guard::default() };
    }
    let all: Vec<f32> = kinds.iter().flat_map(|rows| centres_of(material, rows, None, seed)).collect();
    // Centres of each kind without a fold, then how near that fold's rows are to any of them.
    let mut likeness: Vec<Vec<f32>> = vec![Vec::new(); kinds.len()];
    for fold in 0..FOLDS {
        let others: Vec<f32> = kinds.iter().flat_map(|rows| centres_of(material, rows, Some(fold), seed)).collect();
        for (likeness, rows) in likeness.iter_mut().zip(&kinds) {
            let left_out = rows.iter().filter(|row| material.folds[**row] == fold);
            likeness.extend(left_out.filter_map(|row| {
                material.views[*row].embedding.as_deref().map(|embedding| guard::nearest(&others, embedding))
            }));
        }
    }
    let least = likeness.iter_mut().filter_map(|likeness| quantile(likeness, 1.0 - FAR));
    Guard { unknown, cosine: least.min_by(f32::total_cmp), centres: all }
}

fn centres_of(material: &Material<'_>, rows: &[usize], left_out: Option<usize>, seed: u64) -> Vec<f32> {
    let vectors: Vec<&[f32]> = rows
        .iter()
        .filter(|row| Some(material.folds[**row]) != left_out)
        .filter_map(|row| material.views[*row].embedding.as_deref())
        .collect();
    centres(&vectors, CENTRES, seed)
}

/// For each row with enough n-grams, the share of them that no row of another fold has.
fn unknown_shares(material: &Material<'_>, rows: &[usize]) -> Vec<f32> {
    // For each bucket one bit a fold that has it.
    let mut seen = vec![0u8; 1usize << material.recipe.bits];
    for (views, fold) in material.views.iter().zip(&material.folds) {
        views.grams.iter().for_each(|(bucket, _)| seen[*bucket as usize] |= 1 << fold);
    }
    rows.iter()
        .map(|row| (&material.views[*row].grams, material.folds[*row]))
        .filter(|(grams, _)| grams.len() >= guard::ENOUGH)
        .map(|(grams, fold)| {
            let unknown = grams.iter().filter(|(bucket, _)| seen[*bucket as usize] & !(1 << fold) == 0).count();
            unknown as f32 / grams.len() as f32
        })
        .collect()
}

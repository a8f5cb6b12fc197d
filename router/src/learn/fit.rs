//! Rows become a head.
//!
//! 1. Every part is fitted five times, each time without one fold, to give its out-of-fold output for every row, and once
//!    on all rows, to be kept.
//! 2. The mix is the ridge regression of the gain on the out-of-fold outputs.
//! 3. The curve from the mix to the need is fitted on the out-of-fold mix, and so are the percentiles of everyday
//!    traffic and the limits of the guard.
//!
//! Which parts, and why the trees are fitted to the gain: `docs/routing-quality.md`.

use super::Progress;
use super::boost::Growth;
use super::folds::spread;
use super::limits;
use super::material::{Material, Outputs};
use super::metrics::{Figures, Scored};
use super::rows::Row;
use crate::probe::head::{Provenance, Source, Views};
use crate::probe::{Head, Reading};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Fewest rows that a head is trained on.
pub const FEWEST: usize = 50;

/// How a head is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// N-grams fall into 2 to this power of buckets.
    pub bits: u32,
    /// How the trees grow.
    pub growth: Growth,
    /// The price of an error of the n-grams.
    pub words_cost: f64,
    /// The price of an error of the embedding.
    pub embedding_cost: f64,
    /// How strongly the embedding's weights are drawn to 0 when a head is adapted.
    pub embedding_pull: f32,
    /// How the trees grow on graded rows, of which there are few.
    pub everyday_growth: Growth,
    /// The price of an error of the embedding on graded rows.
    pub everyday_cost: f64,
    /// How much gain a need of 1, graded by hand, stands for.
    pub everyday_scale: f32,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            bits: 17,
            growth: Growth::default(),
            words_cost: 1.0,
            embedding_cost: 4.0,
            embedding_pull: 10.0,
            everyday_growth: Growth {
                trees: 600,
                rate: 0.03,
                leaves: 8,
                depth: 5,
                least: 10,
                features: 0.2,
                rows: 0.7,
                draw: 4.0,
            },
            everyday_cost: 2.0,
            everyday_scale: 0.6,
        }
    }
}

/// Why no head can be fitted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FitError {
    /// Too few rows.
    #[error("{0} labelled rows are too few: a head needs at least {FEWEST}")]
    TooFew(usize),
    /// Nothing to tell apart.
    #[error("the strong model is better on all rows or on none: there is nothing to learn")]
    OneSided,
    /// All rows in one group.
    #[error("the rows belong to too few groups to cross-validate")]
    OneGroup,
}

/// A head and how it did.
#[derive(Debug)]
pub struct Fitted {
    /// The head.
    pub head: Head,
    /// The need of every row, given by a head that had not seen its group.
    pub needs: Vec<f32>,
}

/// Gives the embedding of a reading.
pub type Embed<'a> = Option<&'a (dyn Fn(&Reading) -> Option<Vec<f32>> + Sync)>;

/// What the parts see of all rows.
pub fn views(rows: &[Row], bits: u32, embed: Embed<'_>, progress: Progress<'_>) -> Vec<Views> {
    let done = AtomicUsize::new(0);
    spread(rows.len(), |at| {
        let views = rows[at].views(bits, embed);
        let so_far = done.fetch_add(1, Ordering::Relaxed) + 1;
        if so_far.is_multiple_of(100) || so_far == rows.len() {
            progress("reading", so_far, rows.len());
        }
        views
    })
}

/// Fits a head to labelled rows.
///
/// # Errors
/// There are too few rows, or they are all alike.
pub fn train(
    rows: &[Row],
    views: &[Views],
    recipe: &Recipe,
    seed: u64,
    name: &str,
    mut provenance: Provenance,
    progress: Progress<'_>,
) -> Result<Fitted, FitError> {
    let material = Material::of(rows, views, recipe, seed)?;
    let (wanted, measured, gates) = material.wanted();
    let (parts, outputs) = material.parts(&wanted, progress);
    let fitted = Outputs { parts: &parts, outputs: &outputs, measured, gates };
    let (plain, plain_gains) = material.mix(&fitted, |source| source != Source::Embedding);
    let (encoded, gains) = match material.dimensions() {
        0 => (None, plain_gains),
        _ => {
            let (mix, gains) = material.mix(&fitted, |_| true);
            (Some(mix), gains)
        }
    };
    let best = encoded.as_ref().unwrap_or(&plain);
    let needs: Vec<f32> = gains.iter().map(|gain| best.curve.apply(*gain)).collect();
    let guard = limits::guard(&material, seed);
    provenance.seed = seed;
    provenance.figures.extend(figures(rows, &needs));
    provenance.rows = count_by_source(rows);
    let head = Head::new(name, provenance, recipe.bits, parts, plain, encoded, known(views, recipe.bits), guard);
    Ok(Fitted { head, needs })
}

/// A score and its label.
pub fn scored(row: &Row, score: f32) -> Option<Scored> {
    row.label.map(|label| Scored {
        score: f64::from(score),
        weak: f64::from(label.weak),
        strong: f64::from(label.strong),
        need: f64::from(label.need),
        weight: f64::from(row.weight),
    })
}

/// How much each row counts, 1 in the mean.
pub(super) fn weights(rows: &[Row]) -> Vec<f32> {
    let mean = rows.iter().map(|row| row.weight).sum::<f32>() / rows.len().max(1) as f32;
    // Rows that all count the same count 1, to the last bit.
    let alike = rows.windows(2).all(|two| two[0].weight == two[1].weight);
    rows.iter().map(|row| if alike { 1.0 } else { row.weight / mean }).collect()
}

fn count_by_source(rows: &[Row]) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        let graded = row.label.is_some_and(|label| label.graded);
        *counts.entry(if graded { "everyday (graded by hand)" } else { row.source.as_str() }).or_default() += 1;
    }
    counts.into_iter().map(|(source, count)| (source.to_owned(), count)).collect()
}

/// Figures of out-of-fold needs on measured rows, pooled and of the larger sources.
fn figures(rows: &[Row], needs: &[f32]) -> Vec<(String, f64)> {
    let mut by: BTreeMap<&str, Vec<Scored>> = BTreeMap::new();
    for (row, need) in rows.iter().zip(needs) {
        let measured = row.label.is_some_and(|label| !label.graded);
        if let Some(scored) = scored(row, *need).filter(|_| measured) {
            by.entry("").or_default().push(scored);
            by.entry(&row.source).or_default().push(scored);
        }
    }
    let mut figures = Vec::new();
    for (source, scored) in by.into_iter().filter(|(_, scored)| scored.len() >= FEWEST) {
        let found = Figures::of(&scored);
        let name = if source.is_empty() { "pooled" } else { source };
        figures.push((format!("{name} APGR, cross-validated"), round(found.apgr)));
        if source.is_empty() {
            figures.push(("pooled ECE, cross-validated".to_owned(), round(found.ece)));
        }
    }
    figures
}

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn known(views: &[Views], bits: u32) -> Vec<u8> {
    let mut known = vec![0u8; (1usize << bits) / 8];
    for (bucket, _) in views.iter().flat_map(|views| &views.grams) {
        known[*bucket as usize / 8] |= 1 << (bucket % 8);
    }
    known
}

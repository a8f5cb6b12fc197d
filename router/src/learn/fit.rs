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
use super::boost::{self, Binned, Growth};
use super::folds::{FOLDS, fold_of, spread};
use super::logistic::{self, Sparse};
use super::metrics::{Figures, Scored};
use super::rows::Row;
use crate::probe::curve::Curve;
use crate::probe::guard::{self, Guard};
use crate::probe::head::{Body, Everyday, Mix, Part, Provenance, Source, Sum, Target, Views};
use crate::probe::{Head, Reading, features, ngrams};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Fewest rows that a head is trained on.
pub const FEWEST: usize = 50;
/// Fewest rows behind a knot of the curve.
const KNOT: f32 = 150.0;
/// The percentile of the training rows beyond which a text is far.
const FAR: f32 = 0.995;
/// Centres of the embeddings.
const CENTRES: usize = 48;

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
    /// How the trees grow on graded rows, of which there are few.
    pub everyday_growth: Growth,
    /// The price of an error of the embedding on graded rows.
    pub everyday_cost: f64,
    /// The price of an error in telling graded rows from measured ones.
    pub gate_cost: f64,
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
            gate_cost: 4.0,
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
        let reading = &rows[at].reading;
        let views = Views {
            features: features::compute(reading),
            grams: ngrams::count(reading.text(), bits),
            embedding: embed.and_then(|embed| embed(reading)),
        };
        let so_far = done.fetch_add(1, Ordering::Relaxed) + 1;
        if so_far.is_multiple_of(100) || so_far == rows.len() {
            progress("reading", so_far, rows.len());
        }
        views
    })
}

/// Which rows a part is fitted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Measured rows, or all when there is one kind only.
    Measured,
    /// Graded rows.
    Graded,
    /// All rows, both kinds counting as much as the other.
    Both,
}

/// A part to be fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) source: Source,
    pub(super) target: Target,
    pub(super) kind: Kind,
}

/// Fitted parts and their out-of-fold outputs; those after the first `measured` are of the everyday opinion.
pub(super) struct Outputs<'a> {
    pub(super) parts: &'a [Part],
    pub(super) outputs: &'a [Vec<f32>],
    pub(super) measured: usize,
}

/// Rows ready to be fitted.
pub(super) struct Material<'a> {
    pub(super) rows: &'a [Row],
    pub(super) views: &'a [Views],
    pub(super) folds: Vec<usize>,
    pub(super) gains: Vec<f32>,
    pub(super) needs: Vec<f32>,
    graded: Vec<bool>,
    weak: Vec<f32>,
    strong: Vec<f32>,
    binned: Binned,
    words: Sparse,
    dense: Sparse,
    recipe: Recipe,
    seed: u64,
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
    let (wanted, measured) = material.wanted();
    let (parts, outputs) = material.parts(&wanted, progress);
    let fitted = Outputs { parts: &parts, outputs: &outputs, measured };
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
    let guard = material.guard(seed);
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
    })
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

// === impl Material ===

impl<'a> Material<'a> {
    pub(super) fn of(rows: &'a [Row], views: &'a [Views], recipe: &Recipe, seed: u64) -> Result<Self, FitError> {
        if rows.len() < FEWEST {
            return Err(FitError::TooFew(rows.len()));
        }
        let gains: Vec<f32> = rows.iter().map(Row::gain).collect();
        let needs = rows.iter().filter_map(|row| row.label.map(|label| label.need));
        let (least, most) = needs.fold((1f32, 0f32), |(least, most), need| (least.min(need), most.max(need)));
        if most - least < 0.1 {
            return Err(FitError::OneSided);
        }
        let folds: Vec<usize> = rows.iter().map(|row| fold_of(&row.group, seed)).collect();
        if (0..FOLDS).any(|fold| !folds.contains(&fold)) {
            return Err(FitError::OneGroup);
        }
        let mut words = Sparse::new();
        let mut dense = Sparse::new();
        for views in views {
            words.push(normed(&views.grams));
            let embedding = views.embedding.as_deref().unwrap_or_default();
            dense.push(embedding.iter().enumerate().map(|(at, value)| (at as u32, *value)));
        }
        let of = |pick: fn(&super::rows::Label) -> f32| -> Vec<f32> {
            rows.iter().map(|row| row.label.as_ref().map_or(0.0, pick)).collect()
        };
        let features: Vec<&[f32]> = views.iter().map(|views| views.features.as_slice()).collect();
        Ok(Self {
            rows,
            views,
            folds,
            gains,
            needs: of(|label| label.need),
            graded: rows.iter().map(|row| row.label.is_some_and(|label| label.graded)).collect(),
            weak: of(|label| label.weak),
            strong: of(|label| label.strong),
            binned: Binned::of(&features),
            words,
            dense,
            recipe: *recipe,
            seed,
        })
    }

    pub(super) fn dimensions(&self) -> usize {
        let first = self.views.first().and_then(|views| views.embedding.as_ref()).map_or(0, Vec::len);
        let all = self.views.iter().all(|views| views.embedding.as_ref().is_some_and(|one| one.len() == first));
        if all { first } else { 0 }
    }

    /// Whether there are enough rows of both kinds for two opinions.
    fn has_both(&self) -> bool {
        let graded = self.graded.iter().filter(|graded| **graded).count();
        graded >= FEWEST && self.rows.len() - graded >= 4 * FEWEST
    }

    /// The parts of a head, and how many of them are of the opinion from measured rows.
    fn wanted(&self) -> (Vec<Wanted>, usize) {
        let with_embedding = self.dimensions() > 0;
        let of = |kind, list: &[(Source, Target)]| -> Vec<Wanted> {
            list.iter()
                .filter(|(source, _)| with_embedding || *source != Source::Embedding)
                .map(|(source, target)| Wanted { source: *source, target: *target, kind })
                .collect()
        };
        let mut wanted = of(
            Kind::Measured,
            &[
                (Source::Features, Target::Gain),
                (Source::Words, Target::Weak),
                (Source::Words, Target::Strong),
                (Source::Embedding, Target::Weak),
                (Source::Embedding, Target::Strong),
            ],
        );
        let measured = wanted.len();
        if self.has_both() {
            wanted.extend(of(Kind::Both, &[(Source::Words, Target::Everyday)]));
            wanted.extend(of(Kind::Graded, &[(Source::Features, Target::Need), (Source::Embedding, Target::Need)]));
        }
        (wanted, measured)
    }

    /// The parts fitted on all rows, and each part's out-of-fold outputs.
    pub(super) fn parts(&self, wanted: &[Wanted], progress: Progress<'_>) -> (Vec<Part>, Vec<Vec<f32>>) {
        let done = AtomicUsize::new(0);
        let jobs = wanted.len() * (FOLDS + 1);
        progress("fitting", 0, jobs);
        let fitted = spread(jobs, |job| {
            let left_out = job % (FOLDS + 1);
            let part = self.part(wanted[job / (FOLDS + 1)], left_out);
            progress("fitting", done.fetch_add(1, Ordering::Relaxed) + 1, jobs);
            part
        });
        let mut parts = Vec::with_capacity(wanted.len());
        let mut outputs = Vec::with_capacity(wanted.len());
        for of_part in fitted.chunks(FOLDS + 1) {
            let Some((whole, folded)) = of_part.split_last() else { continue };
            let output: Vec<f32> =
                self.views.iter().zip(&self.folds).map(|(views, fold)| folded[*fold].output(views)).collect();
            outputs.push(output);
            parts.push(whole.clone());
        }
        (parts, outputs)
    }

    /// A part fitted without one fold; without none when there is no such fold.
    fn part(&self, wanted: Wanted, left_out: usize) -> Part {
        let Wanted { source, target, kind } = wanted;
        let both = self.has_both();
        let takes = |row: usize| match kind {
            Kind::Measured => !both || !self.graded[row],
            Kind::Graded => self.graded[row],
            Kind::Both => true,
        };
        let rows: Vec<u32> = (0..self.rows.len())
            .filter(|row| self.folds[*row] != left_out && takes(*row))
            .map(|row| row as u32)
            .collect();
        let everyday: Vec<f32>;
        let targets = match target {
            Target::Gain => &self.gains,
            Target::Need => &self.needs,
            Target::Weak => &self.weak,
            Target::Strong => &self.strong,
            Target::Everyday => {
                everyday = self.graded.iter().map(|graded| f32::from(u8::from(*graded))).collect();
                &everyday
            }
        };
        let counts: Vec<f32> = match kind {
            Kind::Measured | Kind::Graded => vec![1.0; self.rows.len()],
            Kind::Both => {
                let graded = self.graded.iter().filter(|graded| **graded).count().max(1) as f32;
                let of_graded = (self.rows.len() as f32 - graded) / graded;
                self.graded.iter().map(|graded| if *graded { of_graded } else { 1.0 }).collect()
            }
        };
        let recipe = &self.recipe;
        let growth = if kind == Kind::Graded { &recipe.everyday_growth } else { &recipe.growth };
        let cost = match (kind, source) {
            (Kind::Graded, _) => recipe.everyday_cost,
            (Kind::Both, _) => recipe.gate_cost,
            (Kind::Measured, Source::Embedding) => recipe.embedding_cost,
            (Kind::Measured, Source::Words | Source::Features) => recipe.words_cost,
        };
        let body = match source {
            Source::Features => Body::Trees(boost::grow(&self.binned, &rows, targets, &counts, growth, self.seed)),
            Source::Words => {
                let width = 1usize << recipe.bits;
                let linear = logistic::fit(&self.words, width, &rows, targets, &counts, cost, self.seed);
                let most = linear.weights.iter().fold(0f32, |most, weight| most.max(weight.abs()));
                let scale = (most / 127.0).max(f32::MIN_POSITIVE);
                let weights = linear.weights.iter().map(|weight| (weight / scale).round() as i8).collect();
                Body::Buckets { scale, bias: linear.bias, weights }
            }
            Source::Embedding => {
                let linear = logistic::fit(&self.dense, self.dimensions(), &rows, targets, &counts, cost, self.seed);
                Body::Dense { bias: linear.bias, weights: linear.weights }
            }
        };
        let mut part = Part { source, target, mean: 0.0, body };
        let sum: f32 = rows.iter().map(|row| part.output(&self.views[*row as usize])).sum();
        part.mean = sum / rows.len().max(1) as f32;
        part
    }

    /// The mix of the parts that may take part, and the gains that it gives out of fold.
    fn mix(&self, fitted: &Outputs<'_>, may: impl Fn(Source) -> bool) -> (Mix, Vec<f32>) {
        let both = self.has_both();
        let counts = |graded: bool| -> Vec<f32> {
            self.graded.iter().map(|is| f32::from(u8::from(!both || *is == graded))).collect()
        };
        let measured = sum_of(fitted, 0..fitted.measured, &may, &self.gains, &counts(false));
        let everyday = both.then(|| {
            let wanted: Vec<f32> = self.needs.iter().map(|need| need * self.recipe.everyday_scale).collect();
            let parts = fitted.measured + 1..fitted.parts.len();
            Everyday { gate: fitted.measured, sum: sum_of(fitted, parts, &may, &wanted, &counts(true)) }
        });
        let mut mix = Mix { measured, everyday, share: 1.0, ..Mix::default() };
        let gains: Vec<f32> = (0..self.rows.len())
            .map(|row| mix.gain(&fitted.outputs.iter().map(|output| output[row]).collect::<Vec<f32>>()))
            .collect();
        // A grade is an opinion, a measurement is not: probabilities come from measured rows where there are some.
        let knot = KNOT.min(self.rows.len() as f32 / 12.0);
        mix.curve = Curve::fit(&gains, &self.needs, &counts(false), knot);
        let mut everyday: Vec<usize> = (0..gains.len()).filter(|row| self.graded[*row]).collect();
        if everyday.len() < FEWEST {
            everyday = (0..gains.len()).collect();
        }
        mix.cold = percentiles(everyday.into_iter().map(|row| mix.curve.apply(gains[row])).collect());
        (mix, gains)
    }

    fn guard(&self, seed: u64) -> Guard {
        // For each bucket one bit a fold that has it.
        let mut seen = vec![0u8; 1usize << self.recipe.bits];
        for (views, fold) in self.views.iter().zip(&self.folds) {
            views.grams.iter().for_each(|(bucket, _)| seen[*bucket as usize] |= 1 << fold);
        }
        let mut shares = Vec::new();
        for (views, fold) in self.views.iter().zip(&self.folds).filter(|(views, _)| views.grams.len() >= guard::ENOUGH)
        {
            let unknown = views.grams.iter().filter(|(bucket, _)| seen[*bucket as usize] & !(1 << fold) == 0).count();
            shares.push(unknown as f32 / views.grams.len() as f32);
        }
        let unknown = quantile(&mut shares, FAR).unwrap_or(1.0);
        if self.dimensions() == 0 {
            return Guard { unknown, ..Guard::default() };
        }
        let vectors: Vec<&[f32]> = self.views.iter().filter_map(|views| views.embedding.as_deref()).collect();
        let centres = centres(&vectors, CENTRES, seed);
        let mut likeness: Vec<f32> = vectors.iter().map(|vector| guard::nearest(&centres, vector)).collect();
        let cosine = quantile(&mut likeness, 1.0 - FAR);
        Guard { unknown, cosine, centres }
    }
}

/// The sum of some parts that comes nearest to the targets.
fn sum_of(
    fitted: &Outputs<'_>,
    parts: std::ops::Range<usize>,
    may: impl Fn(Source) -> bool,
    targets: &[f32],
    counts: &[f32],
) -> Sum {
    let taking: Vec<usize> = parts.filter(|part| may(fitted.parts[*part].source)).collect();
    let columns: Vec<&[f32]> = taking.iter().map(|part| fitted.outputs[*part].as_slice()).collect();
    let (found, bias) = ridge(&columns, targets, counts);
    let mut weights = vec![0f32; fitted.parts.len()];
    taking.iter().zip(found).for_each(|(part, weight)| weights[*part] = weight);
    Sum { weights, bias }
}

/// A text's buckets, damped and brought to length 1: as [`Part::output`] reads them.
fn normed(grams: &[(u32, u32)]) -> impl Iterator<Item = (u32, f32)> {
    let damped = |times: u32| 1.0 + (times as f32).ln();
    let length = grams.iter().map(|(_, times)| damped(*times).powi(2)).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    grams.iter().map(move |(bucket, times)| (*bucket, damped(*times) / length))
}

fn quantile(values: &mut [f32], part: f32) -> Option<f32> {
    values.sort_by(f32::total_cmp);
    let last = values.len().checked_sub(1)?;
    values.get((part * last as f32).round() as usize).copied()
}

fn percentiles(mut values: Vec<f32>) -> Vec<f32> {
    (0..=100).filter_map(|percent| quantile(&mut values, percent as f32 / 100.0)).collect()
}

/// Weighted least squares with a slight pull to 0, and the bias.
pub(super) fn ridge(columns: &[&[f32]], targets: &[f32], weights: &[f32]) -> (Vec<f32>, f32) {
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
        line[at] += 1.0;
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
        for (other, cells) in system.iter_mut().enumerate().filter(|(other, _)| *other != at) {
            let _ = other;
            let times = cells[at] / line[at];
            cells.iter_mut().zip(&line).for_each(|(cell, own)| *cell -= times * own);
        }
    }
    (0..width).map(|at| if system[at][at].abs() < 1e-12 { 0.0 } else { system[at][width] / system[at][at] }).collect()
}

/// Centres of unit vectors by Lloyd's algorithm on cosines; the first ones are rows at even distances.
fn centres(vectors: &[&[f32]], count: usize, seed: u64) -> Vec<f32> {
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
        let (weights, bias) = ridge(&[&a, &b], &targets, &[1.0; 500]);
        assert!((weights[0] - 0.5).abs() < 1e-3 && (weights[1] + 0.25).abs() < 1e-3 && (bias - 2.0).abs() < 1e-2);
    }
}

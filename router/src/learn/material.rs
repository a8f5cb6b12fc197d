//! Rows ready to be fitted, and the fitting of single parts and mixes.
//!
//! Every part is fitted once without each fold and once on all rows. Graded rows and measured rows give an opinion each;
//! the gate between them is fitted on all rows, both kinds counting as much.

use super::Progress;
use super::algebra::{normed, percentiles, ridge};
use super::boost::{self, Binned, Growth};
use super::fit::{FEWEST, FitError, Recipe};
use super::folds::{FOLDS, fold_of, spread};
use super::logistic::{self, Sparse};
use super::rows::{Label, Row};
use crate::probe::curve::Curve;
use crate::probe::head::{Body, Part, Source, Target, Views};
use crate::probe::mix::{Everyday, Mix, Sum};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Fewest rows behind a knot of the curve.
const KNOT: f32 = 150.0;
/// How the trees of the gate grow.
const GATE: Growth =
    Growth { trees: 120, rate: 0.08, leaves: 10, depth: 5, least: 40, features: 0.3, rows: 0.7, draw: 20.0 };
/// The price of an error of the gate.
const GATE_COST: f64 = 1.0;

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

/// Fitted parts and their out-of-fold outputs: first those of the measured opinion, then the gate's, then the others.
pub(super) struct Outputs<'a> {
    pub(super) parts: &'a [Part],
    pub(super) outputs: &'a [Vec<f32>],
    pub(super) measured: usize,
    pub(super) gates: usize,
}

/// Rows ready to be fitted.
pub(super) struct Material<'a> {
    pub(super) rows: &'a [Row],
    pub(super) views: &'a [Views],
    pub(super) folds: Vec<usize>,
    pub(super) gains: Vec<f32>,
    pub(super) needs: Vec<f32>,
    pub(super) graded: Vec<bool>,
    /// How much each row counts, 1 in the mean.
    pub(super) weights: Vec<f32>,
    weak: Vec<f32>,
    strong: Vec<f32>,
    binned: Binned,
    words: Sparse,
    dense: Sparse,
    pub(super) recipe: Recipe,
    seed: u64,
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
        let of = |pick: fn(&Label) -> f32| -> Vec<f32> {
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
            weights: super::fit::weights(rows),
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

    /// Whether any row has a text, and so words.
    pub(super) fn has_words(&self) -> bool {
        self.rows.iter().any(|row| row.kept.is_none())
    }

    /// Whether there are enough rows of both kinds for two opinions.
    pub(super) fn has_both(&self) -> bool {
        let graded = self.graded.iter().filter(|graded| **graded).count();
        graded >= FEWEST && self.rows.len() - graded >= 4 * FEWEST
    }

    /// The parts of a head; how many of them are of the measured opinion, and how many then are the gate's.
    pub(super) fn wanted(&self) -> (Vec<Wanted>, usize, usize) {
        let (with_embedding, with_words) = (self.dimensions() > 0, self.has_words());
        let of = |kind, list: &[(Source, Target)]| -> Vec<Wanted> {
            list.iter()
                .filter(|(source, _)| match source {
                    Source::Embedding => with_embedding,
                    Source::Words => with_words,
                    Source::Features => true,
                })
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
        let mut gates = 0;
        if self.has_both() {
            wanted.extend(of(
                Kind::Both,
                &[
                    (Source::Words, Target::Everyday),
                    (Source::Features, Target::Everyday),
                    (Source::Embedding, Target::Everyday),
                ],
            ));
            gates = wanted.len() - measured;
            wanted.extend(of(Kind::Graded, &[(Source::Features, Target::Need), (Source::Embedding, Target::Need)]));
        }
        (wanted, measured, gates)
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
        let counts = match kind {
            Kind::Measured | Kind::Graded => self.weights.clone(),
            Kind::Both => self.balanced(),
        };
        let recipe = &self.recipe;
        let growth = match kind {
            Kind::Measured => &recipe.growth,
            Kind::Graded => &recipe.everyday_growth,
            Kind::Both => &GATE,
        };
        let cost = match (kind, source) {
            (Kind::Graded, _) => recipe.everyday_cost,
            (Kind::Both, _) => GATE_COST,
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
            Source::Embedding if target == Target::Gain => self.dense_ridge(&rows),
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

    /// Both kinds of rows counting as much.
    fn balanced(&self) -> Vec<f32> {
        let graded = self.graded.iter().filter(|graded| **graded).count().max(1) as f32;
        let of_graded = (self.rows.len() as f32 - graded) / graded;
        self.graded.iter().map(|graded| if *graded { of_graded } else { 1.0 }).collect()
    }

    /// The odds that a text is everyday traffic, from the gate's parts.
    fn gate(&self, fitted: &Outputs<'_>, may: impl Fn(Source) -> bool) -> Sum {
        let parts: Vec<usize> =
            (fitted.measured..fitted.measured + fitted.gates).filter(|part| may(fitted.parts[*part].source)).collect();
        let mut matrix = Sparse::new();
        for row in 0..self.rows.len() {
            matrix.push(parts.iter().enumerate().map(|(at, part)| (at as u32, fitted.outputs[*part][row])));
        }
        let rows: Vec<u32> = (0..self.rows.len()).map(|row| row as u32).collect();
        let labels: Vec<f32> = self.graded.iter().map(|graded| f32::from(u8::from(*graded))).collect();
        let found = logistic::fit(&matrix, parts.len(), &rows, &labels, &self.balanced(), 1.0, self.seed);
        let mut weights = vec![0f32; fitted.parts.len()];
        parts.iter().zip(found.weights).for_each(|(part, weight)| weights[*part] = weight);
        Sum { weights, bias: found.bias }
    }

    /// The ridge regression of the gain on the embedding, for few rows: the pull is in proportion to how much the
    /// embeddings of these rows differ.
    fn dense_ridge(&self, rows: &[u32]) -> Body {
        let vectors: Vec<&[f32]> =
            rows.iter().map(|row| self.views[*row as usize].embedding.as_deref().unwrap_or_default()).collect();
        let columns: Vec<Vec<f32>> = (0..self.dimensions())
            .map(|at| vectors.iter().map(|vector| vector.get(at).copied().unwrap_or(0.0)).collect())
            .collect();
        let count = rows.len().max(1) as f32;
        let spread: f32 = columns
            .iter()
            .map(|column| {
                let mean = column.iter().sum::<f32>() / count;
                column.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / count
            })
            .sum();
        let targets: Vec<f32> = rows.iter().map(|row| self.gains[*row as usize]).collect();
        let counts: Vec<f32> = rows.iter().map(|row| self.weights[*row as usize]).collect();
        let columns: Vec<&[f32]> = columns.iter().map(Vec::as_slice).collect();
        let pull = self.recipe.embedding_pull * spread;
        let (weights, bias) = ridge(&columns, &targets, &counts, pull);
        Body::Dense { bias, weights }
    }

    /// The mix of the parts that may take part, and the gains that it gives out of fold.
    pub(super) fn mix(&self, fitted: &Outputs<'_>, may: impl Fn(Source) -> bool) -> (Mix, Vec<f32>) {
        let both = self.has_both();
        let counts = |graded: bool| -> Vec<f32> {
            let takes = self.graded.iter().map(|is| f32::from(u8::from(!both || *is == graded)));
            takes.zip(&self.weights).map(|(takes, weight)| takes * weight).collect()
        };
        let measured = sum_of(fitted, 0..fitted.measured, &may, &self.gains, &counts(false));
        let everyday = both.then(|| {
            let wanted: Vec<f32> = self.needs.iter().map(|need| need * self.recipe.everyday_scale).collect();
            let parts = fitted.measured + fitted.gates..fitted.parts.len();
            Everyday { gate: self.gate(fitted, &may), sum: sum_of(fitted, parts, &may, &wanted, &counts(true)) }
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
    let (found, bias) = ridge(&columns, targets, counts, 1.0);
    let mut weights = vec![0f32; fitted.parts.len()];
    taking.iter().zip(found).for_each(|(part, weight)| weights[*part] = weight);
    Sum { weights, bias }
}

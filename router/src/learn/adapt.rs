//! A head and a few hundred rows of one's own become another head; and a head's probabilities are fitted anew.
//!
//! On a new workload what 20,000 foreign rows taught is worth less than a few hundred rows of its own, but not nothing:
//! the new head keeps all parts of its base as *one* column and adds parts fitted to the new rows alone. How much each
//! counts is a ridge regression on out-of-fold outputs.
//!
//! **The gate.** A new head is accepted only if, on rows that it had not seen, it ranks better than its base by more
//! than chance would often give. Otherwise the base is handed back as it was: asking costs nothing, and no workload gets
//! a worse head than it had.

use super::Progress;
use super::boost::Growth;
use super::fit::{FEWEST, FitError, Kind, Material, Recipe, Wanted, ridge, scored};
use super::folds::FOLDS;
use super::metrics::{self, Figures, Scored};
use super::rows::Row;
use crate::probe::Head;
use crate::probe::curve::Curve;
use crate::probe::head::{Mix, Part, Provenance, Source, Sum, Target, Views};

/// How parts are fitted to few rows: smaller trees, stronger pull to nothing.
fn few(bits: u32) -> Recipe {
    let growth =
        Growth { trees: 150, rate: 0.04, leaves: 5, depth: 3, least: 20, features: 0.3, rows: 0.7, draw: 20.0 };
    Recipe { bits, growth, words_cost: 1.0, embedding_cost: 2.0, ..Recipe::default() }
}
/// How many standard errors the new head must be ahead.
const AHEAD: f64 = 0.5;
/// Resamples behind the standard error.
const DRAWS: usize = 400;

/// What came of adapting a head.
#[derive(Debug)]
pub struct Adapted {
    /// The new head, or the base when the new one was not accepted.
    pub head: Head,
    /// Whether the new one was.
    pub accepted: bool,
    /// APGR of the base on the new rows.
    pub base_apgr: f64,
    /// APGR of the new head on the new rows, none of which it had seen.
    pub new_apgr: f64,
    /// Standard error of their difference.
    pub error: f64,
}

fn of(source: Source, target: Target) -> Wanted {
    Wanted { source, target, kind: Kind::Measured }
}

/// Adapts a head to labelled rows; `views` as the base's number of buckets asks for.
///
/// # Errors
/// There are too few rows, or they are all alike.
pub fn adapt(
    base: &Head,
    rows: &[Row],
    views: &[Views],
    seed: u64,
    name: &str,
    mut provenance: Provenance,
    progress: Progress<'_>,
) -> Result<Adapted, FitError> {
    let recipe = few(base.header.bits);
    let material = Material::of(rows, views, &recipe, seed)?;
    let mut wanted = vec![of(Source::Features, Target::Gain), of(Source::Words, Target::Need)];
    if material.dimensions() > 0 && base.header.encoded.is_some() {
        wanted.extend([of(Source::Embedding, Target::Weak), of(Source::Embedding, Target::Strong)]);
    }
    let (parts, outputs) = material.parts(&wanted, progress);
    let blend = Blend { base, material: &material, parts: &parts, outputs: &outputs };
    let (plain, plain_sums) = blend.mix(&base.header.plain, |source| source != Source::Embedding);
    let (encoded, sums) = match &base.header.encoded {
        Some(mix) if material.dimensions() > 0 => {
            let (mix, sums) = blend.mix(mix, |_| true);
            (Some(mix), sums)
        }
        _ => (None, plain_sums),
    };
    let base_sums: Vec<f32> = views.iter().map(|views| base.judge(views).0).collect();
    let of =
        |sums: &[f32]| -> Vec<Scored> { rows.iter().zip(sums).filter_map(|(row, sum)| scored(row, *sum)).collect() };
    let (old, new) = (of(&base_sums), of(&sums));
    let (difference, interval) = metrics::difference(&new, &old, DRAWS, seed);
    let error = (interval.high - interval.low) / (2.0 * 1.96);
    let (base_apgr, new_apgr) = (Figures::of(&old).apgr, Figures::of(&new).apgr);
    let accepted = difference > AHEAD * error;
    if !accepted {
        return Ok(Adapted { head: base.clone(), accepted, base_apgr, new_apgr, error });
    }
    provenance.seed = seed;
    provenance.base = Some(base.version());
    provenance.figures.push(("held-out APGR of the base".to_owned(), base_apgr));
    provenance.figures.push(("held-out APGR".to_owned(), new_apgr));
    let mut all = base.parts.clone();
    all.extend(parts);
    let mut known = base.known.clone();
    for (bucket, _) in views.iter().flat_map(|views| &views.grams) {
        known[*bucket as usize / 8] |= 1 << (bucket % 8);
    }
    let guard = base.header.guard.clone();
    let head = Head::new(name, provenance, recipe.bits, all, plain, encoded, known, guard);
    Ok(Adapted { head, accepted, base_apgr, new_apgr, error })
}

/// Fits a head's curves anew to labelled rows; the order of its scores stays.
///
/// # Errors
/// There are too few rows.
pub fn recalibrate(head: &Head, rows: &[Row], views: &[Views]) -> Result<Head, FitError> {
    if rows.len() < FEWEST {
        return Err(FitError::TooFew(rows.len()));
    }
    let needs: Vec<f32> = rows.iter().map(|row| row.label.map_or(0.0, |label| label.need)).collect();
    let ones = vec![1.0; rows.len()];
    let mut head = head.clone();
    let has_embeddings = views.iter().all(|views| views.embedding.is_some());
    let outputs: Vec<Vec<f32>> = views.iter().map(|views| head.outputs(views)).collect();
    let fitted = |mix: &Mix| {
        let gains: Vec<f32> = outputs.iter().map(|outputs| mix.gain(outputs)).collect();
        Curve::fit(&gains, &needs, &ones, knot(rows.len()))
    };
    head.header.plain.curve = fitted(&head.header.plain);
    if let Some(mix) = head.header.encoded.as_mut().filter(|_| has_embeddings) {
        mix.curve = fitted(mix);
    }
    head.header.provenance.base = Some(head.version());
    Ok(head)
}

fn knot(rows: usize) -> f32 {
    (rows as f32 / 12.0).clamp(10.0, 150.0)
}

/// A base head and what was fitted beside it.
struct Blend<'a> {
    base: &'a Head,
    material: &'a Material<'a>,
    parts: &'a [Part],
    outputs: &'a [Vec<f32>],
}

// === impl Blend ===

impl Blend<'_> {
    /// The new mix, and sums in which no row's own fold took part.
    fn mix(&self, of_base: &Mix, may: impl Fn(Source) -> bool) -> (Mix, Vec<f32>) {
        let material = self.material;
        let sums_of_base: Vec<f32> =
            material.views.iter().map(|views| of_base.gain(&self.base.outputs(views))).collect();
        let taking: Vec<usize> = (0..self.parts.len()).filter(|part| may(self.parts[*part].source)).collect();
        let columns: Vec<&[f32]> = std::iter::once(sums_of_base.as_slice())
            .chain(taking.iter().map(|part| self.outputs[*part].as_slice()))
            .collect();
        let mut sums = vec![0f32; material.rows.len()];
        for fold in 0..FOLDS {
            let weights: Vec<f32> = material.folds.iter().map(|other| f32::from(u8::from(*other != fold))).collect();
            let (fitted, bias) = ridge(&columns, &material.gains, &weights);
            for row in (0..sums.len()).filter(|row| material.folds[*row] == fold) {
                sums[row] =
                    bias + fitted.iter().zip(&columns).map(|(weight, column)| weight * column[row]).sum::<f32>();
            }
        }
        let (fitted, bias) = ridge(&columns, &material.gains, &vec![1.0; sums.len()]);
        let share = fitted.first().copied().unwrap_or(0.0);
        let mut weights = vec![0f32; self.base.parts.len() + self.parts.len()];
        for (part, weight) in taking.iter().zip(fitted.iter().skip(1)) {
            weights[self.base.parts.len() + part] = *weight;
        }
        let mix = of_base.adapted(share, Sum { weights, bias });
        let curve = Curve::fit(&sums, &material.needs, &vec![1.0; sums.len()], knot(sums.len()));
        let mut cold: Vec<f32> = sums.iter().map(|sum| curve.apply(*sum)).collect();
        cold.sort_by(f32::total_cmp);
        let last = cold.len().saturating_sub(1);
        let cold = (0..=100).filter_map(|percent| cold.get(percent * last / 100).copied()).collect();
        (Mix { curve, cold, ..mix }, sums)
    }
}

//! A head and a few hundred rows of one's own become another head; and a head's probabilities are fitted anew.
//!
//! On a new workload what 20,000 foreign rows taught is worth less than a few hundred rows of its own: the new head is
//! small trees and a ridge regression on the embedding, both fitted to the gain on those rows alone, and a lesser share of
//! the base. The three are brought to one scale and added with fixed weights; weights that are themselves fitted to 400
//! rows did worse (`docs/routing-quality.md`).
//!
//! **Rows without a prompt.** Features and embeddings that the ledger kept are all that is fitted here, so such rows are as
//! good as others for the new parts. The base's words are not among them: its part of a row is told from the score that it
//! gave then, where it was this very head, and is its features' and embedding's alone otherwise.
//!
//! **The gate.** A new head is accepted only if, on rows that it had not seen, it ranks better than its base by more than
//! a standard error. Otherwise the base is handed back as it was: asking costs nothing, and hardly ever gets a workload a
//! worse head than it had.

use super::Progress;
use super::algebra::{percentiles, ridge};
use super::boost::Growth;
use super::fit::{FEWEST, FitError, Recipe, scored};
use super::material::{Kind, Material, Wanted};
use super::metrics::{self, Figures, Scored};
use super::rows::Row;
use crate::probe::Head;
use crate::probe::curve::Curve;
use crate::probe::head::{Part, Provenance, Source, Target, Views};
use crate::probe::mix::{Mix, Sum};

/// How parts are fitted to few rows: smaller trees, stronger pull to nothing.
fn few(bits: u32) -> Recipe {
    let growth = Growth { trees: 80, rate: 0.05, leaves: 4, depth: 3, least: 25, features: 0.3, rows: 0.7, draw: 10.0 };
    Recipe { bits, growth, ..Recipe::default() }
}

/// How much the base counts where a part fitted to the new rows counts 1.
const OF_BASE: f32 = 0.35;
/// How many standard errors the new head must be ahead.
const AHEAD: f64 = 1.0;
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
    /// APGR of the new head less that of the base on the newest rows, where some were held back.
    pub newest: Option<f64>,
}

// === impl Adapted ===

impl Adapted {
    /// Hands the base back when the new head does worse on rows that came after all it was fitted to: what helped last
    /// month need not help today.
    pub fn unless_worse_on(mut self, base: &Head, rows: &[Row], views: &[Views], seed: u64) -> Self {
        if !self.accepted || rows.is_empty() {
            return self;
        }
        let of = |gain: &dyn Fn(&Row, &Views) -> f32| -> Vec<Scored> {
            rows.iter().zip(views).filter_map(|(row, views)| scored(row, gain(row, views))).collect()
        };
        let (new, old) =
            (of(&|row, views| adapted_gain(&self.head, base, row, views)), of(&|row, views| gain(base, row, views)));
        let (difference, _) = metrics::difference(&new, &old, DRAWS, seed);
        self.newest = Some(difference);
        if difference < 0.0 {
            self.accepted = false;
            self.head = base.clone();
        }
        self
    }
}

/// What a head thinks of a row: what it said then where its prompt is not kept, else what it says now.
fn gain(head: &Head, row: &Row, views: &Views) -> f32 {
    let known = row.kept.as_ref().and_then(|kept| kept.judged.as_ref()).filter(|(judge, _)| *judge == head.version());
    known.and_then(|(_, score)| head.mix(views).curve.raw(*score)).unwrap_or_else(|| head.judge(views).0)
}

/// What a head that was adapted from `base` thinks of a row, its base's share as [`gain`] tells it.
fn adapted_gain(head: &Head, base: &Head, row: &Row, views: &Views) -> f32 {
    let (mix, of_base) = (head.mix(views), base.mix(views));
    let share = if of_base.share > 0.0 { mix.share / of_base.share } else { 0.0 };
    head.judge(views).0 + share * (gain(base, row, views) - base.judge(views).0)
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
    let mut wanted = vec![of(Source::Features, Target::Gain)];
    if material.dimensions() > 0 && base.header.encoded.is_some() {
        wanted.push(of(Source::Embedding, Target::Gain));
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
    let base_sums: Vec<f32> = rows.iter().zip(views).map(|(row, views)| gain(base, row, views)).collect();
    let of =
        |sums: &[f32]| -> Vec<Scored> { rows.iter().zip(sums).filter_map(|(row, sum)| scored(row, *sum)).collect() };
    let (old, new) = (of(&base_sums), of(&sums));
    let (difference, interval) = metrics::difference(&new, &old, DRAWS, seed);
    let error = (interval.high - interval.low) / (2.0 * 1.96);
    let (base_apgr, new_apgr) = (Figures::of(&old).apgr, Figures::of(&new).apgr);
    let accepted = difference > AHEAD * error;
    if !accepted {
        return Ok(Adapted { head: base.clone(), accepted, base_apgr, new_apgr, error, newest: None });
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
    Ok(Adapted { head, accepted, base_apgr, new_apgr, error, newest: None })
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
    let counts = super::fit::weights(rows);
    let mut head = head.clone();
    let has_embeddings = views.iter().all(|views| views.embedding.is_some());
    let outputs: Vec<Vec<f32>> = views.iter().map(|views| head.outputs(views)).collect();
    let fitted = |mix: &Mix| {
        let gains: Vec<f32> = outputs.iter().map(|outputs| mix.gain(outputs)).collect();
        Curve::fit(&gains, &needs, &counts, knot(rows.len()))
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
    /// The new mix, and the gains that it gives for rows that its parts had not seen.
    fn mix(&self, of_base: &Mix, may: impl Fn(Source) -> bool) -> (Mix, Vec<f32>) {
        let material = self.material;
        let base_gain = |(row, views): (&Row, &Views)| match std::ptr::eq(of_base, self.base.mix(views)) {
            true => gain(self.base, row, views),
            false => of_base.gain(&self.base.outputs(views)),
        };
        let base_gains: Vec<f32> = material.rows.iter().zip(material.views).map(base_gain).collect();
        let taking: Vec<usize> = (0..self.parts.len()).filter(|part| may(self.parts[*part].source)).collect();
        let columns: Vec<&[f32]> = std::iter::once(base_gains.as_slice())
            .chain(taking.iter().map(|part| self.outputs[*part].as_slice()))
            .collect();
        let factors: Vec<f32> = columns
            .iter()
            .enumerate()
            .map(|(at, column)| if at == 0 { OF_BASE } else { 1.0 } / deviation(column))
            .collect();
        let blended: Vec<f32> = (0..base_gains.len())
            .map(|row| factors.iter().zip(&columns).map(|(factor, column)| factor * column[row]).sum())
            .collect();
        // One slope and one bias bring the sum back to the size of a gain; a slope that falls would turn the order.
        let (slope, bias) = ridge(&[&blended], &material.gains, &material.weights, 1.0);
        let slope = slope.first().copied().unwrap_or(0.0).max(1e-3);
        let gains: Vec<f32> = blended.iter().map(|value| slope * value + bias).collect();
        let mut weights = vec![0f32; self.base.parts.len() + self.parts.len()];
        for (part, factor) in taking.iter().zip(factors.iter().skip(1)) {
            weights[self.base.parts.len() + part] = slope * factor;
        }
        let share = slope * factors.first().copied().unwrap_or(0.0);
        let curve = Curve::fit(&gains, &material.needs, &material.weights, knot(gains.len()));
        let cold = percentiles(gains.iter().map(|gain| curve.apply(*gain)).collect());
        (Mix { curve, cold, ..of_base.adapted(share, Sum { weights, bias }) }, gains)
    }
}

/// The standard deviation; 1 where nothing differs.
fn deviation(values: &[f32]) -> f32 {
    let count = values.len().max(1) as f32;
    let mean = values.iter().sum::<f32>() / count;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / count).sqrt();
    if deviation > 1e-6 { deviation } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::rows::{Kept, Row};
    use crate::probe::{Probe, Reading};

    #[test]
    fn what_the_base_said_then_is_what_it_thinks_of_a_row_without_its_text() {
        let probe = Probe::bundled().unwrap();
        let head = probe.head();
        let mut words_had_a_say = false;
        for prompt in ["hello", "Prove that there are infinitely many primes.", "Summarise this: rain in May."] {
            let saw = head.views(&Reading::of_prompt(prompt));
            let (thought, said) = head.judge(&saw);
            let row = |judge: String| Row {
                id: "a".into(),
                source: String::new(),
                task: String::new(),
                group: "a".into(),
                reading: Reading::of_prompt(""),
                kept: Some(Box::new(Kept {
                    features: saw.features.clone(),
                    embedding: None,
                    judged: Some((judge, said)),
                })),
                weight: 1.0,
                chars: 0,
                label: None,
                pair: None,
            };
            let known = row(head.version());
            let views = known.views(head.header.bits, None);
            assert!(views.grams.is_empty());
            words_had_a_say |= (head.judge(&views).0 - thought).abs() > 1e-3;
            assert!((gain(head, &known, &views) - thought).abs() < 1e-3, "{prompt}");
            assert!((adapted_gain(head, head, &known, &views) - thought).abs() < 1e-3, "all of it is the base's");
            let other = row("another-1".into());
            assert_eq!(gain(head, &other, &views), head.judge(&views).0, "another head's word is not the base's");
        }
        assert!(words_had_a_say);
    }
}

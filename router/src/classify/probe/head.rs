//! A trained head: parts, how they are mixed, and what it was made from.
//!
//! A part looks at one view of a reading (hand-made features, n-grams, the sentence embedding) and gives one number; the
//! mix is a weighted sum of these numbers, an estimate of the *gain* (quality of the strong answer less that of the weak
//! one); a rising curve turns it into the *need*: the calibrated probability that the strong model is strictly better.
//! Ranking by gain and reading it as need costs nothing, since the curve keeps the order, and ranks better than a head
//! that was fitted to need (see `docs/routing-quality.md`).
//!
//! Two opinions are blended: one was learnt from measured answers, which are answers to exam questions, and one from
//! everyday prompts that were graded by hand; a part that tells the two kinds of text apart says how much each counts.
//! A head that was adapted to a workload adds a third, learnt from that workload alone.
//!
//! There are two mixes: with the embedding and without, each with its own curve, so that a probability means the same
//! when the encoder is absent.

use super::file::{Blob, FORMAT, HeadError, Take};
use super::forest::Forest;
use super::guard::Guard;
use super::mix::Mix;
use super::{features, ngrams};
use serde::{Deserialize, Serialize};

/// What a part looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The hand-made features.
    Features,
    /// The hashed n-grams.
    Words,
    /// The sentence embedding.
    Embedding,
}

/// What a part was fitted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The strong answer is strictly better.
    Need,
    /// The strong answer's quality less the weak one's.
    Gain,
    /// The weak answer is right.
    Weak,
    /// The strong answer is right.
    Strong,
    /// The row was graded by hand, as everyday traffic, and not measured.
    Everyday,
}

/// A part: a view, a target, and weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it looks at.
    pub source: Source,
    /// What it was fitted to.
    pub target: Target,
    /// What it gives for the average training row: the zero of its contributions.
    pub mean: f32,
    /// The weights.
    pub body: Body,
}

/// The weights of a part.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A weight a bucket, in steps of `scale`.
    Buckets {
        /// The size of a step.
        scale: f32,
        /// What is given without any word.
        bias: f32,
        /// Steps.
        weights: Vec<i8>,
    },
    /// Trees.
    Trees(Forest),
    /// A weight a dimension.
    Dense {
        /// What is given for the zero vector.
        bias: f32,
        /// Weights.
        weights: Vec<f32>,
    },
}

/// What a head was made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// When, RFC 3339.
    pub made: String,
    /// The commit of the program that made it.
    pub commit: String,
    /// The seed.
    pub seed: u64,
    /// The files and their SHA-256.
    pub data: Vec<(String, String)>,
    /// The head it was adapted from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Rows by source.
    pub rows: Vec<(String, usize)>,
    /// The weak and the strong model, where the rows name one pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<(String, String)>,
    /// Figures of the cross-validation by name.
    pub figures: Vec<(String, f64)>,
}

/// A head without its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub format: u32,
    /// What it is called: `need`, or the name of a workload.
    pub name: String,
    /// What it was made from.
    pub provenance: Provenance,
    /// The names of the features it was trained on.
    pub features: Vec<String>,
    /// The n-grams fall into 2 to this power of buckets.
    pub bits: u32,
    /// Dimensions of the embedding, 0 without.
    pub dimensions: usize,
    /// The parts, without their weights.
    parts: Vec<(Source, Target, f32)>,
    /// Without the embedding.
    pub plain: Mix,
    /// With it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoded: Option<Mix>,
    /// How far from the training rows is too far.
    pub guard: Guard,
}

/// A head.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// What it is.
    pub header: Header,
    /// Its parts.
    pub parts: Vec<Part>,
    /// One bit a bucket: some training row fell into it.
    pub known: Vec<u8>,
    digest: String,
}

/// A reading as the parts see it.
#[derive(Clone, Debug, Default)]
pub struct Views {
    /// The features.
    pub features: Vec<f32>,
    /// The buckets and how often.
    pub grams: Vec<(u32, u32)>,
    /// The embedding, where an encoder ran.
    pub embedding: Option<Vec<f32>>,
}

// === impl Part ===

impl Part {
    /// Its number for a reading; its mean where the view is missing.
    pub fn output(&self, views: &Views) -> f32 {
        match &self.body {
            Body::Trees(forest) => forest.sum(&views.features),
            Body::Buckets { scale, bias, weights } => {
                let (mut sum, mut norm) = (0f32, 0f32);
                for (bucket, times) in &views.grams {
                    let value = 1.0 + (*times as f32).ln();
                    norm += value * value;
                    sum += value * f32::from(weights.get(*bucket as usize).copied().unwrap_or(0));
                }
                bias + scale * sum / norm.sqrt().max(f32::MIN_POSITIVE)
            }
            Body::Dense { bias, weights } => match &views.embedding {
                Some(embedding) => bias + weights.iter().zip(embedding).map(|(weight, x)| weight * x).sum::<f32>(),
                None => self.mean,
            },
        }
    }
}

// === impl Head ===

impl Head {
    /// Puts a head together.
    #[expect(clippy::too_many_arguments, reason = "each is a field; there is one caller")]
    pub fn new(
        name: &str,
        provenance: Provenance,
        bits: u32,
        parts: Vec<Part>,
        plain: Mix,
        encoded: Option<Mix>,
        known: Vec<u8>,
        guard: Guard,
    ) -> Self {
        let dimensions = parts.iter().find_map(|part| match &part.body {
            Body::Dense { weights, .. } => Some(weights.len()),
            Body::Trees(_) | Body::Buckets { .. } => None,
        });
        let header = Header {
            format: FORMAT,
            name: name.to_owned(),
            provenance,
            features: features::NAMES.iter().map(|name| (*name).to_owned()).collect(),
            bits,
            dimensions: dimensions.unwrap_or(0),
            parts: parts.iter().map(|part| (part.source, part.target, part.mean)).collect(),
            plain,
            encoded,
            guard,
        };
        Self { header, parts, known, digest: String::new() }
    }

    /// The SHA-256 of its file; empty before it was written.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Its name and the first digits of its digest: what a decision's record says.
    pub fn version(&self) -> String {
        format!("{}-{}", self.header.name, self.digest.get(..8).unwrap_or("unsaved"))
    }

    /// A text's views, but for the embedding.
    pub fn views(&self, reading: &super::Reading) -> Views {
        Views {
            features: features::compute(reading),
            grams: ngrams::count(reading.text(), self.header.bits),
            embedding: None,
        }
    }

    /// What each part gives.
    pub fn outputs(&self, views: &Views) -> Vec<f32> {
        self.parts.iter().map(|part| part.output(views)).collect()
    }

    /// The mix for these views.
    pub fn mix(&self, views: &Views) -> &Mix {
        match (&self.header.encoded, &views.embedding) {
            (Some(mix), Some(_)) => mix,
            _ => &self.header.plain,
        }
    }

    /// The estimate of the gain, and the need.
    pub fn judge(&self, views: &Views) -> (f32, f32) {
        let mix = self.mix(views);
        let gain = mix.gain(&self.outputs(views));
        (gain, mix.curve.apply(gain))
    }

    /// The share of a text's n-grams that no training row had.
    pub fn unknown_share(&self, grams: &[(u32, u32)]) -> f32 {
        let unknown = grams.iter().filter(|(bucket, _)| !self.knows(*bucket)).count();
        unknown as f32 / grams.len().max(1) as f32
    }

    fn knows(&self, bucket: u32) -> bool {
        self.known.get(bucket as usize / 8).is_some_and(|byte| byte >> (bucket % 8) & 1 == 1)
    }

    pub(super) fn store(&self, blob: &mut Blob) {
        blob.bytes(self.known.iter().copied());
        for part in &self.parts {
            match &part.body {
                Body::Trees(forest) => forest.store(blob),
                Body::Buckets { scale, bias, weights } => {
                    blob.f32(*scale);
                    blob.f32(*bias);
                    blob.bytes(weights.iter().map(|weight| weight.cast_unsigned()));
                }
                Body::Dense { bias, weights } => {
                    blob.f32(*bias);
                    weights.iter().for_each(|weight| blob.f32(*weight));
                }
            }
        }
    }

    pub(super) fn load(header: Header, take: &mut Take<'_>, digest: String) -> Result<Self, HeadError> {
        let differs = header.features.iter().map(String::as_str).ne(features::NAMES.iter().copied());
        if differs {
            let strange = header.features.iter().find(|name| !features::NAMES.contains(&name.as_str()));
            return Err(HeadError::Features(strange.map_or_else(|| "other in number".to_owned(), Clone::clone)));
        }
        if !(3..=24).contains(&header.bits) {
            return Err(HeadError::Inconsistent("its number of buckets is impossible"));
        }
        let buckets = 1usize << header.bits;
        let known = take.bytes(buckets / 8)?.to_vec();
        let mut parts = Vec::new();
        for (source, target, mean) in header.parts.iter().copied() {
            let body = match source {
                Source::Features => Body::Trees(Forest::load(take, header.features.len())?),
                Source::Words => Body::Buckets {
                    scale: take.f32()?,
                    bias: take.f32()?,
                    weights: take.bytes(buckets)?.iter().map(|byte| byte.cast_signed()).collect(),
                },
                Source::Embedding => {
                    Body::Dense { bias: take.f32()?, weights: take.many(header.dimensions, Take::f32)? }
                }
            };
            parts.push(Part { source, target, mean, body });
        }
        for mix in std::iter::once(&header.plain).chain(&header.encoded) {
            if !mix.fits(parts.len()) {
                return Err(HeadError::Inconsistent("a mix does not fit its parts"));
            }
        }
        Ok(Self { header, parts, known, digest })
    }
}

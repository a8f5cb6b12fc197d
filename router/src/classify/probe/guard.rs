//! How far from the training rows is too far.
//!
//! A head extrapolates without telling. Two distances are cheap: the share of a text's n-grams that no training row had,
//! and, where the encoder ran, how unlike its embedding is to the nearest of a few dozen centres of the training rows.
//! Both are measured out of fold on the training rows, the everyday half by itself, and a request beyond their 99.5th
//! percentile is *far*: the record says so and `[router] unsure` decides. Very short texts are exempt from the first:
//! two unknown words of three say nothing.

use serde::{Deserialize, Serialize};

/// N-grams that a text needs before their unknown share counts.
pub const ENOUGH: usize = 12;

/// The limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// The most of a text's n-grams that may be unknown.
    pub unknown: f32,
    /// The least cosine to the nearest centre; absent without an encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f32>,
    /// The centres, of length 1, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub centres: Vec<f32>,
}

// === impl Guard ===

impl Guard {
    /// Whether a text is far.
    pub fn is_far(&self, grams: usize, unknown: f32, embedding: Option<&[f32]>) -> bool {
        match (self.cosine, embedding) {
            // The embedding knows languages and synonyms that n-grams do not.
            (Some(least), Some(embedding)) => nearest(&self.centres, embedding) < least,
            _ => grams >= ENOUGH && unknown > self.unknown,
        }
    }
}

/// The cosine to the nearest centre.
pub fn nearest(centres: &[f32], embedding: &[f32]) -> f32 {
    let length = embedding.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    let cosine = |centre: &[f32]| centre.iter().zip(embedding).map(|(a, b)| a * b).sum::<f32>() / length;
    centres.chunks_exact(embedding.len().max(1)).map(cosine).fold(-1.0, f32::max)
}

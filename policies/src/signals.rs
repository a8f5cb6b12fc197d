//! What the classifier believes.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Who judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgedBy {
    /// The features of the text (microseconds).
    Heuristic,
    /// The trained head in the binary.
    Probe,
    /// The local generative model, asked for one token.
    Slm,
}

/// What to do when the judge abstains or is late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsure {
    /// Ask the heuristic.
    #[default]
    Heuristic,
    /// Try the local model.
    Local,
    /// Go to the hosted model.
    Hosted,
}

/// A judgement of one request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Signals {
    /// How much the strong model is needed, 0 to 1; absent when the judge abstained and nobody stood in.
    pub need: Option<f32>,
    /// Who gave `need`.
    pub judged_by: JudgedBy,
    /// Why the configured judge did not answer, if it did not (`deadline`, `not_ready`, ...).
    pub abstained: Option<&'static str>,
    /// The part of the configured judge that took no part, if one did not: `encoder`, where all encoders were busy. The others judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<&'static str>,
    /// Bytes of the conversation that the judge did not read.
    pub unread_bytes: usize,
    /// How long judging took, in microseconds; told to the metrics and not in the record, which says the same for the same
    /// request.
    #[serde(skip)]
    pub took_us: u64,
    /// The few features that moved the judgement, by name.
    pub features: Vec<(&'static str, f32)>,
    /// The name and the digest of the trained head that judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Arc<str>>,
}

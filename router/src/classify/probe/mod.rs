//! The probe: the trained judge that is compiled into the binary.
//!
//! **Promise.** A judgement needs no download, no network and no other process; the same text gives the same score in
//! every build of this version; a score is a calibrated probability that the strong model's answer is strictly better,
//! on traffic like the training rows. On other traffic it still ranks, but is only as good as measured in
//! `docs/routing-quality.md`: hence the guard, which says when a text is unlike anything seen, and `sluice classifier
//! train`, which fits a head to one's own traffic.
//!
//! **Way of a text.** [`Reading`] (what is read) → [`features`], [`ngrams`] and, with the encoder, an embedding → the
//! parts of a [`Head`] → their mix → the need. Without the encoder a judgement takes some 100 microseconds.
//!
//! **Failure.** A head is checked when it is loaded (digest, features, shape), not when it judges: judging cannot fail.

pub mod curve;
pub mod features;
mod file;
pub mod forest;
pub mod guard;
pub mod head;
mod instruction;
mod lexicon;
mod live;
mod meaning;
pub mod mix;
pub mod ngrams;
mod reading;
mod stems;
mod words;

pub use file::{HeadError, read, write};
pub use head::Head;
pub use live::Live;
pub(crate) use meaning::embed_text;
pub use meaning::{alike, embed, warm};
pub use reading::{MOST, Reading};
pub(crate) use reading::{both_ends, tells_of_failure};

use super::Evidence;
use head::{Body, Source, Views};
use std::sync::{Arc, LazyLock};

/// The head that is shipped.
static BUNDLED: LazyLock<Result<Arc<Head>, HeadError>> =
    LazyLock::new(|| read(include_bytes!("../../../assets/heads/need.head")).map(Arc::new));

/// How many contributions a judgement names.
const NAMED: usize = 6;

/// The name of what the choice of words contributed.
const WORDING: &str = "wording";
/// The name of what the sentence embedding contributed.
const MEANING: &str = "meaning of the sentences";

/// What a judgement is told to have been made without.
const ENCODER: &str = "encoder";

/// A judge: a head, and the encoder where there is one.
#[derive(Clone, Debug)]
pub struct Probe {
    head: Arc<Head>,
    version: Arc<str>,
    encodes: bool,
}

/// A judgement.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The probability that the strong answer is strictly better.
    pub need: f32,
    /// The estimate of how much better, in quality from 0 to 1; what `need` was read from.
    pub gain: f32,
    /// The largest contributions to `gain`, by name, largest first.
    pub contributions: Vec<(&'static str, f32)>,
    /// The head's name and digest.
    pub head_version: Arc<str>,
    /// Bytes of the conversation that were not read.
    pub unread_bytes: usize,
    /// The part of the head that took no part: [`ENCODER`], where all encoders were busy, or one failed.
    pub skipped: Option<&'static str>,
    /// The text is unlike anything the head was trained on: the need is not to be trusted.
    pub far: bool,
    /// What it was judged by, to learn from later.
    pub evidence: Arc<Evidence>,
}

// === impl Probe ===

impl Probe {
    /// The probe with the head that is shipped.
    ///
    /// # Errors
    /// The asset does not fit this program: a fault of the build that a test looks for.
    pub fn bundled() -> Result<Self, &'static HeadError> {
        BUNDLED.as_ref().map(|head| Self::new(head.clone()))
    }

    /// A probe with another head.
    pub fn new(head: Arc<Head>) -> Self {
        let version = head.version().into();
        Self { head, version, encodes: true }
    }

    /// Its head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The need at each percentile of everyday traffic: what a share starts from.
    pub fn cold_quantiles(&self) -> &[f32] {
        match (&self.head.header.encoded, self.has_encoder()) {
            (Some(mix), true) => &mix.cold,
            _ => &self.head.header.plain.cold,
        }
    }

    /// The same without its encoder.
    #[must_use]
    pub fn without_encoder(self) -> Self {
        Self { encodes: false, ..self }
    }

    /// Whether the encoder takes part.
    pub fn has_encoder(&self) -> bool {
        self.encodes && self.head.header.encoded.is_some()
    }

    /// Head and encoder in a few words.
    pub fn describe(&self) -> String {
        format!("{} {}", self.version, if self.has_encoder() { "with encoder" } else { "without encoder" })
    }

    /// What the parts see of a reading.
    pub fn views(&self, reading: &Reading) -> Views {
        let mut views = self.head.views(reading);
        if self.encodes && self.head.header.encoded.is_some() {
            views.embedding = embed(reading);
        }
        views
    }

    /// Judges.
    pub fn judge(&self, reading: &Reading) -> Judged {
        self.judge_views(&self.views(reading), reading.unread_bytes)
    }

    /// Judges at once, without waiting for an encoder.
    fn judge_bare(&self, reading: &Reading) -> Judged {
        self.judge_views(&self.head.views(reading), reading.unread_bytes)
    }

    /// Judges what the parts see.
    pub fn judge_views(&self, views: &Views, unread_bytes: usize) -> Judged {
        let (gain, need) = self.head.judge(views);
        Judged {
            need,
            gain,
            contributions: self.contributions(views),
            head_version: self.version.clone(),
            unread_bytes,
            skipped: (self.has_encoder() && views.embedding.is_none()).then_some(ENCODER),
            far: self.is_far(views),
            evidence: Arc::new(Evidence::of(views)),
        }
    }

    /// Whether a text is unlike anything the head was trained on.
    pub fn is_far(&self, views: &Views) -> bool {
        let unknown = self.head.unknown_share(&views.grams);
        self.head.header.guard.is_far(views.grams.len(), unknown, views.embedding.as_deref())
    }

    /// The need, guard off, without what explains it.
    pub fn need(&self, reading: &Reading) -> f32 {
        self.head.judge(&self.views(reading)).1
    }

    /// The need of a bare prompt, guard off.
    pub fn raw_score(&self, prompt: &str) -> f32 {
        self.need(&Reading::of_prompt(prompt))
    }

    /// The largest contributions: each feature's way through the trees, the wording and the meaning as one each.
    fn contributions(&self, views: &Views) -> Vec<(&'static str, f32)> {
        let weights = self.head.mix(views).weights(&self.head.outputs(views));
        let mut moved = vec![0f32; features::NAMES.len()];
        let (mut wording, mut meaning) = (0f32, 0f32);
        for (part, weight) in self.head.parts.iter().zip(weights) {
            if weight == 0.0 {
                continue;
            }
            match (&part.body, part.source) {
                (Body::Trees(forest), _) => {
                    let mut own = vec![0f32; moved.len()];
                    forest.explain(&views.features, &mut own);
                    moved.iter_mut().zip(own).for_each(|(all, own)| *all += weight * own);
                }
                (Body::Buckets { .. } | Body::Dense { .. }, Source::Embedding) => {
                    meaning += weight * (part.output(views) - part.mean);
                }
                (Body::Buckets { .. } | Body::Dense { .. }, Source::Words | Source::Features) => {
                    wording += weight * (part.output(views) - part.mean);
                }
            }
        }
        let mut all: Vec<(&'static str, f32)> = features::NAMES.iter().copied().zip(moved).collect();
        all.push((WORDING, wording));
        all.push((MEANING, meaning));
        all.retain(|(_, by)| by.abs() >= 0.000_5);
        all.sort_by(|(_, a), (_, b)| b.abs().total_cmp(&a.abs()));
        all.truncate(NAMED);
        all
    }
}

#[cfg(test)]
mod tests;

//! How much is the strong model needed?
//!
//! **Promise.** A judgement comes within the deadline or abstains, and says which; an abstention is settled by `[router]
//! unsure`, never by chance. The classifier sees text but dials nobody.
//!
//! Kinds: the [`probe`], a trained head in the binary (0.1 ms, 10 ms with its encoder); the [`heuristic`]
//! (microseconds, hand-set weights); and the local model itself ([`slm`]: one constrained token).

mod control;
mod draft;
pub mod encoder;
mod evidence;
mod heuristic;
mod lanes;
pub mod probe;
mod risk;
mod second;
mod share;
mod slm;
mod spender;

pub use control::Control;
pub(crate) use draft::{AnswerHead, Doubt, Draft, Wanted};
pub use evidence::Evidence;
pub use lanes::{Lane, LaneRule};
pub use risk::{Label, Risk, RiskGoal, RiskState, WINDOW};
pub use second::Second;
pub(crate) use share::WINDOW as COUNTED;
pub use share::{Counted, Share};
pub(crate) use spender::{MEMORY, SpendEvent};
pub use spender::{MoneyRate, Spender};

use adapters::Backend;
use adapters::wire::WireRequest;
use policies::{JudgedBy, Permit, Signals, Sink, Unsure};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Who judges.
#[derive(Clone)]
pub enum Classifier {
    /// The features of the text.
    Heuristic,
    /// The trained head.
    Probe(Arc<probe::Live>),
    /// The local model, asked for one token.
    Slm {
        /// The model.
        backend: Arc<dyn Backend>,
        /// How long it may take.
        deadline: Duration,
    },
}

/// A judgement and what it was made of.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// What is believed.
    pub signals: Signals,
    /// What a trained head saw, where one was asked.
    pub evidence: Option<Arc<Evidence>>,
}

impl std::fmt::Debug for Classifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Heuristic => "Heuristic",
            // The version too: the share's memory ends with the head that gave the scores.
            Self::Probe(live) => return write!(f, "Probe({})", live.probe().head().version()),
            Self::Slm { .. } => "Slm",
        })
    }
}

// === impl Classifier ===

impl Classifier {
    /// Ascending quantiles of the scores it gives to everyday requests; empty where nobody measured them.
    pub fn cold_quantiles(&self) -> &[f32] {
        match self {
            Self::Probe(live) => live.probe().cold_quantiles(),
            Self::Heuristic | Self::Slm { .. } => &[],
        }
    }

    /// A head of one's own, or the one that is shipped; the heuristic if that did not fit the program, which a test rules
    /// out.
    pub fn probe(own: Option<Arc<probe::Head>>, deadline: Duration) -> Self {
        match own.map_or_else(probe::Probe::bundled, |head| Ok(probe::Probe::new(head))) {
            Ok(probe) => Self::Probe(Arc::new(probe::Live::new(probe, deadline))),
            Err(error) => {
                tracing::error!(%error, "the trained head is not usable: the heuristic judges");
                Self::Heuristic
            }
        }
    }

    /// Judges a request, with leave to read it; without it the judge abstains, and nobody stands in.
    ///
    /// # Cancel safety
    /// Cancel safe; a question to the local model is dropped with the future.
    pub async fn judge(&self, request: &WireRequest, unsure: Unsure, permit: Option<&Permit>) -> Judgement {
        if !permit.is_some_and(|permit| permit.is_for(Sink::Classifier)) {
            return Judgement { signals: self.silent("residency"), evidence: None };
        }
        let started = Instant::now();
        let mut evidence = None;
        let mut signals = match self {
            Self::Heuristic => heuristic::judge(request),
            Self::Probe(live) => match live.judge(request).await {
                Ok(judged) => {
                    evidence = Some(judged.evidence);
                    if judged.far {
                        stand_in(request, unsure, JudgedBy::Probe, "far")
                    } else {
                        Signals {
                            need: Some(judged.need),
                            judged_by: JudgedBy::Probe,
                            abstained: None,
                            skipped: judged.skipped,
                            unread_bytes: judged.unread_bytes,
                            took_us: 0,
                            features: judged.contributions,
                            head: Some(judged.head_version),
                        }
                    }
                }
                Err(why) => stand_in(request, unsure, JudgedBy::Probe, why),
            },
            Self::Slm { backend, deadline } => match slm::judge(backend.as_ref(), request, *deadline).await {
                Ok(signals) => signals,
                Err(why) => stand_in(request, unsure, JudgedBy::Slm, why),
            },
        };
        signals.took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Judgement { signals, evidence }
    }

    /// Nothing is believed.
    fn silent(&self, why: &'static str) -> Signals {
        let judged_by = match self {
            Self::Heuristic => JudgedBy::Heuristic,
            Self::Probe(_) => JudgedBy::Probe,
            Self::Slm { .. } => JudgedBy::Slm,
        };
        let (features, head) = (vec![], None);
        let (abstained, skipped) = (Some(why), None);
        Signals { need: None, judged_by, abstained, skipped, unread_bytes: 0, took_us: 0, features, head }
    }
}

/// What is believed when the judge abstains: the heuristic's word where `unsure` says so, else nothing.
fn stand_in(request: &WireRequest, unsure: Unsure, judge: JudgedBy, why: &'static str) -> Signals {
    let signals = heuristic::judge(request);
    let need = signals.need.filter(|_| unsure == Unsure::Heuristic);
    let judged_by = if need.is_some() { JudgedBy::Heuristic } else { judge };
    Signals { need, judged_by, abstained: Some(why), ..signals }
}

/// The heuristic's word alone, to compare trained heads with.
pub fn heuristic_need(request: &WireRequest) -> f32 {
    heuristic::judge(request).need.unwrap_or(0.5)
}

//! How much is the strong model needed?
//!
//! **Promise.** A judgement comes within the deadline or abstains, and says which; an abstention is settled by `[router]
//! unsure`, never by chance. The classifier sees text but dials nobody.
//!
//! Kinds: the [`heuristic`] (microseconds), the local model itself ([`slm`]: one constrained token), and `probe`, the
//! head in the binary: until it is trained the heuristic runs in its place and `check` says so.

mod heuristic;
mod share;
mod slm;

pub use share::Share;

use adapters::Backend;
use adapters::wire::WireRequest;
use policies::{JudgedBy, Signals, Unsure};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Who judges.
#[derive(Clone)]
pub enum Classifier {
    /// The features of the text.
    Heuristic,
    /// The trained head; the heuristic until it is trained.
    Probe,
    /// The local model, asked for one token.
    Slm {
        /// The model.
        backend: Arc<dyn Backend>,
        /// How long it may take.
        deadline: Duration,
    },
}

impl std::fmt::Debug for Classifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Heuristic => "Heuristic",
            Self::Probe => "Probe",
            Self::Slm { .. } => "Slm",
        })
    }
}

// === impl Classifier ===

impl Classifier {
    /// Judges a request.
    ///
    /// # Cancel safety
    /// Cancel safe; a question to the local model is dropped with the future.
    pub async fn judge(&self, request: &WireRequest, unsure: Unsure) -> Signals {
        let started = Instant::now();
        let mut signals = match self {
            Self::Heuristic | Self::Probe => heuristic::judge(request),
            Self::Slm { backend, deadline } => match slm::judge(backend.as_ref(), request, *deadline).await {
                Ok(signals) => signals,
                Err(why) => {
                    let stand_in = heuristic::judge(request);
                    let need = stand_in.need.filter(|_| unsure == Unsure::Heuristic);
                    let judged_by = if need.is_some() { JudgedBy::Heuristic } else { JudgedBy::Slm };
                    Signals { need, judged_by, abstained: Some(why), ..stand_in }
                }
            },
        };
        signals.took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        signals
    }
}

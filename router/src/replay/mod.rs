//! What would change: requests that were decided on once, decided on anew under another configuration.
//!
//! **Promise.** Constraints, rules, models, prices and the threshold are those of the present configuration; facts, data class,
//! score and tokens are those on record. What cannot be known without the text is *unknown* and counted as such, by its reason
//! ([`Unknown`]); it is never guessed, and never counted as unchanged.
//!
//! **Intervals.** A period on record is a sample of what comes: shares have Wilson's interval, money the normal one of a sum of
//! differences, both at 95%. They say what another such period would show, not how well this one was counted.
//!
//! **What it does not do.** No budgets (what was left then is gone), no health, no conversations that stay on their side, no
//! holdout, experiment or exploration, no masking. An answer that changes its model is priced with the tokens that it had: another
//! model would have written more, or less.
//!
//! Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

mod summary;

pub use summary::{Interval, Money, Moved, Share, Summary};

use policies::{Location, ModelName, NanoDollars};
use serde::Serialize;

/// A request that was decided on anew.
#[derive(Clone, Debug, Serialize)]
pub struct Replayed {
    /// Its id.
    pub id: String,
    /// What was decided then.
    pub then: Decided,
    /// What is decided now.
    pub now: Verdict,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// The side that goes first; `None`: refused.
    pub route: Option<Location>,
    /// The model that goes first.
    pub model: Option<ModelName>,
    /// Why: one machine word.
    pub reason: String,
    /// What the answer cost, or would cost with the tokens that it had; `None`: nobody knows.
    pub cost_usd: Option<NanoDollars>,
}

/// What came of deciding anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// This.
    Decided {
        /// The decision.
        #[serde(flatten)]
        decided: Decided,
        /// Where the score came from; `None`: none was needed.
        score: Option<Score>,
        /// The local answer would be looked at, and might go on to the other side.
        watched: bool,
    },
    /// It cannot be known.
    Unknown(Unknown),
}

/// Where a score came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// The same judge gave it then.
    OnRecord,
    /// The present head gave it to what another head saw then, without the choice of words.
    Rejudged,
    /// The present judge read the text.
    Read,
}

/// Why it cannot be known what would be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// It has no story that can be read.
    Unreadable,
    /// Its model is not configured any more.
    UnknownModel,
    /// Its data class is not configured any more.
    UnknownClass,
    /// It was masked, or could have been: what is in it is not on record.
    Masked,
    /// Nobody looked into it then, and detectors look now.
    NeverScanned,
    /// Both sides are open to it now, and nobody judged it then.
    Unjudged,
    /// Another judge judged it, and what that saw was not kept.
    OtherJudge,
}

// === impl Unknown ===

impl Unknown {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unreadable => "no decision that can be read is on record",
            Self::UnknownModel => "its model is not configured any more",
            Self::UnknownClass => "its data class is not configured any more",
            Self::Masked => "it was masked: what was in it is not on record",
            Self::NeverScanned => "nobody looked into it then, and detectors look now",
            Self::Unjudged => "both sides are open to it now, and nobody judged it then",
            Self::OtherJudge => "another judge judged it, and what that saw was not kept",
        }
    }
}

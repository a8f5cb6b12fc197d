//! A model that could answer, as it stands now.

use crate::ids::{ModelName, ProviderName};
use crate::money::Pricing;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Where a provider runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// In this process or in the house.
    Local,
    /// Somebody else's machine.
    Hosted,
}

/// Which list of `[router]` a model stands in.
pub type Side = Location;

/// What a model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Calls tools.
    pub tools: bool,
    /// Sees pictures.
    pub vision: bool,
    /// Hears and speaks.
    pub audio: bool,
    /// Reads files.
    pub files: bool,
    /// Keeps to a JSON schema.
    pub json_schema: bool,
    /// Tells log-probabilities.
    pub logprobs: bool,
    /// Gives several choices in one call.
    pub several_choices: bool,
}

/// What a model makes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// An answer: text, calls of tools.
    #[default]
    Chat,
    /// Vectors of texts.
    Embedding,
}

/// Whether a candidate can take a request now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It is being loaded.
    Loading,
    /// It cannot, and why: fit for a client to read.
    Down {
        /// One lowercase fragment.
        why: String,
        /// When asking again makes sense, if anybody knows.
        retry_after: Option<Duration>,
    },
}

/// A model with all that the constraints ask about.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The configured name.
    pub model: ModelName,
    /// Its provider.
    pub provider: ProviderName,
    /// Where that provider runs.
    pub location: Location,
    /// The provider's region, when it was said.
    pub region: Option<String>,
    /// What it makes of a request.
    pub kind: ModelKind,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Prompt and answer together, in tokens, when known.
    pub context_window: Option<u64>,
    /// The most it will write, in tokens, when known.
    pub max_output: Option<u64>,
    /// It would tell, of this request, how sure it is of each token: only then can its answer be looked at.
    pub tells: bool,
    /// What its tokens cost.
    pub pricing: Pricing,
    /// Whether it can take a request now.
    pub readiness: Readiness,
    /// Predicted time to its first token, its queue included; known for the local engine.
    pub first_token_in: Option<Duration>,
    /// A high quantile of the output tokens that this caller's answers of this model have had; `None`: not known yet, or
    /// it writes what cannot be seen (reasoning).
    pub expected_output: Option<u64>,
}

// === impl Location ===

impl Location {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Local => Self::Hosted,
            Self::Hosted => Self::Local,
        }
    }

    /// `local` or `hosted`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Hosted => "hosted",
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

// === impl Capabilities ===

impl Capabilities {
    /// Everything: what is assumed of a hosted model, whose own word is final.
    pub const ALL: Self = Self {
        tools: true,
        vision: true,
        audio: true,
        files: true,
        json_schema: true,
        logprobs: true,
        several_choices: true,
    };

    /// Text in, text out, tools, schemas and log-probabilities: the engine in process.
    pub const TEXT: Self = Self { vision: false, audio: false, files: false, several_choices: false, ..Self::ALL };
}

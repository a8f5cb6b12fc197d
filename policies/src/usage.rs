//! Tokens that were used, and how well that is known.

use serde::{Deserialize, Serialize};

/// A number of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenCount(pub u64);

/// The tokens of one attempt. Parts are contained in their whole, as OpenAI reports them: cached, cache-write and audio
/// input in `input`, reasoning and audio output in `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All input tokens.
    pub input: TokenCount,
    /// Those read from the provider's cache.
    pub cached_input: TokenCount,
    /// Those written to the provider's cache.
    pub cache_write: TokenCount,
    /// Those that were audio.
    pub audio_input: TokenCount,
    /// All output tokens.
    pub output: TokenCount,
    /// Those spent on reasoning.
    pub reasoning: TokenCount,
    /// Those that were audio.
    pub audio_output: TokenCount,
}

/// How well the usage is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The provider (or our own engine) said so.
    Exact(Usage),
    /// Counted from what was seen; the provider may bill more.
    AtLeast(Usage),
}

// === impl TokenCount ===

impl From<u64> for TokenCount {
    fn from(tokens: u64) -> Self {
        Self(tokens)
    }
}

// === impl Usage ===

impl Usage {
    /// Input and output without special parts.
    pub fn plain(input: u64, output: u64) -> Self {
        Self { input: TokenCount(input), output: TokenCount(output), ..Self::default() }
    }
}

// === impl Counted ===

impl Counted {
    /// The tokens, however well known.
    pub fn usage(&self) -> &Usage {
        match self {
            Self::Exact(usage) | Self::AtLeast(usage) => usage,
        }
    }

    /// `exact` or `at_least`, as the ledger keeps it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Exact(_) => "exact",
            Self::AtLeast(_) => "at_least",
        }
    }
}

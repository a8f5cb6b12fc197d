//! What a scan found: names and numbers, never content.

use super::scan::Work;
use crate::residency::DataClass;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kind's word, or the configured name.
    pub name: Arc<str>,
    /// Which of the kind: the network of a card, the country of an identifier, the issuer of a key.
    pub variety: Option<&'static str>,
    /// The class that it sets.
    pub class: DataClass,
    /// How many different ones; of a configured expression: whether.
    pub count: u32,
}

/// What was not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unscanned {
    /// Bytes of text beyond the cap.
    pub text_bytes: u64,
    /// Pictures, by value or by address.
    pub pictures: u32,
    /// Pieces of sound.
    pub audio: u32,
    /// Files, by value (unless they are text) or by id.
    pub files: u32,
}

/// All that a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// By kind and variety, then the configured ones.
    pub found: Vec<Finding>,
    /// What was not looked at.
    pub unscanned: Unscanned,
    /// The class that follows; `None`: none.
    pub class: Option<DataClass>,
    /// Findings are reported only, and set no class.
    pub observed: bool,
    /// What it took.
    pub work: Work,
}

// === impl Unscanned ===

impl Unscanned {
    /// Whether there is anything.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

// === impl Finding ===

impl fmt::Display for Finding {
    /// `2 payment_card (visa)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.count, self.name)?;
        match self.variety {
            Some(variety) => write!(f, " ({variety})"),
            None => Ok(()),
        }
    }
}

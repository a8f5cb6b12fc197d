//! `[residency]` as it is typed.

use super::super::detectors::DetectorsSpec;
use super::super::units::{Names, Size, Time};
use policies::{Location, Sink};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `[residency]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResidencySpec {
    /// `online` or `offline`.
    pub mode: Option<ModeWord>,
    /// The class of a request that names none.
    pub default_class: Option<String>,
    /// Names of the classes, the least sensitive first.
    pub order: Option<Vec<String>>,
    /// Where each may go.
    pub classes: BTreeMap<String, ClassSpec>,
    /// What is looked for in content: `"on"`, `"observe"`, `"off"`, or a table.
    pub detectors: Option<DetectorsSpec>,
    /// Whose requests, or which, have at least a class.
    pub matchers: Vec<ClassMatcherSpec>,
    /// The log that can be checked by others.
    pub evidence: EvidenceSpec,
    /// What hosted models get placeholders for.
    pub masking: Option<MaskingSpec>,
}

/// `[[residency.matchers]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassMatcherSpec {
    /// The class that such requests have at least.
    pub class: String,
    /// Which requests.
    pub when: ClassWhenSpec,
}

/// `residency.matchers.when`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassWhenSpec {
    /// The key's name or id.
    pub key: Option<String>,
    /// The key's team.
    pub team: Option<String>,
    /// The key's user.
    pub user: Option<String>,
    /// A tag, `key=value`.
    pub tag: Option<String>,
    /// A regular expression that is found in a system or developer message.
    pub system: Option<String>,
}

/// `[residency.evidence]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvidenceSpec {
    /// Whether it is kept; default: yes.
    pub enabled: Option<bool>,
    /// The private key that signs; made where there is none.
    pub key_file: Option<PathBuf>,
    /// Older records are pruned; default: none.
    pub max_age: Option<Time>,
    /// Above this size of all records the oldest are pruned; default: none.
    pub max_size: Option<Size>,
}

/// `[residency.masking]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskingSpec {
    /// Kinds that are masked.
    pub kinds: Vec<String>,
    /// `always` or `needed`.
    pub when: Option<WhenWord>,
    /// Hosted providers that get placeholders; default: all.
    pub providers: Option<Names>,
}

/// Which hosted calls get placeholders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenWord {
    /// Every one.
    #[default]
    Always,
    /// Those that the request's class would forbid.
    Needed,
}

/// Whether hosted providers may be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeWord {
    /// They may.
    Online,
    /// A hosted provider in the file is an error.
    Offline,
}

/// `[residency.classes.NAME]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassSpec {
    /// `local`, `hosted`.
    pub locations: Vec<Location>,
    /// Regions of hosted providers.
    pub regions: Option<Vec<String>>,
    /// Hosted providers by name.
    pub providers: Option<Vec<String>>,
    /// Where its content may end up besides: `classifier`, `judge`, `shadow`, `cache`, `log`, `traces`, `page`.
    pub sinks: Option<Vec<Sink>>,
}

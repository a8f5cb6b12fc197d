//! `[router]` and `[[rules]]` as they are typed.

use super::super::units::{Dollars, Names, Need, Share, Time};
use policies::{RouteWish, Unsure};
use serde::Deserialize;
use std::path::PathBuf;

/// `[router]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterSpec {
    /// Local models in order of preference.
    pub local: Option<Names>,
    /// Hosted models in order of preference.
    pub hosted: Option<Names>,
    /// `probe`, `heuristic` or `slm`.
    pub classifier: Option<String>,
    /// Share of judged requests that go to the hosted side.
    pub hosted_share: Option<Share>,
    /// Or: so much money for hosted answers to judged requests, e.g. `2.00 USD/hour`.
    pub hosted_rate: Option<String>,
    /// At most so many local answers that should have been escalated.
    pub risk: Option<Share>,
    /// How far the need, 0 to 1, has to move before a conversation changes sides; `"0"`: conversations are not remembered.
    pub switch_cost: Option<Need>,
    /// The confidence with which `risk` holds.
    pub risk_confidence: Option<Share>,
    /// Whose labels count for `risk`: `feedback` (default), and `shadow`.
    pub risk_labels: Option<Names>,
    /// Share of judged requests that take the other side than the judgement says.
    pub exploration: Option<Share>,
    /// When the classifier abstains.
    pub unsure: Option<Unsure>,
    /// The most a request may cost.
    pub max_usd_per_request: Option<Dollars>,
    /// probe: the head of one's own that judges, made by `classifier train`; default: the one in the binary.
    pub head: Option<PathBuf>,
    /// probe: heads of tenants, and heads that judge a part of the traffic.
    pub heads: Vec<HeadEntry>,
    /// probe: how long it may take.
    pub probe_deadline: Option<Time>,
    /// `slm`: where the need is too close to call the local model is asked, too; `off` (default).
    pub second_opinion: Option<SecondOpinion>,
    /// slm: the local model that is asked; default: the first of `local`.
    pub slm_model: Option<String>,
    /// slm: how long it may take.
    pub slm_deadline: Option<Time>,
    /// The longest predicted wait for a local model's first token.
    pub max_first_token: Option<Time>,
    /// Output tokens assumed when the client gives no ceiling.
    pub assumed_output_tokens: Option<u64>,
    /// The second look at local answers.
    pub cascade: CascadeSpec,
}

/// `[[router.heads]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadEntry {
    /// The head's file.
    pub path: PathBuf,
    /// What the lane is called; default: the file's name without its ending.
    #[serde(default)]
    pub name: Option<String>,
    /// Requests of this team.
    #[serde(default)]
    pub team: Option<String>,
    /// Requests of this key, by name or id.
    #[serde(default)]
    pub key: Option<String>,
    /// This part of them, by session; default: all.
    #[serde(default)]
    pub part: Option<Share>,
}

/// `[router.cascade]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CascadeSpec {
    /// `on`, `observe` or `off`.
    pub mode: Option<CascadeMode>,
    /// Requests within this rank of the threshold, on either side, are looked at.
    pub width: Option<Share>,
    /// The most tokens of an answer that are held back.
    pub hold_tokens: Option<usize>,
    /// How long the beginning of an answer may be held back.
    pub hold: Option<Time>,
    /// The hosted call is begun while the local answer is judged; default: false.
    pub hedge: bool,
    /// How often a short whole answer that is hard to tell is drawn: 1 (default) or 2.
    pub samples: Option<u8>,
}

/// Who is asked where the need is too close to call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondOpinion {
    /// Nobody.
    #[default]
    Off,
    /// The local model.
    Slm,
}

/// What a second look may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CascadeMode {
    /// Judge, and escalate.
    #[default]
    On,
    /// Judge and put on record, but keep every answer.
    Observe,
    /// Do not look.
    Off,
}

/// `[[rules]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleSpec {
    /// All of these must hold.
    pub when: WhenSpec,
    /// Narrow to this side.
    pub route: Option<RouteWish>,
    /// Pin this model.
    pub model: Option<String>,
}

/// `when`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WhenSpec {
    /// The key's name or id.
    pub key: Option<String>,
    /// The key's team.
    pub team: Option<String>,
    /// A tag, `a=b`.
    pub tag: Option<String>,
    /// The data class.
    pub class: Option<String>,
    /// The kind of task.
    pub task: Option<String>,
    /// Whether tools are offered.
    pub tools: Option<bool>,
    /// What `model` says.
    pub model: Option<String>,
}

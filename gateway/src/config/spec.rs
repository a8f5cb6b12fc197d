//! The configuration as it is typed: everything optional, unknown keys refused.

mod providers;
mod residency;
mod router;

pub use providers::ProviderSpec;
pub use residency::{ClassMatcherSpec, EvidenceSpec, MaskingSpec, ModeWord, ResidencySpec, WhenWord};
#[cfg(test)]
pub use router::HeadEntry;
pub use router::{CascadeMode, CascadeSpec, RouterSpec, RuleSpec, SecondOpinion};

use super::budgets::BudgetEntry;
use super::units::{Dollars, Names, Need, PerMillion, Share, Size, Thousandths, Time};
use policies::ModelKind;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigSpec {
    /// Listeners.
    pub server: ServerSpec,
    /// Who answers.
    pub providers: BTreeMap<String, ProviderSpec>,
    /// What can be asked for.
    pub models: BTreeMap<String, ModelSpec>,
    /// How requests are routed.
    pub router: RouterSpec,
    /// Narrowing rules.
    pub rules: Vec<RuleSpec>,
    /// Where spend is kept.
    pub ledger: LedgerSpec,
    /// What several replicas share.
    pub replicas: ReplicasSpec,
    /// What is kept to learn from.
    pub learning: LearningSpec,
    /// Which data may go where.
    pub residency: ResidencySpec,
    /// Limits in dollars and tokens.
    pub budgets: Vec<BudgetEntry>,
    /// Sizes and counts.
    pub limits: LimitsSpec,
    /// Clocks.
    pub timeouts: TimeoutsSpec,
    /// Virtual keys.
    pub keys: KeysSpec,
    /// What tokens cost.
    pub prices: PricesSpec,
    /// Shadow copies and other comparisons.
    pub experiments: BTreeMap<String, ExperimentSpec>,
    /// How savings are counted.
    pub savings: SavingsSpec,
    /// What the machine of the local models costs.
    pub local_cost: LocalCostSpec,
    /// Logs, traces, metrics.
    pub telemetry: TelemetrySpec,
}

/// `[server]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSpec {
    /// Address of the data listener.
    pub listen: Option<String>,
    /// Address of the admin listener.
    pub admin_listen: Option<String>,
    /// The environment variable that holds the admin token.
    pub admin_token_env: Option<String>,
    /// The header in which an authenticating proxy names who is signed in: `x-forwarded-email`.
    pub admin_identity_header: Option<String>,
    /// Addresses and networks of such proxies: from anybody else the header is ignored.
    pub admin_trusted_proxies: Option<Names>,
    /// Who may come in: `ann@example.org`, `*@example.org`.
    pub admin_identities: Option<Names>,
    /// TLS on the data listener.
    pub tls: Option<TlsSpec>,
    /// TLS on the admin listener.
    pub admin_tls: Option<TlsSpec>,
}

/// `[server.tls]`, `[server.admin_tls]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSpec {
    /// The certificate and its chain, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Clients need a certificate of this authority.
    pub client_ca: Option<PathBuf>,
}

/// `[models.NAME]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    /// Its provider.
    pub provider: String,
    /// The provider's own name of it.
    pub upstream: Option<String>,
    /// `chat` or `embedding`; default: what the price table says of the upstream's name, else `chat`.
    pub kind: Option<ModelKind>,
    /// Dollars per million input tokens.
    pub input_usd_per_mtok: Option<PerMillion>,
    /// Dollars per million output tokens.
    pub output_usd_per_mtok: Option<PerMillion>,
    /// Dollars per million input tokens read from a cache.
    pub cached_input_usd_per_mtok: Option<PerMillion>,
    /// Dollars per million input tokens written to a cache.
    pub cache_write_usd_per_mtok: Option<PerMillion>,
    /// Dollars per million reasoning tokens.
    pub reasoning_usd_per_mtok: Option<PerMillion>,
    /// Prompt and answer together, in tokens.
    pub context_window: Option<u64>,
    /// The most it writes, in tokens.
    pub max_output_tokens: Option<u64>,
}

/// `[ledger]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSpec {
    /// The SQLite file.
    pub path: Option<PathBuf>,
    /// A PostgreSQL address.
    pub url: Option<HiddenText>,
    /// The environment variable that holds it.
    pub url_env: Option<String>,
    /// `disk` or `process`.
    pub durability: Option<DurabilityWord>,
    /// Lines older than this are pruned.
    pub max_age: Option<Time>,
    /// Above this size the oldest lines are pruned.
    pub max_size: Option<Size>,
}

/// `[replicas]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplicasSpec {
    /// The address of a Redis or Valkey.
    pub url: Option<HiddenText>,
    /// The environment variable that holds it.
    pub url_env: Option<String>,
    /// How long a replica spends from its slices without having been heard.
    pub lease: Option<Time>,
    /// What the names of its keys begin with.
    pub prefix: Option<String>,
}

/// A text with a password in it.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct HiddenText(pub String);

impl std::fmt::Debug for HiddenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HiddenText(..)")
    }
}

/// What a commit survives.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DurabilityWord {
    /// Power loss.
    Disk,
    /// `kill -9`.
    Process,
}

/// `[learning]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearningSpec {
    /// Prompts that were judged, corrections and comments are kept on the ledger.
    pub keep_prompts: Option<bool>,
    /// New heads are promoted and taken back by themselves.
    pub roll_out: Option<RollOutSpec>,
    /// A client who asks again is heard.
    pub implicit: Option<ImplicitSpec>,
}

/// `[learning.implicit]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImplicitSpec {
    /// How long after an answer its session is listened to; default: 10 minutes.
    pub window: Option<Time>,
    /// What is a label: `reask` and `regenerate`; default: both.
    pub signals: Option<Names>,
    /// From which resemblance on two turns are nearly the same; default: 70%.
    pub likeness: Option<Share>,
}

/// `[learning.roll_out]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RollOutSpec {
    /// The part of the sessions that a new head judges at first; default: 10%.
    pub part: Option<Share>,
    /// So much worse, in the mean mark of 0 to 1, is still not worse; default: 5%.
    pub margin: Option<Share>,
    /// The probability of a wrong verdict; default: 5%.
    pub error: Option<Share>,
    /// No head is promoted on fewer pairs of marks; default: 100.
    pub least_pairs: Option<u64>,
    /// A head that nothing is shown of after so long is taken back; default: 30 days.
    pub longest: Option<Time>,
    /// Whose word on answers counts, the strongest first; default: `feedback` and `shadow`.
    pub labels: Option<Names>,
    /// The part of the sessions that the former head goes on judging, so that a promoted one stays watched; default: 5%.
    pub watch: Option<Share>,
    /// How often a head is trained from what the ledger knows, and tried; default: never.
    pub train: Option<Time>,
}

/// `[limits]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// Connections at once.
    pub connections: Option<usize>,
    /// Requests at once.
    pub in_flight: Option<usize>,
    /// The largest request body.
    pub body: Option<Size>,
    /// The largest request head.
    pub head: Option<Size>,
    /// The largest answer of vectors.
    pub vectors: Option<Size>,
    /// Requests of each key in a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens of each key in a minute, prompts and answers together.
    pub tokens_per_minute: Option<u64>,
    /// Of all keys of a team together.
    pub teams: BTreeMap<String, TeamLimitsSpec>,
}

/// `[limits.teams.NAME]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeamLimitsSpec {
    /// Requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens in a minute.
    pub tokens_per_minute: Option<u64>,
}

/// `[timeouts]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsSpec {
    /// For the head of a request.
    pub header: Option<Time>,
    /// For the body of a request.
    pub body: Option<Time>,
    /// In the local queue.
    pub queue: Option<Time>,
    /// To connect to a provider.
    pub connect: Option<Time>,
    /// To the first event.
    pub first_event: Option<Time>,
    /// Between two events.
    pub idle: Option<Time>,
    /// Of an attempt.
    pub total: Option<Time>,
    /// A client that does not read.
    pub write: Option<Time>,
    /// Running streams after SIGTERM.
    pub drain: Option<Time>,
    /// Accepting after SIGTERM.
    pub drain_delay: Option<Time>,
}

/// `[keys]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysSpec {
    /// A key is needed even while none exists (default: only once one does).
    pub required: Option<bool>,
}

/// `[prices]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PricesSpec {
    /// A table that `sluice prices import` made, in place of the one in the binary.
    pub file: Option<PathBuf>,
}

/// `[experiments.NAME]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExperimentSpec {
    /// `shadow` or `split`.
    pub kind: String,
    /// shadow: the share of requests that are answered twice. split: the share of sessions in the left arm.
    pub share: Option<Share>,
    /// The model in question; default: the local side's.
    pub left: Option<String>,
    /// The model that it is compared with; default: the hosted side's.
    pub right: Option<String>,
    /// A file with the system prompt of the left side; `{system}` in it stands for the request's own. shadow: what the copy gets.
    pub left_system: Option<PathBuf>,
    /// split: the same of the right arm; default: the request as it came.
    pub right_system: Option<PathBuf>,
    /// split: the share of the left arm's judged requests that goes hosted.
    pub left_hosted_share: Option<Share>,
    /// split: the same of the right arm; default: what `[router]` says.
    pub right_hosted_share: Option<Share>,
    /// split: from this score on a request of the left arm goes hosted.
    pub left_cut: Option<Need>,
    /// split: the same of the right arm.
    pub right_cut: Option<Need>,
    /// split: whose word on answers counts: `feedback` (default), and `implicit`.
    pub labels: Option<Names>,
    /// shadow: `exact`, `normalised`, `numeric`, `schema`, `embedding` (default), `people`, or `model:NAME`.
    pub judge: Option<String>,
    /// What a model judges by.
    pub rubric: Option<String>,
    /// The most tokens that a model as judge writes.
    pub judge_max_tokens: Option<u64>,
    /// So much worse, in the mean score of 0 to 1, is still not worse.
    pub margin: Option<Share>,
    /// The probability of a wrong verdict.
    pub error: Option<Share>,
    /// shadow: the most that the other answers and their judging may cost a day (UTC).
    pub max_usd_per_day: Option<Dollars>,
    /// shadow: a slice that is proven not worse is opened to the local side, one that turns worse is closed; default: false.
    pub act: bool,
    /// shadow: how many slices a day may be opened by themselves; default: 1.
    pub opens_per_day: Option<u32>,
    /// split: users, where they are known, are split in place of sessions.
    pub by_user: bool,
    /// split: since when (RFC 3339) the share grows from nothing.
    pub ramp_from: Option<String>,
    /// split: how long it takes to grow.
    pub ramp: Option<Time>,
}

/// `[savings]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SavingsSpec {
    /// The hosted model that local answers are compared with; default: the first of `hosted` that has a price.
    pub baseline: Option<String>,
    /// The share of sessions that always go hosted where they may, to measure what routing saves; default: none.
    pub holdout: Option<Share>,
}

/// `[local_cost]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalCostSpec {
    /// What the machine draws while it answers, in watts.
    pub watts: Option<Thousandths>,
    /// Dollars for a kilowatt-hour.
    pub usd_per_kwh: Option<Dollars>,
    /// What the hardware cost.
    pub hardware_usd: Option<Dollars>,
    /// How long it lasts.
    pub hardware_years: Option<Thousandths>,
    /// The share of its life in which it answers; default: all of it.
    pub hardware_busy: Option<Share>,
}

/// `[telemetry]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySpec {
    /// A filter such as `info` or `sluice=debug`.
    pub log: Option<String>,
    /// `json` or `text`.
    pub log_format: Option<LogFormat>,
    /// OTLP over HTTP, e.g. `http://127.0.0.1:4318`.
    pub otlp_endpoint: Option<String>,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

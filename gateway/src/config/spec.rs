//! The configuration as it is typed: everything optional, unknown keys refused.

use super::budgets::BudgetEntry;
pub use super::detectors::DetectorsSpec;
use super::units::{Dollars, Names, Need, PerMillion, Share, Size, Thousandths, Time};
use policies::{Location, RouteWish, Sink, Unsure};
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

/// `[providers.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSpec {
    /// `openai`, `azure`, `mistralrs`, `simulated`; others are not built yet.
    pub kind: String,
    /// Where it is.
    pub base_url: Option<String>,
    /// The environment variable that holds its key.
    pub api_key_env: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Addresses that its name may stand for (`10.0.0.0/8`); left out: public ones when hosted, private ones when local.
    pub addresses: Option<Vec<String>>,
    /// Where it runs.
    pub location: Option<Location>,
    /// An authority that its certificate may be signed by besides the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// A certificate with its private key that is shown to it, in PEM.
    pub client_cert_file: Option<PathBuf>,
    /// Azure's older form.
    pub api_version: Option<String>,
    /// What its models can do: `tools`, `vision`, `audio`, `files`, `json_schema`, `logprobs`, `n`. Default: everything.
    pub capabilities: Option<Vec<String>>,
    /// It bills an answer to its end also when it is cancelled.
    pub bills_after_cancel: Option<bool>,
    /// mistralrs: a name of the catalogue, `hf:ORG/REPO`, or a path.
    pub source: Option<String>,
    /// mistralrs: a chat template in place of the model's own.
    pub chat_template: Option<PathBuf>,
    /// mistralrs: LoRA adapters, merged at load.
    pub lora: Vec<LoraEntry>,
    /// mistralrs: `auto`, `off`, `q8_0`, `q4_0`, `q4k`, `q6k`.
    pub quantize: Option<String>,
    /// mistralrs: requests that may wait.
    pub queue: Option<usize>,
    /// mistralrs: sequences at once.
    pub concurrency: Option<usize>,
    /// mistralrs: a context window below the model's own, in tokens.
    pub context_window: Option<u64>,
    /// mistralrs: output tokens when the client names no ceiling.
    pub default_max_tokens: Option<u64>,
}

/// An entry of `lora`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraEntry {
    /// A PEFT folder.
    pub path: PathBuf,
    /// A factor on top of the adapter's own.
    #[serde(default)]
    pub scale: Option<f32>,
}

/// `[models.NAME]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    /// Its provider.
    pub provider: String,
    /// The provider's own name of it.
    pub upstream: Option<String>,
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
}

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
    /// shadow: the share of requests that the other side answers, too. split: the share of sessions that goes to the local side.
    pub share: Option<Share>,
    /// shadow: the model in question; default: the local side's.
    pub left: Option<String>,
    /// shadow: the model that it is compared with; default: the hosted side's.
    pub right: Option<String>,
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

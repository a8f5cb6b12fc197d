//! The configuration as it is meant: validated, every default filled in.

use super::arms::prompt_files;
use super::budgets::read_budgets;
use super::clocks::{Timeouts, read_timeouts};
use super::defaults;
use super::detectors::read_detectors;
use super::environment::Environment;
use super::experiments::{Beside, read_experiments};
use super::learning::{check_shadows, read_implicit, read_roll_out};
use super::listeners::{ServerSettings, read_server};
use super::load::ConfigError;
use super::masking::read_masking;
use super::prices::{PriceSettings, read_prices};
use super::providers::{Findings, ProviderSettings};
use super::residency::{read_classes, read_evidence, read_matchers};
use super::savings::{read_holdout, read_local_cost};
use super::sections::{read_models, read_rates, read_router, read_rules};
use super::spec::{ConfigSpec, LimitsSpec, LogFormat, ModeWord, TelemetrySpec};
use super::stores::{LedgerSettings, read_ledger, read_replicas};
use policies::detect::Detectors;
use policies::mask::MaskRules;
use policies::{
    ClassMatcher, Classes, LocalCost, Location, ModelKind, ModelName, NanoDollars, Pricing, ProviderName, RateLimit,
    Rule, Unsure,
};
use router::ledger::EvidenceRetention;
use router::probe::Head;
use router::rollout::Bounds;
use router::{AgainSpec, BudgetSpec, CascadeConfig, ExperimentSpec, LaneRule, MoneyRate, RiskGoal, SharedSpec};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Everything, validated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Listeners.
    pub server: ServerSettings,
    /// Who answers.
    pub providers: Vec<ProviderSettings>,
    /// What can be asked for.
    pub models: Vec<ModelSettings>,
    /// How requests are routed.
    pub router: RouterSettings,
    /// Where spend is kept.
    pub ledger: LedgerSettings,
    /// What replicas share; `None`: this process is alone.
    pub replicas: Option<SharedSpec>,
    /// The residency table.
    pub classes: Arc<Classes>,
    /// The class of a request that names none.
    pub default_class: String,
    /// Whose requests, or which, have at least a class.
    pub matchers: Arc<[ClassMatcher]>,
    /// The key that signs the evidence log; `None`: none is kept.
    pub evidence_key: Option<PathBuf>,
    /// How much of the log is kept.
    pub evidence_keep: EvidenceRetention,
    /// Nothing is fetched and nobody outside is dialled.
    pub offline: bool,
    /// What is looked for in content; `None`: nobody looks.
    pub detectors: Option<Arc<Detectors>>,
    /// What hosted models get placeholders for.
    pub masking: Option<MaskRules>,
    /// Limits in dollars.
    pub budgets: Vec<BudgetSpec>,
    /// Connections at once.
    pub connections: usize,
    /// Requests at once.
    pub in_flight: usize,
    /// The largest request body.
    pub body_bytes: u64,
    /// The largest request head.
    pub head_bytes: u64,
    /// The largest answer of vectors.
    pub vector_bytes: u64,
    /// Rate limits of each key that has none of its own.
    pub rates: Vec<RateLimit>,
    /// Rate limits of teams.
    pub team_rates: Vec<(String, Vec<RateLimit>)>,
    /// Clocks.
    pub timeouts: Timeouts,
    /// A key is needed even while none exists.
    pub keys_required: bool,
    /// Prompts that were judged, corrections and comments are kept.
    pub keep_prompts: bool,
    /// How new heads are promoted and taken back by themselves; `None`: by people alone.
    pub roll_out: Option<Bounds>,
    /// The price table in force.
    pub prices: PriceSettings,
    /// Whether, and how, a client who asks again is heard.
    pub implicit: Option<AgainSpec>,
    /// Experiments.
    pub experiments: Vec<ExperimentSpec>,
    /// What the machine of the local models costs.
    pub local_cost: Option<LocalCost>,
    /// The share of sessions (0 to 1) that always go hosted, to measure what routing saves.
    pub holdout: f32,
    /// Logs, traces, metrics.
    pub telemetry: TelemetrySettings,
    /// What works, but not as one might think.
    pub warnings: Vec<String>,
    /// Every key with where it came from, secrets redacted; empty for what is no file.
    pub shown: Vec<super::Shown>,
}

/// A model.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// Its name.
    pub name: ModelName,
    /// Its provider.
    pub provider: ProviderName,
    /// Where that provider runs.
    pub location: Location,
    /// The provider's own name of it.
    pub upstream: String,
    /// What it makes of a request.
    pub kind: ModelKind,
    /// What its tokens cost.
    pub pricing: Pricing,
    /// Its context window.
    pub context_window: Option<u64>,
    /// The most it writes.
    pub max_output: Option<u64>,
}

/// How requests are routed.
#[derive(Clone, Debug)]
pub struct RouterSettings {
    /// Local models in order.
    pub local: Arc<[ModelName]>,
    /// Hosted models in order.
    pub hosted: Arc<[ModelName]>,
    /// `probe`, `heuristic` or `slm`.
    pub classifier: String,
    /// The head that `probe` judges with; `None`: the one in the binary.
    pub head: Option<Arc<Head>>,
    /// Heads of tenants and of parts of the traffic, each with its file.
    pub lanes: Vec<(LaneRule, Arc<Head>)>,
    /// Files of heads, and of experiments' system prompts: taken over when they change.
    pub head_files: Vec<PathBuf>,
    /// How long `probe` may take.
    pub probe_deadline: Duration,
    /// Whether the local model is asked where the need is too close to call.
    pub second_opinion: bool,
    /// The model that `slm` asks.
    pub slm_model: Option<ModelName>,
    /// How long it may take.
    pub slm_deadline: Duration,
    /// Share of judged requests that go to the hosted side.
    pub hosted_share: f32,
    /// Or money for a time, that hosted answers to judged requests cost.
    pub hosted_rate: Option<MoneyRate>,
    /// How far the need has to move before a conversation changes sides.
    pub switch_cost: f32,
    /// The risk that is kept in place of the share.
    pub risk: Option<RiskGoal>,
    /// With which probability a judged request takes the other side.
    pub exploration: f32,
    /// When nobody judged.
    pub unsure: Unsure,
    /// The most a request may cost.
    pub max_per_request: Option<NanoDollars>,
    /// The longest predicted wait for a first token.
    pub max_first_token: Duration,
    /// Output tokens assumed when the client gives no ceiling.
    pub assumed_output: u64,
    /// Rules in order.
    pub rules: Arc<[Rule]>,
    /// The hosted model that local answers are compared with.
    pub baseline: Option<ModelName>,
    /// The second look at local answers.
    pub cascade: CascadeConfig,
}

/// Logs, traces, metrics.
#[derive(Clone, Debug)]
pub struct TelemetrySettings {
    /// The filter.
    pub log: String,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// Where traces and metrics go.
    pub otlp_endpoint: Option<String>,
}

// === impl Settings ===

impl Settings {
    pub(super) fn validate(spec: ConfigSpec, folder: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        let ConfigSpec {
            server,
            providers,
            models,
            router,
            rules,
            ledger,
            replicas,
            learning,
            residency,
            budgets,
            limits,
            timeouts,
            keys,
            prices,
            experiments,
            savings,
            local_cost,
            telemetry,
        } = spec;
        let mut found = Findings::default();
        let timeouts = read_timeouts(&timeouts);
        let server = read_server(&server, folder, environment, &mut found);
        let mut providers: Vec<ProviderSettings> = providers
            .iter()
            .filter_map(|(name, spec)| {
                ProviderSettings::validate(name, spec, folder, &timeouts, environment, &mut found)
            })
            .collect();
        let vector_bytes = limits.vectors.map_or(defaults::VECTOR_BYTES, |size| size.0);
        providers.iter_mut().for_each(|provider| provider.read_vectors_up_to(vector_bytes));
        if residency.mode == Some(ModeWord::Offline) {
            providers.iter_mut().for_each(ProviderSettings::stay_offline);
            for provider in providers.iter().filter(|provider| provider.location == Location::Hosted) {
                let name = &provider.name;
                found.problems.push(format!("`providers.{name}` is hosted, and `residency.mode` is `offline`"));
            }
            if telemetry.otlp_endpoint.is_some() {
                found.problems.push("`telemetry.otlp_endpoint` is set, and `residency.mode` is `offline`".into());
            }
        }
        let (table, prices) = read_prices(&prices, folder, &mut found);
        let models = read_models(&models, &providers, &table, &mut found);
        let (classes, default_class) = read_classes(&residency, &mut found);
        let detectors = read_detectors(&residency, &classes, folder, &mut found);
        let masking = read_masking(residency.masking.as_ref(), detectors.as_deref(), &providers, &mut found);
        let rules = read_rules(&rules, &classes, &models, &mut found);
        let mut router =
            read_router(&router, folder, rules, savings.baseline.as_deref(), &models, &providers, &mut found);
        let roll_out = read_roll_out(learning.roll_out.as_ref(), &router, &mut found);
        let ledger = read_ledger(&ledger, folder, environment, &mut found);
        let (evidence_key, evidence_keep) = read_evidence(&residency.evidence, folder, &ledger.place, &mut found);
        let budgets = read_budgets(&budgets, &mut found);
        let replicas = read_replicas(&replicas, &ledger, &budgets, environment, &mut found);
        let (rates, team_rates) = read_rates(&limits, &mut found);
        let LimitsSpec { connections, in_flight, body, head, .. } = limits;
        let TelemetrySpec { log, log_format, otlp_endpoint } = telemetry;
        if let Some(why) = otlp_endpoint.as_deref().and_then(unfit_collector) {
            found.problems.push(format!("`telemetry.otlp_endpoint`: {why}"));
        }
        let local_cost = read_local_cost(&local_cost, &mut found);
        let implicit = read_implicit(learning.implicit.as_ref(), &mut found);
        let beside = Beside { models: &models, router: &router, folder, implicit, tries_heads: roll_out.is_some() };
        let prompts = prompt_files(experiments.values(), folder);
        let experiments = read_experiments(&experiments, &beside, &mut found);
        router.head_files.extend(prompts);
        check_shadows(&router, &experiments, &mut found);
        let settings = Self {
            server,
            holdout: read_holdout(&savings, local_cost, &mut found),
            budgets,
            implicit,
            experiments,
            prices,
            local_cost,
            providers,
            models,
            router,
            ledger,
            matchers: read_matchers(&residency.matchers, &classes, &mut found),
            evidence_key,
            evidence_keep,
            offline: residency.mode == Some(ModeWord::Offline),
            replicas,
            classes: Arc::new(classes),
            default_class,
            detectors,
            masking,
            connections: connections.unwrap_or(defaults::CONNECTIONS).max(1),
            in_flight: in_flight.unwrap_or(defaults::IN_FLIGHT).max(1),
            body_bytes: body.map_or(defaults::BODY_BYTES, |size| size.0),
            head_bytes: head.map_or(defaults::HEAD_BYTES, |size| size.0).clamp(8 << 10, 1 << 20),
            vector_bytes,
            rates,
            team_rates,
            timeouts,
            roll_out,
            keep_prompts: learning.keep_prompts.unwrap_or(false),
            keys_required: keys.required.unwrap_or(false),
            telemetry: TelemetrySettings {
                log: log.unwrap_or_else(|| defaults::LOG.into()),
                log_format: log_format.unwrap_or_default(),
                otlp_endpoint,
            },
            warnings: found.warnings,
            shown: Vec::new(),
        };
        if found.problems.is_empty() { Ok(settings) } else { Err(ConfigError { problems: found.problems }) }
    }
}

/// What is wrong with a collector's address, which is not repeated: somebody may have put a password into it.
fn unfit_collector(endpoint: &str) -> Option<&'static str> {
    let Ok(url) = reqwest::Url::parse(endpoint) else { return Some("is no address like http://localhost:4318") };
    if !matches!(url.scheme(), "http" | "https") {
        return Some("is no address of http or https");
    }
    let credentials = !url.username().is_empty() || url.password().is_some();
    credentials.then_some("credentials do not belong in an address")
}

//! The configuration as it is meant: validated, every default filled in.

use super::defaults;
use super::environment::Environment;
use super::load::{ConfigError, nearest};
use super::providers::{Findings, ProviderKind, ProviderSettings};
use super::spec::{
    BudgetEntry, ConfigSpec, DurabilityWord, ExperimentSpec, LedgerSpec, LimitsSpec, LogFormat, ModeWord, ModelSpec,
    ResidencySpec, RouterSpec, RuleSpec, ServerSpec, TelemetrySpec, TimeoutsSpec,
};
use super::units::{Names, Time};
use adapters::hosted;
use policies::{
    ClassRule, Classes, Location, ModelName, NanoDollars, Price, PriceSource, Pricing, ProviderName, RouteWish, Rule,
    Secret, Unsure,
};
use router::ledger::{Durability, Retention};
use router::prices::PriceTable;
use router::{BudgetSpec, Scope, Shadow};
use std::net::{SocketAddr, ToSocketAddrs};
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
    /// The ledger's file.
    pub ledger_path: PathBuf,
    /// What a commit survives.
    pub durability: Durability,
    /// How long lines are kept.
    pub retention: Retention,
    /// The residency table.
    pub classes: Arc<Classes>,
    /// The class of a request that names none.
    pub default_class: String,
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
    /// Clocks.
    pub timeouts: Timeouts,
    /// A key is needed even while none exists.
    pub keys_required: bool,
    /// Shadow experiments.
    pub shadows: Vec<Shadow>,
    /// Logs, traces, metrics.
    pub telemetry: TelemetrySettings,
    /// What works, but not as one might think.
    pub warnings: Vec<String>,
}

/// Listeners.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The data listener.
    pub listen: SocketAddr,
    /// The admin listener.
    pub admin_listen: SocketAddr,
    /// The admin token.
    pub admin_token: Option<Secret>,
}

/// A model.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// Its name.
    pub name: ModelName,
    /// Its provider.
    pub provider: ProviderName,
    /// The provider's own name of it.
    pub upstream: String,
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
    /// The model that `slm` asks.
    pub slm_model: Option<ModelName>,
    /// How long it may take.
    pub slm_deadline: Duration,
    /// Share of judged requests that go to the hosted side.
    pub hosted_share: f32,
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
}

/// Clocks.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the head of a request.
    pub header: Duration,
    /// For the body of a request.
    pub body: Duration,
    /// In the local queue.
    pub queue: Duration,
    /// Of an attempt at a provider.
    pub attempt: hosted::Timeouts,
    /// A client that does not read.
    pub write: Duration,
    /// Running streams after SIGTERM.
    pub drain: Duration,
    /// Accepting after SIGTERM.
    pub drain_delay: Duration,
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
            residency,
            budgets,
            limits,
            timeouts,
            keys,
            experiments,
            savings,
            telemetry,
        } = spec;
        let mut found = Findings::default();
        let timeouts = read_timeouts(&timeouts);
        let server = read_server(&server, environment, &mut found);
        let providers: Vec<ProviderSettings> = providers
            .iter()
            .filter_map(|(name, spec)| {
                ProviderSettings::validate(name, spec, folder, &timeouts, environment, &mut found)
            })
            .collect();
        if residency.mode == Some(ModeWord::Offline) {
            for provider in providers.iter().filter(|provider| provider.location == Location::Hosted) {
                let name = &provider.name;
                found.problems.push(format!("`providers.{name}` is hosted, and `residency.mode` is `offline`"));
            }
            if telemetry.otlp_endpoint.is_some() {
                found.problems.push("`telemetry.otlp_endpoint` is set, and `residency.mode` is `offline`".into());
            }
        }
        let models = read_models(&models, &providers, &mut found);
        let (classes, default_class) = read_classes(&residency, &mut found);
        let rules = read_rules(&rules, &classes, &models, &mut found);
        let router = read_router(&router, rules, savings.baseline.as_deref(), &models, &providers, &mut found);
        let (ledger_path, durability, retention) = read_ledger(&ledger, folder, &mut found);
        let LimitsSpec { connections, in_flight, body, head } = limits;
        let TelemetrySpec { log, log_format, otlp_endpoint } = telemetry;
        let settings = Self {
            server,
            budgets: read_budgets(&budgets, &mut found),
            shadows: read_experiments(&experiments, &mut found),
            providers,
            models,
            router,
            ledger_path,
            durability,
            retention,
            classes: Arc::new(classes),
            default_class,
            connections: connections.unwrap_or(defaults::CONNECTIONS).max(1),
            in_flight: in_flight.unwrap_or(defaults::IN_FLIGHT).max(1),
            body_bytes: body.map_or(defaults::BODY_BYTES, |size| size.0),
            head_bytes: head.map_or(defaults::HEAD_BYTES, |size| size.0).clamp(8 << 10, 1 << 20),
            timeouts,
            keys_required: keys.required.unwrap_or(false),
            telemetry: TelemetrySettings {
                log: log.unwrap_or_else(|| defaults::LOG.into()),
                log_format: log_format.unwrap_or_default(),
                otlp_endpoint,
            },
            warnings: found.warnings,
        };
        if found.problems.is_empty() { Ok(settings) } else { Err(ConfigError { problems: found.problems }) }
    }
}

fn read_server(spec: &ServerSpec, environment: &Environment, found: &mut Findings) -> ServerSettings {
    let mut address = |key: &str, typed: &Option<String>, default: &str| -> SocketAddr {
        let text = typed.as_deref().unwrap_or(default);
        match text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()) {
            Some(address) => address,
            None => {
                found.problems.push(format!("`server.{key}`: `{text}` is not an address like 127.0.0.1:8080"));
                SocketAddr::from(([127, 0, 0, 1], 0))
            }
        }
    };
    let listen = address("listen", &spec.listen, defaults::LISTEN);
    let admin_listen = address("admin_listen", &spec.admin_listen, defaults::ADMIN_LISTEN);
    let admin_token = spec.admin_token_env.as_deref().and_then(|name| environment.secret(name));
    match (&spec.admin_token_env, &admin_token) {
        (Some(name), None) => found.problems.push(format!("`server.admin_token_env`: `{name}` is not set")),
        (None, _) if !admin_listen.ip().is_loopback() => found.problems.push(format!(
            "`server.admin_listen` is {admin_listen}, which others can reach: set `server.admin_token_env`"
        )),
        _ => {}
    }
    ServerSettings { listen, admin_listen, admin_token }
}

fn read_timeouts(spec: &TimeoutsSpec) -> Timeouts {
    let TimeoutsSpec { header, body, queue, connect, first_event, idle, total, write, drain, drain_delay } = spec;
    let time = |typed: &Option<Time>, default: Duration| typed.map_or(default, |time| time.0);
    Timeouts {
        header: time(header, defaults::HEADER_TIMEOUT),
        body: time(body, defaults::BODY_TIMEOUT),
        queue: time(queue, defaults::QUEUE_TIMEOUT),
        attempt: hosted::Timeouts {
            connect: time(connect, defaults::CONNECT_TIMEOUT),
            first_event: time(first_event, defaults::FIRST_EVENT_TIMEOUT),
            idle: time(idle, defaults::IDLE_TIMEOUT),
            total: time(total, defaults::TOTAL_TIMEOUT),
        },
        write: time(write, defaults::WRITE_TIMEOUT),
        drain: time(drain, defaults::DRAIN),
        drain_delay: time(drain_delay, defaults::DRAIN_DELAY),
    }
}

fn read_models(
    specs: &std::collections::BTreeMap<String, ModelSpec>,
    providers: &[ProviderSettings],
    found: &mut Findings,
) -> Vec<ModelSettings> {
    let table = match PriceTable::bundled() {
        Ok(table) => table,
        Err(error) => {
            found.problems.push(error.to_string());
            return vec![];
        }
    };
    let mut models = Vec::new();
    for (name, spec) in specs {
        if name == "auto" || name == "sluice/auto" {
            found.problems.push(format!("`models.{name}`: this name is taken, it lets Sluice choose"));
            continue;
        }
        let Some(provider) = providers.iter().find(|provider| provider.name.as_str() == spec.provider) else {
            let known: Vec<&str> = providers.iter().map(|provider| provider.name.as_str()).collect();
            let near = nearest(&spec.provider, &known).map(|known| format!(", did you mean `{known}`?"));
            let near = near.unwrap_or_default();
            found.problems.push(format!("`models.{name}.provider`: no provider `{}`{near}", spec.provider));
            continue;
        };
        let upstream = spec.upstream.clone().unwrap_or_else(|| name.clone());
        let listed = table.find(&upstream);
        let (context_window, max_output) = match (&listed, provider.location) {
            (Some(listed), Location::Hosted) => (listed.context_window, listed.max_output),
            _ => (None, None),
        };
        let pricing = pricing(name, spec, provider, listed.map(|listed| listed.pricing), found);
        if pricing == Pricing::Unpriced {
            found.warnings.push(format!(
                "model `{name}` has no price: its cost is `unpriced`, and it is refused wherever dollars are limited"
            ));
        }
        models.push(ModelSettings {
            name: name.as_str().into(),
            provider: provider.name.clone(),
            upstream,
            pricing,
            context_window: spec.context_window.or(context_window),
            max_output: spec.max_output_tokens.or(max_output),
        });
    }
    models
}

fn pricing(
    name: &str,
    spec: &ModelSpec,
    provider: &ProviderSettings,
    listed: Option<Pricing>,
    found: &mut Findings,
) -> Pricing {
    let typed = match (spec.input_usd_per_mtok, spec.output_usd_per_mtok) {
        (Some(input), Some(output)) => Some(Price {
            input: input.0,
            output: output.0,
            cached_input: spec.cached_input_usd_per_mtok.map(|rate| rate.0),
            cache_write: spec.cache_write_usd_per_mtok.map(|rate| rate.0),
            reasoning: spec.reasoning_usd_per_mtok.map(|rate| rate.0),
            ..Price::default()
        }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            let text = format!("`models.{name}`: input and output prices go together, one of them is missing");
            found.problems.push(text);
            None
        }
    };
    match (typed, &provider.kind, provider.location) {
        (Some(price), _, _) => Pricing::Priced(price, PriceSource::Config),
        (None, ProviderKind::Engine(_), _) => Pricing::Free,
        (None, ProviderKind::Simulated, _) => router::prices::simulated(),
        // A server in the house has no token price of its own; the operator may set one.
        (None, ProviderKind::Hosted(_), Location::Local) => Pricing::Free,
        (None, ProviderKind::Hosted(_), Location::Hosted) => listed.unwrap_or(Pricing::Unpriced),
    }
}

fn read_classes(spec: &ResidencySpec, found: &mut Findings) -> (Classes, String) {
    let standard = Classes::standard();
    let standard_names: Vec<String> = standard.rules().iter().map(|rule| rule.name.clone()).collect();
    let order = spec.order.clone().unwrap_or(standard_names);
    let known: Vec<&str> = order.iter().map(String::as_str).collect();
    for name in spec.classes.keys().filter(|name| !order.contains(name)) {
        let near = nearest(name, &known).map(|known| format!(", did you mean `{known}`?")).unwrap_or_default();
        found.problems.push(format!("`residency.classes.{name}`: not among `residency.order`{near}"));
    }
    let rules = order.iter().map(|name| match spec.classes.get(name) {
        Some(class) => ClassRule {
            name: name.clone(),
            locations: class.locations.clone(),
            regions: class.regions.clone(),
            providers: class.providers.as_ref().map(|names| names.iter().map(|name| name.as_str().into()).collect()),
        },
        None => match standard.rules().iter().find(|rule| rule.name == *name) {
            Some(rule) => rule.clone(),
            None => {
                found.problems.push(format!("`residency.classes.{name}` is missing: say where the class may go"));
                ClassRule { name: name.clone(), locations: vec![], regions: None, providers: None }
            }
        },
    });
    let classes = Classes::new(rules.collect()).unwrap_or_else(|error| {
        found.problems.push(format!("`residency.order`: {error}"));
        Classes::standard()
    });
    let default = spec.default_class.clone().unwrap_or_else(|| defaults::DEFAULT_CLASS.into());
    if let Err(error) = classes.named(&default) {
        found.problems.push(format!("`residency.default_class`: {error}"));
    }
    (classes, default)
}

fn read_rules(specs: &[RuleSpec], classes: &Classes, models: &[ModelSettings], found: &mut Findings) -> Arc<[Rule]> {
    let mut rules = Vec::new();
    for (at, spec) in specs.iter().enumerate() {
        let RuleSpec { when, route, model } = spec;
        let mut wrong = |key: &str, what: String| found.problems.push(format!("`rules[{at}].{key}`: {what}"));
        if when.task.is_some() {
            wrong("when.task", "kinds of task are not built yet".into());
        }
        if route.is_none() && model.is_none() {
            wrong("route", "a rule needs `route` or `model`".into());
        }
        let tag = when.tag.as_deref().and_then(|tag| match tag.split_once('=') {
            Some((key, value)) => Some((key.to_owned(), value.to_owned())),
            None => {
                wrong("when.tag", format!("`{tag}` is not of the form key=value"));
                None
            }
        });
        if let Some(Err(error)) = when.class.as_deref().map(|class| classes.named(class)) {
            wrong("when.class", error.to_string());
        }
        for name in [model.as_deref(), when.model.as_deref().filter(|name| *name != "auto")].into_iter().flatten() {
            if !models.iter().any(|model| model.name.as_str() == name) {
                wrong("model", format!("no model `{name}`"));
            }
        }
        rules.push(Rule {
            key: when.key.clone(),
            team: when.team.clone(),
            tag,
            class: when.class.clone(),
            tools: when.tools,
            model: when.model.clone(),
            route: route.unwrap_or(RouteWish::Auto),
            pin: model.as_deref().map(ModelName::from),
        });
    }
    rules.into()
}

fn read_router(
    spec: &RouterSpec,
    rules: Arc<[Rule]>,
    baseline: Option<&str>,
    models: &[ModelSettings],
    providers: &[ProviderSettings],
    found: &mut Findings,
) -> RouterSettings {
    let known: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let mut named = |key: &str, name: &str| -> Option<ModelName> {
        if known.contains(&name) {
            return Some(name.into());
        }
        let near = nearest(name, &known).map(|known| format!(", did you mean `{known}`?")).unwrap_or_default();
        found.problems.push(format!("`{key}`: no model `{name}`{near}"));
        None
    };
    let mut list = |key: &str, names: &Option<Names>| -> Arc<[ModelName]> {
        names.iter().flat_map(|names| &names.0).filter_map(|name| named(key, name)).collect()
    };
    let local = list("router.local", &spec.local);
    let hosted = list("router.hosted", &spec.hosted);
    let baseline = baseline.and_then(|name| named("savings.baseline", name));
    let slm_model = spec.slm_model.as_deref().and_then(|name| named("router.slm_model", name));
    let classifier = spec.classifier.clone().unwrap_or_else(|| "probe".into());
    match classifier.as_str() {
        "heuristic" => {}
        "probe" => found
            .warnings
            .push("`router.classifier` is `probe`, which is not trained yet: the heuristic judges in its place".into()),
        "slm" => {
            let asked = slm_model.as_ref().or_else(|| local.first());
            let provider_of = |name: &ModelName| {
                let model = models.iter().find(|model| model.name == *name)?;
                providers.iter().find(|provider| provider.name == model.provider)
            };
            if !asked.and_then(provider_of).is_some_and(ProviderSettings::is_engine) {
                let text = "`router.classifier` is `slm`, which asks a model in process: \
                            name one in `router.slm_model` or first in `router.local`";
                found.problems.push(text.into());
            }
        }
        word => {
            let near = nearest(word, &["probe", "heuristic", "slm"]).map(|known| format!(", did you mean `{known}`?"));
            found.problems.push(format!("`router.classifier`: unknown `{word}`{}", near.unwrap_or_default()));
        }
    }
    if spec.risk.is_some() {
        let text = "`router.risk` needs the trained classifier, which is not built yet: use `router.hosted_share`";
        found.problems.push(text.into());
    }
    if local.is_empty() && hosted.is_empty() {
        found.warnings.push("`router.local` and `router.hosted` are empty: `auto` has nobody to choose from".into());
    }
    RouterSettings {
        slm_model: slm_model.or_else(|| local.first().cloned()),
        local,
        hosted,
        classifier,
        slm_deadline: spec.slm_deadline.map_or(defaults::SLM_DEADLINE, |time| time.0),
        hosted_share: spec.hosted_share.map_or(defaults::HOSTED_SHARE, |share| share.0),
        unsure: spec.unsure.unwrap_or_default(),
        max_per_request: spec.max_usd_per_request.map(|dollars| dollars.0),
        max_first_token: spec.max_first_token.map_or(defaults::MAX_FIRST_TOKEN, |time| time.0),
        assumed_output: spec.assumed_output_tokens.unwrap_or(defaults::ASSUMED_OUTPUT).max(1),
        rules,
        baseline,
    }
}

fn read_ledger(spec: &LedgerSpec, folder: &Path, found: &mut Findings) -> (PathBuf, Durability, Retention) {
    let LedgerSpec { path, url, durability, max_age, max_size } = spec;
    if url.is_some() {
        let text = "`ledger.url`: a PostgreSQL ledger is not built yet: use `ledger.path`";
        found.problems.push(text.into());
    }
    let path = path.clone().unwrap_or_else(|| defaults::LEDGER_PATH.into());
    let path = if path.is_absolute() { path } else { folder.join(path) };
    let durability = match durability {
        None | Some(DurabilityWord::Disk) => Durability::Disk,
        Some(DurabilityWord::Process) => Durability::Process,
    };
    let retention = Retention {
        age: max_age.map_or(defaults::LEDGER_AGE, |time| time.0),
        bytes: max_size.map_or(defaults::LEDGER_BYTES, |size| size.0),
    };
    (path, durability, retention)
}

fn read_budgets(entries: &[BudgetEntry], found: &mut Findings) -> Vec<BudgetSpec> {
    let mut budgets: Vec<BudgetSpec> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let Some(scope) = Scope::parse(&entry.scope) else {
            found.problems.push(format!(
                "`budgets[{at}].scope`: `{}` is not org, team:NAME, key:NAME, user:NAME, tag:K=V or model:NAME",
                entry.scope
            ));
            continue;
        };
        if budgets.iter().any(|known| known.scope == scope && known.window == entry.window) {
            found.problems.push(format!("`budgets[{at}]`: `{scope}` has a budget for that window already"));
            continue;
        }
        budgets.push(BudgetSpec {
            scope,
            limit: entry.limit_usd.0,
            window: entry.window,
            on_exceeded: entry.on_exceeded,
        });
    }
    budgets
}

fn read_experiments(specs: &std::collections::BTreeMap<String, ExperimentSpec>, found: &mut Findings) -> Vec<Shadow> {
    let mut shadows = Vec::new();
    for (name, spec) in specs {
        match (spec.kind.as_str(), spec.share) {
            ("shadow", Some(share)) => shadows.push(Shadow { name: name.clone(), share: share.0 }),
            ("shadow", None) => found.problems.push(format!("`experiments.{name}.share` is missing")),
            ("split" | "interleave", _) => {
                found.problems.push(format!("`experiments.{name}.kind`: `{}` is not built yet", spec.kind));
            }
            _ => found.problems.push(format!("`experiments.{name}.kind` must be `shadow`")),
        }
    }
    shadows
}

//! The sections of the configuration, each from what was typed to what it means.
//!
//! A reader takes its specification, fills in the defaults and adds what is wrong to the findings; it never stops at the
//! first problem.

use super::defaults;
use super::goals;
use super::learning::read_risk;
use super::load::nearest;
use super::providers::{Findings, ProviderKind, ProviderSettings};
use super::settings::{ModelSettings, RouterSettings};
use super::spec::{LimitsSpec, ModelSpec, RouterSpec, RuleSpec, SecondOpinion};
use super::units::{Names, PerMillion};
use adapters::hosted::Dialect;
use policies::{
    Classes, Location, Metered, ModelKind, ModelName, Price, PriceSource, Pricing, Rate, RateLimit, RouteWish, Rule,
};
use router::prices::PriceTable;
use std::path::Path;
use std::sync::Arc;

pub(super) fn read_models(
    specs: &std::collections::BTreeMap<String, ModelSpec>,
    providers: &[ProviderSettings],
    table: &PriceTable,
    found: &mut Findings,
) -> Vec<ModelSettings> {
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
        let kind = kind(name, spec, provider, listed.as_ref().map(|listed| listed.kind), found);
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
            location: provider.location,
            upstream,
            kind,
            pricing,
            context_window: spec.context_window.or(context_window),
            max_output: spec.max_output_tokens.or(max_output),
        });
    }
    models
}

/// What a model makes of a request: as typed, else as the price table knows it.
fn kind(
    name: &str,
    spec: &ModelSpec,
    provider: &ProviderSettings,
    listed: Option<ModelKind>,
    found: &mut Findings,
) -> ModelKind {
    let only = match &provider.kind {
        ProviderKind::Encoder { .. } => Some(ModelKind::Embedding),
        ProviderKind::Engine(_) | ProviderKind::Simulated => Some(ModelKind::Chat),
        ProviderKind::Hosted(spec) => (spec.dialect == Dialect::Anthropic).then_some(ModelKind::Chat),
    };
    match (spec.kind, only) {
        (Some(typed), Some(only)) if typed != only => {
            let (kind, what) =
                (&provider.spec.kind, if only == ModelKind::Chat { "no embeddings" } else { "embeddings only" });
            found.problems.push(format!("`models.{name}.kind`: a provider of kind `{kind}` makes {what}"));
            only
        }
        (typed, only) => only.or(typed).or(listed).unwrap_or_default(),
    }
}

fn pricing(
    name: &str,
    spec: &ModelSpec,
    provider: &ProviderSettings,
    listed: Option<Pricing>,
    found: &mut Findings,
) -> Pricing {
    // What makes vectors has no output to pay for.
    let output = match spec.kind {
        Some(ModelKind::Embedding) => spec.output_usd_per_mtok.or(spec.input_usd_per_mtok.map(|_| PerMillion(Rate(0)))),
        Some(ModelKind::Chat) | None => spec.output_usd_per_mtok,
    };
    let typed = match (spec.input_usd_per_mtok, output) {
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
        (None, ProviderKind::Engine(_) | ProviderKind::Encoder { .. }, _) => Pricing::Free,
        (None, ProviderKind::Simulated, _) => router::prices::simulated(),
        // A server in the house has no token price of its own; the operator may set one.
        (None, ProviderKind::Hosted(_), Location::Local) => Pricing::Free,
        (None, ProviderKind::Hosted(_), Location::Hosted) => listed.unwrap_or(Pricing::Unpriced),
    }
}

pub(super) fn read_rules(
    specs: &[RuleSpec],
    classes: &Classes,
    models: &[ModelSettings],
    found: &mut Findings,
) -> Arc<[Rule]> {
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
        if let Some(pinned) = model.as_deref().filter(|name| is_embedding(models, name)) {
            wrong("model", format!("`{pinned}` makes embeddings and answers nothing"));
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

pub(super) fn read_router(
    spec: &RouterSpec,
    folder: &Path,
    rules: Arc<[Rule]>,
    baseline: Option<&str>,
    models: &[ModelSettings],
    providers: &[ProviderSettings],
    found: &mut Findings,
) -> RouterSettings {
    let known: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let mut named = |key: &str, name: &str| -> Option<ModelName> {
        if is_embedding(models, name) {
            found.problems.push(format!("`{key}`: model `{name}` makes embeddings and answers nothing"));
            return None;
        }
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
    let second = spec.second_opinion == Some(SecondOpinion::Slm);
    match classifier.as_str() {
        "heuristic" | "probe" if !second => {}
        "heuristic" | "probe" | "slm" => {
            let asked = slm_model.as_ref().or_else(|| local.first());
            let provider_of = |name: &ModelName| {
                let model = models.iter().find(|model| model.name == *name)?;
                providers.iter().find(|provider| provider.name == model.provider)
            };
            if !asked.and_then(provider_of).is_some_and(ProviderSettings::is_engine) {
                let key = if classifier == "slm" { "classifier" } else { "second_opinion" };
                let text = "which asks a model in process: name one in `router.slm_model` or first in `router.local`";
                found.problems.push(format!("`router.{key}` is `slm`, {text}"));
            }
        }
        word => {
            let near = nearest(word, &["probe", "heuristic", "slm"]).map(|known| format!(", did you mean `{known}`?"));
            found.problems.push(format!("`router.classifier`: unknown `{word}`{}", near.unwrap_or_default()));
        }
    }
    let hosted_rate = spec.hosted_rate.as_deref().and_then(|text| match goals::rate(text) {
        Ok(rate) => Some(rate),
        Err(why) => {
            found.problems.push(format!("`router.hosted_rate`: {why}"));
            None
        }
    });
    goals::only_one(spec, found);
    let lanes = goals::read_lanes(spec, &classifier, folder, found);
    let head_files = spec.head.iter().chain(spec.heads.iter().map(|entry| &entry.path));
    let head_files = head_files.map(|path| folder.join(path)).collect();
    if local.is_empty() && hosted.is_empty() {
        found.warnings.push("`router.local` and `router.hosted` are empty: `auto` has nobody to choose from".into());
    }
    RouterSettings {
        second_opinion: spec.second_opinion == Some(SecondOpinion::Slm) && classifier != "slm",
        slm_model: slm_model.or_else(|| local.first().cloned()),
        local,
        hosted,
        classifier,
        head: goals::read_head(spec, folder, found),
        lanes,
        head_files,
        probe_deadline: spec.probe_deadline.map_or(defaults::PROBE_DEADLINE, |time| time.0),
        slm_deadline: spec.slm_deadline.map_or(defaults::SLM_DEADLINE, |time| time.0),
        hosted_share: spec.hosted_share.map_or(defaults::HOSTED_SHARE, |share| share.0),
        hosted_rate,
        switch_cost: spec.switch_cost.map_or(defaults::SWITCH_COST, |need| need.0),
        risk: read_risk(spec, found),
        exploration: spec.exploration.map_or(0.0, |share| share.0),
        unsure: spec.unsure.unwrap_or_default(),
        max_per_request: spec.max_usd_per_request.map(|dollars| dollars.0),
        max_first_token: spec.max_first_token.map_or(defaults::MAX_FIRST_TOKEN, |time| time.0),
        assumed_output: spec.assumed_output_tokens.unwrap_or(defaults::ASSUMED_OUTPUT).max(1),
        rules,
        baseline,
        cascade: super::cascade::read(&spec.cascade, found),
    }
}

/// Whether a model of that name makes vectors, and can answer nothing.
pub(super) fn is_embedding(models: &[ModelSettings], name: &str) -> bool {
    models.iter().any(|model| model.name.as_str() == name && model.kind == ModelKind::Embedding)
}

/// Rate limits of each key, and of teams.
pub(super) fn read_rates(spec: &LimitsSpec, found: &mut Findings) -> (Vec<RateLimit>, Vec<(String, Vec<RateLimit>)>) {
    let mut rates = |at: &str, requests: Option<u64>, tokens: Option<u64>| -> Vec<RateLimit> {
        let typed = [(Metered::Requests, requests), (Metered::Tokens, tokens)];
        let typed = typed.into_iter().filter_map(|(measure, amount)| Some((measure, amount?)));
        let limits = typed.filter_map(|(measure, amount)| {
            let limit = RateLimit::per_minute(amount, measure);
            if limit.is_none() {
                let key = format!("{at}.{}_per_minute", measure.word());
                found.problems.push(format!("`{key}` is 0, which lets nothing through: leave it out for no limit"));
            }
            limit
        });
        limits.collect()
    };
    let every_key = rates("limits", spec.requests_per_minute, spec.tokens_per_minute);
    let teams = spec.teams.iter().map(|(team, limits)| {
        (team.clone(), rates(&format!("limits.teams.{team}"), limits.requests_per_minute, limits.tokens_per_minute))
    });
    (every_key, teams.collect())
}

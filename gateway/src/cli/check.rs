//! `sluice check`: what a configuration means, in sentences or as JSON.
//!
//! **Promise.** It says what the gateway would do, defaults and warnings included, and opens nothing: no port, no ledger, no
//! connection. What loading a configuration refuses is refused here in the same words.

use super::{Failure, Setting, say};
use crate::config::units::shown;
use crate::config::{ProviderKind, RouterSettings, Settings};
use policies::detect::{Detectors, Kind};
use policies::{ModelKind, ModelName};
use router::ledger::EvidenceRetention;
use router::rollout::Bounds;
use router::{CascadeConfig, ExperimentSpec, Trial};
use serde_json::{Value, json};
use std::time::Duration;

/// Validates the configuration and says what it means.
pub fn check(setting: &Setting) -> Result<(), Failure> {
    let settings = setting.load()?;
    super::serve::check_engines(&settings)?;
    if setting.json {
        say(meaning(&settings));
        return Ok(());
    }
    say(format!("{} is valid.", setting.config.display()));
    say_places(&settings);
    say_models(&settings);
    say_routing(&settings.router);
    if let Some(bounds) = &settings.roll_out {
        say(roll_out(bounds));
    }
    say_residency(&settings);
    say_tls(&settings);
    say_money(&settings);
    for warning in &settings.warnings {
        say(format!("note: {warning}"));
    }
    Ok(())
}

/// Listeners, stores, prices.
fn say_places(settings: &Settings) {
    say(format!("data on {}, admin on {}", settings.server.listen, settings.server.admin_listen));
    say(format!("admin is open to: {}", settings.server.admin_open_to().join("; ")));
    say(format!("ledger at {}", settings.ledger.place));
    if let Some(shared) = &settings.replicas {
        say(format!("budgets shared through {shared}, leases of {}", humantime::format_duration(shared.lease())));
    }
    let prices = &settings.prices;
    let place = prices.file.as_ref().map_or_else(|| "bundled".into(), |file| format!("from {}", file.display()));
    say(format!("prices: {}, {} models, {place}", prices.source, prices.models));
}

/// Who can be asked for.
fn say_models(settings: &Settings) {
    for model in &settings.models {
        let provider = settings.providers.iter().find(|provider| provider.name == model.provider);
        let place = provider.map_or("?", |provider| provider.location.word());
        let price = model.pricing.source();
        let makes = if model.kind == ModelKind::Embedding { ", embeddings" } else { "" };
        say(format!("model {}: {place}, provider {}, price {price}{makes}", model.name, model.provider));
    }
}

/// How `auto` chooses.
fn say_routing(router: &RouterSettings) {
    let names = |list: &[ModelName]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    say(format!(
        "auto: local [{}], hosted [{}], classifier {}",
        names(&router.local),
        names(&router.hosted),
        router.classifier
    ));
    match (router.hosted_rate, router.risk) {
        (Some(rate), _) => say(format!("goal: ${} every {}", rate.amount, humantime::format_duration(rate.every))),
        (None, Some(risk)) => {
            let percent = |share: f32| f64::from((share * 10_000.0).round()) / 100.0;
            say(format!(
                "risk: at most {}% of local answers should have been escalated, with confidence {}%; labels: feedback{}",
                percent(risk.target),
                percent(risk.confidence),
                if risk.shadows { ", shadow" } else { "" }
            ));
        }
        (None, None) => say(format!("goal: {:.0}% hosted", router.hosted_share * 100.0)),
    }
    // A risk target keeps every local answer.
    if let Some(text) = cascade(&router.cascade).filter(|_| router.risk.is_none()) {
        say(text);
    }
    for (rule, head) in &router.lanes {
        let whom = [("team", &rule.team), ("key", &rule.key)];
        let whom: Vec<_> =
            whom.iter().filter_map(|(what, name)| Some(format!(" of {what} {}", name.as_ref()?))).collect();
        say(format!("head {}: {} judges {:.0}%{}", rule.name, head.version(), rule.part * 100.0, whom.concat()));
    }
}

/// What data may go where, and what is on record of it.
fn say_residency(settings: &Settings) {
    for rule in settings.classes.rules() {
        let places: Vec<_> = rule.locations.iter().map(|place| place.word()).collect();
        say(format!("data class {}: may go to {}{}", rule.name, places.join(", "), sinks(rule)));
    }
    match &settings.evidence_key {
        Some(key) => say(format!("evidence: kept{}, signed with {}", kept(settings.evidence_keep), key.display())),
        None => say("evidence: not kept"),
    }
}

/// Certificates of the listeners, and whose clients need one.
fn say_tls(settings: &Settings) {
    for (listener, tls) in [("data", &settings.server.tls), ("admin", &settings.server.admin_tls)] {
        if let Some(tls) = tls {
            let who = if tls.client_ca.is_some() { ", for clients with a certificate" } else { "" };
            say(format!("TLS on {listener}: {}{who}", tls.cert.display()));
        }
    }
}

/// Limits, experiments, and what local answers cost.
fn say_money(settings: &Settings) {
    for budget in &settings.budgets {
        let limit = budget.measure.text(budget.limit);
        let (window, zone) = (budget.window.word(), budget.calendar.zone_name());
        say(format!("budget {}: {limit}, window {window} ({zone}), then {}", budget.scope, budget.on_exceeded));
    }
    for rate in &settings.rates {
        say(format!("each key without a limit of its own: {rate}"));
    }
    for (team, rates) in &settings.team_rates {
        rates.iter().for_each(|rate| say(format!("team {team}: {rate}")));
    }
    if settings.holdout > 0.0 {
        say(format!("holdout: {}% of sessions always go hosted, to measure savings", shown(settings.holdout * 100.0)));
    }
    settings.experiments.iter().for_each(|spec| say(experiment(spec)));
    if let Some(hourly) = hourly(settings) {
        say(format!("local machine: ${hourly} an hour of answering"));
    }
}

/// How much evidence is kept.
fn kept(keep: EvidenceRetention) -> String {
    let hours = |age: Duration| age.as_secs() / 3_600;
    let age = keep.age.map(|age| match hours(age) % 24 {
        0 => format!("for {} days", hours(age) / 24),
        _ => format!("for {} hours", hours(age)),
    });
    let bytes = keep.bytes.map(|bytes| format!("up to {bytes} bytes"));
    let said: Vec<String> = age.into_iter().chain(bytes).collect();
    if said.is_empty() { " for ever".into() } else { format!(" {}", said.join(" and ")) }
}

/// Where content of a class may not end up, if anywhere.
fn sinks(rule: &policies::ClassRule) -> String {
    let closed: Vec<&str> =
        policies::Sink::ALL.iter().filter(|sink| !rule.sinks.contains(sink)).map(|sink| sink.word()).collect();
    if closed.is_empty() { String::new() } else { format!("; not to {}", closed.join(", ")) }
}

/// The second look at local answers in one line, where there is one.
fn cascade(config: &CascadeConfig) -> Option<String> {
    if config.width <= 0.0 {
        return None;
    }
    let what =
        if config.observe { "local answers are looked at and kept" } else { "doubtful local answers are escalated" };
    let hedge = if config.hedge { ", the hosted call is begun meanwhile" } else { "" };
    let again = if config.samples > 1 { ", short whole answers hard to tell are drawn twice" } else { "" };
    let hold = humantime::format_duration(config.hold);
    Some(format!(
        "cascade: {what}, {:.0}% around the threshold; at most {} tokens held, {hold} or longer{hedge}{again}",
        config.width * 100.0,
        config.hold_tokens
    ))
}

/// How new heads are rolled out, in one line.
fn roll_out(bounds: &Bounds) -> String {
    format!(
        "new heads: {}% of sessions first; promoted when answers are not worse by more than {}% in at least {} pairs (labels: \
         {}), taken back when they are worse or after {}",
        shown(bounds.part * 100.0),
        shown(bounds.question.margin as f32 * 100.0),
        bounds.least,
        bounds.labels.join(", "),
        humantime::format_duration(bounds.longest)
    )
}

/// An experiment in one line.
fn experiment(spec: &ExperimentSpec) -> String {
    let name = &spec.name;
    match &spec.kind {
        Trial::Shadow(share) => {
            let most = spec.daily.map_or("no limit a day".into(), |daily| format!("at most ${daily} a day"));
            let act =
                spec.act.map_or("results do not act".into(), |slices| format!("opens at most {slices} slices a day"));
            format!(
                "experiment {name}: shadows {}%{}, judged by {}, {most}, {act}",
                shown(share * 100.0),
                spec.system.as_ref().map_or(String::new(), |own| format!(" under the system prompt {}", own.digest())),
                spec.judge.name()
            )
        }
        Trial::Split { left, arms, ramp, .. } => {
            let ramp = ramp.map_or(String::new(), |(from, over)| {
                format!(", growing since {from} for {}", humantime::format_duration(over))
            });
            let [one, other] = arms.each_ref().map(router::ArmSpec::what);
            let part = shown((left * 100.0) as f32);
            format!(
                "experiment {name}: {part}% of sessions are in the left arm ({one}), others in the right one ({other}){ramp}"
            )
        }
    }
}

/// What an hour of answers costs on the local machine.
fn hourly(settings: &Settings) -> Option<policies::NanoDollars> {
    settings.local_cost?.of(Duration::from_secs(3_600)).ok()
}

fn meaning(settings: &Settings) -> Value {
    let providers = settings.providers.iter().map(|provider| {
        let kind = match &provider.kind {
            ProviderKind::Hosted(_) | ProviderKind::Encoder { .. } | ProviderKind::Simulated => {
                provider.spec.kind.as_str()
            }
            ProviderKind::Engine(_) => "mistralrs",
        };
        json!({"name": provider.name, "kind": kind, "location": provider.location, "region": provider.region})
    });
    let models = settings.models.iter().map(|model| {
        json!({
            "name": model.name, "provider": model.provider, "upstream": model.upstream, "kind": model.kind,
            "price_source": model.pricing.source(), "context_window": model.context_window,
        })
    });
    let router = &settings.router;
    let named = |kind: Kind| settings.detectors.as_deref().map(|detectors: &Detectors| detectors.name_of(kind));
    json!({
        "valid": true,
        "listen": settings.server.listen.to_string(),
        "admin_listen": settings.server.admin_listen.to_string(),
        "admin_open_to": settings.server.admin_open_to(),
        "ledger": settings.ledger.place.to_string(),
        "replicas": settings.replicas.as_ref().map(|shared| json!({
            "at": shared.to_string(), "lease_seconds": shared.lease().as_secs_f64(),
        })),
        "providers": providers.collect::<Vec<_>>(),
        "models": models.collect::<Vec<_>>(),
        "router": {
            "local": router.local.as_ref(), "hosted": router.hosted.as_ref(), "classifier": router.classifier,
            "hosted_share": (router.risk.is_none() && router.hosted_rate.is_none()).then_some(shown(router.hosted_share)),
            "hosted_rate": router.hosted_rate.map(|rate| json!({"usd": rate.amount, "seconds": rate.every.as_secs()})),
            "risk": router.risk.map(|risk| shown(risk.target)),
            "risk_confidence": router.risk.map(|risk| shown(risk.confidence)),
            "risk_labels": router.risk.map(|risk| if risk.shadows { vec!["feedback", "shadow"] } else { vec!["feedback"] }),
            "exploration": shown(router.exploration), "switch_cost": shown(router.switch_cost),
            "heads": router.lanes.iter().map(|(rule, head)| json!({
                "name": rule.name, "head": head.version(), "team": rule.team, "key": rule.key, "part": shown(rule.part),
            })).collect::<Vec<_>>(),
            "max_usd_per_request": router.max_per_request,
            "cascade": (router.cascade.width > 0.0 && router.risk.is_none()).then(|| json!({
                "width": shown(router.cascade.width), "observe": router.cascade.observe,
                "hold_tokens": router.cascade.hold_tokens, "hold_ms": router.cascade.hold.as_secs_f64() * 1e3,
                "hedge": router.cascade.hedge, "samples": router.cascade.samples,
            })),
        },
        "roll_out": settings.roll_out.as_ref().map(|bounds| json!({
            "part": shown(bounds.part), "margin": shown(bounds.question.margin as f32),
            "error": shown(bounds.question.error as f32), "least_pairs": bounds.least,
            "longest_seconds": bounds.longest.as_secs(), "labels": bounds.labels,
        })),
        "prices": {"source": settings.prices.source, "models": settings.prices.models, "file": settings.prices.file},
        "default_class": settings.default_class,
        "detectors": settings.detectors.as_ref().map(|detectors| json!({
            "mode": if detectors.observe() { "observe" } else { "on" }, "look_for": detectors.names(),
        })),
        "masking": settings.masking.as_ref().map(|rules| json!({
            "kinds": rules.kinds().map(named).collect::<Vec<_>>(),
            "when": if rules.always { "always" } else { "needed" }, "providers": rules.providers,
        })),
        "evidence": settings.evidence_key.as_ref().map(|key| json!({
            "key_file": key, "max_age_seconds": settings.evidence_keep.age.map(|age| age.as_secs()),
            "max_bytes": settings.evidence_keep.bytes,
        })),
        "keep_prompts": settings.keep_prompts,
        "holdout": shown(settings.holdout),
        "experiments": settings.experiments.iter().map(experiment).collect::<Vec<_>>(),
        "local_usd_per_busy_hour": hourly(settings),
        "warnings": settings.warnings,
    })
}

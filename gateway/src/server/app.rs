//! What all requests share.

use super::auth::KeyRing;
use super::listen::Connections;
use crate::config::units::shown;
use crate::config::{ModelSettings, Settings};
use crate::roll_out;
use crate::telemetry::Telemetry;
use arc_swap::ArcSwap;
use policies::Readiness;
use router::ledger::Ledger;
use router::rollout::Standing;
use router::{Limits, Router};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The running gateway.
pub struct App {
    /// The router of the current configuration.
    pub router: ArcSwap<Router>,
    /// The current configuration.
    pub settings: ArcSwap<Settings>,
    /// The ledger.
    pub ledger: Ledger,
    /// Who may come in.
    pub keys: KeyRing,
    /// Rate limits.
    pub limits: Arc<Limits>,
    /// Places in flight.
    pub in_flight: Arc<Semaphore>,
    /// How many there are.
    pub most_in_flight: usize,
    /// Connections of both listeners.
    pub connections: Connections,
    /// Places of requests that are over a rate limit, while they are read.
    pub refusing: Arc<Semaphore>,
    /// Metrics and traces.
    pub telemetry: Arc<Telemetry>,
    /// Everything that runs beside the connections.
    pub tasks: TaskTracker,
    /// Set when readiness must fail.
    pub draining: CancellationToken,
    /// Set when running streams must end.
    pub cut: CancellationToken,
    /// Ids that clients chose and that are running, so that none is used twice at once.
    pub client_ids: parking_lot::Mutex<std::collections::HashSet<String>>,
    /// Answers for repeats.
    pub kept: Arc<super::idempotency::Kept>,
    /// When the gateway started.
    pub started: jiff::Timestamp,
}

// === impl App ===

impl App {
    /// Whether requests should come, and each model's state.
    ///
    /// Ready once every model has loaded or failed for good: a failed one is named, and a request that needs it gets 503.
    pub fn readiness(&self) -> (bool, Value) {
        let router = self.router.load();
        let mut loading = false;
        let models: Vec<Value> = router
            .fleet()
            .models()
            .map(|model| {
                let backend = &model.provider.backend;
                let (state, why) = match backend.readiness() {
                    Readiness::Ready => ("ready", None),
                    Readiness::Loading => {
                        loading = true;
                        ("loading", None)
                    }
                    Readiness::Down { why, .. } => ("down", Some(why)),
                };
                json!({"model": model.name, "state": state, "why": why, "progress": backend.progress().map(percent)})
            })
            .collect();
        let draining = self.draining.is_cancelled();
        let ledger = self.ledger.healthy();
        let status = match (draining, ledger, loading) {
            (true, _, _) => "draining",
            (false, false, _) => "ledger_unavailable",
            (false, true, true) => "loading",
            (false, true, false) => "ready",
        };
        (status == "ready", json!({"status": status, "models": models}))
    }

    /// What sets the threshold, and where it stands, for the admin API.
    pub fn router_state(&self) -> Value {
        let router = self.router.load();
        let settings = self.settings.load();
        let control = router.control();
        let threshold = control.threshold();
        let (risk, rate) = (control.risk(), settings.router.hosted_rate);
        json!({
            "classifier": format!("{:?}", router.config().classifier),
            "hosted_share": (risk.is_none() && rate.is_none()).then_some(shown(settings.router.hosted_share)),
            "hosted_rate": rate.map(|rate| json!({"usd": rate.amount, "seconds": rate.every.as_secs()})),
            "threshold": threshold.is_finite().then_some(shown(threshold)),
            "exploration": shown(settings.router.exploration),
            "heads": settings.router.lanes.iter().map(|(rule, head)| json!({
                "name": rule.name, "head": head.version(), "team": rule.team, "key": rule.key, "part": shown(rule.part),
            })).collect::<Vec<_>>(),
            "keep_prompts": settings.keep_prompts,
            "roll_outs": self.roll_outs(),
            "risk": risk,
        })
    }

    /// Where each lane's heads stand, with what is known of those that are tried.
    fn roll_outs(&self) -> Value {
        let settings = self.settings.load();
        let Ok(standings) = roll_out::standings(&self.ledger, &settings) else { return Value::Null };
        let known = |standing: &Standing| {
            settings.roll_out.as_ref().and_then(|bounds| standing.assess(&self.ledger, bounds).ok()).flatten()
        };
        standings.iter().map(|standing| roll_out::shown(standing, known(standing).as_ref())).collect()
    }

    /// The configured models with their state, for the admin API.
    pub fn models(&self) -> Value {
        let router = self.router.load();
        let settings = self.settings.load();
        let rows: Vec<Value> = router
            .fleet()
            .models()
            .map(|model| {
                let configured = settings.models.iter().find(|known| known.name == model.name);
                shown_model(model, configured)
            })
            .collect();
        json!({"models": rows})
    }
}

fn shown_model(model: &router::Model, configured: Option<&ModelSettings>) -> Value {
    let backend = &model.provider.backend;
    let described = backend.describe();
    let candidate = model.candidate(64);
    let (state, why) = match &candidate.readiness {
        Readiness::Ready => ("ready", None),
        Readiness::Loading => ("loading", None),
        Readiness::Down { why, .. } => ("down", Some(why.clone())),
    };
    let rate = |rate: policies::Rate| policies::NanoDollars(rate.0).to_string();
    let price = match &model.pricing {
        policies::Pricing::Priced(price, _) => Some(*price),
        policies::Pricing::Free => Some(policies::Price::default()),
        policies::Pricing::Unpriced => None,
    };
    json!({
        "model": model.name,
        "kind": model.kind,
        "provider": model.provider.name,
        "route": model.provider.location,
        "region": model.provider.region,
        "upstream": configured.map_or(model.upstream.as_str(), |known| known.upstream.as_str()),
        "state": state,
        "why": why,
        "progress": backend.progress().map(percent),
        "context_window": candidate.context_window,
        "memory_bytes": described.memory_bytes,
        "price_source": model.pricing.source(),
        "input_usd_per_mtok": price.map(|price| rate(price.input)),
        "output_usd_per_mtok": price.map(|price| rate(price.output)),
        "source": &*described.source,
    })
}

/// A share, to the percent.
fn percent(share: f32) -> f64 {
    (f64::from(share) * 100.0).round() / 100.0
}

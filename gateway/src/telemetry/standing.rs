//! How the gateway stands, looked at when somebody asks for metrics.
//!
//! **Promise.** Every limit that can refuse a request is here beside what is taken of it, and whatever is dropped is counted.
//! Nothing is done for it while requests run: each value is read off the state that is there anyhow, once a scrape.
//!
//! **Labels** are names from the configuration: providers, models, experiments, heads, and scopes of configured budgets.
//! Budgets of keys are not here, there may be very many: `GET /api/budgets` has them.
//!
//! **What it does not do.** A value that may vanish with a reload is told as a sum that goes up and down, whose series ends
//! with it; a threshold is no sum, so that of a head that was taken away stays as it was until the next start.

use super::spans::Lost;
use crate::server::{App, Places};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use policies::Readiness;
use router::{BreakerState, BudgetState, Fleet};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use tracing_appender::non_blocking::ErrorCounter;

/// Takes a value with its labels.
type Tell<'a> = dyn Fn(f64, &[KeyValue]) + 'a;

/// Makes instruments that look at the gateway; it may be gone before them.
struct Looks<'a> {
    meter: &'a Meter,
    app: Weak<App>,
}

/// Makes all of them. They live as long as the meter.
pub(super) fn watch(meter: &Meter, app: &Arc<App>, lines: ErrorCounter, lost: Arc<Lost>) {
    let looks = Looks { meter, app: Arc::downgrade(app) };
    places(&looks);
    providers(&looks);
    budgets(&looks);
    routing(&looks);
    drops(&looks, lines, lost);
}

// === impl Looks ===

impl Looks<'_> {
    /// Something that goes up and down.
    fn level(&self, name: &'static str, what: &'static str, look: impl Fn(&App, &Tell<'_>) + Send + Sync + 'static) {
        let app = self.app.clone();
        self.meter
            .f64_observable_up_down_counter(name)
            .with_description(what)
            .with_callback(move |to: &dyn AsyncInstrument<f64>| {
                if let Some(app) = app.upgrade() {
                    look(&app, &|value, labels| to.observe(value, labels));
                }
            })
            .build();
    }

    /// Something that only grows.
    fn count(&self, name: &'static str, what: &'static str, look: impl Fn(&App, &Tell<'_>) + Send + Sync + 'static) {
        let app = self.app.clone();
        self.meter
            .u64_observable_counter(name)
            .with_description(what)
            .with_callback(move |to: &dyn AsyncInstrument<u64>| {
                if let Some(app) = app.upgrade() {
                    look(&app, &|value, labels| to.observe(value as u64, labels));
                }
            })
            .build();
    }
}

/// What a request takes before it is routed.
fn places(looks: &Looks<'_>) {
    looks.level("sluice.in_flight", "Requests in flight", |app, tell| {
        tell(app.most_in_flight.saturating_sub(app.in_flight.available_permits()) as f64, &[]);
    });
    looks.level("sluice.in_flight.limit", "The most requests in flight", |app, tell| {
        tell(app.most_in_flight as f64, &[]);
    });
    let listeners = |app: &App, tell: &Tell<'_>, part: fn(&Places) -> usize| {
        for (listener, places) in [("data", &app.connections.data), ("admin", &app.connections.admin)] {
            tell(part(places) as f64, &[KeyValue::new("listener", listener)]);
        }
    };
    looks.level("sluice.connections", "Open connections by listener", move |app, tell| {
        listeners(app, tell, Places::open);
    });
    looks.level("sluice.connections.limit", "The most open connections by listener", move |app, tell| {
        listeners(app, tell, Places::most);
    });
}

/// Who answers.
fn providers(looks: &Looks<'_>) {
    looks.level("sluice.model.ready", "1: the model can take a request now", |app, tell| {
        for model in app.router.load().fleet().models() {
            let ready = model.candidate(0).readiness == Readiness::Ready;
            tell(f64::from(u8::from(ready)), &[KeyValue::new("gen_ai.request.model", model.name.to_string())]);
        }
    });
    looks.level("sluice.breaker.state", "1: the provider's breaker is in this state", |app, tell| {
        for (provider, model) in by_provider(app.router.load().fleet()) {
            let now = model.provider.breaker.state();
            for state in BreakerState::ALL {
                let labels = [named(provider), KeyValue::new("state", state.word())];
                tell(f64::from(u8::from(state == now)), &labels);
            }
        }
    });
    let load = |name, what, part: fn(adapters::Load) -> Option<u64>| {
        looks.level(name, what, move |app, tell| {
            for (provider, model) in by_provider(app.router.load().fleet()) {
                if let Some(value) = model.provider.backend.load().and_then(part) {
                    tell(value as f64, &[named(provider)]);
                }
            }
        });
    };
    let waiting = "Requests that wait for their turn at a provider in the house";
    load("sluice.queue.waiting", waiting, |load| Some(load.waiting));
    load("sluice.queue.running", "Requests at work at a provider in the house", |load| Some(load.running));
    load("sluice.queue.limit", "The most that may wait, where the queue is ours", |load| load.most_waiting);
}

/// A model of each provider, by the provider's name.
fn by_provider(fleet: &Fleet) -> BTreeMap<&str, &router::Model> {
    fleet.models().map(|model| (model.provider.name.as_str(), model)).collect()
}

fn named(provider: &str) -> KeyValue {
    KeyValue::new("gen_ai.provider.name", provider.to_owned())
}

/// What may be spent: of configured budgets, in dollars or tokens.
fn budgets(looks: &Looks<'_>) {
    let part = |name, what, dollars: fn(&BudgetState) -> Option<u64>, tokens: fn(&BudgetState) -> Option<u64>| {
        looks.level(name, what, move |app, tell| {
            let configured = app.settings.load().budgets.len();
            for state in app.router.load().budgets().first_states(configured, jiff::Timestamp::now()) {
                let (value, measure) = match (dollars(&state), tokens(&state)) {
                    (Some(nano), _) => (nano as f64 / 1e9, "usd"),
                    (None, tokens) => (tokens.unwrap_or_default() as f64, "tokens"),
                };
                let window = KeyValue::new("window", state.window.word());
                tell(value, &[KeyValue::new("scope", state.scope), window, KeyValue::new("measure", measure)]);
            }
        });
    };
    part(
        "sluice.budget.limit",
        "Limit of a configured budget",
        |state| state.dollars.as_ref().map(|dollars| dollars.limit_usd.0),
        |state| state.tokens.as_ref().map(|tokens| tokens.limit_tokens),
    );
    part(
        "sluice.budget.spent",
        "Spent of a configured budget in its window",
        |state| state.dollars.as_ref().map(|dollars| dollars.spent_usd.0),
        |state| state.tokens.as_ref().map(|tokens| tokens.spent_tokens),
    );
    part(
        "sluice.budget.held",
        "Set aside of a configured budget for running calls",
        |state| state.dollars.as_ref().map(|dollars| dollars.held_usd.0),
        |state| state.tokens.as_ref().map(|tokens| tokens.held_tokens),
    );
}

/// How routing stands.
fn routing(looks: &Looks<'_>) {
    let app = looks.app.clone();
    looks
        .meter
        .f64_observable_gauge("sluice.threshold")
        .with_description("From this score on requests go hosted, by head; 1.01: none does")
        .with_callback(move |to: &dyn AsyncInstrument<f64>| {
            let Some(app) = app.upgrade() else { return };
            for (lane, threshold) in app.router.load().thresholds() {
                // No series has infinity, and scores end at 1.
                to.observe(f64::from(threshold.min(1.01)), &[KeyValue::new("head", lane.to_owned())]);
            }
        })
        .build();
    looks.level("sluice.hosted_share.goal", "The share of judged requests that should go hosted", |app, tell| {
        let settings = app.settings.load();
        // A risk and a rate of money aim at no share of their own.
        if settings.router.risk.is_none() && settings.router.hosted_rate.is_none() {
            tell(f64::from(settings.router.hosted_share), &[]);
        }
    });
    looks.count("sluice.cascade.verdicts", "Second looks at local answers, by verdict", |app, tell| {
        for (verdict, count) in app.router.load().cascade().verdicts() {
            tell(count as f64, &[KeyValue::new("verdict", verdict)]);
        }
    });
    looks.count("sluice.shadows", "Requests drawn to be answered twice, by what became of it", |app, tell| {
        for experiment in &app.router.load().config().experiments {
            for (end, count) in experiment.live().copies() {
                let name = KeyValue::new("experiment", experiment.spec.name.clone());
                tell(count as f64, &[name, KeyValue::new("end", end)]);
            }
        }
    });
}

/// What waits in vain, or is gone.
fn drops(looks: &Looks<'_>, lines: ErrorCounter, lost: Arc<Lost>) {
    looks.level("sluice.ledger.healthy", "1: the last commit of the ledger succeeded", |app, tell| {
        tell(f64::from(u8::from(app.ledger.healthy())), &[]);
    });
    looks.level("sluice.ledger.late", "Lines that wait until the ledger can be written again", |app, tell| {
        tell(app.ledger.late() as f64, &[]);
    });
    looks.count("sluice.log.dropped", "Lines of the log that nobody read in time", move |_, tell| {
        tell(lines.dropped_lines() as f64, &[]);
    });
    looks.count("sluice.spans.dropped", "Spans that did not reach the collector, by reason", move |_, tell| {
        for (reason, count) in lost.counts() {
            tell(count as f64, &[KeyValue::new("reason", reason)]);
        }
    });
}

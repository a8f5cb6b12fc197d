//! `[ledger]` and `[replicas]`: where spend is kept, and what replicas share.

use super::defaults;
use super::environment::{Environment, misnamed};
use super::providers::Findings;
use super::spec::{DurabilityWord, HiddenText, LedgerSpec, ReplicasSpec};
use policies::Secret;
use router::ledger::{Durability, Place, Retention};
use router::{BudgetSpec, MOST_SHARED, Shared, SharedSpec};
use std::path::Path;

/// The ledger.
#[derive(Clone, Debug)]
pub struct LedgerSettings {
    /// Where it is.
    pub place: Place,
    /// What a commit survives.
    pub durability: Durability,
    /// How long lines are kept.
    pub retention: Retention,
}

pub(super) fn read_ledger(
    spec: &LedgerSpec,
    folder: &Path,
    environment: &Environment,
    found: &mut Findings,
) -> LedgerSettings {
    let LedgerSpec { path, url, url_env, durability, max_age, max_size } = spec;
    let file = path.clone().unwrap_or_else(|| defaults::LEDGER_PATH.into());
    let file = Place::File(if file.is_absolute() { file } else { folder.join(file) });
    let url = address("ledger", url.as_ref(), url_env.as_deref(), environment, found);
    if url.is_some() && path.is_some() {
        found.problems.push("`ledger.path` and `ledger.url` are both set: a ledger is in one place".into());
    }
    if url.is_some() && max_size.is_some() {
        found
            .problems
            .push("`ledger.max_size` is a file's: with `ledger.url` lines go by `ledger.max_age` alone".into());
    }
    let place = url.and_then(|url| match Place::parse(&url, environment.secret("PGPASSWORD").as_ref()) {
        Ok(place) => Some(place),
        Err(why) => {
            found.problems.push(format!("`ledger.url`: {why}"));
            None
        }
    });
    let durability = match durability {
        None | Some(DurabilityWord::Disk) => Durability::Disk,
        Some(DurabilityWord::Process) => Durability::Process,
    };
    let retention = Retention {
        age: max_age.map_or(defaults::LEDGER_AGE, |time| time.0),
        bytes: max_size.map_or(defaults::LEDGER_BYTES, |size| size.0),
    };
    LedgerSettings { place: place.unwrap_or(file), durability, retention }
}

/// What replicas share; `None`: there is one process.
pub(super) fn read_replicas(
    spec: &ReplicasSpec,
    ledger: &LedgerSettings,
    budgets: &[BudgetSpec],
    environment: &Environment,
    found: &mut Findings,
) -> Option<SharedSpec> {
    let ReplicasSpec { url, url_env, lease, prefix } = spec;
    let shares = ledger.place.file().is_none();
    let Some(url) = address("replicas", url.as_ref(), url_env.as_deref(), environment, found) else {
        if lease.is_some() || prefix.is_some() {
            found.problems.push("`replicas.url` is missing: the address of a Redis or Valkey".into());
        }
        if shares && budgets.iter().any(|budget| budget.on_exceeded.is_hard()) {
            let text = "`budgets` on a ledger that several processes may write need `replicas.url`: each process alone \
                        would spend the whole of them";
            found.problems.push(text.into());
        }
        return None;
    };
    if !shares {
        let text = "`replicas` needs a ledger that replicas share: set `ledger.url` to a PostgreSQL address";
        found.problems.push(text.into());
    }
    if let Some(budget) = budgets.iter().find(|budget| budget.limit > MOST_SHARED) {
        let text = format!(
            "budget `{}` is too large to be shared: at most {}",
            budget.scope,
            budget.measure.text(MOST_SHARED)
        );
        found.problems.push(text);
    }
    let lease = lease.map_or(defaults::REPLICA_LEASE, |time| time.0);
    if !defaults::REPLICA_LEASES.contains(&lease) {
        found.problems.push("`replicas.lease` has to be between 2s and 5m".into());
    }
    let prefix = prefix.clone().unwrap_or_else(|| defaults::REPLICA_PREFIX.into());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(plain) {
        found.problems.push("`replicas.prefix` is made of letters, digits, `-`, `_`, `.` and `:`".into());
    }
    match Shared::spec(&url, lease, prefix) {
        Ok(spec) => Some(spec),
        Err(why) => {
            found.problems.push(format!("`replicas.url`: {why}"));
            None
        }
    }
}

/// An address with a password in it, typed or from the environment.
fn address(
    section: &str,
    url: Option<&HiddenText>,
    variable: Option<&str>,
    environment: &Environment,
    found: &mut Findings,
) -> Option<Secret> {
    match (url, variable) {
        (Some(_), Some(_)) => {
            found.problems.push(format!("`{section}.url` and `{section}.url_env` are both set"));
            None
        }
        (Some(url), None) => Some(Secret::new(url.0.clone())),
        (None, Some(name)) => {
            let secret = environment.secret(name);
            if let Some(why) = misnamed(name) {
                found.problems.push(format!("`{section}.url_env`: {why}"));
            } else if secret.is_none() {
                found.problems.push(format!("`{section}.url_env`: `{name}` is not set"));
            }
            secret
        }
        (None, None) => None,
    }
}

//! `[ledger]`: where spend is kept.

use super::defaults;
use super::environment::Environment;
use super::providers::Findings;
use super::spec::{DurabilityWord, HiddenText, LedgerSpec};
use policies::Secret;
use router::ledger::{Durability, Place, Retention};
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
    let place = url.and_then(|url| match Place::parse(url.expose()) {
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
            if secret.is_none() {
                found.problems.push(format!("`{section}.url_env`: `{name}` is not set"));
            }
            secret
        }
        (None, None) => None,
    }
}

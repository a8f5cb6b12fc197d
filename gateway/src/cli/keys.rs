//! `sluice keys`: virtual keys in the configured ledger; a running gateway notices within a second.

use super::{Failure, Setting, say};
use crate::config::Settings;
use crate::config::units::Names;
use crate::wanted_key::WantedKey;
use jiff::Timestamp;
use policies::Secret;
use router::ledger::{KeyRecord, Ledger};
use serde_json::json;

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub enum Keys {
    /// Makes a key and shows it once.
    Create(Create),
    /// Lists the keys, without their secrets.
    List,
    /// Gives a key another secret and shows it once; id, budgets and limits stay.
    Rotate {
        /// Its id or name.
        key: String,
        /// How long the old secret is still good; `0`: it ends at once.
        #[arg(long, default_value = crate::wanted_key::OVERLAP)]
        overlap: String,
    },
    /// Revokes a key.
    Revoke {
        /// Its id or name.
        key: String,
    },
}

/// What the key shall be.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// Its name, unique.
    #[arg(long)]
    name: String,
    /// Its team.
    #[arg(long)]
    team: Option<String>,
    /// Its user.
    #[arg(long)]
    user: Option<String>,
    /// Models it may use, comma-separated; default: all.
    #[arg(long, value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Sides its requests may go to, `local` or `hosted`; default: both.
    #[arg(long, value_delimiter = ',')]
    routes: Option<Vec<String>>,
    /// Data classes it may send, comma-separated; default: all.
    #[arg(long, value_delimiter = ',')]
    classes: Option<Vec<String>>,
    /// Its own hard budget, e.g. "1.00 USD/month" or "100000 tokens/day"; may be repeated with another window or measure.
    #[arg(long)]
    budget: Vec<String>,
    /// Its own rate limit, e.g. "60 requests/minute" or "100000 tokens/minute"; may be repeated.
    #[arg(long)]
    rate: Vec<String>,
    /// How long it is valid, e.g. "90d", or until when, e.g. "2030-01-31T00:00:00Z".
    #[arg(long, alias = "expires-in")]
    expires: Option<String>,
}

/// Does it.
pub fn run(setting: &Setting, keys: Keys) -> Result<(), Failure> {
    let settings = setting.load()?;
    let ledger = Ledger::attach(&settings.ledger.place)?;
    match keys {
        Keys::Create(wanted) => create(setting, &settings, &ledger, wanted),
        Keys::List => list(setting, &ledger),
        Keys::Rotate { key, overlap } => {
            let time = crate::wanted_key::overlap(&overlap)
                .map_err(|wrong| Failure::Usage(format!("`--{}`: {}", wrong.field, wrong.what)))?;
            match ledger.rotate_key(&key, time)? {
                Some((record, secret)) => {
                    show(setting, &record, &secret);
                    if !setting.json {
                        let until = record.shown()["old_secret_until"].as_str().map(str::to_owned);
                        say(match until {
                            Some(until) => format!("The old one is good until {until}."),
                            None => "The old one is good no longer.".to_owned(),
                        });
                    }
                    Ok(())
                }
                None => Err(Failure::Failed(format!("no valid key `{key}`"))),
            }
        }
        Keys::Revoke { key } => match ledger.revoke_key(&key)? {
            Some(id) if setting.json => {
                say(json!({"id": id, "revoked": true}));
                Ok(())
            }
            Some(id) => {
                say(format!("{id} is revoked"));
                Ok(())
            }
            None => Err(Failure::Failed(format!("no valid key `{key}`"))),
        },
    }
}

fn list(setting: &Setting, ledger: &Ledger) -> Result<(), Failure> {
    let keys = ledger.keys()?;
    if setting.json {
        let shown: Vec<_> = keys.iter().map(|key| key.shown()).collect();
        say(json!({"keys": shown}));
        return Ok(());
    }
    for key in keys {
        let state = match (key.revoked_us, key.valid_at(Timestamp::now().as_microsecond())) {
            (Some(_), _) => "revoked",
            (None, false) => "expired",
            (None, true) => "valid",
        };
        let team = key.key.team.as_deref().unwrap_or("-");
        say(format!("{}  {:20}  team {team}  {state}", key.id, key.key.name));
    }
    Ok(())
}

fn create(setting: &Setting, settings: &Settings, ledger: &Ledger, wanted: Create) -> Result<(), Failure> {
    let Create { name, team, user, models, routes, classes, budget, rate, expires } = wanted;
    let (budget, rate) = (Some(Names(budget)), Some(Names(rate)));
    let wanted = WantedKey { name, team, user, models, routes, classes, budget, rate, expires };
    let key = wanted
        .against(settings, Timestamp::now())
        .map_err(|wrong| Failure::Usage(format!("`--{}`: {}", wrong.field, wrong.what)))?;
    match ledger.create_key(&key)? {
        Some((record, secret)) => {
            show(setting, &record, &secret);
            Ok(())
        }
        None => Err(Failure::Failed(format!("a key named `{}` exists", key.name))),
    }
}

/// Shows a fresh secret, the only time.
fn show(setting: &Setting, record: &KeyRecord, secret: &Secret) {
    if setting.json {
        let mut shown = record.shown();
        shown["key"] = secret.expose().into();
        say(shown);
    } else {
        say(format!("{} ({})", record.id, record.key.name));
        say(secret.expose());
        say("This is the only time the key is shown.");
    }
}

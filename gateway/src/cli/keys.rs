//! `sluice keys`: virtual keys in the configured ledger; a running gateway notices within a second.

use super::{Failure, Setting, say};
use crate::budget_text;
use router::ledger::{Ledger, NewKey};
use serde_json::json;

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub enum Keys {
    /// Makes a key and shows it once.
    Create(Create),
    /// Lists the keys, without their secrets.
    List,
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
    /// Its own hard budget, e.g. "1.00 USD/month".
    #[arg(long)]
    budget: Option<String>,
    /// How long it is valid, e.g. "90d".
    #[arg(long)]
    expires_in: Option<String>,
}

/// Does it.
pub fn run(setting: &Setting, keys: &Keys) -> Result<(), Failure> {
    let settings = setting.load()?;
    let ledger = Ledger::attach(&settings.ledger_path)?;
    match keys {
        Keys::Create(wanted) => create(setting, &settings, &ledger, wanted),
        Keys::List => {
            let keys = ledger.keys()?;
            if setting.json {
                let shown: Vec<_> = keys.iter().map(|key| key.shown()).collect();
                say(json!({"keys": shown}));
                return Ok(());
            }
            for key in keys {
                let state = match (key.revoked_us, key.valid_at(jiff::Timestamp::now().as_microsecond())) {
                    (Some(_), _) => "revoked",
                    (None, false) => "expired",
                    (None, true) => "valid",
                };
                let team = key.key.team.as_deref().unwrap_or("-");
                say(format!("{}  {:20}  team {team}  {state}", key.id, key.key.name));
            }
            Ok(())
        }
        Keys::Revoke { key } => match ledger.revoke_key(key)? {
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

fn create(
    setting: &Setting,
    settings: &crate::config::Settings,
    ledger: &Ledger,
    wanted: &Create,
) -> Result<(), Failure> {
    let budget = wanted.budget.as_deref().map(budget_text::parse).transpose().map_err(Failure::Usage)?;
    let expires = match &wanted.expires_in {
        None => None,
        Some(text) => {
            let time = humantime::parse_duration(text)
                .map_err(|error| Failure::Usage(format!("`--expires-in {text}`: {error}; write e.g. 90d")))?;
            let us = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
            Some(jiff::Timestamp::now().as_microsecond().saturating_add(us))
        }
    };
    for name in wanted.models.iter().flatten() {
        if !settings.models.iter().any(|model| model.name.as_str() == name) {
            return Err(Failure::Usage(format!("`--models`: no model `{name}` is configured")));
        }
    }
    if wanted.name.trim().is_empty() {
        return Err(Failure::Usage("`--name` is empty".into()));
    }
    if ledger.keys()?.iter().any(|key| key.key.name == wanted.name) {
        return Err(Failure::Failed(format!("a key named `{}` exists", wanted.name)));
    }
    let key = NewKey {
        name: wanted.name.clone(),
        team: wanted.team.clone(),
        user: wanted.user.clone(),
        models: wanted.models.as_ref().map(|names| names.iter().map(|name| name.as_str().into()).collect()),
        budget: budget.map(|(limit, window)| (limit, window.word().to_owned())),
        expires_us: expires,
    };
    let (record, secret) = ledger.create_key(&key)?;
    if setting.json {
        let mut shown = record.shown();
        shown["key"] = secret.expose().into();
        say(shown);
    } else {
        say(format!("{} ({})", record.id, record.key.name));
        say(secret.expose());
        say("This is the only time the key is shown.");
    }
    Ok(())
}

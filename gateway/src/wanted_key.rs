//! What somebody wants of a new key, on the command line or through the API, held against the configuration.
//!
//! A name that nobody configured is refused and the nearest one named: a key that can do nothing by a slip of the pen
//! would be found out by its user only.

use crate::budget_text;
use crate::config::units::Names;
use crate::config::{Settings, nearest};
use policies::{Location, RateLimit};
use router::MOST_SHARED;
use router::ledger::NewKey;
use serde::Deserialize;

/// The longest name, in bytes.
const LONGEST: usize = 128;

/// A wanted key, as it is typed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WantedKey {
    /// Its name.
    pub name: String,
    /// Its team.
    pub team: Option<String>,
    /// Its user.
    pub user: Option<String>,
    /// Models it may use.
    pub models: Option<Vec<String>>,
    /// `local`, `hosted`.
    pub routes: Option<Vec<String>>,
    /// Data classes it may send.
    pub classes: Option<Vec<String>>,
    /// Budgets, e.g. `1.00 USD/month`.
    pub budget: Option<Names>,
    /// Rate limits, e.g. `60 requests/minute`.
    pub rate: Option<Names>,
    /// How long it is valid, e.g. `90d`, or until when (RFC 3339).
    pub expires: Option<String>,
}

/// What is wrong with a wanted key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub what: String,
}

// === impl WantedKey ===

impl WantedKey {
    /// The key, if it makes sense under this configuration.
    pub fn against(self, settings: &Settings, now: jiff::Timestamp) -> Result<NewKey, Wrong> {
        let models: Vec<&str> = settings.models.iter().map(|model| model.name.as_str()).collect();
        let classes: Vec<&str> = settings.classes.rules().iter().map(|rule| rule.name.as_str()).collect();
        let allowed = known("models", "model", self.models, &models)?;
        let routes = known("routes", "route", self.routes, &["local", "hosted"])?;
        let sent = known("classes", "data class", self.classes, &classes)?;
        if let Some(sent) = &sent {
            // A client's header can only raise the class: a lower one is never that of a request.
            let default = classes.iter().position(|class| *class == settings.default_class).unwrap_or(0);
            if !classes.iter().skip(default).any(|class| sent.iter().any(|name| name == class)) {
                let what = format!(
                    "no request has one of these: what names no class is `{}`, and a class can only be raised",
                    settings.default_class
                );
                return Err(Wrong { field: "classes", what });
            }
        }
        let budgets = each("budget", self.budget, budget_text::parse, |budget| (budget.measure, budget.window))?;
        if !budgets.is_empty() && settings.ledger.place.file().is_none() && settings.replicas.is_none() {
            let what = "on a ledger that several processes may write nobody keeps it: set `replicas.url`".into();
            return Err(Wrong { field: "budget", what });
        }
        let shared = settings.replicas.is_some();
        if let Some(budget) = budgets.iter().find(|budget| shared && budget.limit > MOST_SHARED) {
            let what = format!("replicas share at most {}", budget.measure.text(MOST_SHARED));
            return Err(Wrong { field: "budget", what });
        }
        let side = |word: String| if word == "local" { Location::Local } else { Location::Hosted };
        Ok(NewKey {
            name: named("name", Some(self.name))?
                .ok_or_else(|| Wrong { field: "name", what: "a key needs one".into() })?,
            team: named("team", self.team)?,
            user: named("user", self.user)?,
            models: allowed.map(|names| names.into_iter().map(Into::into).collect()),
            routes: routes.map(|words| words.into_iter().map(side).collect()),
            classes: sent,
            budgets,
            rates: each("rate", self.rate, RateLimit::parse, |rate| (rate.measure, rate.period))?,
            expires_us: self.expires.filter(|text| !text.trim().is_empty()).map(|text| end(&text, now)).transpose()?,
        })
    }
}

fn named(field: &'static str, name: Option<String>) -> Result<Option<String>, Wrong> {
    let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    if name.as_ref().is_some_and(|name| name.len() > LONGEST || name.chars().any(char::is_control)) {
        return Err(Wrong { field, what: format!("at most {LONGEST} bytes, without control characters") });
    }
    Ok(name)
}

fn known(
    field: &'static str,
    what: &str,
    names: Option<Vec<String>>,
    known: &[&str],
) -> Result<Option<Vec<String>>, Wrong> {
    let Some(names) = names else { return Ok(None) };
    if names.is_empty() {
        return Err(Wrong { field, what: "an empty list allows nothing: leave it out to allow all".into() });
    }
    for name in &names {
        if !known.contains(&name.as_str()) {
            let near = nearest(name, known).map(|known| format!(", did you mean `{known}`?"));
            let near = near.unwrap_or_else(|| format!("; there are: {}", known.join(", ")));
            return Err(Wrong { field, what: format!("no {what} `{name}`{near}") });
        }
    }
    Ok(Some(names))
}

/// Reads a list of texts; no two may say something of the same.
fn each<T, K: PartialEq>(
    field: &'static str,
    texts: Option<Names>,
    read: impl Fn(&str) -> Result<T, String>,
    same: impl Fn(&T) -> K,
) -> Result<Vec<T>, Wrong> {
    let mut all: Vec<T> = Vec::new();
    for text in texts.iter().flat_map(|texts| &texts.0).filter(|text| !text.trim().is_empty()) {
        let one = read(text).map_err(|what| Wrong { field, what })?;
        if all.iter().any(|known| same(known) == same(&one)) {
            return Err(Wrong { field, what: format!("`{text}`: there is one for that already") });
        }
        all.push(one);
    }
    Ok(all)
}

/// When a key ends, microseconds since 1970: after a duration, or at a time.
fn end(text: &str, now: jiff::Timestamp) -> Result<i64, Wrong> {
    let wrong = |what: String| Wrong { field: "expires", what };
    let text = text.trim();
    let end = match (humantime::parse_duration(text), text.parse::<jiff::Timestamp>()) {
        (Ok(time), _) => now.as_microsecond().saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)),
        (Err(_), Ok(at)) => at.as_microsecond(),
        (Err(_), Err(_)) => {
            return Err(wrong(format!(
                "`{text}` is neither a duration like \"90d\" nor a time like \"2030-01-31T00:00:00Z\""
            )));
        }
    };
    if end <= now.as_microsecond() { Err(wrong(format!("`{text}` is over"))) } else { Ok(end) }
}

/// How long a replaced secret is still good, where nothing is said.
pub const OVERLAP: &str = "24h";

/// How long a replaced secret is still good.
pub fn overlap(text: &str) -> Result<std::time::Duration, Wrong> {
    match text.trim() {
        "0" => Ok(std::time::Duration::ZERO),
        text => humantime::parse_duration(text)
            .map_err(|error| Wrong { field: "overlap", what: format!("`{text}`: {error}; write e.g. 24h, or 0") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_duration_or_a_time_ahead() {
        let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        for (text, expected) in [
            ("90d", Some(at("2026-04-01T00:00:00Z"))),
            ("1h 30m", Some(at("2026-01-01T01:30:00Z"))),
            (" 2030-01-31T12:00:00+02:00 ", Some(at("2030-01-31T10:00:00Z"))),
            ("2025-12-31T23:59:59Z", None),
            ("0s", None),
            ("-1d", None),
            ("90", None),
            ("2030-01-31", None),
            ("soon", None),
        ] {
            assert_eq!(end(text, now).ok(), expected, "{text}");
        }
    }

    #[test]
    fn names_are_held_against_what_there_is_and_the_nearest_is_named() {
        let there = ["smollm2", "gpt-4o"];
        let check = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            known("models", "model", Some(names), &there).map_err(|wrong| wrong.what)
        };
        assert_eq!(check(&["gpt-4o"]), Ok(Some(vec!["gpt-4o".to_owned()])));
        for (names, says) in [
            (vec!["smolm2"], "did you mean `smollm2`?"),
            (vec!["gpt-4o", "xyz"], "there are: smollm2, gpt-4o"),
            (vec![""], "no model ``"),
            (vec![], "allows nothing"),
        ] {
            let told = check(&names).unwrap_err();
            assert!(told.contains(says), "{names:?}: {told}");
        }
        assert_eq!(known("models", "model", None, &there), Ok(None));
    }

    #[test]
    fn an_overlap_has_a_unit_or_is_nothing() {
        for (text, hours) in
            [("24h", Some(24)), ("0", Some(0)), ("7d", Some(168)), ("24", None), ("", None), ("-1h", None)]
        {
            assert_eq!(overlap(text).ok().map(|time| time.as_secs() / 3_600), hours, "{text}");
        }
        assert_eq!(overlap(OVERLAP).ok(), overlap("1d").ok());
    }
}

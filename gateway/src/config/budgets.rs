//! `[[budgets]]`: who may spend how much, in dollars or in tokens, in which window of whose calendar.

use super::providers::Findings;
use super::units::{Dollars, Share};
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use policies::{Measure, OnExceeded};
use router::{BudgetSpec, Calendar, Scope, Window};
use serde::Deserialize;

/// `[[budgets]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetEntry {
    /// Whose money.
    pub scope: String,
    /// How many dollars.
    #[serde(default)]
    pub limit_usd: Option<Dollars>,
    /// How many tokens, input and output, of hosted models (of both sides with `model:NAME`).
    #[serde(default)]
    pub limit_tokens: Option<u64>,
    /// For how long.
    pub window: Window,
    /// What happens when it is gone.
    #[serde(default)]
    pub on_exceeded: OnExceeded,
    /// From this share of the limit on it is said; default: never, with `warn` at 100%.
    #[serde(default)]
    pub warn_at: Option<Share>,
    /// The time zone whose midnight begins days, weeks and months; default: UTC.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// The first day of a week; default: Monday.
    #[serde(default)]
    pub week_starts: Option<WeekdayWord>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeekdayWord {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

// === impl WeekdayWord ===

impl From<WeekdayWord> for Weekday {
    fn from(word: WeekdayWord) -> Self {
        match word {
            WeekdayWord::Monday => Self::Monday,
            WeekdayWord::Tuesday => Self::Tuesday,
            WeekdayWord::Wednesday => Self::Wednesday,
            WeekdayWord::Thursday => Self::Thursday,
            WeekdayWord::Friday => Self::Friday,
            WeekdayWord::Saturday => Self::Saturday,
            WeekdayWord::Sunday => Self::Sunday,
        }
    }
}

pub(super) fn read_budgets(entries: &[BudgetEntry], found: &mut Findings) -> Vec<BudgetSpec> {
    let mut budgets: Vec<BudgetSpec> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let mut wrong = |field: &str, what: String| found.problems.push(format!("`budgets[{at}]{field}`: {what}"));
        let Some(scope) = Scope::parse(&entry.scope) else {
            let known = "org, team:NAME, key:NAME, user:NAME, tag:K=V or model:NAME";
            wrong(".scope", format!("`{}` is not {known}", entry.scope));
            continue;
        };
        let zone = match entry.time_zone.as_deref().map(TimeZone::get).transpose() {
            Ok(zone) => zone.unwrap_or(TimeZone::UTC),
            Err(_) => {
                let name = entry.time_zone.as_deref().unwrap_or_default();
                wrong(".time_zone", format!("`{name}` is not a time zone, write e.g. \"Europe/Madrid\""));
                continue;
            }
        };
        let calendar = Calendar { zone, week_starts: entry.week_starts.map_or(Weekday::Monday, Weekday::from) };
        let limits = [
            entry.limit_usd.map(|limit| (Measure::Money, limit.0.0)),
            entry.limit_tokens.map(|limit| (Measure::Tokens, limit)),
        ];
        if limits.iter().all(Option::is_none) {
            wrong("", "it needs `limit_usd`, `limit_tokens` or both".into());
        }
        for (measure, limit) in limits.into_iter().flatten() {
            let spec = BudgetSpec {
                scope: scope.clone(),
                measure,
                limit,
                window: entry.window,
                calendar: calendar.clone(),
                on_exceeded: entry.on_exceeded,
                warn_at: entry.warn_at.map(|share| super::units::shown(share.0)),
            };
            if budgets.iter().any(|known| known.same_account(&spec)) {
                wrong("", format!("`{scope}` has a budget for that window already"));
                continue;
            }
            budgets.push(spec);
        }
    }
    budgets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<BudgetSpec>, Vec<String>) {
        #[derive(Deserialize)]
        struct File {
            budgets: Vec<BudgetEntry>,
        }
        let file: File = toml::from_str(text).unwrap();
        let mut found = Findings::default();
        (read_budgets(&file.budgets, &mut found), found.problems)
    }

    #[test]
    fn dollars_and_tokens_are_accounts_of_their_own() {
        let (budgets, problems) = read(
            "[[budgets]]\nscope = \"team:a\"\nlimit_usd = \"5\"\nlimit_tokens = 1000\nwindow = \"week\"\n\
             warn_at = \"80%\"\ntime_zone = \"Europe/Madrid\"\nweek_starts = \"sunday\"\n\
             [[budgets]]\nscope = \"team:a\"\nlimit_usd = \"1\"\nwindow = \"day\"\non_exceeded = \"warn\"\n",
        );
        assert_eq!((budgets.len(), problems), (3, vec![]));
        assert_eq!((budgets[0].limit, budgets[1].limit, budgets[0].warn_at), (5_000_000_000, 1_000, Some(0.8)));
        assert_eq!(budgets[0].calendar.week_starts, Weekday::Sunday);
        assert_eq!(budgets[2].on_exceeded, OnExceeded::Warn);
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_path() {
        let (budgets, problems) = read(
            "[[budgets]]\nscope = \"everyone\"\nlimit_usd = \"5\"\nwindow = \"day\"\n\
             [[budgets]]\nscope = \"org\"\nwindow = \"day\"\n\
             [[budgets]]\nscope = \"org\"\nlimit_tokens = 5\nwindow = \"day\"\ntime_zone = \"Mars/Olympus\"\n\
             [[budgets]]\nscope = \"org\"\nlimit_tokens = 5\nwindow = \"day\"\n\
             [[budgets]]\nscope = \"org\"\nlimit_tokens = 6\nwindow = \"day\"\n",
        );
        assert_eq!(budgets.len(), 1);
        for (at, part) in ["[0].scope", "[1]`: it needs", "[2].time_zone", "[4]`: `org` has"].into_iter().enumerate() {
            assert!(problems[at].contains(part), "{problems:?}");
        }
    }
}

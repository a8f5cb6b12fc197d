//! Which names mean the same model.
//!
//! A provider bills the snapshot that answered (`gpt-4o-2024-08-06`); the gateway asked for it, or for the name that points
//! at whichever snapshot is current (`gpt-4o`). Where either side has the undated name, all snapshots of it are one row, for
//! nobody can tell them apart; where both sides name snapshots only, each is a row of its own.

use std::collections::{BTreeMap, BTreeSet};

/// Names of both sides, grouped.
#[derive(Debug, Default)]
pub struct Names {
    groups: BTreeMap<String, String>,
}

/// A name without its date, and the date.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Parts {
    family: String,
    date: Option<String>,
}

// === impl Names ===

impl Names {
    /// Groups these names; where a group has an undated name, it goes by the shortest of those.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut families: BTreeMap<String, BTreeSet<(Parts, &str)>> = BTreeMap::new();
        for name in names {
            let parts = Parts::of(name);
            families.entry(parts.family.clone()).or_default().insert((parts, name));
        }
        let mut groups = BTreeMap::new();
        for members in families.values() {
            let undated = members.iter().filter(|(parts, _)| parts.date.is_none()).map(|(_, name)| *name);
            if let Some(shown) = undated.min_by_key(|name| (name.len(), *name)) {
                groups.extend(members.iter().map(|(_, name)| ((*name).to_owned(), shown.to_owned())));
                continue;
            }
            // Azure's dates have no year: then the day alone tells snapshots apart.
            let short = members.iter().filter_map(|(parts, _)| parts.date.as_ref()).any(|date| date.len() == 4);
            let key = |parts: &Parts| {
                let date = parts.date.clone().unwrap_or_default();
                if short { date[date.len().saturating_sub(4)..].to_owned() } else { date }
            };
            let mut shown: BTreeMap<String, &str> = BTreeMap::new();
            for (parts, name) in members {
                let longest = shown.entry(key(parts)).or_insert(name);
                if name.len() > longest.len() {
                    *longest = name;
                }
            }
            groups.extend(members.iter().map(|(parts, name)| ((*name).to_owned(), shown[&key(parts)].to_owned())));
        }
        Self { groups }
    }

    /// The row that a name belongs to.
    pub fn row<'a>(&'a self, name: &'a str) -> &'a str {
        self.groups.get(name).map_or(name, String::as_str)
    }
}

// === impl Parts ===

impl Parts {
    /// Takes `-2024-08-06`, `-20250514`, `-0613` or `-latest` off the end; what is left counts without its punctuation.
    fn of(name: &str) -> Self {
        let lower = name.to_lowercase();
        let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let digits = |word: &str, length: usize| word.len() == length && word.bytes().all(|byte| byte.is_ascii_digit());
        let month_day = |month: &str, day: &str| {
            (1..=12).contains(&month.parse().unwrap_or(0)) && (1..=31).contains(&day.parse().unwrap_or(0))
        };
        let (kept, date) = match words.as_slice() {
            [kept @ .., year, month, day]
                if digits(year, 4) && digits(month, 2) && digits(day, 2) && month_day(month, day) =>
            {
                (kept, Some(format!("{year}{month}{day}")))
            }
            [kept @ .., date] if digits(date, 8) && month_day(&date[4..6], &date[6..]) => {
                (kept, Some((*date).to_owned()))
            }
            [kept @ .., date] if digits(date, 4) && month_day(&date[..2], &date[2..]) => {
                (kept, Some((*date).to_owned()))
            }
            [kept @ .., "latest"] => (kept, None),
            all => (all, None),
        };
        if kept.is_empty() { Self { family: words.concat(), date: None } } else { Self { family: kept.concat(), date } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(names: &[&str]) -> Vec<String> {
        let grouped = Names::new(names.iter().copied());
        names.iter().map(|name| grouped.row(name).to_owned()).collect()
    }

    #[test]
    fn a_snapshot_is_its_undated_name_where_somebody_used_that() {
        for names in [
            ["gpt-4o", "gpt-4o-2024-08-06"],
            ["gpt-4o-2024-08-06", "gpt-4o"],
            ["gpt-4", "gpt-4-0613"],
            ["claude-sonnet-4", "claude-sonnet-4-20250514"],
            ["claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"],
            ["gpt-35-turbo", "gpt-3.5-turbo-0125"],
        ] {
            let rows = row(&names);
            assert_eq!(rows[0], rows[1], "{names:?}");
            assert!(names.contains(&rows[0].as_str()));
        }
        assert_eq!(row(&["gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20"]), ["gpt-4o"; 3]);
    }

    #[test]
    fn snapshots_alone_stay_apart_and_azures_dates_find_theirs() {
        let names = ["gpt-4o-2024-08-06", "gpt-4o-2024-11-20"];
        assert_eq!(row(&names), names);
        assert_eq!(row(&["gpt-4o-0806", "gpt-4o-2024-08-06", "gpt-4o-1120"]), [names[0], names[0], "gpt-4o-1120"]);
    }

    #[test]
    fn other_models_are_not_mistaken_for_snapshots() {
        let names =
            ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4", "o1", "claude-opus-4-1", "claude-opus-4", "2024-08-06"];
        assert_eq!(row(&names), names);
    }
}

//! What the router aims at, and the heads that judge for it.

use super::providers::Findings;
use super::spec::RouterSpec;
use policies::{Measure, NanoDollars};
use router::ledger::KeyBudget;
use router::probe::Head;
use router::{LaneRule, MoneyRate, Window};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

/// Reads `AMOUNT USD/WINDOW` as money for a time; a month is thirty days.
pub(super) fn rate(text: &str) -> Result<MoneyRate, String> {
    let KeyBudget { measure, limit, window } =
        crate::budget_text::parse(text).map_err(|why| why.replace("budget", "rate"))?;
    if measure != Measure::Money {
        return Err(format!("`{text}` is no money; write e.g. \"2.00 USD/hour\""));
    }
    let every = match window {
        Window::Hour => HOUR,
        Window::Day => HOUR * 24,
        Window::Week => HOUR * 24 * 7,
        Window::Month => HOUR * 24 * 30,
        Window::Total => return Err(format!("`{text}` names no time; write e.g. \"2.00 USD/hour\"")),
    };
    Ok(MoneyRate { amount: NanoDollars(limit), every })
}

/// A router has one goal.
pub(super) fn only_one(spec: &RouterSpec, found: &mut Findings) {
    let goals = [
        ("hosted_share", spec.hosted_share.is_some()),
        ("hosted_rate", spec.hosted_rate.is_some()),
        ("risk", spec.risk.is_some()),
    ];
    let named: Vec<String> =
        goals.iter().filter(|(_, given)| *given).map(|(name, _)| format!("`router.{name}`")).collect();
    if named.len() > 1 {
        found.problems.push(format!("{} are different goals: keep one of them", named.join(" and ")));
    }
}

/// The lanes; the probe alone has heads.
pub(super) fn read_lanes(
    spec: &RouterSpec,
    classifier: &str,
    folder: &Path,
    found: &mut Findings,
) -> Vec<(LaneRule, Arc<Head>)> {
    if !spec.heads.is_empty() && classifier != "probe" {
        found.problems.push(format!("`router.heads` is for `classifier = \"probe\"`, not for `{classifier}`"));
    }
    let mut lanes: Vec<(LaneRule, Arc<Head>)> = Vec::new();
    for (at, entry) in spec.heads.iter().enumerate() {
        let key = format!("router.heads.{at}");
        let stem = || entry.path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = entry.name.clone().or_else(stem).unwrap_or_default();
        if name.is_empty() {
            found
                .problems
                .push(format!("`{key}.name` is empty: without a name it could not be told from what no entry takes"));
        }
        if lanes.iter().any(|(rule, _)| rule.name == name) {
            found.problems.push(format!("`{key}`: another head is called `{name}`: give it a `name` of its own"));
        }
        let part = entry.part.map_or(1.0, |part| part.0);
        if part >= 1.0 && entry.team.is_none() && entry.key.is_none() {
            let text = format!("`{key}` judges every request: `router.head` and later entries judge none");
            found.warnings.push(text);
        }
        let rule = LaneRule { name, team: entry.team.clone(), key: entry.key.clone(), part, within: None };
        if let Some(head) = read_file(&key, &folder.join(&entry.path), found) {
            lanes.push((rule, head));
        }
    }
    lanes
}

/// Reads the head here, so that `check` finds what is wrong with it and a reload takes a new file.
pub(super) fn read_head(spec: &RouterSpec, folder: &Path, found: &mut Findings) -> Option<Arc<Head>> {
    read_file("router.head", &folder.join(spec.head.as_ref()?), found)
}

fn read_file(key: &str, path: &Path, found: &mut Findings) -> Option<Arc<Head>> {
    let head = std::fs::read(path).map_err(|error| error.to_string());
    match head.and_then(|file| router::probe::read(&file).map_err(|error| error.to_string())) {
        Ok(head) => Some(Arc::new(head)),
        Err(error) => {
            found.problems.push(format!("`{key}`: {}: {error}", path.display()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::HeadEntry;
    use super::*;

    #[test]
    fn a_head_without_a_name_is_refused() {
        let entry =
            HeadEntry { path: "nowhere.head".into(), name: Some(String::new()), team: None, key: None, part: None };
        let spec = RouterSpec { heads: vec![entry], ..RouterSpec::default() };
        let mut found = Findings::default();
        assert!(read_lanes(&spec, "probe", Path::new("."), &mut found).is_empty());
        let told = found.problems.join("\n");
        assert!(told.contains("`router.heads.0.name` is empty") && told.contains("nowhere.head"), "{told}");
    }

    #[test]
    fn a_rate_is_money_for_a_time() {
        let read = rate("2.00 USD/hour").unwrap();
        assert_eq!((read.amount.0, read.every), (2_000_000_000, HOUR));
        assert_eq!(rate("$30/day").unwrap().every, HOUR * 24);
        for bad in ["2.00 USD", "2.00 USD/total", "2 EUR/hour", ""] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}

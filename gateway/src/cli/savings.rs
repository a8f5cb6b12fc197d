//! `sluice savings`

use super::ledger::moment;
use super::{Failure, Setting, say};
use router::ledger::Ledger;
use router::savings::Arm;

/// What was saved, from the configured ledger, also while the gateway runs.
#[derive(Debug, clap::Args)]
pub struct Savings {
    /// Not before this time (RFC 3339).
    #[arg(long)]
    since: Option<String>,
    /// Before this time (RFC 3339).
    #[arg(long)]
    until: Option<String>,
}

/// Prints the measured figure, then the weaker one.
pub fn savings(setting: &Setting, wanted: &Savings) -> Result<(), Failure> {
    let settings = setting.load()?;
    let (since, until) = (moment(&wanted.since, "since", 0)?, moment(&wanted.until, "until", i64::MAX)?);
    let told = Ledger::attach(&settings.ledger.place)?.savings(since, until)?;
    if setting.json {
        say(serde_json::to_string(&told).map_err(|error| Failure::Failed(error.to_string()))?);
        return Ok(());
    }
    let measured = &told.measured;
    let percent = measured.confidence * 100.0;
    match (&measured.savings_usd, &measured.interval_usd) {
        (Some(saved), Some(interval)) => {
            say(format!("measured: ${saved} saved, {percent:.0}% interval ${} to ${}", interval.low, interval.high));
            say(format!("  {}", measured.message));
            say(format!("  {}", measured.method));
        }
        _ => say(format!("measured: no number: {}", measured.message)),
    }
    if let Some(adjusted) = &measured.adjusted {
        let interval = &adjusted.interval_usd;
        let saved = &adjusted.savings_usd;
        say(format!("adjusted: ${saved} saved, {percent:.0}% interval ${} to ${}", interval.low, interval.high));
        say(format!("  {}", adjusted.method));
    }
    say(format!(
        "{:12} {:>9} {:>9} {:>16} {:>16} {:>16} {:>16}",
        "arm", "sessions", "requests", "cost $", "local cost $", "judging $", "mean $"
    ));
    for (name, arm) in
        [("treatment", &measured.treatment), ("holdout", &measured.holdout), ("excluded", &measured.excluded)]
    {
        line(name, arm);
    }
    for (why, sessions) in &measured.excluded_by {
        say(format!("  excluded by {why}: {sessions} sessions"));
    }
    let repriced = &told.repriced;
    say(format!(
        "re-priced: ${} saved (baseline ${}, spent ${}, local machine {})",
        repriced.savings_usd,
        repriced.baseline_usd,
        repriced.cost_usd,
        repriced.local_cost_usd.map_or("unknown".into(), |cost| format!("${cost}")),
    ));
    say(format!("  {}", repriced.note));
    if repriced.local_cost_unknown > 0 {
        say(format!(
            "  {} local requests have no known cost: set `[local_cost]` to count the machine",
            repriced.local_cost_unknown
        ));
    }
    Ok(())
}

fn line(name: &str, arm: &Arm) {
    let known = |amount: Option<policies::NanoDollars>| amount.map_or("-".into(), |amount| amount.to_string());
    say(format!(
        "{name:12} {:>9} {:>9} {:>16} {:>16} {:>16} {:>16}",
        arm.sessions,
        arm.requests,
        arm.cost_usd,
        known(arm.local_cost_usd),
        known(arm.judging_usd),
        known(arm.mean_usd)
    ));
}

//! `sluice reconcile`: the ledger beside what a provider says it was asked for.
//!
//! **Promise.** Every line of the export that is about models is in the comparison, and so is every attempt that the ledger
//! has at providers of that kind on the days that the export speaks for; rows that only one side has are shown, too. A file
//! that is not fully understood is refused (64) rather than compared in part.
//!
//! **What it does not do.** It fetches nothing, and changes neither side.

mod anthropic;
mod azure;
mod bill;
mod compare;
mod names;
mod openai;

use super::{Failure, Setting, say};
use crate::config::{ProviderSettings, Settings};
use bill::Bill;
use compare::{Comparison, Measures, Threshold, dollars};
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use policies::Location;
use router::ledger::{DailyRow, Ledger};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Compares the ledger with a provider's usage or cost export; exit 1 where they drift by more than the threshold.
#[derive(Debug, clap::Args)]
pub struct Reconcile {
    /// Whose export it is.
    provider: Biller,
    /// Exports, CSV or JSON: further pages, or usage and costs together.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The drift, in percent of the bill, that a row may have.
    #[arg(long, default_value = "1%")]
    threshold: String,
    /// Compares with attempts at this provider of the configuration, repeatable; default: all of that kind.
    #[arg(long = "at", value_name = "NAME")]
    at: Vec<String>,
    /// `BILLED=OURS`: the bill's name of a model and the upstream name on the ledger, repeatable.
    #[arg(long = "alias", value_name = "BILLED=OURS")]
    aliases: Vec<String>,
}

/// Who bills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Biller {
    /// OpenAI.
    Openai,
    /// Anthropic.
    Anthropic,
    /// Azure.
    Azure,
}

/// Hosts whose bills come from somebody else than the kind of the provider says.
const HOSTS: [(&str, Biller); 5] = [
    ("api.anthropic.com", Biller::Anthropic),
    (".openai.azure.com", Biller::Azure),
    (".cognitiveservices.azure.com", Biller::Azure),
    (".services.ai.azure.com", Biller::Azure),
    ("api.openai.com", Biller::Openai),
];

/// Does it.
pub fn run(setting: &Setting, wanted: &Reconcile) -> Result<(), Failure> {
    let settings = setting.load()?;
    let threshold =
        Threshold::parse(&wanted.threshold).map_err(|why| Failure::Usage(format!("`--threshold`: {why}")))?;
    let providers = providers(wanted, &settings)?;
    let mut bill = Bill::default();
    for file in &wanted.files {
        let shown = file.display();
        let text =
            std::fs::read_to_string(file).map_err(|error| Failure::Usage(format!("cannot read `{shown}`: {error}")))?;
        let read = match wanted.provider {
            Biller::Openai => openai::read(&text, &mut bill),
            Biller::Anthropic => anthropic::read(&text, &mut bill),
            Biller::Azure => azure::read(&text, &mut bill),
        };
        read.map_err(|why| Failure::Usage(format!("`{shown}`: {why}")))?;
    }
    rename(&mut bill, &wanted.aliases)?;
    let (Some(first), Some(last)) = (bill.days.first().copied(), bill.days.last().copied()) else {
        return Err(Failure::Usage("the export speaks for no day".into()));
    };
    let since = midnight(first)?;
    let until = midnight(last.checked_add(1.day()).map_err(|error| Failure::Usage(error.to_string()))?)?;
    let rows = Ledger::attach(&settings.ledger.place)?.daily(&providers, since, until)?;
    note(&mut bill, &rows, last);
    let comparison = compare::compare(&bill, &rows).map_err(Failure::Usage)?;
    let above = comparison.above(threshold);
    if setting.json {
        let shown = comparison.rows.iter().map(|(day, model, measures)| {
            let mut row = measures.shown();
            row["day"] = day.as_str().into();
            row["model"] = model.as_str().into();
            row["above"] = measures.above(threshold).into();
            row
        });
        say(json!({
            "providers": providers, "first_day": first.to_string(), "last_day": last.to_string(),
            "threshold": wanted.threshold, "above": above, "rows": shown.collect::<Vec<_>>(),
            "total": comparison.total.shown(), "notes": bill.notes,
        }));
    } else {
        say(format!("{first} to {last} (UTC), attempts at {}", providers.join(", ")));
        table(&comparison, threshold);
        for note in &bill.notes {
            say(format!("note: {note}"));
        }
    }
    if above { Err(Failure::Failed(format!("the drift is above {}", wanted.threshold))) } else { Ok(()) }
}

/// The providers whose attempts are on that bill.
fn providers(wanted: &Reconcile, settings: &Settings) -> Result<Vec<String>, Failure> {
    if !wanted.at.is_empty() {
        return Ok(wanted.at.clone());
    }
    let billed = |provider: &&ProviderSettings| {
        provider.location == Location::Hosted && biller(provider) == Some(wanted.provider)
    };
    let names: Vec<String> =
        settings.providers.iter().filter(billed).map(|provider| provider.name.to_string()).collect();
    if names.is_empty() {
        let text = "no hosted provider of that kind is configured; name the ledger's with `--at NAME`";
        return Err(Failure::Usage(text.into()));
    }
    Ok(names)
}

fn biller(provider: &ProviderSettings) -> Option<Biller> {
    let address = provider.spec.base_url.as_deref().and_then(|url| reqwest::Url::parse(url).ok());
    let host = address.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
    let known = HOSTS.iter().find(|(end, _)| host.ends_with(end)).map(|(_, biller)| *biller);
    known.or(match provider.spec.kind.as_str() {
        "openai" => Some(Biller::Openai),
        "anthropic" => Some(Biller::Anthropic),
        "azure" => Some(Biller::Azure),
        _ => None,
    })
}

fn rename(bill: &mut Bill, aliases: &[String]) -> Result<(), Failure> {
    for alias in aliases {
        let Some((billed, ours)) = alias.split_once('=') else {
            return Err(Failure::Usage(format!("`--alias {alias}`: write BILLED=OURS")));
        };
        let mut found = false;
        for line in bill.lines.iter_mut().filter(|line| line.model.as_deref() == Some(billed)) {
            line.model = Some(ours.to_owned());
            found = true;
        }
        if !found {
            let names: BTreeSet<&str> = bill.lines.iter().filter_map(|line| line.model.as_deref()).collect();
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Failure::Usage(format!("`--alias {alias}`: the bill has no `{billed}`; it has {names}")));
        }
    }
    Ok(())
}

/// What may explain a drift.
fn note(bill: &mut Bill, rows: &[DailyRow], last: Date) {
    let count = |of: fn(&DailyRow) -> u64| rows.iter().map(of).sum::<u64>();
    let (unpriced, uncertain) = (count(|row| row.unpriced), count(|row| row.uncertain));
    if unpriced > 0 {
        bill.note(format!("{unpriced} attempts on the ledger have no price: their cost is not in its sums"));
    }
    if uncertain > 0 {
        bill.note(format!(
            "{uncertain} attempts on the ledger broke off: their tokens are a lower bound, or charged at their ceiling"
        ));
    }
    if bill.lines.iter().all(|line| line.model.is_none()) && !bill.lines.is_empty() {
        bill.note("the export names no models: each day is compared as a whole (export it grouped by model)");
    }
    if last >= jiff::Timestamp::now().to_zoned(TimeZone::UTC).date() {
        bill.note("the last day is not over, and providers report late");
    }
}

fn midnight(day: Date) -> Result<i64, Failure> {
    let at = day.to_zoned(TimeZone::UTC).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(at.timestamp().as_microsecond())
}

fn table(comparison: &Comparison, threshold: Threshold) {
    say(format!("{:10} {:32} {:7} {:>18} {:>18} {:>18} {:>10}", "day", "model", "", "billed", "ledger", "drift", "%"));
    for (day, model, measures) in &comparison.rows {
        print(day, model, measures, threshold);
    }
    print("total", "", &comparison.total, threshold);
}

fn print(day: &str, model: &str, measures: &Measures, threshold: Threshold) {
    let (mut day, mut model) = (day, model);
    for (name, pair) in measures.named() {
        let shown = |number: i128| if name == "cost $" { dollars(number) } else { number.to_string() };
        let percent = pair.percent().map_or_else(|| "only here".into(), |percent| format!("{percent:+.2}"));
        let mark = if pair.above(threshold) { " !" } else { "" };
        say(format!(
            "{day:10} {model:32} {name:7} {:>18} {:>18} {:>18} {percent:>10}{mark}",
            shown(pair.billed),
            shown(pair.ledger),
            shown(pair.drift())
        ));
        // Said once a row.
        (day, model) = ("", "");
    }
}

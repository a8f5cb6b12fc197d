//! `sluice classifier rows`: what the ledger knows becomes rows to train on.

use super::bar;
use crate::cli::{Failure, Setting, say};
use router::learn::traffic::rated;
use router::ledger::Ledger;
use router::probe::alike;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;

/// Judged requests that are looked through, the newest.
const MOST: usize = 100_000;

/// Writes rows of one's own traffic, the oldest first.
#[derive(Debug, clap::Args)]
pub struct Rows {
    /// Where the rows go: JSON Lines.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Not before this time (RFC 3339).
    #[arg(long)]
    since: Option<String>,
    /// Requests of this team only.
    #[arg(long)]
    team: Option<String>,
}

pub(super) fn rows(setting: &Setting, wanted: &Rows) -> Result<(), Failure> {
    let settings = setting.load()?;
    let since = match &wanted.since {
        None => 0,
        Some(text) => text
            .parse::<jiff::Timestamp>()
            .map(|at| at.as_microsecond())
            .map_err(|_| Failure::Usage(format!("`--since {text}` is not a time in RFC 3339")))?,
    };
    let ledger = Ledger::attach(&settings.ledger.place)?;
    let (pairs, judged) = (ledger.pairs(since)?, ledger.judged(MOST)?);
    let failed = |why: std::io::Error| Failure::Failed(format!("`{}`: {why}", wanted.out.display()));
    let mut out = std::io::BufWriter::new(std::fs::File::create(&wanted.out).map_err(failed)?);
    let (bar, mut left_out) = (bar(), 0usize);
    bar.set_length(pairs.len() as u64);
    bar.set_message("comparing");
    let of_team = |team: &Option<String>| wanted.team.is_none() || *team == wanted.team;
    // A request that was shadowed and rated is one row: what a person said counts more.
    let mut rows: Vec<(i64, Value)> = judged
        .iter()
        .filter(|judged| judged.at_us >= since && of_team(&judged.team))
        .filter_map(|judged| Some((judged.at_us, rated(judged)?)))
        .collect();
    let said: HashSet<String> = rows.iter().filter_map(|(_, row)| row["id"].as_str().map(str::to_owned)).collect();
    for pair in &pairs {
        bar.inc(1);
        if said.contains(&pair.id) || !of_team(&pair.team) {
            continue;
        }
        match pair.row(&alike) {
            Some(row) => rows.push((pair.at_us, row)),
            None => left_out += 1,
        }
    }
    rows.sort_by_key(|(at_us, _)| *at_us);
    for (_, row) in &rows {
        writeln!(out, "{row}").map_err(failed)?;
    }
    let written = rows.len();
    out.flush().map_err(failed)?;
    bar.finish_and_clear();
    if setting.json {
        say(json!({"rows": written, "left_out": left_out, "out": wanted.out}));
    } else {
        say(format!("{written} rows written to {}, {left_out} left out (no text to compare)", wanted.out.display()));
    }
    Ok(())
}

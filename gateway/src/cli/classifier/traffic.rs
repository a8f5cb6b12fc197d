//! `sluice classifier rows`: what the ledger knows becomes rows to train on.

use super::bar;
use crate::cli::{Failure, Setting, say};
use router::learn::traffic::{Known, SHADOW, SOURCES};
use router::ledger::{JudgedRow, Ledger};
use router::probe::alike;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
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
    /// Requests that were judged in this lane only (the name of a `[[router.heads]]` entry's lane; empty: by the usual judge).
    #[arg(long)]
    lane: Option<String>,
    /// Whose word on answers counts; of a request the strongest, in this order. `cascade` is a weak one.
    #[arg(long, value_delimiter = ',', default_value = "feedback,shadow,shadow-model", value_parser = SOURCES)]
    labels: Vec<String>,
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
    let in_lane = |judged: &JudgedRow| wanted.lane.as_ref().is_none_or(|lane| *judged.judgement.lane == **lane);
    let elsewhere: HashSet<&str> = judged.iter().filter(|row| !in_lane(row)).map(|row| row.request.as_str()).collect();
    let of_team = |team: &Option<String>| wanted.team.is_none() || *team == wanted.team;
    let sources: Vec<&'static str> =
        SOURCES.into_iter().filter(|source| wanted.labels.iter().any(|name| name == source)).collect();
    // With a second opinion the score is not the head's alone.
    let alone = !settings.router.second_opinion;
    let mut known: HashMap<&str, (&JudgedRow, Known)> = judged
        .iter()
        .filter(|judged| judged.at_us >= since && of_team(&judged.team) && in_lane(judged))
        .filter_map(|judged| Some((judged.request.as_str(), (judged, Known::of(judged, &sources)?))))
        .collect();
    // A pair has the text; what its request is known by counts, else both answers are compared now.
    let mut rows: Vec<(i64, Value)> = Vec::new();
    for pair in pairs.iter().filter(|pair| of_team(&pair.team) && !elsewhere.contains(pair.id.as_str())) {
        bar.inc(1);
        let row = match known.remove(pair.id.as_str()) {
            Some((_, known)) => known.row_of(pair),
            None if sources.contains(&SHADOW) => pair.row(&alike),
            None => continue,
        };
        match row {
            Some(row) => rows.push((pair.at_us, row)),
            None => left_out += 1,
        }
    }
    let mut without_text = 0usize;
    for (judged, known) in known.into_values() {
        match known.row(judged, alone) {
            Some(row) => {
                without_text += usize::from(row["prompt"].is_null());
                rows.push((judged.at_us, row));
            }
            None => left_out += 1,
        }
    }
    rows.sort_by(|(one, first), (two, second)| {
        one.cmp(two).then_with(|| first["id"].as_str().cmp(&second["id"].as_str()))
    });
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, row) in &rows {
        *by.entry(row["source"].as_str().unwrap_or_default()).or_default() += 1;
    }
    for (_, row) in &rows {
        writeln!(out, "{row}").map_err(failed)?;
    }
    let written = rows.len();
    out.flush().map_err(failed)?;
    bar.finish_and_clear();
    if setting.json {
        say(json!({
            "rows": written, "by_source": by, "without_text": without_text, "left_out": left_out, "out": wanted.out,
        }));
    } else {
        let by: Vec<String> = by.iter().map(|(source, rows)| format!("{rows} {source}")).collect();
        say(format!("{written} rows written to {} ({})", wanted.out.display(), by.join(", ")));
        say(format!(
            "  {without_text} without their text: what the head saw takes its place, words are not learnt from them"
        ));
        say(format!("  {left_out} left out: neither their text nor what a head saw is kept, or nobody can compare"));
    }
    Ok(())
}

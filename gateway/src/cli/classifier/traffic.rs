//! `sluice classifier rows`: what the ledger knows becomes rows to train on.

use super::bar;
use crate::cli::{Failure, Setting, say};
use router::ledger::Ledger;
use router::probe::{self, Reading};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

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

/// The cosine of two texts' embeddings; they are made of unit length.
fn alike(one: &str, other: &str) -> Option<f32> {
    let (one, other) = (probe::embed(&Reading::of_prompt(one))?, probe::embed(&Reading::of_prompt(other))?);
    let product: f32 = one.iter().zip(&other).map(|(a, b)| a * b).sum();
    let length = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-6);
    Some(product / (length(&one) * length(&other)))
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
    let pairs = Ledger::attach(&settings.ledger_path)?.pairs(since)?;
    let failed = |why: std::io::Error| Failure::Failed(format!("`{}`: {why}", wanted.out.display()));
    let mut out = std::io::BufWriter::new(std::fs::File::create(&wanted.out).map_err(failed)?);
    let (bar, mut written, mut left_out) = (bar(), 0usize, 0usize);
    bar.set_length(pairs.len() as u64);
    bar.set_message("comparing");
    for pair in &pairs {
        bar.inc(1);
        if wanted.team.is_some() && pair.team != wanted.team {
            continue;
        }
        match pair.row(&alike) {
            Some(row) => {
                writeln!(out, "{row}").map_err(failed)?;
                written += 1;
            }
            None => left_out += 1,
        }
    }
    out.flush().map_err(failed)?;
    bar.finish_and_clear();
    if setting.json {
        say(json!({"rows": written, "left_out": left_out, "out": wanted.out}));
    } else {
        say(format!("{written} rows written to {}, {left_out} left out (no text to compare)", wanted.out.display()));
    }
    Ok(())
}

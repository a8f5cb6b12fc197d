//! `sluice spend` and `sluice ledger`.

use super::{Failure, Setting, evidence, say};
use router::ledger::{GroupBy, Ledger, SpendRow};
use serde_json::json;
use std::path::PathBuf;

/// What was spent, from the configured ledger, also while the gateway runs.
#[derive(Debug, clap::Args)]
pub struct Spend {
    /// model, provider, route, key, team, tag or day.
    #[arg(long, default_value = "model")]
    group_by: String,
    /// Not before this time (RFC 3339).
    #[arg(long)]
    since: Option<String>,
    /// Before this time (RFC 3339).
    #[arg(long)]
    until: Option<String>,
}

/// What to do with the ledger.
#[derive(Debug, clap::Subcommand)]
pub enum LedgerCommand {
    /// Checks the configured ledger, or an exported evidence file.
    Verify {
        /// An exported evidence file: JSON Lines, or a report in HTML.
        file: Option<PathBuf>,
        /// The public key that it is signed with, or a file that holds it.
        #[arg(long)]
        public_key: Option<String>,
        /// A checkpoint that was published earlier: finds an end that was cut off.
        #[arg(long)]
        checkpoint: Option<PathBuf>,
        /// An archived export that this one has to go on from: shows that pruning left no gap between them.
        #[arg(long)]
        archive: Option<PathBuf>,
    },
    /// Exports the evidence log, or a selection of it.
    Export(evidence::Export),
    /// Prints the newest signed checkpoint, to be published.
    Checkpoint,
    /// Prints the public key of the evidence log.
    PublicKey,
    /// Makes a new key for the evidence log.
    RotateKey,
    /// Prints the keyed digest that the evidence log has of a request's body.
    Digest {
        /// The body, byte for byte.
        file: PathBuf,
    },
}

/// A time in microseconds since 1970.
pub(super) fn moment(text: &Option<String>, name: &str, default: i64) -> Result<i64, Failure> {
    match text {
        None => Ok(default),
        Some(text) => text
            .parse::<jiff::Timestamp>()
            .map(|at| at.as_microsecond())
            .map_err(|_| Failure::Usage(format!("`--{name} {text}` is not a time in RFC 3339"))),
    }
}

/// Prints the sums.
pub fn spend(setting: &Setting, wanted: &Spend) -> Result<(), Failure> {
    let settings = setting.load()?;
    let by = GroupBy::parse(&wanted.group_by).ok_or_else(|| {
        let text = "model, provider, route, key, team, tag or day";
        Failure::Usage(format!("`--group-by {}`: one of {text}", wanted.group_by))
    })?;
    let (since, until) = (moment(&wanted.since, "since", 0)?, moment(&wanted.until, "until", i64::MAX)?);
    let table = Ledger::attach(&settings.ledger.place)?.spend(by, since, until)?;
    if setting.json {
        say(serde_json::to_string(&table).map_err(|error| Failure::Failed(error.to_string()))?);
        return Ok(());
    }
    let line = |name: &str, row: &SpendRow| {
        say(format!(
            "{name:24} {:>9} {:>12} {:>12} {:>16} {:>16} {:>16}",
            row.requests,
            row.input_tokens,
            row.output_tokens,
            row.cost_usd,
            row.local_cost_usd.map_or("-".into(), |cost| cost.to_string()),
            row.baseline_usd
        ));
    };
    say(format!(
        "{:24} {:>9} {:>12} {:>12} {:>16} {:>16} {:>16}",
        wanted.group_by, "requests", "input", "output", "cost $", "local cost $", "baseline $"
    ));
    for row in &table.rows {
        line(row.group.as_deref().unwrap_or("-"), row);
    }
    line("total", &table.total);
    if table.total.unpriced_requests > 0 {
        say(format!(
            "{} requests went to models without a price: their cost is not in the sums",
            table.total.unpriced_requests
        ));
    }
    if table.total.local_cost_unknown > 0 {
        say(format!(
            "{} local requests have no known cost: set `[local_cost]` to count the machine",
            table.total.local_cost_unknown
        ));
    }
    Ok(())
}

/// Checks the ledger.
pub fn run(setting: &Setting, command: &LedgerCommand) -> Result<(), Failure> {
    let (file, public_key, checkpoint, archive) = match command {
        LedgerCommand::Verify { file, public_key, checkpoint, archive } => (file, public_key, checkpoint, archive),
        LedgerCommand::Export(wanted) => return evidence::export(setting, wanted),
        LedgerCommand::Checkpoint => return evidence::checkpoint(setting),
        LedgerCommand::PublicKey => return evidence::public_key(setting),
        LedgerCommand::RotateKey => return evidence::rotate_key(setting),
        LedgerCommand::Digest { file } => return evidence::digest(setting, file),
    };
    if let Some(file) = file {
        let (public_key, checkpoint, archive) = (public_key.as_deref(), checkpoint.as_deref(), archive.as_deref());
        return evidence::verify(setting, &evidence::Verify { file, public_key, checkpoint, archive });
    }
    if public_key.is_some() || checkpoint.is_some() || archive.is_some() {
        return Err(Failure::Usage("`--public-key`, `--checkpoint` and `--archive` belong to an exported FILE".into()));
    }
    let settings = setting.load()?;
    let faults = Ledger::attach(&settings.ledger.place)?.verify()?;
    if setting.json {
        say(json!({"valid": faults.is_empty(), "faults": faults}));
    } else {
        faults.iter().for_each(say);
        if faults.is_empty() {
            say("the ledger is sound");
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Failure::Failed("the ledger has faults".into())) }
}

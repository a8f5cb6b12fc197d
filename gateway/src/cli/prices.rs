//! `sluice prices`: a newer price table than the one in the binary.

use super::{Failure, Setting, complain, say, write_whole};
use crate::config::PriceSettings;
use router::prices::PriceTable;
use router::prices::import::{Imported, import};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What to do with the price table.
#[derive(Debug, clap::Subcommand)]
pub enum Prices {
    /// Makes a table from LiteLLM's model_prices_and_context_window.json or models.dev's api.json.
    Import {
        /// The publisher's file.
        file: PathBuf,
        /// Where the table is written; default: `prices.file` of the configuration, else prices.json beside it.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

/// Does it.
pub fn run(setting: &Setting, command: &Prices) -> Result<(), Failure> {
    let Prices::Import { file, out } = command;
    let shown = file.display();
    let raw = std::fs::read(file).map_err(|error| Failure::Usage(format!("cannot read `{shown}`: {error}")))?;
    let name = file.file_name().map_or_else(|| shown.to_string(), |name| name.to_string_lossy().into_owned());
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().to_string();
    let imported = import(&raw, &name, &today).map_err(|error| Failure::Usage(format!("`{shown}`: {error}")))?;

    let (before, configured) = in_force(setting)?;
    let changes = imported.table.changes_from(&before);
    let beside = setting.config.parent().unwrap_or(Path::new("")).join("prices.json");
    let out = out.clone().or_else(|| configured.clone()).unwrap_or(beside);
    write_whole(&out, imported.text.as_bytes())?;

    let same = |file: &PathBuf| std::path::absolute(file).ok() == std::path::absolute(&out).ok();
    let told = configured.as_ref().is_some_and(same);
    let Imported { table, publisher, unpriced, other_modes, .. } = &imported;
    if setting.json {
        say(json!({
            "written": out, "publisher": publisher.word(), "source": table.source(), "compared_with": before.source(),
            "models": table.len(), "new": changes.new, "changed": changes.changed, "dropped": changes.dropped,
            "same": changes.same, "without_token_prices": unpriced, "other_modes": other_modes, "in_use": told,
        }));
        return Ok(());
    }
    say(format!("{} models of {} with a price, {}", table.len(), publisher.word(), table.source()));
    say(format!(
        "against {}: {} new, {} changed, {} dropped, {} as they were",
        before.source(),
        changes.new.len(),
        changes.changed.len(),
        changes.dropped.len(),
        changes.same
    ));
    say(format!("left out: {unpriced} without a price per token, {other_modes} that are no text or embedding models"));
    say(format!("written to {}", out.display()));
    if told {
        say("the configuration names this file: a running gateway takes it over by itself");
    } else {
        let path = toml::Value::String(std::path::absolute(&out).unwrap_or(out).display().to_string());
        say(format!("the gateway uses it once the configuration says:\n\n[prices]\nfile = {path}"));
    }
    Ok(())
}

/// The table that counts now, and the file that the configuration names for it.
fn in_force(setting: &Setting) -> Result<(PriceTable, Option<PathBuf>), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    let named = match setting.load() {
        Ok(settings) => {
            let PriceSettings { file, .. } = settings.prices;
            file
        }
        Err(_) if !setting.config.is_file() => None,
        // It may be invalid for the very file that is about to be written.
        Err(Failure::Usage(why) | Failure::Failed(why)) => {
            complain(format!("compared with the bundled table, for the configuration is not valid: {why}"));
            None
        }
    };
    let table = match &named {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
            PriceTable::parse(&text).map_err(|error| failed(&error))?
        }
        None => PriceTable::bundled().map_err(|error| failed(&error))?,
    };
    Ok((table, named))
}

//! Which price table counts: the bundled one, or the file that `[prices]` names.
//!
//! A file takes the bundled table's place as a whole; prices in `[models.NAME]` come before either.

use super::providers::Findings;
use super::spec::PricesSpec;
use router::prices::PriceTable;
use std::path::{Path, PathBuf};

/// The table in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceSettings {
    /// Its file; `None`: the bundled one.
    pub file: Option<PathBuf>,
    /// Its date and digest, as the ledger keeps them.
    pub source: String,
    /// Number of models in it.
    pub models: usize,
}

/// Reads the table; where the file cannot be read, what else is wrong is still found with the bundled one.
pub(super) fn read_prices(spec: &PricesSpec, folder: &Path, found: &mut Findings) -> (PriceTable, PriceSettings) {
    let file = spec.file.as_ref().map(|file| folder.join(file));
    let read = file.as_ref().and_then(|file| {
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string());
        match text.and_then(|text| PriceTable::parse(&text).map_err(|error| error.to_string())) {
            Ok(table) => Some(table),
            Err(error) => {
                let shown = file.display();
                found.problems.push(format!("`prices.file`: {shown}: {error}; `sluice prices import` makes one"));
                None
            }
        }
    });
    let table = read.or_else(|| match PriceTable::bundled() {
        Ok(table) => Some(table),
        Err(error) => {
            found.problems.push(error.to_string());
            None
        }
    });
    let table = table.unwrap_or_default();
    let settings = PriceSettings { file, source: table.source().to_owned(), models: table.len() };
    (table, settings)
}

//! The price table: the bundled one, or a file that `sluice prices import` made ([`import`]).
//!
//! Facts in LiteLLM's JSON format, dated and digested (see `assets/README.md` for the bundled one); read once, when the
//! configuration is, for the models it names. Prices in the configuration come first.

pub mod import;

use policies::{ModelKind, MoneyError, Price, PriceSource, Pricing, Rate};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

const TABLE: &str = include_str!("../assets/prices.json");

/// What the table says of a model.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its price.
    pub pricing: Pricing,
    /// Its context window, in tokens.
    pub context_window: Option<u64>,
    /// The most it writes, in tokens.
    pub max_output: Option<u64>,
    /// What it makes of a request.
    pub kind: ModelKind,
}

/// The table, indexed by name.
#[derive(Debug, Default)]
pub struct PriceTable {
    entries: HashMap<String, Box<RawValue>>,
    source: Arc<str>,
}

#[derive(Deserialize)]
struct Meta {
    date_read: String,
    sha256: String,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    input_cost_per_token: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_cost_per_token: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_read_input_token_cost: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_creation_input_token_cost: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_cost_per_reasoning_token: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_cost_per_audio_token: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_cost_per_audio_token: Option<&'a RawValue>,
    #[serde(borrow, default)]
    mode: Option<Cow<'a, str>>,
    #[serde(default)]
    max_input_tokens: Option<u64>,
    #[serde(default)]
    max_output_tokens: Option<u64>,
}

/// What differs between two tables; only models with a price count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Models that had no price.
    pub new: Vec<String>,
    /// Models whose price or limits are others.
    pub changed: Vec<String>,
    /// Models that have no price any more.
    pub dropped: Vec<String>,
    /// Number of models that are as they were.
    pub same: usize,
}

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PriceTableError {
    /// It is not the expected JSON.
    #[error("the price table is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// It does not say where it is from.
    #[error("the price table has no `_meta`")]
    NoMeta,
}

// === impl PriceTable ===

impl PriceTable {
    /// The bundled table.
    pub fn bundled() -> Result<Self, PriceTableError> {
        Self::parse(TABLE)
    }

    /// Reads a table in LiteLLM's format with a `_meta` entry.
    pub fn parse(text: &str) -> Result<Self, PriceTableError> {
        let mut entries: HashMap<String, Box<RawValue>> = serde_json::from_str(text)?;
        let meta: Meta = match entries.remove("_meta") {
            Some(meta) => serde_json::from_str(meta.get())?,
            None => return Err(PriceTableError::NoMeta),
        };
        let digest: String = meta.sha256.chars().take(12).collect();
        Ok(Self { entries, source: format!("table:{}@{digest}", meta.date_read).into() })
    }

    /// Date and digest of the table.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What the table says of a model; `None` when it does not know it or has no token prices for it.
    pub fn find(&self, model: &str) -> Option<Listed> {
        let entry: Entry<'_> = serde_json::from_str(self.entries.get(model)?.get()).ok()?;
        let price = read_price(&entry).ok()??;
        Some(Listed {
            pricing: Pricing::Priced(price, PriceSource::Table(self.source.clone())),
            context_window: entry.max_input_tokens,
            max_output: entry.max_output_tokens,
            kind: entry.kind(),
        })
    }

    /// What became of an earlier table; names in alphabetical order.
    pub fn changes_from(&self, before: &Self) -> Changes {
        let facts = |listed: Listed| {
            let price = match listed.pricing {
                Pricing::Priced(price, _) => Some(price),
                Pricing::Free | Pricing::Unpriced => None,
            };
            (price, listed.context_window, listed.max_output)
        };
        let mut changes = Changes::default();
        for name in self.entries.keys() {
            match (self.find(name).map(facts), before.find(name).map(facts)) {
                (Some(_), None) => changes.new.push(name.clone()),
                (Some(now), Some(then)) if now != then => changes.changed.push(name.clone()),
                (Some(_), Some(_)) => changes.same += 1,
                (None, Some(_)) => changes.dropped.push(name.clone()),
                (None, None) => {}
            }
        }
        let gone = before.entries.keys().filter(|name| !self.entries.contains_key(*name));
        changes.dropped.extend(gone.filter(|name| before.find(name).is_some()).cloned());
        for names in [&mut changes.new, &mut changes.changed, &mut changes.dropped] {
            names.sort_unstable();
        }
        changes
    }

    /// Number of models.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows no model.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

// === impl Entry ===

impl Entry<'_> {
    fn kind(&self) -> ModelKind {
        match self.mode.as_deref() {
            Some("embedding") => ModelKind::Embedding,
            Some(_) | None => ModelKind::Chat,
        }
    }
}

fn read_price(entry: &Entry<'_>) -> Result<Option<Price>, MoneyError> {
    let rate = |cell: Option<&RawValue>| -> Result<Option<Rate>, MoneyError> {
        match cell.map(RawValue::get) {
            None | Some("null") => Ok(None),
            Some(text) => Rate::per_token(text.trim_matches('"')).map(Some),
        }
    };
    let output = match rate(entry.output_cost_per_token)? {
        // It writes nothing.
        None if entry.kind() == ModelKind::Embedding => Some(Rate(0)),
        output => output,
    };
    let (Some(input), Some(output)) = (rate(entry.input_cost_per_token)?, output) else {
        return Ok(None);
    };
    Ok(Some(Price {
        input,
        output,
        cached_input: rate(entry.cache_read_input_token_cost)?,
        cache_write: rate(entry.cache_creation_input_token_cost)?,
        reasoning: rate(entry.output_cost_per_reasoning_token)?,
        audio_input: rate(entry.input_cost_per_audio_token)?,
        audio_output: rate(entry.output_cost_per_audio_token)?,
    }))
}

/// The price of the simulated provider: made up, and marked so.
pub fn simulated() -> Pricing {
    let price = Price { input: Rate(2_500_000_000), output: Rate(10_000_000_000), ..Price::default() };
    Pricing::Priced(price, PriceSource::Simulated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_table_prices_known_models_and_no_others() {
        let table = PriceTable::bundled().unwrap();
        assert!(table.len() > 1_000 && table.source().contains('@'));
        let Pricing::Priced(price, PriceSource::Table(source)) = table.find("gpt-4o").unwrap().pricing else {
            unreachable!("gpt-4o has a price")
        };
        assert_eq!((price.input, price.output), (Rate(2_500_000_000), Rate(10_000_000_000)));
        assert_eq!(price.cached_input, Some(Rate(1_250_000_000)));
        assert_eq!(&*source, table.source());
        let embedding = table.find("text-embedding-3-small").unwrap();
        assert_eq!((embedding.kind, table.find("gpt-4o").unwrap().kind), (ModelKind::Embedding, ModelKind::Chat));
        let Pricing::Priced(price, _) = embedding.pricing else { unreachable!("it has a price") };
        assert_eq!((price.input, price.output), (Rate(20_000_000), Rate(0)));
        assert!(table.find("no-such-model").is_none() && table.find("_meta").is_none());
    }

    #[test]
    fn every_entry_of_the_bundled_table_can_be_read() {
        let table = PriceTable::bundled().unwrap();
        for (name, entry) in &table.entries {
            let entry: Entry<'_> =
                serde_json::from_str(entry.get()).unwrap_or_else(|error| unreachable!("{name}: {error}"));
            assert!(read_price(&entry).is_ok(), "{name}");
        }
    }
}

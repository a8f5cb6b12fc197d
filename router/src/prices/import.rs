//! Price tables of others, made into the one that [`PriceTable`] reads.
//!
//! **Promise.** Two sources are understood: LiteLLM's `model_prices_and_context_window.json` (dollars per token) and
//! models.dev's `api.json` (dollars per million tokens, by provider). Every price is read from the text of its JSON number,
//! never through floating point. What the table says of itself (`_meta`) is the source, the day and the SHA-256 of what was
//! read, so a ledger line names the very file that it was priced with.
//!
//! **Failure behaviour.** A price that is not a number stops the import and is named: money is not guessed. A model without
//! a price for input and output tokens is left out and counted; it is unpriced, never free. A model whose token prices are
//! all zero while it charges some other way (by image, by second) is left out, too.
//!
//! **What it does not do.** Tiers for long prompts, batch prices and what is not charged by the token are not carried over.

use super::{PriceTable, PriceTableError};
use policies::Rate;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

/// Which publisher's table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publisher {
    /// `model_prices_and_context_window.json` of LiteLLM.
    LiteLlm,
    /// `api.json` of models.dev.
    ModelsDev,
}

/// A table, ready to be written.
#[derive(Debug)]
pub struct Imported {
    /// The file's text, in the format that [`PriceTable::parse`] reads.
    pub text: String,
    /// The same, read.
    pub table: PriceTable,
    /// Whose it was.
    pub publisher: Publisher,
    /// Models that have no price per token.
    pub unpriced: usize,
    /// Models that do something else than write text or embed it.
    pub other_modes: usize,
}

/// Why a table cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is not JSON.
    #[error("not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is JSON of another kind.
    #[error(
        "neither LiteLLM's model_prices_and_context_window.json (models with `input_cost_per_token`) nor models.dev's \
         api.json (providers with `models`)"
    )]
    UnknownShape,
    /// A value that is not what stands there.
    #[error("`{model}`: `{key}` is {found}, which is not {wanted}")]
    Value {
        /// The model.
        model: String,
        /// The key.
        key: String,
        /// What was found.
        found: String,
        /// What is expected.
        wanted: &'static str,
    },
    /// A model that is there twice.
    #[error("the model `{0}` is in the table twice")]
    Twice(String),
    /// The new table cannot be read.
    #[error(transparent)]
    Table(#[from] PriceTableError),
}

/// LiteLLM's modes whose tokens are charged as ours are.
const MODES: [&str; 4] = ["chat", "completion", "embedding", "responses"];

/// The prices that a table carries, by LiteLLM's name, and models.dev's name of the same.
const PRICES: [(&str, &str); 7] = [
    ("input_cost_per_token", "input"),
    ("output_cost_per_token", "output"),
    ("cache_read_input_token_cost", "cache_read"),
    ("cache_creation_input_token_cost", "cache_write"),
    ("output_cost_per_reasoning_token", "reasoning"),
    ("input_cost_per_audio_token", "input_audio"),
    ("output_cost_per_audio_token", "output_audio"),
];

/// Entries of LiteLLM's file that are no models.
const NO_MODELS: [&str; 3] = ["_meta", "sample_spec", "fallback_generalizations"];

/// Who makes the models that it serves: these go by their plain names, as their own API calls them.
const MAKERS: [&str; 9] =
    ["openai", "anthropic", "google", "mistral", "deepseek", "xai", "cohere", "moonshotai", "alibaba"];

/// An object in its order, with repeats: a name that is there twice must not pass silently.
struct Pairs(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

// === impl Pairs ===

impl Pairs {
    fn read(raw: &RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    /// The value of a key; `null` is as absent.
    fn get(&self, key: &str) -> Option<&RawValue> {
        let found = self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_ref());
        found.filter(|value| value.get() != "null")
    }

    fn text(&self, key: &str) -> Option<String> {
        serde_json::from_str(self.get(key)?.get()).ok()
    }
}

// === impl Publisher ===

impl Publisher {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::LiteLlm => "LiteLLM",
            Self::ModelsDev => "models.dev",
        }
    }
}

/// What is written of a model: keys with the JSON text of their values.
type Line = BTreeMap<&'static str, String>;

#[derive(Default)]
struct Harvest {
    lines: BTreeMap<String, Line>,
    unpriced: usize,
    other_modes: usize,
}

/// Reads a publisher's file; `file` is what it is called, `date` the day it was read (`2026-01-31`).
pub fn import(raw: &[u8], file: &str, date: &str) -> Result<Imported, ImportError> {
    let Pairs(entries) = serde_json::from_slice(raw)?;
    let (publisher, harvest) = read(entries)?;
    let meta = json!({
        "date_read": date, "file": file, "models": harvest.lines.len(), "sha256": hex::encode(Sha256::digest(raw)),
        "source": publisher.word(),
    });
    let mut lines = vec![format!("\"_meta\": {meta}")];
    for (name, line) in &harvest.lines {
        let cells: Vec<String> = line.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
        lines.push(format!("{}: {{{}}}", Value::from(name.as_str()), cells.join(", ")));
    }
    let text = format!("{{\n{}\n}}\n", lines.join(",\n"));
    let table = PriceTable::parse(&text)?;
    let Harvest { unpriced, other_modes, .. } = harvest;
    Ok(Imported { text, table, publisher, unpriced, other_modes })
}

fn read(entries: Vec<(String, Box<RawValue>)>) -> Result<(Publisher, Harvest), ImportError> {
    // A wrapper that some mirrors of models.dev put around the providers.
    if let [(name, providers)] = entries.as_slice()
        && name == "providers"
        && let Some(Pairs(inner)) = Pairs::read(providers)
    {
        return read(inner);
    }
    let objects: Vec<(String, Pairs)> =
        entries.into_iter().filter_map(|(name, raw)| Some((name, Pairs::read(&raw)?))).collect();
    let is_object = |pairs: &Pairs, key: &str| pairs.get(key).is_some_and(|raw| raw.get().starts_with('{'));
    if objects.iter().any(|(_, entry)| is_object(entry, "models")) {
        return Ok((Publisher::ModelsDev, models_dev(objects)?));
    }
    let priced = |entry: &Pairs| PRICES.iter().any(|(key, _)| entry.get(key).is_some());
    if objects.iter().any(|(_, entry)| priced(entry)) {
        return Ok((Publisher::LiteLlm, litellm(objects)?));
    }
    Err(ImportError::UnknownShape)
}

fn litellm(entries: Vec<(String, Pairs)>) -> Result<Harvest, ImportError> {
    let mut harvest = Harvest::default();
    for (name, entry) in entries {
        if NO_MODELS.contains(&name.as_str()) {
            continue;
        }
        if entry.text("mode").is_some_and(|mode| !MODES.contains(&mode.as_str())) {
            harvest.other_modes += 1;
            continue;
        }
        let mut line = Line::new();
        for (key, _) in PRICES {
            if let Some(raw) = entry.get(key) {
                price(&name, key, raw, Rate::per_token)?;
                // The digits stay as they are spelled.
                line.insert(key, number(raw).to_owned());
            }
        }
        for key in ["max_input_tokens", "max_output_tokens"] {
            if let Some(limit) = entry.get(key).and_then(whole) {
                line.insert(key, limit.to_string());
            }
        }
        for key in ["litellm_provider", "mode"] {
            if let Some(text) = entry.text(key) {
                line.insert(key, Value::from(text).to_string());
            }
        }
        let charged_otherwise = |(key, raw): &(String, Box<RawValue>)| {
            (key.contains("cost") || key.contains("pricing"))
                && !line.contains_key(key.as_str())
                && !matches!(raw.get(), "null" | "[]" | "{}" | "false")
                && Rate::per_token(number(raw)) != Ok(Rate(0))
        };
        if all_zero(&line) && entry.0.iter().any(charged_otherwise) {
            harvest.unpriced += 1;
            continue;
        }
        harvest.add(name, line)?;
    }
    Ok(harvest)
}

fn models_dev(providers: Vec<(String, Pairs)>) -> Result<Harvest, ImportError> {
    let mut harvest = Harvest::default();
    let mut plain: Vec<(usize, String, Line)> = Vec::new();
    for (provider, entry) in providers {
        let Some(Pairs(models)) = entry.get("models").and_then(Pairs::read) else { continue };
        for (id, raw) in models {
            let name = format!("{provider}/{id}");
            let (Some(model), cost) = (Pairs::read(&raw), Pairs::read(&raw).as_ref().and_then(|m| inner(m, "cost")))
            else {
                continue;
            };
            let mut line = Line::new();
            for (key, theirs) in PRICES {
                if let Some(raw) = cost.as_ref().and_then(|cost| cost.get(theirs)) {
                    line.insert(key, per_token(price(&name, theirs, raw, Rate::per_million)?));
                }
            }
            let limit = inner(&model, "limit");
            for (key, theirs) in [("max_input_tokens", "context"), ("max_output_tokens", "output")] {
                // Zero is how the source writes that it does not know.
                let tokens = limit.as_ref().and_then(|limit| whole(limit.get(theirs)?)).filter(|tokens| *tokens > 0);
                if let Some(tokens) = tokens {
                    line.insert(key, tokens.to_string());
                }
            }
            line.insert("litellm_provider", Value::from(provider.as_str()).to_string());
            if let Some(rank) = MAKERS.iter().position(|maker| *maker == provider) {
                plain.push((rank, id, line.clone()));
            }
            harvest.add(name, line)?;
        }
    }
    plain.sort_by_key(|(rank, ..)| *rank);
    for (_, id, line) in plain {
        if is_priced(&line) {
            harvest.lines.entry(id).or_insert(line);
        }
    }
    Ok(harvest)
}

fn inner(pairs: &Pairs, key: &str) -> Option<Pairs> {
    pairs.get(key).and_then(Pairs::read)
}

// === impl Harvest ===

impl Harvest {
    fn add(&mut self, name: String, line: Line) -> Result<(), ImportError> {
        if !is_priced(&line) {
            self.unpriced += 1;
            return Ok(());
        }
        match self.lines.entry(name) {
            Entry::Occupied(taken) => return Err(ImportError::Twice(taken.key().clone())),
            Entry::Vacant(free) => free.insert(line),
        };
        Ok(())
    }
}

fn is_priced(line: &Line) -> bool {
    line.contains_key("input_cost_per_token") && line.contains_key("output_cost_per_token")
}

fn all_zero(line: &Line) -> bool {
    PRICES.iter().filter_map(|(key, _)| line.get(key)).all(|text| Rate::per_token(text) == Ok(Rate(0)))
}

/// The digits of a number, also of one that is spelled as text.
fn number(raw: &RawValue) -> &str {
    raw.get().trim_matches('"')
}

fn price(
    model: &str,
    key: &str,
    raw: &RawValue,
    read: impl Fn(&str) -> Result<Rate, policies::MoneyError>,
) -> Result<Rate, ImportError> {
    read(number(raw)).map_err(|_| ImportError::Value {
        model: model.to_owned(),
        key: key.to_owned(),
        found: raw.get().chars().take(40).collect(),
        wanted: "a price",
    })
}

/// A count of tokens; some tables write `8192.0` or the number as text.
fn whole(raw: &RawValue) -> Option<u64> {
    let text = number(raw);
    let digits =
        text.split_once('.').map_or(text, |(whole, zeros)| if zeros.bytes().all(|b| b == b'0') { whole } else { text });
    digits.parse().ok()
}

/// A rate as dollars per token, to the digit: `25e-7`.
fn per_token(rate: Rate) -> String {
    // A rate is nano-dollars per million tokens: 1e-15 dollars a token.
    let (mut digits, mut exponent) = (rate.0, -15_i32);
    if digits == 0 {
        return "0".into();
    }
    while digits.is_multiple_of(10) {
        (digits, exponent) = (digits / 10, exponent + 1);
    }
    format!("{digits}e{exponent}")
}

#[cfg(test)]
mod tests;

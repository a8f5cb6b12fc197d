//! Anthropic's exports: the pages of `/v1/organizations/usage_report/messages` and `/v1/organizations/cost_report`
//! (Admin API reference, "Usage and Cost"), and the tables that the console exports under "Usage" and "Cost".
//!
//! Input is counted there in parts (not cached, written to a cache, read from one), here as a whole. The amounts of the cost
//! report are cents, those of the console's table dollars.

use super::bill::{Bill, Day, Exact, Line, Sheet, documents, is_json};
use rust_decimal::Decimal;
use serde::Deserialize;

#[derive(Deserialize)]
struct Page {
    data: Vec<Bucket>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Bucket {
    starting_at: Day,
    results: Vec<Counted>,
}

#[derive(Deserialize)]
struct Counted {
    model: Option<String>,
    uncached_input_tokens: Option<Exact>,
    cache_read_input_tokens: Option<Exact>,
    cache_creation_input_tokens: Option<Exact>,
    cache_creation: Option<Written>,
    output_tokens: Option<Exact>,
    amount: Option<Exact>,
    currency: Option<String>,
}

#[derive(Deserialize)]
struct Written {
    ephemeral_1h_input_tokens: Option<Exact>,
    ephemeral_5m_input_tokens: Option<Exact>,
}

/// Reads an export.
pub fn read(text: &str, bill: &mut Bill) -> Result<(), String> {
    if is_json(text) { pages(text, bill) } else { sheet(text, bill) }
}

fn pages(text: &str, bill: &mut Bill) -> Result<(), String> {
    let pages: Vec<Page> = documents(text)?;
    if pages.last().is_some_and(|page| page.has_more) {
        bill.note("a page says `has_more`: the one that follows it must be among the files");
    }
    for bucket in pages.into_iter().flat_map(|page| page.data) {
        let Day(day) = bucket.starting_at;
        bill.days.insert(day);
        for counted in bucket.results {
            let model = counted.model;
            match (counted.amount, counted.uncached_input_tokens, counted.output_tokens) {
                (Some(Exact(cents)), _, _) => {
                    let currency = counted.currency.as_deref().unwrap_or("USD");
                    if !currency.eq_ignore_ascii_case("usd") {
                        return Err(format!("the currency is `{currency}`, and the ledger counts US dollars"));
                    }
                    let cost = cents.checked_mul(Decimal::new(1, 2));
                    bill.push(Line { day, model, input: None, output: None, cost });
                }
                (None, Some(uncached), Some(output)) => {
                    let written = counted.cache_creation.map(|parts| {
                        [parts.ephemeral_1h_input_tokens, parts.ephemeral_5m_input_tokens]
                            .into_iter()
                            .flatten()
                            .collect()
                    });
                    let written: Vec<Exact> =
                        written.unwrap_or_else(|| counted.cache_creation_input_tokens.into_iter().collect());
                    let parts = [uncached].into_iter().chain(counted.cache_read_input_tokens).chain(written);
                    let input = parts.map(|part| part.0).sum();
                    bill.push(Line { day, model, input: Some(input), output: Some(output.0), cost: None });
                }
                (None, ..) => {
                    let text = "a result has neither `amount` (cost_report) nor `uncached_input_tokens` and `output_tokens` \
                                (usage_report/messages)";
                    return Err(text.into());
                }
            }
        }
    }
    Ok(())
}

fn sheet(text: &str, bill: &mut Bill) -> Result<(), String> {
    const DAY: &[&str] = &["usage_date_utc", "usage_date", "date_utc", "date", "starting_at"];
    const MODEL: &[&str] = &["model_version", "model"];
    const UNCACHED: &[&str] = &["usage_input_tokens_no_cache", "uncached_input_tokens", "input_tokens_no_cache"];
    const OTHER_INPUT: [&[&str]; 3] = [
        &["usage_input_tokens_cache_write_5m", "ephemeral_5m_input_tokens", "usage_input_tokens_cache_write"],
        &["usage_input_tokens_cache_write_1h", "ephemeral_1h_input_tokens"],
        &["usage_input_tokens_cache_read", "cache_read_input_tokens"],
    ];
    const OUTPUT: &[&str] = &["usage_output_tokens", "output_tokens"];
    const COST: &[&str] = &["cost_usd", "cost", "amount_usd"];
    let sheet = Sheet::read(text)?;
    if !sheet.has(DAY) || !(sheet.has(UNCACHED) && sheet.has(OUTPUT) || sheet.has(COST)) {
        let text = "Anthropic's have `usage_date_utc` and either `usage_input_tokens_no_cache` and `usage_output_tokens` or `cost_usd`";
        return Err(sheet.unknown(text));
    }
    for row in sheet.rows() {
        let day = row.day(DAY)?;
        let mut input = row.number(UNCACHED)?;
        for part in OTHER_INPUT {
            if let Some(tokens) = row.number(part)? {
                input = Some(input.unwrap_or_default() + tokens);
            }
        }
        let (output, cost) = (row.number(OUTPUT)?, row.number(COST)?);
        let model = row.cell(MODEL).map(str::to_owned);
        bill.push(Line { day, model, input, output, cost });
    }
    Ok(())
}

//! OpenAI's exports: the pages of `/v1/organization/usage/completions` and `/v1/organization/costs` (API reference,
//! "Usage" and "Costs"), and the tables that the dashboard exports under "Usage" and "Costs".
//!
//! `input_tokens` has cached tokens in it, as the ledger's has. A line item of the costs is a model and what was counted
//! (`gpt-4o-2024-08-06, input`); another one (`web search tool calls`) keeps its name and is on one side only.

use super::bill::{Bill, Day, Exact, Line, Sheet, documents, is_json};
use serde::Deserialize;

const USAGE: &str = "organization.usage.completions.result";
const COSTS: &str = "organization.costs.result";

#[derive(Deserialize)]
struct Page {
    data: Vec<Bucket>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Bucket {
    start_time: Day,
    #[serde(alias = "result")]
    results: Vec<Counted>,
}

#[derive(Deserialize)]
struct Counted {
    object: String,
    model: Option<String>,
    input_tokens: Option<Exact>,
    output_tokens: Option<Exact>,
    amount: Option<Amount>,
    line_item: Option<String>,
}

#[derive(Deserialize)]
struct Amount {
    value: Exact,
    currency: String,
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
        let Day(day) = bucket.start_time;
        bill.days.insert(day);
        for counted in bucket.results {
            let Counted { object, model, input_tokens, output_tokens, amount, line_item } = counted;
            match object.as_str() {
                USAGE => {
                    let input = input_tokens.ok_or("a result of usage has no `input_tokens`")?;
                    let output = output_tokens.ok_or("a result of usage has no `output_tokens`")?;
                    bill.push(Line { day, model, input: Some(input.0), output: Some(output.0), cost: None });
                }
                COSTS => {
                    let amount = amount.ok_or("a result of costs has no `amount`")?;
                    dollars(&amount.currency)?;
                    let model = line_item.as_deref().map(model_of);
                    bill.push(Line { day, model, input: None, output: None, cost: Some(amount.value.0) });
                }
                other => bill.note(format!("results of `{other}` were left out: the gateway does not serve them")),
            }
        }
    }
    Ok(())
}

fn sheet(text: &str, bill: &mut Bill) -> Result<(), String> {
    const DAY: &[&str] = &["start_time_iso", "start_time", "date", "usage_date", "day"];
    const MODEL: &[&str] = &["model", "snapshot_id", "model_name"];
    const INPUT: &[&str] = &["input_tokens", "n_context_tokens_total", "context_tokens", "prompt_tokens"];
    const OUTPUT: &[&str] = &["output_tokens", "n_generated_tokens_total", "generated_tokens", "completion_tokens"];
    const COST: &[&str] = &["amount_value", "amount", "cost", "cost_usd", "cost_in_usd"];
    const CURRENCY: &[&str] = &["amount_currency", "currency"];
    const ITEM: &[&str] = &["line_item"];
    let sheet = Sheet::read(text)?;
    if !sheet.has(DAY) || !(sheet.has(INPUT) && sheet.has(OUTPUT) || sheet.has(COST)) {
        return Err(
            sheet.unknown("OpenAI's have `start_time` and either `input_tokens` and `output_tokens` or `amount_value`")
        );
    }
    for row in sheet.rows() {
        let day = row.day(DAY)?;
        // A day on which nothing was used has a row of its own.
        bill.days.insert(day);
        let (input, output, cost) = (row.number(INPUT)?, row.number(OUTPUT)?, row.number(COST)?);
        if input.is_none() && output.is_none() && cost.is_none() {
            continue;
        }
        if let (Some(_), Some(currency)) = (cost, row.cell(CURRENCY)) {
            dollars(currency).map_err(|_| row.wrong(CURRENCY, currency, "usd"))?;
        }
        let model = row.cell(MODEL).map(str::to_owned).or_else(|| row.cell(ITEM).map(model_of));
        bill.push(Line { day, model, input, output, cost });
    }
    Ok(())
}

fn dollars(currency: &str) -> Result<(), String> {
    if currency.eq_ignore_ascii_case("usd") {
        return Ok(());
    }
    Err(format!("the currency is `{currency}`, and the ledger counts US dollars"))
}

fn model_of(item: &str) -> String {
    item.rsplit_once(", ").map_or(item, |(model, _)| model).to_owned()
}

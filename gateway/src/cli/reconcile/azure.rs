//! Azure's exports: the cost details file of Cost Management (its fields are in "Understand the fields in cost and usage
//! details") and the answer of its query API (`properties.columns`, `properties.rows`).
//!
//! Azure bills meters, not models: `gpt 4o 0806 Inp glbl Tokens` is the snapshot 0806 of gpt-4o, its input, deployed
//! globally. The words for direction, place and tier are taken away, and what is left names the model. Rows of other
//! services are left out and counted. Tokens need the column of the unit (`1K`); without it only money is compared.

use super::bill::{Bill, Line, Sheet, decimal, documents, is_json};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Answer {
    properties: Properties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    columns: Vec<Column>,
    rows: Vec<Vec<Box<RawValue>>>,
    next_link: Option<String>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

const DAY: &[&str] = &["date", "usage_date", "usage_date_time", "charge_period_start"];
const METER: &[&str] = &["meter_name", "meter", "sku_meter"];
const QUANTITY: &[&str] = &["quantity", "usage_quantity", "consumed_quantity"];
const UNIT: &[&str] = &["unit_of_measure", "unit", "pricing_unit"];
const USD: &[&str] = &["cost_in_usd", "cost_usd", "pretax_cost_usd"];
const COST: &[&str] = &["cost_in_billing_currency", "pretax_cost", "cost", "billed_cost"];
const CURRENCY: &[&str] = &["billing_currency_code", "billing_currency", "currency"];
const SERVICE: [&[&str]; 4] =
    [&["meter_category"], &["service_name"], &["meter_sub_category"], &["product_name", "product"]];

/// Services that models are billed under.
const OURS: [&str; 4] = ["openai", "cognitive services", "foundry", "ai services"];

/// Words of a meter that say which way the tokens went.
const INPUT: [&str; 7] = ["inp", "input", "in", "prompt", "cached", "cchd", "cache"];
const OUTPUT: [&str; 5] = ["outp", "output", "out", "opt", "completion"];
/// Words of a meter that say where and how it was deployed.
const PLACE: [&str; 23] = [
    "tokens", "token", "glbl", "global", "gl", "rgnl", "regional", "regnl", "dz", "dzone", "dzn", "data", "zone",
    "datazone", "std", "standard", "batch", "btch", "prio", "priority", "azure", "openai", "1k",
];

/// Reads an export.
pub fn read(text: &str, bill: &mut Bill) -> Result<(), String> {
    if is_json(text) {
        return answers(text, bill);
    }
    sheet(&Sheet::read(text)?, bill)
}

/// An answer becomes the table that it is, so that both are read by the same rules.
fn answers(text: &str, bill: &mut Bill) -> Result<(), String> {
    for answer in documents::<Answer>(text)? {
        let Properties { columns, rows, next_link } = answer.properties;
        if next_link.is_some_and(|link| !link.is_empty()) {
            bill.note("an answer has a `nextLink`: the one that follows it must be among the files");
        }
        let mut writer = csv::Writer::from_writer(Vec::new());
        let failed = |error: csv::Error| error.to_string();
        writer.write_record(columns.iter().map(|column| &column.name)).map_err(failed)?;
        for (at, row) in rows.iter().enumerate() {
            let cells = row.iter().map(|cell| match cell.get() {
                "null" => String::new(),
                text => serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned()),
            });
            let what = |error: csv::Error| format!("row {} of `properties.rows`: {error}", at + 1);
            writer.write_record(cells).map_err(what)?;
        }
        let table = writer.into_inner().map_err(|error| error.to_string())?;
        let table = String::from_utf8(table).map_err(|error| error.to_string())?;
        // Lines count from the header of the table, so they are off by one from rows.
        sheet(&Sheet::read(&table)?, bill).map_err(|why| format!("`properties.rows`, header counted: {why}"))?;
    }
    Ok(())
}

fn sheet(sheet: &Sheet, bill: &mut Bill) -> Result<(), String> {
    if !sheet.has(DAY) || !(sheet.has(USD) || sheet.has(COST)) {
        return Err(sheet.unknown("Azure's have `Date` (or `UsageDate`) and `CostInBillingCurrency` (or `PreTaxCost`)"));
    }
    if sheet.has(METER) && !sheet.has(UNIT) {
        bill.note("the export has no unit of measure: tokens are not compared");
    }
    let mut others = 0_usize;
    for row in sheet.rows() {
        let date = row.day(DAY)?;
        // The export speaks for this day, whoever was paid.
        bill.days.insert(date);
        let named: Vec<String> = SERVICE.iter().filter_map(|names| row.cell(names)).map(str::to_lowercase).collect();
        if !named.is_empty() && !named.iter().any(|name| OURS.iter().any(|ours| name.contains(ours))) {
            others += 1;
            continue;
        }
        let cost = match row.number(USD)? {
            Some(cost) => Some(cost),
            None => {
                let cost = row.number(COST)?;
                if let Some(currency) = row.cell(CURRENCY).filter(|currency| !currency.eq_ignore_ascii_case("usd")) {
                    let why = row.wrong(CURRENCY, currency, "USD, which the ledger counts");
                    return Err(format!("{why}; export the column `costInUsd`"));
                }
                cost
            }
        };
        let meter = row.cell(METER).map(Meter::read);
        let tokens = match (&meter, row.number(QUANTITY)?, row.cell(UNIT).and_then(unit)) {
            (Some(meter), Some(quantity), Some(unit)) if meter.tokens => quantity.checked_mul(unit),
            _ => None,
        };
        let way = meter.as_ref().map(|meter| meter.way);
        let model = meter.map(|meter| meter.model);
        bill.push(Line {
            day: date,
            model,
            input: tokens.filter(|_| way == Some(Way::In)),
            output: tokens.filter(|_| way == Some(Way::Out)),
            cost,
        });
    }
    if others > 0 {
        bill.note(format!("{others} rows of other services were left out"));
    }
    Ok(())
}

/// What a meter's name says.
#[derive(Debug, PartialEq, Eq)]
struct Meter {
    model: String,
    way: Way,
    tokens: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Out,
    Neither,
}

impl Meter {
    fn read(name: &str) -> Self {
        let lower = name.to_lowercase();
        let words: Vec<&str> = lower.split([' ', '-', '_', '/', '(', ')']).filter(|word| !word.is_empty()).collect();
        let has = |list: &[&str]| words.iter().any(|word| list.contains(word));
        let way = if has(&OUTPUT) {
            Way::Out
        } else if has(&INPUT) {
            Way::In
        } else {
            Way::Neither
        };
        let noise = |word: &&&str| INPUT.contains(*word) || OUTPUT.contains(*word) || PLACE.contains(*word);
        let left: Vec<&str> = words.iter().filter(|word| !noise(word)).copied().collect();
        let model = if left.is_empty() { lower.clone() } else { left.join("-") };
        Self { model, way, tokens: has(&["tokens", "token"]) }
    }
}

/// How many tokens a unit is: `1K`, `1M`, `1000`, `1K Tokens`.
fn unit(text: &str) -> Option<Decimal> {
    let text = text.to_uppercase();
    let word = text.split_whitespace().next()?;
    let (digits, thousands) = match word.strip_suffix(['K', 'M']) {
        Some(digits) if word.ends_with('K') => (digits, 1_000),
        Some(digits) => (digits, 1_000_000),
        None => (word, 1),
    };
    decimal(digits)?.checked_mul(Decimal::from(thousands))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_names_a_model_and_a_direction() {
        for (name, model, way) in [
            ("gpt 4o 0806 Inp glbl Tokens", "gpt-4o-0806", Way::In),
            ("gpt-4o-mini-0718-Outp-regional Tokens", "gpt-4o-mini-0718", Way::Out),
            ("gpt 4.1 nano cached Inp Data Zone Tokens", "gpt-4.1-nano", Way::In),
            ("o3 mini 0131 output global Tokens", "o3-mini-0131", Way::Out),
        ] {
            assert_eq!(Meter::read(name), Meter { model: model.into(), way, tokens: true }, "{name}");
        }
        let hosting = Meter::read("gpt-4o Hosting Unit");
        assert_eq!((hosting.way, hosting.tokens), (Way::Neither, false));
    }

    #[test]
    fn units_of_tokens_are_numbers() {
        for (text, tokens) in [("1K", "1000"), ("1M", "1000000"), ("1000", "1000"), ("1K Tokens", "1000")] {
            assert_eq!(unit(text), decimal(tokens), "{text}");
        }
        assert_eq!(unit("Hours"), None);
    }
}

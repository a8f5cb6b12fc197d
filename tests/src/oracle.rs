//! Compares what the client was told, what the upstream stated and what the ledger says.
//!
//! Money is computed here once more, in integers, from the prices in the configuration.

use crate::{Gateway, Told, Upstream, eventually};
use serde_json::Value;
use std::collections::BTreeMap;

/// Nano-dollars per million tokens of `big`: input and output.
pub const BIG: (u128, u128) = (2_500_000_000, 10_000_000_000);

/// The sums of one group, as `/api/spend` has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Attempts.
    pub requests: u64,
    /// Input tokens.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Nano-dollars.
    pub cost: u128,
}

impl Sums {
    fn add(&mut self, (input, output): (u64, u64), cost: u128) {
        *self = Self {
            requests: self.requests + 1,
            input: self.input + input,
            output: self.output + output,
            cost: self.cost + cost,
        };
    }

    fn of(row: &Value) -> Self {
        let number = |key: &str| row[key].as_u64().unwrap_or_else(|| panic!("no `{key}` in {row}"));
        Self {
            requests: number("requests"),
            input: number("input_tokens"),
            output: number("output_tokens"),
            cost: nanos(&row["cost_usd"]).expect("a sum has an amount"),
        }
    }
}

/// What these tokens cost, rounded up to a whole nano-dollar.
pub fn cost((input, output): (u64, u64), (in_rate, out_rate): (u128, u128)) -> u128 {
    (u128::from(input) * in_rate + u128::from(output) * out_rate).div_ceil(1_000_000)
}

/// Reads a decimal string of dollars exactly; `None` for null. A number that is not text is an error.
pub fn nanos(value: &Value) -> Option<u128> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(nanos_of(text)),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            panic!("money is a decimal string or null, not {value}")
        }
    }
}

/// Reads a decimal text of dollars exactly.
pub fn nanos_of(text: &str) -> u128 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = part.len();
    assert!((6..=9).contains(&digits), "`{text}` has six to nine decimals");
    let number = |text: &str| text.parse::<u128>().unwrap_or_else(|_| panic!("`{text}` is not a number"));
    number(whole) * 1_000_000_000 + number(part) * 10u128.pow(9 - digits as u32)
}

/// One finished request on the ledger, once it is there.
pub async fn record(gateway: &Gateway, id: &str) -> Value {
    eventually(&format!("request {id} is on the ledger"), async || {
        let told = gateway.admin_get(&format!("/api/requests/{id}")).await;
        (told.status == 200).then(|| told.json())
    })
    .await
}

/// The attempts of a request on the ledger.
pub async fn attempts(gateway: &Gateway, id: &str) -> Vec<Value> {
    record(gateway, id).await["attempt_log"].as_array().expect("attempts").clone()
}

/// The last attempt of a request on the ledger.
pub async fn attempt(gateway: &Gateway, id: &str) -> Value {
    attempts(gateway, id).await.pop().expect("an attempt")
}

/// `/api/spend` grouped, by group, and its total.
pub async fn spend(gateway: &Gateway, by: &str) -> (BTreeMap<String, Sums>, Sums) {
    let table = gateway.api(&format!("/api/spend?group_by={by}")).await;
    let rows = table["rows"].as_array().expect("rows").iter();
    let rows = rows.map(|row| (row["group"].as_str().expect("a group").to_owned(), Sums::of(row)));
    (rows.collect(), Sums::of(&table["total"]))
}

/// Asserts that headers, ledger, `/api/spend` and the upstreams' own count agree exactly, for answers that came at the
/// first attempt. `sides` says which upstream is behind which model, and at which price.
pub async fn agree(gateway: &Gateway, answers: &[Told], sides: &[(&str, &Upstream, (u128, u128))]) {
    let mut by_model: BTreeMap<String, Sums> = BTreeMap::new();
    let mut by_route: BTreeMap<String, Sums> = BTreeMap::new();
    for answer in answers {
        let (id, model) = (answer.id(), answer.said("x-sluice-model"));
        let (_, upstream, rates) = sides.iter().find(|(name, ..)| *name == model).expect("a model that was configured");
        let seen = upstream.of(id).unwrap_or_else(|| panic!("request {id} is not in the log of {model}'s upstream"));
        let stated = seen.stated.expect("tokens were stated");
        let owed = cost(stated, *rates);

        assert_eq!(answer.cost().map(|cost| nanos_of(&cost)), Some(owed), "{id}: the client was told another cost");
        let record = record(gateway, id).await;
        let line = record["attempt_log"].as_array().and_then(|attempts| attempts.last()).expect("an attempt");
        assert_eq!(nanos(&line["cost_usd"]), Some(owed), "{id}: {line}");
        assert_eq!((line["input_tokens"].as_u64(), line["output_tokens"].as_u64()), (Some(stated.0), Some(stated.1)));
        for (header, at) in [
            ("x-sluice-model", &line["model"]),
            ("x-sluice-provider", &line["provider"]),
            ("x-sluice-route", &line["route"]),
            ("x-sluice-reason", &record["reason"]),
            ("x-sluice-model", &record["model"]),
            ("x-sluice-route", &record["route"]),
        ] {
            assert_eq!(answer.header(header), at.as_str(), "{id}: {header}");
        }
        let score = answer.header("x-sluice-score").map(|score| score.parse::<f64>().expect("a number"));
        assert!(
            score.is_none_or(|score| (score - record["score"].as_f64().expect("a score")).abs() < 1e-3),
            "{record}"
        );
        assert_eq!((line["outcome"].as_str(), line["counted"].as_str()), (Some("ok"), Some("exact")), "{line}");
        assert_eq!(answer.said("x-sluice-attempts"), line["attempt"].to_string(), "{id}");
        by_model.entry(model.to_owned()).or_default().add(stated, owed);
        by_route.entry(answer.said("x-sluice-route").to_owned()).or_default().add(stated, owed);
    }
    let mut total = Sums::default();
    by_model.values().for_each(|sums| {
        total.requests += sums.requests;
        total.input += sums.input;
        total.output += sums.output;
        total.cost += sums.cost;
    });
    assert_eq!(spend(gateway, "model").await, (by_model, total));
    assert_eq!(spend(gateway, "route").await, (by_route, total));
    let asked: usize = sides.iter().map(|(_, upstream, _)| upstream.count()).sum();
    assert_eq!(asked, answers.len(), "every call of an upstream belongs to an answer");
}

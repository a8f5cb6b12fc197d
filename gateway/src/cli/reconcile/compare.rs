//! The comparison: a row a day and model, drift in tokens and nano-dollars.
//!
//! Drift is what the ledger has more than the bill. Percentages are of the bill; where it has nothing, any drift is above
//! every threshold. All of it is integers.

use super::bill::Bill;
use super::names::Names;
use router::ledger::DailyRow;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Stands for all models, where the export names none.
pub const ALL: &str = "(all models)";
/// Stands for what the provider billed without naming a model, where it names others.
const NONE: &str = "(no model named)";

const NANOS: i64 = 1_000_000_000;

/// A share in millionths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold(pub i128);

/// One quantity on both sides: tokens, or nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// What the provider says.
    pub billed: i128,
    /// What the ledger says.
    pub ledger: i128,
}

/// What is compared of a row; a quantity that the export does not have is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// Input tokens.
    pub input: Option<Pair>,
    /// Output tokens.
    pub output: Option<Pair>,
    /// Nano-dollars.
    pub cost: Option<Pair>,
}

/// The whole comparison.
#[derive(Debug)]
pub struct Comparison {
    /// Day, model and what they have.
    pub rows: Vec<(String, String, Measures)>,
    /// The sums.
    pub total: Measures,
}

#[derive(Default)]
struct Sums {
    input: Decimal,
    output: Decimal,
    cost: Decimal,
    ledger: [i128; 3],
}

/// Compares the bill with the ledger's rows of the same days.
pub fn compare(bill: &Bill, ledger: &[DailyRow]) -> Result<Comparison, String> {
    let named = bill.lines.iter().any(|line| line.model.is_some());
    let billed = bill.lines.iter().filter_map(|line| line.model.as_deref());
    let names = Names::new(billed.chain(ledger.iter().map(|row| row.upstream.as_str())));
    let row_of = |model: Option<&str>| match model {
        _ if !named => ALL.to_owned(),
        None => NONE.to_owned(),
        Some(name) => names.row(name).to_owned(),
    };
    let mut sums: BTreeMap<(String, String), Sums> = BTreeMap::new();
    let too_large = || "the amounts are too large to be added".to_owned();
    for line in &bill.lines {
        let sum = sums.entry((line.day.to_string(), row_of(line.model.as_deref()))).or_default();
        for (sum, part) in [(&mut sum.input, line.input), (&mut sum.output, line.output), (&mut sum.cost, line.cost)] {
            *sum = sum.checked_add(part.unwrap_or_default()).ok_or_else(too_large)?;
        }
    }
    for row in ledger {
        let sum = sums.entry((row.day.clone(), row_of(Some(&row.upstream)))).or_default();
        let parts = [row.input, row.output, row.cost.0];
        for (sum, part) in sum.ledger.iter_mut().zip(parts) {
            *sum += i128::from(part);
        }
    }
    let has = |tokens: fn(&super::bill::Line) -> bool| bill.lines.is_empty() || bill.lines.iter().any(tokens);
    let tokens = has(|line| line.input.is_some() || line.output.is_some());
    let money = has(|line| line.cost.is_some());
    let mut rows = Vec::new();
    let mut total = Measures::default();
    for ((day, model), sum) in sums {
        let pair = |wanted: bool, billed: Decimal, ledger: i128| -> Result<Option<Pair>, String> {
            let billed = wanted.then(|| billed.round().to_i128().ok_or_else(too_large)).transpose()?;
            Ok(billed.map(|billed| Pair { billed, ledger }))
        };
        let nanos = sum.cost.checked_mul(Decimal::from(NANOS)).ok_or_else(too_large)?;
        let measures = Measures {
            input: pair(tokens, sum.input, sum.ledger[0])?,
            output: pair(tokens, sum.output, sum.ledger[1])?,
            cost: pair(money, nanos, sum.ledger[2])?,
        };
        total.add(&measures);
        rows.push((day, model, measures));
    }
    Ok(Comparison { rows, total })
}

// === impl Comparison ===

impl Comparison {
    /// Whether a row or the total drifts by more.
    pub fn above(&self, threshold: Threshold) -> bool {
        self.rows.iter().map(|(.., measures)| measures).chain([&self.total]).any(|measures| measures.above(threshold))
    }
}

// === impl Measures ===

impl Measures {
    fn add(&mut self, other: &Self) {
        let sides = [(&mut self.input, other.input), (&mut self.output, other.output), (&mut self.cost, other.cost)];
        for (sum, part) in sides {
            if let Some(part) = part {
                let sum = sum.get_or_insert_default();
                sum.billed += part.billed;
                sum.ledger += part.ledger;
            }
        }
    }

    /// Whether one of them drifts by more.
    pub fn above(&self, threshold: Threshold) -> bool {
        self.named().any(|(_, pair)| pair.above(threshold))
    }

    /// The quantities that are compared, with their names.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, Pair)> {
        let all = [("input", self.input), ("output", self.output), ("cost $", self.cost)];
        all.into_iter().filter_map(|(name, pair)| Some((name, pair?)))
    }

    /// As JSON: tokens are numbers, dollars decimal strings.
    pub fn shown(&self) -> Value {
        let tokens = |pair: Option<Pair>| {
            pair.map(|pair| {
                json!({"billed": pair.billed as i64, "ledger": pair.ledger as i64, "drift": pair.drift() as i64,
                    "percent": pair.percent()})
            })
        };
        let cost = self.cost.map(|pair| {
            json!({"billed": dollars(pair.billed), "ledger": dollars(pair.ledger), "drift": dollars(pair.drift()),
                "percent": pair.percent()})
        });
        json!({"input_tokens": tokens(self.input), "output_tokens": tokens(self.output), "cost_usd": cost})
    }
}

// === impl Pair ===

impl Pair {
    /// What the ledger has more.
    pub fn drift(self) -> i128 {
        self.ledger - self.billed
    }

    /// Drift in percent of the bill; `None` where the bill has nothing and the ledger has. For showing only.
    pub fn percent(self) -> Option<f64> {
        match (self.drift(), self.billed) {
            (0, _) => Some(0.0),
            (_, 0) => None,
            (drift, billed) => Some((drift as f64 / billed.abs() as f64 * 1e6).round() / 1e4),
        }
    }

    /// Whether it drifts by more.
    pub fn above(self, Threshold(millionths): Threshold) -> bool {
        // 100 percent of 1e6 parts each.
        self.drift().abs().saturating_mul(100_000_000) > self.billed.abs().saturating_mul(millionths)
    }
}

// === impl Threshold ===

impl Threshold {
    /// Reads `1%` or `0.5%`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a share; write e.g. \"1%\"");
        let number = text.trim().strip_suffix('%').map(str::trim).and_then(super::bill::decimal).ok_or_else(wrong)?;
        let millionths = number.checked_mul(Decimal::from(1_000_000)).and_then(|number| number.to_i128());
        millionths.filter(|millionths| (0..=1_000_000_000_000).contains(millionths)).map(Self).ok_or_else(wrong)
    }
}

/// Nano-dollars as dollars, at least six and at most nine decimals.
pub fn dollars(nanos: i128) -> String {
    let amount = policies::NanoDollars(u64::try_from(nanos.unsigned_abs()).unwrap_or(u64::MAX));
    if nanos < 0 { format!("-{amount}") } else { amount.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::bill::{Line, decimal};
    use super::*;
    use jiff::civil::date;
    use policies::NanoDollars;

    fn billed(model: Option<&str>, input: Option<&str>, cost: Option<&str>) -> Line {
        let number = |text: Option<&str>| text.and_then(decimal);
        Line {
            day: date(2026, 1, 2),
            model: model.map(Into::into),
            input: number(input),
            output: number(input),
            cost: number(cost),
        }
    }

    fn ours(upstream: &str, tokens: u64, nanos: u64) -> DailyRow {
        let (day, cost) = ("2026-01-02".to_owned(), NanoDollars(nanos));
        DailyRow {
            day,
            upstream: upstream.into(),
            attempts: 1,
            input: tokens,
            output: tokens,
            cost,
            unpriced: 0,
            uncertain: 0,
        }
    }

    fn one(line: Line, row: DailyRow) -> Measures {
        let bill = Bill { lines: vec![line], ..Bill::default() };
        compare(&bill, &[row]).unwrap().total
    }

    #[test]
    fn small_amounts_are_added_before_they_are_rounded() {
        let lines = vec![billed(Some("m"), None, Some("0.0000000004")); 10];
        let bill = Bill { lines, ..Bill::default() };
        let comparison = compare(&bill, &[ours("m", 0, 4)]).unwrap();
        assert_eq!(comparison.total.cost, Some(Pair { billed: 4, ledger: 4 }));
        assert_eq!(comparison.total.input, None, "an export of costs says nothing of tokens");
    }

    #[test]
    fn a_row_on_one_side_only_is_there_and_above_every_threshold() {
        let bill = Bill { lines: vec![billed(Some("theirs"), Some("5"), None)], ..Bill::default() };
        let comparison = compare(&bill, &[ours("mine", 7, 1)]).unwrap();
        let rows: Vec<_> = comparison.rows.iter().map(|(_, model, m)| (model.as_str(), m.input.unwrap())).collect();
        assert_eq!(rows, [("mine", Pair { billed: 0, ledger: 7 }), ("theirs", Pair { billed: 5, ledger: 0 })]);
        assert_eq!((rows[0].1.percent(), rows[1].1.percent()), (None, Some(-100.0)));
        assert!(comparison.above(Threshold::parse("99%").unwrap()));
    }

    #[test]
    fn without_names_the_day_is_compared_as_a_whole() {
        let total = one(billed(None, Some("10"), Some("1")), ours("mine", 10, 1_000_000_000));
        assert!(!total.above(Threshold(0)));
        let bill =
            Bill { lines: vec![billed(None, None, Some("1")), billed(Some("m"), None, Some("1"))], ..Bill::default() };
        let models: Vec<_> = compare(&bill, &[]).unwrap().rows.into_iter().map(|(_, model, _)| model).collect();
        assert_eq!(models, [NONE, "m"]);
    }

    #[test]
    fn the_threshold_is_exact() {
        let pair = Pair { billed: 1_000, ledger: 1_010 };
        assert!(!pair.above(Threshold::parse("1%").unwrap()) && pair.above(Threshold::parse("0.999999%").unwrap()));
        assert!(Pair { billed: 1_000, ledger: 989 }.above(Threshold::parse("1%").unwrap()));
        for bad in ["1", "x%", "-1%", "", "%"] {
            assert!(Threshold::parse(bad).is_err(), "{bad}");
        }
        assert_eq!((dollars(-1_500_000_000), dollars(3)), ("-1.500000".into(), "0.000000003".into()));
    }
}

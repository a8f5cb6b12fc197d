//! What a provider says it was asked for: lines of a usage or cost export.
//!
//! Column names are read leniently (case, spaces and underscores do not matter, unknown columns are passed over), numbers
//! strictly: a cell that is not what its column says is an error with its line. Amounts are decimals, never floats.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde::de::{DeserializeOwned, Deserializer, Error};
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use std::collections::BTreeSet;

/// One line of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The UTC day.
    pub day: Date,
    /// The provider's name of the model; `None`: the export does not say.
    pub model: Option<String>,
    /// Input tokens, cached ones among them; `None`: not in this export.
    pub input: Option<Decimal>,
    /// Output tokens.
    pub output: Option<Decimal>,
    /// US dollars.
    pub cost: Option<Decimal>,
}

/// Everything that the exports say.
#[derive(Debug, Default)]
pub struct Bill {
    /// The lines.
    pub lines: Vec<Line>,
    /// The days that they speak for, also those on which nothing was used.
    pub days: BTreeSet<Date>,
    /// What the reader of the comparison has to know.
    pub notes: BTreeSet<String>,
}

/// A table with a header.
pub struct Sheet {
    columns: Vec<String>,
    header: String,
    rows: Vec<(u64, csv::StringRecord)>,
}

/// A row of a sheet.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    sheet: &'a Sheet,
    line: u64,
    cells: &'a csv::StringRecord,
}

// === impl Bill ===

impl Bill {
    /// Adds a line and the day it speaks for.
    pub fn push(&mut self, line: Line) {
        self.days.insert(line.day);
        self.lines.push(line);
    }

    /// Leaves a note once.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.insert(text.into());
    }
}

// === impl Sheet ===

impl Sheet {
    /// Reads a table separated by commas, semicolons or tabs.
    pub fn read(text: &str) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}');
        let first = text.lines().next().unwrap_or_default();
        let count = |mark: u8| first.bytes().filter(|byte| *byte == mark).count();
        let delimiter = [b',', b';', b'\t'].into_iter().max_by_key(|mark| count(*mark)).unwrap_or(b',');
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).trim(csv::Trim::All).from_reader(text.as_bytes());
        let columns = reader.headers().map_err(|error| error.to_string())?.iter().map(plain).collect();
        let mut rows = Vec::new();
        for record in reader.into_records() {
            let record = record.map_err(|error| error.to_string())?;
            let line = record.position().map_or(0, csv::Position::line);
            rows.push((line, record));
        }
        Ok(Self { columns, header: first.chars().take(200).collect(), rows })
    }

    /// Whether there is a column by any of these names.
    pub fn has(&self, names: &[&str]) -> bool {
        self.find(names).is_some()
    }

    /// The first of these names that is a column.
    fn find(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.columns.iter().position(|column| *column == plain(name)))
    }

    /// The rows.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|(line, cells)| Row { sheet: self, line: *line, cells })
    }

    /// That this is no export of the kind.
    pub fn unknown(&self, wanted: &str) -> String {
        format!("not an export that is known: {wanted}; its first line is: {}", self.header)
    }
}

// === impl Row ===

impl<'a> Row<'a> {
    /// A cell by any of its column's names; an empty one is none.
    pub fn cell(self, names: &[&str]) -> Option<&'a str> {
        self.cells.get(self.sheet.find(names)?).filter(|cell| !cell.is_empty())
    }

    /// A number.
    pub fn number(self, names: &[&str]) -> Result<Option<Decimal>, String> {
        let Some(cell) = self.cell(names) else { return Ok(None) };
        decimal(cell).map(Some).ok_or_else(|| self.wrong(names, cell, "a number"))
    }

    /// The day by any of these columns; a row without one is an error.
    pub fn day(self, names: &[&str]) -> Result<Date, String> {
        let Some(cell) = self.cell(names) else {
            return Err(format!("line {}: no day", self.line));
        };
        day(cell).ok_or_else(|| self.wrong(names, cell, "a day"))
    }

    /// A complaint about a cell, with its line.
    pub fn wrong(self, names: &[&str], cell: &str, wanted: &str) -> String {
        let column = self.sheet.find(names).and_then(|at| self.sheet.columns.get(at));
        let cell: String = cell.chars().take(40).collect();
        format!("line {}: `{}` is `{cell}`, which is not {wanted}", self.line, column.map_or("?", String::as_str))
    }
}

/// A name without what people spell differently.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Reads a decimal, also in scientific notation; digits beyond the 28th are rounded.
pub fn decimal(text: &str) -> Option<Decimal> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    // The crate reads `1_000`, which no export writes.
    if !mantissa.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+')) {
        return None;
    }
    let mut number = mantissa.parse::<Decimal>().ok()?;
    let mut exponent = exponent.parse::<i32>().ok().filter(|exponent| exponent.abs() <= 400)?;
    while exponent < 0 {
        let step = exponent.unsigned_abs().min(20);
        number = number.checked_mul(Decimal::new(1, step))?;
        exponent += i32::try_from(step).ok()?;
    }
    while exponent > 0 && !number.is_zero() {
        number = number.checked_mul(Decimal::TEN)?;
        exponent -= 1;
    }
    Some(number)
}

/// Reads a day as exports write it: `2026-01-31`, RFC 3339, `20260131`, `01/31/2026` (month first), seconds since 1970.
pub fn day(text: &str) -> Option<Date> {
    let number = |text: &str| text.parse::<i16>().ok();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.len() {
            8 => Date::new(number(&text[..4])?, number(&text[4..6])? as i8, number(&text[6..])? as i8).ok(),
            9..=11 => utc(jiff::Timestamp::from_second(text.parse().ok()?).ok()?),
            _ => None,
        };
    }
    if let [month, day, year] = text.split('/').collect::<Vec<_>>()[..] {
        return Date::new(number(year)?, month.parse().ok()?, day.parse().ok()?).ok();
    }
    // A time with an offset is a moment, whose day is the one in UTC; one without is UTC already.
    text.parse::<jiff::Timestamp>().ok().and_then(utc).or_else(|| text.parse::<Date>().ok())
}

fn utc(moment: jiff::Timestamp) -> Option<Date> {
    Some(moment.to_zoned(TimeZone::UTC).date())
}

/// A JSON number or a number as text, read from its digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exact(pub Decimal);

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        decimal(bare).map(Self).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            D::Error::custom(format!("`{shown}` is not a number"))
        })
    }
}

/// A day as JSON exports write it, number or text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(pub Date);

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        day(raw.get().trim_matches('"')).map(Self).ok_or_else(|| {
            let shown: String = raw.get().chars().take(40).collect();
            D::Error::custom(format!("`{shown}` is not a day"))
        })
    }
}

/// Reads JSON documents: one, several behind each other, or a list of them. Errors name line and column.
pub fn documents<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, String> {
    let mut all = Vec::new();
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    for document in serde_json::Deserializer::from_str(text).into_iter::<T>() {
        all.push(document.map_err(|error: serde_json::Error| error.to_string())?);
    }
    if all.is_empty() {
        Err(de::Error::custom("the file is empty")).map_err(|e: serde_json::Error| e.to_string())
    } else {
        Ok(all)
    }
}

/// Whether a text is JSON rather than a table.
pub fn is_json(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '['])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_nothing_else_passes_for_one() {
        for (text, same) in [
            ("0.06", "0.06"),
            ("1.5e-3", "0.0015"),
            ("-2", "-2"),
            ("0.8958740000000000", "0.895874"),
            ("2E+3", "2000"),
            ("1.1102230246251565E-16", "0.0000000000000001110223024625"),
            ("1e-60", "0"),
        ] {
            assert_eq!(decimal(text).map(|d| d.normalize().to_string()).as_deref(), Some(same), "{text}");
        }
        for bad in ["", "x", "1,5", "1_000", "$3", "NaN", "inf", "1e", "1e999", "0x1", "1 2"] {
            assert_eq!(decimal(bad), None, "{bad}");
        }
    }

    #[test]
    fn days_are_read_as_exports_write_them() {
        let want = Date::new(2026, 1, 31).ok();
        for text in [
            "2026-01-31",
            "20260131",
            "01/31/2026",
            "1/31/2026",
            "2026-01-31T23:59:59Z",
            "2026-02-01T00:30:00+01:00",
            "2026-01-31T00:00:00",
            "1769817600",
        ] {
            assert_eq!(day(text), want, "{text}");
        }
        for bad in ["", "31/01/2026", "yesterday", "2026-13-01", "12"] {
            assert_eq!(day(bad), None, "{bad}");
        }
    }

    #[test]
    fn column_names_are_lenient_and_cells_are_not() {
        let sheet = Sheet::read("\u{feff}Usage Date;INPUT_tokens;Other\n2026-01-31;10;x\n2026-02-01;ten;y\n").unwrap();
        let rows: Vec<_> = sheet.rows().collect();
        assert_eq!(rows[0].number(&["input_tokens"]), Ok(decimal("10")));
        assert_eq!(rows[0].day(&["date", "usage_date"]).ok(), Date::new(2026, 1, 31).ok());
        let error = rows[1].number(&["input tokens"]).unwrap_err();
        assert_eq!(error, "line 3: `inputtokens` is `ten`, which is not a number");
        assert!(Sheet::read("a,b\n1\n").is_err(), "a row that is cut off");
    }
}

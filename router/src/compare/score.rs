//! Answers judged by rule: against a reference, a schema, or the calls of tools that are expected.
//!
//! **Promise.** A rule gives 1 or 0 and always the same. It reads nothing but what it is given: a schema that refers to
//! another document is a mistake of the row, nothing is fetched.
//!
//! **What it does not do.** It does not guess: a row that lacks what the rule needs is an error, not a zero.

use crate::execute::words;
use boon::{Compiler, Schemas};
use serde_json::Value;

/// How an answer is judged without asking anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The same text as the reference, but for white space around it.
    Exact,
    /// The same words, numbers and meaningful signs as the reference, in any writing.
    Normalised,
    /// The same last number as the reference, up to a millionth.
    Numeric,
    /// JSON that fits the row's schema.
    Schema,
    /// The same calls of tools, whatever their order; arguments compared as JSON values.
    Tool,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Answer {
    /// Its text.
    pub text: String,
    /// Its calls of tools, as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Value>,
}

/// What an answer should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    /// The right answer.
    pub reference: Option<String>,
    /// The JSON schema of a right answer.
    pub schema: Option<Value>,
    /// The calls of tools of a right answer.
    pub tool_calls: Option<Value>,
}

/// Why a row cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A field is missing.
    #[error("`{0}` is missing, which the judge needs")]
    Missing(&'static str),
    /// The reference holds no number.
    #[error("`reference` holds no number")]
    NoNumber,
    /// The schema is none.
    #[error("`schema` cannot be used: {0}")]
    Schema(String),
    /// The expected calls are none.
    #[error("`tool_calls` must be a list of calls with `name` and `arguments`")]
    Calls,
}

/// Refuses to fetch what a schema refers to.
struct Nothing;

impl boon::UrlLoader for Nothing {
    fn load(&self, _url: &str) -> Result<Value, Box<dyn std::error::Error>> {
        Err("references to other documents are not followed".into())
    }
}

// === impl Rule ===

impl Rule {
    /// The rule by its word.
    pub fn named(word: &str) -> Option<Self> {
        Some(match word {
            "exact" => Self::Exact,
            "normalised" | "normalized" => Self::Normalised,
            "numeric" => Self::Numeric,
            "schema" => Self::Schema,
            "tool" => Self::Tool,
            _ => return None,
        })
    }

    /// Says whether a row has what the rule needs.
    ///
    /// # Errors
    /// What is missing or cannot be used.
    pub fn fits(self, expected: &Expected) -> Result<(), Unfit> {
        self.score(&Answer::default(), expected).map(|_| ())
    }

    /// 1 for a right answer, 0 for another.
    ///
    /// # Errors
    /// What the row lacks.
    pub fn score(self, answer: &Answer, expected: &Expected) -> Result<f64, Unfit> {
        let reference = || expected.reference.as_deref().ok_or(Unfit::Missing("reference"));
        let right = match self {
            Self::Exact => answer.text.trim() == reference()?.trim(),
            Self::Normalised => words(&answer.text) == words(reference()?),
            Self::Numeric => {
                let wanted = last_number(reference()?).ok_or(Unfit::NoNumber)?;
                last_number(&answer.text).is_some_and(|is| (is - wanted).abs() <= 1e-6 * wanted.abs().max(1e-9))
            }
            Self::Schema => fits_schema(&answer.text, expected.schema.as_ref().ok_or(Unfit::Missing("schema"))?)?,
            Self::Tool => {
                let wanted = expected.tool_calls.as_ref().ok_or(Unfit::Missing("tool_calls"))?;
                let wanted = calls(wanted).ok_or(Unfit::Calls)?;
                answer.tool_calls.as_ref().and_then(calls).is_some_and(|is| same_calls(is, &wanted))
            }
        };
        Ok(f64::from(u8::from(right)))
    }
}

/// The last number of a text: where a worked answer has its result.
fn last_number(text: &str) -> Option<f64> {
    let words = words(text);
    let at = words.iter().rposition(|word| word.starts_with(|char: char| char.is_ascii_digit()))?;
    let number: f64 = words[at].parse().ok()?;
    let negative = at.checked_sub(1).is_some_and(|before| words[before] == "-");
    Some(if negative { -number } else { number })
}

fn fits_schema(text: &str, schema: &Value) -> Result<bool, Unfit> {
    const PLACE: &str = "urn:sluice:row";
    let wrong = |error: boon::CompileError| Unfit::Schema(error.to_string());
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.use_loader(Box::new(Nothing));
    compiler.add_resource(PLACE, schema.clone()).map_err(wrong)?;
    let index = compiler.compile(PLACE, &mut schemas).map_err(wrong)?;
    let value = serde_json::from_str::<Value>(text.trim());
    Ok(value.is_ok_and(|value| schemas.validate(&value, index).is_ok()))
}

/// Names and arguments of calls, in the provider's form or as `name` and `arguments` alone.
fn calls(value: &Value) -> Option<Vec<(String, Value)>> {
    let call = |call: &Value| {
        let function = call.get("function").unwrap_or(call);
        let arguments = match function.get("arguments") {
            Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str())),
            Some(other) => other.clone(),
            None => Value::Object(serde_json::Map::new()),
        };
        Some((function.get("name")?.as_str()?.to_owned(), arguments))
    };
    value.as_array()?.iter().map(call).collect()
}

fn same_calls(is: Vec<(String, Value)>, wanted: &[(String, Value)]) -> bool {
    let mut left = is;
    wanted.iter().all(|(name, arguments)| {
        let found = left.iter().position(|(other, given)| other == name && same(given, arguments));
        found.map(|at| left.swap_remove(at)).is_some()
    }) && left.is_empty()
}

/// Whether two JSON values say the same: the order of keys, and how a number is written, do not count.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| same(value, other)))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(rule: Rule, text: &str, expected: &Expected) -> f64 {
        rule.score(&Answer { text: text.into(), tool_calls: None }, expected).unwrap()
    }

    #[test]
    fn texts_and_numbers_are_right_or_wrong() {
        let of = |reference: &str| Expected { reference: Some(reference.into()), ..Expected::default() };
        for (rule, text, reference, right) in [
            (Rule::Exact, " Paris\n", "Paris", 1.0),
            (Rule::Exact, "paris", "Paris", 0.0),
            (Rule::Normalised, "**paris**!", "Paris", 1.0),
            (Rule::Normalised, "It is Paris", "Paris", 0.0),
            (Rule::Numeric, "3 + 4 = 7, so the answer is 1,234.50", "#### 1234.5", 1.0),
            (Rule::Numeric, "It is -7.", "-7", 1.0),
            (Rule::Numeric, "It is 7.", "-7", 0.0),
            (Rule::Numeric, "No number, not even nan or inf", "0", 0.0),
        ] {
            assert_eq!(judged(rule, text, &of(reference)), right, "{rule:?} {text:?} {reference:?}");
        }
    }

    #[test]
    fn json_fits_its_schema_or_does_not_and_nothing_is_fetched() {
        let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
        let expected = Expected { schema: Some(schema), ..Expected::default() };
        for (text, right) in
            [(" {\"n\": 3}", 1.0), ("{\"n\": \"3\"}", 0.0), ("{}", 0.0), ("```json\n{\"n\": 3}\n```", 0.0)]
        {
            assert_eq!(judged(Rule::Schema, text, &expected), right, "{text}");
        }
        for bad in [json!({"$ref": "file:///etc/passwd"}), json!({"type": 7})] {
            let expected = Expected { schema: Some(bad.clone()), ..Expected::default() };
            assert!(matches!(Rule::Schema.fits(&expected), Err(Unfit::Schema(_))), "{bad}");
        }
    }

    #[test]
    fn calls_of_tools_are_the_same_whatever_their_order_and_writing() {
        let given = json!([
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"b\": 1.0, \"a\": [1]}"}},
            {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ]);
        let answer = |calls| Answer { text: String::new(), tool_calls: Some(calls) };
        let score = |wanted: Value| {
            let expected = Expected { tool_calls: Some(wanted), ..Expected::default() };
            Rule::Tool.score(&answer(given.clone()), &expected)
        };
        let f = json!({"name": "f", "arguments": {"a": [1], "b": 1}});
        assert_eq!(score(json!([{"name": "g"}, f])), Ok(1.0));
        assert_eq!(score(json!([f])), Ok(0.0), "one too many");
        assert_eq!(score(json!([f, f])), Ok(0.0), "the same call cannot stand for two");
        assert_eq!(score(json!([{"name": "g"}, {"name": "f", "arguments": {"a": [2], "b": 1}}])), Ok(0.0));
        assert_eq!(score(json!("f")), Err(Unfit::Calls));
    }

    #[test]
    fn a_row_that_lacks_what_the_rule_needs_is_no_zero() {
        let nothing = Expected::default();
        let missing = [Rule::Exact, Rule::Schema, Rule::Tool].map(|rule| rule.fits(&nothing));
        assert_eq!(missing, ["reference", "schema", "tool_calls"].map(|field| Err(Unfit::Missing(field))));
        let words = Expected { reference: Some("none".into()), ..nothing };
        assert_eq!(Rule::Numeric.fits(&words), Err(Unfit::NoNumber));
    }
}

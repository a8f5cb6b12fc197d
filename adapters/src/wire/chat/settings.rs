//! How to answer: sampling, the form of the answer, tools.

use super::super::{RawObject, WireError};
use policies::Endpoint;
use serde::Deserialize;
use serde_json::Value;

/// How to draw tokens. Absent fields are the model's business.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0 to 2.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// The k likeliest.
    pub top_k: Option<u32>,
    /// 0 to 1.
    pub min_p: Option<f64>,
    /// At most four texts that end the answer.
    pub stop: Vec<String>,
    /// The most output tokens (`max_completion_tokens` before `max_tokens`).
    pub max_tokens: Option<u64>,
    /// For repeatable answers.
    pub seed: Option<i64>,
    /// -2 to 2.
    pub presence_penalty: Option<f64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// Above 0; 1 is none.
    pub repetition_penalty: Option<f64>,
    /// Number of choices.
    pub n: u32,
    /// Number of answers that are written, of which the best `n` are chosen (completions); all of them are billed.
    pub best_of: Option<u32>,
    /// Log-probabilities are wanted, with so many alternatives a token.
    pub logprobs: Option<u32>,
    /// `logit_bias` is set.
    pub logit_bias: bool,
    /// The prompt is repeated in the answer (completions).
    pub echo: bool,
}

// === impl Sampling ===

impl Sampling {
    /// Number of answers that are written, and billed.
    pub fn written(&self) -> u32 {
        self.n.max(self.best_of.unwrap_or(0))
    }
}

/// The form the answer must have.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// Free text.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that fits this schema.
    JsonSchema(Value),
    /// Text that matches this regular expression.
    Regex(String),
}

/// A function on offer, or a tool of another type.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The JSON schema of its arguments.
    pub parameters: Option<Value>,
}

/// Whether and which tool must be called.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ToolChoice {
    /// As the model likes.
    #[default]
    Auto,
    /// None.
    None,
    /// Any, but one.
    Required,
    /// This one.
    Named(String),
}

#[derive(Deserialize)]
struct WireTool {
    r#type: String,
    #[serde(default)]
    function: Option<Value>,
    #[serde(default)]
    custom: Option<Value>,
}

#[derive(Deserialize)]
struct WireFunction {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parameters: Option<Value>,
}

fn in_range(raw: &RawObject, key: &str, low: f64, high: f64) -> Result<Option<f64>, WireError> {
    let Some(number) = raw.read::<f64>(key)? else { return Ok(None) };
    if (low..=high).contains(&number) {
        Ok(Some(number))
    } else {
        Err(WireError::new(format!("`{key}` must be between {low} and {high}"), Some(key)))
    }
}

pub(super) fn sampling(endpoint: Endpoint, raw: &RawObject) -> Result<Sampling, WireError> {
    let max_tokens = match raw.read::<u64>("max_completion_tokens")? {
        Some(most) => Some(most),
        None => raw.read::<u64>("max_tokens")?,
    };
    if max_tokens == Some(0) {
        return Err(WireError::new("`max_tokens` must be at least 1", Some("max_tokens")));
    }
    let n = raw.read::<u32>("n")?.unwrap_or(1);
    if !(1..=128).contains(&n) {
        return Err(WireError::new("`n` must be between 1 and 128", Some("n")));
    }
    let best_of = match endpoint {
        Endpoint::Completions => raw.read::<u32>("best_of")?,
        Endpoint::Chat | Endpoint::Embeddings => None,
    };
    if best_of.is_some_and(|best_of| !(n..=128).contains(&best_of)) {
        return Err(WireError::new("`best_of` must be between `n` and 128", Some("best_of")));
    }
    let (field, logprobs) = match endpoint {
        Endpoint::Chat => {
            let top = raw.read::<u32>("top_logprobs")?;
            let wanted = raw.read::<bool>("logprobs")?.unwrap_or(false);
            if top.is_some() && !wanted {
                return Err(WireError::new("`top_logprobs` needs `logprobs: true`", Some("top_logprobs")));
            }
            ("top_logprobs", wanted.then_some(top.unwrap_or(0)))
        }
        Endpoint::Completions | Endpoint::Embeddings => ("logprobs", raw.read::<u32>("logprobs")?),
    };
    if logprobs.is_some_and(|top| top > 20) {
        return Err(WireError::new(format!("`{field}` must be at most 20"), Some(field)));
    }
    Ok(Sampling {
        temperature: in_range(raw, "temperature", 0.0, 2.0)?,
        top_p: in_range(raw, "top_p", 0.0, 1.0)?,
        top_k: raw.read("top_k")?,
        min_p: in_range(raw, "min_p", 0.0, 1.0)?,
        stop: stop(raw)?,
        max_tokens,
        seed: raw.read("seed")?,
        presence_penalty: in_range(raw, "presence_penalty", -2.0, 2.0)?,
        frequency_penalty: in_range(raw, "frequency_penalty", -2.0, 2.0)?,
        repetition_penalty: in_range(raw, "repetition_penalty", 0.0, 10.0)?,
        n,
        best_of,
        logprobs,
        logit_bias: raw.read::<serde_json::Map<String, Value>>("logit_bias")?.is_some_and(|bias| !bias.is_empty()),
        echo: raw.read("echo")?.unwrap_or(false),
    })
}

fn stop(raw: &RawObject) -> Result<Vec<String>, WireError> {
    let wrong = || WireError::new("`stop` must be a text or a list of at most four texts, none empty", Some("stop"));
    let stops = match raw.read::<Value>("stop")? {
        None => vec![],
        Some(Value::String(text)) => vec![text],
        Some(list) => serde_json::from_value::<Vec<String>>(list).map_err(|_| wrong())?,
    };
    if stops.len() > 4 || stops.iter().any(String::is_empty) { Err(wrong()) } else { Ok(stops) }
}

pub(super) fn format(raw: &RawObject) -> Result<Format, WireError> {
    if let Some(regex) = raw.read::<String>("guided_regex")? {
        return Ok(Format::Regex(regex));
    }
    if let Some(schema) = raw.read::<Value>("guided_json")? {
        return Ok(Format::JsonSchema(schema));
    }
    let wrong = |what: &str| WireError::new(format!("invalid `response_format`: {what}"), Some("response_format"));
    let Some(format) = raw.read::<Value>("response_format")? else { return Ok(Format::Text) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::JsonObject),
        Some("json_schema") => match format.get("json_schema").and_then(|named| named.get("schema")) {
            Some(schema @ Value::Object(_)) => Ok(Format::JsonSchema(schema.clone())),
            _ => Err(wrong("`json_schema.schema` must be an object")),
        },
        Some(_) => Err(wrong("`type` must be `text`, `json_object` or `json_schema`")),
        None => Err(wrong("it needs a `type`")),
    }
}

pub(super) fn tools(raw: &RawObject) -> Result<Vec<Tool>, WireError> {
    let wire = raw.read_objects::<WireTool>("tools")?.unwrap_or_default();
    wire.into_iter()
        .enumerate()
        .map(|(at, tool)| {
            if tool.r#type != "function" {
                let own = tool.custom.as_ref().and_then(|custom| custom.get("name")?.as_str());
                let name = own.map_or(tool.r#type, str::to_owned);
                return Ok(Tool { name, description: None, parameters: None });
            }
            let wrong = |what: &str| WireError::new(format!("`tools[{at}].function` {what}"), Some("tools"));
            match tool.function {
                Some(function @ Value::Object(_)) => {
                    let function: WireFunction =
                        serde_json::from_value(function).map_err(|error| wrong(&format!("is invalid: {error}")))?;
                    let WireFunction { name, description, parameters } = function;
                    Ok(Tool { name, description, parameters })
                }
                Some(_) => Err(wrong("must be an object")),
                None => Err(wrong("is missing")),
            }
        })
        .collect()
}

/// The choice; `allowed_tools` is the choice among those tools, which are left in `tools`.
pub(super) fn tool_choice(raw: &RawObject, tools: &mut Vec<Tool>) -> Result<ToolChoice, WireError> {
    let wrong = || {
        let what = "`tool_choice` must be `none`, `auto`, `required`, a function, or a list of allowed tools";
        WireError::new(what, Some("tool_choice"))
    };
    let word = |word: &str| match word {
        "none" => Ok(ToolChoice::None),
        "auto" => Ok(ToolChoice::Auto),
        "required" => Ok(ToolChoice::Required),
        _ => Err(wrong()),
    };
    let name = |of: &Value| {
        let name = of.pointer("/function/name").or_else(|| of.pointer("/custom/name"))?;
        name.as_str().map(str::to_owned)
    };
    let choice = match raw.read::<Value>("tool_choice")? {
        None => return Ok(ToolChoice::Auto),
        Some(Value::String(text)) => return word(&text),
        Some(choice) => choice,
    };
    let Some(among) = choice.get("allowed_tools") else {
        return name(&choice).map(ToolChoice::Named).ok_or_else(wrong);
    };
    let (mode, allowed) = (among.get("mode").and_then(Value::as_str), among.get("tools").and_then(Value::as_array));
    let (Some(mode @ ("auto" | "required")), Some(allowed)) = (mode, allowed) else { return Err(wrong()) };
    let allowed: Vec<String> = allowed.iter().filter_map(name).collect();
    tools.retain(|tool| allowed.contains(&tool.name));
    word(mode)
}

//! The narrow typed view of a chat or completion request.
//!
//! Only fields that somebody here reads are typed; a wrong type is the client's error and names the field. Everything
//! else stays in the [`RawObject`] and reaches the provider as it came.
//!
//! Sources: OpenAI API reference ("Create chat completion", "Create completion"); `guided_regex` and `guided_json` are
//! vLLM's names for constraints that OpenAI has no field for; `top_k`, `min_p` and `repetition_penalty` are vLLM's and
//! llama.cpp's.

use super::{RawObject, WireError};
use bytes::Bytes;
use policies::{Endpoint, Redacted};
use serde::Deserialize;
use serde_json::Value;

/// The most messages a request may have.
pub(crate) const MAX_MESSAGES: usize = 1024;

/// A request: all its bytes, and what was read.
#[derive(Debug)]
pub struct WireRequest {
    /// The endpoint it came to.
    pub endpoint: Endpoint,
    /// Everything.
    pub raw: RawObject,
    /// What is read.
    pub view: View,
}

/// The fields that are read.
#[derive(Debug)]
pub struct View {
    /// `auto` or a configured name.
    pub model: String,
    /// Messages or a bare prompt.
    pub prompt: Prompt,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// Whether the client asked for the usage event.
    pub include_usage: bool,
    /// How to draw tokens.
    pub sampling: Sampling,
    /// The form the answer must have.
    pub format: Format,
    /// Tools on offer.
    pub tools: Vec<Tool>,
    /// Whether and which tool must be called.
    pub tool_choice: ToolChoice,
    /// Whether the answer shall be audio, too.
    pub audio: bool,
}

/// What to continue.
#[derive(Debug)]
pub enum Prompt {
    /// A conversation.
    Messages(Vec<Message>),
    /// Bare text (`/v1/completions`).
    Text(Redacted<String>),
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions.
    System,
    /// Instructions, by their newer name.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
    /// The result of a function (older form of a tool).
    Function,
}

/// One message, its text parts joined.
#[derive(Debug)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// All its text.
    pub text: Redacted<String>,
    /// It carries pictures.
    pub vision: bool,
    /// It carries audio.
    pub audio: bool,
    /// It carries files.
    pub files: bool,
    /// Calls of tools, as they came.
    pub tool_calls: Option<Redacted<Value>>,
    /// Which call this is the result of.
    pub tool_call_id: Option<String>,
    /// The speaker's or the function's name.
    pub name: Option<String>,
}

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
    /// Log-probabilities are wanted, with so many alternatives a token.
    pub logprobs: Option<u32>,
    /// `logit_bias` is set.
    pub logit_bias: bool,
    /// The prompt is repeated in the answer (completions).
    pub echo: bool,
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

/// A function on offer.
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
struct WireMessage {
    role: Role,
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Value>,
    #[serde(default)]
    tool_call_id: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct WireTool {
    r#type: String,
    #[serde(default)]
    function: Option<Value>,
}

#[derive(Deserialize)]
struct WireFunction {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parameters: Option<Value>,
}

// === impl WireRequest ===

impl WireRequest {
    /// Reads and type-checks a body.
    pub fn parse(endpoint: Endpoint, body: Bytes) -> Result<Self, WireError> {
        let raw = RawObject::parse(body)?;
        let view = View::read(endpoint, &raw)?;
        Ok(Self { endpoint, raw, view })
    }
}

// === impl View ===

impl View {
    fn read(endpoint: Endpoint, raw: &RawObject) -> Result<Self, WireError> {
        let Some(model) = raw.read::<String>("model")? else {
            return Err(WireError::new("`model` is missing: name a configured model, or `auto`", Some("model")));
        };
        let prompt = match endpoint {
            Endpoint::Chat => Prompt::Messages(messages(raw)?),
            Endpoint::Completions => Prompt::Text(Redacted(bare_prompt(raw)?)),
        };
        let options = raw.read_object::<StreamOptions>("stream_options")?;
        let modalities = raw.read::<Vec<String>>("modalities")?.unwrap_or_default();
        Ok(Self {
            model,
            prompt,
            stream: raw.read("stream")?.unwrap_or(false),
            include_usage: options.and_then(|options| options.include_usage).unwrap_or(false),
            sampling: sampling(endpoint, raw)?,
            format: format(raw)?,
            tools: tools(raw)?,
            tool_choice: tool_choice(raw)?,
            audio: modalities.iter().any(|modality| modality == "audio"),
        })
    }

    /// All texts of the prompt, in order.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let (messages, bare) = match &self.prompt {
            Prompt::Messages(messages) => (messages.as_slice(), None),
            Prompt::Text(text) => (&[][..], Some(text.0.as_str())),
        };
        messages.iter().map(|message| message.text.0.as_str()).chain(bare)
    }

    /// Texts of system and developer messages.
    pub fn instructions(&self) -> impl Iterator<Item = &str> {
        let told = |message: &&Message| matches!(message.role, Role::System | Role::Developer);
        self.messages().iter().filter(told).map(|message| message.text.0.as_str())
    }

    /// The messages; none for a bare prompt.
    pub fn messages(&self) -> &[Message] {
        match &self.prompt {
            Prompt::Messages(messages) => messages,
            Prompt::Text(_) => &[],
        }
    }
}

fn messages(raw: &RawObject) -> Result<Vec<Message>, WireError> {
    let Some(messages) = raw.read_objects::<WireMessage>("messages")? else {
        return Err(WireError::new("`messages` is missing", Some("messages")));
    };
    if messages.is_empty() {
        return Err(WireError::new("`messages` is empty", Some("messages")));
    }
    if messages.len() > MAX_MESSAGES {
        return Err(WireError::new(format!("`messages` has more than {MAX_MESSAGES} entries"), Some("messages")));
    }
    messages.into_iter().enumerate().map(|(at, message)| read_message(at, message)).collect()
}

fn read_message(at: usize, wire: WireMessage) -> Result<Message, WireError> {
    let mut message = Message {
        role: wire.role,
        text: Redacted(String::new()),
        vision: false,
        audio: false,
        files: false,
        tool_calls: wire.tool_calls.filter(|calls| !calls.is_null()).map(Redacted),
        tool_call_id: wire.tool_call_id,
        name: wire.name,
    };
    let wrong = |what: &str| WireError::new(format!("invalid `messages[{at}].content`: {what}"), Some("messages"));
    match wire.content {
        None | Some(Value::Null) => {
            if message.role != Role::Assistant {
                return Err(wrong("it is missing"));
            }
        }
        Some(Value::String(text)) => message.text.0 = text,
        Some(Value::Array(parts)) => {
            for part in parts {
                read_part(&mut message, &part).map_err(|what| wrong(&what))?;
            }
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            return Err(wrong("expected a text or a list of parts"));
        }
    }
    Ok(message)
}

fn read_part(message: &mut Message, part: &Value) -> Result<(), String> {
    let Some(kind) = part.get("type").and_then(Value::as_str) else {
        return Err("a part needs a `type`".into());
    };
    match kind {
        "text" | "input_text" | "refusal" => {
            let key = if kind == "refusal" { "refusal" } else { "text" };
            let Some(text) = part.get(key).and_then(Value::as_str) else {
                return Err(format!("a part of type `{kind}` needs `{key}`"));
            };
            if !message.text.0.is_empty() {
                message.text.0.push('\n');
            }
            message.text.0.push_str(text);
        }
        "image_url" | "input_image" => message.vision = true,
        "input_audio" | "audio_url" => message.audio = true,
        "file" | "input_file" => message.files = true,
        // What nobody here knows is a file: only a hosted model may know better.
        _ => message.files = true,
    }
    Ok(())
}

fn bare_prompt(raw: &RawObject) -> Result<String, WireError> {
    match raw.read::<Value>("prompt")? {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) if parts.len() == 1 && parts[0].is_string() => {
            Ok(parts[0].as_str().unwrap_or_default().to_owned())
        }
        Some(_) => Err(WireError::new("`prompt` must be one text: lists and tokens are not supported", Some("prompt"))),
        None => Err(WireError::new("`prompt` is missing", Some("prompt"))),
    }
}

fn in_range(raw: &RawObject, key: &str, low: f64, high: f64) -> Result<Option<f64>, WireError> {
    let Some(number) = raw.read::<f64>(key)? else { return Ok(None) };
    if (low..=high).contains(&number) {
        Ok(Some(number))
    } else {
        Err(WireError::new(format!("`{key}` must be between {low} and {high}"), Some(key)))
    }
}

fn sampling(endpoint: Endpoint, raw: &RawObject) -> Result<Sampling, WireError> {
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
    let logprobs = match endpoint {
        Endpoint::Chat => {
            let top = raw.read::<u32>("top_logprobs")?;
            let wanted = raw.read::<bool>("logprobs")?.unwrap_or(false);
            if top.is_some() && !wanted {
                return Err(WireError::new("`top_logprobs` needs `logprobs: true`", Some("top_logprobs")));
            }
            wanted.then_some(top.unwrap_or(0))
        }
        Endpoint::Completions => raw.read::<u32>("logprobs")?,
    };
    if logprobs.is_some_and(|top| top > 20) {
        return Err(WireError::new("`top_logprobs` must be at most 20", Some("top_logprobs")));
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

fn format(raw: &RawObject) -> Result<Format, WireError> {
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

fn tools(raw: &RawObject) -> Result<Vec<Tool>, WireError> {
    let wire = raw.read_objects::<WireTool>("tools")?.unwrap_or_default();
    wire.into_iter()
        .enumerate()
        .map(|(at, tool)| {
            if tool.r#type != "function" {
                return Ok(Tool { name: tool.r#type, description: None, parameters: None });
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

fn tool_choice(raw: &RawObject) -> Result<ToolChoice, WireError> {
    let wrong = || {
        let what = "`tool_choice` must be `none`, `auto`, `required` or a function";
        WireError::new(what, Some("tool_choice"))
    };
    match raw.read::<Value>("tool_choice")? {
        None => Ok(ToolChoice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "none" => Ok(ToolChoice::None),
            "auto" => Ok(ToolChoice::Auto),
            "required" => Ok(ToolChoice::Required),
            _ => Err(wrong()),
        },
        Some(choice) => match choice.pointer("/function/name").and_then(Value::as_str) {
            Some(name) => Ok(ToolChoice::Named(name.to_owned())),
            None => Err(wrong()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(body: &str) -> Result<WireRequest, WireError> {
        WireRequest::parse(Endpoint::Chat, Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn wrong_types_are_named_by_field() {
        let user = r#""model":"auto","messages":[{"role":"user","content":"hi"}]"#;
        for (body, param) in [
            (r#"{"messages":[]}"#.to_owned(), "model"),
            (r#"{"model":7,"messages":[]}"#.to_owned(), "model"),
            (r#"{"model":"auto"}"#.to_owned(), "messages"),
            (r#"{"model":"auto","messages":[]}"#.to_owned(), "messages"),
            (r#"{"model":"auto","messages":"hi"}"#.to_owned(), "messages"),
            (r#"{"model":"auto","messages":[{"role":"king","content":"hi"}]}"#.to_owned(), "messages"),
            (r#"{"model":"auto","messages":[{"role":"user"}]}"#.to_owned(), "messages"),
            (r#"{"model":"auto","messages":[{"role":"user","content":5}]}"#.to_owned(), "messages"),
            (r#"{"model":"auto","messages":[{"role":"user","content":[{"type":"text"}]}]}"#.to_owned(), "messages"),
            (format!(r#"{{{user},"temperature":"hot"}}"#), "temperature"),
            (format!(r#"{{{user},"temperature":3}}"#), "temperature"),
            (format!(r#"{{{user},"max_tokens":0}}"#), "max_tokens"),
            (format!(r#"{{{user},"max_tokens":-4}}"#), "max_tokens"),
            (format!(r#"{{{user},"max_completion_tokens":"9"}}"#), "max_completion_tokens"),
            (format!(r#"{{{user},"n":0}}"#), "n"),
            (format!(r#"{{{user},"stream":"yes"}}"#), "stream"),
            (format!(r#"{{{user},"stop":["a","b","c","d","e"]}}"#), "stop"),
            (format!(r#"{{{user},"top_logprobs":2}}"#), "top_logprobs"),
            (format!(r#"{{{user},"logprobs":true,"top_logprobs":21}}"#), "top_logprobs"),
            (format!(r#"{{{user},"response_format":{{"type":"xml"}}}}"#), "response_format"),
            (format!(r#"{{{user},"tools":[{{"type":"function"}}]}}"#), "tools"),
            (format!(r#"{{{user},"tool_choice":"maybe"}}"#), "tool_choice"),
            (format!(r#"{{{user},"stream_options":[true]}}"#), "stream_options"),
            (format!(r#"{{{user},"tools":[["function",["f"]]]}}"#), "tools"),
            (format!(r#"{{{user},"tools":[{{"type":"function","function":["f"]}}]}}"#), "tools"),
            (r#"{"model":"auto","messages":[["user","hi"]]}"#.to_owned(), "messages"),
        ] {
            let error = chat(&body).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{body}: {}", error.message);
        }
    }

    #[test]
    fn parts_are_joined_and_modalities_noticed() {
        let request = chat(
            r#"{"model":"auto","messages":[{"role":"system","content":"s"},{"role":"user","content":[
            {"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"b"}]}],
            "stream":true,"stream_options":{"include_usage":true},"tool_choice":{"type":"function","function":{"name":"f"}}}"#,
        )
        .unwrap();
        let view = &request.view;
        assert_eq!(view.texts().collect::<Vec<_>>(), ["s", "a\nb"]);
        assert!(view.messages()[1].vision && view.stream && view.include_usage);
        assert_eq!(view.tool_choice, ToolChoice::Named("f".into()));
    }

    #[test]
    fn the_debug_form_shows_no_prompt() {
        let request = chat(r#"{"model":"auto","messages":[{"role":"user","content":"canary"}]}"#).unwrap();
        assert!(!format!("{request:?}").contains("canary"));
    }
}

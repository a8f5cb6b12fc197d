//! From a chat request to a Messages request.

use crate::error::Kind;
use crate::wire::marks;
use crate::wire::walk::{Object, field};
use crate::wire::{Format, Sampling, ToolChoice, View, WireRequest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use policies::Endpoint;
use serde_json::{Value, json};

/// Output tokens where neither the client nor a budget sets a ceiling: Messages has to have one.
const MOST_OUTPUT: u64 = 4_096;

/// Fields that are read here.
const READ: [&str; 19] = [
    "cache_control",
    "model",
    "messages",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "guided_json",
    "reasoning_effort",
    "user",
    "modalities",
    "n",
];

/// Hints: they do not change what is asked.
const HINTS: [&str; 12] = [
    "stream_options",
    "seed",
    "store",
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "verbosity",
    "prediction",
    "logprobs",
    "top_logprobs",
];

/// The Messages request that means the same.
///
/// # Errors
/// What has no counterpart, by its name; arguments of earlier calls that are no JSON object.
pub fn message(request: &WireRequest, model: &str, stream: bool, most: Option<u64>) -> Result<Bytes, Kind> {
    if request.endpoint != Endpoint::Chat {
        return Err(unsupported("this provider answers chats only"));
    }
    let from: Object = serde_json::from_slice(request.marked.as_ref().unwrap_or(request.raw.body()))
        .map_err(|error| Kind::Internal(format!("a request that was read before is no object: {error}")))?;
    let view = &request.view;
    refuse(&from, &view.sampling)?;
    let mut out = Object::new();
    out.insert("model".into(), model.into());
    let limit = [view.sampling.max_tokens, most].into_iter().flatten().min().unwrap_or(MOST_OUTPUT);
    out.insert("max_tokens".into(), limit.into());
    let turns = field(&from, "messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let (system, messages) = conversation(turns)?;
    if messages.is_empty() {
        let why = "have no turn with anything in it, which this provider needs".to_owned();
        return Err(Kind::Field { field: "messages".into(), why });
    }
    if !system.is_empty() {
        out.insert("system".into(), system.into());
    }
    out.insert("messages".into(), messages.into());
    if stream {
        out.insert("stream".into(), true.into());
    }
    for name in ["temperature", "top_p", "top_k", "cache_control"] {
        if let Some(value) = field(&from, name) {
            out.insert(name.into(), value.clone());
        }
    }
    if !view.sampling.stop.is_empty() {
        out.insert("stop_sequences".into(), json!(view.sampling.stop));
    }
    if let Some(user) = text(&from, "user")? {
        out.insert("metadata".into(), json!({"user_id": user}));
    }
    offered(&from, view, &mut out)?;
    wanted(&from, &view.format, &mut out)?;
    Ok(Value::Object(out).to_string().into())
}

/// A text that nobody has read yet, where it is there.
fn text<'a>(from: &'a Object, name: &str) -> Result<Option<&'a str>, Kind> {
    let wrong = || Kind::Field { field: name.to_owned(), why: "must be a text".to_owned() };
    field(from, name).map(|value| value.as_str().ok_or_else(wrong)).transpose()
}

fn unsupported(what: impl Into<String>) -> Kind {
    Kind::Unsupported(what.into())
}

/// What Messages cannot do.
fn refuse(from: &Object, sampling: &Sampling) -> Result<(), Kind> {
    let set = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
    let refused = [
        (sampling.n > 1, "`n` above 1"),
        (sampling.logprobs.is_some(), "log-probabilities"),
        (sampling.logit_bias, "`logit_bias`"),
        (sampling.temperature.is_some_and(|heat| heat > 1.0), "`temperature` above 1"),
        (set(sampling.presence_penalty), "`presence_penalty`"),
        (set(sampling.frequency_penalty), "`frequency_penalty`"),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(there, _)| *there) {
        return Err(unsupported(format!("this provider does not know {what}")));
    }
    let neutral = ["presence_penalty", "frequency_penalty", "logit_bias"];
    let known = |name: &str| READ.contains(&name) || HINTS.contains(&name) || neutral.contains(&name);
    match from.iter().find(|(name, value)| !value.is_null() && !known(name)) {
        Some((name, _)) => {
            let shown: String = name.chars().take(60).collect();
            Err(unsupported(format!("this provider does not know `{shown}`")))
        }
        None => Ok(()),
    }
}

/// The blocks of the system prompt, and the turns; those of one role that follow each other are one.
fn conversation(turns: &[Value]) -> Result<(Vec<Value>, Vec<Value>), Kind> {
    let (mut system, mut told): (Vec<Value>, Vec<(&str, Vec<Value>)>) = (Vec::new(), Vec::new());
    for turn in turns {
        let text = |key: &str| turn.get(key).and_then(Value::as_str).unwrap_or_default();
        let (role, blocks) = match text("role") {
            "system" | "developer" => {
                system.extend(content(turn)?);
                continue;
            }
            "user" => ("user", content(turn)?),
            "assistant" => ("assistant", assistant(turn)?),
            "tool" => {
                let id = text("tool_call_id");
                let mut result = json!({"type": "tool_result", "tool_use_id": id, "content": content(turn)?});
                mark(&mut result, turn.get("cache_control"));
                ("user", vec![result])
            }
            _ => return Err(unsupported("this provider does not know messages of role `function`")),
        };
        match told.last_mut().filter(|(known, _)| *known == role) {
            Some((_, known)) => known.extend(blocks),
            None => told.push((role, blocks)),
        }
    }
    let turns = told.into_iter().filter(|(_, blocks)| !blocks.is_empty());
    Ok((system, turns.map(|(role, blocks)| json!({"role": role, "content": blocks})).collect()))
}

/// The blocks of a message; empty texts are left out, which the provider refuses.
fn content(turn: &Value) -> Result<Vec<Value>, Kind> {
    match turn.get("content") {
        Some(Value::String(text)) => Ok(text_block(text, None).into_iter().collect()),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| block(part).transpose()).collect(),
        Some(_) | None => Ok(vec![]),
    }
}

fn text_block(text: &str, marked: Option<&Value>) -> Option<Value> {
    let mut block = json!({"type": "text", "text": text});
    mark(&mut block, marked);
    (!text.is_empty()).then_some(block)
}

/// Keeps a mark for the provider's cache, which clients put on parts as they would on blocks.
fn mark(block: &mut Value, marked: Option<&Value>) {
    if let Some(known) = marked.and_then(marks::known) {
        block["cache_control"] = known;
    }
}

fn block(part: &Value) -> Result<Option<Value>, Kind> {
    let text = |path: &str| part.pointer(path).and_then(Value::as_str);
    let marked = part.get("cache_control");
    let mut block = match text("/type").unwrap_or_default() {
        "text" | "input_text" => return Ok(text_block(text("/text").unwrap_or_default(), marked)),
        "refusal" => return Ok(text_block(text("/refusal").unwrap_or_default(), marked)),
        "image_url" => {
            let url = text("/image_url/url").or(text("/image_url"));
            let url = url.ok_or_else(|| unsupported("a picture needs `image_url.url`"))?;
            json!({"type": "image", "source": picture(url)?})
        }
        "file" => document(text("/file/file_data"), text("/file/filename"))?,
        kind => {
            let shown: String = kind.chars().take(60).collect();
            return Err(unsupported(format!("this provider does not know parts of type `{shown}`")));
        }
    };
    mark(&mut block, marked);
    Ok(Some(block))
}

/// Media type and base64 of a data URL.
fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((head.strip_suffix(";base64")?.split(';').next()?, data))
}

fn picture(url: &str) -> Result<Value, Kind> {
    if let Some((media, data)) = data_url(url) {
        return Ok(json!({"type": "base64", "media_type": media, "data": data}));
    }
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(json!({"type": "url", "url": url}));
    }
    Err(unsupported("a picture has to be an address or a data URL in base64"))
}

fn document(data: Option<&str>, name: Option<&str>) -> Result<Value, Kind> {
    let (media, data) = data
        .and_then(data_url)
        .ok_or_else(|| unsupported("this provider gets files by value, as a data URL in base64"))?;
    let source = if media.starts_with("text/") {
        let text = BASE64_STANDARD.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or_else(|| unsupported("a file of text is not text"))?;
        json!({"type": "text", "media_type": "text/plain", "data": text})
    } else {
        json!({"type": "base64", "media_type": media, "data": data})
    };
    let mut block = json!({"type": "document", "source": source});
    if let Some(name) = name {
        block["title"] = name.into();
    }
    Ok(block)
}

fn assistant(turn: &Value) -> Result<Vec<Value>, Kind> {
    let mut blocks = content(turn)?;
    for call in turn.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        let part = |path: &str| call.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let arguments = Some(part("/function/arguments")).filter(|text| !text.trim().is_empty()).unwrap_or("{}");
        let input: Object = serde_json::from_str(arguments)
            .map_err(|_| Kind::Invalid("arguments of an earlier tool call are not a JSON object".into()))?;
        let (id, name) = (part("/id"), part("/function/name"));
        let mut block = json!({"type": "tool_use", "id": id, "name": name, "input": input});
        mark(&mut block, call.get("cache_control"));
        blocks.push(block);
    }
    Ok(blocks)
}

/// Tools, and whether and which of them must be called. Where the choice is among some, only those are offered: that is how Messages says it.
///
/// # Errors
/// A tool that is no function: Messages has no tool whose input is free text, and what a provider runs itself is another's.
fn offered(from: &Object, view: &View, out: &mut Object) -> Result<(), Kind> {
    let tools = field(from, "tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if tools.is_empty() {
        return Ok(());
    }
    let kind = |wanted: &Value| wanted.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some((at, kind)) = tools.iter().map(kind).enumerate().find(|(_, kind)| kind != "function") {
        let shown: String = kind.chars().take(60).collect();
        let why = format!("is `{shown}`: this provider gets tools of type `function` only");
        return Err(Kind::Field { field: format!("tools[{at}].type"), why });
    }
    let name = |wanted: &Value| wanted.pointer("/function/name").and_then(Value::as_str).map(str::to_owned);
    let allowed = |wanted: &&Value| view.tools.iter().any(|tool| Some(&tool.name) == name(wanted).as_ref());
    let tools: Vec<&Value> = tools.iter().filter(allowed).collect();
    if tools.is_empty() {
        let why = "allows none of the `tools`".to_owned();
        return Err(Kind::Field { field: "tool_choice".into(), why });
    }
    let tools = tools.into_iter().map(|wanted| {
        let of = |name: &str| wanted.pointer(&format!("/function/{name}")).filter(|value| !value.is_null()).cloned();
        let schema = of("parameters").unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        let mut tool = json!({"name": of("name"), "input_schema": schema});
        for name in ["description", "strict"] {
            if let Some(value) = of(name) {
                tool[name] = value;
            }
        }
        mark(&mut tool, wanted.get("cache_control"));
        tool
    });
    out.insert("tools".into(), tools.collect());
    let single = field(from, "parallel_tool_calls") == Some(&Value::Bool(false));
    let choice = &view.tool_choice;
    let mut chosen = match choice {
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => json!({"type": "none"}),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Named(name) => json!({"type": "tool", "name": name}),
    };
    if single && *choice != ToolChoice::None {
        chosen["disable_parallel_tool_use"] = true.into();
    }
    if single || *choice != ToolChoice::Auto {
        out.insert("tool_choice".into(), chosen);
    }
    Ok(())
}

/// The form of the answer, and how hard the model thinks.
fn wanted(from: &Object, format: &Format, out: &mut Object) -> Result<(), Kind> {
    let mut wanted = Object::new();
    match format {
        Format::Text => {}
        Format::JsonSchema(schema) => {
            wanted.insert("format".into(), json!({"type": "json_schema", "schema": schema}));
        }
        Format::JsonObject => return Err(unsupported("this provider needs a JSON schema for an answer in JSON")),
        Format::Regex(_) => return Err(unsupported("this provider does not know regular expressions")),
    }
    match text(from, "reasoning_effort")? {
        None | Some("none") => {}
        Some("minimal") => drop(wanted.insert("effort".into(), "low".into())),
        Some(effort @ ("low" | "medium" | "high" | "xhigh" | "max")) => {
            wanted.insert("effort".into(), effort.into());
        }
        Some(_) => return Err(unsupported("this provider does not know that `reasoning_effort`")),
    }
    if !wanted.is_empty() {
        out.insert("output_config".into(), wanted.into());
    }
    Ok(())
}

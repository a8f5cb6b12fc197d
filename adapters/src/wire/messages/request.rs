//! From a Messages request to a chat request.

use crate::wire::walk::{Object, below, field, flag, list, maybe_text, needed, object, only, text, wrong};
use crate::wire::{WireError, marks};
use serde_json::{Value, json};

/// Fields that are read, or may be left out: hints about caches and capacity do not change what is asked.
const FIELDS: [&str; 18] = [
    "model",
    "messages",
    "max_tokens",
    "system",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "tools",
    "tool_choice",
    "metadata",
    "thinking",
    "output_config",
    "cache_control",
    "service_tier",
    "diagnostics",
    "speed",
];

/// Which version of the Messages API a client speaks (`anthropic-version`).
///
/// Source: Anthropic API reference, "Versions" and "Migrating to API version 2026-10-21".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// `2023-06-01`
    June2023,
    /// `2026-10-21`: without `temperature`, `top_p`, `top_k`, and without citations in what a user says.
    #[default]
    October2026,
}

/// The chat request that means the same, with the client's marks for a cache ([`marks`]); `counts`: only its tokens are wanted, so
/// it needs no ceiling.
///
/// # Errors
/// What is malformed, and what has no counterpart, by its path.
pub(crate) fn chat(from: &Object, version: Version, counts: bool) -> Result<Object, WireError> {
    only(from, "", &FIELDS)?;
    if version == Version::October2026
        && let Some(gone) = ["temperature", "top_p", "top_k"].iter().find(|name| field(from, name).is_some())
    {
        return Err(wrong(gone, "is not there in version 2026-10-21; version 2023-06-01 has it"));
    }
    let mut out = Object::new();
    out.insert("model".into(), text(from, "", "model")?.into());
    let mut messages = Vec::new();
    if let Some(system) = field(from, "system") {
        messages.push(json!({"role": "system", "content": told(system, "system")?}));
    }
    let turns = list(needed(from, "", "messages")?, "messages")?;
    for (at, turn) in turns.iter().enumerate() {
        let path = format!("messages[{at}]");
        let turn = object(turn, &path)?;
        only(turn, &path, &["role", "content"])?;
        match text(turn, &path, "role")? {
            "user" => user(turn, &path, version, &mut messages)?,
            "assistant" if at + 1 == turns.len() && !counts => {
                return Err(wrong(&path, "begins the answer, which cannot be done here: end with a user message"));
            }
            "assistant" => messages.push(assistant(turn, &path)?),
            "system" => {
                let content = told(needed(turn, &path, "content")?, &below(&path, "content"))?;
                messages.push(json!({"role": "system", "content": content}));
            }
            _ => return Err(wrong(&below(&path, "role"), "must be `user` or `assistant`")),
        }
    }
    out.insert("messages".into(), messages.into());
    settings(from, counts, &mut out)?;
    offered(from, &mut out)?;
    if let Some(mark) = field(from, "cache_control").and_then(marks::known) {
        out.insert("cache_control".into(), mark);
    }
    Ok(out)
}

fn settings(from: &Object, counts: bool, out: &mut Object) -> Result<(), WireError> {
    match field(from, "max_tokens") {
        Some(most) if most.as_u64().is_some_and(|most| most > 0) => {
            out.insert("max_completion_tokens".into(), most.clone());
        }
        Some(_) => return Err(wrong("max_tokens", "must be a whole number above 0")),
        None if counts => {}
        None => return Err(wrong("max_tokens", "is missing")),
    }
    if field(from, "temperature").is_some_and(|heat| !heat.as_f64().is_some_and(|heat| (0.0..=1.0).contains(&heat))) {
        return Err(wrong("temperature", "must be between 0 and 1"));
    }
    for name in ["temperature", "top_p", "top_k"] {
        if let Some(value) = field(from, name) {
            out.insert(name.into(), value.clone());
        }
    }
    if let Some(stops) = field(from, "stop_sequences") {
        let stops = list(stops, "stop_sequences")?;
        if stops.len() > 4 || stops.iter().any(|stop| stop.as_str().is_none_or(str::is_empty)) {
            return Err(wrong("stop_sequences", "must be at most four texts, none empty"));
        }
        if !stops.is_empty() {
            out.insert("stop".into(), stops.into());
        }
    }
    if flag(from, "", "stream")? == Some(true) {
        out.insert("stream".into(), true.into());
        // The last events of a message say what it used.
        out.insert("stream_options".into(), json!({"include_usage": true}));
    }
    if let Some(metadata) = field(from, "metadata") {
        let metadata = object(metadata, "metadata")?;
        only(metadata, "metadata", &["user_id"])?;
        if let Some(user) = maybe_text(metadata, "metadata", "user_id")? {
            out.insert("user".into(), user.into());
        }
    }
    if let Some(thinking) = field(from, "thinking") {
        let thinking = object(thinking, "thinking")?;
        match text(thinking, "thinking", "type")? {
            // Nobody is asked for thoughts, or the model may decide by itself.
            "disabled" | "adaptive" => {}
            // A budget changes nothing of what the prompt is.
            "enabled" if counts => {}
            _ => return Err(wrong("thinking.type", "must be `disabled` or `adaptive`: a budget cannot be kept here")),
        }
    }
    if let Some(wanted) = field(from, "output_config") {
        let wanted = object(wanted, "output_config")?;
        only(wanted, "output_config", &["effort", "format"])?;
        if let Some(effort) = maybe_text(wanted, "output_config", "effort")? {
            out.insert("reasoning_effort".into(), effort.into());
        }
        if let Some(format) = field(wanted, "format") {
            let format = object(format, "output_config.format")?;
            only(format, "output_config.format", &["type", "schema"])?;
            if text(format, "output_config.format", "type")? != "json_schema" {
                return Err(wrong("output_config.format.type", "must be `json_schema`"));
            }
            let schema = needed(format, "output_config.format", "schema")?;
            let named = json!({"name": "answer", "strict": true, "schema": schema});
            out.insert("response_format".into(), json!({"type": "json_schema", "json_schema": named}));
        }
    }
    Ok(())
}

fn offered(from: &Object, out: &mut Object) -> Result<(), WireError> {
    if let Some(tools) = field(from, "tools") {
        let tools = list(tools, "tools")?.iter().enumerate().map(|(at, wanted)| tool(wanted, &format!("tools[{at}]")));
        let tools = tools.collect::<Result<Vec<_>, _>>()?;
        if !tools.is_empty() {
            out.insert("tools".into(), tools.into());
        }
    }
    if let Some(choice) = field(from, "tool_choice") {
        let choice = object(choice, "tool_choice")?;
        only(choice, "tool_choice", &["type", "name", "disable_parallel_tool_use"])?;
        let chosen = match text(choice, "tool_choice", "type")? {
            "auto" => json!("auto"),
            "any" => json!("required"),
            "none" => json!("none"),
            "tool" => {
                let name = text(choice, "tool_choice", "name")?;
                json!({"type": "function", "function": {"name": name}})
            }
            _ => return Err(wrong("tool_choice.type", "must be `auto`, `any`, `tool` or `none`")),
        };
        out.insert("tool_choice".into(), chosen);
        if flag(choice, "tool_choice", "disable_parallel_tool_use")? == Some(true) {
            out.insert("parallel_tool_calls".into(), false.into());
        }
    }
    Ok(())
}

fn tool(wanted: &Value, path: &str) -> Result<Value, WireError> {
    let wanted = object(wanted, path)?;
    if let Some(kind) = maybe_text(wanted, path, "type")?
        && kind != "custom"
    {
        let shown: String = kind.chars().take(60).collect();
        return Err(wrong(&below(path, "type"), &format!("is `{shown}`: tools that a server runs are not supported")));
    }
    let known = ["type", "name", "description", "input_schema", "strict", "cache_control", "eager_input_streaming"];
    only(wanted, path, &known)?;
    let schema = needed(wanted, path, "input_schema")?;
    object(schema, &below(path, "input_schema"))?;
    let mut function = Object::new();
    function.insert("name".into(), text(wanted, path, "name")?.into());
    if let Some(description) = maybe_text(wanted, path, "description")? {
        function.insert("description".into(), description.into());
    }
    function.insert("parameters".into(), schema.clone());
    if let Some(strict) = flag(wanted, path, "strict")? {
        function.insert("strict".into(), strict.into());
    }
    let mut tool = json!({"type": "function", "function": function});
    marks::put(&mut tool, wanted);
    Ok(tool)
}

/// Text, or text blocks: as a text where there is one, as parts where there are several.
fn told(content: &Value, path: &str) -> Result<Value, WireError> {
    if content.is_string() {
        return Ok(content.clone());
    }
    let mut parts = Vec::new();
    for (at, block) in list(content, path)?.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let block = object(block, &path)?;
        match text(block, &path, "type")? {
            "text" => parts.push(text_part(block, &path)?),
            kind => return Err(unknown(&path, kind)),
        }
    }
    Ok(joined(parts))
}

fn joined(parts: Vec<Value>) -> Value {
    let mut joined = Value::Array(parts);
    marks::flatten(&mut joined);
    joined
}

fn unknown(path: &str, kind: &str) -> WireError {
    let shown: String = kind.chars().take(60).collect();
    wrong(path, &format!("is a block of type `{shown}`, which is not supported here"))
}

fn text_part(block: &Object, path: &str) -> Result<Value, WireError> {
    only(block, path, &["type", "text", "cache_control", "citations"])?;
    let mut part = json!({"type": "text", "text": text(block, path, "text")?});
    marks::put(&mut part, block);
    Ok(part)
}

fn user(turn: &Object, path: &str, version: Version, messages: &mut Vec<Value>) -> Result<(), WireError> {
    let (content, path) = (needed(turn, path, "content")?, below(path, "content"));
    if content.is_string() {
        messages.push(json!({"role": "user", "content": content}));
        return Ok(());
    }
    let mut parts = Vec::new();
    let blocks = list(content, &path)?;
    if blocks.is_empty() {
        return Err(wrong(&path, "is empty"));
    }
    for (at, block) in blocks.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let block = object(block, &path)?;
        let cites = field(block, "citations").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        match text(block, &path, "type")? {
            "text" if cites && version == Version::October2026 => {
                return Err(wrong(&below(&path, "citations"), "cannot be in what a user says"));
            }
            "text" => parts.push(text_part(block, &path)?),
            "image" => parts.push(image(block, &path)?),
            "document" => parts.push(document(block, &path)?),
            "tool_result" => messages.push(result(block, &path)?),
            kind => return Err(unknown(&path, kind)),
        }
    }
    if !parts.is_empty() {
        messages.push(json!({"role": "user", "content": joined(parts)}));
    }
    Ok(())
}

/// The bytes of a source as a data URL.
fn data_url(source: &Object, path: &str) -> Result<String, WireError> {
    only(source, path, &["type", "media_type", "data"])?;
    Ok(format!("data:{};base64,{}", text(source, path, "media_type")?, text(source, path, "data")?))
}

fn image(block: &Object, path: &str) -> Result<Value, WireError> {
    only(block, path, &["type", "source", "cache_control"])?;
    let (source, path) = (needed(block, path, "source")?, below(path, "source"));
    let source = object(source, &path)?;
    let url = match text(source, &path, "type")? {
        "base64" => data_url(source, &path)?,
        "url" => {
            only(source, &path, &["type", "url"])?;
            text(source, &path, "url")?.to_owned()
        }
        _ => return Err(wrong(&below(&path, "type"), "must be `base64` or `url`")),
    };
    let mut part = json!({"type": "image_url", "image_url": {"url": url}});
    marks::put(&mut part, block);
    Ok(part)
}

fn document(block: &Object, path: &str) -> Result<Value, WireError> {
    only(block, path, &["type", "source", "title", "cache_control"])?;
    let title = maybe_text(block, path, "title")?;
    let (source, path) = (needed(block, path, "source")?, below(path, "source"));
    let source = object(source, &path)?;
    let mut part = match text(source, &path, "type")? {
        "base64" => {
            let data = data_url(source, &path)?;
            let file = json!({"filename": title.unwrap_or("document.pdf"), "file_data": data});
            json!({"type": "file", "file": file})
        }
        "text" => {
            only(source, &path, &["type", "media_type", "data"])?;
            let body = text(source, &path, "data")?;
            let told = title.map_or_else(|| body.to_owned(), |title| format!("{title}\n\n{body}"));
            json!({"type": "text", "text": told})
        }
        _ => return Err(wrong(&below(&path, "type"), "must be `base64` or `text`")),
    };
    marks::put(&mut part, block);
    Ok(part)
}

fn result(block: &Object, path: &str) -> Result<Value, WireError> {
    only(block, path, &["type", "tool_use_id", "content", "is_error", "cache_control"])?;
    let id = text(block, path, "tool_use_id")?;
    let mut content = match field(block, "content") {
        Some(content) => told(content, &below(path, "content"))?,
        None => json!(""),
    };
    if flag(block, path, "is_error")? == Some(true) {
        // A chat has no field for it, and the model must know.
        if let Value::Array(parts) = &mut content {
            parts.insert(0, json!({"type": "text", "text": "Error:"}));
        } else {
            content = format!("Error: {}", content.as_str().unwrap_or_default()).into();
        }
    }
    let mut message = json!({"role": "tool", "tool_call_id": id, "content": content});
    marks::put(&mut message, block);
    Ok(message)
}

fn assistant(turn: &Object, path: &str) -> Result<Value, WireError> {
    let (content, path) = (needed(turn, path, "content")?, below(path, "content"));
    if content.is_string() {
        return Ok(json!({"role": "assistant", "content": content}));
    }
    let (mut parts, mut calls) = (Vec::new(), Vec::new());
    for (at, block) in list(content, &path)?.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let block = object(block, &path)?;
        match text(block, &path, "type")? {
            "text" => parts.push(text_part(block, &path)?),
            "tool_use" => {
                only(block, &path, &["type", "id", "name", "input", "cache_control", "caller"])?;
                let input = needed(block, &path, "input")?;
                object(input, &below(&path, "input"))?;
                let function = json!({"name": text(block, &path, "name")?, "arguments": input.to_string()});
                let mut call = json!({"id": text(block, &path, "id")?, "type": "function", "function": function});
                marks::put(&mut call, block);
                calls.push(call);
            }
            // Thoughts are signed by the model that had them: no other one can read them.
            "thinking" | "redacted_thinking" => {}
            kind => return Err(unknown(&path, kind)),
        }
    }
    let content = if parts.is_empty() { Value::Null } else { joined(parts) };
    let mut message = json!({"role": "assistant", "content": content});
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    Ok(message)
}

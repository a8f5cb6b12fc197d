//! From a Responses request to a chat request.

use crate::wire::WireError;
use crate::wire::walk::{Object, below, field, flag, list, maybe_text, needed, object, only, text, wrong};
use serde_json::{Value, json};

/// Fields that are read, or may be left out.
const FIELDS: [&str; 23] = [
    "background",
    "model",
    "input",
    "instructions",
    "max_output_tokens",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "store",
    "include",
    "truncation",
];

/// Fields that a chat request has under the same name.
const SAME: [&str; 9] = [
    "model",
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
];

/// The chat request that means the same.
///
/// # Errors
/// What is malformed, what needs state, and what has no counterpart, by its path.
pub(crate) fn chat(from: &Object) -> Result<Object, WireError> {
    stateless(from)?;
    only(from, "", &FIELDS)?;
    text(from, "", "model")?;
    field(from, "metadata").map(|metadata| object(metadata, "metadata")).transpose()?;
    let mut out = Object::new();
    for name in SAME {
        if let Some(value) = field(from, name) {
            out.insert(name.into(), value.clone());
        }
    }
    let mut messages = Vec::new();
    if let Some(told) = maybe_text(from, "", "instructions")? {
        messages.push(json!({"role": "system", "content": told}));
    }
    let input = needed(from, "", "input")?;
    if input.is_string() {
        messages.push(json!({"role": "user", "content": input}));
    } else {
        for (at, item) in list(input, "input")?.iter().enumerate() {
            let path = format!("input[{at}]");
            add(object(item, &path)?, &path, &mut messages)?;
        }
    }
    if messages.is_empty() {
        return Err(wrong("input", "is empty"));
    }
    out.insert("messages".into(), messages.into());
    match field(from, "max_output_tokens") {
        Some(most) if most.as_u64().is_some_and(|most| most > 0) => {
            out.insert("max_completion_tokens".into(), most.clone());
        }
        Some(_) => return Err(wrong("max_output_tokens", "must be a whole number above 0")),
        None => {}
    }
    if flag(from, "", "stream")? == Some(true) {
        out.insert("stream".into(), true.into());
        // The last event of a response says what it used.
        out.insert("stream_options".into(), json!({"include_usage": true}));
    }
    shape(from, &mut out)?;
    offered(from, &mut out)?;
    Ok(out)
}

/// What would need something that was kept.
fn stateless(from: &Object) -> Result<(), WireError> {
    for name in ["previous_response_id", "conversation", "prompt"] {
        if field(from, name).is_some() {
            return Err(wrong(name, "is not supported: no response is stored here, send the whole conversation"));
        }
    }
    for name in ["store", "background"] {
        if flag(from, "", name)? == Some(true) {
            return Err(wrong(name, "cannot be true: no response is stored here"));
        }
    }
    if maybe_text(from, "", "truncation")?.is_some_and(|word| word != "disabled") {
        return Err(wrong("truncation", "must be `disabled`: no part of a conversation is left out here"));
    }
    let wanted = field(from, "include").map(|wanted| list(wanted, "include")).transpose()?.unwrap_or_default();
    // There are no encrypted thoughts to include, so leaving them out loses nothing.
    if let Some(other) = wanted.iter().find(|wanted| wanted.as_str() != Some("reasoning.encrypted_content")) {
        return Err(wrong("include", &format!("cannot have {other}")));
    }
    Ok(())
}

fn shape(from: &Object, out: &mut Object) -> Result<(), WireError> {
    if let Some(reasoning) = field(from, "reasoning") {
        let reasoning = object(reasoning, "reasoning")?;
        only(reasoning, "reasoning", &["effort", "summary"])?;
        if let Some(effort) = maybe_text(reasoning, "reasoning", "effort")? {
            out.insert("reasoning_effort".into(), effort.into());
        }
    }
    let Some(wanted) = field(from, "text") else { return Ok(()) };
    let wanted = object(wanted, "text")?;
    only(wanted, "text", &["format", "verbosity"])?;
    if let Some(verbosity) = maybe_text(wanted, "text", "verbosity")? {
        out.insert("verbosity".into(), verbosity.into());
    }
    let Some(format) = field(wanted, "format") else { return Ok(()) };
    let format = object(format, "text.format")?;
    match text(format, "text.format", "type")? {
        kind @ ("text" | "json_object") => {
            if kind == "json_object" {
                out.insert("response_format".into(), json!({"type": kind}));
            }
        }
        "json_schema" => {
            only(format, "text.format", &["type", "name", "schema", "strict", "description"])?;
            let mut named = format.clone();
            named.remove("type");
            out.insert("response_format".into(), json!({"type": "json_schema", "json_schema": named}));
        }
        _ => return Err(wrong("text.format.type", "must be `text`, `json_object` or `json_schema`")),
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
    let Some(choice) = field(from, "tool_choice") else { return Ok(()) };
    let chosen =
        if choice.is_string() { choice.clone() } else { chosen(object(choice, "tool_choice")?, "tool_choice")? };
    out.insert("tool_choice".into(), chosen);
    Ok(())
}

/// A function that must be called, or those that may be.
fn chosen(choice: &Object, path: &str) -> Result<Value, WireError> {
    match text(choice, path, "type")? {
        "function" => {
            only(choice, path, &["type", "name"])?;
            Ok(json!({"type": "function", "function": {"name": text(choice, path, "name")?}}))
        }
        "allowed_tools" if path == "tool_choice" => {
            only(choice, path, &["type", "mode", "tools"])?;
            let allowed = list(needed(choice, path, "tools")?, "tool_choice.tools")?.iter().enumerate();
            let allowed = allowed.map(|(at, wanted)| {
                let path = format!("tool_choice.tools[{at}]");
                chosen(object(wanted, &path)?, &path)
            });
            let among = json!({"mode": text(choice, path, "mode")?, "tools": allowed.collect::<Result<Vec<_>, _>>()?});
            Ok(json!({"type": "allowed_tools", "allowed_tools": among}))
        }
        _ => Err(wrong(&below(path, "type"), "must be `function`, or `allowed_tools` of functions")),
    }
}

fn tool(wanted: &Value, path: &str) -> Result<Value, WireError> {
    let wanted = object(wanted, path)?;
    let kind = text(wanted, path, "type")?;
    if kind != "function" {
        let shown: String = kind.chars().take(60).collect();
        return Err(wrong(&below(path, "type"), &format!("is `{shown}`: only `function` is supported here")));
    }
    only(wanted, path, &["type", "name", "description", "parameters", "strict"])?;
    text(wanted, path, "name")?;
    let mut function = wanted.clone();
    function.retain(|key, value| key != "type" && !value.is_null());
    Ok(json!({"type": "function", "function": function}))
}

/// Adds an item to the conversation.
fn add(item: &Object, path: &str, messages: &mut Vec<Value>) -> Result<(), WireError> {
    match maybe_text(item, path, "type")?.unwrap_or("message") {
        "message" => {
            only(item, path, &["type", "role", "content", "id", "status", "phase"])?;
            let role = text(item, path, "role")?;
            if !["user", "assistant", "system", "developer"].contains(&role) {
                return Err(wrong(&below(path, "role"), "must be `user`, `assistant`, `system` or `developer`"));
            }
            let content = parts(needed(item, path, "content")?, &below(path, "content"))?;
            messages.push(json!({"role": role, "content": content}));
        }
        "function_call" => {
            only(item, path, &["type", "id", "call_id", "name", "arguments", "status"])?;
            let function = json!({"name": text(item, path, "name")?, "arguments": text(item, path, "arguments")?});
            let call = json!({"id": text(item, path, "call_id")?, "type": "function", "function": function});
            // Calls of one turn are items of their own there, and one message here.
            match messages.last_mut().filter(|last| last["role"] == "assistant").and_then(Value::as_object_mut) {
                Some(last) => {
                    let calls = last.entry("tool_calls").or_insert_with(|| json!([]));
                    calls.as_array_mut().into_iter().for_each(|calls| calls.push(call.clone()));
                }
                None => messages.push(json!({"role": "assistant", "content": null, "tool_calls": [call]})),
            }
        }
        "function_call_output" => {
            only(item, path, &["type", "id", "call_id", "output", "status"])?;
            let output = parts(needed(item, path, "output")?, &below(path, "output"))?;
            messages.push(json!({"role": "tool", "tool_call_id": text(item, path, "call_id")?, "content": output}));
        }
        // Thoughts of an earlier turn can be read by nobody but the provider that had them.
        "reasoning" => {}
        kind => {
            let shown: String = kind.chars().take(60).collect();
            return Err(wrong(path, &format!("is an item of type `{shown}`, which is not supported here")));
        }
    }
    Ok(())
}

fn parts(content: &Value, path: &str) -> Result<Value, WireError> {
    if content.is_string() {
        return Ok(content.clone());
    }
    let read = list(content, path)?.iter().enumerate().map(|(at, part)| {
        let path = format!("{path}[{at}]");
        self::part(object(part, &path)?, &path)
    });
    let mut parts = read.collect::<Result<Vec<_>, _>>()?;
    Ok(match parts.as_mut_slice() {
        [only] if only["type"] == "text" => only["text"].take(),
        _ => Value::Array(parts),
    })
}

fn part(part: &Object, path: &str) -> Result<Value, WireError> {
    match text(part, path, "type")? {
        "input_text" | "output_text" | "text" => {
            only(part, path, &["type", "text", "annotations", "logprobs"])?;
            Ok(json!({"type": "text", "text": text(part, path, "text")?}))
        }
        "refusal" => Ok(json!({"type": "refusal", "refusal": text(part, path, "refusal")?})),
        "input_image" => {
            only(part, path, &["type", "image_url", "detail"])?;
            let mut image = json!({"url": text(part, path, "image_url")?});
            if let Some(detail) = maybe_text(part, path, "detail")? {
                image["detail"] = detail.into();
            }
            Ok(json!({"type": "image_url", "image_url": image}))
        }
        "input_file" => {
            only(part, path, &["type", "file_data", "filename"])?;
            let mut file = json!({"file_data": text(part, path, "file_data")?});
            if let Some(name) = maybe_text(part, path, "filename")? {
                file["filename"] = name.into();
            }
            Ok(json!({"type": "file", "file": file}))
        }
        kind => {
            let shown: String = kind.chars().take(60).collect();
            Err(wrong(path, &format!("is a part of type `{shown}`, which is not supported here")))
        }
    }
}

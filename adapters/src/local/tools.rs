//! Tools: what the model is told of them, what it is held to, and what is read out of its answer.
//!
//! **Promise.** `required` and a named tool always give a call whose arguments fit the tool's schema, because the answer is
//! constrained to it. `auto` leaves the model free and recognises a call in the forms that open models write: an object
//! (or a list of them) with `name` and `arguments` or `parameters`, bare, in a code fence, or between `<tool_call>` tags.
//! What is not a call to a tool on offer is text.
//!
//! **Why not an `anyOf` of text and calls for `auto`.** A grammar with a free branch biases small models into it or out of
//! it by its first token; recognising keeps the model's own decision.

use super::template::spaced;
use crate::wire::{Tool, ToolChoice};
use serde_json::{Value, json};

/// What the answer must or may be.
#[derive(Debug, PartialEq)]
pub(super) enum Mode {
    /// Text.
    None,
    /// Text or a call.
    Auto(Vec<String>),
    /// A call to one of these, by this schema.
    Forced(Vec<String>, Value),
}

/// A call as the model wrote it.
#[derive(Debug, PartialEq)]
pub(super) struct Called {
    pub(super) name: String,
    /// JSON text.
    pub(super) arguments: String,
}

/// Decides the mode of a request.
pub(super) fn mode(tools: &[Tool], choice: &ToolChoice) -> Result<Mode, String> {
    let names = || tools.iter().map(|tool| tool.name.clone()).collect::<Vec<_>>();
    match choice {
        ToolChoice::None => Ok(Mode::None),
        ToolChoice::Auto if tools.is_empty() => Ok(Mode::None),
        ToolChoice::Auto => Ok(Mode::Auto(names())),
        ToolChoice::Required if tools.is_empty() => Err("`tool_choice` is `required`, but there are no `tools`".into()),
        ToolChoice::Required => Ok(Mode::Forced(names(), schema(&tools.iter().collect::<Vec<_>>()))),
        ToolChoice::Named(name) => match tools.iter().find(|tool| tool.name == *name) {
            Some(tool) => Ok(Mode::Forced(vec![name.clone()], schema(&[tool]))),
            None => Err(format!("`tool_choice` names `{name}`, which is not among the `tools`")),
        },
    }
}

/// The schema of a call to one of the tools.
fn schema(tools: &[&Tool]) -> Value {
    let call = |tool: &Tool| {
        let arguments = tool.parameters.clone().filter(Value::is_object).unwrap_or_else(|| json!({"type": "object"}));
        json!({
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": arguments},
            "required": ["name", "arguments"],
            "additionalProperties": false,
        })
    };
    match tools {
        [tool] => call(tool),
        tools => json!({"anyOf": tools.iter().map(|tool| call(tool)).collect::<Vec<_>>()}),
    }
}

/// What stands before the arguments of a call under [`schema`], separators included.
pub(super) fn opening(name: &str) -> String {
    format!("{{\"name\": {}, \"arguments\": ", Value::from(name))
}

/// A tool in OpenAI's form, for templates.
pub(super) fn offered(tool: &Tool) -> Value {
    json!({"type": "function", "function": {
        "name": tool.name,
        "description": tool.description.clone().unwrap_or_default(),
        "parameters": tool.parameters.clone().unwrap_or_else(|| json!({"type": "object", "properties": {}})),
    }})
}

/// Instructions for models whose template knows nothing of tools.
pub(super) fn instructions(tools: &[Value]) -> String {
    let list: Vec<String> = tools.iter().map(|tool| spaced(&tool["function"])).collect();
    format!(
        "You can call these functions:\n{}\nTo call one, answer with nothing but a JSON object of this form: {{\"name\": \"function name\", \"arguments\": {{...}}}}",
        list.join("\n")
    )
}

/// Whether a text may still become a call; what cannot is streamed at once.
pub(super) fn may_be_call(text: &str) -> bool {
    let text = text.trim_start();
    ["{", "[", "<tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "```"]
        .iter()
        .any(|start| text.starts_with(start) || start.starts_with(text))
}

/// Reads the calls out of an answer; none when it is text.
pub(super) fn calls_in(text: &str, names: &[String]) -> Option<Vec<Called>> {
    let mut body = text.trim();
    for fence in ["```json", "```"] {
        if let Some(inner) = body.strip_prefix(fence) {
            body = inner.trim_end().strip_suffix("```").unwrap_or(inner).trim();
        }
    }
    for mark in ["<|python_tag|>", "[TOOL_CALLS]"] {
        body = body.strip_prefix(mark).unwrap_or(body).trim();
    }
    let parts: Vec<&str> = if body.starts_with("<tool_call>") {
        body.split("<tool_call>")
            .map(|part| part.split("</tool_call>").next().unwrap_or(part).trim())
            .filter(|part| !part.is_empty())
            .collect()
    } else {
        vec![body]
    };
    let mut calls = Vec::new();
    for part in parts {
        let read: Value = serde_json::from_str(part).ok()?;
        let list = read.as_array().map_or_else(|| std::slice::from_ref(&read), Vec::as_slice);
        calls.extend(list.iter().map(|call| called(call, names)).collect::<Option<Vec<_>>>()?);
    }
    (!calls.is_empty()).then_some(calls)
}

fn called(call: &Value, names: &[String]) -> Option<Called> {
    let call = call.get("function").filter(|inner| inner.is_object()).unwrap_or(call);
    let name = call.get("name")?.as_str().filter(|name| names.iter().any(|known| known == name))?;
    let arguments = match call.get("arguments").or_else(|| call.get("parameters")) {
        None => "{}".to_owned(),
        Some(Value::String(text)) => serde_json::from_str::<Value>(text).ok()?.is_object().then(|| text.clone())?,
        Some(value) => value.is_object().then(|| value.to_string())?,
    };
    Some(Called { name: name.to_owned(), arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["f".into(), "g".into()]
    }

    #[test]
    fn calls_are_read_in_the_forms_models_write() {
        let one = || Some(vec![Called { name: "f".into(), arguments: r#"{"a":1}"#.into() }]);
        for text in [
            r#"{"name": "f", "arguments": {"a": 1}}"#,
            "```json\n{\"name\": \"f\", \"parameters\": {\"a\": 1}}\n```",
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>",
            r#"[TOOL_CALLS] [{"name": "f", "arguments": "{\"a\":1}"}]"#,
            r#"{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}"#,
        ] {
            assert_eq!(calls_in(text, &names()), one(), "{text}");
            assert!(may_be_call(text) && may_be_call(&text[..1]), "{text}");
        }
        for text in ["Paris", r#"{"name": "h", "arguments": {}}"#, r#"{"capital": "Paris"}"#, "{\"name\"", "[]", ""] {
            assert_eq!(calls_in(text, &names()), None, "{text}");
        }
        assert!(!may_be_call("Paris") && may_be_call("") && may_be_call(" {"));
    }

    #[test]
    fn a_choice_that_cannot_be_met_is_refused() {
        let tool = Tool { name: "f".into(), description: None, parameters: None };
        assert!(mode(&[], &ToolChoice::Required).is_err());
        assert!(mode(std::slice::from_ref(&tool), &ToolChoice::Named("g".into())).is_err());
        assert_eq!(mode(&[tool], &ToolChoice::None), Ok(Mode::None));
        assert_eq!(opening("f"), r#"{"name": "f", "arguments": "#);
    }
}

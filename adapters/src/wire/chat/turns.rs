//! Messages, and bare prompts.

use super::super::{RawObject, WireError};
use policies::Redacted;
use serde::Deserialize;
use serde_json::Value;

/// The most messages a request may have.
const MAX_MESSAGES: usize = 1024;

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

pub(super) fn messages(raw: &RawObject) -> Result<Vec<Message>, WireError> {
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

pub(super) fn bare_prompt(raw: &RawObject) -> Result<String, WireError> {
    match raw.read::<Value>("prompt")? {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) if parts.len() == 1 && parts[0].is_string() => {
            Ok(parts[0].as_str().unwrap_or_default().to_owned())
        }
        Some(_) => Err(WireError::new("`prompt` must be one text: lists and tokens are not supported", Some("prompt"))),
        None => Err(WireError::new("`prompt` is missing", Some("prompt"))),
    }
}

//! From a request to the tokens of its prompt.
//!
//! **Promise.** The tokens that are counted are the tokens that enter the engine. A prompt that cannot fit is refused by its
//! size in bytes before any work is done on it (no token is longer than the longest in the vocabulary).
//!
//! **What it does not do.** Text of special tokens in a client's message is tokenised as the special token, as `transformers`
//! and vLLM do; the model is not a boundary of trust.

use super::load::Voice;
use super::tools::{self, Mode};
use crate::error::Kind;
use crate::wire::{Message, Prompt, Role, View};
use serde_json::{Value, json};

/// Tokenises a request's prompt.
pub(super) fn tokens(voice: &Voice, view: &View, mode: &Mode) -> Result<Vec<u32>, Kind> {
    can_fit(voice, view.texts().map(str::len).sum())?;
    let (text, special) = match &view.prompt {
        Prompt::Text(text) => (text.0.clone(), true),
        Prompt::Inputs(_) => return Err(Kind::Unsupported("the engine in process makes no embeddings".into())),
        Prompt::Messages(messages) => {
            let offered: Vec<Value> = match mode {
                Mode::None => Vec::new(),
                Mode::Auto(names) | Mode::Forced(names, _) => {
                    view.tools.iter().filter(|tool| names.contains(&tool.name)).map(tools::offered).collect()
                }
            };
            (chat(voice, messages, &offered)?, false)
        }
    };
    encode(voice, &text, special)
}

/// Tokenises a system and a user text for [`crate::Question`].
pub(super) fn question(voice: &Voice, system: &str, user: &str) -> Result<Vec<u32>, Kind> {
    can_fit(voice, system.len() + user.len())?;
    let messages = [json!({"role": "system", "content": system}), json!({"role": "user", "content": user})];
    encode(voice, &render(voice, &messages, &[])?, false)
}

fn can_fit(voice: &Voice, bytes: usize) -> Result<(), Kind> {
    let at_least = bytes as u64 / voice.longest_token.max(1);
    if at_least < voice.window { Ok(()) } else { Err(Kind::ContextLength { prompt: at_least, window: voice.window }) }
}

fn encode(voice: &Voice, text: &str, special: bool) -> Result<Vec<u32>, Kind> {
    let encoding = voice.tokenizer.encode_fast(text, special).map_err(|error| Kind::Internal(error.to_string()))?;
    let mut tokens = encoding.get_ids().to_vec();
    if let Some(bos) = voice.bos.filter(|bos| special && tokens.first() != Some(bos)) {
        tokens.insert(0, bos);
    }
    if tokens.is_empty() {
        return Err(Kind::Invalid("the prompt is empty".into()));
    }
    Ok(tokens)
}

fn render(voice: &Voice, messages: &[Value], offered: &[Value]) -> Result<String, Kind> {
    let Some(template) = &voice.template else {
        let what = "this model has no chat template: configure one, or use /v1/completions";
        return Err(Kind::Unsupported(what.into()));
    };
    template
        .render(messages, offered)
        .map_err(|error| Kind::Invalid(format!("the model's chat template refuses these messages: {error}")))
}

fn chat(voice: &Voice, messages: &[Message], offered: &[Value]) -> Result<String, Kind> {
    let (knows_tools, knows_role) =
        voice.template.as_ref().map_or((false, false), |template| (template.knows_tools(), template.knows_tool_role()));
    let mut turns: Vec<Value> = messages.iter().map(|message| turn(message, knows_role)).collect();
    if offered.is_empty() || knows_tools {
        return render(voice, &turns, offered);
    }
    let instructions = tools::instructions(offered);
    match turns.first_mut().filter(|first| first["role"] == "system") {
        Some(system) => {
            let text = system["content"].as_str().unwrap_or_default();
            system["content"] = format!("{text}\n\n{instructions}").into();
        }
        None => turns.insert(0, json!({"role": "system", "content": instructions})),
    }
    render(voice, &turns, &[])
}

/// A message in the form templates expect: arguments as objects, roles by their usual names.
fn turn(message: &Message, knows_tool_role: bool) -> Value {
    let text = message.text.0.as_str();
    let role = match message.role {
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool | Role::Function if knows_tool_role => "tool",
        Role::Tool | Role::Function => {
            let name = message.name.as_deref().unwrap_or("the function");
            return json!({"role": "user", "content": format!("Result of {name}: {text}")});
        }
    };
    let mut turn = json!({"role": role, "content": text});
    if let Some(name) = &message.name {
        turn["name"] = name.as_str().into();
    }
    if let Some(id) = &message.tool_call_id {
        turn["tool_call_id"] = id.as_str().into();
    }
    let Some(calls) = &message.tool_calls else { return turn };
    let mut calls = calls.0.clone();
    for call in calls.as_array_mut().into_iter().flatten() {
        let written = call
            .pointer("/function/arguments")
            .and_then(Value::as_str)
            .and_then(|text| serde_json::from_str::<Value>(text).ok());
        if let (Some(arguments), Some(place)) = (written, call.pointer_mut("/function/arguments")) {
            *place = arguments;
        }
    }
    if knows_tool_role {
        turn["tool_calls"] = calls;
    } else {
        let called: Vec<String> =
            calls.as_array().into_iter().flatten().map(|call| super::template::spaced(&call["function"])).collect();
        let content = [text.to_owned(), called.join("\n")]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("\n");
        turn["content"] = content.into();
    }
    turn
}

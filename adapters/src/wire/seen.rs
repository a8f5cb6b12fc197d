//! What was read in passing: text, finish, usage.
//!
//! Sources: OpenAI API reference, "The chat completion chunk object" and "The chat completion object" (usage with
//! `prompt_tokens_details` and `completion_tokens_details`); vLLM, Ollama and llama.cpp follow it.

use super::common_form;
use bytes::Bytes;
use policies::{Counted, TokenCount, Usage};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::Duration;

/// What one event, or one whole answer, told us.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Text for the client: content, refusal, reasoning, arguments of tool calls.
    pub text: String,
    /// `stop`, `length`, `tool_calls`, `content_filter`, ...
    pub finish: Option<String>,
    /// Tokens so far (`AtLeast`) or in all (`Exact`).
    pub usage: Option<Counted>,
    /// The event carries usage and no choice: the one that Sluice asks for on its own account.
    pub usage_only: bool,
    /// How sure the model was of each token in the event; only of a watched call ([`crate::Call::watch`]).
    pub certainty: Vec<Certainty>,
    /// How long a machine of one's own has been at work on the answer so far, waiting for a turn left out; `None` where the
    /// backend cannot tell.
    pub busy: Option<Duration>,
}

/// How sure a model was of one token, in its own distribution: before temperature, penalties and masks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Certainty {
    /// Natural logarithm of the token's probability.
    pub logprob: f32,
    /// Of the whole distribution, in nats.
    pub entropy: f32,
}

#[derive(Deserialize)]
struct AnswerView<'a> {
    #[serde(default, borrow)]
    choices: Option<&'a RawValue>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChoiceView<'a> {
    #[serde(default, borrow)]
    delta: Option<&'a RawValue>,
    #[serde(default, borrow)]
    message: Option<&'a RawValue>,
    #[serde(default, borrow)]
    text: Option<&'a RawValue>,
    #[serde(default, borrow)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageView<'a> {
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(default, borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tool_calls: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolCallView<'a> {
    #[serde(default, borrow)]
    function: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct FunctionView<'a> {
    #[serde(default, borrow)]
    name: Option<&'a RawValue>,
    #[serde(default, borrow)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct UsageView {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<InputDetails>,
    #[serde(default)]
    completion_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize, Default)]
struct InputDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    audio_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
struct OutputDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
    #[serde(default)]
    audio_tokens: Option<u64>,
}

/// Reads the payload of one event of a stream; `None` when it is not a JSON object.
pub fn seen_in_chunk(payload: &[u8]) -> Option<Seen> {
    if let Some((mut seen, choices)) = common_form::read(payload) {
        seen.usage_only = choices.unwrap_or(0) == 0 && seen.usage.is_some();
        return Some(seen);
    }
    let answer = answer_in(payload)?;
    let mut seen = read(&answer);
    let no_choice = answer.choices.is_none_or(|choices| list(choices).is_empty());
    seen.usage_only = no_choice && seen.usage.is_some();
    Some(seen)
}

/// Reads a whole answer; `None` when it is not a JSON object with a list of choices: no client could do anything with it.
pub fn seen_in_whole(body: &[u8]) -> Option<Seen> {
    if let Some((seen, choices)) = common_form::read(body) {
        return choices.map(|_| seen);
    }
    let answer = answer_in(body)?;
    answer.choices.is_some_and(|choices| choices.get().starts_with('[')).then(|| read(&answer))
}

/// An object, of whatever form: one with a field twice is an object, too, of which nothing is read.
fn answer_in(payload: &[u8]) -> Option<AnswerView<'_>> {
    if payload.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return None;
    }
    match serde_json::from_slice::<AnswerView<'_>>(payload) {
        Ok(answer) => Some(answer),
        Err(_) => {
            serde_json::from_slice::<IgnoredAny>(payload).ok()?;
            Some(AnswerView { choices: None, usage: None })
        }
    }
}

/// Whether a payload is an error instead of an answer.
pub fn error_in(payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct ErrorView {
        #[serde(default)]
        error: Option<IgnoredAny>,
    }
    serde_json::from_slice::<ErrorView>(payload).is_ok_and(|view| view.error.is_some())
}

/// Reads what has the foreseen form and passes over the rest: nothing that a provider writes can break an answer.
fn read(answer: &AnswerView<'_>) -> Seen {
    let mut seen =
        Seen { usage: answer.usage.and_then(object::<UsageView>).and_then(UsageView::counted), ..Seen::default() };
    for choice in answer.choices.map(list).unwrap_or_default() {
        let Some(choice) = object::<ChoiceView<'_>>(choice) else { continue };
        add(&mut seen.text, choice.text);
        for message in [choice.delta, choice.message].into_iter().flatten() {
            let Some(message) = object::<MessageView<'_>>(message) else { continue };
            let texts = [message.reasoning_content, message.content, message.refusal];
            texts.into_iter().for_each(|text| add(&mut seen.text, text));
            for call in message.tool_calls.map(list).unwrap_or_default() {
                let function = object::<ToolCallView<'_>>(call).and_then(|call| call.function);
                if let Some(function) = function.and_then(object::<FunctionView<'_>>) {
                    [function.name, function.arguments].into_iter().for_each(|text| add(&mut seen.text, text));
                }
            }
        }
        let finish = choice.finish_reason.and_then(|finish| serde_json::from_str::<String>(finish.get()).ok());
        seen.finish = finish.or(seen.finish);
    }
    seen
}

/// An object of that form: a derived reader would take a list of its fields, too.
fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    if raw.get().starts_with('{') { serde_json::from_str(raw.get()).ok() } else { None }
}

/// The entries of a list; none of anything else.
fn list(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// Adds a text. What is neither text nor null (parts, say) counts with its bytes, so that a count is not too low.
fn add(into: &mut String, raw: Option<&RawValue>) {
    let Some(raw) = raw.map(RawValue::get).filter(|raw| *raw != "null") else { return };
    match serde_json::from_str::<Cow<'_, str>>(raw) {
        Ok(text) => into.push_str(&text),
        Err(_) => into.push_str(raw),
    }
}

impl UsageView {
    /// `None` where the provider left a number out: a missing count is not a zero.
    pub(super) fn counted(self) -> Option<Counted> {
        let input = self.prompt_tokens?;
        let output = self.completion_tokens?;
        let of_input = self.prompt_tokens_details.unwrap_or_default();
        let of_output = self.completion_tokens_details.unwrap_or_default();
        let tokens = |count: Option<u64>| TokenCount(count.unwrap_or(0));
        Some(Counted::Exact(Usage {
            input: TokenCount(input),
            cached_input: tokens(of_input.cached_tokens),
            cache_write: TokenCount(0),
            audio_input: tokens(of_input.audio_tokens),
            output: TokenCount(output),
            reasoning: tokens(of_output.reasoning_tokens),
            audio_output: tokens(of_output.audio_tokens),
        }))
    }
}

/// The upstream's own word for its model, with its fingerprint, in an event or a whole body; a change of it is a change of the
/// model.
pub fn version_in(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(default)]
        model: Option<String>,
        #[serde(default)]
        system_fingerprint: Option<String>,
    }
    let event = (!bytes.starts_with(b"{")).then(|| Bytes::copy_from_slice(bytes));
    let payload = event.as_ref().and_then(super::sse::data);
    let Version { model, system_fingerprint } = serde_json::from_slice(payload.as_deref().unwrap_or(bytes)).ok()?;
    let words: Vec<String> =
        [model, system_fingerprint].into_iter().flatten().filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// What the patient reader reads, and how many choices there are.
#[cfg(test)]
pub(super) fn patient(payload: &[u8]) -> Option<(Seen, Option<usize>)> {
    answer_in(payload).map(|answer| (read(&answer), answer.choices.map(|choices| list(choices).len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_tells_text_finish_and_usage() {
        let seen = seen_in_chunk(
            br#"{"id":"x","choices":[{"index":0,"delta":{"content":"h\u00e9"},"finish_reason":"stop"}],"usage":null}"#,
        )
        .unwrap();
        assert_eq!(
            (seen.text.as_str(), seen.finish.as_deref(), seen.usage, seen.usage_only),
            ("hé", Some("stop"), None, false)
        );
        let seen = seen_in_chunk(br#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":0,"prompt_tokens_details":{"cached_tokens":3}}}"#).unwrap();
        assert!(seen.usage_only);
        let usage = *seen.usage.unwrap().usage();
        assert_eq!((usage.input.0, usage.cached_input.0, usage.output.0), (7, 3, 0));
    }

    #[test]
    fn the_upstreams_word_for_its_model_is_read_from_events_and_bodies() {
        let body = br#"{"model":"m-2026","system_fingerprint":"fp1","choices":[]}"#;
        assert_eq!(version_in(body).as_deref(), Some("m-2026 fp1"));
        let event = [b"data: ".as_slice(), br#"{"model":"m-2026","system_fingerprint":null}"#, b"\n\n"].concat();
        assert_eq!(version_in(&event).as_deref(), Some("m-2026"));
        assert_eq!((version_in(b"{}"), version_in(b"<html>")), (None, None));
    }

    #[test]
    fn a_stated_zero_is_a_zero_and_a_missing_count_is_not() {
        let zero = seen_in_whole(br#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#).unwrap();
        assert_eq!(zero.usage, Some(Counted::Exact(Usage::default())));
        assert_eq!(seen_in_whole(br#"{"choices":[],"usage":{"prompt_tokens":4}}"#).unwrap().usage, None);
        assert_eq!(seen_in_whole(br#"{"choices":[]}"#).unwrap().usage, None);
        for no_answer in ["<html>", r#"{"usage":{"prompt_tokens":4,"completion_tokens":1}}"#, r#"{"choices":7}"#] {
            assert!(seen_in_whole(no_answer.as_bytes()).is_none(), "{no_answer}");
        }
        for bad in [r#"{"prompt_tokens":"5","completion_tokens":1}"#, r#"{"prompt_tokens":-5}"#, "[1,2]", "7", "null"] {
            let body = format!(r#"{{"choices":[{{"message":{{"content":"x"}}}}],"usage":{bad}}}"#);
            let seen = seen_in_whole(body.as_bytes()).unwrap();
            assert_eq!((seen.usage, seen.text.as_str()), (None, "x"), "{bad}");
        }
    }

    #[test]
    fn forms_that_nobody_foresaw_break_nothing() {
        for (payload, text) in [
            (r#"{"choices":null}"#, ""),
            (r#"{"choices":[{"delta":null}]}"#, ""),
            (r#"{"choices":[{"delta":{"content":[{"text":"a"}],"tool_calls":null}}]}"#, r#"[{"text":"a"}]"#),
            (r#"{"choices":[{"delta":{"tool_calls":[{"function":null}],"content":"b"}}]}"#, "b"),
            (r#"{"x":1,"choices":7,"choices":8}"#, ""),
        ] {
            assert_eq!(seen_in_chunk(payload.as_bytes()).map(|seen| seen.text).as_deref(), Some(text), "{payload}");
        }
        assert!(seen_in_chunk(b"[1]").is_none() && seen_in_chunk(b"{\"a\"").is_none());
    }

    #[test]
    fn tool_calls_and_refusals_count_as_text() {
        let body = br#"{"choices":[{"message":{"content":null,"refusal":"no","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#;
        assert_eq!(seen_in_whole(body).unwrap().text, "nof{}");
        assert!(error_in(br#"{"error":{"message":"x"}}"#) && !error_in(br#"{"error":null,"choices":[]}"#));
    }
}

//! What was read in passing: text, finish, usage.
//!
//! Sources: OpenAI API reference, "The chat completion chunk object" and "The chat completion object" (usage with
//! `prompt_tokens_details` and `completion_tokens_details`); vLLM, Ollama and llama.cpp follow it.

use policies::{Counted, TokenCount, Usage};
use serde::Deserialize;
use std::borrow::Cow;

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
}

#[derive(Deserialize)]
struct AnswerView<'a> {
    #[serde(default, borrow)]
    choices: Vec<ChoiceView<'a>>,
    #[serde(default)]
    usage: Option<UsageView>,
}

#[derive(Deserialize)]
struct ChoiceView<'a> {
    #[serde(default, borrow)]
    delta: Option<MessageView<'a>>,
    #[serde(default, borrow)]
    message: Option<MessageView<'a>>,
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct MessageView<'a> {
    #[serde(default, borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    refusal: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    tool_calls: Option<Vec<ToolCallView<'a>>>,
}

#[derive(Deserialize)]
struct ToolCallView<'a> {
    #[serde(default, borrow)]
    function: Option<FunctionView<'a>>,
}

#[derive(Deserialize)]
struct FunctionView<'a> {
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    arguments: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct UsageView {
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

#[derive(Deserialize)]
struct UsageOnly {
    #[serde(default)]
    usage: Option<UsageView>,
}

/// Reads the payload of one event of a stream.
pub fn seen_in_chunk(payload: &[u8]) -> Option<Seen> {
    let answer: AnswerView<'_> = serde_json::from_slice(payload).ok()?;
    let usage_only = answer.choices.is_empty() && answer.usage.is_some();
    Some(read(answer, usage_only))
}

/// Reads a whole answer. One whose text has an unforeseen form still gives its usage.
pub fn seen_in_whole(body: &[u8]) -> Option<Seen> {
    if let Ok(answer) = serde_json::from_slice::<AnswerView<'_>>(body) {
        return Some(read(answer, false));
    }
    let UsageOnly { usage } = serde_json::from_slice(body).ok()?;
    Some(Seen { usage: usage.and_then(UsageView::counted), ..Seen::default() })
}

/// Whether a payload is an error instead of an answer.
pub fn error_in(payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct ErrorView {
        #[serde(default)]
        error: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<ErrorView>(payload).is_ok_and(|view| view.error.is_some())
}

fn read(answer: AnswerView<'_>, usage_only: bool) -> Seen {
    let mut seen = Seen { usage_only, usage: answer.usage.and_then(UsageView::counted), ..Seen::default() };
    for choice in answer.choices {
        if let Some(text) = choice.text {
            seen.text.push_str(&text);
        }
        for message in [choice.delta, choice.message].into_iter().flatten() {
            let texts = [message.reasoning_content, message.content, message.refusal];
            texts.into_iter().flatten().for_each(|text| seen.text.push_str(&text));
            for function in message.tool_calls.into_iter().flatten().filter_map(|call| call.function) {
                let texts = [function.name, function.arguments];
                texts.into_iter().flatten().for_each(|text| seen.text.push_str(&text));
            }
        }
        if let Some(finish) = choice.finish_reason {
            seen.finish = Some(finish.into_owned());
        }
    }
    seen
}

impl UsageView {
    /// `None` where the provider left a number out: a missing count is not a zero.
    fn counted(self) -> Option<Counted> {
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
    fn a_stated_zero_is_a_zero_and_a_missing_count_is_not() {
        let zero = seen_in_whole(br#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#).unwrap();
        assert_eq!(zero.usage, Some(Counted::Exact(Usage::default())));
        assert_eq!(seen_in_whole(br#"{"choices":[],"usage":{"prompt_tokens":4}}"#).unwrap().usage, None);
        assert_eq!(seen_in_whole(br#"{"choices":[]}"#).unwrap().usage, None);
        assert!(seen_in_whole(b"<html>").is_none());
        for bad in [r#""5""#, "-5", "1.5"] {
            let body = format!(r#"{{"choices":[],"usage":{{"prompt_tokens":{bad},"completion_tokens":1}}}}"#);
            assert!(seen_in_whole(body.as_bytes()).is_none_or(|seen| seen.usage.is_none()), "{bad}");
        }
    }

    #[test]
    fn tool_calls_and_refusals_count_as_text() {
        let body = br#"{"choices":[{"message":{"content":null,"refusal":"no","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#;
        assert_eq!(seen_in_whole(body).unwrap().text, "nof{}");
        assert!(error_in(br#"{"error":{"message":"x"}}"#) && !error_in(br#"{"error":null,"choices":[]}"#));
    }
}

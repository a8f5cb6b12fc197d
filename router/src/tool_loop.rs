//! An agent that goes round in circles.
//!
//! A conversation whose last calls of a tool are the same (name and arguments) and failed every time will not get better
//! with the model that made them: the strong one goes first. Failure is read off the result's text with the words that the
//! judge uses, so a tool that reports errors in a form of its own is not noticed; no request is refused for it.
//!
//! **When it is over.** With a call that succeeds, or with an answer without a call: whoever gave up and was asked
//! something else goes round no longer.

use crate::classify::probe::tells_of_failure;
use adapters::wire::{Message, Role};
use serde_json::Value;

/// The same call fails so often before somebody else is asked.
const TIMES: usize = 2;
/// Results that are looked at, from the last one back.
const LOOKED_AT: usize = 8;
/// Bytes of a result that are looked at: errors stand at its start.
const OF_RESULT: usize = 2_000;

/// Whether the last failed calls are one and the same, [`TIMES`] times at least, with no success and no answer after them.
pub(crate) fn repeats_a_failure(messages: &[Message]) -> bool {
    let mut since = messages.iter().rev().take_while(|message| !is_result(message));
    if since.any(answers) {
        return false;
    }
    let results = messages.iter().enumerate().rev().filter(|(_, message)| is_result(message)).take(LOOKED_AT);
    let mut failed: Option<(&str, &Value)> = None;
    let mut times = 0;
    for (at, result) in results {
        let Some(call) = call_of(&messages[..at], result) else { return false };
        let same = failed.is_none_or(|failed| failed == call);
        if !same || !tells_of_failure(start_of(&result.text.0)) {
            return false;
        }
        failed = Some(call);
        times += 1;
        if times >= TIMES {
            return true;
        }
    }
    false
}

/// An answer of the model that calls nothing.
fn answers(message: &Message) -> bool {
    let calls = message.tool_calls.as_ref().and_then(|calls| calls.0.as_array());
    message.role == Role::Assistant && calls.is_none_or(Vec::is_empty)
}

fn is_result(message: &Message) -> bool {
    matches!(message.role, Role::Tool | Role::Function)
}

/// Name and arguments of the call that a result answers: by its id, else the last one before it.
fn call_of<'a>(before: &'a [Message], result: &Message) -> Option<(&'a str, &'a Value)> {
    before.iter().rev().filter(|message| message.role == Role::Assistant).find_map(|message| {
        let calls = message.tool_calls.as_ref()?.0.as_array()?;
        let call = match &result.tool_call_id {
            Some(id) => calls.iter().find(|call| call["id"] == *id.as_str()),
            None => calls.last(),
        }?;
        Some((call["function"]["name"].as_str()?, &call["function"]["arguments"]))
    })
}

fn start_of(text: &str) -> &str {
    let mut end = text.len().min(OF_RESULT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use adapters::wire::WireRequest;
    use policies::Endpoint;
    use serde_json::json;

    /// A conversation of calls (name, arguments) and their results.
    fn messages(calls: &[(&str, &str, &str)]) -> Vec<Value> {
        let mut messages = vec![json!({"role": "user", "content": "find it"})];
        for (n, (name, arguments, result)) in calls.iter().enumerate() {
            let id = format!("call-{n}");
            let function = json!({"name": name, "arguments": arguments});
            let calls = json!([{"id": id, "type": "function", "function": function}]);
            messages.push(json!({"role": "assistant", "content": null, "tool_calls": calls}));
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
        }
        messages
    }

    fn parsed(messages: &[Value]) -> WireRequest {
        let body = json!({"model": "auto", "messages": messages}).to_string();
        WireRequest::parse(Endpoint::Chat, body.into()).unwrap()
    }

    #[test]
    fn only_the_same_call_that_failed_again_and_again_is_a_loop() {
        let (same, failed, fine) = (r#"{"q":1}"#, "Error: not found", "42");
        for (calls, expected) in [
            (vec![], false),
            (vec![("look", same, failed)], false),
            (vec![("look", same, failed), ("look", same, failed)], true),
            (vec![("look", same, fine), ("look", same, failed), ("look", same, failed)], true),
            (vec![("look", same, failed), ("look", same, failed), ("look", same, fine)], false),
            (vec![("look", same, failed), ("look", r#"{"q":2}"#, failed)], false),
            (vec![("look", same, failed), ("seek", same, failed)], false),
            (vec![("look", same, fine), ("look", same, fine)], false),
        ] {
            assert_eq!(repeats_a_failure(parsed(&messages(&calls)).view.messages()), expected, "{calls:?}");
        }
    }

    #[test]
    fn a_loop_is_over_once_the_agent_has_answered_without_a_call() {
        let failing = [("look", "{}", "Error: not found"), ("look", "{}", "Error: not found")];
        let answered = ("assistant", "I could not find it.");
        for (after, expected) in [
            (vec![("user", "go on")], true),
            (vec![answered], false),
            (vec![answered, ("user", "What is the capital of France?")], false),
        ] {
            let mut messages = messages(&failing);
            messages.extend(after.iter().map(|(role, content)| json!({"role": role, "content": content})));
            assert_eq!(repeats_a_failure(parsed(&messages).view.messages()), expected, "{after:?}");
        }
    }

    #[test]
    fn a_result_without_a_call_is_none() {
        let body = json!({"model": "auto", "messages": [{"role": "tool", "tool_call_id": "x", "content": "error"},
            {"role": "tool", "tool_call_id": "x", "content": "error"}]});
        let request = WireRequest::parse(Endpoint::Chat, body.to_string().into()).unwrap();
        assert!(!repeats_a_failure(request.view.messages()));
    }
}

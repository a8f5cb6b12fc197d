//! What the probe reads of a request.
//!
//! **Promise.** At most [`MOST`] bytes of the last user turn, half from each end, because what is asked stands at the
//! start or at the end of a long text and hardly ever in its middle; and the number of bytes that were not read. Reading
//! costs a copy of what is read and nothing in proportion to what is not.
//!
//! A short last turn ("and in Python?") says little by itself: up to [`MOST_BEFORE`] bytes of the user turn before it
//! are put in front of it, so that a follow-up is judged as what it follows. Instructions of the system, the model's own
//! answers and the results of tools are measured (how many, how long, whether the last result tells of a failure) but
//! their words do not take part, save that some stems are looked for in the turn before and in the last result: the head
//! was not trained on them, and they are where others than the user write.
//!
//! A row of training data goes the same way ([`Reading::of_prompt`]), so that a one-message request and the row with
//! the same text give the same reading.

use super::instruction::Instruction;
use adapters::wire::{Role, View, WireRequest};
use policies::Redacted;

/// Bytes of the last user turn that are read.
pub const MOST: usize = 6_144;
/// Bytes of the user turn before it that are read when the last one is short.
pub const MOST_BEFORE: usize = 1_024;
/// A last turn of fewer bytes than this is read together with the one before it.
const SHORT: usize = 120;
/// Bytes of the last tool result in which signs of a failure are looked for, half at each end.
const MOST_OF_RESULT: usize = 1_024;

/// Words that tell of a failed tool call.
const FAILURES: [&str; 8] =
    ["error", "failed", "exception", "traceback", "not found", "denied", "timed out", "invalid"];

/// What was read of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    text: Redacted<String>,
    context: Redacted<String>,
    /// Bytes of the last user turn, read or not.
    pub last_bytes: usize,
    /// Bytes of everything before the last user turn, instructions excepted.
    pub before_bytes: usize,
    /// Bytes of instructions (system and developer messages).
    pub instruction_bytes: usize,
    /// Turns of the user.
    pub user_turns: usize,
    /// Turns of the model.
    pub assistant_turns: usize,
    /// Results of tools since the last user turn.
    pub tool_results: usize,
    /// Bytes of those results.
    pub tool_bytes: usize,
    /// The last of those results tells of a failure.
    pub tool_failed: bool,
    /// Tools on offer.
    pub tools: usize,
    /// Bytes of the conversation that were not read.
    pub unread_bytes: usize,
}

// === impl Reading ===

impl Reading {
    /// Reads a request.
    pub fn of_request(request: &WireRequest) -> Self {
        Self::of_view(&request.view)
    }

    /// Reads a bare prompt, as a row of training data has it.
    pub fn of_prompt(prompt: &str) -> Self {
        let mut reading = Self { user_turns: 1, ..Self::default() };
        reading.take(prompt, "");
        let read = both_ends(prompt, MOST);
        reading.unread_bytes = prompt.len() - read.0.len() - read.1.len();
        reading
    }

    fn of_view(view: &View) -> Self {
        let messages = view.messages();
        if messages.is_empty() {
            let mut bare = Self::of_prompt(view.texts().last().unwrap_or_default());
            bare.tools = view.tools.len();
            return bare;
        }
        let at = messages.iter().rposition(|message| message.role == Role::User).unwrap_or(messages.len() - 1);
        let mut reading = Self { tools: view.tools.len(), ..Self::default() };
        let (mut all, mut before, mut result) = (0, "", "");
        for (n, message) in messages.iter().enumerate() {
            let text = message.text.0.as_str();
            all += text.len();
            match message.role {
                Role::System | Role::Developer if n != at => reading.instruction_bytes += text.len(),
                Role::User => {
                    reading.user_turns += 1;
                    if n < at {
                        before = text;
                    }
                }
                Role::Assistant => reading.assistant_turns += 1,
                Role::Tool | Role::Function if n > at => {
                    reading.tool_results += 1;
                    reading.tool_bytes += text.len();
                    result = text;
                }
                Role::System | Role::Developer | Role::Tool | Role::Function => {}
            }
            if n < at && !matches!(message.role, Role::System | Role::Developer) {
                reading.before_bytes += text.len();
            }
        }
        let last = messages.get(at).map_or("", |message| message.text.0.as_str());
        reading.take(last, before);
        let mut context = String::new();
        let mut read = 0;
        for (part, most) in [(last, MOST), (before, MOST_BEFORE), (result, MOST_OF_RESULT)] {
            let (head, tail) = both_ends(part, most);
            read += head.len() + tail.len();
            if most != MOST && !part.is_empty() {
                [head, "\n", tail, "\n"].iter().for_each(|part| context.push_str(part));
            }
        }
        reading.context = Redacted(context);
        let (head, tail) = both_ends(result, MOST_OF_RESULT);
        reading.tool_failed = [head, tail].iter().any(|part| tells_of_failure(part));
        reading.unread_bytes = all.saturating_sub(read);
        reading
    }

    /// Takes the last turn in, and in front of it the one before when it is short.
    fn take(&mut self, last: &str, before: &str) {
        self.last_bytes = last.len();
        let (head, tail) = both_ends(last, MOST);
        let mut text = String::with_capacity(head.len() + tail.len() + 1);
        if last.len() < SHORT {
            let (start, end) = both_ends(before, MOST_BEFORE);
            for part in [start, end].into_iter().filter(|part| !part.is_empty()) {
                text.push_str(part);
                text.push('\n');
            }
        }
        text.push_str(head);
        if !tail.is_empty() {
            text.push('\n');
            text.push_str(tail);
        }
        self.text = Redacted(text);
    }

    /// All that was read, the two ends of a long turn joined by a line break.
    pub fn text(&self) -> &str {
        &self.text.0
    }

    /// What was read of the user turn before and of the last result of a tool.
    pub fn context(&self) -> &str {
        &self.context.0
    }

    /// What of the text is the instruction: what the encoder reads.
    pub fn instruction(&self) -> Instruction {
        Instruction::of(self.text())
    }
}

pub(crate) fn tells_of_failure(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    FAILURES.iter().any(|word| text.contains(word))
}

/// Head and tail of a text, cut between characters; the tail is empty when the text is short.
pub(crate) fn both_ends(text: &str, most: usize) -> (&str, &str) {
    if text.len() <= most {
        return (text, "");
    }
    let (mut head, mut tail) = (most / 2, text.len() - most / 2);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    (&text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use policies::Endpoint;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn chat(messages: Value) -> Reading {
        let body = json!({"model": "auto", "messages": messages});
        Reading::of_request(&WireRequest::parse(Endpoint::Chat, body.to_string().into()).unwrap())
    }

    proptest! {
        #[test]
        fn a_row_and_the_request_with_the_same_text_read_the_same(prompt in "\\PC{0,300}", times in 1usize..60) {
            let prompt = prompt.repeat(times);
            let asked = chat(json!([{"role": "user", "content": prompt}]));
            prop_assert_eq!(&asked, &Reading::of_prompt(&prompt));
            prop_assert!(asked.text().len() <= MOST + 1);
            prop_assert_eq!(asked.unread_bytes, prompt.len().saturating_sub(asked.text().len().saturating_sub(usize::from(asked.unread_bytes > 0))));
        }
    }

    #[test]
    fn a_short_follow_up_is_read_with_what_it_follows() {
        let reading = chat(json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Prove that the square root of two is irrational."},
            {"role": "assistant", "content": "Suppose it were p/q ..."},
            {"role": "user", "content": "And of three?"},
        ]));
        assert!(reading.text().contains("irrational") && reading.text().ends_with("And of three?"));
        assert_eq!((reading.user_turns, reading.assistant_turns, reading.instruction_bytes), (2, 1, 9));
        assert_eq!(reading.unread_bytes, "Be brief.Suppose it were p/q ...".len());
    }

    #[test]
    fn results_of_tools_are_measured_and_a_failure_is_seen() {
        let reading = chat(json!([
            {"role": "user", "content": "Deploy it."},
            {"role": "assistant", "content": null, "tool_calls": []},
            {"role": "tool", "tool_call_id": "a", "content": "Error: permission denied"},
        ]));
        assert!(reading.tool_failed && reading.tool_results == 1 && reading.tool_bytes == 24);
        assert_eq!(reading.text(), "Deploy it.");
    }
}

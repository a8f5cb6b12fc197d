//! How sure a server in the house says it is of its tokens: asked for on Sluice's account, read, and taken out again.
//!
//! **Promise.** What a client did not ask for it does not get: `logprobs` of the answer is null again, as OpenAI's is where nobody
//! asked. Everything else of the event keeps its value and order.
//!
//! **What it does not do.** A server states the likeliest few alternatives of a token, not its whole distribution. What is left of
//! it is taken as one more alternative, so the entropy read here is a lower bound: with [`ALTERNATIVES`] of them a close one, as
//! small models keep nearly all their mass there.
//!
//! Source: OpenAI API reference, "The chat completion object", `choices[].logprobs.content[]`; llama.cpp's server and vLLM
//! follow it.

use super::Certainty;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

/// Alternatives that are asked for with each token: what every server grants that grants any.
pub const ALTERNATIVES: u8 = 10;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
struct Logprobs {
    #[serde(default)]
    content: Option<Vec<Token>>,
}

#[derive(Deserialize)]
struct Token {
    logprob: f32,
    #[serde(default)]
    top_logprobs: Vec<Alternative>,
}

#[derive(Deserialize)]
struct Alternative {
    logprob: f32,
}

/// The certainty of each token of an event or of a whole answer; empty where the server tells nothing.
pub fn certainty_in(payload: &[u8]) -> Vec<Certainty> {
    let Ok(answer) = serde_json::from_slice::<Answer>(payload) else { return Vec::new() };
    let tokens = answer.choices.into_iter().filter_map(|choice| choice.logprobs?.content).flatten();
    tokens.map(|token| Certainty { logprob: token.logprob, entropy: token.entropy() }).collect()
}

// === impl Token ===

impl Token {
    /// In nats: of the alternatives that were told, and of all others as if they were one.
    fn entropy(&self) -> f32 {
        let of = |share: f32| if share > 0.0 { -share * share.ln() } else { 0.0 };
        let told = self.top_logprobs.iter().map(|alternative| alternative.logprob.exp());
        let told: Vec<f32> = if self.top_logprobs.is_empty() { vec![self.logprob.exp()] } else { told.collect() };
        let rest = (1.0 - told.iter().sum::<f32>()).clamp(0.0, 1.0);
        told.into_iter().chain([rest]).map(of).sum()
    }
}

/// The same event or answer with `logprobs` set to null in each choice; `None` where there is nothing to take out.
pub fn without_logprobs(payload: &[u8]) -> Option<Bytes> {
    let mut answer: Value = serde_json::from_slice(payload).ok()?;
    let mut taken = false;
    for choice in answer.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(logprobs) = choice.get_mut("logprobs").filter(|logprobs| !logprobs.is_null()) {
            *logprobs = Value::Null;
            taken = true;
        }
    }
    taken.then(|| answer.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certainty_is_read_token_by_token() {
        let half = 0.5f32.ln();
        let payload = format!(
            r#"{{"choices":[{{"delta":{{"content":"ab"}},"logprobs":{{"content":[
                {{"token":"a","logprob":{half},"top_logprobs":[{{"token":"a","logprob":{half}}},{{"token":"b","logprob":{half}}}]}},
                {{"token":"b","logprob":0.0,"top_logprobs":[]}}]}}}}]}}"#
        );
        let read = certainty_in(payload.as_bytes());
        assert_eq!(read.len(), 2);
        assert!((read[0].logprob - half).abs() < 1e-6 && (read[0].entropy - 2f32.ln()).abs() < 1e-5, "{read:?}");
        assert_eq!(read[1], Certainty { logprob: 0.0, entropy: 0.0 });
    }

    #[test]
    fn what_was_not_told_counts_as_one_alternative_and_never_as_certainty() {
        let quarter = 0.25f32.ln();
        let payload = format!(
            r#"{{"choices":[{{"logprobs":{{"content":[{{"logprob":{quarter},"top_logprobs":[{{"logprob":{quarter}}}]}}]}}}}]}}"#
        );
        let expected = -(0.25 * 0.25f32.ln() + 0.75 * 0.75f32.ln());
        assert!((certainty_in(payload.as_bytes())[0].entropy - expected).abs() < 1e-5);
    }

    #[test]
    fn a_server_that_tells_nothing_gives_nothing() {
        for payload in [
            r#"{"choices":[{"delta":{"content":"x"},"logprobs":null}]}"#,
            r#"{"choices":[{"delta":{"content":"x"}}]}"#,
            r#"{"choices":[{"logprobs":{"content":null}}]}"#,
            r#"{"choices":[{"logprobs":{"content":[{"token":"x"}]}}]}"#,
            "[]",
            "{",
        ] {
            assert!(certainty_in(payload.as_bytes()).is_empty(), "{payload}");
        }
        assert_eq!(without_logprobs(br#"{"choices":[{"logprobs":null}],"x":1}"#), None);
    }

    #[test]
    fn only_the_log_probabilities_are_taken_out() {
        let taken = without_logprobs(
            br#"{"id":"i","choices":[{"index":0,"logprobs":{"content":[]},"delta":{"content":"x"}}],"z":1.5}"#,
        );
        assert_eq!(
            taken.as_deref(),
            Some(br#"{"id":"i","choices":[{"index":0,"logprobs":null,"delta":{"content":"x"}}],"z":1.5}"#.as_slice())
        );
    }
}

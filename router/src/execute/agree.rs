//! A second local sample, where the head cannot tell whether a short whole answer is right.
//!
//! **Promise.** With `[router.cascade] samples = 2` a whole answer of at most [`SHORT`] tokens whose doubt is within
//! [`UNSURE`] of the threshold is not settled by its doubt: the same model is asked the same once more, with another seed and
//! a temperature of at least [`TEMPERATURE`]. The same answer again is kept; another one escalates. Nothing of the second
//! sample is sent; its tokens are on the ledger as a line of its own, purpose `judge`.
//!
//! **Why.** A model that knows an answer draws it again, one that guesses draws another (Wang et al. 2022, "Self-Consistency
//! Improves Chain of Thought Reasoning in Language Models", arXiv:2203.11171; here with two samples and as a test of one of
//! them). Only short answers: two long ones are never the same text, right or wrong.
//!
//! **What is the same.** Words without case, whitespace and ordinary punctuation; numbers by their value. Signs that change
//! a meaning (`-5`, `a < b`, `5%`) count. In doubt two answers differ, which costs a hosted call and no wrong answer.
//!
//! **Failure behaviour.** A second sample that cannot be had (no money, an open breaker, an error) leaves the doubt to decide.

use super::attempt::{Attempt, Start};
use super::cascade::{Tried, Unsure, silence};
use super::walk::Router;
use crate::ask::Ask;
use crate::fleet::Model;
use crate::ledger::AttemptOpen;
use adapters::wire::WireRequest;
use adapters::{Backend, BackendError, Call, Event};
use futures::StreamExt;
use policies::{Considered, Facts, RoutingDecision, Sink};
use serde::Serialize;
use std::sync::Arc;

/// The most tokens of an answer that is asked for twice.
pub(super) const SHORT: usize = 32;
/// Closer to the threshold than this a doubt does not settle an answer.
pub(super) const UNSURE: f32 = 0.15;
/// The second sample is drawn at least this hot: at zero it would be the first one again.
const TEMPERATURE: f64 = 0.7;

/// How two samples compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Agreement {
    /// They say the same.
    Agreed,
    /// They do not.
    Differed,
    /// There is no second one.
    Failed,
}

/// What it takes to ask the model of an attempt once more.
#[derive(Clone, Copy)]
pub(super) struct Again<'a> {
    pub(super) router: &'a Router,
    pub(super) ask: &'a Ask,
    pub(super) facts: &'a Facts,
    pub(super) decision: &'a RoutingDecision,
    pub(super) model: &'a Model,
    pub(super) seen: &'a Considered,
    /// The number of the attempt that draws the second sample.
    pub(super) number: u32,
}

// === impl Again ===

impl Again<'_> {
    /// Draws a second sample.
    async fn sample(self, unsure: &Unsure<'_>) -> Option<String> {
        let Self { router, ask, facts, decision, model, seen, number } = self;
        let request = Arc::new(reworded(&ask.request)?);
        // The text is read once more to give a verdict on it.
        let _judged = router.config.classes.permit_sink(facts.class, Sink::Judge).ok()?;
        let entered = router.enter(facts, decision, seen, model).await.ok()?;
        let call = Call { request: request.clone(), ..router.call((ask, facts), model, seen, &entered) };
        let start = router.start((ask, facts), model, seen, entered.reserved, number);
        let open = AttemptOpen { purpose: "judge", ..start.open };
        unsure.accompanied_by(number);
        let mut attempt = match Attempt::open(Start { open, request, ..start }).await {
            Ok(attempt) => attempt,
            Err((error, attempt)) => {
                tracing::debug!(error = %error, "a second sample cannot be put on the ledger");
                attempt.abandon();
                return None;
            }
        };
        match drawn(&*model.provider.backend, call, &mut attempt).await {
            Ok(text) => {
                attempt.judged().await;
                Some(text)
            }
            Err(error) => {
                tracing::debug!(error = %error, model = %model.name, "a second sample failed");
                attempt.fail(&error).await;
                None
            }
        }
    }
}

/// Settles an answer by a second sample.
///
/// # Cancel safety
/// Dropping the future ends the attempt as `disconnected`, and the second one as `cancelled`.
pub(super) async fn settle(unsure: Unsure<'_>) -> Tried {
    let agreement = match unsure.again().sample(&unsure).await {
        Some(text) if same(&text, unsure.text()) => Agreement::Agreed,
        Some(_) => Agreement::Differed,
        None => Agreement::Failed,
    };
    unsure.settle(agreement)
}

/// The text of a whole answer.
async fn drawn(backend: &dyn Backend, call: Call, attempt: &mut Attempt) -> Result<String, BackendError> {
    let mut events = adapters::dial(backend, call).await?;
    let mut text = String::new();
    while let Some(event) = events.next().await {
        match event? {
            Event::Delta { seen, .. } => {
                attempt.see(&seen);
                text.push_str(&seen.text);
            }
            Event::Whole { seen, .. } => {
                attempt.see(&seen);
                return Ok(seen.text);
            }
            Event::Done => return Ok(text),
        }
    }
    Err(silence())
}

/// Whether a second sample can tell anything: one choice, of words alone, that could have been drawn otherwise.
pub(super) fn tells(request: &WireRequest, text: &str) -> bool {
    let sampling = &request.view.sampling;
    let varies = sampling.top_k != Some(1) && sampling.top_p != Some(0.0);
    varies && sampling.n == 1 && request.view.tools.is_empty() && !words(text).is_empty()
}

/// The same request, to be drawn otherwise.
fn reworded(request: &WireRequest) -> Option<WireRequest> {
    let sampling = &request.view.sampling;
    let temperature = sampling.temperature.map_or(TEMPERATURE, |own| own.max(TEMPERATURE));
    // A client that wants repeatable answers gets repeatable verdicts, too.
    let seed = sampling.seed.map_or_else(|| i64::from(rand::random::<u32>()), |seed| seed.wrapping_add(1));
    let body = request.raw.with(&[("temperature", Some(temperature.to_string())), ("seed", Some(seed.to_string()))]);
    WireRequest::parse(request.endpoint, body).ok()
}

/// Whether two answers say the same.
fn same(one: &str, other: &str) -> bool {
    words(one) == words(other)
}

/// The words, numbers and meaningful signs of a text, each in one form.
pub(crate) fn words(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |at: usize| chars.get(at).copied();
    let (mut words, mut now) = (Vec::new(), 0);
    while let Some(char) = at(now) {
        let next_is = |is: fn(char) -> bool| at(now + 1).is_some_and(is);
        if char.is_ascii_digit() {
            let (number, after) = number(&chars, now);
            words.push(number);
            now = after;
            continue;
        }
        if char.is_alphanumeric() {
            let end = (now..chars.len()).find(|at| !chars[*at].is_alphanumeric()).unwrap_or(chars.len());
            words.push(chars[now..end].iter().flat_map(|char| char.to_lowercase()).collect());
            now = end;
            continue;
        }
        let follows = now.checked_sub(1).and_then(at).is_some_and(char::is_alphanumeric);
        match char {
            // A sign, not a dash, a bullet or the end of a sentence.
            '-' | '\u{2212}' | '!' if !follows && next_is(char::is_alphanumeric) => {
                words.push(if char == '!' { "!" } else { "-" }.to_owned());
            }
            // A number may begin with its point.
            '.' if !follows && next_is(|next| next.is_ascii_digit()) => {
                let (number, after) = number(&chars, now);
                words.push(number);
                now = after;
                continue;
            }
            '.'
            | ','
            | ';'
            | ':'
            | '!'
            | '?'
            | '\''
            | '"'
            | '`'
            | '*'
            | '_'
            | '('
            | ')'
            | '['
            | ']'
            | '{'
            | '}'
            | '-'
            | '\u{2212}'
            | '\u{2010}'..='\u{201f}'
            | '\u{2026}'
            | '\u{ab}'
            | '\u{bb}'
            | '\u{a1}'
            | '\u{bf}' => {}
            sign if sign.is_whitespace() || sign.is_control() => {}
            sign => words.push(sign.to_string()),
        }
        now += 1;
    }
    words
}

/// A number in one form, `1,000.50` as `1000.5`, and where the text goes on.
fn number(chars: &[char], from: usize) -> (String, usize) {
    let digits = |from: usize| chars[from.min(chars.len())..].iter().take_while(|char| char.is_ascii_digit()).count();
    let mut now = from + digits(from);
    let mut whole: String = chars[from..now].iter().collect();
    // Groups of exactly three digits.
    let grouped = (1..=3).contains(&whole.len());
    while grouped && chars.get(now) == Some(&',') && digits(now + 1) == 3 {
        whole.extend(&chars[now + 1..now + 4]);
        now += 4;
    }
    let mut fraction = String::new();
    if chars.get(now) == Some(&'.') && digits(now + 1) > 0 {
        let end = now + 1 + digits(now + 1);
        fraction.extend(&chars[now + 1..end]);
        now = end;
    }
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    (if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use policies::Endpoint;

    #[test]
    fn answers_that_say_the_same_agree() {
        for (one, other) in [
            ("Paris.", "paris"),
            ("  The capital is **Paris**!\n", "the capital is Paris"),
            ("42", "42.0"),
            ("It is 1,234.50.", "It is 1234.5"),
            ("1,234,567", "1234567.00"),
            ("007", "7"),
            ("0.5", ".50"),
            ("Yes - it is", "yes, it is"),
            ("- Paris", "Paris"),
            ("[\"a\", \"b\"]", "[ \"a\",\"b\" ]"),
            ("\u{201c}Stra\u{df}e\u{201d}", "stra\u{df}e"),
            ("-5", "\u{2212}5"),
            ("3.", "3"),
        ] {
            assert!(same(one, other), "{one:?} {other:?}: {:?} {:?}", words(one), words(other));
        }
    }

    #[test]
    fn answers_that_do_not_differ() {
        for (one, other) in [
            ("Paris", "Lyon"),
            ("42", "420"),
            ("5", "-5"),
            ("4.2", "42"),
            ("1.000", "1,000"),
            ("1,23", "123"),
            ("12,34,567", "1234567"),
            ("a < b", "a > b"),
            ("5%", "5"),
            ("$5", "5"),
            ("C++", "C"),
            ("!done", "done"),
            ("1 2", "12"),
            ("new york", "newyork"),
            ("yes", "yes and no"),
            ("0.1", "0.01"),
        ] {
            assert!(!same(one, other), "{one:?} {other:?}: {:?} {:?}", words(one), words(other));
        }
    }

    fn request(more: &str) -> WireRequest {
        let body = format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"?"}}],"x_own":1.50{more}}}"#);
        WireRequest::parse(Endpoint::Chat, body.into()).unwrap()
    }

    #[test]
    fn the_second_time_the_same_is_asked_hotter_and_with_another_seed() {
        for (asked, temperature) in [("", 0.7), (r#","temperature":0"#, 0.7), (r#","temperature":1.3"#, 1.3)] {
            let again = reworded(&request(asked)).unwrap();
            assert_eq!(again.view.sampling.temperature, Some(temperature));
            assert!(again.view.sampling.seed.is_some());
            assert_eq!(again.raw.field("x_own"), Some("1.50"));
        }
        for seed in [7, i64::MAX] {
            let again = reworded(&request(&format!(r#","seed":{seed}"#))).unwrap();
            assert_eq!(again.view.sampling.seed, Some(seed.wrapping_add(1)));
        }
    }

    #[test]
    fn what_a_second_sample_cannot_tell_is_not_asked_twice() {
        assert!(tells(&request(""), "Paris"));
        assert!(!tells(&request(""), " ...\n"));
        let tool = r#","tools":[{"type":"function","function":{"name":"f"}}]"#;
        for fixed in [r#","top_k":1"#, r#","top_p":0"#, r#","n":2"#, tool] {
            assert!(!tells(&request(fixed), "Paris"), "{fixed}");
        }
    }
}

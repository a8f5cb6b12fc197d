//! A judgement from the features of the text, in microseconds.
//!
//! Hand-set weights over what makes tasks hard for small models: length, code, mathematics, words that ask for
//! reasoning or for long writing, several questions at once, tools and long conversations; and what makes them easy:
//! greetings, single facts, short rewriting. It ranks somewhat better than length alone and needs no training; the
//! trained head takes its place when there is one.
//!
//! Reads at most [`BOTH_ENDS`] bytes of the last user turn, half from each end, and says how much it did not read.

use super::probe::both_ends;
use adapters::wire::{Role, WireRequest};
use aho_corasick::{AhoCorasick, MatchKind};
use policies::{JudgedBy, Signals};
use std::sync::LazyLock;

/// Bytes of the last turn that are read.
const BOTH_ENDS: usize = 8_192;

/// Words that tell, and what they tell: positive asks for the strong model.
const TELLING: &[(&str, Kind)] = &[
    ("prove", Kind::Reasoning),
    ("proof", Kind::Reasoning),
    ("derive", Kind::Reasoning),
    ("theorem", Kind::Reasoning),
    ("step by step", Kind::Reasoning),
    ("explain why", Kind::Reasoning),
    ("explain how", Kind::Reasoning),
    ("trade-off", Kind::Reasoning),
    ("tradeoff", Kind::Reasoning),
    ("analyze", Kind::Reasoning),
    ("analyse", Kind::Reasoning),
    ("critique", Kind::Reasoning),
    ("evaluate", Kind::Reasoning),
    ("compare", Kind::Reasoning),
    ("strategy", Kind::Reasoning),
    ("diagnos", Kind::Reasoning),
    ("reason about", Kind::Reasoning),
    ("puzzle", Kind::Reasoning),
    ("complexity", Kind::Reasoning),
    ("beweis", Kind::Reasoning),
    ("démontre", Kind::Reasoning),
    ("demuestra", Kind::Reasoning),
    ("implement", Kind::Code),
    ("refactor", Kind::Code),
    ("debug", Kind::Code),
    ("algorithm", Kind::Code),
    ("concurren", Kind::Code),
    ("function that", Kind::Code),
    ("unit test", Kind::Code),
    ("race condition", Kind::Code),
    ("distributed", Kind::Code),
    ("sql query", Kind::Code),
    ("regex", Kind::Code),
    ("stack trace", Kind::Code),
    ("traceback", Kind::Code),
    ("```", Kind::Code),
    ("#include", Kind::Code),
    ("def ", Kind::Code),
    ("class ", Kind::Code),
    ("fn ", Kind::Code),
    ("select ", Kind::Code),
    ("integral", Kind::Math),
    ("derivative", Kind::Math),
    ("equation", Kind::Math),
    ("probability", Kind::Math),
    ("matrix", Kind::Math),
    ("eigen", Kind::Math),
    ("modulo", Kind::Math),
    ("\\frac", Kind::Math),
    ("\\sum", Kind::Math),
    ("polynomial", Kind::Math),
    ("how many ways", Kind::Math),
    ("essay", Kind::Long),
    ("in detail", Kind::Long),
    ("detailed", Kind::Long),
    ("comprehensive", Kind::Long),
    ("report on", Kind::Long),
    ("business plan", Kind::Long),
    ("design a", Kind::Long),
    ("architecture", Kind::Long),
    ("contract", Kind::Long),
    ("legal", Kind::Long),
    ("hello", Kind::Easy),
    ("hi there", Kind::Easy),
    ("good morning", Kind::Easy),
    ("thank you", Kind::Easy),
    ("thanks", Kind::Easy),
    ("what is the capital", Kind::Easy),
    ("capital of", Kind::Easy),
    ("who wrote", Kind::Easy),
    ("translate", Kind::Easy),
    ("synonym", Kind::Easy),
    ("opposite of", Kind::Easy),
    ("rewrite", Kind::Easy),
    ("rephrase", Kind::Easy),
    ("spell", Kind::Easy),
    ("extract", Kind::Easy),
    ("sentiment", Kind::Easy),
    ("one word", Kind::Easy),
    ("say hello", Kind::Easy),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reasoning,
    Code,
    Math,
    Long,
    Easy,
}

const KINDS: [Kind; 5] = [Kind::Reasoning, Kind::Code, Kind::Math, Kind::Long, Kind::Easy];

static WORDS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let words = TELLING.iter().map(|(word, _)| word);
    AhoCorasick::builder().ascii_case_insensitive(true).match_kind(MatchKind::LeftmostLongest).build(words).ok()
});

/// Judges; never abstains.
pub(super) fn judge(request: &WireRequest) -> Signals {
    let view = &request.view;
    let turns: Vec<(Option<Role>, &str)> = match view.messages() {
        [] => view.texts().map(|text| (None, text)).collect(),
        messages => messages.iter().map(|message| (Some(message.role), message.text.0.as_str())).collect(),
    };
    let last = turns.iter().rev().find(|(role, _)| matches!(role, None | Some(Role::User)));
    let text = last.map_or("", |(_, text)| *text);
    let (head, tail) = both_ends(text, BOTH_ENDS);
    let unread_last = text.len() - head.len() - tail.len();
    let before: usize = turns.iter().map(|(_, text)| text.len()).sum::<usize>() - text.len();

    let mut hits = [0u32; KINDS.len()];
    for part in [head, tail] {
        for found in WORDS.iter().flat_map(|words| words.find_iter(part)) {
            if let Some((_, kind)) = TELLING.get(found.pattern().as_usize()) {
                hits[*kind as usize] += 1;
            }
        }
    }
    let hit = |kind: Kind| hits[kind as usize].min(3) as f32;
    let words = (head.split_whitespace().count() + tail.split_whitespace().count()) as f32;
    let digits = head.bytes().chain(tail.bytes()).filter(u8::is_ascii_digit).count() as f32;
    let questions = head.matches('?').count().min(4) as f32;
    let assistant_turns = turns.iter().filter(|(role, _)| *role == Some(Role::Assistant)).count().min(6) as f32;

    let features = [
        ("words", (1.0 + words).log2() * 0.42),
        ("reasoning", hit(Kind::Reasoning) * 0.95),
        ("code", hit(Kind::Code) * 0.75),
        ("math", hit(Kind::Math) * 0.8),
        ("long_answer", hit(Kind::Long) * 0.6),
        ("easy", hit(Kind::Easy) * -0.9),
        ("digits", (1.0 + digits).log2() * 0.06),
        ("questions", (questions - 1.0).max(0.0) * 0.3),
        ("context", (1.0 + before as f32 / 2_000.0).log2() * 0.35),
        ("turns", assistant_turns * 0.08),
        ("tools", if view.tools.is_empty() { 0.0 } else { 0.9 }),
    ];
    let bias = -2.65f32;
    let sum: f32 = bias + features.iter().map(|(_, weight)| weight).sum::<f32>();
    let need = 1.0 / (1.0 + (-sum).exp());
    Signals {
        need: Some(need),
        judged_by: JudgedBy::Heuristic,
        abstained: None,
        skipped: None,
        unread_bytes: unread_last,
        took_us: 0,
        features: features.into_iter().filter(|(_, weight)| *weight != 0.0).collect(),
        head: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policies::Endpoint;

    fn need(prompt: &str) -> f32 {
        let body = serde_json::json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]});
        let request = WireRequest::parse(Endpoint::Chat, body.to_string().into()).unwrap();
        judge(&request).need.unwrap()
    }

    #[test]
    fn easy_prompts_stay_below_hard_ones() {
        let easy = [
            "Hello!",
            "What is the capital of France?",
            "Translate 'good night' to Spanish.",
            "Give me a synonym for happy.",
            "What is 2 + 2?",
            "Is the sentiment of this review positive? I loved it.",
            "Thanks, that helped.",
        ];
        let hard = [
            "Prove that there are infinitely many primes, then derive a bound on the n-th prime step by step.",
            "Implement a lock-free concurrent queue in Rust and explain why it is linearizable.",
            "Design a distributed rate limiter architecture and compare the trade-offs of three algorithms in detail.",
            "Solve the equation x^3 - 6x^2 + 11x - 6 = 0, then compute the probability that a random root is even and prove it.",
        ];
        let hardest_easy = easy.iter().map(|prompt| need(prompt)).fold(0.0, f32::max);
        let easiest_hard = hard.iter().map(|prompt| need(prompt)).fold(1.0, f32::min);
        assert!(hardest_easy < 0.5 && easiest_hard >= 0.5, "{hardest_easy} {easiest_hard}");
    }

    #[test]
    fn long_texts_are_read_at_both_ends_and_the_rest_is_told() {
        let long = format!("{}é{} prove this theorem", "x ".repeat(5_000), "y ".repeat(5_000));
        let body = serde_json::json!({"model": "auto", "messages": [{"role": "user", "content": long}]});
        let signals = judge(&WireRequest::parse(Endpoint::Chat, body.to_string().into()).unwrap());
        assert!(signals.unread_bytes > 10_000 && signals.features.iter().any(|(name, _)| *name == "reasoning"));
    }
}

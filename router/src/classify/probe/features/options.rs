//! The options of a multiple-choice question: told apart from the question, and counted.

use super::{NONE, Sheet};
use crate::classify::probe::lexicon::is_grammar;
use crate::classify::probe::words::Words;
use std::collections::HashSet;

/// A text, its multiple-choice options apart.
pub(super) struct Parts {
    pub(super) question: String,
    pub(super) options: Vec<String>,
}

/// Tells question and options apart.
pub(super) fn split_options(text: &str) -> Parts {
    let mut options: Vec<String> = Vec::new();
    let mut question = String::with_capacity(text.len());
    for line in text.lines() {
        match option_of(line) {
            Some((letter, option)) if usize::from(letter - b'A') == options.len() => options.push(option.to_owned()),
            _ => match options.last_mut() {
                Some(option) => {
                    let line = line.trim();
                    let is_answer = line.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("answer"));
                    if !line.is_empty() && !is_answer {
                        option.push(' ');
                        option.push_str(line);
                    }
                }
                None => {
                    question.push_str(line);
                    question.push('\n');
                }
            },
        }
    }
    if options.len() < 2 {
        return Parts { question: text.trim().to_owned(), options: Vec::new() };
    }
    question.truncate(question.trim_end().len());
    Parts { question, options }
}

/// `B. text`, `(B) text` or `B: text`.
fn option_of(line: &str) -> Option<(u8, &str)> {
    let line = line.trim_start_matches([' ', '\t']);
    let line = line.strip_prefix('(').unwrap_or(line);
    let letter = *line.as_bytes().first()?;
    if !(b'A'..=b'P').contains(&letter) {
        return None;
    }
    let rest = line[1..].strip_prefix(['.', ')', ':'])?;
    Some((letter, rest.trim()))
}

/// What the options are like; each feature but their number is [`NONE`] where there are none.
pub(super) fn options(sheet: &mut Sheet, parts: &Parts, words: &Words) {
    const APPLYING: [&str; 11] = [
        "mean length of options",
        "longest option",
        "shortest option",
        "spread of the lengths of options",
        "share of options with numbers",
        "share of options without words",
        "variety of the words of options",
        "options that repeat the question",
        "an option like none of the above",
        "share of options with a capital",
        "options of yes and no, true and false",
    ];
    let options = &parts.options;
    sheet.put("number of options", options.len() as f32);
    if options.is_empty() {
        APPLYING.iter().for_each(|name| sheet.put(name, NONE));
        return;
    }
    let count = options.len() as f32;
    let lengths: Vec<f32> = options.iter().map(|option| option.chars().count() as f32).collect();
    let mean = lengths.iter().sum::<f32>() / count;
    let spread = (lengths.iter().map(|length| (length - mean).powi(2)).sum::<f32>() / count).sqrt();
    let share = |is: &dyn Fn(&str) -> bool| options.iter().filter(|option| is(option)).count() as f32 / count;
    let mut all: Vec<String> = Vec::new();
    for option in options {
        let own = option.split(|char: char| !char.is_alphabetic()).filter(|word| !word.is_empty());
        all.extend(own.map(str::to_lowercase));
    }
    let different: HashSet<&str> = all.iter().map(String::as_str).collect();
    let repeated = all.iter().filter(|word| words.different.contains(*word) && !is_grammar(word)).count();
    let of_all = |count: usize| count as f32 / all.len().max(1) as f32;
    let any = |what: &str| options.iter().any(|option| option.to_ascii_lowercase().contains(what));
    let values = [
        mean.ln_1p(),
        lengths.iter().fold(0.0, |most: f32, length| most.max(*length)).ln_1p(),
        lengths.iter().fold(f32::MAX, |least, length| least.min(*length)).ln_1p(),
        spread / mean.max(1.0),
        share(&|option| option.bytes().any(|byte| byte.is_ascii_digit())),
        share(&|option| option.chars().filter(|char| char.is_alphabetic()).count() <= 2),
        of_all(different.len()),
        of_all(repeated),
        f32::from(u8::from(any("of the above") || any("of these"))),
        share(&|option| option.starts_with(char::is_uppercase)),
        share(&|option| {
            let start = option.split(|char: char| !char.is_alphabetic()).next().unwrap_or_default();
            ["yes", "no", "true", "false"].iter().any(|word| start.eq_ignore_ascii_case(word))
        }),
    ];
    APPLYING.iter().zip(values).for_each(|(name, value)| sheet.put(name, value));
}

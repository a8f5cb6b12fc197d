//! Hand-made features of a reading.
//!
//! Some 170 numbers that a person could have counted: lengths, kinds of characters, numbers, the options of a
//! multiple-choice question, words and stems that tell the kind of task ([`super::lexicon`], [`stems`]), and the shape of
//! the instruction and of the conversation.
//! Each carries a name in plain words, since a decision names the features that moved it.
//!
//! The list is the contract with a head: a head remembers the names it was trained on, and one that was trained on other
//! features is refused when it is loaded, not misread.

mod options;

use self::options::{Parts, options, split_options};
use super::lexicon::{AT_START, KINDS};
use super::reading::Reading;
use super::stems;
use super::words::Words;
use std::collections::HashSet;
use std::sync::LazyLock;

/// The value of a feature that does not apply.
const NONE: f32 = -1.0;

/// The names of the features, in order.
pub static NAMES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| sheet(&Reading::of_prompt("")).values.into_iter().map(|(name, _)| name).collect());

/// The features of a reading, in the order of [`NAMES`].
pub fn compute(reading: &Reading) -> Vec<f32> {
    sheet(reading).values.into_iter().map(|(_, value)| value).collect()
}

struct Sheet {
    values: Vec<(&'static str, f32)>,
}

// === impl Sheet ===

impl Sheet {
    fn put(&mut self, name: &'static str, value: f32) {
        self.values.push((name, value));
    }

    /// A count, on a logarithmic scale.
    fn count(&mut self, name: &'static str, count: usize) {
        self.put(name, (count as f32).ln_1p());
    }

    fn flag(&mut self, name: &'static str, is: bool) {
        self.put(name, f32::from(u8::from(is)));
    }
}

fn sheet(reading: &Reading) -> Sheet {
    let mut sheet = Sheet { values: Vec::with_capacity(192) };
    let text = reading.text();
    let parts = split_options(text);
    let words = Words::of(&parts.question);
    lengths(&mut sheet, reading, &parts, &words);
    characters(&mut sheet, text, &parts.question);
    numbers(&mut sheet, &parts.question);
    options(&mut sheet, &parts, &words);
    form(&mut sheet, text, &parts.question, &words);
    kinds(&mut sheet, &words);
    instruction(&mut sheet, reading);
    conversation(&mut sheet, reading);
    sheet
}

fn lengths(sheet: &mut Sheet, reading: &Reading, parts: &Parts, words: &Words) {
    let (text, question) = (reading.text(), &parts.question);
    let option_words: usize = parts.options.iter().map(|option| option.split_whitespace().count()).sum();
    sheet.count("length of the text", text.chars().count());
    sheet.count("length of the question", question.chars().count());
    sheet.count("number of words", words.count + option_words);
    sheet.count("number of words of the question", words.count);
    sheet.count("number of lines", text.lines().count());
    sheet.count("number of lines of the question", question.lines().count());
    sheet.count("length of the whole last turn", reading.last_bytes);
    sheet.put("mean length of words", words.share(words.chars));
    sheet.put("longest word", words.longest as f32);
    sheet.put("share of long words", words.share(words.long));
    sheet.put("share of different words", words.share(words.different.len()));
    sheet.put("share of grammar words", words.share(words.grammar));
    let sentences = question.chars().filter(|char| matches!(char, '.' | '?' | '!' | '。' | '？' | '！')).count();
    sheet.count("number of sentences", sentences);
    sheet.count("words per sentence", words.count / (sentences + 1));
}

/// How often kinds of characters stand in a text.
#[derive(Default)]
struct Signs {
    digits: usize,
    capitals: usize,
    maths: usize,
    round: usize,
    square: usize,
    quotes: usize,
    dollars: usize,
    backslashes: usize,
    underscores: usize,
    commas: usize,
    semicolons: usize,
    colons: usize,
    percents: usize,
    far_east: usize,
    other_scripts: usize,
    accents: usize,
}

fn characters(sheet: &mut Sheet, text: &str, question: &str) {
    let mut seen = Signs::default();
    for char in text.chars() {
        match char {
            '0'..='9' => seen.digits += 1,
            'A'..='Z' => seen.capitals += 1,
            '=' | '+' | '*' | '/' | '^' | '<' | '>' | '|' | '~' => seen.maths += 1,
            '(' | ')' => seen.round += 1,
            '[' | ']' | '{' | '}' => seen.square += 1,
            '"' | '\'' | '`' => seen.quotes += 1,
            '$' => seen.dollars += 1,
            '\\' => seen.backslashes += 1,
            '_' => seen.underscores += 1,
            ',' => seen.commas += 1,
            ';' => seen.semicolons += 1,
            ':' => seen.colons += 1,
            '%' => seen.percents += 1,
            '\u{3040}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' => seen.far_east += 1,
            '\u{370}'..='\u{e7f}' => seen.other_scripts += 1,
            '\u{c0}'..='\u{24f}' => seen.accents += 1,
            _ => {}
        }
    }
    let length = text.chars().count().max(1) as f32;
    for (name, count) in [
        ("share of digits", seen.digits),
        ("share of capital letters", seen.capitals),
        ("share of signs of calculation", seen.maths),
        ("share of round brackets", seen.round),
        ("share of square and curly brackets", seen.square),
        ("share of quotation marks", seen.quotes),
        ("share of commas", seen.commas),
        ("share of Chinese, Japanese and Korean", seen.far_east),
        ("share of other scripts", seen.other_scripts),
        ("share of accented letters", seen.accents),
    ] {
        sheet.put(name, count as f32 / length);
    }
    for (name, count) in [
        ("digits", seen.digits),
        ("signs of calculation", seen.maths),
        ("square and curly brackets", seen.square),
        ("dollar signs", seen.dollars),
        ("backslashes", seen.backslashes),
        ("underscores", seen.underscores),
        ("semicolons", seen.semicolons),
        ("colons", seen.colons),
        ("percent signs", seen.percents),
        ("commas", seen.commas),
    ] {
        sheet.count(name, count);
    }
    let beyond_ascii = text.chars().filter(|char| !char.is_ascii()).count();
    sheet.count("characters beyond ASCII", beyond_ascii);
    sheet.flag("a gap to fill in", question.contains("__") || question.contains("...."));
}

fn numbers(sheet: &mut Sheet, question: &str) {
    let is_part = |char: char| char.is_ascii_digit() || char == '.' || char == ',';
    let mut different = HashSet::new();
    let (mut count, mut decimals, mut most_digits) = (0usize, 0usize, 0usize);
    for number in question.split(|char| !is_part(char)) {
        let number = number.trim_matches(['.', ',']);
        if !number.starts_with(|char: char| char.is_ascii_digit()) {
            continue;
        }
        count += 1;
        decimals += usize::from(number.contains('.'));
        let whole = number.split('.').next().unwrap_or_default();
        most_digits = most_digits.max(whole.bytes().filter(u8::is_ascii_digit).count().min(20));
        different.insert(number);
    }
    sheet.count("numbers", count);
    sheet.count("different numbers", different.len());
    sheet.count("decimal numbers", decimals);
    sheet.put("digits of the largest number", most_digits as f32);
}

fn form(sheet: &mut Sheet, text: &str, question: &str, words: &Words) {
    let end = question.chars().next_back();
    sheet.flag("ends with a question mark", end == Some('?') || end == Some('？'));
    sheet.flag("ends with a full stop", end == Some('.'));
    sheet.flag("ends in the middle of a sentence", end.is_some_and(char::is_alphabetic));
    sheet.flag("ends with a colon", text.trim_end().ends_with(':'));
    sheet.count("question marks", question.matches(['?', '？']).count());
    sheet.flag("starts with a small letter", question.starts_with(char::is_lowercase));
    sheet.count("names", words.names);
    sheet.count("words in capitals", words.all_capitals);
    sheet.count("single letters", words.single_letters);
    sheet.count("fences of code", text.matches("```").count() + text.matches("[PYTHON]").count());
    let signs = text.matches("==").count() + text.matches("->").count() + text.matches("()").count();
    sheet.count("signs of code", signs);
    let indented = text.lines().filter(|line| line.starts_with("    ") || line.starts_with('\t')).count();
    sheet.count("indented lines", indented);
    sheet.flag("asks which of the following", text.to_ascii_lowercase().contains("of the following"));
    let listed = text.lines().filter(|line| {
        let line = line.trim_start();
        line.starts_with("- ") || line.starts_with("* ") || line.starts_with(|char: char| char.is_ascii_digit())
    });
    sheet.count("lines of a list", listed.count());
    sheet.flag("ends with an exclamation mark", end == Some('!'));
}

fn kinds(sheet: &mut Sheet, words: &Words) {
    for (kind, count) in KINDS.iter().zip(words.kinds) {
        sheet.count(kind.name, count as usize);
    }
    for (bit, name) in AT_START {
        sheet.flag(name, words.first_kinds >> bit & 1 == 1);
    }
}

fn instruction(sheet: &mut Sheet, reading: &Reading) {
    let asked = reading.instruction();
    let text = asked.text.as_str();
    let chars = text.chars().count();
    let kinds = stems::kinds();
    let counts = stems::count(text);
    for (kind, count) in kinds.iter().zip(&counts) {
        sheet.count(kind.name, *count);
    }
    let of = |counts: &[usize], hard: bool| -> usize {
        kinds.iter().zip(counts).filter(|(kind, _)| kind.hard == hard).map(|(_, count)| count).sum()
    };
    let (hard, easy) = (of(&counts, true), of(&counts, false));
    sheet.count("words of hard tasks in the instruction", hard);
    sheet.count("words of easy tasks in the instruction", easy);
    sheet.put("more words of hard than of easy tasks", (hard as f32).ln_1p() - (easy as f32).ln_1p());
    sheet.put("words of hard tasks for the length", hard as f32 / (1.0 + (chars as f32).ln_1p()));
    let hard_kinds = kinds.iter().zip(&counts).filter(|(kind, count)| kind.hard && **count > 0).count();
    sheet.put("kinds of hard tasks at once", hard_kinds as f32);
    let of_context = stems::count(reading.context());
    sheet.count("words of hard tasks before", of(&of_context, true));
    sheet.count("words of easy tasks before", of(&of_context, false));

    // A character of a dense script says more than a letter.
    let dense = text.chars().filter(|char| matches!(char, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}')).count();
    sheet.put("length of the instruction", (chars as f32 + 1.5 * dense as f32).ln_1p());
    sheet.put("share of the text that is the instruction", chars as f32 / reading.text().chars().count().max(1) as f32);
    sheet.flag("a quotation to work on", asked.had_quote);
    sheet.flag("code to work on", asked.had_code);
    let words = Words::of(text);
    sheet.put("mean length of words of the instruction", words.share(words.chars));
    sheet.put("longest word of the instruction", words.longest as f32);
    sheet.put("share of long words of the instruction", words.share(words.long));
    sheet.count("long words of the instruction", words.long);
    sheet.put("share of different words of the instruction", words.share(words.different.len()));
    sheet.flag("the instruction ends with a question mark", text.ends_with(['?', '？', '؟']));
    let count = |signs: &[char]| text.matches(signs).count();
    sheet.count("question marks of the instruction", count(&['?', '？', '؟']));
    sheet.count("commas of the instruction", count(&[',', '，', '、', '،']));
    sheet.count("colons and semicolons of the instruction", count(&[':', ';', '：', '；']));
    sheet.count("exclamation marks of the instruction", count(&['!', '！']));
    sheet.count("digits of the instruction", text.bytes().filter(u8::is_ascii_digit).count());
}

fn conversation(sheet: &mut Sheet, reading: &Reading) {
    sheet.count("turns of the conversation", reading.user_turns + reading.assistant_turns);
    sheet.count("length of the conversation before", reading.before_bytes);
    sheet.count("length of the instructions", reading.instruction_bytes);
    sheet.count("results of tools", reading.tool_results);
    sheet.count("length of the results of tools", reading.tool_bytes);
    sheet.flag("the last tool failed", reading.tool_failed);
    sheet.count("tools on offer", reading.tools);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(prompt: &str, name: &str) -> f32 {
        let at = NAMES.iter().position(|known| *known == name).unwrap();
        compute(&Reading::of_prompt(prompt))[at]
    }

    #[test]
    fn names_are_unique() {
        let different: HashSet<_> = NAMES.iter().collect();
        assert_eq!(different.len(), NAMES.len());
    }

    #[test]
    fn what_a_person_would_count_is_counted() {
        let exam = "What is 3.5 times 12?\nA. 42\nB. 40.2\nC. none of the above\nAnswer:";
        assert_eq!(value(exam, "number of options"), 3.0);
        assert_eq!(value(exam, "numbers"), 2f32.ln_1p());
        assert_eq!(value(exam, "an option like none of the above"), 1.0);
        assert_eq!(value(exam, "ends with a question mark"), 1.0);
        assert_eq!(value("Hola, ¿qué tal?", "starts with a greeting or thanks"), 1.0);
        assert_eq!(value("hello", "number of options"), 0.0);
    }

    proptest! {
        #[test]
        fn whatever_the_text_features_are_finite_and_as_many_as_names(text in "\\PC{0,300}") {
            let values = compute(&Reading::of_prompt(&text));
            prop_assert_eq!(values.len(), NAMES.len());
            prop_assert!(values.iter().all(|value| value.is_finite()));
        }
    }
}

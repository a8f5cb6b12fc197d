//! Hand-made features of a reading.
//!
//! Some 170 numbers that a person could have counted: lengths, kinds of characters, numbers, the options of a
//! multiple-choice question, words and stems that tell the kind of task ([`super::lexicon`], [`stems`]), and the shape of
//! the instruction and of the conversation.
//! Each carries a name in plain words, since a decision names the features that moved it.
//!
//! The list is the contract with a head: a head remembers the names it was trained on, and one that was trained on other
//! features is refused when it is loaded, not misread.

use super::lexicon::{AT_START, KINDS, is_grammar};
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

/// A text, its multiple-choice options apart.
struct Parts {
    question: String,
    options: Vec<String>,
}

fn split_options(text: &str) -> Parts {
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

fn characters(sheet: &mut Sheet, text: &str, question: &str) {
    let mut seen = [0usize; 16];
    let [
        digits,
        capitals,
        maths,
        round,
        square,
        quotes,
        dollars,
        backslashes,
        underscores,
        commas,
        semicolons,
        colons,
        percents,
        far_east,
        other_scripts,
        accents,
    ] = &mut seen;
    for char in text.chars() {
        match char {
            '0'..='9' => *digits += 1,
            'A'..='Z' => *capitals += 1,
            '=' | '+' | '*' | '/' | '^' | '<' | '>' | '|' | '~' => *maths += 1,
            '(' | ')' => *round += 1,
            '[' | ']' | '{' | '}' => *square += 1,
            '"' | '\'' | '`' => *quotes += 1,
            '$' => *dollars += 1,
            '\\' => *backslashes += 1,
            '_' => *underscores += 1,
            ',' => *commas += 1,
            ';' => *semicolons += 1,
            ':' => *colons += 1,
            '%' => *percents += 1,
            '\u{3040}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' => *far_east += 1,
            '\u{370}'..='\u{e7f}' => *other_scripts += 1,
            '\u{c0}'..='\u{24f}' => *accents += 1,
            _ => {}
        }
    }
    let length = text.chars().count().max(1) as f32;
    let [
        digits,
        capitals,
        maths,
        round,
        square,
        quotes,
        dollars,
        backslashes,
        underscores,
        commas,
        semicolons,
        colons,
        percents,
        far_east,
        other_scripts,
        accents,
    ] = seen;
    for (name, count) in [
        ("share of digits", digits),
        ("share of capital letters", capitals),
        ("share of signs of calculation", maths),
        ("share of round brackets", round),
        ("share of square and curly brackets", square),
        ("share of quotation marks", quotes),
        ("share of commas", commas),
        ("share of Chinese, Japanese and Korean", far_east),
        ("share of other scripts", other_scripts),
        ("share of accented letters", accents),
    ] {
        sheet.put(name, count as f32 / length);
    }
    for (name, count) in [
        ("digits", digits),
        ("signs of calculation", maths),
        ("square and curly brackets", square),
        ("dollar signs", dollars),
        ("backslashes", backslashes),
        ("underscores", underscores),
        ("semicolons", semicolons),
        ("colons", colons),
        ("percent signs", percents),
        ("commas", commas),
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

fn options(sheet: &mut Sheet, parts: &Parts, words: &Words) {
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

//! A text in windows: what is judged as one.
//!
//! **Promise.** Every word of a text lies in a window, but for windows in which there is nothing to judge (a single short
//! word, no letter). A window is a sentence or a line; short ones go together with what follows, so that an address of three
//! lines is one; long ones are cut after [`MOST_WORDS`] words, and the next one begins [`OVERLAP`] words earlier, so that a
//! name at the cut is whole in one of them. No window is longer than [`MOST_BYTES`] bytes.
//!
//! **Failure behaviour.** None. Work grows with the text and no faster.

use std::ops::Range;

/// Words of a window, at most.
pub const MOST_WORDS: usize = 40;
/// Bytes of a window, at most: text without spaces is cut there.
pub const MOST_BYTES: usize = 480;
/// Words that two windows share where a sentence is cut.
const OVERLAP: usize = 8;
/// Fewer words go together with what follows.
const FEW: usize = 6;
/// A word of fewer bytes does not stand alone.
const LONE: usize = 24;

/// Words with a full stop that ends no sentence.
const ABBREVIATIONS: &[&str] = &[
    "dr", "mr", "mrs", "ms", "prof", "st", "str", "ul", "al", "os", "pl", "sr", "sra", "dott", "dott.ssa", "sig",
    "avda", "av", "bd", "mevr", "dhr", "no", "nr", "apt", "ca", "jr", "mme", "mlle", "ing", "tel", "ur", "hr", "fr",
    "dto", "izda", "int", "ave", "rd", "blvd", "inc", "ltd", "vs", "etc", "bzw", "geb", "abs", "art",
];

/// The windows of a text, in order.
pub fn windows(text: &str) -> Vec<Range<usize>> {
    let mut windows: Vec<Range<usize>> = Vec::new();
    let mut open: Option<(Range<usize>, usize)> = None;
    for sentence in sentences(text) {
        let words = words(text, &sentence);
        if let Some((mut range, count)) = open.take() {
            let long = sentence.end - range.start > MOST_BYTES;
            if count < FEW && count + words.len() <= MOST_WORDS && !long {
                range.end = sentence.end;
                open = Some((range, count + words.len()));
                continue;
            }
            windows.push(range);
        }
        if words.len() <= MOST_WORDS && sentence.len() <= MOST_BYTES {
            open = Some((sentence, words.len()));
        } else {
            cut(&words, &mut windows);
        }
    }
    windows.extend(open.map(|(range, _)| range));
    windows.retain(|range| worth(&text[range.clone()]));
    windows
}

/// Whether there is anything to judge.
fn worth(window: &str) -> bool {
    let mut words = window.split_whitespace();
    let (first, second) = (words.next(), words.next());
    window.chars().any(char::is_alphabetic)
        && (second.is_some() || first.is_some_and(|word| word.len() >= LONE && !word.is_ascii()))
}

/// A long sentence in pieces.
fn cut(words: &[Range<usize>], windows: &mut Vec<Range<usize>>) {
    let mut from = 0;
    while let Some(first) = words.get(from) {
        let fit = words[from..].iter().take(MOST_WORDS).take_while(|word| word.end - first.start <= MOST_BYTES).count();
        let to = from + fit.max(1);
        windows.push(first.start..words[to - 1].end);
        if to >= words.len() {
            return;
        }
        // Always on, also where a window holds few words.
        from = to.saturating_sub(OVERLAP).max(from + fit.div_ceil(2).max(1));
    }
}

/// Words, at most [`MOST_BYTES`] long.
fn words(text: &str, range: &Range<usize>) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start: Option<usize> = None;
    for (at, letter) in text[range.clone()].char_indices() {
        let at = range.start + at;
        let full = start.is_some_and(|start| at + letter.len_utf8() - start > MOST_BYTES);
        if (letter.is_whitespace() || full)
            && let Some(start) = start.take()
        {
            words.push(start..at);
        }
        if !letter.is_whitespace() {
            start.get_or_insert(at);
        }
    }
    words.extend(start.map(|start| start..range.end));
    words
}

/// Sentences and lines, without the spaces around them.
fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let end = at + letter.len_utf8();
        let next = letters.peek().map(|(_, next)| *next);
        let ends = match letter {
            '\n' | '。' | '！' | '？' => true,
            '.' => next.is_none_or(char::is_whitespace) && !goes_on(&text[start..at], &text[end..]),
            '!' | '?' | '…' => next.is_none_or(char::is_whitespace),
            _ => false,
        };
        if ends {
            push(text, start..end, &mut found);
            start = end;
        }
    }
    push(text, start..text.len(), &mut found);
    found
}

fn push(text: &str, range: Range<usize>, found: &mut Vec<Range<usize>>) {
    let piece = &text[range.clone()];
    let start = range.start + (piece.len() - piece.trim_start().len());
    let piece = piece.trim();
    if !piece.is_empty() {
        found.push(start..start + piece.len());
    }
}

/// Whether a full stop ends no sentence: after a single letter, a short number or an abbreviation, or before a small letter.
fn goes_on(before: &str, after: &str) -> bool {
    if after.trim_start_matches([' ', '\t']).starts_with(char::is_lowercase) {
        return true;
    }
    // At most so many bytes are looked at, or a text of full stops would be read again and again.
    let mut from = before.len().saturating_sub(16);
    while !before.is_char_boundary(from) {
        from += 1;
    }
    let word = before[from..].rsplit(|letter: char| letter.is_whitespace() || matches!(letter, '(' | ',')).next();
    let word = word.unwrap_or_default().to_lowercase();
    word.chars().count() == 1
        || word.len() <= 2 && word.bytes().all(|byte| byte.is_ascii_digit())
        || ABBREVIATIONS.contains(&word.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut_up(text: &str) -> Vec<&str> {
        windows(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn a_window_is_a_sentence_and_short_lines_stay_together() {
        assert_eq!(
            cut_up("My name is Dr. Ada B. Stone. I live in the old part of the town! Why?"),
            ["My name is Dr. Ada B. Stone.", "I live in the old part of the town!", "Why?"][..2]
        );
        assert_eq!(cut_up("Ada Stone\n5 Mill Road\nLeeds LS1 4DY"), ["Ada Stone\n5 Mill Road\nLeeds LS1 4DY"]);
        assert_eq!(cut_up("user"), Vec::<&str>::new());
        assert_eq!(cut_up("12 34 . 56"), Vec::<&str>::new());
    }

    #[test]
    fn a_long_sentence_is_cut_with_words_in_common() {
        let text: Vec<String> = (0..100).map(|n| format!("word{n}")).collect();
        let text = text.join(" ");
        let windows = cut_up(&text);
        assert!(windows.iter().all(|window| window.split(' ').count() <= MOST_WORDS));
        assert!(windows[0].ends_with("word39") && windows[1].starts_with("word32"), "{windows:?}");
        assert!(windows.last().unwrap().ends_with("word99"));
    }

    proptest! {
        #[test]
        fn every_word_lies_in_a_window_of_bounded_size(text in "([a-zé]{1,9}[ .\n]{0,2}){2,120}", long in "x{0,2000}") {
            let text = format!("{text} {long} a b");
            let windows = windows(&text);
            prop_assert!(windows.iter().all(|window| window.len() <= MOST_BYTES));
            for word in words(&text, &(0..text.len())).into_iter().filter(|word| word.len() > 1 && word.len() < 400) {
                let holds = windows.iter().any(|window| window.start <= word.start && word.end <= window.end + 1);
                let alone = text[word.clone()].trim_matches('.').len() <= LONE;
                prop_assert!(holds || alone, "{:?}", &text[word]);
            }
        }
    }
}

//! What of a text is the instruction.
//!
//! A request often is a line of instruction and a page of material: a letter to be corrected, a log, a contract. How hard
//! the task is stands in the line. Fenced code and long quotations are cut out, and of what is long the first and the last
//! paragraph are taken, at most [`KEPT`] characters of each: people ask before the material or after it.

/// Characters that are kept of each end.
const KEPT: usize = 300;
/// A quotation of at least so many characters is material.
const QUOTED: usize = 60;

/// The instruction of a text, and whether code and quotations were cut out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The instruction.
    pub text: String,
    /// Fenced code was cut out.
    pub had_code: bool,
    /// A long quotation was cut out.
    pub had_quote: bool,
}

// === impl Instruction ===

impl Instruction {
    /// Finds the instruction of a text.
    pub fn of(text: &str) -> Self {
        let (text, had_code) = without_fences(text);
        let (text, had_quote) = without_quotes(&text);
        let text = text.trim();
        if text.chars().count() <= 2 * KEPT {
            return Self { text: text.to_owned(), had_code, had_quote };
        }
        let mut paragraphs = text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
        let text = match (paragraphs.next(), paragraphs.last()) {
            (Some(first), Some(last)) => format!("{}\n{}", ends(first, KEPT / 2), ends(last, KEPT / 2)),
            _ => ends(text, KEPT),
        };
        Self { text, had_code, had_quote }
    }
}

/// The first and the last `each` characters of a text that is longer than both.
fn ends(text: &str, each: usize) -> String {
    let count = text.chars().count();
    if count <= 2 * each {
        return text.to_owned();
    }
    let at = |place: usize| text.char_indices().nth(place).map_or(text.len(), |(at, _)| at);
    format!("{} {}", &text[..at(each)], &text[at(count - each)..])
}

fn without_fences(text: &str) -> (String, bool) {
    let mut parts = text.split("```");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    let mut had_code = false;
    for (at, part) in parts.enumerate() {
        if at % 2 == 0 {
            had_code = true;
            kept.push_str(" [code] ");
        } else {
            kept.push_str(part);
        }
    }
    (kept, had_code)
}

fn without_quotes(text: &str) -> (String, bool) {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    let mut had_quote = false;
    while let Some((at, open)) = rest.char_indices().find(|(_, char)| closing(*char).is_some()) {
        let (before, quoted) = rest.split_at(at);
        kept.push_str(before);
        let inner = &quoted[open.len_utf8()..];
        let least = if matches!(open, '「' | '『') { QUOTED / 2 } else { QUOTED };
        let end = closing(open).and_then(|closings| inner.find(closings));
        match end.filter(|end| inner[..*end].chars().count() >= least) {
            Some(end) => {
                had_quote = true;
                kept.push_str(" [quote] ");
                let close = inner[end..].chars().next().map_or(0, char::len_utf8);
                rest = &inner[end + close..];
            }
            None => {
                kept.push(open);
                rest = inner;
            }
        }
    }
    kept.push_str(rest);
    (kept, had_quote)
}

/// What ends a quotation that begins so.
fn closing(open: char) -> Option<&'static [char]> {
    match open {
        '"' => Some(&['"']),
        '“' => Some(&['”', '“']),
        '„' => Some(&['“', '”']),
        '«' => Some(&['»']),
        '「' => Some(&['」']),
        '『' => Some(&['』']),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn material_is_cut_away() {
        let long = "word ".repeat(300);
        let asked = Instruction::of(&format!("Correct the typos, please.\n\n{long}\n\n{long}\n\nKeep my tone."));
        assert_eq!(asked.text, "Correct the typos, please.\nKeep my tone.");
        let quoted = Instruction::of(&format!("Is this rude? \"{}\"", "so much text ".repeat(9)));
        assert!(quoted.had_quote && quoted.text.starts_with("Is this rude?") && !quoted.text.contains("much"));
        let code = Instruction::of("Why does it hang?\n```rust\nloop {}\n```\nthanks");
        assert!(code.had_code && !code.text.contains("loop") && code.text.ends_with("thanks"));
        assert_eq!(Instruction::of("short").text, "short");
    }

    proptest! {
        #[test]
        fn whatever_the_text_the_instruction_is_short(text in "[a\"“„«「 \\n`é]{0,2000}") {
            prop_assert!(Instruction::of(&text).text.chars().count() <= 2 * KEPT + 4);
        }
    }
}

//! Stems that tell what an instruction asks for.
//!
//! Thirty kinds in seventeen languages (`stems.txt` beside this file), found in one pass over the instruction. Whole words,
//! as in [`super::lexicon`], do not do for languages that inflect or write without spaces, and hard tasks announce
//! themselves in many words: two thirds of the easy everyday prompts contain no stem of a hard kind, and only a sixth of
//! the hard ones.

use aho_corasick::{AhoCorasick, MatchKind};
use std::collections::HashSet;
use std::sync::LazyLock;

/// The kinds, one a line: `+ name: stem|stem$|...` (hard) or `- name: ...` (easy).
const STEMS: &str = include_str!("stems.txt");

/// A kind of stems.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name as a feature.
    pub name: &'static str,
    /// Stems of hard tasks.
    pub hard: bool,
}

struct Stem {
    kind: usize,
    starts_word: bool,
    ends_word: bool,
}

struct Table {
    kinds: Vec<Kind>,
    stems: Vec<Stem>,
    finder: Option<AhoCorasick>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table { kinds: Vec::new(), stems: Vec::new(), finder: None };
    let mut texts = Vec::new();
    for line in STEMS.lines() {
        let hard = line.starts_with('+');
        let Some((name, stems)) = line.strip_prefix(['+', '-']).and_then(|line| line.split_once(": ")) else {
            continue;
        };
        for stem in stems.split('|') {
            let text = stem.strip_suffix('$').unwrap_or(stem);
            let starts_word = !text.starts_with(is_written_without_spaces);
            let ends_word = starts_word && stem.ends_with('$');
            table.stems.push(Stem { kind: table.kinds.len(), starts_word, ends_word });
            texts.push(text);
        }
        table.kinds.push(Kind { name: name.trim(), hard });
    }
    table.finder = AhoCorasick::builder().match_kind(MatchKind::Standard).build(texts).ok();
    table
});

/// The kinds, in order.
pub fn kinds() -> &'static [Kind] {
    &TABLE.kinds
}

/// How many different stems of each kind a text has.
pub fn count(text: &str) -> Vec<usize> {
    let text = text.to_lowercase();
    let mut found: HashSet<usize> = HashSet::new();
    for hit in TABLE.finder.iter().flat_map(|finder| finder.find_overlapping_iter(&text)) {
        let at = hit.pattern().as_usize();
        let Some(stem) = TABLE.stems.get(at) else { continue };
        let before = text[..hit.start()].chars().next_back();
        let after = text[hit.end()..].chars().next();
        let starts = !stem.starts_word || !before.is_some_and(is_of_word);
        let ends = !stem.ends_word || !after.is_some_and(is_of_word);
        if starts && ends {
            found.insert(at);
        }
    }
    let mut counts = vec![0; TABLE.kinds.len()];
    found.into_iter().for_each(|at| counts[TABLE.stems[at].kind] += 1);
    counts
}

fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Chinese, Japanese, Korean, Thai, and the scripts of Hindi and Arabic, which glue words to what precedes them.
fn is_written_without_spaces(char: char) -> bool {
    matches!(char, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{e00}'..='\u{e7f}' | '\u{900}'..='\u{97f}'
        | '\u{600}'..='\u{6ff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, name: &str) -> usize {
        count(text)[kinds().iter().position(|kind| kind.name == name).unwrap()]
    }

    #[test]
    fn stems_are_found_at_the_start_of_words_in_many_languages() {
        assert_eq!(kinds().len(), 30);
        assert!(of("Prove it. A proof, please.", "words of proofs") == 2 && of("improve it", "words of proofs") == 0);
        assert!(
            of("Beweise den Satz von Euler", "words of proofs") >= 2 && of("请证明这个定理", "words of proofs") == 2
        );
        assert!(of("hi", "chat") == 1 && of("hidden", "chat") == 0);
    }
}

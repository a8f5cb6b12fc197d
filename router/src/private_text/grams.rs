//! Hashed pieces of a window: words, words in a row, beginnings and ends of words.
//!
//! In words in a row a word with a capital is only that, and a number only its length, so that `dear <capital>` means the
//! same whoever is addressed. Pieces of three and four letters carry what names and illnesses have in common in a language.
//! XXH3 is specified: a bucket means the same in every build, and a head holds nothing of the words.

use super::tokens::{Shape, Token};
use twox_hash::XxHash3_64;

/// Buckets.
pub const BUCKETS: usize = 1 << 15;
/// Bytes of a word that are cut into pieces, at most.
const LONGEST: usize = 32;

/// The buckets of a window, sorted, each once.
pub fn buckets(tokens: &[Token<'_>]) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::new();
    let mut add = |kind: u8, parts: &[&str]| {
        let mut bytes = vec![kind];
        for part in parts {
            bytes.extend_from_slice(part.as_bytes());
            bytes.push(0);
        }
        found.push((XxHash3_64::oneshot(&bytes) % BUCKETS as u64) as u32);
    };
    let shapes: Vec<&str> = tokens.iter().map(shape).collect();
    for (at, token) in tokens.iter().enumerate() {
        if token.shape != Shape::Number {
            add(b'w', &[&token.lower]);
            let kind = if token.capital() && !token.first { b'N' } else { b'n' };
            pieces(&token.lower, |piece| add(kind, &[piece]));
        }
        let (one, two) = (shapes.get(at + 1), shapes.get(at + 2));
        add(b'b', &[shapes[at], one.copied().unwrap_or(".")]);
        if let (Some(one), Some(two)) = (one, two) {
            add(b't', &[shapes[at], one, two]);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// A word as it counts beside others.
fn shape<'t>(token: &'t Token<'_>) -> &'t str {
    const NUMBERS: [&str; 6] = ["#", "#1", "#2", "#3", "#4", "#5"];
    match token.shape {
        Shape::Number => NUMBERS[token.raw.len().min(5)],
        Shape::Capital if !token.first => "<C>",
        Shape::Letter if !token.first => "<L>",
        Shape::Capitals => "<U>",
        Shape::Capital | Shape::Letter | Shape::Small => &token.lower,
    }
}

/// Pieces of three and four letters, with the word's edges.
fn pieces(word: &str, mut each: impl FnMut(&str)) {
    let mut end = word.len().min(LONGEST);
    while !word.is_char_boundary(end) {
        end -= 1;
    }
    let edged = format!("^{}$", &word[..end]);
    let places: Vec<usize> = edged.char_indices().map(|(at, _)| at).chain([edged.len()]).collect();
    for size in [3, 4] {
        for range in places.windows(size + 1) {
            each(&edged[range[0]..range[size]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    #[test]
    fn who_is_addressed_does_not_matter_to_words_in_a_row() {
        let texts = ["we met Ada Stone", "we met Bob Brown"].map(tokens);
        let rows = texts.each_ref().map(|tokens| tokens.iter().map(shape).collect::<Vec<_>>());
        assert_eq!(rows[0], rows[1]);
        assert_eq!(rows[0], ["we", "met", "<C>", "<C>"]);
    }

    #[test]
    fn buckets_are_sorted_unique_in_range_and_the_same_in_every_build() {
        let found = buckets(&tokens("Zażółć gęślą jaźń, 12 mg"));
        assert!(found.windows(2).all(|two| two[0] < two[1]) && found.iter().all(|b| (*b as usize) < BUCKETS));
        let one = (XxHash3_64::oneshot(b"wa\0") % BUCKETS as u64) as u32;
        assert!(buckets(&tokens("a")).contains(&one));
    }
}

//! Passing over what nobody looks for: most of a text.
//!
//! **Promise.** Each function says the same as asking byte by byte, or character by character, only sooner: a block of bytes
//! is asked at once (the compiler makes vector instructions of it), and of characters beyond ASCII a table knows those that
//! come out of every reading as they went in. Tests hold each to the plain way of asking.

use std::sync::LazyLock;
use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, is_nfkc_quick};

/// Bytes that are asked at once.
const BLOCK: usize = 32;
/// Bytes that are asked one by one before that.
const NEAR: usize = 8;
/// Characters that the table knows: the first two planes. Any other is asked each time.
const KNOWN: usize = 0x2_0000;

/// Of each character whether it is inert.
static INERT: LazyLock<Box<[u64]>> = LazyLock::new(|| {
    let mut table = vec![0_u64; KNOWN / 64];
    for letter in (0x80..KNOWN as u32).filter_map(char::from_u32).filter(|letter| is_inert_slowly(*letter)) {
        table[letter as usize / 64] |= 1 << (letter as u32 % 64);
    }
    table.into()
});

/// The first byte from a place on of which something holds.
#[inline]
pub(super) fn find(bytes: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let rest = bytes.get(from..)?;
    // Where there are many the next is near.
    if let Some(at) = rest.iter().take(NEAR).position(|byte| wanted(*byte)) {
        return Some(from + at);
    }
    let from = from + NEAR.min(rest.len());
    let rest = bytes.get(from..)?;
    let (blocks, _) = rest.as_chunks::<BLOCK>();
    let empty = |block: &&[u8; BLOCK]| !block.iter().fold(false, |any, byte| any | wanted(*byte));
    let passed = blocks.iter().take_while(empty).count() * BLOCK;
    rest[passed..].iter().position(|byte| wanted(*byte)).map(|at| from + passed + at)
}

/// The next digit, colon or `@` from a place on. The next eight bytes are asked at once, each with a bit for its answer (H.
/// Warren, Hacker's Delight, 2nd edition, chapter 6); where there are none it is far, and [`find`] passes over blocks.
#[inline]
pub(super) fn mark(bytes: &[u8], from: usize) -> Option<usize> {
    match bytes.get(from..)?.first_chunk::<8>() {
        Some(eight) => match marks(*eight) {
            0 => find(bytes, from + 8, is_mark),
            marks => Some(from + marks.trailing_zeros() as usize / 8),
        },
        None => bytes[from..].iter().position(|byte| is_mark(*byte)).map(|at| from + at),
    }
}

/// The high bit of each byte that is a mark, the first byte lowest.
fn marks(eight: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let all = u64::from_le_bytes(eight);
    // Below 0x80 no sum carries into the next byte.
    let low = all & !HIGH;
    let from_zero = low + (0x80 - b'0' as u64) * ONES;
    let past_colon = low + (0x7f - b':' as u64) * ONES;
    let no_at = (low ^ (b'@' as u64 * ONES)) + 0x7f * ONES;
    ((from_zero & !past_colon) | !no_at) & !all & HIGH
}

/// Where something may begin that is looked for by its bytes.
pub(super) fn is_mark(byte: u8) -> bool {
    matches!(byte, b'0'..=b':' | b'@')
}

/// The next character from a place on, a boundary, that is neither ASCII nor inert, and where it is.
pub(super) fn telling(text: &str, mut at: usize, inert: &Inert) -> Option<(usize, char)> {
    while let Some(found) = find(text.as_bytes(), at, |byte| byte >= 0x80) {
        at = found;
        // Letters of a script come in runs.
        for letter in text[found..].chars() {
            if letter.is_ascii() {
                break;
            }
            if !inert.has(letter) {
                return Some((at, letter));
            }
            at += letter.len_utf8();
        }
    }
    None
}

/// The next run of so many bytes or more of which something holds, from a place on that no run reaches across: where it
/// begins. Looks at one byte in `least` where there is none.
#[inline]
pub(super) fn run_of(bytes: &[u8], mut from: usize, least: usize, wanted: impl Fn(u8) -> bool) -> Option<usize> {
    while let Some(window) = bytes.get(from..from + least) {
        match window.iter().rposition(|byte| !wanted(*byte)) {
            Some(other) => from += other + 1,
            None => return Some(from),
        }
    }
    None
}

/// Characters that a reading without disguise leaves as they are, whatever stands beside them: in NFKC by themselves, no
/// part of a composition, no mark, and [`super::normal::mapped`] to themselves.
#[derive(Clone, Copy)]
pub(super) struct Inert(&'static [u64]);

// === impl Inert ===

impl Inert {
    /// The table, made when it is first asked for.
    pub(super) fn table() -> Self {
        Self(&INERT)
    }

    /// Whether a character beyond ASCII is inert; `false` where nobody knows.
    #[inline]
    pub(super) fn has(self, letter: char) -> bool {
        self.0.get(letter as usize / 64).is_some_and(|bits| bits >> (letter as u32 % 64) & 1 == 1)
    }
}

fn is_inert_slowly(letter: char) -> bool {
    canonical_combining_class(letter) == 0
        && super::normal::mapped(letter) == Some(letter)
        && is_nfkc_quick(std::iter::once(letter)) == IsNormalized::Yes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table_knows_every_letter_that_it_says_it_knows() {
        let inert = Inert::table();
        for letter in (0x80..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let known = (letter as usize) < KNOWN;
            assert_eq!(inert.has(letter), known && is_inert_slowly(letter), "{letter:?}");
        }
    }

    #[test]
    fn every_byte_is_a_mark_or_none_wherever_it_stands_in_eight() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut bytes = [[b'a', 0, 0xff, b'/'][at % 4]; 24];
                bytes[at] = byte;
                assert_eq!(mark(&bytes, 0), is_mark(byte).then_some(at), "{byte} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn passing_over_says_what_asking_each_says(text in "([a-z ]{0,40}|[äöé中文字１２\u{301}\u{200b}😀0-9:@ ]){0,12}", from in 0_usize..80) {
            let bytes = text.as_bytes();
            let digit = |byte: u8| byte.is_ascii_digit();
            let plain = (from..bytes.len()).find(|at| digit(bytes[*at]));
            prop_assert_eq!(find(bytes, from, digit), plain);
            prop_assert_eq!(mark(bytes, from), (from..bytes.len()).find(|at| is_mark(bytes[*at])));
            let from = super::super::context::floor(&text, from);
            let plain = text[from..].char_indices().find(|(_, letter)| !letter.is_ascii() && !is_inert_slowly(*letter) || *letter as usize >= KNOWN);
            prop_assert_eq!(telling(&text, from, &Inert::table()), plain.map(|(at, letter)| (from + at, letter)));
            let letter = |byte: u8| byte.is_ascii_alphabetic();
            for least in [1, 3, 16] {
                let mut plain = None;
                for at in (0..bytes.len()).rev() {
                    let begins = at == 0 || !letter(bytes[at - 1]);
                    let long = bytes[at..].iter().take_while(|byte| letter(**byte)).count() >= least;
                    if begins && long { plain = Some(at); }
                }
                prop_assert_eq!(run_of(bytes, 0, least, letter), plain);
            }
        }
    }
}

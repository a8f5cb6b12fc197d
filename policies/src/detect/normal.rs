//! Other ways to read a text: without disguise, and decoded.
//!
//! Each reading is at most so long as the text (a compatibility character may become a few), made in one pass, and none is
//! decoded again: one level deep.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::ops::Range;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// Zeros of the scripts whose digits are written today; nine follow each.
const ZEROS: [char; 14] = [
    '\u{0660}', '\u{06F0}', '\u{07C0}', '\u{0966}', '\u{09E6}', '\u{0A66}', '\u{0AE6}', '\u{0B66}', '\u{0BE6}',
    '\u{0C66}', '\u{0CE6}', '\u{0D66}', '\u{0E50}', '\u{0ED0}',
];

/// The most that NFKC makes of a character is 18 (U+FDFA): longer readings are cut off.
const GROWTH: usize = 4;

/// The fewest characters of base64 that are decoded: they can hide a card, or an address.
const LEAST: usize = 16;
/// The fewest printable bytes of what was decoded that are read.
const LEAST_DECODED: usize = 8;

/// Takes either alphabet of RFC 4648 (mapped to one), with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The text in NFKC (UAX 15), without characters that nobody sees, digits of all scripts as 0 to 9, every dash a hyphen;
/// `None` where that changes nothing.
pub(super) fn plain(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let normal = is_nfkc_quick(foreign(text).filter_map(mapped)) == IsNormalized::Yes;
    if normal && foreign(text).all(|letter| mapped(letter) == Some(letter)) {
        return None;
    }
    let seen = text.chars().filter_map(mapped);
    let plain: String = if normal { seen.collect() } else { composed(seen, text.len()) };
    (plain != text).then_some(plain)
}

/// NFKC, and whatever disguise it brings to light; cut off where it grows too much.
fn composed(letters: impl Iterator<Item = char>, length: usize) -> String {
    let mut plain = String::with_capacity(length);
    for letter in letters.nfkc().filter_map(mapped) {
        if plain.len() >= length.saturating_mul(GROWTH) {
            break;
        }
        plain.push(letter);
    }
    plain
}

/// The characters beyond ASCII.
fn foreign(text: &str) -> impl Iterator<Item = char> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let at = rest.bytes().position(|byte| byte >= 0x80)?;
        let letter = rest[at..].chars().next()?;
        rest = &rest[at + letter.len_utf8()..];
        Some(letter)
    })
}

/// A character without its disguise; `None` for what is not seen.
fn mapped(letter: char) -> Option<char> {
    if letter.is_ascii() {
        return Some(letter);
    }
    match letter {
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' => None,
        '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' => None,
        '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{E0100}'..='\u{E01EF}' => None,
        // Tags repeat ASCII where nobody sees it; models read them.
        '\u{E0020}'..='\u{E007E}' => char::from_u32(letter as u32 - 0xE_0000),
        '\u{E0000}'..='\u{E007F}' => None,
        // Full-width forms of ASCII: what NFKC makes of them, without its cost.
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(letter as u32 - 0xFEE0),
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{FE58}' | '\u{FE63}' => Some('-'),
        '\u{2000}'..='\u{200A}' | '\u{2028}' | '\u{2029}' | '\u{202F}' | '\u{205F}' | '\u{3000}' | '\u{00A0}' => {
            Some(' ')
        }
        '\u{00B7}' | '\u{2022}' | '\u{2024}' | '\u{2027}' | '\u{30FB}' | '\u{FF65}' => Some('.'),
        _ => {
            let zero =
                ZEROS.iter().map(|zero| *zero as u32).find(|zero| (*zero..*zero + 10).contains(&(letter as u32)));
            match zero {
                Some(zero) => char::from_digit(letter as u32 - zero, 10),
                None => Some(letter),
            }
        }
    }
}

/// The text with its percent codes resolved (RFC 3986); `None` where there are none.
pub(super) fn percent(text: &str) -> Option<String> {
    let coded = text.match_indices('%').any(|(at, _)| {
        let code = text.as_bytes().get(at + 1..at + 3);
        code.is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit))
    });
    coded.then(|| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned())
}

/// The text with the escapes of JSON strings resolved (RFC 8259); `None` where there are none.
pub(super) fn unescaped(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    unescape(text, |piece, _| out.push_str(piece));
    Some(out)
}

/// Gives the pieces of an unescaped text, each with where it was.
fn unescape(text: &str, mut piece: impl FnMut(&str, Range<usize>)) {
    let (mut at, mut letter) = (0, [0; 4]);
    while let Some(step) = text[at..].find('\\') {
        let begin = at + step;
        piece(&text[at..begin], at..begin);
        let rest = &text[begin + 1..];
        let Some(kind) = rest.chars().next() else { return };
        let rest = &rest[kind.len_utf8()..];
        at = text.len() - rest.len();
        let read = match kind {
            'u' => match code(rest) {
                Some((letter, after)) => {
                    at = text.len() - after.len();
                    letter
                }
                None => 'u',
            },
            'n' | 'r' => '\n',
            't' | 'b' | 'f' => ' ',
            other => other,
        };
        piece(read.encode_utf8(&mut letter), begin..at);
    }
    piece(&text[at..], at..text.len());
}

/// Where each byte of a reading was in the text that was read.
#[derive(Debug, Default)]
pub(super) struct Places {
    of: Vec<(u32, u32)>,
    /// The reading resolves escapes.
    pub(super) unescapes: bool,
}

// === impl Places ===

impl Places {
    /// Of a text without disguise; `None` where it is not known letter by letter (NFKC composes).
    pub(super) fn of_plain(text: &str, plain: &str) -> Option<Self> {
        let (mut places, mut letter, mut rest) = (Self::default(), [0; 4], plain);
        for (at, seen) in text.char_indices() {
            let Some(mapped) = mapped(seen) else { continue };
            let read: &str = mapped.encode_utf8(&mut letter);
            rest = rest.strip_prefix(read)?;
            places.add(read, at..at + seen.len_utf8());
        }
        rest.is_empty().then_some(places)
    }

    /// Of a text whose escapes are resolved.
    pub(super) fn of_unescaped(text: &str) -> Self {
        let mut places = Self { unescapes: true, ..Self::default() };
        unescape(text, |piece, span| places.add(piece, span));
        places
    }

    fn add(&mut self, piece: &str, span: Range<usize>) {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        if piece.len() == span.len() {
            self.of.extend(span.map(|at| (place(at), place(at + 1))));
        } else {
            self.of.extend(piece.bytes().map(|_| (place(span.start), place(span.end))));
        }
    }

    /// Where a stretch of the reading was.
    pub(super) fn of(&self, span: &Range<usize>) -> Option<Range<usize>> {
        let (first, last) = (self.of.get(span.start)?, self.of.get(span.end.checked_sub(1)?)?);
        Some(first.0 as usize..last.1 as usize)
    }
}

/// The character of a `\u` escape, both halves of a pair, and what follows.
fn code(rest: &str) -> Option<(char, &str)> {
    let unit = |text: &str| u32::from_str_radix(text.get(..4)?, 16).ok();
    let (high, after) = (unit(rest)?, rest.get(4..)?);
    if let Some(letter) = char::from_u32(high) {
        return Some((letter, after));
    }
    let low = unit(after.strip_prefix("\\u")?)?;
    let pair = 0x1_0000 + (high.checked_sub(0xD800)? << 10) + low.checked_sub(0xDC00)?;
    Some((char::from_u32(pair)?, after.get(6..)?))
}

/// What runs of base64 in a text say, where it is text; each on a line of its own.
pub(super) fn base64(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut out, mut at, mut run) = (String::new(), 0, Vec::new());
    while let Some(step) = bytes[at..].iter().position(|byte| is_base64(*byte)) {
        at += step;
        // Most runs are words: they are passed over.
        let length = bytes[at..].iter().position(|byte| !is_base64(*byte)).unwrap_or(bytes.len() - at);
        if length < LEAST {
            at += length;
            continue;
        }
        run.clear();
        let (mut mixed, mut line) = (0_u8, 0);
        while let Some(byte) = bytes.get(at) {
            match byte {
                // Lines of mail and of PEM go on.
                b'\n' | b'\r' if line >= 60 && line % 4 == 0 => line = if *byte == b'\n' { 0 } else { line },
                byte if is_base64(*byte) => {
                    mixed |= if byte.is_ascii_lowercase() { 1 } else { 2 };
                    line += 1;
                    run.push(match byte {
                        b'-' => b'+',
                        b'_' => b'/',
                        other => *other,
                    });
                }
                _ => break,
            }
            at += 1;
        }
        // Text in base64 has letters of both cases, words have not.
        if run.len() >= LEAST && mixed == 3 {
            decode(&run, &mut out);
        }
    }
    (!out.is_empty()).then_some(out)
}

/// Decodes a run from each of the four places where its code may begin (a path or a word may have been glued to it).
fn decode(run: &[u8], out: &mut String) {
    let mut decoded = vec![0; run.len() / 4 * 3 + 3];
    for begin in 0..4 {
        let Some(rest) = run.get(begin..) else { return };
        // A lone last character encodes nothing.
        let whole = if rest.len() % 4 == 1 { rest.len() - 1 } else { rest.len() };
        let Ok(length) = BASE64.decode_slice(&rest[..whole], &mut decoded) else { continue };
        if printable(&decoded[..length], out) * 2 > length {
            return;
        }
    }
}

/// Adds the printable stretches of some bytes; gives how many bytes they have.
fn printable(bytes: &[u8], out: &mut String) -> usize {
    let mut total = 0;
    for chunk in bytes.utf8_chunks() {
        for part in chunk.valid().split(|letter: char| letter.is_control() && !letter.is_whitespace()) {
            if part.len() >= LEAST_DECODED {
                total += part.len();
                out.push_str(part);
                out.push('\n');
            }
        }
    }
    total
}

fn is_base64(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let (mut table, mut byte) = ([false; 256], 0_u8);
        loop {
            table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
            if byte == u8::MAX {
                break table;
            }
            byte += 1;
        }
    };
    TABLE[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn disguises_come_off() {
        for (text, said) in [
            ("4111\u{200B}1111\u{00AD}1111", Some("411111111111")),
            ("４１１１", Some("4111")),
            ("٤١١١ ۴ १", Some("4111 4 1")),
            ("4111\u{00A0}1111\u{2013}2", Some("4111 1111-2")),
            ("\u{E0034}\u{E0031}", Some("41")),
            ("naïve café", None),
            ("plain", None),
        ] {
            assert_eq!(plain(text).as_deref(), said, "{text}");
        }
        assert_eq!(percent("a%40b.co %zz").as_deref(), Some("a@b.co %zz"));
        assert_eq!(percent("100% of it"), None);
        assert_eq!(unescaped(r#"{\"a\":\"\u0034\ud83d\ude00\n1\"}"#).as_deref(), Some("{\"a\":\"4\u{1F600}\n1\"}"));
        assert_eq!(unescaped(r"\u12 \").as_deref(), Some("u12 "));
    }

    #[test]
    fn base64_is_read_wherever_it_begins_and_words_are_left_alone() {
        for text in [
            "x NDExMTExMTExMTExMTExMQ== y",
            "/img/NDExMTExMTExMTExMTExMQ",
            "NDEx\nx",
            "internationalization of everything",
        ] {
            let read = base64(text).unwrap_or_default();
            assert_eq!(read.contains("4111111111111111"), text.contains("NDExMTEx"), "{text}: {read}");
        }
        let line = BASE64.encode("the card that I pay with is 4111 1111 1111 1111 and nobody knows it but you");
        let wrapped = format!("{}\n{}", &line[..64], &line[64..]);
        assert!(base64(&wrapped).unwrap().contains("4111 1111 1111 1111"));
    }

    proptest! {
        #[test]
        fn no_reading_fails_and_none_grows_without_bound(text in "\\PC*") {
            let most = text.len() * GROWTH + 16;
            for reading in [plain(&text), percent(&text), unescaped(&text), base64(&text)].into_iter().flatten() {
                prop_assert!(reading.len() <= most.max(text.len() * 4 + 64));
            }
        }
    }
}

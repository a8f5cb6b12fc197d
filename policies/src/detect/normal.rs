//! Other ways to read a text: without disguise, and decoded.
//!
//! Each reading is at most so long as the text (a compatibility character may become a few), made in one pass, and none is
//! decoded again: one level deep.

use super::skim::{self, Inert};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::ops::Range;
use unicode_normalization::char::canonical_combining_class;
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
///
/// Letters that are as they should be, most of every text, are passed over and copied in one piece.
pub(super) fn plain(text: &str) -> Option<String> {
    let inert = Inert::table();
    let mut plain: Option<String> = None;
    // What is copied already, the end of the last letter that told something, and that letter's combining class.
    let (mut copied, mut end, mut class) = (0, 0, 0);
    while let Some((at, letter)) = skim::telling(text, end, &inert) {
        if at > end {
            class = 0;
        }
        end = at + letter.len_utf8();
        let seen = mapped(letter);
        if let Some(seen) = seen.filter(|seen| !seen.is_ascii()) {
            // The quick check of UAX 15, section 9, one letter at a time.
            let own = canonical_combining_class(seen);
            let ordered = own == 0 || own >= class;
            if !ordered || is_nfkc_quick(std::iter::once(seen)) != IsNormalized::Yes {
                let whole = composed(text.chars().filter_map(mapped), text.len());
                return (whole != text).then_some(whole);
            }
            class = own;
        } else if seen.is_some() {
            class = 0;
        }
        if seen != Some(letter) {
            let plain = plain.get_or_insert_with(|| String::with_capacity(text.len()));
            plain.push_str(&text[copied..at]);
            plain.extend(seen);
            copied = end;
        }
    }
    plain.map(|plain| plain + &text[copied..])
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

/// A character without its disguise; `None` for what is not seen.
pub(super) fn mapped(letter: char) -> Option<char> {
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
pub(super) fn unescape(text: &str, mut piece: impl FnMut(&str, Range<usize>)) {
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

/// A run of base64.
#[derive(Debug)]
pub(super) struct Run {
    /// Where in the reading ends what it says.
    pub(super) says: usize,
    /// Where it stands, its padding included.
    pub(super) at: Range<usize>,
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
pub(super) fn base64(text: &str) -> Option<(String, Vec<Run>)> {
    let bytes = text.as_bytes();
    let (mut out, mut at, mut run, mut runs) = (String::new(), 0, Vec::new(), Vec::new());
    // Most runs are words: they are passed over.
    while let Some(begin) = skim::run_of(bytes, at, LEAST, is_base64) {
        at = begin;
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
            let padding = bytes[at..].iter().take(2).take_while(|byte| **byte == b'=').count();
            decode(&run, &mut out);
            runs.push(Run { says: out.len(), at: begin..at + padding });
        }
    }
    (!out.is_empty()).then_some((out, runs))
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
            let read = base64(text).unwrap_or_default().0;
            assert_eq!(read.contains("4111111111111111"), text.contains("NDExMTEx"), "{text}: {read}");
        }
        let line = BASE64.encode("the card that I pay with is 4111 1111 1111 1111 and nobody knows it but you");
        let wrapped = format!("{}\n{}", &line[..64], &line[64..]);
        assert!(base64(&wrapped).unwrap().0.contains("4111 1111 1111 1111"));
    }

    /// The reading without disguise, letter by letter.
    fn plainly(text: &str) -> Option<String> {
        let seen = || text.chars().filter_map(mapped);
        let normal = is_nfkc_quick(seen()) == IsNormalized::Yes;
        let plain: String = if normal { seen().collect() } else { composed(seen(), text.len()) };
        (plain != text).then_some(plain)
    }

    /// Where runs begin that are long enough to be decoded.
    fn runs(text: &str) -> Vec<usize> {
        let word = |at: &usize| is_base64(text.as_bytes()[*at]);
        let begins = (0..text.len()).filter(|at| word(at) && at.checked_sub(1).is_none_or(|before| !word(&before)));
        begins.filter(|at| (*at..text.len()).take_while(word).count() >= LEAST).collect()
    }

    #[test]
    fn every_letter_is_read_as_letter_by_letter_alone_and_beside_marks() {
        // The planes that are in use whole, of the others some.
        let letters = (0..0x2_0000).chain((0x2_0000..=u32::from(char::MAX)).step_by(61)).chain(0xE_0000..0xE_0200);
        for letter in letters.filter_map(char::from_u32) {
            let beside = [format!("{letter}"), format!("e{letter}\u{301}"), format!("\u{1100}{letter}中１")];
            for text in beside {
                assert_eq!(plain(&text), plainly(&text), "{text:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn passing_over_changes_no_reading(parts in proptest::collection::vec(
            prop_oneof![
                "[a-zA-Z0-9+/=_-]{0,40}", "[äöüéñ]{1,4}", "[中文字かなカナ한글]{1,6}", "[，。：！（）１２３ａｂ]{1,4}",
                "[\u{300}-\u{345}]{1,3}", "[\u{1100}-\u{1112}\u{1161}-\u{1175}\u{11A8}-\u{11C2}]{1,3}", "[٠-٩۰-۹०-९]{1,4}",
                "[\u{200b}-\u{200f}\u{ad}\u{feff}\u{e0030}-\u{e0039}]{1,3}", "[नमस्ते\u{94d}\u{93c}]{1,4}", "[ﬁﬀ㎏①Åﷺ\u{212b}]{1,3}", "[😀𝒳𠮷]{1,2}",
                "\\PC{0,6}", Just("\n".to_owned()), Just(" ".to_owned()),
            ], 0..12)) {
            let text = parts.concat();
            prop_assert_eq!(plain(&text), plainly(&text));
            let mut found = Vec::new();
            let mut at = 0;
            while let Some(begin) = skim::run_of(text.as_bytes(), at, LEAST, is_base64) {
                found.push(begin);
                at = begin + text.as_bytes()[begin..].iter().take_while(|byte| is_base64(**byte)).count();
            }
            prop_assert_eq!(found, runs(&text));
        }
    }

    proptest! {
        #[test]
        fn no_reading_fails_and_none_grows_without_bound(text in "\\PC*") {
            let most = text.len() * GROWTH + 16;
            for reading in [plain(&text), percent(&text), unescaped(&text), base64(&text).map(|read| read.0)].into_iter().flatten() {
                prop_assert!(reading.len() <= most.max(text.len() * 4 + 64));
            }
        }
    }
}

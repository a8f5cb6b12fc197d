//! The way back from a reading to the text that was read.
//!
//! **Promise.** A stretch of a reading leads to the stretch of the text that says it: letter by letter where a letter was
//! read as one, otherwise all that was read at once (a percent code, what NFKC composes, a run of base64). Taken out of the
//! text, what was read there is gone.

use super::normal::{Run, mapped, unescape};
use std::ops::Range;
use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// Where each byte of a reading was in the text that was read.
#[derive(Debug, Default)]
pub(super) struct Places {
    of: Vec<(u32, u32)>,
    /// The reading resolves escapes.
    pub(super) unescapes: bool,
    /// A stretch is only known where it stands in one piece.
    whole: bool,
}

// === impl Places ===

impl Places {
    /// Of a text without disguise: letter by letter, and where NFKC makes one of several, all of them at once. `None` where
    /// it was cut off.
    pub(super) fn of_plain(text: &str, plain: &str) -> Option<Self> {
        let (mut places, mut rest, mut begin) = (Self::default(), plain, 0);
        let ends = text.char_indices().filter(|(at, letter)| *at > 0 && begins(*letter)).map(|(at, _)| at);
        for end in ends.chain([text.len()]) {
            let cluster = &text[begin..end];
            let read: String = cluster.chars().filter_map(mapped).nfkc().filter_map(mapped).collect();
            rest = rest.strip_prefix(read.as_str())?;
            match read == cluster {
                true => places.add(&read, begin..end),
                false => places.add_whole(&read, begin..end),
            }
            begin = end;
        }
        rest.is_empty().then_some(places)
    }

    /// Of a text in lower case, which `char` and `str` write with as many bytes.
    pub(super) fn of_lower(text: &str) -> Self {
        let mut places = Self::default();
        for (at, letter) in text.char_indices() {
            places.add_whole(&letter.to_lowercase().to_string(), at..at + letter.len_utf8());
        }
        places
    }

    /// Of a text whose percent codes are resolved; `None` where they are no text.
    pub(super) fn of_percent(text: &str) -> Option<Self> {
        percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
        let (mut places, mut at, bytes) = (Self::default(), 0, text.as_bytes());
        while at < bytes.len() {
            let code = bytes[at] == b'%'
                && bytes.get(at + 1..at + 3).is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit));
            let end = at + if code { 3 } else { 1 };
            places.of.push((place(at), place(end)));
            at = end;
        }
        Some(places)
    }

    /// Of what runs of base64 say: whatever is in a run stands where the whole run does.
    pub(super) fn of_runs(runs: &[Run]) -> Self {
        let mut places = Self { whole: true, ..Self::default() };
        for Run { says, at } in runs {
            places.of.resize(*says, (place(at.start), place(at.end)));
        }
        places
    }

    /// Of a text whose escapes are resolved.
    pub(super) fn of_unescaped(text: &str) -> Self {
        let mut places = Self { unescapes: true, ..Self::default() };
        unescape(text, |piece, span| places.add(piece, span));
        places
    }

    fn add(&mut self, piece: &str, span: Range<usize>) {
        if piece.len() == span.len() {
            self.of.extend(span.map(|at| (place(at), place(at + 1))));
        } else {
            self.add_whole(piece, span);
        }
    }

    /// Each byte of a piece stands where all of it does.
    fn add_whole(&mut self, piece: &str, span: Range<usize>) {
        self.of.extend(piece.bytes().map(|_| (place(span.start), place(span.end))));
    }

    /// Where a stretch of the reading was.
    pub(super) fn of(&self, span: &Range<usize>) -> Option<Range<usize>> {
        let (first, last) = (self.of.get(span.start)?, self.of.get(span.end.checked_sub(1)?)?);
        if self.whole && first != last {
            return None;
        }
        Some(first.0 as usize..last.1 as usize)
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Whether NFKC never makes one letter of a character and what goes before it (UAX 15, section 3: a boundary).
fn begins(letter: char) -> bool {
    let first = mapped(letter).and_then(|letter| std::iter::once(letter).nfkd().next());
    first.is_some_and(|first| {
        canonical_combining_class(first) == 0 && is_nfkc_quick(std::iter::once(first)) != IsNormalized::Maybe
    })
}

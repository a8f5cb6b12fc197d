//! Cuts a text into BERT's word pieces, reading no more of it than the network takes.
//!
//! **Promise.** The ids are those of the reference tokeniser (`tokenizers`, `BertNormalizer` with its defaults), with one
//! exception: `[SEP]` and the like in a text are words in brackets, so that nobody writes marks into the network's
//! input. `rten-text` does accents, letter case, punctuation and the search for pieces. It does not clean the text, sets
//! no spaces around Chinese characters, and keeps the known beginning of a word whose end is unknown; that is done here.
//!
//! **Both ends.** A text of more than [`MOST_TOKENS`] tokens is read at its beginning ([`FRONT_TOKENS`]) and at its end
//! ([`BACK_TOKENS`]), because instructions stand at one of the two. Each end is looked for in a window of some KiB, so a
//! megabyte costs as much as a page; a window that holds nothing but spaces gives no tokens. A word that is cut at the
//! end of the beginning counts as read, and the end begins behind it.

use rten_text::models::{EncodeError, Model, WordPiece, WordPieceOptions};
use rten_text::normalizers::{Bert as Normal, BertOptions, NormalizeError, Normalizer};
use rten_text::pre_tokenizers::{Bert as Split, PreTokenizeError, PreTokenizer};
use std::collections::HashMap;
use std::ops::Range;

/// Tokens that the network reads at most, with the marks of beginning and end. It has learnt no more.
pub const MOST_TOKENS: usize = 128;
/// Tokens from the beginning of a text that is too long.
const FRONT_TOKENS: usize = 96;
/// Tokens from the end of a text that is too long.
const BACK_TOKENS: usize = 30;
/// Tokens that have room between the two marks.
const ROOM: usize = MOST_TOKENS - 2;
/// Bytes of each part in which the first tokens are looked for: many times what they take in any script.
const FRONT_WINDOW: usize = 4_096;
/// Bytes of each part in which the last tokens are looked for.
const BACK_WINDOW: usize = 2_048;

/// The vocabulary and its rules.
pub struct Pieces {
    vocabulary: WordPiece,
    normal: Normal,
    begin: i32,
    end: i32,
    unknown: i32,
}

/// What the network reads.
pub struct Read {
    /// At least the two marks, at most [`MOST_TOKENS`].
    pub ids: Vec<i32>,
    /// What was left out.
    pub unread_bytes: usize,
}

/// Why a text could not be cut.
#[derive(Debug, thiserror::Error)]
pub enum PiecesError {
    /// A character could not be normalised.
    #[error("normalising failed")]
    Normal(#[from] NormalizeError),
    /// The words could not be told apart.
    #[error("finding words failed")]
    Split(#[from] PreTokenizeError),
    /// No piece fits, not even the unknown one.
    #[error("finding word pieces failed")]
    Piece(#[from] EncodeError),
}

/// Text as the vocabulary spells it.
struct Window {
    text: String,
    /// For each byte of `text`, where it comes from.
    origin: Vec<usize>,
    /// Where the window ends there.
    end: usize,
}

// === impl Pieces ===

impl Pieces {
    /// Reads a vocabulary of one piece a line; `None` without the marks.
    pub fn new(vocabulary: &str) -> Option<Self> {
        let ids: HashMap<String, u32> = vocabulary.lines().map(str::to_owned).zip(0..).collect();
        let id = |piece: &str| ids.get(piece).and_then(|id| i32::try_from(*id).ok());
        let (begin, end, unknown) = (id("[CLS]")?, id("[SEP]")?, id("[UNK]")?);
        Some(Self {
            vocabulary: WordPiece::from_vocab(ids, WordPieceOptions::default()),
            normal: Normal::new(BertOptions { lowercase: true, strip_accents: true }),
            begin,
            end,
            unknown,
        })
    }

    /// Reads `head` and, going on where it stops, `tail`.
    pub fn read(&self, head: &str, tail: &str) -> Result<Read, PiecesError> {
        let whole = head.len() + tail.len();
        let mut ids = vec![self.begin];
        // Where the word ends that each token is of.
        let mut ends = vec![0];
        let mut seen = 0;
        for (part, offset) in [(head, 0), (tail, head.len())] {
            if seen == offset && ids.len() <= ROOM + 1 {
                let window = &part[..part.floor_char_boundary(FRONT_WINDOW)];
                seen = offset + window.len();
                self.forwards(&self.window(window, offset)?, &mut ids, &mut ends)?;
            }
        }
        if seen == whole && ids.len() <= ROOM + 1 {
            ids.push(self.end);
            return Ok(Read { ids, unread_bytes: 0 });
        }

        ids.truncate(FRONT_TOKENS + 1);
        let front = ends.get(ids.len() - 1).copied().unwrap_or_default();
        let mut back = Vec::new();
        let mut from = whole;
        for (part, offset) in [(tail, head.len()), (head, 0)] {
            let begin = part.ceil_char_boundary(part.len().saturating_sub(BACK_WINDOW));
            let window = self.window(&part[begin..], offset + begin)?;
            from = self.backwards(&window, front..from, &mut back)?;
            // What lies before a window that was cut is not next to what was read.
            if begin > 0 || back.len() >= BACK_TOKENS {
                break;
            }
        }
        back.reverse();
        ids.append(&mut back);
        ids.push(self.end);
        Ok(Read { ids, unread_bytes: from - front })
    }

    /// Tokens of a whole text, the marks left out.
    pub fn count(&self, text: &str) -> Result<usize, PiecesError> {
        let mut ids = Vec::new();
        for (word, _) in self.window(text, 0)?.words()? {
            self.append(word, &mut ids)?;
        }
        Ok(ids.len())
    }

    /// Appends tokens until there are more than fit.
    fn forwards(&self, window: &Window, ids: &mut Vec<i32>, ends: &mut Vec<usize>) -> Result<(), PiecesError> {
        for (word, place) in window.words()? {
            self.append(word, ids)?;
            ends.resize(ids.len(), place.end);
            if ids.len() > ROOM + 1 {
                break;
            }
        }
        Ok(())
    }

    /// Appends tokens from the last one backwards, of words that begin in `open`; gives where the last such word begins,
    /// or the end of `open` if there is none.
    fn backwards(&self, window: &Window, open: Range<usize>, back: &mut Vec<i32>) -> Result<usize, PiecesError> {
        let mut from = open.end;
        for (word, place) in window.words()?.into_iter().rev() {
            if place.start < open.start || back.len() >= BACK_TOKENS {
                break;
            }
            let mut pieces = Vec::new();
            self.append(word, &mut pieces)?;
            let room = BACK_TOKENS - back.len();
            back.extend(pieces.iter().rev().take(room));
            from = place.start;
        }
        Ok(from)
    }

    /// Appends the tokens of a word; a word with an unknown part is unknown as a whole.
    fn append(&self, word: &str, ids: &mut Vec<i32>) -> Result<(), PiecesError> {
        let before = ids.len();
        self.vocabulary.encode_with_offsets(word, &mut |_, id| ids.push(id.cast_signed()))?;
        if ids[before..].contains(&self.unknown) {
            ids.truncate(before);
            ids.push(self.unknown);
        }
        Ok(())
    }

    /// Cleans and normalises a part of the text that begins at `offset`.
    fn window(&self, part: &str, offset: usize) -> Result<Window, PiecesError> {
        let mut clean = String::with_capacity(part.len() + part.len() / 4);
        let mut from = Vec::with_capacity(clean.capacity());
        let mut push = |place: usize, c: char| {
            clean.push(c);
            from.resize(clean.len(), offset + place);
        };
        for (place, c) in part.char_indices() {
            if is_dropped(c) {
                continue;
            }
            if is_chinese(c) {
                [' ', c, ' '].into_iter().for_each(|c| push(place, c));
            } else {
                push(place, if c.is_whitespace() { ' ' } else { c });
            }
        }
        let (text, places) = self.normal.normalize(&clean)?;
        let end = offset + part.len();
        let origin = places.into_iter().map(|place| from.get(place).copied().unwrap_or(end)).collect();
        Ok(Window { text, origin, end })
    }
}

// === impl Window ===

impl Window {
    /// The words, each with its place in what was asked about.
    fn words(&self) -> Result<Vec<(&str, Range<usize>)>, PiecesError> {
        let mut begin = 0;
        let words = Split::new().pre_tokenize(&self.text)?.into_iter().map(|word| {
            // The words follow each other without gaps: spaces are words, too.
            let place = begin..begin + word.len();
            begin = place.end;
            (word, self.origin(place.start)..self.origin(place.end))
        });
        Ok(words.filter(|(word, _)| !word.trim().is_empty()).collect())
    }

    fn origin(&self, place: usize) -> usize {
        self.origin.get(place).copied().unwrap_or(self.end)
    }
}

/// Control, format and private characters, which the network has never seen; line ends and tabs are spaces. The format
/// characters are those that the reference tokeniser knows.
fn is_dropped(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => false,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}' => true,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' => true,
        '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffd}' => true,
        '\u{110bd}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' => true,
        '\u{e0001}' | '\u{e0020}'..='\u{e007f}' => true,
        '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{ffffd}' | '\u{100000}'..='\u{10fffd}' => true,
        other => other.is_control(),
    }
}

/// Characters that are words by themselves; the ranges are those of the reference tokeniser.
fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{4e00}'..='\u{9fff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{20000}'..='\u{2a6df}'
        | '\u{2a700}'..='\u{2b73f}'
        | '\u{2b740}'..='\u{2b81f}'
        | '\u{2b920}'..='\u{2ceaf}'
        | '\u{f900}'..='\u{faff}'
        | '\u{2f800}'..='\u{2fa1f}')
}

//! Where in a text something stands, so that it can be replaced.
//!
//! **Promise.** A [`Spot`] is *exact* only where cutting its bytes out of the text takes the value out, all of it and nothing
//! else: it stands in one part, free of the letters beside
//! it, in a reading that leads back to the text letter by letter. Whether it holds anything that JSON would have to escape is
//! for [`crate::mask`] to see.
//!
//! What was found in a run of base64 is located as the whole run; what NFKC made of several letters, as all of them.
//!
//! **What it does not do.** What was found across the seam of two parts, or of two runs of base64, is located nowhere; of an
//! expression the first few hundred matches of a text are. Of a private key only the first line is known, of a connection string perhaps not all: neither is exact.

use super::Passage;
use super::findings::Findings;
use super::kind::Kind;
use super::places::Places;
use super::scan::Hit;
use aho_corasick::{AhoCorasick, AhoCorasickBuilder, BuildError, MatchKind};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// Credentials whose extent is not known.
const OPEN_ENDED: [&str; 2] = ["private_key", "connection_string"];

/// A value in the part of a passage.
#[derive(Clone, PartialEq, Eq)]
pub struct Spot {
    /// The passage's place.
    pub passage: usize,
    /// The part's place in it.
    pub part: usize,
    /// Its bytes in that part.
    pub range: Range<usize>,
    /// What it is.
    pub kind: Kind,
    /// The value in the one form in which it is compared.
    pub value: Vec<u8>,
}

/// All that a scan found, and where.
pub struct Located {
    /// As [`super::Detectors::scan`] gives it.
    pub findings: Findings,
    /// What can be cut out exactly, in the order of the text.
    pub spots: Vec<Spot>,
    /// Every different value of every reading, in the one form in which it is compared.
    pub values: BTreeSet<(Kind, Vec<u8>)>,
}

/// Texts that are looked for as they are, in any case, and whether they were met standing free.
pub struct Sought {
    search: AhoCorasick,
    /// Of each: whether it was met.
    pub met: Vec<bool>,
}

/// What is known of places while passages are read.
#[derive(Default)]
pub(super) struct Track {
    /// The number of passages that were begun.
    begun: usize,
    /// Where each part of the passage is in its text; none: the text is no longer that of the passage.
    parts: Vec<Range<usize>>,
    spots: Vec<Spot>,
    values: BTreeSet<(Kind, Vec<u8>)>,
}

impl fmt::Debug for Spot {
    /// The value is content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}[{:?}] {}", self.passage, self.part, self.range, self.kind.word())
    }
}

// === impl Sought ===

impl Sought {
    /// Compiles texts.
    ///
    /// # Errors
    /// There are too many.
    pub fn new<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, BuildError> {
        let search =
            AhoCorasickBuilder::new().ascii_case_insensitive(true).match_kind(MatchKind::Standard).build(texts)?;
        let met = vec![false; search.patterns_len()];
        Ok(Self { search, met })
    }

    pub(super) fn look(&mut self, text: &str) {
        for found in self.search.find_overlapping_iter(text) {
            if free(text, &found.range()) {
                self.met[found.pattern().as_usize()] = true;
            }
        }
    }
}

// === impl Track ===

impl Track {
    /// A passage begins: its parts are joined with one byte between.
    pub(super) fn begin(&mut self, passage: &Passage<'_>) {
        self.begun += 1;
        self.parts.clear();
        let mut at = 0;
        for part in passage {
            self.parts.push(at..at + part.len());
            at += part.len() + 1;
        }
    }

    /// What is read next is put together otherwise.
    pub(super) fn apart(&mut self) {
        self.parts.clear();
    }

    /// Takes over the hits of a reading.
    pub(super) fn take(&mut self, text: &str, hits: impl Iterator<Item = Hit>, places: Option<&[&Places]>) {
        for Hit { kind, variety, value, span } in hits {
            // Of a reading as it is a backslash takes the letter after it.
            let resolved = places.is_some_and(|places| places.iter().any(|places| places.unescapes));
            let escaped = !resolved && text[..span.start].ends_with('\\');
            let whole = free(text, &span) && !escaped && !OPEN_ENDED.contains(&variety);
            if let (true, Some(places)) = (whole, places)
                && let Some(range) = places.iter().try_fold(span, |span, places| places.of(&span))
                && let Some(part) = self.part_of(&range)
            {
                let begin = self.parts[part].start;
                let range = range.start - begin..range.end - begin;
                self.spots.push(Spot { passage: self.begun - 1, part, range, kind, value: value.clone() });
            }
            self.values.insert((kind, value));
        }
    }

    /// The part that a stretch of the passage's text is in.
    fn part_of(&self, range: &Range<usize>) -> Option<usize> {
        let at = self.parts.partition_point(|part| part.end < range.end);
        self.parts.get(at).filter(|part| part.start <= range.start).map(|_| at)
    }

    pub(super) fn located(mut self, findings: Findings) -> Located {
        self.spots.sort_by_key(|spot| (spot.passage, spot.part, spot.range.start, spot.range.end));
        self.spots.dedup();
        Located { findings, spots: self.spots, values: self.values }
    }
}

/// Whether a stretch is no part of a word.
pub(crate) fn free(text: &str, span: &Range<usize>) -> bool {
    let word = |letter: char| letter.is_alphanumeric() || letter == '_';
    !text[..span.start].chars().next_back().is_some_and(word) && !text[span.end..].chars().next().is_some_and(word)
}

//! One pass over a text.
//!
//! The pass goes from one digit, `@` or colon to the next; a table finds them, and between them nothing is done. Every
//! candidate is looked at once and within fixed bounds, so that work grows with the text and never faster: [`Work`] counts
//! it, and a test holds it to that.

use super::chain::{self, Chain};
use super::context::Topics;
use super::kind::Kind;
use super::machine::{self, Colons};
use super::skim;
use super::token::{self, Token};
use super::tools::Tools;
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

/// The longest word that is looked at: nothing that is looked for is longer.
const LONGEST: usize = 64;
/// How far before a number a word counts that alone makes it a finding.
const NEAR: usize = 48;

/// What a scan did: the same for the same text, on every machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes read, in all readings of all texts.
    pub bytes: u64,
    /// Candidates looked at.
    pub checks: u64,
    /// Bytes of words, chains of digits and groups between colons that were looked at for them.
    pub looked: u64,
}

/// A value, and where in the text that was read.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) kind: Kind,
    pub(super) variety: &'static str,
    /// In the one form in which it is compared.
    pub(super) value: Vec<u8>,
    pub(super) span: Range<usize>,
}

/// A scan of all texts of a request.
pub(super) struct Scan<'d> {
    pub(super) tools: &'d Tools,
    on: [bool; Kind::ALL.len()],
    /// Digests of what was found, so that what occurs twice counts once. They are forgotten with the scan.
    seen: HashSet<(Kind, u64)>,
    pub(super) counts: BTreeMap<(Kind, &'static str), u32>,
    /// Handed out while it is read; moving a box costs nothing.
    chain: Option<Box<Chain>>,
    /// What the text that is read speaks of anywhere: most texts full of numbers speak of none of it, and their numbers need
    /// no look at what stands beside them. Read when the first candidate asks.
    topics: OnceCell<Topics>,
    /// Colons before here stand in a run that is longer than any address.
    colons_from: usize,
    /// Nothing is passed over: the way that tests compare with.
    #[cfg(test)]
    pub(super) plainly: bool,
    pub(super) work: Work,
    /// Every hit of the last reading, where somebody wants to know where they are.
    pub(super) hits: Option<Vec<Hit>>,
}

// === impl Scan ===

impl<'d> Scan<'d> {
    pub(super) fn new(tools: &'d Tools, on: [bool; Kind::ALL.len()]) -> Self {
        Self {
            tools,
            on,
            seen: HashSet::new(),
            counts: BTreeMap::new(),
            chain: None,
            topics: OnceCell::new(),
            colons_from: 0,
            #[cfg(test)]
            plainly: false,
            work: Work::default(),
            hits: None,
        }
    }

    /// Looks for everything in one reading of a text.
    pub(super) fn read(&mut self, text: &str) {
        self.work.bytes += text.len() as u64;
        self.topics = OnceCell::new();
        self.colons_from = 0;
        // Words and beginnings of credentials have letters, or a slash; long tables of numbers have none.
        let bare = self.skims() && skim::find(text.as_bytes(), 0, |byte| !is_bare(byte)).is_none();
        if bare {
            self.topics = OnceCell::from(Topics::default());
        }
        if self.is_on(Kind::Secret) && !bare {
            for found in self.tools.secrets.find(text) {
                self.work.checks += 1;
                if let Some((name, span)) = found {
                    self.hit(Kind::Secret, name, &text.as_bytes()[span.clone()], span);
                }
            }
        }
        let (bytes, mut at) = (text.as_bytes(), 0);
        while let Some(found) = skim::mark(bytes, at) {
            at = match bytes[found] {
                b'@' => self.email(bytes, found),
                b':' => self.colons(text, found),
                _ => self.word(text, found),
            };
        }
    }

    /// Whether there can be one of these topics beside anything.
    pub(super) fn speaks_of(&self, text: &str, topics: Topics) -> bool {
        self.topics.get_or_init(|| self.tools.words.anywhere(text)).has(topics)
    }

    /// Whether it is known already that there is none of these topics: what needs one is not worth a look then.
    pub(super) fn never(&self, topics: Topics) -> bool {
        self.topics.get().is_some_and(|spoken| !spoken.has(topics))
    }

    fn around(&self, text: &str, span: &Range<usize>, topics: Topics) -> bool {
        self.speaks_of(text, topics) && self.tools.words.around(text, span).has(topics)
    }

    pub(super) fn before(&self, text: &str, start: usize) -> Topics {
        if self.speaks_of(text, Topics::OF_BEFORE) {
            self.tools.words.before(text, start, NEAR)
        } else {
            Topics::default()
        }
    }

    /// Whether what cannot be a finding is passed over.
    pub(super) fn skims(&self) -> bool {
        #[cfg(test)]
        return !self.plainly;
        #[cfg(not(test))]
        true
    }

    fn is_on(&self, kind: Kind) -> bool {
        self.on[kind.place()]
    }

    pub(super) fn hit(&mut self, kind: Kind, variety: &'static str, value: &[u8], span: Range<usize>) {
        if let Some(hits) = self.hits.as_mut().filter(|_| self.on[kind.place()]) {
            hits.push(Hit { kind, variety, value: value.to_vec(), span });
        }
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        if self.is_on(kind) && self.seen.insert((kind, hasher.finish())) {
            *self.counts.entry((kind, variety)).or_default() += 1;
        }
    }

    fn email(&mut self, bytes: &[u8], at: usize) -> usize {
        self.work.checks += 1;
        match machine::email(bytes, at) {
            Some(span) => {
                let end = span.end;
                self.hit(Kind::Email, "", &bytes[span.clone()].to_ascii_lowercase(), span);
                end
            }
            None => at + 1,
        }
    }

    fn colons(&mut self, text: &str, at: usize) -> usize {
        let bytes = text.as_bytes();
        // A last colon ends what its first one has been asked about; alone it is none.
        let last = !matches!(bytes.get(at + 1), Some(b'0'..=b':' | b'a'..=b'f' | b'A'..=b'F' | b'.'));
        if (last || at < self.colons_from) && self.skims() {
            return at + 1;
        }
        self.work.checks += 1;
        let (span, short) = machine::colons(bytes, at);
        self.work.looked += span.len() as u64;
        if !short {
            // Every colon up to a dot sees as long a run, since none looks back across a dot.
            let rest = &bytes[at..span.end];
            self.colons_from = at + rest.iter().position(|byte| *byte == b'.').unwrap_or(rest.len());
            return at + 1;
        }
        let outside = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bounded = !outside(bytes.get(span.end)) && !outside(span.start.checked_sub(1).and_then(|at| bytes.get(at)));
        match bounded.then(|| machine::read_colons(&text[span.clone()])).flatten() {
            Some(kind) => {
                let (kind, variety) = match kind {
                    Colons::Mac => (Kind::MacAddress, ""),
                    Colons::Ipv6 => (Kind::IpAddress, "ipv6"),
                };
                let end = span.end;
                self.hit(kind, variety, &bytes[span.clone()].to_ascii_lowercase(), span);
                end
            }
            None => at + 1,
        }
    }

    /// The word of letters and digits in which a digit stands; gives where to go on.
    fn word(&mut self, text: &str, digit: usize) -> usize {
        let bytes = text.as_bytes();
        let (start, end) = word_around(bytes, digit);
        self.work.checks += 1;
        self.work.looked += (end - start) as u64;
        if end - start > LONGEST {
            return end;
        }
        let word = &bytes[start..end];
        if self.skims() && chain::alone(start.checked_sub(1).map(|at| bytes[at]), word, bytes.get(end)) {
            return end;
        }
        if self.skims() && self.never(Topics::OF_NUMBERS) && chain::wordless_alone(bytes, word, start) {
            return end;
        }
        if let Some(span) = machine::mac_around(bytes, start, word.len()) {
            let end = span.end;
            self.hit(Kind::MacAddress, "", &bytes[span.clone()].to_ascii_lowercase(), span);
            return end;
        }
        if word.iter().all(u8::is_ascii_digit) {
            let mut chain = self.chain.take().unwrap_or_default();
            let end = chain.read(bytes, start).max(end);
            self.work.looked += (end - start) as u64;
            if !(self.skims() && chain.too_little()) {
                chain.bind(bytes);
                self.numbers(text, &chain);
            }
            self.chain = Some(chain);
            return end;
        }
        if let [one, two, three, four, ..] = word
            && one.is_ascii_alphabetic()
            && two.is_ascii_alphabetic()
            && three.is_ascii_digit()
            && four.is_ascii_digit()
            && let Some((letters, span)) = token::iban(bytes, start)
        {
            let end = span.end;
            self.hit(Kind::Iban, "", letters.as_bytes(), span);
            return end;
        }
        self.mixed(text, start, end);
        end
    }

    fn mixed(&mut self, text: &str, start: usize, end: usize) {
        let bytes = text.as_bytes();
        let word = &bytes[start..end];
        if let ([date @ .., b'-' | b'+'], 4) = (&bytes[start.saturating_sub(7)..start], word.len())
            && token::fi_hetu_parts(date, word)
            && !start.checked_sub(8).is_some_and(|at| bytes[at].is_ascii_alphanumeric())
        {
            self.hit(Kind::NationalId, "fi_hetu", &bytes[start - 7..end], start - 7..end);
            return;
        }
        match token::read(word) {
            Some(Token::National(name)) => {
                return self.hit(Kind::NationalId, name, &word.to_ascii_uppercase(), start..end);
            }
            Some(Token::Worded(name)) if self.around(text, &(start..end), Topics::ID) => {
                return self.hit(Kind::NationalId, name, &word.to_ascii_uppercase(), start..end);
            }
            Some(Token::Worded(_)) | None => {}
        }
        let (passport, medical) = (token::passport(word), token::medical(word));
        if passport || medical {
            let topics = self.before(text, start);
            if passport && topics.has(Topics::PASSPORT) {
                self.hit(Kind::Passport, "", word, start..end);
            } else if medical && topics.has(Topics::MEDICAL) {
                self.hit(Kind::MedicalRecord, "", word, start..end);
            }
        }
    }
}

/// The word of letters and digits around a digit; of a longer one at least so much that it is known to be longer than
/// [`LONGEST`].
#[inline]
fn word_around(bytes: &[u8], digit: usize) -> (usize, usize) {
    let inside = |byte: &u8| byte.is_ascii_alphanumeric();
    // The pass stops at the first digit of a word: what goes before are letters, and mostly there are none.
    let start = match digit.checked_sub(1).map(|at| inside(&bytes[at])) {
        None | Some(false) => digit,
        Some(true) => digit - bytes[..digit].iter().rev().take(LONGEST).take_while(|byte| inside(byte)).count(),
    };
    let rest = &bytes[digit + 1..];
    // A digit by itself, as in times, ratios and lists.
    let more = if rest.first().is_some_and(inside) { rest.iter().take_while(|byte| inside(byte)).count() } else { 0 };
    (start, digit + 1 + more)
}

/// Whether a byte is in no word and no beginning of a credential that could stand alone.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_alphabetic() && byte != b'/'
}

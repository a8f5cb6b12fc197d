//! What a request's content says about its class.
//!
//! **Promise.** [`Detectors::scan`] looks for payment cards, IBANs, national identifiers, passports, medical records,
//! credentials, addresses and configured patterns in texts: as they are, without disguise (NFKC, characters nobody sees,
//! digits of other scripts), with base64, percent codes and JSON escapes resolved one level deep, and across the seams of
//! texts that were split. It gives names and numbers of what it found and the class that follows; never the content.
//!
//! **Why no model.** What has a check digit or an issuer's prefix is known by arithmetic, with no threshold to tune and no
//! instruction in the text that could talk it out of it.
//!
//! **Failure behaviour.** It cannot fail and does not backtrack: work grows with the text (see [`Work`]). What lies beyond
//! the cap, and what is no text, is reported as [`Unscanned`] and counts as the class that is configured for it.
//!
//! **What it does not do.** By itself it finds no names, no postal addresses, no health data in words: that is what a
//! [`TextReader`] is for, where one is given. Nothing in pictures or sound, no text in two layers of encoding, ROT13 or
//! spelled out. A national identifier whose check digit is weak needs a word
//! beside it. What was measured stands in `docs/detectors.md`.

mod card;
mod chain;
mod checks;
mod context;
mod custom;
mod findings;
mod kind;
mod locate;
mod machine;
mod national;
mod normal;
mod numbers;
mod phone;
mod places;
mod reader;
mod scan;
mod secret;
mod skim;
mod token;
mod tools;

#[cfg(test)]
mod tests;

pub use custom::{Pattern, WordList};
pub use findings::{Finding, Findings, Unscanned};
pub use kind::{Kind, Sensitivity};
pub(crate) use locate::free;
pub use locate::{Located, Sought, Spot};
pub use reader::{TextRead, TextReader, TextReading};
pub use scan::Work;

use crate::residency::DataClass;
use custom::Custom;
use locate::Track;
use places::Places;
use scan::{Hit, Scan};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use tools::Tools;

/// Bytes on each side of a seam between texts that are read as one: more than anything has that is looked for in groups.
const SEAM: usize = 256;

/// Why detectors cannot be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DetectError {
    /// An expression is wrong, or too large.
    #[error("pattern `{name}`: {why}")]
    Regex {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// An expression matches the empty text, and so every request.
    #[error("pattern `{0}` matches the empty text, and so every request")]
    MatchesNothing(String),
    /// A list without words, or with an empty one.
    #[error("word list `{0}` is empty, or has an empty word")]
    EmptyWord(String),
    /// Too many words.
    #[error("the words cannot be searched for: {0}")]
    Words(#[from] aho_corasick::BuildError),
}

/// What to look for, and what follows.
#[derive(Clone, Debug)]
pub struct DetectConfig {
    /// The class of each kind, in the order of [`Kind::ALL`]; `None`: it is not looked for.
    pub kinds: [Option<DataClass>; Kind::ALL.len()],
    /// Further expressions.
    pub patterns: Vec<Pattern>,
    /// Further words.
    pub words: Vec<WordList>,
    /// The class of what is not scanned; `None`: it is reported only.
    pub unscanned: Option<DataClass>,
    /// The most bytes of text of a request that are scanned.
    pub most_bytes: u64,
    /// Findings are reported and set no class.
    pub observe: bool,
}

/// Texts that belong together, in order: the parts of one message, or one text alone.
pub type Passage<'a> = Vec<Cow<'a, str>>;

/// Compiled detectors.
pub struct Detectors {
    config: DetectConfig,
    tools: Tools,
    custom: Custom,
    /// Who reads what patterns cannot know.
    reader: Option<Arc<dyn TextReader>>,
}

// === impl Detectors ===

impl fmt::Debug for Detectors {
    /// Nothing of what is looked for: a list of customers is confidential itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detectors").finish_non_exhaustive()
    }
}

impl Detectors {
    /// Compiles what is looked for.
    ///
    /// # Errors
    /// An expression or list of the configuration that cannot be used.
    pub fn new(config: DetectConfig) -> Result<Self, DetectError> {
        let custom = Custom::compile(&config.patterns, &config.words)?;
        Ok(Self { tools: Tools::compile()?, custom, config, reader: None })
    }

    /// The same with a reader of free text.
    pub fn with_reader(self, reader: Arc<dyn TextReader>) -> Self {
        Self { reader: Some(reader), ..self }
    }

    /// Whether free text is read: a scan takes tens of milliseconds then.
    pub fn reads_text(&self) -> bool {
        self.reader.is_some()
    }

    /// Whether findings are reported only.
    pub fn observe(&self) -> bool {
        self.config.observe
    }

    /// Words of the kinds that are looked for, then the configured names and what is looked for in free text.
    pub fn names(&self) -> Vec<String> {
        let kinds = Kind::ALL.into_iter().filter(|kind| self.config.kinds[kind.place()].is_some());
        let custom = self.custom.rules.iter().map(|(name, _)| name.to_string());
        let read = self.reader.iter().flat_map(|reader| reader.names());
        kinds.map(|kind| kind.word().to_owned()).chain(custom).chain(read).collect()
    }

    /// Looks through texts; `unscanned` is what the caller knows to be no text.
    pub fn scan(&self, passages: &[Passage<'_>], unscanned: Unscanned) -> Findings {
        let mut looking = Looking::new(self, unscanned);
        passages.iter().for_each(|passage| looking.passage(passage));
        looking.findings()
    }

    /// Looks through texts, and says where what was found stands.
    pub fn locate(&self, passages: &[Passage<'_>], unscanned: Unscanned) -> Located {
        let mut looking = Looking::new(self, unscanned);
        looking.scan.hits = Some(Vec::new());
        looking.track = Some(Track::default());
        passages.iter().for_each(|passage| looking.passage(passage));
        let track = looking.track.take().unwrap_or_default();
        track.located(looking.findings())
    }

    /// Looks through texts, and notes which of some values are still in them, in whatever reading.
    pub fn scan_for(&self, passages: &[Passage<'_>], unscanned: Unscanned, sought: &mut Sought) -> Findings {
        let mut looking = Looking::new(self, unscanned);
        looking.sought = Some(sought);
        passages.iter().for_each(|passage| looking.passage(passage));
        looking.findings()
    }

    /// The class that a kind sets; `None`: it is not looked for, or findings only are reported.
    pub fn class_of(&self, kind: Kind) -> Option<DataClass> {
        let class = if let Kind::Configured(place) = kind {
            self.custom.rule(place).map(|(_, class)| *class)
        } else {
            self.config.kinds.get(kind.place()).copied().flatten()
        };
        class.filter(|_| !self.config.observe)
    }

    /// What records call what a kind finds: its word, or the configured name.
    pub fn name_of(&self, kind: Kind) -> &str {
        if let Kind::Configured(place) = kind {
            self.custom.rule(place).map_or("", |(name, _)| name)
        } else {
            kind.word()
        }
    }

    /// What is looked for by that name: a kind, or a configured expression or list.
    pub fn kind_of(&self, name: &str) -> Option<Kind> {
        let known = Kind::named(name).filter(|kind| self.config.kinds[kind.place()].is_some());
        known.or_else(|| self.custom.kind(name))
    }

    /// What is said of a request that could not be looked at: everything is unscanned, and counts as the most sensitive
    /// class that anything sets.
    pub fn blind(&self, bytes: u64) -> Findings {
        let class = self.highest();
        let unscanned = Unscanned { text_bytes: bytes, ..Unscanned::default() };
        Findings { found: vec![], unscanned, class, observed: false, work: Work::default() }
    }

    /// The most sensitive class that anything sets.
    fn highest(&self) -> Option<DataClass> {
        let classes = self.config.kinds.iter().flatten().chain(&self.config.unscanned);
        let custom = self.custom.rules.iter().map(|(_, class)| class);
        let class = classes.chain(custom).max().copied();
        class.max(self.reader.as_ref().and_then(|reader| reader.highest()))
    }
}

/// A scan on its way.
struct Looking<'d, 's> {
    detectors: &'d Detectors,
    scan: Scan<'d>,
    /// How often each configured rule was met.
    custom: BTreeMap<usize, u32>,
    /// Configured words that were met, by rule.
    seen: HashSet<(usize, String)>,
    unscanned: Unscanned,
    left: u64,
    /// Where things stand, where somebody wants to know.
    track: Option<Track>,
    /// What must not be there any more.
    sought: Option<&'s mut Sought>,
    reading: Option<Box<dyn TextReading + 'd>>,
}

// === impl Looking ===

impl<'d> Looking<'d, '_> {
    fn new(detectors: &'d Detectors, unscanned: Unscanned) -> Self {
        Self {
            detectors,
            scan: Scan::new(&detectors.tools, detectors.config.kinds.map(|class| class.is_some())),
            custom: BTreeMap::new(),
            seen: HashSet::new(),
            unscanned,
            left: detectors.config.most_bytes,
            track: None,
            sought: None,
            reading: detectors.reader.as_ref().map(|reader| reader.begin()),
        }
    }

    fn passage(&mut self, passage: &Passage<'_>) {
        let total: u64 = passage.iter().map(|part| part.len() as u64).sum();
        let text: Cow<'_, str> = match passage.as_slice() {
            [one] => Cow::Borrowed(one.as_ref()),
            parts => Cow::Owned(parts.join("\n")),
        };
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let read = &text[..context::floor(&text, most)];
        self.left -= (read.len() as u64).min(self.left);
        self.unscanned.text_bytes += total.saturating_sub(read.len() as u64);
        if let Some(track) = &mut self.track {
            track.begin(passage);
        }
        if let Some(reading) = &mut self.reading {
            reading.text(normal::plain(read).as_deref().unwrap_or(read));
        }
        self.text(read);
        if passage.len() > 1 && read.len() == text.len() {
            if let Some(track) = &mut self.track {
                track.apart();
            }
            self.text(&seams(passage));
        }
    }

    /// Reads a text in every way.
    fn text(&mut self, text: &str) {
        let tracked = self.track.is_some();
        self.read(text, Some(&[]));
        let plain = normal::plain(text);
        let placed = plain.as_deref().filter(|_| tracked).map(|plain| Places::of_plain(text, plain));
        let here: Option<Vec<&Places>> = match &placed {
            None => Some(vec![]),
            Some(places) => places.as_ref().map(|places| vec![places]),
        };
        if let Some(plain) = &plain {
            self.read(plain, here.as_deref());
        }
        let text = plain.as_deref().unwrap_or(text);
        let here = here.filter(|_| tracked);
        if let Some((decoded, runs)) = normal::base64(text) {
            self.decoded(&decoded, here.as_deref(), || Some(Places::of_runs(&runs)));
        }
        if let Some(decoded) = normal::percent(text) {
            self.decoded(&decoded, here.as_deref(), || Places::of_percent(text));
        }
        if let Some(decoded) = normal::unescaped(text) {
            self.decoded(&decoded, here.as_deref(), || Some(Places::of_unescaped(text)));
        }
    }

    /// Reads a text that was decoded, without disguise; `here` leads back from the text that it was decoded from, if anybody
    /// wants to know.
    fn decoded(&mut self, decoded: &str, here: Option<&[&Places]>, places: impl FnOnce() -> Option<Places>) {
        let plain = normal::plain(decoded);
        let unmasked = plain.as_deref().filter(|_| here.is_some()).map(|plain| Places::of_plain(decoded, plain));
        let there = here.and_then(|here| Some((here, places()?)));
        let there = there.as_ref().and_then(|(here, places)| match &unmasked {
            None => Some([&[places][..], *here].concat()),
            Some(unmasked) => Some([&[unmasked.as_ref()?, places][..], *here].concat()),
        });
        self.read(plain.as_deref().unwrap_or(decoded), there.as_deref());
    }

    /// Reads a text; `places` lead back to the passage, the last reading first, where they are known.
    fn read(&mut self, text: &str, places: Option<&[&Places]>) {
        self.scan.read(text);
        if let (Some(track), Some(hits)) = (&mut self.track, &mut self.scan.hits) {
            self.detectors.custom.locate(text, |kind, span, word| {
                hits.push(Hit { kind, variety: "", value: word.into_bytes(), span });
            });
            track.take(text, hits.drain(..), places);
        }
        if let Some(sought) = &mut self.sought {
            sought.look(text);
        }
        let (custom, seen) = (&mut self.custom, &mut self.seen);
        self.detectors.custom.find(text, |rule, word| {
            if seen.insert((rule, word.to_owned())) {
                *custom.entry(rule).or_default() += 1;
            }
        });
    }

    fn findings(mut self) -> Findings {
        let free = self.reading.take().map(|reading| reading.end()).unwrap_or_default();
        self.unscanned.text_bytes += free.unread_bytes;
        let config = &self.detectors.config;
        let kinds = self.scan.counts.iter().filter_map(|((kind, variety), count)| {
            let class = config.kinds[kind.place()]?;
            let variety = (!variety.is_empty()).then_some(*variety);
            Some(Finding { name: kind.word().into(), variety, class, count: *count })
        });
        let custom = self.custom.iter().filter_map(|(rule, count)| {
            let (name, class) = self.detectors.custom.rules.get(*rule)?;
            Some(Finding { name: name.clone(), variety: None, class: *class, count: *count })
        });
        let found: Vec<Finding> = kinds.chain(custom).chain(free.found).collect();
        let unscanned = config.unscanned.filter(|_| self.unscanned.any());
        let feared = self.detectors.highest().filter(|_| free.failed);
        let class = found.iter().map(|finding| finding.class).chain(unscanned).chain(feared).max();
        let class = class.filter(|_| !config.observe);
        Findings { found, unscanned: self.unscanned, class, observed: config.observe, work: self.scan.work }
    }
}

/// The parts put together without anything between, long ones without their middle: what was split is whole again.
fn seams(passage: &Passage<'_>) -> String {
    let mut text = String::new();
    for part in passage {
        if part.len() <= 2 * SEAM {
            text.push_str(part);
        } else {
            text.push_str(&part[..context::floor(part, SEAM)]);
            text.push('\n');
            text.push_str(&part[context::ceil(part, part.len() - SEAM)..]);
        }
    }
    text
}

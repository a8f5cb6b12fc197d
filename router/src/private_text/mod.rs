//! Names of persons, postal addresses and somebody's health in free text: small heads on the encoder that already judges.
//!
//! **Promise.** [`PrivateText`] reads a request's text in [windows], gives each to the encoder and three logistic
//! regressions, and says of which kinds there is how much: names, classes and numbers of windows, never content. The same text
//! gives the same findings. At most [`PrivateConfig::most`] windows of a request are judged, the last ones, because earlier
//! turns were judged when they were new; the bytes of the others count as not scanned.
//!
//! **Why it is off by default.** It guesses. The heads were trained on text that this repository makes (`examples/train-private`),
//! in eight languages, and nobody has measured them on anything else; `docs/detectors.md` has the figures as they are. Each
//! window takes milliseconds of a processor, where patterns take microseconds.
//!
//! **Memory.** Probabilities of the last [`KEPT`] windows are kept under a hash with a key of this process, so that a
//! conversation that comes again with every turn is not judged again. No text is kept.
//!
//! **Failure behaviour.** A window for which no encoder comes free within [`PATIENCE`], or whose encoding fails, makes the read
//! a failed one: its bytes are not scanned, and the request gets the most sensitive class that anything sets.
//!
//! **What it does not do.** It does not say where in a window something stands, so nothing it finds can be masked. A single
//! word alone is not judged. What is encoded (base64 and the like) is not judged. Languages other than the eight are judged, but
//! nothing is promised of them.

mod features;
mod grams;
mod head;
mod lexicon;
mod tokens;
mod windows;

pub use features::{MADE, Reader, WIDTH};
pub use head::{Calibration, HeadError, Heads, Provenance};
pub use lexicon::patterns;
pub use windows::{MOST_BYTES, MOST_WORDS, windows};

use crate::classify::probe::embed_text;
use parking_lot::Mutex;
use policies::DataClass;
use policies::detect::{Finding, TextRead, TextReader, TextReading};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The heads that the program carries.
static SHIPPED: &[u8] = include_bytes!("../../assets/heads/private.head");
/// How long a window waits for an encoder.
const PATIENCE: Duration = Duration::from_secs(2);
/// Windows whose probabilities are kept, in each of two generations.
const KEPT: usize = 4_096;

/// What is looked for in free text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The name of a person who is not known for it.
    PersonName,
    /// Street and number, or more.
    PostalAddress,
    /// What ails somebody, or what they take against it; not an illness in general.
    HealthText,
}

/// What to look for, and what follows.
#[derive(Clone, Debug)]
pub struct PrivateConfig {
    /// The class of each kind, in the order of [`Kind::ALL`]; `None`: it is not looked for.
    pub classes: [Option<DataClass>; 3],
    /// The least probability that counts; `None`: the head's own.
    pub thresholds: [Option<f32>; 3],
    /// Windows of a request that are judged, at most.
    pub most: usize,
}

/// Why free text cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateTextError {
    /// The heads cannot be used.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The words cannot be searched for.
    #[error("the words cannot be searched for")]
    Words,
}

/// Reads free text.
pub struct PrivateText {
    config: PrivateConfig,
    heads: Heads,
    reader: Reader,
    known: Known,
    /// How long a window waits for an encoder.
    patience: Duration,
}

/// Probabilities of windows that came before.
#[derive(Default)]
struct Known {
    keys: RandomState,
    generations: Mutex<[HashMap<u64, [f32; 3]>; 2]>,
}

/// A request being read: its last windows.
struct Reading<'r> {
    of: &'r PrivateText,
    windows: VecDeque<String>,
    unread: u64,
}

impl fmt::Debug for PrivateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateText").field("config", &self.config).finish_non_exhaustive()
    }
}

// === impl Kind ===

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::PersonName, Self::PostalAddress, Self::HealthText];

    /// The word in the configuration and in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::PersonName => "person_name",
            Self::PostalAddress => "postal_address",
            Self::HealthText => "health_text",
        }
    }

    /// The kind of that word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// The standard class that it sets where the configuration says nothing else.
    pub fn usual_class(self) -> &'static str {
        match self {
            Self::PersonName | Self::PostalAddress => "confidential",
            Self::HealthText => "restricted",
        }
    }

    /// Its place in [`Kind::ALL`].
    pub fn place(self) -> usize {
        self as usize
    }
}

// === impl PrivateText ===

impl PrivateText {
    /// With the heads that the program carries.
    ///
    /// # Errors
    /// They do not fit this build, which a test rules out.
    pub fn bundled(config: PrivateConfig) -> Result<Self, PrivateTextError> {
        Self::new(config, Heads::read(SHIPPED)?)
    }

    /// With given heads.
    ///
    /// # Errors
    /// The words of the features cannot be searched for.
    pub fn new(config: PrivateConfig, heads: Heads) -> Result<Self, PrivateTextError> {
        let reader = Reader::new().map_err(|_| PrivateTextError::Words)?;
        Ok(Self { config, heads, reader, known: Known::default(), patience: PATIENCE })
    }

    /// The least probability that counts for a kind.
    pub fn threshold(&self, kind: Kind) -> f32 {
        self.config.thresholds[kind.place()].unwrap_or(self.heads.calibration[kind.place()].threshold)
    }

    /// The probabilities of a window, in the order of [`Kind::ALL`]; `None`: it could not be encoded. Blocks for as long as
    /// the encoder takes.
    fn judge(&self, window: &str) -> Option<[f32; 3]> {
        let key = self.known.keys.hash_one(window);
        if let Some(known) = self.known.get(key) {
            return Some(known);
        }
        let vector = embed_text(window, self.patience)?;
        let probabilities = self.heads.probabilities(&self.reader.read(window, &vector));
        self.known.keep(key, probabilities);
        Some(probabilities)
    }
}

impl TextReader for PrivateText {
    fn names(&self) -> Vec<String> {
        let on = Kind::ALL.into_iter().filter(|kind| self.config.classes[kind.place()].is_some());
        on.map(|kind| kind.word().to_owned()).collect()
    }

    fn highest(&self) -> Option<DataClass> {
        self.config.classes.iter().flatten().max().copied()
    }

    fn begin(&self) -> Box<dyn TextReading + '_> {
        Box::new(Reading { of: self, windows: VecDeque::new(), unread: 0 })
    }
}

// === impl Known ===

impl Known {
    fn get(&self, key: u64) -> Option<[f32; 3]> {
        let generations = self.generations.lock();
        generations.iter().find_map(|known| known.get(&key)).copied()
    }

    fn keep(&self, key: u64, probabilities: [f32; 3]) {
        let mut generations = self.generations.lock();
        let [young, old] = &mut *generations;
        if young.len() >= KEPT {
            *old = std::mem::take(young);
        }
        young.insert(key, probabilities);
    }
}

// === impl Reading ===

impl TextReading for Reading<'_> {
    fn text(&mut self, text: &str) {
        for window in windows(text) {
            if self.windows.len() >= self.of.config.most
                && let Some(left_out) = self.windows.pop_front()
            {
                self.unread += left_out.len() as u64;
            }
            self.windows.push_back(text[window].to_owned());
        }
    }

    fn end(self: Box<Self>) -> TextRead {
        let mut read = TextRead { unread_bytes: self.unread, ..TextRead::default() };
        let mut counts = [0u32; 3];
        for window in &self.windows {
            let Some(probabilities) = self.of.judge(window) else {
                read.failed = true;
                read.unread_bytes += window.len() as u64;
                continue;
            };
            for kind in Kind::ALL {
                let counts_as = probabilities[kind.place()] >= self.of.threshold(kind);
                counts[kind.place()] += u32::from(counts_as);
            }
        }
        if read.failed {
            tracing::error!("free text could not be read: no encoder, or it failed");
        }
        read.found = Kind::ALL
            .into_iter()
            .filter_map(|kind| {
                let (class, count) = (self.of.config.classes[kind.place()]?, counts[kind.place()]);
                (count > 0).then(|| Finding { name: kind.word().into(), variety: None, class, count })
            })
            .collect();
        read
    }
}

#[cfg(test)]
mod tests;

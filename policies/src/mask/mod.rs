//! Placeholders in the place of values, and values in the place of placeholders.
//!
//! **Promise.** [`choose`] names the stretches of a request that are cut out and the [`Values`] that put them back; cutting
//! and restoring gives every byte again. What cannot be cut out exactly is left where it is and binds as it did: a kind that
//! is not masked, a value in another encoding or across the seam of two parts, one with something in it that JSON would
//! have to escape (so a restored value is right at any depth of nesting).
//!
//! **How it is made sure of.** Nothing here is believed: the caller scans what came out of it again, searches it for every
//! value that was cut out ([`Chosen::sought`]), and asks which values of the first scan are not accounted for
//! ([`Chosen::unaccounted`]); a word beside a number may have moved away from it, and the number is still one.
//!
//! **Names.** `<EMAIL_1>`: the same spelling of a value has the same number in a request, and, as long as [`Numbers`] is kept,
//! in a session. What was configured is `<CUSTOM_1>`, whatever its rule is called: names of rules say something, too. Two spellings of one card are two placeholders, or one of them could not be restored. A number whose
//! placeholder stands in the client's own text in any case is passed over.
//!
//! **What it does not do.** It hides what a value is, not that there is one, nor what is said around it.

mod numbers;
mod restore;

#[cfg(test)]
mod tests;

pub use numbers::{Numbers, Taken};
pub use restore::{Restorer, Values};

use crate::detect::{Kind, Located, Passage, Sought};
use crate::ids::ProviderName;
use crate::residency::DataClass;
use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

/// What is masked, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskRules {
    kinds: Vec<Kind>,
    /// Every hosted call gets these kinds masked; otherwise only one that the class would forbid.
    pub always: bool,
    /// Hosted providers that get placeholders; `None`: all. To any other a request goes as it is, by its own class.
    pub providers: Option<Arc<[ProviderName]>>,
}

/// A request that could be masked, as the decision knows it: no content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked {
    /// The class of what is left.
    pub class: DataClass,
    /// Every hosted call gets it masked.
    pub always: bool,
    /// Hosted providers that get it masked; `None`: all.
    pub providers: Option<Arc<[ProviderName]>>,
    /// How many different values of each kind are masked.
    pub kinds: Vec<(Kind, u32)>,
}

/// A stretch of a part that is cut out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The passage's place.
    pub passage: usize,
    /// The part's place in it.
    pub part: usize,
    /// Its bytes in that part.
    pub range: Range<usize>,
    /// Which of [`Chosen::texts`] stands there.
    pub value: usize,
}

/// What is cut out of a request.
pub struct Chosen<'a> {
    /// The different values, in the order in which they first occur.
    pub texts: Vec<(Kind, &'a str)>,
    /// In the order of the text.
    pub cuts: Vec<Cut>,
    /// The values in the one form in which they are compared.
    forms: Vec<(Kind, Vec<u8>)>,
}

// === impl MaskRules ===

impl MaskRules {
    /// Masks these kinds.
    pub fn new(kinds: &[Kind], always: bool) -> Self {
        let kinds: BTreeSet<Kind> = kinds.iter().copied().collect();
        Self { kinds: kinds.into_iter().collect(), always, providers: None }
    }

    /// Whether a kind is masked.
    pub fn masks(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// The kinds that are masked.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.kinds.iter().copied()
    }
}

// === impl Masked ===

impl Masked {
    /// Whether that provider, a hosted one, gets it masked where it may get it.
    pub fn meant_for(&self, provider: &ProviderName) -> bool {
        self.providers.as_ref().is_none_or(|providers| providers.contains(provider))
    }
}

/// Chooses what is cut out; `open` says of a passage's part whether it may be changed. `None`: nothing.
///
/// # Errors
/// There are too many values.
pub fn choose<'a>(
    passages: &'a [Passage<'_>],
    located: &Located,
    rules: &MaskRules,
    open: impl Fn(usize, usize) -> bool,
) -> Result<Option<Chosen<'a>>, BuildError> {
    let (mut known, mut forms): (BTreeMap<&str, Kind>, Vec<_>) = (BTreeMap::new(), Vec::new());
    for spot in located.spots.iter().filter(|spot| rules.masks(spot.kind) && open(spot.passage, spot.part)) {
        let part = passages.get(spot.passage).and_then(|passage| passage.get(spot.part));
        let Some(text) = part.and_then(|part| part.get(spot.range.clone())).filter(|text| plain(text)) else {
            continue;
        };
        known.entry(text).or_insert(spot.kind);
        forms.push((spot.kind, spot.value.clone()));
    }
    if known.is_empty() {
        return Ok(None);
    }
    let known: Vec<(Kind, &str)> = known.into_iter().map(|(text, kind)| (kind, text)).collect();
    let search =
        AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(known.iter().map(|known| known.1))?;
    // Wherever they stand, also where no word beside them says what they are.
    let mut chosen = Chosen { texts: Vec::new(), cuts: Vec::new(), forms };
    let mut places: Vec<Option<usize>> = vec![None; known.len()];
    for (passage, parts) in passages.iter().enumerate() {
        for (part, text) in parts.iter().enumerate().filter(|(part, _)| open(passage, *part)) {
            for found in search.find_iter(text.as_ref()).filter(|found| stands_free(text, &found.range())) {
                let of = found.pattern().as_usize();
                let value = *places[of].get_or_insert_with(|| {
                    chosen.texts.push(known[of]);
                    chosen.texts.len() - 1
                });
                chosen.cuts.push(Cut { passage, part, range: found.range(), value });
            }
        }
    }
    Ok((!chosen.cuts.is_empty()).then_some(chosen))
}

// === impl Chosen ===

impl Chosen<'_> {
    /// How many values of each kind; the configured ones are one.
    pub fn kinds(&self) -> Vec<(Kind, u32)> {
        let mut counts: BTreeMap<Kind, u32> = BTreeMap::new();
        self.texts.iter().for_each(|(kind, _)| *counts.entry(kind.as_labelled()).or_default() += 1);
        counts.into_iter().collect()
    }

    /// What must not be found in what is left.
    ///
    /// # Errors
    /// There are too many values.
    pub fn sought(&self) -> Result<Sought, BuildError> {
        Sought::new(self.texts.iter().map(|(_, text)| *text))
    }

    /// Kinds of values that a scan found and that were not cut out. One that a reading made larger than it is (text of
    /// the next part glued to it) is the one that was cut out.
    ///
    /// # Errors
    /// There are too many values.
    pub fn unaccounted(&self, located: &Located) -> Result<BTreeSet<Kind>, BuildError> {
        let same: HashSet<&[u8]> = self.forms.iter().map(|(_, form)| form.as_slice()).collect();
        // One search of each kind: every value is read once, however many there are.
        let mut of_kind: BTreeMap<Kind, Vec<&[u8]>> = BTreeMap::new();
        // What was configured can be anything: only the same counts as the same.
        let known = self.forms.iter().filter(|(kind, _)| !matches!(kind, Kind::Configured(_)));
        known.for_each(|(kind, form)| of_kind.entry(*kind).or_default().push(form));
        let searches = of_kind.into_iter().map(|(kind, forms)| Ok((kind, AhoCorasick::new(forms)?)));
        let searches: BTreeMap<Kind, AhoCorasick> = searches.collect::<Result<_, BuildError>>()?;
        let gone = |kind: &Kind, value: &[u8]| {
            same.contains(value) || searches.get(kind).is_some_and(|search| search.is_match(value))
        };
        Ok(located.values.iter().filter(|(kind, value)| !gone(kind, value)).map(|(kind, _)| *kind).collect())
    }
}

/// Whether JSON writes a text as it is.
fn plain(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|letter| matches!(letter, '"' | '\\') || letter.is_control())
}

/// Whether a stretch is no part of a word; the letter of an escape is none, nor is a percent code of anything but a letter.
fn stands_free(text: &str, span: &Range<usize>) -> bool {
    if crate::detect::free(text, span) {
        return true;
    }
    let before = &text[..span.start];
    let letter = before.chars().next_back().filter(|letter| "nrtbf".contains(*letter));
    let escape = letter.is_some() && {
        let slashes = before[..before.len() - 1].bytes().rev().take_while(|byte| *byte == b'\\').count();
        slashes % 2 == 1
    };
    let coded = match before.as_bytes() {
        [.., b'%', high, low] => {
            std::str::from_utf8(&[*high, *low]).ok().and_then(|code| u8::from_str_radix(code, 16).ok())
        }
        _ => None,
    };
    let coded = coded.is_some_and(|code| code.is_ascii() && !code.is_ascii_alphanumeric() && code != b'_');
    (escape || coded) && crate::detect::free(&text[span.start..], &(0..span.len()))
}

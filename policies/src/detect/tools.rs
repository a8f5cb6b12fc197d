//! What all scans share: words and beginnings of credentials, compiled once, and the forms of national identifiers by their
//! number of digits.

use super::DetectError;
use super::card::PRINTED;
use super::chain::{Chain, Form, MOST_DIGITS, MOST_GROUPS, Window, shape};
use super::context::{Topics, Words};
use super::national::{ALL, National, Proof};
use super::numbers::LETTERED;
use super::secret::Secrets;

/// Compiled tools.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) words: Words,
    pub(super) secrets: Secrets,
    /// Forms by their number of digits: the identifier's place, the form, what it takes.
    forms: Vec<Vec<(usize, Form, Proof)>>,
    /// By their number of groups, shapes of what is known without a word: of national identifiers, of printed cards, and of
    /// numbers whose letter stands apart.
    national: Shapes,
    cards: Shapes,
    lettered: Shapes,
    /// How these begin: cards, and all others.
    card_begins: Begins,
    begins: Begins,
}

/// By the length of the first group a bit for each length of the second; bit 0: the first stands alone.
type Begins = [u32; 32];

/// Shapes by their number of groups.
type Shapes = [Vec<u64>; MOST_GROUPS + 1];

// === impl Tools ===

impl Tools {
    pub(super) fn compile() -> Result<Self, DetectError> {
        let mut forms: Vec<Vec<(usize, Form, Proof)>> = (0..=MOST_DIGITS).map(|_| Vec::new()).collect();
        for (place, National { written, .. }) in ALL.iter().enumerate() {
            for way in *written {
                let form = Form::read(way.form);
                let digits = form.digits();
                forms[digits].push((place, form, way.proof));
            }
        }
        let by_form = forms.iter().flatten().filter(|(_, _, proof)| *proof == Proof::Form);
        let national = shapes(by_form.map(|(_, form, _)| (form.groups(), form.shape())));
        let cards = shapes(PRINTED.iter().map(|lengths| (lengths.len(), shape(lengths))));
        let lettered = shapes(LETTERED.iter().map(|lengths| (lengths.len(), shape(lengths))));
        // A group alone is never one of many.
        let (alone, grouped) = (&cards[..=1], &cards[2..]);
        let (card_begins, begins) = (begins(&[grouped]), begins(&[alone, &national, &lettered]));
        let (words, secrets) = (Words::compile()?, Secrets::compile()?);
        Ok(Self { words, secrets, forms, national, cards, lettered, card_begins, begins })
    }

    /// Whether any window that begins with a group can be anything in such a text: what [`Tools::wordless`] says of one of
    /// them, by the first two lengths, which turns away nearly all.
    #[inline]
    pub(super) fn begins(&self, chain: &Chain, from: usize, shapes: u64) -> bool {
        let (first, second) = ((shapes & 0xff) as usize, shapes >> 8 & 0xff);
        let begins = |of: &Begins| {
            of.get(first).is_some_and(|seconds| (seconds | 1 << second.min(31)) == *seconds || seconds & 1 == 1)
        };
        (from == 0 && chain.plus)
            || begins(&self.begins)
            || (begins(&self.card_begins) && !chain.goes_on_from_before(from))
            || (first <= 3 && chain.dotted(from))
    }

    /// Whether so many groups of a chain can be anything in a text that has no word for it. It says so of some that are
    /// nothing, and of none that is something that it is not.
    pub(super) fn wordless(&self, bytes: &[u8], chain: &Chain, from: usize, count: usize, shapes: u64) -> bool {
        let shape = shapes & (u64::MAX >> (64 - 8 * count));
        let is_one = |of: &Shapes| of[count].contains(&shape);
        let letter =
            || matches!(&bytes[chain.end(from, count)..], [b'-' | b' ', letter, ..] if letter.is_ascii_alphabetic());
        (from == 0 && chain.plus)
            || is_one(&self.national)
            || (is_one(&self.cards) && !chain.one_of_many(from, count))
            || (count == 4 && chain.dotted(from))
            || (is_one(&self.lettered) && letter())
    }

    /// The national identifier that a window is; `worded`: there may be a word beside it, so those that need one are looked
    /// at.
    pub(super) fn national(
        &self,
        window: &Window<'_>,
        worded: bool,
        around: impl Fn(Topics) -> bool,
    ) -> Option<&'static str> {
        self.forms.get(window.digits.len())?.iter().find_map(|(place, form, proof)| {
            let National { name, check, .. } = ALL.get(*place)?;
            if !(worded || *proof == Proof::Form) || !form.fits(window) || !check(window.digits) {
                return None;
            }
            let sure = match proof {
                Proof::Form => true,
                Proof::Word => around(Topics::ID),
                Proof::OwnWord => around(Topics::SOCIAL),
            };
            sure.then_some(*name)
        })
    }
}

fn shapes(all: impl Iterator<Item = (usize, u64)>) -> Shapes {
    let mut shapes = Shapes::default();
    for (groups, shape) in all {
        if let Some(known) = shapes.get_mut(groups).filter(|known| !known.contains(&shape)) {
            known.push(shape);
        }
    }
    shapes
}

fn begins(all: &[&[Vec<u64>]]) -> Begins {
    let mut begins = Begins::default();
    for shape in all.iter().flat_map(|shapes| shapes.iter()).flatten() {
        if let Some(seconds) = begins.get_mut((shape & 0xff) as usize) {
            *seconds |= 1 << (shape >> 8 & 0xff).min(31);
        }
    }
    begins
}

//! What a chain of digits holds.
//!
//! Each window of it, the longest first, is asked what it is. In a text that has no word for any number, most windows are
//! told by the lengths of their groups to be nothing ([`super::tools::Tools::wordless`]); a property test holds that to
//! asking each.

use super::card;
use super::chain::{Chain, MOST_GROUPS, Window};
use super::context::Topics;
use super::kind::Kind;
use super::machine;
use super::national::Proof;
use super::phone;
use super::scan::Scan;
use super::token;
use std::cell::OnceCell;
use std::ops::Range;

/// How far before numbers with dots the word `version` counts.
const RIGHT_BEFORE: usize = 16;

/// How the digits are grouped of what has its letter apart, as [`lettered`] reads it.
pub(super) const LETTERED: [&[u8]; 4] = [&[8], &[2, 3, 3], &[7], &[2, 2, 2]];

// === impl Scan: numbers ===

impl Scan<'_> {
    pub(super) fn numbers(&mut self, text: &str, chain: &Chain) {
        if let Some(window) = chain.spaced_out()
            && let Some((network, _)) = card::network(window.digits)
        {
            return self.hit(Kind::PaymentCard, network, window.digits, window.span);
        }
        let skims = self.skims();
        let wordless = skims && !self.speaks_of(text, Topics::OF_NUMBERS);
        let mut from = 0;
        while from < chain.len() {
            let shapes = chain.shapes(from);
            if wordless && !self.tools.begins(chain, from, shapes) {
                from += 1;
                continue;
            }
            let mut before = None;
            let windows = (1..=MOST_GROUPS.min(chain.len() - from)).rev();
            let windows = windows.filter(|count| !skims || chain.worth_it(from, *count));
            let tools = self.tools;
            let windows =
                windows.filter(|count| !wordless || tools.wordless(text.as_bytes(), chain, from, *count, shapes));
            let found =
                windows.filter_map(|count| Some((count, chain.window(from, count)?))).find_map(|(count, window)| {
                    self.work.checks += 1;
                    let abroad = from == 0 && chain.plus;
                    let (kind, variety, span) =
                        if abroad && !window.joints.contains(&b'\n') && phone::international(window.digits) {
                            (Kind::Phone, "", after_plus(text, &window.span))
                        } else {
                            self.number(text, &window, &mut before)?
                        };
                    Some((count, kind, variety, window.digits, span))
                });
            match found {
                Some((count, kind, variety, digits, span)) => {
                    self.hit(kind, variety, digits, span);
                    from += count;
                }
                None => from += 1,
            }
        }
    }

    /// What a window is. Topics before it are the same for all windows that begin there: they are read once.
    fn number(
        &self,
        text: &str,
        window: &Window<'_>,
        before: &mut Option<Topics>,
    ) -> Option<(Kind, &'static str, Range<usize>)> {
        if !window.free {
            return None;
        }
        let span = window.span.clone();
        // What stands beside it is read once, whoever asks.
        let beside = OnceCell::new();
        let around = |topic| {
            self.speaks_of(text, topic) && beside.get_or_init(|| self.tools.words.around(text, &window.span)).has(topic)
        };
        if let Some(octets) = machine::ipv4(window) {
            let bytes = text.as_bytes();
            let product = matches!(&bytes[..window.span.start], [.., letter, b'/'] if letter.is_ascii_alphabetic());
            let version = self.tools.words.before(text, window.span.start, RIGHT_BEFORE).has(Topics::VERSION);
            let sure = !product && !version && (!machine::like_a_version(octets) || around(Topics::MACHINE));
            return sure.then_some((Kind::IpAddress, "ipv4", span));
        }
        let printed = !window.one_of_many && card::printed(window.lengths) && window.even();
        if (printed || !self.never(Topics::CARD))
            && let Some((network, proof)) = card::network(window.digits)
            && ((printed && proof == Proof::Form) || around(Topics::CARD))
        {
            return Some((Kind::PaymentCard, network, span));
        }
        let worded = !self.never(Topics::ID.and(Topics::SOCIAL));
        if let Some(name) = self.tools.national(window, worded, around) {
            return Some((Kind::NationalId, name, span));
        }
        if let Some((name, span)) = lettered(text, window)
            && (name == "es_nif" || around(Topics::ID))
        {
            return Some((Kind::NationalId, name, span));
        }
        if self.never(Topics::OF_BEFORE) {
            return None;
        }
        let total = window.digits.len();
        let single = window.lengths.len() == 1;
        let passport = (single && matches!(total, 8 | 9)) || matches!(window.lengths, [4, 6] | [2, 2, 6]);
        let medical = (5..=12).contains(&total) && (single || window.joints.iter().all(|joint| *joint == b'-'));
        let phone = phone::national(window) && !window.joints.contains(&b'\n');
        if !passport && !medical && !phone {
            return None;
        }
        let topics = *before.get_or_insert_with(|| self.before(text, window.span.start));
        if passport && topics.has(Topics::PASSPORT) {
            Some((Kind::Passport, "", span))
        } else if medical && topics.has(Topics::MEDICAL) {
            Some((Kind::MedicalRecord, "", span))
        } else {
            (phone && topics.has(Topics::PHONE)).then(|| (Kind::Phone, "", after_plus(text, &span)))
        }
    }
}

/// The extent of a telephone number with the plus before it.
fn after_plus(text: &str, span: &Range<usize>) -> Range<usize> {
    let plus = text.as_bytes()[..span.start].ends_with(b"+");
    span.start - usize::from(plus)..span.end
}

/// Identifiers whose letters stand apart from their digits: `12.345.678-Z`, `X-1234567-L`, `AB 12 34 56 C`. Gives their
/// extent with the letters.
fn lettered(text: &str, window: &Window<'_>) -> Option<(&'static str, Range<usize>)> {
    let bytes = text.as_bytes();
    let Range { start, end } = window.span;
    let (before, after) = (&bytes[..start], &bytes[end..]);
    let ends = |byte: Option<&u8>| !byte.is_some_and(u8::is_ascii_alphanumeric);
    let last = match after {
        [b'-', letter, rest @ ..] | [b' ', letter @ b'A'..=b'Z', rest @ ..] if ends(rest.first()) => *letter,
        _ => return None,
    };
    let digits: Vec<u8> = window.digits.iter().map(|digit| digit + b'0').collect();
    match (window.lengths, before) {
        ([8] | [2, 3, 3], _) => token::es_nif(&[&digits[..], &[last]].concat()).then_some(("es_nif", start..end + 2)),
        ([7], [rest @ .., first, b'-']) if ends(rest.last()) => {
            token::es_nif(&[&[*first], &digits[..], &[last]].concat()).then_some(("es_nif", start - 2..end + 2))
        }
        ([2, 2, 2], [rest @ .., one, two, b' ']) if ends(rest.last()) => {
            token::gb_nino(&[&[*one, *two], &digits[..], &[last]].concat()).then_some(("gb_nino", start - 3..end + 2))
        }
        _ => None,
    }
}

//! Which number a value gets.

use crate::detect::{Kind, Passage};
use std::collections::{HashMap, HashSet};

/// Values of a session whose numbers are kept; one with more keeps none.
const KEPT: usize = 512;

/// The numbers of a session's values, by digest: no value is in it.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    known: HashMap<u64, u32>,
    last: [u32; Kind::ALL.len() + 1],
}

/// Placeholders that stand in the client's own text.
#[derive(Debug, Default)]
pub struct Taken(HashSet<(Kind, u32)>);

// === impl Numbers ===

impl Numbers {
    /// Numbers the values of one request; `digests` are theirs, kinds included. No two get the same, none that is taken.
    pub fn assign(&mut self, values: impl IntoIterator<Item = (Kind, u64)>, taken: &Taken) -> Vec<u32> {
        let mut given = HashSet::new();
        let number = |(kind, digest): (Kind, u64)| {
            let kind = kind.as_labelled();
            let known = self.known.get(&digest).copied();
            let free = |number: u32, given: &HashSet<(Kind, u32)>| {
                !taken.0.contains(&(kind, number)) && !given.contains(&(kind, number))
            };
            let number = known.filter(|number| free(*number, &given)).unwrap_or_else(|| {
                let last = &mut self.last[kind.place()];
                loop {
                    *last = last.wrapping_add(1).max(1);
                    if free(*last, &given) {
                        break *last;
                    }
                }
            });
            self.known.insert(digest, number);
            given.insert((kind, number));
            number
        };
        values.into_iter().map(number).collect()
    }

    /// What is kept until the session's next turn; `None`: it is too much, and that one begins anew.
    pub fn kept(&self) -> Option<Self> {
        (self.known.len() <= KEPT).then(|| self.clone())
    }
}

// === impl Taken ===

impl Taken {
    /// Reads what stands in texts: a label, a sign between, a number, in any case, with brackets and without.
    pub fn of(passages: &[Passage<'_>]) -> Self {
        let mut taken = Self::default();
        for text in passages.iter().flatten() {
            let bytes = text.as_bytes();
            for kind in Kind::labelled() {
                let label = kind.label();
                for at in digits_after(bytes, label) {
                    let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                    if let Ok(number) = text[at..at + digits].parse() {
                        taken.0.insert((kind, number));
                    }
                }
            }
        }
        taken
    }
}

/// Where digits follow a label and one sign.
fn digits_after<'a>(bytes: &'a [u8], label: &'a str) -> impl Iterator<Item = usize> + 'a {
    let long = label.len();
    let signs = bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, b'_' | b'-' | b' '));
    signs.filter_map(move |(at, _)| {
        let begin = at.checked_sub(long)?;
        let follows = bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        (follows && bytes[begin..at].eq_ignore_ascii_case(label.as_bytes())).then_some(at + 1)
    })
}

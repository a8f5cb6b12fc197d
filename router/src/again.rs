//! A client asks again: what that says of the answer before.
//!
//! **Promise.** Where the operator wants it, the last answered request of a session gets a label when, within the stated window, the
//! session sends the same messages again ([`REGENERATE`]), or a turn of the user that is nearly the same as that request's
//! ([`REASK`]). Each label has its own source. It is a guess about a client, never a client's word: it does not count for a risk,
//! nor where heads are rolled out, and for training or an experiment only where it is named.
//!
//! **What nearly the same is.** The share of character trigrams (of letters and digits, in lower case) that both turns have, of all
//! that either has: the resemblance of Broder, "On the resemblance and containment of documents" (SEQUENCES 1997), from the
//! [`SKETCH`] smallest hashes, which is exact for short turns. Turns of fewer than [`SHORTEST`] letters say nothing: "go on" is
//! said twice by people who are pleased.
//!
//! **What a session is.** The one that a header names, or a conversation with an answer in it ([`crate::affinity`]); the same first
//! message from one key twice may come from two people. An agent's call after a tool's result repeats the user's turn
//! and is no question: only a request that ends with the user's turn asks again.
//!
//! **Bounds.** Two generations of [`KEPT`] sessions; a digest and a sketch of each, no text.
//!
//! **What it does not do.** It is forgotten at a restart, and each replica hears its own part only. Nobody who is silent has
//! said that he is content; where silence counts as good ([`crate::ExperimentSpec::quiet`]) both arms have the same error.

use crate::affinity::Conversation;
use crate::ask::Ask;
use adapters::wire::Role;
use parking_lot::Mutex;
use policies::RequestId;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;
use twox_hash::XxHash3_64;

/// The source of a label: nearly the same was asked again.
pub const REASK: &str = "reask";
/// The source of a label: the same messages came again.
pub const REGENERATE: &str = "regenerate";

/// Sessions in each of the two generations.
const KEPT: usize = 8_192;
/// Hashes of trigrams that are kept of a turn.
const SKETCH: usize = 128;
/// Letters and digits of a turn that can be told from small talk.
const SHORTEST: usize = 16;
/// Letters and digits of a turn that are read.
const LONGEST: usize = 4_096;

/// `[learning.implicit]`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AgainSpec {
    /// How long after an answer its session is listened to.
    pub window: Duration,
    /// From which resemblance (0 to 1) on two turns are nearly the same.
    pub likeness: f32,
    /// Whether nearly the same turn counts.
    pub reask: bool,
    /// Whether the same messages count.
    pub regenerate: bool,
}

/// What was asked last, by session; outlives a reload.
#[derive(Debug, Default)]
pub struct Again {
    known: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, Asked>,
    old: HashMap<u64, Asked>,
}

/// A request as far as it is told from the next one.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    session: u64,
    request: RequestId,
    at: Instant,
    /// Of all messages.
    digest: u64,
    /// Of the user's last turn.
    turn: Sketch,
    /// It ends with that turn.
    asks: bool,
}

/// The smallest hashes of a text's trigrams, ascending.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sketch(Box<[u32]>);

// === impl Asked ===

impl Asked {
    /// What is read of a request; `None` where it belongs to no session.
    pub(crate) fn of(ask: &Ask, now: Instant) -> Option<Self> {
        let session = Conversation::of(ask).filter(|conversation| conversation.is_under_way())?.digest();
        let request = ask.came();
        let digest = XxHash3_64::oneshot(request.raw.field("messages")?.as_bytes());
        let messages = request.view.messages();
        let turn = messages.iter().rev().find(|message| message.role == Role::User)?;
        let asks = messages.last().is_some_and(|last| last.role == Role::User);
        Some(Self { session, request: ask.id.clone(), at: now, digest, turn: Sketch::of(&turn.text.0), asks })
    }
}

// === impl Again ===

impl Again {
    /// What a request says of the answer before it, and whose answer that was.
    pub(crate) fn heard(&self, spec: AgainSpec, asked: &Asked) -> Option<(RequestId, &'static str)> {
        let before = self.known.lock().get(asked.session)?;
        if asked.at.saturating_duration_since(before.at) > spec.window || before.request == asked.request {
            return None;
        }
        if before.digest == asked.digest {
            return spec.regenerate.then_some((before.request, REGENERATE));
        }
        let again = spec.reask && asked.asks && asked.turn.resembles(&before.turn) >= spec.likeness;
        again.then_some((before.request, REASK))
    }

    /// Takes over that a request has its answer.
    pub(crate) fn answered(&self, asked: Asked, now: Instant) {
        self.known.lock().put(Asked { at: now, ..asked });
    }
}

// === impl Generations ===

impl Generations {
    fn get(&self, session: u64) -> Option<Asked> {
        self.young.get(&session).or_else(|| self.old.get(&session)).cloned()
    }

    fn put(&mut self, asked: Asked) {
        if self.young.len() >= KEPT && !self.young.contains_key(&asked.session) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(asked.session, asked);
    }
}

// === impl Sketch ===

impl Sketch {
    fn of(text: &str) -> Self {
        let plain = text.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase);
        let letters: Vec<char> = plain.take(LONGEST).collect();
        if letters.len() < SHORTEST {
            return Self::default();
        }
        let mut hashes: Vec<u32> = letters.windows(3).map(hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes.truncate(SKETCH);
        Self(hashes.into())
    }

    /// Trigrams that both have, of all that either has, 0 to 1; 0 where one of them says nothing.
    fn resembles(&self, other: &Self) -> f32 {
        if self.0.is_empty() || other.0.is_empty() {
            return 0.0;
        }
        let mut all: Vec<u32> = self.0.iter().chain(other.0.iter()).copied().collect();
        all.sort_unstable();
        all.dedup();
        all.truncate(SKETCH);
        let in_both = |hash: &&u32| self.0.binary_search(hash).is_ok() && other.0.binary_search(hash).is_ok();
        all.iter().filter(in_both).count() as f32 / all.len() as f32
    }
}

fn hash(letters: &[char]) -> u32 {
    let mut bytes = [0; 12];
    for (place, letter) in bytes.chunks_mut(4).zip(letters) {
        place.copy_from_slice(&(*letter as u32).to_le_bytes());
    }
    (XxHash3_64::oneshot(&bytes) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: AgainSpec =
        AgainSpec { window: Duration::from_secs(600), likeness: 0.7, reask: true, regenerate: true };

    fn asked(id: &str, turn: &str, at: Instant) -> Asked {
        let digest = XxHash3_64::oneshot(turn.as_bytes());
        Asked { session: 1, request: id.into(), at, digest, turn: Sketch::of(turn), asks: true }
    }

    #[test]
    fn texts_resemble_each_other_as_far_as_they_have_the_same_trigrams() {
        let alike = |one: &str, other: &str| Sketch::of(one).resembles(&Sketch::of(other));
        let question = "What is the capital of France, and since when?";
        assert_eq!(alike(question, "what is the capital of france and SINCE when"), 1.0);
        assert!(alike(question, "What is the capital of France and since when is it?") > 0.7);
        assert!(alike(question, "Write a poem about the sea and its waves, please.") < 0.1);
        assert_eq!(alike("go on", "go on"), 0.0, "small talk says nothing");
        let long: String = (0..2_000).map(|n| format!("word{} ", n * 7919 % 1_000)).collect();
        let changed = long.replacen("word", "other", 20);
        assert!((0.9..1.0).contains(&alike(&long, &changed)), "{}", alike(&long, &changed));
        assert_eq!(Sketch::of(&long).0.len(), SKETCH);
    }

    #[test]
    fn the_same_again_within_the_window_speaks_of_the_answer_before() {
        let (again, now) = (Again::default(), Instant::now());
        let question = "How do I sort a list of numbers in Python?";
        let later = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(again.heard(SPEC, &asked("a", question, now)), None, "nothing before");
        again.answered(asked("a", question, now), now);
        let heard = |id: &str, turn: &str, seconds| again.heard(SPEC, &asked(id, turn, later(seconds)));
        assert_eq!(heard("b", question, 60), Some(("a".into(), REGENERATE)));
        let nearly = "How do I sort a list of numbers in Python 3?";
        assert_eq!(heard("b", nearly, 600), Some(("a".into(), REASK)));
        assert_eq!(heard("b", nearly, 601), None, "too late");
        assert_eq!(heard("b", "And how do I reverse a string without a loop?", 60), None);
        assert_eq!(heard("a", question, 60), None, "itself");
        let other = Asked { session: 2, ..asked("b", question, later(1)) };
        assert_eq!(again.heard(SPEC, &other), None, "another session");
        let tool = Asked { asks: false, ..asked("b", nearly, later(1)) };
        assert_eq!(again.heard(SPEC, &tool), None, "an agent goes on");
        let off = AgainSpec { reask: false, regenerate: false, ..SPEC };
        assert_eq!(again.heard(off, &asked("b", nearly, later(1))), None);
        assert_eq!(again.heard(off, &asked("b", question, later(1))), None);
        again.answered(asked("b", "Something else altogether, for a change.", later(2)), later(2));
        assert_eq!(heard("c", question, 60), None, "only the last answer is spoken of");
    }

    #[test]
    fn memory_is_bounded() {
        let (again, now) = (Again::default(), Instant::now());
        for session in 0..5 * KEPT as u64 {
            again.answered(Asked { session, ..asked("a", "short", now) }, now);
        }
        let known = again.known.lock();
        assert!(known.young.len() + known.old.len() <= 2 * KEPT);
    }
}

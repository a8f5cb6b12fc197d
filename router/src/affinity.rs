//! A conversation keeps its side.
//!
//! **Promise.** What served the last answer of a conversation serves the next one, unless the need of the strong model has
//! moved by more than switching costs (`[router] switch_cost`) since the conversation was put there: the other side has no prompt cache of it, and another
//! voice in the midst is a break. It is a preference: what a constraint strikes out stays out.
//!
//! **What a conversation is.** The session that a header names; without one, a digest of its beginning (instructions and
//! the first user turn), which is looked up only once there is an answer in it. Tenants never share one: the key is part
//! of the digest. No text is kept.
//!
//! **Bounds.** Two generations of [`KEPT`] conversations each; a conversation that was silent for [`IDLE`] has none.

use crate::ask::Ask;
use adapters::wire::Role;
use parking_lot::Mutex;
use policies::Kept;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;
use twox_hash::XxHash3_64;

/// Conversations in each of the two generations.
const KEPT: usize = 8_192;
/// After so long a provider's prompt cache is cold, and nobody remembers the voice.
const IDLE: Duration = Duration::from_secs(3_600);

/// Remembers conversations.
#[derive(Debug, Default)]
pub struct Affinity {
    known: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, (Kept, Instant)>,
    old: HashMap<u64, (Kept, Instant)>,
}

/// A conversation, as far as it is told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conversation {
    digest: u64,
    /// There may be an earlier answer in it.
    under_way: bool,
}

// === impl Conversation ===

impl Conversation {
    /// The conversation that a request belongs to; `None` where it has no beginning.
    pub(crate) fn of(ask: &Ask) -> Option<Self> {
        let tenant = ask.principal.key.as_ref().map_or("", |key| key.as_str());
        let seed = XxHash3_64::oneshot(tenant.as_bytes());
        if let Some(session) = &ask.session {
            let digest = XxHash3_64::oneshot_with_seed(seed ^ 1, session.as_str().as_bytes());
            return Some(Self { digest, under_way: true });
        }
        let messages = ask.came().view.messages();
        let first = messages.iter().position(|message| message.role == Role::User)?;
        let digest = messages[..=first].iter().fold(seed, |digest, message| {
            XxHash3_64::oneshot_with_seed(digest.wrapping_add(message.role as u64), message.text.0.as_bytes())
        });
        Some(Self { digest, under_way: messages[first..].iter().any(|message| message.role == Role::Assistant) })
    }

    /// Whether there may be an earlier answer in it.
    pub(crate) fn is_under_way(self) -> bool {
        self.under_way
    }

    /// What tells it from others.
    pub(crate) fn digest(self) -> u64 {
        self.digest
    }
}

// === impl Affinity ===

impl Affinity {
    /// The side that the conversation is on.
    pub(crate) fn kept(&self, conversation: Conversation, now: Instant) -> Option<Kept> {
        if !conversation.under_way {
            return None;
        }
        let mut known = self.known.lock();
        let (kept, at) = known.get(conversation.digest)?;
        (now.saturating_duration_since(at) < IDLE).then_some(kept)
    }

    /// Takes over which side has answered, and the need that put the conversation there.
    pub(crate) fn answered(&self, conversation: Conversation, kept: Kept, now: Instant) {
        self.known.lock().put(conversation.digest, (kept, now));
    }
}

// === impl Generations ===

impl Generations {
    fn get(&mut self, digest: u64) -> Option<(Kept, Instant)> {
        self.young.get(&digest).or_else(|| self.old.get(&digest)).copied()
    }

    fn put(&mut self, digest: u64, entry: (Kept, Instant)) {
        if self.young.len() >= KEPT && !self.young.contains_key(&digest) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policies::Side;

    const ON_HOSTED: Kept = Kept { side: Side::Hosted, need: 0.7 };

    fn conversation(digest: u64) -> Conversation {
        Conversation { digest, under_way: true }
    }

    #[test]
    fn a_conversation_is_remembered_for_an_hour_and_its_first_turn_asks_nobody() {
        let (affinity, now) = (Affinity::default(), Instant::now());
        affinity.answered(conversation(1), ON_HOSTED, now);
        assert_eq!(affinity.kept(conversation(1), now + Duration::from_secs(3_599)), Some(ON_HOSTED));
        assert_eq!(affinity.kept(conversation(1), now + IDLE), None);
        assert_eq!(affinity.kept(conversation(2), now), None);
        assert_eq!(affinity.kept(Conversation { digest: 1, under_way: false }, now), None);
    }

    #[test]
    fn memory_is_bounded_and_the_latest_are_known() {
        let (affinity, now) = (Affinity::default(), Instant::now());
        for digest in 0..10 * KEPT as u64 {
            affinity.answered(conversation(digest), ON_HOSTED, now);
        }
        let known = affinity.known.lock();
        assert!(known.young.len() + known.old.len() <= 2 * KEPT);
        drop(known);
        assert_eq!(affinity.kept(conversation(10 * KEPT as u64 - 1), now), Some(ON_HOSTED));
        assert_eq!(affinity.kept(conversation(0), now), None);
    }
}

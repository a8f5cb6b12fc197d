//! Which sessions are held out: always hosted where they may be, so that there is something to compare with.
//!
//! **Promise.** A session is in one arm for good: the draw is a keyed hash of it, and the key outlives a restart. Nobody who
//! does not know the key can choose his arm. Of two shares the larger one holds out everybody whom the smaller one does.
//!
//! **What a session is.** The one that a header names; without one, the beginning of the conversation (see
//! [`crate::affinity`]); without a beginning, the request. The key that asks is part of each, so tenants never share one.
//!
//! **What it does not do.** It decides nothing: `policies::decide` sends a held-out session to the hosted side only where
//! every constraint admits both sides. Otherwise the request is in neither arm, and the record says why.

use crate::affinity::Conversation;
use crate::ask::Ask;
use crate::ledger::ArmRecord;
use policies::{Facts, NanoDollars, Reason};
use sha2::{Digest, Sha256};

/// `[savings] holdout`
#[derive(Clone, PartialEq)]
pub struct Holdout {
    share: f32,
    salt: [u8; 32],
}

/// A session with its draw.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    session: String,
    share: f32,
    /// It is drawn for the holdout.
    pub(crate) held_out: bool,
}

impl std::fmt::Debug for Holdout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holdout").field("share", &self.share).finish_non_exhaustive()
    }
}

// === impl Holdout ===

impl Holdout {
    /// Holds out this share (0 to 1) of sessions; `salt` keys the draw ([`crate::ledger::Ledger::salt`]).
    pub fn new(share: f32, salt: [u8; 32]) -> Self {
        Self { share, salt }
    }

    /// The session of a request, with its draw.
    pub(crate) fn draw(&self, ask: &Ask) -> Drawn {
        let tenant = ask.principal.key.as_ref().map_or("", |key| key.as_str());
        match (&ask.session, Conversation::of(ask)) {
            (Some(session), _) => self.drawn(b's', tenant, session.as_str().as_bytes()),
            (None, Some(conversation)) => self.drawn(b'c', tenant, &conversation.digest().to_le_bytes()),
            (None, None) => self.drawn(b'r', tenant, ask.id.as_str().as_bytes()),
        }
    }

    /// The session of a request, as a keyed digest.
    pub(crate) fn session_of(&self, ask: &Ask) -> String {
        self.draw(ask).session
    }

    fn drawn(&self, kind: u8, tenant: &str, whom: &[u8]) -> Drawn {
        // The key comes first and has a fixed length, and of the digest a part is shown: nothing can be appended to it.
        let digest = Sha256::new()
            .chain_update(self.salt)
            .chain_update([kind])
            .chain_update((tenant.len() as u64).to_le_bytes())
            .chain_update(tenant)
            .chain_update(whom)
            .finalize();
        let (place, name) = digest.split_at(8);
        let place = place.iter().fold(0u64, |place, byte| place << 8 | u64::from(*byte)) >> 11;
        let held_out = (place as f64 / (1u64 << 53) as f64) < f64::from(self.share);
        Drawn { session: hex::encode(&name[..16]), share: self.share, held_out }
    }
}

// === impl Drawn ===

impl Drawn {
    /// The arm of one of its requests; `closed` says what leaves only one side, `judging` what judging it cost.
    pub(crate) fn arm(self, closed: Option<Reason>, facts: &Facts, judging: Option<NanoDollars>) -> Box<ArmRecord> {
        let arm = match (closed, self.held_out) {
            (Some(_), _) => "excluded",
            (None, true) => "holdout",
            (None, false) => "treatment",
        };
        Box::new(ArmRecord {
            session: self.session,
            arm,
            why: closed.map(Reason::word),
            share: self.share,
            prompt_tokens: facts.prompt.likely,
            judging,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(share: f32, salt: u8, tenant: &str, whom: usize) -> Drawn {
        Holdout::new(share, [salt; 32]).drawn(b's', tenant, format!("session-{whom}").as_bytes())
    }

    #[test]
    fn the_share_is_kept_and_a_session_is_always_in_its_arm() {
        let held: Vec<bool> = (0..20_000).map(|n| drawn(0.05, 1, "key", n).held_out).collect();
        // 1,000 of them, four standard deviations of 31 around.
        let count = held.iter().filter(|held| **held).count();
        assert!((877..=1_123).contains(&count), "{count}");
        assert!((0..20_000).all(|n| drawn(0.05, 1, "key", n).held_out == held[n]), "after a restart, too");
        assert!((0..20_000).all(|n| !held[n] || drawn(0.10, 1, "key", n).held_out), "a larger share only adds");
        assert!((0..1_000).all(|n| !drawn(0.0, 1, "key", n).held_out && drawn(1.0, 1, "key", n).held_out));
    }

    #[test]
    fn neither_another_salt_nor_another_key_tells_the_arm() {
        let same = |other: &dyn Fn(usize) -> Drawn| {
            (0..10_000).filter(|n| drawn(0.5, 1, "key", *n).held_out == other(*n).held_out).count()
        };
        for count in [same(&|n| drawn(0.5, 2, "key", n)), same(&|n| drawn(0.5, 1, "other", n))] {
            assert!((4_800..=5_200).contains(&count), "half of them, four standard deviations of 50 around: {count}");
        }
        assert_ne!(drawn(0.5, 1, "a", 1).session, drawn(0.5, 1, "b", 1).session, "tenants share no session");
    }
}

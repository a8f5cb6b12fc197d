//! A session keeps its data class.
//!
//! **Promise.** What a session once contained it contains from then on: each later turn has at least the class of the
//! most sensitive one before it, also when the client sends the last turn alone, when what was restricted came out of a
//! tool, or when the turn that had it was refused. A class is only ever raised here.
//!
//! **What a session is.** What a header names, of one key: tenants never share one. It is on the ledger, so a restart
//! forgets nothing. A conversation without a name has none: its client sends all of it each time, and all of it is
//! looked at.
//!
//! **Masked turns.** What was taken out of a turn before it went to a hosted model did not reach that model: beside the class
//! a session has the one that its turns have once they are masked. It is in memory only: after a restart, or where it fell
//! out of memory, masking lowers nothing for that session.
//!
//! **Bounds.** Two generations of [`KEPT`] sessions in memory; one that fell out of them is looked up again, as long as the
//! ledger has its lines.
//!
//! **Failure behaviour.** Where the ledger cannot be read, a session that is not in memory has the most sensitive class:
//! it is not known to be harmless. So has one with a class that is not configured any more.
//!
//! **What it does not do.** A client that changes its session's name begins a new one. Two turns that are sent at
//! once do not wait for each other.

use crate::affinity::Conversation;
use crate::ask::Ask;
use crate::ledger::Ledger;
use parking_lot::Mutex;
use policies::{Classes, DataClass, Facts};
use std::collections::HashMap;
use std::sync::Arc;

/// Sessions in each of the two generations.
const KEPT: usize = 8_192;

/// Remembers classes of sessions, by name: a reload may change their order.
#[derive(Debug, Default)]
pub struct Taint {
    known: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, Names>,
    old: HashMap<u64, Names>,
}

/// What earlier turns left to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Their class.
    pub(crate) class: DataClass,
    /// Their class once they are masked; where nobody knows it, the same.
    pub(crate) masked: DataClass,
}

/// The same, by name.
#[derive(Clone, Debug)]
struct Names {
    class: Arc<str>,
    masked: Arc<str>,
}

// === impl Taint ===

impl Taint {
    /// The class that earlier turns left to this one; `None`: nobody knows of any.
    pub(crate) async fn left_to(&self, ask: &Ask, facts: &Facts, classes: &Classes, ledger: &Ledger) -> Option<Left> {
        let session = facts.session.clone()?;
        let conversation = Conversation::of(ask)?;
        if let Some(known) = self.known.lock().get(conversation.digest()) {
            return Some(known.left(classes));
        }
        let (ledger, key) = (ledger.clone(), facts.principal.key.clone());
        let read = tokio::task::spawn_blocking(move || ledger.classes_of(&session, key.as_ref())).await;
        let Ok(Ok(names)) = read else {
            tracing::error!("the classes of a session cannot be read, so it has the most sensitive one");
            return Some(Left { class: classes.highest(), masked: classes.highest() });
        };
        let class = names.iter().map(|name| classes.named(name).unwrap_or_else(|_| classes.highest())).max()?;
        Some(Left { class, masked: class })
    }

    /// Takes over the class of a turn that is about to be answered, or refused.
    pub(crate) fn turn(&self, ask: &Ask, facts: &Facts, classes: &Classes) {
        let Some(conversation) = facts.session.as_ref().and_then(|_| Conversation::of(ask)) else { return };
        let masked = facts.classed.masked.as_ref().map_or(facts.class, |masked| masked.class);
        let mut known = self.known.lock();
        let before = known.get(conversation.digest()).map(|names| names.left(classes));
        let class = before.map_or(facts.class, |before| before.class.max(facts.class));
        let masked = before.map_or(masked, |before| before.masked.max(masked));
        if before != Some(Left { class, masked }) {
            let name = |class| classes.name(class).into();
            known.put(conversation.digest(), Names { class: name(class), masked: name(masked) });
        }
    }
}

// === impl Names ===

impl Names {
    /// A class that is not configured any more is the most sensitive one.
    fn left(&self, classes: &Classes) -> Left {
        let class = |name: &str| classes.named(name).unwrap_or_else(|_| classes.highest());
        Left { class: class(&self.class), masked: class(&self.masked) }
    }
}

// === impl Generations ===

impl Generations {
    fn get(&self, digest: u64) -> Option<Names> {
        self.young.get(&digest).or_else(|| self.old.get(&digest)).cloned()
    }

    fn put(&mut self, digest: u64, class: Names) {
        if self.young.len() >= KEPT && !self.young.contains_key(&digest) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, class);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_latest_are_known() {
        let mut known = Generations::default();
        for digest in 0..5 * KEPT as u64 {
            known.put(digest, Names { class: "restricted".into(), masked: "internal".into() });
        }
        assert!(known.young.len() + known.old.len() <= 2 * KEPT);
        assert!(known.get(5 * KEPT as u64 - 1).is_some() && known.get(0).is_none());
    }
}

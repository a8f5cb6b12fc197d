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
    young: HashMap<u64, Arc<str>>,
    old: HashMap<u64, Arc<str>>,
}

// === impl Taint ===

impl Taint {
    /// The class that earlier turns left to this one; `None`: nobody knows of any.
    pub(crate) async fn left_to(
        &self,
        ask: &Ask,
        facts: &Facts,
        classes: &Classes,
        ledger: &Ledger,
    ) -> Option<DataClass> {
        let session = facts.session.clone()?;
        let conversation = Conversation::of(ask, facts)?;
        if let Some(class) = self.known.lock().get(conversation.digest()) {
            return Some(classes.named(&class).unwrap_or_else(|_| classes.highest()));
        }
        let (ledger, key) = (ledger.clone(), facts.principal.key.clone());
        let read = tokio::task::spawn_blocking(move || ledger.classes_of(&session, key.as_ref())).await;
        let Ok(Ok(names)) = read else {
            tracing::error!("the classes of a session cannot be read, so it has the most sensitive one");
            return Some(classes.highest());
        };
        names.iter().map(|name| classes.named(name).unwrap_or_else(|_| classes.highest())).max()
    }

    /// Takes over the class of a turn that is about to be answered, or refused.
    pub(crate) fn turn(&self, ask: &Ask, facts: &Facts, classes: &Classes) {
        let Some(conversation) = facts.session.as_ref().and_then(|_| Conversation::of(ask, facts)) else { return };
        let mut known = self.known.lock();
        let before = known.get(conversation.digest()).and_then(|name| classes.named(&name).ok());
        if before.is_none_or(|before| before < facts.class) {
            known.put(conversation.digest(), classes.name(facts.class).into());
        }
    }
}

// === impl Generations ===

impl Generations {
    fn get(&self, digest: u64) -> Option<Arc<str>> {
        self.young.get(&digest).or_else(|| self.old.get(&digest)).cloned()
    }

    fn put(&mut self, digest: u64, class: Arc<str>) {
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
            known.put(digest, "restricted".into());
        }
        assert!(known.young.len() + known.old.len() <= 2 * KEPT);
        assert!(known.get(5 * KEPT as u64 - 1).is_some() && known.get(0).is_none());
    }
}

//! Who works for clients at a provider, so that work which nobody waits for gives way.
//!
//! **Promise.** Work at idle priority begins only while no client's attempt waits or runs at its provider, and is told as soon as
//! one comes. It never delays a client by more than it takes to stop.
//!
//! **Why.** A machine in the house has one queue. A copy for a comparison that stands in it makes the next client wait for an
//! answer that nobody reads.
//!
//! **Failure behaviour.** Under load that never ends nothing begins: whoever waits brings a limit of its own.
//!
//! **What it does not do.** It sees this process's attempts only: other replicas and other users of a server in the house are
//! unknown to it. Two copies do not give way to each other.

use std::sync::Arc;
use tokio::sync::watch;

/// Counts the clients' attempts at one provider.
#[derive(Clone, Debug)]
pub struct Idle(Arc<watch::Sender<usize>>);

/// A client's attempt that waits or runs; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Working(Idle);

// === impl Idle ===

impl Default for Idle {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Idle {
    /// A client's attempt begins.
    pub(crate) fn work(&self) -> Working {
        self.0.send_modify(|working| *working += 1);
        Working(self.clone())
    }

    /// Waits until no client's attempt waits or runs.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn idle(&self) {
        // The sender lives as long as `self`: there is no other end.
        let _ = self.0.subscribe().wait_for(|working| *working == 0).await;
    }

    /// Waits until a client's attempt waits or runs.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn wanted(&self) {
        let _ = self.0.subscribe().wait_for(|working| *working > 0).await;
    }
}

// === impl Working ===

impl Drop for Working {
    fn drop(&mut self) {
        self.0.0.send_modify(|working| *working = working.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_provider_is_idle_when_its_last_client_has_gone_and_wanted_while_one_is_there() {
        let idle = Idle::default();
        let there = |idle: &Idle| (idle.idle().now_or_never().is_some(), idle.wanted().now_or_never().is_some());
        assert_eq!(there(&idle), (true, false));
        let (one, other) = (idle.work(), idle.clone().work());
        drop(one);
        assert_eq!(there(&idle), (false, true), "another client is still there, on whichever clone");
        drop(other);
        assert_eq!(there(&idle), (true, false));
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_the_last_one_who_leaves() {
        let idle = Idle::default();
        let work = idle.work();
        let (waiting, ()) =
            tokio::join!(tokio::time::timeout(std::time::Duration::from_secs(30), idle.idle()), async {
                tokio::task::yield_now().await;
                drop(work);
            });
        assert!(waiting.is_ok());
    }
}

//! Answers that go on after their client has left.
//!
//! **Promise.** A provider that bills an answer also when it was cancelled (`bills_after_cancel`) is paid what it says: a
//! stream whose client leaves is read on, by at most [`AT_ONCE`] at a time of each provider and for no longer than [`LONGEST`], until
//! it says how many tokens there were. A zero that it states is a zero.
//!
//! **Failure behaviour.** Where there is no place, where the time runs out or where the provider does not say, the most that
//! the answer can cost is charged: never less than what is owed. So is a call whose client left before the first event, and a
//! hedge that nobody needs. Such a stream has its most set aside from the start, since stopping it saves nothing.

use super::attempt::Attempt;
use adapters::{Event, Events};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers of one provider that are read on at a time.
pub const AT_ONCE: usize = 32;
/// The longest that one is read on.
pub const LONGEST: Duration = Duration::from_secs(60);

/// The places of one provider for answers that are read on.
#[derive(Clone, Debug)]
pub struct Drains(Arc<Semaphore>);

// === impl Drains ===

impl Default for Drains {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Drains {
    /// A place; `None`: all are taken.
    pub(super) fn enter(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().ok()
    }
}

/// Reads an answer on until it has said what it cost; whatever comes of that, dropping the attempt closes it.
pub(super) async fn read_on(mut attempt: Attempt, mut rest: Events, _place: OwnedSemaphorePermit) {
    let reading = async {
        while let Some(Ok(Event::Delta { seen, .. } | Event::Whole { seen, .. })) = rest.next().await {
            attempt.see(&seen);
        }
    };
    if tokio::time::timeout(LONGEST, reading).await.is_err() {
        tracing::debug!("an answer that its client left went on for too long");
    }
}

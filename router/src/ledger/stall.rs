//! A disk that neither takes a commit nor refuses it.
//!
//! **Promise.** Nobody waits for such a disk for ever: what is about to cost money is refused, what has cost nothing is
//! answered, and what has cost money waits longest, because its line comes before its last byte. Whoever gives up leaves his
//! line in the queue: it is written when the disk goes on.
//!
//! **Why the group's time counts, and not the line's.** A line can wait long because much is written before it; that is load, and
//! it ends. A group that has been on its way for seconds is one sync that does not return.
//!
//! **What it does not do.** It measures a file's disk only: a server's answer is waited for as the server's address says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long a line that opens an attempt is waited for; after it nothing that costs money is tried until the disk goes on.
/// A disk that is merely busy has been seen to take a second for a sync.
pub(super) const OPENING: Duration = Duration::from_secs(3);

/// How long the end of something paid is waited for. It has its answer already, which would be lost to the client.
pub(super) const ENDING: Duration = Duration::from_secs(10);

/// How long the end of something that cost nothing is waited for.
pub(super) const FREE: Duration = Duration::from_millis(500);

/// How long a group has been on its way to the disk.
#[derive(Debug)]
pub(super) struct Stall {
    origin: Instant,
    /// Microseconds after `origin`; 0: nothing is under way.
    since: AtomicU64,
}

// === impl Stall ===

impl Default for Stall {
    fn default() -> Self {
        Self { origin: Instant::now(), since: AtomicU64::new(0) }
    }
}

impl Stall {
    /// A group is on its way.
    pub(super) fn begins(&self) {
        self.since.store(self.now().max(1), Ordering::Release);
    }

    /// It has arrived, or has failed.
    pub(super) fn ends(&self) {
        self.since.store(0, Ordering::Release);
    }

    /// Whether a group has been on its way for longer than this.
    pub(super) fn is_longer_than(&self, time: Duration) -> bool {
        match self.since.load(Ordering::Acquire) {
            0 => false,
            since => Duration::from_micros(self.now().saturating_sub(since)) > time,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

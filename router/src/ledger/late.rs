//! Lines that wait until the ledger can be written again.
//!
//! **Promise.** When a disk is full or a server gone, what has ended is not forgotten: closing lines, requests and evidence
//! are written with the first commit that succeeds, so that the ledger is late and not wrong. An opening line is not
//! kept: without it nothing was dialled.
//!
//! **What it does not do.** It is memory: it is bounded ([`MOST`]) and gone with the process. What a dead process left open is
//! charged at its ceiling, as ever.

use super::LedgerError;
use super::evidence::Chain;
use super::store::Db;
use super::writer::{Entry, Op, write_group};

/// Entries that are kept; some 2 KB each.
const MOST: usize = 16_384;

/// What could not be written.
#[derive(Default)]
pub(super) struct Late {
    entries: Vec<Entry>,
    dropped: u64,
}

// === impl Late ===

impl Late {
    /// Keeps of a group that could not be written what must not be lost.
    pub(super) fn keep(&mut self, group: Vec<Entry>) {
        for (op, _) in group {
            if !matches!(op, Op::Close(..) | Op::Request(_) | Op::Evidence(_)) {
                continue;
            }
            if self.entries.len() < MOST {
                self.entries.push((op, None));
            } else {
                self.dropped += 1;
            }
        }
    }

    /// Writes what was kept, now that a commit has succeeded: together, else one by one. What a server refuses for good is given
    /// up, it must not stand in the way of the others; at any other failure the rest waits on.
    pub(super) fn write(&mut self, db: &mut Db, mut chain: Option<&mut Chain>) {
        if self.entries.is_empty() {
            return;
        }
        let mut entries = std::mem::take(&mut self.entries);
        let (all, mut lost) = (entries.len() as u64, 0);
        if write_group(db, &entries, chain.as_deref_mut()).is_err() {
            let mut done = 0;
            for entry in entries.chunks(1) {
                match write_group(db, entry, chain.as_deref_mut()) {
                    Ok(()) => {}
                    Err(LedgerError::Database(error)) if db.is_postgres() => {
                        tracing::error!(error, "a line cannot be written and is given up");
                        lost += 1;
                    }
                    Err(_) => break,
                }
                done += 1;
            }
            self.entries = entries.split_off(done);
        }
        let all = all - self.entries.len() as u64;
        let (written, lost) = (all - lost, lost + std::mem::take(&mut self.dropped));
        tracing::info!(written, lost, "the ledger can be written again");
    }
}

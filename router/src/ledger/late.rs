//! Lines that wait until the ledger can be written again.
//!
//! **Promise.** When a disk is full or a server gone, what has ended is not forgotten: closing lines, requests and evidence
//! are written with the first commit that succeeds, so that the ledger is late and not wrong. An opening line is not
//! kept: without it nothing was dialled.
//!
//! **Of a request the newest counts.** A close that failed is told to the client as 503, and that is on record, too: if it is
//! written first, the late record does not take its place, but adds what it alone knows (how it was judged).
//!
//! **What it does not do.** It is memory: it is bounded ([`MOST`]) and gone with the process. What a dead process left open is
//! charged at its ceiling, as ever.

use super::LedgerError;
use super::evidence::Chain;
use super::record::RequestRecord;
use super::store::Db;
use super::writer::{Entry, Op, write_group};
use std::collections::HashMap;

/// Entries that are kept; some 2 KB each.
const MOST: usize = 16_384;

/// Entries that are written in one go.
const AT_ONCE: usize = 512;

/// What could not be written.
#[derive(Default)]
pub(super) struct Late {
    entries: Vec<Entry>,
    dropped: u64,
}

// === impl Late ===

impl Late {
    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.entries.len()
    }

    /// Keeps of a group that could not be written what must not be lost.
    pub(super) fn keep(&mut self, group: Vec<Entry>) {
        for (op, _) in group {
            if !matches!(op, Op::Close(..) | Op::Request(_) | Op::Evidence(_)) {
                continue;
            }
            if fits(&op, self.entries.len()) {
                self.entries.push((op, None));
            } else {
                self.dropped += 1;
            }
        }
    }

    /// Takes from a group that was written what is newer than what waits.
    pub(super) fn learn(&mut self, group: &[Entry]) {
        if self.entries.is_empty() {
            return;
        }
        let written = group.iter().filter_map(|(op, _)| record(op));
        let newest: HashMap<&str, &RequestRecord> = written.map(|request| (request.id.as_str(), request)).collect();
        for waiting in self.entries.iter_mut().filter_map(|(op, _)| record_mut(op)) {
            if let Some(newer) = newest.get(waiting.id.as_str()) {
                let (judgement, arm, placed) = (waiting.judgement.take(), waiting.arm.take(), waiting.placed.take());
                *waiting = (*newer).clone();
                waiting.judgement = waiting.judgement.take().or(judgement);
                waiting.arm = waiting.arm.take().or(arm);
                waiting.placed = waiting.placed.take().or(placed);
            }
        }
    }

    /// Writes some of what was kept, now that a commit has succeeded: together, else one by one. A line that is refused while
    /// the one behind it can be written is given up, it must not stand in the way of the others; else the rest waits on. What
    /// the disk refuses is no fault of the line: it waits on, whatever the next one comes to.
    pub(super) fn write(&mut self, db: &mut Db, mut chain: Option<&mut Chain>) {
        if self.entries.is_empty() {
            return;
        }
        let rest = self.entries.split_off(self.entries.len().min(AT_ONCE));
        let mut entries = std::mem::replace(&mut self.entries, rest);
        let (mut done, mut refused, mut lost) = (entries.len(), 0, 0);
        if write_group(db, &entries, chain.as_deref_mut()).is_err() {
            done = 0;
            for (at, entry) in entries.chunks(1).enumerate() {
                match write_group(db, entry, chain.as_deref_mut()) {
                    Ok(()) => {
                        (lost, refused) = (lost + refused, 0);
                        done = at + 1;
                    }
                    Err(LedgerError::Database(_)) if refused == 0 => refused = 1,
                    Err(_) => break,
                }
            }
        }
        let mut waits = entries.split_off(done);
        waits.append(&mut self.entries);
        self.entries = waits;
        let (written, lost) = (done as u64 - lost, lost + std::mem::take(&mut self.dropped));
        if written + lost > 0 {
            tracing::info!(written, lost, left = self.entries.len(), "the ledger can be written again");
        }
    }

    /// All of it, as far as it goes: the process ends.
    pub(super) fn end(mut self, db: &mut Db, mut chain: Option<&mut Chain>) {
        let mut left = usize::MAX;
        while !self.entries.is_empty() && self.entries.len() < left {
            left = self.entries.len();
            self.write(db, chain.as_deref_mut());
        }
        if !self.entries.is_empty() {
            tracing::error!(lines = self.entries.len(), "lines that could not be written are lost with the process");
        }
    }
}

/// Whether there is a place for it where so many entries wait and nobody waits for them.
pub(super) fn fits(op: &Op, waiting: usize) -> bool {
    let Op::Close(attempt, _) = op else {
        let droppable = matches!(op, Op::Request(_) | Op::Evidence(_) | Op::Shadow(_) | Op::Label(_) | Op::Compared(_));
        return !droppable || waiting < MOST / 2;
    };
    // What costs nothing goes on meanwhile: it may not fill the place of what was paid for.
    waiting < if attempt.open.ceiling.is_some() { MOST } else { MOST / 2 }
}

/// The record of a request that an entry brings.
fn record(op: &Op) -> Option<&RequestRecord> {
    if let Op::Close(_, Some(request)) | Op::Request(request) = op { Some(request) } else { None }
}

fn record_mut(op: &mut Op) -> Option<&mut RequestRecord> {
    if let Op::Close(_, Some(request)) | Op::Request(request) = op { Some(request) } else { None }
}

//! The one thread that writes.

use super::answers::{self, KeptAnswer};
use super::evidence::Chain;
use super::late::{self, Late};
use super::learning::{self, LabelRecord};
use super::lines;
use super::record::{AttemptClose, AttemptOpen, RequestRecord, ShadowRecord};
use super::stall::{self, Stall};
use super::store::{Db, Patience};
use super::{EvidenceRetention, LedgerError, Retention, claims, compared, hours, instances, prune};
use crate::audit;
use parking_lot::{Condvar, Mutex, MutexGuard};
use policies::Amount;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Something to write.
pub(super) enum Op {
    Open(Arc<AttemptOpen>),
    Raise(Arc<AttemptOpen>, Amount),
    Close(Box<AttemptClose>, Option<Box<RequestRecord>>),
    Request(Box<RequestRecord>),
    Shadow(Box<ShadowRecord>),
    Label(Box<LabelRecord>),
    Keep(Box<KeptAnswer>),
    Evidence(Vec<audit::Entry>),
    Checkpoint,
    /// A claimed name is given back; on a server only.
    Release(String),
    /// The instance renews its lease, under a new name where one is given.
    Beat(instances::Beat),
    Compared(Box<compared::Entry>),
    /// The sums of an hour that is over.
    Rolled(Box<hours::Rolled>),
    Prune(Retention),
    PruneEvidence(EvidenceRetention),
    Stop,
    /// Ends the group in a panic.
    #[cfg(test)]
    Panic,
}

// === impl Op ===

impl Op {
    /// Whether it takes as long as there is much to do, which says nothing of the disk.
    fn takes_long(&self) -> bool {
        matches!(self, Self::Prune(_) | Self::PruneEvidence(_) | Self::Stop)
    }
}

type Ack = oneshot::Sender<Result<(), LedgerError>>;

/// Something to write, and who waits for it.
pub(super) type Entry = (Op, Option<Ack>);

/// The queue is bounded by what fills it: each request in flight has at most a few lines in it, and waits for them. Where
/// nobody waits, because the disk does not answer, it is bounded as [`Late`] is.
#[derive(Default)]
struct Queue {
    ops: Mutex<Vec<Entry>>,
    filled: Condvar,
    healthy: AtomicBool,
    closed: AtomicBool,
    /// Lines that wait until the store can be written again.
    late: AtomicUsize,
    /// How long the group that is being written has been on its way; of a file only: a server's answer is waited for as its
    /// connection says.
    stall: Option<Stall>,
    /// Lines that found no place.
    dropped: AtomicU64,
}

pub(super) struct Writer {
    queue: Arc<Queue>,
}

// === impl Writer ===

impl Writer {
    pub(super) fn start(db: Db, chain: Option<Chain>) -> Result<Self, LedgerError> {
        let stall = (!db.is_postgres()).then(Stall::default);
        let queue = Arc::new(Queue { healthy: AtomicBool::new(true), stall, ..Queue::default() });
        let shared = queue.clone();
        std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || {
                let _closing = Closing(&shared);
                run(db, chain, &shared);
            })
            .map_err(|error| LedgerError::Database(error.to_string()))?;
        Ok(Self { queue })
    }

    pub(super) fn push(&self, op: Op, ack: Option<Ack>) {
        let mut ops = self.queue.ops.lock();
        if ack.is_none() && !late::fits(&op, ops.len()) {
            drop(ops);
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        ops.push((op, ack));
        drop(ops);
        self.queue.filled.notify_one();
    }

    pub(super) async fn commit(&self, op: Op) -> Result<(), LedgerError> {
        self.queued(op).await.unwrap_or(Err(LedgerError::Closed))
    }

    /// As [`Writer::commit`], unless a group has been on its way to a file for longer than `patience`: then nobody waits for
    /// it, and the line is written whenever the disk goes on.
    pub(super) async fn commit_within(&self, op: Op, patience: Duration) -> Result<(), LedgerError> {
        let mut done = pin!(self.queued(op));
        let Some(stall) = &self.queue.stall else { return done.await.unwrap_or(Err(LedgerError::Closed)) };
        loop {
            match tokio::time::timeout(patience, done.as_mut()).await {
                Ok(done) => return done.unwrap_or(Err(LedgerError::Closed)),
                Err(_) if stall.is_longer_than(patience) => return Err(LedgerError::Stalled),
                // Work is done, there is only much of it.
                Err(_) => {}
            }
        }
    }

    fn queued(&self, op: Op) -> oneshot::Receiver<Result<(), LedgerError>> {
        let (ack, done) = oneshot::channel();
        self.push(op, Some(ack));
        // Looked at afterwards, and emptied once more: nobody reads it any longer. What was written meanwhile (the end itself) has its
        // answer, and what was not is told that it is closed.
        if self.queue.closed.load(Ordering::Acquire) {
            drop(std::mem::take(&mut *self.queue.ops.lock()));
        }
        done
    }

    /// See [`super::Ledger::late`].
    pub(super) fn late(&self) -> usize {
        self.queue.late.load(Ordering::Relaxed)
    }

    pub(super) fn healthy(&self) -> bool {
        self.queue.healthy.load(Ordering::Acquire)
            && !self.queue.closed.load(Ordering::Acquire)
            && !self.queue.stall.as_ref().is_some_and(|stall| stall.is_longer_than(stall::OPENING))
    }
}

/// Closes the queue when the thread ends, however it ends: whoever waits is told.
struct Closing<'a>(&'a Queue);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        // With what has queued its acknowledgements are dropped.
        drop(std::mem::take(&mut *self.0.ops.lock()));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The thread writes what has queued, then ends.
        self.push(Op::Stop, None);
    }
}

/// When so many lines a second arrive, the next commit waits [`GATHER`] for more of them. A commit costs about the same for
/// one line as for fifty, so under load this takes a fifth off the processor time of a request; without load nothing
/// waits. The rate decides, not the size of the last group: where commits do not wait for the disk, groups stay tiny
/// however many lines come. Measured: 1 ms too little, 2.5 ms leave the processor idle (docs/performance.md).
const BUSY: f64 = 2_000.0;
const GATHER: Duration = Duration::from_micros(1_200);
/// The time over which the rate is smoothed.
const RECENT: Duration = Duration::from_millis(20);

/// Lines a second, as an exponentially weighted mean.
struct Rate {
    per_second: f64,
    since: Instant,
}

// === impl Rate ===

impl Rate {
    fn start() -> Self {
        Self { per_second: 0.0, since: Instant::now() }
    }

    /// Takes a group into account, and says whether more are to be expected.
    fn busy_after(&mut self, lines: usize) -> bool {
        let took = self.since.elapsed().as_secs_f64().max(1e-6);
        self.since = Instant::now();
        let weight = (-took / RECENT.as_secs_f64()).exp();
        self.per_second = self.per_second * weight + lines as f64 / took * (1.0 - weight);
        self.per_second >= BUSY
    }
}

fn run(mut db: Db, mut chain: Option<Chain>, queue: &Queue) {
    let (mut busy, mut rate, mut late) = (false, Rate::start(), Late::default());
    loop {
        let mut group = {
            let mut ops = queue.ops.lock();
            while ops.is_empty() {
                queue.filled.wait(&mut ops);
            }
            if busy && !ops.iter().any(|(op, _)| matches!(op, Op::Stop)) {
                MutexGuard::unlocked(&mut ops, || std::thread::sleep(GATHER));
            }
            std::mem::take(&mut *ops)
        };
        busy = rate.busy_after(group.len());
        let stop = group.iter().any(|(op, _)| matches!(op, Op::Stop));
        if let Some(stall) = &queue.stall
            && !group.iter().any(|(op, _)| op.takes_long())
        {
            stall.begins();
        }
        let mut written = write_group(&mut db, &group, chain.as_mut());
        if matches!(written, Err(LedgerError::Unreachable(_))) && db.was_reached() {
            // Whether it was committed nobody knows; each line can be written twice, and a dial has two records then.
            written = write_group(&mut db, &group, chain.as_mut());
        }
        queue.healthy.store(written.is_ok(), Ordering::Release);
        match &written {
            Ok(()) => late.learn(&group),
            Err(error) => tracing::error!(error = %error, lines = group.len(), "cannot write the ledger"),
        }
        queue.stall.iter().for_each(Stall::ends);
        let dropped = queue.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::error!(lines = dropped, "too many lines waited for the ledger: these are lost");
        }
        if stop {
            std::mem::take(&mut late).end(&mut db, chain.as_mut());
            queue.closed.store(true, Ordering::Release);
            if let Err(error) = instances::end(&mut db) {
                tracing::warn!(error = %error, "cannot close the ledger in order");
            }
        }
        for ack in group.iter_mut().filter_map(|(_, ack)| ack.take()) {
            // A dropped receiver is a request that did not wait.
            let _ = ack.send(written.clone());
        }
        if stop {
            return;
        }
        // After the answers: nobody waits for what is late.
        match written {
            Ok(()) => late.write(&mut db, chain.as_mut()),
            Err(_) => late.keep(group),
        }
        queue.late.store(late.waiting(), Ordering::Relaxed);
    }
}

/// Writes a group, or nothing of it; the evidence log stands where it stood if that fails. A panic costs the group, not the
/// ledger.
pub(super) fn write_group(db: &mut Db, group: &[Entry], mut chain: Option<&mut Chain>) -> Result<(), LedgerError> {
    let mark = chain.as_ref().map(|chain| chain.mark());
    // What it may leave half done is the transaction and the log, which are both put back.
    let writing = catch_unwind(AssertUnwindSafe(|| write_lines(db, group, chain.as_deref_mut())));
    let written = writing.unwrap_or_else(|_| {
        db.undo();
        Err(LedgerError::Database("writing ended in a panic".into()))
    });
    if written.is_err()
        && let Some((chain, mark)) = chain.zip(mark)
    {
        chain.restore(mark);
    }
    written
}

fn write_lines(db: &mut Db, group: &[Entry], chain: Option<&mut Chain>) -> Result<(), LedgerError> {
    for (op, _) in group {
        if let Op::Beat(beat) = op {
            instances::name(db, beat);
        }
    }
    db.be(match group.iter().any(|(op, _)| matches!(op, Op::Prune(_) | Op::PruneEvidence(_))) {
        true => Patience::Usual,
        false => Patience::Short,
    });
    let (audited, kept) = (chain.is_some(), chain.as_ref().map_or(0, |chain| chain.bytes()));
    db.transaction(|db| {
        let (mut evidence, mut sign, mut keep) = (Vec::new(), false, None);
        let late = hours::late(group, jiff::Timestamp::now().as_microsecond());
        for (op, _) in group {
            match op {
                Op::Open(attempt) => {
                    lines::open(db, attempt)?;
                    if audited {
                        evidence.push(audit::Entry::dial(attempt));
                    }
                }
                Op::Raise(attempt, to) => lines::raise(db, attempt, *to)?,
                Op::Close(attempt, request) => {
                    lines::close(db, attempt)?;
                    if let Some(request) = request {
                        lines::put_request(db, request)?;
                    }
                }
                Op::Request(request) => lines::put_request(db, request)?,
                Op::Shadow(shadow) => lines::put_shadow(db, shadow)?,
                Op::Label(label) => learning::put_label(db, label)?,
                Op::Keep(answer) => answers::keep(db, answer)?,
                Op::Compared(entry) => compared::put(db, entry)?,
                Op::Release(name) => claims::release(db, name)?,
                Op::Beat(beat) => instances::beat(db, beat)?,
                Op::Prune(retention) => prune::prune(db, *retention, kept)?,
                Op::PruneEvidence(wanted) => keep = Some(*wanted),
                Op::Evidence(entries) => evidence.extend_from_slice(entries),
                Op::Checkpoint | Op::Stop => sign = true,
                #[cfg(test)]
                Op::Panic => panic!("planted"),
                // Behind what the group changes.
                Op::Rolled(_) => {}
            }
        }
        hours::changed(db, &late)?;
        for (op, _) in group {
            if let Op::Rolled(rolled) = op {
                hours::put(db, rolled)?;
            }
        }
        match chain {
            Some(chain) => {
                chain.write(db, &evidence, sign)?;
                keep.map_or(Ok(()), |keep| chain.prune(db, keep))
            }
            None => Ok(()),
        }
    })?;
    if !db.is_postgres() && group.iter().any(|(op, _)| matches!(op, Op::Prune(_) | Op::PruneEvidence(_))) {
        // The group is committed, whatever comes of this.
        if let Err(error) = db.batch("PRAGMA incremental_vacuum(4096)") {
            tracing::warn!(error = %error, "free pages cannot be given back");
        }
    }
    Ok(())
}

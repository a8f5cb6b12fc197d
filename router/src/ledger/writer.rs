//! The one thread that writes.

use super::answers::{self, KeptAnswer};
use super::evidence::Chain;
use super::late::Late;
use super::learning::{self, LabelRecord};
use super::record::{AttemptClose, AttemptOpen, Payer, RequestRecord, ShadowRecord};
use super::store::{Cell, Db, Patience, cells};
use super::{EvidenceRetention, LedgerError, Retention, arms, claims, compared, instances, placed, prune};
use crate::audit;
use parking_lot::{Condvar, Mutex, MutexGuard};
use policies::{Amount, NanoDollars};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    Prune(Retention),
    PruneEvidence(EvidenceRetention),
    Stop,
}

type Ack = oneshot::Sender<Result<(), LedgerError>>;

/// Something to write, and who waits for it.
pub(super) type Entry = (Op, Option<Ack>);

/// The queue is bounded by what fills it: each request in flight has at most a few lines in it, and waits for them.
#[derive(Default)]
struct Queue {
    ops: Mutex<Vec<Entry>>,
    filled: Condvar,
    healthy: AtomicBool,
    closed: AtomicBool,
}

pub(super) struct Writer {
    queue: Arc<Queue>,
}

// === impl Writer ===

impl Writer {
    pub(super) fn start(db: Db, chain: Option<Chain>) -> Result<Self, LedgerError> {
        let queue = Arc::new(Queue { healthy: AtomicBool::new(true), ..Queue::default() });
        let shared = queue.clone();
        std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || run(db, chain, &shared))
            .map_err(|error| LedgerError::Database(error.to_string()))?;
        Ok(Self { queue })
    }

    pub(super) fn push(&self, op: Op, ack: Option<Ack>) {
        self.queue.ops.lock().push((op, ack));
        self.queue.filled.notify_one();
    }

    pub(super) async fn commit(&self, op: Op) -> Result<(), LedgerError> {
        if self.queue.closed.load(Ordering::Acquire) {
            return Err(LedgerError::Closed);
        }
        let (ack, done) = oneshot::channel();
        self.push(op, Some(ack));
        done.await.unwrap_or(Err(LedgerError::Closed))
    }

    pub(super) fn healthy(&self) -> bool {
        self.queue.healthy.load(Ordering::Acquire) && !self.queue.closed.load(Ordering::Acquire)
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
    }
}

/// Writes a group, or nothing of it; the evidence log stands where it stood if that fails.
pub(super) fn write_group(db: &mut Db, group: &[Entry], mut chain: Option<&mut Chain>) -> Result<(), LedgerError> {
    let mark = chain.as_ref().map(|chain| chain.mark());
    let written = write_lines(db, group, chain.as_deref_mut());
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
        for (op, _) in group {
            match op {
                Op::Open(attempt) => {
                    open(db, attempt)?;
                    if audited {
                        evidence.push(audit::Entry::dial(attempt));
                    }
                }
                Op::Raise(attempt, to) => raise(db, attempt, *to)?,
                Op::Close(attempt, request) => {
                    close(db, attempt)?;
                    if let Some(request) = request {
                        put_request(db, request)?;
                    }
                }
                Op::Request(request) => put_request(db, request)?,
                Op::Shadow(shadow) => put_shadow(db, shadow)?,
                Op::Label(label) => learning::put_label(db, label)?,
                Op::Keep(answer) => answers::keep(db, answer)?,
                Op::Compared(entry) => compared::put(db, entry)?,
                Op::Release(name) => claims::release(db, name)?,
                Op::Beat(beat) => instances::beat(db, beat)?,
                Op::Prune(retention) => prune::prune(db, *retention, kept)?,
                Op::PruneEvidence(wanted) => keep = Some(*wanted),
                Op::Evidence(entries) => evidence.extend_from_slice(entries),
                Op::Checkpoint | Op::Stop => sign = true,
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

/// Nano-dollars; 9.2 billion dollars fit.
fn money<'a>(amount: Option<NanoDollars>) -> Cell<'a> {
    amount.map(|amount| amount.0).into()
}

fn tags(payer: &Payer) -> String {
    if payer.tags.is_empty() {
        return "{}".into();
    }
    // A zero byte in a label would make the whole list unreadable for PostgreSQL.
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    let map: Map<String, Value> = payer.tags.iter().map(|(key, value)| (clean(key), clean(value).into())).collect();
    Value::Object(map).to_string()
}

fn open(db: &mut Db, attempt: &AttemptOpen) -> Result<(), LedgerError> {
    let payer = &attempt.payer;
    let tags = tags(payer);
    let price = attempt.price.and_then(|price| serde_json::to_string(&price).ok());
    db.put(
        "INSERT INTO attempts (request, attempt, at_us, purpose, key_id, team, \"user\", session, tags, model, \
         provider, route, upstream, ceiling_nd, price, price_source, ceiling_tokens, class, region, masked) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20) \
         ON CONFLICT (request, attempt) DO NOTHING",
        cells![
            attempt.request.as_str(),
            attempt.attempt,
            attempt.at_us,
            attempt.purpose,
            payer.key.as_ref().map(|key| key.as_str()),
            payer.team.as_ref(),
            payer.user.as_ref(),
            payer.session.as_ref().map(|session| session.as_str()),
            &tags,
            attempt.model.as_str(),
            attempt.provider.as_str(),
            attempt.route,
            &attempt.upstream,
            money(attempt.ceiling),
            price.as_ref(),
            &attempt.price_source,
            attempt.ceiling_tokens,
            &attempt.class,
            attempt.region.as_ref(),
            attempt.masked.as_ref(),
        ],
    )
}

/// An open line; or one that was charged by another instance, which took its own for dead: it is put right.
const OPEN: &str = "request = ?1 AND attempt = ?2 AND (outcome IS NULL OR error = 'lease_expired')";

fn raise(db: &mut Db, attempt: &AttemptOpen, to: Amount) -> Result<(), LedgerError> {
    let greatest = if db.is_postgres() { "greatest" } else { "max" };
    db.put(
        &format!(
            "UPDATE attempts SET ceiling_nd = {greatest}(ceiling_nd, ?3), \
             ceiling_tokens = {greatest}(coalesce(ceiling_tokens, 0), ?4), \
             cost_nd = CASE WHEN outcome IS NULL THEN NULL ELSE {greatest}(ceiling_nd, ?3) END WHERE {OPEN}"
        ),
        cells![attempt.request.as_str(), attempt.attempt, to.money.0, to.tokens],
    )
}

fn close(db: &mut Db, attempt: &AttemptClose) -> Result<(), LedgerError> {
    // A priced attempt has its opening line; one that costs nothing gets its only line here.
    if db.is_postgres() {
        // To ask whether it has would take a round trip each.
        open(db, &attempt.open)?;
        let (sql, values) = (FINISH, finish(attempt));
        return db.put(sql, &values);
    }
    if db.execute(FINISH, &finish(attempt))? == 0 {
        open(db, &attempt.open)?;
        db.execute(FINISH, &finish(attempt))?;
    }
    Ok(())
}

/// Fills in the end of a line that is open.
const FINISH: &str = "UPDATE attempts SET ended_us = ?3, outcome = ?4, counted = ?5, input = ?6, cached = ?7, \
    cache_write = ?8, output = ?9, reasoning = ?10, cost_nd = ?11, baseline_nd = ?12, first_event_us = ?13, error = ?14, \
    local_cost_nd = ?15 \
    WHERE request = ?1 AND attempt = ?2 AND (outcome IS NULL OR error = 'lease_expired')";

fn finish(attempt: &AttemptClose) -> [Cell<'_>; 15] {
    let usage = attempt.usage();
    [
        attempt.open.request.as_str().into(),
        attempt.open.attempt.into(),
        attempt.ended_us.into(),
        attempt.outcome.word().into(),
        attempt.counted.word().into(),
        usage.input.0.into(),
        usage.cached_input.0.into(),
        usage.cache_write.0.into(),
        usage.output.0.into(),
        usage.reasoning.0.into(),
        money(attempt.cost),
        money(attempt.baseline),
        attempt.first_event_us.into(),
        attempt.error.into(),
        money(attempt.local_cost),
    ]
}

fn put_request(db: &mut Db, request: &RequestRecord) -> Result<(), LedgerError> {
    let payer = &request.payer;
    let tags = tags(payer);
    db.put(
        "INSERT INTO requests (id, at_us, key_id, team, \"user\", session, tags, endpoint, asked, class, route, \
         model, reason, score, status, attempts, record, cascade) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) \
         ON CONFLICT (id) DO UPDATE SET at_us = excluded.at_us, key_id = excluded.key_id, team = excluded.team, \
         \"user\" = excluded.\"user\", session = excluded.session, tags = excluded.tags, endpoint = excluded.endpoint, \
         asked = excluded.asked, class = excluded.class, route = excluded.route, model = excluded.model, \
         reason = excluded.reason, score = excluded.score, status = excluded.status, attempts = excluded.attempts, \
         record = excluded.record, cascade = excluded.cascade",
        cells![
            request.id.as_str(),
            request.at_us,
            payer.key.as_ref().map(|key| key.as_str()),
            payer.team.as_ref(),
            payer.user.as_ref(),
            payer.session.as_ref().map(|session| session.as_str()),
            &tags,
            request.endpoint,
            &request.asked,
            &request.class,
            request.route,
            request.model.as_ref().map(|model| model.as_str()),
            &request.reason,
            request.score,
            request.status,
            request.attempts,
            &request.record,
            request.cascade.as_ref(),
        ],
    )?;
    if let Some(judgement) = &request.judgement {
        learning::put_judgement(db, request, judgement)?;
    }
    if let Some(arm) = &request.arm {
        arms::put(db, request, arm)?;
    }
    match &request.placed {
        Some(placed) => placed::put(db, request, placed),
        None => Ok(()),
    }
}

fn put_shadow(db: &mut Db, shadow: &ShadowRecord) -> Result<(), LedgerError> {
    db.put(
        "INSERT INTO shadows (request, experiment, at_us, served_model, shadow_model, prompt, served_text, \
         shadow_text, shadow_finish, shadow_error) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
         ON CONFLICT (request) DO UPDATE SET experiment = excluded.experiment, at_us = excluded.at_us, \
         served_model = excluded.served_model, shadow_model = excluded.shadow_model, prompt = excluded.prompt, \
         served_text = excluded.served_text, shadow_text = excluded.shadow_text, \
         shadow_finish = excluded.shadow_finish, shadow_error = excluded.shadow_error",
        cells![
            shadow.request.as_str(),
            &shadow.experiment,
            shadow.at_us,
            shadow.served.as_str(),
            shadow.shadow.as_str(),
            &shadow.prompt,
            &shadow.served_text,
            &shadow.shadow_text,
            shadow.finish.as_ref(),
            shadow.error,
        ],
    )
}

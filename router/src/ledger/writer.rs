//! The one thread that writes.

use super::answers::{self, KeptAnswer};
use super::arms;
use super::evidence::Chain;
use super::learning::{self, LabelRecord};
use super::record::{AttemptClose, AttemptOpen, Payer, RequestRecord, ShadowRecord};
use super::{LedgerError, Retention};
use crate::audit::Entry;
use parking_lot::{Condvar, Mutex, MutexGuard};
use policies::{Amount, NanoDollars};
use rusqlite::{Connection, params};
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
    Evidence(Vec<Entry>),
    Checkpoint,
    Prune(Retention),
    Stop,
}

type Ack = oneshot::Sender<Result<(), LedgerError>>;

/// The queue is bounded by what fills it: each request in flight has at most a few lines in it, and waits for them.
#[derive(Default)]
struct Queue {
    ops: Mutex<Vec<(Op, Option<Ack>)>>,
    filled: Condvar,
    healthy: AtomicBool,
    closed: AtomicBool,
}

pub(super) struct Writer {
    queue: Arc<Queue>,
}

// === impl Writer ===

impl Writer {
    pub(super) fn start(connection: Connection, chain: Option<Chain>) -> Result<Self, LedgerError> {
        let queue = Arc::new(Queue { healthy: AtomicBool::new(true), ..Queue::default() });
        let shared = queue.clone();
        std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || run(connection, chain, &shared))
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
/// Evidence is signed so often, where any came.
const SIGNED_AFTER: Duration = Duration::from_secs(60);
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

fn run(mut connection: Connection, mut chain: Option<Chain>, queue: &Queue) {
    let (mut busy, mut rate) = (false, Rate::start());
    loop {
        let group = {
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
        let mark = chain.as_ref().map(Chain::mark);
        let written = write_group(&mut connection, &group, chain.as_mut());
        if written.is_err()
            && let Some((chain, mark)) = chain.as_mut().zip(mark)
        {
            chain.restore(mark);
        }
        queue.healthy.store(written.is_ok(), Ordering::Release);
        if let Err(error) = &written {
            tracing::error!(error = %error, lines = group.len(), "cannot write the ledger");
        }
        if stop {
            queue.closed.store(true, Ordering::Release);
            if let Err(error) = connection.pragma_update(None, "wal_checkpoint", "TRUNCATE") {
                tracing::warn!(error = %error, "cannot checkpoint the ledger");
            }
        }
        for (_, ack) in group {
            if let Some(ack) = ack {
                // A dropped receiver is a request that did not wait.
                let _ = ack.send(written.clone());
            }
        }
        if stop {
            return;
        }
    }
}

fn write_group(
    connection: &mut Connection,
    group: &[(Op, Option<Ack>)],
    mut chain: Option<&mut Chain>,
) -> Result<(), LedgerError> {
    let mut evidence = Vec::new();
    let audited = chain.is_some();
    let mut sign = false;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for (op, _) in group {
        match op {
            Op::Open(attempt) => {
                if open(&transaction, attempt)? > 0 && audited {
                    evidence.push(Entry::dial(attempt));
                }
            }
            Op::Raise(attempt, to) => raise(&transaction, attempt, *to)?,
            Op::Close(attempt, request) => {
                close(&transaction, attempt)?;
                if let Some(request) = request {
                    put_request(&transaction, request)?;
                }
            }
            Op::Request(request) => put_request(&transaction, request)?,
            Op::Shadow(shadow) => put_shadow(&transaction, shadow)?,
            Op::Label(label) => learning::put_label(&transaction, label)?,
            Op::Keep(answer) => answers::keep(&transaction, answer)?,
            Op::Prune(retention) => {
                prune(&transaction, *retention, chain.as_ref().map_or(0, |chain| chain.bytes()))?;
            }
            Op::Evidence(entries) => evidence.extend_from_slice(entries),
            Op::Checkpoint | Op::Stop => sign = true,
        }
    }
    if let Some(chain) = chain.as_mut() {
        chain.append(&transaction, &evidence)?;
        if sign || chain.due(SIGNED_AFTER) {
            chain.checkpoint(&transaction)?;
        }
    }
    transaction.commit()?;
    if group.iter().any(|(op, _)| matches!(op, Op::Prune(_))) {
        connection.execute_batch("PRAGMA incremental_vacuum(4096)")?;
    }
    Ok(())
}

/// Nano-dollars as SQLite keeps them; 9.2 billion dollars fit.
fn cell(amount: Option<NanoDollars>) -> Option<i64> {
    amount.map(|amount| whole(amount.0))
}

fn tokens(count: policies::TokenCount) -> i64 {
    whole(count.0)
}

fn whole(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

fn tags(payer: &Payer) -> String {
    if payer.tags.is_empty() {
        return "{}".into();
    }
    let map: Map<String, Value> = payer.tags.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    Value::Object(map).to_string()
}

/// Says how many lines that made: none, where the attempt is there already.
fn open(connection: &Connection, attempt: &AttemptOpen) -> Result<usize, rusqlite::Error> {
    let payer = &attempt.payer;
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO attempts (request, attempt, at_us, purpose, key_id, team, user, session, tags, model, \
             provider, route, upstream, ceiling_nd, price, price_source, ceiling_tokens, class, region) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        )?
        .execute(params![
            attempt.request.as_str(),
            attempt.attempt,
            attempt.at_us,
            attempt.purpose,
            payer.key.as_ref().map(|key| key.as_str()),
            payer.team,
            payer.user,
            payer.session.as_ref().map(|session| session.as_str()),
            tags(payer),
            attempt.model.as_str(),
            attempt.provider.as_str(),
            attempt.route,
            attempt.upstream,
            cell(attempt.ceiling),
            attempt.price.and_then(|price| serde_json::to_string(&price).ok()),
            attempt.price_source,
            attempt.ceiling_tokens.map(whole),
            attempt.class,
            attempt.region,
        ])
}

fn raise(connection: &Connection, attempt: &AttemptOpen, to: Amount) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "UPDATE attempts SET ceiling_nd = max(ceiling_nd, ?3), ceiling_tokens = max(coalesce(ceiling_tokens, 0), ?4) \
             WHERE request = ?1 AND attempt = ?2 AND outcome IS NULL",
        )?
        .execute(params![attempt.request.as_str(), attempt.attempt, whole(to.money.0), whole(to.tokens)])?;
    Ok(())
}

fn close(connection: &Connection, attempt: &AttemptClose) -> Result<(), rusqlite::Error> {
    // A priced attempt has its opening line; one that costs nothing gets its only line here.
    if finish(connection, attempt)? == 0 {
        open(connection, &attempt.open)?;
        finish(connection, attempt)?;
    }
    Ok(())
}

/// Fills in the end of a line that is open; says how many there were.
fn finish(connection: &Connection, attempt: &AttemptClose) -> Result<usize, rusqlite::Error> {
    let usage = attempt.usage();
    connection
        .prepare_cached(
            "UPDATE attempts SET ended_us = ?3, outcome = ?4, counted = ?5, input = ?6, cached = ?7, cache_write = ?8, \
             output = ?9, reasoning = ?10, cost_nd = ?11, baseline_nd = ?12, first_event_us = ?13, error = ?14, \
             local_cost_nd = ?15 \
             WHERE request = ?1 AND attempt = ?2 AND outcome IS NULL",
        )?
        .execute(params![
            attempt.open.request.as_str(),
            attempt.open.attempt,
            attempt.ended_us,
            attempt.outcome.word(),
            attempt.counted.word(),
            tokens(usage.input),
            tokens(usage.cached_input),
            tokens(usage.cache_write),
            tokens(usage.output),
            tokens(usage.reasoning),
            cell(attempt.cost),
            cell(attempt.baseline),
            attempt.first_event_us.map(|us| i64::try_from(us).unwrap_or(i64::MAX)),
            attempt.error,
            cell(attempt.local_cost),
        ])
}

fn put_request(connection: &Connection, request: &RequestRecord) -> Result<(), rusqlite::Error> {
    let payer = &request.payer;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO requests (id, at_us, key_id, team, user, session, tags, endpoint, asked, class, route, \
             model, reason, score, status, attempts, record, cascade) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        )?
        .execute(params![
            request.id.as_str(),
            request.at_us,
            payer.key.as_ref().map(|key| key.as_str()),
            payer.team,
            payer.user,
            payer.session.as_ref().map(|session| session.as_str()),
            tags(payer),
            request.endpoint,
            request.asked,
            request.class,
            request.route,
            request.model.as_ref().map(|model| model.as_str()),
            request.reason,
            request.score,
            request.status,
            request.attempts,
            request.record,
            request.cascade,
        ])?;
    if let Some(judgement) = &request.judgement {
        learning::put_judgement(connection, request, judgement)?;
    }
    match &request.arm {
        Some(arm) => arms::put(connection, request, arm),
        None => Ok(()),
    }
}

fn put_shadow(connection: &Connection, shadow: &ShadowRecord) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO shadows (request, experiment, at_us, served_model, shadow_model, prompt, served_text, \
             shadow_text, shadow_finish, shadow_error) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            shadow.request.as_str(),
            shadow.experiment,
            shadow.at_us,
            shadow.served.as_str(),
            shadow.shadow.as_str(),
            shadow.prompt,
            shadow.served_text,
            shadow.shadow_text,
            shadow.finish,
            shadow.error,
        ])?;
    Ok(())
}

/// Charges what an earlier life left running.
pub(super) fn charge_open_attempts(connection: &Connection) -> Result<usize, rusqlite::Error> {
    connection.execute(
        "UPDATE attempts SET outcome = 'unknown', counted = 'at_least', ended_us = at_us, input = 0, cached = 0, \
         cache_write = 0, output = 0, reasoning = 0, cost_nd = ceiling_nd, baseline_nd = ceiling_nd, \
         error = 'gateway_stopped' WHERE outcome IS NULL",
        [],
    )
}

/// `kept`: bytes of what is never pruned.
fn prune(connection: &Connection, retention: Retention, kept: u64) -> Result<(), rusqlite::Error> {
    let age = i64::try_from(retention.age.as_micros()).unwrap_or(i64::MAX);
    let oldest = jiff::Timestamp::now().as_microsecond().saturating_sub(age);
    drop_before(connection, oldest)?;
    let used = |connection: &Connection| -> Result<u64, rusqlite::Error> {
        let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
        let all = number("page_count")?.saturating_sub(number("freelist_count")?) * number("page_size")?;
        Ok(all.saturating_sub(kept))
    };
    if used(connection)? > retention.bytes {
        answers::drop_before(connection, i64::MAX)?;
    }
    while used(connection)? > retention.bytes {
        let cut: Option<i64> = connection.query_row(
            "SELECT max(at_us) FROM (SELECT at_us FROM attempts WHERE outcome IS NOT NULL ORDER BY at_us \
             LIMIT 1 + (SELECT count(*) FROM attempts) / 50)",
            [],
            |row| row.get(0),
        )?;
        let Some(cut) = cut else { return Ok(()) };
        drop_before(connection, cut.saturating_add(1))?;
    }
    Ok(())
}

fn drop_before(connection: &Connection, at_us: i64) -> Result<(), rusqlite::Error> {
    connection.execute("DELETE FROM attempts WHERE at_us < ?1 AND outcome IS NOT NULL", [at_us])?;
    learning::drop_before(connection, at_us)?;
    arms::drop_before(connection, at_us)?;
    connection.execute("DELETE FROM requests WHERE at_us < ?1", [at_us])?;
    connection.execute("DELETE FROM shadows WHERE at_us < ?1", [at_us])?;
    Ok(())
}

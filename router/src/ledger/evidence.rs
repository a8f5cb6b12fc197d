//! The evidence log's rows: written by the ledger's writer, in the commit of the attempts that they speak of.
//!
//! A row holds the records of one group commit, so a busy gateway writes few rows. The state of the log (chain, tree) is
//! kept with each checkpoint; what came after it is hashed again at the start.
//!
//! **Failure behaviour.** Two writers of one file cannot fork the log: each looks, inside its transaction, whether the log
//! stands where it left it, and otherwise reads on from there. So does the one writer of a server's log after a commit whose
//! answer was lost.

use super::evidence_prune::gone;
use super::store::{Db, cells};
use super::writer::Op;
use super::{EvidenceRetention, Ledger, LedgerError};
use crate::audit::{Checkpoint, Digester, Entry, Event, Hash, Keys, PublicKey, Purpose, Signed, State};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// So many records get a checkpoint of their own, also before its time.
const SIGNED_EVERY: u64 = 10_000;
/// Records are read so many rows at a time.
const ROWS: u64 = 256;
/// Evidence is signed so often, where any came.
const SIGNED_AFTER: Duration = Duration::from_secs(60);
/// The name of the key that bodies are digested with.
const DIGEST_KEY: &str = "evidence_digest_key";

/// Where the log stands, as the writer knows it.
#[derive(Clone, Debug)]
pub(super) struct Stand {
    pub(super) state: State,
    /// Size of all records, those that are pruned included.
    pub(super) bytes: u64,
    /// Size of those that are pruned.
    pub(super) gone: u64,
    /// Number of records that the newest checkpoint covers.
    signed: u64,
    /// The key that the log says signs.
    key: Option<PublicKey>,
}

/// The writer's side of the log.
#[derive(Debug)]
pub(super) struct Chain {
    keys: Keys,
    pub(super) stand: Stand,
    recorded: Instant,
    /// A transaction failed: whether it was committed all the same is not known before the log is read again.
    unsure: bool,
}

/// What a request's way needs of the log.
#[derive(Debug)]
pub(super) struct Audit {
    pub(super) digester: Digester,
    pub(super) log: Arc<str>,
}

/// Where a log begins that was pruned.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The signed checkpoint there, as it is exported.
    pub line: String,
    /// Where the log stood.
    pub state: State,
}

/// A checkpoint as it was kept.
#[derive(Clone, Debug)]
pub struct KeptCheckpoint {
    /// Records that it covers.
    pub size: u64,
    /// The line as it is exported: text, signature, key.
    pub line: String,
}

// === impl Chain ===

impl Chain {
    /// Reads where the log stands; begins one where there is none.
    ///
    /// A file has one log; on a server, where several processes write, each life of a process has its own.
    pub(super) fn load(db: &mut Db, keys: Keys) -> Result<(Self, Audit), LedgerError> {
        db.transaction(|db| {
            let log = match db.is_postgres() {
                true => rand::random::<[u8; 8]>().to_vec(),
                false => meta(db, "evidence_log", 8)?,
            };
            let log: Arc<str> = hex::encode(log).into();
            let audit = Audit { digester: Digester::new(&meta(db, DIGEST_KEY, 32)?), log: log.clone() };
            let mut chain = Self { stand: read_stand(db, log)?, keys, recorded: Instant::now(), unsure: false };
            if chain.stand.state.size() == 0 {
                let key = chain.keys.signer().public();
                let note = json!({"key": key.map(|key| key.to_string()), "version": env!("CARGO_PKG_VERSION")});
                let entry = Entry { note: Some(note), ..Entry::new(Event::Log, now_us()) };
                chain.stand.key = key;
                chain.append(db, &[entry])?;
            }
            chain.sign(db)?;
            Ok((chain, audit))
        })
    }

    /// Appends what a group brings, and signs when it is time to.
    pub(super) fn write(&mut self, db: &mut Db, entries: &[Entry], sign: bool) -> Result<(), LedgerError> {
        self.append(db, entries)?;
        if sign || self.recorded.elapsed() >= SIGNED_AFTER {
            self.recorded = Instant::now();
            self.keys.refresh();
            self.catch_up(db)?;
            self.sign(db)?;
        }
        Ok(())
    }

    /// What has to be restored if the transaction fails.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.stand.clone())
    }

    /// Forgets what a failed transaction appended; where the server's answer was lost it may be there, so the log is read
    /// again before the next record.
    pub(super) fn restore(&mut self, mark: Mark) {
        self.stand = mark.0;
        self.unsure = true;
    }

    /// Bytes that the log takes.
    pub(super) fn bytes(&self) -> u64 {
        self.stand.bytes - self.stand.gone
    }

    /// Appends records.
    pub(super) fn append(&mut self, db: &mut Db, entries: &[Entry]) -> Result<(), LedgerError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.catch_up(db)?;
        let first = self.stand.state.size();
        let mut lines = String::with_capacity(entries.len() * 384);
        for entry in entries {
            lines.push_str(&self.stand.state.append(entry));
            lines.push('\n');
        }
        self.stand.bytes += lines.len() as u64;
        db.put(
            "INSERT INTO evidence (log, first, count, at_us, head, lines) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            cells![
                &*self.stand.state.log,
                first,
                entries.len() as u64,
                now_us(),
                &self.stand.state.head,
                lines.as_bytes()
            ],
        )?;
        if self.stand.state.size() - self.stand.signed >= SIGNED_EVERY {
            self.sign(db)?;
        }
        Ok(())
    }

    fn sign(&mut self, db: &mut Db) -> Result<(), LedgerError> {
        self.hand_over(db)?;
        let size = self.stand.state.size();
        if size == self.stand.signed {
            return Ok(());
        }
        let signed = Signed::new(&Checkpoint::of(&self.stand.state), Purpose::Checkpoint, self.keys.signer());
        let line = signed.and_then(|signed| serde_json::to_string(&signed).ok());
        let key = self.stand.key.map(|key| key.to_string());
        db.put(
            "INSERT INTO checkpoints (log, size, line, head, tree, bytes, key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (log, size) DO NOTHING",
            cells![
                &*self.stand.state.log,
                size,
                &line.unwrap_or_default(),
                &self.stand.state.head,
                &self.stand.state.tree.to_bytes(),
                self.stand.bytes,
                key.as_ref(),
            ],
        )?;
        self.stand.signed = size;
        Ok(())
    }

    /// Says in the log, in the old key's name, that another key signs from here on.
    fn hand_over(&mut self, db: &mut Db) -> Result<(), LedgerError> {
        let (Some(new), Some(old)) = (self.keys.signer().public(), self.stand.key) else { return Ok(()) };
        if new == old {
            return Ok(());
        }
        let text = format!("{}\n{new}", self.stand.state.log);
        let proof = self.keys.signer().sign_as(old, Purpose::Handover, text.as_bytes());
        if proof.is_none() {
            tracing::warn!(%old, %new, "the evidence log's earlier key is gone: the new one is not vouched for by it");
        }
        let note = json!({"old": old.to_string(), "new": new.to_string(), "signature": proof.map(hex::encode)});
        self.stand.key = Some(new);
        self.append(db, &[Entry { note: Some(note), ..Entry::new(Event::Key, now_us()) }])
    }

    /// Reads on where another process has written meanwhile, or this one without having heard of it.
    pub(super) fn catch_up(&mut self, db: &mut Db) -> Result<(), LedgerError> {
        let log = self.stand.state.log.clone();
        if db.is_postgres() && !self.unsure {
            // A log of a server's is written by one process.
            return Ok(());
        }
        let sql = "SELECT first + count FROM evidence WHERE log = ?1 ORDER BY first DESC LIMIT 1";
        let end: Option<u64> = db.first(sql, cells![&*log], |row| row.get(0))?;
        if end.unwrap_or(0) != self.stand.state.size() {
            self.stand = read_stand(db, log)?;
        }
        self.unsure = false;
        Ok(())
    }
}

/// Where a chain stood.
pub(super) struct Mark(Stand);

pub(super) fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// Random bytes that were drawn once for this ledger.
fn meta(db: &mut Db, name: &str, length: usize) -> Result<Vec<u8>, LedgerError> {
    let mut fresh = vec![0u8; length];
    rand::Rng::fill(&mut rand::rng(), fresh.as_mut_slice());
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";
    db.execute(sql, cells![name, &fresh])?;
    db.one("SELECT value FROM meta WHERE name = ?1", cells![name], |row| row.get(0))
}

fn read_stand(db: &mut Db, log: Arc<str>) -> Result<Stand, LedgerError> {
    let sql = "SELECT size, head, tree, bytes, key FROM checkpoints WHERE log = ?1 ORDER BY size DESC LIMIT 1";
    let kept = db.first(sql, cells![&*log], |row| {
        let (size, head): (u64, Hash) = (row.get(0)?, row.get(1)?);
        let (tree, bytes, key): (Vec<u8>, u64, Option<String>) = (row.get(2)?, row.get(3)?, row.get(4)?);
        Ok((size, head, tree, bytes, key))
    })?;
    let mut stand = Stand { state: State::new(log.clone()), bytes: 0, gone: gone(db, &log)?, signed: 0, key: None };
    if let Some((size, head, tree, bytes, key)) = kept {
        let damaged = || LedgerError::Database("the evidence log's newest checkpoint is damaged".into());
        stand.state.tree = crate::audit::tree_from(size, &tree).ok_or_else(damaged)?;
        (stand.state.head, stand.bytes, stand.signed) = (head, bytes, size);
        stand.key = key.and_then(|key| key.parse().ok());
    }
    let sql = "SELECT lines FROM evidence WHERE log = ?1 AND first >= ?2 ORDER BY first";
    let rows = db.query(sql, cells![&*log, stand.state.size()], |row| row.get::<Vec<u8>>(0))?;
    for lines in rows {
        stand.bytes += lines.len() as u64;
        lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| {
            stand.state.take(line);
            stand.key = named_key(line).or(stand.key);
        });
    }
    Ok(stand)
}

/// The key that a record says signs from there on.
fn named_key(record: &[u8]) -> Option<PublicKey> {
    let names = |word: &[u8]| record.windows(word.len()).any(|part| part == word);
    if !names(br#""event":"log""#) && !names(br#""event":"key""#) {
        return None;
    }
    let record: Value = serde_json::from_slice(record).ok()?;
    let note = record.get("note")?;
    note.get("new").or(note.get("key"))?.as_str()?.parse().ok()
}

// === impl Ledger: evidence ===

impl Ledger {
    /// Whether evidence is written.
    pub fn audited(&self) -> bool {
        self.audit.is_some()
    }

    /// A keyed digest of a request's body, where evidence is written.
    pub fn fingerprint(&self, body: &[u8]) -> Option<Hash> {
        self.audit.as_ref().map(|audit| audit.digester.digest(body))
    }

    /// The running log's id.
    pub fn evidence_log(&self) -> Option<&str> {
        self.audit.as_ref().map(|audit| &*audit.log)
    }

    /// Puts records on the evidence log, without waiting.
    pub fn evidence_later(&self, entries: Vec<Entry>) {
        if self.audited() && !entries.is_empty() {
            self.writer.push(Op::Evidence(entries), None);
        }
    }

    /// Takes up a new key from the key file, and signs what no checkpoint covers yet; returns once that is durable.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub async fn checkpoint(&self) -> Result<(), LedgerError> {
        match self.audited() {
            true => self.writer.commit(Op::Checkpoint).await,
            false => Ok(()),
        }
    }

    /// The ids of all evidence logs in the database, the oldest first.
    pub fn evidence_logs(&self) -> Result<Vec<String>, LedgerError> {
        let sql = "SELECT log FROM evidence GROUP BY log ORDER BY min(at_us), log";
        self.read(|db| db.query(sql, &[], |row| row.get(0)))
    }

    /// Where a log begins, if it was pruned.
    ///
    /// # Errors
    /// Its records do not begin at a checkpoint.
    pub fn evidence_cut(&self, log: &str) -> Result<Option<Cut>, LedgerError> {
        // One statement, one state of the database: the log may be cut again meanwhile.
        let sql = "SELECT e.first, c.line, c.head, c.tree FROM (SELECT min(first) AS first FROM evidence WHERE log = ?1) e \
                   LEFT JOIN checkpoints c ON c.log = ?1 AND c.size = e.first";
        self.read(|db| {
            let (begin, kept) = db.one(sql, cells![log], |row| {
                let kept = (row.get::<Option<String>>(1)?, row.get::<Option<Hash>>(2)?, row.get::<Option<Vec<u8>>>(3)?);
                Ok((row.get::<Option<u64>>(0)?.unwrap_or(0), kept))
            })?;
            if begin == 0 {
                return Ok(None);
            }
            let cut = if let (Some(line), Some(head), Some(tree)) = kept {
                let tree = crate::audit::tree_from(begin, &tree);
                tree.map(|tree| Cut { line, state: State { log: log.into(), head, tree } })
            } else {
                None
            };
            let damaged = || LedgerError::Database("the evidence log begins where no checkpoint is".into());
            cut.ok_or_else(damaged).map(Some)
        })
    }

    /// Prunes the evidence log.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub async fn prune_evidence(&self, keep: EvidenceRetention) -> Result<(), LedgerError> {
        match self.audited() && keep.prunes() {
            true => self.writer.commit(Op::PruneEvidence(keep)).await,
            false => Ok(()),
        }
    }

    /// The records of a log from a place on, as far as one reading goes, with the place of the first; empty at the end. The
    /// place is a later one where the log was pruned.
    pub fn evidence(&self, log: &str, from: u64) -> Result<(u64, Vec<String>), LedgerError> {
        // The row that holds the place is found by its beginning, which is what the key is ordered by.
        let sql = "SELECT first, lines FROM evidence WHERE log = ?1 AND first >= \
                   coalesce((SELECT max(first) FROM evidence WHERE log = ?1 AND first <= ?2), 0) ORDER BY first LIMIT ?3";
        let rows = self.read(|db| {
            db.query(sql, cells![log, from, ROWS], |row| Ok((row.get::<u64>(0)?, row.get::<Vec<u8>>(1)?)))
        })?;
        let begin = rows.first().map_or(from, |(first, _)| from.max(*first));
        let records = rows.into_iter().flat_map(|(first, lines)| {
            let skipped = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
            let text = String::from_utf8_lossy(&lines);
            text.lines().skip(skipped).map(str::to_owned).collect::<Vec<_>>()
        });
        Ok((begin, records.collect()))
    }

    /// The checkpoints of a log, the oldest first.
    pub fn checkpoints(&self, log: &str) -> Result<Vec<KeptCheckpoint>, LedgerError> {
        let sql = "SELECT size, line FROM checkpoints WHERE log = ?1 ORDER BY size";
        self.read(|db| db.query(sql, cells![log], |row| Ok(KeptCheckpoint { size: row.get(0)?, line: row.get(1)? })))
    }

    /// The key that bodies are digested with, where there is a log.
    pub fn digester(&self) -> Result<Option<Digester>, LedgerError> {
        let sql = "SELECT value FROM meta WHERE name = ?1";
        let key = self.read(|db| db.first(sql, cells![DIGEST_KEY], |row| row.get::<Vec<u8>>(0)))?;
        Ok(key.map(|key| Digester::new(&key)))
    }

    /// The data class of a request on record, by name.
    pub fn class_of(&self, request: &str) -> Result<Option<String>, LedgerError> {
        self.read(|db| db.first("SELECT class FROM requests WHERE id = ?1", cells![request], |row| row.get(0)))
    }
}

//! The log as a file: JSON Lines that can be verified offline ([`super::verify`]).
//!
//! **The file.** For each log in the database a section: a head, the records, and a signed checkpoint. A whole log has its
//! records in order, from the checkpoint on that it was pruned at, each with the head of the chain after it, and every checkpoint that was signed on the way in its place. A
//! selection (of a subject, a key, a span of time) has only the chosen records, each with its Merkle proof. The last line is
//! a manifest: number of lines and digest of all before it, signed, so that nothing can be taken out of a selection,
//! either.

use super::checkpoint::{Checkpoint, Signed};
use super::record::State;
use super::sign::{Purpose, Signer};
use super::tree::{Levels, leaf};
use crate::ledger::{Cut, Ledger, LedgerError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::io::Write;

/// What is exported; empty: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// The key's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The user: the data subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Not before, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<jiff::Timestamp>,
    /// Before, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<jiff::Timestamp>,
}

/// What is read of a record.
#[derive(Clone, Debug, Deserialize)]
pub struct Told {
    /// Its place.
    pub seq: u64,
    /// Its log.
    pub log: String,
    /// When.
    pub at: jiff::Timestamp,
    /// What happened.
    pub event: String,
    /// The request.
    pub request: Option<String>,
    /// `answer`, `shadow`, `judge`.
    pub purpose: Option<String>,
    /// The data class.
    pub class: Option<String>,
    /// What set it.
    pub class_by: Option<String>,
    /// The class of what was sent, where that had placeholders.
    pub masked: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The provider.
    pub provider: Option<String>,
    /// `local` or `hosted`.
    pub location: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The rule that refused it.
    pub rule: Option<String>,
    /// The key.
    pub key: Option<String>,
    /// The team.
    pub team: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// Keys and signature of a handover.
    pub note: Option<serde_json::Value>,
}

/// The head of a section.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Opening {
    pub(super) sluice_evidence: u32,
    pub(super) log: String,
    /// All logs of the export, in order.
    pub(super) logs: Vec<String>,
    pub(super) whole: bool,
    pub(super) filter: Filter,
    pub(super) at: String,
    /// Where the log was pruned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cut: Option<CutLine>,
}

/// Where a log was pruned: records before are not in it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CutLine {
    /// What was signed there.
    pub(super) checkpoint: Signed,
    /// Roots of the full subtrees of the Merkle tree there, the largest first.
    pub(super) roots: Vec<String>,
}

/// A record on its line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RecordLine {
    pub(super) record: Box<RawValue>,
    /// The head of the chain after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) head: Option<String>,
    /// The way to the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) proof: Option<Vec<String>>,
}

/// The last word.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) lines: u64,
    pub(super) sha256: String,
}

/// What an export came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Records written.
    pub records: u64,
    /// Logs.
    pub logs: u64,
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The file cannot be written.
    #[error("cannot write: {0}")]
    Write(#[from] std::io::Error),
    /// A record of the log is no JSON.
    #[error("the evidence log is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    /// No key.
    #[error("there is no key to sign with")]
    Unsigned,
    /// The log lost its beginning in the meantime.
    #[error("the evidence log was pruned while it was read: try again")]
    Pruned,
}

// === impl Filter ===

impl Filter {
    /// Whether it lets everything through.
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it lets a record through.
    pub fn takes(&self, told: &Told) -> bool {
        let same = |wanted: &Option<String>, there: &Option<String>| wanted.is_none() || wanted == there;
        same(&self.key, &told.key)
            && same(&self.team, &told.team)
            && same(&self.user, &told.user)
            && same(&self.session, &told.session)
            && same(&self.request, &told.request)
            && self.since.is_none_or(|since| told.at >= since)
            && self.until.is_none_or(|until| told.at < until)
    }
}

/// Writes lines, and their digest.
struct Lines<W> {
    out: W,
    sha256: Sha256,
    count: u64,
}

// === impl Lines ===

impl<W: Write> Lines<W> {
    fn put(&mut self, text: &str) -> Result<(), ExportError> {
        for part in [text.as_bytes(), b"\n"] {
            self.out.write_all(part)?;
            self.sha256.update(part);
        }
        self.count += 1;
        Ok(())
    }

    fn value(&mut self, value: &impl Serialize) -> Result<(), ExportError> {
        self.put(&serde_json::to_string(value)?)
    }

    fn signed(
        &mut self,
        word: &str,
        value: &impl Serialize,
        purpose: Purpose,
        signer: &Signer,
    ) -> Result<(), ExportError> {
        let signed = Signed::new(value, purpose, signer).ok_or(ExportError::Unsigned)?;
        self.put(&format!("{{\"{word}\":{}}}", serde_json::to_string(&signed)?))
    }
}

/// Writes the log, or a selection of it; signs where it stands now.
pub fn export(ledger: &Ledger, signer: &Signer, filter: &Filter, out: impl Write) -> Result<Exported, ExportError> {
    let mut lines = Lines { out, sha256: Sha256::new(), count: 0 };
    let logs = ledger.evidence_logs()?;
    let mut records = 0;
    for log in &logs {
        let cut = ledger.evidence_cut(log)?;
        let opening = Opening {
            sluice_evidence: 1,
            log: log.clone(),
            logs: logs.clone(),
            whole: filter.is_whole(),
            filter: filter.clone(),
            at: jiff::Timestamp::now().to_string(),
            cut: cut.as_ref().map(cut_line).transpose()?,
        };
        lines.value(&opening)?;
        let begin = cut.map_or_else(|| State::new(log.as_str().into()), |cut| cut.state);
        let (state, written) = match filter.is_whole() {
            true => whole(ledger, begin, &mut lines)?,
            false => selection(ledger, begin, filter, &mut lines)?,
        };
        records += written;
        lines.signed("checkpoint", &Checkpoint::of(&state), Purpose::Checkpoint, signer)?;
    }
    let manifest = Manifest { lines: lines.count, sha256: hex::encode(lines.sha256.clone().finalize()) };
    lines.signed("manifest", &manifest, Purpose::Export, signer)?;
    lines.out.flush()?;
    Ok(Exported { records, logs: logs.len() as u64 })
}

fn cut_line(cut: &Cut) -> Result<CutLine, ExportError> {
    let roots = cut.state.tree.roots().iter().map(hex::encode).collect();
    Ok(CutLine { checkpoint: serde_json::from_str(&cut.line)?, roots })
}

/// Gives each record of a log with its place, from where it begins.
pub(super) fn each(
    ledger: &Ledger,
    log: &str,
    (begin, until): (u64, u64),
    mut take: impl FnMut(u64, String) -> Result<(), ExportError>,
) -> Result<u64, ExportError> {
    let mut at = begin;
    loop {
        let (first, records) = ledger.evidence(log, at)?;
        if records.is_empty() || at >= until {
            return Ok(at);
        }
        if first != at {
            return Err(ExportError::Pruned);
        }
        for record in records {
            if at >= until {
                break;
            }
            take(at, record)?;
            at += 1;
        }
    }
}

fn whole(ledger: &Ledger, mut state: State, lines: &mut Lines<impl Write>) -> Result<(State, u64), ExportError> {
    let (log, begin) = (state.log.clone(), state.size());
    let mut checkpoints = ledger.checkpoints(&log)?.into_iter().peekable();
    let end = each(ledger, &log, (begin, u64::MAX), |at, record| {
        state.take(record.as_bytes());
        let head = Some(hex::encode(state.head));
        lines.value(&RecordLine { record: RawValue::from_string(record)?, head, proof: None })?;
        while let Some(kept) = checkpoints.next_if(|kept| kept.size <= at + 1) {
            if kept.size == at + 1 {
                lines.put(&format!("{{\"checkpoint\":{}}}", kept.line))?;
            }
        }
        Ok(())
    })?;
    Ok((state, end - begin))
}

/// Twice over the log: once for the tree, once for the records and their proofs.
fn selection(
    ledger: &Ledger,
    mut state: State,
    filter: &Filter,
    lines: &mut Lines<impl Write>,
) -> Result<(State, u64), ExportError> {
    let (log, before) = (state.log.clone(), state.tree.clone());
    let mut leaves = Vec::new();
    let size = each(ledger, &log, (before.size(), u64::MAX), |_, record| {
        state.take(record.as_bytes());
        leaves.push(leaf(record.as_bytes()));
        Ok(())
    })?;
    let levels = Levels::new(&before, leaves);
    let mut written = 0;
    each(ledger, &log, (before.size(), size), |at, record| {
        let told: Told = serde_json::from_str(&record)?;
        // What vouches for keys and cuts is in every selection.
        if !["key", "log", "pruned"].contains(&told.event.as_str()) && !filter.takes(&told) {
            return Ok(());
        }
        let proof = levels.proof(usize::try_from(at).unwrap_or(usize::MAX));
        let proof = Some(proof.iter().map(hex::encode).collect());
        lines.value(&RecordLine { record: RawValue::from_string(record)?, head: None, proof })?;
        written += 1;
        Ok(())
    })?;
    Ok((state, written))
}

//! Verifying an export, offline, with nothing but a public key.
//!
//! **Promise.** What is found sound says of every record: the log wrote it, at this place, and between its neighbours (a whole
//! log), or it is among those of the signed checkpoint (a selection). A record that was altered, dropped, inserted or
//! moved is found with its line; so is an end that was cut off, if a checkpoint from later is given. A log that was pruned
//! begins at a signed checkpoint, and says so in a record of its own: a beginning that is missing otherwise is found, too.
//!
//! **Whose word.** Signatures count when their key is the given one, or is tied to it: a key that a trusted one handed over
//! to, and, looking back, one that a trusted log says came before.

use super::checkpoint::{Checkpoint, Signed, unhex};
use super::export::{CutLine, Manifest, Opening, RecordLine, Told};
use super::record::State;
use super::sign::{PublicKey, Purpose};
use super::tree::{Tree, leaf, root_of};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

/// What was found sound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sound {
    /// Records.
    pub records: u64,
    /// Logs.
    pub logs: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Whether the logs are there as a whole.
    pub whole: bool,
    /// Records by event.
    pub events: BTreeMap<String, u64>,
    /// The first and the last time.
    pub span: Option<(jiff::Timestamp, jiff::Timestamp)>,
    /// Records that were pruned, and are not there.
    pub pruned: u64,
    /// The last checkpoint of each log: what follows joins on there.
    #[serde(skip)]
    pub ends: Vec<Checkpoint>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Fault {
    /// The line, 1 the first.
    pub line: u64,
    /// What is wrong with it.
    pub what: String,
}

/// One line: one of four kinds, by the field that it has.
#[derive(Deserialize)]
struct Line {
    record: Option<Box<RawValue>>,
    head: Option<String>,
    proof: Option<Vec<String>>,
    checkpoint: Option<Signed>,
    manifest: Option<Signed>,
}

/// A log while it is read.
struct Section {
    state: State,
    whole: bool,
    /// The place that the next record of a selection has at least.
    next: u64,
    /// Records whose proofs wait for the root: line, digest, place, proof.
    proofs: Vec<(u64, super::Hash, u64, Vec<super::Hash>)>,
    /// Whether a checkpoint covers all that came so far.
    covered: bool,
    /// Where it begins.
    begin: u64,
    /// How many of the published checkpoints were met.
    met: usize,
    /// The last checkpoint.
    end: Option<Checkpoint>,
}

struct Verifier<'a> {
    trusted: BTreeSet<PublicKey>,
    /// Handovers: the old key, the new one.
    handed: Vec<(PublicKey, PublicKey, bool)>,
    /// Whose signatures were found, and where.
    signed_by: Vec<(u64, PublicKey)>,
    published: &'a [Checkpoint],
    /// Cuts that records tell of: the log, and where.
    told_cuts: BTreeSet<(String, u64)>,
    /// Where logs begin that were pruned, and the line.
    cuts: Vec<(String, u64, u64)>,
    expected: Vec<String>,
    sound: Sound,
}

/// Verifies an export; `published` are checkpoints that it has to have stood at, of whichever log: put where nobody could
/// change them, or the ends of an archived export that this one goes on from.
///
/// # Errors
/// The first fault. A file that cannot be read is a fault, too.
pub fn verify(input: impl BufRead, key: PublicKey, published: &[Checkpoint]) -> Result<Sound, Fault> {
    let mut verifier = Verifier {
        trusted: BTreeSet::from([key]),
        handed: Vec::new(),
        signed_by: Vec::new(),
        published,
        told_cuts: BTreeSet::new(),
        cuts: Vec::new(),
        expected: Vec::new(),
        sound: Sound { whole: true, ..Sound::default() },
    };
    let mut sha256 = Sha256::new();
    let mut section: Option<Section> = None;
    let (mut at, mut ended) = (0, None);
    for line in input.split(b'\n') {
        at += 1;
        let fault = |what: String| Fault { line: at, what };
        let line = line.map_err(|error| fault(format!("cannot be read: {error}")))?;
        if ended.is_some() {
            return Err(fault("something comes after the manifest".into()));
        }
        let strange = |_| fault("is no line of an evidence export".into());
        let parsed: Line = serde_json::from_slice(&line).map_err(strange)?;
        let early = || fault("comes before any head".into());
        match parsed {
            Line { record: Some(record), head, proof, checkpoint: None, manifest: None } => {
                let line = RecordLine { record, head, proof };
                verifier.record(section.as_mut().ok_or_else(early)?, &line, at).map_err(fault)?;
            }
            Line { record: None, checkpoint: Some(checkpoint), manifest: None, .. } => {
                verifier.checkpoint(section.as_mut().ok_or_else(early)?, &checkpoint, at)?;
            }
            Line { record: None, checkpoint: None, manifest: None, .. } => {
                if let Some(section) = section.take() {
                    verifier.close(section).map_err(fault)?;
                }
                let opening: Opening = serde_json::from_slice(&line).map_err(strange)?;
                section = Some(verifier.open(opening, at).map_err(fault)?);
            }
            Line { record: None, checkpoint: None, manifest: Some(manifest), .. } => {
                if let Some(section) = section.take() {
                    verifier.close(section).map_err(fault)?;
                }
                let (manifest, key): (Manifest, _) =
                    manifest.open(Purpose::Export).map_err(|what| fault(format!("manifest: {what}")))?;
                verifier.signed_by.push((at, key));
                if manifest.lines != at - 1 || manifest.sha256 != hex::encode(sha256.clone().finalize()) {
                    return Err(fault("the lines before are not those that were exported".into()));
                }
                ended = Some(at);
            }
            Line { .. } => return Err(fault("is no line of an evidence export".into())),
        }
        sha256.update(&line);
        sha256.update(b"\n");
    }
    let last = ended.ok_or_else(|| Fault { line: at, what: "the end is missing: no manifest".into() })?;
    verifier.finish(last)
}

// === impl Verifier ===

impl Verifier<'_> {
    fn open(&mut self, opening: Opening, at: u64) -> Result<Section, String> {
        if opening.sluice_evidence != 1 {
            return Err(format!("format {} is not known", opening.sluice_evidence));
        }
        let place = usize::try_from(self.sound.logs).unwrap_or(usize::MAX);
        if self.expected.is_empty() {
            self.expected.clone_from(&opening.logs);
        }
        if self.expected != opening.logs || self.expected.get(place) != Some(&opening.log) {
            return Err("a log is missing, or is not in its place".into());
        }
        self.sound.logs += 1;
        self.sound.whole &= opening.whole;
        let mut state = State::new(opening.log.as_str().into());
        if let Some(CutLine { checkpoint, roots }) = &opening.cut {
            let (checkpoint, key): (Checkpoint, _) =
                checkpoint.open(Purpose::Checkpoint).map_err(|what| format!("the cut's checkpoint: {what}"))?;
            let roots = roots.iter().map(|root| unhex(root)).collect::<Option<Vec<_>>>();
            let tree = roots.and_then(|roots| Tree::from_bytes(checkpoint.size, &roots.concat()));
            state.tree = tree.ok_or("the tree at the cut cannot be read")?;
            state.head = unhex(&checkpoint.head).ok_or("the head at the cut cannot be read")?;
            if !checkpoint.is_of(&state) {
                return Err("the log does not begin where its cut was signed".into());
            }
            self.signed_by.push((at, key));
            self.cuts.push((opening.log.clone(), checkpoint.size, at));
            self.sound.pruned += checkpoint.size;
        }
        let mut section = Section {
            begin: state.size(),
            next: state.size(),
            state,
            whole: opening.whole,
            proofs: Vec::new(),
            covered: false,
            met: 0,
            end: None,
        };
        self.meet(&mut section)?;
        Ok(section)
    }

    /// Holds the log against what was published of where it stands now.
    fn meet(&self, section: &mut Section) -> Result<(), String> {
        let (log, size) = (&*section.state.log, section.state.size());
        for published in self.published.iter().filter(|known| known.log == *log && known.size == size) {
            if !published.is_of(&section.state) {
                return Err("the log is not the one whose checkpoint was published".into());
            }
            section.met += 1;
        }
        Ok(())
    }

    fn record(&mut self, section: &mut Section, line: &RecordLine, at: u64) -> Result<(), String> {
        let bytes = line.record.get().as_bytes();
        let told: Told = serde_json::from_slice(bytes).map_err(|error| format!("the record is damaged: {error}"))?;
        if told.log != *section.state.log {
            return Err("the record is of another log".into());
        }
        match (section.whole, &line.head, &line.proof) {
            (true, Some(head), None) => {
                if told.seq != section.state.size() {
                    return Err(format!("record {} where {} belongs", told.seq, section.state.size()));
                }
                section.state.take(bytes);
                if *head != hex::encode(section.state.head) {
                    return Err(format!("record {} does not fit the chain", told.seq));
                }
                self.meet(section)?;
            }
            (false, None, Some(proof)) => {
                if told.seq < section.next {
                    return Err(format!("record {} is not in its place", told.seq));
                }
                section.next = told.seq + 1;
                let proof = proof.iter().map(|hash| unhex(hash)).collect::<Option<Vec<_>>>();
                let proof = proof.ok_or("the proof cannot be read")?;
                section.proofs.push((at, leaf(bytes), told.seq, proof));
            }
            _ => return Err("the record has not what its kind of export has".into()),
        }
        section.covered = false;
        if told.event == "key" {
            self.handover(&told)?;
        }
        if told.event == "pruned" {
            let cuts = told.note.as_ref().and_then(|note| note.get("cuts")?.as_object());
            let cuts = cuts.into_iter().flatten().filter_map(|(log, at)| Some((log.clone(), at.as_u64()?)));
            self.told_cuts.extend(cuts);
        }
        self.sound.records += 1;
        *self.sound.events.entry(told.event).or_default() += 1;
        self.sound.span = match self.sound.span {
            None => Some((told.at, told.at)),
            Some((from, to)) => Some((from.min(told.at), to.max(told.at))),
        };
        Ok(())
    }

    /// Takes a change of keys into account; whether somebody trusted vouches for it is seen at the end.
    fn handover(&mut self, told: &Told) -> Result<(), String> {
        let field = |name: &str| told.note.as_ref()?.get(name)?.as_str();
        let key = |name: &str| field(name).and_then(|text| text.parse::<PublicKey>().ok());
        let (Some(old), Some(new)) = (key("old"), key("new")) else {
            return Err("a change of keys without keys".into());
        };
        let text = format!("{}\n{new}", told.log);
        let signature = field("signature").and_then(|text| hex::decode(text).ok());
        let vouched = signature.is_some_and(|signature| old.verifies(Purpose::Handover, text.as_bytes(), &signature));
        self.handed.push((old, new, vouched));
        Ok(())
    }

    fn checkpoint(&mut self, section: &mut Section, signed: &Signed, at: u64) -> Result<(), Fault> {
        let fault = |line: u64, what: String| Fault { line, what };
        let (checkpoint, key): (Checkpoint, _) =
            signed.open(Purpose::Checkpoint).map_err(|what| fault(at, format!("checkpoint: {what}")))?;
        self.signed_by.push((at, key));
        self.sound.checkpoints += 1;
        if checkpoint.log != *section.state.log {
            return Err(fault(at, "the checkpoint is of another log".into()));
        }
        if section.whole {
            if !checkpoint.is_of(&section.state) {
                return Err(fault(at, "the records before are not those that the checkpoint was signed for".into()));
            }
        } else {
            let root = unhex(&checkpoint.root).ok_or_else(|| fault(at, "the root cannot be read".into()))?;
            for (line, leaf, place, proof) in section.proofs.drain(..) {
                if root_of(leaf, place, checkpoint.size, &proof) != Some(root) {
                    return Err(fault(line, format!("record {place} is not among those of the checkpoint")));
                }
            }
        }
        section.covered = true;
        section.end = Some(checkpoint);
        Ok(())
    }

    fn close(&mut self, section: Section) -> Result<(), String> {
        let Some(end) = section.end.filter(|_| section.covered) else {
            return Err("the records before have no checkpoint: the end of the log is missing".into());
        };
        let mut published = self.published.iter().filter(|published| published.log == end.log);
        if let Some(published) = published.clone().find(|published| published.size < section.begin) {
            return Err(format!(
                "records {} to {} are missing: the log was pruned after {} were published; what was archived of it has to \
                 reach the cut",
                published.size,
                section.begin - 1,
                published.size
            ));
        }
        if let Some(published) = published.clone().find(|published| published.size > end.size) {
            return Err(format!(
                "the log was cut off: {} records were published, {} are here",
                published.size, end.size
            ));
        }
        // A selection cannot show that the tree has grown out of the published one, only that it is no smaller.
        if section.whole && published.by_ref().count() > section.met {
            return Err("the published checkpoint is not among those of the log".into());
        }
        self.sound.ends.push(end);
        Ok(())
    }

    /// Whether everybody who signed can be trusted.
    fn finish(mut self, last: u64) -> Result<Sound, Fault> {
        if self.expected.len() as u64 != self.sound.logs {
            return Err(Fault { line: last, what: "a log is missing".into() });
        }
        if let Some((log, size, line)) =
            self.cuts.iter().find(|(log, size, _)| !self.told_cuts.contains(&(log.clone(), *size)))
        {
            let what = format!("log {log} begins at {size}, and no record says that it was pruned there");
            return Err(Fault { line: *line, what });
        }
        if self.published.iter().any(|published| !self.expected.contains(&published.log)) {
            return Err(Fault { line: last, what: "the published checkpoint is of another log".into() });
        }
        let final_key = self.signed_by.last().map(|(_, key)| *key);
        // Forwards: whom a trusted key handed over to.
        for (old, new, vouched) in &self.handed {
            if *vouched && self.trusted.contains(old) {
                self.trusted.insert(*new);
            }
        }
        // Backwards: the log that a trusted key has signed says who signed before.
        if final_key.is_some_and(|key| self.trusted.contains(&key)) {
            self.trusted.extend(self.handed.iter().map(|(old, _, _)| *old));
        }
        match self.signed_by.iter().find(|(_, key)| !self.trusted.contains(key)) {
            Some((line, key)) => Err(Fault { line: *line, what: format!("signed by {key}, which nobody vouches for") }),
            None => Ok(self.sound),
        }
    }
}

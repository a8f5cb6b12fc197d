//! The evidence log: what is exported verifies offline, and whatever is done to it is found.
#![expect(clippy::unwrap_used, reason = "tests")]

use policies::{ClassedBy, RequestId};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use router::audit::export::{Filter, export};
use router::audit::{Checkpoint, Entry, Event, Keys, PublicKey, Purpose, Signed, Signer, report, verify};
use router::ledger::{Durability, EvidenceRetention, Ledger, Payer};
use std::path::{Path, PathBuf};
use std::time::Duration;

struct Bench {
    _folder: tempfile::TempDir,
    ledger: Ledger,
    key_file: PathBuf,
}

impl Bench {
    fn open(folder: tempfile::TempDir) -> Self {
        let key_file = folder.path().join("evidence.key");
        let ledger = ledger(folder.path(), &key_file);
        Self { _folder: folder, ledger, key_file }
    }

    fn signer(&self) -> Signer {
        Signer::load_or_create(&self.key_file).unwrap()
    }

    fn public(&self) -> PublicKey {
        self.signer().public().unwrap()
    }

    /// Records of `count` requests, in commits of random sizes.
    async fn fill(&self, count: u64, rng: &mut ChaCha8Rng) {
        let mut left = count;
        while left > 0 {
            let some = rng.random_range(1..=left.min(40));
            self.ledger.evidence_later((0..some).map(|n| entry(left - n)).collect());
            self.ledger.checkpoint().await.unwrap();
            left -= some;
        }
    }

    fn exported(&self, filter: &Filter) -> Vec<u8> {
        let mut out = Vec::new();
        export(&self.ledger, &self.signer(), filter, &mut out).unwrap();
        out
    }

    fn verified(&self, export: &[u8]) -> Result<verify::Sound, verify::Fault> {
        verify::verify(export, self.public(), &[])
    }
}

fn ledger(folder: &Path, key_file: &Path) -> Ledger {
    let keys = Keys::open(key_file).unwrap();
    Ledger::start_with(folder.join("l.db"), Durability::Process, Some(keys)).unwrap().0
}

fn bench() -> Bench {
    Bench::open(tempfile::tempdir().unwrap())
}

fn entry(n: u64) -> Entry {
    let event = if n.is_multiple_of(3) { Event::Refused } else { Event::Dial };
    Entry {
        request: Some(RequestId::from(format!("r{n}"))),
        attempt: Some(1),
        payer: Payer { user: Some(format!("user-{}", n % 5)), ..Payer::default() },
        class: Some("restricted".into()),
        class_by: Some(ClassedBy::Content),
        rule: (event == Event::Refused).then(|| "data class `restricted` may not go to a hosted provider".into()),
        content: Some([n as u8; 32]),
        ..Entry::new(event, 1_700_000_000_000_000 + i64::try_from(n).unwrap())
    }
}

fn lines(export: &[u8]) -> Vec<String> {
    std::str::from_utf8(export).unwrap().lines().map(str::to_owned).collect()
}

fn joined(lines: &[String]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
}

#[tokio::test]
async fn an_untouched_export_verifies_with_the_public_key_alone_and_with_no_other() {
    let (bench, mut rng) = (bench(), ChaCha8Rng::seed_from_u64(1));
    bench.fill(500, &mut rng).await;
    let export = bench.exported(&Filter::default());
    let sound = bench.verified(&export).unwrap();
    assert_eq!((sound.records, sound.logs, sound.whole), (501, 1, true), "the log's own first record, too");
    assert!(sound.checkpoints > 10 && sound.events["dial"] + sound.events["refused"] == 500);
    let stranger = Signer::load_or_create(&bench.key_file.with_extension("other")).unwrap().public().unwrap();
    assert!(verify::verify(export.as_slice(), stranger, &[]).is_err());
}

/// Something that somebody who wants to hide a record might do to an export.
fn altered(lines: &[String], rng: &mut ChaCha8Rng) -> (&'static str, Vec<u8>) {
    let mut lines = lines.to_vec();
    let records: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with(r#"{"record""#)).collect();
    let at = *records.choose(rng).unwrap();
    let what = match rng.random_range(0..8) {
        0 => {
            lines.remove(at);
            "dropped"
        }
        1 => {
            let copy = lines[at].clone();
            lines.insert(at, copy);
            "doubled"
        }
        2 => {
            let other = *records.choose(rng).unwrap();
            if lines[at] == lines[other] {
                return altered(&lines, rng);
            }
            lines.swap(at, other);
            "moved"
        }
        3 => {
            lines[at] = lines[at].replacen("restricted", "public", 1);
            if !lines[at].contains("public") {
                return altered(&lines, rng);
            }
            "another class"
        }
        4 => {
            lines.truncate(at);
            "cut off"
        }
        5 => {
            let forged = lines[at].replacen(r#""seq":"#, r#""forged":true,"seq":"#, 1);
            lines.insert(at + 1, forged);
            "inserted"
        }
        _ => {
            let mut bytes = joined(&lines);
            let (place, bit) = (rng.random_range(0..bytes.len()), rng.random_range(0..8));
            bytes[place] ^= 1 << bit;
            return ("one bit", bytes);
        }
    };
    (what, joined(&lines))
}

#[tokio::test]
async fn every_one_of_a_thousand_alterations_is_found() {
    let (bench, mut rng) = (bench(), ChaCha8Rng::seed_from_u64(2));
    bench.fill(120, &mut rng).await;
    let selection = Filter { user: Some("user-2".into()), ..Filter::default() };
    for (filter, rounds) in [(Filter::default(), 700), (selection, 300)] {
        let export = bench.exported(&filter);
        bench.verified(&export).unwrap();
        let lines = lines(&export);
        for round in 0..rounds {
            let (what, bytes) = altered(&lines, &mut rng);
            // An empty last line is the same file to every reader.
            assert!(bytes == export || bench.verified(&bytes).is_err(), "round {round}: {what} was not found");
        }
    }
}

#[tokio::test]
async fn a_whole_log_that_is_rewritten_without_the_key_is_found() {
    let (bench, other, mut rng) = (bench(), bench(), ChaCha8Rng::seed_from_u64(3));
    bench.fill(50, &mut rng).await;
    other.fill(50, &mut rng).await;
    assert!(bench.verified(&other.exported(&Filter::default())).is_err());
}

#[tokio::test]
async fn an_end_that_was_cut_off_is_found_with_a_published_checkpoint() {
    let (bench, mut rng) = (bench(), ChaCha8Rng::seed_from_u64(4));
    bench.fill(60, &mut rng).await;
    let earlier = bench.exported(&Filter::default());
    bench.fill(40, &mut rng).await;
    let log = bench.ledger.evidence_logs().unwrap().remove(0);
    let kept = bench.ledger.checkpoints(&log).unwrap().pop().unwrap();
    let (published, _): (Checkpoint, _) =
        serde_json::from_str::<Signed>(&kept.line).unwrap().open(Purpose::Checkpoint).unwrap();
    // The earlier export is what a gateway would give that has thrown the newest records away.
    bench.verified(&earlier).unwrap();
    let fault = verify::verify(earlier.as_slice(), bench.public(), std::slice::from_ref(&published)).unwrap_err();
    assert!(fault.what.contains("cut off"), "{fault}");
    let later = bench.exported(&Filter::default());
    verify::verify(later.as_slice(), bench.public(), std::slice::from_ref(&published)).unwrap();
}

#[tokio::test]
async fn a_selection_holds_the_records_of_its_subject_and_what_vouches_for_them() {
    let (bench, mut rng) = (bench(), ChaCha8Rng::seed_from_u64(5));
    bench.fill(100, &mut rng).await;
    let filter = Filter { user: Some("user-3".into()), ..Filter::default() };
    let export = bench.exported(&filter);
    let sound = bench.verified(&export).unwrap();
    assert_eq!((sound.records, sound.whole), (21, false), "20 of the subject, and the log's first");
    let others =
        lines(&export).iter().filter(|line| line.contains("\"user\":\"user-") && !line.contains("user-3")).count();
    // The filter itself is in the head.
    assert_eq!(others, 0);
}

#[tokio::test]
async fn a_restart_goes_on_with_the_same_log_and_a_change_of_keys_is_vouched_for() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut rng) = (folder.path().to_owned(), ChaCha8Rng::seed_from_u64(6));
    let first = Bench::open(folder);
    first.fill(30, &mut rng).await;
    let old = first.public();
    first.ledger.shutdown().await.unwrap();
    Signer::rotate(&first.key_file).unwrap();
    let again = ledger(&path, &first.key_file);
    let bench = Bench { ledger: again, ..first };
    bench.fill(30, &mut rng).await;
    let new = bench.public();
    assert_ne!(old, new);
    let export = bench.exported(&Filter::default());
    for key in [old, new] {
        let sound = verify::verify(export.as_slice(), key, &[]).unwrap();
        assert_eq!((sound.records, sound.logs, sound.events["key"]), (62, 1, 1), "{key}");
    }
    // A key that nobody handed over to: the file was replaced by a fresh one.
    bench.ledger.shutdown().await.unwrap();
    std::fs::remove_file(&bench.key_file).unwrap();
    let bench = Bench { ledger: ledger(&path, &bench.key_file), ..bench };
    let export = bench.exported(&Filter::default());
    assert!(verify::verify(export.as_slice(), old, &[]).is_err(), "the old key does not vouch for it");
}

#[tokio::test]
async fn two_programs_on_one_ledger_do_not_fork_the_log() {
    let (bench, mut rng) = (bench(), ChaCha8Rng::seed_from_u64(7));
    let beside = ledger(bench._folder.path(), &bench.key_file);
    for round in 0..20 {
        let which = if round % 2 == 0 { &bench.ledger } else { &beside };
        which.evidence_later(vec![entry(round)]);
        which.checkpoint().await.unwrap();
    }
    bench.fill(5, &mut rng).await;
    assert_eq!(bench.verified(&bench.exported(&Filter::default())).unwrap().records, 26);
}

#[tokio::test]
async fn a_report_is_signed_and_says_what_was_refused() {
    let (bench, mut rng) = (bench(), ChaCha8Rng::seed_from_u64(8));
    bench.fill(30, &mut rng).await;
    let page = report::report(&bench.ledger, &bench.signer(), &Filter::default()).unwrap();
    assert!(page.contains("10 times a model was not asked") && page.contains("restricted"));
    report::verify(page.as_bytes(), bench.public()).unwrap();
    assert!(report::verify(page.replacen("10 times a", "0 times a", 1).as_bytes(), bench.public()).is_err());
    assert!(report::verify(format!("{page}<p>more</p>").as_bytes(), bench.public()).is_err());
}

/// A log whose beginning was pruned, by size, and what was exported before.
async fn pruned(seed: u64, half: u64) -> (Bench, Vec<u8>) {
    let (bench, mut rng) = (bench(), ChaCha8Rng::seed_from_u64(seed));
    bench.fill(half, &mut rng).await;
    let archive = bench.exported(&Filter::default());
    bench.fill(half, &mut rng).await;
    let size = bench.exported(&Filter::default()).len() as u64;
    bench.ledger.prune_evidence(EvidenceRetention { age: None, bytes: Some(size / 2) }).await.unwrap();
    bench.fill(20, &mut rng).await;
    (bench, archive)
}

#[tokio::test]
async fn what_pruning_leaves_is_gap_free_from_the_cut_and_an_archive_joins_on() {
    let (bench, archive) = pruned(9, 150).await;
    let log = bench.ledger.evidence_logs().unwrap().remove(0);
    let cut = bench.ledger.evidence_cut(&log).unwrap().unwrap().state.size();
    let rest = bench.exported(&Filter::default());
    let sound = bench.verified(&rest).unwrap();
    // The log's own first record, and the one that tells of the cut.
    assert_eq!((sound.pruned, sound.records + sound.pruned, sound.whole), (cut, 322, true));
    assert!((1..=150).contains(&cut) && sound.events["pruned"] == 1, "cut at {cut}");
    let ends = bench.verified(&archive).unwrap().ends;
    assert_eq!(ends[0].size, 151);
    verify::verify(rest.as_slice(), bench.public(), &ends).unwrap();
    // A selection proves its records against the tree, of which only roots are left.
    let filter = Filter { user: Some("user-3".into()), ..Filter::default() };
    let sound = bench.verified(&bench.exported(&filter)).unwrap();
    assert!(sound.records > 30 && !sound.whole);
    let page = report::report(&bench.ledger, &bench.signer(), &Filter::default()).unwrap();
    assert!(page.contains(&format!("{cut} earlier records were pruned")));

    // Pruned beyond what was archived: the two do not meet.
    bench.fill(60, &mut ChaCha8Rng::seed_from_u64(10)).await;
    bench.ledger.prune_evidence(EvidenceRetention { age: None, bytes: Some(4_000) }).await.unwrap();
    let rest = bench.exported(&Filter::default());
    bench.verified(&rest).unwrap();
    let fault = verify::verify(rest.as_slice(), bench.public(), &ends).unwrap_err();
    assert!(fault.what.starts_with("records 151 to "), "{fault}");
    // Nothing more to prune: nothing more on record.
    bench.ledger.prune_evidence(EvidenceRetention { age: None, bytes: Some(1 << 20) }).await.unwrap();
    assert_eq!(lines(&bench.exported(&Filter::default())).len(), lines(&rest).len());
}

#[tokio::test]
async fn every_one_of_a_thousand_alterations_of_a_pruned_log_is_found() {
    let (bench, _) = pruned(11, 50).await;
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let selection = Filter { user: Some("user-2".into()), ..Filter::default() };
    for (filter, rounds) in [(Filter::default(), 700), (selection, 300)] {
        let export = bench.exported(&filter);
        bench.verified(&export).unwrap();
        let lines = lines(&export);
        for round in 0..rounds {
            let (what, bytes) = altered(&lines, &mut rng);
            assert!(bytes == export || bench.verified(&bytes).is_err(), "round {round}: {what} was not found");
        }
    }
}

#[tokio::test]
async fn a_beginning_that_goes_without_a_record_is_found_also_with_the_key() {
    let (bench, mut rng) = (bench(), ChaCha8Rng::seed_from_u64(13));
    bench.fill(80, &mut rng).await;
    bench.ledger.shutdown().await.unwrap();
    let database = rusqlite::Connection::open(bench._folder.path().join("l.db")).unwrap();
    let cut: i64 =
        database.query_row("SELECT max(size) FROM checkpoints WHERE size < 60", [], |row| row.get(0)).unwrap();
    database.execute("DELETE FROM evidence WHERE first < ?1", [cut]).unwrap();
    database.execute("DELETE FROM checkpoints WHERE size < ?1", [cut]).unwrap();
    let fault = bench.verified(&bench.exported(&Filter::default())).unwrap_err();
    assert!(fault.what.contains("no record says that it was pruned there"), "{fault}");
}

#[tokio::test]
async fn pruning_by_age_leaves_the_newest_and_a_restart_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut rng) = (folder.path().to_owned(), ChaCha8Rng::seed_from_u64(14));
    let first = Bench::open(folder);
    first.fill(50, &mut rng).await;
    let young = EvidenceRetention { age: Some(Duration::from_secs(3_600)), bytes: None };
    first.ledger.prune_evidence(young).await.unwrap();
    assert_eq!(first.verified(&first.exported(&Filter::default())).unwrap().pruned, 0);
    first.ledger.prune_evidence(EvidenceRetention { age: Some(Duration::ZERO), bytes: None }).await.unwrap();
    let pruned = first.verified(&first.exported(&Filter::default())).unwrap().pruned;
    assert!((11..51).contains(&pruned), "{pruned}");
    first.ledger.shutdown().await.unwrap();
    let bench = Bench { ledger: ledger(&path, &first.key_file), ..first };
    bench.fill(10, &mut rng).await;
    let sound = bench.verified(&bench.exported(&Filter::default())).unwrap();
    assert_eq!((sound.pruned, sound.records + pruned), (pruned, 62));
}

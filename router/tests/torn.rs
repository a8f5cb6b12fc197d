//! A ledger whose files were cut or turned as a crash leaves them: what is read is what was written, up to some commit, and
//! never anything else (reliability test 25).
//!
//! The store is SQLite; its log of changes (the `-wal` file) has checksums, so damage ends it at the frame before. The file
//! itself has none: a turned bit there is found by its structure or by the evidence log, and must not end the process.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use router::ledger::{AttemptOpen, Durability, GroupBy, Ledger};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

mod lines;

const LINES: u64 = 60;

/// Its cost tells which line it is.
fn cost(number: u64) -> u64 {
    1_000 + number
}

fn open(number: u64) -> AttemptOpen {
    lines::open(&format!("r{number:04}"), 1_700_000_000_000_000)
}

/// File and log of a ledger as `kill -9` leaves them, with [`LINES`] lines, each a commit of its own.
async fn crashed(folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let path = folder.join("l.db");
    let (ledger, _) = Ledger::start(path.clone(), Durability::Process).unwrap();
    for number in 0..LINES {
        ledger.open(open(number).into()).await.unwrap();
        let end = lines::closed(open(number), 1_700_000_000_000_001, cost(number));
        ledger.close(end, None).await.unwrap();
    }
    let read = |more: &str| std::fs::read(folder.join(format!("l.db{more}"))).unwrap();
    (read(""), read("-wal"))
}

/// What a ledger with these files says it spent, and of how many lines; `None`: it refuses to start.
fn recovered(file: &[u8], log: &[u8]) -> Option<(u64, u64)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    std::fs::write(&path, file).unwrap();
    std::fs::write(folder.path().join("l.db-wal"), log).unwrap();
    let started = catch_unwind(AssertUnwindSafe(|| Ledger::start(path, Durability::Process)));
    let ledger = started.expect("damage is no panic").ok()?.0;
    let table = catch_unwind(AssertUnwindSafe(|| ledger.spend(GroupBy::Model, 0, i64::MAX))).expect("no panic").ok()?;
    Some((table.total.requests, table.total.cost_usd.0))
}

/// Sums that a prefix of the commits can have: some lines closed, and perhaps the next one open, charged at its ceiling.
fn prefixes() -> Vec<(u64, u64)> {
    let mut all = vec![(0, 0)];
    let mut sum = 0;
    for number in 0..LINES {
        all.push((number + 1, sum + lines::CEILING));
        sum += cost(number);
        all.push((number + 1, sum));
    }
    all
}

/// As many places as the size of the run allows: a prime step, so that no period of the file is missed.
fn places(length: usize) -> impl Iterator<Item = usize> {
    let full = std::env::var_os("SLUICE_TEST_SIZE").is_some_and(|size| size == "full");
    (0..length).step_by(if full { 101 } else { 4_099 })
}

#[tokio::test]
async fn a_log_that_was_cut_anywhere_gives_a_prefix_of_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let (file, log) = crashed(folder.path()).await;
    let prefixes = prefixes();
    assert_eq!(recovered(&file, &log).as_ref(), prefixes.last(), "nothing is missing from an undamaged one");
    let mut met = std::collections::BTreeSet::new();
    for at in places(log.len()) {
        // Where not even the tables are there yet, a new ledger begins.
        let found = recovered(&file, &log[..at]).expect("a cut log is no reason not to start");
        assert!(prefixes.contains(&found), "cut at {at}: {found:?}");
        met.insert(found);
    }
    assert!(met.len() > 5, "cuts differ in what they leave: {met:?}");
}

#[tokio::test]
async fn a_bit_that_turned_in_the_log_ends_it_there_and_makes_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let (file, log) = crashed(folder.path()).await;
    let prefixes = prefixes();
    for at in places(log.len()) {
        let mut turned = log.clone();
        turned[at] ^= 1 << (at % 8);
        let found = recovered(&file, &turned).expect("a damaged log is no reason not to start");
        assert!(prefixes.contains(&found), "turned at {at}: {found:?}");
    }
}

#[tokio::test]
async fn a_bit_that_turned_in_the_file_ends_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::start(folder.path().join("l.db"), Durability::Process).unwrap();
    for number in 0..LINES {
        ledger.close(lines::closed(open(number), 1_700_000_000_000_001, cost(number)), None).await.unwrap();
    }
    ledger.shutdown().await.unwrap();
    let file = std::fs::read(folder.path().join("l.db")).unwrap();
    for at in places(file.len()) {
        let mut turned = file.clone();
        turned[at] ^= 1 << (at % 8);
        // Refused, or read: either is an answer.
        recovered(&turned, &[]);
        recovered(&file[..at], &[]);
    }
}

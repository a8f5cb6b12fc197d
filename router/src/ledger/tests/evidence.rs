//! Pruning of the evidence log, on both stores.

use super::*;
use crate::audit::export::{Filter, export};
use crate::audit::{Entry, Event, Signer, report, verify};
use std::sync::atomic::{AtomicBool, Ordering};

on_both_stores! {
    what_pruning_by_age_leaves_is_proven_and_a_restart_goes_on;
    an_archive_joins_on_where_the_log_was_cut;
    whoever_reads_while_it_is_pruned_sees_a_log_that_begins_at_its_cut;
}

const ALL: EvidenceRetention = EvidenceRetention { age: Some(Duration::ZERO), bytes: None };

/// Records of so many requests, a commit and a checkpoint for every ten.
async fn fill(ledger: &Ledger, count: u64) {
    let entries: Vec<Entry> = (0..count)
        .map(|n| Entry { request: Some(format!("r{n}").into()), ..Entry::new(Event::Refused, n as i64 + 1) })
        .collect();
    for some in entries.chunks(10) {
        ledger.evidence_later(some.to_vec());
        ledger.checkpoint().await.unwrap();
    }
}

fn exported(ledger: &Ledger, signer: &Signer) -> Vec<u8> {
    let mut out = Vec::new();
    export(ledger, signer, &Filter::default(), &mut out).unwrap();
    out
}

fn verified(ledger: &Ledger, signer: &Signer) -> verify::Sound {
    verify::verify(exported(ledger, signer).as_slice(), signer.public().unwrap(), &[]).unwrap()
}

async fn what_pruning_by_age_leaves_is_proven_and_a_restart_goes_on(bed: Bed) {
    let (ledger, signer) = bed.start_audited();
    fill(&ledger, 50).await;
    ledger.prune_evidence(EvidenceRetention { age: Some(Duration::from_secs(3_600)), bytes: None }).await.unwrap();
    let sound = verified(&ledger, &signer);
    assert_eq!((sound.records, sound.pruned), (51, 0), "nothing is old, and the log's own first record is there");
    // By size only a file is pruned.
    ledger.prune_evidence(EvidenceRetention { age: None, bytes: Some(1) }).await.unwrap();
    let by_size = verified(&ledger, &signer);
    assert_eq!(by_size.pruned > 0, !ledger.is_shared(), "{by_size:?}");
    ledger.prune_evidence(ALL).await.unwrap();
    let sound = verified(&ledger, &signer);
    let prunes = if ledger.is_shared() { 1 } else { 2 };
    assert!((11..=51).contains(&sound.pruned), "{sound:?}");
    assert_eq!(sound.records + sound.pruned, 51 + prunes, "each cut is on record: {sound:?}");
    ledger.shutdown().await.unwrap();
    drop(ledger);

    let (again, signer) = bed.start_audited();
    fill(&again, 20).await;
    let logs = again.evidence_logs().unwrap().len() as u64;
    let sound = verified(&again, &signer);
    assert_eq!((sound.logs, sound.whole), (logs, true));
    // On a server each life has a log of its own, and one prunes them all.
    assert_eq!(logs, if again.is_shared() { 2 } else { 1 });
    again.prune_evidence(ALL).await.unwrap();
    let pruned = verified(&again, &signer);
    assert!(pruned.pruned > sound.pruned && pruned.logs == logs, "{pruned:?}");
    for log in again.evidence_logs().unwrap() {
        let begin = again.evidence_cut(&log).unwrap().unwrap().state.size();
        assert_eq!(again.evidence(&log, 0).unwrap().0, begin, "{log}");
    }
    let page = report::report(&again, &signer, &Filter::default()).unwrap();
    assert!(page.contains(&format!("{} earlier records were pruned", pruned.pruned)));
}

async fn an_archive_joins_on_where_the_log_was_cut(bed: Bed) {
    let (ledger, signer) = bed.start_audited();
    fill(&ledger, 40).await;
    let key = signer.public().unwrap();
    let archive = verify::verify(exported(&ledger, &signer).as_slice(), key, &[]).unwrap();
    ledger.prune_evidence(ALL).await.unwrap();
    fill(&ledger, 20).await;
    let rest = exported(&ledger, &signer);
    verify::verify(rest.as_slice(), key, &archive.ends).unwrap();
    // Cut again, beyond what was archived.
    ledger.prune_evidence(ALL).await.unwrap();
    let fault = verify::verify(exported(&ledger, &signer).as_slice(), key, &archive.ends).unwrap_err();
    assert!(fault.what.starts_with("records "), "{fault}");
}

async fn whoever_reads_while_it_is_pruned_sees_a_log_that_begins_at_its_cut(bed: Bed) {
    let (ledger, _) = bed.start_audited();
    let log = ledger.evidence_log().unwrap().to_owned();
    let (reader, over) = (bed.attach(), Arc::new(AtomicBool::new(false)));
    let reading = {
        let (log, over) = (log.clone(), over.clone());
        std::thread::spawn(move || {
            let (mut looks, mut cuts) = (0_u32, std::collections::BTreeSet::new());
            while !over.load(Ordering::Relaxed) || cuts.is_empty() {
                let cut = reader.evidence_cut(&log).unwrap();
                cuts.extend(cut.map(|cut| cut.state.size()));
                looks += 1;
            }
            (looks, cuts.len())
        })
    };
    for _ in 0..ROUNDS {
        fill(&ledger, 20).await;
        ledger.prune_evidence(ALL).await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let (looks, cuts) = reading.join().unwrap();
    assert!(looks > 0 && cuts > 0);
}

/// How often it is pruned while somebody reads.
const ROUNDS: usize = 200;

//! What a disk that refuses or says nothing, and a panic of the writer, do to lines. The real binary over a disk that fails is in
//! `tests/blackbox/disk.rs`.

use super::{attempt, closed, find};
use crate::ledger::bed::{Bed, on_both_stores};
use crate::ledger::late::Late;
use crate::ledger::stall::Stall;
use crate::ledger::writer::Op;
use crate::ledger::{Durability, GroupBy, LedgerError, Place, RequestRecord, schema};
use std::time::Duration;

on_both_stores! {
    a_panic_while_writing_costs_its_group_and_not_the_ledger;
}

async fn a_panic_while_writing_costs_its_group_and_not_the_ledger(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    for n in 0..5 {
        let id = format!("r{n}");
        ledger.open(attempt(&id, 1)).await.unwrap();
        let ended = ledger.writer.commit(Op::Panic).await;
        assert!(matches!(ended, Err(LedgerError::Database(_))) && !ledger.healthy(), "{ended:?}");
        ledger.close(closed(attempt(&id, 1), 7), None).await.unwrap();
        assert!(ledger.healthy());
    }
    let total = super::all(&ledger, GroupBy::Day).total;
    assert_eq!((total.requests, total.cost_usd.0), (5, 35));
    assert!(ledger.verify().unwrap().is_empty());
}

#[test]
fn what_the_disk_refuses_waits_on_also_where_the_next_line_would_fit() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = Place::from(folder.path().join("l.db")).connect().unwrap();
    schema::migrate(&mut db).unwrap();
    let large = RequestRecord { record: "x".repeat(1 << 20), ..find::request("large", 1, "asked") };
    let waiting = [large, find::request("small", 2, "asked")].map(|record| (Op::Request(Box::new(record)), None));
    let mut late = Late::default();
    late.keep(waiting.into());
    let pages: i64 = db.one("PRAGMA page_count", &[], |row| row.get(0)).unwrap();
    let may_grow_to = |pages: i64| format!("PRAGMA max_page_count = {pages}");
    db.query(&may_grow_to(pages + 20), &[], |_| Ok(())).unwrap();
    late.write(&mut db, None);
    db.query(&may_grow_to(pages + 10_000), &[], |_| Ok(())).unwrap();
    late.write(&mut db, None);
    let there = db.query("SELECT id FROM requests ORDER BY id", &[], |row| row.get::<String>(0)).unwrap();
    assert_eq!(there, ["large", "small"]);
}

#[tokio::test(start_paused = true)]
async fn a_group_is_stuck_from_when_it_began_until_it_ends() {
    let (stall, second) = (Stall::default(), Duration::from_secs(1));
    assert!(!stall.is_longer_than(Duration::ZERO), "nothing is under way");
    tokio::time::advance(10 * second).await;
    stall.begins();
    tokio::time::advance(second).await;
    assert!(!stall.is_longer_than(second));
    tokio::time::advance(second).await;
    assert!(stall.is_longer_than(second) && !stall.is_longer_than(3 * second));
    stall.ends();
    assert!(!stall.is_longer_than(Duration::ZERO));
}

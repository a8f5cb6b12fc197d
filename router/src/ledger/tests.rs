//! What the ledger keeps through restarts, races and repeats.

use super::bed::{Bed, on_both_stores};
use super::*;
use crate::lines;
use policies::{Counted, NanoDollars, Usage};

mod arms;
mod disk;
mod evidence;
mod find;
mod hours;
pub(super) mod learning;
mod model;
mod placed;
mod recorded;
mod series;
mod servers;

on_both_stores! {
    a_line_is_written_once_however_often_it_is_closed;
    what_was_running_when_the_process_died_is_charged_at_its_ceiling;
    concurrent_lines_are_all_there;
    an_end_that_could_not_be_written_is_written_when_it_can_be;
    a_late_record_takes_no_newer_ones_place_and_adds_what_it_alone_knows;
    old_lines_go_and_the_file_keeps_its_size;
    what_a_local_machine_costs_stands_beside_what_was_spent_and_unknown_is_not_zero;
}

fn attempt(request: &str, number: u32) -> Arc<AttemptOpen> {
    Arc::new(AttemptOpen {
        attempt: number,
        payer: Payer { tags: vec![("job".into(), "a".into()), ("x".into(), "y".into())], ..Payer::default() },
        ceiling: Some(NanoDollars(9_000)),
        ceiling_tokens: None,
        ..lines::open(request, now())
    })
}

fn closed(open: Arc<AttemptOpen>, cost: u64) -> AttemptClose {
    lines::closed(open, now(), cost)
}

fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

fn all(ledger: &Ledger, by: GroupBy) -> SpendTable {
    ledger.spend(by, 0, i64::MAX).unwrap()
}

async fn a_line_is_written_once_however_often_it_is_closed(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Disk);
    ledger.open(attempt("r", 1)).await.unwrap();
    assert_eq!(all(&ledger, GroupBy::Model).total.requests, 0, "a running attempt is not spend");
    for cost in [50, 50, 70] {
        ledger.close(closed(attempt("r", 1), cost), None).await.unwrap();
    }
    let table = all(&ledger, GroupBy::Tag);
    assert_eq!((table.total.requests, table.total.cost_usd.0, table.rows.len()), (1, 50, 2));
    assert_eq!(table.rows[0].group.as_deref(), Some("job=a"));
    assert!(ledger.verify().unwrap().is_empty());
}

async fn what_was_running_when_the_process_died_is_charged_at_its_ceiling(bed: Bed) {
    {
        let (ledger, _) = bed.start(Durability::Process);
        ledger.open(attempt("r", 1)).await.unwrap();
        ledger.shutdown().await.unwrap();
        assert!(matches!(ledger.open(attempt("r", 2)).await, Err(LedgerError::Closed)));
    }
    let (ledger, recovered) = bed.start(Durability::Process);
    assert_eq!((recovered, all(&ledger, GroupBy::Route).total.cost_usd.0), (1, 9_000));
    assert!(ledger.verify().unwrap().is_empty());
}

async fn concurrent_lines_are_all_there(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    let lines = (0..500).map(|n| {
        let ledger = ledger.clone();
        async move {
            let id = format!("r{n}");
            ledger.open(attempt(&id, 1)).await.unwrap();
            ledger.close(closed(attempt(&id, 1), 7), None).await.unwrap();
        }
    });
    futures::future::join_all(lines).await;
    let total = all(&ledger, GroupBy::Day).total;
    assert_eq!((total.requests, total.cost_usd.0, total.output_tokens), (500, 3_500, 10_000));
}

async fn an_end_that_could_not_be_written_is_written_when_it_can_be(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    for request in ["waits", "left"] {
        ledger.open(attempt(request, 1)).await.unwrap();
    }
    bed.run("ALTER TABLE attempts RENAME TO away");
    ledger.close_later(closed(attempt("left", 1), 20), None);
    assert!(ledger.close(closed(attempt("waits", 1), 50), None).await.is_err());
    assert!(ledger.open(attempt("more", 1)).await.is_err() && !ledger.healthy());
    assert_eq!(ledger.late(), 2, "what was refused does not wait");
    bed.run("ALTER TABLE away RENAME TO attempts");
    // As the gateway does every second; what is late is written after whoever waits has his answer, so before the second.
    for _ in 0..2 {
        ledger.beat().await.unwrap();
    }
    let total = all(&ledger, GroupBy::Model).total;
    assert_eq!((total.requests, total.cost_usd.0), (2, 70), "what ran meanwhile; what was refused is not there");
    assert!(ledger.healthy() && ledger.verify().unwrap().is_empty());
    assert_eq!(ledger.late(), 0);
}

async fn a_late_record_takes_no_newer_ones_place_and_adds_what_it_alone_knows(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    let answered = |id: &str| {
        let judgement = learning::judgement(0.25, policies::Location::Hosted, false);
        RequestRecord { status: 200, judgement: Some(Box::new(judgement)), ..find::request(id, 1, "asked") }
    };
    let refused = |id: &str| RequestRecord { status: 503, ..find::request(id, 1, "ledger_unavailable") };
    for id in ["newer", "older", "both"] {
        ledger.open(attempt(id, 1)).await.unwrap();
    }
    bed.run("ALTER TABLE attempts RENAME TO away");
    assert!(ledger.close(closed(attempt("newer", 1), 50), Some(answered("newer"))).await.is_err());
    assert!(ledger.close(closed(attempt("both", 1), 50), Some(answered("both"))).await.is_err());
    // In a group that cannot be written, too.
    ledger.refused_later(refused("both"));
    assert!(ledger.close(closed(attempt("older", 1), 50), Some(answered("older"))).await.is_err());
    bed.run("ALTER TABLE away RENAME TO attempts");
    // The client was told, which is the first that can be written again.
    ledger.refused_later(refused("newer"));
    for _ in 0..2 {
        ledger.prune(Retention { age: Duration::MAX, bytes: u64::MAX }).await.unwrap();
    }
    for (id, status) in [("newer", 503), ("both", 503), ("older", 200)] {
        let shown = ledger.request(id).unwrap().unwrap();
        assert_eq!(shown["status"], status, "{id}");
        assert!(shown["judgement"]["score"].is_number() && shown["attempt_log"][0]["outcome"] == "ok", "{shown}");
    }
    assert_eq!(all(&ledger, GroupBy::Model).total.cost_usd.0, 150);
}

async fn old_lines_go_and_the_file_keeps_its_size(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    for n in 0..200 {
        ledger.close_later(
            closed(Arc::new(AttemptOpen { at_us: n, ..(*attempt(&format!("r{n}"), 1)).clone() }), 1),
            None,
        );
    }
    ledger.close(closed(attempt("new", 1), 1), None).await.unwrap();
    let day = Duration::from_secs(86_400);
    ledger.prune(Retention { age: day, bytes: u64::MAX }).await.unwrap();
    assert_eq!(all(&ledger, GroupBy::Day).total.requests, 1);
    ledger.prune(Retention { age: day, bytes: 1 }).await.unwrap();
    // A server's size is its keeper's business: nothing goes for it.
    assert_eq!(all(&ledger, GroupBy::Day).total.requests, u64::from(ledger.is_shared()));
}

#[test]
fn a_newer_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    drop(Ledger::start(&path, Durability::Process).unwrap());
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Ledger::start(&path, Durability::Process), Err(LedgerError::Newer { found: 99, .. })));
}

#[test]
fn a_ledger_of_the_version_before_gets_the_new_tables_and_keeps_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    let before = rusqlite::Connection::open(&path).unwrap();
    for step in &schema::MIGRATIONS[..2] {
        before.execute_batch(step).unwrap();
    }
    before.pragma_update(None, "user_version", 2).unwrap();
    let line = "INSERT INTO requests (id, at_us, endpoint, asked, class, status, attempts, record) \
                VALUES ('r', 1, 'chat', 'auto', 'internal', 200, 1, '{}')";
    before.execute(line, []).unwrap();
    drop(before);
    let (ledger, _) = Ledger::start(&path, Durability::Process).unwrap();
    assert!(ledger.knows("r").unwrap() && ledger.judged(10).unwrap().is_empty());
    assert!(ledger.request("r").unwrap().unwrap()["labels"].as_array().unwrap().is_empty());
}

async fn what_a_local_machine_costs_stands_beside_what_was_spent_and_unknown_is_not_zero(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    let line = |id: &str, model: &str, local_cost: Option<u64>| {
        let open = AttemptOpen {
            model: model.into(),
            route: "local",
            price: None,
            price_source: "in_process".into(),
            ..(*attempt(id, 1)).clone()
        };
        AttemptClose { local_cost: local_cost.map(NanoDollars), ..closed(Arc::new(open), 0) }
    };
    ledger.close(closed(attempt("h", 1), 70), None).await.unwrap();
    ledger.close(line("a", "known", Some(30)), None).await.unwrap();
    ledger.close(line("b", "known", Some(5)), None).await.unwrap();
    ledger.close(line("c", "unknown", None), None).await.unwrap();
    let table = all(&ledger, GroupBy::Model);
    let of = |model: &str| table.rows.iter().find(|row| row.group.as_deref() == Some(model)).cloned().unwrap();
    let seen = |row: &SpendRow| (row.cost_usd.0, row.local_cost_usd.map(|cost| cost.0), row.local_cost_unknown);
    assert_eq!(seen(&of("big")), (70, None, 0), "nobody's machine");
    assert_eq!(seen(&of("known")), (0, Some(35), 0));
    assert_eq!(seen(&of("unknown")), (0, None, 1));
    assert_eq!(seen(&table.total), (70, Some(35), 1));
    assert!(ledger.verify().unwrap().is_empty());
}

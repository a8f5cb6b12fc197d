//! What the ledger keeps through restarts, races and repeats.

use super::*;
use policies::{Counted, NanoDollars, Price, Rate, Usage};

fn attempt(request: &str, number: u32) -> Arc<AttemptOpen> {
    Arc::new(AttemptOpen {
        request: request.into(),
        attempt: number,
        at_us: jiff::Timestamp::now().as_microsecond(),
        purpose: "answer",
        payer: Payer { tags: vec![("job".into(), "a".into()), ("x".into(), "y".into())], ..Payer::default() },
        model: "big".into(),
        provider: "hosted".into(),
        route: "hosted",
        upstream: "gpt".into(),
        ceiling: Some(NanoDollars(9_000)),
        price: Some(Price { input: Rate(1_000_000), output: Rate(2_000_000), ..Price::default() }),
        price_source: "config".into(),
        traceparent: None,
    })
}

fn closed(open: Arc<AttemptOpen>, cost: u64) -> AttemptClose {
    AttemptClose {
        open,
        ended_us: jiff::Timestamp::now().as_microsecond(),
        outcome: Outcome::Ok,
        counted: Counted::Exact(Usage::plain(10, 20)),
        cost: Some(NanoDollars(cost)),
        baseline: Some(NanoDollars(cost)),
        first_event_us: Some(5),
        error: None,
    }
}

fn all(ledger: &Ledger, by: GroupBy) -> SpendTable {
    ledger.spend(by, 0, i64::MAX).unwrap()
}

#[tokio::test]
async fn a_line_is_written_once_however_often_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::start(&folder.path().join("l.db"), Durability::Disk).unwrap();
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

#[tokio::test]
async fn what_was_running_when_the_process_died_is_charged_at_its_ceiling() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    {
        let (ledger, _) = Ledger::start(&path, Durability::Process).unwrap();
        ledger.open(attempt("r", 1)).await.unwrap();
        ledger.shutdown().await.unwrap();
        assert!(matches!(ledger.open(attempt("r", 2)).await, Err(LedgerError::Closed)));
    }
    let (ledger, recovered) = Ledger::start(&path, Durability::Process).unwrap();
    assert_eq!((recovered, all(&ledger, GroupBy::Route).total.cost_usd.0), (1, 9_000));
    assert!(ledger.verify().unwrap().is_empty());
}

#[tokio::test]
async fn concurrent_lines_are_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::start(&folder.path().join("l.db"), Durability::Process).unwrap();
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

#[tokio::test]
async fn keys_are_found_by_digest_and_revoked_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::start(&folder.path().join("l.db"), Durability::Process).unwrap();
    let other = Ledger::attach(ledger.path()).unwrap();
    let before = ledger.version().unwrap();
    let wanted = NewKey { name: "n".into(), budget: Some((NanoDollars(1), "month".into())), ..NewKey::default() };
    let (record, secret) = other.create_key(&wanted).unwrap();
    assert_ne!(ledger.version().unwrap(), before, "another connection's write is noticed");
    assert!(other.create_key(&wanted).is_err(), "names are unique");
    let stored = ledger.keys().unwrap().remove(0);
    assert_eq!((stored.id.clone(), stored.digest), (record.id, KeyRecord::digest_of(secret.expose())));
    assert!(stored.valid_at(0) && !stored.shown().to_string().contains("sk-sluice"));
    assert!(other.revoke_key("n").unwrap().is_some() && other.revoke_key("n").unwrap().is_none());
    assert!(!ledger.keys().unwrap()[0].valid_at(0));
}

#[tokio::test]
async fn old_lines_go_and_the_file_keeps_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::start(&folder.path().join("l.db"), Durability::Process).unwrap();
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
    assert_eq!(all(&ledger, GroupBy::Day).total.requests, 0);
}

#[test]
fn a_newer_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    drop(Ledger::start(&path, Durability::Process).unwrap());
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Ledger::start(&path, Durability::Process), Err(LedgerError::Newer { found: 99, .. })));
}

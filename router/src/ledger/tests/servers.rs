//! What only a server can do to a ledger: other processes, lost connections, certificates.

use super::*;

/// Only a server has more than one process, so only there can another one be dead.
#[tokio::test]
async fn what_a_living_instance_has_open_is_left_alone_and_a_sleeper_puts_right_what_was_charged() {
    let Some(bed) = Bed::server() else { return };
    let (sleeper, _) = bed.start(Durability::Process);
    sleeper.open(attempt("r", 1)).await.unwrap();
    sleeper.open(attempt("s", 1)).await.unwrap();
    let (other, recovered) = bed.start(Durability::Process);
    assert_eq!(recovered, 0, "its lease runs");
    other.beat().await.unwrap();
    assert_eq!(all(&other, GroupBy::Model).total.requests, 0);
    bed.run(&format!("UPDATE instances SET until_us = 1 WHERE id = '{}'", sleeper.instance()));
    other.beat().await.unwrap();
    assert_eq!(all(&other, GroupBy::Model).total.cost_usd.0, 18_000, "charged at the ceilings");
    // It wakes: one stream went on and ended, one still grows.
    sleeper.close(closed(attempt("r", 1), 50), None).await.unwrap();
    let more = Amount { money: NanoDollars(9_500), tokens: 1 };
    sleeper.raise(attempt("s", 1), more).await.unwrap();
    assert_eq!(all(&other, GroupBy::Model).total.cost_usd.0, 50 + 9_500);
    sleeper.close(closed(attempt("s", 1), 70), None).await.unwrap();
    sleeper.close(closed(attempt("s", 1), 90), None).await.unwrap();
    let total = all(&other, GroupBy::Model).total;
    assert_eq!((total.requests, total.cost_usd.0), (2, 120), "each once");
    assert!(other.verify().unwrap().is_empty());
}

#[tokio::test]
async fn running_attempts_are_summed_by_instance_at_what_is_set_aside_for_them() {
    let Some(bed) = Bed::server() else { return };
    let (one, _) = bed.start(Durability::Process);
    let (two, _) = bed.start(Durability::Process);
    one.open(attempt("a", 1)).await.unwrap();
    one.close(closed(attempt("b", 1), 40), None).await.unwrap();
    two.close(closed(attempt("c", 1), 7), None).await.unwrap();
    let before = one.instance();
    assert_ne!(one.rename().await.unwrap(), before);
    one.close(closed(attempt("d", 1), 3), None).await.unwrap();
    let mut sums = two.committed_since(&SpendScope::Tag("job".into(), "a".into()), 0).unwrap();
    sums.sort_by_key(|(_, amount)| amount.money);
    let sums: Vec<_> = sums.into_iter().map(|(name, amount)| (name.unwrap(), amount.money.0)).collect();
    assert_eq!(sums, [(one.instance(), 3), (two.instance(), 7), (before, 9_040)]);
}

#[tokio::test]
async fn a_server_of_a_newer_program_is_refused_and_two_may_start_at_once() {
    let Some(bed) = Bed::server() else { return };
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let place = bed.place().clone();
            std::thread::spawn(move || Ledger::start(place, Durability::Disk).unwrap())
        })
        .collect();
    for start in starts {
        assert_eq!(start.join().unwrap().1, 0);
    }
    bed.run("INSERT INTO sluice_schema VALUES (99)");
    let refused = Ledger::start(bed.place(), Durability::Process);
    assert!(matches!(refused, Err(LedgerError::Newer { found: 99, .. })));
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_no_line_is_lost_or_doubled() {
    let Some(bed) = Bed::server() else { return };
    let (ledger, _) = bed.start(Durability::Disk);
    for n in 0..20 {
        let id = format!("r{n}");
        ledger.open(attempt(&id, 1)).await.unwrap();
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sluice' \
                      AND datname = current_database()";
        bed.run(others);
        ledger.close(closed(attempt(&id, 1), 5), None).await.unwrap();
        assert!(ledger.healthy());
    }
    let total = all(&ledger, GroupBy::Model).total;
    assert_eq!((total.requests, total.cost_usd.0), (20, 100));
}

/// A server that is reached and says nothing: its processes are stopped, the system takes connections for it.
#[tokio::test]
async fn a_server_that_falls_silent_is_given_up_in_twice_the_time_to_reach_it_and_lines_come_late() {
    let Some(server) = crate::stores::Postgres::start() else { return };
    let url = format!("{}?connect_timeout=1", server.database());
    let place = Place::parse(&policies::Secret::new(url), None).unwrap();
    let (ledger, _) = Ledger::start(place, Durability::Process).unwrap();
    ledger.open(attempt("before", 1)).await.unwrap();
    let all_of_them = |signal: &str| {
        let children = format!("/proc/{0}/task/{0}/children", server.pid());
        let children = std::fs::read_to_string(children).unwrap();
        let pid = server.pid().to_string();
        let pids = std::iter::once(pid.as_str()).chain(children.split_whitespace());
        assert!(std::process::Command::new("kill").arg(signal).args(pids).status().unwrap().success());
    };
    all_of_them("-STOP");
    let began = std::time::Instant::now();
    let refused = ledger.open(attempt("meanwhile", 1)).await;
    let (first, began) = (began.elapsed(), std::time::Instant::now());
    let again = ledger.open(attempt("again", 1)).await;
    let (second, began) = (began.elapsed(), std::time::Instant::now());
    let looked = ledger.knows("before");
    let third = began.elapsed();
    ledger.close_later(closed(attempt("before", 1), 7), None);
    all_of_them("-CONT");
    for told in [refused, again, looked.map(drop)] {
        assert!(matches!(told, Err(LedgerError::Unreachable(_))), "{told:?}");
    }
    // A second for the answer and one for another connection; the end of what was refused is tried in between. Without
    // the bound it is ten each.
    assert!(first < Duration::from_secs(6) && second < Duration::from_secs(6), "{first:?}, {second:?}");
    assert!(third < Duration::from_secs(6), "{third:?}");
    while ledger.beat().await.is_err() {}
    ledger.beat().await.unwrap();
    let total = all(&ledger, GroupBy::Model).total;
    assert_eq!(total.cost_usd.0, 7, "what was refused cost nothing");
    assert!(ledger.verify().unwrap().is_empty());
}

#[tokio::test]
async fn what_takes_long_by_its_nature_is_waited_for() {
    let Some(bed) = Bed::server() else { return };
    let url = format!("{}?connect_timeout=1", bed.url());
    let place = Place::parse(&policies::Secret::new(url), None).unwrap();
    let (ledger, _) = Ledger::start(place, Durability::Process).unwrap();
    ledger.close(closed(attempt("r", 1), 5), None).await.unwrap();
    // Somebody else has the table for longer than a line is waited for.
    let (locked, took) = std::sync::mpsc::sync_channel(1);
    let url = bed.url().to_owned();
    let holder = std::thread::spawn(move || {
        let mut other = Place::parse(&policies::Secret::new(url), None).unwrap().connect().unwrap();
        let held = other.transaction(|db| {
            db.batch("LOCK TABLE attempts IN SHARE MODE")?;
            locked.send(()).unwrap();
            db.batch("SELECT pg_sleep(4)")
        });
        held.unwrap();
    });
    took.recv().unwrap();
    let line = ledger.close(closed(attempt("s", 1), 5), None);
    assert!(matches!(line.await, Err(LedgerError::Unreachable(_))), "a line is not");
    ledger.prune(Retention { age: Duration::from_secs(3_600), bytes: u64::MAX }).await.unwrap();
    holder.join().unwrap();
    ledger.beat().await.unwrap();
    assert_eq!(all(&ledger, GroupBy::Model).total.cost_usd.0, 10, "it came late");
}

#[tokio::test]
async fn text_that_a_server_cannot_hold_stops_nobody() {
    let Some(bed) = Bed::server() else { return };
    let (ledger, _) = bed.start(Durability::Process);
    let payer = Payer { tags: vec![("job".into(), "a\0b".into())], user: Some("\0".into()), ..Payer::default() };
    let odd = Arc::new(AttemptOpen { payer, ..(*attempt("odd", 1)).clone() });
    ledger.open(odd.clone()).await.unwrap();
    ledger.close(closed(odd, 5), None).await.unwrap();
    let table = all(&ledger, GroupBy::Tag);
    assert_eq!(table.rows[0].group.as_deref(), Some("job=a\u{fffd}b"));
    assert_eq!(ledger.spent_since(&SpendScope::Tag("job".into(), "a".into()), 0).unwrap().money.0, 0);
}

#[tokio::test]
async fn a_server_over_tls_has_to_prove_who_it_is() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let Some(server) = crate::stores::Postgres::start_with(Some((&certificate, &key))) else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, &certificate).unwrap();
    let (url, trusted) = (server.database(), format!("?sslmode=require&sslrootcert={}", root.display()));
    let named = url.replace("127.0.0.1", "localhost");
    let start = |url: String| {
        let place = Place::parse(&policies::Secret::new(url), None).unwrap();
        Ledger::start(place, Durability::Disk)
    };
    let (ledger, _) = start(format!("{named}{trusted}")).unwrap();
    ledger.close(closed(attempt("r", 1), 5), None).await.unwrap();
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert!(ledger.read(|db| db.one(sql, &[], |row| row.get::<bool>(0))).unwrap(), "it is encrypted");
    let others =
        [(format!("{named}?sslmode=require"), "of nobody known"), (format!("{url}{trusted}"), "of another name")];
    for (url, why) in others {
        assert!(matches!(start(url), Err(LedgerError::Unreachable(_))), "a certificate {why}");
    }
}

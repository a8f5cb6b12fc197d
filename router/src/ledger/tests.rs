//! What the ledger keeps through restarts, races and repeats.

use super::bed::{Bed, on_both_stores};
use super::*;
use policies::{Counted, NanoDollars, Price, Rate, Usage};

on_both_stores! {
    a_line_is_written_once_however_often_it_is_closed;
    what_was_running_when_the_process_died_is_charged_at_its_ceiling;
    concurrent_lines_are_all_there;
    old_lines_go_and_the_file_keeps_its_size;
    a_judgement_is_kept_with_its_request_and_shown_in_its_story;
    of_labels_the_last_counts_and_only_those_of_local_answers_speak_of_the_threshold;
    judgements_and_labels_are_pruned_with_their_request;
    what_a_local_machine_costs_stands_beside_what_was_spent_and_unknown_is_not_zero;
    a_session_stays_in_the_arm_of_its_first_request_and_all_that_it_cost_counts;
    the_key_of_the_draw_stays_with_the_ledger_and_arms_go_with_their_requests;
}

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
        ceiling_tokens: None,
        price: Some(Price { input: Rate(1_000_000), output: Rate(2_000_000), ..Price::default() }),
        price_source: "config".into(),
        traceparent: None,
        class: "internal".into(),
        class_by: policies::ClassedBy::Default,
        region: Some("eu".into()),
        traces: None,
        masked: None,
        content: None,
    })
}

fn closed(open: Arc<AttemptOpen>, cost: u64) -> AttemptClose {
    AttemptClose {
        open,
        ended_us: jiff::Timestamp::now().as_microsecond(),
        outcome: Outcome::Ok,
        counted: Counted::Exact(Usage::plain(10, 20)),
        cost: Some(NanoDollars(cost)),
        local_cost: None,
        baseline: Some(NanoDollars(cost)),
        first_event_us: Some(5),
        error: None,
    }
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

/// A judged request with its one attempt.
pub(super) async fn judged(
    ledger: &Ledger,
    id: &str,
    at_us: i64,
    key: Option<&str>,
    judgement: Option<JudgementRecord>,
) {
    let side = judgement.as_ref().map_or("local", |judgement| judgement.side.word());
    let explored = judgement.as_ref().is_some_and(|judgement| judgement.explored);
    let payer = Payer { key: key.map(Into::into), ..Payer::default() };
    let record = RequestRecord {
        id: id.into(),
        at_us,
        payer: payer.clone(),
        endpoint: "chat",
        asked: "auto".into(),
        class: "internal".into(),
        route: Some(side),
        model: Some("small".into()),
        reason: if explored { "exploration".into() } else { "classifier".into() },
        score: judgement.as_ref().map(|judgement| judgement.score),
        status: 200,
        attempts: 1,
        record: "{}".into(),
        cascade: None,
        judgement: judgement.map(Box::new),
        arm: None,
    };
    let open = Arc::new(AttemptOpen { at_us, payer, route: side, ..(*attempt(id, 1)).clone() });
    ledger.close(closed(open, 1), Some(record)).await.unwrap();
}

pub(super) fn judgement(score: f32, side: policies::Location, explored: bool) -> JudgementRecord {
    JudgementRecord {
        lane: "".into(),
        judge: "Probe(need-1)".into(),
        head: Some("need-1".into()),
        score,
        threshold: f32::INFINITY,
        looked_from: Some(0.75),
        side,
        propensity: if explored { 0.125 } else { 0.875 },
        explored,
        evidence: Some(Arc::new(crate::classify::Evidence::of(&crate::probe::head::Views {
            features: vec![1.5, -2.0],
            grams: vec![],
            embedding: Some(vec![0.5, -1.0]),
        }))),
        prompt: None,
    }
}

pub(super) fn label(request: &str, at_us: i64, value: f32) -> LabelRecord {
    LabelRecord {
        request: request.into(),
        source: "feedback",
        at_us,
        kind: "score",
        value,
        corrected: false,
        correction: None,
        comment: None,
    }
}

async fn a_judgement_is_kept_with_its_request_and_shown_in_its_story(bed: Bed) {
    use policies::Location::{Hosted, Local};
    let (ledger, _) = bed.start(Durability::Process);
    judged(&ledger, "a", 1, Some("key-1"), Some(judgement(0.25, Local, false))).await;
    judged(&ledger, "b", 2, None, Some(judgement(0.5, Hosted, true))).await;
    judged(&ledger, "c", 3, None, None).await;
    let rows = ledger.judged(10).unwrap();
    assert_eq!(rows.iter().map(|row| row.request.as_str()).collect::<Vec<_>>(), ["b", "a"], "who was judged");
    let kept = &rows[1].judgement;
    assert_eq!((kept.score, kept.threshold, kept.propensity, kept.side), (0.25, f32::INFINITY, 0.875, Local));
    assert_eq!(kept.evidence, judgement(0.25, Local, false).evidence);
    let story = ledger.request("b").unwrap().unwrap();
    let told = &story["judgement"];
    assert_eq!(
        (&told["side"], &told["explored"], &told["propensity"]),
        (&"hosted".into(), &true.into(), &0.125.into())
    );
    assert!(told["threshold"].is_null() && told["prompt_kept"] == false, "{told}");
    assert!(ledger.request("c").unwrap().unwrap()["judgement"].is_null());
    assert_eq!(ledger.owner_of("a").unwrap(), Some(Some("key-1".into())));
    assert_eq!((ledger.owner_of("c").unwrap(), ledger.owner_of("x").unwrap()), (Some(None), None));
}

async fn of_labels_the_last_counts_and_only_those_of_local_answers_speak_of_the_threshold(bed: Bed) {
    use policies::Location::{Hosted, Local};
    let (ledger, _) = bed.start(Durability::Process);
    judged(&ledger, "a", 1, None, Some(judgement(0.25, Local, false))).await;
    judged(&ledger, "b", 2, None, Some(judgement(0.5, Hosted, false))).await;
    judged(&ledger, "c", 3, None, None).await;
    judged(&ledger, "d", 4, None, Some(judgement(0.5, Local, true))).await;
    for (n, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
        ledger.label(label(id, n as i64, 1.0)).await.unwrap();
    }
    ledger.label(label("a", 9, 0.25)).await.unwrap();
    let expected =
        |id: &str, score, wrong| crate::classify::Label::new(id, score, f32::INFINITY, Some(0.75), 0.125, wrong);
    let labels = ledger.labels("Probe(need-1)", false, 10).unwrap();
    assert_eq!(labels, [expected("d", 0.5, false), expected("a", 0.25, true)], "by the time of the label");
    assert_eq!(ledger.labels("Probe(need-1)", false, 1).unwrap(), [expected("a", 0.25, true)], "the newest");
    assert_eq!(ledger.label_of("Probe(need-1)", false, "a").unwrap(), Some(expected("a", 0.25, true)));
    assert_eq!(ledger.label_of("Probe(need-1)", false, "b").unwrap(), None);
    assert!(ledger.labels("Probe(need-2)", false, 10).unwrap().is_empty(), "scores of another head are others");
    let story = ledger.request("a").unwrap().unwrap();
    assert_eq!((story["labels"].as_array().unwrap().len(), &story["labels"][0]["value"]), (1, &0.25.into()));
}

async fn judgements_and_labels_are_pruned_with_their_request(bed: Bed) {
    use policies::Location::Local;
    let (ledger, _) = bed.start(Durability::Process);
    let now = jiff::Timestamp::now().as_microsecond();
    judged(&ledger, "old", 1, None, Some(judgement(0.25, Local, false))).await;
    judged(&ledger, "new", now, None, Some(judgement(0.25, Local, false))).await;
    for id in ["old", "new"] {
        ledger.label(label(id, now, 1.0)).await.unwrap();
    }
    ledger.prune(Retention { age: Duration::from_secs(86_400), bytes: u64::MAX }).await.unwrap();
    assert_eq!(ledger.judged(10).unwrap().len(), 1);
    let left: i64 = ledger.read(|db| db.one("SELECT count(*) FROM labels", &[], |row| row.get(0))).unwrap();
    assert_eq!(left, 1);
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

/// A request in an arm, with one attempt that cost so much.
async fn in_arm(ledger: &Ledger, id: &str, at_us: i64, arm: ArmRecord, cost: u64) {
    let record = RequestRecord {
        id: id.into(),
        at_us,
        payer: Payer::default(),
        endpoint: "chat",
        asked: "auto".into(),
        class: "internal".into(),
        route: Some("hosted"),
        model: Some("big".into()),
        reason: arm.why.unwrap_or("classifier").into(),
        score: None,
        status: 200,
        attempts: 1,
        record: "{}".into(),
        cascade: None,
        judgement: None,
        arm: Some(Box::new(arm)),
    };
    let open = Arc::new(AttemptOpen { at_us, ..(*attempt(id, 1)).clone() });
    ledger.close(closed(open, cost), Some(record)).await.unwrap();
}

fn arm(session: &str, arm: &'static str, why: Option<&'static str>) -> ArmRecord {
    ArmRecord { session: session.into(), arm, why, share: 0.05, prompt_tokens: 7, judging: Some(NanoDollars(3)) }
}

async fn a_session_stays_in_the_arm_of_its_first_request_and_all_that_it_cost_counts(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    in_arm(&ledger, "a1", 1, arm("a", "holdout", None), 10).await;
    in_arm(&ledger, "a2", 2, ArmRecord { prompt_tokens: 99, ..arm("a", "excluded", Some("budget")) }, 20).await;
    in_arm(&ledger, "b1", 1, arm("b", "excluded", Some("residency")), 40).await;
    in_arm(&ledger, "b2", 2, arm("b", "treatment", None), 80).await;
    // Another try and a shadow of it cost, too; what still runs does not yet.
    ledger.close(closed(attempt("a2", 2), 100), None).await.unwrap();
    ledger.close(closed(attempt("a2", 1_000), 200), None).await.unwrap();
    ledger.open(attempt("a2", 3)).await.unwrap();
    let rows = ledger.sessions(0, i64::MAX).unwrap();
    let of = |rows: &[SessionRow], name: &str| rows.iter().find(|row| row.arm == name).cloned().unwrap();
    let held = of(&rows, "holdout");
    assert_eq!((rows.len(), held.requests, held.cost.0, held.prompt_tokens), (2, 2, 330, 7));
    assert_eq!((held.judging, held.shares.0), (Some(NanoDollars(6)), f64::from(0.05_f32)));
    let out = of(&rows, "excluded");
    assert_eq!((out.requests, out.cost.0, out.why.as_deref()), (2, 120, Some("residency")));
    // In a later span the arm is still that of the first request.
    let later = ledger.sessions(2, 3).unwrap();
    assert_eq!((of(&later, "holdout").cost.0, of(&later, "excluded").cost.0), (320, 80));
    let story = ledger.request("a2").unwrap().unwrap();
    assert_eq!((&story["arm"], &story["arm_excluded_by"]), (&"excluded".into(), &"budget".into()));

    // Under another share the draw is another one: who began before is in neither arm.
    in_arm(&ledger, "a3", 9, ArmRecord { share: 0.1, ..arm("a", "holdout", None) }, 1).await;
    in_arm(&ledger, "c1", 9, ArmRecord { share: 0.1, ..arm("c", "holdout", None) }, 2).await;
    let rows = ledger.sessions(9, 10).unwrap();
    assert_eq!((of(&rows, "holdout").cost.0, of(&rows, "excluded").why.as_deref()), (2, Some("share_changed")));
}

async fn the_key_of_the_draw_stays_with_the_ledger_and_arms_go_with_their_requests(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    let salt = ledger.salt().unwrap();
    assert_eq!(ledger.salt().unwrap(), salt);
    let now = jiff::Timestamp::now().as_microsecond();
    in_arm(&ledger, "old", 1, arm("a", "holdout", None), 1).await;
    in_arm(&ledger, "new", now, arm("b", "holdout", None), 1).await;
    ledger.prune(Retention { age: Duration::from_secs(86_400), bytes: u64::MAX }).await.unwrap();
    assert_eq!(ledger.sessions(0, i64::MAX).unwrap().len(), 1);
    drop(ledger);
    assert_eq!(bed.attach().salt().unwrap(), salt, "after a restart");
    let folder = tempfile::tempdir().unwrap();
    let other = Ledger::attach(folder.path().join("other.db")).unwrap();
    assert_ne!(other.salt().unwrap(), salt);
}

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

//! Arms of a holdout, on the ledger.

use super::*;

on_both_stores! {
    a_session_stays_in_the_arm_of_its_first_request_and_all_that_it_cost_counts;
    the_key_of_the_draw_stays_with_the_ledger_and_arms_go_with_their_requests;
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
        placed: None,
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

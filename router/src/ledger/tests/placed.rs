//! Arms of a split, on the ledger.

use super::*;
use crate::compare::Side;

on_both_stores! {
    an_arm_has_its_requests_its_money_and_its_marks_and_another_arm_of_that_name_has_others;
    what_an_arm_did_not_serve_itself_is_told_apart;
    a_session_counts_once_where_it_began_and_with_the_share_of_then;
    silence_counts_only_where_it_is_asked_for_and_only_once_it_is_long_enough;
}

fn arm(arm: Side, what: &str) -> Placed {
    Placed { experiment: "x".into(), arm, what: what.into(), session: "s".into(), weight: 0.5 }
}

fn figures(ledger: &Ledger, arm: Side, what: &str, own: Own, quiet: Option<i64>) -> ArmFigures {
    ledger.arm_figures(&ArmAsked { experiment: "x", arm, what, own }, quiet).unwrap()
}

async fn answered(ledger: &Ledger, id: &str, at_us: i64, placed: Placed, route: &'static str) {
    close(ledger, RequestRecord { route: Some(route), ..record(id, at_us, placed) }).await;
}

async fn close(ledger: &Ledger, record: RequestRecord) {
    let open = Arc::new(AttemptOpen { at_us: record.at_us, ..(*attempt(record.id.as_str(), 1)).clone() });
    ledger.close(closed(open, 5), Some(record)).await.unwrap();
}

fn record(id: &str, at_us: i64, placed: Placed) -> RequestRecord {
    RequestRecord {
        id: id.into(),
        at_us,
        payer: Payer::default(),
        endpoint: "chat",
        asked: "auto".into(),
        class: "internal".into(),
        route: Some("hosted"),
        model: Some("big".into()),
        reason: "classifier".into(),
        score: None,
        status: 200,
        attempts: 1,
        record: "{}".into(),
        cascade: None,
        judgement: None,
        arm: None,
        placed: Some(Box::new(placed)),
    }
}

async fn said(ledger: &Ledger, request: &str, source: &'static str, value: f32) {
    let label = learning::label(request, 9, value);
    ledger.label(LabelRecord { source, ..label }).await.unwrap();
}

async fn an_arm_has_its_requests_its_money_and_its_marks_and_another_arm_of_that_name_has_others(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    answered(&ledger, "a", 1, arm(Side::Left, "system 1"), "local").await;
    answered(&ledger, "b", 2, arm(Side::Left, "system 1"), "hosted").await;
    answered(&ledger, "c", 3, arm(Side::Right, "as it comes"), "local").await;
    answered(&ledger, "d", 4, arm(Side::Left, "system 2"), "local").await;
    for (request, value) in [("a", 0.25), ("b", 1.0), ("c", 0.5), ("d", 0.0)] {
        said(&ledger, request, "feedback", value).await;
        said(&ledger, request, "shadow", 0.75).await;
    }
    let of = |arm, what| figures(&ledger, arm, what, Own::default(), None);
    let left = of(Side::Left, "system 1");
    assert_eq!((left.requests, left.answered, left.served, left.hosted, left.cost), (2, 2, 2, 1, NanoDollars(10)));
    assert_eq!((left.intended(), left.as_served()), (vec![0.25, 1.0], vec![0.25, 1.0]));
    assert_eq!(of(Side::Right, "as it comes").intended(), [0.5]);
    assert_eq!(of(Side::Right, "system 1"), ArmFigures::default());
    let story = ledger.request("d").unwrap().unwrap();
    assert_eq!(story["experiment"], serde_json::json!({"name": "x", "arm": "left", "what": "system 2"}));
}

async fn silence_counts_only_where_it_is_asked_for_and_only_once_it_is_long_enough(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    for (at, id) in ["quiet", "again", "praised", "young", "young_again"].into_iter().enumerate() {
        answered(&ledger, id, at as i64 + 1, arm(Side::Left, "as it comes"), "local").await;
    }
    for id in ["again", "praised", "young_again"] {
        said(&ledger, id, crate::REASK, 0.0).await;
    }
    said(&ledger, "praised", "feedback", 1.0).await;
    let marks = |quiet| figures(&ledger, Side::Left, "as it comes", Own::default(), quiet).as_served();
    assert_eq!(marks(None), [1.0], "a client's word");
    assert_eq!(marks(Some(4)), [1.0, 0.0, 1.0], "what is younger says nothing yet, its being asked again neither");
    assert_eq!(marks(Some(9)), [1.0, 0.0, 1.0, 1.0, 0.0]);
}

async fn what_an_arm_did_not_serve_itself_is_told_apart(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    let put = async |id: &str, at_us: i64, change: fn(&mut RequestRecord)| {
        let mut record = record(id, at_us, arm(Side::Left, "any"));
        change(&mut record);
        close(&ledger, record).await;
    };
    put("a-own", 1, |_| ()).await;
    put("b-taken-over", 2, |record| {
        (record.route, record.model, record.reason) = (Some("local"), Some("small".into()), "fallback".into());
    })
    .await;
    put("c-beside", 3, |record| (record.model, record.reason) = (Some("other".into()), "fallback".into())).await;
    put("d-failed", 4, |record| record.status = 502).await;
    put("e-refused", 5, |record| (record.route, record.model, record.status) = (None, None, 402)).await;
    for (request, value) in [("a-own", 1.0), ("b-taken-over", 0.0), ("c-beside", 0.5), ("d-failed", 0.25)] {
        said(&ledger, request, "feedback", value).await;
    }
    let of = |own: Own, quiet| figures(&ledger, Side::Left, "any", own, quiet);
    let hosted = || Own { side: Some(policies::Location::Hosted), ..Own::default() };
    let big = || Own { model: Some("big".into()), ..Own::default() };
    let planned = Own { planned: true, ..Own::default() };
    for (own, served, marks) in [
        (Own::default(), 3, vec![1.0, 0.0, 0.5]),
        (hosted(), 2, vec![1.0, 0.5]),
        (big(), 1, vec![1.0]),
        (planned, 1, vec![1.0]),
        (Own { side: hosted().side, ..big() }, 1, vec![1.0]),
    ] {
        let told = of(own.clone(), None);
        assert_eq!((told.requests, told.answered, told.hosted, told.served), (5, 3, 2, served), "{own:?}");
        assert_eq!((told.as_served(), told.intended()), (marks, vec![1.0, 0.0, 0.5, 0.25]), "{own:?}");
        assert_eq!(told.cost, NanoDollars(25), "what failed cost something, too");
    }
    // Where silence is a mark, what nobody answered has none.
    let told = of(hosted(), Some(100));
    assert_eq!((told.as_served(), told.intended()), (vec![1.0, 0.5], vec![1.0, 0.0, 0.5]));
}

async fn a_session_counts_once_where_it_began_and_with_the_share_of_then(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    let lines = [
        ("a", Side::Left, "one", 0.25),
        ("a", Side::Right, "two", 0.5), // A change of the share moved it.
        ("b", Side::Right, "two", 0.25),
        ("c", Side::Right, "two", 0.5),
        ("c", Side::Right, "two", 0.5),
        ("d", Side::Left, "another", 0.5),
    ];
    for (at, (session, side, what, weight)) in lines.into_iter().enumerate() {
        let placed = Placed { session: session.into(), weight, ..arm(side, what) };
        answered(&ledger, &format!("r{at}"), at as i64, placed, "local").await;
    }
    bed.run("INSERT INTO placed (request, at_us, experiment, arm, what) VALUES ('old', 0, 'x', 'left', 'one')");
    let fallen = ledger.sessions_of("x", ["one", "two"]).unwrap();
    assert_eq!((fallen.sessions, fallen.expected), ([1, 2], 1.0));
    assert!((fallen.variance - (2.0 * 0.25 * 0.75 + 0.25)).abs() < 1e-12, "{fallen:?}");
    assert_eq!(ledger.sessions_of("y", ["one", "two"]).unwrap(), crate::compare::Fallen::default());
}

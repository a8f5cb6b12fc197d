//! Arms of a split, on the ledger.

use super::*;
use crate::compare::Side;

on_both_stores! {
    an_arm_has_its_requests_its_money_and_its_marks_and_another_arm_of_that_name_has_others;
    silence_counts_only_where_it_is_asked_for_and_only_once_it_is_long_enough;
}

fn arm(arm: Side, what: &str) -> Placed {
    Placed { experiment: "x".into(), arm, what: what.into() }
}

async fn answered(ledger: &Ledger, id: &str, at_us: i64, placed: Placed, route: &'static str) {
    let record = RequestRecord {
        id: id.into(),
        at_us,
        payer: Payer::default(),
        endpoint: "chat",
        asked: "auto".into(),
        class: "internal".into(),
        route: Some(route),
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
    };
    let open = Arc::new(AttemptOpen { at_us, ..(*attempt(id, 1)).clone() });
    ledger.close(closed(open, 5), Some(record)).await.unwrap();
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
    let figures = |placed: Placed| ledger.arm_figures(&placed, None).unwrap();
    let left = ArmFigures { requests: 2, hosted: 1, cost: NanoDollars(10), marks: vec![0.25, 1.0] };
    assert_eq!(figures(arm(Side::Left, "system 1")), left);
    assert_eq!(figures(arm(Side::Right, "as it comes")).marks, [0.5]);
    assert_eq!(figures(arm(Side::Right, "system 1")), ArmFigures::default());
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
    let marks = |quiet| ledger.arm_figures(&arm(Side::Left, "as it comes"), quiet).unwrap().marks;
    assert_eq!(marks(None), [1.0], "a client's word");
    assert_eq!(marks(Some(4)), [1.0, 0.0, 1.0], "what is younger says nothing yet, its being asked again neither");
    assert_eq!(marks(Some(9)), [1.0, 0.0, 1.0, 1.0, 0.0]);
}

//! Reading what is on record, on both stores.

use super::*;

on_both_stores! {
    a_request_is_read_with_its_judgement_its_money_and_the_tokens_that_were_sent;
    spans_and_limits_take_the_latest_and_give_the_oldest_first;
}

fn record(id: &str, at_us: i64, judgement: Option<JudgementRecord>) -> RequestRecord {
    RequestRecord {
        id: id.into(),
        at_us,
        payer: Payer { key: Some("k".into()), team: Some("t".into()), ..Payer::default() },
        endpoint: "chat",
        asked: "auto".into(),
        class: "internal".into(),
        route: Some("hosted"),
        model: Some("big".into()),
        reason: "classifier".into(),
        score: None,
        status: 200,
        attempts: 2,
        record: r#"{"reason":"classifier"}"#.into(),
        cascade: None,
        judgement: judgement.map(Box::new),
        arm: None,
        placed: None,
    }
}

fn read(ledger: &Ledger, filter: RecordedFilter) -> Vec<Recorded> {
    ledger.recorded(&filter).unwrap()
}

const EVERYTHING: RecordedFilter = RecordedFilter { since_us: None, until_us: None, limit: 100 };

async fn a_request_is_read_with_its_judgement_its_money_and_the_tokens_that_were_sent(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    let small = Arc::new(AttemptOpen { model: "small".into(), ..(*attempt("r", 1)).clone() });
    ledger.close(AttemptClose { outcome: Outcome::Rejected, ..closed(small, 2) }, None).await.unwrap();
    let judgement = super::learning::judgement(0.6, policies::Location::Hosted, false);
    let used = Usage { cached_input: 7.into(), cache_write: 3.into(), ..Usage::plain(40, 20) };
    let sent = AttemptClose { counted: Counted::Exact(used), ..closed(attempt("r", 2), 5) };
    ledger.close(sent, Some(record("r", 1_000, Some(judgement)))).await.unwrap();
    let shadow = Arc::new(AttemptOpen { purpose: "shadow", ..(*attempt("r", 1_000)).clone() });
    ledger.close(closed(shadow, 100), None).await.unwrap();
    ledger.refused_later(RequestRecord { route: None, model: None, ..record("refused", 2_000, None) });
    let unpriced = AttemptClose { cost: None, ..closed(attempt("u", 1), 0) };
    ledger.close(unpriced, Some(record("u", 3_000, None))).await.unwrap();

    let told = read(&ledger, EVERYTHING);
    let ids: Vec<&str> = told.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["r", "refused", "u"]);
    let [judged, refused, unpriced] = told.as_slice() else { unreachable!("three") };
    assert_eq!((judged.usage, judged.cost), (Some(used), Some(NanoDollars(7))), "all attempts, and no shadow");
    assert_eq!(
        (judged.key.as_deref(), judged.team.as_deref(), judged.model.as_deref()),
        (Some("k"), Some("t"), Some("big"))
    );
    let said = judged.judged.as_ref().unwrap();
    assert_eq!((said.judge.as_str(), said.score), ("Probe(need-1)", 0.6));
    assert_eq!(said.evidence.as_ref().unwrap().views().features, [1.5, -2.0]);
    assert!(judged.story.contains("classifier"));
    assert_eq!((refused.usage, refused.cost, refused.route.as_deref()), (None, Some(NanoDollars(0)), None));
    assert!(refused.judged.is_none() && unpriced.cost.is_none());
}

async fn spans_and_limits_take_the_latest_and_give_the_oldest_first(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    for n in 1..=5 {
        let id = format!("r{n}");
        ledger.close(closed(attempt(&id, 1), 5), Some(record(&id, n, None))).await.unwrap();
    }
    let ids = |filter| read(&ledger, filter).into_iter().map(|one| one.at_us).collect::<Vec<_>>();
    assert_eq!(ids(RecordedFilter { limit: 2, ..EVERYTHING }), [4, 5]);
    assert_eq!(ids(RecordedFilter { since_us: Some(2), until_us: Some(4), limit: 100 }), [2, 3]);
}

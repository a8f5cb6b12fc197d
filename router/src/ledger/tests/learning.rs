//! Judgements and labels, on the ledger.

use super::*;

on_both_stores! {
    a_judgement_is_kept_with_its_request_and_shown_in_its_story;
    of_labels_the_last_counts_and_only_those_of_local_answers_speak_of_the_threshold;
    judgements_and_labels_are_pruned_with_their_request;
    what_the_share_counted_is_given_back_by_head_and_lane_with_who_answered;
}

/// A judged request with its one attempt.
pub(in crate::ledger) async fn judged(
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
        placed: None,
    };
    let open = Arc::new(AttemptOpen { at_us, payer, route: side, ..(*attempt(id, 1)).clone() });
    ledger.close(closed(open, 1), Some(record)).await.unwrap();
}

pub(in crate::ledger) fn judgement(score: f32, side: policies::Location, explored: bool) -> JudgementRecord {
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

pub(in crate::ledger) fn label(request: &str, at_us: i64, value: f32) -> LabelRecord {
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

async fn what_the_share_counted_is_given_back_by_head_and_lane_with_who_answered(bed: Bed) {
    use policies::Location::{Hosted, Local};
    let (ledger, _) = bed.start(Durability::Process);
    for n in 0..5u8 {
        let side = if n.is_multiple_of(2) { Local } else { Hosted };
        let kept = JudgementRecord { threshold: 0.625, ..judgement(f32::from(n) / 10.0, side, false) };
        judged(&ledger, &format!("r{n}"), n.into(), None, Some(kept)).await;
    }
    let other = |change: fn(&mut JudgementRecord)| {
        let mut other = judgement(0.9, Hosted, false);
        change(&mut other);
        Some(other)
    };
    judged(&ledger, "head", 7, None, other(|kept| kept.judge = "Probe(need-2)".into())).await;
    judged(&ledger, "lane", 8, None, other(|kept| kept.lane = "team".into())).await;
    judged(&ledger, "endless", 9, None, Some(judgement(0.75, Local, false))).await;
    let rows = ledger.counted("Probe(need-1)", "", 4).unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.at_us, row.score, row.threshold, row.side)).collect();
    let expected =
        [(2, 0.2, 0.625, Local), (3, 0.3, 0.625, Hosted), (4, 0.4, 0.625, Local), (9, 0.75, f32::INFINITY, Local)];
    assert_eq!(told, expected, "the last ones, the oldest first, to the bit");
    assert_eq!(ledger.counted("Probe(need-1)", "team", 9).unwrap().len(), 1);
    // Each of the hosted ones has cost something.
    let costs = ledger.hosted_costs(3, 10).unwrap();
    assert_eq!((costs.len(), costs.iter().all(|(_, cost)| cost.0 == 1)), (3, true), "{costs:?}");
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
    // Whoever asked again has said nothing.
    for (source, id) in [(crate::REASK, "d"), (crate::REGENERATE, "a")] {
        ledger.label(LabelRecord { source, kind: "implicit", ..label(id, 10, 0.0) }).await.unwrap();
    }
    let expected =
        |id: &str, score, wrong| crate::classify::Label::new(id, score, f32::INFINITY, Some(0.75), 0.125, wrong);
    let labels = ledger.labels("Probe(need-1)", false, 10).unwrap();
    assert_eq!(labels, [expected("d", 0.5, false), expected("a", 0.25, true)], "by the time of the label");
    assert_eq!(ledger.labels("Probe(need-1)", false, 1).unwrap(), [expected("a", 0.25, true)], "the newest");
    assert_eq!(ledger.label_of("Probe(need-1)", false, "a").unwrap(), Some(expected("a", 0.25, true)));
    assert_eq!(ledger.label_of("Probe(need-1)", false, "b").unwrap(), None);
    assert!(ledger.labels("Probe(need-2)", false, 10).unwrap().is_empty(), "scores of another head are others");
    let story = ledger.request("a").unwrap().unwrap();
    assert_eq!((story["labels"].as_array().unwrap().len(), &story["labels"][0]["value"]), (2, &0.25.into()));
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

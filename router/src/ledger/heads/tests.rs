//! What is compared of two heads, and which labels speak of a threshold, on either store.

use crate::classify::Label;
use crate::ledger::bed::{Bed, on_both_stores};
use crate::ledger::tests::learning::{judged, judgement, label};
use crate::ledger::{Durability, JudgementRecord, LabelRecord, Marks};
use crate::rollout::{Marked, Sent, Standing};
use policies::Location::{Hosted, Local};

on_both_stores! {
    marks_and_sides_of_two_heads_are_told_apart_by_lane_and_time;
    of_more_labels_than_are_read_a_trial_sees_the_first_and_a_watched_head_the_newest;
    steps_are_numbered_and_the_second_of_two_is_refused;
    a_shadows_word_counts_for_the_risk_only_where_it_shall_and_a_clients_goes_before_it;
    labels_and_doubts_are_told_of_each_judged_request;
}

fn by(judge: &str, lane: &str) -> Option<JudgementRecord> {
    Some(JudgementRecord { judge: judge.into(), lane: lane.into(), ..judgement(0.5, Local, false) })
}

fn shadow(request: &str, at_us: i64, value: f32) -> LabelRecord {
    LabelRecord { source: "shadow", kind: "verdict", ..label(request, at_us, value) }
}

async fn marks_and_sides_of_two_heads_are_told_apart_by_lane_and_time(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    judged(&ledger, "early", 1, None, by("Probe(new)", "")).await;
    judged(&ledger, "a", 10, None, by("Probe(new)", "")).await;
    judged(&ledger, "b", 11, None, by("Probe(old)", "")).await;
    judged(&ledger, "c", 12, None, by("Probe(new)", "research")).await;
    judged(&ledger, "d", 13, None, by("Heuristic", "")).await;
    for (n, id) in ["early", "a", "c", "d"].into_iter().enumerate() {
        ledger.label(label(id, 100 - n as i64, 0.25)).await.unwrap();
    }
    ledger.label(shadow("b", 50, 0.75)).await.unwrap();
    let marks = ledger.marks_of("", ("Probe(new)", "Probe(old)"), 10, Marks::First).unwrap();
    let told: Vec<_> = marks.iter().map(|mark| (mark.request.as_str(), mark.tried, mark.source.as_str())).collect();
    assert_eq!(told, [("b", false, "shadow"), ("a", true, "feedback")], "in the order in which it was said");
    assert!(matches!(&marks[1], Marked { hosted: false, value, .. } if *value == 0.25), "{marks:?}");
    let sent = ledger.sent_by("", ("Probe(new)", "Probe(old)"), 10).unwrap();
    let told: Vec<_> = sent.iter().map(|Sent { tried, hosted, .. }| (*tried, *hosted)).collect();
    assert_eq!(told, [(true, false), (false, false)]);
    assert_eq!(ledger.labels_since(60).unwrap(), (4, Some(100)));
}

async fn of_more_labels_than_are_read_a_trial_sees_the_first_and_a_watched_head_the_newest(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    for (n, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
        judged(&ledger, id, 10 + n as i64, None, by(if n % 2 == 0 { "Probe(new)" } else { "Probe(old)" }, "")).await;
        ledger.label(label(id, 50 + n as i64, 0.25)).await.unwrap();
    }
    let of = |which, most| {
        let marks = ledger.so_many_marks_of("", ("Probe(new)", "Probe(old)"), 0, (which, most)).unwrap();
        marks.into_iter().map(|mark| mark.request).collect::<Vec<_>>()
    };
    assert_eq!(
        (of(Marks::First, 3), of(Marks::Newest, 3)),
        (["a", "b", "c"].map(String::from).to_vec(), ["b", "c", "d"].map(String::from).to_vec())
    );
    assert_eq!(of(Marks::First, 9), of(Marks::Newest, 9), "and in the order in which it was said");
}

async fn steps_are_numbered_and_the_second_of_two_is_refused(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    let standing = |configured: &str| Standing::of(&ledger.head_steps().unwrap(), "lane", configured);
    let first = standing("old").try_out("new", 0.25, "trained".into()).unwrap();
    let second = standing("old").try_out("other", 0.25, "by hand".into()).unwrap();
    assert!(ledger.put_step(&first, Some(b"no head")).unwrap());
    assert!(!ledger.put_step(&second, Some(b"nor this")).unwrap());
    assert_eq!(ledger.head_steps().unwrap(), [first]);
    let registered: Vec<String> = ledger.registered_heads().unwrap().into_iter().map(|(version, _)| version).collect();
    assert_eq!(registered, ["new"], "nothing was written of the second one");
    assert!(ledger.head("new").unwrap_err().to_string().contains("`new`"), "it is no head");
    let promoted = bed.attach();
    let step = standing("old").promote(None, "verdict", "not worse".into()).unwrap();
    assert!(promoted.put_step(&step, None).unwrap(), "by another process");
    assert_eq!((standing("old").judges(), standing("newer").judges()), ("new", "newer"));
}

async fn a_shadows_word_counts_for_the_risk_only_where_it_shall_and_a_clients_goes_before_it(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    judged(&ledger, "a", 1, None, Some(judgement(0.25, Local, false))).await;
    judged(&ledger, "b", 2, None, Some(judgement(0.5, Hosted, false))).await;
    for id in ["a", "b"] {
        ledger.label(shadow(id, 3, 0.0)).await.unwrap();
    }
    ledger.label(LabelRecord { source: "shadow-model", ..shadow("b", 4, 1.0) }).await.unwrap();
    assert!(ledger.labels("Probe(need-1)", false, 10).unwrap().is_empty());
    let drawn = [Label::drawn("a", 0.25, true), Label::drawn("b", 0.5, true)];
    assert_eq!(
        ledger.labels("Probe(need-1)", true, 10).unwrap(),
        drawn,
        "also of what was answered by the hosted side"
    );
    // A client found the local answer good: so it is, and it was drawn.
    ledger.label(label("a", 5, 1.0)).await.unwrap();
    assert_eq!(ledger.label_of("Probe(need-1)", true, "a").unwrap(), Some(Label::drawn("a", 0.25, false)));
    // Of a hosted answer a client's word says nothing of the local one.
    ledger.label(label("b", 6, 1.0)).await.unwrap();
    assert_eq!(ledger.label_of("Probe(need-1)", true, "b").unwrap(), Some(drawn[1]));
}

async fn labels_and_doubts_are_told_of_each_judged_request(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    judged(&ledger, "a", 1, None, Some(judgement(0.25, Local, false))).await;
    judged(&ledger, "b", 2, None, Some(judgement(0.5, Hosted, false))).await;
    ledger.label(shadow("a", 3, 0.5)).await.unwrap();
    ledger.label(label("a", 4, 1.0)).await.unwrap();
    let rows = ledger.judged(10).unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.request.as_str(), row.labels.clone(), row.doubt)).collect();
    let said = vec![("feedback".to_owned(), 1.0), ("shadow".to_owned(), 0.5)];
    assert_eq!(told, [("b", vec![], None), ("a", said, None)]);
}

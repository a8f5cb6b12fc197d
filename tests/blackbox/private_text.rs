//! Names, addresses and health in free text: looked for when that is switched on, and what is found sets a class like any
//! other finding, without a word of it in an error, a record or a log.

use crate::detectors::{decided, facts, pair, recorded, refused};
use serde_json::{Value, json};
use tests::chat;
use tests::gateway::header;

const HEALTH: &str = "I was diagnosed with asthma last year and take prednisone every day.";
const NAME: &str = "My name is Charlotte Baker and I would like to cancel my subscription.";
const QUESTION: &str = "What are the symptoms of asthma?";
/// Restricted data stays; free text is read.
const READ: &str =
    "[residency.classes.restricted]\nlocations = [\"local\"]\n[residency.detectors.text]\nenabled = true\n";

#[tokio::test]
async fn health_in_words_stays_and_the_refusal_names_the_kind_and_not_the_words() {
    let (house, hosted, gateway) = pair(READ).await;
    let answer = gateway.chat(&chat("auto", HEALTH)).await;
    assert_eq!(header(&answer, "x-sluice-route"), Some("local"));
    let told = gateway.tell_with(&chat("big", HEALTH), &[("x-request-id", "private-text")]).await;
    let text = told.text();
    assert_eq!(told.status, 403, "{text}");
    assert!(text.contains("health_text") && text.contains("restricted") && !text.contains("asthma"), "{text}");
    assert_eq!((house.count(), hosted.count()), (1, 0));
    let record = recorded(&gateway, "private-text").await;
    assert!(record.contains("health_text") && !record.contains("prednisone"), "{record}");
    assert!(!gateway.log.lock().contains("prednisone"), "the log has it");
    assert_eq!(gateway.tell(&chat("big", QUESTION)).await.status, 200);
}

#[tokio::test]
async fn what_is_found_joins_what_patterns_find_and_explain_tells_the_same() {
    let (_house, _hosted, gateway) = pair(READ).await;
    let body = chat("auto", &format!("{NAME} Write to ada@example.org.\n{HEALTH}"));
    let decided = decided(&gateway, &body).await;
    let facts = serde_json::from_str::<Value>(&decided).expect("JSON")["facts"].clone();
    assert_eq!((facts["class"].as_str(), facts["class_by"].as_str()), (Some("restricted"), Some("content")));
    let of = |kind: &str, class: &str| json!({"kind": kind, "variety": null, "class": class, "count": 1});
    assert_eq!(
        facts["detected"],
        json!([of("email", "confidential"), of("person_name", "confidential"), of("health_text", "restricted")])
    );
}

#[tokio::test]
async fn it_is_off_unless_switched_on_and_kinds_classes_and_windows_are_as_configured() {
    let off = READ.replace("enabled = true", "most_windows = 9");
    let (_house, _hosted, gateway) = pair(&off).await;
    assert_eq!(facts(&gateway, HEALTH).await["class"], "internal");
    assert!(!gateway.cli(&["check"])["detectors"]["look_for"].to_string().contains("health_text"));

    let other = format!(
        "{READ}kinds = [\"person_name\"]\nclasses = {{ person_name = \"restricted\" }}\nmost_windows = 2\n\
         [residency.detectors]\nkinds = []\n\
         unscanned = \"confidential\"\n"
    );
    let (_house, _hosted, gateway) = pair(&other).await;
    let named = facts(&gateway, NAME).await;
    assert_eq!((named["class"].as_str(), named["class_by"].as_str()), (Some("restricted"), Some("content")));
    assert_eq!(facts(&gateway, HEALTH).await["class"], "internal");
    // The last two windows are read; what lies before them counts as not scanned.
    let long = facts(&gateway, &format!("{NAME}\n{QUESTION}\n{QUESTION} And why is it so common in towns?")).await;
    assert_eq!(
        (long["class"].as_str(), long["class_by"].as_str()),
        (Some("confidential"), Some("unscanned")),
        "{long}"
    );
    assert_eq!(gateway.cli(&["check"])["detectors"]["look_for"], json!(["person_name"]));

    let (_house, _hosted, wary) = pair(&format!("{READ}thresholds = {{ health_text = 0.0000000001 }}\n")).await;
    assert_eq!(facts(&wary, QUESTION).await["class"], "restricted");
}

#[test]
fn a_table_that_makes_no_sense_is_refused_by_its_key_with_the_nearest_known_one() {
    for (table, says) in [
        ("enabeld = true", "did you mean `enabled`"),
        ("kinds = [\"person_nam\"]", "did you mean `person_name`"),
        ("classes = { health_txt = \"restricted\" }", "did you mean `health_text`"),
        ("classes = { health_text = \"secret\" }", "secret"),
        ("thresholds = { health_text = 1.5 }", "between 0 and 1"),
        ("most_windows = 0", "most_windows"),
    ] {
        refused("[residency.detectors.text]", table, &[says, "detectors"]);
    }
}

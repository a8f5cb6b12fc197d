//! Values in other clothes, and what was configured, as placeholders.

use crate::masking::{answered, nowhere, start_with};
use serde_json::json;
use tests::gateway::{folder, run};
use tests::upstream::Play;
use tests::{HARD, chat, streamed, two_sides_as};

#[tokio::test]
async fn configured_names_and_encoded_values_go_out_as_placeholders_and_come_back_as_they_were() {
    let detectors = "[residency.detectors]\npatterns = [{ name = \"project\", regex = '\\bPRJ-\\d{4}\\b', class = \"restricted\" }]\n\
        words = [{ name = \"customers\", words = [\"Acme Works\"], class = \"restricted\" }]\n";
    let masks = "[residency.classes.restricted]\nlocations = [\"local\"]\n[residency.masking]\n\
        kinds = [\"payment_card\", \"email\", \"project\", \"customers\"]\n";
    let text = format!(
        "{HARD} PRJ-1234 for ACME works, PRJ-9999, bWFpbCBjYW5hcnkubG92ZWxhY2VAZXhhbXBsZS5vcmc=, ?m=canary.lovelace%40example.org \
         and ?c=4012%208888%208888%201881."
    );
    let sent = format!("{HARD} <CUSTOM_1> for <CUSTOM_2>, <CUSTOM_3>, <EMAIL_1>, ?m=<EMAIL_2> and ?c=<CARD_1>.");
    for letters in [1, 2, 3, 5, 8, 13, 400] {
        let (gateway, hosted, _house) = start_with(Play::repeat(letters), &format!("{detectors}{masks}")).await;
        for stream in [false, true] {
            let body = if stream { streamed("big", &text) } else { chat("big", &text) };
            let told = gateway.tell(&body).await;
            assert_eq!((told.status, told.said("x-sluice-route")), (200, "hosted"), "{}", told.text());
            assert_eq!(answered(&told, stream), text, "{letters} letters a piece");
            assert_eq!(hosted.last().json()["messages"][0]["content"], sent.as_str());
        }
        let kinds = json!([{"kind": "payment_card", "count": 1}, {"kind": "email", "count": 2}, {"kind": "configured", "count": 3}]);
        let decided = gateway.send("/v1/route", chat("big", &text).to_string(), &[]).await.json();
        assert_eq!(decided["facts"]["masked"]["kinds"], kinds);
        nowhere(&gateway, &hosted);
        for secret in ["PRJ-1234", "ACME", "bG92ZWxhY2", "4012%20"] {
            assert!(!gateway.log.lock().contains(secret), "{secret} is in the log");
        }
    }
    // Inside of a word it cannot be cut out, and stays.
    let (gateway, hosted, _house) = start_with(Play::repeat(4), &format!("{detectors}{masks}")).await;
    gateway.tell(&chat("big", "客Acme Works户")).await.error(403);
    assert_eq!(hosted.count(), 0);
    let bad = masks.replace("\"customers\"", "\"customer\"");
    let folder = folder(&format!("{}{detectors}{bad}", two_sides_as(&hosted, "parrot", &hosted, "parrot")));
    let checked = run(folder.path(), &["--config", "sluice.toml", "check"], "");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(said.contains("no kind `customer`, did you mean `customers`?"), "{said}");
}

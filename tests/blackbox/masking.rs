//! What is found in a request reaches a hosted model as placeholders, and the client as itself.
//!
//! The fake upstream repeats what it was sent, so that every value comes back as a placeholder, cut wherever it may be; its
//! log, the gateway's log and the files of the ledger are searched for the values.

use serde_json::{Value, json};
use tests::gateway::{Gateway, folder, run, run_json};
use tests::oracle::record;
use tests::upstream::{Play, Script};
use tests::{EASY, HARD, Told, Upstream, chat, eventually, sse, streamed, two_sides_as};

pub(crate) const CARD: &str = "4012 8888 8888 1881";
const MAIL: &str = "canary.lovelace@example.org";
const PHONE: &str = "+49 30 90998877";
/// What must be nowhere: parts, so that a value in another form is found, too.
const CANARIES: [&str; 4] = ["canary.lovelace", "8888 8888", "88888888", "90998877"];

pub(crate) const MASKS: &str = "[residency.classes.restricted]\nlocations = [\"local\"]\n[residency.masking]\nkinds = [\"payment_card\", \"email\", \"phone\"]\n";

pub(crate) async fn start_with(play: Play, residency: &str) -> (Gateway, Upstream, Upstream) {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    hosted.play("parrot", play);
    house.play("parrot", Play::repeat(7));
    let gateway = Gateway::start(&format!("{}{residency}", two_sides_as(&hosted, "parrot", &house, "parrot"))).await;
    (gateway, hosted, house)
}

pub(crate) async fn start(letters: usize) -> (Gateway, Upstream, Upstream) {
    start_with(Play::repeat(letters), MASKS).await
}

/// The text of an answer, whole or streamed, and every other text of it.
pub(crate) fn answered(told: &Told, stream: bool) -> String {
    if !stream {
        let text = &told.json()["choices"][0]["message"]["content"];
        return text.as_str().expect("a text").to_owned();
    }
    let payloads = sse::data(&told.body);
    assert_eq!(payloads.last().map(String::as_str), Some("[DONE]"), "{}", told.text());
    let chunks = payloads.iter().filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).expect("JSON"));
    let text = |chunk: Value| chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned();
    chunks.map(text).collect()
}

/// No file of the gateway and no line of its log has a value, nor has what the upstream saw.
pub(crate) fn nowhere(gateway: &Gateway, hosted: &Upstream) {
    let has = |bytes: &[u8], canary: &str| bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
    for canary in CANARIES {
        for seen in hosted.log() {
            assert!(!has(&seen.body, canary), "{canary} went out: {}", String::from_utf8_lossy(&seen.body));
            assert!(!format!("{:?}", seen.headers).contains(canary), "{canary} went out in a header");
        }
        assert!(!gateway.log.lock().contains(canary), "{canary} is in the log");
        for file in std::fs::read_dir(gateway.folder.path()).expect("a folder") {
            let path = file.expect("a file").path();
            assert!(!has(&std::fs::read(&path).expect("bytes"), canary), "{canary} is in {}", path.display());
        }
    }
}

#[tokio::test]
async fn values_go_out_as_placeholders_and_come_back_as_themselves_whole_and_streamed() {
    let text =
        format!("{HARD} Write to {MAIL} and {MAIL}, call {PHONE}, and pay with {CARD}. <EMAIL_1> is no address.");
    for letters in [1, 2, 3, 5, 8, 13, 400] {
        let (gateway, hosted, _house) = start(letters).await;
        for stream in [false, true] {
            let body = if stream { streamed("big", &text) } else { chat("big", &text) };
            let told = gateway.tell(&body).await;
            assert_eq!((told.status, told.said("x-sluice-route")), (200, "hosted"), "{}", told.text());
            assert_eq!(answered(&told, stream), text, "{letters} letters a piece");
            let sent = hosted.last().json()["messages"][0]["content"].as_str().expect("a text").to_owned();
            let expected = text.replace(MAIL, "<EMAIL_2>").replace(PHONE, "<PHONE_1>").replace(CARD, "<CARD_1>");
            assert_eq!(sent, expected, "one placeholder a value, and none that the client wrote");
        }
        nowhere(&gateway, &hosted);
    }
}

#[tokio::test]
async fn every_place_of_a_request_is_masked_and_unknown_fields_stay() {
    let (gateway, hosted, _house) = start(9).await;
    let arguments = json!({"to": MAIL, "lines": format!("first\n{CARD}")}).to_string();
    let body = json!({"model": "big", "x_own": {"kept": [1, 2.50], "note": MAIL}, "user": MAIL, "messages": [
        {"role": "system", "content": format!("You help {MAIL}.")},
        {"role": "user", "content": [{"type": "text", "text": format!("Pay {CARD} for")}, {"type": "text", "text": MAIL},
            {"type": "file", "file": {"filename": format!("letter {MAIL} 2.txt"), "file_data": "data:text/plain;base64,aGVsbG8gd29ybGQ="}}]},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function",
            "function": {"name": "send", "arguments": arguments}}]},
        {"role": "tool", "tool_call_id": "c", "content": json!({"sent": [MAIL]}).to_string()},
        {"role": "user", "content": "And now?"}],
        "tools": [{"type": "function", "function": {"name": "send", "description": format!("mails, as {MAIL}"),
            "parameters": {"type": "object", "properties": {"to": {"type": "string", "enum": [MAIL]}}}}}]});
    let told = gateway.tell(&body).await;
    assert_eq!((told.status, told.said("x-sluice-route")), (200, "hosted"), "{}", told.text());
    let sent = hosted.last();
    let plain = sent.body.iter().map(|byte| char::from(*byte)).collect::<String>();
    assert!(plain.contains(r#"{"kept":[1,2.5],"note":"<EMAIL_1>"}"#), "{plain}");
    let sent = sent.json();
    assert_eq!(sent["messages"][0]["content"], "You help <EMAIL_1>.");
    assert_eq!(sent["messages"][1]["content"][0]["text"], "Pay <CARD_1> for");
    assert_eq!(sent["messages"][1]["content"][2]["file"]["filename"], "letter <EMAIL_1> 2.txt");
    let said: Value = serde_json::from_str(
        sent["messages"][2]["tool_calls"][0]["function"]["arguments"].as_str().expect("arguments"),
    )
    .expect("arguments stay JSON");
    assert_eq!(said, json!({"to": "<EMAIL_1>", "lines": "first\n<CARD_1>"}));
    assert_eq!(sent["messages"][3]["content"], r#"{"sent":["<EMAIL_1>"]}"#);
    assert_eq!(sent["tools"][0]["function"]["parameters"]["properties"]["to"]["enum"][0], "<EMAIL_1>");
    nowhere(&gateway, &hosted);
}

#[tokio::test]
async fn arguments_of_tool_calls_are_restored_and_stay_json() {
    let text = format!("say \"{MAIL}\", then\n{CARD}");
    for letters in [1, 4, 6, 11] {
        let (gateway, hosted, _house) = start_with(Play::repeat_to_tool(letters), MASKS).await;
        let whole = gateway.tell(&chat("big", &text)).await.json();
        let arguments = &whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"];
        let mut pieces = String::new();
        let told = gateway.tell(&streamed("big", &text)).await;
        for data in sse::data(&told.body).iter().filter(|data| *data != "[DONE]") {
            let chunk: Value = serde_json::from_str(data).expect("JSON");
            let call = &chunk["choices"][0]["delta"]["tool_calls"][0];
            pieces.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
        }
        for said in [arguments.as_str().expect("arguments"), &pieces] {
            let said: Value = serde_json::from_str(said).expect("arguments are JSON");
            assert_eq!(said, json!({"said": text}));
        }
        nowhere(&gateway, &hosted);
    }
}

#[tokio::test]
async fn reasoning_and_several_choices_are_restored_each_for_itself() {
    let (gateway, hosted, _house) = start(5).await;
    let delta = |index: u64, delta: Value, finish: Value| {
        let choice = json!({"index": index, "delta": delta, "finish_reason": finish});
        format!(
            "data: {}\n\n",
            json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})
        )
    };
    let pieces = [
        delta(0, json!({"role": "assistant", "reasoning_content": "it is <EMA"}), Value::Null),
        delta(1, json!({"content": "b <EMAIL_1"}), Value::Null),
        delta(0, json!({"reasoning_content": "IL_1>."}), Value::Null),
        delta(0, json!({"content": "<email"}), Value::Null),
        delta(0, json!({"content": "_1> <EMAIL_9> <EMAIL_"}), Value::Null),
        delta(1, json!({"content": ">"}), json!("stop")),
        delta(0, json!({}), json!("stop")),
        "data: [DONE]\n\n".to_owned(),
    ];
    hosted.script("parrot", Script::stream(pieces));
    let told = gateway.tell(&streamed("big", &format!("about {MAIL}"))).await;
    let mut texts = std::collections::BTreeMap::<(u64, &str), String>::new();
    for data in sse::data(&told.body).iter().filter(|data| *data != "[DONE]") {
        let chunk: Value = serde_json::from_str(data).expect("JSON");
        let choice = &chunk["choices"][0];
        for field in ["content", "reasoning_content"] {
            let said = choice["delta"][field].as_str().unwrap_or_default();
            texts.entry((choice["index"].as_u64().expect("an index"), field)).or_default().push_str(said);
        }
    }
    assert_eq!(texts[&(0, "reasoning_content")], format!("it is {MAIL}."));
    // One that nobody gave, and one that the model broke off, are text.
    assert_eq!(texts[&(0, "content")], format!("{MAIL} <EMAIL_9> <EMAIL_"));
    assert_eq!(texts[&(1, "content")], format!("b {MAIL}"));
    nowhere(&gateway, &hosted);
}

/// A card in base64 over two lines, as mail wraps it.
const WRAPPED: &str =
    "dGhlIGNhcmQgdGhhdCBJIHBheSB3aXRoIGlzIDQwMTIgODg4OCA4ODg4IDE4ODEg\nYW5kIG5vYm9keSBrbm93cyBpdCBidXQgeW91";

#[tokio::test]
async fn what_cannot_be_masked_exactly_binds_as_before() {
    let (gateway, hosted, house) = start(9).await;
    let user = |content: Value| json!({"model": "auto", "messages": [{"role": "user", "content": content}]});
    let beside = format!("{HARD} {CARD}");
    let mut number = user(json!(beside));
    number["metadata"] = json!({"card": 4_012_888_888_881_881_u64});
    let mut key = user(json!(beside));
    key["x_own"] = json!({"4012888888881881": true});
    let mut probabilities = user(json!(beside));
    probabilities["logprobs"] = true.into();
    for (place, body) in [
        ("base64 in lines", user(json!(format!("{beside} {WRAPPED}")))),
        ("base64 of another kind", user(json!(format!("{beside} REU4OTM3MDQwMDQ0MDUzMjAxMzAwMA==")))),
        (
            "split parts",
            user(
                json!([{"type": "text", "text": format!("{beside}, 40128888")}, {"type": "text", "text": "88881881"}]),
            ),
        ),
        ("a number", number),
        ("a key", key),
        (
            "an address",
            user(
                json!([{"type": "text", "text": beside}, {"type": "image_url", "image_url": {"url": "https://h/4012888888881881"}}]),
            ),
        ),
        ("another kind", user(json!(format!("{beside}, IBAN DE89370400440532013000")))),
        ("a private key", user(json!(format!("{beside} -----BEGIN RSA PRIVATE KEY-----")))),
        ("a line in the middle", user(json!(format!("{beside}, and 4012 8888\n8888 1881")))),
        ("log-probabilities", probabilities),
    ] {
        let told = gateway.tell(&body).await;
        assert_eq!((told.said("x-sluice-route"), told.said("x-sluice-reason")), ("local", "residency"), "{place}");
        assert!(String::from_utf8_lossy(&house.last().body).contains(CARD), "{place}: the house gets it as it is");
        let mut pinned = body.clone();
        pinned["model"] = "big".into();
        let error = gateway.tell(&pinned).await.error(403).to_string();
        assert!(error.contains("restricted") && !error.contains("8888"), "{place}: {error}");
    }
    // The client's own word is not lowered either.
    let told = gateway.tell_with(&chat("auto", &beside), &[("x-sluice-data-class", "restricted")]).await;
    assert_eq!(told.said("x-sluice-reason"), "residency");
    assert_eq!(hosted.count(), 0);
    let told = gateway.tell(&user(json!(beside))).await;
    assert_eq!(told.said("x-sluice-route"), "hosted", "with nothing beside it, it goes masked");
}

#[tokio::test]
async fn the_house_gets_the_request_byte_for_byte_and_its_answer_is_left_alone() {
    let (gateway, hosted, house) = start(4).await;
    let text = format!("What is {MAIL}? <EMAIL_1>");
    let body = chat("small", &text);
    for stream in [false, true] {
        let mut body = body.clone();
        if stream {
            body["stream"] = true.into();
        }
        let told = gateway.tell(&body).await;
        assert_eq!((told.said("x-sluice-route"), answered(&told, stream)), ("local", text.clone()));
        assert_eq!(house.last().json()["messages"], body["messages"]);
    }
    assert_eq!(hosted.count(), 0);
}

#[tokio::test]
async fn record_route_and_explain_say_what_was_masked_and_nothing_of_it() {
    let (gateway, hosted, _house) = start(9).await;
    let body = chat("auto", &format!("{HARD} {MAIL}, {MAIL}, bob@example.org and {CARD}"));
    let decided = gateway.send("/v1/route", body.to_string(), &[]).await.text();
    let explained = run(gateway.folder.path(), &["--config", "sluice.toml", "--json", "explain"], &body.to_string());
    assert_eq!(String::from_utf8_lossy(&explained.stdout).trim_end(), decided);
    let told = gateway.tell(&body).await;
    let shown = record(&gateway, told.id()).await;
    assert_eq!(shown["decision"].to_string(), decided);
    let decided: Value = serde_json::from_str(&decided).expect("JSON");
    let facts = &decided["facts"];
    assert_eq!((facts["class"].as_str(), facts["class_by"].as_str()), (Some("restricted"), Some("content")));
    let kinds = json!([{"kind": "payment_card", "count": 1}, {"kind": "email", "count": 2}]);
    assert_eq!(facts["masked"], json!({"class": "internal", "kinds": kinds}));
    let of = |model: &str| {
        let candidates = decided["candidates"].as_array().expect("candidates").iter();
        candidates.clone().find(|candidate| candidate["model"] == model).expect("it is there").clone()
    };
    assert_eq!((of("big")["admitted"].as_bool(), of("big")["masked"].as_bool()), (Some(true), Some(true)));
    assert_eq!(of("small")["masked"], false);
    assert!(decided["explanation"].to_string().contains("Masked (1 payment_card, 2 email), it is `internal`."));
    nowhere(&gateway, &hosted);
}

#[tokio::test]
async fn a_session_keeps_its_numbers_and_goes_on_masked() {
    let (gateway, hosted, _house) = start(9).await;
    let session = [("x-sluice-session", "s-1")];
    let ask = async |body: Value| gateway.tell_with(&body, &session).await;
    let sent = || hosted.last().json()["messages"][0]["content"].as_str().expect("a text").to_owned();
    ask(chat("big", &format!("first {MAIL} {CARD}"))).await;
    assert_eq!(sent(), "first <EMAIL_1> <CARD_1>");
    // The last turn alone, the addresses in another order.
    let told = ask(chat("big", &format!("then bob@example.org and {MAIL}"))).await;
    assert_eq!((told.status, sent().as_str()), (200, "then <EMAIL_2> and <EMAIL_1>"), "{}", told.text());
    // Nothing of its own: what the session had went out masked, so this may go, too.
    let told = ask(chat("big", "thanks")).await;
    assert_eq!((told.status, sent().as_str()), (200, "thanks"), "{}", told.text());
    // Once something of it could not be masked, the session stays.
    ask(chat("big", "4012 8888\n8888 1881")).await.error(403);
    ask(chat("big", "thanks")).await.error(403);
    let other = gateway.tell(&chat("big", &format!("{MAIL} alone"))).await;
    assert_eq!((other.status, sent().as_str()), (200, "<EMAIL_1> alone"));
    nowhere(&gateway, &hosted);
}

#[tokio::test]
async fn after_a_restart_a_session_is_as_it_was_without_masking() {
    let (mut gateway, hosted, _house) = start(9).await;
    let session = [("x-sluice-session", "s-1")];
    assert_eq!(gateway.tell_with(&chat("big", &format!("pay {CARD}")), &session).await.status, 200);
    let folder = gateway.folder.clone();
    gateway.stop().await;
    let gateway = Gateway::serve(folder, &[]).await;
    gateway.tell_with(&chat("big", "thanks"), &session).await.error(403);
    assert_eq!(hosted.count(), 1);
}

#[tokio::test]
async fn needed_masks_only_what_could_not_go_otherwise() {
    let residency = format!("{MASKS}when = \"needed\"\n");
    let (gateway, hosted, _house) = start_with(Play::repeat(6), &residency).await;
    let sent = || hosted.last().json()["messages"][0]["content"].as_str().expect("a text").to_owned();
    let told = gateway.tell(&chat("big", &format!("write to {MAIL}"))).await;
    assert_eq!((answered(&told, false), sent()), (format!("write to {MAIL}"), format!("write to {MAIL}")));
    let told = gateway.tell(&chat("big", &format!("{MAIL} pays with {CARD}"))).await;
    assert_eq!(
        (answered(&told, false).as_str(), sent().as_str()),
        (&*format!("{MAIL} pays with {CARD}"), "<EMAIL_1> pays with <CARD_1>")
    );
}

#[tokio::test]
async fn only_the_listed_providers_get_placeholders_and_the_others_what_the_class_permits() {
    let (trusted, foreign, house) = (Upstream::start().await, Upstream::start().await, Upstream::start().await);
    for upstream in [&trusted, &foreign, &house] {
        upstream.play("parrot", Play::repeat(6));
    }
    let gateway = Gateway::start(&format!(
        "{}{}[models.far]\nprovider = \"foreign\"\nupstream = \"parrot\"\n{MASKS}providers = [\"foreign\"]\n",
        two_sides_as(&trusted, "parrot", &house, "parrot"),
        foreign.provider("foreign", "hosted", &[]),
    ))
    .await;
    let text = format!("write to {MAIL}");
    for (model, upstream, sent) in [("big", &trusted, text.as_str()), ("far", &foreign, "write to <EMAIL_1>")] {
        let told = gateway.tell(&chat(model, &text)).await;
        assert_eq!((told.status, answered(&told, false).as_str()), (200, text.as_str()), "{model}");
        assert_eq!(upstream.last().json()["messages"][0]["content"], sent);
    }
    gateway.tell(&chat("big", CARD)).await.error(403);
    assert_eq!(gateway.tell(&chat("far", CARD)).await.status, 200);
}

#[tokio::test]
async fn a_shadow_copy_is_masked_in_what_it_sends_and_in_what_is_kept() {
    let residency = format!("{MASKS}[experiments.compare]\nkind = \"shadow\"\nshare = \"100%\"\n");
    let (gateway, hosted, house) = start_with(Play::repeat(6), &residency).await;
    // One that the house answers and the hosted model shadows, and the other way around.
    for (words, route) in [(EASY, "local"), (HARD, "hosted")] {
        let text = format!("{words} {MAIL} {CARD}");
        let told = gateway.tell(&chat("auto", &text)).await;
        assert_eq!((told.said("x-sluice-route"), answered(&told, false)), (route, text));
    }
    let pairs = eventually("both shadows are stored", async || {
        let shadows = gateway.api("/api/experiments").await["shadows"].clone();
        (shadows.as_array().map(Vec::len) == Some(2)).then_some(shadows)
    })
    .await;
    for pair in pairs.as_array().expect("pairs") {
        for field in ["served_text", "shadow_text"] {
            let text = pair[field].as_str().expect("a text");
            assert!(text.ends_with("<EMAIL_1> <CARD_1>"), "{pair}");
        }
    }
    assert_eq!((hosted.count(), house.count()), (2, 2));
    assert!(String::from_utf8_lossy(&house.last().body).contains(MAIL), "the house gets it as it is");
    nowhere(&gateway, &hosted);
}

#[tokio::test]
async fn a_provider_s_error_is_the_client_s_own_again_and_in_no_log() {
    let (gateway, hosted, _house) = start(9).await;
    let refusal = json!({"error": {"message": "`<EMAIL_1>` cannot be \"mailed\"", "type": "invalid_request_error", "param": null, "code": null}});
    hosted.script("parrot", Script { status: 400, ..Script::json(refusal.to_string()) });
    let told = gateway.tell(&chat("big", &format!("write to {MAIL}"))).await;
    let error = told.error(400).to_string();
    assert!(error.contains(MAIL) && !error.contains("EMAIL_1"), "{error}");
    nowhere(&gateway, &hosted);
}

#[test]
fn masking_that_makes_no_sense_is_refused_by_its_key_and_check_shows_what_is_masked() {
    let rest = |masking: &str| {
        format!("[residency.classes.restricted]\nlocations = [\"local\"]\n[residency.masking]\n{masking}\n")
    };
    for (masking, says) in [
        ("kinds = []", "at least one kind"),
        ("kinds = [\"emial\"]", "did you mean `email`?"),
        ("kinds = [\"email\"]\nwhen = \"sometimes\"", "sometimes"),
        ("kind = [\"email\"]", "kinds"),
        ("kinds = [\"email\"]\nproviders = [\"nobody\"]", "no hosted provider `nobody`"),
        ("kinds = [\"email\"]\n[residency.detectors]\nkinds = [\"phone\"]", "no detector looks for `email`"),
        ("kinds = [\"email\"]\n[residency.detectors]\nmode = \"off\"", "no detector looks for `email`"),
    ] {
        let folder = folder(&rest(masking));
        let output = run(folder.path(), &["--config", "sluice.toml", "check"], "");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{masking}: {complaint}");
        assert!(complaint.contains(says) && complaint.contains("residency.masking"), "{masking}: {complaint}");
    }
    let folder = folder(&rest("kinds = [\"email\", \"payment_card\"]\nwhen = \"needed\""));
    let checked = run_json(folder.path(), &["--config", "sluice.toml", "--json", "check"], "");
    assert_eq!(checked["masking"], json!({"kinds": ["payment_card", "email"], "when": "needed", "providers": null}));
}

//! Masked requests in the second look, beside a local answer and in shadow copies.

use super::bench::{ask, text_of};
use super::puppet::{Line, SURE, Setting, Stage, UNSURE, answered};
use policies::Classes;
use policies::detect::{DetectConfig, Detectors, Kind};
use policies::mask::MaskRules;
use router::{Ask, Masking};
use serde_json::json;
use std::sync::Arc;

const MAIL: &str = "canary@example.org";

/// E-mail addresses are restricted, and masked.
fn setting() -> Setting {
    let restricted = Classes::standard().named("restricted").ok();
    let config = DetectConfig {
        kinds: Kind::ALL.map(|_| restricted),
        patterns: vec![],
        words: vec![],
        unscanned: None,
        most_bytes: 1 << 20,
        observe: false,
    };
    let masking = Masking { rules: MaskRules::new(&[Kind::Email], false), names: Arc::default() };
    Setting { masking: Some((masking, Arc::new(Detectors::new(config).unwrap()))), ..Setting::default() }
}

fn about(id: &str) -> Ask {
    ask(id, &format!("Compare {MAIL} with another."), &json!({"stream": true}))
}

/// What a model was sent.
fn sent(line: &Line) -> String {
    String::from_utf8(line.call.request.raw.body().to_vec()).unwrap()
}

/// Nothing that is kept of a request has the address.
fn nowhere(stage: &Stage, id: &str) {
    assert!(!stage.story(id).to_string().contains("canary"));
    for file in std::fs::read_dir(stage.ledger.place().file().unwrap().parent().unwrap()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
    }
}

#[tokio::test]
async fn a_hedge_gets_placeholders_and_the_local_model_beside_it_the_request_itself() {
    for (certainty, outcomes) in [(UNSURE, ["rejected", "ok"]), (SURE, ["ok", "cancelled"])] {
        let stage = Stage::new(setting());
        let asked = stage.answer_to(about("r"));
        let local = stage.local.next().await;
        local.token("local <EMAIL_1> ", certainty);
        let hosted = stage.hosted[0].next().await;
        assert!(sent(&local).contains(MAIL) && local.call.masked.is_none());
        assert!(sent(&hosted).contains("Compare <EMAIL_1> with") && !sent(&hosted).contains("canary"));
        hosted.text("hosted <EMA");
        hosted.read(1).await;
        local.token("local ", certainty);
        local.end();
        hosted.text("IL_1>");
        hosted.end();
        let text = text_of(answered(asked).await).await;
        // What a local model says is left alone.
        let hosted_answered = text.contains("hosted ") && text.contains(MAIL) && !text.contains("EMAIL_1");
        let local_answered = text.contains("local <EMAIL_1>") && !text.contains(MAIL);
        assert_eq!((hosted_answered, local_answered), (certainty == UNSURE, certainty == SURE), "{text}");
        assert_eq!(stage.outcomes("r", 2).await, outcomes);
        nowhere(&stage, "r");
    }
}

#[tokio::test]
async fn the_next_target_after_a_failure_gets_placeholders_too() {
    let stage = Stage::new(setting());
    let asked = stage.answer_to(about("r"));
    let local = stage.local.next().await;
    local.fail();
    let first = stage.hosted[0].next().await;
    first.fail();
    let second = stage.hosted[1].next().await;
    assert!(!sent(&first).contains("canary") && !sent(&second).contains("canary"));
    second.text("so <email_1>");
    second.end();
    assert!(text_of(answered(asked).await).await.contains(&format!("so {MAIL}")));
    assert_eq!(stage.outcomes("r", 3).await, ["error", "error", "ok"]);
    nowhere(&stage, "r");
}

#[tokio::test]
async fn a_shadow_copy_of_a_local_answer_is_masked_and_so_is_what_is_kept_of_both() {
    let mut setting = Setting { shadowed: true, ..setting() };
    setting.cascade.hedge = false;
    let stage = Stage::new(setting);
    let asked = stage.answer_to(about("r"));
    let local = stage.local.next().await;
    local.token("local ", SURE);
    local.token(&format!("says {MAIL}"), SURE);
    local.end();
    assert!(text_of(answered(asked).await).await.contains(MAIL));
    let shadow = stage.hosted[0].next().await;
    assert!(!sent(&shadow).contains("canary"));
    shadow.text("shadow says <EMAIL_1>");
    shadow.end();
    stage.ended("r", 2).await;
    let pair = stage.shadow().await;
    assert_eq!(
        (&pair["served_text"], &pair["shadow_text"]),
        (&json!("local says <EMAIL_1>"), &json!("shadow says <EMAIL_1>"))
    );
    nowhere(&stage, "r");
}

//! Feedback on one's own answers, exploration, and the risk target: what is learnt from is on record.

use serde_json::{Value, json};
use tests::gateway::{Gateway, run, write_config};
use tests::upstream::Upstream;
use tests::{EASY, HARD, Told, chat, eventually, streamed, two_sides};

/// `two_sides` with more keys in its `[router]`, and more sections.
async fn start(router: &str, more: &str) -> (Upstream, Upstream, Gateway) {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let rest = format!("{}{more}", two_sides(&hosted, &house).replace("[router]\n", &format!("[router]\n{router}")));
    let gateway = Gateway::start(&rest).await;
    (hosted, house, gateway)
}

async fn feedback(gateway: &Gateway, body: &Value, headers: &[(&str, &str)]) -> Told {
    gateway.send("/v1/feedback", body.to_string(), headers).await
}

async fn story(gateway: &Gateway, id: &str) -> Value {
    gateway.api(&format!("/api/requests/{id}")).await
}

fn create(gateway: &Gateway, name: &str) -> String {
    let output = run(gateway.folder.path(), &["keys", "create", "--json", "--name", name], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    format!("Bearer {}", key["key"].as_str().expect("a key"))
}

#[tokio::test]
async fn feedback_on_ones_own_answer_is_recorded_and_the_last_word_counts() {
    let (_hosted, _house, gateway) = start("", "").await;
    for (body, route) in [(chat("auto", EASY), "local"), (streamed("auto", HARD), "hosted")] {
        let told = gateway.tell(&body).await;
        let id = told.id().to_owned();
        assert_eq!(told.said("x-sluice-route"), route);
        let judgement = story(&gateway, &id).await["judgement"].clone();
        assert_eq!((&judgement["side"], &judgement["propensity"]), (&json!(route), &json!(1.0)), "{judgement}");
        assert_eq!((&judgement["explored"], &judgement["prompt_kept"]), (&json!(false), &json!(false)));
        let up = feedback(&gateway, &json!({"request_id": id, "rating": "up"}), &[]).await;
        assert_eq!((up.status, up.json()), (200, json!({"request_id": id, "recorded": true})));
        assert_ne!(up.id(), id, "the feedback is a request of its own");
        let corrected =
            json!({"request_id": id, "score": 0.25, "correction": "canary-correction", "comment": "canary-comment"});
        assert_eq!(feedback(&gateway, &corrected, &[]).await.status, 200);
        let labels = story(&gateway, &id).await["labels"].clone();
        assert_eq!(labels.as_array().map(Vec::len), Some(1), "{labels}");
        let label = &labels[0];
        assert_eq!((&label["source"], &label["kind"]), (&json!("feedback"), &json!("score")), "{label}");
        assert_eq!((&label["value"], &label["corrected"]), (&json!(0.25), &json!(true)), "{label}");
        assert!(label["correction"].is_null() && label["comment"].is_null(), "only the fact is kept: {label}");
    }
    let pinned = gateway.tell(&chat("small", EASY)).await;
    let story = story(&gateway, pinned.id()).await;
    assert!(story["judgement"].is_null(), "what was pinned was not judged");
    assert_eq!(gateway.api("/api/spend").await["total"]["requests"], 3, "feedback costs nothing");
}

#[tokio::test]
async fn texts_are_kept_only_where_the_operator_allows_it() {
    let (_hosted, _house, gateway) = start("", "[learning]\nkeep_prompts = true\n").await;
    let told = gateway.tell(&chat("auto", EASY)).await;
    let body = json!({"request_id": told.id(), "correction": "Paris, since 987.", "comment": "short"});
    assert_eq!(feedback(&gateway, &body, &[]).await.status, 200);
    let story = story(&gateway, told.id()).await;
    let label = &story["labels"][0];
    assert_eq!((&label["kind"], &label["value"]), (&json!("correction"), &json!(0.0)));
    assert_eq!((&label["correction"], &label["comment"]), (&json!("Paris, since 987."), &json!("short")));
    assert_eq!(story["judgement"]["prompt_kept"], true);
}

#[tokio::test]
async fn a_foreign_request_is_answered_as_one_that_does_not_exist() {
    let (_hosted, _house, gateway) = start("", "").await;
    let nobodys = gateway.tell(&chat("auto", EASY)).await.id().to_owned();
    let (mine, other) = (create(&gateway, "mine"), create(&gateway, "other"));
    let as_key = |key: &str| [("authorization".to_owned(), key.to_owned())];
    let ask = async |key: &str, body: &Value| {
        let headers = as_key(key);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        feedback(&gateway, body, &headers).await
    };
    let told = eventually("both keys count", async || {
        // Until a key is asked for, requests are nobody's.
        gateway.tell(&chat("auto", EASY)).await.status.eq(&401).then_some(())?;
        let second = gateway.tell_with(&chat("auto", EASY), &[("authorization", &other)]).await;
        let first = gateway.tell_with(&chat("auto", EASY), &[("authorization", &mine)]).await;
        ((first.status, second.status) == (200, 200)).then_some(first)
    })
    .await;
    let up = |id: &str| json!({"request_id": id, "rating": "up"});
    let unknown = ask(&other, &up("no-such-request")).await.error(404);
    for foreign in [told.id(), nobodys.as_str()] {
        assert_eq!(ask(&other, &up(foreign)).await.error(404), unknown, "nothing is learnt about it");
    }
    assert_eq!(ask(&mine, &up(told.id())).await.status, 200);
    feedback(&gateway, &up(told.id()), &[]).await.error(401);
    let labels = story(&gateway, told.id()).await["labels"].clone();
    assert_eq!(labels.as_array().map(Vec::len), Some(1), "{labels}");
}

#[tokio::test]
async fn what_is_not_understood_is_refused_and_names_the_field() {
    let (_hosted, _house, gateway) = start("", "").await;
    let id = gateway.tell(&chat("auto", EASY)).await.id().to_owned();
    for (body, param) in [
        (json!({"rating": "up"}), "request_id"),
        (json!({"request_id": 7, "rating": "up"}), "request_id"),
        (json!({"request_id": id}), "rating"),
        (json!({"request_id": id, "rating": "good"}), "rating"),
        (json!({"request_id": id, "rating": true}), "rating"),
        (json!({"request_id": id, "score": 2}), "score"),
        (json!({"request_id": id, "score": "0.5"}), "score"),
        (json!({"request_id": id, "rating": "up", "score": 1}), "score"),
        (json!({"request_id": id, "rating": "up", "correction": ["x"]}), "correction"),
        (json!({"request_id": id, "rating": "up", "ratings": "up"}), "ratings"),
    ] {
        let error = feedback(&gateway, &body, &[]).await.error(400);
        assert_eq!((error["param"].as_str(), error["type"].as_str()), (Some(param), Some("invalid_request_error")));
    }
    for body in ["", "{", "[]", "\"up\"", "null"] {
        gateway.send("/v1/feedback", body, &[]).await.error(400);
    }
    let large = json!({"request_id": id, "rating": "up", "comment": "x".repeat(100_000)});
    feedback(&gateway, &large, &[]).await.error(413);
    gateway.send("/v1/feedback", "{}", &[("content-type", "text/plain")]).await.error(415);
    gateway.get("/v1/feedback").await.error(405);
    assert_eq!(story(&gateway, &id).await["labels"], json!([]), "nothing of it was taken");
}

#[tokio::test]
async fn exploration_turns_a_preference_and_is_on_record_with_its_propensity() {
    let (hosted, house, gateway) = start("exploration = \"100%\"\n", "").await;
    for (prompt, route) in [(EASY, "hosted"), (HARD, "local")] {
        let told = gateway.tell(&chat("auto", prompt)).await;
        assert_eq!((told.said("x-sluice-route"), told.said("x-sluice-reason")), (route, "exploration"));
        let judgement = story(&gateway, told.id()).await["judgement"].clone();
        assert_eq!((&judgement["side"], &judgement["explored"]), (&json!(route), &json!(true)), "{judgement}");
        assert_eq!(judgement["propensity"], 1.0);
    }
    for (model, headers, route, reason) in [
        ("auto", vec![("x-sluice-data-class", "restricted")], "local", "residency"),
        ("auto", vec![("x-sluice-route", "local")], "local", "header"),
        ("big", vec![], "hosted", "pinned"),
    ] {
        let told = gateway.tell_with(&chat(model, EASY), &headers).await;
        assert_eq!((told.said("x-sluice-route"), told.said("x-sluice-reason")), (route, reason));
    }
    assert_eq!((hosted.count(), house.count()), (2, 3));
}

#[tokio::test]
async fn a_risk_target_sends_everything_hosted_until_labels_show_that_it_holds() {
    let (_hosted, _house, mut gateway) =
        start("risk = \"40%\"\nrisk_confidence = \"80%\"\nexploration = \"50%\"\n", "").await;
    let state = async |gateway: &Gateway| gateway.api("/api/router").await;
    let before = state(&gateway).await;
    assert_eq!((&before["risk"]["state"], &before["threshold"]), (&json!("learning"), &json!(0.0)), "{before}");
    gateway.logged("the risk target is not shown yet: what can go hosted goes hosted").await;
    let most = 400;
    for n in 0.. {
        assert!(n < most, "{}", state(&gateway).await);
        let told = gateway.tell(&chat("auto", EASY)).await;
        let (route, reason) = (told.said("x-sluice-route"), told.said("x-sluice-reason"));
        if route == "local" {
            assert_eq!(reason, "exploration", "only what is explored stays");
            let up = json!({"request_id": told.id(), "rating": "up"});
            assert_eq!(feedback(&gateway, &up, &[]).await.status, 200);
            if state(&gateway).await["risk"]["state"] == "holding" {
                break;
            }
        }
    }
    let holding = state(&gateway).await;
    let bound = holding["risk"]["bound"].as_f64().expect("a bound");
    assert!(bound <= 0.4 && holding["risk"]["wrong"] == 0, "{holding}");
    let metrics = gateway.admin_get("/metrics").await.text();
    assert!(metrics.lines().any(|line| line.starts_with("sluice_risk_holding") && line.ends_with(" 1")), "{metrics}");
    gateway.stop().await;
    let gateway = Gateway::serve(gateway.folder.clone(), &[]).await;
    assert_eq!(state(&gateway).await["risk"], holding["risk"], "labels outlive the process");
    write_config(gateway.folder.path(), "[router]\nrisk = \"5%\"\nhosted_share = \"30%\"\n");
    let output = run(gateway.folder.path(), &["check"], "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(64) && said.contains("`router.hosted_share` and `router.risk`"), "{said}");
}

//! Who answers, and why.

use serde_json::{Value, json};
use tests::chat;
use tests::gateway::{Gateway, header, run};
use tests::upstream::Upstream;

const EASY: &str = "What is the capital of France?";
const HARD: &str =
    "Prove step by step that the algorithm terminates, derive its complexity and compare the trade-offs in detail.";

async fn pair() -> (Upstream, Upstream, Gateway) {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let rest = format!(
        "{}{}[router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\n\
         [[rules]]\nwhen = {{ tag = \"job=nightly\" }}\nroute = \"local\"\n[residency.classes.confidential]\n\
         locations = [\"local\", \"hosted\"]\nregions = [\"eu\"]\n",
        house.provider("house", "local", &[("small", "echo")]),
        hosted.provider("hosted", "hosted", &[("big", "echo")]),
    );
    let gateway = Gateway::start(&rest).await;
    (house, hosted, gateway)
}

#[tokio::test]
async fn easy_requests_stay_and_hard_ones_go() {
    let (house, hosted, gateway) = pair().await;
    for (prompt, route, model) in [(EASY, "local", "small"), (HARD, "hosted", "big")] {
        let response = gateway.chat(&chat("auto", prompt)).await;
        let said = |name| header(&response, name);
        assert_eq!(said("x-sluice-route"), Some(route));
        assert_eq!(said("x-sluice-model"), Some(model));
        assert_eq!((said("x-sluice-reason"), said("x-sluice-attempts")), (Some("classifier"), Some("1")));
        let score: f64 = said("x-sluice-score").expect("a score").parse().expect("a number");
        assert_eq!(score >= 0.5, route == "hosted");
        assert!(said("x-sluice-overhead-ms").expect("a time").parse::<f64>().expect("a number") < 1_000.0);
        let cost = said("x-sluice-cost-usd").expect("a cost");
        assert_eq!(cost == "0.000000", route == "local", "{cost}");
    }
    assert_eq!((house.count(), hosted.count()), (1, 1));
}

#[tokio::test]
async fn headers_classes_pins_and_rules_narrow_and_say_so() {
    let (_house, hosted, gateway) = pair().await;
    for (model, prompt, headers, status, route, reason) in [
        ("auto", HARD, vec![("x-sluice-route", "local")], 200, Some("local"), "header"),
        ("auto", EASY, vec![("x-sluice-route", "hosted")], 200, Some("hosted"), "header"),
        ("big", EASY, vec![], 200, Some("hosted"), "pinned"),
        ("small", HARD, vec![], 200, Some("local"), "pinned"),
        ("auto", HARD, vec![("x-sluice-data-class", "restricted")], 200, Some("local"), "residency"),
        ("auto", HARD, vec![("x-sluice-data-class", "confidential")], 200, Some("local"), "residency"),
        ("auto", HARD, vec![("x-sluice-data-class", "public")], 200, Some("hosted"), "classifier"),
        ("auto", HARD, vec![("x-sluice-tags", "job=nightly")], 200, Some("local"), "rule"),
        ("big", EASY, vec![("x-sluice-data-class", "restricted")], 403, None, "residency"),
        (
            "auto",
            EASY,
            vec![("x-sluice-data-class", "restricted"), ("x-sluice-route", "hosted")],
            403,
            None,
            "residency",
        ),
        ("big", EASY, vec![("x-sluice-route", "local")], 422, None, "route"),
    ] {
        let before = hosted.count();
        let response = gateway.chat_with(&chat(model, prompt), &headers).await;
        let shown = format!("{model} {headers:?}");
        assert_eq!(response.status(), status, "{shown}");
        assert_eq!(header(&response, "x-sluice-route"), route, "{shown}");
        assert_eq!(header(&response, "x-sluice-reason"), Some(reason), "{shown}");
        let went = hosted.count() - before;
        assert_eq!(went, usize::from(route == Some("hosted")), "{shown}");
    }
}

#[tokio::test]
async fn the_decision_can_be_asked_for_and_is_the_one_that_is_taken() {
    let (house, hosted, gateway) = pair().await;
    for (prompt, headers) in [(EASY, vec![]), (HARD, vec![]), (HARD, vec![("x-sluice-data-class", "restricted")])] {
        let mut request = gateway.post("/v1/route").body(chat("auto", prompt).to_string());
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        let decision: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        let before = house.count() + hosted.count();
        let arguments = ["--config", "sluice.toml", "--json", "explain"];
        let class = headers.first().map(|(_, class)| *class);
        let more: Vec<&str> =
            arguments.into_iter().chain(class.iter().flat_map(|class| ["--data-class", class])).collect();
        let output = run(gateway.folder.path(), &more, &chat("auto", prompt).to_string());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let response = gateway.chat_with(&chat("auto", prompt), &headers).await;
        assert_eq!(house.count() + hosted.count(), before + 1, "asking dials nobody");
        for shown in [&decision, &explained] {
            assert_eq!(shown["route"].as_str(), header(&response, "x-sluice-route"));
            assert_eq!(shown["model"].as_str(), header(&response, "x-sluice-model"));
            assert_eq!(shown["reason"].as_str(), header(&response, "x-sluice-reason"));
            assert_eq!(shown["plan"][0], shown["model"]);
        }
        let candidates = decision["candidates"].as_array().expect("candidates");
        assert_eq!(candidates.len(), 2);
        let strict = class.is_some();
        let big = candidates.iter().find(|candidate| candidate["model"] == "big").expect("big");
        assert_eq!(big["admitted"], !strict);
        assert_eq!(big["refused_by"].as_str(), strict.then_some("residency"));
        assert_eq!(big["rank"].is_null(), strict);
    }
    let spend = gateway.api("/api/spend").await;
    assert_eq!(spend["total"]["requests"], 3, "asking is not charged");
}

#[tokio::test]
async fn what_is_asked_explained_and_kept_is_the_same_text_and_says_it_in_words() {
    for (prompt, class, says) in [
        (HARD, None, "on requests go to it."),
        (EASY, None, "the hosted model would have gone first."),
        (HARD, Some("restricted"), "Without `residency` big would have been admitted."),
    ] {
        // A gateway of its own: each answer moves the threshold.
        let (_house, _hosted, gateway) = pair().await;
        let headers: Vec<(&str, &str)> = class.iter().map(|class| ("x-sluice-data-class", *class)).collect();
        let body = chat("auto", prompt);
        let decided = gateway.send("/v1/route", body.to_string(), &headers).await.text();
        let mut arguments = vec!["--config", "sluice.toml", "--json", "explain"];
        arguments.extend(class.iter().flat_map(|class| ["--data-class", *class]));
        let explained = run(gateway.folder.path(), &arguments, &body.to_string());
        assert_eq!(String::from_utf8_lossy(&explained.stdout).trim_end(), decided);
        let answer = gateway.chat_with(&body, &headers).await;
        let id = header(&answer, "x-sluice-request-id").expect("an id");
        let story = gateway.api(&format!("/api/requests/{id}")).await;
        assert_eq!(story["decision"].to_string(), decided, "the record");
        let words: Vec<&str> =
            story["explanation"].as_array().expect("sentences").iter().filter_map(Value::as_str).collect();
        assert!(words.iter().any(|sentence| sentence.contains(says)), "{words:?}");
    }
}

#[tokio::test]
async fn models_are_listed_with_auto_first() {
    let (_house, _hosted, gateway) = pair().await;
    let list: Value = gateway
        .client
        .get(format!("{}/v1/models", gateway.data))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let ids: Vec<&str> =
        list["data"].as_array().expect("a list").iter().filter_map(|model| model["id"].as_str()).collect();
    assert_eq!(ids, ["auto", "big", "small"]);
    let one: Value = gateway
        .client
        .get(format!("{}/v1/models/big", gateway.data))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!((one["id"].as_str(), one["object"].as_str()), (Some("big"), Some("model")));
}

#[tokio::test]
async fn a_shadowed_request_is_answered_by_the_other_side_too_and_restricted_data_never_is() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let rest = format!(
        "{}{}[router]\nlocal = \"small\"\nhosted = \"big\"\nclassifier = \"heuristic\"\n[experiments.all]\nkind = \"shadow\"\nshare = \"100%\"\n",
        house.provider("house", "local", &[("small", "echo")]),
        hosted.provider("hosted", "hosted", &[("big", "echo")]),
    );
    let gateway = Gateway::start(&rest).await;
    gateway.chat_with(&chat("auto", HARD), &[("x-sluice-data-class", "restricted")]).await;
    assert_eq!(gateway.chat(&chat("auto", EASY)).await.status(), 200);
    let pairs = tests::eventually("the shadow is stored", async || {
        let shadows = gateway.api("/api/experiments").await["shadows"].clone();
        (shadows.as_array().map(Vec::len) == Some(1)).then_some(shadows)
    })
    .await;
    assert_eq!((pairs[0]["served_model"].as_str(), pairs[0]["shadow_model"].as_str()), (Some("small"), Some("big")));
    assert_eq!(pairs[0]["shadow_text"], "one two three four five");
    assert_eq!((house.count(), hosted.count()), (2, 1));
    let story = gateway.api(&format!("/api/requests/{}", pairs[0]["request_id"].as_str().expect("an id"))).await;
    let purposes: Vec<&str> = story["attempt_log"]
        .as_array()
        .expect("attempts")
        .iter()
        .filter_map(|attempt| attempt["purpose"].as_str())
        .collect();
    assert_eq!(purposes, ["answer", "shadow"]);
    assert_eq!(json!(null), story["refusal"]);
}

#[tokio::test]
async fn azure_is_spoken_in_both_forms() {
    let upstream = Upstream::start().await;
    let provider = |name: &str, version: &str| {
        format!(
            "[providers.{name}]\nkind = \"azure\"\nbase_url = \"{}\"\nregion = \"eu\"\napi_key_env = \"AZURE_KEY\"\n{version}\n\
             [models.{name}]\nprovider = \"{name}\"\nupstream = \"echo\"\n",
            upstream.root
        )
    };
    let rest = format!("{}{}", provider("newer", ""), provider("older", "api_version = \"2024-10-21\""));
    let folder = std::sync::Arc::new(tempfile::tempdir().expect("a folder"));
    let gateway = Gateway::start_in(folder, &rest, &[("AZURE_KEY", "azure-key")]).await;
    for model in ["newer", "older"] {
        assert_eq!(gateway.chat(&chat(model, "x")).await.status(), 200);
    }
    let paths: Vec<String> = upstream.log().iter().map(|seen| seen.path.clone()).collect();
    assert_eq!(
        paths,
        ["/openai/v1/chat/completions", "/openai/deployments/echo/chat/completions?api-version=2024-10-21"]
    );
    for seen in upstream.log() {
        assert_eq!(seen.headers["api-key"], "azure-key");
        assert!(!seen.headers.contains_key("authorization"));
    }
}

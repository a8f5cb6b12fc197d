//! A server in the house is as good a local side as the engine in process.

use serde_json::{Value, json};
use tests::gateway::{Gateway, header};
use tests::upstream::{Nobody, Play, Script, provider};
use tests::{EASY, HARD, Upstream, chat, eventually, streamed, two_sides};

const OFTEN: &str = "health_check = \"20ms\"\n";

/// The usual configuration, with looks at the server in the house that tests can wait for.
fn looked_at(hosted: &Upstream, house: &Upstream, rest: &str) -> String {
    two_sides(hosted, house).replace("location = \"local\"\n", &format!("location = \"local\"\n{OFTEN}")) + rest
}

/// Judged by the probe, whose threshold is known from the start, and every answer looked at.
fn judged(hosted: &Upstream, house: &Upstream, mode: &str) -> String {
    let cascade = format!("[router.cascade]\nmode = \"{mode}\"\nwidth = \"100%\"\n");
    looked_at(hosted, house, &cascade).replace("\"heuristic\"", "\"probe\"\nhosted_share = \"50%\"")
}

async fn state_of(gateway: &Gateway, model: &str) -> Option<String> {
    let ready: Value = gateway.client.get(format!("{}/readyz", gateway.data)).send().await.ok()?.json().await.ok()?;
    let models = ready["models"].as_array()?.iter();
    models.clone().find(|shown| shown["model"] == model)?["state"].as_str().map(str::to_owned)
}

async fn until(gateway: &Gateway, state: &str) {
    let what = format!("the model in the house is {state}");
    eventually(&what, || async { state_of(gateway, "small").await.filter(|is| is == state) }).await;
}

async fn record(gateway: &Gateway, id: &str) -> Value {
    let asked = gateway.client.get(format!("{}/api/requests/{id}", gateway.admin)).send().await;
    asked.expect("an answer").json().await.expect("JSON")
}

#[tokio::test]
async fn a_server_that_is_down_is_passed_over_before_anybody_waits_for_it() {
    let (hosted, nobody) = (Upstream::start().await, Nobody::new());
    let house = provider(&nobody.url, "house", "local", &[("small", "echo")]);
    let gateway = Gateway::start(&format!(
        "{}{}[router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\n",
        hosted.provider("hosted", "hosted", &[("big", "echo")]),
        house.replace("[models", &format!("{OFTEN}[models")),
    ))
    .await;
    until(&gateway, "down").await;
    let response = gateway.chat(&chat("auto", EASY)).await;
    assert_eq!(header(&response, "x-sluice-route"), Some("hosted"));
    assert_eq!(header(&response, "x-sluice-attempts"), Some("1"), "nobody tried the one that is down");
}

#[tokio::test]
async fn a_server_that_loads_is_waited_for_as_the_engine_is() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    house.page("/health", 503, r#"{"error":{"code":503,"message":"Loading model"}}"#);
    let gateway = Gateway::start(&looked_at(&hosted, &house, "")).await;
    until(&gateway, "loading").await;
    let response = gateway.chat(&chat("auto", EASY)).await;
    assert_eq!(header(&response, "x-sluice-route"), Some("hosted"));
    house.page("/health", 200, "{}");
    until(&gateway, "ready").await;
    let response = gateway.chat(&chat("auto", EASY)).await;
    assert_eq!(header(&response, "x-sluice-route"), Some("local"));
}

#[tokio::test]
async fn what_does_not_fit_into_its_context_goes_elsewhere() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    house.page("/props", 200, r#"{"total_slots":1,"default_generation_settings":{"n_ctx":64}}"#);
    let gateway = Gateway::start(&looked_at(&hosted, &house, "")).await;
    let long = format!("{EASY} {}", "word ".repeat(400));
    let body = chat("auto", &long);
    eventually("its window is known", || async {
        let response = gateway.chat_with(&body, &[("x-sluice-route", "local")]).await;
        (response.status() == 400).then_some(())
    })
    .await;
    let response = gateway.chat_with(&body, &[("x-sluice-route", "local")]).await;
    let refused: Value = response.json().await.expect("JSON");
    assert_eq!(refused["error"]["code"], "context_length_exceeded");
    assert_eq!(header(&gateway.chat(&body).await, "x-sluice-route"), Some("hosted"));
}

#[tokio::test]
async fn requests_that_wait_there_count_against_the_longest_wait() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    house.page("/metrics", 200, "llamacpp:requests_deferred 0\n");
    house.play("echo", Play::events(3));
    let gateway =
        Gateway::start(&looked_at(&hosted, &house, "").replace("[router]\n", "[router]\nmax_first_token = \"5s\"\n"))
            .await;
    // It answers once: how long that took is what is predicted from.
    let told = tests::Told::of(gateway.post("/v1/chat/completions").body(streamed("auto", EASY).to_string())).await;
    assert_eq!(told.header("x-sluice-route"), Some("local"));
    house.page("/metrics", 200, "llamacpp:requests_deferred 100000000\n");
    eventually("the queue is seen", || async {
        let response = gateway.chat(&chat("auto", EASY)).await;
        (header(&response, "x-sluice-route") == Some("hosted")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn its_answers_get_a_second_look_and_the_client_what_it_asked_for() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&judged(&hosted, &house, "observe")).await;
    for body in [chat("auto", EASY), streamed("auto", EASY)] {
        let told = tests::Told::of(gateway.post("/v1/chat/completions").body(body.to_string())).await;
        assert_eq!(told.header("x-sluice-route"), Some("local"));
        let sent = house.last().json();
        assert_eq!((&sent["logprobs"], &sent["top_logprobs"]), (&json!(true), &json!(10)));
        let text = String::from_utf8(told.body.to_vec()).expect("text");
        assert!(!text.contains("top_logprobs") && text.contains("\"logprobs\":null"), "{text}");
        let id = told.header("x-sluice-request-id").expect("an id").to_owned();
        let look = record(&gateway, &id).await["cascade"].clone();
        let look = look.as_str().map_or(look.clone(), |text| serde_json::from_str(text).expect("JSON"));
        assert!(look["tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{look}");
    }
    // Whoever asks for them gets them, and they are looked at, too.
    let mut body = chat("auto", EASY);
    (body["logprobs"], body["top_logprobs"]) = (json!(true), json!(1));
    let told = tests::Told::of(gateway.post("/v1/chat/completions").body(body.to_string())).await;
    assert_eq!(house.last().json()["top_logprobs"], 1);
    let answer: Value = serde_json::from_slice(&told.body).expect("JSON");
    assert!(answer["choices"][0]["logprobs"]["content"].is_array(), "{answer}");
}

#[tokio::test]
async fn one_that_does_not_tell_is_asked_once_and_serves_all_the_same() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let refusing = Script { status: 400, ..Script::json(r#"{"error":{"message":"logprobs are not supported"}}"#) };
    house.script("echo", refusing);
    let gateway = Gateway::start(&judged(&hosted, &house, "on")).await;
    // Wrong with and without: the server's word is the client's, and nothing is concluded.
    let response = gateway.chat_with(&chat("auto", EASY), &[("x-sluice-route", "local")]).await;
    assert_eq!(response.status(), 400);
    assert_eq!(house.count(), 1, "a request that is not watched is sent once");
    house.forget();
    house.play("echo", Play::refusing("logprobs"));
    for asked in [2, 3] {
        let response = gateway.chat(&chat("auto", EASY)).await;
        assert_eq!((response.status().as_u16(), header(&response, "x-sluice-route")), (200, Some("local")));
        assert_eq!(house.count(), asked, "refused once, then never asked again");
        assert!(house.last().json().get("logprobs").is_none());
    }
}

#[tokio::test]
async fn a_provider_elsewhere_is_never_looked_at() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let text =
        two_sides(&hosted, &house).replace("location = \"hosted\"\n", &format!("location = \"hosted\"\n{OFTEN}"));
    let folder = tests::gateway::folder(&text);
    let output = tests::gateway::run(folder.path(), &["check"], "");
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("health_check"), "{output:?}");
    let gateway = Gateway::start(&looked_at(&hosted, &house, "")).await;
    until(&gateway, "ready").await;
    assert_eq!(header(&gateway.chat(&chat("auto", HARD)).await, "x-sluice-route"), Some("hosted"));
    assert!(hosted.log().iter().all(|seen| seen.method == "POST"));
    assert_eq!(hosted.connections(), 1);
}

//! Experiments on live traffic: both sides are compared, caps and residency hold, and a result acts only when it may.

use serde_json::{Value, json};
use tests::gateway::{Gateway, folder, run};
use tests::oracle::nanos;
use tests::upstream::{Play, Script, Upstream};
use tests::{EASY, HARD, chat, eventually, two_sides};
use tokio::task::JoinSet;

/// Both sides answer the same; `[experiments.x]` with these keys, and more sections.
async fn start(experiment: &str, more: &str) -> (Upstream, Upstream, Gateway) {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let rest = format!("{}{more}[experiments.x]\n{experiment}", two_sides(&hosted, &house));
    let gateway = Gateway::start(&rest).await;
    (hosted, house, gateway)
}

const SHADOW: &str = "kind = \"shadow\"\nshare = \"100%\"\njudge = \"normalised\"\nmargin = \"20%\"\n";

async fn told(gateway: &Gateway) -> Value {
    gateway.api("/api/experiments/x").await
}

/// Waits until so many pairs were judged.
async fn judged(gateway: &Gateway, pairs: u64) -> Value {
    eventually(&format!("{pairs} pairs are judged"), async || {
        let told = told(gateway).await;
        (told["whole"]["pairs"].as_u64() >= Some(pairs)).then_some(told)
    })
    .await
}

/// Asks and waits until the pair is there, so that none is passed over for want of a place.
async fn shadowed(gateway: &Gateway, body: &Value, headers: &[(&str, &str)], pairs: u64) {
    let answer = gateway.tell_with(body, headers).await;
    assert_eq!(answer.status, 200);
    judged(gateway, pairs).await;
}

async fn post(gateway: &Gateway, path: &str, body: &Value) -> (u16, Value) {
    let request = gateway.client.post(format!("{}{path}", gateway.admin)).body(body.to_string());
    let answer = request.header("content-type", "application/json").send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

fn saying(text: &str) -> Play {
    let body = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "said",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}});
    Play::Script(Script::json(body.to_string()))
}

#[tokio::test]
async fn shadowed_traffic_comes_to_a_verdict_and_can_be_exported() {
    let (hosted, house, gateway) = start(SHADOW, "").await;
    for n in 0..45 {
        shadowed(&gateway, &chat("auto", if n % 3 == 0 { HARD } else { EASY }), &[], n + 1).await;
    }
    let told = told(&gateway).await;
    assert_eq!((&told["verdict"], &told["whole"]["tally"]), (&json!("not_worse"), &json!([0, 45, 0])), "{told}");
    assert_eq!((hosted.count(), house.count()), (45, 45), "each side answered each of them, once");
    let pairs = told["pairs"].as_array().expect("pairs");
    assert!(pairs.iter().all(|pair| pair["left_model"] == "small" && pair["right_model"] == "big"), "{told}");
    assert!(pairs.iter().any(|pair| pair["shadow"] == "left") && pairs.iter().any(|pair| pair["shadow"] == "right"));
    let export = gateway.admin_get("/api/experiments/x/export").await.text();
    let lines: Vec<Value> = export.lines().map(|line| serde_json::from_str(line).expect("JSON Lines")).collect();
    assert_eq!(lines.len(), 45);
    assert!(lines.iter().all(|line| line["left"] == line["right"] && line["prompt"].is_array()), "{}", lines[0]);
    let listed = gateway.api("/api/experiments").await;
    assert_eq!(listed["experiments"][0]["verdict"], "not_worse");
    assert_eq!(listed["shadows"].as_array().map(Vec::len), Some(45));
    assert_eq!(gateway.admin_get("/api/experiments/y").await.status, 404);
}

#[tokio::test]
async fn the_days_money_is_held_to_the_nano_dollar_also_after_a_crash() {
    let cap = 2_500_000;
    let (hosted, _house, mut gateway) = start(&format!("{SHADOW}max_usd_per_day = \"0.0025\"\n"), "").await;
    let mut body = chat("small", EASY);
    body["max_tokens"] = 100.into();
    body["model"] = "auto".into();
    for _ in 0..60 {
        assert_eq!(gateway.tell_with(&body, &[("x-sluice-tags", "job=x")]).await.status, 200);
    }
    let spent = async |gateway: &Gateway| nanos(&told(gateway).await["spent_today_usd"]).expect("an amount");
    eventually("nothing runs any longer", async || {
        let pairs = told(&gateway).await;
        (pairs["recorded"] == pairs["whole"]["pairs"]).then_some(())
    })
    .await;
    let asked = hosted.count();
    assert!(asked > 0 && asked < 60, "the money was over before the requests: {asked}");
    let before = spent(&gateway).await;
    let ledger = gateway.api("/api/spend?group_by=route").await;
    let rows = ledger["rows"].as_array().expect("rows");
    let hosted_cost = rows.iter().find(|row| row["group"] == "hosted").and_then(|row| nanos(&row["cost_usd"]));
    assert_eq!(hosted_cost, Some(before), "the account and the ledger agree");
    assert!(before <= cap, "{before}");
    gateway.kill().await;
    let gateway = Gateway::serve(gateway.folder.clone(), &[]).await;
    assert_eq!(spent(&gateway).await, before, "a crash forgets nothing");
}

#[tokio::test]
async fn restricted_requests_are_shadowed_nowhere() {
    let (hosted, house, gateway) = start(SHADOW, "").await;
    for _ in 0..10 {
        let told = gateway.tell_with(&chat("auto", EASY), &[("x-sluice-data-class", "restricted")]).await;
        assert_eq!(told.said("x-sluice-route"), "local");
    }
    shadowed(&gateway, &chat("auto", EASY), &[], 1).await;
    assert_eq!((hosted.count(), house.count()), (1, 11), "only the last one");
}

#[tokio::test]
async fn a_shadow_that_hangs_delays_nobody_and_takes_a_bounded_number_of_places() {
    let (hosted, _house, gateway) = start(SHADOW, "").await;
    hosted.play("echo", Play::Hang);
    for _ in 0..40 {
        let told = gateway.tell_with(&chat("auto", EASY), &[("x-sluice-route", "auto")]).await;
        assert_eq!((told.status, told.said("x-sluice-route")), (200, "local"));
    }
    assert!((1..=8).contains(&hosted.count()), "{}", hosted.count());
}

/// A request that only the local side answers, sent and waiting there.
async fn client_in_the_house(gateway: &Gateway, house: &Upstream) -> JoinSet<()> {
    let before = house.count();
    let request = gateway.client.post(format!("{}/v1/chat/completions", gateway.data));
    let request = request.header("content-type", "application/json").body(chat("small", EASY).to_string());
    let mut client = JoinSet::new();
    client.spawn(async move { drop(request.send().await) });
    eventually("the client waits at the local side", async || (house.count() > before).then_some(())).await;
    client
}

async fn asks_hosted(gateway: &Gateway) {
    let told = gateway.tell_with(&chat("auto", HARD), &[("x-sluice-route", "auto")]).await;
    assert_eq!((told.status, told.said("x-sluice-route")), (200, "hosted"));
}

#[tokio::test]
async fn a_copy_for_the_local_side_waits_until_no_client_is_there() {
    let (hosted, house, gateway) = start(SHADOW, "").await;
    house.play("echo", Play::Hang);
    let client = client_in_the_house(&gateway, &house).await;
    for _ in 0..3 {
        asks_hosted(&gateway).await;
    }
    // The copies have been made by now, or are about to be: whoever does not wait hangs, and is never judged.
    let restricted = [("x-sluice-data-class", "restricted")];
    house.play("echo", saying("one two three four five"));
    assert_eq!(gateway.tell_with(&chat("auto", EASY), &restricted).await.said("x-sluice-route"), "local");
    assert_eq!((hosted.count(), house.count()), (3, 2), "nothing but clients was answered in the house");
    // The client leaves.
    drop(client);
    judged(&gateway, 3).await;
    assert_eq!((hosted.count(), house.count()), (3, 5));
}

#[tokio::test]
async fn a_copy_for_the_local_side_is_stopped_when_a_client_comes_and_begins_anew() {
    let (_hosted, house, gateway) = start(SHADOW, "").await;
    house.play("echo", Play::Hang);
    asks_hosted(&gateway).await;
    eventually("the copy hangs in the house", async || (house.count() == 1).then_some(())).await;
    house.play("echo", saying("one two three four five"));
    let told = gateway.tell_with(&chat("auto", EASY), &[("x-sluice-data-class", "restricted")]).await;
    assert_eq!((told.status, told.said("x-sluice-route")), (200, "local"));
    let state = judged(&gateway, 1).await;
    assert_eq!(house.count(), 3, "stopped, the client, begun anew: {state}");
    assert!(house.log()[0].was_left(), "its connection was closed");
}

#[tokio::test]
async fn people_vote_blind_and_a_judge_without_their_agreement_decides_nothing() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let judge = hosted.provider("judges", "hosted", &[("biased", "biased")]);
    hosted.play("biased", saying("A"));
    hosted.play("echo", saying("a good answer"));
    house.play("echo", saying("a bad answer"));
    let experiment = "[experiments.x]\nkind = \"shadow\"\nshare = \"100%\"\njudge = \"model:biased\"\n";
    let gateway = Gateway::start(&format!("{judge}{}{experiment}", two_sides(&hosted, &house))).await;
    for n in 0..55 {
        shadowed(&gateway, &chat("auto", EASY), &[], n + 1).await;
    }
    let judged = hosted.log().iter().filter(|seen| seen.model == "biased").count();
    assert_eq!(judged, 110, "both orders of each pair");
    let mut places = [0, 0];
    for _ in 0..55 {
        let ballot = gateway.api("/api/experiments/x/votes").await;
        let shown = ballot.to_string();
        assert!(!shown.contains("small") && !shown.contains("big") && !shown.contains("left"), "{shown}");
        let a_is_good = ballot["a"] == "a good answer";
        places[usize::from(a_is_good)] += 1;
        let vote =
            json!({"request_id": ballot["request_id"], "vote": if a_is_good { "a" } else { "b" }, "voter": "ann"});
        assert_eq!(post(&gateway, "/api/experiments/x/votes", &vote).await.0, 200);
    }
    assert!(places[0] >= 8 && places[1] >= 8, "the order is drawn: {places:?}");
    assert_eq!(gateway.api("/api/experiments/x/votes").await["request_id"], Value::Null, "all are voted on");
    let told = told(&gateway).await;
    let withheld = told["judge_trust"]["withheld"].clone();
    assert!(withheld.as_array().is_some_and(|why| why.contains(&json!("prefers_a_place"))), "{withheld}");
    assert_eq!((&told["verdict"], &told["judge_trust"]["labelled"]), (&json!("not_yet_known"), &json!(55)));
    assert!(told["pairs"].as_array().expect("pairs").iter().all(|pair| pair["human"] == "right"), "{told}");
    for (body, status) in [
        (json!({"request_id": "nobody", "vote": "a"}), 404),
        (json!({"request_id": "x", "vote": "left"}), 400),
        (json!({"vote": "a"}), 400),
    ] {
        assert_eq!(post(&gateway, "/api/experiments/x/votes", &body).await.0, status, "{body}");
    }
}

#[tokio::test]
async fn a_proven_slice_goes_to_the_local_side_until_a_person_or_a_new_model_closes_it() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    // Without an experiment everything goes to the hosted side.
    let sides = two_sides(&hosted, &house).replace("[router]\n", "[router]\nhosted_share = \"100%\"\n");
    let gateway = Gateway::start(&format!("{sides}[experiments.x]\n{SHADOW}act = true\nopens_per_day = 5\n")).await;
    let kind = |kind: &str| [("x-sluice-tags", format!("kind={kind}"))];
    let ask = async |of: &str, prompt: &str| {
        let tags = kind(of);
        let headers: Vec<(&str, &str)> = tags.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let told = gateway.tell_with(&chat("auto", prompt), &headers).await;
        (told.said("x-sluice-route").to_owned(), told.said("x-sluice-reason").to_owned())
    };
    assert_eq!(ask("triage", HARD).await.0, "hosted", "before anything is known");
    let mut pairs = 1;
    let opened = |told: &Value| {
        let opened = told["opened"].as_array().cloned().unwrap_or_default();
        opened.contains(&json!({"by": "kind", "value": "triage"}))
    };
    loop {
        assert!(pairs < 200, "{}", told(&gateway).await);
        let state = judged(&gateway, pairs).await;
        if opened(&state) {
            break;
        }
        ask(if pairs % 2 == 0 { "triage" } else { "other" }, HARD).await;
        pairs += 1;
    }
    let local = ("local".to_owned(), "experiment".to_owned());
    assert_eq!(ask("triage", HARD).await, local);
    let steps = told(&gateway).await["steps"].clone();
    assert!(steps.as_array().is_some_and(|steps| steps.iter().all(|step| step["by"] == "verdict")), "{steps}");
    let closed = json!({"experiment": "x", "slice": {"by": "kind", "value": "triage"}, "opened": false, "why": "no"});
    assert_eq!(post(&gateway, "/api/experiments", &closed).await.0, 200);
    assert_eq!(ask("triage", HARD).await.0, "hosted", "undone");
    let mut reopened = closed.clone();
    reopened["opened"] = true.into();
    assert_eq!(post(&gateway, "/api/experiments", &reopened).await.0, 200);
    assert_eq!(ask("triage", HARD).await, local);
    // The upstream calls its model otherwise: what was known is known of another model.
    hosted.play("echo", saying("one two three four five"));
    let mut asked = 0;
    loop {
        let state = told(&gateway).await;
        if !opened(&state) {
            assert!(state["reopened"]["why"].as_str().is_some_and(|why| why.contains("`said`")), "{state}");
            break;
        }
        assert!(asked < 40, "{state}");
        ask("triage", EASY).await;
        asked += 1;
    }
    let steps = told(&gateway).await["steps"].clone();
    assert!(steps.as_array().is_some_and(|steps| steps.iter().any(|step| step["by"] == "drift")), "{steps}");
}

#[tokio::test]
async fn a_split_keeps_sessions_on_their_side_and_labels_compare_the_sides() {
    let (_hosted, _house, gateway) = start("kind = \"split\"\nshare = \"50%\"\n", "").await;
    let mut sides = [0, 0];
    for n in 0..40 {
        let session = format!("session-{n}");
        let headers = [("x-sluice-session", session.as_str())];
        let first = gateway.tell_with(&chat("auto", EASY), &headers).await;
        let again = gateway.tell_with(&chat("auto", HARD), &headers).await;
        assert_eq!(first.said("x-sluice-reason"), "experiment");
        assert_eq!(first.said("x-sluice-route"), again.said("x-sluice-route"), "a session stays on its side");
        sides[usize::from(first.said("x-sluice-route") == "local")] += 1;
        let up = json!({"request_id": first.id(), "rating": "up"});
        assert_eq!(gateway.send("/v1/feedback", up.to_string(), &[]).await.status, 200);
    }
    assert!(sides[0] >= 5 && sides[1] >= 5, "{sides:?}");
    let told = told(&gateway).await;
    assert_eq!((&told["labels"]["left"], &told["labels"]["right"]), (&json!(sides[1]), &json!(sides[0])), "{told}");
    assert_eq!(told["verdict"], "not_yet_known");
    let restricted = gateway.tell_with(&chat("auto", EASY), &[("x-sluice-data-class", "restricted")]).await;
    assert_eq!((restricted.said("x-sluice-route"), restricted.said("x-sluice-reason")), ("local", "residency"));
}

#[tokio::test]
async fn an_experiment_that_makes_no_sense_is_refused_with_its_field() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    for (section, says) in [
        ("kind = \"shadow\"\n", "`share` is missing"),
        ("kind = \"interleave\"\nshare = \"1%\"\n", "`sluice compare` does it"),
        ("kind = \"other\"\nshare = \"1%\"\n", "`kind` must be"),
        ("kind = \"shadow\"\nshare = \"1%\"\njudge = \"taste\"\n", "`judge`: one of exact"),
        ("kind = \"shadow\"\nshare = \"1%\"\njudge = \"model:nobody\"\n", "no model `nobody`"),
        ("kind = \"shadow\"\nshare = \"1%\"\nleft = \"small\"\n", "go together"),
        (
            "kind = \"shadow\"\nshare = \"1%\"\nleft = \"big\"\nright = \"small\"\nact = true\n",
            "`left` has to be local",
        ),
        ("kind = \"split\"\nshare = \"1%\"\nact = true\n", "go with `kind = \"shadow\"`"),
        ("kind = \"split\"\nshare = \"1%\"\nramp = \"7d\"\n", "`ramp` and `ramp_from` go together"),
        ("kind = \"shadow\"\nshare = \"1%\"\nmargin = \"90%\"\n", "`margin` must lie"),
    ] {
        let folder = folder(&format!("{}[experiments.x]\n{section}", two_sides(&hosted, &house)));
        let output = run(folder.path(), &["check"], "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(64) && said.contains(says), "{section}: {said}");
    }
}

//! What local answers cost, and what they save.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use tests::oracle::{self, nanos, nanos_of};
use tests::{EASY, Gateway, HARD, Upstream, chat, streamed, two_sides};

/// 65 W at 0.30 $/kWh, and 1 200 $ in four years.
const MACHINE: &str =
    "[local_cost]\nwatts = \"65\"\nusd_per_kwh = \"0.30\"\nhardware_usd = \"1200\"\nhardware_years = 4\n";

async fn spend_by_route(gateway: &Gateway, route: &str) -> Value {
    let table = gateway.api("/api/spend?group_by=route").await;
    let rows = table["rows"].as_array().expect("rows");
    rows.iter().find(|row| row["group"] == route).cloned().unwrap_or_else(|| panic!("no {route} in {table}"))
}

#[tokio::test]
async fn a_local_answer_costs_its_machine_and_its_tokens_cost_nothing() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&format!("{}{MACHINE}", two_sides(&hosted, &house))).await;
    let mut sum = 0;
    for body in [chat("auto", EASY), streamed("auto", EASY)] {
        let told = gateway.tell(&body).await;
        assert_eq!((told.said("x-sluice-route"), told.cost().as_deref()), ("local", Some("0.000000")));
        let line = oracle::attempt(&gateway, told.id()).await;
        let cost = nanos(&line["local_cost_usd"]).expect("it is known");
        assert!(cost > 0 && line["cost_usd"] == "0.000000", "{line}");
        // No answer here takes a minute, which would cost two thousandths of a dollar.
        assert!(cost < 2_000_000, "{line}");
        sum += cost;
    }
    let told = gateway.tell(&chat("auto", HARD)).await;
    let line = oracle::attempt(&gateway, told.id()).await;
    assert!(line["route"] == "hosted" && line["local_cost_usd"].is_null(), "{line}");

    let local = spend_by_route(&gateway, "local").await;
    assert_eq!(nanos(&local["local_cost_usd"]), Some(sum), "{local}");
    assert_eq!((&local["cost_usd"], &local["local_cost_unknown"]), (&"0.000000".into(), &0.into()));
    let shown = gateway.cli(&["spend", "--group-by", "route"]);
    assert_eq!(shown, gateway.api("/api/spend?group_by=route").await);
    assert_eq!(nanos(&shown["total"]["local_cost_usd"]), Some(sum));
    let told = gateway.cli(&["check"])["local_usd_per_busy_hour"].as_str().map(nanos_of);
    // 0.0195 $ of energy, and an hour of 35 064 of the hardware.
    assert!(told.is_some_and(|hour| hour.abs_diff(19_500_000 + 34_223_135) <= 2), "{told:?}");
}

#[tokio::test]
async fn without_a_configuration_what_the_machine_costs_is_unknown_and_not_zero() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    let told = gateway.tell(&chat("auto", EASY)).await;
    assert!(oracle::attempt(&gateway, told.id()).await["local_cost_usd"].is_null());
    let local = spend_by_route(&gateway, "local").await;
    assert!(local["local_cost_usd"].is_null() && local["local_cost_unknown"] == 1, "{local}");
    assert!(gateway.cli(&["check"])["local_usd_per_busy_hour"].is_null());
}

#[tokio::test]
async fn a_price_that_the_operator_gave_to_local_tokens_is_not_counted_twice() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let priced = two_sides(&hosted, &house).replace(
        "[models.\"small\"]\n",
        "[models.\"small\"]\ninput_usd_per_mtok = \"1\"\noutput_usd_per_mtok = \"1\"\n",
    );
    assert!(priced.contains("\"1\""), "{priced}");
    let gateway = Gateway::start(&format!("{priced}{MACHINE}")).await;
    let told = gateway.tell(&chat("small", EASY)).await;
    let line = oracle::attempt(&gateway, told.id()).await;
    assert!(nanos(&line["cost_usd"]).is_some_and(|cost| cost > 0) && line["local_cost_usd"].is_null(), "{line}");
    assert_eq!(spend_by_route(&gateway, "local").await["local_cost_unknown"], 0);
}

/// Route and reason of an easy request of each session.
async fn went(gateway: &Gateway, sessions: &[String], headers: &[(&str, &str)]) -> BTreeMap<String, (String, String)> {
    let mut went = BTreeMap::new();
    for session in sessions {
        let headers: Vec<(&str, &str)> =
            headers.iter().copied().chain([("x-sluice-session", session.as_str())]).collect();
        let told = gateway.tell_with(&chat("auto", EASY), &headers).await;
        assert_eq!(told.status, 200, "{}", told.text());
        let said = |name| told.said(name).to_owned();
        went.insert(session.clone(), (said("x-sluice-route"), said("x-sluice-reason")));
    }
    went
}

fn sessions(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("session-{n}")).collect()
}

fn pair(route: &str, reason: &str) -> (String, String) {
    (route.to_owned(), reason.to_owned())
}

const HALF: &str = "[savings]\nholdout = \"50%\"\n";

#[tokio::test]
async fn sessions_that_are_held_out_go_hosted_and_stay_held_out_after_a_restart() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let mut gateway = Gateway::start(&format!("{}{HALF}", two_sides(&hosted, &house))).await;
    let all = sessions(40);
    let first = went(&gateway, &all, &[]).await;
    let held: Vec<&String> = all.iter().filter(|one| first[*one] == pair("hosted", "holdout")).collect();
    // Forty fair draws: nobody waits long enough to see fewer than four on a side.
    assert!((4..=36).contains(&held.len()), "{first:?}");
    assert_eq!(hosted.count(), held.len(), "everybody else stays: {first:?}");
    let headers = [("x-sluice-session", held[0].as_str())];
    let decided = gateway.send("/v1/route", chat("auto", EASY).to_string(), &headers).await.json();
    assert_eq!((&decided["route"], &decided["reason"]), (&"hosted".into(), &"holdout".into()), "{decided}");
    assert!(decided["explanation"][0].as_str().is_some_and(|told| told.contains("held out")), "{decided}");

    let folder = gateway.folder.clone();
    gateway.stop().await;
    let gateway = Gateway::serve(folder, &[]).await;
    assert_eq!(went(&gateway, &all, &[]).await, first, "the draw outlives the process");

    // A conversation without a session is one by its beginning, however often it is drawn.
    let turns = json!({"model": "auto", "messages": [{"role": "user", "content": "Hello there!"},
        {"role": "assistant", "content": "Hello."}, {"role": "user", "content": EASY}]});
    let reason = |told: &tests::Told| told.said("x-sluice-reason") == "holdout";
    let began = reason(&gateway.tell(&chat("auto", "Hello there!")).await);
    for _ in 0..5 {
        assert_eq!(reason(&gateway.tell(&turns).await), began);
    }
}

#[tokio::test]
async fn a_constraint_wins_over_the_draw_and_the_record_says_so() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&format!("{}{HALF}", two_sides(&hosted, &house))).await;
    let all = sessions(30);
    for (headers, reason) in
        [([("x-sluice-data-class", "restricted")], "residency"), ([("x-sluice-route", "local")], "header")]
    {
        let went = went(&gateway, &all, &headers).await;
        assert!(went.values().all(|seen| *seen == pair("local", reason)), "{went:?}");
    }
    assert_eq!(hosted.count(), 0, "not one of them left the house");
    let told = gateway.tell_with(&chat("auto", EASY), &[("x-sluice-data-class", "restricted")]).await;
    let record = oracle::record(&gateway, told.id()).await;
    assert_eq!((&record["arm"], &record["arm_excluded_by"]), (&"excluded".into(), &"residency".into()));
    let pinned = gateway.tell(&chat("small", "Hello!")).await;
    assert_eq!(oracle::record(&gateway, pinned.id()).await["arm_excluded_by"], "pinned");

    let measured = gateway.api("/api/savings").await["measured"].take();
    assert_eq!((&measured["excluded"]["requests"], &measured["excluded"]["sessions"]), (&62.into(), &32.into()));
    assert_eq!(measured["excluded_by"], json!({"pinned": 1, "residency": 31}));
    assert_eq!((&measured["verdict"], &measured["savings_usd"]), (&"too_few_sessions".into(), &Value::Null));
}

#[tokio::test]
async fn the_measured_saving_comes_with_an_interval_and_its_sums_are_the_ledgers() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&format!("{}{HALF}{MACHINE}", two_sides(&hosted, &house))).await;
    let few = gateway.tell(&chat("auto", EASY)).await;
    assert_eq!(few.status, 200);
    let none = gateway.api("/api/savings").await["measured"].take();
    assert_eq!((&none["verdict"], &none["interval_usd"]), (&"too_few_sessions".into(), &Value::Null), "{none}");
    assert!(none["message"].as_str().is_some_and(|told| told.contains("at least 100")), "{none}");

    let all = sessions(300);
    let seen = went(&gateway, &all, &[]).await;
    let held = seen.values().filter(|seen| **seen == pair("hosted", "holdout")).count() as u64;
    let told = gateway.api("/api/savings").await;
    assert_eq!(gateway.cli(&["savings"]), told, "the command line reads the same ledger");
    let (measured, repriced) = (&told["measured"], &told["repriced"]);
    assert_eq!((&measured["verdict"], &measured["holdout_share"]), (&"measured".into(), &0.5.into()), "{measured}");
    let first = u64::from(few.said("x-sluice-reason") == "holdout");
    assert_eq!(measured["holdout"]["sessions"], held + first);
    assert_eq!(measured["treatment"]["sessions"], 301 - held - first);

    // Sums of the arms are what was spent.
    let spent = gateway.api("/api/spend").await["total"].take();
    let sum =
        |key: &str| ["treatment", "holdout", "excluded"].iter().filter_map(|arm| nanos(&measured[arm][key])).sum();
    assert_eq!(nanos(&spent["cost_usd"]), Some(sum("cost_usd")));
    assert_eq!(nanos(&spent["local_cost_usd"]), Some(sum("local_cost_usd")));
    for key in ["cost_usd", "baseline_usd", "local_cost_usd"] {
        assert_eq!(spent[key], repriced[key], "{key}");
    }
    let net: u128 = ["baseline_usd"].iter().filter_map(|key| nanos(&repriced[key])).sum::<u128>()
        - nanos(&repriced["cost_usd"]).expect("spent")
        - nanos(&repriced["local_cost_usd"]).expect("known");
    assert_eq!(nanos(&repriced["savings_usd"]), Some(net));
    assert!(repriced["note"].as_str().is_some_and(|note| note.contains("weaker")));

    // A hosted answer costs more than what the machine takes for one: something is saved.
    let text = |value: &Value| value.as_str().map(nanos_of).expect("dollars");
    let interval = &measured["interval_usd"];
    let (low, saved, high) = (text(&interval["low"]), text(&measured["savings_usd"]), text(&interval["high"]));
    assert!(low <= saved && saved <= high && low > 0, "{measured}");
    assert!(text(&measured["holdout"]["mean_usd"]) > text(&measured["treatment"]["mean_usd"]), "{measured}");
    assert!(measured["treatment"]["judging_usd"].is_string() && measured["holdout"]["judging_usd"].is_null());

    let later = gateway.api("/api/savings?since=2999-01-01T00:00:00Z").await;
    assert_eq!((&later["since"], &later["measured"]["verdict"]), (&"2999-01-01T00:00:00Z".into(), &"off".into()));
    gateway.admin_get("/api/savings?since=yesterday").await.error(400);
    let wrong = tests::gateway::run(gateway.folder.path(), &["savings", "--since", "yesterday"], "");
    assert_eq!(wrong.status.code(), Some(64));
}

#[tokio::test]
async fn nobody_is_held_out_unless_asked_for() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    let went = went(&gateway, &sessions(30), &[]).await;
    assert!(went.values().all(|seen| *seen == pair("local", "classifier")), "{went:?}");
    let told = gateway.api("/api/savings").await;
    assert_eq!((&told["measured"]["verdict"], &told["measured"]["holdout_share"]), (&"off".into(), &Value::Null));
    assert!(nanos(&told["repriced"]["savings_usd"]).is_some_and(|saved| saved > 0), "{told}");
    let output = tests::gateway::run(gateway.folder.path(), &["savings"], "");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("no number") && text.contains("weaker"), "{text}");
}

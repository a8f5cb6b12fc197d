//! What local answers cost, and what they save.

use serde_json::Value;
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

//! Every token is accounted for.

use serde_json::Value;
use std::collections::{HashMap, HashSet};
use tests::gateway::{Gateway, header, run};
use tests::upstream::Upstream;
use tests::{chat, streamed};

fn nanos(dollars: &str) -> u64 {
    let (whole, fraction) = dollars.split_once('.').expect("a decimal");
    whole.parse::<u64>().expect("digits") * 1_000_000_000 + format!("{fraction:0<9}").parse::<u64>().expect("digits")
}

#[tokio::test]
async fn headers_ledger_spend_and_the_upstreams_count_agree() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let rest = format!(
        "{}{}[router]\nlocal = \"small\"\nhosted = \"big\"\nclassifier = \"heuristic\"\n",
        house.provider("house", "local", &[("small", "echo")]),
        hosted.provider("hosted", "hosted", &[("big", "echo")]),
    );
    let gateway = Gateway::start(&rest).await;
    let mut said: HashMap<String, (u64, u64)> = HashMap::new();
    for n in 0..20 {
        let prompt = if n % 2 == 0 {
            "Hello, who wrote Faust?"
        } else {
            "Prove and derive the complexity of this algorithm step by step in detail."
        };
        let body = if n % 3 == 0 { streamed("auto", prompt) } else { chat("auto", prompt) };
        let response =
            gateway.chat_with(&body, &[("x-sluice-tags", if n < 10 { "half=first" } else { "half=second" })]).await;
        let route = header(&response, "x-sluice-route").expect("a route").to_owned();
        let cost = header(&response, "x-sluice-cost-usd").map(str::to_owned);
        let text = response.text().await.expect("text");
        let in_stream = || text.split("sluice-cost-usd=").nth(1)?.split('\n').next().map(str::to_owned);
        let cost = cost.or_else(in_stream).expect("a cost");
        let sums = said.entry(route).or_default();
        sums.0 += 1;
        sums.1 += nanos(&cost);
    }
    let table = gateway.api("/api/spend?group_by=route").await;
    for row in table["rows"].as_array().expect("rows") {
        let group = row["group"].as_str().expect("a group");
        let cost = nanos(row["cost_usd"].as_str().expect("text"));
        assert_eq!(said[group], (row["requests"].as_u64().expect("a number"), cost), "{group}");
    }
    assert_eq!(said.len(), 2, "both sides answered");
    let stated: (u64, u64) = hosted
        .log()
        .iter()
        .filter_map(|seen| seen.stated)
        .fold((0, 0), |sum, usage| (sum.0 + usage.0, sum.1 + usage.1));
    let row =
        table["rows"].as_array().expect("rows").iter().find(|row| row["group"] == "hosted").expect("hosted").clone();
    assert_eq!((row["input_tokens"].as_u64(), row["output_tokens"].as_u64()), (Some(stated.0), Some(stated.1)));
    // 2.50 and 10.00 dollars per million tokens: 2,500 and 10,000 nano-dollars a token, exactly.
    assert_eq!(said["hosted"].1, stated.0 * 2_500 + stated.1 * 10_000);
    let tags = gateway.api("/api/spend?group_by=tag").await;
    let counts: Vec<u64> =
        tags["rows"].as_array().expect("rows").iter().filter_map(|row| row["requests"].as_u64()).collect();
    assert_eq!(counts, [10, 10]);
    let output = run(gateway.folder.path(), &["spend", "--json", "--group-by", "route"], "");
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).expect("JSON"), table, "the command says the same");
    assert!(run(gateway.folder.path(), &["ledger", "verify"], "").status.success());
}

#[tokio::test]
async fn a_model_without_a_price_is_unpriced_and_never_zero() {
    let upstream = Upstream::start().await;
    let provider = upstream.provider("hosted", "hosted", &[("odd", "echo")]);
    let provider: String =
        provider.lines().filter(|line| !line.contains("usd_per_mtok")).map(|line| format!("{line}\n")).collect();
    let gateway = Gateway::start(&provider).await;
    let response = gateway.chat(&chat("odd", "x")).await;
    assert_eq!(header(&response, "x-sluice-cost-usd"), Some("unpriced"));
    let id = header(&response, "x-sluice-request-id").expect("an id").to_owned();
    let story = gateway.api(&format!("/api/requests/{id}")).await;
    assert!(story["attempt_log"][0]["cost_usd"].is_null());
    assert_eq!(gateway.api("/api/spend").await["total"]["unpriced_requests"], 1);
    let text = gateway.chat(&streamed("odd", "x")).await.text().await.expect("text");
    assert!(text.contains(": sluice-cost-usd=unpriced\n"));
}

#[tokio::test]
async fn a_clients_id_is_kept_and_never_shared_by_two_requests() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.provider("hosted", "hosted", &[("big", "echo")])).await;
    let mut ids = HashSet::new();
    for n in 0..3 {
        let response = gateway.chat_with(&chat("big", "x"), &[("x-request-id", "mine-1")]).await;
        let id = header(&response, "x-sluice-request-id").expect("an id").to_owned();
        assert!(id.starts_with("mine-1") && (n > 0 || id == "mine-1"), "{id}");
        ids.insert(id);
    }
    assert_eq!((ids.len(), gateway.api("/api/spend").await["total"]["requests"].as_u64()), (3, Some(3)));
}

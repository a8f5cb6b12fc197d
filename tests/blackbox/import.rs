//! What others publish, and what others were configured with, is taken over: prices to the digit, settings by name.

use std::path::Path;
use tests::gateway::{Gateway, run, run_json, write_config};
use tests::{Upstream, chat};

const MODELS_DEV: &str = r#"{"openai": {"id": "openai", "models": {
    "gpt-of-today": {"id": "gpt-of-today", "cost": {"input": 0.15, "output": 0.60, "cache_read": 0.075}, "limit": {"context": 128000, "output": 16384}},
    "voice": {"id": "voice", "limit": {"context": 0, "output": 0}}}}}"#;

const LITELLM: &str = r#"{"sample_spec": {"mode": "one of chat"},
    "gpt-of-today": {"input_cost_per_token": 2e-07, "output_cost_per_token": 6e-07, "mode": "chat"}}"#;

fn file(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("written");
}

#[test]
fn an_imported_table_prices_what_the_binary_does_not_know() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let models = "[providers.p]\nkind = \"openai\"\nregion = \"us\"\n[models.gpt-of-today]\nprovider = \"p\"\n";
    write_config(folder, models);
    let meant = |folder: &Path| run_json(folder, &["check", "--json"], "");
    assert_eq!(meant(folder)["models"][0]["price_source"], "unpriced");
    file(folder, "api.json", MODELS_DEV);
    let told = run_json(folder, &["prices", "import", "api.json", "--json"], "");
    assert_eq!((told["publisher"].as_str(), told["models"].as_u64()), (Some("models.dev"), Some(2)), "{told}");
    assert_eq!(told["new"], serde_json::json!(["gpt-of-today", "openai/gpt-of-today"]));
    assert!(told["dropped"].as_array().is_some_and(|names| names.len() > 1_000), "the bundled table's models");
    assert_eq!((told["written"].as_str(), told["in_use"].as_bool()), (Some("prices.json"), Some(false)));
    assert_eq!(meant(folder)["models"][0]["price_source"], "unpriced", "only once the configuration says so");

    write_config(folder, &format!("{models}[prices]\nfile = \"prices.json\"\n"));
    let check = meant(folder);
    assert_eq!(check["models"][0]["price_source"], told["source"]);
    assert_eq!((check["prices"]["models"].as_u64(), check["prices"]["file"].as_str()), (Some(2), Some("prices.json")));
    // The next one is compared with the one in force, and takes its place.
    file(folder, "m.json", LITELLM);
    let told = run_json(folder, &["prices", "import", "m.json", "--json"], "");
    assert_eq!(told["changed"], serde_json::json!(["gpt-of-today"]), "{told}");
    assert_eq!(told["dropped"], serde_json::json!(["openai/gpt-of-today"]));
    assert_eq!(told["in_use"], true);
    assert_eq!(meant(folder)["models"][0]["price_source"], told["source"]);
}

#[test]
fn a_file_that_is_no_price_table_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    for (text, says) in [
        ("{\"a\": 1}", "neither"),
        ("{\"m\": {\"input_cost_per_token\": \"dear\", \"output_cost_per_token\": 1}}", "`m`: `input_cost_per_token`"),
        ("prices", "not valid JSON"),
    ] {
        file(folder, "x.json", text);
        let output = run(folder, &["prices", "import", "x.json"], "");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{complaint}");
        assert!(complaint.contains(says), "{complaint}");
        assert!(!folder.join("prices.json").exists());
    }
    assert_eq!(run(folder, &["prices", "import", "nowhere.json"], "").status.code(), Some(64));
    write_config(folder, "[prices]\nfile = \"nowhere.json\"\n");
    let output = run(folder, &["check"], "");
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`prices.file`"));
}

#[tokio::test]
async fn a_running_gateway_charges_by_the_table_that_its_configuration_names() {
    let upstream = Upstream::start().await;
    let folder = tests::gateway::folder("");
    file(folder.path(), "api.json", MODELS_DEV);
    run(folder.path(), &["prices", "import", "api.json"], "");
    let config = format!(
        "[providers.p]\nkind = \"openai\"\nbase_url = \"{}\"\nregion = \"us\"\n[models.gpt-of-today]\nprovider = \"p\"\n\
         [prices]\nfile = \"prices.json\"\n",
        upstream.url
    );
    let gateway = Gateway::start_in(folder, &config, &[]).await;
    let told = gateway.tell(&chat("gpt-of-today", "x")).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let row = gateway.api("/api/spend").await["total"].clone();
    let tokens = |key: &str| row[key].as_u64().map(u128::from).expect("a number");
    let cost = (tokens("input_tokens") * 150_000_000 + tokens("output_tokens") * 600_000_000).div_ceil(1_000_000);
    assert_eq!(tests::oracle::nanos(&row["cost_usd"]), Some(cost), "{row}");
    assert!(cost > 0 && row["unpriced_requests"] == 0);
}

const PROXY: &str = "\
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: sk-litellm-canary, rpm: 100}
  - model_name: gpt-4o
    litellm_params: {model: azure/mine, api_base: https://x.openai.azure.com, api_key: os.environ/AZURE_API_KEY, api_version: 2024-10-21}
  - model_name: house
    litellm_params: {model: ollama/llama3.1, api_base: http://localhost:11434}
litellm_settings: {drop_params: true, max_budget: 100, budget_duration: 30d}
general_settings: {master_key: sk-master-canary, database_url: postgresql://u:canary@h/d}
";

#[test]
fn litellms_configuration_becomes_one_that_passes_the_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    file(folder, "config.yaml", PROXY);
    let output = run(folder, &["import", "litellm", "config.yaml", "--out", "sluice.toml"], "");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{complaint}");
    for says in ["rpm", "drop_params", "database_url", "OPENAI_API_KEY"] {
        assert!(complaint.contains(says), "{says}: {complaint}");
    }
    let written = std::fs::read_to_string(folder.join("sluice.toml")).expect("written");
    assert!(!written.contains("canary") && !complaint.contains("canary"), "{written}\n{complaint}");
    let meaning = run_json(folder, &["check", "--json"], "");
    assert_eq!(meaning["router"]["hosted"], serde_json::json!(["gpt-4o", "gpt-4o-2"]));
    assert_eq!(meaning["router"]["local"], serde_json::json!(["house"]));

    // A file that is there is not written over; nothing changes without `--out`.
    let output = run(folder, &["import", "litellm", "config.yaml", "--out", "sluice.toml"], "");
    assert_eq!(output.status.code(), Some(1));
    let output = run(folder, &["import", "litellm", "config.yaml"], "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), written);
    let told = run_json(folder, &["import", "litellm", "config.yaml", "--json"], "");
    assert_eq!(told["toml"].as_str(), Some(written.as_str()));
    let named: Vec<&str> = told["not_carried_over"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|left| left["setting"].as_str())
        .collect();
    assert!(named.contains(&"model_list[0] (gpt-4o).litellm_params.rpm"), "{named:?}");
    for bad in ["a: 1\n", "model_list: [\n"] {
        file(folder, "bad.yaml", bad);
        assert_eq!(run(folder, &["import", "litellm", "bad.yaml"], "").status.code(), Some(64), "{bad}");
    }
}

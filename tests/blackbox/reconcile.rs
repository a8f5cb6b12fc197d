//! The ledger beside the provider's bill: agreement is shown to the nano-dollar, and drift is never missed.

use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use tests::gateway::{run, write_config};
use tests::upstream::{Play, Usage};
use tests::{Gateway, Upstream, chat};

/// What one answer is stated to have: at 2.50 and 10 dollars a million it costs 0.0035.
const STATED: (u64, u64) = (1_000, 100);

/// A stopped gateway's folder with three answers on the ledger, and the days (UTC) with their number of answers.
async fn spent(kind: &str, upstream_name: &str) -> (std::sync::Arc<tempfile::TempDir>, Vec<(String, u64)>) {
    let upstream = Upstream::start().await;
    upstream.play(upstream_name, Play::usage(Usage::Stated(STATED.0, STATED.1)));
    let provider = upstream.provider("bought", "hosted", &[("big", upstream_name)]);
    let provider = provider.replace("kind = \"openai\"", &format!("kind = \"{kind}\""));
    let mut gateway = Gateway::start(&provider).await;
    for _ in 0..3 {
        let told = gateway.tell(&chat("big", "x")).await;
        assert_eq!(told.status, 200, "{}", told.text());
    }
    let table = gateway.api("/api/spend?group_by=day").await;
    let day =
        |row: &Value| (row["group"].as_str().expect("a day").to_owned(), row["requests"].as_u64().expect("a number"));
    let mut days: Vec<_> = table["rows"].as_array().expect("rows").iter().map(day).collect();
    days.sort();
    gateway.stop().await;
    (gateway.folder.clone(), days)
}

fn reconcile(folder: &Path, text: &str, arguments: &[&str]) -> (Option<i32>, Value, String) {
    std::fs::write(folder.join("export"), text).expect("written");
    let all: Vec<&str> = ["reconcile"].iter().chain(arguments).copied().chain(["export", "--json"]).collect();
    let Output { status, stdout, stderr } = run(folder, &all, "");
    let told = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
    (status.code(), told, String::from_utf8_lossy(&stderr).into_owned())
}

fn seconds(day: &str) -> i64 {
    // Days since 1970 of a proleptic Gregorian date, counted from March.
    let part = |range: std::ops::Range<usize>| day[range].parse::<i64>().expect("a number");
    let (year, month, date) = (part(0..4), part(5..7), part(8..10));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    (365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + date - 1 - 719_468) * 86_400
}

/// Pages of OpenAI's usage and costs, one behind the other; `extra` is added to the input of the first day.
fn openai(days: &[(String, u64)], model: &Value, extra: u64) -> String {
    let bucket = |(at, (day, answers)): (usize, &(String, u64)), result: &dyn Fn(u64, u64) -> Value| {
        let extra = if at == 0 { extra } else { 0 };
        json!({"object": "bucket", "start_time": seconds(day), "end_time": seconds(day) + 86_400, "results": [result(*answers, extra)]})
    };
    let usage = |answers: u64, extra: u64| {
        json!({"object": "organization.usage.completions.result", "input_tokens": answers * STATED.0 + extra,
            "output_tokens": answers * STATED.1, "input_cached_tokens": 0, "num_model_requests": answers,
            "project_id": null, "model": model, "batch": null})
    };
    let costs = |answers: u64, _: u64| {
        let item = model.as_str().map(|model| format!("{model}, input"));
        json!({"object": "organization.costs.result", "amount": {"value": format!("{}e-4", answers * 35), "currency": "usd"},
            "line_item": item, "project_id": null})
    };
    let page = |result: &dyn Fn(u64, u64) -> Value| {
        let data: Vec<Value> = days.iter().enumerate().map(|day| bucket(day, result)).collect();
        json!({"object": "page", "data": data, "has_more": false, "next_page": null}).to_string()
    };
    format!("{}\n{}\n", page(&usage), page(&costs))
}

#[tokio::test]
async fn openais_pages_agree_with_the_ledger_and_a_drift_ends_with_1() {
    let (folder, days) = spent("openai", "gpt-4o").await;
    let folder = folder.path();
    for model in [json!("gpt-4o-2024-08-06"), json!("gpt-4o"), Value::Null] {
        let (code, told, err) = reconcile(folder, &openai(&days, &model, 0), &["openai"]);
        assert_eq!(code, Some(0), "{model}: {told}\n{err}");
        assert_eq!(told["providers"], json!(["bought"]));
        let total = &told["total"];
        assert_eq!(total["input_tokens"], json!({"billed": 3000, "ledger": 3000, "drift": 0, "percent": 0.0}));
        assert_eq!(total["output_tokens"]["ledger"], 300);
        assert_eq!(
            (total["cost_usd"]["billed"].as_str(), total["cost_usd"]["drift"].as_str()),
            (Some("0.010500"), Some("0.000000"))
        );
        let shown = if model.is_null() { "(all models)" } else { "gpt-4o" };
        assert_eq!(told["rows"][0]["model"], shown);
    }
    let drifted = openai(&days, &json!("gpt-4o"), 60);
    let (code, told, err) = reconcile(folder, &drifted, &["openai"]);
    assert_eq!((code, told["above"].as_bool()), (Some(1), Some(true)), "{err}");
    assert_eq!(told["total"]["input_tokens"]["drift"], -60);
    assert_eq!(told["total"]["input_tokens"]["percent"], -1.9608);
    assert!(err.contains("above 1%"), "{err}");
    assert_eq!(reconcile(folder, &drifted, &["openai", "--threshold", "10%"]).0, Some(0));
    // The table says the same to people.
    let output = run(folder, &["reconcile", "openai", "export"], "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("gpt-4o") && text.contains("-1.96 !") && text.contains("total"), "{text}");
}

#[tokio::test]
async fn a_model_that_one_side_does_not_know_is_a_row_of_its_own() {
    let (folder, days) = spent("openai", "gpt-4o").await;
    let folder = folder.path();
    let (code, told, _) = reconcile(folder, &openai(&days, &json!("o3"), 0), &["openai", "--threshold", "50%"]);
    assert_eq!(code, Some(1), "sums agree, rows do not");
    let models: Vec<&str> =
        told["rows"].as_array().expect("rows").iter().filter_map(|row| row["model"].as_str()).collect();
    assert!(models.contains(&"gpt-4o") && models.contains(&"o3"), "{models:?}");
    assert_eq!(told["total"]["input_tokens"]["drift"], 0);
    // The operator knows better.
    assert_eq!(reconcile(folder, &openai(&days, &json!("o3"), 0), &["openai", "--alias", "o3=gpt-4o"]).0, Some(0));
    let (code, _, err) = reconcile(folder, &openai(&days, &json!("o3"), 0), &["openai", "--alias", "o4=gpt-4o"]);
    assert!(code == Some(64) && err.contains("o3"), "{err}");
    // A day without traffic that the bill speaks for, and one that it says nothing of.
    let text = format!("start_time,model,input_tokens,output_tokens\n{},gpt-4o,5,5\n", seconds("2020-02-29"));
    let (code, told, _) = reconcile(folder, &text, &["openai"]);
    assert_eq!(
        (code, &told["rows"][0]["day"], told["rows"].as_array().map(Vec::len)),
        (Some(1), &json!("2020-02-29"), Some(1))
    );
}

#[tokio::test]
async fn tables_of_every_provider_are_read() {
    let (folder, days) = spent("openai", "claude-sonnet-4").await;
    let folder = folder.path();
    let rows = |header: &str, row: &dyn Fn(&str, u64) -> String| {
        let rows: String = days.iter().map(|(day, answers)| row(day, *answers) + "\n").collect();
        format!("{header}\n{rows}")
    };
    let (input, output) = STATED;
    // The dashboard's and the console's tables.
    let usage = rows(
        "start_time,end_time,start_time_iso,end_time_iso,num_model_requests,model,input_tokens,output_tokens",
        &|day, n| {
            let at = seconds(day);
            format!("{at},{},{day}T00:00:00+00:00,,{n},claude-sonnet-4,{},{}", at + 86_400, n * input, n * output)
        },
    );
    let costs = rows("Start_Time;Amount_Value;Amount_Currency;Line_Item", &|day, n| {
        format!("{};{}e-4;usd;", seconds(day), n * 35)
    });
    let console = rows(
        "usage_date_utc,model_version,api_key,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,\
         usage_input_tokens_cache_read,usage_output_tokens,web_search_count",
        &|day, n| format!("{day},claude-sonnet-4-20250514,k,{},{n},{n},{},0", n * (input - 2), n * output),
    );
    let console_costs =
        rows("usage_date_utc,model,cost_usd", &|day, n| format!("{day},claude-sonnet-4-20250514,{}e-4", n * 35));
    let azure = rows(
        "Date,MeterCategory,MeterName,Quantity,UnitOfMeasure,CostInBillingCurrency,BillingCurrency",
        &|day, n| {
            let (year, date) = (&day[..4], format!("{}/{}", &day[5..7], &day[8..]));
            let meter = "Cognitive Services,claude sonnet 4";
            format!(
                "{date}/{year},{meter} Inp glbl Tokens,{n},1K,{}e-4,USD\n{date}/{year},{meter} Outp glbl Tokens,0.{n},1K,{n}e-3,USD\n\
             {date}/{year},Virtual Machines,D2,9,1 Hour,99,USD",
                n * 25
            )
        },
    );
    let report = json!({"data": days.iter().map(|(day, n)| json!({
        "starting_at": format!("{day}T00:00:00Z"), "ending_at": "x", "results": [{
            "uncached_input_tokens": n * (input - 5), "cache_read_input_tokens": n * 2, "output_tokens": n * output,
            "cache_creation": {"ephemeral_1h_input_tokens": n, "ephemeral_5m_input_tokens": n * 2},
            "model": "claude-sonnet-4-20250514", "server_tool_use": {"web_search_requests": 0}}]})).collect::<Vec<_>>(),
        "has_more": false, "next_page": null});
    let cents = json!({"data": days.iter().map(|(day, n)| json!({
        "starting_at": format!("{day}T00:00:00Z"), "results": [{
            "amount": format!("{}e-2", n * 35), "currency": "USD", "model": "claude-sonnet-4-20250514"}]})).collect::<Vec<_>>()});
    let query = json!({"properties": {"nextLink": null,
        "columns": [{"name": "PreTaxCost", "type": "Number"}, {"name": "UsageDate", "type": "Number"},
            {"name": "Meter", "type": "String"}, {"name": "Currency", "type": "String"}],
        "rows": days.iter().map(|(day, n)| json!([0.0035 * *n as f64, day.replace('-', "").parse::<u64>().expect("a day"),
            "claude sonnet 4 Inp glbl Tokens", "USD"])).collect::<Vec<_>>()}});
    for (provider, text, tokens, money) in [
        ("openai", usage, true, false),
        ("openai", costs, false, true),
        ("anthropic", console, true, false),
        ("anthropic", console_costs, false, true),
        ("anthropic", report.to_string(), true, false),
        ("anthropic", cents.to_string(), false, true),
        ("azure", azure, true, true),
        ("azure", query.to_string(), false, true),
    ] {
        let (code, told, err) = reconcile(folder, &text, &[provider, "--at", "bought"]);
        assert_eq!(code, Some(0), "{provider}: {text}\n{told}\n{err}");
        let total = &told["total"];
        assert_eq!((total["input_tokens"].is_null(), total["cost_usd"].is_null()), (!tokens, !money), "{told}");
        if tokens {
            assert_eq!(total["input_tokens"]["drift"], 0, "{told}");
        }
        if money {
            assert_eq!(total["cost_usd"]["drift"], "0.000000", "{told}");
        }
    }
}

#[test]
fn what_is_not_understood_is_refused_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write_config(folder, "[providers.p]\nkind = \"openai\"\nregion = \"us\"\n");
    let bucket = |result: &str| {
        format!("{{\"object\": \"page\", \"data\": [{{\"start_time\": 1730419200,\n \"results\": [{result}]}}]}}")
    };
    for (provider, text, says) in [
        (
            "openai",
            "date,model,input_tokens,output_tokens\n2026-01-01,m,1,2\n2026-01-02,m,many,2\n",
            "line 3: `inputtokens` is `many`",
        ),
        ("openai", "date,model,input_tokens,output_tokens\nsoon,m,1,2\n", "line 2: `date` is `soon`"),
        ("openai", "date,amount_value,amount_currency\n2026-01-01,1,eur\n", "line 2: `amountcurrency` is `eur`"),
        ("openai", "name,colour\nx,y\n", "not an export that is known"),
        ("openai", "", "not an export that is known"),
        ("openai", "{\"a\": 1}", "missing field `data`"),
        (
            "openai",
            &bucket(
                "{\"object\": \"organization.costs.result\", \"amount\": {\"value\": \"dear\", \"currency\": \"usd\"}}",
            ),
            "line 2",
        ),
        ("openai", &bucket("{\"object\": \"organization.usage.completions.result\"}"), "input_tokens"),
        (
            "azure",
            "Date,MeterName,CostInBillingCurrency,BillingCurrency\n2026-01-01,gpt-4o Inp Tokens,1,EUR\n",
            "costInUsd",
        ),
        ("anthropic", "usage_date_utc,model\n2026-01-01,m\n", "not an export that is known"),
    ] {
        let at: &[&str] = &[provider, "--at", "p"];
        let (code, told, err) = reconcile(folder, text, at);
        assert_eq!((code, told), (Some(64), Value::Null), "{text}\n{err}");
        assert!(err.contains(says), "{text}\nsays: {err}");
    }
    let good = "date,model,input_tokens,output_tokens\n2026-01-01,m,0,0\n";
    assert_eq!(reconcile(folder, good, &["openai"]).0, Some(0));
    let (code, _, err) = reconcile(folder, good, &["azure"]);
    assert!(code == Some(64) && err.contains("--at"), "{err}");
    assert_eq!(reconcile(folder, good, &["openai", "--threshold", "little"]).0, Some(64));
    assert_eq!(run(folder, &["reconcile", "openai", "nowhere.csv"], "").status.code(), Some(64));
}

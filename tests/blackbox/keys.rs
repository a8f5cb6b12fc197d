//! Keys, allow-lists and budgets that hold.

use futures::future::join_all;
use serde_json::Value;
use tests::gateway::{Gateway, header, run};
use tests::upstream::Upstream;
use tests::{chat, eventually};

fn create(gateway: &Gateway, more: &[&str]) -> (String, String) {
    let arguments: Vec<&str> = ["keys", "create", "--json"].iter().chain(more).copied().collect();
    let output = run(gateway.folder.path(), &arguments, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    (key["id"].as_str().expect("an id").to_owned(), key["key"].as_str().expect("a key").to_owned())
}

async fn status(gateway: &Gateway, model: &str, key: &str) -> u16 {
    gateway.chat_with(&chat(model, "x"), &[("authorization", &format!("Bearer {key}"))]).await.status().as_u16()
}

#[tokio::test]
async fn from_the_first_key_on_every_request_needs_one_and_a_revoked_one_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.provider("hosted", "hosted", &[("big", "echo"), ("other", "echo")])).await;
    assert_eq!(status(&gateway, "big", "anything").await, 200, "no key is configured: a presented one is ignored");
    let (id, key) = create(&gateway, &["--name", "ci", "--team", "research", "--models", "big"]);
    assert!(key.starts_with("sk-sluice-"));
    eventually("the key counts", async || (status(&gateway, "big", "wrong").await == 401).then_some(())).await;
    assert_eq!(status(&gateway, "big", &key).await, 200);
    let response = gateway.chat_with(&chat("big", "x"), &[("x-api-key", &key)]).await;
    assert_eq!(response.status(), 200);
    assert_eq!(gateway.chat(&chat("big", "x")).await.status(), 401);
    assert_eq!(status(&gateway, "other", &key).await, 403);
    let list: Value = gateway
        .client
        .get(format!("{}/v1/models", gateway.data))
        .bearer_auth(&key)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2), "auto and what it may use");
    for path in ["/v1/models", "/v1/chat/completions", "/v1/route", "/v1/embeddings", "/nothing"] {
        for bad in [None, Some("sk-sluice-"), Some(&key[..key.len() - 1]), Some("' OR 1=1 --")] {
            let mut request = gateway.client.post(format!("{}{path}", gateway.data));
            if let Some(bad) = bad {
                request = request.bearer_auth(bad);
            }
            assert_eq!(request.send().await.expect("an answer").status(), 401, "{path} {bad:?}");
        }
    }
    let spend = gateway.api("/api/spend?group_by=team").await;
    assert!(spend["rows"].as_array().expect("rows").iter().any(|row| row["group"] == "research"));
    assert!(run(gateway.folder.path(), &["keys", "revoke", &id], "").status.success());
    eventually("it is refused", async || (status(&gateway, "big", &key).await == 401).then_some(())).await;
    let stored = std::fs::read(gateway.folder.path().join("sluice.db")).expect("a file");
    assert!(!stored.windows(key.len()).any(|window| window == key.as_bytes()), "only its digest is stored");
}

#[tokio::test]
async fn a_keys_budget_is_refused_with_402_before_anything_is_dialled() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.provider("hosted", "hosted", &[("big", "echo")])).await;
    let (_, key) = create(&gateway, &["--name", "poor", "--budget", "0.00001 USD/month"]);
    eventually("the key counts", async || (status(&gateway, "big", "wrong").await == 401).then_some(())).await;
    // Until then nobody needed one.
    upstream.forget();
    let response = gateway.chat_with(&chat("big", "x"), &[("authorization", &format!("Bearer {key}"))]).await;
    assert_eq!((response.status().as_u16(), header(&response, "x-should-retry")), (402, Some("false")));
    assert_eq!(header(&response, "x-sluice-reason"), Some("budget"));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn concurrent_calls_never_pass_a_limit_together() {
    let upstream = Upstream::start().await;
    // A call's ceiling: its prompt's bytes and 10 output tokens, below 0.001 dollars; ten of them fit.
    let rest = format!(
        "{}\n[[budgets]]\nscope = \"org\"\nlimit_usd = \"0.01\"\nwindow = \"month\"\n",
        upstream.provider("hosted", "hosted", &[("big", "echo")])
    );
    let gateway = Gateway::start(&rest).await;
    let mut body = chat("big", "x");
    body["max_tokens"] = 10.into();
    let statuses = join_all((0..200).map(|_| async { gateway.chat(&body).await.status().as_u16() })).await;
    assert!(statuses.iter().all(|status| [200, 402, 429].contains(status)), "{statuses:?}");
    let budget = gateway.api("/api/budgets").await["budgets"][0].clone();
    let dollars = |name: &str| budget[name].as_str().expect("text").parse::<f64>().expect("a number");
    assert!(dollars("spent_usd") + dollars("held_usd") <= dollars("limit_usd"), "{budget}");
    let answered = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(answered, upstream.count(), "what was refused was never dialled");
    assert!(answered >= 10);
}

#[tokio::test]
async fn a_spent_budget_goes_local_or_clamps_as_the_policy_says() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let rest = |policy: &str, limit: &str| {
        format!(
            "{}{}[router]\nlocal = \"small\"\nhosted = \"big\"\nclassifier = \"heuristic\"\n[[budgets]]\nscope = \"org\"\nlimit_usd = \"{limit}\"\nwindow = \"day\"\non_exceeded = \"{policy}\"\n",
            house.provider("house", "local", &[("small", "echo")]),
            hosted.provider("hosted", "hosted", &[("big", "echo")]),
        )
    };
    let hard = "Prove and derive the complexity of this algorithm step by step in detail.";
    let gateway = Gateway::start(&rest("local", "0.0001")).await;
    let response = gateway.chat(&chat("auto", hard)).await;
    assert_eq!(
        (header(&response, "x-sluice-route"), header(&response, "x-sluice-reason")),
        (Some("local"), Some("budget"))
    );
    assert_eq!(hosted.count(), 0);
    let gateway = Gateway::start(&rest("clamp", "0.002")).await;
    let response = gateway.chat(&chat("auto", hard)).await;
    assert_eq!(header(&response, "x-sluice-route"), Some("hosted"));
    let sent: Value = serde_json::from_slice(&hosted.log()[0].body).expect("JSON");
    let most = sent["max_tokens"].as_u64().expect("a ceiling is imposed");
    assert!((1..200).contains(&most), "{most}");
    let gateway = Gateway::start(&rest("refuse", "0.0001")).await;
    assert_eq!(gateway.chat(&chat("auto", hard)).await.status(), 402);
    assert_eq!(gateway.chat(&chat("auto", "Hello!")).await.status(), 200, "what costs nothing is still answered");
}

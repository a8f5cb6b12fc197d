//! Keys, allow-lists and budgets that hold.

use futures::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::gateway::{Gateway, header, run};
use tests::upstream::Upstream;
use tests::{EASY, HARD, Told, chat, eventually, hosted_only, two_sides};

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

/// Waits until the gateway knows these keys; that is asked for where nothing is limited.
async fn known(gateway: &Gateway, keys: &[&String]) {
    let opens = async |key: &str| {
        let list = gateway.client.get(format!("{}/v1/models", gateway.data)).bearer_auth(key);
        Told::of(list).await.status == 200
    };
    // Before the first key is known any is ignored.
    eventually("keys count", async || (!opens("sk-sluice-x").await).then_some(())).await;
    for key in keys {
        eventually("the key counts", async || opens(key).await.then_some(())).await;
    }
}

#[tokio::test]
async fn a_keys_routes_and_classes_are_constraints_and_the_refusal_names_the_rule() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    let (_, home) = create(&gateway, &["--name", "home", "--routes", "local"]);
    let (_, away) = create(&gateway, &["--name", "away", "--routes", "hosted"]);
    let (_, tame) = create(&gateway, &["--name", "tame", "--classes", "public,internal"]);
    known(&gateway, &[&home, &away, &tame]).await;
    hosted.forget();
    house.forget();
    let ask = async |key: &str, model: &str, prompt: &str, more: &[(&str, &str)]| {
        let bearer = format!("Bearer {key}");
        let headers: Vec<_> = [("authorization", bearer.as_str())].into_iter().chain(more.iter().copied()).collect();
        gateway.tell_with(&chat(model, prompt), &headers).await
    };
    for (key, prompt, route) in [(&home, HARD, "local"), (&away, EASY, "hosted")] {
        let told = ask(key, "auto", prompt, &[]).await;
        assert_eq!((told.status, told.said("x-sluice-route")), (200, route), "against what the judge would say");
    }
    let dialled = (hosted.count(), house.count());
    for (key, model, more, code, rule) in [
        (&home, "big", vec![], "route_not_allowed", "key_route"),
        (&home, "auto", vec![("x-sluice-route", "hosted")], "route_not_allowed", "key_route"),
        (&away, "small", vec![], "route_not_allowed", "key_route"),
        (&tame, "auto", vec![("x-sluice-data-class", "confidential")], "class_not_allowed", "key_class"),
        (&tame, "small", vec![("x-sluice-data-class", "restricted")], "class_not_allowed", "key_class"),
    ] {
        let told = ask(key, model, "x", &more).await;
        let error = told.error(403);
        assert_eq!((error["code"].as_str(), told.said("x-sluice-reason")), (Some(code), rule), "{model} {more:?}");
    }
    assert_eq!((hosted.count(), house.count()), dialled, "nothing was dialled");
    for class in ["public", "internal"] {
        assert_eq!(ask(&tame, "small", "x", &[("x-sluice-data-class", class)]).await.status, 200, "{class}");
    }
}

#[tokio::test]
async fn what_nobody_configured_makes_no_key_and_the_nearest_name_is_told() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    for (field, value, says) in [
        ("models", "smal", "`small`"),
        ("routes", "lokal", "`local`"),
        ("classes", "confidental", "`confidential`"),
        ("classes", "public", "`internal`"),
        ("budget", "much", "1.00 USD/month"),
        ("rate", "60 requests", "60 requests/minute"),
        ("rate", "0 tokens/minute", "revoke"),
        ("expires", "soon", "90d"),
        ("expires", "2020-01-01T00:00:00Z", "over"),
    ] {
        let flag = format!("--{field}");
        let output = run(gateway.folder.path(), &["keys", "create", "--name", "x", &flag, value], "");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{field} {value}: {told}");
        assert!(told.contains(&flag) && told.contains(says), "{field} {value}: {told}");
        let list = matches!(field, "models" | "routes" | "classes");
        let typed = if list { json!([value]) } else { json!(value) };
        let mut body = json!({"name": "x"});
        body[field] = typed;
        let url = format!("{}/api/keys", gateway.admin);
        let told = Told::of(gateway.client.post(url).body(body.to_string())).await;
        let error = told.error(400);
        assert_eq!(error["param"], field, "{error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(says)), "{error}");
    }
    for twice in [["--budget", "1/day", "--budget", "2/day"], ["--rate", "1 tokens/day", "--rate", "2 tokens/day"]] {
        let arguments: Vec<_> = ["keys", "create", "--name", "x"].into_iter().chain(twice).collect();
        assert_eq!(run(gateway.folder.path(), &arguments, "").status.code(), Some(64), "{twice:?}");
    }
    assert_eq!(gateway.cli(&["keys", "list"])["keys"], json!([]));
    let arguments = ["keys", "create", "--name", "x"];
    assert!(run(gateway.folder.path(), &arguments, "").status.success());
    let again = run(gateway.folder.path(), &arguments, "");
    assert_eq!(again.status.code(), Some(1), "{}", String::from_utf8_lossy(&again.stderr));
}

#[tokio::test]
async fn a_rotated_key_is_the_same_key_and_its_old_secret_ends_with_the_overlap() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    let (id, first) = create(&gateway, &["--name", "ci", "--rate", "1000 requests/day"]);
    known(&gateway, &[&first]).await;
    assert_eq!(status(&gateway, "big", &first).await, 200);
    let second = gateway.cli(&["keys", "rotate", "ci", "--overlap", "24h"]);
    assert_eq!(second["id"], id.as_str());
    assert!(second["old_secret_until"].is_string(), "{second}");
    let second = second["key"].as_str().expect("a key").to_owned();
    eventually("the new secret opens", async || (status(&gateway, "big", &second).await == 200).then_some(())).await;
    assert_eq!(status(&gateway, "big", &first).await, 200, "within the overlap");
    let url = format!("{}/api/keys/{id}/rotate", gateway.admin);
    let third = Told::of(gateway.client.post(&url).body(r#"{"overlap": "0"}"#)).await.json();
    let third = third["key"].as_str().expect("a key").to_owned();
    // The gateway that rotated it knows at once.
    for (secret, expected) in [(&first, 401), (&second, 401), (&third, 200)] {
        assert_eq!(status(&gateway, "big", secret).await, expected);
    }
    let told = gateway.tell_with(&chat("big", "x"), &[("x-api-key", &third)]).await;
    let left: u64 = told.said("x-ratelimit-remaining-requests").parse().expect("a number");
    assert!(left <= 996, "one account: {left}");
    let spend = gateway.api("/api/spend?group_by=key").await;
    let rows = spend["rows"].as_array().expect("rows");
    assert!(rows.iter().any(|row| row["group"] == "ci" && row["requests"].as_u64() >= Some(5)), "{spend}");
    let brief = gateway.cli(&["keys", "rotate", &id, "--overlap", "1s"])["key"].as_str().expect("a key").to_owned();
    eventually("the overlap ends", async || (status(&gateway, "big", &third).await == 401).then_some(())).await;
    assert_eq!(status(&gateway, "big", &brief).await, 200);
    gateway.cli(&["keys", "revoke", "ci"]);
    eventually("it is revoked", async || (status(&gateway, "big", &brief).await == 401).then_some(())).await;
    assert!(!run(gateway.folder.path(), &["keys", "rotate", "ci"], "").status.success(), "a revoked key stays revoked");
    Told::of(gateway.client.post(&url).body("{}")).await.error(404);
    Told::of(gateway.client.post(&url).body(r#"{"overlap": "long"}"#)).await.error(400);
    let stored = std::fs::read(gateway.folder.path().join("sluice.db")).expect("a file");
    for secret in [&first, &second, &third, &brief] {
        assert!(!stored.windows(secret.len()).any(|window| window == secret.as_bytes()), "only digests are stored");
    }
}

#[tokio::test]
async fn a_key_that_was_changed_elsewhere_counts_within_a_second() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    let changes = [vec!["keys", "rotate", "rotated", "--overlap", "0"], vec!["keys", "revoke", "revoked"]];
    let keys = ["rotated", "revoked"].map(|name| create(&gateway, &["--name", name]).1);
    known(&gateway, &[&keys[0], &keys[1]]).await;
    for (change, key) in changes.iter().zip(&keys) {
        assert_eq!(status(&gateway, "big", key).await, 200);
        gateway.cli(change);
        let done = Instant::now();
        eventually("the secret is refused", async || (status(&gateway, "big", key).await == 401).then_some(())).await;
        assert!(done.elapsed() < Duration::from_secs(1), "{change:?}: {:?}", done.elapsed());
    }
}

#[tokio::test]
async fn a_key_ends_when_it_was_said_to() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    let (_, brief) = create(&gateway, &["--name", "brief", "--expires", "5s"]);
    let (_, long) = create(&gateway, &["--name", "long", "--expires", "2999-01-31T00:00:00Z"]);
    known(&gateway, &[&brief, &long]).await;
    eventually("it has ended", async || (status(&gateway, "big", &brief).await == 401).then_some(())).await;
    assert_eq!(status(&gateway, "big", &long).await, 200);
}

#[tokio::test]
async fn each_of_a_keys_budgets_holds() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    // A call costs some 80 microdollars and holds at most 0.041 for the length that nobody bounded.
    let budgets = ["--budget", "0.10 USD/hour", "--budget", "100 USD/month", "--budget", "0.0001 USD/total"];
    let small: Vec<&str> = ["--name", "small"].into_iter().chain(budgets).collect();
    let large: Vec<&str> = ["--name", "large"].into_iter().chain(budgets[..4].iter().copied()).collect();
    let ((_, small), (id, large)) = (create(&gateway, &small), create(&gateway, &large));
    known(&gateway, &[&small, &large]).await;
    assert_eq!(status(&gateway, "big", &large).await, 200);
    assert_eq!(status(&gateway, "big", &small).await, 402);
    let states = gateway.api("/api/budgets").await;
    let scope = format!("key:{id}");
    let of_key = states["budgets"].as_array().expect("budgets").iter().filter(|budget| budget["scope"] == *scope);
    let mut spent: Vec<_> = of_key.map(|budget| (budget["window"].clone(), budget["spent_usd"].clone())).collect();
    spent.sort_by_key(|(window, _)| window.to_string());
    assert_eq!(spent.len(), 2);
    assert!(spent[0].1 == spent[1].1 && spent[0].1 != "0", "both are charged: {spent:?}");
}

#[tokio::test]
async fn a_keys_budget_in_tokens_holds_beside_one_in_dollars() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    let budgets = ["--budget", "1000 tokens/day", "--budget", "1.00 USD/day"];
    let arguments: Vec<&str> = ["--name", "counted"].into_iter().chain(budgets).collect();
    let (id, key) = create(&gateway, &arguments);
    known(&gateway, &[&key]).await;
    let bearer = format!("Bearer {key}");
    let ask = async |most: u64| {
        let mut body = chat("big", "x");
        body["max_tokens"] = most.into();
        gateway.chat_with(&body, &[("authorization", &bearer)]).await
    };
    // It holds its most, and takes what it had: eleven tokens in and five out.
    assert_eq!(ask(100).await.status(), 200);
    let refused = ask(2_000).await;
    assert_eq!((refused.status().as_u16(), header(&refused, "x-sluice-reason")), (402, Some("budget")));
    assert_eq!(upstream.count(), 1);
    let states = gateway.api("/api/budgets").await;
    let scope = format!("key:{id}");
    let of_key = states["budgets"].as_array().expect("budgets").iter().filter(|budget| budget["scope"] == *scope);
    let tokens: Vec<_> = of_key
        .filter_map(|budget| budget["limit_tokens"].as_u64().map(|limit| (limit, budget["spent_tokens"].as_u64())))
        .collect();
    assert_eq!(tokens, [(1_000, Some(16))], "{states}");
    let listed = gateway.cli(&["keys", "list"]);
    assert_eq!(listed["keys"][0]["budgets"][0], serde_json::json!({"limit_tokens": 1_000, "window": "day"}));
}

#[tokio::test]
async fn a_keys_own_rate_takes_the_place_of_the_default_and_a_team_shares_one() {
    let upstream = Upstream::start().await;
    let limits = "[limits]\nrequests_per_minute = 2\n[limits.teams.research]\nrequests_per_minute = 3\n";
    let gateway = Gateway::start(&format!("{}{limits}", hosted_only(&upstream, "echo"))).await;
    let rates = ["--rate", "4 requests/day", "--rate", "50000 tokens/minute"];
    let own: Vec<&str> = ["--name", "own"].into_iter().chain(rates).collect();
    let (_, plain) = create(&gateway, &["--name", "plain"]);
    let (_, own) = create(&gateway, &own);
    let team: Vec<_> = ["ada", "bob"]
        .iter()
        .map(|name| create(&gateway, &["--name", name, "--team", "research", "--rate", "100 requests/hour"]).1)
        .collect();
    known(&gateway, &[&plain, &own, &team[0], &team[1]]).await;
    let let_in = async |keys: &[&String]| {
        let mut passed = 0;
        for key in keys.iter().cycle().take(8) {
            passed += u32::from(status(&gateway, "big", key).await == 200);
        }
        passed
    };
    // In the seconds that this takes one of sixty may come back.
    assert!((2..=3).contains(&let_in(&[&plain]).await));
    assert_eq!(let_in(&[&own]).await, 4);
    assert!((3..=4).contains(&let_in(&[&team[0], &team[1]]).await));
    let told = gateway.tell_with(&chat("big", "x"), &[("x-api-key", &own)]).await;
    let error = told.error(429);
    assert!(error["message"].as_str().is_some_and(|text| text.contains("4 requests/day")), "{error}");
    assert_eq!(told.said("x-ratelimit-limit-tokens"), "50000");
    let told = gateway.tell_with(&chat("big", "x"), &[("x-api-key", &team[1])]).await;
    assert!(told.error(429)["message"].as_str().is_some_and(|text| text.contains("team `research`")));
}

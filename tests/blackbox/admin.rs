//! The admin listener: the page, the API, metrics.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use tests::upstream::Play;
use tests::{EASY, Gateway, HARD, Upstream, chat, streamed, two_sides};

async fn start() -> (Gateway, Upstream, Upstream) {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    (gateway, hosted, house)
}

#[tokio::test]
async fn the_page_comes_whole_from_the_binary_and_needs_no_network() {
    let (gateway, _hosted, _house) = start().await;
    let page = gateway.admin_get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.said("content-type").starts_with("text/html"));
    let text = page.text();
    assert!(!text.contains("http://") && !text.contains("https://"), "the page asks nobody else");
    let mut files = 0;
    for attribute in ["src=\"", "href=\""] {
        for rest in text.split(attribute).skip(1) {
            let path = rest.split('"').next().expect("a quoted address");
            if path.starts_with('#') || path.starts_with("data:") {
                continue;
            }
            let file = gateway.admin_get(&format!("/{}", path.trim_start_matches('/'))).await;
            assert_eq!(file.status, 200, "{path}");
            assert!(!file.body.is_empty() && file.said("x-content-type-options") == "nosniff", "{path}");
            files += 1;
        }
    }
    assert!(files >= 2, "style and script");
    assert!(page.said("content-security-policy").contains("default-src 'self'"));
}

#[tokio::test]
async fn what_happened_over_time_comes_to_what_was_spent() {
    let (gateway, hosted, _house) = start().await;
    for prompt in [EASY, HARD, EASY] {
        gateway.tell(&chat("auto", prompt)).await;
    }
    hosted.play("echo", Play::status(500));
    gateway.tell(&chat("big", HARD)).await;
    let spend = gateway.api("/api/spend?group_by=route").await;
    for by in ["minute", "hour", "day"] {
        let since = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2);
        let series = gateway.api(&format!("/api/series?by={by}&since={since}")).await;
        let rows = series["rows"].as_array().expect("rows");
        let sum = |field: &str| rows.iter().map(|row| row[field].as_u64().expect("a count")).sum::<u64>();
        assert_eq!(sum("attempts"), spend["total"]["requests"].as_u64().expect("a count"), "{by}");
        assert_eq!((sum("ended_well"), sum("ended_well_local")), (3, 2), "{by}: {series}");
        assert!(sum("failed") >= 1 && sum("answers") == 3 + sum("failed"), "{by}: {series}");
        let waits = rows.iter().filter_map(|row| row["first_event_ms"].as_object());
        assert!(waits.clone().count() > 0 && waits.clone().all(|wait| wait["p50"].as_f64() <= wait["p95"].as_f64()));
    }
    for (query, field) in [("by=week", "by"), ("by=minute&since=2020-01-01T00:00:00Z", "by"), ("since=noon", "since")] {
        let told = gateway.admin_get(&format!("/api/series?{query}")).await;
        assert_eq!((told.status, told.json()["error"]["param"].as_str()), (400, Some(field)), "{query}");
    }
}

#[tokio::test]
async fn requests_are_listed_the_latest_first_filtered_and_paged() {
    let (gateway, _hosted, _house) = start().await;
    let mut ids = Vec::new();
    for n in 0..7 {
        let prompt = if n % 2 == 0 { EASY } else { HARD };
        ids.push(gateway.tell(&chat("auto", prompt)).await.id().to_owned());
    }
    let refused = gateway.tell(&chat("nobody", "x")).await.id().to_owned();
    tests::oracle::record(&gateway, &refused).await;
    let list = async |path: String| gateway.api(&path).await;
    let of = |page: &Value| -> Vec<String> {
        let rows = page["requests"].as_array().expect("requests").iter();
        rows.map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
    };
    let all = list("/api/requests?limit=100".into()).await;
    let latest_first: Vec<String> = ids.iter().chain([&refused]).rev().cloned().collect();
    assert_eq!(of(&all), latest_first);
    assert!(all["next"].is_null());
    for (route, count) in [("local", 4), ("hosted", 3), ("none", 1)] {
        let page = list(format!("/api/requests?route={route}")).await;
        assert_eq!(of(&page).len(), count, "{route}");
    }
    // Page by page, nothing twice and nothing left out.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(format!("/api/requests?limit=3{cursor}")).await;
        seen.extend(of(&page));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&before={next}"),
            None => break,
        }
    }
    assert_eq!(seen, latest_first);
    assert!(of(&list("/api/requests?since=2999-01-01T00:00:00Z".into()).await).is_empty());
}

#[tokio::test]
async fn a_requests_record_has_every_candidate_and_what_struck_it_out() {
    let (gateway, _hosted, _house) = start().await;
    let told = gateway.tell_with(&chat("auto", HARD), &[("x-sluice-data-class", "restricted")]).await;
    let record = tests::oracle::record(&gateway, told.id()).await;
    for (key, value) in [
        ("class", json!("restricted")),
        ("route", json!("local")),
        ("model", json!("small")),
        ("reason", json!("residency")),
        ("status", json!(200)),
        ("endpoint", json!("chat")),
        ("asked", json!("auto")),
    ] {
        assert_eq!(record[key], value, "{key}: {record}");
    }
    let candidates = record["candidates"].as_array().expect("candidates");
    let big = candidates.iter().find(|candidate| candidate["model"] == "big").expect("big");
    assert_eq!((big["admitted"].as_bool(), big["refused_by"].as_str()), (Some(false), Some("residency")));
    assert!(!record.to_string().contains("primes"), "no prompt is kept");
    assert!(record["time"].as_str().is_some_and(|time| time.ends_with('Z')), "RFC 3339, UTC");
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked_through_the_api() {
    let (gateway, _hosted, _house) = start().await;
    let post = |body: Value| {
        let request = gateway.client.post(format!("{}/api/keys", gateway.admin)).body(body.to_string());
        tests::Told::of(request.header("content-type", "application/json"))
    };
    let made = post(json!({"name": "ci", "team": "t", "budget": "1.00 USD/month"})).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let key = made.json();
    let secret = key["key"].as_str().expect("a key").to_owned();
    assert!(secret.starts_with("sk-sluice-") && secret.len() > 40, "{secret}");
    let list = gateway.api("/api/keys").await;
    assert!(!list.to_string().contains(&secret), "it is shown once");
    assert_eq!(list["keys"][0]["name"], "ci");
    for bad in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "ci"}),
        json!({"name": "x", "budget": "much"}),
        json!({"nam": "x"}),
    ] {
        post(bad).await.error(400);
    }
    let bearer = format!("Bearer {secret}");
    assert_eq!(gateway.tell_with(&chat("big", "x"), &[("authorization", &bearer)]).await.status, 200);
    assert_eq!(gateway.tell(&chat("big", "x")).await.status, 401, "from the first key on");
    let id = key["id"].as_str().expect("an id");
    let revoke = || gateway.client.delete(format!("{}/api/keys/{id}", gateway.admin));
    assert_eq!(tests::Told::of(revoke()).await.status, 200);
    assert_eq!(gateway.tell_with(&chat("big", "x"), &[("authorization", &bearer)]).await.status, 401);
    assert!(!gateway.log.lock().contains(&secret), "a key is in the log");
}

#[tokio::test]
async fn metrics_have_their_names_and_labels_that_clients_cannot_multiply() {
    let (gateway, _hosted, _house) = start().await;
    gateway.tell(&chat("auto", EASY)).await;
    gateway.tell(&streamed("auto", HARD)).await;
    gateway.tell(&chat("nobody", "x")).await;
    let metrics = || async { gateway.admin_get("/metrics").await.text() };
    let text = metrics().await;
    for name in [
        "sluice_requests_total{",
        "sluice_attempts_total{",
        "sluice_cost_total{",
        "sluice_baseline_total{",
        "sluice_judgements_total{",
        "gen_ai_client_token_usage_bucket{",
        "gen_ai_client_operation_duration_seconds_bucket{",
        "gen_ai_server_time_to_first_token_seconds_bucket{",
        "gen_ai_server_request_duration_seconds_bucket{",
    ] {
        assert!(text.contains(name), "no `{name}` in\n{text}");
    }
    let series = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
    };
    let before = series(&text);
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(lines, before.len(), "a series is there twice, which a scraper refuses:\n{text}");
    for n in 0..200 {
        let headers = [("x-sluice-tags", format!("t{n}={n}")), ("x-sluice-session", format!("s{n}"))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        gateway.tell_with(&chat(&format!("invented-{n}"), "x"), &headers).await.error(404);
        gateway.get(&format!("/v1/invented/{n}")).await.error(404);
    }
    let grown: Vec<String> = series(&metrics().await).difference(&before).cloned().collect();
    assert!(grown.len() <= 2, "{grown:?}");
}

#[tokio::test]
async fn commands_that_lack_what_they_work_on_end_with_64() {
    let (gateway, _hosted, _house) = start().await;
    for command in ["compare", "reconcile"] {
        let output = tests::gateway::run(gateway.folder.path(), &[command], "");
        assert_eq!(output.status.code(), Some(64), "{command}");
    }
}

#[tokio::test]
async fn models_say_what_they_are_and_how_they_are() {
    let (gateway, _hosted, _house) = start().await;
    let models = gateway.api("/api/models").await;
    let rows = models["models"].as_array().expect("models");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["state"] == "ready"), "{models}");
    let list = gateway.get("/v1/models").await.json();
    let ids: BTreeSet<&str> =
        list["data"].as_array().expect("data").iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids, BTreeSet::from(["auto", "big", "small"]));
    assert!(
        list["data"]
            .as_array()
            .expect("data")
            .iter()
            .all(|row| row["object"] == "model" && row["owned_by"].is_string())
    );
}

#[tokio::test]
async fn without_a_token_only_loopback_names_and_the_page_itself_get_in() {
    let (gateway, _hosted, _house) = start().await;
    let port = gateway.admin.rsplit(':').next().expect("a port").to_owned();
    for (host, origin, status) in [
        (format!("127.0.0.1:{port}"), None, 200),
        (format!("localhost:{port}"), Some(format!("http://localhost:{port}")), 200),
        (format!("[::1]:{port}"), None, 200),
        ("evil.example".to_owned(), None, 403),
        (format!("127.0.0.1.evil.example:{port}"), None, 403),
        (format!("localhost:{port}"), Some("http://evil.example".to_owned()), 403),
        (format!("localhost:{port}"), Some("null".to_owned()), 403),
        (format!("localhost:{port}"), Some("http://localhost:1".to_owned()), 403),
    ] {
        for path in ["/api/spend", "/metrics", "/api/keys"] {
            let mut request = gateway.client.get(format!("{}{path}", gateway.admin)).header("host", &host);
            if let Some(origin) = &origin {
                request = request.header("origin", origin);
            }
            let told = tests::Told::of(request).await;
            assert_eq!(told.status, status, "{path} {host} {origin:?}: {}", told.text());
        }
    }
}

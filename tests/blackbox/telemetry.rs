//! What an operator sees in `/metrics`, and what a collector gets: limits beside what is taken of them, and whatever was lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use tests::upstream::{Nobody, Play};
use tests::{EASY, Gateway, HARD, Live, Upstream, chat, eventually, streamed, two_sides};
use tokio::sync::Semaphore;

/// Both sides, the encoder in the program, a budget, a shadow and a collector.
fn config(hosted: &Upstream, house: &Upstream, more: &str) -> String {
    format!(
        "{}{more}[providers.minilm]\nkind = \"encoder\"\nqueue = 3\n[models.vectors]\nprovider = \"minilm\"\n\
         [[budgets]]\nscope = \"org\"\nlimit_usd = \"50\"\nwindow = \"month\"\n\
         [experiments.twice]\nkind = \"shadow\"\nshare = \"100%\"\n",
        two_sides(hosted, house)
    )
}

async fn metrics(gateway: &Gateway) -> String {
    gateway.admin_get("/metrics").await.text()
}

/// The value of the series of a metric that has these labels; `None`: there is none.
fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut found = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
    });
    let line = found.next()?;
    assert!(found.next().is_none(), "more than one series of {name} {labels:?} in\n{text}");
    line.rsplit_once(' ')?.1.parse().ok()
}

/// Names of all metrics in an exposition.
fn exposed(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_metric_is_in_the_table_and_the_table_invents_none() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&config(&hosted, &house, "")).await;
    gateway.tell(&chat("auto", EASY)).await;
    gateway.tell(&streamed("auto", HARD)).await;
    gateway.send("/v1/chat/completions", "{", &[]).await.error(400);
    hosted.play("echo", Play::status(503));
    gateway.tell(&chat("big", "x")).await.error(502);
    let mut said = exposed(&metrics(&gateway).await);
    let risky = two_sides(&hosted, &house).replace("[router]\n", "[router]\nrisk = \"40%\"\nexploration = \"50%\"\n");
    house.play("echo", Play::events(3));
    let gateway = Gateway::start(&risky).await;
    let text = eventually("a label counts", async || {
        let told = gateway.tell(&chat("auto", EASY)).await;
        let up = format!("{{\"request_id\": \"{}\", \"rating\": \"up\"}}", told.id());
        gateway.send("/v1/feedback", up, &[]).await;
        let text = metrics(&gateway).await;
        value(&text, "sluice_risk_labels", &[]).is_some().then_some(text)
    })
    .await;
    said.extend(exposed(&text));
    let document = include_str!("../../docs/telemetry.md");
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let first = rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let table: BTreeSet<String> = first.map(str::to_owned).collect();
    assert_eq!(table.difference(&said).collect::<Vec<_>>(), Vec::<&String>::new(), "in the table and not exposed");
    assert_eq!(said.difference(&table).collect::<Vec<_>>(), Vec::<&String>::new(), "exposed and not in the table");
}

#[tokio::test]
async fn what_is_taken_of_each_limit_is_told_while_it_is_taken() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    // One for each side: the first stream would take the permits of both.
    let gates = [&hosted, &house].map(|side| {
        let gate = Arc::new(Semaphore::new(1));
        side.play("echo", Play::gated(4, &gate));
        gate
    });
    let gateway = Gateway::start(&config(&hosted, &house, "[limits]\nin_flight = 7\nconnections = 9\n")).await;
    let bodies = ["big", "small"].map(|model| streamed(model, "hello"));
    let ask = |body| Live::open(&gateway.client, &gateway.data, body, &[]);
    let running = [ask(&bodies[0]).await, ask(&bodies[1]).await];
    let org = [("scope", "org"), ("window", "month"), ("measure", "usd")];
    let text = metrics(&gateway).await;
    let told = |name: &str, labels: &[(&str, &str)]| value(&text, name, labels);
    assert_eq!((told("sluice_in_flight", &[]), told("sluice_in_flight_limit", &[])), (Some(2.0), Some(7.0)), "{text}");
    let data = [("listener", "data")];
    assert_eq!(told("sluice_connections_limit", &data), Some(9.0), "{text}");
    assert!(told("sluice_connections", &data).is_some_and(|open| (2.0..=9.0).contains(&open)), "{text}");
    assert_eq!(told("sluice_connections_limit", &[("listener", "admin")]), Some(128.0), "{text}");
    assert_eq!(told("sluice_budget_limit", &org), Some(50.0), "{text}");
    assert_eq!(told("sluice_budget_spent", &org), Some(0.0), "{text}");
    assert!(told("sluice_budget_held", &org).is_some_and(|held| held > 0.0 && held < 50.0), "{text}");
    let encoder = [("gen_ai_provider_name", "minilm")];
    let queue = ["waiting", "running", "limit"].map(|part| told(&format!("sluice_queue_{part}"), &encoder));
    assert_eq!(queue, [Some(0.0), Some(0.0), Some(3.0)], "{text}");
    gates.iter().for_each(|gate| gate.add_permits(100));
    for mut live in running {
        while live.next().await.is_some() {}
    }
    eventually("all is given back, and paid for", async || {
        let text = metrics(&gateway).await;
        let spent = value(&text, "sluice_budget_spent", &org)?;
        let free = value(&text, "sluice_in_flight", &[]) == Some(0.0);
        (free && value(&text, "sluice_budget_held", &org) == Some(0.0) && spent > 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_breaker_that_opens_is_told_by_provider_and_so_is_who_failed() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    hosted.play("echo", Play::status(500));
    let gateway = Gateway::start(&config(&hosted, &house, "")).await;
    let state = |text: &str, provider: &str, state: &str| {
        value(text, "sluice_breaker_state", &[("gen_ai_provider_name", provider), ("state", state)])
    };
    let ready = |text: &str| value(text, "sluice_model_ready", &[("gen_ai_request_model", "big")]);
    let text = metrics(&gateway).await;
    assert_eq!((state(&text, "hosted", "closed"), ready(&text)), (Some(1.0), Some(1.0)), "{text}");
    for _ in 0..5 {
        gateway.tell(&chat("big", "x")).await.error(502);
    }
    let text = metrics(&gateway).await;
    assert_eq!(state(&text, "hosted", "closed"), Some(0.0), "{text}");
    assert_eq!(state(&text, "house", "closed"), Some(1.0), "{text}");
    let failed = |provider| value(&text, "sluice_failures_total", &[("gen_ai_provider_name", provider)]);
    assert_eq!((failed("hosted"), failed("house")), (Some(5.0), None), "{text}");
}

#[tokio::test]
async fn judgements_say_their_side_and_drawn_copies_what_became_of_them() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&config(&hosted, &house, "")).await;
    let mut sides = [0.0, 0.0];
    for n in 0..6 {
        let told = gateway.tell(&chat("auto", if n % 2 == 0 { EASY } else { HARD })).await;
        sides[usize::from(told.said("x-sluice-route") == "hosted")] += 1.0;
    }
    let text = metrics(&gateway).await;
    let side = |side| value(&text, "sluice_judgements_total", &[("side", side)]).unwrap_or_default();
    assert_eq!([side("local"), side("hosted")], sides, "{text}");
    let threshold = value(&text, "sluice_threshold", &[("head", "")]);
    assert!(threshold.is_some_and(|threshold| (0.0..=1.01).contains(&threshold)), "{text}");
    assert_eq!(value(&text, "sluice_hosted_share_goal", &[]).map(|goal| (goal * 100.0).round()), Some(30.0), "{text}");
    eventually("each request was drawn, and its copy has ended", async || {
        let text = metrics(&gateway).await;
        let ends = ["made", "failed", "gave_way", "skipped"];
        let count = |end| value(&text, "sluice_shadows_total", &[("experiment", "twice"), ("end", end)]);
        let counts = ends.map(|end| count(end).unwrap_or_default());
        (counts.iter().sum::<f64>() >= 6.0 && counts[0] > 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_request_has_one_span_and_a_refused_one_says_nothing_of_its_client() {
    let (hosted, house, collector) = (Upstream::start().await, Upstream::start().await, Upstream::start().await);
    let more = format!("[telemetry]\notlp_endpoint = \"{}\"\n", collector.root);
    let mut gateway = Gateway::start(&format!("{}{more}", two_sides(&hosted, &house))).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let headers =
        [("traceparent", parent.as_str()), ("x-request-id", "chosen-by-client"), ("x-sluice-session", "the-session")];
    gateway.send("/v1/chat/completions", "{", &headers).await.error(400);
    gateway.stop().await;
    let sent = || -> Vec<u8> {
        let spans = collector.log().into_iter().filter(|seen| seen.path == "/v1/traces");
        spans.flat_map(|seen| seen.body.to_vec()).collect()
    };
    let count = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).filter(|window| *window == word).count();
    let spans = sent();
    assert_eq!(count(&spans, b"refused"), 1, "{}", String::from_utf8_lossy(&spans));
    let bytes: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&trace[2 * at..2 * at + 2], 16).expect("hex")).collect();
    assert_eq!(count(&spans, &bytes), 1, "it is in the client's trace");
    for word in ["chosen-by-client", "the-session"] {
        assert_eq!(count(&spans, word.as_bytes()), 0, "{word}");
    }
    collector.forget();
    let mut gateway = Gateway::serve(gateway.folder.clone(), &[]).await;
    assert_eq!(gateway.tell_with(&chat("big", "x"), &headers).await.status, 200);
    gateway.tell(&chat("nobody", "x")).await.error(404);
    gateway.stop().await;
    let spans = sent();
    let names = ["request chat", "chat big", "refused"].map(|name| count(&spans, name.as_bytes()));
    assert_eq!(names, [2, 1, 0], "{}", String::from_utf8_lossy(&spans));
    assert_eq!(count(&spans, &bytes), 2, "the request and its attempt are in the client's trace");
}

#[tokio::test]
async fn spans_that_no_collector_takes_are_counted() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let more = format!("[telemetry]\notlp_endpoint = \"{}\"\n", Nobody::new().url.trim_end_matches("/v1"));
    let gateway = Gateway::start(&format!("{}{more}", two_sides(&hosted, &house))).await;
    for _ in 0..10 {
        assert_eq!(gateway.tell(&chat("big", "x")).await.status, 200);
    }
    eventually("the spans of ten requests and their attempts are counted as lost", async || {
        let text = metrics(&gateway).await;
        let lost = value(&text, "sluice_spans_dropped_total", &[("reason", "not_taken")])?;
        assert!(lost <= 20.0, "{text}");
        (lost == 20.0).then_some(())
    })
    .await;
}

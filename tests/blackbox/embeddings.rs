//! Vectors of texts: relayed byte for byte, or made in the process, and accounted for like any other request.

use serde_json::{Value, json};
use tests::oracle::{attempt, cost, nanos, nanos_of, record};
use tests::upstream::{Play, Usage};
use tests::{Gateway, Told, Upstream, chat, eventually, gateway, oracle};

/// Nano-dollars per million tokens of `vectors`.
const RATES: (u128, u128) = (20_000_000, 0);

/// A hosted model that makes vectors, one that answers, and the encoder in the process.
fn config(upstream: &Upstream, more: &str) -> String {
    format!(
        "{}[models.vectors]\nprovider = \"hosted\"\nupstream = \"text-embedding-3-small\"\n\
         [providers.minilm]\nkind = \"encoder\"\n[models.house]\nprovider = \"minilm\"\n\
         [router]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\n[ledger]\ndurability = \"process\"\n{more}",
        upstream.provider("hosted", "hosted", &[("big", "echo")]),
    )
}

async fn start(more: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&config(&upstream, more)).await;
    (gateway, upstream)
}

async fn embed(gateway: &Gateway, body: &Value, headers: &[(&str, &str)]) -> Told {
    gateway.send("/v1/embeddings", body.to_string(), headers).await
}

#[tokio::test]
async fn request_and_answer_are_relayed_byte_for_byte_and_charged_by_input_alone() {
    let (gateway, upstream) = start("").await;
    for (input, tokens) in [
        (json!("two words"), 2),
        (json!(["two words", "and three more"]), 5),
        (json!([7, 8, 9]), 3),
        (json!([[7, 8], [9]]), 3),
    ] {
        let body =
            json!({"model": "vectors", "input": input, "encoding_format": "base64", "dimensions": 3, "x_kept": [1.50]});
        let told = embed(&gateway, &body, &[]).await;
        let seen = upstream.of(told.id()).expect("it was asked");
        assert_eq!((told.status, &told.body), (200, seen.answered.as_ref().expect("a whole answer")));
        let sent = body.to_string().replace("\"vectors\"", "\"text-embedding-3-small\"");
        assert_eq!((seen.path.as_str(), std::str::from_utf8(&seen.body)), ("/v1/embeddings", Ok(sent.as_str())));
        let owed = cost((tokens, 0), RATES);
        assert_eq!(told.cost().map(|cost| nanos_of(&cost)), Some(owed));
        for (header, says) in
            [("x-sluice-route", "hosted"), ("x-sluice-model", "vectors"), ("x-sluice-reason", "pinned")]
        {
            assert_eq!(told.said(header), says);
        }
        let line = attempt(&gateway, told.id()).await;
        assert_eq!((line["input_tokens"].as_u64(), line["output_tokens"].as_u64()), (Some(tokens), Some(0)), "{line}");
        assert_eq!((line["counted"].as_str(), nanos(&line["cost_usd"])), (Some("exact"), Some(owed)), "{line}");
        assert!(line["price_source"].as_str().is_some_and(|source| source.starts_with("table:")), "{line}");
        assert_eq!(record(&gateway, told.id()).await["endpoint"], "embeddings");
    }
}

#[tokio::test]
async fn tokens_that_the_provider_does_not_tell_are_counted() {
    let (gateway, upstream) = start("").await;
    upstream.play("text-embedding-3-small", Play::usage(Usage::Missing));
    for (input, least) in [(json!(["Hello, world!", "Hello, world!"]), 8), (json!([[1, 2, 3], [4]]), 4)] {
        let told = embed(&gateway, &json!({"model": "vectors", "input": input}), &[]).await;
        let line = attempt(&gateway, told.id()).await;
        assert_eq!(
            (line["counted"].as_str(), line["input_tokens"].as_u64()),
            (Some("at_least"), Some(least)),
            "{line}"
        );
    }
}

#[tokio::test]
async fn the_encoder_in_the_process_makes_vectors_of_length_one_and_charges_nothing() {
    let (gateway, upstream) = start("").await;
    let body = json!({"model": "house", "input": ["The cat sat.", "A feline was sitting.", "Stocks fell."]});
    let told = embed(&gateway, &body, &[("x-sluice-data-class", "restricted")]).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let answer = told.json();
    let vectors: Vec<Vec<f64>> = answer["data"].as_array().expect("data").iter().map(numbers).collect();
    let product = |a: usize, b: usize| vectors[a].iter().zip(&vectors[b]).map(|(a, b)| a * b).sum::<f64>();
    assert!(vectors.iter().all(|vector| vector.len() == 384) && (0..3).all(|at| (product(at, at) - 1.0).abs() < 1e-4));
    assert!(product(0, 1) > product(0, 2));
    assert_eq!((told.said("x-sluice-route"), told.said("x-sluice-cost-usd")), ("local", "0.000000"));
    let line = attempt(&gateway, told.id()).await;
    assert_eq!(
        (line["input_tokens"].as_u64(), line["counted"].as_str()),
        (answer["usage"]["prompt_tokens"].as_u64(), Some("exact"))
    );
    assert!(line["baseline_usd"].is_null(), "what a chat would have cost is no measure of a vector: {line}");
    assert_eq!(upstream.count(), 0);
    let long = embed(&gateway, &json!({"model": "house", "input": "word ".repeat(400)}), &[]).await;
    assert_eq!(long.error(400)["code"], "context_length_exceeded");
    let just = embed(&gateway, &json!({"model": "house", "input": "word ".repeat(130)}), &[]).await;
    assert_eq!(just.error(400)["code"], "context_length_exceeded");
}

fn numbers(entry: &Value) -> Vec<f64> {
    entry["embedding"].as_array().expect("numbers").iter().map(|number| number.as_f64().expect("a number")).collect()
}

#[tokio::test]
async fn nobody_chooses_among_embedding_models_and_each_model_makes_one_thing() {
    let (gateway, upstream) = start("").await;
    let auto = embed(&gateway, &json!({"model": "auto", "input": "x"}), &[]).await.error(400);
    assert!(
        auto["param"] == "model" && auto["message"].as_str().expect("text").contains("cannot be compared"),
        "{auto}"
    );
    let chatting = gateway.tell(&chat("vectors", "hello")).await.error(422);
    assert!(chatting["message"].as_str().expect("text").contains("/v1/embeddings"), "{chatting}");
    let answering = embed(&gateway, &json!({"model": "big", "input": "x"}), &[]).await.error(422);
    assert!(answering["message"].as_str().expect("text").contains("makes no embeddings"), "{answering}");
    embed(&gateway, &json!({"model": "nobody", "input": "x"}), &[]).await.error(404);
    let wrong = embed(&gateway, &json!({"model": "vectors", "input": {"a": 1}}), &[]).await.error(400);
    assert_eq!(wrong["param"], "input");
    let route = [("x-sluice-route", "local")];
    embed(&gateway, &json!({"model": "vectors", "input": "x"}), &route).await.error(422);
    assert_eq!(upstream.count(), 0, "nothing was dialled");
    let models = gateway.api("/api/models").await;
    let kinds =
        models["models"].as_array().expect("models").iter().map(|row| (row["model"].clone(), row["kind"].clone()));
    let mut kinds: Vec<String> = kinds.map(|(model, kind)| format!("{model} {kind}")).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [r#""big" "chat""#, r#""house" "embedding""#, r#""vectors" "embedding""#]);
}

#[tokio::test]
async fn another_model_never_steps_in() {
    let upstream = Upstream::start().await;
    upstream.play("text-embedding-3-small", Play::status(500));
    let more = "[models.other]\nprovider = \"hosted\"\nupstream = \"text-embedding-3-large\"\n";
    let gateway = Gateway::start(&config(&upstream, more)).await;
    embed(&gateway, &json!({"model": "vectors", "input": "x"}), &[]).await.error(502);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn what_is_found_in_an_input_keeps_it_in_the_house_and_the_refusal_is_evidence() {
    let (gateway, upstream) = start("[residency.detectors]\nunscanned = \"restricted\"\n").await;
    for input in [json!(["fine", "my card is 4111 1111 1111 1111"]), json!([[1, 2, 3]])] {
        let told = embed(&gateway, &json!({"model": "vectors", "input": input}), &[]).await;
        assert_eq!(told.error(403)["code"], "residency", "{input}");
    }
    let card = json!({"model": "house", "input": "my card is 4111 1111 1111 1111"});
    assert_eq!(embed(&gateway, &card, &[]).await.status, 200);
    assert_eq!(upstream.count(), 0);
    let events = eventually("evidence of both refusals and the local call", async || {
        let told = gateway.admin_get("/api/evidence/export").await.text();
        let lines = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let events: Vec<String> = lines.filter_map(|line| Some(line["record"]["event"].as_str()?.to_owned())).collect();
        (events.len() == 4).then_some(events)
    });
    assert_eq!(events.await, ["log", "refused", "refused", "dial"]);
}

#[tokio::test]
async fn budgets_hold_and_rate_limits_count_input_tokens() {
    let budget = "[[budgets]]\nscope = \"tag:purse=small\"\nlimit_usd = \"0.000001\"\nwindow = \"total\"\n";
    let (gateway, upstream) = start(budget).await;
    let purse = [("x-sluice-tags", "purse=small")];
    // As many tokens as this body has bytes, at $0.02 a million, are more than the 1,000 nano-dollars that there are.
    let long = json!({"model": "vectors", "input": "ten words of text that are more than it pays"});
    assert_eq!(embed(&gateway, &long, &purse).await.error(402)["code"], "budget_exceeded");
    let short = json!({"model": "vectors", "input": "x"});
    assert_eq!(embed(&gateway, &short, &purse).await.status, 200);
    let key = gateway.cli(&["keys", "create", "--name", "few", "--rate", "20 tokens/minute"]);
    let bearer = format!("Bearer {}", key["key"].as_str().expect("a key"));
    let headers = [("authorization", bearer.as_str())];
    eventually("the key's limit is known", async || {
        let told = embed(&gateway, &short, &headers).await;
        told.header("x-ratelimit-limit-tokens").map(|_| ())
    })
    .await;
    let much = json!({"model": "vectors", "input": "word ".repeat(40)});
    assert_eq!(embed(&gateway, &much, &headers).await.error(400)["code"], "request_above_rate_limit");
    assert!(upstream.log().iter().all(|seen| seen.json()["input"] == "x"));
}

#[tokio::test]
async fn a_repeat_is_answered_and_billed_once() {
    let (gateway, upstream) = start("").await;
    let body = json!({"model": "vectors", "input": "the same again"});
    let headers = [("idempotency-key", "once")];
    let first = embed(&gateway, &body, &headers).await;
    let again = embed(&gateway, &body, &headers).await;
    assert_eq!((first.status, first.body), (200, again.body));
    assert_eq!((upstream.count(), oracle::spend(&gateway, "model").await.1.requests), (1, 1));
}

#[test]
fn a_model_that_makes_vectors_is_no_target_of_auto() {
    let small = "[providers.e]\nkind = \"encoder\"\n[models.v]\nprovider = \"e\"\n";
    let check = |text: &str| {
        let output = gateway::run(gateway::folder(text).path(), &["check"], "");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, said) = check(small);
    assert!(code == Some(0) && said.contains("model v: local, provider e, price in_process, embeddings"), "{said}");
    for (text, says) in [
        (format!("{small}[router]\nlocal = [\"v\"]\n"), "`router.local`: model `v` makes embeddings"),
        (format!("{small}[savings]\nbaseline = \"v\"\n"), "`savings.baseline`: model `v` makes embeddings"),
        (format!("{small}[[rules]]\nwhen = {{ team = \"a\" }}\nmodel = \"v\"\n"), "`v` makes embeddings"),
        (format!("{small}kind = \"chat\"\n"), "`models.v.kind`: a provider of kind `encoder` makes embeddings only"),
        (small.replace("\"encoder\"", "\"encoder\"\nlocation = \"hosted\""), "always local"),
        (small.replace("\"encoder\"", "\"encoder\"\nbase_url = \"http://x\""), "means nothing for kind `encoder`"),
        (
            "[providers.s]\nkind = \"simulated\"\n[models.v]\nprovider = \"s\"\nkind = \"embedding\"\n".into(),
            "makes no embeddings",
        ),
    ] {
        let (code, said) = check(&text);
        assert!(code == Some(64) && said.contains(says), "{says}: {said}");
    }
}

#[tokio::test]
async fn what_is_masked_reaches_a_hosted_encoder_as_placeholders_and_one_in_the_house_as_it_is() {
    let more = "[residency.classes.restricted]\nlocations = [\"local\"]\n\
                [residency.masking]\nkinds = [\"email\"]\nwhen = \"always\"\n";
    let (gateway, upstream) = start(more).await;
    let input = json!(["write to ann@example.org", "nothing in it"]);
    let told = embed(&gateway, &json!({"model": "vectors", "input": input}), &[]).await;
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(upstream.last().json()["input"], json!(["write to <EMAIL_1>", "nothing in it"]));
    let plain = embed(&gateway, &json!({"model": "house", "input": input}), &[]).await.json();
    let placeheld = json!(["write to <EMAIL_1>", "nothing in it"]);
    let other = embed(&gateway, &json!({"model": "house", "input": placeheld}), &[]).await.json();
    assert_ne!(plain["data"][0], other["data"][0]);
    assert_eq!(plain["data"][1], other["data"][1]);
}

#[tokio::test]
async fn spans_and_metrics_call_it_embeddings() {
    let (upstream, collector) = (Upstream::start().await, Upstream::start().await);
    let rest = config(&upstream, &format!("[telemetry]\notlp_endpoint = \"{}\"\n", collector.root));
    let mut gateway = Gateway::start(&rest).await;
    assert_eq!(embed(&gateway, &json!({"model": "vectors", "input": "x"}), &[]).await.status, 200);
    assert_eq!(gateway.tell(&chat("big", "x")).await.status, 200);
    let metrics = gateway.admin_get("/metrics").await.text();
    for name in ["gen_ai_client_token_usage", "gen_ai_client_operation_duration_seconds"] {
        let of = |model: &str, operation: &str| {
            let labels =
                [format!("gen_ai_request_model=\"{model}\""), format!("gen_ai_operation_name=\"{operation}\"")];
            metrics.lines().any(|line| {
                line.starts_with(&format!("{name}_count{{")) && labels.iter().all(|label| line.contains(label))
            })
        };
        assert!(of("vectors", "embeddings") && of("big", "chat") && !of("vectors", "chat"), "{name}:\n{metrics}");
    }
    let written = |line: &&str| line.contains("\"vectors\"") && line.contains("gen_ai_token_type=\"output\"");
    assert_eq!(metrics.lines().find(written), None, "nothing is written");
    // What has gathered leaves at the end.
    gateway.stop().await;
    let spans: Vec<u8> =
        collector.log().iter().filter(|seen| seen.path == "/v1/traces").flat_map(|seen| seen.body.to_vec()).collect();
    let has = |text: &str| spans.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("embeddings vectors") && has("chat big") && !has("chat vectors"));
}

#[tokio::test]
async fn an_answer_above_the_limit_is_accounted_for_and_blamed_on_nobody_else() {
    let (gateway, upstream) = start("[limits]\nvectors = \"16KiB\"\n").await;
    let large = json!({"model": "vectors", "input": vec!["two words"; 100], "dimensions": 64});
    let owed = cost((200, 0), RATES);
    let least = 200;
    // More often than a breaker bears.
    for _ in 0..8 {
        let told = embed(&gateway, &large, &[]).await;
        let error = told.error(502);
        assert_eq!(error["code"], "answer_too_large", "{error}");
        assert!(
            error["message"].as_str().is_some_and(|text| text.contains("16384 bytes that this gateway reads")),
            "{error}"
        );
        assert_eq!(told.header("x-should-retry"), Some("false"));
        let line = attempt(&gateway, told.id()).await;
        assert_eq!(
            (line["outcome"].as_str(), line["error"].as_str()),
            (Some("error"), Some("answer_too_large")),
            "{line}"
        );
        assert_eq!(line["counted"], "at_least", "{line}");
        assert!(line["input_tokens"].as_u64().is_some_and(|tokens| tokens >= least), "{line}");
        assert!(nanos(&line["cost_usd"]).is_some_and(|cost| cost >= owed), "{line}");
    }
    let small = embed(&gateway, &json!({"model": "vectors", "input": "x", "dimensions": 8}), &[]).await;
    assert_eq!((small.status, upstream.count()), (200, 9), "the provider is not shut out");
}

#[tokio::test]
async fn a_large_answer_below_the_limit_is_relayed_byte_for_byte() {
    let (gateway, upstream) = start("").await;
    let told = embed(&gateway, &json!({"model": "vectors", "input": vec!["x"; 800], "dimensions": 700}), &[]).await;
    let seen = upstream.of(told.id()).expect("it was asked");
    assert!(told.body.len() > 2 << 20, "{} bytes", told.body.len());
    assert_eq!((told.status, Some(&told.body)), (200, seen.answered.as_ref()));
}

//! `hosted_share` is kept by who answers, whatever the cascade does and whatever the local side tells; the threshold outlives a
//! restart, and `sluice explain` knows it.

use futures::StreamExt;
use serde_json::{Value, json};
use std::path::Path;
use tests::gateway::{Gateway, folder, run, write_config};
use tests::stores::Postgres;
use tests::upstream::{Play, Script};
use tests::{Dice, Upstream, chat, full_size, size};

/// Everyday prompts in an order that is always the same, as requests.
fn everyday(count: usize) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../router/assets/everyday");
    let mut all = Vec::new();
    for part in ["part1", "part2"] {
        let text = std::fs::read_to_string(folder.join(format!("{part}.jsonl"))).expect("everyday prompts");
        all.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a row")));
    }
    let mut dice = Dice(7);
    (0..all.len()).rev().for_each(|at| all.swap(at, dice.roll(at as u64 + 1) as usize));
    let request = |row: &Value| {
        let prompt = || chat("auto", row["prompt"].as_str().expect("a prompt"));
        let messages = row["messages"].as_array();
        messages.map_or_else(prompt, |messages| json!({"model": "auto", "messages": messages}))
    };
    all.iter().map(request).cycle().take(count).collect()
}

/// How a local server meets the wish to be told how sure it is.
#[derive(Clone, Copy, Debug)]
enum Certainty {
    Told,
    Refused,
    Ignored,
}

#[tokio::test]
async fn the_share_of_hosted_answers_is_kept_in_every_mode_whatever_the_local_model_tells() {
    use Certainty::{Ignored, Refused, Told};
    let (count, counted, within) = size((400, 200, 0.05), (1_000, 500, 0.03));
    let requests = everyday(count);
    for (mode, certainty) in [
        ("on", Told),
        ("on", Ignored),
        ("observe", Told),
        ("on", Refused),
        ("off", Told),
        ("observe", Ignored),
        ("observe", Refused),
        ("off", Ignored),
        ("off", Refused),
    ] {
        if !full_size() && (mode, matches!(certainty, Refused)) != ("on", true) && matches!(certainty, Refused) {
            continue;
        }
        if !full_size() && mode != "on" && matches!(certainty, Ignored) {
            continue;
        }
        let (house, hosted) = (Upstream::start().await, Upstream::start().await);
        match certainty {
            Told => {}
            Refused => house.play("echo", Play::refusing("logprobs")),
            Ignored => house.script(
                "echo",
                Script::json(
                    r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"so it is"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":3,"total_tokens":6}}"#,
                ),
            ),
        }
        let gateway = Gateway::start(&format!(
            "{}{}[router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nprobe_deadline = \"60s\"\n[router.cascade]\nmode = \"{mode}\"\n\
             [ledger]\ndurability = \"process\"\n",
            hosted.provider("hosted", "hosted", &[("big", "echo")]),
            house.provider("house", "local", &[("small", "echo")]),
        ))
        .await;
        // Several at once: who answers is known late.
        let asked = requests.iter().map(|request| async {
            let told = gateway.tell(request).await;
            assert_eq!(told.status, 200, "{}", told.text());
            told.header("x-sluice-route") == Some("hosted")
        });
        let went: Vec<bool> = futures::stream::iter(asked).buffered(8).collect().await;
        let last = &went[count - counted..];
        let share = last.iter().filter(|hosted| **hosted).count() as f64 / counted as f64;
        println!("{mode}, {certainty:?}: {share:.3} of the last {counted}");
        assert!((share - 0.3).abs() <= within, "{mode}, {certainty:?}: {share}");
    }
}

/// The decisions on some requests, asked of the gateway and of `sluice explain`.
async fn decisions(gateway: &Gateway) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for request in everyday(12) {
        let decided = gateway.send("/v1/route", request.to_string(), &[]).await.text();
        let explained =
            run(gateway.folder.path(), &["--config", "sluice.toml", "--json", "explain"], &request.to_string());
        assert!(explained.status.success(), "{}", String::from_utf8_lossy(&explained.stderr));
        all.push((decided, String::from_utf8_lossy(&explained.stdout).trim_end().to_owned()));
    }
    all
}

/// Asks, looks, starts anew and looks again.
async fn goes_on(store: &str, prompt: impl Fn(usize) -> Value, requests: usize) -> Vec<(String, String)> {
    let folder = folder("");
    write_config(
        folder.path(),
        &tests::gateway::config(&format!(
            "[providers.p]\nkind = \"simulated\"\nlocation = \"local\"\n[providers.q]\nkind = \"simulated\"\n\
             [models.small]\nprovider = \"p\"\n[models.big]\nprovider = \"q\"\n\
             [router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\nswitch_cost = \"0\"\n\
             [ledger]\ndurability = \"process\"\n{store}"
        )),
    );
    let mut gateway = Gateway::serve(folder.clone(), &[]).await;
    for n in 0..requests {
        let told = gateway.tell(&prompt(n)).await;
        assert_eq!(told.status, 200, "{}", told.text());
    }
    let live = decisions(&gateway).await;
    for (decided, explained) in &live {
        assert_eq!(decided, explained, "what is decided is what is explained");
    }
    gateway.stop().await;
    let gateway = Gateway::serve(folder, &[]).await;
    let again = decisions(&gateway).await;
    assert_eq!(again, live, "after a restart");
    live
}

#[tokio::test]
async fn what_is_explained_is_what_the_running_gateway_decides_and_a_restart_changes_nothing() {
    let requests = everyday(300);
    let live = goes_on("", |n| requests[n].clone(), 300).await;
    let cold: Value = serde_json::from_str(&live[0].0).expect("JSON");
    assert_ne!(cold["threshold"], 0.5, "it has moved since the start");
}

#[tokio::test]
async fn a_threshold_that_nobody_meets_outlives_a_restart_and_is_told_in_words() {
    // Always the same score: hosted, or nobody is.
    let same = |_: usize| chat("auto", "Explain the tides.");
    for requests in 100..140 {
        let live = goes_on("", same, requests).await;
        let shown: Value = serde_json::from_str(&live[0].0).expect("JSON");
        if shown["threshold"].is_null() {
            let words = shown["explanation"].to_string();
            assert!(words.contains("none goes to it for now: as many have gone as the goal allows"), "{words}");
            return;
        }
    }
    panic!("the same score forty times, and the threshold was never above it");
}

#[tokio::test]
async fn a_threshold_outlives_a_restart_on_a_server_too() {
    let Some(postgres) = Postgres::start() else { return };
    let requests = everyday(120);
    goes_on(&format!("url = \"{}\"\n", postgres.database()), |n| requests[n].clone(), 120).await;
}

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

/// An answer of a server that takes the wish for log-probabilities and does not fulfil it.
const WITHOUT_LOGPROBS: &str = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":
    "so it is"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":3,"total_tokens":6}}"#;

/// How a local server meets the wish to be told how sure it is.
#[derive(Clone, Copy, Debug)]
enum Certainty {
    Told,
    Refused,
    Ignored,
}

/// The share is kept in this mode of the cascade, with a local server of this kind. In the reduced size the heuristic judges, in the full
/// one the probe, as shipped.
async fn keeps_the_share(mode: &str, certainty: Certainty) {
    let (count, counted, within) = size((400, 200, 0.05), (1_000, 500, 0.03));
    let judge = size("heuristic", "probe");
    let requests = everyday(count);
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    match certainty {
        Certainty::Told => {}
        Certainty::Refused => house.play("echo", Play::refusing("logprobs")),
        Certainty::Ignored => house.script("echo", Script::json(WITHOUT_LOGPROBS)),
    }
    let gateway = Gateway::start(&format!(
        "{}{}[router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nclassifier = \"{judge}\"\n[router.cascade]\nmode = \"{mode}\"\n\
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

#[tokio::test]
async fn with_the_cascade_on_the_share_of_hosted_answers_is_kept_whatever_the_local_model_tells() {
    for certainty in [Certainty::Told, Certainty::Refused, Certainty::Ignored] {
        keeps_the_share("on", certainty).await;
    }
}

#[tokio::test]
async fn with_the_cascade_observing_or_off_it_is_kept_too() {
    keeps_the_share("observe", Certainty::Told).await;
    keeps_the_share("off", Certainty::Told).await;
    if full_size() {
        for mode in ["observe", "off"] {
            keeps_the_share(mode, Certainty::Refused).await;
            keeps_the_share(mode, Certainty::Ignored).await;
        }
    }
}

/// The decisions on some requests, asked of the gateway and of `sluice explain`.
async fn decisions(gateway: &Gateway) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for request in everyday(4) {
        let decided = gateway.send("/v1/route", request.to_string(), &[]).await.text();
        let explained =
            run(gateway.folder.path(), &["--config", "sluice.toml", "--json", "explain"], &request.to_string());
        assert!(explained.status.success(), "{}", String::from_utf8_lossy(&explained.stderr));
        all.push((decided, String::from_utf8_lossy(&explained.stdout).trim_end().to_owned()));
    }
    all
}

/// Asks until `enough` says so of the decision on the first request; looks, starts anew and looks again.
async fn goes_on(store: &str, requests: &[Value], enough: impl Fn(usize, &Value) -> bool) -> Value {
    let folder = folder("");
    write_config(
        folder.path(),
        &format!(
            "[providers.p]\nkind = \"simulated\"\nlocation = \"local\"\n[providers.q]\nkind = \"simulated\"\n\
             [models.small]\nprovider = \"p\"\n[models.big]\nprovider = \"q\"\n\
             [router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\nswitch_cost = \"0\"\n\
             [ledger]\ndurability = \"process\"\n{store}"
        ),
    );
    let mut gateway = Gateway::serve(folder.clone(), &[]).await;
    let mut asked = 0;
    for request in requests.iter().cycle() {
        let told = gateway.tell(request).await;
        assert_eq!(told.status, 200, "{}", told.text());
        asked += 1;
        let decided: Value = gateway.send("/v1/route", requests[0].to_string(), &[]).await.json();
        if enough(asked, &decided) {
            break;
        }
        assert!(asked < 400, "it did not come to that");
    }
    let live = decisions(&gateway).await;
    for (decided, explained) in &live {
        assert_eq!(decided, explained, "what is decided is what is explained");
    }
    gateway.stop().await;
    let gateway = Gateway::serve(folder, &[]).await;
    assert_eq!(decisions(&gateway).await, live, "after a restart");
    gateway.send("/v1/route", requests[0].to_string(), &[]).await.json()
}

#[tokio::test]
async fn what_is_explained_is_what_the_running_gateway_decides_and_a_restart_changes_nothing() {
    let told = goes_on("", &everyday(300), |asked, _| asked == 300).await;
    assert_ne!(told["threshold"], 0.5, "it has moved since the start");
}

#[tokio::test]
async fn a_threshold_that_nobody_meets_outlives_a_restart_and_is_told_in_words() {
    // Always the same score: everybody is hosted, or nobody.
    let told = goes_on("", &[chat("auto", tests::HARD)], |_, decided| decided["threshold"].is_null()).await;
    let words = told["explanation"].to_string();
    assert!(words.contains("none goes to it for now: as many have gone as the goal allows"), "{words}");
}

#[tokio::test]
async fn a_threshold_outlives_a_restart_on_a_server_too() {
    let Some(postgres) = Postgres::start() else { return };
    let store = format!("url = \"{}\"\n", postgres.database());
    goes_on(&store, &everyday(120), |asked, _| asked == 120).await;
}

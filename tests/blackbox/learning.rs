//! What both sides answered becomes rows, and rows become a head.

use serde_json::{Value, json};
use tests::gateway::{Gateway, run_json, write_config};
use tests::upstream::Upstream;
use tests::{chat, eventually};

#[tokio::test]
async fn shadowed_requests_become_rows_that_a_head_is_trained_on() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let config = |small: &str| {
        format!(
            "{}{}[router]\nlocal = [\"small\"]\nhosted = [\"big\"]\n[router.cascade]\nmode = \"off\"\n\
             [experiments.all]\nkind = \"shadow\"\nshare = \"100%\"\n",
            house.provider("house", "local", &[("small", small)]),
            hosted.provider("hosted", "hosted", &[("big", "echo")]),
        )
    };
    let gateway = Gateway::start(&config("echo")).await;
    const ASKED: usize = 80;
    for n in 0..ASKED {
        if n == ASKED / 2 {
            // From here on the local model says something else than the hosted one.
            write_config(gateway.folder.path(), &config("echo-json"));
            gateway
                .logged("configuration reloaded; addresses, limits and the ledger's place count after a restart")
                .await;
        }
        let told = gateway.tell(&chat("auto", &format!("Question number {n}: what is {n} + {n}?"))).await;
        assert_eq!(told.status, 200);
    }
    let shadows = async || gateway.api("/api/experiments").await["shadows"].as_array().map_or(0, Vec::len);
    // The page shows the latest fifty; the rest is on its way to the ledger by then.
    eventually("the shadows have answered", async || (shadows().await >= 50).then_some(())).await;
    let rows = || run_json(gateway.folder.path(), &["classifier", "rows", "--out", "own.jsonl", "--json"], "");
    let all = eventually("every pair is on the ledger", async || {
        let told = rows();
        (told["rows"] == json!(ASKED)).then_some(told)
    });
    assert_eq!(all.await["left_out"], 0);
    let text = std::fs::read_to_string(gateway.folder.path().join("own.jsonl")).expect("rows");
    let mut same = 0;
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let need = row["need"].as_f64().expect("a need");
        assert!((0.0..=1.0).contains(&need) && row["source"] == "shadow", "{row}");
        same += usize::from(need == 0.0);
        assert_eq!((row["weak_model"].as_str(), row["strong_model"].as_str()), (Some("small"), Some("big")));
        assert!(row["messages"][0]["content"].as_str().expect("a prompt").starts_with("Question number"));
    }
    assert_eq!(same, ASKED / 2, "what both sides answered alike needs nobody better");
    let of_nobody = ["classifier", "rows", "--out", "none.jsonl", "--team", "nobody", "--json"];
    assert_eq!(run_json(gateway.folder.path(), &of_nobody, "")["rows"], 0);
    let arguments = [
        "classifier",
        "train",
        "--data",
        "own.jsonl",
        "--graded",
        "all",
        "--adapt",
        "--newest",
        "20%",
        "--no-encoder",
        "--out",
        "own.head",
        "--json",
    ];
    let told = run_json(gateway.folder.path(), &arguments, "");
    assert!(told["accepted"].is_boolean(), "{told}");
    // Whatever came of it, the file is a head that scores.
    let scored = [
        "classifier",
        "eval",
        "--data",
        "own.jsonl",
        "--graded",
        "all",
        "--head",
        "own.head",
        "--bootstrap",
        "20",
        "--json",
    ];
    assert!(run_json(gateway.folder.path(), &scored, "")["groups"].is_array());
}

#[tokio::test]
async fn rated_local_answers_become_rows_where_prompts_are_kept() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    for kept in [false, true] {
        let gateway = Gateway::start(&format!(
            "{}{}[router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nhosted_share = \"0%\"\n[learning]\nkeep_prompts = {kept}\n",
            house.provider("house", "local", &[("small", "echo")]),
            hosted.provider("hosted", "hosted", &[("big", "echo")]),
        ))
        .await;
        for (n, rating) in ["up", "down"].into_iter().enumerate() {
            let told = gateway.tell(&chat("auto", &format!("Question number {n}: what is {n} + {n}?"))).await;
            let said = json!({"request_id": told.id(), "rating": rating}).to_string();
            assert_eq!(gateway.send("/v1/feedback", said, &[]).await.status, 200);
        }
        let told = run_json(gateway.folder.path(), &["classifier", "rows", "--out", "own.jsonl", "--json"], "");
        assert_eq!(told["rows"], if kept { 2 } else { 0 }, "{told}");
        let text = std::fs::read_to_string(gateway.folder.path().join("own.jsonl")).expect("rows");
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let needs: Vec<f64> = rows.iter().filter_map(|row| row["need"].as_f64()).collect();
        assert_eq!(needs, if kept { vec![0.0, 1.0] } else { vec![] }, "up needs nobody better, down does");
    }
}

//! What both sides answered becomes rows, and rows become a head.

use serde_json::{Value, json};
use tests::gateway::{Gateway, folder, run, run_json, write_config};
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
    let told = all.await;
    assert_eq!((&told["left_out"], &told["by_source"]), (&json!(0), &json!({"shadow": ASKED})));
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
async fn rated_local_answers_become_rows_with_their_prompt_or_with_what_the_head_saw() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    for kept in [false, true] {
        let gateway = Gateway::start(&format!(
            "{}{}[router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nhosted_share = \"0%\"\nprobe_deadline = \"10s\"\n[learning]\nkeep_prompts = {kept}\n",
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
        assert_eq!((&told["rows"], &told["without_text"]), (&json!(2), &json!(if kept { 0 } else { 2 })), "{told}");
        assert_eq!(told["by_source"], json!({"feedback": 2}));
        let text = std::fs::read_to_string(gateway.folder.path().join("own.jsonl")).expect("rows");
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let needs: Vec<f64> = rows.iter().filter_map(|row| row["need"].as_f64()).collect();
        assert_eq!(needs, [0.0, 1.0], "up needs nobody better, down does");
        for row in rows {
            assert_eq!((row["prompt"].is_string(), row["features"].is_array()), (kept, !kept), "{row}");
            assert!(kept || row["head"].is_string() && row["score"].is_number(), "{row}");
        }
    }
}

#[tokio::test]
async fn a_head_is_trained_without_any_prompt_and_tried() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&format!(
        "{}{}[router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nhosted_share = \"0%\"\nprobe_deadline = \"10s\"\n\
         [learning.roll_out]\npart = \"20%\"\n",
        house.provider("house", "local", &[("small", "echo")]),
        hosted.provider("hosted", "hosted", &[("big", "echo")]),
    ))
    .await;
    // Here greetings are what the local model cannot do, and proofs are what it can.
    const ASKED: usize = 90;
    for n in 0..ASKED {
        let proof = n.is_multiple_of(2);
        let prompt = match proof {
            true => format!("Prove rigorously that the sum of {n} and {} is odd, step by step.", n + 1),
            false => format!("Hello number {n}, thanks!"),
        };
        let told = gateway.tell(&chat("auto", &prompt)).await;
        let said = json!({"request_id": told.id(), "score": if proof { 1.0 } else { 0.0 }}).to_string();
        assert_eq!(gateway.send("/v1/feedback", said, &[]).await.status, 200);
    }
    let folder = gateway.folder.path();
    let told = run_json(folder, &["classifier", "rows", "--out", "own.jsonl", "--json"], "");
    assert_eq!((&told["rows"], &told["without_text"]), (&json!(ASKED), &json!(ASKED)), "{told}");
    let text = std::fs::read_to_string(folder.join("own.jsonl")).expect("rows");
    assert!(!text.contains("Prove") && !text.contains("Hello"), "no prompt is kept");
    let train =
        ["classifier", "train", "--data", "own.jsonl", "--graded", "all", "--roll-out", "--out", "own.head", "--json"];
    let told = run_json(folder, &train, "");
    assert_eq!((&told["accepted"], &told["tried"]["part"]), (&json!(true), &json!(0.2)), "{told}");
    let scored = ["classifier", "score", "--in", "asked.jsonl", "--out", "-", "--head", "own.head"];
    let asked = "{\"id\": \"proof\", \"prompt\": \"Prove rigorously that the sum of 7 and 8 is odd, step by step.\"}\n\
                 {\"id\": \"greeting\", \"prompt\": \"Hello number 7, thanks!\"}\n";
    std::fs::write(folder.join("asked.jsonl"), asked).expect("written");
    let scores = run(folder, &scored, "");
    let scores: Vec<Value> =
        String::from_utf8_lossy(&scores.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |at: usize| scores[at]["score"].as_f64().expect("a score");
    assert!(of(1) > of(0), "it has learnt from traffic that nobody kept: {scores:?}");
    assert_eq!(run(folder, &["classifier", "rows", "--out", "x", "--labels", "nobody"], "").status.code(), Some(64));
    let weak = ["classifier", "rows", "--out", "weak.jsonl", "--labels", "cascade", "--json"];
    assert_eq!(
        run_json(folder, &weak, "")["rows"].as_u64().map(|rows| rows < 90),
        Some(true),
        "feedback was not asked for"
    );
}

#[tokio::test]
async fn shadows_are_labels_that_count_for_a_risk_only_where_the_operator_says_so() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let config = |labels: &str| {
        format!(
            "{}{}[router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nrisk = \"20%\"\nprobe_deadline = \"10s\"\n{labels}\
             [experiments.all]\nkind = \"shadow\"\nshare = \"100%\"\njudge = \"normalised\"\n",
            house.provider("house", "local", &[("small", "echo")]),
            hosted.provider("hosted", "hosted", &[("big", "echo")]),
        )
    };
    for (labels, state) in [("", "learning"), ("risk_labels = [\"feedback\", \"shadow\"]\n", "holding")] {
        let gateway = Gateway::start(&config(labels)).await;
        let mut last = String::new();
        for n in 0..30 {
            let told = gateway.tell(&chat("auto", &format!("Question number {n}: what is {n} + {n}?"))).await;
            last = told.id().to_owned();
            // One shadow at a time, so that none is passed over for want of a place.
            eventually("the shadow is a label", async || {
                let story = gateway.api(&format!("/api/requests/{last}")).await;
                (story["labels"][0]["source"] == "shadow" && story["labels"][0]["value"] == 1.0).then_some(())
            })
            .await;
        }
        let story = gateway.api(&format!("/api/requests/{last}")).await;
        assert_eq!(story["labels"][0]["kind"], "verdict", "{story}");
        // Without exploration clients could rate no local answer at all.
        eventually(&format!("{state}, {labels}"), async || {
            let risk = gateway.api("/api/router").await["risk"].clone();
            let counted = risk["labels"].as_u64() == Some(if labels.is_empty() { 0 } else { 30 });
            (risk["state"] == state && counted).then_some(())
        })
        .await;
    }
    for (labels, says) in [
        ("risk_labels = [\"feedback\", \"cascade\"]\n", "`cascade` cannot count"),
        ("risk_labels = [\"feedback\", \"shadow-model\"]\n", "`shadow-model` cannot count"),
        ("risk_labels = \"shadow\"\n", "`feedback` always counts"),
    ] {
        let folder = folder(&config(labels));
        let output = run(folder.path(), &["check"], "");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(64) && told.contains(says), "{labels}: {told}");
    }
}

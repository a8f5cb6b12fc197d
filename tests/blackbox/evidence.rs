//! The evidence log as an auditor meets it: exported from a gateway, verified elsewhere with nothing but the public key.

use serde_json::{Value, json};
use std::path::Path;
use tests::gateway::{Gateway, folder, header, run, write_config};
use tests::upstream::Upstream;
use tests::{chat, eventually, two_sides};

const HARD: &str = "Prove step by step that the algorithm terminates and derive its complexity in detail.";

async fn served() -> (Upstream, Upstream, Gateway) {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    (house, hosted, gateway)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn records(text: &str) -> Vec<Value> {
    lines(text).into_iter().filter_map(|mut line| line.get_mut("record").map(Value::take)).collect()
}

fn public_key(gateway: &Gateway) -> String {
    gateway.cli(&["ledger", "public-key"])["public_key"].as_str().unwrap().to_owned()
}

/// Verifies in a folder that has nothing but the file.
fn verify(file: &Path, key: &str, more: &[&str]) -> (i32, String) {
    let empty = tempfile::tempdir().unwrap();
    let arguments = [&["ledger", "verify", file.to_str().unwrap(), "--public-key", key], more].concat();
    let output = run(empty.path(), &arguments, "");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn every_dial_and_every_refusal_has_a_record_and_the_export_verifies_elsewhere() {
    let (house, hosted, gateway) = served().await;
    let body = chat("auto", HARD);
    let left = gateway.chat(&body).await;
    assert_eq!(header(&left, "x-sluice-route"), Some("hosted"));
    let id = header(&left, "x-sluice-request-id").unwrap().to_owned();
    let restricted = [("x-sluice-data-class", "restricted")];
    assert_eq!(header(&gateway.chat_with(&body, &restricted).await, "x-sluice-route"), Some("local"));
    let pinned = gateway.chat_with(&chat("big", "hello"), &restricted).await;
    assert_eq!(pinned.status(), 403);
    let exported = eventually("the export has all", async || {
        let told = gateway.admin_get("/api/evidence/export").await;
        (records(&told.text()).len() == 6).then(|| told.text())
    })
    .await;
    let mut told = records(&exported);
    let events: Vec<&str> = told.iter().map(|record| record["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["log", "connect", "dial", "refused", "dial", "refused"]);
    // The server in the house is looked at, which is on record once, before the first look.
    let looks = told.remove(1);
    assert_eq!((&looks["provider"], &looks["location"]), (&json!("house"), &json!("local")), "{looks}");
    assert_eq!(looks["note"]["address"], house.root.trim_start_matches("http://"), "{looks}");
    assert_eq!(
        (&told[1]["request"], &told[1]["location"], &told[1]["region"]),
        (&json!(id), &json!("hosted"), &json!("us"))
    );
    assert_eq!((&told[3]["location"], &told[3]["class"]), (&json!("local"), &json!("restricted")));
    assert!(told[2]["rule"].as_str().unwrap().contains("restricted"), "{}", told[2]);
    assert!(!exported.contains("algorithm"), "no content is in it");
    assert_eq!((hosted.count(), house.count()), (1, 1));

    // Whoever has the body can tell that it is the one.
    let folder = gateway.folder.path();
    std::fs::write(folder.join("body.json"), body.to_string()).unwrap();
    let digest = gateway.cli(&["ledger", "digest", folder.join("body.json").to_str().unwrap()]);
    assert_eq!(digest["content"], told[1]["content"]);

    let file = folder.join("evidence.jsonl");
    std::fs::write(&file, &exported).unwrap();
    let key = public_key(&gateway);
    let (status, said) = verify(&file, &key, &[]);
    assert_eq!((status, said.contains("6 records")), (0, true), "{said}");
    std::fs::write(&file, exported.replacen("\"location\":\"hosted\"", "\"location\":\"local\"", 1)).unwrap();
    let (status, said) = verify(&file, &key, &[]);
    assert_eq!((status, said.contains("record 2 does not fit")), (1, true), "{said}");
    assert_eq!(verify(&file, "ed25519:nonsense", &[]).0, 64);
}

#[tokio::test]
async fn a_published_checkpoint_shows_later_that_nothing_was_cut_off() {
    let (_house, _hosted, mut gateway) = served().await;
    gateway.chat(&chat("auto", HARD)).await;
    let folder = gateway.folder.clone();
    let early = folder.path().join("early.jsonl");
    let export = |to: &Path| run(folder.path(), &["ledger", "export", "--out", to.to_str().unwrap()], "");
    assert!(export(&early).status.success(), "also while the gateway runs");
    gateway.chat(&chat("auto", HARD)).await;
    gateway.stop().await;
    let published = folder.path().join("checkpoint.json");
    std::fs::write(&published, run(folder.path(), &["ledger", "checkpoint"], "").stdout).unwrap();
    let (key, against) = (public_key(&gateway), ["--checkpoint", published.to_str().unwrap()]);
    let (status, said) = verify(&early, &key, &against);
    assert_eq!((status, said.contains("cut off")), (1, true), "{said}");
    let late = folder.path().join("late.jsonl");
    assert!(export(&late).status.success());
    assert_eq!(verify(&late, &key, &against).0, 0);
}

#[tokio::test]
async fn the_log_goes_on_after_a_kill_and_under_a_new_key() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let folder = folder(&two_sides(&hosted, &house));
    let mut gateway = Gateway::serve(folder.clone(), &[]).await;
    gateway.chat(&chat("auto", HARD)).await;
    let old = public_key(&gateway);
    gateway.kill().await;
    let new = gateway.cli(&["ledger", "rotate-key"])["public_key"].as_str().unwrap().to_owned();
    let gateway = Gateway::serve(folder.clone(), &[]).await;
    gateway.chat(&chat("auto", HARD)).await;
    let text = gateway.admin_get("/api/evidence/export").await.text();
    let events: Vec<Value> = records(&text).into_iter().map(|record| record["event"].clone()).collect();
    assert_eq!(events, ["log", "connect", "dial", "key", "connect", "dial"]);
    let file = folder.path().join("evidence.jsonl");
    std::fs::write(&file, &text).unwrap();
    for key in [&old, &new] {
        let (status, said) = verify(&file, key, &[]);
        assert_eq!(status, 0, "{said}");
    }
}

#[tokio::test]
async fn a_selection_is_one_subjects_and_a_report_is_for_people() {
    let (_house, _hosted, gateway) = served().await;
    for session in ["one", "two", "one"] {
        gateway.chat_with(&chat("auto", HARD), &[("x-sluice-session", session)]).await;
    }
    let folder = gateway.folder.path();
    let (file, page) = (folder.join("one.jsonl"), folder.join("one.html"));
    for (to, format) in [(&file, "jsonl"), (&page, "html")] {
        let arguments = ["ledger", "export", "--session", "one", "--format", format, "--out", to.to_str().unwrap()];
        assert!(run(folder, &arguments, "").status.success());
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let sessions: Vec<Value> = records(&text).iter().map(|record| record["session"].clone()).collect();
    assert_eq!(sessions, [Value::Null, json!("one"), json!("one")], "the log's own first record vouches for the key");
    let key = public_key(&gateway);
    assert_eq!(verify(&file, &key, &[]).0, 0);
    assert_eq!(verify(&page, &key, &[]).0, 0);
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("2 times a hosted model was asked") && !html.contains("<script"));
    std::fs::write(&page, html.replacen("2 times a", "0 times a", 1)).unwrap();
    assert_eq!(verify(&page, &key, &[]).0, 1);
    // A record that is taken out of a selection is missed, too.
    let mut shorter = text.lines().collect::<Vec<_>>();
    shorter.remove(2);
    std::fs::write(&file, shorter.join("\n")).unwrap();
    assert_eq!(verify(&file, &key, &[]).0, 1);
}

#[tokio::test]
async fn whatever_is_connected_to_without_a_request_is_on_record_once_and_again_when_it_moves() {
    let (house, hosted, collector) = (Upstream::start().await, Upstream::start().await, Upstream::start().await);
    let elsewhere = Upstream::start().await;
    let rest = format!("{}[telemetry]\notlp_endpoint = \"{}\"\n", two_sides(&hosted, &house), collector.root);
    let rest = rest.replace("location = \"local\"\n", "location = \"local\"\nhealth_check = \"20ms\"\n");
    let gateway = Gateway::start(&rest).await;
    let connects = async || -> Vec<String> {
        let text = gateway.admin_get("/api/evidence/export").await.text();
        let connects = records(&text).into_iter().filter(|record| record["event"] == "connect");
        connects.map(|record| record["note"]["address"].as_str().unwrap().to_owned()).collect()
    };
    let place = |upstream: &Upstream| upstream.root.trim_start_matches("http://").to_owned();
    let at_start = [place(&collector), place(&house)];
    assert_eq!(connects().await, at_start);
    for waiting in [3, 5] {
        house.page("/metrics", 200, &format!("vllm:num_requests_waiting {waiting}\n"));
        eventually("it is looked at again and again", async || {
            let text = gateway.admin_get("/metrics").await.text();
            let line = text.lines().find(|line| line.starts_with("sluice_queue_waiting{"))?;
            line.ends_with(&format!(" {waiting}")).then_some(())
        })
        .await;
    }
    assert_eq!(connects().await, at_start, "a look is no record");
    write_config(gateway.folder.path(), &rest.replace(&house.url, &elsewhere.url));
    gateway.signal("HUP");
    let moved = [place(&collector), place(&house), place(&elsewhere)];
    eventually("the new address is on record", async || (connects().await == moved).then_some(())).await;
}

#[tokio::test]
async fn the_page_and_the_table_say_what_left_and_what_stayed() {
    let (_house, _hosted, gateway) = served().await;
    gateway.chat(&chat("auto", HARD)).await;
    gateway.chat_with(&chat("auto", HARD), &[("x-sluice-data-class", "restricted")]).await;
    gateway.chat_with(&chat("big", HARD), &[("x-sluice-data-class", "restricted")]).await;
    let table = eventually("all three are in", async || {
        let table = gateway.api("/api/residency").await;
        (table["rows"].as_array().unwrap().len() == 3).then_some(table)
    })
    .await;
    let rows: Vec<(&str, &str, u64)> = table["rows"].as_array().unwrap().iter().map(row).collect();
    for row in [("internal", "hosted", 1), ("restricted", "local", 1), ("restricted", "refused", 1)] {
        assert!(rows.contains(&row), "{row:?} in {rows:?}");
    }
    let state = gateway.api("/api/evidence").await;
    assert_eq!((&state["enabled"], state["public_key"].as_str()), (&json!(true), Some(public_key(&gateway).as_str())));
}

fn row(row: &Value) -> (&str, &str, u64) {
    (row["class"].as_str().unwrap(), row["route"].as_str().unwrap(), row["count"].as_u64().unwrap())
}

#[tokio::test]
async fn what_is_pruned_at_the_start_is_on_record_and_joins_on_to_the_archive() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let folder = folder(&two_sides(&hosted, &house));
    let mut gateway = Gateway::serve(folder.clone(), &[]).await;
    for _ in 0..4 {
        gateway.chat(&chat("auto", HARD)).await;
    }
    gateway.stop().await;
    let (archive, rest) = (folder.path().join("archive.jsonl"), folder.path().join("rest.jsonl"));
    let export = |to: &Path| run(folder.path(), &["ledger", "export", "--out", to.to_str().unwrap()], "");
    assert!(export(&archive).status.success());
    let keep = "[residency.evidence]\nmax_age = \"36h\"\nmax_size = \"1KiB\"\n";
    tests::gateway::write_config(folder.path(), &format!("{}{keep}", two_sides(&hosted, &house)));
    let said = run(folder.path(), &["check"], "");
    assert!(String::from_utf8_lossy(&said.stdout).contains("evidence: kept for 36 hours and up to 1024 bytes"));
    // The newest checkpoint is of the end: a log is cut where something comes after it.
    let mut gateway = Gateway::serve(folder.clone(), &[]).await;
    gateway.chat(&chat("auto", HARD)).await;
    gateway.stop().await;
    let mut gateway = Gateway::serve(folder.clone(), &[]).await;
    gateway.chat(&chat("auto", HARD)).await;
    eventually("the beginning is pruned", async || {
        let text = gateway.admin_get("/api/evidence/export").await.text();
        records(&text).iter().any(|record| record["event"] == "pruned").then_some(())
    })
    .await;
    gateway.stop().await;
    assert!(export(&rest).status.success());
    let text = std::fs::read_to_string(&rest).unwrap();
    let first = records(&text)[0]["seq"].as_u64().unwrap();
    assert!(first > 0 && !text.contains("\"event\":\"log\""), "{text}");
    let key = public_key(&gateway);
    let (status, said) = verify(&rest, &key, &[]);
    assert_eq!((status, said.contains(&format!("after {first} that were pruned on record"))), (0, true), "{said}");
    let (status, said) = verify(&rest, &key, &["--archive", archive.to_str().unwrap()]);
    assert_eq!(status, 0, "{said}");
    let shortened = std::fs::read_to_string(&archive).unwrap().replacen("\"seq\":2", "\"seq\":3", 1);
    std::fs::write(&archive, shortened).unwrap();
    assert_eq!(verify(&rest, &key, &["--archive", archive.to_str().unwrap()]).0, 1);
}

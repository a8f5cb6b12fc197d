//! `sluice compare` with the real SmolLM2 in process as the small model and the fake as a hosted one that is always right: it ends with
//! a report that a person can read, and a run that was killed pays for nothing twice.

use serde_json::{Value, json};
use std::collections::HashSet;
use std::process::Stdio;
use tests::gateway::{command, folder, run_json};
use tests::oracle::nanos;
use tests::upstream::{Manner, Play, Upstream};
use tests::{eventually, size};
use tokio::time::Instant;

/// Rows under way at once.
const PARALLEL: usize = 4;

/// A number to write down, of more and more digits: something that the small model can partly do. The hosted one says the whole
/// prompt again, whose last number is the right one.
fn row(n: usize) -> Value {
    let digits = 2 + 3 * (n % 4);
    let number: String = (0..digits).map(|at| char::from(b'1' + ((n * 7 + at * 5 + n * at) % 9) as u8)).collect();
    let asked = match n % 3 {
        0 => format!("Row {n}. Write this number and nothing else: {number}"),
        1 => format!("Row {n}. Copy the number, without any other word: {number}"),
        _ => format!("Row {n}. Repeat exactly what stands behind the colon: {number}"),
    };
    json!({"id": format!("r{n}"), "prompt": asked, "reference": number, "kind": format!("{digits} digits")})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_small_model_is_compared_with_a_hosted_one_and_a_killed_run_goes_on_where_it_was() {
    let (rows, killed_after) = size((16, 4), (200, 20));
    let hosted = Upstream::start().await;
    hosted.play("echo", Play::Answer(Manner { repeat: Some(8), ..Manner::default() }));
    let folder = folder(&format!(
        "{}[providers.in-process]\nkind = \"mistralrs\"\nsource = \"smollm2-135m\"\n[models.smollm2]\nprovider = \"in-process\"\n\
         [router]\nlocal = [\"smollm2\"]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\nmax_first_token = \"600s\"\n\
         [timeouts]\nqueue = \"600s\"\n",
        hosted.provider("hosted", "hosted", &[("big", "echo")]),
    ));
    let lines: Vec<String> = (0..rows).map(|n| row(n).to_string()).collect();
    std::fs::write(folder.path().join("rows.jsonl"), lines.join("\n")).expect("written");
    let arguments = [
        "compare",
        "--dataset",
        "rows.jsonl",
        "--left",
        "smollm2",
        "--right",
        "big",
        "--judge",
        "numeric",
        "--max-tokens",
        "24",
        "--temperature",
        "0",
        "--parallel",
        "4",
        "--max-usd",
        "1",
        "--yes",
        "--json",
    ];
    let started = Instant::now();
    let mut child = command(folder.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary");
    eventually("it is in the midst of it", async || (hosted.count() >= killed_after).then_some(())).await;
    child.kill().expect("SIGKILL");
    child.wait().expect("its end");
    let before = hosted.count();
    assert!((killed_after..rows).contains(&before), "it was killed in the midst: {before}");
    assert!(!folder.path().join("rows.compare.html").exists());

    let told = run_json(folder.path(), &arguments, "");
    let took = started.elapsed();
    let log = hosted.log();
    let prompt = |body: Value| body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
    let asked: HashSet<String> = log.iter().map(|seen| prompt(seen.json())).collect();
    assert_eq!(asked.len(), log.len(), "the hosted model was asked nothing twice");
    let doubtful = told["in_doubt"].as_u64().expect("a number") as usize;
    assert!(doubtful <= PARALLEL && log.len() + doubtful >= rows, "at most what was under way: {told}");
    let pairs = told["summary"]["whole"]["pairs"].as_u64().expect("a number") as usize;
    assert_eq!(pairs, rows - doubtful, "{told}");
    assert_eq!(told["mean_score"]["right"], 1.0, "{told}");
    let small = told["mean_score"]["left"].as_f64().expect("a score");
    assert!((0.0..=1.0).contains(&small));
    // What was answered is on the ledger once, and the hosted side's money is what its answers cost.
    let spend = run_json(folder.path(), &["spend", "--json"], "");
    let (answered, spent) = (nanos(&told["cost_usd"]["right"]), nanos(&spend["total"]["cost_usd"]));
    assert!(answered.is_some_and(|answered| answered > 0) && spent >= answered, "{spend}");
    let page = std::fs::read_to_string(folder.path().join("rows.compare.html")).expect("a report");
    let sentence = told["sentence"].as_str().expect("a sentence");
    // A slice of fewer than 20 pairs is not looked at.
    let slice = size("smollm2", "kind=2 digits");
    for words in [sentence, slice, "<svg", "Write this number and nothing else"] {
        assert!(page.contains(words), "the report says `{words}`");
    }
    // All of it again costs nothing: whatever is known is not asked.
    let again = run_json(folder.path(), &arguments, "");
    assert_eq!((hosted.count(), &again["summary"]), (log.len(), &told["summary"]));
    eprintln!(
        "{rows} rows, killed after {before}, {doubtful} in doubt, {took:.0?} in all; {sentence}; scores: {}; {}",
        told["mean_score"], told["cost_usd"]
    );
}

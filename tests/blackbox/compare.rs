//! `sluice compare`: two models answer a file, each thing is paid once, and what is proven is told.
//!
//! A command is waited for on the thread of the test: the upstreams live on others.

use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tests::gateway::{command, folder, run, run_json};
use tests::oracle::nanos;
use tests::upstream::{Play, Script, Upstream};
use tests::{eventually, two_sides_as};

/// What the usual upstream answers.
const RIGHT: &str = "one two three four five";

fn rows(folder: &Path, rows: impl IntoIterator<Item = Value>) {
    let lines: Vec<String> = rows.into_iter().map(|row| row.to_string()).collect();
    std::fs::write(folder.join("rows.jsonl"), lines.join("\n")).expect("written");
}

fn row(n: usize) -> Value {
    json!({"id": format!("r{n}"), "prompt": format!("Question number {n}?"), "reference": RIGHT})
}

/// A whole answer with this text.
fn saying(text: &str) -> Play {
    let body = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "said",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}});
    Play::Script(Script::json(body.to_string()))
}

/// The prompts that an upstream was asked, in order.
fn prompts(upstream: &Upstream) -> Vec<String> {
    let text = |body: &Value| body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
    upstream.log().iter().map(|seen| text(&seen.json())).collect()
}

async fn sides() -> (Upstream, Upstream) {
    (Upstream::start().await, Upstream::start().await)
}

const COMPARE: [&str; 8] = ["compare", "--dataset", "rows.jsonl", "--left", "small", "--right", "big", "--json"];

fn compare(more: &[&'static str]) -> Vec<&'static str> {
    COMPARE.iter().copied().chain(more.iter().copied()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_prompts_end_with_a_report_and_a_killed_run_pays_nothing_twice() {
    let (hosted, house) = sides().await;
    let folder = folder(&two_sides_as(&hosted, "echo", &house, "echo"));
    rows(folder.path(), (0..200).map(row));
    let arguments = compare(&["--judge", "exact", "--yes", "--max-usd", "1"]);
    let mut child = command(folder.path())
        .args(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary");
    eventually("it is in the midst of it", async || (hosted.count() >= 50).then_some(())).await;
    child.kill().expect("SIGKILL");
    child.wait().expect("its end");
    let before = hosted.count();
    assert!((50..200).contains(&before), "it was killed in the midst: {before}");
    assert!(!folder.path().join("rows.compare.html").exists());

    let told = run_json(folder.path(), &arguments, "");
    let asked = prompts(&hosted);
    let different: HashSet<&String> = asked.iter().collect();
    assert_eq!(different.len(), asked.len(), "the hosted side was asked nothing twice");
    let doubtful = told["in_doubt"].as_u64().expect("a number");
    assert!(doubtful <= 4, "at most what was under way: {told}");
    assert!(asked.len() as u64 + doubtful >= 200 && asked.len() <= 200);
    let pairs = told["summary"]["whole"]["pairs"].as_u64();
    assert_eq!(pairs, Some(200 - doubtful));
    assert_eq!(told["verdict"], "not_worse", "the same answers 200 times: {told}");
    let page = std::fs::read_to_string(folder.path().join("rows.compare.html")).expect("a report");
    assert!(page.contains("small is not worse than big") && page.contains("<svg"), "{page}");

    let again = run_json(folder.path(), &arguments, "");
    assert_eq!((hosted.count(), &again["summary"]), (asked.len(), &told["summary"]), "everything is known");
    // The ledger has each answer; what the killed run left open is charged when a gateway starts.
    let spend = run_json(folder.path(), &["spend", "--json"], "");
    let answered = nanos(&told["cost_usd"]["right"]).expect("an amount");
    let spent = nanos(&spend["total"]["cost_usd"]).expect("an amount");
    assert!(spent >= answered && answered > 0, "{spend}");
    let all = nanos(&told["cost_usd"]["total"]).expect("an amount");
    assert!(all <= 1_000_000_000, "the limit holds over both runs: {all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_asked_before_its_cost_is_agreed_to_and_the_limit_is_held() {
    let (hosted, house) = sides().await;
    let folder = folder(&two_sides_as(&hosted, "echo", &house, "echo"));
    rows(folder.path(), (0..30).map(row));
    let output = run(folder.path(), &compare(&["--judge", "exact"]), "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("big is to be asked 30 times, probably $") && said.contains("--yes"), "{said}");
    assert_eq!((hosted.count(), house.count()), (0, 0));

    // A ceiling of output that costs $0.01 alone, of 3 cents: two answers fit at any time, and settle for less.
    let limited =
        compare(&["--judge", "exact", "--yes", "--max-usd", "0.03", "--max-tokens", "1000", "--parallel", "2"]);
    let told = run_json(folder.path(), &limited, "");
    assert_eq!(told["not_asked"], 0, "answers cost far less than their ceiling: {told}");
    let tight =
        compare(&["--judge", "exact", "--yes", "--max-usd", "0.0101", "--max-tokens", "1001", "--parallel", "1"]);
    let told = run_json(folder.path(), &tight, "");
    assert!(nanos(&told["cost_usd"]["total"]).is_some_and(|all| all <= 10_100_000), "{told}");
    assert!(told["not_asked"].as_u64().is_some_and(|rows| rows > 0), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restricted_rows_stay_in_the_house_and_are_not_judged_by_strangers() {
    let (hosted, house) = sides().await;
    let classes = "[residency.classes.restricted]\nlocations = [\"local\"]\n";
    let folder = folder(&format!("{}{classes}", two_sides_as(&hosted, "echo", &house, "echo")));
    let secret = |n: usize| {
        let mut row = row(n);
        row["data_class"] = "restricted".into();
        row
    };
    let card = json!({"id": "card", "prompt": "My card is 4111 1111 1111 1111.", "reference": RIGHT});
    rows(folder.path(), (0..5).map(row).chain((5..10).map(secret)).chain([card]));
    let told = run_json(folder.path(), &compare(&["--judge", "model:big", "--yes"]), "");
    assert_eq!((&told["denied"], &told["summary"]["whole"]["pairs"]), (&json!(6), &json!(5)), "{told}");
    let seen = hosted.log().iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect::<String>();
    assert!((5..10).all(|n| !seen.contains(&format!("number {n}?"))) && !seen.contains("4111"), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_judge_that_prefers_a_place_is_found_out_and_its_verdict_withheld() {
    let (hosted, house) = sides().await;
    let judge = hosted.provider("judges", "hosted", &[("biased", "biased"), ("fair", "fair")]);
    let folder = folder(&format!("{judge}{}", two_sides_as(&hosted, "better", &house, "worse")));
    hosted.play("better", saying("a good answer"));
    house.play("worse", saying("a bad answer"));
    hosted.play("biased", saying("A"));
    rows(
        folder.path(),
        (0..120).map(|n| {
            let mut row = row(n);
            row["human"] = "right".into();
            row
        }),
    );
    let told = run_json(folder.path(), &compare(&["--judge", "model:biased", "--yes"]), "");
    assert_eq!(told["verdict"], "not_yet_known", "{told}");
    let judge = &told["summary"]["judge"];
    assert!(judge["withheld"].as_array().is_some_and(|why| why.contains(&json!("prefers_a_place"))), "{judge}");
    assert_eq!((&judge["judged"], &judge["labelled"]), (&json!(120), &json!(120)));
    assert!(told["missing"].as_str().is_some_and(|why| why.contains("withheld")), "{told}");
    let questions = hosted.log().iter().filter(|seen| seen.model == "biased").count();
    assert_eq!(questions, 240, "each pair in both orders");
    let answers = hosted.log().iter().filter(|seen| seen.model == "better").count();
    // Another judge takes the answers that are there.
    let told = run_json(folder.path(), &compare(&["--judge", "exact", "--yes"]), "");
    assert_eq!(told["summary"]["whole"]["tally"], json!([0, 120, 0]), "neither is the reference");
    assert_eq!(hosted.log().iter().filter(|seen| seen.model == "better").count(), answers);
    // Another upstream behind the same name is another model, and asked anew.
    let file = std::fs::read_to_string(folder.path().join("sluice.toml")).expect("a configuration");
    let other = file.replace("upstream = \"worse\"", "upstream = \"echo\"");
    std::fs::write(folder.path().join("sluice.toml"), other).expect("written");
    let told = run_json(folder.path(), &compare(&["--judge", "exact", "--yes"]), "");
    assert_eq!(told["summary"]["whole"]["tally"], json!([120, 0, 0]), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_that_fails_has_lost_the_row_and_bad_input_is_named() {
    let (hosted, house) = sides().await;
    let folder = folder(&two_sides_as(&hosted, "echo", &house, "status-500"));
    rows(folder.path(), (0..40).map(row));
    let told = run_json(folder.path(), &compare(&["--judge", "normalised", "--yes", "--parallel", "8"]), "");
    assert_eq!((&told["failed"]["left"], &told["verdict"]), (&json!(40), &json!("worse")), "{told}");
    let refused = |more: &[&'static str]| {
        let output = run(folder.path(), &compare(more), "");
        assert_eq!(output.status.code(), Some(64), "{more:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(&["--judge", "schema"]).contains("row `r0`: `schema` is missing"));
    assert!(refused(&["--judge", "taste"]).contains("one of exact"));
    assert!(refused(&["--judge", "model:nobody"]).contains("no such model"));
    assert!(refused(&["--judge", "command"]).contains("--command LINE"));
    assert!(refused(&["--margin", "2"]).contains("must lie between"));
    std::fs::write(
        folder.path().join("rows.jsonl"),
        "{\"id\": 1, \"prompt\": \"x\"}\n{\"id\": 1, \"prompt\": \"y\"}\n",
    )
    .expect("written");
    assert!(refused(&[]).contains("line 2: the id `1` occurs twice"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_judges_by_its_exit_status() {
    let (hosted, house) = sides().await;
    let folder = folder(&two_sides_as(&hosted, "echo", &house, "words"));
    house.play("words", saying("something else"));
    rows(
        folder.path(),
        (0..25).map(|n| {
            let mut row = row(n);
            row["tests"] = "three".into();
            row
        }),
    );
    let judge = compare(&["--judge", "command", "--command", "grep -q \"$SLUICE_TESTS\"", "--yes"]);
    let started = tokio::time::Instant::now();
    let told = run_json(folder.path(), &judge, "");
    assert_eq!(told["summary"]["whole"]["tally"], json!([0, 0, 25]), "{told}");
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_model_with_two_prompts_is_compared_and_each_is_asked_first_equally_often() {
    let (hosted, house) = sides().await;
    let folder = folder(&two_sides_as(&hosted, "echo", &house, "echo"));
    let with_own = |n: usize| {
        json!({"id": n, "reference": RIGHT,
            "messages": [{"role": "system", "content": "Own words."}, {"role": "user", "content": format!("Number {n}?")}]})
    };
    rows(folder.path(), (0..40).map(with_own));
    std::fs::write(folder.path().join("terse.txt"), "Be terse. {system}\n").expect("written");
    std::fs::write(folder.path().join("kind.txt"), "Be kind.\n").expect("written");
    let two =
        ["compare", "--dataset", "rows.jsonl", "--left", "small", "--right", "small", "--judge", "exact", "--json"];
    let prompts = ["--left-system", "terse.txt", "--right-system", "kind.txt", "--parallel", "1"];
    let told = run_json(folder.path(), &[&two[..], &prompts[..]].concat(), "");
    assert_eq!(told["summary"]["whole"]["pairs"], 40, "{told}");
    assert_eq!((&told["left"], &told["right"]), (&json!("small (terse.txt)"), &json!("small (kind.txt)")));
    let system = |body: &Value| body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
    let asked: Vec<String> = house.log().iter().map(|seen| system(&seen.json())).collect();
    assert!(house.log().iter().all(|seen| seen.json()["messages"].as_array().map(Vec::len) == Some(2)));
    let (left, right) = ("Be terse. Own words.", "Be kind.");
    let first: Vec<bool> = asked.chunks(2).map(|pair| pair[0] == left).collect();
    assert!(asked.chunks(2).all(|pair| pair == [left, right] || pair == [right, left]), "{asked:?}");
    for block in first.chunks(4) {
        assert_eq!(block.iter().filter(|left| **left).count(), 2, "balanced in each block: {first:?}");
    }
    assert!(first.windows(2).any(|two| two[0] == two[1]), "drawn, not alternating: {first:?}");

    let same = ["--left-system", "kind.txt", "--right-system", "kind.txt"];
    let output = run(folder.path(), &[&two[..], &same[..]].concat(), "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(64) && said.contains("compared with itself"), "{said}");
    let output = run(folder.path(), &[&two[..], &["--left-system", "nowhere.txt"][..]].concat(), "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(64) && said.contains("`--left-system`"), "{said}");
}

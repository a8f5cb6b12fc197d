//! The classifier commands: files in, files out, no configuration, and complaints that name file and line.

use serde_json::{Value, json};
use std::path::Path;
use tests::gateway::{run, run_json};

/// Rows that can be learnt: long sums need the strong model, greetings do not, and some coin is tossed.
fn rows(count: usize) -> String {
    let mut lines = String::new();
    for n in 0..count {
        let coin = n * 7_919 % 10;
        let (prompt, weak) = if n % 2 == 0 {
            (format!("Hello number {n}, how are you today? Have a nice day."), coin > 0)
        } else {
            (
                format!("Prove that {n} + {} * {} = {} and derive the theorem step by step.", n * 3, n * 5, n * 17),
                coin > 7,
            )
        };
        let row = json!({
            "id": format!("row-{n}"), "source": if n % 3 == 0 { "a" } else { "b" }, "prompt": prompt,
            "q_weak": f64::from(u8::from(weak)), "q_strong": 1.0, "group": format!("group-{}", n / 2),
        });
        lines.push_str(&row.to_string());
        lines.push('\n');
    }
    lines
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("written");
}

#[test]
fn score_gives_every_id_a_score_and_hard_prompts_the_higher_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let prompts = [
        json!({"id": "easy", "prompt": "hi, thanks!"}),
        json!({"id": "hard", "prompt": "Prove that every finite integral domain is a field, and give the full argument."}),
        json!({"id": "turns", "messages": [{"role": "user", "content": "What is 2 + 2?"}]}),
    ];
    let lines: Vec<String> = prompts.iter().map(Value::to_string).collect();
    write(folder.path(), "in.jsonl", &lines.join("\n"));
    let output = run(folder.path(), &["classifier", "score", "--in", "in.jsonl", "--out", "out.jsonl"], "");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let scored = std::fs::read_to_string(folder.path().join("out.jsonl")).expect("scores");
    let scored: Vec<Value> = scored.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ids: Vec<&str> = scored.iter().filter_map(|row| row["id"].as_str()).collect();
    let scores: Vec<f64> = scored.iter().filter_map(|row| row["score"].as_f64()).collect();
    assert_eq!(ids, ["easy", "hard", "turns"]);
    assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)) && scores[0] < scores[1], "{scores:?}");
    run(folder.path(), &["classifier", "score", "--in", "in.jsonl", "--out", "again.jsonl"], "");
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("scores");
    assert_eq!(read("out.jsonl"), read("again.jsonl"), "the same again");
}

#[test]
fn what_is_trained_twice_is_the_same_and_what_is_trained_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "rows.jsonl", &rows(400));
    let train = |out: &str| {
        let arguments =
            ["classifier", "train", "--data", "rows.jsonl", "--out", out, "--no-encoder", "--name", "own", "--json"];
        run_json(folder.path(), &arguments, "")
    };
    let (first, second) = (train("own.head"), train("own2.head"));
    assert_eq!(first["rows"], 400);
    // Only the time of making may differ.
    assert_eq!(first["provenance"]["figures"], second["provenance"]["figures"]);
    let told = run_json(
        folder.path(),
        &[
            "classifier",
            "eval",
            "--data",
            "rows.jsonl",
            "--head",
            "own.head",
            "--by",
            "source",
            "--out",
            "drawn",
            "--bootstrap",
            "50",
            "--json",
        ],
        "",
    );
    let names: Vec<&str> =
        told["groups"].as_array().expect("groups").iter().filter_map(|group| group["name"].as_str()).collect();
    assert_eq!(names, ["all", "a", "b"]);
    assert!(told["groups"][0]["figures"]["apgr"].as_f64().expect("a number") > 0.65, "{told}");
    for picture in ["reliability.svg", "reliability.png", "cost-quality.svg", "cost-quality.png"] {
        assert!(folder.path().join("drawn").join(picture).metadata().expect(picture).len() > 1_000);
    }
    let scored =
        run(folder.path(), &["classifier", "score", "--in", "rows.jsonl", "--out", "-", "--head", "own.head"], "");
    assert_eq!(String::from_utf8(scored.stdout).expect("text").lines().count(), 400);
    let arguments = [
        "classifier",
        "calibrate",
        "--data",
        "rows.jsonl",
        "--head",
        "own.head",
        "--out",
        "new.head",
        "--no-encoder",
        "--json",
    ];
    assert!(run_json(folder.path(), &arguments, "")["after"]["ece"].as_f64().expect("a number") < 0.1);
}

#[test]
fn a_head_is_adapted_to_rows_of_ones_own_and_says_whether_it_was_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "rows.jsonl", &rows(300));
    let arguments = [
        "classifier",
        "train",
        "--data",
        "rows.jsonl",
        "--adapt",
        "--out",
        "own.head",
        "--no-encoder",
        "--name",
        "own",
        "--json",
    ];
    let told = run_json(folder.path(), &arguments, "");
    let accepted = told["accepted"].as_bool().expect("yes or no");
    let (base, new) = (&told["gate"]["base_apgr"], &told["gate"]["new_apgr"]);
    assert!(!accepted || new.as_f64() > base.as_f64(), "{told}");
}

#[test]
fn bad_files_are_the_callers_and_named_with_their_line() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "bad.jsonl", "{\"id\": \"a\", \"prompt\": \"x\"}\n{\"id\": 7}\n");
    write(folder.path(), "unlabelled.jsonl", "{\"id\": \"a\", \"prompt\": \"x\"}\n");
    write(folder.path(), "few.jsonl", &rows(10));
    write(folder.path(), "empty.jsonl", "\n");
    write(folder.path(), "not.head", "nonsense");
    for (arguments, said) in [
        (vec!["score", "--in", "bad.jsonl", "--out", "o"], "`bad.jsonl`, line 2"),
        (vec!["score", "--in", "missing.jsonl", "--out", "o"], "missing.jsonl"),
        (vec!["score", "--in", "empty.jsonl", "--out", "o"], "holds no rows"),
        (vec!["score", "--in", "few.jsonl", "--out", "o", "--head", "not.head"], "not a head"),
        (vec!["train", "--data", "unlabelled.jsonl", "--out", "o"], "line 1: row `a` has no label"),
        (vec!["train", "--data", "few.jsonl", "--out", "o"], "too few"),
        (vec!["eval", "--data", "bad.jsonl"], "line 2"),
        (vec!["calibrate", "--data", "few.jsonl", "--out", "o", "--no-encoder"], "too few"),
        (vec!["score", "--in", "few.jsonl"], "--out"),
    ] {
        let arguments: Vec<&str> = std::iter::once("classifier").chain(arguments).collect();
        let output = run(folder.path(), &arguments, "");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {complaint}");
        assert!(complaint.contains(said), "{arguments:?}: {complaint}");
    }
    assert!(!folder.path().join("o").exists(), "nothing was written");
}

#[test]
fn a_head_that_was_changed_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "rows.jsonl", &rows(200));
    let arguments = ["classifier", "train", "--data", "rows.jsonl", "--out", "own.head", "--no-encoder"];
    assert_eq!(run(folder.path(), &arguments, "").status.code(), Some(0));
    let path = folder.path().join("own.head");
    let mut bytes = std::fs::read(&path).expect("a head");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let output =
        run(folder.path(), &["classifier", "score", "--in", "rows.jsonl", "--out", "o", "--head", "own.head"], "");
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("damaged"));
}

#[test]
fn a_head_of_ones_own_judges_where_the_configuration_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "rows.jsonl", &rows(240));
    let trained = run(folder.path(), &["classifier", "train", "--data", "rows.jsonl", "--out", "own.head"], "");
    assert_eq!(trained.status.code(), Some(0), "{}", String::from_utf8_lossy(&trained.stderr));
    let config = "[providers.a]\nkind = \"simulated\"\n[providers.b]\nkind = \"simulated\"\nlocation = \"local\"\n\
                  [models.big]\nprovider = \"a\"\n[models.small]\nprovider = \"b\"\n\
                  [router]\nlocal = \"small\"\nhosted = \"big\"\n";
    let request = json!({"model": "auto", "messages": [{"role": "user", "content": "Prove that 7 + 9 * 15 = 51."}]});
    let mut heads = Vec::new();
    for head in ["", "head = \"own.head\"\n"] {
        write(folder.path(), "sluice.toml", &format!("{config}{head}"));
        let output = run(folder.path(), &["explain", "--json"], &request.to_string());
        let decision: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        heads.push(decision["signals"]["head"].as_str().expect("a head").to_owned());
    }
    assert_ne!(heads[0], heads[1], "the configured head judges");
    write(folder.path(), "sluice.toml", &format!("{config}head = \"nowhere.head\"\n"));
    let output = run(folder.path(), &["check"], "");
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("router.head"));
}

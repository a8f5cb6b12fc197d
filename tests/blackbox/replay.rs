//! `sluice replay`: past requests decided on anew, from the ledger and from a file.

use serde_json::{Value, json};
use std::path::Path;
use tests::gateway::{Gateway, config, run, run_json};
use tests::oracle::record;
use tests::{EASY, HARD, Told, Upstream, chat, two_sides};

/// Three easy and three hard requests, one that pins `big`, and one that residency refuses.
async fn served() -> (Gateway, Upstream, Upstream) {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    let mut told: Vec<Told> = Vec::new();
    for prompt in [EASY, HARD, EASY, HARD, EASY, HARD] {
        told.push(gateway.tell(&chat("auto", prompt)).await);
    }
    told.push(gateway.tell(&chat("big", "x")).await);
    told.push(gateway.tell_with(&chat("big", "x"), &[("x-sluice-data-class", "restricted")]).await);
    for told in &told {
        record(&gateway, told.id()).await;
    }
    assert_eq!((hosted.count(), house.count()), (4, 3));
    (gateway, hosted, house)
}

/// Replays under another configuration over the same ledger.
fn under(folder: &Path, rest: &str, arguments: &[&str]) -> Value {
    std::fs::write(folder.join("next.toml"), config(rest)).expect("written");
    let arguments = [&["replay", "--config", "next.toml", "--json"], arguments].concat();
    run_json(folder, &arguments, "")
}

fn nanos(text: &Value) -> i128 {
    let text = text.as_str().expect("a decimal text");
    let size = i128::try_from(tests::oracle::nanos_of(text.trim_start_matches('-'))).expect("it fits");
    if text.starts_with('-') { -size } else { size }
}

#[tokio::test]
async fn under_the_same_configuration_nothing_changes() {
    let (gateway, hosted, house) = served().await;
    let told = gateway.cli(&["replay"]);
    let summary = &told["summary"];
    assert_eq!((&summary["requests"], &summary["known"]), (&json!(8), &json!(8)), "{told}");
    assert_eq!((&summary["changed"]["count"], &summary["unknown"]), (&json!(0), &json!({})), "{told}");
    assert_eq!((&summary["hosted_then"]["count"], &summary["hosted_now"]["count"]), (&json!(4), &json!(4)));
    assert_eq!(
        (&summary["hosted_now"]["of"], &summary["scores"]["on_record"]),
        (&json!(7), &json!(6)),
        "one was refused"
    );
    let money = &summary["money"];
    assert_eq!((nanos(&money["then_usd"]), nanos(&money["difference_usd"])), (nanos(&money["now_usd"]), 0), "{money}");
    assert!(nanos(&money["then_usd"]) > 0 && told["changes"] == json!([]));
    assert_eq!((hosted.count(), house.count()), (4, 3), "nobody was asked");
    let spoken = run(gateway.folder.path(), &["replay"], "");
    let text = String::from_utf8(spoken.stdout).expect("text");
    assert!(text.contains("8 requests, 8 of them decided anew") && text.contains("another answer  0 of 8"), "{text}");
}

#[tokio::test]
async fn other_prices_rules_and_residency_are_counted_in_answers_and_money() {
    let (gateway, hosted, house) = served().await;
    let (folder, rest) = (gateway.folder.path(), two_sides(&hosted, &house));
    let before = gateway.cli(&["replay"])["summary"]["money"].clone();

    let dearer = rest.replace("\"2.50\"", "\"5.00\"").replace("\"10.00\"", "\"20.00\"");
    let money = under(folder, &dearer, &[])["summary"]["money"].clone();
    assert_eq!(nanos(&money["now_usd"]), 2 * nanos(&before["then_usd"]));
    assert_eq!(nanos(&money["difference_usd"]), nanos(&before["then_usd"]));
    let [low, high] = [0, 1].map(|end| nanos(&money["interval_usd"][end]));
    assert!(low < nanos(&money["difference_usd"]) && nanos(&money["difference_usd"]) < high, "{money}");

    let ruled = format!("{rest}[[rules]]\nwhen = {{ model = \"auto\" }}\nroute = \"local\"\n");
    let told = under(folder, &ruled, &["--list", "2"]);
    let summary = &told["summary"];
    assert_eq!((&summary["changed"]["count"], &summary["other_side"]["count"]), (&json!(3), &json!(3)), "{told}");
    assert_eq!(summary["moved"], json!([{"from": "big", "to": "small", "reason": "rule", "requests": 3}]));
    assert_eq!((summary["hosted_now"]["count"].clone(), told["changes"].as_array().map(Vec::len)), (json!(1), Some(2)));
    assert_eq!(told["changes"][0]["now"]["decided"]["model"], "small");

    let kept =
        format!("{rest}[residency.classes.internal]\nlocations = [\"local\"]\n[residency.detectors]\nmode = \"off\"\n");
    let summary = under(folder, &kept, &[])["summary"].clone();
    assert_eq!(
        (&summary["newly_refused"]["count"], &summary["hosted_now"]["count"]),
        (&json!(1), &json!(0)),
        "{summary}"
    );
    assert_eq!(summary["changed"]["count"], 4, "three hard ones stay in the house, and the pinned one is refused");
}

#[tokio::test]
async fn what_the_ledger_cannot_tell_is_unknown_and_not_unchanged() {
    let (gateway, hosted, house) = served().await;
    let (folder, rest) = (gateway.folder.path(), two_sides(&hosted, &house));
    let probed = rest.replace("classifier = \"heuristic\"", "classifier = \"probe\"");
    let summary = under(folder, &probed, &[])["summary"].clone();
    assert_eq!((&summary["unknown"], &summary["known"]), (&json!({"other_judge": 6}), &json!(2)), "{summary}");
    let renamed = rest.replace("\"big\"", "\"large\"");
    let summary = under(folder, &renamed, &[])["summary"].clone();
    assert_eq!(summary["unknown"], json!({"unknown_model": 2}), "{summary}");
    assert_eq!(summary["moved"], json!([{"from": "big", "to": "large", "reason": "classifier", "requests": 3}]));
    let later = under(folder, &rest, &["--since", "2999-01-01T00:00:00Z"]);
    assert_eq!(later["summary"]["requests"], 0);
    let two = under(folder, &rest, &["--limit", "2"]);
    assert_eq!(two["summary"]["requests"], 2);
}

// The upstream has to answer while a command runs.
#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_file_are_decided_as_the_gateway_decides_and_answered_within_their_money() {
    let (gateway, hosted, house) = served().await;
    let folder = gateway.folder.path();
    let lines = [
        json!({"id": "a", "prompt": EASY, "route": "hosted", "model": "big", "input_tokens": 100, "output_tokens": 10, "cost_usd": "0.00035"}),
        json!({"id": "b", "messages": [{"role": "user", "content": HARD}], "route": "hosted", "model": "big",
            "input_tokens": 1000, "output_tokens": 100, "cost_usd": "0.0035"}),
        json!({"id": "c", "request": chat("auto", HARD), "data_class": "restricted"}),
        json!({"id": "d", "request": {"model": "nobody", "messages": [{"role": "user", "content": "x"}]}}),
    ];
    std::fs::write(folder.join("past.jsonl"), lines.map(|line| line.to_string()).join("\n")).expect("written");
    let told = gateway.cli(&["replay", "past.jsonl"]);
    let summary = &told["summary"];
    assert_eq!((&summary["known"], &summary["unknown"]), (&json!(3), &json!({"unknown_model": 1})), "{told}");
    assert_eq!(summary["moved"], json!([{"from": "big", "to": "small", "reason": "classifier", "requests": 1}]));
    assert_eq!(nanos(&summary["money"]["then_usd"]), 3_850_000, "{told}");
    assert_eq!(nanos(&summary["money"]["now_usd"]), 3_500_000, "the hard one stays where it was: {told}");
    assert_eq!((hosted.count(), house.count()), (4, 3), "nobody was asked");

    let told = gateway.cli(&["replay", "past.jsonl", "--run", "--max-usd", "1"]);
    assert_eq!((&told["run"]["answered"], &told["run"]["not_asked"]), (&json!(3), &json!(0)), "{told}");
    let answers = told["run"]["answers"].as_array().expect("answers");
    assert!(answers.iter().all(|answer| answer["text"] == "one two three four five"), "{told}");
    assert_eq!((hosted.count(), house.count()), (5, 5));
    let owed = hosted.last().stated.map(|stated| tests::oracle::cost(stated, tests::oracle::BIG));
    assert_eq!(u128::try_from(nanos(&told["run"]["cost_usd"])).ok(), owed, "{told}");

    let told = gateway.cli(&["replay", "past.jsonl", "--run", "--max-usd", "0.000001"]);
    assert_eq!((&told["run"]["answered"], &told["run"]["not_asked"]), (&json!(2), &json!(1)), "{told}");
    assert_eq!((hosted.count(), house.count()), (5, 7), "what is free is answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_and_spent_is_told_when_the_ledger_cannot_be_written_any_longer() {
    let (gateway, hosted, house) = served().await;
    let (folder, before) = (gateway.folder.path(), hosted.count());
    const ASKED: usize = 400;
    let line = json!({"request": chat("big", HARD)}).to_string();
    std::fs::write(folder.join("past.jsonl"), vec![line; ASKED].join("\n")).expect("written");
    // A ledger of its own, whose files may not grow beyond a megabyte.
    let rest = format!("{}path = \"full.db\"\n", two_sides(&hosted, &house));
    std::fs::write(folder.join("next.toml"), config(&rest)).expect("written");
    let plain = tests::gateway::command(folder);
    let mut shell = std::process::Command::new("sh");
    shell.current_dir(folder).envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?)))).arg("-c");
    shell.arg("trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"").arg(plain.get_program());
    shell.args([
        "replay",
        "--config",
        "next.toml",
        "--json",
        "past.jsonl",
        "--run",
        "--max-usd",
        "1",
        "--out",
        "said.jsonl",
    ]);
    let output = tokio::task::spawn_blocking(move || shell.output().expect("it runs")).await.expect("no panic");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {complaint}"));
    let run = &told["run"];
    let answered = usize::try_from(run["answered"].as_u64().expect("a number")).expect("it fits");
    assert!(
        output.status.code() == Some(1) && (1..ASKED).contains(&answered),
        "{:?} {answered} {complaint}",
        output.status
    );
    let spent = run["cost_usd"].as_str().expect("money");
    let last = complaint.lines().last().unwrap_or_default();
    assert!(last.contains(&format!("answered {answered}, spent ${spent}")), "{complaint}");
    assert!(told["ended_early"].as_str().is_some_and(|why| last.ends_with(why)), "{told}");
    // Nothing is asked any more, and every answer is in the file.
    let asked = hosted.count() - before;
    assert!((answered..=answered + 1).contains(&asked), "{asked} asked, {answered} answered");
    let lines = std::fs::read_to_string(folder.join("said.jsonl")).expect("answers");
    let texts = lines.lines().filter(|line| serde_json::from_str::<Value>(line).expect("JSON")["text"].is_string());
    assert_eq!(texts.count(), answered);
    let owed: u128 = hosted
        .log()
        .iter()
        .skip(before)
        .take(answered)
        .filter_map(|seen| seen.stated)
        .map(|stated| tests::oracle::cost(stated, tests::oracle::BIG))
        .sum();
    let doubtful = nanos(&run["doubtful_usd"]);
    assert_eq!(nanos(&run["cost_usd"]) - doubtful, i128::try_from(owed).expect("it fits"));
}

#[tokio::test]
async fn draws_of_live_traffic_have_no_say_in_a_replay() {
    let (gateway, hosted, house) = served().await;
    let folder = gateway.folder.path();
    let line = json!({"prompt": EASY, "route": "local", "model": "small"}).to_string();
    std::fs::write(folder.join("past.jsonl"), [line.as_str(); 20].join("\n")).expect("written");
    let drawn = format!(
        "{}[savings]\nholdout = \"50%\"\n[experiments.half]\nkind = \"split\"\nshare = \"50%\"\n",
        two_sides(&hosted, &house)
    );
    let summary = under(folder, &drawn, &["past.jsonl"])["summary"].clone();
    assert_eq!((&summary["known"], &summary["changed"]["count"]), (&json!(20), &json!(0)), "{summary}");
}

#[tokio::test]
async fn what_cannot_be_replayed_is_said_with_its_line() {
    let (gateway, hosted, _house) = served().await;
    let folder = gateway.folder.path();
    for (text, says) in [
        ("{\"prompt\": \"x\"}\n{\"id\": 1}\n", "past.jsonl:2: `request`, `messages` or `prompt` is missing"),
        ("nonsense\n", "past.jsonl:1:"),
        ("{\"messages\": []}\n", "`messages` is empty"),
        ("{\"prompt\": \"x\", \"cost_usd\": \"free\"}\n", "`cost_usd`"),
        ("\n", "has no request"),
    ] {
        std::fs::write(folder.join("past.jsonl"), text).expect("written");
        let output = run(folder, &["replay", "past.jsonl"], "");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(64) && told.contains(says), "{says}: {told}");
    }
    for arguments in
        [&["replay", "--run", "--max-usd", "1"][..], &["replay", "past.jsonl", "--run"], &["replay", "nowhere"]]
    {
        assert_eq!(run(folder, arguments, "").status.code(), Some(64), "{arguments:?}");
    }
    assert_eq!(hosted.count(), 4);
}

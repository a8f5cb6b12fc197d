//! A new head is tried on a part of the sessions, promoted when it is not worse, taken back when it is, and every step can
//! be undone, with restarts in between.

use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::gateway::{Gateway, folder, run, run_json, write_config};
use tests::stores::{Postgres, Redis};
use tests::upstream::Upstream;
use tests::{chat, eventually};

/// How long a worse head may go unnoticed here.
const PATIENCE: Duration = Duration::from_secs(60);

const ROLL_OUT: &str = "[learning.roll_out]\npart = \"50%\"\nmargin = \"20%\"\nleast_pairs = 20\nwatch = \"0%\"\n";

/// Everything is answered in the house.
fn config(house: &Upstream, hosted: &Upstream, router: &str, rest: &str) -> String {
    format!(
        "{}{}[router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nhosted_share = \"0%\"\nunsure = \"local\"\nprobe_deadline = \"10s\"\n{router}\
         [router.cascade]\nmode = \"off\"\n{rest}",
        house.provider("house", "local", &[("small", "echo")]),
        hosted.provider("hosted", "hosted", &[("big", "echo")]),
    )
}

/// Rows whose need is the contrary of what their words suggest, or not.
fn rows(contrary: bool) -> String {
    let row = |n: usize| {
        let proof = n.is_multiple_of(2);
        let prompt = match proof {
            true => format!("Prove rigorously that the sum of {n} and {} is odd, step by step.", n + 1),
            false => format!("Hello number {n}, thanks!"),
        };
        let need = f64::from(u8::from((proof == contrary) == n.is_multiple_of(10)));
        json!({"id": format!("row-{n}"), "prompt": prompt, "q_weak": 1.0 - need, "q_strong": 1.0}).to_string()
    };
    (0..160).map(row).collect::<Vec<_>>().join("\n")
}

/// Makes a head in the folder that orders as the shipped one does, and is another one.
fn another_head(folder: &Path, name: &str) -> String {
    std::fs::write(folder.join("rows.jsonl"), rows(name == "third.head")).expect("written");
    let arguments = ["classifier", "calibrate", "--data", "rows.jsonl", "--out", name, "--no-encoder", "--json"];
    run_json(folder, &arguments, "")["head"].as_str().expect("a version").to_owned()
}

/// The lane that no entry takes.
fn listed(folder: &Path) -> Value {
    run_json(folder, &["classifier", "heads", "list", "--json"], "")
}

fn judges(folder: &Path) -> String {
    listed(folder)["lanes"][0]["judges"].as_str().expect("a version").to_owned()
}

/// Which head judged a request of this session, and the request's id.
async fn asked(gateway: &Gateway, session: &str) -> (String, String) {
    let told = gateway.tell_with(&chat("auto", "Hello number 7."), &[("x-sluice-session", session)]).await;
    assert_eq!((told.status, told.said("x-sluice-route")), (200, "local"));
    let record = gateway.api(&format!("/api/requests/{}", told.id())).await;
    (record["signals"]["head"].as_str().unwrap_or_else(|| panic!("no head: {record}")).to_owned(), told.id().to_owned())
}

/// Asks in sessions of their own and rates answers up or down by the head that judged, until no trial runs any longer.
async fn rated_until_settled(gateway: &Gateway, from: usize, most: usize, up: impl Fn(&str) -> bool) -> Value {
    for n in from..from + most {
        let (head, id) = asked(gateway, &format!("session-{n}")).await;
        let rating = if up(&head) { "up" } else { "down" };
        let said = json!({"request_id": id, "rating": rating}).to_string();
        assert_eq!(gateway.send("/v1/feedback", said, &[]).await.status, 200);
        let state = gateway.api("/api/router").await;
        if state["roll_outs"][0]["trial"].is_null() {
            return state;
        }
    }
    gateway.api("/api/router").await
}

async fn taken_over(gateway: &Gateway, head: &str) {
    eventually(&format!("{head} judges"), async || (asked(gateway, "x").await.0 == head).then_some(())).await;
}

/// A gateway with a trial that has begun: its head, and the one that it would replace.
async fn trying(house: &Upstream, hosted: &Upstream) -> (Arc<TempDir>, Gateway, String, String) {
    let folder = folder("");
    write_config(folder.path(), &config(house, hosted, "", ROLL_OUT));
    let old = judges(folder.path());
    let new = another_head(folder.path(), "next.head");
    assert_ne!(new, old);
    let gateway = Gateway::serve(folder.clone(), &[]).await;
    let step = run_json(folder.path(), &["classifier", "heads", "try", "next.head", "--json"], "");
    assert_eq!((&step["kind"], &step["head"], &step["part"]), (&json!("tried"), &json!(new), &json!(0.5)));
    let n = AtomicUsize::new(0);
    eventually("the new head judges somebody", async || {
        let session = format!("early-{}", n.fetch_add(1, Ordering::Relaxed));
        (asked(&gateway, &session).await.0 == new).then_some(())
    })
    .await;
    (folder, gateway, old, new)
}

#[tokio::test]
async fn a_worse_head_is_taken_back_also_when_the_gateway_was_killed_in_between() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let (folder, mut gateway, old, new) = trying(&house, &hosted).await;
    let first = asked(&gateway, "session-0").await.0;
    let half = rated_until_settled(&gateway, 0, 6, |head| head == old).await;
    assert_eq!(half["roll_outs"][0]["trial"]["head"], json!(new), "too early to tell: {half}");
    gateway.kill().await;
    let gateway = Gateway::serve(folder.clone(), &[]).await;
    assert_eq!(asked(&gateway, "session-0").await.0, first, "a session stays with its head");
    let state = rated_until_settled(&gateway, 6, 300, |head| head == old).await;
    assert!(state["roll_outs"][0]["trial"].is_null(), "{state}");
    assert_eq!(state["roll_outs"][0]["judges"], json!(old));
    let last = listed(folder.path())["steps"].as_array().and_then(|steps| steps.last().cloned()).expect("a step");
    assert_eq!((&last["kind"], &last["by"]), (&json!("rolled_back"), &json!("verdict")), "{last}");
    assert!(last["why"].as_str().is_some_and(|why| why.contains("worse")), "{last}");
    for n in 0..8 {
        eventually("the old head judges all", async || {
            (asked(&gateway, &format!("session-{n}")).await.0 == old).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_promoted_head_that_turns_worse_is_taken_back_by_the_alarm() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let (folder, gateway, old, new) = trying(&house, &hosted).await;
    let state = rated_until_settled(&gateway, 0, 300, |head| head == new).await;
    assert_eq!(state["roll_outs"][0]["judges"], json!(new), "{state}");
    // From here on the former head keeps a part, and is the better one.
    write_config(folder.path(), &config(&house, &hosted, "", &ROLL_OUT.replace("watch = \"0%\"", "watch = \"50%\"")));
    let mut judged = std::collections::HashSet::new();
    let mut n = 1_000;
    // By the clock: the gateway looks once a second, however fast it is asked.
    let began = Instant::now();
    let state = loop {
        assert!(began.elapsed() < PATIENCE, "nobody noticed: {}", gateway.api("/api/router").await);
        let (head, id) = asked(&gateway, &format!("session-{n}")).await;
        let rating = if head == old { "up" } else { "down" };
        let said = json!({"request_id": id, "rating": rating}).to_string();
        assert_eq!(gateway.send("/v1/feedback", said, &[]).await.status, 200);
        judged.insert(head);
        let state = gateway.api("/api/router").await;
        if state["roll_outs"][0]["judges"] == json!(old) {
            break state;
        }
        n += 1;
    };
    assert_eq!(judged, [old.clone(), new.clone()].into(), "both judged meanwhile");
    assert!(state["roll_outs"][0]["watched"].is_null(), "{state}");
    let last = listed(folder.path())["steps"].as_array().and_then(|steps| steps.last().cloned()).expect("a step");
    assert_eq!((&last["kind"], &last["by"]), (&json!("rolled_back"), &json!("alarm")), "{last}");
}

#[tokio::test]
async fn the_gateway_trains_by_itself_once_enough_was_said_and_tries_what_its_gate_accepts() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let rest = ROLL_OUT.replace("part =", "train = \"2s\"\npart =");
    let gateway = Gateway::start(&config(&house, &hosted, "", &rest)).await;
    let said = async |wanted: &str| {
        eventually(&format!("the log says `{wanted}`"), async || {
            let lines = gateway.log_lines();
            let said = lines.iter().filter_map(|line| line["fields"]["said"].as_str());
            said.filter(|said| said.contains(wanted)).map(ToOwned::to_owned).next()
        })
        .await
    };
    assert!(said("nothing was trained").await.contains("0 labelled requests, 100 are needed"));
    for n in 0..104 {
        let prompt =
            if n % 2 == 0 { format!("Hello number {n}.") } else { format!("Prove that {n} is odd, step by step.") };
        let told = gateway.tell(&chat("auto", &prompt)).await;
        let rating = json!({"request_id": told.id(), "rating": if n % 2 == 0 { "up" } else { "down" }});
        assert_eq!(gateway.send("/v1/feedback", rating.to_string(), &[]).await.status, 200);
    }
    let said = said(" rows ").await;
    let steps = listed(gateway.folder.path())["steps"].as_array().cloned().expect("steps");
    match said.ends_with("is being tried") {
        true => assert!(steps.iter().any(|step| step["kind"] == "tried"), "{said} {steps:?}"),
        false => assert!(said.ends_with("was not accepted") && steps.is_empty(), "{said} {steps:?}"),
    }
}

#[tokio::test]
async fn a_better_head_is_promoted_and_each_step_is_undone_by_a_command() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let (folder, mut gateway, old, new) = trying(&house, &hosted).await;
    let state = rated_until_settled(&gateway, 0, 300, |head| head == new).await;
    assert_eq!(state["roll_outs"][0]["judges"], json!(new), "{state}");
    let last = listed(folder.path())["steps"].as_array().and_then(|steps| steps.last().cloned()).expect("a step");
    assert_eq!((&last["kind"], &last["by"]), (&json!("promoted"), &json!("verdict")), "{last}");
    for n in 0..8 {
        taken_over(&gateway, &new).await;
        assert_eq!(asked(&gateway, &format!("session-{n}")).await.0, new);
    }
    let route = gateway.send("/v1/route", chat("auto", "Hello number 7.").to_string(), &[]).await.json();
    assert_eq!(route["signals"]["head"], json!(new), "a decision names the head: {route}");

    let heads = |arguments: &[&str]| {
        let all: Vec<&str> = ["classifier", "heads"].iter().chain(arguments).copied().chain(["--json"]).collect();
        run_json(folder.path(), &all, "")
    };
    heads(&["rollback", "--why", "to be sure"]);
    taken_over(&gateway, &old).await;
    heads(&["promote", &new]);
    taken_over(&gateway, &new).await;
    gateway.kill().await;
    let gateway = Gateway::serve(folder.clone(), &[]).await;
    assert_eq!(asked(&gateway, "y").await.0, new, "a restart forgets nothing");
    // The file has the last word: another head there ends what was promoted over the former one.
    let third = another_head(folder.path(), "third.head");
    write_config(folder.path(), &config(&house, &hosted, "head = \"third.head\"\n", ROLL_OUT));
    taken_over(&gateway, &third).await;
    write_config(folder.path(), &config(&house, &hosted, "", ROLL_OUT));
    taken_over(&gateway, &new).await;
    let whys: Vec<Value> =
        listed(folder.path())["steps"].as_array().expect("steps").iter().map(|step| step["why"].clone()).collect();
    assert!(whys.contains(&json!("to be sure")), "{whys:?}");
    for wrong in [
        vec!["classifier", "heads", "rollback", "nobody-1"],
        vec!["classifier", "heads", "promote", "nobody-1"],
        vec!["classifier", "heads", "promote"],
        vec!["classifier", "heads", "promote", "--lane", "nowhere"],
        vec!["classifier", "heads", "try", "rows.jsonl"],
        vec!["classifier", "heads", "try", "next.head", "--part", "100%"],
    ] {
        assert_eq!(run(folder.path(), &wrong, "").status.code(), Some(64), "{wrong:?}");
    }
}

#[tokio::test]
async fn what_is_trained_and_accepted_is_tried_by_one_command() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let folder = folder("");
    write_config(folder.path(), &config(&house, &hosted, "", ROLL_OUT));
    std::fs::write(folder.path().join("own.jsonl"), rows(true)).expect("written");
    let train =
        ["classifier", "train", "--data", "own.jsonl", "--roll-out", "--no-encoder", "--out", "own.head", "--json"];
    let told = run_json(folder.path(), &train, "");
    assert_eq!((&told["accepted"], &told["tried"]["part"]), (&json!(true), &json!(0.5)), "{told}");
    let lane = listed(folder.path())["lanes"][0].clone();
    assert_eq!(lane["trial"]["head"], told["head"]);
    assert_eq!(told["provenance"]["base"], lane["judges"], "it was adapted from the head that judges");
    let again = run(folder.path(), &train, "");
    assert_eq!(again.status.code(), Some(64), "one at a time");
    assert!(String::from_utf8_lossy(&again.stderr).contains("is being tried"));
}

#[tokio::test]
async fn a_roll_out_that_could_show_nothing_is_refused_by_name() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let check = |router: &str, rest: &str| {
        let text = config(&house, &hosted, router, rest);
        let text = if router.contains("risk") { text.replace("hosted_share = \"0%\"\n", "") } else { text };
        let folder = folder(&text);
        let output = run(folder.path(), &["check"], "");
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), told)
    };
    let (code, told) = check("", ROLL_OUT);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("new heads: 50% of sessions first"), "{told}");
    for (router, rest, says) in [
        ("risk = \"5%\"\n", "[learning.roll_out]\n", "router.risk"),
        ("classifier = \"heuristic\"\n", "[learning.roll_out]\n", "classifier"),
        ("", "[learning.roll_out]\npart = \"100%\"\n", "learning.roll_out.part"),
        ("", "[learning.roll_out]\nlabels = [\"cascade\"]\n", "`cascade` cannot count"),
        ("", "[learning.roll_out]\nlabels = []\n", "learning.roll_out.labels"),
        ("", "[learning.roll_out]\nmargins = \"5%\"\n", "margin"),
    ] {
        let (code, told) = check(router, rest);
        assert_eq!(code, Some(64), "{rest}: {told}");
        assert!(told.contains(says), "{rest}: {told}");
    }
}

#[tokio::test]
async fn a_replica_takes_over_what_another_one_has_settled() {
    let (Some(postgres), Some(redis)) = (Postgres::start(), Redis::start()) else { return };
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let stores = format!(
        "[ledger]\nurl = \"{}\"\n[replicas]\nurl = \"{}\"\nlease = \"2s\"\n{ROLL_OUT}",
        postgres.database(),
        redis.url()
    );
    let folder = folder("");
    write_config(folder.path(), &config(&house, &hosted, "", &stores));
    let old = judges(folder.path());
    let new = another_head(folder.path(), "next.head");
    let gateways = [Gateway::serve(folder.clone(), &[]).await, Gateway::serve(folder.clone(), &[]).await];
    run_json(folder.path(), &["classifier", "heads", "try", "next.head", "--json"], "");
    for gateway in &gateways {
        let n = AtomicUsize::new(0);
        eventually("the new head judges somebody on each", async || {
            let session = format!("early-{}", n.fetch_add(1, Ordering::Relaxed));
            (asked(gateway, &session).await.0 == new).then_some(())
        })
        .await;
    }
    let state = rated_until_settled(&gateways[0], 0, 300, |head| head == new).await;
    assert_eq!(state["roll_outs"][0]["judges"], json!(new), "{state}");
    for gateway in &gateways {
        taken_over(gateway, &new).await;
    }
    let steps = listed(folder.path())["steps"].as_array().map(Vec::len);
    assert_eq!(steps, Some(2), "both have looked, one of them has acted");
    run_json(folder.path(), &["classifier", "heads", "rollback", "--json"], "");
    for gateway in &gateways {
        taken_over(gateway, &old).await;
    }
}

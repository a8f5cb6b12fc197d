//! Heads are given to tenants, tried on a part of the traffic, swapped while the gateway runs and taken back.

use serde_json::{Value, json};
use std::path::Path;
use tests::gateway::{Gateway, folder, header, run, run_json, write_config};
use tests::upstream::Upstream;
use tests::{chat, eventually};

/// Rows that a head can be calibrated with; `turned` swaps what is easy and what is hard.
fn rows(turned: bool) -> String {
    let row = |n: usize| {
        let hard = n.is_multiple_of(2) != turned;
        let prompt =
            if n.is_multiple_of(2) { format!("Hello number {n}.") } else { format!("Prove {n} + 2 = {}.", n + 2) };
        let weak = f64::from(u8::from(hard == (n % 10 < 2)));
        json!({"id": format!("row-{n}"), "prompt": prompt, "q_weak": weak, "q_strong": 1.0}).to_string()
    };
    (0..120).map(row).collect::<Vec<_>>().join("\n")
}

/// Makes a head in the folder; gives its version.
fn head(folder: &Path, name: &str, turned: bool) -> String {
    std::fs::write(folder.join("rows.jsonl"), rows(turned)).expect("written");
    // Beside it, then renamed: the gateway may be watching.
    let arguments =
        ["classifier", "train", "--data", "rows.jsonl", "--out", "new.head", "--no-encoder", "--name", name, "--json"];
    let told = run_json(folder, &arguments, "");
    std::fs::rename(folder.join("new.head"), folder.join(format!("{name}.head"))).expect("renamed");
    told["head"].as_str().expect("a version").to_owned()
}

fn config(house: &Upstream, hosted: &Upstream, rest: &str) -> String {
    format!(
        "{}{}[router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nunsure = \"local\"\nprobe_deadline = \"10s\"\n[router.cascade]\nmode = \"off\"\n{rest}",
        house.provider("house", "local", &[("small", "echo")]),
        hosted.provider("hosted", "hosted", &[("big", "echo")]),
    )
}

/// Which head judged a request of this session.
async fn judged_by(gateway: &Gateway, session: &str) -> String {
    let mut headers = vec![];
    if !session.is_empty() {
        headers.push(("x-sluice-session", session));
    }
    let answer = gateway.chat_with(&chat("auto", "Hello number 7."), &headers).await;
    assert_eq!(answer.status(), 200);
    let id = header(&answer, "x-sluice-request-id").expect("an id").to_owned();
    let record = gateway.api(&format!("/api/requests/{id}")).await;
    record["signals"]["head"].as_str().unwrap_or_else(|| panic!("no head: {record}")).to_owned()
}

#[tokio::test]
async fn a_new_head_judges_its_part_of_the_sessions_and_is_taken_back_without_a_restart() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let folder = folder("");
    let next = head(folder.path(), "next", false);
    let lane = "[[router.heads]]\npath = \"next.head\"\npart = \"40%\"\n";
    let gateway = Gateway::start_in(folder.clone(), &config(&house, &hosted, lane), &[]).await;
    let mut by_next = Vec::new();
    for n in 0..60 {
        let session = format!("session-{n}");
        if judged_by(&gateway, &session).await == next {
            by_next.push(session);
        }
    }
    assert!((12..=36).contains(&by_next.len()), "{} of 60", by_next.len());
    for session in by_next.iter().take(3) {
        assert_eq!(judged_by(&gateway, session).await, next, "a conversation stays with its head");
    }
    // Trained anew under the same name: taken over as it is.
    let newer = head(folder.path(), "next", true);
    assert_ne!(newer, next);
    eventually("the new head judges", async || (judged_by(&gateway, &by_next[0]).await == newer).then_some(())).await;
    // Taken back.
    write_config(folder.path(), &config(&house, &hosted, ""));
    eventually("the shipped head judges again", async || {
        (judged_by(&gateway, &by_next[0]).await != newer).then_some(())
    })
    .await;
    // A file that is no head changes nothing.
    std::fs::write(folder.path().join("next.head"), "nonsense").expect("written");
    write_config(folder.path(), &config(&house, &hosted, lane));
    eventually("the refusal is in the log", async || (gateway.log.lock().contains("router.heads.0")).then_some(()))
        .await;
    assert_ne!(judged_by(&gateway, &by_next[0]).await, newer);
}

#[tokio::test]
async fn a_team_has_a_head_of_its_own() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let folder = folder("");
    let own = head(folder.path(), "research", false);
    let lane = "[[router.heads]]\npath = \"research.head\"\nteam = \"research\"\n";
    write_config(folder.path(), &config(&house, &hosted, lane));
    let key = |name: &str, team: &str| {
        let made = run_json(folder.path(), &["keys", "create", "--name", name, "--team", team, "--json"], "");
        format!("Bearer {}", made["key"].as_str().expect("a key"))
    };
    let (research, sales) = (key("a", "research"), key("b", "sales"));
    let gateway = Gateway::serve(folder, &[]).await;
    let head_of = async |key: &str| {
        let asked = gateway.chat_with(&chat("auto", "Hello number 7."), &[("authorization", key)]).await;
        let id = header(&asked, "x-sluice-request-id").expect("an id").to_owned();
        let record = gateway.api(&format!("/api/requests/{id}")).await;
        record["signals"]["head"].as_str().map(str::to_owned)
    };
    assert_eq!(head_of(&research).await.as_deref(), Some(own.as_str()));
    assert_ne!(head_of(&sales).await.as_deref(), Some(own.as_str()));
}

#[tokio::test]
async fn a_rate_of_money_is_a_goal_and_two_goals_are_refused() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let with = |rest: &str| {
        let folder = folder(&config(&house, &hosted, "").replace("[router]\n", &format!("[router]\n{rest}\n")));
        let output = run(folder.path(), &["check", "--json"], "");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default(), told)
    };
    let (code, meant, told) = with("hosted_rate = \"2.00 USD/hour\"");
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(meant["router"]["hosted_rate"], json!({"usd": "2.000000", "seconds": 3_600}), "{meant}");
    for (rest, says) in [
        ("hosted_rate = \"2.00 USD/hour\"\nhosted_share = \"30%\"", "keep one of them"),
        ("hosted_rate = \"2.00\"", "router.hosted_rate"),
        ("hosted_rate = \"two USD/hour\"", "router.hosted_rate"),
    ] {
        let (code, _, told) = with(rest);
        assert_eq!(code, Some(64), "{rest}: {told}");
        assert!(told.contains(says), "{rest}: {told}");
    }
}

//! `kill -9` at any moment under load, again and again on the same ledger: what the upstream saw, what clients were told
//! and what is on the ledger agree line by line.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tests::gateway::run;
use tests::oracle::{BIG, cost, nanos};
use tests::{Dice, Gateway, Hand, Upstream, chat, eventually, hosted_only, size, streamed};
use tokio::sync::Notify;

/// Calls that run at a time.
const HANDS: usize = 12;
/// The most that one can cost here: what is set aside for it stays below.
const MOST: u128 = 1_000_000;

/// What a call is known to have come to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    /// Its client has all of the answer.
    Finished,
    /// It was under way when the process died.
    Cut,
}

/// Calls until the process is dead; gives what is known of each, by its tag.
async fn load(gateway: &mut Gateway, round: usize, dice: &mut Dice) -> HashMap<String, Known> {
    let (finished, filled) = (AtomicUsize::new(0), Notify::new());
    let bodies = [chat("big", "x y z"), streamed("big", "x y z")].map(|mut body| {
        body["max_tokens"] = 8.into();
        body
    });
    let wanted = dice.roll(40) as usize;
    let calls = (0..HANDS).map(|hand| {
        let (finished, filled, bodies, data) = (&finished, &filled, &bodies, gateway.data.clone());
        async move {
            let (mut client, mut known) = (Hand::new(&data), Vec::new());
            for n in 0.. {
                let (tag, kind) = (format!("{round}-{hand}-{n}"), (hand + n) % 2);
                let headers = [("x-request-id", &*tag), ("x-sluice-tags", &format!("call={tag}"))];
                let told = client.chat(&bodies[kind], &headers).await;
                match told {
                    Some(reply) if reply.is_done(kind == 1) => known.push((tag, Known::Finished)),
                    Some(reply) => panic!("{}: {}", reply.status, reply.text()),
                    None => {
                        known.push((tag, Known::Cut));
                        break;
                    }
                }
                if finished.fetch_add(1, Ordering::Relaxed) + 1 >= wanted {
                    filled.notify_one();
                }
            }
            known
        }
    });
    let moment = Duration::from_micros(dice.roll(4_000));
    let pid = gateway.pid();
    let kill = async {
        if wanted > 0 {
            filled.notified().await;
        }
        // Not to wait for something, but to hit any moment of a call.
        tokio::time::sleep(moment).await;
        let killed = std::process::Command::new("sh").args(["-c", &format!("kill -9 {pid}")]).status();
        assert!(killed.expect("a shell").success());
    };
    let (known, ()) = tokio::join!(futures::future::join_all(calls), kill);
    gateway.ended().await;
    known.into_iter().flatten().collect()
}

/// Lines of one round on the ledger, by tag: how many, and their cost.
async fn lines(gateway: &Gateway, since: &str) -> HashMap<String, (u64, u128)> {
    let table = gateway.api(&format!("/api/spend?group_by=tag&since={since}")).await;
    let rows = table["rows"].as_array().expect("rows").iter().map(|row| {
        let tag = row["group"].as_str().and_then(|group| group.strip_prefix("call=")).expect("a tag").to_owned();
        (tag, (row["requests"].as_u64().expect("a number"), nanos(&row["cost_usd"]).expect("dollars")))
    });
    rows.collect()
}

/// What the upstream saw, by tag: what it stated for each call, which it saw once.
fn seen(upstream: &Upstream) -> HashMap<String, Option<u128>> {
    let mut seen = HashMap::new();
    for call in upstream.log() {
        let tag = call.header("x-request-id").expect("an id").to_owned();
        let stated = call.stated.map(|usage| cost(usage, BIG));
        assert!(seen.insert(tag, stated).is_none(), "each call is dialled once");
    }
    seen
}

#[tokio::test]
async fn killed_anywhere_under_load_ledger_and_upstream_agree_line_by_line() {
    let upstream = Upstream::start().await;
    let rounds = size(12, 1_000);
    let budget = "[[budgets]]\nscope = \"org\"\nlimit_usd = \"1000\"\nwindow = \"total\"\n";
    let process = format!("{}{budget}", hosted_only(&upstream, "echo"));
    let disk = process.replace("durability = \"process\"", "durability = \"disk\"");
    let exact = cost((13, 5), BIG);
    let mut dice = Dice(7);
    let (mut finished, mut cut, mut undialled, mut slowest) = (0, 0, 0, Duration::ZERO);
    let mut total = 0;
    let folder = tests::gateway::folder(&process);
    let mut gateway = Gateway::serve(folder.clone(), &[]).await;
    for round in 0..rounds {
        upstream.forget();
        let since = jiff::Timestamp::now().to_string();
        let known = load(&mut gateway, round, &mut dice).await;
        tests::gateway::write_config(folder.path(), if round % 2 == 0 { &disk } else { &process });
        let began = Instant::now();
        gateway = Gateway::serve(folder.clone(), &[]).await;
        slowest = slowest.max(began.elapsed());
        let lines = lines(&gateway, &since).await;
        let seen = seen(&upstream);
        for (tag, known) in &known {
            match (known, lines.get(tag)) {
                (Known::Finished, Some((1, cost))) => assert_eq!(*cost, exact, "{tag} in round {round}"),
                // Either its line was closed before it was cut, or it is charged at its ceiling.
                (Known::Cut, Some((1, cost))) => {
                    assert!((exact..=MOST).contains(cost), "{tag} in round {round}: {cost}");
                    cut += 1;
                }
                // Its line had not been written: it was not dialled, either.
                (Known::Cut, None) => undialled += 1,
                (_, line) => panic!("{tag} in round {round}: {known:?}, {line:?}"),
            }
        }
        finished += known.values().filter(|known| **known == Known::Finished).count();
        assert!(lines.keys().all(|tag| known.contains_key(tag)), "no line is invented in round {round}");
        for (tag, stated) in seen {
            let line = lines.get(&tag);
            assert!(
                line.is_some_and(|line| line.1 >= stated.unwrap_or(0)),
                "{tag} in round {round}: {stated:?}, {line:?}"
            );
        }
        total += lines.values().map(|(_, cost)| cost).sum::<u128>();
        let budget = gateway.api("/api/budgets").await["budgets"][0].clone();
        let stands = (nanos(&budget["spent_usd"]), nanos(&budget["held_usd"]));
        assert_eq!(stands, (Some(total), Some(0)), "after round {round}");
    }
    let spend = gateway.api("/api/spend").await["total"].clone();
    assert_eq!((nanos(&spend["cost_usd"]), spend["requests"].as_u64()), (Some(total), Some((finished + cut) as u64)));
    assert!(run(gateway.folder.path(), &["ledger", "verify"], "").status.success());
    eventually("it serves", async || (gateway.tell(&chat("big", "x")).await.status == 200).then_some(())).await;
    assert!(finished > rounds && cut > 0, "{finished} finished, {cut} cut");
    println!(
        "{rounds} kills: {finished} answers finished, {cut} cut, {undialled} never dialled, all as on the ledger; the \
         slowest restart took {slowest:?} with {} lines",
        finished + cut
    );
}

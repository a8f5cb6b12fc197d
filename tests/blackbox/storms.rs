//! Whole systems in trouble, by seed: links that break, clients that leave, a process that is killed and started again, all
//! at once and in an order that the seed chooses. Whatever the order, no budget is passed, ledger and upstream agree call
//! by call, and what may not leave does not (reliability test 34: the promises of 22, 24 and 36).
//!
//! Not a simulation with a clock of its own: the processes and sockets are real, so a seed chooses what happens and the
//! machine when.

use futures::future::join_all;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tests::oracle::{BIG, cost, nanos};
use tests::toxics::{Link, Toxic};
use tests::upstream::{Manner, Pace, Play, provider};
use tests::{Dice, Gateway, Hand, Upstream, chat, eventually, size, streamed};

const CLOCKS: &str = "[timeouts]\nconnect = \"1s\"\nfirst_event = \"1s\"\nidle = \"1s\"\ntotal = \"3s\"\n";
/// In what may not leave the house.
const CANARY: &str = "canary-of-the-house";
/// Dollars that all calls together may cost: some of a seed's calls are refused for it.
const LIMIT: &str = "0.0120";

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
struct Wish {
    restricted: bool,
    stream: bool,
    /// It leaves after so many events.
    leaves: Option<u64>,
}

/// What happens next.
#[derive(Clone, Debug)]
enum Act {
    /// So many ask at once.
    Ask(Vec<Wish>),
    /// The same, and the process dies when so many of them have their end.
    Kill(Vec<Wish>, usize),
    /// The way to the hosted provider is another one from here on.
    Link(Toxic),
}

fn acts(dice: &mut Dice) -> Vec<Act> {
    let wishes = |dice: &mut Dice| {
        let one = |dice: &mut Dice| Wish {
            restricted: dice.roll(3) == 0,
            stream: dice.roll(2) == 0,
            leaves: (dice.roll(5) == 0).then(|| dice.roll(3)),
        };
        (0..1 + dice.roll(12)).map(|_| one(dice)).collect::<Vec<_>>()
    };
    let link = |dice: &mut Dice| {
        let at = dice.roll(1_000) as usize;
        match dice.roll(8) {
            0 => Toxic::Latency(Duration::from_millis(1 + dice.roll(30))),
            1 => Toxic::Slices(1 + at % 97, Duration::from_millis(1)),
            2 => Toxic::Reset(at),
            3 => Toxic::HalfClose(at),
            4 => Toxic::Close(at),
            5 => Toxic::BlackHole(at),
            6 => Toxic::Refuse,
            _ => Toxic::Clean,
        }
    };
    let act = |dice: &mut Dice| match dice.roll(6) {
        0 => Act::Link(link(dice)),
        1 => {
            let wishes = wishes(dice);
            let after = dice.roll(wishes.len() as u64) as usize;
            Act::Kill(wishes, after)
        }
        _ => Act::Ask(wishes(dice)),
    };
    (0..12).map(|_| act(dice)).collect()
}

/// A system, and what its clients have asked.
struct World {
    hosted: Upstream,
    house: Upstream,
    link: Link,
    gateway: Gateway,
    asked: usize,
}

impl World {
    async fn start() -> Self {
        let (hosted, house) = (Upstream::start().await, Upstream::start().await);
        let pace = Pace::Every(Duration::from_millis(2));
        hosted.play("echo", Play::Answer(Manner { events: 6, pace, ..Manner::default() }));
        let link = Link::to(&hosted.root).await;
        let rest = format!(
            "{}{}{CLOCKS}[router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\n\
             [ledger]\ndurability = \"process\"\n[[budgets]]\nscope = \"org\"\nlimit_usd = \"{LIMIT}\"\nwindow = \"total\"\n\
             [residency.classes.restricted]\nlocations = [\"local\"]\n",
            provider(&link.url, "hosted", "hosted", &[("big", "echo")]),
            house.provider("house", "local", &[("small", "echo")]),
        );
        let gateway = Gateway::start(&rest).await;
        Self { hosted, house, link, gateway, asked: 0 }
    }

    /// Lets them ask, all at once; `ended` hears of each end.
    async fn ask(&mut self, wishes: &[Wish], ended: impl Fn()) {
        let first = self.asked;
        self.asked += wishes.len();
        let (gateway, ended) = (&self.gateway, &ended);
        let calls = wishes.iter().enumerate().map(|(n, wish)| async move {
            let id = format!("call-{}", first + n);
            // What is restricted is asked of everybody: the class alone keeps it in.
            let (model, text) = if wish.restricted { ("auto", CANARY) } else { ("big", "x") };
            let mut body = if wish.stream { streamed(model, text) } else { chat(model, text) };
            body["max_tokens"] = 16.into();
            let tags = format!("call={id}");
            let mut headers = vec![("x-request-id", &*id), ("x-sluice-tags", &tags)];
            if wish.restricted {
                headers.push(("x-sluice-class", "restricted"));
            }
            if let (true, Some(events)) = (wish.stream, wish.leaves) {
                let request = gateway.client.post(format!("{}/v1/chat/completions", gateway.data)).json(&body);
                let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
                if let Ok(mut answer) = request.send().await {
                    for _ in 0..events {
                        if !matches!(answer.chunk().await, Ok(Some(_))) {
                            break;
                        }
                    }
                }
            } else if let Some(reply) = Hand::new(&gateway.data).chat(&body, &headers).await {
                let known = [200, 402, 429, 502, 503, 504].contains(&reply.status);
                assert!(known, "{wish:?}: {} {}", reply.status, reply.text());
            }
            ended();
        });
        join_all(calls).await;
    }

    async fn act(&mut self, act: &Act) {
        match act {
            Act::Link(toxic) => self.link.set(toxic.clone()),
            Act::Ask(wishes) => self.ask(wishes, || ()).await,
            Act::Kill(wishes, after) => {
                let (left, pid) = (std::cell::Cell::new(*after), self.gateway.pid());
                let count = || match left.get() {
                    0 => {}
                    1 => {
                        left.set(0);
                        kill(pid);
                    }
                    more => left.set(more - 1),
                };
                if *after == 0 {
                    // Before any of them has an answer.
                    kill(pid);
                }
                self.ask(wishes, count).await;
                self.gateway.kill().await;
                let folder = self.gateway.folder.clone();
                self.gateway = Gateway::serve(folder, &[]).await;
            }
        }
    }

    /// What has to hold at any moment.
    async fn holds(&self, what: &str) {
        let budget = self.gateway.api("/api/budgets").await["budgets"][0].clone();
        let [spent, held, limit] =
            ["spent_usd", "held_usd", "limit_usd"].map(|name| nanos(&budget[name]).expect("dollars"));
        assert!(spent + held <= limit, "{what}: {budget}");
        for seen in self.hosted.log() {
            assert!(!seen.json().to_string().contains(CANARY), "{what}: it left the house");
        }
    }
}

fn kill(pid: u32) {
    let killed = std::process::Command::new("sh").args(["-c", &format!("kill -9 {pid}")]).status();
    assert!(killed.expect("a shell").success());
}

#[tokio::test]
async fn whatever_breaks_in_whatever_order_money_lines_and_the_house_hold() {
    for seed in 0..size(4, 1_000) {
        let (mut world, mut dice) = (World::start().await, Dice(seed));
        for (n, act) in acts(&mut dice).iter().enumerate() {
            world.act(act).await;
            world.holds(&format!("seed {seed}, after act {n}, {act:?}")).await;
        }
        world.link.set(Toxic::Clean);
        eventually("nothing is under way", async || (world.hosted.open() + world.house.open() == 0).then_some(()))
            .await;
        agree(&world, seed).await;
    }
}

/// Each call that an upstream saw is on the ledger once, at no less than it stated, and no call is there that nobody made.
async fn agree(world: &World, seed: u64) {
    let rows = eventually("every call is on the ledger", async || {
        let table = world.gateway.api("/api/spend?group_by=tag").await;
        let rows = table["rows"].as_array().expect("rows").iter();
        let rows: HashMap<String, Value> = rows
            .filter_map(|row| Some((row["group"].as_str()?.strip_prefix("call=")?.to_owned(), row.clone())))
            .collect();
        let seen = world.hosted.log();
        seen.iter().all(|seen| rows.contains_key(seen.header("x-request-id").expect("an id"))).then_some(rows)
    })
    .await;
    let mut dialled = HashSet::new();
    for seen in world.hosted.log() {
        let id = seen.header("x-request-id").expect("an id").to_owned();
        let (row, stated) = (&rows[&id], seen.stated.map_or(0, |usage| cost(usage, BIG)));
        // Of what never came over the link, or was left, only what came is known: it says `at_least`.
        let told = world.gateway.admin_get(&format!("/api/requests/{id}")).await;
        let line = (told.status == 200).then(|| told.json()["attempt_log"][0].clone());
        let line = line.unwrap_or_default();
        let partly = line["counted"] == "at_least" && line["outcome"] != "unknown";
        // Where not even the head of an answer came, there is no sign that anybody was at work.
        let nothing_came = line["outcome"] == "error" && line["error"] == "upstream_truncated";
        let charged = nanos(&row["cost_usd"]).expect("dollars");
        assert!(
            charged >= stated || (partly && (charged > 0 || nothing_came)),
            "seed {seed}: {stated} of {row}: {line}"
        );
        assert_eq!(row["requests"], 1, "seed {seed}: {row}");
        assert!(dialled.insert(id), "seed {seed}: dialled once");
    }
    let known =
        |id: &String| id.strip_prefix("call-").and_then(|n| n.parse().ok()).is_some_and(|n: usize| n < world.asked);
    assert!(rows.keys().all(known), "seed {seed}: {rows:?}");
    let spend = world.gateway.api("/api/spend").await["total"].clone();
    let budget = world.gateway.api("/api/budgets").await["budgets"][0].clone();
    assert_eq!(
        (nanos(&budget["spent_usd"]), nanos(&budget["held_usd"])),
        (nanos(&spend["cost_usd"]), Some(0)),
        "seed {seed}"
    );
    assert_eq!(world.gateway.cli(&["ledger", "verify"])["valid"], true, "seed {seed}");
}

//! Replicas whose network is cut: what cannot reach its stores spends nothing, says so in the right shape, and goes on
//! when it can again; no budget is passed meanwhile, nor when late messages arrive.

use crate::replicas::{Stores, budget, call, fits, served, small, spend, under, within};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tests::oracle::{BIG, cost, nanos};
use tests::upstream::{Manner, Pace, Play};
use tests::{Cable, Cut, Gateway, Hand, Told, Upstream, chat, eventually, hosted_only, two_sides};

/// A gateway with cables of its own to the stores.
struct Cabled {
    gateway: Gateway,
    redis: Cut,
    postgres: Cut,
}

impl Cabled {
    async fn start(stores: &Stores, config: &str, budgets: &str) -> Self {
        let ((redis, to_redis), (postgres, to_postgres)) =
            (Cut::over(&stores.redis.url()).await, Cut::over(&stores.url).await);
        let gateway = Gateway::start(&under(&to_postgres, &to_redis, config, budgets)).await;
        Self { gateway, redis, postgres }
    }
}

/// A refusal of somebody who may not spend: retryable, and in the shape of an error.
fn refused(told: &Told) {
    let error = told.error(503);
    assert_eq!(error["type"], "server_error", "{error}");
    let code = error["code"].as_str().unwrap_or_default();
    assert!(["ledger_unavailable", "model_unavailable"].contains(&code), "{error}");
    assert!(told.header("retry-after").and_then(|text| text.parse::<u64>().ok()).is_some_and(|seconds| seconds > 0));
}

/// Whose cable is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Redis,
    Postgres,
}

/// Cuts one cable of one of two replicas and mends it again.
async fn cut_off(cable: Cable, from: From, longest: Duration) {
    let which = |one: &Cabled, cable| match from {
        From::Redis => one.redis.be(cable),
        From::Postgres => one.postgres.be(cable),
    };
    let Some(stores) = Stores::start() else { return };
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let budgets = budget("org", 100_000 * call());
    let config = two_sides(&hosted, &house);
    let one = Cabled::start(&stores, &config, &budgets).await;
    let other = Gateway::start(&under(&stores.url, &stores.redis.url(), &config, &budgets)).await;
    for gateway in [&one.gateway, &other] {
        served(gateway, &small(false)).await;
    }
    which(&one, cable);
    let began = Instant::now();
    let first = eventually("it spends nothing any more", async || {
        let told = one.gateway.tell(&small(false)).await;
        assert!([200, 429, 503].contains(&told.status), "{cable:?}: {}", told.text());
        within(&one.gateway, 0).await;
        (told.status == 503).then_some(told)
    })
    .await;
    let took = began.elapsed();
    refused(&first);
    assert!(took < longest, "{cable:?}: {took:?} until it was refused");
    // One that was under way as the cable was cut may still be on its way.
    eventually("nothing is under way", async || (hosted.open() == 0).then_some(())).await;
    let before = hosted.count();
    for stream in [false, true] {
        refused(&one.gateway.tell(&small(stream)).await);
        // The other one goes on, and both stay within the limit.
        served(&other, &small(stream)).await;
        within(&one.gateway, 0).await;
        within(&other, 0).await;
    }
    assert_eq!(hosted.count(), before + 2, "{cable:?}: only the other has dialled");
    // What can be told from memory is told; what only the ledger knows is not, and never wrongly. An answer of the house
    // has a line, too.
    let (told, local) = (one.gateway.admin_get("/api/spend").await, one.gateway.tell(&chat("small", "x")).await);
    match from {
        From::Redis => assert_eq!((told.status, local.status), (200, 200), "{}", told.text()),
        From::Postgres => {
            assert_eq!(told.error(503)["code"], "ledger_unavailable");
            assert!(local.status == 200 || local.error(503)["code"] == "ledger_unavailable");
        }
    }
    let ready = one.gateway.client.get(format!("{}/livez", one.gateway.data)).send().await.expect("an answer");
    assert!(ready.status().is_success(), "{cable:?}: it lives");
    which(&one, Cable::Whole);
    served(&one.gateway, &small(true)).await;
    assert_eq!(one.gateway.tell(&chat("small", "x")).await.status, 200);
    let spent = eventually("the ledger says what the upstream has seen", async || {
        let spent = spend(&one.gateway).await;
        (spent == hosted.count() as u128 * call()).then_some(spent)
    })
    .await;
    for gateway in [&one.gateway, &other] {
        assert_eq!(spend(gateway).await, spent);
    }
    // Not over the cable, which this thread carries.
    assert_eq!(other.cli(&["ledger", "verify"])["valid"], true);
    println!("{from:?}, {cable:?}: refused after {took:?}, over after {:?}", began.elapsed());
}

#[tokio::test]
async fn cut_off_from_redis_by_silence_it_spends_nothing_after_its_lease_and_goes_on_later() {
    cut_off(Cable::BlackHole, From::Redis, Duration::from_secs(20)).await;
}

#[tokio::test]
async fn cut_off_from_redis_by_resets_it_spends_nothing_after_its_lease_and_goes_on_later() {
    cut_off(Cable::Reset, From::Redis, Duration::from_secs(20)).await;
}

#[tokio::test]
async fn without_answers_of_redis_it_spends_nothing_after_its_lease_and_goes_on_later() {
    cut_off(Cable::HalfOpen, From::Redis, Duration::from_secs(20)).await;
}

/// Three seconds for the answer and three for another connection; a line that was on its way takes as long before it.
const SILENT: Duration = Duration::from_secs(15);

#[tokio::test]
async fn cut_off_from_postgres_by_silence_it_spends_nothing_and_goes_on_later() {
    cut_off(Cable::BlackHole, From::Postgres, SILENT).await;
}

#[tokio::test]
async fn cut_off_from_postgres_by_resets_it_spends_nothing_at_once_and_goes_on_later() {
    cut_off(Cable::Reset, From::Postgres, Duration::from_secs(10)).await;
}

#[tokio::test]
async fn without_answers_of_postgres_it_spends_nothing_and_goes_on_later() {
    cut_off(Cable::HalfOpen, From::Postgres, SILENT).await;
}

/// What callers of three replicas were told, and how long they go on.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    over: AtomicBool,
    statuses: Mutex<HashMap<u16, usize>>,
}

/// Calls a replica until it is over; a connection that breaks is made again.
async fn press(base: &str, caller: usize, job: &str, told: &Tally) {
    let (mut hand, tag) = (Hand::new(base), format!("job={job}"));
    for n in 0.. {
        // What the upstream sees of it.
        let id = format!("{job}-{caller}-{n}");
        let tags = format!("{tag},call={id}");
        let headers = [("x-sluice-tags", &*tags), ("x-request-id", &id)];
        if told.over.load(Ordering::Relaxed) {
            return;
        }
        let reply = hand.chat(&small(n % 2 == 0), &headers).await;
        let status = reply.as_ref().map_or(0, |reply| reply.status);
        assert!([0, 200, 402, 429, 503].contains(&status), "{:?}", reply.map(|reply| reply.text()));
        if status == 200 {
            told.answered.fetch_add(1, Ordering::Relaxed);
        } else {
            // A pace and no wait: whoever is refused does not ask again at once.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        *told.statuses.lock().entry(status).or_default() += 1;
    }
}

#[tokio::test]
async fn three_replicas_with_one_killed_one_paused_and_one_cut_off_pass_no_budget() {
    let Some(stores) = Stores::start() else { return };
    let upstream = Upstream::start().await;
    upstream.play("echo", Play::Answer(Manner { pace: Pace::Every(Duration::from_millis(2)), ..Manner::default() }));
    let limits = [("org", 100_000), ("tag:job=a", 150), ("tag:job=b", 400)];
    let budgets: String = limits.iter().map(|(scope, calls)| budget(scope, calls * call())).collect();
    let config = hosted_only(&upstream, "echo");
    let mut three = Vec::new();
    for _ in 0..3 {
        three.push(Cabled::start(&stores, &config, &budgets).await);
    }
    for one in &three {
        served(&one.gateway, &small(false)).await;
    }
    let [mut dies, sleeps, cut]: [Cabled; 3] = three.try_into().ok().expect("three");
    let (told, looks) = (Tally::default(), AtomicUsize::new(0));
    let bases = [&dies, &sleeps, &cut].map(|one| one.gateway.data.clone());
    let callers = futures::future::join_all((0..24).map(|n| {
        let (base, told) = (&bases[n % 3], &told);
        async move { press(base, n, ["a", "b", "c"][n / 3 % 3], told).await }
    }));
    let (gone, paused) = (AtomicBool::new(false), AtomicBool::new(false));
    let admins = [&dies, &sleeps, &cut].map(|one| one.gateway.admin.clone());
    let client = cut.gateway.client.clone();
    let look = async {
        while !told.over.load(Ordering::Relaxed) {
            for (n, admin) in admins.iter().enumerate() {
                let away = [&gone, &paused].get(n).is_some_and(|away| away.load(Ordering::Relaxed));
                let asked = client.get(format!("{admin}/api/budgets")).timeout(Duration::from_millis(500)).send();
                let Ok(shown) = (if away { continue } else { asked.await }) else { continue };
                let Ok(shown) = shown.json::<Value>().await else { continue };
                shown["budgets"].as_array().expect("budgets").iter().for_each(|budget| {
                    fits(budget);
                });
                looks.fetch_add(1, Ordering::Relaxed);
            }
            // A pace and no wait: it looks as often as it can without taking the processor from those it looks at.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let more = async |count: usize, what: &str| {
        let before = told.answered.load(Ordering::Relaxed);
        eventually(what, async || (told.answered.load(Ordering::Relaxed) >= before + count).then_some(())).await;
    };
    let acts = async {
        more(60, "all three answer").await;
        gone.store(true, Ordering::Relaxed);
        dies.gateway.kill().await;
        more(40, "two go on without the one that was killed").await;
        paused.store(true, Ordering::Relaxed);
        sleeps.gateway.signal("STOP");
        // Longer than its lease: by then the last one has what it left behind.
        more(120, "one goes on alone").await;
        eventually("its lease is over and booked", async || {
            let text = cut.gateway.log.lock().matches("what a gone replica has spent is booked").count();
            (text >= 4).then_some(())
        })
        .await;
        for cable in [Cable::BlackHole, Cable::HalfOpen, Cable::Reset] {
            cut.redis.be(cable);
            eventually("nobody may spend", async || {
                (cut.gateway.tell(&small(false)).await.status == 503).then_some(())
            })
            .await;
            cut.redis.be(Cable::Whole);
            more(10, "it goes on when the cable is mended").await;
        }
        sleeps.gateway.signal("CONT");
        paused.store(false, Ordering::Relaxed);
        more(60, "both go on").await;
        // The sleeper is one of them again, under another name.
        served(&sleeps.gateway, &small(true)).await;
        told.over.store(true, Ordering::Relaxed);
    };
    tokio::join!(callers, look, acts);
    eventually("nothing is under way", async || (upstream.open() == 0).then_some(())).await;
    // By the callers' own ids; a few others only tried whether a replica serves.
    let log = upstream.log();
    let calls = log.iter().filter_map(|seen| Some((seen.header("x-request-id")?, seen)));
    let calls: Vec<_> = calls.filter(|(id, _)| id.split('-').next().is_some_and(|job| job.len() == 1)).collect();
    // What the killed one left open is charged when it was not heard of for ten seconds.
    let by_tag = eventually("every call is on the ledger", async || {
        let by_tag = cut.gateway.api("/api/spend?group_by=tag").await;
        let rows = by_tag["rows"].as_array().expect("rows").iter().filter_map(|row| row["group"].as_str());
        let known: HashSet<&str> = rows.filter_map(|group| group.strip_prefix("call=")).collect();
        calls.iter().all(|(id, _)| known.contains(id)).then_some(by_tag)
    })
    .await;
    let rows = by_tag["rows"].as_array().expect("rows").iter();
    let rows: HashMap<&str, &Value> = rows.map(|row| (row["group"].as_str().expect("a tag"), row)).collect();
    // Whatever the upstream stated is on the ledger, call by call, and nothing of it twice.
    let mut stated: HashMap<String, u128> = HashMap::new();
    for (id, seen) in calls {
        let job = &id[..1];
        let really = seen.stated.map_or(0, |usage| cost(usage, BIG));
        let row = rows[&*format!("call={id}")];
        assert_eq!(row["requests"], 1, "{row}");
        let story = cut.gateway.admin_get(&format!("/api/requests/{id}")).await.text();
        assert!(nanos(&row["cost_usd"]) >= Some(really), "{really} of {row}: {story}");
        *stated.entry(job.to_owned()).or_default() += really;
    }
    for (scope, calls) in &limits[1..] {
        let tag = scope.trim_start_matches("tag:");
        let on_ledger = nanos(&rows[tag]["cost_usd"]).expect("dollars");
        let really = stated[tag.trim_start_matches("job=")];
        assert!(really <= on_ledger && on_ledger <= calls * call(), "{tag}: {really} of {on_ledger}");
    }
    assert!(looks.load(Ordering::Relaxed) > 100);
    println!("{:?} by status, {} looks, overspent in none", told.statuses.lock(), looks.load(Ordering::Relaxed));
}

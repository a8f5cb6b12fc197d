//! Several gateways on one PostgreSQL and one Redis: they spend together what there is, whichever of all parts fails.

use futures::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::gateway::run;
use tests::oracle::{BIG, cost, nanos};
use tests::stores::{Postgres, Redis};
use tests::upstream::{Manner, Pace, Play};
use tests::{Gateway, Hand, Upstream, chat, eventually, hosted_only, size, streamed, two_sides};

/// What one call costs.
pub(crate) fn call() -> u128 {
    cost((11, 5), BIG)
}

/// What replicas share.
pub(crate) struct Stores {
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    pub(crate) url: String,
}

impl Stores {
    /// `None`: one of them is not installed.
    pub(crate) fn start() -> Option<Self> {
        let postgres = Postgres::start()?;
        let url = postgres.database();
        Some(Self { url, postgres, redis: Redis::start()? })
    }

    /// Two gateways of the same configuration.
    async fn pair(&self, config: &str, budgets: &str) -> [Gateway; 2] {
        self.pair_for("2s", config, budgets).await
    }

    /// The same with a lease of their own: one that a machine at its limits does not miss.
    async fn pair_for(&self, lease: &str, config: &str, budgets: &str) -> [Gateway; 2] {
        let config = under(&self.url, &self.redis.url(), config, budgets).replace("\"2s\"", &format!("{lease:?}"));
        let one = Gateway::start(&config).await;
        [one, Gateway::start(&config).await]
    }
}

/// A configuration, whose last section is `[ledger]`, on stores at these addresses.
pub(crate) fn under(ledger: &str, redis: &str, config: &str, budgets: &str) -> String {
    format!("{config}url = \"{ledger}\"\n[replicas]\nurl = \"{redis}\"\nlease = \"2s\"\n{budgets}")
}

pub(crate) fn budget(scope: &str, limit: u128) -> String {
    let limit = format!("{}.{:09}", limit / 1_000_000_000, limit % 1_000_000_000);
    format!("[[budgets]]\nscope = \"{scope}\"\nlimit_usd = \"{limit}\"\nwindow = \"total\"\n")
}

pub(crate) fn small(stream: bool) -> Value {
    let mut body = if stream { streamed("big", "x") } else { chat("big", "x") };
    body["max_tokens"] = 5.into();
    body
}

/// Nothing is overspent; gives what is spent and held.
pub(crate) fn fits(budget: &Value) -> (u128, u128) {
    let of = |name: &str| nanos(&budget[name]).expect("dollars");
    let (spent, held, limit) = (of("spent_usd"), of("held_usd"), of("limit_usd"));
    assert!(spent + held <= limit, "{budget}");
    (spent, held)
}

/// The same of one budget of a gateway.
pub(crate) async fn within(gateway: &Gateway, at: usize) -> (u128, u128) {
    fits(&gateway.api("/api/budgets").await["budgets"][at])
}

pub(crate) async fn spend(gateway: &Gateway) -> u128 {
    nanos(&gateway.api("/api/spend").await["total"]["cost_usd"]).expect("dollars")
}

/// Calls until one is answered.
pub(crate) async fn served(gateway: &Gateway, body: &Value) {
    eventually("a call is answered", async || (gateway.tell(body).await.status == 200).then_some(())).await;
}

/// Budgets of so many rounds are on one pair of gateways: every look at them says all.
const TOGETHER: usize = 125;

#[tokio::test]
async fn replicas_spend_no_more_than_there_is_and_say_the_same() {
    let Some(stores) = Stores::start() else { return };
    let upstream = Upstream::start().await;
    let rounds = size(4, 1_000);
    let (mut calls, mut looks, mut dialled) = (0, 0, 0);
    for first in (0..rounds).step_by(TOGETHER) {
        let here = first..rounds.min(first + TOGETHER);
        let all: String = here.clone().map(|round| budget(&format!("tag:round={round}"), 10 * call())).collect();
        let mut gateways = stores.pair_for("10s", &hosted_only(&upstream, "echo"), &all).await;
        let mut crowds = [Hand::crowd(&gateways[0].data, 128).await, Hand::crowd(&gateways[1].data, 128).await];
        upstream.forget();
        for round in here.clone() {
            let (tags, before) = (format!("round={round}"), upstream.count());
            let hands = crowds.iter_mut().flatten().enumerate();
            let told = hands.map(async |(n, hand)| {
                hand.chat(&small(n % 4 < 2), &[("x-sluice-tags", &tags)]).await.expect("an answer").status
            });
            let done = tokio::sync::Notify::new();
            let look = async {
                loop {
                    for gateway in &gateways {
                        within(gateway, round - first).await;
                        looks += 1;
                    }
                    if tokio::time::timeout(Duration::from_millis(1), done.notified()).await.is_ok() {
                        return;
                    }
                }
            };
            let (statuses, ()) = tokio::join!(async { (join_all(told).await, done.notify_one()).0 }, look);
            assert!(statuses.iter().all(|status| [200, 402, 429].contains(status)), "{statuses:?}");
            let answered = statuses.iter().filter(|status| **status == 200).count();
            assert!((1..=10).contains(&answered) && answered == upstream.count() - before, "{answered} of ten");
            calls += statuses.len();
        }
        dialled += upstream.count();
        let here = here.len();
        agree(&gateways, here, upstream.count() as u128 * call(), dialled as u128 * call()).await;
        for gateway in &mut gateways {
            gateway.stop().await;
        }
    }
    println!("{rounds} rounds on two replicas, {calls} calls, {dialled} dialled, {looks} looks, overspent in none");
}

/// Both say the same, also when asked by the command: `spent` of the budgets here, `all` on the ledger.
async fn agree(gateways: &[Gateway], budgets: usize, spent: u128, all: u128) {
    for gateway in gateways {
        assert_eq!(spend(gateway).await, all);
        for by in ["model", "tag", "day", "key"] {
            let path = format!("/api/spend?group_by={by}");
            assert_eq!(gateway.api(&path).await, gateways[0].api(&path).await);
            assert_eq!(gateway.cli(&["spend", "--group-by", by]), gateways[0].api(&path).await, "{by}");
        }
        assert_eq!(gateway.cli(&["ledger", "verify"])["valid"], true);
        // What each has left over goes back, and then both know everything.
        eventually("both say what was spent", async || {
            let shown = gateway.api("/api/budgets").await;
            let shown = shown["budgets"].as_array().expect("budgets");
            let told = shown.iter().map(fits).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            (shown.len() == budgets && told == (spent, 0)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_a_killed_replica_did_not_spend_comes_back() {
    let Some(stores) = Stores::start() else { return };
    let upstream = Upstream::start().await;
    upstream.play(
        "slow",
        Play::Answer(Manner { events: 50, pace: Pace::Every(Duration::from_secs(1)), ..Manner::default() }),
    );
    let config = format!(
        "{}[router]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\n[ledger]\n",
        upstream.provider("hosted", "hosted", &[("big", "echo"), ("slow", "slow")])
    );
    let limit = 200 * call();
    let [mut dies, lives] = stores.pair(&config, &budget("org", limit)).await;
    for gateway in [&dies, &lives] {
        served(gateway, &small(false)).await;
    }
    let live = dies
        .live(
            &json!({"model": "slow", "messages": [{"role": "user", "content": "x"}], "max_tokens": 50, "stream": true}),
        )
        .await;
    assert_eq!(live.status, 200);
    let killed = Instant::now();
    dies.kill().await;
    drop(live);
    // Its call is charged at its ceiling, and nothing but that is gone.
    eventually("the rest comes back", async || {
        let (spent, held) = within(&lives, 0).await;
        (spent > 2 * call() && held == 0).then_some(())
    })
    .await;
    assert!(killed.elapsed() < Duration::from_secs(60), "{:?}", killed.elapsed());
    eventually("the ledger charges it", async || (spend(&lives).await > 2 * call()).then_some(())).await;
    let (charged, _) = within(&lives, 0).await;
    assert_eq!(spend(&lives).await, charged, "the ledger and the budget say the same");
    assert!(charged < limit / 2, "{charged}");
    let before = upstream.count();
    eventually("the rest is spent", async || match lives.tell(&small(false)).await.status {
        402 => Some(()),
        200 | 429 => None,
        status => panic!("{status}"),
    })
    .await;
    let answered = (upstream.count() - before) as u128;
    // A call holds less than six times what it costs, most of that for its prompt.
    assert!(charged + (answered + 6) * call() > limit, "{answered} more calls");
    within(&lives, 0).await;
}

#[tokio::test]
async fn without_redis_hosted_calls_end_with_the_leases_and_local_ones_go_on() {
    let Some(mut stores) = Stores::start() else { return };
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateways = stores.pair(&two_sides(&hosted, &house), &budget("org", 1_000 * call())).await;
    for gateway in &gateways {
        served(gateway, &small(false)).await;
    }
    stores.redis.stop();
    for gateway in &gateways {
        let refused = eventually("hosted calls are refused", async || {
            let told = gateway.tell(&small(false)).await;
            assert!([200, 429, 503].contains(&told.status), "{}", told.text());
            (told.status == 503).then_some(told)
        })
        .await;
        assert!(refused.text().contains("lease"), "{}", refused.text());
        assert!(refused.header("retry-after").is_some());
    }
    let before = hosted.count();
    for gateway in &gateways {
        assert_eq!(gateway.tell(&small(false)).await.status, 503);
        assert_eq!(gateway.tell(&chat("small", "x")).await.status, 200);
        assert_eq!(gateway.tell(&chat("auto", tests::HARD)).await.status, 200, "the house answers in its place");
        within(gateway, 0).await;
    }
    assert_eq!(hosted.count(), before);
    stores.redis = stores.redis.again().expect("installed");
    for gateway in &gateways {
        served(gateway, &small(false)).await;
    }
    eventually("what was spent before is known", async || {
        let (spent, _) = within(&gateways[0], 0).await;
        (spent == hosted.count() as u128 * call()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_was_paused_past_its_lease_spends_nothing() {
    let Some(stores) = Stores::start() else { return };
    let upstream = Upstream::start().await;
    let limit = 100 * call();
    let [sleeper, other] = stores.pair(&hosted_only(&upstream, "echo"), &budget("org", limit)).await;
    for gateway in [&sleeper, &other] {
        served(gateway, &small(false)).await;
    }
    sleeper.signal("STOP");
    eventually("the other spends all of it", async || match other.tell(&small(false)).await.status {
        402 => Some(()),
        200 | 429 => None,
        status => panic!("{status}"),
    })
    .await;
    let before = upstream.count();
    let calls = join_all((0..8).map(async |_| sleeper.tell(&small(false)).await.status));
    let wake = async {
        tokio::task::yield_now().await;
        sleeper.signal("CONT");
    };
    let (statuses, ()) = tokio::join!(calls, wake);
    assert!(statuses.iter().all(|status| [402, 429, 503].contains(status)), "{statuses:?}");
    assert_eq!(upstream.count(), before, "nothing was dialled");
    assert!(spend(&other).await <= limit);
    for gateway in [&sleeper, &other] {
        within(gateway, 0).await;
    }
    // It is one of them again.
    eventually("it joins anew", async || {
        let (spent, _) = within(&sleeper, 0).await;
        (spent == before as u128 * call()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_key_is_made_and_revoked_for_all_replicas_within_a_second() {
    let Some(stores) = Stores::start() else { return };
    let upstream = Upstream::start().await;
    let [mut one, two] = stores.pair(&hosted_only(&upstream, "echo"), "").await;
    let key = one.cli(&["keys", "create", "--name", "ada", "--budget", "1.00 USD/total"]);
    let key = format!("Bearer {}", key["key"].as_str().expect("a key"));
    let status = async |gateway: &Gateway| gateway.tell_with(&small(false), &[("authorization", &key)]).await.status;
    for gateway in [&one, &two] {
        eventually("keys are needed", async || (gateway.tell(&small(false)).await.status == 401).then_some(())).await;
        assert_eq!(status(gateway).await, 200);
    }
    let revoked = two.client.delete(format!("{}/api/keys/ada", two.admin)).send().await.expect("an answer");
    assert!(revoked.status().is_success(), "{}", revoked.status());
    let since = Instant::now();
    eventually("the other refuses it", async || (status(&one).await == 401).then_some(())).await;
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    assert_eq!(status(&two).await, 401);
    one.stop().await;
}

#[tokio::test]
async fn without_postgres_nothing_is_spent_and_it_goes_on_when_it_is_back() {
    let Some(stores) = Stores::start() else { return };
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let [one, two] = stores.pair(&two_sides(&hosted, &house), &budget("org", 1_000 * call())).await;
    for gateway in [&one, &two] {
        served(gateway, &small(false)).await;
    }
    stores.postgres.let_in(&stores.url, false);
    for gateway in [&one, &two] {
        eventually("hosted calls are refused", async || {
            let status = gateway.tell(&small(false)).await.status;
            assert!([200, 503].contains(&status), "{status}");
            (status == 503).then_some(())
        })
        .await;
    }
    let before = hosted.count();
    assert_eq!(one.tell(&small(false)).await.status, 503);
    assert_eq!(hosted.count(), before);
    stores.postgres.let_in(&stores.url, true);
    for gateway in [&one, &two] {
        served(gateway, &small(false)).await;
    }
    assert_eq!(spend(&one).await, hosted.count() as u128 * call());
}

#[tokio::test]
async fn passwords_of_stores_are_shown_nowhere() {
    let upstream = Upstream::start().await;
    let config = format!(
        "{}url_env = \"LEDGER_URL\"\n[replicas]\nurl = \"redis://:canary-redis@127.0.0.1:1/0\"\n",
        hosted_only(&upstream, "echo")
    );
    let folder = tests::gateway::folder(&config);
    for arguments in [&["check"][..], &["check", "--json"], &["spend"], &["serve"]] {
        let output = tests::gateway::command(folder.path())
            .args(arguments)
            .env("LEDGER_URL", "postgres://u:canary-postgres@127.0.0.1:1/sluice")
            .output()
            .expect("it runs");
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!told.contains("canary"), "{arguments:?}: {told}");
        assert_eq!(output.status.success(), arguments[0] == "check", "{told}");
        if arguments[0] == "check" {
            assert!(told.contains("postgres://u@127.0.0.1:1/sluice") && told.contains("127.0.0.1:1"), "{told}");
        }
    }
    assert!(!run(folder.path(), &["check"], "").status.success(), "without its variable");
}

#[tokio::test]
async fn replicas_let_through_together_what_a_rate_limit_says() {
    let Some(stores) = Stores::start() else { return };
    let upstream = Upstream::start().await;
    let gateways = stores.pair(&hosted_only(&upstream, "echo"), "[limits]\nrequests_per_minute = 6\n").await;
    let mut statuses = Vec::new();
    let began = Instant::now();
    for turn in 0..20 {
        let told = gateways[turn % 2].tell(&small(false)).await;
        statuses.push(told.status);
        assert!(told.status == 200 || told.header("retry-after").is_some());
    }
    let let_in = statuses.iter().filter(|status| **status == 200).count();
    // What fills again meanwhile is one every ten seconds.
    let filled = began.elapsed().as_secs() as usize / 10 + 1;
    assert!((6..=6 + filled).contains(&let_in), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
}

#[tokio::test]
async fn a_repeat_on_another_replica_is_answered_once_and_billed_once() {
    let Some(stores) = Stores::start() else { return };
    let upstream = Upstream::start().await;
    upstream.play("echo", Play::Answer(Manner { pace: Pace::Every(Duration::from_millis(100)), ..Manner::default() }));
    let gateways = stores.pair(&hosted_only(&upstream, "echo"), "").await;
    let named = [("idempotency-key", "k"), ("x-request-id", "chosen")];
    let told = join_all((0..8).map(async |at| gateways[at % 2].tell_with(&small(true), &named).await)).await;
    assert!(told.iter().all(|one| one.status == 200 && one.body == told[0].body), "{}", told[0].text());
    assert_eq!(upstream.count(), 1);
    // The same id without a key is another request, on whichever replica.
    let ids = join_all((0..8).map(async |at| {
        let told = gateways[at % 2].tell_with(&small(false), &named[1..]).await;
        assert_eq!(told.status, 200);
        told.id().to_owned()
    }))
    .await;
    let unlike: std::collections::HashSet<&String> = ids.iter().collect();
    assert_eq!((unlike.len(), upstream.count()), (8, 9));
    for gateway in &gateways {
        assert_eq!(gateway.api("/api/spend").await["total"]["requests"], 9);
    }
}

//! Replicas in one process, on a real PostgreSQL and a real Redis.

use super::*;
use crate::budgets::{BudgetSpec, Hold, Scope, Window};
use crate::ledger::bed::Bed;
use crate::ledger::{AttemptClose, AttemptOpen, Durability, Ledger};
use crate::lines;
use crate::stores::Redis;
use policies::{Counted, HoldError, Location, NanoDollars, OnExceeded, Principal, Usage};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Long enough that a machine with many other things to do does not miss it.
const LEASE: Duration = Duration::from_millis(1_600);

struct Replica {
    ledger: Ledger,
    budgets: Arc<Budgets>,
}

/// Both stores; `None`: one of them is not installed.
fn stores() -> Option<(Bed, Redis)> {
    Some((Bed::server()?, Redis::start()?))
}

fn money(units: u64) -> Amount {
    Amount { money: NanoDollars(units), tokens: 1 }
}

fn org(limit: u64) -> BudgetSpec {
    BudgetSpec::dollars(Scope::Org, NanoDollars(limit), Window::Total)
}

impl Replica {
    async fn start(bed: &Bed, redis: &Redis, specs: Vec<BudgetSpec>) -> Self {
        let url = policies::Secret::new(redis.url());
        let shared = Shared::start(Shared::spec(&url, LEASE, "test".into()).unwrap()).unwrap();
        let (ledger, _) = bed.start(Durability::Process);
        let budgets = Budgets::kept_by(Keeper::Shared(shared), ledger.clone(), specs, Timestamp::now()).unwrap();
        budgets.renew().await;
        Self { ledger, budgets }
    }

    async fn hold(&self, units: u64) -> Result<Hold, HoldError> {
        let (nobody, whose) = (Principal::default(), (&"m".into(), Location::Hosted));
        let held = self.budgets.set_aside((&nobody, &[]), whose, money(units), Timestamp::now()).await;
        held.map_err(|exceeded| exceeded.why)
    }

    /// One turn of what [`Budgets::keep`] does.
    async fn turn(&self) {
        self.budgets.renew().await;
        let Keeper::Shared(shared) = &self.budgets.accounts.keeper else { unreachable!() };
        self.budgets.look(shared, 0).await;
    }

    async fn open(&self, units: u64) -> Arc<AttemptOpen> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let id = format!("r{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let now = Timestamp::now().as_microsecond();
        let open = AttemptOpen { ceiling: Some(NanoDollars(units)), ceiling_tokens: None, ..lines::open(&id, now) };
        let open = Arc::new(open);
        self.ledger.open(open.clone()).await.unwrap();
        open
    }

    /// Holds, writes the line, spends all of it.
    async fn spend(&self, units: u64) -> Result<(), HoldError> {
        let hold = self.hold(units).await?;
        let open = self.open(units).await;
        assert!(hold.is_good());
        let counted = Counted::Exact(Usage::plain(1, 0));
        let closed = AttemptClose { counted, ..lines::closed(open, 0, units) };
        self.ledger.close(closed, None).await.unwrap();
        hold.settle(money(units));
        Ok(())
    }

    /// Spent and held, as everybody sees it.
    fn seen(&self) -> (u64, u64) {
        let dollars = self.budgets.states(Timestamp::now())[0].dollars.clone().unwrap();
        (dollars.spent_usd.0, dollars.held_usd.0)
    }
}

/// Looks again until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < end, "it did not come true: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_never_pass_a_limit_together_and_use_all_of_it() {
    let Some((bed, redis)) = stores() else { return };
    let replicas =
        [Replica::start(&bed, &redis, vec![org(1_000)]).await, Replica::start(&bed, &redis, vec![org(1_000)]).await];
    let won = AtomicU64::new(0);
    let hands = (0..40).map(|hand| {
        let (replica, won) = (&replicas[hand % 2], &won);
        async move {
            for turn in 0..10 {
                if replica.spend(10 + hand as u64 % 3).await.is_ok() {
                    won.fetch_add(10 + hand as u64 % 3, Ordering::Relaxed);
                }
                let (spent, held) = replica.seen();
                assert!(spent + held <= 1_000, "{spent} + {held}");
                if turn % 3 == 0 {
                    replica.turn().await;
                }
            }
        }
    });
    futures::future::join_all(hands).await;
    // What one has left over comes to the other.
    until("all is spent", async || {
        for replica in &replicas {
            replica.turn().await;
            won.fetch_add(u64::from(replica.spend(1).await.is_ok()), Ordering::Relaxed);
        }
        won.load(Ordering::Relaxed) == 1_000
    })
    .await;
    // Each says what it has spent, then each learns what the other said.
    for replica in replicas.iter().chain(&replicas) {
        replica.turn().await;
    }
    for replica in &replicas {
        assert_eq!(replica.spend(1).await, Err(HoldError::Spent));
        assert_eq!(replica.seen(), (1_000, 0));
    }
    let committed = replicas[0].ledger.committed_since(&SpendScope::Everything, 0).unwrap();
    assert_eq!(committed.iter().map(|(_, amount)| amount.money.0).sum::<u64>(), 1_000, "the ledger says the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_replica_did_not_spend_comes_back_and_what_it_may_have_spent_does_not() {
    let Some((bed, redis)) = stores() else { return };
    let one = Replica::start(&bed, &redis, vec![org(1_000)]).await;
    let two = Replica::start(&bed, &redis, vec![org(1_000)]).await;
    one.spend(100).await.unwrap();
    let hold = one.hold(500).await.unwrap();
    one.open(500).await;
    let idle = one.hold(300).await.unwrap();
    assert_eq!(two.hold(200).await.err(), Some(HoldError::Held), "one has them");
    // It is killed: nobody renews, and nothing of it is told to anybody.
    std::mem::forget((hold, idle));
    until("the rest comes back", async || {
        two.turn().await;
        two.hold(400).await.is_ok_and(|hold| {
            hold.settle(money(0));
            true
        })
    })
    .await;
    assert_eq!(two.hold(401).await.err(), Some(HoldError::Spent), "600 are on the ledger, one line at its ceiling");
    two.spend(400).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_slept_past_its_lease_spends_nothing_and_joins_anew() {
    let Some((bed, redis)) = stores() else { return };
    let sleeper = Replica::start(&bed, &redis, vec![org(1_000)]).await;
    let other = Replica::start(&bed, &redis, vec![org(1_000)]).await;
    let mut hold = sleeper.hold(100).await.unwrap();
    assert!(hold.is_good() && sleeper.budgets.stopped().is_none());
    let line = sleeper.open(100).await;
    until("its lease runs out", async || sleeper.budgets.stopped().is_some()).await;
    assert!(!hold.is_good() && hold.grow(100, 110, money).is_err());
    assert!(sleeper.hold(1).await.is_err());
    let name = sleeper.ledger.instance();
    until("it is buried", async || {
        other.turn().await;
        other.hold(900).await.is_ok_and(|hold| {
            hold.settle(money(0));
            true
        })
    })
    .await;
    sleeper.turn().await;
    assert_ne!(sleeper.ledger.instance(), name, "its lines are summed already");
    assert!(sleeper.budgets.stopped().is_none() && !hold.is_good(), "what it held before is void");
    hold.settle(money(100));
    assert_eq!(sleeper.seen().0, 100, "booked once, by the other");
    until("what the other has given back can be had", async || {
        other.turn().await;
        sleeper.spend(900).await.is_ok()
    })
    .await;
    sleeper.turn().await;
    assert_eq!(other.spend(1).await, Err(HoldError::Spent));
    drop(line);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lost_everything_opens_only_after_every_lease_has_run_out() {
    let Some((bed, mut redis)) = stores() else { return };
    let one = Replica::start(&bed, &redis, vec![org(1_000)]).await;
    let two = Replica::start(&bed, &redis, vec![org(1_000)]).await;
    one.spend(300).await.unwrap();
    let slice = one.hold(300).await.unwrap();
    redis.stop();
    let redis = redis.again().unwrap();
    let lost = Instant::now();
    until("the other gets what is not on the ledger", async || {
        two.turn().await;
        two.spend(700).await.is_ok()
    })
    .await;
    assert!(lost.elapsed() >= LEASE.mul_f64(0.8), "{:?}", lost.elapsed());
    assert!(!slice.is_good(), "what was set aside before is void by then");
    assert_eq!(two.spend(1).await, Err(HoldError::Spent));
    one.turn().await;
    assert!(one.spend(1).await.is_err());
    drop(redis);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_a_slice_is_spent_until_the_lease_runs_out_and_nothing_after() {
    let Some((bed, mut redis)) = stores() else { return };
    let one = Replica::start(&bed, &redis, vec![org(64_000)]).await;
    one.spend(1).await.unwrap();
    redis.stop();
    one.spend(900).await.expect("a slice reaches a sixty-fourth further");
    assert_eq!(one.hold(60_000).await.err(), Some(HoldError::Held), "no more of it can be had");
    until("the lease runs out", async || {
        one.turn().await;
        one.budgets.stopped().is_some()
    })
    .await;
    assert!(one.hold(1).await.is_err());
    let redis = redis.again().unwrap();
    until("it goes on when the store is back", async || {
        one.turn().await;
        one.spend(1).await.is_ok()
    })
    .await;
    assert_eq!(one.seen().0, 902);
    drop(redis);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_budget_refuses_nothing_and_is_counted_together() {
    let Some((bed, redis)) = stores() else { return };
    let soft = BudgetSpec { on_exceeded: OnExceeded::Warn, ..org(100) };
    let one = Replica::start(&bed, &redis, vec![soft.clone()]).await;
    let two = Replica::start(&bed, &redis, vec![soft]).await;
    one.spend(90).await.unwrap();
    two.spend(90).await.unwrap();
    until("each sees both", async || {
        one.turn().await;
        two.turn().await;
        one.seen().0 == 180 && two.seen().0 == 180
    })
    .await;
}

#[tokio::test]
async fn budgets_on_a_ledger_that_others_may_write_are_kept_by_a_store_or_nothing_is_spent() {
    let Some(bed) = Bed::server() else { return };
    let (ledger, _) = bed.start(Durability::Process);
    let budgets = Budgets::start(ledger, vec![org(1)], Timestamp::now()).unwrap();
    assert!(budgets.stopped().unwrap().contains("[replicas]"));
    budgets.configure(vec![], Timestamp::now()).unwrap();
    assert_eq!(budgets.stopped(), None);
}

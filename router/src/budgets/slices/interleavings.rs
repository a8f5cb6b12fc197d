//! Accounts and slices in very many orders of what several threads do, by shuttle: holding, growing, settling, dropping,
//! the end of a lease, and slices that come and go while others spend.
//!
//! It is the product's own code that runs here, with shuttle's lock in place of the usual one; the store is a copy in Rust
//! of the one script that changes slices. A schedule that fails is printed and can be replayed.

use super::*;
use crate::budgets::accounts::{Booked, Life};
use crate::budgets::{BudgetSpec, Scope, Window};
use policies::{NanoDollars, OnExceeded};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;

const LIMIT: u64 = 100;

/// Shuttle's lock.
#[derive(Default)]
struct Lock(Mutex<Vec<Live>>);

/// The life under which may be spent; 0: none.
struct Lease(AtomicU64);

struct Alone;

type Replica = Accounts<Lease, Lock>;

impl Guards<Vec<Live>> for Lock {
    fn with<R>(&self, work: impl FnOnce(&mut Vec<Live>) -> R) -> R {
        work(&mut self.0.lock().unwrap())
    }
}

impl Lives for Lease {
    fn life(&self) -> Life {
        match self.0.load(Ordering::SeqCst) {
            0 => Life::Over,
            life => Life::Of(life),
        }
    }
}

impl Lives for Alone {
    fn life(&self) -> Life {
        Life::Alone
    }
}

/// Schedules that are tried of each promise.
fn schedules() -> usize {
    let full = std::env::var_os("SLUICE_TEST_SIZE").is_some_and(|size| size == "full");
    if full { 100_000 } else { 1_000 }
}

fn money(units: u64) -> Amount {
    Amount { money: NanoDollars(units), tokens: 0 }
}

fn now() -> Timestamp {
    "2026-02-28T12:00:00Z".parse().unwrap()
}

/// One account of a hundred, in a window without end.
fn accounts<K: Lives>(keeper: K) -> Arc<Accounts<K, Lock>> {
    let accounts: Accounts<K, Lock> = Accounts::new(keeper);
    let spec = BudgetSpec {
        on_exceeded: OnExceeded::End,
        ..BudgetSpec::dollars(Scope::Org, NanoDollars(LIMIT), Window::Total)
    };
    let (span, account) = ((now(), None), Account { limit: LIMIT, ..Account::default() });
    accounts.live.with(|live| live.push(Live::new(spec, SpendScope::Everything, span, account)));
    Arc::new(accounts)
}

fn hold<K: Lives>(accounts: &Arc<Accounts<K, Lock>>, units: u64) -> Option<Booked<K, Lock>> {
    accounts.hold(|_| true, money(units), now()).ok()
}

fn account<K: Lives>(accounts: &Accounts<K, Lock>) -> Account {
    accounts.live.with(|live| live[0].account)
}

/// Holds, grows as far as it goes, then settles or drops; gives what that cost.
fn spend<K: Lives>(accounts: &Arc<Accounts<K, Lock>>, hand: u64) -> u64 {
    let Some(mut hold) = hold(accounts, 30 + hand) else { return 0 };
    let paid = hold.grow(30 + hand, 55, money).unwrap_or(30 + hand);
    assert_eq!(hold.amount(), money(paid));
    if hand == 0 {
        // A task that is dropped.
        drop(hold);
        return paid;
    }
    hold.settle(money(paid - hand));
    paid - hand
}

fn three_hands() {
    let accounts = accounts(Alone);
    let look = |account: Account| assert!(account.spent + account.held <= LIMIT, "{account:?}");
    let hands = (0..3).map(|hand| {
        let accounts = accounts.clone();
        thread::spawn(move || {
            let spent = spend(&accounts, hand);
            look(account(&accounts));
            spent
        })
    });
    let hands: Vec<_> = hands.collect();
    look(account(&accounts));
    let spent: u64 = hands.into_iter().map(|hand| hand.join().unwrap()).sum();
    assert_eq!(account(&accounts), Account { limit: LIMIT, spent, held: 0 });
}

#[test]
fn holds_that_grow_settle_and_drop_at_once_pass_no_limit_and_leave_nothing_held() {
    shuttle::check_random(three_hands, schedules());
    shuttle::check_pct(three_hands, schedules() / 2, 3);
}

#[test]
fn two_hands_pass_no_limit_in_any_order_whatever() {
    let two_hands = || {
        let accounts = accounts(Alone);
        let other = accounts.clone();
        let hand = thread::spawn(move || hold(&other, 60).map(|hold| hold.settle(money(50))).is_some());
        let mine = hold(&accounts, 60).map(drop).is_some();
        let won = u64::from(hand.join().unwrap()) * 50 + u64::from(mine) * 60;
        assert!(won > 0 && account(&accounts) == Account { limit: LIMIT, spent: won, held: 0 });
    };
    // Every order there is.
    shuttle::check_dfs(two_hands, None);
}

#[test]
fn what_was_set_aside_under_a_lease_that_ended_is_void_and_costs_the_next_one_nothing() {
    shuttle::check_random(
        || {
            let accounts = accounts(Lease(AtomicU64::new(1)));
            accounts.live.with(|live| (live[0].life, live[0].slice) = (1, LIMIT));
            let renewing = accounts.clone();
            let renewal = thread::spawn(move || {
                renewing.keeper.0.store(0, Ordering::SeqCst);
                renewing.live.with(|live| live.iter_mut().for_each(Live::reset));
                renewing.keeper.0.store(2, Ordering::SeqCst);
                renewing.live.with(|live| (live[0].life, live[0].slice) = (2, LIMIT));
            });
            let hands: Vec<_> = (0..2)
                .map(|_| {
                    let accounts = accounts.clone();
                    thread::spawn(move || {
                        let Some(mut hold) = hold(&accounts, 40) else { return 0 };
                        let life = hold.life;
                        assert_ne!(life, Life::Over, "nothing is set aside without a lease");
                        let grown = hold.grow(40, 60, money).unwrap_or(40);
                        if hold.is_good() {
                            // It may be spent: so it is held where the limit is kept.
                            let kept = accounts.live.with(|live| (live[0].life, live[0].account));
                            assert!(!hold.is_good() || kept.1.held >= grown, "{kept:?} of {grown}");
                        }
                        let cost = if life == Life::Of(2) { 10 } else { 0 };
                        hold.settle(money(10));
                        cost
                    })
                })
                .collect();
            renewal.join().unwrap();
            let spent: u64 = hands.into_iter().map(|hand| hand.join().unwrap()).sum();
            let left = account(&accounts);
            assert_eq!((left.spent, left.held), (spent, 0), "only what was set aside under the new lease counts");
        },
        schedules(),
    );
}

/// What the store does with a slice, as `replicas::scripts::SLICE` says it.
#[derive(Default)]
struct Store {
    slices: [u64; 2],
    spent: [u64; 2],
}

impl Store {
    fn slice(&mut self, member: usize, wanted: &Wanted) -> SliceState {
        let total: u64 = self.slices.iter().sum();
        let (mine, used) = (self.slices[member], wanted.spent + wanted.held);
        let free = wanted.limit.saturating_sub(total - mine);
        let slice = match wanted.reach {
            None => used,
            Some(reach) if reach <= free => used.max(mine).max(reach + (wanted.limit / 64).min((free - reach) / 4)),
            Some(_) => used.max(mine),
        };
        (self.slices[member], self.spent[member]) = (slice, wanted.spent);
        let (total, spent) = (self.slices.iter().sum(), self.spent.iter().sum());
        assert!(total <= wanted.limit, "{total}");
        SliceState { slice, total, spent, gone: Vec::new() }
    }
}

/// One change of a slice, in its turn, as [`Budgets`] makes it.
fn change(replica: &Replica, store: &Mutex<Store>, turn: &Mutex<()>, member: usize, reach: Reach) {
    let _turn = turn.lock().unwrap();
    let booking = replica.live.with(|live| live[0].booking());
    let Some(seen) = replica.begin(&booking, reach, 1) else { return };
    let spent = seen.account.spent;
    let state = store.lock().unwrap().slice(member, &seen.wanted(spent, reach));
    replica.end(&booking, &seen, (1, spent), &state);
}

#[test]
fn replicas_whose_slices_come_and_go_pass_no_limit_together() {
    shuttle::check_random(
        || {
            let store = Arc::new(Mutex::new(Store::default()));
            let replicas = [0, 1].map(|_| accounts(Lease(AtomicU64::new(1))));
            replicas.iter().for_each(|replica| replica.live.with(|live| live[0].life = 1));
            let turns = [0, 1].map(|_| Arc::new(Mutex::new(())));
            let mut hands = Vec::new();
            for member in 0..2 {
                for hand in 0..2 {
                    let (replica, store, turn) = (replicas[member].clone(), store.clone(), turns[member].clone());
                    hands.push(thread::spawn(move || {
                        let mut spent = 0;
                        for units in [35, 20 + hand] {
                            let held = hold(&replica, units).or_else(|| {
                                change(&replica, &store, &turn, member, Reach::More(units));
                                hold(&replica, units)
                            });
                            if let Some(held) = held {
                                held.settle(money(units - 5));
                                spent += units - 5;
                            }
                        }
                        spent
                    }));
                }
                // What nobody used since is given back, twice.
                let (replica, store, turn) = (replicas[member].clone(), store.clone(), turns[member].clone());
                hands.push(thread::spawn(move || {
                    for _ in 0..2 {
                        replica.live.with(|live| live[0].busy = false);
                        change(&replica, &store, &turn, member, Reach::Back);
                    }
                    0
                }));
            }
            let look = || {
                // Both at once: money may wander from one to the other between two looks.
                let used = replicas[0].live.with(|one| {
                    let theirs = replicas[1].live.with(|two| two[0].account);
                    let mine = one[0].account;
                    assert!(mine.spent + mine.held <= one[0].slice, "{mine:?} of {}", one[0].slice);
                    mine.spent + mine.held + theirs.spent + theirs.held
                });
                assert!(used <= LIMIT, "{used}");
            };
            for _ in 0..4 {
                look();
                thread::yield_now();
            }
            let spent: u64 = hands.into_iter().map(|hand| hand.join().unwrap()).sum();
            look();
            let left = replicas.map(|replica| account(&replica));
            assert_eq!((left[0].held + left[1].held, left[0].spent + left[1].spent), (0, spent));
        },
        schedules(),
    );
}

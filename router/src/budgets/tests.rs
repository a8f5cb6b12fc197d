//! Accounts under many hands.

use super::*;
use crate::ledger::Durability;

const NOW: &str = "2026-02-28T23:40:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn money(units: u64) -> Amount {
    Amount { money: NanoDollars(units), tokens: units * 10 }
}

fn open(specs: Vec<BudgetSpec>) -> (tempfile::TempDir, Arc<Budgets>) {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::start(folder.path().join("l.db"), Durability::Process).unwrap();
    let budgets = Budgets::start(ledger, specs, at("2026-02-28T23:30:00Z")).unwrap();
    (folder, budgets)
}

fn org(limit: u64, window: Window) -> BudgetSpec {
    BudgetSpec::dollars(Scope::Org, NanoDollars(limit), window)
}

fn hold(budgets: &Arc<Budgets>, amount: Amount, now: &str) -> Result<Hold, Exceeded> {
    budgets.hold(&Principal::default(), &[], (&"m".into(), Location::Hosted), amount, at(now))
}

#[test]
fn a_dropped_hold_charges_what_it_held_and_a_clock_that_steps_back_refills_nothing() {
    let (_folder, budgets) = open(vec![org(100, Window::Month)]);
    drop(hold(&budgets, money(60), "2026-02-28T23:40:00Z").unwrap());
    assert_eq!(hold(&budgets, money(50), "2026-02-28T23:50:00Z").err().unwrap().why, HoldError::Spent);
    hold(&budgets, money(50), "2026-03-01T00:00:00Z").unwrap().settle(money(50));
    assert!(hold(&budgets, money(60), "2026-02-28T23:59:00Z").is_err());
}

#[test]
fn every_budget_has_to_have_it_and_none_is_charged_when_one_has_not() {
    let tokens = BudgetSpec { measure: Measure::Tokens, limit: 50, ..org(0, Window::Day) };
    let (_folder, budgets) = open(vec![org(100, Window::Month), tokens]);
    let refused = hold(&budgets, money(6), NOW).err().unwrap();
    assert_eq!((refused.scope.as_str(), refused.why), ("org", HoldError::Spent));
    assert!(budgets.states(at(NOW)).iter().all(|state| state.used == 0.0));
    hold(&budgets, money(5), NOW).unwrap().settle(Amount { money: NanoDollars(3), tokens: 41 });
    let states = budgets.states(at(NOW));
    assert_eq!(states[0].dollars.as_ref().unwrap().spent_usd, NanoDollars(3));
    assert_eq!(states[1].tokens.as_ref().unwrap().left_tokens, 9);
}

#[test]
fn a_soft_budget_refuses_nothing_and_says_how_far_it_is() {
    let soft = BudgetSpec { on_exceeded: OnExceeded::Warn, ..org(100, Window::Month) };
    let (_folder, budgets) = open(vec![soft]);
    let near = || budgets.view(&Principal::default(), &[], at(NOW))[0].near;
    hold(&budgets, money(90), NOW).unwrap().settle(money(90));
    assert_eq!(near(), None);
    hold(&budgets, money(90), NOW).unwrap().settle(money(90));
    assert_eq!(near(), Some(("month", 1.8)));
}

#[test]
fn a_hold_grows_as_far_as_every_budget_has_it() {
    let (_folder, budgets) = open(vec![org(1_000, Window::Total), org(100, Window::Day)]);
    let mut one = hold(&budgets, money(30), NOW).unwrap();
    let other = hold(&budgets, money(30), NOW).unwrap();
    assert_eq!(one.grow(30, 40, money).unwrap(), 40);
    assert_eq!(one.grow(40, 90, money).unwrap(), 70, "the other holds thirty");
    assert_eq!(one.grow(70, 90, money).err().unwrap().why, HoldError::Held);
    other.settle(money(10));
    assert_eq!(one.grow(70, 95, money).unwrap(), 90);
    assert_eq!(one.grow(90, 95, money).err().unwrap().why, HoldError::Spent);
    one.settle(money(85));
    let states = budgets.states(at(NOW));
    let spent: Vec<u64> = states.iter().map(|state| state.dollars.as_ref().unwrap().spent_usd.0).collect();
    let held: Vec<u64> = states.iter().map(|state| state.dollars.as_ref().unwrap().held_usd.0).collect();
    assert_eq!((spent, held), (vec![95, 95], vec![0, 0]));
}

#[test]
fn many_at_once_never_pass_the_limit() {
    let (_folder, budgets) = open(vec![org(1_000, Window::Total)]);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let budgets = budgets.clone();
            std::thread::spawn(move || {
                let mut won = 0;
                for turn in 0..200 {
                    if let Ok(mut hold) = hold(&budgets, money(50), NOW) {
                        let used = budgets.states(at(NOW))[0].dollars.clone().unwrap();
                        assert!(used.spent_usd.0 + used.held_usd.0 <= 1_000);
                        let paid = hold.grow(50, 100, money).unwrap_or(50);
                        won += paid;
                        if turn % 2 == 0 { hold.settle(money(paid)) } else { drop(hold) }
                    }
                }
                won
            })
        })
        .collect();
    let won: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let state = budgets.states(at(NOW))[0].dollars.clone().unwrap();
    assert_eq!((won, state.left_usd.0), (1_000, 0));
}

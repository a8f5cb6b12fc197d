//! Accounts of budgets, in memory, begun from the ledger.
//!
//! **Promise.** Money and tokens are set aside before an attempt is dialled and booked when it ends; checking and setting
//! aside is one step under one lock, over every budget that applies or none, so concurrent calls cannot pass a limit
//! together. A [`Hold`] can grow, in one step again; one that is dropped without being settled charges what it held.
//!
//! **Windows** begin where the budget's [`Calendar`] says; they only ever move forward, so a clock that steps back refills
//! nothing.
//!
//! **Soft budgets** ([`OnExceeded::Warn`]) are booked like the others and refuse nothing. Whatever is used beyond a
//! budget's `warn_at` is said once a window in the log, and to each caller ([`BudgetView::near`]).
//!
//! **Replicas** share a limit through a store ([`crate::replicas`]): an account then has a *slice* that this process may
//! spend, and knows what the others have. A hold that does not fit into the slice asks for more of it first
//! ([`Budgets::set_aside`]); nothing else of what is said here changes.
//!
//! What has to be one step is in [`accounts`]; the rest of this module knows the ledger and the store.
//!
//! **What it does not do.** Alone it keeps nothing: a process begins with what is on the ledger.

mod accounts;
mod history;
mod hold;
mod live;
mod scope;
mod slices;
mod state;
mod window;

pub use hold::Hold;
pub use scope::Scope;
pub use state::BudgetState;
pub use window::{Calendar, Window};

use crate::ledger::{Ledger, LedgerError};
use crate::replicas::Shared;
use accounts::{Accounts, Life};
use history::History;
use jiff::Timestamp;
use live::{Live, roll};
use policies::{
    Account, Amount, BudgetView, HoldError, KeyId, Location, Measure, ModelName, NanoDollars, OnExceeded, Principal,
    Usage,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A configured budget.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetSpec {
    /// Whose money.
    pub scope: Scope,
    /// What it counts.
    pub measure: Measure,
    /// How much, in units of the measure.
    pub limit: u64,
    /// For how long.
    pub window: Window,
    /// On whose calendar.
    pub calendar: Calendar,
    /// What happens when it is gone.
    pub on_exceeded: OnExceeded,
    /// From this share of the limit on it is said.
    pub warn_at: Option<f64>,
}

/// All accounts.
pub struct Budgets {
    ledger: Ledger,
    accounts: Arc<Accounts>,
    /// Of those who ask for more of a slice one does at a time.
    turn: tokio::sync::Mutex<()>,
    /// There are limits that nobody keeps: others may spend beside this process.
    unkept: AtomicBool,
    history: History,
}

/// Who keeps the limits.
#[derive(Clone, Debug)]
pub enum Keeper {
    /// This process, which is the only one.
    Alone,
    /// A store that replicas share.
    Shared(Shared),
    /// Nobody: nothing will be spent.
    Onlooker,
}

/// A budget that does not suffice.
#[derive(Clone, Debug)]
pub struct Exceeded {
    /// Its scope as text.
    pub scope: String,
    /// Spent or only held.
    pub why: HoldError,
    /// What its policy says.
    pub on_exceeded: OnExceeded,
}

// === impl BudgetSpec ===

impl BudgetSpec {
    /// A budget in dollars that refuses, on the default calendar.
    pub fn dollars(scope: Scope, limit: NanoDollars, window: Window) -> Self {
        Self {
            scope,
            measure: Measure::Money,
            limit: limit.0,
            window,
            calendar: Calendar::default(),
            on_exceeded: OnExceeded::Refuse,
            warn_at: None,
        }
    }

    /// Whether both are the same account, whatever their limits.
    pub fn same_account(&self, other: &Self) -> bool {
        self.scope == other.scope && self.window == other.window && self.measure == other.measure
    }
}

// === impl Budgets ===

impl Budgets {
    /// Opens the accounts with what the ledger knows; this process is the only one.
    pub fn start(ledger: Ledger, specs: Vec<BudgetSpec>, now: Timestamp) -> Result<Arc<Self>, LedgerError> {
        Self::kept_by(Keeper::Alone, ledger, specs, now)
    }

    /// Opens the accounts. Where replicas share them, nothing is spent before [`Budgets::renew`].
    pub fn kept_by(
        keeper: Keeper,
        ledger: Ledger,
        specs: Vec<BudgetSpec>,
        now: Timestamp,
    ) -> Result<Arc<Self>, LedgerError> {
        let history = History::default();
        for line in ledger.recent_answers()? {
            history.answered(line.key.as_ref(), &line.model, &line.usage);
        }
        let budgets = Self {
            ledger,
            accounts: Arc::new(Accounts::new(keeper)),
            turn: tokio::sync::Mutex::default(),
            unkept: AtomicBool::new(false),
            history,
        };
        budgets.configure(specs, now)?;
        Ok(Arc::new(budgets))
    }

    /// Takes over new specs; an account whose scope, window and measure stay keeps what is spent and held.
    pub fn configure(&self, specs: Vec<BudgetSpec>, now: Timestamp) -> Result<(), LedgerError> {
        let hard = specs.iter().any(|spec| spec.on_exceeded.is_hard());
        let unkept = hard && self.ledger.is_shared() && matches!(self.accounts.keeper, Keeper::Alone);
        self.unkept.store(unkept, Ordering::Release);
        let keys = self.ledger.keys()?;
        let mut live = self.accounts.live.lock();
        let mut next: Vec<Live> = Vec::with_capacity(specs.len());
        for spec in specs {
            let known = live.iter().position(|old| old.spec.same_account(&spec) && old.spec.calendar == spec.calendar);
            if let Some(at) = known {
                let mut old = live.swap_remove(at);
                old.account.limit = spec.limit;
                old.spec = spec;
                next.push(old);
                continue;
            }
            let (start, end) = spec.window.around(now, &spec.calendar);
            let key_id = match &spec.scope {
                Scope::Key(name) => keys
                    .iter()
                    .find(|key| key.key.name == *name || key.id.as_str() == name)
                    .map(|key| key.id.as_str().to_owned()),
                Scope::Org | Scope::Team(_) | Scope::User(_) | Scope::Tag(..) | Scope::Model(_) => None,
            };
            let lines = spec.scope.on_ledger(key_id.as_deref());
            let spent = match self.accounts.keeper {
                // Asked for with the first slice.
                Keeper::Shared(_) => Amount::default(),
                Keeper::Alone | Keeper::Onlooker => self.ledger.spent_since(&lines, start.as_microsecond())?,
            };
            let account = Account { limit: spec.limit, spent: spent.of(spec.measure), held: 0 };
            next.push(Live::new(spec, lines, (start, end), account));
        }
        *live = next;
        Ok(())
    }

    /// The budgets that apply to a request.
    pub fn view(&self, principal: &Principal, tags: &[(String, String)], now: Timestamp) -> Vec<BudgetView> {
        let mut live = self.accounts.live.lock();
        roll(&mut live, now);
        let applies = live.iter().filter(|live| live.spec.scope.covers(principal, tags));
        applies
            .map(|live| BudgetView {
                scope: live.spec.scope.to_string(),
                only_model: live.spec.scope.only_model().cloned(),
                measure: live.spec.measure,
                account: live.seen(),
                on_exceeded: live.spec.on_exceeded,
                near: live.near().map(|used| (live.spec.window.word(), used)),
            })
            .collect()
    }

    /// Why nothing may be spent at all, if nothing may.
    pub fn stopped(&self) -> Option<&'static str> {
        if self.accounts.life() == Life::Over {
            return Some("the lease on the budgets that replicas share has run out");
        }
        let unkept = "there are budgets, and others may write this ledger, too: set `[replicas]`";
        self.unkept.load(Ordering::Acquire).then_some(unkept)
    }

    /// Sets `amount` aside in every account that applies, or in none; where replicas share them, after having asked for
    /// more of what does not suffice.
    ///
    /// # Cancel safety
    /// A dropped future has set nothing aside.
    pub async fn set_aside(
        self: &Arc<Self>,
        payer: (&Principal, &[(String, String)]),
        whose: (&ModelName, Location),
        amount: Amount,
        now: Timestamp,
    ) -> Result<Hold, Exceeded> {
        match self.hold(payer.0, payer.1, whose, amount, now) {
            Err(_) if matches!(self.accounts.keeper, Keeper::Shared(_)) => {
                self.reach(|live| live.counts(payer.0, payer.1, whose.0, whose.1), amount, None).await;
                self.hold(payer.0, payer.1, whose, amount, now)
            }
            done => done,
        }
    }

    /// Sets `amount` aside in every account that applies, or in none, from what this process has.
    pub fn hold(
        self: &Arc<Self>,
        principal: &Principal,
        tags: &[(String, String)],
        (model, location): (&ModelName, Location),
        amount: Amount,
        now: Timestamp,
    ) -> Result<Hold, Exceeded> {
        let counts = |live: &Live| live.counts(principal, tags, model, location);
        Ok(Hold { budgets: self.clone(), booked: self.accounts.hold(counts, amount, now)? })
    }

    /// Takes an answer that came to its end into account, for what is set aside for the next.
    pub fn answered(&self, key: Option<&KeyId>, model: &ModelName, usage: &Usage) {
        self.history.answered(key, model, usage);
    }

    /// Output tokens that the next answer of `model` to this caller will hardly pass; `None`: not enough is known.
    pub fn expected_output(&self, key: Option<&KeyId>, model: &ModelName) -> Option<u64> {
        self.history.expected(key, model)
    }

    /// Waits until something held was released, or the time is over.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn released(&self, at_most: Duration) {
        // Running out of time is an answer, too: the caller looks again.
        let _ = tokio::time::timeout(at_most, self.accounts.freed.notified()).await;
    }

    /// The first `count` accounts, in the order of their specs: where the configured budgets are given before those of
    /// keys, which may be very many, these are the configured ones.
    pub fn first_states(&self, count: usize, now: Timestamp) -> Vec<BudgetState> {
        let mut live = self.accounts.live.lock();
        let count = count.min(live.len());
        let (first, _) = live.split_at_mut(count);
        roll(first, now);
        first.iter().map(Live::state).collect()
    }

    /// Every account.
    pub fn states(&self, now: Timestamp) -> Vec<BudgetState> {
        let mut live = self.accounts.live.lock();
        roll(&mut live, now);
        live.iter().map(Live::state).collect()
    }
}

#[cfg(test)]
mod tests;

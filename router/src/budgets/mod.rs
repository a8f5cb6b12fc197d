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
//! **What it does not do.** Alone it keeps nothing: a process begins with what is on the ledger.

mod history;
mod live;
mod scope;
mod slices;
mod state;
mod window;

pub use scope::Scope;
pub use state::BudgetState;
pub use window::{Calendar, Window};

use crate::ledger::{Ledger, LedgerError};
use crate::replicas::Shared;
use history::History;
use jiff::Timestamp;
use live::{Booking, Live, roll};
use parking_lot::Mutex;
use policies::{
    Account, Amount, BudgetView, HoldError, KeyId, Location, Measure, ModelName, NanoDollars, OnExceeded, Principal,
    Usage,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

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
    keeper: Keeper,
    live: Mutex<Vec<Live>>,
    /// Of those who ask for more of a slice one does at a time.
    turn: tokio::sync::Mutex<()>,
    /// There are limits that nobody keeps: others may spend beside this process.
    unkept: AtomicBool,
    freed: Notify,
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

/// By what is decided whether something fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Alone,
    /// By slices that were taken in that life.
    Of(u64),
    /// The lease has run out.
    Over,
}

/// Set aside for one attempt.
#[must_use = "a hold that is dropped charges what it held"]
pub struct Hold {
    budgets: Arc<Budgets>,
    amount: Amount,
    booked: Vec<Booking>,
    /// The life in which it was set aside.
    life: Life,
    settled: bool,
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
            keeper,
            live: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            unkept: AtomicBool::new(false),
            freed: Notify::new(),
            history,
        };
        budgets.configure(specs, now)?;
        Ok(Arc::new(budgets))
    }

    /// Takes over new specs; an account whose scope, window and measure stay keeps what is spent and held.
    pub fn configure(&self, specs: Vec<BudgetSpec>, now: Timestamp) -> Result<(), LedgerError> {
        let hard = specs.iter().any(|spec| spec.on_exceeded.is_hard());
        self.unkept.store(hard && self.ledger.is_shared() && matches!(self.keeper, Keeper::Alone), Ordering::Release);
        let keys = self.ledger.keys()?;
        let mut live = self.live.lock();
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
            let spent = match self.keeper {
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
        let mut live = self.live.lock();
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
        if self.life() == Life::Over {
            return Some("the lease on the budgets that replicas share has run out");
        }
        let unkept = "there are budgets, and others may write this ledger, too: set `[replicas]`";
        self.unkept.load(Ordering::Acquire).then_some(unkept)
    }

    fn life(&self) -> Life {
        match &self.keeper {
            Keeper::Alone | Keeper::Onlooker => Life::Alone,
            Keeper::Shared(shared) => shared.life().map_or(Life::Over, Life::Of),
        }
    }

    /// Whether what was set aside in that life may still be spent.
    fn is_good(&self, life: Life) -> bool {
        life != Life::Over && life == self.life()
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
            Err(_) if matches!(self.keeper, Keeper::Shared(_)) => {
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
        let (mut live, life) = (self.live.lock(), self.life());
        roll(&mut live, now);
        let counts = |live: &Live| live.counts(principal, tags, model, location);
        for account in live.iter().filter(|live| counts(live) && live.spec.on_exceeded.is_hard()) {
            account.fits(amount.of(account.spec.measure), life).map_err(|why| account.exceeded(why))?;
        }
        let mut booked = Vec::new();
        for account in live.iter_mut().filter(|live| counts(live)) {
            // It fits, where it has to: the check above ran under the same lock.
            account.account.held = account.account.held.saturating_add(amount.of(account.spec.measure));
            account.busy = true;
            booked.push(account.booking());
        }
        Ok(Hold { budgets: self.clone(), amount, booked, life, settled: false })
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
        let _ = tokio::time::timeout(at_most, self.freed.notified()).await;
    }

    /// Every account.
    pub fn states(&self, now: Timestamp) -> Vec<BudgetState> {
        let mut live = self.live.lock();
        roll(&mut live, now);
        live.iter().map(Live::state).collect()
    }

    fn settle(&self, booked: &[Booking], held: Amount, cost: Amount) {
        let mut live = self.live.lock();
        for booking in booked {
            if let Some(account) = live.iter_mut().find(|live| live.is(booking)) {
                account.account.settle(held.of(booking.measure), cost.of(booking.measure));
                account.warn();
            }
        }
        drop(live);
        self.freed.notify_waiters();
    }

    /// Raises a hold to the largest of `amounts(paid + 1 ..= wanted)` that fits everywhere; says which that was.
    fn grow(
        &self,
        booked: &[Booking],
        from: Amount,
        (paid, wanted): (u64, u64),
        amounts: impl Fn(u64) -> Amount,
    ) -> Result<u64, Exceeded> {
        let (mut live, life) = (self.live.lock(), self.life());
        let mut found: Vec<&mut Live> =
            live.iter_mut().filter(|live| booked.iter().any(|booking| live.is(booking))).collect();
        let fits = |found: &[&mut Live], to: Amount| {
            let hard = found.iter().filter(|live| live.spec.on_exceeded.is_hard());
            let mut refused = hard.filter_map(|live| {
                let measure = live.spec.measure;
                live.grows(from.of(measure), to.of(measure), life).err().map(|why| live.exceeded(why))
            });
            refused.next()
        };
        let (mut low, mut high) = (paid, wanted);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if fits(&found, amounts(middle)).is_none() { low = middle } else { high = middle - 1 }
        }
        if low == paid
            && let Some(exceeded) = fits(&found, amounts(paid.saturating_add(1)))
        {
            return Err(exceeded);
        }
        let to = amounts(low);
        for account in &mut found {
            let measure = account.spec.measure;
            let held = account.account.held.saturating_sub(from.of(measure)).saturating_add(to.of(measure));
            account.account.held = held;
            account.busy = true;
        }
        Ok(low)
    }
}

// === impl Hold ===

impl Hold {
    /// What is set aside.
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// Raises it from what pays for `paid` output tokens towards what pays for `wanted`, as far as every budget has it;
    /// gives the output tokens that are paid for now.
    ///
    /// # Errors
    /// Not a single token more is left: the budget that says so. The hold stays as it was.
    pub fn grow(&mut self, paid: u64, wanted: u64, amounts: impl Fn(u64) -> Amount) -> Result<u64, Exceeded> {
        if let (false, Some(booking)) = (self.is_good(), self.booked.first()) {
            let on_exceeded = OnExceeded::Refuse;
            return Err(Exceeded { scope: booking.scope.to_string(), why: HoldError::Held, on_exceeded });
        }
        let paid = self.budgets.grow(&self.booked, self.amount, (paid, wanted), &amounts)?;
        self.amount = amounts(paid);
        Ok(paid)
    }

    /// Whether it may still be spent: the lease under which it was set aside runs. Asked after the line that says so is
    /// durable and before anything is dialled.
    pub fn is_good(&self) -> bool {
        self.booked.is_empty() || self.budgets.is_good(self.life)
    }

    /// What tells later whether it may still be spent.
    pub(crate) fn watch(&self) -> Watch {
        Watch { budgets: self.budgets.clone(), life: self.life, bound: !self.booked.is_empty() }
    }

    /// Asks for more of what it is booked in, where replicas share it, so that it can grow to `amount`.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn reach(&self, amount: Amount) {
        let booked = &self.booked;
        let mine = |live: &Live| booked.iter().any(|booking| live.is(booking));
        self.budgets.reach(mine, amount, Some(self.amount)).await;
    }

    /// Waits until others have released something, or the time is over.
    pub async fn others(&self, at_most: Duration) {
        self.budgets.released(at_most).await;
    }

    /// Books what it cost and releases the rest.
    pub fn settle(mut self, cost: Amount) {
        self.settled = true;
        self.budgets.settle(&self.booked, self.amount, cost);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.settled {
            self.budgets.settle(&self.booked, self.amount, self.amount);
        }
    }
}

// === impl Watch ===

/// Tells whether a hold may still be spent.
pub(crate) struct Watch {
    budgets: Arc<Budgets>,
    life: Life,
    bound: bool,
}

impl Watch {
    /// See [`Hold::is_good`].
    pub(crate) fn is_good(&self) -> bool {
        !self.bound || self.budgets.is_good(self.life)
    }
}

#[cfg(test)]
mod tests;

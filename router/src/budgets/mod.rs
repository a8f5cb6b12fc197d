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
//! **What it does not do.** One process only; replicas share a limit through a store.

mod history;
mod scope;
mod window;

pub use scope::Scope;
pub use window::{Calendar, Window};

use crate::ledger::{Ledger, LedgerError};
use history::History;
use jiff::Timestamp;
use parking_lot::Mutex;
use policies::{
    Account, Amount, BudgetView, HoldError, KeyId, Location, Measure, ModelName, NanoDollars, OnExceeded, Principal,
    Usage,
};
use serde::Serialize;
use std::sync::Arc;
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

struct Live {
    spec: BudgetSpec,
    start: Timestamp,
    end: Option<Timestamp>,
    account: Account,
    /// It was said in this window.
    warned: bool,
}

/// All accounts.
pub struct Budgets {
    ledger: Ledger,
    live: Mutex<Vec<Live>>,
    freed: Notify,
    history: History,
}

/// Set aside for one attempt.
#[must_use = "a hold that is dropped charges what it held"]
pub struct Hold {
    budgets: Arc<Budgets>,
    amount: Amount,
    booked: Vec<Booking>,
    settled: bool,
}

/// An account that a hold is booked in, and in which of its windows.
#[derive(Clone, Debug, PartialEq)]
struct Booking {
    scope: Scope,
    window: Window,
    measure: Measure,
    start: Timestamp,
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

/// A budget as the admin API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct BudgetState {
    /// Its scope as text.
    pub scope: String,
    /// Its window.
    pub window: Window,
    /// What it counts.
    pub measure: Measure,
    /// Its policy.
    pub on_exceeded: OnExceeded,
    /// Whose midnight begins its windows.
    pub time_zone: String,
    /// When the window began.
    pub since: String,
    /// When it ends; absent for `total`.
    pub until: Option<String>,
    /// Dollars; absent where tokens are counted.
    #[serde(flatten)]
    pub dollars: Option<Dollars>,
    /// Tokens; absent where dollars are counted.
    #[serde(flatten)]
    pub tokens: Option<Tokens>,
    /// The share of the limit that is spent, from 0.
    pub used: f64,
    /// From this share on it is said.
    pub warn_at: Option<f64>,
}

/// Where a budget in dollars stands.
#[derive(Clone, Debug, Serialize)]
pub struct Dollars {
    /// The limit.
    pub limit_usd: NanoDollars,
    /// Settled spending.
    pub spent_usd: NanoDollars,
    /// Set aside for running calls.
    pub held_usd: NanoDollars,
    /// What is left.
    pub left_usd: NanoDollars,
}

/// Where a budget in tokens stands.
#[derive(Clone, Debug, Serialize)]
pub struct Tokens {
    /// The limit.
    pub limit_tokens: u64,
    /// Used.
    pub spent_tokens: u64,
    /// Set aside for running calls.
    pub held_tokens: u64,
    /// What is left.
    pub left_tokens: u64,
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

// === impl Live ===

impl Live {
    fn counts(&self, principal: &Principal, tags: &[(String, String)], model: &ModelName, location: Location) -> bool {
        let only = self.spec.scope.only_model();
        self.spec.scope.covers(principal, tags) && policies::counts(only, self.spec.measure, model, location)
    }

    fn is(&self, booking: &Booking) -> bool {
        self.spec.scope == booking.scope
            && self.spec.window == booking.window
            && self.spec.measure == booking.measure
            // A window that has ended meanwhile took its holds with it.
            && self.start == booking.start
    }

    fn exceeded(&self, why: HoldError) -> Exceeded {
        Exceeded { scope: self.spec.scope.to_string(), why, on_exceeded: self.spec.on_exceeded }
    }

    /// How much is used, where that is worth saying.
    fn near(&self) -> Option<f64> {
        let used = self.account.used();
        let from = self.spec.warn_at.or((!self.spec.on_exceeded.is_hard()).then_some(1.0))?;
        (used >= from).then_some(used)
    }

    /// Says once a window that it is nearly used up.
    fn warn(&mut self) {
        if let (false, Some(used)) = (self.warned, self.near()) {
            self.warned = true;
            let (budget, window) = (self.spec.scope.to_string(), self.spec.window.word());
            let percent = (used * 100.0).floor();
            tracing::warn!(budget, window, percent, policy = %self.spec.on_exceeded, "a budget is nearly used up");
        }
    }
}

// === impl Budgets ===

impl Budgets {
    /// Opens the accounts with what the ledger knows.
    pub fn start(ledger: Ledger, specs: Vec<BudgetSpec>, now: Timestamp) -> Result<Arc<Self>, LedgerError> {
        let history = History::default();
        for line in ledger.recent_answers()? {
            history.answered(line.key.as_ref(), &line.model, &line.usage);
        }
        let budgets = Self { ledger, live: Mutex::new(Vec::new()), freed: Notify::new(), history };
        budgets.configure(specs, now)?;
        Ok(Arc::new(budgets))
    }

    /// Takes over new specs; an account whose scope, window and measure stay keeps what is spent and held.
    pub fn configure(&self, specs: Vec<BudgetSpec>, now: Timestamp) -> Result<(), LedgerError> {
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
            let spent = self.ledger.spent_since(&spec.scope.on_ledger(key_id.as_deref()), start.as_microsecond())?;
            let account = Account { limit: spec.limit, spent: spent.of(spec.measure), held: 0 };
            next.push(Live { spec, start, end, account, warned: false });
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
                account: live.account,
                on_exceeded: live.spec.on_exceeded,
                near: live.near().map(|used| (live.spec.window.word(), used)),
            })
            .collect()
    }

    /// Sets `amount` aside in every account that applies, or in none.
    pub fn hold(
        self: &Arc<Self>,
        principal: &Principal,
        tags: &[(String, String)],
        (model, location): (&ModelName, Location),
        amount: Amount,
        now: Timestamp,
    ) -> Result<Hold, Exceeded> {
        let mut live = self.live.lock();
        roll(&mut live, now);
        let counts = |live: &Live| live.counts(principal, tags, model, location);
        for account in live.iter().filter(|live| counts(live) && live.spec.on_exceeded.is_hard()) {
            account.account.fits(amount.of(account.spec.measure)).map_err(|why| account.exceeded(why))?;
        }
        let mut booked = Vec::new();
        for account in live.iter_mut().filter(|live| counts(live)) {
            // It fits, where it has to: the check above ran under the same lock.
            account.account.held = account.account.held.saturating_add(amount.of(account.spec.measure));
            let Live { spec: BudgetSpec { scope, window, measure, .. }, start, .. } = account;
            booked.push(Booking { scope: scope.clone(), window: *window, measure: *measure, start: *start });
        }
        Ok(Hold { budgets: self.clone(), amount, booked, settled: false })
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
        live.iter().map(state).collect()
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
        let mut live = self.live.lock();
        let mut found: Vec<&mut Live> =
            live.iter_mut().filter(|live| booked.iter().any(|booking| live.is(booking))).collect();
        let fits = |found: &[&mut Live], to: Amount| {
            let hard = found.iter().filter(|live| live.spec.on_exceeded.is_hard());
            let mut refused = hard.filter_map(|live| {
                let measure = live.spec.measure;
                live.account.grows(from.of(measure), to.of(measure)).err().map(|why| live.exceeded(why))
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
        let paid = self.budgets.grow(&self.booked, self.amount, (paid, wanted), &amounts)?;
        self.amount = amounts(paid);
        Ok(paid)
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

fn state(live: &Live) -> BudgetState {
    let Live { spec, account, .. } = live;
    BudgetState {
        scope: spec.scope.to_string(),
        window: spec.window,
        measure: spec.measure,
        on_exceeded: spec.on_exceeded,
        time_zone: spec.calendar.zone_name().to_owned(),
        since: live.start.to_string(),
        until: live.end.map(|end| end.to_string()),
        dollars: (spec.measure == Measure::Money).then(|| Dollars {
            limit_usd: NanoDollars(account.limit),
            spent_usd: NanoDollars(account.spent),
            held_usd: NanoDollars(account.held),
            left_usd: NanoDollars(account.left()),
        }),
        tokens: (spec.measure == Measure::Tokens).then(|| Tokens {
            limit_tokens: account.limit,
            spent_tokens: account.spent,
            held_tokens: account.held,
            left_tokens: account.left(),
        }),
        used: account.used(),
        warn_at: spec.warn_at,
    }
}

/// Begins windows anew whose end has come.
fn roll(live: &mut [Live], now: Timestamp) {
    for budget in live {
        if budget.end.is_some_and(|end| now >= end) {
            (budget.start, budget.end) = budget.spec.window.around(now, &budget.spec.calendar);
            budget.account = Account { limit: budget.account.limit, ..Account::default() };
            budget.warned = false;
        }
    }
}

#[cfg(test)]
mod tests;

//! Accounts of budgets, in memory, begun from the ledger.
//!
//! **Promise.** Money is set aside before a priced attempt is dialled and booked when it ends; checking and setting aside
//! is one step under one lock, so concurrent calls cannot pass a limit together. A [`Hold`] that is dropped without
//! being settled charges its ceiling.
//!
//! **Windows** begin at UTC midnight (day), Monday (week), the first (month), the full hour; they only ever move forward,
//! so a clock that steps back refills nothing.
//!
//! **What it does not do yet.** One process only; replicas share a limit through a store.

use crate::ledger::{Ledger, LedgerError, SpendScope};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use parking_lot::Mutex;
use policies::{Account, BudgetView, HoldError, ModelName, NanoDollars, OnExceeded, Principal};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Whose money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    Org,
    /// A team's.
    Team(String),
    /// A key's, by name or id.
    Key(String),
    /// A user's.
    User(String),
    /// A tag's.
    Tag(String, String),
    /// A model's.
    Model(ModelName),
}

/// How long a budget lasts before it begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The full hour.
    Hour,
    /// UTC midnight to midnight.
    Day,
    /// Monday to Monday.
    Week,
    /// The calendar month.
    Month,
    /// For good.
    Total,
}

/// A configured budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetSpec {
    /// Whose money.
    pub scope: Scope,
    /// How much.
    pub limit: NanoDollars,
    /// For how long.
    pub window: Window,
    /// What happens when it is gone.
    pub on_exceeded: OnExceeded,
}

struct Live {
    spec: BudgetSpec,
    start: Timestamp,
    end: Option<Timestamp>,
    account: Account,
}

/// All accounts.
pub struct Budgets {
    ledger: Ledger,
    live: Mutex<Vec<Live>>,
    freed: Notify,
}

/// Money set aside.
#[must_use = "a hold that is dropped charges its ceiling"]
pub struct Hold {
    budgets: Arc<Budgets>,
    amount: NanoDollars,
    booked: Vec<(Scope, Window, Timestamp)>,
    settled: bool,
}

/// A budget that does not suffice.
#[derive(Clone, Debug)]
pub struct Exceeded {
    /// Its scope as text.
    pub scope: String,
    /// Spent or only held.
    pub why: HoldError,
}

/// A budget as the admin API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct BudgetState {
    /// Its scope as text.
    pub scope: String,
    /// Its window.
    pub window: Window,
    /// Its policy.
    pub on_exceeded: OnExceeded,
    /// When the window began.
    pub since: String,
    /// When it ends; absent for `total`.
    pub until: Option<String>,
    /// The limit.
    pub limit_usd: NanoDollars,
    /// Settled spending.
    pub spent_usd: NanoDollars,
    /// Set aside for running calls.
    pub held_usd: NanoDollars,
    /// What is left.
    pub left_usd: NanoDollars,
}

// === impl Scope ===

impl Scope {
    /// Reads `org`, `team:NAME`, `key:NAME`, `user:NAME`, `tag:K=V` or `model:NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "org" {
            return Some(Self::Org);
        }
        let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty())?;
        Some(match kind {
            "team" => Self::Team(name.into()),
            "key" => Self::Key(name.into()),
            "user" => Self::User(name.into()),
            "model" => Self::Model(name.into()),
            "tag" => {
                let (key, value) = name.split_once('=')?;
                Self::Tag(key.into(), value.into())
            }
            _ => return None,
        })
    }

    fn covers(&self, principal: &Principal, tags: &[(String, String)]) -> bool {
        match self {
            Self::Org | Self::Model(_) => true,
            Self::Team(team) => principal.team.as_ref() == Some(team),
            Self::User(user) => principal.user.as_ref() == Some(user),
            Self::Key(key) => {
                principal.key_name.as_ref() == Some(key) || principal.key.as_ref().is_some_and(|id| id.as_str() == key)
            }
            Self::Tag(key, value) => tags.iter().any(|(name, tag)| name == key && tag == value),
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Org => f.write_str("org"),
            Self::Team(name) => write!(f, "team:{name}"),
            Self::Key(name) => write!(f, "key:{name}"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Tag(key, value) => write!(f, "tag:{key}={value}"),
            Self::Model(name) => write!(f, "model:{name}"),
        }
    }
}

// === impl Window ===

impl Window {
    /// Begin and end of the window that holds `now`.
    pub fn around(self, now: Timestamp) -> (Timestamp, Option<Timestamp>) {
        let utc = now.to_zoned(TimeZone::UTC);
        let day = utc.date();
        let first = match self {
            Self::Total => return (Timestamp::UNIX_EPOCH, None),
            Self::Hour => {
                let second = now.as_second();
                let start = second - second.rem_euclid(3_600);
                let at = |second: i64| Timestamp::from_second(second).unwrap_or(now);
                return (at(start), Some(at(start + 3_600)));
            }
            Self::Day => day,
            Self::Week => day.saturating_sub(i64::from(day.weekday().to_monday_zero_offset()).days()),
            Self::Month => day.first_of_month(),
        };
        let next = match self {
            Self::Month => first.saturating_add(1.month()),
            Self::Week => first.saturating_add(7.days()),
            Self::Day | Self::Hour | Self::Total => first.saturating_add(1.day()),
        };
        let midnight =
            |date: jiff::civil::Date| date.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).unwrap_or(now);
        (midnight(first), Some(midnight(next)))
    }
}

// === impl Budgets ===

impl Budgets {
    /// Opens the accounts with what the ledger knows.
    pub fn start(ledger: Ledger, specs: Vec<BudgetSpec>, now: Timestamp) -> Result<Arc<Self>, LedgerError> {
        let budgets = Self { ledger, live: Mutex::new(Vec::new()), freed: Notify::new() };
        budgets.configure(specs, now)?;
        Ok(Arc::new(budgets))
    }

    /// Takes over new specs; an account whose scope and window stay keeps what is spent and held.
    pub fn configure(&self, specs: Vec<BudgetSpec>, now: Timestamp) -> Result<(), LedgerError> {
        let keys = self.ledger.keys()?;
        let mut live = self.live.lock();
        let mut next: Vec<Live> = Vec::with_capacity(specs.len());
        for spec in specs {
            let known = live.iter().position(|old| old.spec.scope == spec.scope && old.spec.window == spec.window);
            if let Some(at) = known {
                let mut old = live.swap_remove(at);
                old.account.limit = spec.limit;
                old.spec = spec;
                next.push(old);
                continue;
            }
            let (start, end) = spec.window.around(now);
            let key_id = match &spec.scope {
                Scope::Key(name) => keys
                    .iter()
                    .find(|key| key.key.name == *name || key.id.as_str() == name)
                    .map(|key| key.id.as_str().to_owned()),
                Scope::Org | Scope::Team(_) | Scope::User(_) | Scope::Tag(..) | Scope::Model(_) => None,
            };
            let spent =
                self.ledger.spent_since(&spend_scope(&spec.scope, key_id.as_deref()), start.as_microsecond())?;
            let account = Account { limit: spec.limit, spent, held: NanoDollars::ZERO };
            next.push(Live { spec, start, end, account });
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
                only_model: only_model(&live.spec.scope),
                account: live.account,
                on_exceeded: live.spec.on_exceeded,
            })
            .collect()
    }

    /// Sets `amount` aside in every account that applies, or in none.
    pub fn hold(
        self: &Arc<Self>,
        principal: &Principal,
        tags: &[(String, String)],
        model: &ModelName,
        amount: NanoDollars,
        now: Timestamp,
    ) -> Result<Hold, Exceeded> {
        let mut live = self.live.lock();
        roll(&mut live, now);
        let counts = |live: &Live| {
            live.spec.scope.covers(principal, tags) && only_model(&live.spec.scope).is_none_or(|only| only == *model)
        };
        for account in live.iter().filter(|live| counts(live)) {
            account.account.fits(amount).map_err(|why| Exceeded { scope: account.spec.scope.to_string(), why })?;
        }
        let mut booked = Vec::new();
        for account in live.iter_mut().filter(|live| counts(live)) {
            // It fits: the check above ran under the same lock.
            if account.account.hold(amount).is_ok() {
                booked.push((account.spec.scope.clone(), account.spec.window, account.start));
            }
        }
        Ok(Hold { budgets: self.clone(), amount, booked, settled: false })
    }

    /// Waits until some held money was released, or the time is over.
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
        live.iter()
            .map(|live| BudgetState {
                scope: live.spec.scope.to_string(),
                window: live.spec.window,
                on_exceeded: live.spec.on_exceeded,
                since: live.start.to_string(),
                until: live.end.map(|end| end.to_string()),
                limit_usd: live.account.limit,
                spent_usd: live.account.spent,
                held_usd: live.account.held,
                left_usd: live.account.left(),
            })
            .collect()
    }

    fn settle(&self, booked: &[(Scope, Window, Timestamp)], held: NanoDollars, cost: NanoDollars) {
        let mut live = self.live.lock();
        for (scope, window, start) in booked {
            let account = live.iter_mut().find(|live| live.spec.scope == *scope && live.spec.window == *window);
            // A window that has ended meanwhile took its holds with it.
            if let Some(account) = account.filter(|live| live.start == *start) {
                account.account.settle(held, cost);
            }
        }
        drop(live);
        self.freed.notify_waiters();
    }
}

// === impl Hold ===

impl Hold {
    /// Books what it cost and releases the rest.
    pub fn settle(mut self, cost: NanoDollars) {
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

fn only_model(scope: &Scope) -> Option<ModelName> {
    match scope {
        Scope::Model(model) => Some(model.clone()),
        Scope::Org | Scope::Team(_) | Scope::Key(_) | Scope::User(_) | Scope::Tag(..) => None,
    }
}

fn spend_scope(scope: &Scope, key_id: Option<&str>) -> SpendScope {
    match scope {
        Scope::Org => SpendScope::Everything,
        Scope::Team(team) => SpendScope::Team(team.clone()),
        Scope::Key(key) => SpendScope::Key(key_id.unwrap_or(key).to_owned()),
        Scope::User(user) => SpendScope::User(user.clone()),
        Scope::Tag(key, value) => SpendScope::Tag(key.clone(), value.clone()),
        Scope::Model(model) => SpendScope::Model(model.as_str().to_owned()),
    }
}

/// Begins windows anew whose end has come.
fn roll(live: &mut [Live], now: Timestamp) {
    for budget in live {
        if budget.end.is_some_and(|end| now >= end) {
            (budget.start, budget.end) = budget.spec.window.around(now);
            budget.account = Account { limit: budget.account.limit, ..Account::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Durability;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn budgets(limit: u64, window: Window) -> (tempfile::TempDir, Arc<Budgets>) {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::start(&folder.path().join("l.db"), Durability::Process).unwrap();
        let spec = BudgetSpec { scope: Scope::Org, limit: NanoDollars(limit), window, on_exceeded: OnExceeded::Refuse };
        let budgets = Budgets::start(ledger, vec![spec], at("2026-02-28T23:30:00Z")).unwrap();
        (folder, budgets)
    }

    #[test]
    fn windows_begin_where_calendars_do() {
        for (window, now, start, end) in [
            (Window::Hour, "2026-03-01T10:59:59Z", "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z"),
            (Window::Day, "2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
            (Window::Week, "2026-03-01T10:00:00Z", "2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z"),
            (Window::Month, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(window.around(at(now)), (at(start), Some(at(end))), "{window:?}");
        }
    }

    #[test]
    fn a_dropped_hold_charges_its_ceiling_and_a_clock_that_steps_back_refills_nothing() {
        let (_folder, budgets) = budgets(100, Window::Month);
        let principal = Principal::default();
        let hold = |amount, now: &str| budgets.hold(&principal, &[], &"m".into(), NanoDollars(amount), at(now));
        drop(hold(60, "2026-02-28T23:40:00Z").unwrap());
        assert_eq!(hold(50, "2026-02-28T23:50:00Z").err().unwrap().why, HoldError::Spent);
        hold(50, "2026-03-01T00:00:00Z").unwrap().settle(NanoDollars(50));
        assert!(hold(60, "2026-02-28T23:59:00Z").is_err());
    }

    #[test]
    fn many_at_once_never_pass_the_limit() {
        let (_folder, budgets) = budgets(1_000, Window::Total);
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let budgets = budgets.clone();
                std::thread::spawn(move || {
                    let mut won = 0;
                    for _ in 0..200 {
                        let now = at("2026-02-28T23:40:00Z");
                        if let Ok(hold) = budgets.hold(&Principal::default(), &[], &"m".into(), NanoDollars(100), now) {
                            hold.settle(NanoDollars(100));
                            won += 1;
                        }
                    }
                    won
                })
            })
            .collect();
        let won: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!((won, budgets.states(Timestamp::now())[0].left_usd.0), (10, 0));
    }
}

//! One account in its window.

use super::accounts::Life;
use super::scope::Scope;
use super::window::Window;
use super::{BudgetSpec, Exceeded};
use crate::ledger::SpendScope;
use jiff::Timestamp;
use policies::{Account, HoldError, Location, Measure, ModelName, Principal};

pub(super) struct Live {
    pub(super) spec: BudgetSpec,
    /// As the ledger looks it up.
    pub(super) lines: SpendScope,
    pub(super) start: Timestamp,
    pub(super) end: Option<Timestamp>,
    /// What this process has spent and holds; alone, that is all there is.
    pub(super) account: Account,
    /// It was said in this window.
    pub(super) warned: bool,
    /// Where replicas share it: how much this process may spend in the window, what it has spent included.
    pub(super) slice: u64,
    /// The life in which the slice was taken; 0: there is none yet.
    pub(super) life: u64,
    /// What the others have spent, and what they have spent and may spend.
    pub(super) others: (u64, u64),
    /// Something was set aside since the slice was last looked at.
    pub(super) busy: bool,
}

/// An account that a hold is booked in, and in which of its windows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Booking {
    pub(super) scope: Scope,
    window: Window,
    pub(super) measure: Measure,
    start: Timestamp,
    life: u64,
}

// === impl Live ===

impl Live {
    pub(super) fn new(
        spec: BudgetSpec,
        lines: SpendScope,
        (start, end): (Timestamp, Option<Timestamp>),
        account: Account,
    ) -> Self {
        Self { spec, lines, start, end, account, warned: false, slice: 0, life: 0, others: (0, 0), busy: false }
    }

    pub(super) fn counts(
        &self,
        principal: &Principal,
        tags: &[(String, String)],
        model: &ModelName,
        location: Location,
    ) -> bool {
        let only = self.spec.scope.only_model();
        self.spec.scope.covers(principal, tags) && policies::counts(only, self.spec.measure, model, location)
    }

    pub(super) fn booking(&self) -> Booking {
        let BudgetSpec { scope, window, measure, .. } = &self.spec;
        Booking { scope: scope.clone(), window: *window, measure: *measure, start: self.start, life: self.life }
    }

    pub(super) fn is(&self, booking: &Booking) -> bool {
        self.spec.scope == booking.scope
            && self.spec.window == booking.window
            && self.spec.measure == booking.measure
            // A window that has ended meanwhile took its holds with it, and so did a life.
            && self.start == booking.start
            // What was booked before the first slice was, which only a soft budget lets happen, stays.
            && (self.life == booking.life || booking.life == 0)
    }

    /// Where it stands, everybody taken together. What others may spend counts as held.
    pub(super) fn seen(&self) -> Account {
        let Account { limit, spent, held } = self.account;
        let (their_spent, theirs) = self.others;
        Account {
            limit,
            spent: spent.saturating_add(their_spent),
            held: held.saturating_add(theirs.saturating_sub(their_spent)),
        }
    }

    /// What this process may decide by; `None`: it may not.
    fn own(&self, life: Life) -> Option<Account> {
        match life {
            Life::Alone => Some(self.account),
            Life::Of(life) if life == self.life => Some(Account { limit: self.slice, ..self.account }),
            Life::Of(_) | Life::Over => None,
        }
    }

    /// Whether `amount` can be set aside beside the rest.
    pub(super) fn fits(&self, amount: u64, life: Life) -> Result<(), HoldError> {
        let fits = self.own(life).is_some_and(|own| own.fits(amount).is_ok());
        // What only the slice lacks may come with more of it.
        if fits { Ok(()) } else { Err(self.seen().fits(amount).err().unwrap_or(HoldError::Held)) }
    }

    /// Whether what is held as `from` can become `to`.
    pub(super) fn grows(&self, from: u64, to: u64, life: Life) -> Result<(), HoldError> {
        let grows = self.own(life).is_some_and(|own| own.grows(from, to).is_ok());
        if grows { Ok(()) } else { Err(self.seen().grows(from, to).err().unwrap_or(HoldError::Held)) }
    }

    pub(super) fn exceeded(&self, why: HoldError) -> Exceeded {
        Exceeded { scope: self.spec.scope.to_string(), why, on_exceeded: self.spec.on_exceeded }
    }

    /// How much is used, where that is worth saying.
    pub(super) fn near(&self) -> Option<f64> {
        let used = self.seen().used();
        let from = self.spec.warn_at.or((!self.spec.on_exceeded.is_hard()).then_some(1.0))?;
        (used >= from).then_some(used)
    }

    /// Says once a window that it is nearly used up.
    pub(super) fn warn(&mut self) {
        if let (false, Some(used)) = (self.warned, self.near()) {
            self.warned = true;
            let (budget, window) = (self.spec.scope.to_string(), self.spec.window.word());
            let percent = (used * 100.0).floor();
            tracing::warn!(budget, window, percent, policy = %self.spec.on_exceeded, "a budget is nearly used up");
        }
    }

    /// Begins anew: in another window, or in another life.
    pub(super) fn reset(&mut self) {
        self.account = Account { limit: self.account.limit, ..Account::default() };
        (self.slice, self.life, self.others, self.busy) = (0, 0, (0, 0), false);
    }
}

/// Begins windows anew whose end has come.
pub(super) fn roll(live: &mut [Live], now: Timestamp) {
    for budget in live {
        if budget.end.is_some_and(|end| now >= end) {
            (budget.start, budget.end) = budget.spec.window.around(now, &budget.spec.calendar);
            budget.reset();
            budget.warned = false;
        }
    }
}

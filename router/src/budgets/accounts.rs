//! Everything about accounts that has to be one step: setting aside, growing, settling, and what becomes of a slice.
//!
//! **Promise.** Each of these reads and changes all accounts that it is about under one lock, so that no order of them, and no
//! end of a lease in between, lets more be spent than there is.
//!
//! **How that is checked.** The lock and the word of who keeps the limits are parameters, with the usual ones by default: the
//! tests (`interleavings`) put shuttle's in their place, and run this very code in very many orders.
//!
//! **What it does not do.** It waits for nobody and asks no store.

use super::live::{Booking, Live, roll};
use super::{Exceeded, Keeper};
use jiff::Timestamp;
use parking_lot::Mutex;
use policies::{Amount, HoldError, OnExceeded};
use std::sync::Arc;
use tokio::sync::Notify;

/// By what is decided whether something fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Alone,
    /// By slices that were taken in that life.
    Of(u64),
    /// The lease has run out.
    Over,
}

/// Says under which lease may be spent now.
pub(super) trait Lives {
    fn life(&self) -> Life;
}

/// A lock around something.
pub(super) trait Guards<T> {
    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R;
}

/// The accounts of a process, and who keeps their limits.
pub(super) struct Accounts<K = Keeper, L = Mutex<Vec<Live>>> {
    pub(super) keeper: K,
    pub(super) live: L,
    /// Something held was released.
    pub(super) freed: Notify,
}

/// What is set aside for one attempt, in every account that applies.
#[must_use = "what is dropped is charged"]
pub(super) struct Booked<K: Lives = Keeper, L: Guards<Vec<Live>> = Mutex<Vec<Live>>> {
    accounts: Arc<Accounts<K, L>>,
    amount: Amount,
    pub(super) bookings: Vec<Booking>,
    /// The life in which it was set aside.
    pub(super) life: Life,
    settled: bool,
}

// === impl Lives ===

impl Lives for Keeper {
    fn life(&self) -> Life {
        match self {
            Self::Alone | Self::Onlooker => Life::Alone,
            Self::Shared(shared) => shared.life().map_or(Life::Over, Life::Of),
        }
    }
}

// === impl Guards ===

impl<T> Guards<T> for Mutex<T> {
    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.lock())
    }
}

// === impl Accounts ===

impl<K: Lives, L: Guards<Vec<Live>> + Default> Accounts<K, L> {
    pub(super) fn new(keeper: K) -> Self {
        Self { keeper, live: L::default(), freed: Notify::new() }
    }
}

impl<K: Lives, L: Guards<Vec<Live>>> Accounts<K, L> {
    pub(super) fn life(&self) -> Life {
        self.keeper.life()
    }

    /// Whether what was set aside in that life may still be spent.
    pub(super) fn is_good(&self, life: Life) -> bool {
        life != Life::Over && life == self.life()
    }

    /// Sets `amount` aside in every account that counts, or in none.
    pub(super) fn hold(
        self: &Arc<Self>,
        counts: impl Fn(&Live) -> bool,
        amount: Amount,
        now: Timestamp,
    ) -> Result<Booked<K, L>, Exceeded> {
        let (bookings, life) = self.live.with(|live| {
            let life = self.life();
            roll(live, now);
            for account in live.iter().filter(|live| counts(live) && live.spec.on_exceeded.is_hard()) {
                account.fits(amount.of(account.spec.measure), life).map_err(|why| account.exceeded(why))?;
            }
            let mut bookings = Vec::new();
            for account in live.iter_mut().filter(|live| counts(live)) {
                // It fits, where it has to: the check above ran under the same lock.
                account.account.held = account.account.held.saturating_add(amount.of(account.spec.measure));
                account.busy = true;
                bookings.push(account.booking());
            }
            Ok((bookings, life))
        })?;
        Ok(Booked { accounts: self.clone(), amount, bookings, life, settled: false })
    }

    fn settle(&self, booked: &[Booking], held: Amount, cost: Amount) {
        self.live.with(|live| {
            for booking in booked {
                if let Some(account) = live.iter_mut().find(|live| live.is(booking)) {
                    account.account.settle(held.of(booking.measure), cost.of(booking.measure));
                    account.warn();
                }
            }
        });
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
        self.live.with(|live| {
            let life = self.life();
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
        })
    }
}

// === impl Booked ===

impl<K: Lives, L: Guards<Vec<Live>>> Booked<K, L> {
    pub(super) fn amount(&self) -> Amount {
        self.amount
    }

    /// See [`super::Hold::is_good`].
    pub(super) fn is_good(&self) -> bool {
        self.bookings.is_empty() || self.accounts.is_good(self.life)
    }

    /// See [`super::Hold::grow`].
    pub(super) fn grow(&mut self, paid: u64, wanted: u64, amounts: impl Fn(u64) -> Amount) -> Result<u64, Exceeded> {
        if let (false, Some(booking)) = (self.is_good(), self.bookings.first()) {
            let on_exceeded = OnExceeded::Refuse;
            return Err(Exceeded { scope: booking.scope.to_string(), why: HoldError::Held, on_exceeded });
        }
        let paid = self.accounts.grow(&self.bookings, self.amount, (paid, wanted), &amounts)?;
        self.amount = amounts(paid);
        Ok(paid)
    }

    /// See [`super::Hold::settle`].
    pub(super) fn settle(mut self, cost: Amount) {
        self.settled = true;
        self.accounts.settle(&self.bookings, self.amount, cost);
    }
}

impl<K: Lives, L: Guards<Vec<Live>>> Drop for Booked<K, L> {
    fn drop(&mut self) {
        if !self.settled {
            self.accounts.settle(&self.bookings, self.amount, self.amount);
        }
    }
}

//! Accounts that replicas share: how their slices are asked for, looked after and given back.
//!
//! A slice is asked for where a hold does not fit, one request at a time, since the first one's may do for the next. Every
//! quarter of the lease it is renewed, and every account is looked at: what nobody used since the last look is given back.

use super::accounts::{Accounts, Guards, Lives};
use super::live::{Booking, Live, roll};
use super::{Budgets, Keeper};
use crate::ledger::{LedgerError, SpendScope};
use crate::replicas::{Renewed, Shared, Slice, SliceState, Unanswered, Wanted};
use jiff::Timestamp;
use policies::{Account, Amount, Measure};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// A lease is renewed so often while it runs.
const RENEWALS: u32 = 4;
/// Accounts that nobody uses are looked at in every so many-th renewal only.
const SELDOM: usize = 8;

/// Why an account could not be changed.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] Unanswered),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What becomes of a slice.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reach {
    /// It is given back as far as it is not used.
    Back,
    /// It stays, as far ahead of what is used as the budget has it.
    Keep,
    /// It reaches so much further.
    More(u64),
}

/// An account, as it is taken along while the lock is open.
struct Seen {
    measure: Measure,
    name: String,
    lines: SpendScope,
    start: Timestamp,
    end: Option<Timestamp>,
    account: Account,
    life: u64,
}

// === impl Seen ===

impl Seen {
    fn of(live: &Live) -> Self {
        let measure = match live.spec.measure {
            Measure::Money => "usd",
            Measure::Tokens => "tokens",
        };
        let (scope, window, start) = (&live.spec.scope, live.spec.window.word(), live.start.as_millisecond());
        Self {
            measure: live.spec.measure,
            name: format!("{window}:{measure}:{}:{start}:{scope}", live.spec.calendar.zone_name()),
            lines: live.lines.clone(),
            start: live.start,
            end: live.end,
            account: live.account,
            life: live.life,
        }
    }

    /// What is asked of the store, where `spent` is more than is known here.
    fn wanted(&self, spent: u64, reach: Reach) -> Wanted {
        let Account { limit, held, .. } = self.account;
        let used = spent.saturating_add(held);
        let reach = match reach {
            Reach::Back => None,
            Reach::Keep => Some(used),
            Reach::More(more) => Some(used.saturating_add(more)),
        };
        Wanted { limit, spent, held, reach }
    }
}

// === impl Accounts: slices ===

impl<K: Lives, L: Guards<Vec<Live>>> Accounts<K, L> {
    /// Begins a change of an account's slice; `None`: there is nothing to change. What is given back is gone from here on,
    /// before the store is told: whether it hears of it nobody knows.
    fn begin(&self, booking: &Booking, reach: Reach, life: u64) -> Option<Seen> {
        self.live.with(|live| {
            // It may have ended or changed since it was chosen.
            let live = live.iter_mut().find(|live| live.is(booking))?;
            if reach == Reach::Back && live.life == life {
                if live.busy {
                    return None;
                }
                live.slice = live.account.spent.saturating_add(live.account.held);
            }
            Some(Seen::of(live))
        })
    }

    /// Ends it with what the store says.
    fn end(&self, booking: &Booking, seen: &Seen, (life, spent): (u64, u64), state: &SliceState) {
        self.live.with(|live| {
            let Some(live) = live.iter_mut().find(|live| live.is(booking)) else { return };
            if live.life != life {
                live.account.spent = live.account.spent.saturating_add(spent.saturating_sub(seen.account.spent));
                live.life = life;
            }
            live.slice = state.slice;
            let theirs = state.total.saturating_sub(state.slice);
            live.others = (state.spent.saturating_sub(spent).min(theirs), theirs);
            live.warn();
        });
    }
}

// === impl Budgets: slices ===

impl Budgets {
    /// Renews the lease until `ended`, and leaves then. Alone it does nothing.
    pub async fn keep(self: Arc<Self>, ended: CancellationToken) {
        let Keeper::Shared(shared) = &self.accounts.keeper else { return };
        let mut tick = interval(shared.lease() / RENEWALS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = 0;
        loop {
            tokio::select! {
                () = ended.cancelled() => break,
                _ = tick.tick() => {}
            }
            self.renew().await;
            self.look(shared, turn).await;
            turn += 1;
        }
        if let Err(error) = shared.leave().await {
            tracing::warn!(error = %error, "cannot leave: the slices come back when the lease has run out");
        }
    }

    /// Joins, or renews the lease; says whether anything may be spent. Alone that is always so.
    pub async fn renew(&self) -> bool {
        let Keeper::Shared(shared) = &self.accounts.keeper else { return true };
        match self.renewed(shared).await {
            Ok(Renewed::Runs) => true,
            Ok(Renewed::Closed | Renewed::Void) => false,
            Err(error) => {
                tracing::warn!(error = %error, "the lease on the budgets that replicas share cannot be renewed");
                false
            }
        }
    }

    async fn renewed(&self, shared: &Shared) -> Result<Renewed, Trouble> {
        let known = shared.member();
        let renewed = match known {
            Some(_) => shared.renew().await?,
            None => shared.join(self.ledger.instance(), self.closed(shared)).await?,
        };
        if renewed != Renewed::Void {
            return Ok(renewed);
        }
        tracing::warn!("the lease on shared budgets had run out, or their store is another one: joining anew");
        let name = self.ledger.rename().await?;
        self.accounts.live.lock().iter_mut().for_each(Live::reset);
        Ok(shared.join(name, self.closed(shared)).await?)
    }

    /// How long a store that is empty stays closed: as long as leases may run that it has forgotten.
    fn closed(&self, shared: &Shared) -> Duration {
        match self.ledger.is_alone(shared.lease()) {
            Ok(true) => Duration::ZERO,
            Ok(false) | Err(_) => shared.lease(),
        }
    }

    /// Looks after every account: gives back what was not used, and learns what the others have.
    async fn look(&self, shared: &Shared, turn: usize) {
        let Some(life) = shared.life() else { return };
        let due: Vec<(Booking, Reach)> = {
            let mut live = self.accounts.live.lock();
            roll(&mut live, Timestamp::now());
            let due = live.iter_mut().enumerate().filter_map(|(at, live)| {
                let Account { spent, held, .. } = live.account;
                let busy = live.busy;
                let used = live.life != life || busy || live.slice > spent.saturating_add(held) || held > 0;
                if !used && !(turn + at).is_multiple_of(SELDOM) {
                    return None;
                }
                live.busy = false;
                Some((live.booking(), if busy { Reach::Keep } else { Reach::Back }))
            });
            due.collect()
        };
        for (booking, reach) in due {
            let _turn = self.turn.lock().await;
            if let Err(error) = self.change(shared, &booking, reach).await {
                tracing::warn!(error = %error, "cannot look after shared budgets");
                return;
            }
        }
        self.accounts.freed.notify_waiters();
    }

    /// Asks for more of every account that matches and lacks something for `amount`, of which `from` is held already.
    pub(super) async fn reach(&self, matches: impl Fn(&Live) -> bool, amount: Amount, from: Option<Amount>) {
        let Keeper::Shared(shared) = &self.accounts.keeper else { return };
        let _turn = self.turn.lock().await;
        let life = self.accounts.life();
        let short: Vec<(Booking, Reach)> = {
            let live = self.accounts.live.lock();
            let hard = live.iter().filter(|live| matches(live) && live.spec.on_exceeded.is_hard());
            let short = hard.filter_map(|live| {
                let (wanted, from) = (amount.of(live.spec.measure), from.map(|from| from.of(live.spec.measure)));
                let lacks = match from {
                    None => live.fits(wanted, life),
                    Some(from) => live.grows(from, wanted, life),
                };
                let more = Reach::More(wanted.saturating_sub(from.unwrap_or(0)));
                lacks.err().map(|_| (live.booking(), more))
            });
            short.collect()
        };
        for (booking, reach) in short {
            if let Err(error) = self.change(shared, &booking, reach).await {
                // Every call comes here while the store is away; that it is away the renewal says.
                tracing::debug!(error = %error, "cannot ask for more of a shared budget");
                return;
            }
        }
    }

    /// Changes a slice, in the caller's turn.
    async fn change(&self, shared: &Shared, booking: &Booking, reach: Reach) -> Result<(), Trouble> {
        let Some(life) = shared.life() else { return Ok(()) };
        let Some(seen) = self.accounts.begin(booking, reach, life) else { return Ok(()) };
        // The first time: what this process has committed under its name is its own from the start.
        let committed = if seen.life == life { None } else { Some(self.committed(&seen)?) };
        let own = committed.iter().flatten().find(|(name, _)| Some(name) == shared.member().as_ref());
        let spent = seen.account.spent.max(own.map_or(0, |(_, own)| *own).saturating_sub(seen.account.held));
        let wanted = seen.wanted(spent, reach);
        let mut state = match shared.slice(&seen.name, wanted.clone()).await? {
            Slice::Is(state) => state,
            Slice::Void => return Ok(()),
            Slice::Unknown => {
                let Some(known) = committed else {
                    // It was there: the store forgets, so what it still knows is worth nothing either.
                    tracing::error!(account = seen.name, "the store forgot a shared budget: it begins anew");
                    return Ok(shared.abandon().await?);
                };
                shared.seed(&seen.name, seen.end.map(|end| end.as_millisecond()), known).await?;
                match shared.slice(&seen.name, wanted.clone()).await? {
                    Slice::Is(state) => state,
                    Slice::Void | Slice::Unknown => return Ok(()),
                }
            }
        };
        if !state.gone.is_empty() {
            // Asked after they were buried: every line of theirs that was dialled is on the ledger.
            let known = self.committed(&seen)?;
            for gone in std::mem::take(&mut state.gone) {
                let amount = known.iter().find(|(name, _)| *name == gone).map_or(0, |(_, amount)| *amount);
                tracing::info!(replica = gone, account = seen.name, amount, "what a gone replica has spent is booked");
                shared.retire(&seen.name, gone, amount).await?;
            }
            if let Slice::Is(after) = shared.slice(&seen.name, wanted).await? {
                state = after;
            }
        }
        self.accounts.end(booking, &seen, (life, spent), &state);
        Ok(())
    }

    /// What instances have committed in an account's window, in its measure; what none claims stands under no name.
    fn committed(&self, seen: &Seen) -> Result<Vec<(String, u64)>, LedgerError> {
        let sums = self.ledger.committed_since(&seen.lines, seen.start.as_microsecond())?;
        let units = |(name, amount): (Option<String>, Amount)| (name.unwrap_or_default(), amount.of(seen.measure));
        Ok(sums.into_iter().map(units).collect())
    }
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;

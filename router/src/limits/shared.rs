//! Buckets that replicas share: taken from in the store, mirrored here.

use super::{Charge, Limits, Live, OverLimit, TokensWanted, needs};
use crate::replicas::{Asked, Take};
use policies::{Bucket, Principal};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

// === impl Limits: shared ===

impl Limits {
    /// Takes a request and its tokens from every bucket that applies, or from none; `None`: no limit applies.
    ///
    /// # Errors
    /// The limit that refuses.
    ///
    /// # Cancel safety
    /// A dropped future may have taken them.
    pub async fn enter(
        self: &Arc<Self>,
        principal: &Principal,
        wanted: TokensWanted,
        now: Instant,
    ) -> Result<Option<Charge>, OverLimit> {
        let Some(shared) = self.shared.as_ref().filter(|_| self.apply_to(principal)) else {
            return self.enter_here(principal, wanted, now);
        };
        let (tokens, takes) = {
            let mut live = self.live.lock();
            let tokens = live.tokens(principal, wanted);
            (tokens, live.takes(principal, |bucket| (needs(bucket, tokens), 0)))
        };
        if takes.iter().any(|take| take.units > take.amount) {
            // It never fits: that needs no asking.
            return self.enter_here(principal, wanted, now);
        }
        let (fits, taken) = match shared.take(Asked::Enter, takes.clone()).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(error = %error, "rate limits are counted by this replica alone");
                return self.enter_here(principal, wanted, now);
            }
        };
        let (mut live, now) = (self.live.lock(), self.since_start(now));
        live.told(principal, &takes, &taken, now);
        match live.over(principal, tokens, now) {
            Some(over) if !fits => Err(over),
            _ => Ok(Some(self.charge(principal, tokens))),
        }
    }
}

// === impl Live: shared ===

impl Live {
    /// What is asked of the shared buckets of a caller, in the order of [`Live::each`].
    pub(super) fn takes(&mut self, principal: &Principal, units: impl Fn(&Bucket) -> (u64, u64)) -> Vec<Take> {
        let mut takes = Vec::new();
        self.each(principal, |bucket, team| {
            let limit = bucket.limit();
            let owner = match (team, &principal.key) {
                (Some(team), _) => format!("team:{team}"),
                (None, Some(key)) => format!("key:{key}"),
                (None, None) => "nobody".to_owned(),
            };
            let (units, before) = units(bucket);
            takes.push(Take {
                bucket: format!("{}:{}:{owner}", limit.measure.word(), limit.period.word()),
                amount: limit.amount,
                period_ms: u64::try_from(limit.period.length().as_millis()).unwrap_or(u64::MAX),
                units,
                before,
            });
        });
        takes
    }

    /// Takes over what the store says of the buckets that were asked for.
    fn told(&mut self, principal: &Principal, takes: &[Take], taken: &[u64], now: Duration) {
        let mut at = 0;
        self.each(principal, |bucket, _| {
            // A reload may have changed which there are: then the next answer sets them right.
            let asked = takes.get(at).is_some_and(|take| take.amount == bucket.limit().amount);
            if let (true, Some(taken)) = (asked, taken.get(at)) {
                bucket.told(*taken, now);
            }
            at += 1;
        });
    }
}

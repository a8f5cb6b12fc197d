//! Rate limits of keys and teams: requests and tokens in a time.
//!
//! **Promise.** A request takes from every bucket that applies to it, or from none and is refused with the time after which
//! it fits if nobody else takes it. What it took in tokens is an estimate, put right when its answer has ended
//! ([`Charge::settle`]); without an answer the tokens come back.
//!
//! **Why not the crate `governor`.** Its limiter decides and takes in one step and keeps its state to itself. Taking from
//! several buckets together, giving back, owing, and looking without taking would all have been built around it, in a state
//! store of our own; what would have remained of it is one comparison.
//!
//! **Failure behaviour.** Nothing here waits or fails. What a call uses above its estimate is owed, and the bucket fills
//! from there; so a burst of calls with long answers passes a limit once, by what was underestimated.
//!
//! **Replicas** share buckets through a store ([`crate::replicas`]): each request takes from them there, in one step, and what
//! is kept here is what the store last said. While it does not answer each replica counts by itself from there, so that
//! together they let more through, to the local side: hosted traffic ends with the leases on budgets.
//!
//! **What it does not do.** Buckets of one process are in its memory: they are full after a restart.

mod shared;

use crate::replicas::{Asked, Shared, SharedBuckets};
use parking_lot::Mutex;
use policies::{Bucket, KeyId, Metered, Principal, RateLimit, Short};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Which limits there are.
#[derive(Clone, Debug, Default)]
pub struct LimitSpecs {
    /// Of each key, and of callers without one together; a key's own limits of a measure take their place.
    pub every_key: Vec<RateLimit>,
    /// Of keys.
    pub keys: Vec<(KeyId, Vec<RateLimit>)>,
    /// Of teams, all keys of a team together.
    pub teams: Vec<(String, Vec<RateLimit>)>,
}

/// Tokens that a request is taken to need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokensWanted {
    /// Of the prompt, estimated, and of the answer, where the client names a ceiling.
    pub stated: u64,
    /// Of an answer without a ceiling: a guess, which never makes a request too large by itself.
    pub guessed: u64,
}

/// All buckets.
pub struct Limits {
    start: Instant,
    /// Whether there is any bucket: without one nobody takes the lock.
    any: AtomicBool,
    live: Mutex<Live>,
    shared: Option<SharedBuckets>,
}

#[derive(Default)]
struct Live {
    /// By key; `None`: callers without one.
    keys: HashMap<Option<KeyId>, Vec<Bucket>>,
    teams: HashMap<String, Vec<Bucket>>,
}

/// Why a request may not run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverLimit {
    /// The limit that refuses; of several the one that does so the longest.
    pub limit: RateLimit,
    /// The team whose limit it is; `None`: the key's own.
    pub team: Option<String>,
    /// How much of it the request needs.
    pub needs: u64,
    /// When it fits, if nobody else takes it; `None`: never, it is more than the whole.
    pub retry_after: Option<Duration>,
}

/// What a request took; clones are the same.
///
/// Dropped without having been settled, it gives its tokens back: there was no answer.
#[derive(Clone, Debug)]
pub struct Charge(Arc<Taken>);

struct Taken {
    limits: Arc<Limits>,
    key: Option<KeyId>,
    team: Option<String>,
    tokens: u64,
    settled: AtomicBool,
}

/// Where a caller stands with one measure: the bucket that has the least left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Of what.
    pub measure: Metered,
    /// The whole bucket.
    pub limit: u64,
    /// What is left.
    pub remaining: u64,
    /// The time until it is full.
    pub reset: Duration,
}

// === impl Limits ===

impl Limits {
    /// Begins with full buckets.
    pub fn new(specs: &LimitSpecs) -> Arc<Self> {
        Self::with(specs, None)
    }

    /// Buckets that replicas share.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn shared(specs: &LimitSpecs, shared: &Shared) -> Result<Arc<Self>, std::io::Error> {
        Ok(Self::with(specs, Some(shared.buckets()?)))
    }

    fn with(specs: &LimitSpecs, shared: Option<SharedBuckets>) -> Arc<Self> {
        let limits = Self { start: Instant::now(), any: AtomicBool::new(false), live: Mutex::default(), shared };
        limits.configure(specs);
        Arc::new(limits)
    }

    /// Takes over new limits; a bucket whose owner, measure and period stay keeps what was taken.
    pub fn configure(&self, specs: &LimitSpecs) {
        let mut live = self.live.lock();
        let of_keys = specs.keys.iter().map(|(key, own)| {
            let default = |limit: &&RateLimit| own.iter().all(|known| known.measure != limit.measure);
            let limits = own.iter().chain(specs.every_key.iter().filter(default)).copied().collect();
            (Some(key.clone()), limits)
        });
        let of_keys: Vec<_> = of_keys.chain([(None, specs.every_key.clone())]).collect();
        live.keys = poured(std::mem::take(&mut live.keys), of_keys);
        live.teams = poured(std::mem::take(&mut live.teams), specs.teams.clone());
        self.any.store(!live.keys.is_empty() || !live.teams.is_empty(), Ordering::Release);
    }

    /// Whether any limit applies to a caller.
    pub fn apply_to(&self, principal: &Principal) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let live = self.live.lock();
        live.keys.contains_key(&principal.key)
            || principal.team.as_ref().is_some_and(|team| live.teams.contains_key(team))
    }

    fn charge(self: &Arc<Self>, principal: &Principal, tokens: u64) -> Charge {
        let (key, team) = (principal.key.clone(), principal.team.clone());
        Charge(Arc::new(Taken { limits: self.clone(), key, team, tokens, settled: AtomicBool::new(false) }))
    }

    /// As [`Limits::enter`], from what this process has.
    ///
    /// # Errors
    /// The limit that refuses.
    pub fn enter_here(
        self: &Arc<Self>,
        principal: &Principal,
        wanted: TokensWanted,
        now: Instant,
    ) -> Result<Option<Charge>, OverLimit> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(None);
        }
        let (mut live, now) = (self.live.lock(), self.since_start(now));
        let tokens = live.tokens(principal, wanted);
        if let Some(over) = live.over(principal, tokens, now) {
            return Err(over);
        }
        let mut any = false;
        live.each(principal, |bucket, _| {
            any = true;
            bucket.take(needs(bucket, tokens), now);
        });
        drop(live);
        Ok(any.then(|| self.charge(principal, tokens)))
    }

    /// What would refuse the smallest request there is; nothing is taken.
    pub fn refuses_all(&self, principal: &Principal, now: Instant) -> Option<OverLimit> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let now = self.since_start(now);
        self.live.lock().over(principal, 1, now)
    }

    /// Counts a request that is answered without being let in: one that cannot be read is a request, too.
    pub fn count(&self, principal: &Principal, now: Instant) {
        let now = self.since_start(now);
        self.live.lock().each(principal, |bucket, _| {
            if bucket.limit().measure == Metered::Requests {
                bucket.take(1, now);
            }
        });
        if let Some(shared) = &self.shared {
            let one = |bucket: &Bucket| (u64::from(bucket.limit().measure == Metered::Requests), 0);
            shared.take_later(Asked::Take, self.live.lock().takes(principal, one));
        }
    }

    /// Where a caller stands, one entry a measure that is limited.
    pub fn standings(&self, principal: &Principal, now: Instant) -> Vec<Standing> {
        let now = self.since_start(now);
        let mut standings: Vec<Standing> = Vec::new();
        self.live.lock().each(principal, |bucket, _| {
            let limit = bucket.limit();
            let (remaining, reset) = (bucket.left(now), bucket.full_in(now));
            let seen = Standing { measure: limit.measure, limit: limit.amount, remaining, reset };
            match standings.iter_mut().find(|known| known.measure == seen.measure) {
                Some(known) if known.remaining > seen.remaining => *known = seen,
                Some(_) => {}
                None => standings.push(seen),
            }
        });
        standings
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").field("any", &self.any).finish_non_exhaustive()
    }
}

// === impl Live ===

impl Live {
    /// Every bucket that applies to a caller, with the team whose it is.
    fn each(&mut self, principal: &Principal, mut see: impl FnMut(&mut Bucket, Option<&String>)) {
        let own = self.keys.get_mut(&principal.key).into_iter().flatten();
        own.for_each(|bucket| see(bucket, None));
        if let Some(team) = &principal.team {
            self.teams.get_mut(team).into_iter().flatten().for_each(|bucket| see(bucket, Some(team)));
        }
    }

    /// The tokens to take: a guess goes only as far as the smallest bucket.
    fn tokens(&mut self, principal: &Principal, wanted: TokensWanted) -> u64 {
        let mut tokens = wanted.stated.saturating_add(wanted.guessed);
        self.each(principal, |bucket, _| {
            if bucket.limit().measure == Metered::Tokens {
                tokens = tokens.min(bucket.limit().amount).max(wanted.stated);
            }
        });
        tokens
    }

    fn over(&mut self, principal: &Principal, tokens: u64, now: Duration) -> Option<OverLimit> {
        let mut worst: Option<OverLimit> = None;
        self.each(principal, |bucket, team| {
            let needs = needs(bucket, tokens);
            // What needs nothing of a bucket is not refused for what the bucket owes.
            if needs == 0 {
                return;
            }
            let retry_after = match bucket.fits(needs, now) {
                Ok(()) => return,
                Err(Short::Until(wait)) => Some(wait),
                Err(Short::Never) => None,
            };
            // Never is longer than any time.
            let length = |wait: Option<Duration>| wait.unwrap_or(Duration::MAX);
            if worst.as_ref().is_none_or(|known| length(known.retry_after) < length(retry_after)) {
                worst = Some(OverLimit { limit: bucket.limit(), team: team.cloned(), needs, retry_after });
            }
        });
        worst
    }
}

fn needs(bucket: &Bucket, tokens: u64) -> u64 {
    match bucket.limit().measure {
        Metered::Requests => 1,
        Metered::Tokens => tokens,
    }
}

/// Buckets of the owners that have limits, with what was in them before.
fn poured<K: Eq + Hash>(old: HashMap<K, Vec<Bucket>>, owners: Vec<(K, Vec<RateLimit>)>) -> HashMap<K, Vec<Bucket>> {
    let limited = owners.into_iter().filter(|(_, limits)| !limits.is_empty());
    let buckets = limited.map(|(owner, limits)| {
        let before = old.get(&owner);
        let bucket = |limit: RateLimit| {
            let same = |old: &&Bucket| old.limit().measure == limit.measure && old.limit().period == limit.period;
            before.and_then(|old| old.iter().find(same)).map_or(Bucket::full(limit), |old| old.resized(limit))
        };
        let buckets = limits.into_iter().map(bucket).collect();
        (owner, buckets)
    });
    buckets.collect()
}

// === impl OverLimit ===

impl std::fmt::Display for OverLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { limit, team, needs, retry_after } = self;
        match team {
            Some(team) => write!(f, "team `{team}` may make {limit}")?,
            None => write!(f, "this key may make {limit}")?,
        }
        match (retry_after, limit.measure) {
            (Some(_), Metered::Requests) => f.write_str(", and they are used up"),
            (Some(_), Metered::Tokens) => {
                write!(f, ", and this request needs about {needs} of them, which are not left")
            }
            (None, _) => write!(
                f,
                ", and this request alone may need {needs} {}: it never fits; lower `max_tokens` or shorten the prompt",
                limit.measure.word()
            ),
        }
    }
}

// === impl Charge ===

impl Charge {
    /// Puts right what was taken: the answer has ended, and used so many tokens. Only the first call counts.
    pub fn settle(&self, tokens: u64) {
        self.0.settle(tokens);
    }
}

// === impl Taken ===

impl Taken {
    fn settle(&self, used: u64) {
        if self.settled.swap(true, Ordering::AcqRel) {
            return;
        }
        let now = self.limits.since_start(Instant::now());
        let principal = Principal { key: self.key.clone(), team: self.team.clone(), ..Principal::default() };
        self.limits.live.lock().each(&principal, |bucket, _| {
            if bucket.limit().measure == Metered::Tokens {
                bucket.correct(self.tokens, used, now);
            }
        });
        if let Some(shared) = &self.limits.shared {
            let tokens = |bucket: &Bucket| match bucket.limit().measure {
                Metered::Requests => (0, 0),
                Metered::Tokens => (used, self.tokens),
            };
            shared.take_later(Asked::Correct, self.limits.live.lock().takes(&principal, tokens));
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.settle(0);
    }
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taken").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

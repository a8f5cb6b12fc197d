//! What several replicas share through a Redis or Valkey: how far each may spend.
//!
//! **Promise.** A replica spends only from *slices*: parts of a budget that were given to it, whose sum, with what was spent
//! by replicas that are gone, never exceeds the budget. It may do so while its *lease* runs; the lease is renewed every
//! quarter of its length, and when it runs out nothing priced is dialled until it is renewed. So a store that cannot be
//! reached, a cut network and a paused process end spending; nothing of that kind opens it.
//!
//! **Why it holds** although clocks and messages are not to be trusted:
//! - A lease is counted from before its renewal was sent, by the monotonic clock and by the wall clock, whichever is further
//!   on: it is over here before it is over there.
//! - After the opening line of an attempt is durable, and before it is dialled, the lease is looked at again. So whoever
//!   reads the ledger *after* a lease has run out sees every line that could have been dialled under it.
//! - That is how a slice comes back: the others bury whose lease has run out (it cannot renew any more, only join again
//!   under another name), then sum its lines, running ones at their ceiling, and put that sum in the slice's place. What is
//!   stranded meanwhile is the unspent part of its slices.
//! - A store that lost its data (a restart without persistence) begins a new *epoch*, which opens only after every lease of
//!   the old one has run out; its accounts begin with sums of the ledger. It opens at once where the ledger has heard of no
//!   other process for that long.
//!
//! **Failure behaviour.** See [`Lease`]. Messages may be lost or repeated: numbers are absolute, and a slice is lowered here
//! before the store is told.
//!
//! **What it does not do.** It does not keep the truth, which is on the ledger. A store that forgets single keys
//! (`maxmemory-policy` other than `noeviction`), or a failover to a copy that lags behind, can forget a slice; so neither
//! is to be used. See docs/replicas.md.

mod buckets;
mod link;
mod scripts;

pub(crate) use buckets::{Asked, SharedBuckets, Take};
pub use scripts::MOST;

use link::Link;
use parking_lot::Mutex;
use policies::Secret;
use redis::{Client, FromRedisValue, IntoConnectionInfo};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How to reach what replicas share.
#[derive(Clone)]
pub struct SharedSpec {
    client: Client,
    lease: Duration,
    prefix: String,
    shown: String,
}

/// Why a URL names no store. Never holds the URL, because a password may be in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SharedError(String);

/// The store did not answer, or something else than an answer came.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the store that replicas share does not answer: {0}")]
pub struct Unanswered(String);

/// A connection to what replicas share; clones are the same.
#[derive(Clone)]
pub struct Shared {
    spec: Arc<SharedSpec>,
    budgets: Link,
    lease: Arc<Mutex<Option<Lease>>>,
}

/// The right to spend from slices.
#[derive(Clone, Debug)]
struct Lease {
    /// The name of this replica.
    member: String,
    epoch: String,
    /// Counts the names that this process has had, from 1.
    life: u64,
    until: Until,
    /// Until then the epoch is too young for anybody to spend.
    opens: Instant,
}

/// A moment on two clocks.
#[derive(Clone, Copy, Debug)]
struct Until {
    monotonic: Instant,
    wall: SystemTime,
}

/// What came of a renewal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Renewed {
    /// The lease runs.
    Runs,
    /// It runs, and nobody may spend yet.
    Closed,
    /// This replica was buried, or the store is a new one: slices are void, another name is needed.
    Void,
}

/// What came of a question about a slice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Slice {
    /// It is that large.
    Is(SliceState),
    /// The lease is over.
    Void,
    /// The account is not in the store yet.
    Unknown,
}

/// An account as the store knows it, in units of its measure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SliceState {
    /// This replica's slice.
    pub(crate) slice: u64,
    /// All slices together, and what those have spent who are gone.
    pub(crate) total: u64,
    /// What all have spent, as they last said.
    pub(crate) spent: u64,
    /// Who is gone and has a slice.
    pub(crate) gone: Vec<String>,
}

/// What is asked of a slice.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) limit: u64,
    pub(crate) spent: u64,
    pub(crate) held: u64,
    /// How far the slice has to reach; `None`: it is given back as far as it is not used.
    pub(crate) reach: Option<u64>,
}

/// Of a slice that is asked for, the part of the budget that may be given beyond what is needed: a request's way to the
/// store is saved by it, and so much can be stranded.
const AHEAD: u64 = 64;

// === impl SharedSpec ===

impl SharedSpec {
    /// How long a replica spends without having been heard.
    pub fn lease(&self) -> Duration {
        self.lease
    }
}

impl std::fmt::Debug for SharedSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedSpec").field("at", &self.shown).field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl std::fmt::Display for SharedSpec {
    /// The address without its password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

// === impl Until ===

impl Until {
    fn after(start: (Instant, SystemTime), time: Duration) -> Self {
        Self { monotonic: start.0 + time, wall: start.1 + time }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.monotonic || SystemTime::now() >= self.wall
    }
}

// === impl Shared ===

impl Shared {
    /// Reads `redis://:PASSWORD@HOST:PORT/DB` or `rediss://...`; nobody is dialled. `lease`: how long a replica spends
    /// without having been heard. `prefix`: what the names of keys begin with.
    ///
    /// # Errors
    /// What is wrong with it, without the URL.
    pub fn spec(url: &Secret, lease: Duration, prefix: String) -> Result<SharedSpec, SharedError> {
        let url = url.expose();
        if !["redis://", "rediss://", "valkey://", "valkeys://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(SharedError("it does not begin with `redis://` or `rediss://`".into()));
        }
        if url.contains('#') {
            return Err(SharedError("nothing may follow a `#`: certificates are always checked".into()));
        }
        let bad = || SharedError("it is not an address like `redis://host:6379`".into());
        let info = url.into_connection_info().map_err(|_| bad())?;
        let shown = info.addr().to_string();
        let client = Client::open(info).map_err(|_| bad())?;
        Ok(SharedSpec { client, lease, prefix, shown })
    }

    /// Prepares it; nobody is dialled.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(spec: SharedSpec) -> Result<Self, std::io::Error> {
        let budgets = Link::start(spec.client.clone(), "budgets-net")?;
        Ok(Self { spec: Arc::new(spec), budgets, lease: Arc::default() })
    }

    /// Buckets of rate limits in the same store, over a connection of their own.
    pub(crate) fn buckets(&self) -> Result<SharedBuckets, std::io::Error> {
        SharedBuckets::start(self)
    }

    /// See [`SharedSpec::lease`].
    pub fn lease(&self) -> Duration {
        self.spec.lease
    }

    /// The life under which may be spent now; `None`: nothing may.
    pub(crate) fn life(&self) -> Option<u64> {
        let lease = self.lease.lock();
        let lease = lease.as_ref()?;
        (!lease.until.is_over() && Instant::now() >= lease.opens).then_some(lease.life)
    }

    /// The name that holds the lease, if there was one.
    pub(crate) fn member(&self) -> Option<String> {
        self.lease.lock().as_ref().map(|lease| lease.member.clone())
    }

    /// Joins under a name that nobody had before. `closed`: how long an epoch is closed that begins with this.
    pub(crate) async fn join(&self, member: String, closed: Duration) -> Result<Renewed, Unanswered> {
        let life = self.lease.lock().as_ref().map_or(1, |lease| lease.life + 1);
        self.hello(member, String::new(), life, closed).await
    }

    /// Renews the lease.
    pub(crate) async fn renew(&self) -> Result<Renewed, Unanswered> {
        let Some(Lease { member, epoch, life, .. }) = self.lease.lock().clone() else { return Ok(Renewed::Void) };
        self.hello(member, epoch, life, self.spec.lease).await
    }

    async fn hello(&self, member: String, epoch: String, life: u64, closed: Duration) -> Result<Renewed, Unanswered> {
        let lease = self.spec.lease;
        let keys = [self.key("epoch"), self.key("members")];
        let fresh = uuid::Uuid::new_v4().simple().to_string();
        let before = (Instant::now(), SystemTime::now());
        let me = member.clone();
        let told: Vec<redis::Value> = self
            .budgets
            .ask(move |connection| {
                let mut call = scripts::RENEW.prepare_invoke();
                for key in &keys {
                    call.key(key);
                }
                call.arg(me).arg(millis(lease)).arg(epoch).arg(fresh).arg(millis(closed));
                call.invoke(connection)
            })
            .await?;
        let (1, Some(epoch), Some(wait)) = (number(told.first())?, text(told.get(1)), text(told.get(2))) else {
            if let Some(lease) = &mut *self.lease.lock() {
                lease.until.monotonic = before.0;
            }
            return Ok(Renewed::Void);
        };
        let wait = Duration::from_millis(wait.parse().map_err(|_| odd())?);
        // A tenth is for clocks that do not run alike.
        let until = Until::after(before, lease.mul_f64(0.9));
        // That one is counted from after the answer, by the monotonic clock alone: it has to be over there before it is here.
        let opens = Instant::now() + wait;
        *self.lease.lock() = Some(Lease { member, epoch, life, until, opens });
        Ok(if !wait.is_zero() { Renewed::Closed } else { Renewed::Runs })
    }

    /// Leaves: the others sum what was spent from the ledger.
    pub(crate) async fn leave(&self) -> Result<(), Unanswered> {
        let Some(Lease { member, .. }) = self.lease.lock().take() else { return Ok(()) };
        let key = self.key("members");
        self.budgets.ask(move |connection| scripts::LEAVE.key(key).arg(member).invoke(connection)).await
    }

    /// Ends the epoch: all slices are void, and accounts begin anew with what the ledger knows.
    pub(crate) async fn abandon(&self) -> Result<(), Unanswered> {
        let key = self.key("epoch");
        self.budgets.ask(move |connection| redis::cmd("DEL").arg(key).query(connection)).await
    }

    /// Changes the slice of an account, or asks how it stands.
    pub(crate) async fn slice(&self, account: &str, wanted: Wanted) -> Result<Slice, Unanswered> {
        let Some(Lease { member, epoch, .. }) = self.lease.lock().clone() else { return Ok(Slice::Void) };
        let keys = self.keys(account);
        let told: Vec<redis::Value> = self
            .budgets
            .ask(move |connection| {
                let Wanted { limit, spent, held, reach } = wanted;
                let mut call = scripts::SLICE.prepare_invoke();
                for key in &keys {
                    call.key(key);
                }
                call.arg(member).arg(epoch).arg(limit.min(MOST)).arg(spent.min(MOST)).arg(held.min(MOST));
                call.arg(reach.unwrap_or(0).min(MOST)).arg(limit / AHEAD);
                call.arg(if reach.is_some() { "take" } else { "give" });
                call.invoke(connection)
            })
            .await?;
        let units = |at: usize| -> Result<u64, Unanswered> {
            let read = text(told.get(at)).and_then(|text| text.parse::<f64>().ok());
            // It never is below zero; if it were, nothing would be left.
            read.map(|units| units.max(0.0) as u64).ok_or_else(odd)
        };
        match number(told.first())? {
            0 => Ok(Slice::Void),
            2 => Ok(Slice::Unknown),
            _ => Ok(Slice::Is(SliceState {
                slice: units(1)?,
                total: units(2)?,
                spent: units(3)?,
                gone: told.iter().skip(4).filter_map(|name| text(Some(name))).collect(),
            })),
        }
    }

    /// Begins an account with what instances have committed by the ledger; whoever comes second changes nothing. Ends in
    /// Redis a day after `ends_ms`, a time since 1970.
    pub(crate) async fn seed(
        &self,
        account: &str,
        ends_ms: Option<i64>,
        committed: Vec<(String, u64)>,
    ) -> Result<(), Unanswered> {
        let Some(Lease { member, epoch, .. }) = self.lease.lock().clone() else { return Ok(()) };
        let keys = self.keys(account);
        let ends = ends_ms.map_or(0, |ends| ends.saturating_add(86_400_000));
        self.budgets
            .ask(move |connection| {
                let mut call = scripts::SEED.prepare_invoke();
                for key in &keys {
                    call.key(key);
                }
                call.arg(member).arg(epoch).arg(ends);
                for (name, units) in &committed {
                    call.arg(name).arg((*units).min(MOST));
                }
                call.invoke::<i64>(connection).map(drop)
            })
            .await
    }

    /// Puts what a gone replica has committed in the place of its slice.
    pub(crate) async fn retire(&self, account: &str, gone: String, committed: u64) -> Result<(), Unanswered> {
        let keys = [self.key("members"), self.key(&format!("a:{account}"))];
        self.budgets
            .ask(move |connection| {
                let mut call = scripts::RETIRE.prepare_invoke();
                for key in &keys {
                    call.key(key);
                }
                call.arg(gone).arg(committed.min(MOST)).invoke::<i64>(connection).map(drop)
            })
            .await
    }

    fn keys(&self, account: &str) -> [String; 3] {
        [self.key("epoch"), self.key("members"), self.key(&format!("a:{account}"))]
    }

    /// The braces keep all keys in one slot: a script may touch no others, wherever they are kept.
    fn key(&self, name: &str) -> String {
        format!("{{{}}}:{name}", self.spec.prefix)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shared").field(&self.spec).finish()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn number(value: Option<&redis::Value>) -> Result<i64, Unanswered> {
    value.and_then(|value| i64::from_redis_value_ref(value).ok()).ok_or_else(odd)
}

fn text(value: Option<&redis::Value>) -> Option<String> {
    String::from_redis_value_ref(value?).ok()
}

fn odd() -> Unanswered {
    Unanswered("its answer is not one of ours".into())
}

//! Sentence embeddings for the probe: encoders that are lent and given back.
//!
//! An encoder computes one text after the other. As many are loaded as there are callers at the same time, at most one a
//! processor. A failure of the encoder is no failure of a judgement: the head has a mix without it.
//!
//! **Places.** A request comes to an encoder through a [`place`], of which there are as many. When all are taken it waits for as long as
//! one embedding takes ([`WORTH_WAITING`]), and only if no more than one for each encoder wait already: within that time
//! each encoder is given back once, so that whoever waits has one by then, or has others before him. Waiting longer
//! would put a queue in front of every request, which costs more than the embedding is worth.
//!
//! **Who else embeds** (comparisons, experiments, training) is on a thread that may block and waits there, for [`PATIENCE`].

use super::Reading;
use crate::classify::encoder::Encoder;
use parking_lot::{Condvar, Mutex};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long an encoder is waited for when all are lent, by those who block.
const PATIENCE: Duration = Duration::from_millis(25);
/// How long a request waits for a place: what one embedding of some hundred tokens takes (`docs/routing-quality.md`, time).
const WORTH_WAITING: Duration = Duration::from_millis(12);

static PLACES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(most()));
/// Requests that wait for a place.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// A request's place at an encoder; free again when dropped.
pub(super) struct Place(#[expect(dead_code, reason = "held, not read")] SemaphorePermit<'static>);

/// One of those who wait.
struct Waiting;

impl Waiting {
    /// `None`: enough wait already.
    fn begin() -> Option<Self> {
        let enter = |waiting: usize| (waiting < most()).then_some(waiting + 1);
        WAITING.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).is_ok().then_some(Self)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A place at an encoder; none where waiting for one is not worth it.
///
/// # Cancel safety
/// Cancel safe.
pub(super) async fn place() -> Option<Place> {
    if let Ok(free) = PLACES.try_acquire() {
        return Some(Place(free));
    }
    let _waiting = Waiting::begin()?;
    let place = tokio::time::timeout(WORTH_WAITING, PLACES.acquire()).await;
    place.ok()?.ok().map(Place)
}

/// Encoders at most.
fn most() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get())
}

struct Pool {
    /// Encoders that nobody uses.
    free: Vec<Encoder>,
    /// Encoders that were loaded, or failed to.
    loaded: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), loaded: 0 });
static GIVEN_BACK: Condvar = Condvar::new();

/// An encoder on loan: it goes back when dropped, also when encoding panics.
struct Lent(Option<Encoder>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(encoder) = self.0.take() {
            POOL.lock().free.push(encoder);
            GIVEN_BACK.notify_one();
        }
    }
}

/// The embedding of a reading; none when every encoder stays busy, or when it fails.
pub fn embed(reading: &Reading) -> Option<Vec<f32>> {
    embed_text(&reading.instruction().text, PATIENCE)
}

/// The embedding of a text, for those who would rather wait than do without.
pub(crate) fn embed_text(text: &str, patience: Duration) -> Option<Vec<f32>> {
    let lent = lend(patience)?;
    let encoded = lent.0.as_ref()?.encode(text, "").ok()?;
    Some(encoded.vector.to_vec())
}

/// The cosine of two texts' embeddings; none where an embedding is missing.
pub fn alike(one: &str, other: &str) -> Option<f32> {
    let (one, other) = (embed(&Reading::of_prompt(one))?, embed(&Reading::of_prompt(other))?);
    let product: f32 = one.iter().zip(&other).map(|(a, b)| a * b).sum();
    let length = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-6);
    Some(product / (length(&one) * length(&other)))
}

/// Loads one encoder, so that the first request does not wait for it; tells whether there is one.
pub fn warm() -> bool {
    lend(PATIENCE).is_some()
}

fn lend(patience: Duration) -> Option<Lent> {
    let most = most();
    let until = Instant::now() + patience;
    let mut pool = POOL.lock();
    loop {
        if let Some(free) = pool.free.pop() {
            return Some(Lent(Some(free)));
        }
        if pool.loaded < most {
            pool.loaded += 1;
            break;
        }
        if GIVEN_BACK.wait_until(&mut pool, until).timed_out() {
            return None;
        }
    }
    drop(pool);
    Encoder::bundled().ok().map(|encoder| Lent(Some(encoder)))
}

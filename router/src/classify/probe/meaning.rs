//! Sentence embeddings for the probe: encoders that are lent and given back.
//!
//! An encoder computes one text after the other. As many are loaded as there are callers at the same time, at most one a
//! processor; who comes when all are lent waits for nothing and does without the embedding, which costs less than a queue
//! in front of every request. A failure of the encoder is no failure of a judgement: the head has a mix without it.

use super::Reading;
use crate::classify::encoder::Encoder;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Encoders that nobody uses.
static FREE: Mutex<Vec<Encoder>> = Mutex::new(Vec::new());
/// Encoders that were loaded, or failed to.
static LOADED: AtomicUsize = AtomicUsize::new(0);

/// The embedding of a reading; none when every encoder is busy, or when it fails.
pub fn embed(reading: &Reading) -> Option<Vec<f32>> {
    let encoder = lend()?;
    let (head, tail) = reading.ends();
    let encoded = encoder.encode(head, tail).ok();
    FREE.lock().push(encoder);
    encoded.map(|encoded| encoded.vector.to_vec())
}

/// Loads one encoder, so that the first request does not wait for it; tells whether there is one.
pub fn warm() -> bool {
    match lend() {
        None => false,
        Some(encoder) => {
            FREE.lock().push(encoder);
            true
        }
    }
}

fn lend() -> Option<Encoder> {
    if let Some(free) = FREE.lock().pop() {
        return Some(free);
    }
    let most = std::thread::available_parallelism().map_or(1, |count| count.get());
    let may_load =
        LOADED.fetch_update(Ordering::AcqRel, Ordering::Acquire, |loaded| (loaded < most).then_some(loaded + 1));
    may_load.ok()?;
    Encoder::bundled().ok()
}

//! Embeddings kept in a file between runs.
//!
//! Training, measuring and training again read the same texts: 20,000 of them take the encoder some minutes, the file a
//! second. Keys are hashes of what the encoder reads, so a file serves any rows; one of another encoder must not be given.

use super::Failure;
use parking_lot::Mutex;
use router::probe::{self, Reading};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a key.
const KEY: usize = 16;
/// Bytes of an embedding.
const VALUE: usize = 384 * 4;

/// Embeddings by the text that they were made of.
#[derive(Debug, Default)]
pub struct Cache {
    known: Mutex<HashMap<[u8; KEY], Vec<f32>>>,
    grown: AtomicBool,
}

// === impl Cache ===

impl Cache {
    /// Reads a file, if there is one.
    pub fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let cache = Self::default();
        let Some(path) = path.filter(|path| path.exists()) else { return Ok(cache) };
        let wrong = |why: &dyn std::fmt::Display| Failure::Usage(format!("`{}`: {why}", path.display()));
        let bytes = std::fs::read(path).map_err(|why| wrong(&why))?;
        if bytes.len() % (KEY + VALUE) != 0 {
            return Err(wrong(&"this is not a file of embeddings"));
        }
        let mut known = cache.known.lock();
        for entry in bytes.chunks_exact(KEY + VALUE) {
            let (key, value) = entry.split_at(KEY);
            let numbers = value.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
            let mut of = [0; KEY];
            of.copy_from_slice(key);
            known.insert(of, numbers.collect());
        }
        drop(known);
        Ok(cache)
    }

    /// Writes what is new.
    pub fn close(self, path: Option<&Path>) -> Result<(), Failure> {
        let Some(path) = path.filter(|_| self.grown.load(Ordering::Relaxed)) else { return Ok(()) };
        let mut bytes = Vec::new();
        for (key, value) in self.known.into_inner() {
            bytes.extend_from_slice(&key);
            value.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        }
        std::fs::write(path, bytes).map_err(|why| Failure::Failed(format!("`{}`: {why}", path.display())))
    }

    /// The embedding of a reading.
    pub fn embed(&self, reading: &Reading) -> Option<Vec<f32>> {
        let mut key = [0; KEY];
        key.copy_from_slice(&Sha256::digest(reading.instruction().text.as_bytes())[..KEY]);
        if let Some(known) = self.known.lock().get(&key) {
            return Some(known.clone());
        }
        let made = probe::embed(reading)?;
        self.grown.store(true, Ordering::Relaxed);
        self.known.lock().insert(key, made.clone());
        Some(made)
    }
}

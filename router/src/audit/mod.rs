//! The evidence log: what went where, and what was not let through, in a form that a third party can check.
//!
//! **Promise.** Every dial of a model has a record before the first byte leaves, every refusal by residency has one, too.
//! Records are numbered without gaps and chained by digests; checkpoints over them (a Merkle root) are signed. An export can be
//! verified offline, with the public key alone: a record that was altered, dropped, inserted or moved is found, and, given a
//! checkpoint that was published earlier, also a tail that was cut off.
//!
//! **Why.** Who has to prove that restricted data never left cannot ask to be believed. The machine that writes the log can
//! refuse to write, but once a checkpoint is in somebody else's hands it cannot rewrite.
//!
//! **How.** A record is JSON; it is hashed, stored and exported as the same bytes. The records of one group commit of the
//! ledger are one row, in the same transaction as the attempts that they speak of, so evidence costs no sync of its own.
//! [`tree`] is RFC 6962's, [`sign`] Ed25519.
//!
//! **Failure behaviour.** A record that cannot be written fails the commit, and with it the dial (503). A key file that
//! cannot be read stops the start.
//!
//! **What it does not do.** No content, ever: ids, names, rules, and a keyed digest of the body. It does not prove that the
//! program told the truth when it wrote; it proves that nobody changed the record since. What is
//! pruned (`[residency.evidence] max_age`) goes as a whole beginning, up to a signed checkpoint, and that is on record.

mod checkpoint;
pub mod export;
mod record;
pub mod report;
mod sign;
mod tree;
pub mod verify;

pub use checkpoint::{Checkpoint, Signed};
pub use record::{Destination, Entry, Event, State};
pub use sign::{KeyError, PublicKey, Purpose, Signer};
pub use tree::Hash;

use aws_lc_rs::hmac;
use std::path::{Path, PathBuf};

/// What a running log needs besides its state.
#[derive(Debug)]
pub struct Keys {
    path: PathBuf,
    signer: Signer,
}

/// Tells bodies apart without telling what is in them.
#[derive(Clone, Debug)]
pub struct Digester(hmac::Key);

/// The tree of a log, from what was kept of it.
pub(crate) fn tree_from(size: u64, bytes: &[u8]) -> Option<tree::Tree> {
    tree::Tree::from_bytes(size, bytes)
}

// === impl Keys ===

impl Keys {
    /// Reads, or makes, the key file.
    ///
    /// # Errors
    /// As [`Signer::load_or_create`].
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        Ok(Self { path: path.to_owned(), signer: Signer::load_or_create(path)? })
    }

    /// The signer.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Reads the file again; where that fails the known keys stay.
    pub(crate) fn refresh(&mut self) {
        match Signer::load_or_create(&self.path) {
            Ok(signer) => self.signer = signer,
            Err(error) => tracing::warn!(%error, "the evidence log goes on with the key that it has"),
        }
    }
}

// === impl Digester ===

impl Digester {
    /// With the log's own key of 32 bytes.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// HMAC-SHA-256 (RFC 2104) of a body.
    pub fn digest(&self, body: &[u8]) -> Hash {
        let mut hash = Hash::default();
        hash.copy_from_slice(hmac::sign(&self.0, body).as_ref());
        hash
    }
}

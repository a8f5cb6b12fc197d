//! Signed words on where a log stands.

use super::record::State;
use super::sign::{PublicKey, Purpose, Signer};
use super::tree::Hash;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What is signed of a log. Published somewhere else, it proves later that nothing before it was changed or cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The log's id.
    pub log: String,
    /// Number of records.
    pub size: u64,
    /// Root of the Merkle tree over them (RFC 6962), in hex.
    pub root: String,
    /// Digest of the chain, in hex.
    pub head: String,
    /// When it was signed.
    pub at: String,
}

/// A text with its signature, on one line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Signed {
    /// What is signed: these bytes.
    pub text: Box<RawValue>,
    /// The signature, in base64.
    pub signature: String,
    /// Whose it is.
    pub key: String,
}

// === impl Checkpoint ===

impl Checkpoint {
    /// Where the log stands now.
    pub fn of(state: &State) -> Self {
        Self {
            log: state.log.to_string(),
            size: state.size(),
            root: hex::encode(state.tree.root()),
            head: hex::encode(state.head),
            at: jiff::Timestamp::now().to_string(),
        }
    }

    /// Whether the log stood there.
    pub fn is_of(&self, state: &State) -> bool {
        self.log == *state.log
            && self.size == state.size()
            && self.root == hex::encode(state.tree.root())
            && self.head == hex::encode(state.head)
    }
}

// === impl Signed ===

impl Signed {
    /// Signs a value.
    pub fn new<T: Serialize>(value: &T, purpose: Purpose, signer: &Signer) -> Option<Self> {
        let text = serde_json::value::to_raw_value(value).ok()?;
        let signature = STANDARD.encode(signer.sign(purpose, text.get().as_bytes()));
        Some(Self { text, signature, key: signer.public()?.to_string() })
    }

    /// The value, and whose word it is; an error says what is wrong.
    pub fn open<T: for<'de> Deserialize<'de>>(&self, purpose: Purpose) -> Result<(T, PublicKey), &'static str> {
        let key: PublicKey = self.key.parse().map_err(|_| "the key cannot be read")?;
        let signature = STANDARD.decode(&self.signature).map_err(|_| "the signature cannot be read")?;
        if !key.verifies(purpose, self.text.get().as_bytes(), &signature) {
            return Err("the signature is wrong");
        }
        serde_json::from_str(self.text.get()).map(|value| (value, key)).map_err(|_| "what was signed cannot be read")
    }
}

/// A digest in hex.
pub fn unhex(text: &str) -> Option<Hash> {
    hex::decode(text).ok()?.try_into().ok()
}

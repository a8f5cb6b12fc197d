//! Keys that sign checkpoints and exports.
//!
//! Ed25519 (RFC 8032). A private key is a PKCS#8 document (RFC 5958) in PEM, readable by its owner alone; the file keeps
//! earlier keys before the one that signs, so that a change of keys can be handed over. A public key is written
//! `ed25519:` and 32 bytes in base64.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

const PREFIX: &str = "ed25519:";
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// What is signed; each kind of text has its own, so that a signature of one is none of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The state of a log.
    Checkpoint,
    /// An export as a whole.
    Export,
    /// A change of keys.
    Handover,
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// The keys of a log, the newest of which signs.
pub struct Signer {
    keys: Vec<Ed25519KeyPair>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the key file cannot be used: {0}")]
    File(#[from] std::io::Error),
    /// It holds no key.
    #[error("the key file holds no PKCS#8 Ed25519 key in PEM")]
    Unreadable,
    /// No randomness.
    #[error("no key can be made")]
    Unmade,
    /// Not a public key.
    #[error("a public key is `ed25519:` and 32 bytes in base64")]
    NotAKey,
}

// === impl Purpose ===

impl Purpose {
    fn said(self, text: &[u8]) -> Vec<u8> {
        let purpose: &[u8] = match self {
            Self::Checkpoint => b"sluice-evidence-checkpoint-v1\n",
            Self::Export => b"sluice-evidence-export-v1\n",
            Self::Handover => b"sluice-evidence-handover-v1\n",
        };
        [purpose, text].concat()
    }
}

// === impl PublicKey ===

impl PublicKey {
    /// Whether the signature is this key's.
    pub fn verifies(&self, purpose: Purpose, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(&purpose.said(text), signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = text.trim().strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(KeyError::NotAKey)
    }
}

// === impl Signer ===

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("key", &self.public()).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads the file; makes it, with a fresh key, where there is none.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::read(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (pem, signer) = Self::fresh()?;
                // Whoever comes first: another process may have made it meanwhile.
                match write_private(path, &pem, true) {
                    Ok(()) => Ok(signer),
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                        Self::read(&std::fs::read_to_string(path)?)
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Adds a fresh key to the file; it signs from now on. A running gateway takes it up within a minute.
    ///
    /// # Errors
    /// As [`Signer::load_or_create`].
    pub fn rotate(path: &Path) -> Result<Self, KeyError> {
        let before = std::fs::read_to_string(path)?;
        Self::read(&before)?;
        let (pem, _) = Self::fresh()?;
        let after = format!("{}\n{pem}", before.trim_end());
        // Written beside it and moved: nobody ever reads half a file.
        let beside = path.with_extension("new");
        write_private(&beside, &after, false)?;
        std::fs::rename(&beside, path)?;
        Self::read(&after)
    }

    fn fresh() -> Result<(String, Self), KeyError> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| KeyError::Unmade)?;
        let encoded = STANDARD.encode(document.as_ref());
        let mut pem = format!("{BEGIN}\n");
        for line in encoded.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str(END);
        pem.push('\n');
        let signer = Self::read(&pem)?;
        Ok((pem, signer))
    }

    fn read(text: &str) -> Result<Self, KeyError> {
        let documents = text.split(BEGIN).skip(1).map(|rest| rest.split(END).next().unwrap_or_default());
        let keys = documents.map(|document| {
            let encoded: String = document.split_whitespace().collect();
            let bytes = STANDARD.decode(encoded).map_err(|_| KeyError::Unreadable)?;
            Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| KeyError::Unreadable)
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(KeyError::Unreadable) } else { Ok(Self { keys }) }
    }

    /// The key that signs.
    pub fn public(&self) -> Option<PublicKey> {
        self.keys.last().map(public)
    }

    /// Signs with the newest key.
    pub fn sign(&self, purpose: Purpose, text: &[u8]) -> Vec<u8> {
        let signed = self.keys.last().map(|key| key.sign(&purpose.said(text)).as_ref().to_vec());
        signed.unwrap_or_default()
    }

    /// Signs with that earlier key, where the file still has it.
    pub fn sign_as(&self, key: PublicKey, purpose: Purpose, text: &[u8]) -> Option<Vec<u8>> {
        let pair = self.keys.iter().find(|pair| public(pair) == key)?;
        Some(pair.sign(&purpose.said(text)).as_ref().to_vec())
    }
}

fn public(pair: &Ed25519KeyPair) -> PublicKey {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(pair.public_key().as_ref());
    PublicKey(bytes)
}

fn write_private(path: &Path, text: &str, fresh: bool) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    if fresh {
        options.create_new(true)
    } else {
        options.create(true).truncate(true)
    };
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_kept_private_and_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evidence.key");
        let first = Signer::load_or_create(&path).unwrap().public().unwrap();
        assert_eq!(Signer::load_or_create(&path).unwrap().public(), Some(first));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let rotated = Signer::rotate(&path).unwrap();
        let second = rotated.public().unwrap();
        assert_ne!(first, second);
        let signed = rotated.sign_as(first, Purpose::Handover, b"x").unwrap();
        assert!(first.verifies(Purpose::Handover, b"x", &signed) && !second.verifies(Purpose::Handover, b"x", &signed));
        assert!(!first.verifies(Purpose::Export, b"x", &signed), "another purpose");
        assert!(!first.verifies(Purpose::Handover, b"y", &signed));
        assert_eq!(first.to_string().parse::<PublicKey>().unwrap(), first);
        std::fs::write(&path, "nothing").unwrap();
        assert!(matches!(Signer::load_or_create(&path), Err(KeyError::Unreadable)));
    }
}

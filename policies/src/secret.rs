//! Values that must not be printed.

use serde::{Serialize, Serializer};
use std::fmt;

/// A credential. `Debug`, `Display` and `Serialize` show a placeholder; only [`Secret::expose`] shows the value, and a
/// test greps for who calls it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Text of a prompt or an answer: usable, but not printable by accident.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Redacted<T>(pub T);

const PLACEHOLDER: &str = "[redacted]";

/// A shorter credential is also a word: it is not searched for.
const TELLING: usize = 8;

// === impl Secret ===

impl Secret {
    /// Wraps a credential.
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// A text of somebody else's without the credential in it; `None` where it is not in there.
    pub fn taken_out_of(&self, text: &[u8]) -> Option<Vec<u8>> {
        let (secret, mut out, mut rest) = (self.0.as_bytes(), Vec::new(), text);
        if secret.len() < TELLING {
            return None;
        }
        while let Some(at) = rest.windows(secret.len()).position(|window| window == secret) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(PLACEHOLDER.as_bytes());
            rest = &rest[at + secret.len()..];
        }
        if out.is_empty() {
            return None;
        }
        out.extend_from_slice(rest);
        Some(out)
    }

    /// The credential itself, for the header of the one request it belongs to.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PLACEHOLDER)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PLACEHOLDER)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(PLACEHOLDER)
    }
}

// === impl Redacted ===

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PLACEHOLDER)
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PLACEHOLDER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_taken_out_of_what_somebody_repeats_and_a_short_one_is_a_word() {
        let taken = |secret: &str, text: &str| {
            let out = Secret::new(secret.into()).taken_out_of(text.as_bytes())?;
            String::from_utf8(out).ok()
        };
        assert_eq!(taken("sk-canary", "no sk-canary, sk-canary!").as_deref(), Some("no [redacted], [redacted]!"));
        assert_eq!(taken("sk-canary", "sk-canary").as_deref(), Some("[redacted]"));
        assert_eq!((taken("sk-canary", "sk-canar"), taken("key", "a key"), taken("", "x")), (None, None, None));
    }

    #[test]
    fn no_formatter_shows_a_secret() {
        let secret = Secret::new("sk-canary".into());
        let prompt = Redacted(String::from("canary prompt"));
        for shown in [format!("{secret:?}"), format!("{secret}"), format!("{prompt:?}"), format!("{prompt}")] {
            assert_eq!(shown, PLACEHOLDER);
        }
    }
}

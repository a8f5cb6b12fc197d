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

// === impl Secret ===

impl Secret {
    /// Wraps a credential.
    pub fn new(value: String) -> Self {
        Self(value)
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
    fn no_formatter_shows_a_secret() {
        let secret = Secret::new("sk-canary".into());
        let prompt = Redacted(String::from("canary prompt"));
        for shown in [format!("{secret:?}"), format!("{secret}"), format!("{prompt:?}"), format!("{prompt}")] {
            assert_eq!(shown, PLACEHOLDER);
        }
    }
}

//! The one place that reads the environment.

use policies::Secret;
use std::path::PathBuf;

/// What is wrong with the name of a variable that should hold a secret, if anything. It may be the secret itself: it is not
/// repeated.
pub(super) fn misnamed(name: &str) -> Option<&'static str> {
    let word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let fits = word && !name.is_empty() && !name.starts_with(|first: char| first.is_ascii_digit());
    (!fits).then_some("this is no name of an environment variable; the secret itself belongs into the variable")
}

/// What the configuration asks the environment.
#[derive(Clone, Debug)]
pub struct Environment;

#[expect(clippy::disallowed_methods, reason = "this is the place the others are sent to")]
impl Environment {
    /// A secret by the name of its variable; `None` when unset or empty.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        std::env::var(name).ok().filter(|value| !value.is_empty()).map(Secret::new)
    }

    /// The folder for models and converted weights.
    pub fn cache_dir(&self) -> PathBuf {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let base = set("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || PathBuf::from(set("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache");
        base.unwrap_or_else(home).join("sluice")
    }

    /// The mirror that models of the Hugging Face hub come from, as hf-hub reads it; there may be credentials in it.
    #[cfg(feature = "local")]
    pub fn hub_mirror(&self) -> Option<String> {
        std::env::var("HF_ENDPOINT").ok()
    }

    /// Whether a variable is set.
    #[cfg(feature = "local")]
    pub fn has(&self, name: &str) -> bool {
        std::env::var_os(name).is_some()
    }
}

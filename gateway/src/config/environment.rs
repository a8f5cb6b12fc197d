//! The one place that reads the environment.

use policies::Secret;
use std::path::PathBuf;

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

    /// Whether a variable is set.
    #[cfg(feature = "local")]
    pub fn has(&self, name: &str) -> bool {
        std::env::var_os(name).is_some()
    }
}

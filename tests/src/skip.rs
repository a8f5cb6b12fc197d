//! Tests that cannot run here.
//!
//! **Promise.** A test that needs what a machine may lack says on standard error that it is skipped, what for, and why. Where
//! `SLUICE_TEST_MUST` names what it needs it fails instead, so that a green run has run it: `1` stands for all of them, else a
//! list with commas (`postgresql,redis`). `.ci/run` names what `make test` installs itself.
//!
//! The words: `postgresql`, `redis`, `namespace` (of networks), `prlimit`, `data` (the routing pack); in Python and Node, which
//! read the same variable, `chromium`, `node` (npm's packages), `weights` (of the encoder, by pip) and `binary`.
//!
//! This file is also compiled into tests of `router`, so it uses the standard library alone.

/// Says that a test does not run for want of `what`.
///
/// # Panics
/// Where that is a must.
pub fn skipped(what: &str, why: &str) {
    let must = std::env::var_os("SLUICE_TEST_MUST").unwrap_or_default();
    assert!(!is_must(what, &must.to_string_lossy()), "{what} is a must: {why}");
    eprintln!("skipped for want of {what}: {why}");
}

fn is_must(what: &str, must: &str) -> bool {
    must.split(',').map(str::trim).any(|word| word == "1" || word == what)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_a_must_is_named_or_everything_is() {
        for (must, is) in [("", false), ("1", true), ("redis", false), ("redis, postgresql", true), ("postgres", false)]
        {
            assert_eq!(super::is_must("postgresql", must), is, "{must}");
        }
    }
}

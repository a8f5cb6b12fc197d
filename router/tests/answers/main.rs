//! Answers of the whole router, with models that the tests play: the second look, hedging, second samples, sessions, what
//! is left to learn from.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod bench;
mod canaries;
mod cascade;
mod copies;
mod hedge;
mod hedge_ends;
mod late;
mod learning;
mod leaving;
mod masking;
mod panics;
mod puppet;
mod samples;
mod sessions;
mod share;

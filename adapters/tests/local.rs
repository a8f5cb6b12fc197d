//! The local engine with real weights: SmolLM2-135M-Instruct and tiny models of the families.
//!
//! One binary, since each links the inference stack. The model comes from the store in the default cache (fetched when it is
//! not there); `SLUICE_TEST_PYTHON` names the Python with numpy and tokenizers for the tiny ones.
#![cfg(feature = "local")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test panics when it fails")]

#[path = "local/families.rs"]
mod families;
#[path = "local/faults.rs"]
mod faults;
#[path = "local/smollm2.rs"]
mod smollm2;
#[path = "local/support.rs"]
mod support;

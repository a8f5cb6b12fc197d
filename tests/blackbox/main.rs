//! Black-box tests of the built binary: one module a promise, one gateway a test, nothing slept for, no network.

mod admin;
mod bad_input;
mod bad_start;
mod classifier;
mod config;
mod conformance;
mod direction;
mod drain;
mod errors;
mod fallback;
mod faults;
mod feedback;
mod headers;
mod health;
mod idempotency;
mod keys;
mod ledger;
mod local;
mod money;
mod relay;
mod relay_forms;
mod routing;
mod security;
mod streams;
mod truncation;

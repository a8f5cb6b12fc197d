//! The engine in process: mistral.rs on a CPU, behind [`crate::Backend`].
//!
//! **Promise.** A model is found, fetched, converted, loaded, watched and asked, and nothing that goes wrong in it takes
//! the process down. Counts are exact, answers repeatable by seed, constraints kept, queues bounded.
//!
//! **The way of a call.** [`engine`] reads it with `request` (checks, prompt, tokens, grammar), waits in `queue`, and hands
//! the tokens to mistral.rs together with a `line`, which sees the logits of every step and chooses each token itself
//! (`sampling`, `text`); `chunks` turns its pieces into OpenAI's events.
//!
//! **The way of a model.** `host` runs it: [`store`] and `fetch` bring the files, `gguf`, `convert` and `lora` prepare
//! them, `load` starts the engine.
//!
//! **What it does not do.** No pictures or sound, no GPU, no batching beyond mistral.rs's own, no switching of adapters.

mod chunks;
mod convert;
mod engine;
mod fetch;
mod gguf;
mod host;
mod line;
mod load;
mod lora;
mod prompt;
mod queue;
mod request;
mod sampling;
mod spec;
pub mod store;
mod template;
mod text;
mod tools;
mod workers;

pub use engine::LocalEngine;
pub use queue::Rates;
pub use spec::{
    DEFAULT_CONCURRENCY, DEFAULT_MAX_TOKENS, DEFAULT_QUEUE, DEFAULT_QUEUE_WAIT, DEFAULT_TEMPERATURE, LocalSpec,
    LoraSpec, MAX_RESTARTS, MOST_THREADS, Quantize, SpecError, built_for_speed, environment, validate,
};
pub use store::Source;

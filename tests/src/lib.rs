//! Tools of the black-box tests: the gateway as a child process, an upstream that misbehaves on demand, clients, and the
//! oracle that compares what each of them saw.
//!
//! Nothing here knows anything private of the product: the binary, its configuration file, its ports and its answers are
//! all there is.

mod accept;
pub mod cable;
pub mod client;
mod dice;
mod disk;
pub mod frames;
pub mod gateway;
pub mod hands;
pub mod hub;
pub mod oracle;
pub mod sse;
pub mod stores;
pub mod tls;
pub mod toxics;
pub mod upstream;
pub mod wire;

pub use cable::{Cable, Cut};
pub use client::{Live, Told};
pub use dice::Dice;
pub use disk::{Disk, Wrong};
pub use gateway::Gateway;
pub use hands::Hand;
pub use stores::skip::skipped;
pub use upstream::Upstream;

use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// How long a condition may take to come true: generous, since nothing waits for it but a failure.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The environment variable that holds the key of fake providers.
pub const PROVIDER_KEY_VARIABLE: &str = "SLUICE_TEST_PROVIDER_KEY";

/// The key of fake providers: a secret that may show up nowhere but at the provider.
pub const PROVIDER_KEY: &str = "sk-provider-canary-0123456789abcdef";

/// Waits until a condition gives something; panics with `what` after [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < end, "it did not come true: {what}");
        // A look costs a system call; the pause between two looks is not what decides.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for a future; panics with `what` after [`PATIENCE`].
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("it did not happen: {what}"),
    }
}

/// Whether the full sizes are wanted (`make soak`) in place of the reduced ones.
pub fn full_size() -> bool {
    std::env::var_os("SLUICE_TEST_SIZE").is_some_and(|size| size == "full")
}

/// The reduced or the full size of something.
pub fn size<T>(reduced: T, full: T) -> T {
    if full_size() { full } else { reduced }
}

/// A chat request with one user message.
pub fn chat(model: &str, content: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": content}]})
}

/// The same as a stream.
pub fn streamed(model: &str, content: &str) -> Value {
    let mut body = chat(model, content);
    body["stream"] = true.into();
    body
}

/// A stream that also wants the usage event.
pub fn streamed_with_usage(model: &str, content: &str) -> Value {
    let mut body = streamed(model, content);
    body["stream_options"] = json!({"include_usage": true});
    body
}

/// A prompt that the heuristic judge finds easy.
pub const EASY: &str = "What is the capital of France?";
/// A prompt that the heuristic judge finds hard.
pub const HARD: &str = "Prove that there are infinitely many primes, then derive a bound on the n-th prime step by step, \
    analyse the complexity of the sieve algorithm and implement it.";

/// The usual configuration: `big` at a hosted provider with a price, `small` at a server in the house, `auto` between
/// them, judged by the heuristic.
pub fn two_sides(hosted: &Upstream, house: &Upstream) -> String {
    two_sides_as(hosted, "echo", house, "echo")
}

/// The same with the upstream names of both models, which say how the upstreams behave.
pub fn two_sides_as(hosted: &Upstream, big: &str, house: &Upstream, small: &str) -> String {
    format!(
        "{}{}[router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\n[ledger]\ndurability = \"process\"\n",
        hosted.provider("hosted", "hosted", &[("big", big)]),
        house.provider("house", "local", &[("small", small)]),
    )
}

/// Only a hosted side: `big`.
pub fn hosted_only(hosted: &Upstream, big: &str) -> String {
    format!(
        "{}[router]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\n[ledger]\ndurability = \"process\"\n",
        hosted.provider("hosted", "hosted", &[("big", big)]),
    )
}

//! `sluice classifier time`: how long a judgement takes on this machine.

use crate::cli::{Failure, Setting, say};
use router::probe::{Live, Probe, Reading};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// 107 tokens for the encoder, the two that mark beginning and end included.
const PROMPT: &str = "A train leaves the station at 9:40 and travels north at 84 kilometres per hour. A second train \
    leaves the same station 25 minutes later on a parallel track and travels in the same direction at 112 kilometres per \
    hour. Explain, step by step and in words that a child of ten would understand, when and how far from the station the \
    second train catches up with the first one, and then say in one sentence what would change if the first train had \
    stopped for four minutes on its way at a village halfway between them.";

/// Measures judgements.
#[derive(Debug, clap::Args)]
pub struct Time {
    /// Judgements of each kind.
    #[arg(long, value_name = "N", default_value_t = 300)]
    rounds: usize,
}

pub(super) fn time(setting: &Setting, wanted: &Time) -> Result<(), Failure> {
    let probe = Probe::bundled()?;
    let plain = probe.clone().without_encoder();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| Failure::Failed(why.to_string()))?;
    let live = Arc::new(Live::new(probe.clone(), Duration::from_secs(5)));
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": PROMPT}]}).to_string();
    let request = adapters::wire::WireRequest::parse(policies::Endpoint::Chat, body.into())
        .map_err(|why| Failure::Failed(why.message))?;
    let rounds = wanted.rounds.max(1);
    let mut rows = Vec::new();
    if probe.has_encoder() {
        rows.push(("with encoder", spent(rounds, || drop(probe.judge(&Reading::of_prompt(PROMPT))))));
    }
    rows.push(("without encoder", spent(rounds, || drop(plain.judge(&Reading::of_prompt(PROMPT))))));
    rows.push(("repeated, as a gateway remembers it", spent(rounds, || drop(runtime.block_on(live.judge(&request))))));
    if setting.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(what, spent)| json!({"what": what, "p50_us": at(spent, 50), "p99_us": at(spent, 99)}))
            .collect();
        say(json!({"rounds": rounds, "rows": rows}));
        return Ok(());
    }
    for (what, spent) in rows {
        say(format!("{what:<36} p50 {:>9.1} us   p99 {:>9.1} us", at(&spent, 50), at(&spent, 99)));
    }
    Ok(())
}

/// How long each round took, shortest first; the first rounds are not counted.
fn spent(rounds: usize, mut once: impl FnMut()) -> Vec<Duration> {
    (0..5).for_each(|_| once());
    let mut spent: Vec<Duration> = (0..rounds)
        .map(|_| {
            let started = Instant::now();
            once();
            started.elapsed()
        })
        .collect();
    spent.sort_unstable();
    spent
}

/// A percentile, in microseconds.
fn at(spent: &[Duration], percent: usize) -> f64 {
    let place = (spent.len().saturating_sub(1)) * percent / 100;
    spent.get(place).map_or(0.0, |spent| spent.as_nanos() as f64 / 1_000.0)
}

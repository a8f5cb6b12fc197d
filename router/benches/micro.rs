//! What judging a request and writing its lines cost: `make bench-micro`.
//!
//! Times for a single call, as divan takes them; attempts a second of the whole store, with many at once, are
//! `benches/ledger.rs`.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use adapters::wire::WireRequest;
use divan::{Bencher, black_box};
use jiff::Timestamp;
use policies::Endpoint;
use router::heuristic_need;
use router::ledger::{Durability, Ledger};
use router::probe::{Probe, Reading};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[path = "../tests/lines/mod.rs"]
mod lines;

fn main() {
    divan::main();
}

/// A request whose prompt has so many bytes, sentences that are not all the same.
fn request(bytes: usize) -> WireRequest {
    let mut prompt = String::new();
    for n in 0.. {
        if prompt.len() >= bytes {
            break;
        }
        prompt.push_str(&format!("Explain step {n} of the plan, and why the other {} were not taken. ", n * 7 % 13));
    }
    prompt.truncate(bytes);
    let body = serde_json::json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]});
    WireRequest::parse(Endpoint::Chat, body.to_string().into()).unwrap()
}

/// The judge that needs no training.
#[divan::bench(args = [256, 8_192])]
fn heuristic(bencher: Bencher<'_, '_>, bytes: usize) {
    let request = request(bytes);
    bencher.bench(|| heuristic_need(black_box(&request)));
}

/// The shipped head without its encoder, reading included.
#[divan::bench(args = [256, 8_192])]
fn probe(bencher: Bencher<'_, '_>, bytes: usize) {
    let (request, probe) = (request(bytes), Probe::bundled().unwrap().without_encoder());
    bencher.bench(|| probe.judge(&Reading::of_request(black_box(&request))));
}

/// The same with it.
#[divan::bench(args = [256, 8_192], sample_count = 20)]
fn probe_with_encoder(bencher: Bencher<'_, '_>, bytes: usize) {
    let (request, probe) = (request(bytes), Probe::bundled().unwrap());
    bencher.bench(|| probe.judge(&Reading::of_request(black_box(&request))));
}

/// Both commits of an attempt, one after the other, with nobody beside it: what one request waits for.
#[divan::bench(args = ["disk", "process"], sample_count = 50)]
fn attempt(bencher: Bencher<'_, '_>, durability: &str) {
    let folder = tempfile::tempdir().unwrap();
    let durability = if durability == "disk" { Durability::Disk } else { Durability::Process };
    let (ledger, _) = Ledger::start(folder.path().join("micro.db"), durability).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let count = AtomicU64::new(0);
    bencher.bench(|| {
        let (id, now) = (format!("r{}", count.fetch_add(1, Ordering::Relaxed)), Timestamp::now().as_microsecond());
        let open = Arc::new(lines::open(&id, now));
        runtime.block_on(async {
            ledger.open(open.clone()).await.unwrap();
            ledger.close(lines::closed(open, now, 50_000), None).await.unwrap();
        });
    });
}

//! What a request costs as the ledger and the number of keys grow: `make bench-growth`.
//!
//! The time of an attempt's two commits, of a look-up by id, of the page of the last hundred requests and of reading all keys, with
//! an empty ledger and with a large one, and the ratio of both. How large is said by two numbers
//! behind `--`, lines and keys (else 100,000 and 10,000; the pass mark of issue 7 is for 10,000,000 and 100,000). What is compared ran alternately, in
//! rounds, and the median of the rounds' ratios is shown: so a neighbour on the machine hits both.
//!
//! The lines of the large one lie evenly over the last thirty days. At the end: how long it takes to sum all of their hours,
//! and what the page's overview asks then, beside the same before that.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use jiff::Timestamp;
use policies::KeyId;
use router::ledger::{
    AttemptClose, AttemptOpen, Durability, GroupBy, Ledger, NewKey, Payer, Pieces, RequestFilter, RequestRecord,
};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[path = "../tests/lines/mod.rs"]
mod lines;

const ROUNDS: usize = 11;
const EACH: u64 = 400;

/// The numbers on the command line; cargo's own flags are none.
fn sizes() -> (u64, u64) {
    let mut numbers = std::env::args().filter_map(|text| text.replace('_', "").parse().ok());
    (numbers.next().unwrap_or(100_000), numbers.next().unwrap_or(10_000))
}

const DAY_US: i64 = 86_400_000_000;

fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

fn open(prefix: &str, number: u64) -> Arc<AttemptOpen> {
    begun(prefix, number, now())
}

fn begun(prefix: &str, number: u64, at_us: i64) -> Arc<AttemptOpen> {
    let payer = Payer { key: Some(KeyId::from(format!("key_{}", number % 1_000).as_str())), ..Payer::default() };
    let line = lines::open(&format!("{prefix}{number:016}"), at_us);
    Arc::new(AttemptOpen { payer, ..line })
}

fn closed(open: Arc<AttemptOpen>) -> AttemptClose {
    let ended = open.at_us + 1_500_000;
    lines::closed(open, ended, 50_000)
}

/// The request's own row, in the commit that closes it.
fn request(open: &AttemptOpen) -> RequestRecord {
    RequestRecord {
        id: open.request.clone(),
        at_us: open.at_us,
        payer: open.payer.clone(),
        endpoint: "chat",
        asked: "auto".into(),
        class: "internal".into(),
        route: Some("hosted"),
        model: Some(open.model.clone()),
        reason: "classifier".into(),
        score: Some(0.7),
        status: 200,
        attempts: 1,
        record: "{}".into(),
        cascade: None,
        judgement: None,
        arm: None,
        placed: None,
    }
}

struct Bed {
    ledger: Ledger,
    next: u64,
}

impl Bed {
    async fn filled(folder: &Path, lines: u64, keys: u64) -> Self {
        let (ledger, _) = Ledger::start(folder.join("growth.db"), Durability::Process).unwrap();
        let first = now() - 30 * DAY_US;
        for number in 0..lines {
            let share = i128::from(30 * DAY_US) * i128::from(number) / i128::from(lines);
            let line = begun("old-", number, first + i64::try_from(share).unwrap());
            let row = request(&line);
            ledger.close_later(closed(line), Some(row));
            if number % 4_096 == 4_095 {
                // The queue holds what the writer has not taken yet.
                ledger.close(closed(open("mark-", number)), None).await.unwrap();
            }
        }
        for number in 0..keys {
            ledger.create_key(&NewKey { name: format!("key-{number}"), ..NewKey::default() }).unwrap();
        }
        ledger.close(closed(open("mark-", lines)), None).await.unwrap();
        Self { ledger, next: 0 }
    }

    /// The time of one attempt's two commits.
    async fn attempts(&mut self) -> Duration {
        let began = Instant::now();
        for _ in 0..EACH {
            self.next += 1;
            let line = open("new-", self.next);
            let row = request(&line);
            self.ledger.open(line.clone()).await.unwrap();
            self.ledger.close(closed(line), Some(row)).await.unwrap();
        }
        began.elapsed() / u32::try_from(EACH).unwrap()
    }

    fn look_up(&self) -> Duration {
        let began = Instant::now();
        for number in 0..EACH {
            let found = self.ledger.request(&format!("new-{:016}", 1 + number % self.next)).unwrap();
            assert!(found.is_some());
        }
        began.elapsed() / u32::try_from(EACH).unwrap()
    }

    fn page(&self) -> Duration {
        let began = Instant::now();
        for _ in 0..20 {
            let rows = self.ledger.requests(&RequestFilter { limit: 100, ..RequestFilter::default() }).unwrap();
            assert_eq!(rows.len(), 100);
        }
        began.elapsed() / 20
    }
}

/// What the page's overview asks, in milliseconds each.
fn overview(ledger: &Ledger) -> Vec<(&'static str, f64)> {
    let midnight = now() - now() % DAY_US;
    let (week, month) = (midnight - 6 * DAY_US, midnight - 29 * DAY_US);
    let timed = |name, ask: &dyn Fn() -> usize| {
        let began = Instant::now();
        assert!(ask() > 0);
        (name, began.elapsed().as_secs_f64() * 1e3)
    };
    vec![
        timed("routes of a month", &|| ledger.overview(month).unwrap().as_array().unwrap().len()),
        timed("spend of a month by day", &|| ledger.spend(GroupBy::Day, month, i64::MAX).unwrap().rows.len()),
        timed("spend of a week by model", &|| ledger.spend(GroupBy::Model, week, i64::MAX).unwrap().rows.len()),
        timed("a week in hours", &|| ledger.series(Pieces::Hour, week, now()).unwrap().len()),
        timed("a month in days", &|| ledger.series(Pieces::Day, month, now()).unwrap().len()),
        timed("the last hour in minutes", &|| ledger.series(Pieces::Minute, now() - DAY_US / 24, now()).unwrap().len()),
        timed("spend of a week by key (lines)", &|| ledger.spend(GroupBy::Key, week, i64::MAX).unwrap().rows.len()),
    ]
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    let (lines, keys) = sizes();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (small, large) = (tempfile::tempdir_in(folder.path()).unwrap(), tempfile::tempdir_in(folder.path()).unwrap());
    let began = Instant::now();
    let mut empty = runtime.block_on(Bed::filled(small.path(), 0, 1));
    let mut full = runtime.block_on(Bed::filled(large.path(), lines, keys));
    let size = std::fs::metadata(large.path().join("growth.db")).unwrap().len() >> 20;
    println!("{lines} lines and {keys} keys: written in {:.1} s, {size} MiB", began.elapsed().as_secs_f64());
    let mut times: [Vec<(f64, f64)>; 3] = Default::default();
    for _ in 0..ROUNDS {
        let pair = (runtime.block_on(empty.attempts()), runtime.block_on(full.attempts()));
        let pairs = [pair, (empty.look_up(), full.look_up()), (empty.page(), full.page())];
        for (all, (empty, full)) in times.iter_mut().zip(pairs) {
            all.push((empty.as_secs_f64() * 1e6, full.as_secs_f64() * 1e6));
        }
    }
    println!("{:<36} {:>10} {:>10} {:>7}", "microseconds", "empty", "large", "ratio");
    for (name, all) in ["an attempt (two commits)", "a look-up by id", "a page of 100 requests"].iter().zip(&times) {
        let of = |pick: fn(&(f64, f64)) -> f64| median(all.iter().map(pick).collect());
        println!("{name:<36} {:>10.1} {:>10.1} {:>7.2}", of(|t| t.0), of(|t| t.1), of(|t| t.1 / t.0));
    }
    let began = Instant::now();
    let read = full.ledger.keys().unwrap().len();
    println!("all {read} keys are read in {:.1} ms, when one has changed", began.elapsed().as_secs_f64() * 1e3);
    let before = overview(&full.ledger);
    let began = Instant::now();
    let parts = runtime.block_on(full.ledger.sum_hours(now())).unwrap();
    println!("{parts} hours and days summed in {:.1} s", began.elapsed().as_secs_f64());
    println!("{:<36} {:>10} {:>10}", "milliseconds", "lines", "summed");
    for ((name, lines), (_, summed)) in before.iter().zip(overview(&full.ledger)) {
        println!("{name:<36} {lines:>10.1} {summed:>10.1}");
    }
}

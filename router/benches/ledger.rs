//! How many attempts a second the accounts and the ledger take: `cargo bench -p router --no-default-features --bench ledger`;
//! on one core with `taskset -c 0` before the program that it builds.
//!
//! One pair is what an attempt does: set money aside in a budget, write its opening line, wait until that is durable,
//! write its end, wait again, book the cost. 256 of them run at once. The disk is the one that holds the build: fsync is
//! part of what is measured with `disk`, and how long one takes there stands beside. SQLite and, where it is installed, a
//! PostgreSQL on this machine (its files where `TMPDIR` says) stand side by side.
//!
//! Processor time stands beside the rate: of this process, and of the server with its children. It is what can be
//! compared on a machine where other work is going on, where the rate says little.
#![expect(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

use futures::future::join_all;
use jiff::Timestamp;
use policies::{Amount, Location, NanoDollars, Principal};
use router::audit::export::{Filter, export};
use router::audit::verify::verify;
use router::audit::{Entry, Keys, Signer};
use router::ledger::{AttemptClose, AttemptOpen, Durability, Ledger, Place};
use router::{BudgetSpec, Budgets, Scope, Window};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[path = "../../tests/src/stores.rs"]
#[expect(dead_code, reason = "the black-box tests use the rest")]
mod stores;

#[path = "../tests/lines/mod.rs"]
mod lines;

const AT_ONCE: usize = 256;
const TIME: Duration = Duration::from_secs(3);
const RECORDS: u64 = 1_000_000;

fn open(number: u64) -> Arc<AttemptOpen> {
    Arc::new(lines::open(&format!("r{number:016}"), Timestamp::now().as_microsecond()))
}

fn closed(open: Arc<AttemptOpen>) -> AttemptClose {
    lines::closed(open, Timestamp::now().as_microsecond(), 50_000)
}

/// What a run came to.
struct Run {
    per_second: f64,
    /// Processor time a pair in microseconds: of this process, and of the server where there is one.
    ours: f64,
    theirs: Option<f64>,
}

/// Processor time of a process and its children so far, in microseconds; `None`: this machine does not say.
fn processor_us(pid: u32) -> Option<f64> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let all = std::iter::once(pid).chain(children.split_whitespace().filter_map(|child| child.parse().ok()));
    let ticks = all.filter_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may hold anything: the 14th and 15th field of all.
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    });
    // A tick is a hundredth of a second wherever Linux runs.
    Some(ticks.sum::<u64>() as f64 * 10_000.0)
}

/// Pairs a second on a ledger; `server`: the process that keeps it.
async fn pairs(place: Place, server: Option<u32>, durability: Durability, keys: Option<Keys>) -> Run {
    let (ledger, _) = Ledger::start_with(place, durability, keys).unwrap();
    let limit = BudgetSpec::dollars(Scope::Org, NanoDollars(u64::MAX / 2), Window::Month);
    let budgets = Budgets::start(ledger.clone(), vec![limit], Timestamp::now()).unwrap();
    let (next, began) = (AtomicU64::new(0), Instant::now());
    let before = (processor_us(std::process::id()), server.and_then(processor_us));
    let model = "big".into();
    let hand = async || {
        while began.elapsed() < TIME {
            let line = open(next.fetch_add(1, Ordering::Relaxed));
            let held = Amount { money: NanoDollars(90_000), tokens: 100 };
            let whose = (&model, Location::Hosted);
            let hold = budgets.hold(&Principal::default(), &[], whose, held, Timestamp::now()).unwrap();
            ledger.open(line.clone()).await.unwrap();
            ledger.close(closed(line), None).await.unwrap();
            hold.settle(Amount { money: NanoDollars(50_000), tokens: 30 });
        }
    };
    join_all((0..AT_ONCE).map(|_| hand())).await;
    let count = next.load(Ordering::Relaxed) as f64;
    let per_second = count / began.elapsed().as_secs_f64();
    let after = (processor_us(std::process::id()), server.and_then(processor_us));
    let used = |(before, after): (Option<f64>, Option<f64>)| after.zip(before).map(|(after, before)| after - before);
    let theirs = used((before.1, after.1));
    // The server is a child of a shell of this process, so it is not counted here.
    let ours = used((before.0, after.0)).unwrap_or(f64::NAN);
    let spent = budgets.states(Timestamp::now()).remove(0).dollars.unwrap().spent_usd.0;
    assert_eq!(spent, next.load(Ordering::Relaxed) * 50_000, "every pair is booked");
    ledger.shutdown().await.unwrap();
    Run { per_second, ours: ours / count, theirs: theirs.map(|theirs| theirs / count) }
}

/// A million records: how long they take to be written, exported and verified.
async fn verification(folder: &Path) {
    let key_file = folder.join("evidence.key");
    let keys = Keys::open(&key_file).unwrap();
    let (ledger, _) = Ledger::start_with(folder.join("million.db"), Durability::Process, Some(keys)).unwrap();
    let began = Instant::now();
    for batch in 0..RECORDS / 1_000 {
        ledger.evidence_later((0..1_000).map(|n| Entry::dial(&open(batch * 1_000 + n))).collect());
        ledger.checkpoint().await.unwrap();
    }
    println!("{RECORDS} records of evidence: written in {:.1} s", began.elapsed().as_secs_f64());
    let signer = Signer::load_or_create(&key_file).unwrap();
    let (path, began) = (folder.join("export.jsonl"), Instant::now());
    let out = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    export(&ledger, &signer, &Filter::default(), out).unwrap();
    let size = std::fs::metadata(&path).unwrap().len() >> 20;
    println!("exported in {:.1} s ({size} MiB)", began.elapsed().as_secs_f64());
    let (file, began) = (std::fs::File::open(&path).unwrap(), Instant::now());
    let sound = verify(std::io::BufReader::with_capacity(1 << 20, file), signer.public().unwrap(), &[]).unwrap();
    println!("{} records verified in {:.1} s", sound.records, began.elapsed().as_secs_f64());
}

/// The median time of a write that is synced.
fn sync(folder: &Path) -> Duration {
    let mut file = std::fs::File::create(folder.join("sync")).unwrap();
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let began = Instant::now();
            file.write_all(&[7; 4096]).unwrap();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("a synced write of 4 KiB: {:.2} ms (median of 200)", sync(folder.path()).as_secs_f64() * 1e3);
    let server = stores::Postgres::durable();
    for (word, durability) in [("process", Durability::Process), ("disk", Durability::Disk)] {
        for (with, evidence) in [("without", false), ("with", true)] {
            let of = tempfile::tempdir_in(folder.path()).unwrap();
            let keys = || evidence.then(|| Keys::open(&of.path().join("evidence.key")).unwrap());
            let say = |store: &str, rate: &Run| {
                let theirs = rate.theirs.map_or(String::new(), |theirs| format!(" + {theirs:.0} of the server"));
                println!(
                    "{store:10} durability = \"{word}\", {with} evidence: {:>8.0} reserve-and-settle pairs a second, \
                     {AT_ONCE} at once; {:.0}{theirs} us of processor time a pair",
                    rate.per_second, rate.ours
                );
            };
            let file = pairs(of.path().join("bench.db").into(), None, durability, keys());
            say("SQLite", &runtime.block_on(file));
            if let Some(server) = &server {
                let place = Place::parse(&policies::Secret::new(server.database()), None).unwrap();
                say("PostgreSQL", &runtime.block_on(pairs(place, Some(server.pid()), durability, keys())));
            }
        }
    }
    runtime.block_on(verification(folder.path()));
}

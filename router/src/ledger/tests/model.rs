//! The ledger against a model of it: any sequence of openings, growths, ends, repeats, prunings, restarts and deaths of
//! the process leaves the lines that the model says, on both stores.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;

/// Requests and attempts of each that a sequence is about: few, so that it often comes back to the same.
const REQUESTS: u8 = 4;
const ATTEMPTS: u32 = 2;
/// When an old line was opened; a new one is opened now.
const OLD: i64 = 1;

/// Something that happens to one line, or to the ledger.
#[derive(Clone, Debug)]
enum Step {
    Open(Line),
    Raise(Line, u64),
    Close(Line, u64),
    /// Nobody waits for it.
    CloseLater(Line, u64),
    Prune,
    Restart,
    Die,
}

/// Which line, and what it is opened with where it is not there.
#[derive(Clone, Debug)]
struct Line {
    request: u8,
    attempt: u32,
    ceiling: u64,
    old: bool,
}

/// A line as the model has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    old: bool,
    ceiling: u64,
    ceiling_tokens: u64,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Closed(u64),
    /// Charged at its ceiling when its process was found dead. On a server its own end still counts.
    Charged,
}

#[derive(Clone, Debug, Default)]
struct Model {
    server: bool,
    lines: BTreeMap<(String, u32), Known>,
}

// === impl Line ===

impl Line {
    fn key(&self) -> (String, u32) {
        (format!("r{}", self.request), self.attempt)
    }

    fn opening(&self, now_us: i64) -> Arc<AttemptOpen> {
        let (request, number) = self.key();
        Arc::new(AttemptOpen {
            at_us: if self.old { OLD } else { now_us },
            ceiling: Some(NanoDollars(self.ceiling)),
            ceiling_tokens: Some(self.ceiling),
            ..(*attempt(&request, number)).clone()
        })
    }
}

// === impl Model ===

impl Model {
    fn open(&mut self, line: &Line) -> &mut Known {
        let known = Known { old: line.old, ceiling: line.ceiling, ceiling_tokens: line.ceiling, end: End::Open };
        self.lines.entry(line.key()).or_insert(known)
    }

    fn is_running(&self, known: &Known) -> bool {
        known.end == End::Open || (self.server && known.end == End::Charged)
    }

    fn raise(&mut self, line: &Line, to: u64) {
        let running = self.lines.get(&line.key()).is_some_and(|known| self.is_running(known));
        if let (true, Some(known)) = (running, self.lines.get_mut(&line.key())) {
            known.ceiling = known.ceiling.max(to);
            known.ceiling_tokens = known.ceiling_tokens.max(to);
        }
    }

    fn close(&mut self, line: &Line, cost: u64) {
        let known = self.open(line).clone();
        if self.is_running(&known) {
            self.open(line).end = End::Closed(cost);
        }
    }

    fn bury(&mut self) {
        self.lines.values_mut().filter(|known| known.end == End::Open).for_each(|known| known.end = End::Charged);
    }

    fn prune(&mut self) {
        self.lines.retain(|_, known| !known.old || known.end == End::Open);
    }
}

impl Known {
    /// What it counts for, once it is closed.
    fn cost(&self) -> Option<u64> {
        match self.end {
            End::Open => None,
            End::Closed(cost) => Some(cost),
            End::Charged => Some(self.ceiling),
        }
    }

    /// Tokens that budgets count: an answer has ten and twenty.
    fn tokens(&self) -> u64 {
        if self.end == End::Charged { self.ceiling_tokens } else { 30 }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let line = || {
        let parts = (0..REQUESTS, 1..=ATTEMPTS, 1..1_000_u64, any::<bool>());
        parts.prop_map(|(request, attempt, ceiling, old)| Line { request, attempt, ceiling, old })
    };
    let step = prop_oneof![
        6 => line().prop_map(Step::Open),
        3 => (line(), 1..2_000_u64).prop_map(|(line, to)| Step::Raise(line, to)),
        5 => (line(), 0..1_000_u64).prop_map(|(line, cost)| Step::Close(line, cost)),
        2 => (line(), 0..1_000_u64).prop_map(|(line, cost)| Step::CloseLater(line, cost)),
        1 => Just(Step::Prune),
        1 => Just(Step::Restart),
        1 => Just(Step::Die),
    ];
    vec(step, 1..40)
}

/// What is on the ledger, and what it says of it, is what the model says.
fn compare(ledger: &Ledger, model: &Model) {
    let sql = "SELECT request, attempt, at_us, outcome, error, ceiling_nd, cost_nd, ceiling_tokens FROM attempts";
    let lines = ledger.read(|db| {
        db.query(sql, &[], |row| {
            let (outcome, cost) = (row.get::<Option<String>>(3)?, row.get::<Option<u64>>(6)?);
            let end = match outcome.as_deref() {
                None => End::Open,
                Some("unknown") => End::Charged,
                Some(_) => End::Closed(cost.unwrap_or(u64::MAX)),
            };
            let (ceiling, ceiling_tokens) = (row.get(5)?, row.get(7)?);
            assert!(end != End::Charged || cost == Some(ceiling), "charged at its ceiling");
            let known = Known { old: row.get::<i64>(2)? == OLD, ceiling, ceiling_tokens, end };
            Ok(((row.get::<String>(0)?, row.get::<i64>(1)? as u32), known))
        })
    });
    let lines: Vec<_> = lines.unwrap();
    assert_eq!(lines.len(), model.lines.len(), "each line is there once");
    assert_eq!(lines.into_iter().collect::<BTreeMap<_, _>>(), model.lines);
    let ended = || model.lines.values().filter_map(|known| Some((known, known.cost()?)));
    let total = all(ledger, GroupBy::Model).total;
    let expected = (ended().count() as u64, ended().map(|(_, cost)| cost).sum::<u64>());
    assert_eq!((total.requests, total.cost_usd.0), expected);
    for since in [0, OLD + 1] {
        let spent = ledger.spent_since(&SpendScope::Everything, since).unwrap();
        let counted = || ended().filter(|(known, _)| since == 0 || !known.old);
        let expected = (counted().map(|(_, cost)| cost).sum(), counted().map(|(known, _)| known.tokens()).sum());
        assert_eq!((spent.money.0, spent.tokens), expected, "since {since}");
    }
    if model.server {
        let committed = ledger.committed_since(&SpendScope::Everything, 0).unwrap();
        let committed: u64 = committed.into_iter().map(|(_, amount)| amount.money.0).sum();
        let expected: u64 = model.lines.values().map(|known| known.cost().unwrap_or(known.ceiling)).sum();
        assert_eq!(committed, expected, "running ones at what is set aside for them");
    }
    assert!(ledger.verify().unwrap().is_empty());
}

async fn walk(mut bed: Bed, steps: Vec<Step>) {
    let (mut ledger, _) = bed.start(Durability::Process);
    let mut model = Model { server: ledger.is_shared(), ..Model::default() };
    // Processes that died: nothing of them is told to anybody any more.
    let mut dead = Vec::new();
    let now_us = jiff::Timestamp::now().as_microsecond();
    for step in steps {
        match &step {
            Step::Open(line) => {
                ledger.open(line.opening(now_us)).await.unwrap();
                model.open(line);
            }
            Step::Raise(line, to) => {
                let to_amount = Amount { money: NanoDollars(*to), tokens: *to };
                ledger.raise(line.opening(now_us), to_amount).await.unwrap();
                model.raise(line, *to);
            }
            Step::Close(line, cost) => {
                ledger.close(closed(line.opening(now_us), *cost), None).await.unwrap();
                model.close(line, *cost);
            }
            Step::CloseLater(line, cost) => {
                ledger.close_later(closed(line.opening(now_us), *cost), None);
                model.close(line, *cost);
                // Nothing overtakes it.
                continue;
            }
            Step::Prune => {
                let day = Duration::from_secs(86_400);
                ledger.prune(Retention { age: day, bytes: u64::MAX }).await.unwrap();
                model.prune();
            }
            Step::Restart => {
                ledger.shutdown().await.unwrap();
                ledger = bed.start(Durability::Process).0;
                model.bury();
            }
            Step::Die => {
                // What nobody waited for is written, or it is not: here it is, so that the model knows.
                ledger.raise(attempt("nobody", 1), Amount::default()).await.unwrap();
                bed.die(&ledger);
                let next = bed.start(Durability::Process).0;
                dead.push(std::mem::replace(&mut ledger, next));
                model.bury();
            }
        }
        compare(&ledger, &model);
    }
    ledger.shutdown().await.unwrap();
}

fn check(cases: u32, bed: impl Fn() -> Bed) {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let checked = runner.run(&steps(), |steps| {
        runtime.block_on(walk(bed(), steps));
        Ok(())
    });
    checked.unwrap_or_else(|failure| panic!("{failure}"));
}

pub(super) fn full() -> bool {
    std::env::var_os("SLUICE_TEST_SIZE").is_some_and(|size| size == "full")
}

#[test]
fn any_sequence_of_events_leaves_the_lines_of_the_model_on_a_file() {
    check(if full() { 2_000 } else { 48 }, Bed::file);
}

#[test]
fn any_sequence_of_events_leaves_the_lines_of_the_model_on_a_server() {
    if Bed::server().is_some() {
        check(if full() { 500 } else { 12 }, || Bed::server().unwrap());
    }
}

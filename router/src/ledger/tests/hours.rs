//! Summed hours say what their lines say, on both stores.

use super::*;
use crate::ledger::hours::{Begin, next};
use crate::ledger::writer::Op;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

on_both_stores! {
    whatever_happens_to_lines_sums_are_those_of_a_full_scan;
    a_summed_hour_is_read_and_its_lines_are_not;
    an_hour_is_not_summed_while_something_in_it_runs_nor_before_it_is_over;
    what_was_summed_before_a_late_line_came_is_thrown_away;
}

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
/// Lines begin at multiples of it, so that a cut between two of them is not moved by the seconds that a test takes.
const GRID: i64 = 600_000_000;

/// A line as the test knows it.
#[derive(Clone)]
struct Known {
    close: AttemptClose,
}

impl Known {
    fn at(&self) -> i64 {
        self.close.open.at_us
    }

    fn well(&self) -> bool {
        self.close.outcome == Outcome::Ok && self.close.open.purpose == "answer"
    }
}

fn random(rng: &mut ChaCha8Rng, n: u32, now: i64) -> Known {
    let at_us = now - GRID * rng.random_range(0..500);
    let local = rng.random_bool(0.4);
    let open = AttemptOpen {
        at_us,
        purpose: ["answer", "answer", "answer", "shadow"].choose(rng).unwrap(),
        model: (*["small", "big", "other"].choose(rng).unwrap()).into(),
        provider: (*["house", "hosted"].choose(rng).unwrap()).into(),
        route: if local { "local" } else { "hosted" },
        price_source: if local { "in_process".into() } else { "config".into() },
        ..(*attempt(&format!("r{n}"), 1)).clone()
    };
    let outcomes = [Outcome::Ok, Outcome::Ok, Outcome::Error, Outcome::Truncated, Outcome::Disconnected];
    let took = rng.random_range(0..90_000_000);
    Known {
        close: AttemptClose {
            ended_us: at_us + took,
            outcome: *outcomes.choose(rng).unwrap(),
            counted: Counted::Exact(Usage::plain(rng.random_range(0..10_000), rng.random_range(0..10_000))),
            cost: rng.random_bool(0.9).then(|| NanoDollars(rng.random_range(0..5_000_000_000))),
            local_cost: (local && rng.random_bool(0.7)).then(|| NanoDollars(rng.random_range(0..1_000))),
            baseline: rng.random_bool(0.9).then(|| NanoDollars(rng.random_range(0..5_000_000_000))),
            first_event_us: rng.random_bool(0.8).then(|| u64::try_from(took / 2).unwrap()),
            ..closed(Arc::new(open), 0)
        },
    }
}

/// What a full scan comes to.
fn summed<'a>(lines: impl Iterator<Item = &'a Known>) -> SpendRow {
    lines.fold(SpendRow::default(), |sum, Known { close }| SpendRow {
        group: None,
        requests: sum.requests + 1,
        input_tokens: sum.input_tokens + close.usage().input.0,
        cached_tokens: sum.cached_tokens + close.usage().cached_input.0,
        output_tokens: sum.output_tokens + close.usage().output.0,
        unpriced_requests: sum.unpriced_requests + u64::from(close.cost.is_none()),
        cost_usd: NanoDollars(sum.cost_usd.0 + close.cost.map_or(0, |cost| cost.0)),
        local_cost_usd: match (sum.local_cost_usd, close.local_cost) {
            (Some(one), Some(other)) => Some(NanoDollars(one.0 + other.0)),
            (one, other) => one.or(other),
        },
        local_cost_unknown: sum.local_cost_unknown
            + u64::from(close.local_cost.is_none() && close.open.price_source == "in_process"),
        baseline_usd: NanoDollars(sum.baseline_usd.0 + close.baseline.map_or(0, |cost| cost.0)),
    })
}

/// The group of a line.
type Name = fn(&Known) -> String;

/// By nearest rank.
fn ranked(mut waits: Vec<i64>) -> Option<Quantiles> {
    waits.sort_unstable();
    let rank = |share: f64| waits[(waits.len() as f64 * share).ceil() as usize - 1] as f64 / 1_000.0;
    (!waits.is_empty()).then(|| Quantiles { p50: rank(0.5), p95: rank(0.95) })
}

fn same(ledger: &Ledger, known: &[Known], span: [i64; 2], why: &str) {
    let [since, until] = span;
    let inside: Vec<&Known> = known.iter().filter(|line| (since..until).contains(&line.at())).collect();
    let of: [(GroupBy, Name); 5] = [
        (GroupBy::Model, |line| line.close.open.model.to_string()),
        (GroupBy::Provider, |line| line.close.open.provider.to_string()),
        (GroupBy::Route, |line| line.close.open.route.to_owned()),
        (GroupBy::Team, |_| String::new()),
        (GroupBy::Day, |line| {
            jiff::Timestamp::from_microsecond(line.at()).unwrap().to_string().split('T').next().unwrap().to_owned()
        }),
    ];
    for (by, name) in of {
        let mut groups: BTreeMap<String, Vec<&Known>> = BTreeMap::new();
        inside.iter().for_each(|line| groups.entry(name(line)).or_default().push(line));
        let mut rows: Vec<SpendRow> = groups
            .into_iter()
            .map(|(group, lines)| SpendRow { group: Some(group), ..summed(lines.into_iter()) })
            .collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.cost_usd), row.group.clone()));
        let told = ledger.spend(by, since, until).unwrap();
        assert_eq!((told.rows, told.total), (rows, summed(inside.iter().copied())), "{by:?}: {why}");
    }
    for pieces in [Pieces::Hour, Pieces::Day, Pieces::Minute] {
        let mut wanted: BTreeMap<i64, Vec<&Known>> = BTreeMap::new();
        inside.iter().for_each(|line| wanted.entry(line.at() - line.at() % pieces.length_us()).or_default().push(line));
        let wanted: Vec<SeriesRow> = wanted
            .into_iter()
            .map(|(at, lines)| {
                let sum = summed(lines.iter().copied());
                let count = |is: &dyn Fn(&Known) -> bool| lines.iter().filter(|line| is(line)).count() as u64;
                let answer = |line: &Known| line.close.open.purpose == "answer";
                let well = || lines.iter().filter(|line| line.well());
                SeriesRow {
                    time: jiff::Timestamp::from_microsecond(at).unwrap().to_string(),
                    attempts: sum.requests,
                    unpriced_attempts: sum.unpriced_requests,
                    cost_usd: sum.cost_usd,
                    baseline_usd: sum.baseline_usd,
                    local_cost_usd: sum.local_cost_usd,
                    answers: count(&answer),
                    ended_well: count(&Known::well),
                    ended_well_local: count(&|line| line.well() && line.close.open.route == "local"),
                    failed: count(&|line| {
                        answer(line) && matches!(line.close.outcome, Outcome::Error | Outcome::Truncated)
                    }),
                    first_event_ms: ranked(
                        well()
                            .filter_map(|line| line.close.first_event_us)
                            .map(|us| i64::try_from(us).unwrap())
                            .collect(),
                    ),
                    duration_ms: ranked(well().map(|line| line.close.ended_us - line.at()).collect()),
                }
            })
            .collect();
        assert_eq!(ledger.series(pieces, since, until).unwrap(), wanted, "{pieces:?}: {why}");
    }
    let told = ledger.overview(since).unwrap();
    let counted: u64 = told.as_array().unwrap().iter().map(|row| row["attempts"].as_u64().unwrap()).sum();
    let answers = known.iter().filter(|line| line.at() >= since && line.close.open.purpose == "answer");
    assert_eq!(counted, answers.count() as u64, "{told}: {why}");
}

async fn whatever_happens_to_lines_sums_are_those_of_a_full_scan(bed: Bed) {
    let rounds = if model::full() { 60 } else { 6 };
    let (ledger, _) = bed.start(Durability::Process);
    let now = jiff::Timestamp::now().as_microsecond() / GRID * GRID;
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (mut known, mut running): (Vec<Known>, Vec<Known>) = (vec![], vec![]);
    for round in 0..rounds {
        for step in 0..40 {
            let line = random(&mut rng, round * 100 + step, now);
            match rng.random_range(0..10) {
                0 => {
                    ledger.open(line.close.open.clone()).await.unwrap();
                    running.push(line);
                }
                // What ran for days ends.
                1 if !running.is_empty() => {
                    let line = running.swap_remove(rng.random_range(0..running.len()));
                    ledger.close(line.close.clone(), None).await.unwrap();
                    known.push(line);
                }
                2 => drop(ledger.sum_hours(now - GRID * rng.random_range(0..300)).await.unwrap()),
                _ => {
                    ledger.close(line.close.clone(), None).await.unwrap();
                    known.push(line);
                }
            }
        }
        let half = GRID / 2;
        let spans =
            [[0, i64::MAX], [now - GRID * rng.random_range(0..500) - half, now - GRID * rng.random_range(0..200)]];
        for span in spans {
            same(&ledger, &known, span, &format!("round {round}, before"));
            ledger.sum_hours(now + HOUR).await.unwrap();
            same(&ledger, &known, span, &format!("round {round}, after all was summed, {span:?}"));
        }
        if round % 3 == 2 {
            let cut = GRID * rng.random_range(350..500) + half;
            let age = Duration::from_micros(u64::try_from(cut).unwrap());
            ledger.prune(Retention { age, bytes: u64::MAX }).await.unwrap();
            // The age counts from this moment, which lies less than a step of the grid after `now`.
            let gone = jiff::Timestamp::now().as_microsecond() - cut;
            known.retain(|line| line.at() >= gone);
            same(&ledger, &known, [0, i64::MAX], &format!("round {round}, pruned"));
        }
    }
}

/// Three hours and a day of lines that are over for long.
async fn lines(ledger: &Ledger) {
    for n in 0..30_i64 {
        let at_us = 5 * DAY + n * HOUR + 7;
        let open = AttemptOpen { at_us, ..(*attempt(&format!("r{n}"), 1)).clone() };
        let close =
            AttemptClose { ended_us: at_us + 1_000 * n, first_event_us: Some(5), ..closed(Arc::new(open), 100) };
        ledger.close(close, None).await.unwrap();
    }
}

async fn a_summed_hour_is_read_and_its_lines_are_not(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    lines(&ledger).await;
    assert_eq!(ledger.sum_hours(8 * DAY).await.unwrap(), 32, "thirty hours and two days");
    assert_eq!(ledger.sum_hours(8 * DAY).await.unwrap(), 0, "once");
    let month = |pieces| ledger.series(pieces, 0, i64::MAX).unwrap();
    let before = (month(Pieces::Hour), month(Pieces::Day), all(&ledger, GroupBy::Model).total);
    assert_eq!((before.0.len(), before.1.len(), before.2.cost_usd), (30, 2, NanoDollars(3_000)));
    bed.run("UPDATE attempts SET cost_nd = 1, first_event_us = 1, ended_us = at_us");
    assert_eq!((month(Pieces::Hour), month(Pieces::Day), all(&ledger, GroupBy::Model).total), before);
    // Half of an hour is in no sum, nor are minutes.
    let half = ledger.spend(GroupBy::Day, 5 * DAY + HOUR / 2, 5 * DAY + 3 * HOUR / 2).unwrap();
    assert_eq!(half.total.cost_usd, NanoDollars(1));
    // The single waits are kept no longer than they are needed.
    bed.run("DELETE FROM hours WHERE waits IS NOT NULL");
    assert_eq!(month(Pieces::Hour), before.0);
}

async fn an_hour_is_not_summed_while_something_in_it_runs_nor_before_it_is_over(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    lines(&ledger).await;
    let open = Arc::new(AttemptOpen { at_us: 5 * DAY + 2 * HOUR, ..(*attempt("running", 1)).clone() });
    ledger.open(open.clone()).await.unwrap();
    assert_eq!(ledger.sum_hours(5 * DAY + 3 * HOUR).await.unwrap(), 2, "the third is not over for long enough");
    assert_eq!(ledger.sum_hours(5 * DAY + 5 * HOUR).await.unwrap(), 1, "the fourth; in the third something runs");
    ledger.close(closed(open, 7), None).await.unwrap();
    assert_eq!(ledger.sum_hours(5 * DAY + 5 * HOUR).await.unwrap(), 1);
    assert_eq!(all(&ledger, GroupBy::Model).total.cost_usd, NanoDollars(3_007));
}

async fn what_was_summed_before_a_late_line_came_is_thrown_away(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    lines(&ledger).await;
    let read = || ledger.aside(|db| db.snapshot(|db| next(db, 5 * DAY + 2 * HOUR, Begin::default()))).unwrap().unwrap();
    let (stale, twice) = (read(), read());
    let late = AttemptOpen { at_us: 5 * DAY + 8, ..(*attempt("late", 1)).clone() };
    ledger.close(closed(Arc::new(late), 11), None).await.unwrap();
    ledger.writer.commit(Op::Rolled(Box::new(stale))).await.unwrap();
    assert_eq!(all(&ledger, GroupBy::Model).total.cost_usd, NanoDollars(3_011));
    // In one group with a late line, too: whichever comes first.
    let fresh = read();
    let late = AttemptOpen { at_us: 5 * DAY + 9, ..(*attempt("later", 1)).clone() };
    ledger.writer.push(Op::Rolled(Box::new(fresh)), None);
    ledger.close(closed(Arc::new(late), 13), None).await.unwrap();
    ledger.writer.commit(Op::Rolled(Box::new(twice))).await.unwrap();
    assert_eq!(all(&ledger, GroupBy::Model).total.cost_usd, NanoDollars(3_024));
    ledger.sum_hours(8 * DAY).await.unwrap();
    assert_eq!(all(&ledger, GroupBy::Model).total.cost_usd, NanoDollars(3_024));
}

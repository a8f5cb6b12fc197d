//! Sums over time, on both stores.

use super::*;

on_both_stores! {
    pieces_begin_on_the_clock_and_come_to_the_total_of_their_span;
    times_are_quantiles_of_answers_that_ended_well;
}

const HOUR: i64 = 3_600_000_000;

/// An attempt that began at `at_us` and ended `took_us` later.
fn line(n: i64, at_us: i64, took_us: i64, outcome: Outcome) -> AttemptClose {
    let open = AttemptOpen { at_us, ..(*attempt(&format!("r{n}"), 1)).clone() };
    AttemptClose {
        ended_us: at_us + took_us,
        outcome,
        first_event_us: Some(u64::try_from(took_us).unwrap() / 2),
        ..closed(Arc::new(open), 100)
    }
}

async fn pieces_begin_on_the_clock_and_come_to_the_total_of_their_span(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    // An hour's last microsecond, the next one's first, and a third in which a local answer and an experiment's end.
    let local = AttemptOpen { at_us: 7 * HOUR + 5, route: "local", ..(*attempt("local", 1)).clone() };
    let shadow = AttemptOpen { at_us: 7 * HOUR + 6, purpose: "shadow", ..(*attempt("shadow", 1)).clone() };
    let free = AttemptClose { cost: Some(NanoDollars(0)), ..closed(Arc::new(local), 40) };
    let unpriced = AttemptClose { cost: None, baseline: None, ..closed(Arc::new(shadow), 0) };
    let lines = [
        line(1, 5 * HOUR - 1, 10, Outcome::Ok),
        line(2, 5 * HOUR, 10, Outcome::Error),
        line(3, 5 * HOUR + 1, 10, Outcome::Disconnected),
        free,
        unpriced,
    ];
    for line in lines {
        ledger.close(line, None).await.unwrap();
    }
    ledger.open(Arc::new(AttemptOpen { at_us: 7 * HOUR, ..(*attempt("running", 1)).clone() })).await.unwrap();
    let hours = ledger.series(Pieces::Hour, 0, i64::MAX).unwrap();
    let told: Vec<_> = hours.iter().map(|row| (row.time.as_str(), row.attempts, row.cost_usd.0)).collect();
    let began = ["1970-01-01T04:00:00Z", "1970-01-01T05:00:00Z", "1970-01-01T07:00:00Z"];
    assert_eq!(told, [(began[0], 1, 100), (began[1], 2, 200), (began[2], 2, 0)]);
    let of = |row: &SeriesRow| (row.answers, row.ended_well, row.ended_well_local, row.failed, row.unpriced_attempts);
    assert_eq!(hours.iter().map(of).collect::<Vec<_>>(), [(1, 1, 0, 0, 0), (2, 0, 0, 1, 0), (1, 1, 1, 0, 1)]);
    assert_eq!(hours[2].baseline_usd.0, 40);
    let days = ledger.series(Pieces::Day, 0, i64::MAX).unwrap();
    assert_eq!((days.len(), days[0].attempts, days[0].cost_usd), (1, 5, all(&ledger, GroupBy::Day).total.cost_usd));
    assert_eq!(ledger.series(Pieces::Minute, 0, i64::MAX).unwrap().len(), 3);
    let inside = ledger.series(Pieces::Hour, 5 * HOUR, 7 * HOUR).unwrap();
    assert_eq!(inside.iter().map(|row| row.attempts).collect::<Vec<_>>(), [2]);
}

async fn times_are_quantiles_of_answers_that_ended_well(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    // 1 to 20 ms; what failed took an hour and is not in it, nor is what nobody knows the time of.
    for n in 1..=20 {
        ledger.close(line(n, HOUR + n, n * 1_000, Outcome::Ok), None).await.unwrap();
    }
    ledger.close(line(21, HOUR, HOUR / 2, Outcome::Error), None).await.unwrap();
    let silent = AttemptClose { first_event_us: None, ..line(22, 2 * HOUR, 8_000, Outcome::Ok) };
    ledger.close(silent, None).await.unwrap();
    let rows = ledger.series(Pieces::Hour, 0, i64::MAX).unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.first_event_ms, row.duration_ms)).collect();
    let both = |p50, p95| Some(Quantiles { p50, p95 });
    assert_eq!(told, [(both(5.0, 9.5), both(10.0, 19.0)), (None, both(8.0, 8.0))]);
}

//! Sixty days that are made up, so that the truth is known: how often a verdict is wrong, and how long it takes.

use super::alarm::Alarm;
use super::evidence::{Evidence, Interval, Way};
use super::verdict::{Question, Verdict};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{Binomial, DiscreteCDF};

const DAYS: usize = 60;
const PAIRS_A_DAY: usize = 60;
const QUESTION: Question = Question { margin: 0.05, error: 0.05 };

/// Seeds, as many as `SLUICE_TEST_SIZE` wants.
fn seeds() -> u64 {
    if full_size() { 2_000 } else { 200 }
}

fn full_size() -> bool {
    std::env::var_os("SLUICE_TEST_SIZE").is_some_and(|size| size == "full")
}

/// The most wrong verdicts: one of twenty in the full size, which is the promise itself. In the reduced one, where so few seeds say
/// little, what a rate of 5% gives in all but one of 10,000 runs of so many.
fn bearable(seeds: u64) -> u64 {
    if full_size() { seeds / 20 } else { Binomial::new(0.05, seeds).unwrap().inverse_cdf(0.9999) }
}

/// A source of differences with a mean that is asked for.
type Source = fn(&mut ChaCha8Rng, f64) -> f64;

const SOURCES: [(&str, Source); 4] = [
    ("wins, ties and losses", |dice, mean| three(dice, mean, 0.5)),
    ("mostly ties", |dice, mean| three(dice, mean, 0.15)),
    ("any score", |dice, mean| {
        let (one, other): (f64, f64) = (dice.random(), dice.random());
        // A triangle around the mean, in hundredths.
        ((mean + 0.6 * (one + other - 1.0)) * 100.0).round() / 100.0
    }),
    ("one side only, and rarely", |dice, mean| {
        // Equal but for rare losses that make the mean.
        if dice.random_bool((-mean / 0.8).clamp(0.0, 1.0)) {
            -0.8
        } else if mean > 0.0 {
            mean
        } else {
            0.0
        }
    }),
];

/// A win, a tie or a loss; one of `decided` is none of them.
fn three(dice: &mut ChaCha8Rng, mean: f64, decided: f64) -> f64 {
    let won = f64::midpoint(decided, mean);
    match dice.random::<f64>() {
        draw if draw < won => 1.0,
        draw if draw < decided => -1.0,
        _ => 0.0,
    }
}

/// The first verdict that a daily look gives, with the pairs that it took.
fn first(seed: u64, source: Source, mean: f64, days: usize) -> Option<(Verdict, u64)> {
    let dice = &mut ChaCha8Rng::seed_from_u64(seed);
    let mut evidence = Evidence::default();
    let limit = (2.0 / QUESTION.error).ln();
    (0..days).find_map(|_| {
        (0..PAIRS_A_DAY).for_each(|_| evidence.add(source(dice, mean)));
        let [not_worse, worse] = QUESTION.asked(&evidence);
        let verdict = if not_worse >= limit { Verdict::NotWorse } else { Verdict::Worse };
        (not_worse >= limit || worse >= limit).then(|| (verdict, evidence.pairs()))
    })
}

#[test]
fn at_the_margin_a_verdict_at_any_look_is_wrong_in_at_most_one_of_twenty_runs() {
    let seeds = seeds();
    for (name, source) in SOURCES {
        // Exactly at the boundary both verdicts are wrong.
        let wrong = (0..seeds).filter(|seed| first(*seed, source, -QUESTION.margin, DAYS).is_some()).count() as u64;
        println!("{name}: {wrong} of {seeds} runs have a wrong verdict at some look in {DAYS} days");
        assert!(wrong <= bearable(seeds), "{name}: {wrong} of {seeds}");
    }
}

#[test]
fn the_interval_holds_the_truth_at_all_looks_at_once() {
    let seeds = seeds() / 2;
    let limit = (2.0 / QUESTION.error).ln();
    for (name, source) in SOURCES {
        let mean = -0.1;
        // The interval is what is not refuted; asking that of the truth alone is quicker than finding both ends.
        let misses = |seed: u64| {
            let dice = &mut ChaCha8Rng::seed_from_u64(10_000 + seed);
            let mut evidence = Evidence::default();
            let missed = (0..30).any(|_| {
                (0..PAIRS_A_DAY).for_each(|_| evidence.add(source(dice, mean)));
                [Way::Above, Way::Below].iter().any(|way| evidence.log_wealth(mean, *way) >= limit)
            });
            let Interval { low, high } = evidence.interval(QUESTION.error);
            assert!(missed || (low..=high).contains(&mean), "the ends agree: {low} {high}");
            missed
        };
        let missed = (0..seeds).filter(|seed| misses(*seed)).count() as u64;
        println!("{name}: {missed} of {seeds} intervals missed the truth at some look");
        assert!(missed <= bearable(seeds), "{name}: {missed} of {seeds}");
    }
}

#[test]
fn a_difference_of_twice_the_margin_is_told_in_a_time_that_stands_beside_the_best_fixed_sample() {
    let seeds = seeds();
    // Twice the margin away from the boundary, and twice the margin worse than the other side.
    for (mean, right) in [(QUESTION.margin, Verdict::NotWorse), (-2.0 * QUESTION.margin, Verdict::Worse)] {
        for (name, source) in SOURCES {
            let runs: Vec<_> = (0..seeds).map(|seed| first(20_000 + seed, source, mean, 400)).collect();
            let wrong = runs.iter().flatten().filter(|(verdict, _)| *verdict != right).count() as u64;
            let mut took: Vec<u64> = runs.iter().map(|run| run.map_or(u64::MAX, |(_, pairs)| pairs)).collect();
            took.sort_unstable();
            let median = took[took.len() / 2];
            let dice = &mut ChaCha8Rng::seed_from_u64(7);
            let drawn: Vec<f64> = (0..20_000).map(|_| source(dice, mean)).collect();
            let centre = drawn.iter().sum::<f64>() / drawn.len() as f64;
            let spread = drawn.iter().map(|score| (score - centre).powi(2)).sum::<f64>() / drawn.len() as f64;
            let away = mean + QUESTION.margin;
            // One look at a size fixed beforehand, 2.5% a side; with the power of one half, as the median has, and of 90%.
            let fixed = |power: f64| (power + 1.959_964).powi(2) * spread / away.powi(2);
            let (half, most) = (fixed(0.0).ceil(), fixed(1.281_552).ceil());
            println!(
                "{name}, mean {mean}: median {median} pairs to `{}`, fixed sample {half} (power 50%), {most} (90%)",
                right.words()
            );
            assert!(wrong <= bearable(seeds), "{name}: {wrong} of {seeds}");
            // The floor of a day, and of what bounded scores can say at all: ln(40 x 12) over the largest growth.
            assert!(median as f64 <= (6.0 * half).max(300.0), "{name}: {median} against {half}");
        }
    }
}

#[test]
fn of_the_slices_that_get_a_verdict_few_are_wrong() {
    let seeds = seeds() / 2;
    let (mut false_share, mut found) = (0.0, 0);
    for seed in 0..seeds {
        let dice = &mut ChaCha8Rng::seed_from_u64(30_000 + seed);
        // Twenty-four slices: sixteen at the boundary, eight clear of it; some pairs are in two of them.
        let mut slices = vec![Evidence::default(); 24];
        for at in 0..24 {
            let mean = if at < 16 { -QUESTION.margin } else { 0.15 };
            for _ in 0..600 {
                let score = three(dice, mean, 0.4);
                slices[at].add(score);
                if at % 8 == 0 && at > 0 && at < 16 {
                    slices[at - 1].add(score);
                }
            }
        }
        let findings = QUESTION.slices(&slices);
        let told: Vec<bool> =
            (0..24).filter(|at| findings[*at].verdict != Verdict::NotYetKnown).map(|at| at < 16).collect();
        let wrong = told.iter().filter(|wrong| **wrong).count();
        false_share += wrong as f64 / told.len().max(1) as f64;
        found += told.len() - wrong;
    }
    let (rate, found) = (false_share / seeds as f64, found as f64 / seeds as f64);
    println!("of the slices with a verdict {:.2}% are wrong; {found:.2} of 8 true ones are found", rate * 100.0);
    assert!(rate <= QUESTION.error, "{rate}");
    assert!(found >= 6.0, "{found}");
}

#[test]
fn an_alarm_is_rarely_false_and_comes_soon_after_a_change() {
    let runs = seeds() / 10;
    let patience = 5_000;
    let (mut false_alarms, mut delays) = (0, vec![]);
    for seed in 0..runs {
        let dice = &mut ChaCha8Rng::seed_from_u64(40_000 + seed);
        let mut alarm = Alarm::new(QUESTION.margin, patience);
        // A year at the boundary is the worst that is not yet a change.
        if (0..2_000).any(|_| alarm.add(three(dice, -QUESTION.margin, 0.4))) {
            false_alarms += 1;
            continue;
        }
        delays.push((1..20_000).find(|_| alarm.add(three(dice, -0.25, 0.4))).unwrap_or(usize::MAX));
    }
    delays.sort_unstable();
    println!(
        "{false_alarms} of {runs} alarms are false within 2,000 pairs; the median delay is {} pairs",
        delays[delays.len() / 2]
    );
    // With a run length of 5,000 pairs, at most four tenths (Markov's inequality) within 2,000.
    assert!(false_alarms as f64 <= 0.4 * runs as f64, "{false_alarms} of {runs}");
    assert!(delays[delays.len() / 2] < 200, "{delays:?}");
}

//! Months that are made up, so that the true saving is known; and what is told where there is no number.

use super::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{Binomial, DiscreteCDF};

/// Sessions of a month, and the share of them that is held out.
const SESSIONS: usize = 6_000;
const HELD_OUT: f64 = 0.05;

/// From a normal distribution, by Box and Muller.
fn normal(dice: &mut ChaCha8Rng) -> f64 {
    let (one, other): (f64, f64) = (dice.random(), dice.random());
    (-2.0 * (1.0 - one).ln()).sqrt() * (std::f64::consts::TAU * other).cos()
}

/// A month of sessions whose hosted cost is lognormal: at 1.2 the tail is heavy.
///
/// A session is some turns; under the treatment each stays local with a probability, and costs the machine and now and then a
/// rejected draft. Gives both arms, and what the treatment truly saved on its sessions.
fn month(seed: u64, stays: f64) -> (Vec<Session>, Vec<Session>, f64) {
    let dice = &mut ChaCha8Rng::seed_from_u64(seed);
    let (mut treatment, mut holdout, mut truth) = (vec![], vec![], 0.0);
    for _ in 0..SESSIONS {
        let known = (6.0 + 0.8 * normal(dice)).exp();
        let turns = dice.random_range(1..=5);
        let turn = known * 2_500.0 * (0.8 * normal(dice)).exp();
        let hosted = turn * f64::from(turns);
        let (mut cost, mut baseline) = (0.0, 0.0);
        for _ in 0..turns {
            if dice.random_bool(stays) {
                cost += 0.05 * turn;
                // A local answer is not as long as the hosted one would have been.
                baseline += turn * dice.random_range(0.5..1.1);
            } else {
                let rejected = if dice.random_bool(0.1) { 0.03 * turn } else { 0.0 };
                cost += turn + rejected;
                baseline += turn;
            }
        }
        if dice.random_bool(HELD_OUT) {
            holdout.push(Session { cost: hosted, baseline: Some(hosted), known });
        } else {
            treatment.push(Session { cost, baseline: Some(baseline), known });
            truth += hosted - cost;
        }
    }
    (treatment, holdout, truth)
}

/// Of so many months with these odds: how many intervals hold the truth, plain and adjusted, and how wide they are.
fn covered(months: u64, stays: f64) -> ([u64; 2], [f64; 2]) {
    let (mut hits, mut widths) = ([0; 2], [0.0; 2]);
    for seed in 0..months {
        let (treatment, holdout, truth) = month(seed, stays);
        for (at, estimate) in [plain, adjusted].iter().enumerate() {
            let found = estimate(&treatment, &holdout).unwrap();
            hits[at] += u64::from((found.low..=found.high).contains(&truth));
            widths[at] += found.width();
        }
    }
    (hits, widths)
}

/// Months, as many as `SLUICE_TEST_SIZE` wants, and how many intervals have to hold: 930 of 1,000, and of fewer what is
/// as unlikely to be missed by intervals that hold 95 times of a hundred.
fn wanted() -> (u64, u64) {
    if std::env::var_os("SLUICE_TEST_SIZE").is_some_and(|size| size == "full") {
        return (1_000, 930);
    }
    let missed = Binomial::new(CONFIDENCE, 1_000).unwrap().cdf(929);
    let fewer = Binomial::new(CONFIDENCE, 300).unwrap();
    let least = (0..300).rev().find(|hits| fewer.cdf(*hits) <= missed).unwrap() + 1;
    (300, least)
}

#[test]
fn the_interval_of_a_month_with_a_heavy_tail_holds_the_true_saving() {
    let (months, least) = wanted();
    let (hits, widths) = covered(months, 0.6);
    assert!(hits.iter().all(|hits| *hits >= least), "{hits:?} of {months}, at least {least}");
    // The adjusted one is worth having: it is narrower.
    assert!(widths[1] < widths[0], "{widths:?}");
}

#[test]
fn where_nothing_is_saved_the_interval_says_so() {
    let (months, least) = wanted();
    let (hits, _) = covered(months, 0.0);
    assert!(hits.iter().all(|hits| *hits >= least), "{hits:?} of {months}, at least {least}");
}

fn rows(arm: &'static str, count: usize, cost: u64) -> Vec<SessionRow> {
    let row = |n: usize| SessionRow {
        arm,
        shares: (0.05, 0.05),
        prompt_tokens: 10 + n as u64 % 7,
        requests: 2,
        cost: NanoDollars(cost + n as u64 % 2),
        baseline: Some(NanoDollars(cost)),
        ..SessionRow::default()
    };
    (0..count).map(row).collect()
}

fn measured(parts: &[Vec<SessionRow>]) -> Measured {
    Measured::of(&parts.concat())
}

#[test]
fn where_no_number_can_be_given_none_is_given_and_the_reason_is() {
    let none = measured(&[]);
    assert!(none.verdict == Verdict::Off && none.message.contains("holdout"), "{none:?}");
    let few = measured(&[rows("treatment", 1_000, 50), rows("holdout", 99, 100)]);
    assert!(few.verdict == Verdict::TooFewSessions && few.message.contains("99"), "{few:?}");
    let mut changed = [rows("treatment", 1_000, 50), rows("holdout", 100, 100)];
    changed[1][0].shares = (0.05, 0.1);
    let changed = measured(&changed);
    assert_eq!((changed.verdict, changed.holdout_share), (Verdict::ShareChanged, None));
    let mut unpriced = [rows("treatment", 1_000, 50), rows("holdout", 100, 100)];
    unpriced[0][0].unpriced = 1;
    let unpriced = measured(&unpriced);
    assert_eq!(unpriced.verdict, Verdict::Unpriced);
    for told in [none, few, changed, unpriced] {
        assert!(told.savings_usd.is_none() && told.interval_usd.is_none() && told.adjusted.is_none(), "{told:?}");
    }
}

#[test]
fn the_figure_is_net_of_the_machine_and_says_when_it_cannot_be() {
    let (mut treatment, holdout) = (rows("treatment", 1_000, 1_000_000), rows("holdout", 100, 3_000_000));
    let gross = measured(&[treatment.clone(), holdout.clone()]);
    assert_eq!((gross.verdict, gross.savings_usd.as_deref()), (Verdict::Measured, Some("2.000000")));
    assert!(gross.treatment.local_cost_usd.is_none() && gross.treatment.judging_usd.is_none());
    for row in &mut treatment {
        (row.local_cost, row.local_known, row.judging) = (NanoDollars(400_000), 1, Some(NanoDollars(100_000)));
    }
    let net = measured(&[treatment.clone(), holdout.clone(), rows("excluded", 3, 7)]);
    assert_eq!(net.savings_usd.as_deref(), Some("1.500000"));
    assert_eq!(net.treatment.local_cost_usd, Some(NanoDollars(400_000_000)));
    assert_eq!(net.treatment.mean_usd, Some(NanoDollars(1_500_000)), "rounded down");
    assert_eq!((net.excluded.sessions, net.excluded.cost_usd.0), (3, 22));
    treatment[0].local_unknown = 1;
    assert!(measured(&[treatment.clone(), holdout]).message.contains("before what 1 local attempts cost"));
    // It may also cost more than it saves.
    let dearer = measured(&[treatment, rows("holdout", 100, 1_000_000)]);
    assert_eq!(dearer.savings_usd.as_deref(), Some("-0.500000"));
}

#[test]
fn the_weaker_figure_is_the_difference_of_sums() {
    let spent = SpendRow {
        cost_usd: NanoDollars(3_000_000_000),
        baseline_usd: NanoDollars(2_500_000_000),
        local_cost_usd: Some(NanoDollars(1)),
        ..SpendRow::default()
    };
    let told = Repriced::of(&spent);
    assert_eq!(told.savings_usd, "-0.500000001");
    assert!(told.note.contains("weaker"));
}

//! The risk target on synthetic streams whose true risk is known: how often the threshold is too high, and how much stays
//! local.
//!
//! The whole loop is played, not one test of a ready-made sample: the threshold decides what is answered locally and
//! therefore what is labelled next.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use router::{Label, Risk, RiskGoal, RiskState};

const GOAL: RiskGoal = RiskGoal { target: 0.05, confidence: 0.9, shadows: false };
const RUNS: u64 = 300;

/// A workload: scores are uniform from 0 to 1, and a local answer is wrong with a probability that depends on the score.
struct Workload {
    wrong: fn(f64) -> f64,
    /// With which probability a local answer is labelled.
    labelled: f64,
    exploration: f32,
    requests: usize,
}

impl Workload {
    /// Plays the loop; gives where it stands at the end.
    fn play(&self, seed: u64) -> RiskState {
        let risk = Risk::new(GOAL, &[]);
        let mut random = StdRng::seed_from_u64(seed);
        for n in 0..self.requests {
            let score: f32 = random.random();
            let threshold = risk.threshold();
            let explored = random.random::<f32>() < self.exploration;
            let local = (score < threshold) != explored;
            let wrong = random.random::<f64>() < (self.wrong)(f64::from(score));
            if local && random.random::<f64>() < self.labelled {
                let id = format!("{seed}-{n}");
                risk.learn(Label::new(&id, score, threshold, None, self.exploration, wrong));
            }
        }
        risk.state()
    }

    /// The true risk below a threshold.
    fn risk_below(&self, threshold: f64) -> f64 {
        let steps = 2_000;
        (0..steps).map(|step| (self.wrong)(threshold * (f64::from(step) + 0.5) / f64::from(steps))).sum::<f64>()
            / f64::from(steps)
    }

    /// In how many runs the threshold is too high, and the mean share that stays local.
    fn runs(&self) -> (usize, f64) {
        let mut too_high = 0;
        let mut local = 0.0;
        for seed in 0..RUNS {
            let state = self.play(seed);
            let threshold = f64::from(state.threshold.unwrap_or(1.0));
            local += threshold / RUNS as f64;
            too_high += usize::from(threshold > 0.0 && self.risk_below(threshold) > f64::from(GOAL.target));
        }
        (too_high, local)
    }
}

/// So many runs may be wrong: a tenth of them, and three standard deviations.
fn allowed() -> usize {
    let delta = 1.0 - f64::from(GOAL.confidence);
    (RUNS as f64 * delta + 3.0 * (RUNS as f64 * delta * (1.0 - delta)).sqrt()) as usize
}

#[test]
fn with_plenty_of_labels_the_target_is_kept_and_much_stays_local() {
    // The risk below t is t squared / 6: 5% at 0.55.
    let workload = Workload { wrong: |score| 0.5 * score * score, labelled: 0.8, exploration: 0.3, requests: 7_000 };
    let (too_high, local) = workload.runs();
    assert!(too_high <= allowed(), "{too_high} of {RUNS} runs");
    assert!(local > 0.3, "{local} stays local, 0.5 could");
}

#[test]
fn where_the_risk_jumps_right_behind_a_threshold_it_is_kept_too() {
    // Nothing wrong below 0.3, six of ten above: 5% at 0.33, between two thresholds of the grid.
    let wrong = |score: f64| if score < 0.3 { 0.0 } else { 0.6 };
    let workload = Workload { wrong, labelled: 0.5, exploration: 0.3, requests: 5_000 };
    let (too_high, local) = workload.runs();
    assert!(too_high <= allowed(), "{too_high} of {RUNS} runs");
    assert!(local > 0.2, "{local} stays local, 0.3 could");
}

#[test]
fn a_head_that_is_worth_nothing_breaks_no_promise() {
    // Errors do not depend on the score and are just above the target: any threshold above 0 is wrong.
    let workload = Workload { wrong: |_| 0.0505, labelled: 0.5, exploration: 0.3, requests: 6_000 };
    let (too_high, _) = workload.runs();
    assert!(too_high <= allowed(), "{too_high} of {RUNS} runs");
    // The easy and the hard are swapped.
    let workload = Workload { wrong: |score| 0.3 * (1.0 - score), labelled: 0.5, exploration: 0.1, requests: 6_000 };
    let (too_high, _) = workload.runs();
    assert!(too_high <= allowed(), "{too_high} of {RUNS} runs");
}

#[test]
fn without_exploration_nothing_is_learnt_and_nothing_stays() {
    let workload = Workload { wrong: |_| 0.0, labelled: 1.0, exploration: 0.0, requests: 2_000 };
    let state = workload.play(1);
    assert_eq!((state.state, state.threshold.unwrap(), state.labels), ("learning", 0.0, 0));
}

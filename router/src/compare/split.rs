//! Who is in which arm of a split.
//!
//! **Promise.** A session is in the same arm as long as the weights stay, after a restart, too; arms get the shares
//! that their weights say; a change of weights moves only the sessions that it must: those that the arm which shrank gives up,
//! all of them to arms that grew.
//!
//! **How.** Weighted rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
//! IEEE/ACM Transactions on Networking 6(1), 1998; the logarithmic weights are those of Schindelhauer and Schomaker, "Weighted
//! distributed hash tables", SPAA 2005): each arm draws an exponential waiting time from a keyed hash of session and arm, its
//! weight is the rate, and the first one wins. An arm's time depends on no other arm, which is why nobody else moves.
//!
//! **Whether they fell so** is a question of its own ([`Fallen`]): where one arm loses sessions before they are counted, what is
//! left of it is no fair sample, and no verdict on it is worth anything (Fabijan et al., "Diagnosing sample ratio mismatch in
//! online controlled experiments", KDD 2019).

use serde::Serialize;
use sha2::{Digest, Sha256};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// An arm with its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// Its name: a side (`local`, `hosted`) or a model.
    pub name: String,
    /// Its weight, 0 or more.
    pub weight: f64,
}

/// The arm of a session; `None` where no arm has a weight.
pub fn arm<'a>(arms: &'a [Arm], key: &[u8], session: &str) -> Option<&'a Arm> {
    let waits = arms.iter().filter(|arm| arm.weight > 0.0).map(|arm| (wait(arm, key, session), arm));
    waits.min_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, arm)| arm)
}

fn wait(arm: &Arm, key: &[u8], session: &str) -> f64 {
    let part =
        |digest: Sha256, bytes: &[u8]| digest.chain_update((bytes.len() as u64).to_le_bytes()).chain_update(bytes);
    let digest = part(part(part(Sha256::new(), key), session.as_bytes()), arm.name.as_bytes()).finalize();
    let place = digest.iter().take(8).fold(0_u64, |place, byte| place << 8 | u64::from(*byte)) >> 11;
    // Of 53 bits, never 0.
    let uniform = (place as f64 + 0.5) / (1_u64 << 53) as f64;
    -uniform.ln() / arm.weight
}

/// How sessions fell into two arms, beside how they were drawn. Each was drawn with a share of its own, so that a share that
/// changed meanwhile does no harm.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fallen {
    /// Sessions in the left and in the right arm.
    pub sessions: [u64; 2],
    /// How many of them are left in the mean: the sum of their shares.
    pub expected: f64,
    /// The variance of that number: the sum of share times rest.
    pub variance: f64,
}

/// Pearson's statistic of two arms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ChiSquare {
    /// The statistic, of one degree of freedom.
    pub chi_squared: f64,
    /// With which probability a fair draw comes out at least as uneven.
    pub p_value: f64,
}

// === impl Fallen ===

impl Fallen {
    /// The test; `None` where nothing was left to chance. With one share for all it is Pearson's chi-squared, because
    /// `d^2/np + d^2/n(1-p) = d^2/np(1-p)`. For a handful of sessions the distribution is an approximation.
    pub fn test(&self) -> Option<ChiSquare> {
        if self.variance <= 0.0 {
            return None;
        }
        let [left, _] = self.sessions;
        let chi_squared = (left as f64 - self.expected).powi(2) / self.variance;
        let p_value = ChiSquared::new(1.0).ok()?.sf(chi_squared);
        Some(ChiSquare { chi_squared, p_value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSIONS: usize = 100_000;

    fn arms(weights: &[(&str, f64)]) -> Vec<Arm> {
        weights.iter().map(|(name, weight)| Arm { name: (*name).into(), weight: *weight }).collect()
    }

    fn drawn(arms: &[Arm]) -> Vec<&str> {
        (0..SESSIONS).map(|n| arm(arms, b"key", &format!("session-{n}")).unwrap().name.as_str()).collect()
    }

    #[test]
    fn a_hundred_thousand_sessions_are_split_as_the_weights_say() {
        let arms = arms(&[("local", 5.0), ("hosted", 3.0), ("other", 2.0)]);
        let drawn = drawn(&arms);
        let statistic: f64 = arms
            .iter()
            .map(|arm| {
                let expected = SESSIONS as f64 * arm.weight / 10.0;
                let count = drawn.iter().filter(|name| **name == arm.name).count() as f64;
                (count - expected).powi(2) / expected
            })
            .sum();
        let p = 1.0 - ChiSquared::new(2.0).unwrap().cdf(statistic);
        println!("chi-squared {statistic:.2} over {SESSIONS} sessions, p = {p:.3}");
        assert!(p > 0.001, "{statistic}");
        assert_eq!(arm(&arms, b"key", "session-7").unwrap().name, drawn[7], "a session stays");
    }

    #[test]
    fn a_change_of_weights_moves_only_the_sessions_that_it_must() {
        let (before, after) =
            (arms(&[("a", 5.0), ("b", 3.0), ("c", 2.0)]), arms(&[("a", 2.0), ("b", 3.0), ("c", 2.0)]));
        let (was, is) = (drawn(&before), drawn(&after));
        let moved: Vec<(&str, &str)> =
            was.iter().zip(&is).filter(|(was, is)| was != is).map(|(was, is)| (*was, *is)).collect();
        assert!(moved.iter().all(|(was, _)| *was == "a"), "only the arm that shrank gives sessions up");
        // Its share falls from 1/2 to 2/7, and not one session more than that moves.
        let must = SESSIONS as f64 * (0.5 - 2.0 / 7.0);
        let deviations = (moved.len() as f64 - must).abs() / (must * (1.0 - must / SESSIONS as f64)).sqrt();
        println!("{} of {SESSIONS} sessions moved, {must:.0} had to", moved.len());
        assert!(deviations < 5.0, "{} against {must}", moved.len());
        let ramped = arms(&[("a", 5.0), ("b", 3.0), ("c", 2.0), ("d", 1.0)]);
        let with_new = drawn(&ramped);
        assert!(
            was.iter().zip(&with_new).all(|(was, is)| was == is || *is == "d"),
            "a new arm takes, and nobody else moves"
        );
    }

    #[test]
    fn neither_nothing_nor_another_key_is_an_arm_of_its_own() {
        assert_eq!(arm(&arms(&[("a", 0.0)]), b"key", "s"), None);
        let both = arms(&[("a", 1.0), ("b", 1.0)]);
        let same = (0..10_000).filter(|n| arm(&both, b"key", &n.to_string()) == arm(&both, b"other", &n.to_string()));
        let same = same.count();
        assert!((4_800..=5_200).contains(&same), "half of them, four standard deviations of 50 around: {same}");
    }

    #[test]
    fn sessions_that_fell_otherwise_than_drawn_are_told() {
        let fallen = |left: u64, right: u64, share: f64| {
            let n = (left + right) as f64;
            Fallen { sessions: [left, right], expected: n * share, variance: n * share * (1.0 - share) }
        };
        // Pearson by hand: 10^2/50 + 10^2/50.
        let test = fallen(60, 40, 0.5).test().unwrap();
        assert!((test.chi_squared - 4.0).abs() < 1e-9, "{test:?}");
        assert!((test.p_value - 0.045_500).abs() < 1e-5, "{test:?}");
        assert!(fallen(1_000, 9_000, 0.1).test().unwrap().p_value > 0.999_9);
        assert!(fallen(900, 9_000, 0.1).test().unwrap().p_value < 0.01, "a tenth of an arm is lost");
        assert_eq!([fallen(5, 0, 1.0), Fallen::default()].map(|fallen| fallen.test()), [None, None]);
        // A ramp: every session has a share of its own.
        let shares: Vec<f64> = (0..SESSIONS).map(|n| n as f64 / SESSIONS as f64 * 0.5).collect();
        let left = |n: &usize| {
            arm(&arms(&[("l", shares[*n]), ("r", 1.0 - shares[*n])]), b"key", &n.to_string()).unwrap().name == "l"
        };
        let count = (0..SESSIONS).filter(left).count() as u64;
        let variance = shares.iter().map(|share| share * (1.0 - share)).sum();
        let sessions = [count, SESSIONS as u64 - count];
        let test = Fallen { sessions, expected: shares.iter().sum(), variance }.test().unwrap();
        assert!(test.p_value > 0.001, "{test:?}");
    }
}

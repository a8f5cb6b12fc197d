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

use sha2::{Digest, Sha256};

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

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{ChiSquared, ContinuousCDF};

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
}

//! Several heads at once: one for a tenant, one for a part of the traffic.
//!
//! **Promise.** The first configured lane that a request falls into judges it, all others fall to the usual judge. Who is
//! in a lane that takes a part is told by a hash of the session (without one: of the request), so a conversation stays
//! with its head, and a part that grows only adds to what was there.
//!
//! **Why shares of their own.** Scores of two heads cannot be compared: each lane has a running quantile for itself, so the
//! goal is kept in every lane, and so over all.
//!
//! **Trials.** A head that is tried ([`crate::rollout`]) is a lane within a lane: it takes its part of what that one would.
//!
//! **What it does not do.** A head in the configuration is not promoted by itself: `sluice classifier eval` and the records
//! (each names its head) tell how it does. Taking the entry out of the configuration rolls it back at the next reload.

use super::{Classifier, Control};
use policies::{Facts, RequestId};
use std::sync::Arc;
use twox_hash::XxHash3_64;

/// Who is in a lane: everything that is named must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaneRule {
    /// What the lane is called.
    pub name: String,
    /// The key's team.
    pub team: Option<String>,
    /// The key's name or id.
    pub key: Option<String>,
    /// The part of those that it takes, 0 to 1.
    pub part: f32,
    /// It is a trial: it takes its part of what this one would.
    pub within: Option<Box<LaneRule>>,
}

/// A judge, the share that its scores steer, and who is judged by it.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Who is in it.
    pub rule: LaneRule,
    /// The judge.
    pub classifier: Classifier,
    /// What sets its threshold.
    pub share: Arc<Control>,
}

// === impl LaneRule ===

impl LaneRule {
    /// The trial of a head on a part (0 to 1) of a lane's sessions.
    pub fn trial(within: Self, head: &str, part: f32) -> Self {
        Self { name: format!("trial {head}"), part, within: Some(Box::new(within)), ..Self::default() }
    }

    /// The lane that its requests count for.
    pub fn lane(&self) -> &str {
        self.within.as_ref().map_or(&self.name, |within| &within.name)
    }

    /// Whether a request falls into the lane.
    pub fn takes(&self, facts: &Facts, id: &RequestId) -> bool {
        if self.within.as_ref().is_some_and(|within| !within.takes(facts, id)) {
            return false;
        }
        let principal = &facts.principal;
        let team = self.team.as_ref().is_none_or(|team| principal.team.as_ref() == Some(team));
        let key = self.key.as_deref().is_none_or(|wanted| {
            principal.key_name.as_deref() == Some(wanted)
                || principal.key.as_ref().is_some_and(|id| id.as_str() == wanted)
        });
        team && key && self.draws(facts.session.as_ref().map_or(id.as_str(), |session| session.as_str()))
    }

    /// Whether somebody is in the part; the lane's name is in the hash, so that parts of two lanes are independent.
    fn draws(&self, whom: &str) -> bool {
        let seed = XxHash3_64::oneshot(self.name.as_bytes());
        let place = XxHash3_64::oneshot_with_seed(seed, whom.as_bytes()) as f64 / u64::MAX as f64;
        place < f64::from(self.part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(part: f32) -> LaneRule {
        LaneRule { name: "next".into(), part, ..LaneRule::default() }
    }

    #[test]
    fn a_part_is_as_large_as_it_says_and_growing_it_moves_nobody_out() {
        let ids: Vec<String> = (0..20_000).map(|n| format!("session-{n}")).collect();
        let (small, large) = (lane(0.1), lane(0.3));
        let count = |rule: &LaneRule| ids.iter().filter(|id| rule.draws(id)).count();
        assert!((1_800..2_200).contains(&count(&small)) && (5_700..6_300).contains(&count(&large)));
        assert!(ids.iter().filter(|id| small.draws(id)).all(|id| large.draws(id)));
        assert_eq!((count(&lane(0.0)), count(&lane(1.0))), (0, ids.len()));
    }

    #[test]
    fn parts_of_two_lanes_are_independent() {
        let other = LaneRule { name: "other".into(), ..lane(0.5) };
        let both = (0..10_000).map(|n| n.to_string()).filter(|id| lane(0.5).draws(id) && other.draws(id)).count();
        assert!((2_300..2_700).contains(&both), "{both}");
    }
}

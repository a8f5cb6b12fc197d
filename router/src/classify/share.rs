//! The threshold that keeps the share.
//!
//! A constant threshold does not travel: one set for 30% hosted gives 3% to 57% on other workloads. So the threshold is
//! the running quantile of the needs seen lately; until [`SETTLED`] of them were seen it moves from [`COLD`] to that
//! quantile, in proportion.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// The threshold before anything was seen.
const COLD: f32 = 0.5;
/// Needs after which the quantile counts alone.
const SETTLED: usize = 200;
/// Needs that are remembered.
const WINDOW: usize = 1_000;

/// Keeps the share of judged requests that go to the strong side first.
#[derive(Debug)]
pub struct Share {
    hosted: f32,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    order: VecDeque<f32>,
    sorted: Vec<f32>,
}

// === impl Share ===

impl Share {
    /// Aims at this share (0 to 1) of hosted answers.
    pub fn new(hosted: f32) -> Self {
        Self { hosted: hosted.clamp(0.0, 1.0), seen: Mutex::new(Seen::default()) }
    }

    /// The threshold now: from this need on, hosted.
    pub fn threshold(&self) -> f32 {
        if self.hosted <= 0.0 {
            return f32::INFINITY;
        }
        if self.hosted >= 1.0 {
            return 0.0;
        }
        let seen = self.seen.lock();
        if seen.sorted.is_empty() {
            return COLD;
        }
        let at = ((1.0 - self.hosted) * seen.sorted.len() as f32) as usize;
        let quantile = seen.sorted[at.min(seen.sorted.len() - 1)];
        let trust = (seen.sorted.len() as f32 / SETTLED as f32).min(1.0);
        COLD + (quantile - COLD) * trust
    }

    /// Takes a judged need into account.
    pub fn observe(&self, need: f32) {
        if need.is_nan() {
            return;
        }
        let mut seen = self.seen.lock();
        if seen.order.len() == WINDOW
            && let Some(oldest) = seen.order.pop_front()
        {
            let at = seen.sorted.partition_point(|known| *known < oldest);
            seen.sorted.remove(at);
        }
        seen.order.push_back(need);
        let at = seen.sorted.partition_point(|known| *known < need);
        seen.sorted.insert(at, need);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_the_workload_the_share_is_kept(low in 0f32..0.5, width in 0.01f32..0.5, wanted in 0.1f32..0.9) {
            let share = Share::new(wanted);
            let needs: Vec<f32> = (0..2_000).map(|n| low + width * ((n * 7_919 % 2_000) as f32 / 2_000.0)).collect();
            needs.iter().take(1_000).for_each(|need| share.observe(*need));
            let hosted = needs.iter().skip(1_000).filter(|need| {
                let strong = **need >= share.threshold();
                share.observe(**need);
                strong
            }).count();
            let kept = hosted as f32 / 1_000.0;
            prop_assert!((kept - wanted).abs() < 0.05, "{} for {}", kept, wanted);
        }
    }

    #[test]
    fn the_ends_are_absolute() {
        let (none, all) = (Share::new(0.0), Share::new(1.0));
        assert!(none.threshold() > 1.0 && all.threshold() == 0.0 && Share::new(0.3).threshold() == COLD);
    }
}

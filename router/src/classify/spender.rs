//! The share that keeps a rate of money.
//!
//! **Promise.** Over any hour of steady traffic the hosted answers to judged requests cost about the configured rate, as
//! long as the traffic can spend it at all: where everything hosted costs less, everything goes hosted, and what was not
//! spent is not saved up for longer than [`MEMORY`].
//!
//! **How.** With λ judged requests a second and c dollars a hosted answer, a share g costs λ g c a second; the goal is the
//! share that costs the rate, corrected by what was spent too much or too little lately, so that an error in λ or c does
//! not stay. Both are exponentially weighted means over [`MEMORY`]. The goal steers [`Share`](super::Share), which keeps it.
//!
//! **Failure behaviour.** Before a hosted answer was paid for, nobody knows c: the goal stays what it was at the start. A
//! model without a price costs nothing that could be counted and is left out.
//!
//! **What it does not do.** It is a preference and refuses nothing; a limit that must hold is a budget.

use parking_lot::Mutex;
use policies::NanoDollars;
use std::time::Duration;
use tokio::time::Instant;

/// How long money that was not spent, or spent too early, is remembered.
pub const MEMORY: Duration = Duration::from_secs(600);
/// The goal until somebody knows what a hosted answer costs.
const COLD: f32 = 0.3;
/// How fast a surplus or a debt is worked off, in parts of [`MEMORY`].
const RETURN: f64 = 0.25;

/// Money for a time, as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoneyRate {
    /// How much.
    pub amount: NanoDollars,
    /// For how long.
    pub every: Duration,
}

/// Something that happened in an earlier life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpendEvent {
    /// A request was judged.
    Judged,
    /// A hosted answer was paid for.
    Spent(NanoDollars),
}

/// Steers a share to a rate of money.
#[derive(Debug)]
pub struct Spender {
    rate: MoneyRate,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    last: Instant,
    /// Decaying sums over the memory: seconds, judged requests, hosted answers and what they cost in dollars.
    seconds: f64,
    judged: f64,
    answers: f64,
    dollars: f64,
    /// Dollars that were allowed and not spent; below zero a debt.
    left: f64,
}

// === impl MoneyRate ===

impl MoneyRate {
    fn dollars_per_second(self) -> f64 {
        self.amount.0 as f64 / 1e9 / self.every.as_secs_f64().max(1e-3)
    }
}

// === impl Spender ===

impl Spender {
    /// Aims at this rate.
    pub fn new(rate: MoneyRate, now: Instant) -> Self {
        let seen = Seen { last: now, seconds: 0.0, judged: 0.0, answers: 0.0, dollars: 0.0, left: 0.0 };
        Self { rate, seen: Mutex::new(seen) }
    }

    /// The rate it aims at.
    pub fn rate(&self) -> MoneyRate {
        self.rate
    }

    /// Whether nothing was judged or paid for yet.
    pub(crate) fn is_fresh(&self) -> bool {
        let seen = self.seen.lock();
        seen.judged <= 0.0 && seen.answers <= 0.0
    }

    /// Takes something into account that happened at `at`, before this life began: the earliest first, and all of it before anything
    /// of this life. Gives the share to aim at from then on, as [`Spender::judged`] does.
    pub(crate) fn resume(&self, event: SpendEvent, at: Instant) -> Option<f32> {
        if self.is_fresh() {
            // Time is counted from the first thing that is known.
            self.seen.lock().last = at;
        }
        match event {
            SpendEvent::Judged => Some(self.judged(at)),
            SpendEvent::Spent(cost) => {
                self.spent(cost, at);
                None
            }
        }
    }

    /// Takes a judged request into account and gives the share (0 to 1) to aim at.
    pub fn judged(&self, now: Instant) -> f32 {
        let mut seen = self.seen.lock();
        seen.pass(now, self.rate.dollars_per_second());
        seen.judged += 1.0;
        seen.goal(self.rate.dollars_per_second())
    }

    /// Takes a hosted answer into account.
    pub fn spent(&self, cost: NanoDollars, now: Instant) {
        let dollars = cost.0 as f64 / 1e9;
        let mut seen = self.seen.lock();
        seen.pass(now, self.rate.dollars_per_second());
        seen.answers += 1.0;
        seen.dollars += dollars;
        seen.left -= dollars;
    }
}

// === impl Seen ===

impl Seen {
    /// Lets time pass.
    fn pass(&mut self, now: Instant, per_second: f64) {
        let took = now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
        let kept = (-took / MEMORY.as_secs_f64()).exp();
        for sum in [&mut self.seconds, &mut self.judged, &mut self.answers, &mut self.dollars] {
            *sum *= kept;
        }
        self.seconds += took;
        // Neither a quiet night nor a dear minute counts for longer than the memory.
        let most = per_second * MEMORY.as_secs_f64();
        self.left = (self.left + per_second * took).clamp(-most, most);
    }

    fn goal(&self, per_second: f64) -> f32 {
        if self.answers <= 0.0 || self.dollars <= 0.0 || self.seconds <= 0.0 {
            return COLD;
        }
        let each = self.dollars / self.answers;
        let arriving = self.judged / self.seconds;
        let allowed = per_second + self.left / (RETURN * MEMORY.as_secs_f64());
        (allowed / (arriving * each)).clamp(0.0, 1.0) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Share;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// Drives a share for some hours; dollars spent in each.
    fn hours(rate: &str, hours: usize, arriving: impl Fn(usize) -> f64, cost: impl Fn(usize) -> u64) -> Vec<f64> {
        let amount: NanoDollars = NanoDollars::parse(rate).unwrap();
        let start = Instant::now();
        let spender = Spender::new(MoneyRate { amount, every: HOUR }, start);
        let share = Share::new(COLD, &[]);
        let mut now = start;
        let mut spent = vec![0.0; hours];
        let mut n = 0usize;
        loop {
            let hour = (now.duration_since(start).as_secs_f64() / 3_600.0) as usize;
            if hour >= hours {
                return spent;
            }
            now += Duration::from_secs_f64(1.0 / arriving(hour));
            n += 1;
            let score = (n * 7_919 % 2_003) as f32 / 2_003.0;
            share.aim(spender.judged(now));
            let hosted = score >= share.threshold();
            share.observe(score, hosted);
            if hosted {
                let cost = cost(hour) * (1 + n as u64 % 3);
                spender.spent(NanoDollars(cost), now);
                spent[hour.min(hours - 1)] += cost as f64 / 1e9;
            }
        }
    }

    #[test]
    fn the_rate_is_kept_hour_by_hour_whatever_arrives_and_whatever_it_costs() {
        // 1 to 3 requests a second, answers of 0.1 to 0.4 cents on average: 3.60 to 43.20 dollars an hour could be spent.
        let spent = hours("2.00", 8, |hour| [1.0, 3.0][hour % 2], |hour| [500_000, 2_000_000][hour / 2 % 2]);
        for (hour, spent) in spent.iter().enumerate().skip(1) {
            assert!((spent - 2.0).abs() < 0.3, "hour {hour}: {spent} of 2 dollars");
        }
        let whole: f64 = spent.iter().skip(1).sum();
        assert!((whole - 14.0).abs() < 0.5, "{whole} of 14 dollars");
    }

    #[test]
    fn traffic_that_cannot_spend_the_rate_goes_hosted_whole() {
        let spent = hours("100.00", 2, |_| 0.2, |_| 500_000);
        // 720 requests an hour, 0.1 cents each on average.
        assert!((spent[1] - 0.72).abs() < 0.02, "{spent:?}");
    }

    #[test]
    fn another_life_aims_where_the_last_one_did() {
        let start = Instant::now();
        let rate = MoneyRate { amount: NanoDollars::parse("2.00").unwrap(), every: HOUR };
        let (live, next) = (Spender::new(rate, start), Spender::new(rate, start + HOUR));
        let mut goals = (None, None);
        for n in 0..900u64 {
            let at = start + Duration::from_secs(n);
            goals = (Some(live.judged(at)), next.resume(SpendEvent::Judged, at));
            if n.is_multiple_of(3) {
                let cost = NanoDollars(1_000_000 * (1 + n % 5));
                live.spent(cost, at);
                assert_eq!(next.resume(SpendEvent::Spent(cost), at), None);
            }
        }
        let apart = (goals.0.unwrap() - goals.1.unwrap()).abs();
        assert!(apart < 0.02 && goals.0 != Some(COLD), "{goals:?}");
        // Both lives go on from there.
        let later = start + Duration::from_secs(905);
        assert!((live.judged(later) - next.judged(later)).abs() < 0.02);
    }

    #[test]
    fn without_a_price_the_goal_is_the_one_at_the_start() {
        let now = Instant::now();
        let spender = Spender::new(MoneyRate { amount: NanoDollars(1), every: HOUR }, now);
        assert_eq!(spender.judged(now + HOUR), COLD);
    }
}

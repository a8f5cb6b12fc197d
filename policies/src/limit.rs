//! The arithmetic of a rate limit: a bucket that fills at an even rate.
//!
//! **Promise.** [`Bucket::fits`] says the exact time after which an amount fits if nobody else takes it: no rounding, no
//! floats. What is taken can be corrected later ([`Bucket::correct`]); a bucket then owes what it gave too much, and fills
//! from there.
//!
//! **Why.** A bucket of a whole period's amount is what "60 requests/minute" means to most people: that many at once, then
//! one a second. Tokens are known only when an answer has ended, so an estimate is taken first and corrected.
//!
//! **How.** The emptiness is kept in units times the period's nanoseconds; filling takes `amount` of these off in each
//! nanosecond. It is the meter form of the generic cell rate algorithm (ITU-T I.371, annex A).
//!
//! **What it does not know.** Clocks: `now` is a time since a start that the caller chose, and never goes back here.

use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metered {
    /// Requests.
    Requests,
    /// Tokens, of prompts and answers together.
    Tokens,
}

/// The time in which a bucket fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// One second.
    Second,
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
}

/// So many in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RateLimit {
    /// How many; at least one.
    pub amount: u64,
    /// Of what.
    pub measure: Metered,
    /// In which time.
    pub period: Period,
}

/// A bucket of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    limit: RateLimit,
    /// What was taken and has not come back: units times the period in nanoseconds. Above the whole it is a debt.
    taken: u128,
    /// The time of `taken`.
    at: Duration,
}

/// Why an amount cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// It fits after this time, unless others take it.
    Until(Duration),
    /// It is more than the whole bucket.
    Never,
}

/// A provider's absurd count must not lock a key out for good: a debt is at most so many whole buckets.
const MOST_OWED: u128 = 10;

// === impl Metered ===

impl Metered {
    /// The word in limits, headers and errors.
    pub fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }
}

// === impl Period ===

impl Period {
    const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// Its length.
    pub fn length(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.nanoseconds()).unwrap_or(u64::MAX))
    }

    fn nanoseconds(self) -> u128 {
        let seconds = match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        };
        seconds * 1_000_000_000
    }
}

// === impl RateLimit ===

impl RateLimit {
    /// So many a minute; `None` for nothing at all.
    pub fn per_minute(amount: u64, measure: Metered) -> Option<Self> {
        (amount > 0).then_some(Self { amount, measure, period: Period::Minute })
    }

    /// Reads `60 requests/minute`: a whole number, `requests` or `tokens`, `second`, `minute`, `hour` or `day`.
    ///
    /// # Errors
    /// A sentence that says what can be written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a rate; write e.g. \"60 requests/minute\" or \"100000 tokens/minute\" (second, minute, hour, day)"
            )
        };
        let (amount, period) = text.split_once('/').ok_or_else(wrong)?;
        let amount = amount.trim();
        let digits = amount.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(amount.len());
        let (number, unit) = amount.split_at(digits);
        let measure = match unit.trim() {
            "requests" | "request" => Metered::Requests,
            "tokens" | "token" => Metered::Tokens,
            _ => return Err(wrong()),
        };
        let period = Period::ALL.into_iter().find(|known| known.word() == period.trim()).ok_or_else(wrong)?;
        let amount = number.replace('_', "").parse::<u64>().map_err(|_| wrong())?;
        if amount == 0 {
            return Err(format!("`{text}` lets nothing through: revoke the key instead"));
        }
        Ok(Self { amount, measure, period })
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.amount, self.measure.word(), self.period.word())
    }
}

// === impl Bucket ===

impl Bucket {
    /// A full one.
    pub fn full(limit: RateLimit) -> Self {
        Self { limit, taken: 0, at: Duration::ZERO }
    }

    /// Its limit.
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    /// The same bucket under another amount: what was taken stays taken.
    #[must_use]
    pub fn resized(self, limit: RateLimit) -> Self {
        Self { limit, ..self }
    }

    /// Whether `units` can be taken now.
    ///
    /// # Errors
    /// When they can be, or that they never can.
    pub fn fits(&mut self, units: u64, now: Duration) -> Result<(), Short> {
        if units > self.limit.amount {
            return Err(Short::Never);
        }
        self.fill(now);
        let wanted = self.taken + self.scaled(units);
        match wanted.checked_sub(self.whole()).filter(|missing| *missing > 0) {
            None => Ok(()),
            Some(missing) => Err(Short::Until(self.time_for(missing))),
        }
    }

    /// Takes `units`, whether they fit or not; at most to the bottom or, where it owes already, not at all.
    pub fn take(&mut self, units: u64, now: Duration) {
        self.fill(now);
        self.taken = (self.taken + self.scaled(units)).min(self.whole().max(self.taken));
    }

    /// Puts right what was taken: `taken` units were, `used` were needed.
    pub fn correct(&mut self, taken: u64, used: u64, now: Duration) {
        self.fill(now);
        let owed = (self.taken + self.scaled(used)).saturating_sub(self.scaled(taken));
        self.taken = owed.min(self.whole() * MOST_OWED);
    }

    /// Takes over what a store says of it that others take from, too: so much is taken, in millionths of a unit.
    pub fn told(&mut self, millionths: u64, now: Duration) {
        self.taken = u128::from(millionths) * self.limit.period.nanoseconds() / 1_000_000;
        self.at = now;
    }

    /// Whole units that are left.
    pub fn left(&mut self, now: Duration) -> u64 {
        self.fill(now);
        let left = self.whole().saturating_sub(self.taken) / self.limit.period.nanoseconds();
        u64::try_from(left).unwrap_or(u64::MAX)
    }

    /// The time until it is full.
    pub fn full_in(&mut self, now: Duration) -> Duration {
        self.fill(now);
        self.time_for(self.taken)
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.taken = self.taken.saturating_sub(passed.as_nanos().saturating_mul(u128::from(self.limit.amount)));
        self.at = self.at.max(now);
    }

    fn whole(&self) -> u128 {
        self.scaled(self.limit.amount)
    }

    /// 64 bits of units and 47 of nanoseconds fit.
    fn scaled(&self, units: u64) -> u128 {
        u128::from(units) * self.limit.period.nanoseconds()
    }

    fn time_for(&self, scaled: u128) -> Duration {
        let nanoseconds = scaled.div_ceil(u128::from(self.limit.amount.max(1)));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(text: &str) -> RateLimit {
        RateLimit::parse(text).unwrap()
    }

    #[test]
    fn rates_are_read_as_people_write_them_and_shown_the_same() {
        for (text, shown) in [
            ("60 requests/minute", "60 requests/minute"),
            ("1 request / second", "1 requests/second"),
            ("100_000tokens/minute", "100000 tokens/minute"),
            ("5 tokens/day", "5 tokens/day"),
            ("18446744073709551615 tokens/hour", "18446744073709551615 tokens/hour"),
        ] {
            assert_eq!(limit(text).to_string(), shown, "{text}");
            assert_eq!(limit(shown), limit(text));
        }
        for bad in [
            "",
            "60",
            "requests/minute",
            "60 requests",
            "60/minute",
            "1.5 requests/minute",
            "-1 requests/minute",
            "0 requests/minute",
            "60 dollars/minute",
            "60 requests/year",
            "18446744073709551616 tokens/hour",
        ] {
            assert!(RateLimit::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bucket_gives_its_whole_amount_and_then_fills_evenly() {
        let mut bucket = Bucket::full(limit("60 requests/minute"));
        let at = Duration::from_millis;
        for _ in 0..60 {
            assert_eq!(bucket.fits(1, at(0)), Ok(()));
            bucket.take(1, at(0));
        }
        for (now, left, wait, full) in [
            (0, 0, Some(1_000), 60_000),
            (400, 0, Some(600), 59_600),
            (999, 0, Some(1), 59_001),
            (1_000, 1, None, 59_000),
            (30_500, 30, None, 29_500),
            (90_000, 60, None, 0),
        ] {
            let wanted = wait.map_or(Ok(()), |wait| Err(Short::Until(at(wait))));
            assert_eq!(bucket.fits(1, at(now)), wanted, "{now}");
            assert_eq!((bucket.left(at(now)), bucket.full_in(at(now))), (left, at(full)), "{now}");
        }
        assert_eq!(bucket.fits(61, at(90_000)), Err(Short::Never));
    }

    #[test]
    fn the_whole_amount_can_be_taken_at_once_and_one_more_never() {
        let mut bucket = Bucket::full(limit("10 requests/minute"));
        assert_eq!(bucket.fits(10, Duration::ZERO), Ok(()));
        assert_eq!(bucket.fits(11, Duration::ZERO), Err(Short::Never));
    }

    #[test]
    fn what_was_taken_too_much_comes_back_and_what_was_too_little_is_owed() {
        let now = Duration::from_secs(5);
        for (taken, used, left, until) in
            [(50, 10, 90, None), (50, 50, 50, None), (50, 100, 0, Some(600)), (50, 150, 0, Some(30_600))]
        {
            let mut bucket = Bucket::full(limit("100 tokens/minute"));
            bucket.take(taken, now);
            bucket.correct(taken, used, now);
            assert_eq!(bucket.left(now), left, "{taken} {used}");
            let wait = bucket.fits(1, now).err();
            assert_eq!(wait, until.map(|until| Short::Until(Duration::from_millis(until))), "{taken} {used}");
        }
    }

    #[test]
    fn an_absurd_count_locks_nobody_out_for_good() {
        let mut bucket = Bucket::full(limit("100 tokens/minute"));
        bucket.correct(0, u64::MAX, Duration::ZERO);
        assert_eq!(bucket.full_in(Duration::ZERO), Duration::from_secs(600));
        bucket.take(1, Duration::ZERO);
        assert_eq!(bucket.full_in(Duration::ZERO), Duration::from_secs(600), "taking adds nothing to a debt");
    }

    #[test]
    fn what_a_store_says_takes_the_place_of_what_was_known() {
        let mut bucket = Bucket::full(limit("60 requests/minute"));
        bucket.take(5, Duration::from_secs(9));
        bucket.told(59_500_000, Duration::from_secs(10));
        assert_eq!(bucket.fits(1, Duration::from_secs(10)), Err(Short::Until(Duration::from_millis(500))));
        assert_eq!(bucket.left(Duration::from_millis(12_500)), 3);
    }

    #[test]
    fn another_amount_leaves_what_was_taken_and_a_clock_that_steps_back_gives_nothing() {
        let mut bucket = Bucket::full(limit("100 tokens/minute"));
        bucket.take(80, Duration::from_secs(60));
        assert_eq!(bucket.left(Duration::ZERO), 20);
        let mut bucket = bucket.resized(limit("200 tokens/minute"));
        assert_eq!(bucket.left(Duration::from_secs(60)), 120);
    }

    proptest! {
        #[test]
        fn the_time_it_says_is_enough_and_a_nanosecond_less_is_not(
            amount in 1u64..1_000_000,
            taken in 0u64..1_000_000,
            units in 1u64..1_000_000,
            now in 0u64..1 << 50,
        ) {
            let mut bucket = Bucket::full(RateLimit { amount, measure: Metered::Tokens, period: Period::Minute });
            let now = Duration::from_nanos(now);
            bucket.correct(0, taken, now);
            match bucket.fits(units, now) {
                Ok(()) => prop_assert!(bucket.left(now) >= units),
                Err(Short::Never) => prop_assert!(units > amount),
                Err(Short::Until(wait)) => {
                    let nearly = now + wait - Duration::from_nanos(1);
                    let (mut early, mut late) = (bucket, bucket);
                    prop_assert!(early.fits(units, nearly).is_err());
                    prop_assert_eq!(late.fits(units, now + wait), Ok(()));
                }
            }
        }

        #[test]
        fn no_more_than_the_bucket_and_its_rate_is_ever_given(steps in proptest::collection::vec((0u64..500, 1u64..40), 1..80)) {
            let mut bucket = Bucket::full(limit("30 requests/second"));
            let (mut now, mut given) = (0, 0);
            for (pause, units) in steps {
                now += pause;
                if bucket.fits(units, Duration::from_millis(now)).is_ok() {
                    bucket.take(units, Duration::from_millis(now));
                    given += units;
                }
                prop_assert!(given * 1_000 <= 30_000 + 30 * now, "{given} in {now} ms");
            }
        }
    }
}

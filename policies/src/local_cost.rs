//! What an answer of one's own machine costs: energy, and the machine itself, spread over its life.
//!
//! **Promise.** Integer arithmetic in 128 bits; energy and hardware are each rounded *up* once, so a line is never below
//! the true cost and less than two nano-dollars above it. Overflow is an error, never a wrap.
//!
//! **Why.** Tokens of a model in process have no price, but they are not free. A saving that leaves out the machine that
//! made it is no saving that anybody signs.
//!
//! **How.** Busy seconds times watts is energy. The hardware's price is spread over the seconds in which it is busy:
//! its life times the share of it in which it answers. At a share of 100% the time in which it idles is nobody's, and
//! every answer too cheap by as much.
//!
//! **What it does not do.** It measures nothing: watts are what the operator says, seconds what the attempt took. Nothing
//! is known without a configuration, and unknown is not zero.

use crate::money::{MoneyError, NanoDollars};
use std::time::Duration;

/// A milliwatt for a microsecond, in a kilowatt-hour: 3.6·10⁶ J at 10⁻⁹ J.
const STEPS_PER_KWH: u128 = 3_600_000_000_000_000;
/// Parts of a whole, in [`LocalCost::busy`].
const WHOLE: u64 = 1_000_000;
/// The Julian year (IAU).
const SECONDS_PER_YEAR: u64 = 31_557_600;

/// What a machine costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalCost {
    milliwatts: u64,
    per_kwh: NanoDollars,
    hardware: NanoDollars,
    life: Duration,
    busy: u64,
}

/// Why a machine's cost cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalCostError {
    /// The hardware has a price, and no life to spread it over.
    #[error("hardware lasts longer than nothing, and at most a thousand years")]
    Life,
    /// Busy for none of its life, or for more than all of it.
    #[error("hardware is busy for more than 0% and at most 100% of its life")]
    Busy,
}

// === impl LocalCost ===

impl LocalCost {
    /// A machine that draws so many milliwatts while it answers, at a price for a kilowatt-hour, whose hardware cost so
    /// much, lasts so many thousandths of a year, and answers in so many millionths of that time.
    ///
    /// # Errors
    /// A life of nothing or of more than a thousand years; a share of nothing or of more than the whole.
    pub fn new(
        milliwatts: u64,
        per_kwh: NanoDollars,
        hardware: NanoDollars,
        milliyears: u64,
        busy: u64,
    ) -> Result<Self, LocalCostError> {
        if milliyears == 0 || milliyears > 1_000_000 {
            return Err(LocalCostError::Life);
        }
        if busy == 0 || busy > WHOLE {
            return Err(LocalCostError::Busy);
        }
        let life = Duration::from_millis(milliyears.saturating_mul(SECONDS_PER_YEAR));
        Ok(Self { milliwatts, per_kwh, hardware, life, busy })
    }

    /// What the machine costs for so much busy time.
    ///
    /// # Errors
    /// More than 18 billion dollars.
    pub fn of(&self, busy: Duration) -> Result<NanoDollars, MoneyError> {
        self.energy(busy)?.plus(self.amortised(busy)?)
    }

    /// The energy's part of it.
    fn energy(&self, busy: Duration) -> Result<NanoDollars, MoneyError> {
        // Three factors below 2⁶⁴ do not fit into 128 bits.
        let drawn = busy.as_micros().checked_mul(u128::from(self.milliwatts)).ok_or(MoneyError::TooLarge)?;
        let paid = drawn.checked_mul(u128::from(self.per_kwh.0)).ok_or(MoneyError::TooLarge)?;
        amount(paid.div_ceil(STEPS_PER_KWH))
    }

    /// The hardware's part of it.
    fn amortised(&self, busy: Duration) -> Result<NanoDollars, MoneyError> {
        let spread = self.life.as_micros().checked_mul(u128::from(self.busy)).ok_or(MoneyError::TooLarge)?;
        let used = busy.as_micros().checked_mul(u128::from(WHOLE)).ok_or(MoneyError::TooLarge)?;
        let paid = used.checked_mul(u128::from(self.hardware.0)).ok_or(MoneyError::TooLarge)?;
        amount(paid.div_ceil(spread.max(1)))
    }
}

fn amount(nanos: u128) -> Result<NanoDollars, MoneyError> {
    u64::try_from(nanos).map(NanoDollars).map_err(|_| MoneyError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOLLAR: u64 = 1_000_000_000;

    fn machine(watts: u64, per_kwh: &str, hardware: &str, years: u64, percent: u64) -> LocalCost {
        let (per_kwh, hardware) = (NanoDollars::parse(per_kwh).unwrap(), NanoDollars::parse(hardware).unwrap());
        LocalCost::new(watts * 1_000, per_kwh, hardware, years * 1_000, percent * 10_000).unwrap()
    }

    #[test]
    fn an_hour_of_a_kilowatt_is_a_kilowatt_hour_and_a_life_is_the_whole_hardware() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(machine(1_000, "0.30", "0", 1, 100).of(hour).unwrap().0, 3 * DOLLAR / 10);
        assert_eq!(machine(65, "0.40", "0", 1, 100).of(hour).unwrap(), NanoDollars::parse("0.026").unwrap());
        let year = Duration::from_secs(SECONDS_PER_YEAR);
        assert_eq!(machine(0, "0.30", "1200", 4, 100).of(year).unwrap().0, 300 * DOLLAR);
        assert_eq!(
            machine(0, "0.30", "1200", 4, 25).of(year).unwrap().0,
            1_200 * DOLLAR,
            "a quarter of a life of 4 years"
        );
        // 200 ms of 65 W at 0.30 $/kWh: 1 083 nano-dollars and a third; of 1 200 $ in 4 years: 1 901 and a bit.
        let line = machine(65, "0.30", "1200", 4, 100).of(Duration::from_millis(200)).unwrap();
        assert_eq!(line.0, 1_084 + 1_902);
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let new = |milliyears, busy| LocalCost::new(1, NanoDollars(1), NanoDollars(1), milliyears, busy);
        assert_eq!(new(0, WHOLE), Err(LocalCostError::Life));
        assert_eq!(new(1_000_001, WHOLE), Err(LocalCostError::Life));
        assert_eq!(new(1, 0), Err(LocalCostError::Busy));
        assert_eq!(new(1, WHOLE + 1), Err(LocalCostError::Busy));
        let dear = LocalCost::new(u64::MAX, NanoDollars(u64::MAX), NanoDollars(u64::MAX), 1, 1).unwrap();
        assert_eq!(dear.of(Duration::from_secs(1)), Err(MoneyError::TooLarge));
        assert_eq!(dear.of(Duration::MAX), Err(MoneyError::TooLarge));
    }

    prop_compose! {
        fn machines()(
            milliwatts in 0u64..10_000_000, per_kwh in 0u64..10 * DOLLAR, hardware in 0u64..1_000_000 * DOLLAR,
            milliyears in 1u64..=100_000, busy in 1u64..=WHOLE,
        ) -> LocalCost {
            LocalCost::new(milliwatts, NanoDollars(per_kwh), NanoDollars(hardware), milliyears, busy).unwrap()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn a_line_is_never_below_true_cost_and_less_than_two_nanos_above(cost in machines(), micros in 0u64..86_400_000_000) {
            let line = u128::from(cost.of(Duration::from_micros(micros)).unwrap().0);
            let drawn = u128::from(micros) * u128::from(cost.milliwatts) * u128::from(cost.per_kwh.0);
            let used = u128::from(micros) * u128::from(cost.hardware.0) * u128::from(WHOLE);
            let spread = cost.life.as_micros() * u128::from(cost.busy);
            // The whole parts exactly, and what is left of both, which is less than two.
            let whole = drawn / STEPS_PER_KWH + used / spread;
            let left = u128::from(drawn % STEPS_PER_KWH > 0) + u128::from(used % spread > 0);
            prop_assert!(line >= whole && line <= whole + left);
            prop_assert!(left == 0 || line > whole, "what is left is rounded up");
        }

        #[test]
        fn more_time_costs_more_and_parts_no_less_than_their_whole(
            cost in machines(), one in 0u64..86_400_000_000, other in 0u64..86_400_000_000,
        ) {
            let of = |micros| cost.of(Duration::from_micros(micros)).unwrap().0;
            prop_assert!(of(one + other) >= of(one).max(of(other)));
            prop_assert!(of(one) + of(other) >= of(one + other));
            prop_assert!(of(one) + of(other) <= of(one + other) + 2);
            prop_assert_eq!(of(0), 0);
        }

        #[test]
        fn hardware_that_idles_is_dearer_by_the_hour(cost in machines(), micros in 0u64..86_400_000_000) {
            let idler = LocalCost { busy: (cost.busy / 2).max(1), ..cost };
            let time = Duration::from_micros(micros);
            prop_assert!(idler.of(time).unwrap() >= cost.of(time).unwrap());
        }

        #[test]
        fn nothing_wraps(milliwatts: u64, per_kwh: u64, hardware: u64, milliyears in 1u64..=1_000_000, seconds: u64) {
            let cost = LocalCost::new(milliwatts, NanoDollars(per_kwh), NanoDollars(hardware), milliyears, WHOLE).unwrap();
            if let (Ok(line), Ok(half)) = (cost.of(Duration::from_secs(seconds)), cost.of(Duration::from_secs(seconds / 2))) {
                prop_assert!(line >= half);
            }
        }
    }
}

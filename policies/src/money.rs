//! Money is an integer.
//!
//! **Units.** [`NanoDollars`] are 10⁻⁹ US dollars. [`Rate`] is nano-dollars per million tokens, so the cheapest
//! published price (about 10⁻¹³ dollars a token) is still a whole number.
//!
//! **Rounding.** A line of cost is summed exactly in 128 bits and rounded *up* once, so it is never below the true cost
//! and at most one nano-dollar above it. Overflow is an error, never a wrap.

use crate::usage::Usage;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const NANOS_PER_DOLLAR: u64 = 1_000_000_000;
const TOKENS_PER_RATE: u64 = 1_000_000;

/// An amount of US dollars in units of 10⁻⁹.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoDollars(pub u64);

/// Why a text is not an amount, or a sum does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The text is not a decimal number.
    #[error("`{0}` is not an amount of dollars (write it as text, e.g. \"2.50\")")]
    NotANumber(String),
    /// Amounts and prices are never negative.
    #[error("an amount of dollars cannot be negative: `{0}`")]
    Negative(String),
    /// More than 18 billion dollars.
    #[error("the amount is too large")]
    TooLarge,
}

/// Nano-dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rate(pub u64);

/// What the tokens of a model cost. A rate that is absent falls back as its field says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Plain input tokens.
    pub input: Rate,
    /// Output tokens.
    pub output: Rate,
    /// Input tokens read from the provider's cache; absent: as plain input.
    pub cached_input: Option<Rate>,
    /// Input tokens written to the provider's cache; absent: as plain input.
    pub cache_write: Option<Rate>,
    /// Reasoning tokens; absent: as output.
    pub reasoning: Option<Rate>,
    /// Audio input tokens; absent: as plain input.
    pub audio_input: Option<Rate>,
    /// Audio output tokens; absent: as output.
    pub audio_output: Option<Rate>,
}

/// Where a price was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceSource {
    /// The operator's configuration.
    Config,
    /// The bundled table; the text is `table:` with its date and digest.
    Table(Arc<str>),
    /// A made-up price of the simulated provider.
    Simulated,
    /// A model in process: its tokens cost nothing.
    InProcess,
}

/// Whether a model's tokens have a price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pricing {
    /// Tokens cost nothing (a model in process).
    Free,
    /// Tokens have a price.
    Priced(Price, PriceSource),
    /// Nobody knows: cost is unknown, which is not zero.
    Unpriced,
}

// === impl NanoDollars ===

impl NanoDollars {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads a decimal text such as `2.50` or `1e-6`, rounding up at the ninth digit.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        scaled(text, NANOS_PER_DOLLAR).map(Self)
    }

    /// The sum, or an error when it does not fit.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        self.0.checked_add(other.0).map(Self).ok_or(MoneyError::TooLarge)
    }

    /// The difference, at least zero.
    pub fn saturating_minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for NanoDollars {
    /// Dollars with at least six and at most nine decimals; nothing is rounded away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, nanos) = (self.0 / NANOS_PER_DOLLAR, self.0 % NANOS_PER_DOLLAR);
        let digits = format!("{nanos:09}");
        let (kept, fine) = digits.split_at(6);
        write!(f, "{whole}.{kept}{}", fine.trim_end_matches('0'))
    }
}

impl FromStr for NanoDollars {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        Self::parse(text)
    }
}

impl Serialize for NanoDollars {
    /// A decimal string in dollars.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NanoDollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

// === impl Rate ===

impl Rate {
    /// Reads dollars per million tokens.
    pub fn per_million(text: &str) -> Result<Self, MoneyError> {
        scaled(text, NANOS_PER_DOLLAR).map(Self)
    }

    /// Reads dollars per token, as LiteLLM's table has them (`2.5e-06`).
    pub fn per_token(text: &str) -> Result<Self, MoneyError> {
        scaled(text, NANOS_PER_DOLLAR * 1_000_000).map(Self)
    }
}

/// Reads a decimal text and scales it to a whole number, rounding up.
fn scaled(text: &str, by: u64) -> Result<u64, MoneyError> {
    let text = text.trim();
    let number = Decimal::from_str_exact(text)
        .or_else(|_| Decimal::from_scientific(text))
        .map_err(|_| MoneyError::NotANumber(text.into()))?;
    if number.is_sign_negative() && !number.is_zero() {
        return Err(MoneyError::Negative(text.into()));
    }
    let whole = number.checked_mul(Decimal::from(by)).ok_or(MoneyError::TooLarge)?.ceil();
    u64::try_from(whole).map_err(|_| MoneyError::TooLarge)
}

// === impl Price ===

impl Price {
    /// What `usage` costs, rounded up once to a nano-dollar.
    ///
    /// Parts a provider reports beyond their whole (more cached than input tokens) are clamped to the whole.
    pub fn cost(&self, usage: &Usage) -> Result<NanoDollars, MoneyError> {
        let mut rest = usage.input.0;
        let mut take = |part: u64| {
            let taken = part.min(rest);
            rest -= taken;
            taken
        };
        let cached = take(usage.cached_input.0);
        let written = take(usage.cache_write.0);
        let audio_in = take(usage.audio_input.0);
        let plain_in = rest;

        let mut rest = usage.output.0;
        let mut take = |part: u64| {
            let taken = part.min(rest);
            rest -= taken;
            taken
        };
        let reasoning = take(usage.reasoning.0);
        let audio_out = take(usage.audio_output.0);
        let plain_out = rest;

        let lines = [
            (plain_in, self.input),
            (cached, self.cached_input.unwrap_or(self.input)),
            (written, self.cache_write.unwrap_or(self.input)),
            (audio_in, self.audio_input.unwrap_or(self.input)),
            (plain_out, self.output),
            (reasoning, self.reasoning.unwrap_or(self.output)),
            (audio_out, self.audio_output.unwrap_or(self.output)),
        ];
        let mut sum: u128 = 0;
        for (tokens, rate) in lines {
            let line = u128::from(tokens) * u128::from(rate.0);
            sum = sum.checked_add(line).ok_or(MoneyError::TooLarge)?;
        }
        // Nearly all of them are small: a division of 128 bits takes ten times as long.
        let nanos = match u64::try_from(sum) {
            Ok(sum) => sum.div_ceil(TOKENS_PER_RATE),
            Err(_) => u64::try_from(sum.div_ceil(TOKENS_PER_RATE.into())).map_err(|_| MoneyError::TooLarge)?,
        };
        Ok(NanoDollars(nanos))
    }

    /// The dearest rate of an input token: what an upper bound has to assume.
    pub fn dearest_input(&self) -> Rate {
        [Some(self.input), self.cached_input, self.cache_write, self.audio_input]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or_default()
    }

    /// The dearest rate of an output token.
    pub fn dearest_output(&self) -> Rate {
        [Some(self.output), self.reasoning, self.audio_output].into_iter().flatten().max().unwrap_or_default()
    }

    /// The most that `input` and `output` tokens can cost, whatever kind they turn out to be.
    pub fn ceiling(&self, input: u64, output: u64) -> Result<NanoDollars, MoneyError> {
        let dearest = Self { input: self.dearest_input(), output: self.dearest_output(), ..Self::default() };
        dearest.cost(&Usage::plain(input, output))
    }
}

// === impl Pricing ===

impl Pricing {
    /// What `usage` costs; `None` where nobody knows.
    pub fn cost(&self, usage: &Usage) -> Result<Option<NanoDollars>, MoneyError> {
        match self {
            Self::Free => Ok(Some(NanoDollars::ZERO)),
            Self::Priced(price, _) => price.cost(usage).map(Some),
            Self::Unpriced => Ok(None),
        }
    }

    /// The most that the tokens can cost; `None` where nobody knows.
    pub fn ceiling(&self, input: u64, output: u64) -> Result<Option<NanoDollars>, MoneyError> {
        match self {
            Self::Free => Ok(Some(NanoDollars::ZERO)),
            Self::Priced(price, _) => price.ceiling(input, output).map(Some),
            Self::Unpriced => Ok(None),
        }
    }

    /// Where the price was read, as the ledger keeps it.
    pub fn source(&self) -> &str {
        match self {
            Self::Free | Self::Priced(_, PriceSource::InProcess) => "in_process",
            Self::Priced(_, PriceSource::Config) => "config",
            Self::Priced(_, PriceSource::Table(which)) => which,
            Self::Priced(_, PriceSource::Simulated) => "simulated",
            Self::Unpriced => "unpriced",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_read_and_written_exactly() {
        for (text, nanos, shown) in [
            ("2.50", 2_500_000_000, "2.500000"),
            ("0", 0, "0.000000"),
            ("0.00000225", 2_250, "0.00000225"),
            ("1e-9", 1, "0.000000001"),
            ("0.0000000001", 1, "0.000000001"),
            ("500", 500_000_000_000, "500.000000"),
        ] {
            let amount = NanoDollars::parse(text).unwrap();
            assert_eq!((amount.0, amount.to_string().as_str()), (nanos, shown), "{text}");
        }
        for bad in ["", "abc", "-1", "1,5", "$3", "1e40"] {
            assert!(NanoDollars::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn litellm_rates_are_whole_numbers() {
        assert_eq!(Rate::per_token("2.5e-06"), Rate::per_million("2.5"));
        assert_eq!(Rate::per_token("3.75e-08").unwrap().0, 37_500_000);
    }

    #[test]
    fn parts_are_charged_at_their_own_rates_and_never_twice() {
        let price = Price {
            input: Rate::per_million("2").unwrap(),
            output: Rate::per_million("8").unwrap(),
            cached_input: Some(Rate::per_million("0.5").unwrap()),
            ..Price::default()
        };
        let usage =
            Usage { input: 1_000_000.into(), cached_input: 400_000.into(), output: 10.into(), ..Usage::default() };
        assert_eq!(price.cost(&usage).unwrap(), NanoDollars::parse("1.40008").unwrap());
        let absurd = Usage { input: 10.into(), cached_input: 99.into(), ..Usage::default() };
        assert_eq!(price.cost(&absurd).unwrap().0, 5_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn a_line_is_never_below_true_cost_and_at_most_one_nano_above(
            input in 0u64..10_000_000, output in 0u64..10_000_000, rin in 0u64..1_000_000_000_000, rout in 0u64..1_000_000_000_000,
        ) {
            let price = Price { input: Rate(rin), output: Rate(rout), ..Price::default() };
            let exact = u128::from(input) * u128::from(rin) + u128::from(output) * u128::from(rout);
            let charged = u128::from(price.cost(&Usage::plain(input, output)).unwrap().0) * 1_000_000;
            prop_assert!(charged >= exact && charged - exact < 1_000_000);
        }

        #[test]
        fn written_amounts_read_back(nanos in any::<u64>()) {
            let amount = NanoDollars(nanos);
            prop_assert_eq!(NanoDollars::parse(&amount.to_string()), Ok(amount));
        }
    }
}

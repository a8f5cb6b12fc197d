//! Money against big integers: a million prices and counts of tokens in full size (`SLUICE_TEST_SIZE=full`), fewer otherwise.
//!
//! The oracle computes with digits, as one does on paper, and shares nothing with the product.

use policies::{MoneyError, NanoDollars, Price, Rate, Usage};
use std::cmp::Ordering;

const BASE: u64 = 1_000_000_000;

/// A whole number of any size, the lowest nine digits first, without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Big(Vec<u32>);

// === impl Big ===

impl Big {
    fn of(mut number: u64) -> Self {
        let mut limbs = Vec::new();
        while number > 0 {
            limbs.push((number % BASE) as u32);
            number /= BASE;
        }
        Self(limbs)
    }

    fn trimmed(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }

    fn plus(&self, other: &Self) -> Self {
        let (mut limbs, mut carry) = (Vec::new(), 0_u64);
        for at in 0..self.0.len().max(other.0.len()) {
            let limb = |big: &Self| u64::from(big.0.get(at).copied().unwrap_or(0));
            let sum = limb(self) + limb(other) + carry;
            limbs.push((sum % BASE) as u32);
            carry = sum / BASE;
        }
        limbs.push(carry as u32);
        Self(limbs).trimmed()
    }

    fn times(&self, other: &Self) -> Self {
        let mut sum = vec![0_u64; self.0.len() + other.0.len() + 1];
        for (at, one) in self.0.iter().enumerate() {
            let mut carry = 0;
            for (beside, two) in other.0.iter().enumerate() {
                let now = sum[at + beside] + u64::from(*one) * u64::from(*two) + carry;
                sum[at + beside] = now % BASE;
                carry = now / BASE;
            }
            sum[at + other.0.len()] += carry;
        }
        Self(sum.into_iter().map(|limb| limb as u32).collect()).trimmed()
    }

    fn minus_one(mut self) -> Self {
        for limb in &mut self.0 {
            if *limb > 0 {
                *limb -= 1;
                return self.trimmed();
            }
            *limb = (BASE - 1) as u32;
        }
        Self(vec![])
    }

    fn order(&self, other: &Self) -> Ordering {
        let length = self.0.len().cmp(&other.0.len());
        length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    fn at_most(&self, other: &Self) -> bool {
        self.order(other) != Ordering::Greater
    }
}

/// Numbers that do not repeat soon, the same in every run.
struct Draw(u64);

// === impl Draw ===

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Of every magnitude, the edges often.
    fn number(&mut self) -> u64 {
        let shift = self.next() % 64;
        match self.next() % 16 {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => 1 << shift,
            4 => (1_u64 << shift).wrapping_sub(1),
            5 => 1_000_000,
            6 => 999_999,
            _ => self.next() >> shift,
        }
    }

    /// Such as requests have: the sum of two lines fits into the ledger.
    fn usual(&mut self) -> u64 {
        self.next() % 10_000_000
    }

    fn maybe(&mut self, number: u64) -> Option<Rate> {
        self.next().is_multiple_of(2).then_some(Rate(number))
    }
}

fn cases() -> u64 {
    if std::env::var_os("SLUICE_TEST_SIZE").is_some_and(|size| size == "full") { 1_000_000 } else { 30_000 }
}

/// Nano-dollars times a million: the rates are for a million tokens.
fn exact(price: &Price, usage: &Usage) -> Big {
    // A part never counts more than what is left of its whole; what is left is plain.
    let parts = |whole: u64, parts: &[(u64, Rate)], plain: Rate| {
        let (mut left, mut sum) = (whole, Big(vec![]));
        for (part, rate) in parts {
            let counted = if *part > left { left } else { *part };
            left -= counted;
            sum = sum.plus(&Big::of(counted).times(&Big::of(rate.0)));
        }
        sum.plus(&Big::of(left).times(&Big::of(plain.0)))
    };
    let or = |rate: Option<Rate>, other: Rate| rate.unwrap_or(other);
    let input = [
        (usage.cached_input.0, or(price.cached_input, price.input)),
        (usage.cache_write.0, or(price.cache_write, price.input)),
        (usage.audio_input.0, or(price.audio_input, price.input)),
    ];
    let output = [
        (usage.reasoning.0, or(price.reasoning, price.output)),
        (usage.audio_output.0, or(price.audio_output, price.output)),
    ];
    parts(usage.input.0, &input, price.input).plus(&parts(usage.output.0, &output, price.output))
}

#[test]
fn a_line_is_its_true_cost_rounded_up_once_and_what_does_not_fit_is_refused() {
    let (million, largest) = (Big::of(1_000_000), Big::of(u64::MAX).times(&Big::of(1_000_000)));
    let mut draw = Draw(0x9E37_79B9_7F4A_7C15);
    let (mut fits, mut refused) = (0_u64, 0_u64);
    for case in 0..cases() {
        let number = |draw: &mut Draw| if case % 2 == 0 { draw.usual() } else { draw.number() };
        let numbers: [u64; 14] = std::array::from_fn(|_| number(&mut draw));
        let [input, output, cached, written, heard, thought, spoken, ..] = numbers;
        let [.., r0, r1, r2, r3, r4, r5, r6] = numbers;
        let price = Price {
            input: Rate(r0),
            output: Rate(r1),
            cached_input: draw.maybe(r2),
            cache_write: draw.maybe(r3),
            reasoning: draw.maybe(r4),
            audio_input: draw.maybe(r5),
            audio_output: draw.maybe(r6),
        };
        let usage = Usage {
            input: input.into(),
            cached_input: cached.into(),
            cache_write: written.into(),
            audio_input: heard.into(),
            output: output.into(),
            reasoning: thought.into(),
            audio_output: spoken.into(),
        };
        let exact = exact(&price, &usage);
        match price.cost(&usage) {
            Ok(cost) => {
                fits += 1;
                let charged = Big::of(cost.0).times(&million);
                assert!(exact.at_most(&charged), "below true cost: {price:?} {usage:?}");
                // Less than one nano-dollar above it.
                let above = charged.minus_one().at_most(&exact.plus(&Big::of(999_998)));
                assert!(above || exact == Big(vec![]), "more than rounding: {price:?} {usage:?}");
                assert!(cost.0 > 0 || exact == Big(vec![]));
            }
            Err(error) => {
                refused += 1;
                assert_eq!(error, MoneyError::TooLarge);
                assert!(!exact.at_most(&largest), "it would have fitted: {price:?} {usage:?}");
            }
        }
        // What is set aside is never less than what it can come to.
        if let (Ok(ceiling), Ok(cost)) = (price.ceiling(input, output), price.cost(&usage)) {
            assert!(cost <= ceiling, "{price:?} {usage:?}");
        }
    }
    assert!(fits > cases() / 4 && refused > cases() / 8, "both sides of the edge were tried: {fits} {refused}");
}

#[test]
fn sums_are_exact_or_refused() {
    let mut draw = Draw(0xD1B5_4A32_D192_ED03);
    let largest = Big::of(u64::MAX);
    for _ in 0..cases() {
        let (one, two) = (draw.number(), draw.number());
        let exact = Big::of(one).plus(&Big::of(two));
        match NanoDollars(one).plus(NanoDollars(two)) {
            Ok(sum) => assert_eq!(Big::of(sum.0), exact),
            Err(error) => {
                assert_eq!(error, MoneyError::TooLarge);
                assert!(!exact.at_most(&largest));
            }
        }
    }
}

#[test]
fn amounts_are_read_to_the_last_digit_and_rounded_up() {
    let mut draw = Draw(0x2545_F491_4F6C_DD1D);
    for _ in 0..cases() {
        let (whole, digits) = (draw.next() % 10_000_000_000, (draw.next() % 16) as usize);
        let fraction: String = (0..digits).map(|_| char::from(b'0' + (draw.next() % 10) as u8)).collect();
        let text = if digits == 0 { whole.to_string() } else { format!("{whole}.{fraction}") };
        // Nine digits count, and whatever follows rounds up.
        let mut nine: String = fraction.chars().take(9).collect();
        while nine.len() < 9 {
            nine.push('0');
        }
        let more = fraction.chars().skip(9).any(|digit| digit != '0');
        let exact = Big::of(whole).times(&Big::of(BASE)).plus(&Big::of(nine.parse::<u64>().unwrap() + u64::from(more)));
        assert_eq!(NanoDollars::parse(&text).map(|amount| Big::of(amount.0)), Ok(exact), "{text}");
    }
}

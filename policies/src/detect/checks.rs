//! Check digits.
//!
//! Digits come as values 0 to 9. Each function says whether the whole number is right, its own check digits included.

/// Luhn (ISO/IEC 7812-1, annex B).
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(*digit);
            if place % 2 == 0 {
                digit
            } else if digit > 4 {
                2 * digit - 9
            } else {
                2 * digit
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// The sum of digits by weights; the shorter of both ends it.
pub(super) fn weighed(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum()
}

/// A decimal number of at most 19 digits.
pub(super) fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| number.wrapping_mul(10).wrapping_add(u64::from(*digit)))
}

/// ISO/IEC 7064, MOD 11,10 (German tax id, Croatian OIB).
pub(super) fn mod_11_10(digits: &[u8]) -> bool {
    let Some((check, payload)) = digits.split_last() else { return false };
    let mut product = 10;
    for digit in payload {
        let sum = match (u32::from(*digit) + product) % 10 {
            0 => 10,
            sum => sum,
        };
        product = sum * 2 % 11;
    }
    u32::from(*check) == (11 - product) % 10
}

/// Verhoeff's dihedral check (J. Verhoeff, Error Detecting Decimal Codes, 1969).
pub(super) fn verhoeff(digits: &[u8]) -> bool {
    let turned = |(place, digit): (usize, &u8)| PERMUTED[place % 8][usize::from(*digit) % 10];
    let check = digits
        .iter()
        .rev()
        .enumerate()
        .map(turned)
        .fold(0, |sum: u8, digit| DIHEDRAL[usize::from(sum)][usize::from(digit)]);
    check == 0
}

/// Products in the dihedral group of the pentagon: 0 to 4 turn, 5 to 9 mirror.
const DIHEDRAL: [[u8; 10]; 10] = {
    let mut table = [[0; 10]; 10];
    let mut at = 0;
    while at < 100 {
        let (one, other) = (at / 10, at % 10);
        table[one as usize][other as usize] = match (one < 5, other < 5) {
            (true, true) => (one + other) % 5,
            (true, false) => 5 + (one + other) % 5,
            (false, true) => 5 + (one + 5 - other) % 5,
            (false, false) => (one + 5 - other) % 5,
        };
        at += 1;
    }
    table
};

/// Verhoeff's permutation, applied as often as the row says.
const PERMUTED: [[u8; 10]; 8] = {
    const ONCE: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let mut table = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]; 8];
    let mut at = 10;
    while at < 80 {
        table[at / 10][at % 10] = ONCE[table[at / 10 - 1][at % 10] as usize];
        at += 1;
    }
    table
};

/// Whether month and day can be; the day's upper bound is the month's longest.
pub(super) fn month_and_day(month: u64, day: u64) -> bool {
    let longest = match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=longest).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().map(|byte| byte - b'0').collect()
    }

    #[test]
    fn published_examples_are_right_and_a_changed_digit_is_not() {
        for (check, right) in [
            (luhn as fn(&[u8]) -> bool, "79927398713"),
            (luhn, "4111111111111111"),
            (mod_11_10, "86095742719"),
            (mod_11_10, "69435151530"),
            (verhoeff, "2363"),
            (verhoeff, "234123412346"),
        ] {
            let mut number = digits(right);
            assert!(check(&number), "{right}");
            for place in 0..number.len() {
                let kept = number[place];
                number[place] = (kept + 1) % 10;
                assert!(!check(&number), "{right} with another digit at {place}");
                number[place] = kept;
            }
        }
    }
}

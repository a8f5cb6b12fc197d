//! Telephone numbers.
//!
//! In the international form by the country's calling code (ITU-T E.164) and its numbers' length; any other form only
//! beside a word. The crate `phonenumber` knows each country's plan, but parses each candidate with
//! expressions that it compiles at run time, and every group of digits of a request is one (not measured).

use super::chain::Window;
use super::checks::{month_and_day, number};

/// Calling codes of three digits begin so (E.164 assignments): everything else of these zones has two.
const THREE: [u64; 22] = [21, 22, 23, 24, 25, 26, 29, 35, 37, 38, 42, 50, 59, 67, 68, 69, 80, 85, 87, 88, 96, 97];
/// Not assigned, as beginnings.
const UNASSIGNED: [u64; 5] = [210, 214, 215, 217, 219];

/// Whether digits after a plus are a telephone number.
pub(super) fn international(digits: &[u8]) -> bool {
    if !(8..=15).contains(&digits.len()) {
        return false;
    }
    match digits[0] {
        0 => false,
        // North America: area and exchange begin from 2.
        1 => digits.len() == 11 && digits[1] > 1 && digits[4] > 1,
        7 => digits.len() == 11,
        _ => {
            let two = number(&digits[..2]);
            let code = if THREE.contains(&two) || two == 99 { 3 } else { 2 };
            !UNASSIGNED.contains(&number(&digits[..3])) && (5..=12).contains(&(digits.len() - code))
        }
    }
}

/// Whether a window can be a number as it is dialled at home, or abroad after 00.
pub(super) fn national(window: &Window<'_>) -> bool {
    let digits = window.digits;
    let date = match window.lengths {
        [4, 2, 2] => month_and_day(number(&digits[4..6]), number(&digits[6..])),
        [2, 2, 4] => {
            let (one, two) = (number(&digits[..2]), number(&digits[2..4]));
            month_and_day(one, two) || month_and_day(two, one)
        }
        _ => false,
    };
    let abroad = digits.starts_with(&[0, 0]) && international(&digits[2..]);
    let dotted = window.lengths.len() == 2 && window.joints == b".";
    let same = digits.iter().all(|digit| *digit == digits[0]);
    (abroad || (7..=12).contains(&digits.len())) && !date && !dotted && !same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn international_numbers_have_a_code_and_a_length() {
        for (text, right) in [
            ("493012345678", true),
            ("12025550123", true),
            ("11025550123", false),
            ("1202555012", false),
            ("358401234567", true),
            ("0493012345", false),
            ("1234567", false),
            ("79161234567", true),
        ] {
            let digits: Vec<u8> = text.bytes().map(|byte| byte - b'0').collect();
            assert_eq!(international(&digits), right, "{text}");
        }
    }
}

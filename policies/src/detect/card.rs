//! Payment cards: issuer ranges and lengths (ISO/IEC 7812; the networks' published ranges), Luhn.

use super::checks::{luhn, number};
use super::national::Proof;

/// How the digits of a card are printed: in fours, four-six-five, four-six-four, or in two halves.
pub(super) const PRINTED: &[&[u8]] = &[
    &[16],
    &[15],
    &[14],
    &[17],
    &[18],
    &[19],
    &[4, 4, 4, 4],
    &[4, 6, 5],
    &[4, 6, 4],
    &[4, 4, 4, 4, 3],
    &[8, 8],
    &[6, 13],
];

/// The network of a right number, and whether the number speaks for itself.
pub(super) fn network(digits: &[u8]) -> Option<(&'static str, Proof)> {
    let (network, proof) = range(digits)?;
    let varied = digits.iter().any(|digit| *digit != digits[0]);
    (varied && luhn(digits)).then_some((network, proof))
}

/// Whether groups are those of a printed card.
pub(super) fn printed(lengths: &[u8]) -> bool {
    PRINTED.contains(&lengths)
}

/// Ranges in use. Rare lengths, and Maestro's wide ranges, need a word: barcodes and times in milliseconds look like them.
fn range(digits: &[u8]) -> Option<(&'static str, Proof)> {
    if !(12..=19).contains(&digits.len()) {
        return None;
    }
    let begin = |count: usize| number(&digits[..count]);
    let (two, three, four, six) = (begin(2), begin(3), begin(4), begin(6));
    Some(match (digits.len(), digits[0]) {
        (16, 4) => ("visa", Proof::Form),
        (13 | 19, 4) => ("visa", Proof::Word),
        (16, 5) if (51..=55).contains(&two) => ("mastercard", Proof::Form),
        (16, 2) if (2221..=2720).contains(&four) => ("mastercard", Proof::Form),
        (16, 2) if (2200..=2204).contains(&four) => ("mir", Proof::Form),
        (15, 3) if matches!(two, 34 | 37) => ("american_express", Proof::Form),
        (14, 3) if matches!(two, 36 | 38 | 39) || (300..=305).contains(&three) => ("diners_club", Proof::Form),
        (16, 3) if (3528..=3589).contains(&four) => ("jcb", Proof::Form),
        (16, 6) if four == 6011 || (644..=659).contains(&three) || (622_126..=622_925).contains(&six) => {
            ("discover", Proof::Form)
        }
        (16..=19, 6) if two == 62 => ("unionpay", Proof::Form),
        (16, 6) if matches!(two, 60 | 81 | 82) || three == 508 => ("rupay", Proof::Word),
        (12..=19, 5 | 6) if two == 50 || (56..=69).contains(&two) => ("maestro", Proof::Word),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_numbers_of_the_networks_are_known_by_network() {
        for (text, expected) in [
            ("4111111111111111", Some("visa")),
            ("5555555555554444", Some("mastercard")),
            ("2223003122003222", Some("mastercard")),
            ("378282246310005", Some("american_express")),
            ("30569309025904", Some("diners_club")),
            ("3530111333300000", Some("jcb")),
            ("6011111111111117", Some("discover")),
            ("6250941006528599", Some("unionpay")),
            ("6759649826438453", Some("maestro")),
            ("4111111111111112", None),
            ("0000000000000000", None),
            ("9111111111111111", None),
            ("411111111111", None),
        ] {
            let digits: Vec<u8> = text.bytes().map(|byte| byte - b'0').collect();
            assert_eq!(network(&digits).map(|(network, _)| network), expected, "{text}");
        }
    }
}

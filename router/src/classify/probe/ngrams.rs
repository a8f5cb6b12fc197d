//! Hashed word n-grams.
//!
//! A text becomes lower-case tokens: runs of letters, runs of digits (which count by their length: `#4`, since the
//! number itself says nothing about the next prompt), single other characters, line breaks. Every token and every pair
//! of neighbours falls into one of `2^bits` buckets by XXH3, a specified hash: a bucket means the same on every machine
//! and in every later build. There is no vocabulary to ship and nothing of the training text in a head.
//!
//! Collisions are harmless at this size: 20,000 rows fill a part of 2^18 buckets, and the head is trained on the
//! buckets, not on the words.

use twox_hash::XxHash3_64;

/// Longest token that is hashed as it is, in bytes; the rest of a longer one does not take part.
const LONGEST: usize = 64;
/// Digits up to this many are told apart by their number.
const MOST_DIGITS: usize = 6;

/// Counts the buckets of a text's words and pairs of words, in the order of the buckets.
pub fn count(text: &str, bits: u32) -> Vec<(u32, u32)> {
    let mask = (1u64 << bits) - 1;
    let mut buckets: Vec<u32> = Vec::with_capacity(text.len() / 2);
    let mut previous: Option<u64> = None;
    tokens(text, |token| {
        let hash = XxHash3_64::oneshot(token);
        buckets.push((hash & mask) as u32);
        if let Some(previous) = previous {
            let mut pair = [0u8; 16];
            pair[..8].copy_from_slice(&previous.to_le_bytes());
            pair[8..].copy_from_slice(&hash.to_le_bytes());
            buckets.push((XxHash3_64::oneshot(&pair) & mask) as u32);
        }
        previous = Some(hash);
    });
    buckets.sort_unstable();
    let mut counts: Vec<(u32, u32)> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        match counts.last_mut() {
            Some((last, times)) if *last == bucket => *times += 1,
            _ => counts.push((bucket, 1)),
        }
    }
    counts
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    Letters,
    Digits,
}

/// Calls `each` with every token's bytes.
fn tokens(text: &str, mut each: impl FnMut(&[u8])) {
    let mut token: Vec<u8> = Vec::with_capacity(LONGEST + 8);
    let mut run: Option<Run> = None;
    let mut digits = 0;
    let mut end = |token: &mut Vec<u8>, run: &mut Option<Run>, digits: &mut usize| {
        match run.take() {
            Some(Run::Letters) => each(token),
            Some(Run::Digits) => each(&[b'#', b'0' + (*digits).min(MOST_DIGITS) as u8]),
            // A single character, already in the token.
            None if !token.is_empty() => each(token),
            None => {}
        }
        token.clear();
        *digits = 0;
    };
    for char in text.chars() {
        let kind = if char.is_alphabetic() {
            Some(Run::Letters)
        } else if char.is_ascii_digit() || char.is_numeric() {
            Some(Run::Digits)
        } else {
            None
        };
        if kind.is_none() || kind != run {
            end(&mut token, &mut run, &mut digits);
        }
        match kind {
            Some(Run::Letters) => {
                if token.len() < LONGEST {
                    let mut bytes = [0u8; 4];
                    char.to_lowercase().for_each(|lower| {
                        token.extend_from_slice(lower.encode_utf8(&mut bytes).as_bytes());
                    });
                }
            }
            Some(Run::Digits) => digits += 1,
            None if char.is_whitespace() && char != '\n' => {}
            None => {
                let mut bytes = [0u8; 4];
                token.extend_from_slice(char.encode_utf8(&mut bytes).as_bytes());
            }
        }
        run = kind;
    }
    end(&mut token, &mut run, &mut digits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spelled(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        tokens(text, |token| all.push(String::from_utf8_lossy(token).into_owned()));
        all
    }

    #[test]
    fn words_numbers_and_signs_are_told_apart() {
        assert_eq!(
            spelled("Don't pay $1,234.50\n now"),
            ["don", "'", "t", "pay", "$", "#1", ",", "#3", ".", "#2", "\n", "now"]
        );
        assert_eq!(spelled("Éa3b12345678"), ["éa", "#1", "b", "#6"]);
    }

    #[test]
    fn buckets_are_the_same_in_every_build() {
        assert_eq!(count("a", 18), [((XxHash3_64::oneshot(b"a") & 0x3_ffff) as u32, 1)]);
        assert_eq!(XxHash3_64::oneshot(b"a"), 0xe6c6_32b6_1e96_4e1f);
    }

    proptest! {
        #[test]
        fn whatever_the_text_buckets_are_sorted_unique_and_in_range(text in "\\PC{0,200}") {
            let counts = count(&text, 12);
            prop_assert!(counts.windows(2).all(|two| two[0].0 < two[1].0));
            prop_assert!(counts.iter().all(|(bucket, times)| *bucket < 4096 && *times > 0));
        }
    }
}

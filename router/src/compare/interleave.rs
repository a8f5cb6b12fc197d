//! In which order two sides answer the items of an evaluation set.
//!
//! **Promise.** Both sides answer each item. Which of them is asked first is drawn, and balanced: in each block of [`BLOCK`]
//! items each side is first equally often. The same items in the same order have the same draw, so that a run that is
//! resumed goes on as it began.
//!
//! **Why.** Whoever is always asked second meets a warmer cache, a later hour and what the first one did to a shared machine. A
//! drift during the run then falls on both sides alike. Blocks keep the balance at any moment at which a run is stopped.
//!
//! **How.** Permuted blocks: Zelen, "The randomization and stratification of patients to clinical trials", Journal of Chronic
//! Diseases 27(7-8), 1974. The permutation is drawn by a digest of the block's items.

use super::Side;
use sha2::{Digest, Sha256};

/// Items of a block; even.
pub const BLOCK: usize = 4;

/// The side that is asked first, for each item, by the items' ids. A last block that is not full may be off by half of its size.
pub fn first_sides(items: &[&str]) -> Vec<Side> {
    items.chunks(BLOCK).enumerate().flat_map(|(nth, block)| drawn(nth, block).into_iter().take(block.len())).collect()
}

/// A permutation of as many lefts as rights.
fn drawn(nth: usize, items: &[&str]) -> [Side; BLOCK] {
    let mut digest = Sha256::new().chain_update((nth as u64).to_le_bytes());
    for item in items {
        digest = digest.chain_update((item.len() as u64).to_le_bytes()).chain_update(item.as_bytes());
    }
    let bytes = digest.finalize();
    let mut words = bytes.chunks_exact(8).map(|word| word.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)));
    let mut sides: [Side; BLOCK] = std::array::from_fn(|at| if at % 2 == 0 { Side::Left } else { Side::Right });
    // Fisher and Yates; a word of 64 bits favours no place by more than one in 2^61.
    for last in (1..BLOCK).rev() {
        let word = words.next().unwrap_or_default();
        let place = usize::try_from(word % (last as u64 + 1)).unwrap_or(0);
        sides.swap(last, place);
    }
    sides
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn first(items: usize) -> Vec<Side> {
        let ids: Vec<String> = (0..items).map(|n| format!("item {n}")).collect();
        first_sides(&ids.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn each_side_is_first_equally_often_in_every_block_and_at_any_stop() {
        let sides = first(4_002);
        assert_eq!(sides.len(), 4_002);
        let mut lead = 0_i32;
        for (at, side) in sides.iter().enumerate() {
            lead += if *side == Side::Left { 1 } else { -1 };
            assert!(lead.abs() <= 2, "{at}");
            assert!((at + 1) % BLOCK != 0 || lead == 0, "{at}");
        }
        assert_eq!(sides, first(4_002), "a run that is resumed goes on as it began");
        assert_eq!(sides[..400], first(400), "what comes later changes nothing");
    }

    #[test]
    fn all_permutations_are_drawn_alike() {
        let mut seen: HashMap<Vec<Side>, u32> = HashMap::new();
        for block in first(24_000).chunks(BLOCK) {
            *seen.entry(block.to_vec()).or_default() += 1;
        }
        assert_eq!(seen.len(), 6);
        // 6,000 blocks, 1,000 for each: the statistic of a fixed input, beside the 99.9th percentile for 5 degrees of freedom.
        let statistic: f64 = seen.values().map(|n| (f64::from(*n) - 1_000.0).powi(2) / 1_000.0).sum();
        assert!(statistic < 20.5, "{statistic}");
    }
}

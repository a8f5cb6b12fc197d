//! Rows into folds, groups kept together; and work over two or more threads.
//!
//! Prompts that ask nearly the same must not stand on both sides of a fold, or a head is praised for what it remembers.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use twox_hash::XxHash3_64;

/// How many folds.
pub const FOLDS: usize = 5;

/// The fold of a group: a hash of its name, so that it does not depend on the other rows.
pub fn fold_of(group: &str, seed: u64) -> usize {
    (XxHash3_64::oneshot_with_seed(seed, group.as_bytes()) % FOLDS as u64) as usize
}

/// Does `count` pieces of work on as many threads as there are processors; results come in order.
pub fn spread<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get()).min(count.max(1));
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        break;
                    }
                    let result = work(at);
                    done.lock().push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stay_together_and_folds_are_alike_in_size() {
        let mut sizes = [0; FOLDS];
        (0..5_000).for_each(|n| sizes[fold_of(&format!("group {n}"), 7)] += 1);
        assert!(sizes.iter().all(|size| (850..1_150).contains(size)), "{sizes:?}");
        assert_eq!(fold_of("a", 1), fold_of("a", 1));
    }

    #[test]
    fn results_come_in_order() {
        assert_eq!(spread(100, |n| n * n), (0..100).map(|n| n * n).collect::<Vec<_>>());
    }
}

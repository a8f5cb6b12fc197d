//! The engine's thread computes, too.
//!
//! Candle splits each product over rayon's pool, hundreds of times a token. From a thread outside of a pool every one of
//! them is handed over and waited for: two changes of thread, and one thread more than there are cores. From a worker of
//! the pool the first half is computed on the spot. So the engine's thread becomes a worker of a pool of its own, the
//! first time that it calls us; measured in docs/local-speed.md.
//!
//! Each engine has its own pool: one that dies takes nothing of another's with it.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::cell::OnceCell;

thread_local! {
    static POOL: OnceCell<Option<ThreadPool>> = const { OnceCell::new() };
}

/// Makes the calling thread a worker, once; where that cannot be, everything works as before, only slower.
pub(super) fn enlist() {
    POOL.with(|pool| {
        pool.get_or_init(|| {
            // The same number that rayon's own pool has: `RAYON_NUM_THREADS`, else the cores.
            let threads = rayon::current_num_threads();
            let name = |at| format!("sluice-model-{at}");
            let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(name).use_current_thread().build();
            pool.inspect_err(|error| tracing::debug!(%error, "the engine's thread stays outside of the pool")).ok()
        });
    });
}

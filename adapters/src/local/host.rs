//! The threads that load a model, watch its engine and start it again.
//!
//! **Promise.** Whatever mistral.rs does, the process lives: loading runs on a thread of its own whose panic becomes
//! [`Readiness::Down`] with a sentence; an engine that dies is loaded again after 1 s, 2 s, 4 s up to 60 s, at most
//! [`MAX_RESTARTS`] times in a row (ten healthy minutes forgive). Requests that were in it end with an error.
//!
//! **Why load again.** After a panic inside a forward pass a lock around its cache is poisoned for good; only fresh weights
//! are sure to work.
//!
//! **Progress.** Fetching is the first half where there is something to fetch; converting and reading, then the warm-up, the
//! rest. mistral.rs tells nothing while it reads.

use super::engine::Shared;
use super::load::{Loaded, load};
use super::spec::MAX_RESTARTS;
use super::store::{StoreError, is_present, resolve};
use policies::Readiness;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The first pause before a restart.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How far the engine steps back: at 10 a busy engine gets a tenth of a core that the gateway wants, and all of one it
/// does not want.
const NICENESS: &str = "10";
/// After so long without a death the count starts anew.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// Why a load ended without a model.
enum Failure {
    /// Trying again may help.
    Died(String),
    /// It will not.
    Hopeless(String),
}

/// Runs the model's life on the calling thread, until shutdown or for good failure.
pub(super) fn run(shared: &Arc<Shared>, stop: watch::Receiver<bool>) {
    // Nobody watches this thread: should it panic, the model must not look ready for ever.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| live(shared, stop))) {
        shared.leave();
        shared.down(format!("the model's thread died: {}", said(panic.as_ref())), None);
    }
}

fn live(shared: &Arc<Shared>, stop: watch::Receiver<bool>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return shared.down(format!("no thread for the engine: {error}"), None),
    };
    let mut deaths = 0u32;
    while !*stop.borrow() {
        let since = Instant::now();
        let why = match come_up(shared) {
            Err(Failure::Hopeless(why)) => return shared.down(why, None),
            Err(Failure::Died(why)) => why,
            Ok(loaded) => {
                let sender = loaded.sender.clone();
                let warmed = runtime.block_on(shared.warm_up(loaded));
                match warmed {
                    Ok(()) => {
                        shared.ready();
                        let stopped = runtime.block_on(watch_over(sender.closed(), stop.clone()));
                        if stopped {
                            break;
                        }
                        "the engine died".to_owned()
                    }
                    Err(why) => why,
                }
            }
        };
        shared.leave();
        deaths = if since.elapsed() > FORGIVEN_AFTER { 1 } else { deaths + 1 };
        if deaths > MAX_RESTARTS {
            return shared.down(format!("{why}, {deaths} times in a row"), None);
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << (deaths - 1).min(6)).min(LONGEST_PAUSE);
        tracing::error!(provider = %shared.spec.provider, %why, ?pause, "the local model is loaded again");
        shared.down(why, Some(pause));
        let asked_to_stop = runtime.block_on(watch_over(async { tokio::time::sleep(pause).await }, stop.clone()));
        if asked_to_stop {
            break;
        }
        shared.loading();
    }
    shared.leave();
    shared.down("the model was shut down".into(), None);
}

/// Waits for an event or for the end; tells whether it was the end.
async fn watch_over(event: impl Future<Output = ()>, mut stop: watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = event => false,
        _ = stop.wait_for(|stop| *stop) => true,
    }
}

/// Fetches and loads on a fresh thread.
fn come_up(shared: &Arc<Shared>) -> Result<Loaded, Failure> {
    let inside = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("sluice-load".into()).spawn(move || fetch_and_load(&inside));
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(Failure::Hopeless(format!("the model cannot be loaded: {}", said(panic.as_ref())))),
        Err(error) => Err(Failure::Died(format!("no thread to load the model: {error}"))),
    }
}

fn fetch_and_load(shared: &Shared) -> Result<Loaded, Failure> {
    let spec = &shared.spec;
    let fetches = !is_present(&spec.source, &spec.cache_dir);
    if fetches && !spec.fetch {
        return Err(Failure::Hopeless("the model is not on disk, and nothing may be fetched".into()));
    }
    let half = if fetches { 0.5 } else { 0.0 };
    let path =
        resolve(&spec.source, &spec.cache_dir, &|share| shared.progress(share * half)).map_err(
            |error| match error {
                StoreError::Fetch { .. } | StoreError::Io { .. } => Failure::Died(error.to_string()),
                StoreError::NotFound(_) | StoreError::Digest { .. } => Failure::Hopeless(error.to_string()),
            },
        )?;
    step_back();
    load(spec, &path, &|share| shared.progress(half + share * (1.0 - half))).map_err(Failure::Hopeless)
}

/// Lowers the priority of this thread and of all that it starts: the engine's own and its pools of workers, which keep every
/// core busy while they compute. Requests to hosted models must not wait for them.
fn step_back() {
    let Ok(task) = std::fs::read_link("/proc/thread-self") else { return };
    let Some(id) = task.file_name().and_then(|id| id.to_str()) else { return };
    // Niceness belongs to a thread on Linux. The call itself would need `unsafe` or a crate for this one number.
    let renice = Command::new("renice")
        .args(["-n", NICENESS, "-p", id])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !renice.is_ok_and(|status| status.success()) {
        tracing::debug!("cannot lower the priority of the local model");
    }
}

/// What a panic said, on one line.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.and_then(|text| text.lines().next()).unwrap_or("the loader gave no reason").to_owned()
}

/// What is true of a model now, with the share of loading that is done.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) readiness: Readiness,
    pub(super) progress: f32,
}

//! A circuit breaker a provider.
//!
//! Opens after [`CONSECUTIVE`] failures in a row, or when fewer than half of at least [`WINDOW_CALLS`] calls of the last
//! [`WINDOW`] succeeded; stays open 1 s, doubling to 60 s with jitter; then lets one probe (a real request) through. A
//! 429 counts as a failure and never heals a probe. Nothing polls a paid provider.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row that open it.
pub(crate) const CONSECUTIVE: u32 = 5;
/// Calls in a window before their share counts.
pub(crate) const WINDOW_CALLS: u32 = 20;
/// The window.
pub(crate) const WINDOW: Duration = Duration::from_secs(30);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// One probe may pass, or is under way.
    HalfOpen,
    /// No call passes.
    Open,
}

// === impl BreakerState ===

impl BreakerState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];

    /// The word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// A breaker.
#[derive(Debug)]
pub struct Breaker(Mutex<State>);

#[derive(Debug)]
struct State {
    in_a_row: u32,
    window_began: Instant,
    calls: u32,
    failures: u32,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    until: Instant,
    lasted: Duration,
    probing: bool,
}

// === impl Breaker ===

impl Default for Breaker {
    fn default() -> Self {
        let window_began = Instant::now();
        Self(Mutex::new(State { in_a_row: 0, window_began, calls: 0, failures: 0, open: None }))
    }
}

impl Breaker {
    /// How long it stays open; `None` when calls may pass.
    pub fn open_for(&self) -> Option<Duration> {
        let state = self.0.lock();
        let open = state.open?;
        let left = open.until.saturating_duration_since(Instant::now());
        if left.is_zero() { open.probing.then_some(SHORTEST) } else { Some(left) }
    }

    /// How it stands now; changes nothing.
    pub fn state(&self) -> BreakerState {
        match self.0.lock().open {
            None => BreakerState::Closed,
            Some(open) if open.probing || Instant::now() >= open.until => BreakerState::HalfOpen,
            Some(_) => BreakerState::Open,
        }
    }

    /// Asks to pass; an open breaker whose time is over lets one probe through.
    pub fn enter(&self) -> bool {
        let mut state = self.0.lock();
        match &mut state.open {
            None => true,
            Some(open) if !open.probing && Instant::now() >= open.until => {
                open.probing = true;
                true
            }
            Some(_) => false,
        }
    }

    /// A call that entered has succeeded.
    pub fn succeeded(&self) {
        let mut state = self.0.lock();
        state.open = None;
        state.in_a_row = 0;
        count(&mut state, false);
    }

    /// A call that entered has failed, and the provider is to blame.
    pub fn failed(&self) {
        let mut state = self.0.lock();
        state.in_a_row += 1;
        count(&mut state, true);
        let tripped = state.in_a_row >= CONSECUTIVE
            || (state.calls >= WINDOW_CALLS && state.failures * 2 > state.calls)
            || state.open.is_some();
        if tripped {
            let lasted = state.open.map_or(SHORTEST, |open| (open.lasted * 2).min(LONGEST));
            let jitter = lasted.mul_f32(rand::random::<f32>() * 0.2);
            state.open = Some(Open { until: Instant::now() + lasted + jitter, lasted, probing: false });
        }
    }

    /// A call that entered ended without telling anything (the client left, or it was the request's fault).
    pub fn inconclusive(&self) {
        if let Some(open) = &mut self.0.lock().open {
            open.probing = false;
        }
    }
}

fn count(state: &mut State, failed: bool) {
    if state.window_began.elapsed() > WINDOW {
        state.window_began = Instant::now();
        state.calls = 0;
        state.failures = 0;
    }
    state.calls += 1;
    state.failures += u32::from(failed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_lets_one_probe_through_and_backs_off() {
        let breaker = Breaker::default();
        for _ in 0..CONSECUTIVE {
            assert!(breaker.enter());
            breaker.failed();
        }
        assert!(!breaker.enter() && breaker.open_for().is_some());
        assert_eq!(breaker.state(), BreakerState::Open);
        tokio::time::advance(Duration::from_millis(1_300)).await;
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.enter() && !breaker.enter(), "one probe, not two");
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.failed();
        assert_eq!(breaker.state(), BreakerState::Open);
        tokio::time::advance(Duration::from_millis(1_300)).await;
        assert!(!breaker.enter(), "the second time it stays open twice as long");
        tokio::time::advance(Duration::from_millis(1_300)).await;
        assert!(breaker.enter());
        breaker.succeeded();
        assert!(breaker.enter() && breaker.open_for().is_none());
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_share_opens_it_and_a_probe_that_says_nothing_can_be_repeated() {
        let breaker = Breaker::default();
        for n in 0..WINDOW_CALLS {
            if n % 3 == 0 { breaker.succeeded() } else { breaker.failed() }
        }
        assert!(!breaker.enter());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(breaker.enter());
        breaker.inconclusive();
        assert!(breaker.enter());
    }
}

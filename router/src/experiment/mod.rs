//! Experiments on live traffic: shadows, splits, and what follows from them.
//!
//! **Shadow.** A share of requests is answered by a second model, too, after the client has its answer ([`crate::shadow`]); the
//! pair is judged in the background and goes on record.
//!
//! **Split.** Sessions are put in an arm by a keyed draw ([`crate::compare::arm`]); arms differ by side, model, system prompt or
//! threshold ([`arms`]); what clients say of the answers (`POST /v1/feedback`) compares them.
//!
//! **Promise.** The money of an experiment's own calls is capped by the day (UTC) and to the nano-dollar: their most is set aside
//! before they are dialled, and what a crash left in doubt counts in full. No more than [`AT_ONCE`] calls of an experiment run
//! at once; what comes meanwhile is not shadowed, and nobody waits.
//!
//! **What acts.** Only with `act = true`: see [`act`].

mod act;
mod arms;
mod judge;

pub use act::{Assessment, assess, split};
pub use arms::{ArmGoal, ArmSpec, SystemPrompt};
pub(crate) use arms::{Drawn, Enrolled, enrol, enrolled};
pub use judge::PairJudge;
pub(crate) use judge::judged;

use crate::ask::Ask;
use crate::classify::Control;
use crate::compare::{Asked, Purse, Question, Side, Slice};
use crate::holdout::Holdout;
use crate::ledger::{Ledger, LedgerError, Step};
use jiff::Timestamp;
use parking_lot::Mutex;
use policies::{Facts, ModelName, NanoDollars};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls of one experiment that run at once.
pub const AT_ONCE: usize = 8;
const DAY_US: i64 = 86_400_000_000;

/// `[experiments.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub struct ExperimentSpec {
    /// Its name.
    pub name: String,
    /// What is done.
    pub kind: Trial,
    /// The model in question and the one that it is compared with; `None`: the local and the hosted side's.
    pub sides: Option<[ModelName; 2]>,
    /// Who judges pairs.
    pub judge: PairJudge,
    /// What is asked.
    pub question: Question,
    /// The most that its own calls may cost a day.
    pub daily: Option<NanoDollars>,
    /// How many slices a day may be opened by themselves; `None`: results do not act.
    pub act: Option<u32>,
    /// Shadow: the system prompt of the model in question.
    pub system: Option<SystemPrompt>,
    /// Split: an answer after which so long nobody asked again counts as good, and one after which somebody did as bad, where
    /// no client said anything of it ([`crate::again`]); `None`: only what clients say counts.
    pub quiet: Option<Duration>,
}

/// What an experiment does.
#[derive(Clone, Debug, PartialEq)]
pub enum Trial {
    /// A share (0 to 1) of requests is answered twice.
    Shadow(f32),
    /// Sessions are put in an arm.
    Split {
        /// The share (0 to 1) of sessions that is in the left one.
        left: f64,
        /// What the left and the right one do.
        arms: Box<[ArmSpec; 2]>,
        /// Users, where they are known, in place of sessions.
        by_user: bool,
        /// Since when, and for how long, the share grows from nothing.
        ramp: Option<(Timestamp, Duration)>,
    },
}

/// An experiment with what outlives a reload.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// What is configured.
    pub spec: ExperimentSpec,
    pub(crate) live: Arc<Live>,
    /// The key of its draws.
    draw: Holdout,
    key: [u8; 32],
    /// What sets the thresholds of its arms, left and right, where they have one of their own.
    controls: [Option<Arc<Control>>; 2],
}

/// What an experiment remembers.
#[derive(Debug)]
pub struct Live {
    purse: Mutex<(i64, Purse)>,
    places: Arc<Semaphore>,
    slices: Mutex<Known>,
    /// One assessment at a time; counts the pairs since the last one.
    assessing: tokio::sync::Mutex<u32>,
    /// What became of copies since the start.
    copies: [AtomicU64; CopyEnd::ALL.len()],
}

/// What became of a request that was drawn to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyEnd {
    /// The other side answered it.
    Made,
    /// The other side failed.
    Failed,
    /// It gave way to clients.
    GaveWay,
    /// It was not asked: not permitted, or no money, no place or nobody for it.
    Skipped,
}

// === impl CopyEnd ===

impl CopyEnd {
    const ALL: [Self; 4] = [Self::Made, Self::Failed, Self::GaveWay, Self::Skipped];

    fn word(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Failed => "failed",
            Self::GaveWay => "gave_way",
            Self::Skipped => "skipped",
        }
    }
}

/// What is known of slices.
#[derive(Clone, Debug, Default)]
struct Known {
    opened: HashSet<Slice>,
    worse: HashSet<Slice>,
}

/// A request that was drawn to be copied; what became of it is counted when this is dropped.
#[derive(Debug)]
pub(crate) struct Fate {
    live: Arc<Live>,
    became: CopyEnd,
}

/// Money that is set aside of an experiment's day; dropped without being settled it counts in full.
#[derive(Debug)]
pub(crate) struct Held {
    live: Arc<Live>,
    day: i64,
    most: NanoDollars,
    settled: bool,
}

// === impl Live ===

impl Live {
    fn today() -> i64 {
        Timestamp::now().as_microsecond().div_euclid(DAY_US)
    }

    /// What the ledger knows of an experiment.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn recall(ledger: &Ledger, spec: &ExperimentSpec) -> Result<Self, LedgerError> {
        let day = Self::today();
        let spent = ledger.spent_by_experiment(&spec.name, day * DAY_US)?;
        let mut opened = HashSet::new();
        for Step { slice, opened: open, .. } in ledger.steps_of(&spec.name)? {
            if open {
                opened.insert(slice)
            } else {
                opened.remove(&slice)
            };
        }
        Ok(Self {
            purse: Mutex::new((day, Purse::new(spec.daily, spent))),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            slices: Mutex::new(Known { opened, worse: HashSet::new() }),
            assessing: tokio::sync::Mutex::new(0),
            copies: Default::default(),
        })
    }

    /// What became of the requests that were drawn to be copied since the start, by word.
    pub fn copies(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CopyEnd::ALL.into_iter().zip(&self.copies).map(|(copy, count)| (copy.word(), count.load(Ordering::Relaxed)))
    }

    /// A request was drawn to be copied.
    pub(crate) fn drawn(self: &Arc<Self>) -> Fate {
        Fate { live: self.clone(), became: CopyEnd::Skipped }
    }

    fn count(&self, became: CopyEnd) {
        let counts = CopyEnd::ALL.into_iter().zip(&self.copies).filter(|(copy, _)| *copy == became);
        counts.for_each(|(_, count)| {
            count.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// What today's calls have cost.
    pub fn spent_today(&self) -> NanoDollars {
        let mut purse = self.purse.lock();
        Self::roll(&mut purse);
        purse.1.spent()
    }

    /// The slices that go to the left side.
    pub fn opened(&self) -> Vec<Slice> {
        let mut opened: Vec<Slice> = self.slices.lock().opened.iter().cloned().collect();
        opened.sort();
        opened
    }

    fn roll(purse: &mut (i64, Purse)) {
        let today = Self::today();
        if purse.0 != today {
            *purse = (today, purse.1.renewed());
        }
    }

    /// Sets money of today aside.
    pub(crate) fn take(self: &Arc<Self>, most: NanoDollars) -> Option<Held> {
        let mut purse = self.purse.lock();
        Self::roll(&mut purse);
        purse.1.take(most).then(|| Held { live: self.clone(), day: purse.0, most, settled: false })
    }

    /// A place among those that run at once.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }
}

// === impl Fate ===

impl Fate {
    pub(crate) fn became(&mut self, end: CopyEnd) {
        self.became = end;
    }
}

impl Drop for Fate {
    fn drop(&mut self) {
        self.live.count(self.became);
    }
}

// === impl Held ===

impl Held {
    /// Puts it right: so much was paid.
    pub(crate) fn settle(mut self, cost: NanoDollars) {
        self.put(cost);
    }

    fn put(&mut self, cost: NanoDollars) {
        self.settled = true;
        let mut purse = self.live.purse.lock();
        // What began yesterday was yesterday's money.
        if purse.0 == self.day {
            purse.1.settle(self.most, cost);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.settled {
            self.put(self.most);
        }
    }
}

// === impl Experiment ===

impl Experiment {
    /// An experiment; `key` is the ledger's ([`Ledger::salt`]).
    pub fn new(spec: ExperimentSpec, live: Arc<Live>, key: [u8; 32]) -> Self {
        live.purse.lock().1.set_cap(spec.daily);
        Self { draw: Holdout::new(0.0, key), spec, live, key, controls: [None, None] }
    }

    /// The same with what sets the thresholds of its arms, left and right; it outlives a reload.
    #[must_use]
    pub fn steered(self, controls: [Option<Arc<Control>>; 2]) -> Self {
        Self { controls, ..self }
    }

    /// What sets an arm's threshold, where it has one of its own.
    pub(crate) fn control(&self, arm: Side) -> Option<&Arc<Control>> {
        match arm {
            Side::Left => self.controls.first()?.as_ref(),
            Side::Right => self.controls.last()?.as_ref(),
            Side::Tie => None,
        }
    }

    /// What it remembers.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The key of its draws.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Draws whether this request is shadowed.
    pub(crate) fn shadows(&self) -> bool {
        matches!(self.spec.kind, Trial::Shadow(share) if rand::random::<f32>() < share)
    }

    /// Whether what was shown puts a request on the left side.
    pub(crate) fn opens(&self, ask: &Ask, facts: &Facts) -> bool {
        if self.spec.act.is_none() || self.live.slices.lock().opened.is_empty() {
            return false;
        }
        let slices = slices_of(ask, facts);
        let known = self.live.slices.lock();
        slices.iter().any(|slice| known.opened.contains(slice))
            && !slices.iter().any(|slice| known.worse.contains(slice))
    }
}

/// The slices that a request is in.
pub(crate) fn slices_of(ask: &Ask, facts: &Facts) -> Vec<Slice> {
    let request = ask.came();
    let text = request.view.texts().collect::<Vec<_>>().join("\n");
    let key = facts.principal.key_name.as_deref();
    Asked::of(request, &text, key, &facts.tags).slices()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn spec(daily: Option<u64>) -> ExperimentSpec {
        ExperimentSpec {
            name: "x".into(),
            kind: Trial::Shadow(1.0),
            sides: None,
            judge: PairJudge::Nobody,
            question: Question { margin: 0.05, error: 0.05 },
            daily: daily.map(NanoDollars),
            act: None,
            system: None,
            quiet: None,
        }
    }

    #[test]
    fn a_day_has_its_cap_and_what_is_in_doubt_counts_in_full() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::start(folder.path().join("l.db"), crate::ledger::Durability::Process).unwrap();
        let live = Arc::new(Live::recall(&ledger, &spec(Some(100))).unwrap());
        let held = live.take(NanoDollars(60)).unwrap();
        assert!(live.take(NanoDollars(41)).is_none(), "one nano-dollar too much");
        drop(live.take(NanoDollars(40)).unwrap());
        held.settle(NanoDollars(1));
        assert_eq!(live.spent_today(), NanoDollars(41));
        // A new day has money of its own, and what began before it is not taken from it.
        let mut late = live.take(NanoDollars(50)).unwrap();
        late.day -= 1;
        live.purse.lock().0 -= 1;
        assert_eq!(live.spent_today(), NanoDollars(0));
        late.settle(NanoDollars(50));
        assert!(live.take(NanoDollars(100)).is_some());
        let places: Vec<_> = (0..AT_ONCE).map(|_| live.place().unwrap()).collect();
        assert!(live.place().is_none());
        drop(places);
        assert!(live.place().is_some());
    }

    #[test]
    fn each_request_that_was_drawn_is_counted_once_whatever_became_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::start(folder.path().join("l.db"), crate::ledger::Durability::Process).unwrap();
        let live = Arc::new(Live::recall(&ledger, &spec(None)).unwrap());
        drop(live.drawn());
        for end in [CopyEnd::Made, CopyEnd::Made, CopyEnd::Failed, CopyEnd::GaveWay] {
            live.drawn().became(end);
        }
        let counts: Vec<_> = live.copies().collect();
        assert_eq!(counts, [("made", 2), ("failed", 1), ("gave_way", 1), ("skipped", 1)]);
    }
}

//! Heads that were rolled out: which of them judge now, and what follows from what is known.
//!
//! The ledger says what was tried, promoted and taken back ([`router::rollout`]); here it meets the configuration. A gateway
//! looks every second whether a step was added, by itself, by another replica or by `sluice classifier heads`, and takes it
//! over like a changed configuration: requests under way end with the head that they began with.

use crate::assemble::Ground;
use crate::config::Settings;
use crate::server::App;
use anyhow::Context;
use parking_lot::Mutex;
use router::LaneRule;
use router::ledger::{Ledger, LedgerError};
use router::probe::{Head, Probe};
use router::rollout::{Bounds, Standing};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A trial is looked at again after so long although nothing new was said: time may be over.
const AGAIN: Duration = Duration::from_secs(60);
/// Looks take a twentieth of the time at most, however many labels there are.
const BETWEEN: u32 = 20;

/// A look at a lane.
struct LookedAt {
    /// How many labels there were, and when the last was said.
    said: (u64, Option<i64>),
    at: Instant,
    took: Duration,
}

/// The lanes of a configuration, what no entry takes last, each with the head that the file names.
///
/// # Errors
/// The head in the binary is not usable.
pub fn lanes(settings: &Settings) -> anyhow::Result<Vec<(LaneRule, Arc<Head>)>> {
    if settings.router.classifier != "probe" {
        return Ok(vec![]);
    }
    let usual = match &settings.router.head {
        Some(head) => head.clone(),
        None => Arc::new(Probe::bundled().context("the head that is shipped")?.head().clone()),
    };
    let mut lanes = settings.router.lanes.clone();
    lanes.push((LaneRule { part: 1.0, ..LaneRule::default() }, usual));
    Ok(lanes)
}

/// Where each lane stands.
///
/// # Errors
/// The ledger cannot be read, or the head in the binary is not usable.
pub fn standings(ledger: &Ledger, settings: &Settings) -> anyhow::Result<Vec<Standing>> {
    let steps = ledger.head_steps().context("cannot read the steps of heads from the ledger")?;
    let lanes = lanes(settings)?;
    Ok(lanes.iter().map(|(rule, head)| Standing::of(&steps, &rule.name, &head.version())).collect())
}

/// Heads that were read from the ledger, by version.
#[derive(Default)]
pub struct Registry {
    known: Mutex<HashMap<String, Arc<Head>>>,
}

/// Who judges, by configuration and steps.
pub struct Judges {
    /// What no entry takes; `None`: the classifier is no probe, or the head is the one in the binary.
    pub usual: Option<Arc<Head>>,
    /// The entries and the trials, in the order in which they are asked.
    pub lanes: Vec<(LaneRule, Arc<Head>)>,
}

// === impl Registry ===

impl Registry {
    fn head(&self, ledger: &Ledger, version: &str) -> Result<Option<Arc<Head>>, LedgerError> {
        let mut known = self.known.lock();
        if let Some(head) = known.get(version) {
            return Ok(Some(head.clone()));
        }
        let head = ledger.head(version)?.map(Arc::new);
        known.extend(head.clone().map(|head| (version.to_owned(), head)));
        Ok(head)
    }

    /// Who judges now. A head that the ledger cannot give is reported, and the configured one stays.
    ///
    /// # Errors
    /// The ledger cannot be read, or the head in the binary is not usable.
    pub fn judges(&self, ledger: &Ledger, settings: &Settings) -> anyhow::Result<Judges> {
        let mut judges = Judges { usual: settings.router.head.clone(), lanes: Vec::new() };
        let find = |version: &str| match self.head(ledger, version) {
            Ok(Some(head)) => Some(head),
            Ok(None) => {
                tracing::error!(head = version, "a head that was rolled out is not on the ledger");
                None
            }
            Err(error) => {
                tracing::error!(head = version, error = %error, "a head that was rolled out cannot be used");
                None
            }
        };
        for ((rule, configured), standing) in lanes(settings)?.into_iter().zip(standings(ledger, settings)?) {
            // A head without labels of its own would send all of its part hosted where a risk is the goal.
            if let Some(trial) = standing.trial.as_ref().filter(|_| settings.router.risk.is_none())
                && let Some(head) = find(&trial.head)
            {
                judges.lanes.push((LaneRule::trial(rule.clone(), &trial.head, trial.part), head));
            }
            let bounds = settings.roll_out.as_ref().filter(|_| settings.router.risk.is_none());
            if let Some((watched, bounds)) = bounds.and_then(|bounds| Some((standing.watches(bounds)?, bounds))) {
                let named = watched.former == configured.version();
                let former = if named { Some(configured.clone()) } else { find(&watched.former) };
                let part = LaneRule::trial(rule.clone(), &watched.former, bounds.watch);
                judges.lanes.extend(former.map(|former| (part, former)));
            }
            let promoted = standing.promoted.last().and_then(|version| find(version));
            if rule.name.is_empty() {
                judges.usual = promoted.or(judges.usual);
            } else {
                judges.lanes.push((rule, promoted.unwrap_or(configured)));
            }
        }
        Ok(judges)
    }
}

/// What the watch over trials remembers.
#[derive(Default)]
pub struct Watch {
    /// What the router in force was made of.
    standings: Option<Vec<Standing>>,
    /// The last looks, by lane.
    looked: HashMap<String, LookedAt>,
}

// === impl Watch ===

impl Watch {
    /// The router was made anew, nobody knows of which steps.
    pub fn forget(&mut self) {
        self.standings = None;
    }

    /// Takes over steps that were added, then takes those that follow.
    pub async fn look(&mut self, app: &Arc<App>, ground: &Ground) {
        if let Err(error) = self.try_look(app, ground).await {
            tracing::error!(error = format!("{error:#}"), "heads that are rolled out cannot be looked after");
        }
    }

    async fn try_look(&mut self, app: &Arc<App>, ground: &Ground) -> anyhow::Result<()> {
        let settings = app.settings.load_full();
        let now = standings(&app.ledger, &settings)?;
        let untouched = now.iter().all(|standing| standing.promoted.is_empty() && standing.trial.is_none());
        if self.standings.as_ref() != Some(&now) && !(self.standings.is_none() && untouched) {
            let router = ground.router(&settings)?;
            app.router.store(Arc::new(router));
            for standing in &now {
                let trial = standing.trial.as_ref().map(|trial| trial.head.as_str());
                tracing::info!(lane = standing.lane, head = standing.judges(), trial, "heads were taken over");
            }
        }
        self.standings = Some(now.clone());
        let Some(bounds) = &settings.roll_out else { return Ok(()) };
        for standing in now.iter().filter(|_| settings.router.risk.is_none()) {
            self.act(app, standing, bounds).await?;
        }
        Ok(())
    }

    async fn act(&mut self, app: &Arc<App>, standing: &Standing, bounds: &Bounds) -> anyhow::Result<()> {
        let watched = standing.watches(bounds).map(|watched| watched.since_us);
        let Some(since_us) = standing.trial.as_ref().map(|trial| trial.since_us).or(watched) else { return Ok(()) };
        let said = app.ledger.labels_since(since_us)?;
        let same = self.looked.get(&standing.lane);
        let idle = |last: &LookedAt| {
            let nothing_new = last.said == said && last.at.elapsed() < AGAIN;
            nothing_new || last.at.elapsed() < last.took * BETWEEN
        };
        if same.is_some_and(idle) {
            return Ok(());
        }
        let (lane, at) = (standing.lane.clone(), Instant::now());
        self.looked.insert(lane.clone(), LookedAt { said, at, took: Duration::ZERO });
        let (ledger, standing, bounds) = (app.ledger.clone(), standing.clone(), bounds.clone());
        let step = tokio::task::spawn_blocking(move || -> Result<_, LedgerError> {
            let step = match standing.assess(&ledger, &bounds)? {
                Some(known) => standing.following(&known),
                None => standing.watch(&ledger, &bounds)?.and_then(|(_, step)| step),
            };
            let Some(step) = step else { return Ok(None) };
            // Somebody was faster: what he did is seen at the next look.
            Ok(ledger.put_step(&step, None)?.then_some(step))
        });
        let step = step.await.context("the look ended in a panic")??;
        self.looked.insert(lane, LookedAt { said, at, took: at.elapsed() });
        if let Some(step) = step {
            tracing::info!(
                lane = step.lane,
                head = step.head,
                step = step.kind.word(),
                by = step.by,
                why = step.why,
                "a head was rolled out further, or taken back"
            );
        }
        Ok(())
    }
}

/// As the admin API and the command line show a lane; `known`: what is known of its trial.
pub fn shown(standing: &Standing, known: Option<&router::rollout::Assessment>) -> serde_json::Value {
    use crate::config::units::shown;
    let time = |us: i64| jiff::Timestamp::from_microsecond(us).map(|at| at.to_string()).ok();
    serde_json::json!({
        "lane": standing.lane, "configured": standing.configured, "judges": standing.judges(),
        "promoted": standing.promoted,
        "watched": standing.watched.as_ref().map(|watched| serde_json::json!({
            "beside": watched.former, "since": time(watched.since_us),
        })),
        "trial": standing.trial.as_ref().map(|trial| serde_json::json!({
            "head": trial.head, "part": shown(trial.part), "since": time(trial.since_us), "known": known,
        })),
    })
}

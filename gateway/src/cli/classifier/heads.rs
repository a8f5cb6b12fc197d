//! `sluice classifier heads`: what was tried, promoted and taken back, and doing so by hand.
//!
//! Everything is a step on the configured ledger, so it works while the gateway runs (it notices within a second or two) and
//! while it does not. Steps name the head that the file configures for the lane; under another one they say nothing.

use super::read_head;
use crate::cli::{Failure, Setting, say};
use crate::config::units::shown as decimals;
use crate::config::{Settings, defaults};
use crate::roll_out::{lanes, shown, standings};
use clap::Subcommand;
use router::ledger::Ledger;
use router::probe::Head;
use router::rollout::{Assessment, Standing, Step, StepError};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to do with heads.
#[derive(Debug, Subcommand)]
pub enum Heads {
    /// Shows who judges, what is tried and how it does, every step, and the registered heads.
    List,
    /// Tries a head on a part of the sessions.
    Try {
        /// The head's file.
        file: PathBuf,
        /// The part of the sessions; default: `[learning.roll_out] part`, or 10%.
        #[arg(long, value_name = "PART", value_parser = part)]
        part: Option<f32>,
        #[command(flatten)]
        at: At,
    },
    /// Lets a head judge all.
    Promote {
        /// Its version; default: the one that is tried.
        head: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Takes a head back; who judged before it does again.
    Rollback {
        /// Its version; default: the one that is tried, else the one that was promoted last.
        head: Option<String>,
        #[command(flatten)]
        at: At,
    },
}

/// Where, and why.
#[derive(Debug, clap::Args)]
pub struct At {
    /// The entry of `[[router.heads]]`; default: what no entry takes.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    lane: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    why: String,
}

/// A lane of the configuration on its ledger.
pub(super) struct Lane {
    ledger: Ledger,
    settings: Settings,
    standing: Standing,
    configured: Arc<Head>,
}

fn part(text: &str) -> Result<f32, String> {
    let wrong = || format!("`{text}` is not a part above 0% and below 100%; write e.g. 10%");
    let number: f32 = text.strip_suffix('%').and_then(|number| number.trim().parse().ok()).ok_or_else(wrong)?;
    if number > 0.0 && number < 100.0 { Ok(number / 100.0) } else { Err(wrong()) }
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Does it.
pub(super) fn run(setting: &Setting, command: &Heads) -> Result<(), Failure> {
    let by_hand = |why: &str| if why.is_empty() { "by hand".to_owned() } else { why.to_owned() };
    match command {
        Heads::List => list(setting),
        Heads::Try { file, part, at } => {
            let lane = Lane::open(setting, &at.lane)?;
            told(setting, &lane.try_out(file, *part, by_hand(&at.why))?);
            Ok(())
        }
        Heads::Promote { head, at } => {
            let lane = Lane::open(setting, &at.lane)?;
            let step = lane.standing.promote(head.as_deref(), "person", by_hand(&at.why))?;
            if step.head != lane.standing.configured && lane.ledger.head(&step.head)?.is_none() {
                return Err(Failure::Usage(format!("no head `{}` is registered", step.head)));
            }
            told(setting, &lane.put(step, None)?);
            Ok(())
        }
        Heads::Rollback { head, at } => {
            let lane = Lane::open(setting, &at.lane)?;
            let step = lane.standing.roll_back(head.as_deref(), "person", by_hand(&at.why))?;
            told(setting, &lane.put(step, None)?);
            Ok(())
        }
    }
}

fn failed(error: &anyhow::Error) -> Failure {
    Failure::Failed(format!("{error:#}"))
}

// === impl Lane ===

impl Lane {
    /// Opens the configured ledger.
    pub(super) fn open(setting: &Setting, name: &str) -> Result<Self, Failure> {
        let settings = setting.load()?;
        if settings.router.classifier != "probe" {
            let classifier = &settings.router.classifier;
            return Err(Failure::Usage(format!("heads are for `classifier = \"probe\"`, not for `{classifier}`")));
        }
        let ledger = Ledger::attach(&settings.ledger.place)?;
        let all = lanes(&settings).map_err(|error| failed(&error))?;
        let known: Vec<&str> = all.iter().map(|(rule, _)| rule.name.as_str()).filter(|name| !name.is_empty()).collect();
        let found = standings(&ledger, &settings).map_err(|error| failed(&error))?;
        let found = found.into_iter().zip(&all).find(|(standing, _)| standing.lane == name);
        let Some((standing, (_, configured))) = found else {
            let known =
                if known.is_empty() { "there is none".into() } else { format!("known are {}", known.join(", ")) };
            return Err(Failure::Usage(format!("`--lane {name}`: no such entry of `[[router.heads]]`; {known}")));
        };
        let configured = configured.clone();
        Ok(Self { ledger, settings, standing, configured })
    }

    /// The head that judges what is not in a trial.
    pub(super) fn judging(&self) -> Result<Head, Failure> {
        match self.standing.promoted.last() {
            None => Ok(self.configured.as_ref().clone()),
            Some(version) => self
                .ledger
                .head(version)?
                .ok_or_else(|| Failure::Failed(format!("the head `{version}` was promoted, but is not on the ledger"))),
        }
    }

    /// Registers a head and tries it.
    pub(super) fn try_out(&self, file: &Path, part: Option<f32>, why: String) -> Result<Step, Failure> {
        if self.settings.router.risk.is_some() {
            let text = "with `router.risk` a head without labels of its own would send all of its part hosted";
            return Err(Failure::Usage(text.into()));
        }
        let head = read_head(file)?;
        let bytes = router::probe::write(&head).map_err(|why| Failure::Failed(why.to_string()))?;
        let usual = self.settings.roll_out.as_ref().map_or(defaults::ROLL_OUT_PART, |bounds| bounds.part);
        let step = self.standing.try_out(&head.version(), part.unwrap_or(usual), why)?;
        self.put(step, Some(&bytes))
    }

    fn put(&self, step: Step, file: Option<&[u8]>) -> Result<Step, Failure> {
        if self.ledger.put_step(&step, file)? {
            return Ok(step);
        }
        Err(Failure::Failed("somebody else took a step in the same moment: look again with `heads list`".into()))
    }
}

fn lane_text(lane: &str) -> String {
    if lane.is_empty() { String::new() } else { format!(" in lane {lane}") }
}

fn told(setting: &Setting, step: &Step) {
    if setting.json {
        say(json!(step));
        return;
    }
    let part =
        if step.part > 0.0 { format!(" on {}% of the sessions", decimals(step.part * 100.0)) } else { String::new() };
    say(format!("{} {}{part}{}", step.kind.word(), step.head, lane_text(&step.lane)));
}

fn list(setting: &Setting) -> Result<(), Failure> {
    let settings = setting.load()?;
    let ledger = Ledger::attach(&settings.ledger.place)?;
    let time = |us: i64| jiff::Timestamp::from_microsecond(us).map(|at| at.to_string()).unwrap_or_default();
    let mut known: Vec<(Standing, Option<Assessment>)> = Vec::new();
    for standing in standings(&ledger, &settings).map_err(|error| failed(&error))? {
        let assessment = match &settings.roll_out {
            Some(bounds) => standing.assess(&ledger, bounds)?,
            None => None,
        };
        known.push((standing, assessment));
    }
    let (mut steps, registered) = (ledger.head_steps()?, ledger.registered_heads()?);
    steps.sort_by_key(|step| (step.at_us, step.number));
    if setting.json {
        let steps: Vec<Value> = steps
            .iter()
            .map(|step| {
                let mut value = json!(step);
                value["time"] = time(step.at_us).into();
                value
            })
            .collect();
        let registered: Vec<Value> =
            registered.iter().map(|(version, at)| json!({"head": version, "since": time(*at)})).collect();
        let lanes: Vec<Value> = known.iter().map(|(standing, known)| shown(standing, known.as_ref())).collect();
        say(json!({"lanes": lanes, "steps": steps, "registered": registered}));
        return Ok(());
    }
    for (standing, assessment) in &known {
        let lane = if standing.lane.is_empty() { "everybody else" } else { &standing.lane };
        say(format!("{lane}: {} judges, {} is configured", standing.judges(), standing.configured));
        if let Some(trial) = &standing.trial {
            say(format!(
                "  {} is tried on {}% since {}",
                trial.head,
                decimals(trial.part * 100.0),
                time(trial.since_us)
            ));
        }
        if let Some((known, _)) = settings.roll_out.as_ref().map(|b| standing.watch(&ledger, b)).transpose()?.flatten()
        {
            let mean = known.mean.map_or("-".into(), |mean| format!("{mean:+.3}"));
            say(format!(
                "  watched beside the former head: answers {mean} [{:+.3}, {:+.3}] in {} pairs",
                known.interval.low, known.interval.high, known.pairs
            ));
        }
        if let Some(known) = assessment {
            let (mean, interval) = (known.quality.mean, known.quality.interval);
            let mean = mean.map_or("-".into(), |mean| format!("{mean:+.3}"));
            say(format!("  answers {mean} [{:+.3}, {:+.3}]: {}", interval.low, interval.high, known.why));
        }
    }
    for step in &steps {
        let (time, kind) = (time(step.at_us), step.kind.word());
        say(format!("{time} {kind} {}{} by {}: {}", step.head, lane_text(&step.lane), step.by, step.why));
    }
    for (version, at) in &registered {
        say(format!("registered {version} {}", time(*at)));
    }
    Ok(())
}

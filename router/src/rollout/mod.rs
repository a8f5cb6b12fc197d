//! New heads rolled out by themselves: tried on a part of the sessions, then promoted to all, or taken back.
//!
//! **Promise.** A head that is tried judges a fixed part of a lane's sessions (told by a hash, so a conversation stays with
//! its head), and is compared with the head that it would replace on what is said of the answers of both parts. It is
//! promoted when it is shown to be not worse, taken back when it is shown to be worse, when it is shown to send more to
//! the hosted side, or when [`Bounds::longest`] is over and nothing was shown. Every step is on the ledger before it is in force,
//! says who took it and why, and can be undone by a person; a restart, and another replica, goes on where it stood.
//!
//! **How it is compared.** Sessions are put on a side by chance, so what is said of both parts differs by the heads alone.
//! The first answer of each session that something is said of counts, in the order in which it was said; what came of one
//! side since the last pair is one half of the next, so that each pair's mean difference is the difference of the heads. The
//! pairs are judged by [`Question`](crate::compare::Question): a verdict is right at every look at once with the stated probability.
//!
//! **What it does not do.** It cannot tell whether people rate answers of both heads in the same way when they rate at all. Once
//! promoted, a head is compared with the one before it only ([`watch`]). Where a risk is the goal
//! nothing is tried: a head without labels of its own would send its part hosted.
//!
//! **Whose word counts.** The configuration file's. A step says which head the file named for its lane; when the file
//! names another one (or the program ships another one), earlier steps say nothing any longer.

mod assess;
mod watch;

pub use assess::{Assessment, Bounds, Marked, Mending, Sent};
pub use watch::{Watched, Watching};

use crate::ledger::{Ledger, LedgerError, Marks};
use serde::Serialize;

/// What is done with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// It judges a part of the sessions from here on.
    Tried,
    /// It judges all.
    Promoted,
    /// It judges none; who judged before it does again.
    RolledBack,
}

/// Something that was done with a head.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The entry of `[[router.heads]]`; empty: what no entry takes.
    pub lane: String,
    /// Its place among the lane's steps, from 1.
    pub number: u32,
    /// Microseconds since 1970.
    #[serde(skip)]
    pub at_us: i64,
    /// What was done.
    pub kind: StepKind,
    /// With which head: its version.
    pub head: String,
    /// Tried: the part (0 to 1) of the lane's sessions that it judges.
    pub part: f32,
    /// The head that the file named for the lane.
    pub configured: String,
    /// Who did it: `verdict`, `alarm`, `time` or `person`.
    pub by: &'static str,
    /// Why, in words.
    pub why: String,
}

/// A head that is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Its version.
    pub head: String,
    /// The part of sessions (0 to 1).
    pub part: f32,
    /// Since when, microseconds since 1970.
    pub since_us: i64,
}

/// Who judges a lane, by its steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// The lane.
    pub lane: String,
    /// The head that the file names.
    pub configured: String,
    /// Promoted heads, the latest last; none: the configured one judges.
    pub promoted: Vec<String>,
    /// The head that is tried beside it.
    pub trial: Option<Trial>,
    /// Beside whom the promoted head that judges is watched.
    pub watched: Option<Watched>,
    /// The last step's number.
    last: u32,
}

/// Why a step cannot be taken.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StepError {
    /// One at a time.
    #[error("`{0}` is being tried: promote it or roll it back first")]
    Tried(String),
    /// There is nothing to promote.
    #[error("no head is being tried: name one that is registered")]
    NothingTried,
    /// There is nothing to take back.
    #[error("the configured head judges: there is nothing to roll back")]
    NothingToRollBack,
    /// It judges already.
    #[error("`{0}` judges already")]
    Judges(String),
    /// It is neither tried nor promoted.
    #[error("`{0}` is neither tried nor promoted")]
    Unknown(String),
}

// === impl StepKind ===

impl StepKind {
    /// As the ledger has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tried => "tried",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
        }
    }

    /// From the ledger.
    pub fn read(word: &str) -> Option<Self> {
        [Self::Tried, Self::Promoted, Self::RolledBack].into_iter().find(|kind| kind.word() == word)
    }
}

// === impl Standing ===

impl Standing {
    /// Where a lane stands whose head the file names so.
    pub fn of(steps: &[Step], lane: &str, configured: &str) -> Self {
        let mut standing = Self { lane: lane.into(), configured: configured.into(), ..Self::default() };
        for step in steps.iter().filter(|step| step.lane == lane) {
            standing.last = standing.last.max(step.number);
            if step.configured == configured {
                standing.take(step);
            }
        }
        standing
    }

    fn take(&mut self, step: &Step) {
        let head = &step.head;
        let is_tried = self.trial.as_ref().is_some_and(|trial| trial.head == *head);
        match step.kind {
            StepKind::Tried => {
                self.trial = Some(Trial { head: head.clone(), part: step.part, since_us: step.at_us });
            }
            StepKind::Promoted => {
                if is_tried {
                    self.trial = None;
                }
                let former = self.judges().to_owned();
                self.promoted.retain(|known| known != head);
                self.watched = None;
                if *head != self.configured {
                    self.watched = Some(Watched { former, since_us: step.at_us });
                    self.promoted.push(head.clone());
                } else {
                    // Back to the file's own.
                    self.promoted.clear();
                }
            }
            StepKind::RolledBack if is_tried => self.trial = None,
            StepKind::RolledBack => {
                // Whoever was compared with it, or was it, has nobody beside it.
                self.watched = self.watched.take().filter(|watched| watched.former != *head && self.judges() != head);
                self.promoted.retain(|known| known != head);
            }
        }
    }

    /// The head that judges what is not in a trial.
    pub fn judges(&self) -> &str {
        self.promoted.last().unwrap_or(&self.configured)
    }

    fn step(&self, kind: StepKind, head: &str, by: &'static str, why: String) -> Step {
        Step {
            lane: self.lane.clone(),
            number: self.last + 1,
            at_us: jiff::Timestamp::now().as_microsecond(),
            kind,
            head: head.to_owned(),
            part: 0.0,
            configured: self.configured.clone(),
            by,
            why,
        }
    }

    /// The step that tries a head on a part (0 to 1) of the sessions.
    ///
    /// # Errors
    /// Another one is being tried, or it judges already.
    pub fn try_out(&self, head: &str, part: f32, why: String) -> Result<Step, StepError> {
        if let Some(trial) = &self.trial {
            return Err(StepError::Tried(trial.head.clone()));
        }
        if self.judges() == head {
            return Err(StepError::Judges(head.to_owned()));
        }
        Ok(Step { part, ..self.step(StepKind::Tried, head, "person", why) })
    }

    /// The step that lets a head judge all; `None`: the one that is tried.
    ///
    /// # Errors
    /// None is tried, or another one is, or it judges already.
    pub fn promote(&self, head: Option<&str>, by: &'static str, why: String) -> Result<Step, StepError> {
        let tried = self.trial.as_ref().map(|trial| trial.head.as_str());
        let head = match (head, tried) {
            (None, None) => return Err(StepError::NothingTried),
            (Some(head), Some(tried)) if head != tried => return Err(StepError::Tried(tried.to_owned())),
            (Some(head), _) | (None, Some(head)) => head,
        };
        if self.judges() == head {
            return Err(StepError::Judges(head.to_owned()));
        }
        Ok(self.step(StepKind::Promoted, head, by, why))
    }

    /// The step that takes a head back; `None`: the one that is tried, else the one that was promoted last.
    ///
    /// # Errors
    /// There is none, or it is neither tried nor promoted.
    pub fn roll_back(&self, head: Option<&str>, by: &'static str, why: String) -> Result<Step, StepError> {
        let tried = self.trial.as_ref().map(|trial| &trial.head);
        let latest = tried.or(self.promoted.last()).ok_or(StepError::NothingToRollBack)?;
        let head = head.unwrap_or(latest);
        if tried.is_none_or(|tried| tried != head) && !self.promoted.iter().any(|known| known == head) {
            return Err(StepError::Unknown(head.to_owned()));
        }
        Ok(self.step(StepKind::RolledBack, head, by, why))
    }

    /// What is known of the trial, and what is to be done; `None` where none runs. Reads the ledger.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn assess(&self, ledger: &Ledger, bounds: &Bounds) -> Result<Option<Assessment>, LedgerError> {
        let Some(trial) = &self.trial else { return Ok(None) };
        // As the record names the judge.
        let judge = |head: &str| format!("Probe({head})");
        let (tried, other) = (judge(&trial.head), judge(self.judges()));
        let marks = ledger.marks_of(&self.lane, (&tried, &other), trial.since_us, Marks::First)?;
        let sent = ledger.sent_by(&self.lane, (&tried, &other), trial.since_us)?;
        let now = jiff::Timestamp::now().as_microsecond();
        Ok(Some(Assessment::of(bounds, trial, &marks, &sent, now)))
    }

    /// The former head that goes on judging a part of the sessions, where one does.
    pub fn watches(&self, bounds: &Bounds) -> Option<&Watched> {
        self.watched.as_ref().filter(|_| self.trial.is_none() && bounds.watch > 0.0)
    }

    /// What is known of the promoted head, and the step that takes it back where that follows; `None` where nobody watches it.
    /// Reads the ledger.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn watch(&self, ledger: &Ledger, bounds: &Bounds) -> Result<Option<(Watching, Option<Step>)>, LedgerError> {
        let Some(watched) = self.watches(bounds) else { return Ok(None) };
        let judge = |head: &str| format!("Probe({head})");
        let (promoted, former) = (judge(self.judges()), judge(&watched.former));
        let marks = ledger.marks_of(&self.lane, (&promoted, &former), watched.since_us, Marks::Newest)?;
        let known = Watching::of(bounds, &marks);
        let step = known.rung.then(|| self.roll_back(Some(self.judges()), "alarm", known.why(bounds)).ok());
        Ok(Some((known, step.flatten())))
    }

    /// The step that follows from what is known, if one does.
    pub fn following(&self, assessment: &Assessment) -> Option<Step> {
        let (by, why) = (assessment.by(), assessment.why.clone());
        match assessment.mending {
            Mending::Wait => None,
            Mending::Promote => self.promote(None, by, why).ok(),
            Mending::RollBack => self.roll_back(None, by, why).ok(),
        }
    }
}

#[cfg(test)]
mod tests;

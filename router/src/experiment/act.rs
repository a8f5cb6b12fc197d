//! From pairs to what is known, and from there to what is done.
//!
//! **Eras.** A model that changes behind its name is another model: from the first pair on in which an upstream calls its model by a
//! word that this experiment has not seen of it before (its `model`, or its fingerprint), the question is open again, and
//! only pairs from there on count.
//!
//! **What is done**, with `act` only: a slice that is proven not worse is opened to the left side, at most so many a
//! day; one that turns worse is closed, by its verdict or by the [`Alarm`] that watches it since it was opened; all of them
//! are closed when an era ends. What a person has closed stays closed until a person opens it. Each step is on record
//! with its reason before it is in force.

use super::{DAY_US, Experiment};
use crate::compare::{Alarm, Interval, Judged, Question, Slice, Summary, Trust, Verdict};
use crate::ledger::{Ledger, LedgerError, PairRow, Step};
use policies::ModelName;
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// Pairs of one slice between two false alarms, in the mean.
const PATIENCE: u32 = 10_000;

/// Pairs between two looks: a look reads them all.
const EVERY: u32 = 10;

/// What is known of an experiment.
#[derive(Clone, Debug, Serialize)]
pub struct Assessment {
    /// What the pairs of this era come to.
    pub summary: Summary,
    /// Pairs that are on record, those of earlier eras and unjudged ones included.
    pub recorded: usize,
    /// Why the question was opened again, and when, if it was.
    pub reopened: Option<Reopened>,
}

/// An era's end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reopened {
    /// Microseconds since 1970.
    pub at_us: i64,
    /// What changed.
    pub why: String,
}

/// Sums up the pairs of an experiment, the oldest first.
pub fn assess(question: Question, needs_trust: bool, rows: &[PairRow]) -> Assessment {
    let (from, reopened) = era(rows);
    let era = &rows[from..];
    let judged: Vec<Judged> = era
        .iter()
        .filter_map(|row| {
            // Where nobody else judged, people did.
            let difference = row.pair.difference.or(row.human.map(|side| side.difference()))?;
            Some(Judged { difference, slices: row.pair.slices.clone() })
        })
        .collect();
    let trust =
        needs_trust.then(|| Trust::of(era.iter().filter_map(|row| Some((row.pair.ballot.as_ref()?, row.human)))));
    Assessment { summary: Summary::of(question, &judged, trust), recorded: rows.len(), reopened }
}

/// Where this era begins, and why.
fn era(rows: &[PairRow]) -> (usize, Option<Reopened>) {
    let mut known: HashMap<&ModelName, HashSet<&str>> = HashMap::new();
    let (mut from, mut reopened) = (0, None);
    for (at, row) in rows.iter().enumerate() {
        let pair = &row.pair;
        let Some(version) = pair.version.as_deref() else { continue };
        let model = if pair.asked == crate::compare::Side::Left { &pair.left } else { &pair.right };
        let seen = known.entry(model).or_default();
        if seen.insert(version) && seen.len() > 1 {
            from = at;
            let why = format!("the upstream of `{model}` now calls it `{version}`");
            reopened = Some(Reopened { at_us: pair.at_us, why });
        }
    }
    (from, reopened)
}

/// What is to be done now.
fn wanted(spec: (&str, u32), now_us: i64, assessment: &Assessment, rows: &[PairRow], steps: &[Step]) -> Vec<Step> {
    let (experiment, most_a_day) = spec;
    let step = |slice: &Slice, opened: bool, by: &'static str, why: String| Step {
        experiment: experiment.to_owned(),
        at_us: now_us,
        slice: slice.clone(),
        opened,
        by,
        why,
    };
    let mut last: HashMap<&Slice, &Step> = HashMap::new();
    steps.iter().for_each(|step| {
        last.insert(&step.slice, step);
    });
    let mut todo = vec![];
    let verdicts: HashMap<&Slice, Verdict> =
        assessment.summary.slices.iter().map(|found| (&found.slice, found.finding.verdict)).collect();
    for (slice, opening) in last.iter().filter(|(_, step)| step.opened) {
        let drifted = assessment.reopened.as_ref().filter(|reopened| reopened.at_us > opening.at_us);
        let mut alarm = Alarm::new(assessment.summary.question.margin, PATIENCE);
        let mut since = rows.iter().filter(|row| row.pair.at_us >= opening.at_us && row.pair.slices.contains(slice));
        let rung = since.any(|row| row.pair.difference.is_some_and(|difference| alarm.add(difference)));
        if let Some(reopened) = drifted {
            todo.push(step(slice, false, "drift", reopened.why.clone()));
        } else if verdicts.get(*slice) == Some(&Verdict::Worse) {
            todo.push(step(slice, false, "verdict", "it is worse by more than the margin".into()));
        } else if rung {
            todo.push(step(slice, false, "alarm", "it has become worse since it was opened".into()));
        }
    }
    let today = now_us.div_euclid(DAY_US);
    let by_itself = |step: &&Step| step.opened && step.by == "verdict" && step.at_us.div_euclid(DAY_US) == today;
    let mut left = (most_a_day as usize).saturating_sub(steps.iter().filter(by_itself).count());
    for found in &assessment.summary.slices {
        let closed_by_person = last.get(&found.slice).is_some_and(|step| !step.opened && step.by == "person");
        let open = last.get(&found.slice).is_some_and(|step| step.opened);
        // Once an alarm rang, the whole of its evidence does not count any longer: the era has to end first.
        let rung = last.get(&found.slice).is_some_and(|step| !step.opened && step.by == "alarm");
        let ended = |step: &&Step| assessment.reopened.as_ref().is_some_and(|reopened| reopened.at_us > step.at_us);
        let silenced = rung && !last.get(&found.slice).is_some_and(ended);
        if found.finding.verdict == Verdict::NotWorse && !open && !closed_by_person && !silenced && left > 0 {
            left -= 1;
            let why = format!("not worse in {} pairs", found.finding.pairs);
            todo.push(step(&found.slice, true, "verdict", why));
        }
    }
    todo
}

// === impl Experiment ===

impl Experiment {
    /// Takes another pair into account: now and then looks at what is on record and does what follows from it.
    ///
    /// # Errors
    /// The ledger cannot be read or written.
    pub async fn act(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let Some(most_a_day) = self.spec.act else { return Ok(()) };
        let mut since = self.live.assessing.lock().await;
        *since += 1;
        if *since < EVERY {
            return Ok(());
        }
        *since = 0;
        let (reader, spec) = (ledger.clone(), self.spec.clone());
        let read = tokio::task::spawn_blocking(move || {
            let (rows, steps) = (reader.pairs_of(&spec.name)?, reader.steps_of(&spec.name)?);
            let assessment = assess(spec.question, spec.judge.needs_trust(), &rows);
            let now = jiff::Timestamp::now().as_microsecond();
            let todo = wanted((&spec.name, most_a_day), now, &assessment, &rows, &steps);
            Ok::<_, LedgerError>((assessment, todo))
        });
        let (assessment, todo) = read.await.map_err(|_| LedgerError::Closed)??;
        let worse = assessment.summary.slices.iter().filter(|found| found.finding.verdict == Verdict::Worse);
        self.live.slices.lock().worse = worse.map(|found| found.slice.clone()).collect();
        for step in todo {
            self.step(ledger, step).await?;
        }
        Ok(())
    }

    /// Puts a step on record, then in force.
    ///
    /// # Errors
    /// The ledger cannot be written: nothing has changed.
    pub async fn step(&self, ledger: &Ledger, step: Step) -> Result<(), LedgerError> {
        ledger.step(step.clone()).await?;
        tracing::info!(experiment = %step.experiment, slice = %step.slice, opened = step.opened, by = step.by,
            why = %step.why, "a slice was opened or closed");
        let mut known = self.live.slices.lock();
        if step.opened {
            known.opened.insert(step.slice)
        } else {
            known.opened.remove(&step.slice)
        };
        Ok(())
    }
}

/// The sides of a split, compared by what was said of their answers (0 to 1): left is local.
///
/// Each mean has half of the error, so that the difference of both intervals holds with the whole.
pub fn split(question: Question, left: &[f64], right: &[f64]) -> (Verdict, Interval) {
    let interval = |marks: &[f64]| {
        let mut evidence = crate::compare::Evidence::default();
        marks.iter().for_each(|mark| evidence.add(*mark));
        let Interval { low, high } = evidence.interval(question.error / 2.0);
        // Marks are never negative.
        Interval { low: low.max(0.0), high }
    };
    let (left, right) = (interval(left), interval(right));
    let difference = Interval { low: left.low - right.high, high: left.high - right.low };
    let verdict = match difference {
        Interval { low, .. } if low >= -question.margin => Verdict::NotWorse,
        Interval { high, .. } if high < -question.margin => Verdict::Worse,
        Interval { .. } => Verdict::NotYetKnown,
    };
    (verdict, difference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Side;
    use crate::ledger::PairRecord;

    const QUESTION: Question = Question { margin: 0.05, error: 0.05 };

    fn row(at: usize, difference: f64, version: &str) -> PairRow {
        let kind = if at.is_multiple_of(2) { "code" } else { "question" };
        PairRow {
            pair: PairRecord {
                experiment: "x".into(),
                request: format!("r{at}").into(),
                at_us: at as i64,
                left: "small".into(),
                right: "big".into(),
                asked: Side::Right,
                version: Some(version.into()),
                slices: vec![Slice { by: "kind".into(), value: kind.into() }],
                difference: Some(difference),
                ballot: None,
                why: None,
            },
            human: None,
        }
    }

    fn todo(rows: &[PairRow], steps: &[Step], most: u32) -> Vec<(String, bool, &'static str)> {
        let assessment = assess(QUESTION, false, rows);
        let now = rows.len() as i64;
        let steps = wanted(("x", most), now, &assessment, rows, steps);
        let mut told: Vec<_> = steps.into_iter().map(|step| (step.slice.value, step.opened, step.by)).collect();
        told.sort();
        told
    }

    fn done(at_us: i64, value: &str, opened: bool, by: &'static str) -> Step {
        let slice = Slice { by: "kind".into(), value: value.into() };
        Step { experiment: "x".into(), at_us, slice, opened, by, why: String::new() }
    }

    #[test]
    fn a_proven_slice_is_opened_within_bounds_and_a_person_has_the_last_word() {
        let rows: Vec<PairRow> = (0..800).map(|at| row(at, if at % 2 == 0 { -0.5 } else { 0.0 }, "v1")).collect();
        assert_eq!(todo(&rows, &[], 5), [("question".into(), true, "verdict")], "code is worse");
        assert_eq!(todo(&rows, &[], 0), [], "nothing by itself");
        assert_eq!(todo(&rows[..100], &[], 5), [], "too early to tell");
        let same_day = done(1, "other", true, "verdict");
        assert_eq!(todo(&rows, std::slice::from_ref(&same_day), 1), [], "one a day");
        assert_eq!(todo(&rows, &[done(1, "question", false, "person")], 5), []);
        assert_eq!(todo(&rows, &[done(1, "code", true, "person")], 0), [("code".into(), false, "verdict")]);
    }

    #[test]
    fn a_slice_that_turns_worse_is_closed_and_not_opened_again_by_what_was_before() {
        let good = (0..2_000).map(|at| row(at, 0.0, "v1"));
        let bad = (2_000..2_400).map(|at| row(at, if at % 2 == 0 { 0.0 } else { -1.0 }, "v1"));
        let rows: Vec<PairRow> = good.chain(bad).collect();
        let opened = [done(500, "question", true, "verdict"), done(500, "code", true, "verdict")];
        assert_eq!(todo(&rows[..2_000], &opened, 5), []);
        let closed = todo(&rows, &opened, 5);
        assert!(closed.iter().any(|(slice, opened, _)| slice == "question" && !opened), "{closed:?}");
        assert!(!closed.iter().any(|(slice, ..)| slice == "code"), "{closed:?}");
        let rung = done(2_300, "question", false, "alarm");
        let after: Vec<PairRow> = rows.iter().cloned().chain((2_400..40_000).map(|at| row(at, 0.0, "v1"))).collect();
        let steps: Vec<Step> = opened.iter().cloned().chain([rung]).collect();
        assert_eq!(todo(&after, &steps, 5), []);
    }

    #[test]
    fn a_model_that_changes_behind_its_name_opens_the_question_again() {
        let old = (0..800).map(|at| row(at, 0.0, if at % 3 == 0 { "v1" } else { "v1 print" }));
        let new = (800..830).map(|at| row(at, 0.0, "v2"));
        let rows: Vec<PairRow> = old.chain(new).collect();
        let before = assess(QUESTION, false, &rows[..800]);
        assert_eq!(
            (before.summary.verdict, before.summary.whole.pairs),
            (Verdict::NotWorse, 799),
            "two words from the start"
        );
        let after = assess(QUESTION, false, &rows);
        assert_eq!((after.summary.verdict, after.summary.whole.pairs), (Verdict::NotYetKnown, 30));
        assert!(after.reopened.as_ref().is_some_and(|reopened| reopened.why.contains("`v2`") && reopened.at_us == 800));
        let opened = [done(500, "question", true, "verdict")];
        assert_eq!(todo(&rows, &opened, 5), [("question".into(), false, "drift")]);
    }

    #[test]
    fn a_split_is_compared_by_what_was_said_of_both_sides() {
        let marks =
            |good: usize, n: usize| -> Vec<f64> { (0..n).map(|at| f64::from(u8::from(at % 10 < good))).collect() };
        assert_eq!(split(QUESTION, &marks(9, 40), &marks(9, 40)).0, Verdict::NotYetKnown);
        assert_eq!(split(QUESTION, &marks(9, 20_000), &marks(9, 20_000)).0, Verdict::NotWorse);
        let (verdict, interval) = split(QUESTION, &marks(5, 2_000), &marks(9, 2_000));
        assert!(verdict == Verdict::Worse && interval.low < -0.4 && -0.4 < interval.high, "{interval:?}");
        assert_eq!(split(QUESTION, &[], &[]).1, Interval { low: -1.0, high: 1.0 });
    }
}

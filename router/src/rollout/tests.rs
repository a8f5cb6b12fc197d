//! Where a lane stands after its steps, and which steps may follow.

use super::*;

/// Takes steps one after the other; each is on record.
struct Lane {
    steps: Vec<Step>,
}

impl Lane {
    fn standing(&self) -> Standing {
        Standing::of(&self.steps, "", "old-1")
    }

    fn take(&mut self, step: impl FnOnce(&Standing) -> Result<Step, StepError>) -> Result<(), StepError> {
        let step = step(&self.standing())?;
        assert_eq!(step.number as usize, self.steps.len() + 1);
        self.steps.push(step);
        Ok(())
    }

    fn judges(&self) -> (String, Option<String>) {
        let standing = self.standing();
        (standing.judges().to_owned(), standing.trial.map(|trial| trial.head))
    }
}

fn trying(head: &str) -> impl FnOnce(&Standing) -> Result<Step, StepError> {
    move |standing: &Standing| standing.try_out(head, 0.1, "trained".into())
}

#[test]
fn a_promoted_head_is_watched_by_the_one_before_it_until_either_is_taken_back() {
    let former = |lane: &Lane| lane.standing().watched.map(|watched| watched.former);
    let mut lane = Lane { steps: vec![] };
    lane.take(trying("new-2")).unwrap();
    assert_eq!(former(&lane), None, "a trial is no promotion");
    lane.take(|standing| standing.promote(None, "verdict", String::new())).unwrap();
    assert_eq!(former(&lane).as_deref(), Some("old-1"));
    lane.take(trying("new-3")).unwrap();
    let bounds = |watch| Bounds {
        part: 0.1,
        question: crate::compare::Question { margin: 0.1, error: 0.05 },
        least: 1,
        longest: std::time::Duration::from_secs(1),
        labels: vec![],
        watch,
        train: None,
    };
    assert!(lane.standing().watches(&bounds(0.05)).is_none(), "one comparison at a time");
    lane.take(|standing| standing.roll_back(None, "verdict", String::new())).unwrap();
    assert!(lane.standing().watches(&bounds(0.05)).is_some() && lane.standing().watches(&bounds(0.0)).is_none());
    lane.take(|standing| standing.roll_back(None, "alarm", String::new())).unwrap();
    assert_eq!((former(&lane), lane.judges().0.as_str()), (None, "old-1"));
}

#[test]
fn every_step_can_be_undone() {
    let mut lane = Lane { steps: vec![] };
    assert_eq!(lane.judges(), ("old-1".into(), None));
    lane.take(trying("new-2")).unwrap();
    assert_eq!(lane.judges(), ("old-1".into(), Some("new-2".into())));
    lane.take(|standing| standing.promote(None, "verdict", String::new())).unwrap();
    assert_eq!(lane.judges(), ("new-2".into(), None));
    lane.take(trying("new-3")).unwrap();
    lane.take(|standing| standing.promote(None, "verdict", String::new())).unwrap();
    assert_eq!(lane.judges(), ("new-3".into(), None));
    lane.take(|standing| standing.roll_back(None, "person", String::new())).unwrap();
    assert_eq!(lane.judges(), ("new-2".into(), None), "who judged before it does again");
    lane.take(|standing| standing.promote(Some("new-3"), "person", String::new())).unwrap();
    assert_eq!(lane.judges(), ("new-3".into(), None), "undone");
    lane.take(|standing| standing.promote(Some("old-1"), "person", String::new())).unwrap();
    assert_eq!(lane.judges(), ("old-1".into(), None), "the file's own");
    lane.take(trying("new-4")).unwrap();
    lane.take(|standing| standing.roll_back(None, "verdict", String::new())).unwrap();
    assert_eq!(lane.judges(), ("old-1".into(), None));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut lane = Lane { steps: vec![] };
    let none = lane.standing();
    assert_eq!(none.promote(None, "person", String::new()), Err(StepError::NothingTried));
    assert_eq!(none.roll_back(None, "person", String::new()), Err(StepError::NothingToRollBack));
    assert_eq!(none.try_out("old-1", 0.1, String::new()), Err(StepError::Judges("old-1".into())));
    lane.take(trying("new-2")).unwrap();
    let tried = lane.standing();
    assert_eq!(tried.try_out("new-3", 0.1, String::new()), Err(StepError::Tried("new-2".into())));
    assert_eq!(tried.promote(Some("new-3"), "person", String::new()), Err(StepError::Tried("new-2".into())));
    assert_eq!(tried.roll_back(Some("new-3"), "person", String::new()), Err(StepError::Unknown("new-3".into())));
}

#[test]
fn another_configured_head_ends_what_was_said_and_the_former_one_brings_it_back() {
    let mut lane = Lane { steps: vec![] };
    lane.take(trying("new-2")).unwrap();
    lane.take(|standing| standing.promote(None, "verdict", String::new())).unwrap();
    let other = Standing::of(&lane.steps, "", "other-1");
    assert_eq!((other.judges(), &other.trial), ("other-1", &None));
    assert_eq!(other.try_out("new-2", 0.1, String::new()).unwrap().number, 3, "numbers go on");
    assert_eq!(lane.judges().0, "new-2");
    assert_eq!(Standing::of(&lane.steps, "research", "old-1").judges(), "old-1", "another lane");
}

#[test]
fn of_two_who_decide_at_once_one_is_told_that_he_was_late() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::start(folder.path().join("l.db"), crate::ledger::Durability::Process).unwrap();
    let file = crate::probe::write(crate::probe::Probe::bundled().unwrap().head()).unwrap();
    let head = crate::probe::read(&file).unwrap();
    let version = head.version();
    let start = Standing::of(&[], "", "old-1").try_out(&version, 0.25, "trained".into()).unwrap();
    assert!(ledger.put_step(&start, Some(&file)).unwrap());
    let standing = Standing::of(&ledger.head_steps().unwrap(), "", "old-1");
    assert_eq!(standing.trial.as_ref().map(|trial| trial.part), Some(0.25));
    let promoted = standing.promote(None, "verdict", "not worse".into()).unwrap();
    let taken_back = standing.roll_back(None, "person", "no".into()).unwrap();
    assert!(ledger.put_step(&taken_back, None).unwrap());
    assert!(!ledger.put_step(&promoted, None).unwrap(), "a person was faster");
    let steps = ledger.head_steps().unwrap();
    assert_eq!((steps.len(), steps[1].clone()), (2, taken_back));
    assert_eq!(ledger.head(&version).unwrap().map(|head| head.digest().to_owned()), Some(head.digest().to_owned()));
    assert_eq!(ledger.head("nobody").unwrap(), None);
    assert_eq!(ledger.registered_heads().unwrap().len(), 1);
}

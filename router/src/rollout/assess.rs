//! What is known of a head that is tried, and what follows.

use super::Trial;
use crate::compare::{Evidence, Finding, Question, Verdict};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// `[learning.roll_out]`
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// The part (0 to 1) of the sessions that a new head judges at first.
    pub part: f32,
    /// What is asked: how much worse is still not worse, and with which error.
    pub question: Question,
    /// No head is promoted on fewer pairs.
    pub least: u64,
    /// A head that nothing is shown of after so long is taken back.
    pub longest: Duration,
    /// Whose word on answers counts, the strongest first.
    pub labels: Vec<String>,
    /// The part (0 to 1) of the sessions that the former head goes on judging, so that a promoted one stays watched.
    pub watch: f32,
    /// How often a head is trained to be tried; `None`: by hand only.
    pub train: Option<Duration>,
}

/// What was said of an answer that one of the two heads had a say in.
#[derive(Clone, Debug, PartialEq)]
pub struct Marked {
    /// By the head that is tried.
    pub tried: bool,
    /// The session, or the request where there is none.
    pub session: String,
    /// The request.
    pub request: String,
    /// The answer came from the hosted side.
    pub hosted: bool,
    /// Who says so.
    pub source: String,
    /// How good the answer was, 0 to 1; `shadow`: how good the local one was.
    pub value: f64,
}

/// Where a request went that one of the two heads judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// By the head that is tried.
    pub tried: bool,
    /// The session, or the request where there is none.
    pub session: String,
    /// To the hosted side.
    pub hosted: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mending {
    /// Nothing is shown yet.
    Wait,
    /// It is not worse.
    Promote,
    /// It is worse, or dearer, or time is over.
    RollBack,
}

/// What is known of a trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assessment {
    /// How good answers are: the tried head's less the other's.
    pub quality: Finding,
    /// How much stays local: the tried head's less the other's.
    pub kept_local: Finding,
    /// What is to be done.
    pub mending: Mending,
    /// Why, in words.
    pub why: String,
    /// Time is over.
    #[serde(skip)]
    late: bool,
}

// === impl Marked ===

impl Marked {
    /// How good the answer was that the client got. A shadow's word is on the local answer, the hosted one being the measure.
    fn of_served(&self) -> f64 {
        if self.hosted && self.source.starts_with(crate::learn::traffic::SHADOW) { 1.0 } else { self.value }
    }
}

// === impl Assessment ===

impl Assessment {
    pub(super) fn of(bounds: &Bounds, trial: &Trial, marks: &[Marked], sent: &[Sent], now_us: i64) -> Self {
        let quality = bounds.question.whole(&quality(&bounds.labels, marks));
        let kept_local = bounds.question.whole(&kept_local(sent));
        let longest = i64::try_from(bounds.longest.as_micros()).unwrap_or(i64::MAX);
        let late = now_us.saturating_sub(trial.since_us) >= longest;
        let (pairs, margin) = (quality.pairs, bounds.question.margin * 100.0);
        let (mending, why) = if quality.verdict == Verdict::Worse {
            (Mending::RollBack, format!("answers are worse by more than {margin:.0}% in {pairs} pairs"))
        } else if kept_local.verdict == Verdict::Worse {
            (Mending::RollBack, format!("more than {margin:.0}% more of its requests go hosted"))
        } else if quality.verdict == Verdict::NotWorse && pairs >= bounds.least {
            (Mending::Promote, format!("answers are not worse by more than {margin:.0}% in {pairs} pairs"))
        } else if late {
            (Mending::RollBack, format!("nothing was shown in {} pairs, and the time is over", quality.pairs))
        } else {
            let least = bounds.least.saturating_sub(pairs);
            let still = quality.still_needed.map_or(least, |still| still.max(least));
            (
                Mending::Wait,
                format!("nothing is shown in {pairs} pairs; some {still} more, should they go on as before"),
            )
        };
        Self {
            late: late && mending == Mending::RollBack && quality.verdict == Verdict::NotYetKnown,
            quality,
            kept_local,
            mending,
            why,
        }
    }

    /// What did it.
    pub(super) fn by(&self) -> &'static str {
        let by_share = self.kept_local.verdict == Verdict::Worse;
        if self.late && !by_share { "time" } else { "verdict" }
    }
}

/// Pairs of marks.
fn quality(labels: &[String], marks: &[Marked]) -> Evidence {
    let mut evidence = Evidence::default();
    differences(labels, marks).into_iter().for_each(|difference| evidence.add(difference));
    evidence
}

/// The differences of pairs of marks, in their order. Of a request that several have spoken of the strongest counts, of a session the first such request.
pub(super) fn differences(labels: &[String], marks: &[Marked]) -> Vec<f64> {
    let rank = |mark: &Marked| labels.iter().position(|source| *source == mark.source);
    let mut strongest: HashMap<&str, usize> = HashMap::new();
    for mark in marks {
        if let Some(rank) = rank(mark) {
            strongest.entry(&mark.request).and_modify(|known| *known = rank.min(*known)).or_insert(rank);
        }
    }
    let mut seen = HashSet::new();
    let counted = marks.iter().filter(|mark| {
        let rank = rank(mark);
        rank.is_some()
            && rank == strongest.get(mark.request.as_str()).copied()
            && seen.insert((mark.tried, &mark.session))
    });
    pairs(counted.map(|mark| (mark.tried, mark.of_served())))
}

fn kept_local(sent: &[Sent]) -> Evidence {
    let mut seen = HashSet::new();
    let first = sent.iter().filter(|sent| seen.insert((sent.tried, &sent.session)));
    paired(first.map(|sent| (sent.tried, if sent.hosted { 0.0 } else { 1.0 })))
}

fn paired(values: impl Iterator<Item = (bool, f64)>) -> Evidence {
    let mut evidence = Evidence::default();
    pairs(values).into_iter().for_each(|difference| evidence.add(difference));
    evidence
}

/// Differences, tried less other, of the means since the last pair: one as soon as both sides have come.
fn pairs(values: impl Iterator<Item = (bool, f64)>) -> Vec<f64> {
    let mut differences = Vec::new();
    let mut sums = [(0.0, 0u32); 2];
    for (tried, value) in values {
        let (sum, count) = &mut sums[usize::from(tried)];
        *sum += value;
        *count += 1;
        if let [(other, others), (tried, trieds)] = sums
            && others > 0
            && trieds > 0
        {
            differences.push(tried / f64::from(trieds) - other / f64::from(others));
            sums = [(0.0, 0); 2];
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    /// Roll-outs that are simulated, and looks at each.
    const RUNS: u64 = 100;
    const LOOKS: usize = 20;

    fn a_mark() -> Marked {
        let (session, request) = (String::new(), String::new());
        Marked { tried: false, session, request, hosted: false, source: "feedback".into(), value: 0.0 }
    }

    fn bounds() -> Bounds {
        Bounds {
            part: 0.1,
            question: Question { margin: 0.1, error: 0.05 },
            least: 30,
            longest: Duration::from_secs(3_600),
            labels: vec!["feedback".into(), "shadow".into()],
            watch: 0.0,
            train: None,
        }
    }

    /// One in ten is tried; of so many in a hundred answers of each side the mark is 1.
    fn marks(n: usize, tried_good: usize, other_good: usize) -> Vec<Marked> {
        (0..n)
            .map(|at| {
                let tried = at % 10 == 0;
                let good = if tried { tried_good } else { other_good };
                // A spread order of 0..100 within each side.
                let place = (at / 10 * 37 + at * 61) % 100;
                let value = f64::from(u8::from(place < good));
                Marked { tried, value, session: format!("s{at}"), request: format!("r{at}"), ..a_mark() }
            })
            .collect()
    }

    fn assess(marks: &[Marked], sent: &[Sent], now_us: i64) -> (Mending, &'static str, Assessment) {
        let trial = Trial { head: "new".into(), part: 0.1, since_us: 0 };
        let known = Assessment::of(&bounds(), &trial, marks, sent, now_us);
        (known.mending, known.by(), known)
    }

    #[test]
    fn a_better_head_is_promoted_a_worse_one_taken_back_and_few_marks_say_nothing() {
        assert_eq!(assess(&[], &[], 1).0, Mending::Wait);
        assert_eq!(assess(&marks(200, 95, 60), &[], 1).0, Mending::Wait, "20 pairs");
        let (mending, by, known) = assess(&marks(6_000, 95, 60), &[], 1);
        assert_eq!((mending, by), (Mending::Promote, "verdict"), "{known:?}");
        let (mending, by, known) = assess(&marks(6_000, 40, 90), &[], 1);
        assert_eq!((mending, by), (Mending::RollBack, "verdict"), "{known:?}");
    }

    #[test]
    fn time_that_is_over_takes_back_what_nothing_was_shown_of() {
        let hour = 3_600_000_000;
        let (mending, by, known) = assess(&marks(100, 80, 80), &[], hour);
        assert_eq!((mending, by), (Mending::RollBack, "time"), "{known:?}");
        assert_eq!(assess(&marks(100, 80, 80), &[], hour - 1).0, Mending::Wait);
        assert_eq!(assess(&marks(6_000, 95, 60), &[], hour).0, Mending::Promote, "what is shown is shown");
    }

    #[test]
    fn a_head_that_sends_more_hosted_is_taken_back_however_good_its_answers_are() {
        let sent: Vec<Sent> = (0..4_000)
            .map(|at| Sent { tried: at % 10 == 0, session: format!("s{at}"), hosted: at % 10 == 0 || at % 3 == 0 })
            .collect();
        let (mending, by, known) = assess(&marks(6_000, 95, 60), &sent, 1);
        assert_eq!((mending, by), (Mending::RollBack, "verdict"), "{known:?}");
        assert!(known.why.contains("hosted"), "{}", known.why);
    }

    #[test]
    fn a_session_counts_once_and_the_strongest_word_on_a_request_counts() {
        let mark = |tried, session: &str, request: &str, source: &str, value| Marked {
            tried,
            session: session.into(),
            request: request.into(),
            source: source.into(),
            value,
            ..a_mark()
        };
        let labels = bounds().labels;
        let marks = [
            mark(false, "a", "a1", "feedback", 1.0),
            mark(true, "b", "b1", "shadow", 1.0),
            mark(true, "b", "b1", "feedback", 0.0),
            mark(true, "b", "b2", "feedback", 1.0),
            mark(false, "a", "a2", "feedback", 0.0),
            mark(true, "c", "c1", "cascade", 1.0),
        ];
        let evidence = quality(&labels, &marks);
        assert_eq!((evidence.pairs(), evidence.mean()), (1, -1.0));
        let hosted = Marked { hosted: true, ..mark(true, "d", "d1", "shadow", 0.0) };
        assert_eq!(hosted.of_served(), 1.0, "the hosted answer is the measure");
    }

    #[test]
    fn pairs_have_the_difference_of_the_means_whatever_the_parts() {
        let values = [(false, 1.0), (false, 0.0), (true, 1.0), (true, 0.0), (true, 0.5), (false, 0.25)];
        let evidence = paired(values.into_iter());
        assert_eq!((evidence.pairs(), evidence.mean()), (2, 0.25));
    }

    #[test]
    fn a_head_that_is_worse_by_the_margin_is_hardly_ever_promoted_however_often_one_looks() {
        let mut wrong = 0;
        for run in 0..RUNS {
            let mut random = ChaCha8Rng::seed_from_u64(run);
            let mut draw = |part: f64| f64::from(random.next_u32()) / f64::from(u32::MAX) < part;
            let mut all = Vec::new();
            let promoted = (0..LOOKS).any(|_| {
                let at = all.len();
                all.extend((at..at + 50).map(|at| {
                    let tried = draw(0.3);
                    let value = f64::from(u8::from(draw(if tried { 0.7 } else { 0.8 })));
                    Marked { tried, value, session: format!("s{at}"), request: format!("r{at}"), ..a_mark() }
                }));
                assess(&all, &[], 1).0 == Mending::Promote
            });
            wrong += u32::from(promoted);
        }
        // A half of the error of 5%, and four standard deviations of so many runs.
        assert!(wrong <= 8, "{wrong} of {RUNS}");
    }
}

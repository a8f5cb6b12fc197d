//! Counts and intervals over requests that were decided on anew.

use super::{Decided, Replayed, Score, Unknown, Verdict};
use crate::savings::text;
use policies::Location;
use serde::Serialize;
use std::collections::BTreeMap;

/// The 97.5th percentile of the normal distribution: 95% lie within so many standard deviations.
const Z: f64 = 1.959_963_984_540_054;

/// From one end to the other, at 95%.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// A part of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// So many.
    pub count: u64,
    /// Of so many.
    pub of: u64,
    /// As a number from 0 to 1; `None`: of nothing.
    pub share: Option<f64>,
    /// Wilson's interval.
    pub interval: Option<Interval>,
}

/// What requests cost, in dollars as decimal texts; only those whose cost is known both then and now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Money {
    /// How many these are.
    pub requests: u64,
    /// Then: all attempts.
    pub then_usd: String,
    /// Now, with the tokens of then.
    pub now_usd: String,
    /// Now less then.
    pub difference_usd: String,
    /// Of the difference, its lower and its upper end; `None` for fewer than two.
    pub interval_usd: Option<[String; 2]>,
}

/// So many requests went from one answer to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// The model then; `none`: refused.
    pub from: String,
    /// The model now.
    pub to: String,
    /// Why now.
    pub reason: String,
    /// How many.
    pub requests: u64,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Requests that were looked at.
    pub requests: u64,
    /// Those whose decision is known now.
    pub known: u64,
    /// Of these: another side, another model, or refused in place of answered (or the reverse).
    pub changed: Share,
    /// Of these: another side.
    pub other_side: Share,
    /// Of those answered then: hosted.
    pub hosted_then: Share,
    /// Of those answered now: hosted.
    pub hosted_now: Share,
    /// Of these: refused now and answered then.
    pub newly_refused: Share,
    /// Of these: answered now and refused then.
    pub newly_answered: Share,
    /// Local answers that would get a second look.
    pub watched: u64,
    /// What they cost.
    pub money: Money,
    /// Where requests moved, the largest first.
    pub moved: Vec<Moved>,
    /// Where scores came from.
    pub scores: BTreeMap<Score, u64>,
    /// What is not known, by reason.
    pub unknown: BTreeMap<Unknown, u64>,
}

// === impl Share ===

impl Share {
    fn of(count: u64, of: u64) -> Self {
        let share = (of > 0).then(|| count as f64 / of as f64);
        Self { count, of, share, interval: share.map(|share| wilson(share, of as f64)) }
    }
}

fn wilson(share: f64, n: f64) -> Interval {
    let z2 = Z * Z;
    let middle = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    Interval { low: (middle - half).max(0.0), high: (middle + half).min(1.0) }
}

// === impl Money ===

impl Money {
    /// Of pairs in nano-dollars.
    fn of(pairs: &[(i128, i128)]) -> Self {
        let (then, now) = pairs.iter().fold((0, 0), |(then, now), pair| (then + pair.0, now + pair.1));
        let (n, difference) = (pairs.len() as f64, now - then);
        let mean = difference as f64 / n.max(1.0);
        let spread: f64 = pairs.iter().map(|(then, now)| ((now - then) as f64 - mean).powi(2)).sum();
        // The sum of n differences has n times the variance of one.
        let half = (pairs.len() > 1).then(|| (Z * (n * spread / (n - 1.0)).sqrt()).round() as i128);
        Self {
            requests: pairs.len() as u64,
            then_usd: text(then),
            now_usd: text(now),
            difference_usd: text(difference),
            interval_usd: half.map(|half| [text(difference - half), text(difference + half)]),
        }
    }
}

// === impl Summary ===

impl Summary {
    /// Counts what was decided anew.
    pub fn of(replayed: &[Replayed]) -> Self {
        let mut unknown: BTreeMap<Unknown, u64> = BTreeMap::new();
        let mut scores: BTreeMap<Score, u64> = BTreeMap::new();
        let mut moved: BTreeMap<(String, String, String), u64> = BTreeMap::new();
        let (mut known, mut pairs, mut watched) = (Vec::new(), Vec::new(), 0);
        for one in replayed {
            match &one.now {
                Verdict::Unknown(why) => *unknown.entry(*why).or_default() += 1,
                Verdict::Decided { decided, score, watched: looked } => {
                    score.iter().for_each(|score| *scores.entry(*score).or_default() += 1);
                    watched += u64::from(*looked);
                    pairs.extend(
                        one.then.cost_usd.zip(decided.cost_usd).map(|(a, b)| (i128::from(a.0), i128::from(b.0))),
                    );
                    if one.then.model != decided.model {
                        let name =
                            |decided: &Decided| decided.model.as_ref().map_or("none".to_owned(), ToString::to_string);
                        *moved.entry((name(&one.then), name(decided), decided.reason.clone())).or_default() += 1;
                    }
                    known.push((&one.then, decided));
                }
            }
        }
        let all = known.len() as u64;
        let count = |which: &dyn Fn(&Decided, &Decided) -> bool| {
            known.iter().filter(|(then, now)| which(then, now)).count() as u64
        };
        let hosted = Some(Location::Hosted);
        let mut moved: Vec<Moved> =
            moved.into_iter().map(|((from, to, reason), requests)| Moved { from, to, reason, requests }).collect();
        moved.sort_by_key(|moved| std::cmp::Reverse(moved.requests));
        Self {
            requests: replayed.len() as u64,
            known: all,
            changed: Share::of(count(&|then, now| then.model != now.model), all),
            other_side: Share::of(count(&|then, now| then.route != now.route), all),
            hosted_then: Share::of(count(&|then, _| then.route == hosted), count(&|then, _| then.route.is_some())),
            hosted_now: Share::of(count(&|_, now| now.route == hosted), count(&|_, now| now.route.is_some())),
            newly_refused: Share::of(count(&|then, now| then.route.is_some() && now.route.is_none()), all),
            newly_answered: Share::of(count(&|then, now| then.route.is_none() && now.route.is_some()), all),
            watched,
            money: Money::of(&pairs),
            moved,
            scores,
            unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policies::NanoDollars;

    fn decided(route: Option<Location>, cost: u64) -> Decided {
        let model = route.map(|route| route.word().into());
        Decided { route, model, reason: "classifier".into(), cost_usd: Some(NanoDollars(cost)) }
    }

    fn one(then: Decided, now: Option<Decided>) -> Replayed {
        let decided = |decided| Verdict::Decided { decided, score: Some(Score::OnRecord), watched: false };
        Replayed { id: "r".into(), then, now: now.map_or(Verdict::Unknown(Unknown::Unjudged), decided) }
    }

    #[test]
    fn what_changes_is_counted_and_what_is_unknown_is_no_part_of_it() {
        let (local, hosted) = (decided(Some(Location::Local), 0), decided(Some(Location::Hosted), 1_000_000_000));
        let refused = decided(None, 0);
        let summary = Summary::of(&[
            one(hosted.clone(), Some(hosted.clone())),
            one(hosted.clone(), Some(local.clone())),
            one(local.clone(), Some(local.clone())),
            one(local.clone(), Some(refused)),
            one(hosted, None),
        ]);
        assert_eq!((summary.requests, summary.known), (5, 4));
        assert_eq!((summary.changed.count, summary.changed.of, summary.other_side.count), (2, 4, 2));
        assert_eq!((summary.hosted_then.count, summary.hosted_then.of), (2, 4));
        assert_eq!((summary.hosted_now.count, summary.hosted_now.of), (1, 3), "who is refused is on no side");
        assert_eq!((summary.newly_refused.count, summary.newly_answered.count), (1, 0));
        let Money { then_usd, now_usd, difference_usd, .. } = &summary.money;
        assert_eq!([then_usd, now_usd, difference_usd], ["2.000000", "1.000000", "-1.000000"]);
        assert_eq!(summary.unknown, BTreeMap::from([(Unknown::Unjudged, 1)]));
        assert_eq!(summary.moved.len(), 2);
        assert_eq!(Summary::of(&[]).changed, Share { count: 0, of: 0, share: None, interval: None });
    }

    #[test]
    fn intervals_are_those_of_the_textbook() {
        // Wilson's interval of 10 of 50 (Newcombe 1998 has the method; the figures are computed by hand).
        let share = Share::of(10, 50).interval.unwrap();
        assert!((share.low - 0.112_4).abs() < 5e-4 && (share.high - 0.330_4).abs() < 5e-4, "{share:?}");
        let none = Share::of(0, 20).interval.unwrap();
        assert!(none.low == 0.0 && (none.high - 0.161_1).abs() < 5e-4, "{none:?}");
        // Differences 1, 2, 3 in dollars: the sum is 6, its standard deviation the root of 3.
        let money = Money::of(&[(0, 1_000_000_000), (0, 2_000_000_000), (0, 3_000_000_000)]);
        assert_eq!(
            money.interval_usd,
            Some(["2.605242798".into(), "9.394757202".into()]),
            "6 less and more 1.96 of them"
        );
        assert_eq!(Money::of(&[(0, 1)]).interval_usd, None);
    }
}

//! Whether a judge's words may be a verdict.
//!
//! **Promise.** A judge is trusted only when people have judged some of the same pairs, and what it says agrees with them
//! beyond chance: the lower end of a 95% interval for Cohen's kappa (1960) reaches [`LEAST_KAPPA`]. The interval is the large-sample
//! one of Fleiss, Cohen and Everitt, "Large sample standard errors of kappa and weighted kappa", Psychological Bulletin
//! 72(5), 1969. A judge who prefers a place, who decides nothing, or who contradicts himself is named as such.
//!
//! **Why.** A judge that is biased, lenient or random gives words that look like a comparison; its evidence converges
//! to a wrong answer as surely as a good judge's to the right one. Sequential statistics do not protect from that.
//!
//! **What it does not do.** It does not say that the people agree with each other; their kappa would be the ceiling.

use super::judge::{Ballot, Word};
use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF};

/// Pairs that people have to judge before a judge can be trusted.
pub const LEAST_LABELS: u64 = 50;
/// The agreement that the interval's lower end has to reach: "moderate" by Landis and Koch (1977).
pub const LEAST_KAPPA: f64 = 0.4;
/// The share of decided pairs in which both orders have to agree.
const LEAST_CONSISTENT: f64 = 0.5;
/// Of the pairs that people decided, the share that a judge may call a tie.
const MOST_TIES: f64 = 0.5;
/// The share of decided pairs that a mere place may decide.
const MOST_BY_PLACE: f64 = 0.2;
/// The probability of calling an even-handed judge biased.
const SURE: f64 = 0.001;

/// Whom somebody prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The left answer.
    Left,
    /// Neither.
    Tie,
    /// The right answer.
    Right,
}

/// Why a judge's verdict is withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    /// Too few pairs were judged by people.
    TooFewLabels,
    /// It does not agree with people beyond chance, or not surely.
    Disagrees,
    /// It prefers a place.
    PrefersAPlace,
    /// It says one thing in one order and another in the other.
    Inconsistent,
    /// It calls a tie what people decide.
    Lenient,
}

/// What is known of a judge.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trust {
    /// Why its verdict is withheld; nothing: it counts.
    pub withheld: Vec<Withheld>,
    /// Pairs that it judged.
    pub judged: u64,
    /// Of those, the pairs that people judged, too.
    pub labelled: u64,
    /// Agreement with people beyond chance, -1 to 1; `None`: there is none to measure.
    pub kappa: Option<f64>,
    /// Where that lies with 95%.
    pub kappa_interval: Option<(f64, f64)>,
    /// Of the pairs that it decided in some order, the share on which both orders agree.
    pub consistency: Option<f64>,
    /// Pairs that the first and the second place won in both orders.
    pub by_place: [u64; 2],
}

// === impl Side ===

impl Side {
    /// The difference that it stands for.
    pub fn difference(self) -> f64 {
        match self {
            Self::Left => 1.0,
            Self::Tie => 0.0,
            Self::Right => -1.0,
        }
    }

    fn place(self) -> usize {
        match self {
            Self::Left => 0,
            Self::Tie => 1,
            Self::Right => 2,
        }
    }
}

// === impl Withheld ===

impl Withheld {
    /// As a person reads it.
    pub fn words(self) -> &'static str {
        match self {
            Self::TooFewLabels => "too few pairs were judged by people to know whether this judge agrees with them",
            Self::Disagrees => "it does not surely agree with people beyond chance",
            Self::PrefersAPlace => "it prefers the place where an answer stands",
            Self::Inconsistent => "it contradicts itself when the order is swapped",
            Self::Lenient => "it calls a tie what people decide",
        }
    }
}

// === impl Trust ===

impl Trust {
    /// What a judge's ballots, and people's words on some of them, say of it.
    pub fn of<'a>(ballots: impl IntoIterator<Item = (&'a Ballot, Option<Side>)>) -> Self {
        let mut table = [[0_u64; 3]; 3];
        let (mut judged, mut decided, mut consistent, mut by_place) = (0_u64, 0_u64, 0_u64, [0_u64; 2]);
        for (ballot, human) in ballots {
            judged += 1;
            if let Some(human) = human {
                table[human.place()][ballot.side().place()] += 1;
            }
            let tie = (ballot.left_first, ballot.right_first) == (Some(Word::Tie), Some(Word::Tie));
            if !tie {
                decided += 1;
                consistent += u64::from(ballot.consistent());
            }
            match ballot.place() {
                Some(Word::First) => by_place[0] += 1,
                Some(Word::Second) => by_place[1] += 1,
                Some(Word::Tie) | None => {}
            }
        }
        let labelled = table.as_flattened().iter().sum();
        let kappa = kappa(&table);
        let mut withheld = vec![];
        if labelled < LEAST_LABELS {
            withheld.push(Withheld::TooFewLabels);
        } else if kappa.is_none_or(|(_, (low, _))| low < LEAST_KAPPA) {
            withheld.push(Withheld::Disagrees);
        }
        let placed: u64 = by_place.iter().sum();
        if placed as f64 > MOST_BY_PLACE * decided as f64 && uneven(by_place) {
            withheld.push(Withheld::PrefersAPlace);
        }
        if decided > 0 && surely_below(consistent, decided, LEAST_CONSISTENT) {
            withheld.push(Withheld::Inconsistent);
        }
        let decided_by_people: u64 = table[0].iter().chain(&table[2]).sum();
        let called_ties = table[0][1] + table[2][1];
        if decided_by_people > 0 && surely_below(decided_by_people - called_ties, decided_by_people, MOST_TIES) {
            withheld.push(Withheld::Lenient);
        }
        Self {
            withheld,
            judged,
            labelled,
            kappa: kappa.map(|(kappa, _)| kappa),
            kappa_interval: kappa.map(|(_, interval)| interval),
            consistency: (decided > 0).then(|| consistent as f64 / decided as f64),
            by_place,
        }
    }

    /// Whether its words may be a verdict.
    pub fn granted(&self) -> bool {
        self.withheld.is_empty()
    }
}

/// Whether two places that should be even surely are not: the two-sided sign test.
fn uneven([first, second]: [u64; 2]) -> bool {
    let n = first + second;
    n > 0 && Binomial::new(0.5, n).is_ok_and(|even| 2.0 * even.cdf(first.min(second)) < SURE)
}

/// Whether a share surely lies below `least`.
fn surely_below(hits: u64, of: u64, least: f64) -> bool {
    Binomial::new(least, of).is_ok_and(|chance| chance.cdf(hits) < SURE)
}

/// Cohen's kappa of two raters with its 95% interval; `None` where chance alone would agree on everything.
pub fn kappa(table: &[[u64; 3]; 3]) -> Option<(f64, (f64, f64))> {
    let n: u64 = table.as_flattened().iter().sum();
    if n == 0 {
        return None;
    }
    let p = table.map(|row| row.map(|count| count as f64 / n as f64));
    let rows: [f64; 3] = std::array::from_fn(|i| p[i].iter().sum());
    let columns: [f64; 3] = std::array::from_fn(|j| p.iter().map(|row| row[j]).sum());
    let observed: f64 = (0..3).map(|i| p[i][i]).sum();
    let chance: f64 = (0..3).map(|i| rows[i] * columns[i]).sum();
    if chance > 1.0 - 1e-12 {
        return None;
    }
    let kappa = (observed - chance) / (1.0 - chance);
    let mut variance = -(observed * chance - 2.0 * chance + observed).powi(2);
    for i in 0..3 {
        for j in 0..3 {
            let term = if i == j {
                (1.0 - chance) - (columns[i] + rows[i]) * (1.0 - observed)
            } else {
                (1.0 - observed) * (columns[i] + rows[j])
            };
            variance += p[i][j] * term.powi(2);
        }
    }
    let error = (variance.max(0.0) / (n as f64 * (1.0 - chance).powi(4))).sqrt();
    let reach = 1.959_964 * error;
    Some((kappa, ((kappa - reach).max(-1.0), (kappa + reach).min(1.0))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    type Judge = fn(&mut ChaCha8Rng, Side) -> Ballot;

    /// The words of a judge who sees what is better.
    fn seen(side: Side) -> Ballot {
        let (left_first, right_first) = match side {
            Side::Left => (Word::First, Word::Second),
            Side::Tie => (Word::Tie, Word::Tie),
            Side::Right => (Word::Second, Word::First),
        };
        Ballot { left_first: Some(left_first), right_first: Some(right_first) }
    }

    fn any(dice: &mut ChaCha8Rng) -> Option<Word> {
        Some([Word::First, Word::Second, Word::Tie][dice.random_range(0..3)])
    }

    /// A judge's trust after 200 pairs, half of which a person judged.
    fn run(seed: u64, judge: Judge) -> Trust {
        let dice = &mut ChaCha8Rng::seed_from_u64(seed);
        let pairs: Vec<(Ballot, Option<Side>)> = (0..200)
            .map(|at| {
                let truth = [Side::Left, Side::Right, Side::Right, Side::Tie][dice.random_range(0..4)];
                // People are right nine times of ten.
                let human = if dice.random_bool(0.9) { truth } else { Side::Tie };
                (judge(dice, truth), (at % 2 == 0).then_some(human))
            })
            .collect();
        Trust::of(pairs.iter().map(|(ballot, human)| (ballot, *human)))
    }

    #[test]
    fn biased_lenient_and_random_judges_are_found_out_in_every_run() {
        let judges: [(&str, Judge, Withheld); 6] = [
            (
                "always the first",
                |_, _| Ballot { left_first: Some(Word::First), right_first: Some(Word::First) },
                Withheld::PrefersAPlace,
            ),
            (
                "mostly the second",
                |dice, side| match dice.random_bool(0.6) {
                    true => Ballot { left_first: Some(Word::Second), right_first: Some(Word::Second) },
                    false => seen(side),
                },
                Withheld::PrefersAPlace,
            ),
            ("always a tie", |_, _| seen(Side::Tie), Withheld::Lenient),
            (
                "nearly always a tie",
                |dice, side| seen(if dice.random_bool(0.8) { Side::Tie } else { side }),
                Withheld::Lenient,
            ),
            (
                "at random in each order",
                |dice, _| Ballot { left_first: any(dice), right_first: any(dice) },
                Withheld::Inconsistent,
            ),
            (
                "at random, but consistent",
                |dice, _| seen([Side::Left, Side::Tie, Side::Right][dice.random_range(0..3)]),
                Withheld::Disagrees,
            ),
        ];
        for (name, judge, why) in judges {
            let runs: Vec<Trust> = (0..100).map(|seed| run(seed, judge)).collect();
            let withheld = runs.iter().filter(|trust| !trust.granted()).count();
            let named = runs.iter().filter(|trust| trust.withheld.contains(&why)).count();
            println!("{name}: withheld in {withheld} of 100 runs, named {why:?} in {named}");
            assert_eq!(withheld, 100, "{name}");
            assert!(named >= 90, "{name}: {named}");
        }
    }

    #[test]
    fn a_judge_who_agrees_with_people_is_trusted() {
        let careful: Judge = |dice, side| match dice.random_bool(0.9) {
            true => seen(side),
            false => Ballot { left_first: any(dice), right_first: any(dice) },
        };
        let granted = (0..100).filter(|seed| run(*seed, careful).granted()).count();
        println!("a careful judge is trusted in {granted} of 100 runs");
        assert!(granted >= 90, "{granted}");
        let alone = Trust::of([(&seen(Side::Left), None); 500]);
        assert_eq!(alone.withheld, [Withheld::TooFewLabels], "without people nobody is");
    }

    #[test]
    fn kappa_and_its_interval_are_those_of_the_books() {
        // The example of Fleiss, "Statistical Methods for Rates and Proportions": kappa 0.676, standard error 0.087.
        let (kappa_is, (low, high)) = kappa(&[[75, 1, 4], [5, 4, 1], [0, 0, 10]]).unwrap();
        assert!((kappa_is - 0.676).abs() < 0.001, "{kappa_is}");
        assert!(((high - low) / 2.0 / 1.959_964 - 0.087).abs() < 0.001, "{low} {high}");
        assert_eq!(kappa(&[[0, 0, 0], [0, 50, 0], [0, 0, 0]]), None, "all ties: chance agrees as well");
        assert_eq!(kappa(&[[10, 0, 0], [0, 10, 0], [0, 0, 10]]).unwrap().0, 1.0);
        let (none, _) = kappa(&[[10, 10, 10]; 3]).unwrap();
        assert!(none.abs() < 1e-12);
    }
}

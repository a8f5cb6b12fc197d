//! From two answers to a difference.

use super::command;
use super::dataset::Row;
use super::run::{Cost, Run, Told};
use crate::cli::Failure;
use router::compare::judge::{self, left_comes_first};
use router::compare::{Answer, Asked, Ballot, Judged, Rule, Word};
use router::learn::traffic::need;
use router::probe::alike;
use serde_json::Value;
use std::time::Duration;

/// Who judges.
#[derive(Clone, Debug)]
pub enum Judge {
    /// A rule.
    Rule(Rule),
    /// How alike an answer is to the reference, else to the right answer, by the sentence encoder in this program.
    Embedding,
    /// A command, with the time it may take.
    Command(String, Duration),
    /// A model, by its configured name, with its rubric and output tokens.
    Model(String, String, u64),
}

/// A row with its answers and what they are worth.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The place of its row.
    pub at: usize,
    /// Left, right.
    pub told: [Told; 2],
    /// Their scores, 0 to 1, where each has its own.
    pub scores: Option<[f64; 2]>,
    /// Both words of a model.
    pub ballot: Option<Ballot>,
    /// Left less right; `None`: not judged.
    pub difference: Option<f64>,
    /// Why it was not judged.
    pub unjudged: Option<String>,
}

// === impl Judge ===

impl Judge {
    /// As it is typed.
    pub fn name(&self) -> String {
        match self {
            Self::Rule(rule) => format!("{rule:?}").to_lowercase(),
            Self::Embedding => "embedding".into(),
            Self::Command(..) => "command".into(),
            Self::Model(name, ..) => format!("model:{name}"),
        }
    }

    /// Whether its words have to be compared with people's before they count.
    pub fn needs_trust(&self) -> bool {
        matches!(self, Self::Model(..))
    }

    /// Says whether a row has what it needs.
    pub fn fits(&self, row: &Row) -> Result<(), Failure> {
        let Self::Rule(rule) = self else { return Ok(()) };
        rule.fits(&row.expected).map_err(|why| Failure::Usage(format!("row `{}`: {why}", row.id)))
    }

    /// What judging a row costs; `known` are the answers that are there already.
    pub async fn cost(
        &self,
        run: &Run,
        row: &Row,
        known: [Option<&Answer>; 2],
        max_tokens: u64,
    ) -> Result<Cost, Failure> {
        let Self::Model(..) = self else { return Ok(Cost::default()) };
        let mut cost = Cost::default();
        // What is not there yet is as long as it may get.
        let longest = "word ".repeat(usize::try_from(max_tokens).unwrap_or(usize::MAX).min(200_000));
        let texts = known.map(|answer| answer.map_or_else(|| longest.clone(), shown));
        if known.iter().all(Option::is_some) && texts[0].trim() == texts[1].trim() {
            return Ok(cost);
        }
        for body in self.questions(row, [&texts[0], &texts[1]]) {
            cost.add(run.cost("judge", row, &body).await?);
        }
        Ok(cost)
    }

    /// The questions in both orders: left first, right first.
    fn questions(&self, row: &Row, [left, right]: [&str; 2]) -> Vec<Value> {
        let Self::Model(model, rubric, max_tokens) = self else { return vec![] };
        let ask = |answers| judge::request((model, rubric, *max_tokens), SALT, &row.id, &row.text, answers);
        vec![ask([left, right]), ask([right, left])]
    }

    /// Judges the answers to a row.
    pub async fn judge(&self, run: &Run, at: usize, row: &Row, told: [Told; 2]) -> Result<Outcome, Failure> {
        let outcome = Outcome { at, told, scores: None, ballot: None, difference: None, unjudged: None };
        let unjudged = |why: String| Ok(Outcome { unjudged: Some(why), ..outcome.clone() });
        let mut answers: [Option<&Answer>; 2] = [None, None];
        for (side, told) in outcome.told.iter().enumerate() {
            answers[side] = match told {
                Told::Answer(kept) => Some(&kept.answer),
                // A user of that side would have got nothing.
                Told::Failed(_) => None,
                Told::Denied(why) => return unjudged(why.clone()),
                Told::InDoubt => return unjudged("an earlier run died while it was asked".into()),
                Told::NotAsked => return unjudged("not asked".into()),
            };
        }
        if let Self::Model(..) = self {
            return self.ballot(run, row, answers, &outcome).await;
        }
        let mut scores = [0.0; 2];
        for (side, answer) in answers.into_iter().enumerate() {
            let Some(answer) = answer else { continue };
            let score = match self {
                Self::Rule(rule) => rule
                    .score(answer, &row.expected)
                    .map_err(|why| Failure::Usage(format!("row `{}`: {why}", row.id)))?,
                Self::Command(line, at_most) => {
                    let known = (row.id.as_str(), row.tests.as_deref(), row.expected.reference.as_deref());
                    f64::from(u8::from(command::passes(line, known, &shown(answer), *at_most).await?))
                }
                Self::Embedding | Self::Model(..) => {
                    let other = answers[1].map(|answer| answer.text.as_str());
                    let Some(reference) = row.expected.reference.as_deref().or(other) else {
                        return unjudged("there is nothing to compare with".into());
                    };
                    let Some(need) = need(&answer.text, reference, &alike) else {
                        return unjudged("the texts cannot be compared".into());
                    };
                    f64::from(1.0 - need)
                }
            };
            scores[side] = score;
        }
        Ok(Outcome { scores: Some(scores), difference: Some(scores[0] - scores[1]), ..outcome })
    }

    /// Asks a model in both orders.
    async fn ballot(
        &self,
        run: &Run,
        row: &Row,
        answers: [Option<&Answer>; 2],
        outcome: &Outcome,
    ) -> Result<Outcome, Failure> {
        let settled = |difference: f64| Ok(Outcome { difference: Some(difference), ..outcome.clone() });
        let (left, right) = match answers {
            [Some(left), Some(right)] => (shown(left), shown(right)),
            // Whoever failed has lost, and nobody need be asked.
            [Some(_), None] => return settled(1.0),
            [None, Some(_)] => return settled(-1.0),
            [None, None] => return settled(0.0),
        };
        if left.trim() == right.trim() {
            return settled(0.0);
        }
        let questions = self.questions(row, [&left, &right]);
        let mut words = [None; 2];
        let first = usize::from(!left_comes_first(SALT, &row.id));
        for at in [first, 1 - first] {
            let Some(body) = questions.get(at) else { continue };
            words[at] = match run.ask("judge", row, body).await? {
                Told::Answer(kept) => Word::read(&kept.answer.text),
                Told::Failed(why) => {
                    return Ok(Outcome { unjudged: Some(format!("the judge: {why}")), ..outcome.clone() });
                }
                Told::Denied(why) => {
                    return Ok(Outcome {
                        unjudged: Some(format!("the judge may not be asked: {why}")),
                        ..outcome.clone()
                    });
                }
                Told::InDoubt | Told::NotAsked => {
                    return Ok(Outcome { unjudged: Some("the judge was not asked".into()), ..outcome.clone() });
                }
            };
        }
        let ballot = Ballot { left_first: words[0], right_first: words[1] };
        Ok(Outcome { ballot: Some(ballot), difference: Some(ballot.side().difference()), ..outcome.clone() })
    }
}

// === impl Outcome ===

impl Outcome {
    /// For the statistics; `None`: not judged.
    pub fn judged(&self, row: &Row) -> Option<Judged> {
        let asked =
            Asked { text: &row.text, tools: row.tools, json: row.json, key: row.key.as_deref(), tags: &row.tags };
        Some(Judged { difference: self.difference?, slices: asked.slices() })
    }
}

/// The draw of the order is the same in every run, so that a resumed one asks what the first one asked.
const SALT: &[u8] = b"sluice compare";

/// An answer as a judge or a command sees it.
pub fn shown(answer: &Answer) -> String {
    match &answer.tool_calls {
        None => answer.text.clone(),
        Some(calls) if answer.text.is_empty() => calls.to_string(),
        Some(calls) => format!("{}\n{calls}", answer.text),
    }
}

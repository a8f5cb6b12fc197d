//! A pair of live traffic is judged, after both answers are there and in nobody's way.

use super::{Experiment, Held};
use crate::ask::Ask;
use crate::classify::probe;
use crate::compare::judge::{self, left_comes_first};
use crate::compare::{Answer, Ballot, Expected, Rule, Word};
use crate::execute::{Router, SideFailure};
use crate::learn::traffic::need;
use adapters::wire::{Format, WireRequest};
use policies::{Endpoint, NanoDollars, RouteWish, Sink};
use std::sync::Arc;

/// Who judges pairs of live traffic.
#[derive(Clone, Debug, PartialEq)]
pub enum PairJudge {
    /// Nobody but people: pairs are kept and can be voted on.
    Nobody,
    /// A rule; the right side's answer is the reference.
    Rule(Rule),
    /// How alike the left answer is to the right one.
    Embedding,
    /// A model.
    Model {
        /// Its configured name.
        name: String,
        /// What it looks at.
        rubric: Arc<str>,
        /// The most that it writes, in tokens.
        max_tokens: u64,
    },
}

/// What a judge said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) difference: Option<f64>,
    pub(crate) ballot: Option<Ballot>,
    pub(crate) why: Option<String>,
}

// === impl PairJudge ===

impl PairJudge {
    /// Whether its words count only when they were found to agree with people.
    pub fn needs_trust(&self) -> bool {
        matches!(self, Self::Model { .. })
    }

    /// As it is typed.
    pub fn name(&self) -> String {
        match self {
            Self::Nobody => "people".into(),
            Self::Rule(rule) => format!("{rule:?}").to_lowercase(),
            Self::Embedding => "embedding".into(),
            Self::Model { name, .. } => format!("model:{name}"),
        }
    }
}

fn unjudged(why: impl Into<String>) -> Said {
    Said { why: Some(why.into()), ..Said::default() }
}

fn differ(difference: f64) -> Said {
    Said { difference: Some(difference), ..Said::default() }
}

/// Judges two answers to a request: left, right. `class` is the request's data class: it holds for the judge, too.
pub(crate) async fn judged(
    router: &Arc<Router>,
    experiment: &Experiment,
    (ask, class): (&Ask, &str),
    [left, right]: [&str; 2],
) -> Said {
    match &experiment.spec.judge {
        PairJudge::Nobody => unjudged("people judge"),
        PairJudge::Rule(rule) => {
            let answer = |text: &str| Answer { text: text.to_owned(), tool_calls: None };
            let schema = match &ask.came().view.format {
                Format::JsonSchema(schema) => Some(schema.clone()),
                Format::Text | Format::JsonObject | Format::Regex(_) => None,
            };
            let expected = Expected { reference: Some(right.to_owned()), schema, tool_calls: None };
            let score = |text: &str| rule.score(&answer(text), &expected);
            match (score(left), score(right)) {
                (Ok(left), Ok(right)) => differ(left - right),
                (Err(why), _) | (_, Err(why)) => unjudged(why.to_string()),
            }
        }
        PairJudge::Embedding => {
            let (left, right) = (left.to_owned(), right.to_owned());
            let alike = tokio::task::spawn_blocking(move || need(&left, &right, &probe::alike));
            match alike.await {
                Ok(Some(need)) => differ(-f64::from(need)),
                Ok(None) | Err(_) => unjudged("the texts cannot be compared"),
            }
        }
        PairJudge::Model { name, rubric, max_tokens } => {
            if left.trim() == right.trim() {
                return differ(0.0);
            }
            // Whatever the sides were told, the question is the client's.
            let text = ask.came().view.texts().collect::<Vec<_>>().join("\n");
            let mut words = [None; 2];
            let first = usize::from(!left_comes_first(experiment.key(), ask.id.as_str()));
            for (nth, at) in [first, 1 - first].into_iter().enumerate() {
                let answers = if at == 0 { [left, right] } else { [right, left] };
                let question =
                    judge::request((name, rubric, *max_tokens), experiment.key(), ask.id.as_str(), &text, answers);
                let body = question.to_string();
                let number = crate::ledger::FIRST_ATTEMPT + 1 + u32::try_from(nth).unwrap_or(0);
                words[at] = match word(router, experiment, (ask, class), body, number).await {
                    Ok(word) => word,
                    Err(why) => return unjudged(why),
                };
            }
            let ballot = Ballot { left_first: words[0], right_first: words[1] };
            Said { difference: Some(ballot.side().difference()), ballot: Some(ballot), why: None }
        }
    }
}

async fn word(
    router: &Arc<Router>,
    experiment: &Experiment,
    (asked, class): (&Ask, &str),
    body: String,
    number: u32,
) -> Result<Option<Word>, String> {
    let classes = &router.config().classes;
    let leave = classes.named(class).ok().map(|class| classes.permit_sink(class, Sink::Judge));
    if !matches!(leave, Some(Ok(_))) {
        return Err("data of its class may not go to a judge".into());
    }
    let request = WireRequest::parse(Endpoint::Chat, body.into()).map_err(|error| error.message)?;
    let ask = Ask {
        request: Arc::new(request),
        wish: RouteWish::Auto,
        class: Some(class.to_owned()),
        session: None,
        charge: None,
        looked: crate::look::Looked::default(),
        ..asked.clone()
    };
    let side = router.side(&ask).await.map_err(|_| "the judge may not be asked".to_owned())?;
    let most = side.ceiling().ok_or("the judge has no price, so no limit could be kept");
    let most = if experiment.spec.daily.is_some() { most? } else { most.unwrap_or(NanoDollars::ZERO) };
    let held: Held = experiment.live.take(most).ok_or("today's money is over")?;
    match side.answer_as("judge", number).await {
        Ok(said) => {
            held.settle(said.cost.unwrap_or(NanoDollars::ZERO));
            Ok(Word::read(&said.answer.text))
        }
        Err(SideFailure::Denied(_)) => {
            held.settle(NanoDollars::ZERO);
            Err("the judge may not be asked".into())
        }
        Err(SideFailure::Unwritten(_)) => {
            held.settle(most);
            Err("what the judge said cannot be written down".into())
        }
        Err(SideFailure::Failed { cost, .. }) => {
            held.settle(cost.unwrap_or(most));
            Err("the judge failed".into())
        }
    }
}

//! `[experiments.NAME]`: from what was typed to what it means.

use super::arms::{named_arms, read_arms, read_system};
use super::providers::Findings;
use super::sections::is_embedding;
use super::settings::{ModelSettings, RouterSettings};
use super::spec::ExperimentSpec as Typed;
use policies::{Location, ModelName, Pricing};
use router::compare::{Question, Rule, judge::RUBRIC};
use router::{AgainSpec, ExperimentSpec, PairJudge, Trial};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The margin where none is typed.
const MARGIN: f64 = 0.05;
/// The error where none is typed.
const ERROR: f64 = 0.05;
/// The most tokens of a judge where none are typed.
const JUDGE_TOKENS: u64 = 256;

/// What experiments have to fit to.
pub(super) struct Beside<'a> {
    /// All models.
    pub(super) models: &'a [ModelSettings],
    /// `[router]`
    pub(super) router: &'a RouterSettings,
    /// Where files are named from.
    pub(super) folder: &'a Path,
    /// `[learning.implicit]`
    pub(super) implicit: Option<AgainSpec>,
    /// Heads are tried on parts of the sessions.
    pub(super) tries_heads: bool,
}

pub(super) fn read_experiments(
    specs: &BTreeMap<String, Typed>,
    beside: &Beside<'_>,
    found: &mut Findings,
) -> Vec<ExperimentSpec> {
    let experiments: Vec<ExperimentSpec> = specs
        .iter()
        .filter_map(|(name, typed)| {
            let mut wrong = Vec::new();
            let read = read(name, typed, beside, &mut wrong);
            found.problems.extend(wrong.into_iter().map(|what| format!("`experiments.{name}`: {what}")));
            read
        })
        .collect();
    let splits = experiments.iter().filter(|spec| matches!(spec.kind, Trial::Split { .. })).count();
    if splits > 1 {
        found.problems.push("`experiments`: one split at a time, or nobody could tell which of them did it".into());
    }
    if splits == 1 && experiments.iter().any(|spec| spec.act.is_some()) {
        found
            .problems
            .push("`experiments`: `act = true` would change what a split compares: one of them at a time".into());
    }
    experiments
}

fn read(name: &str, typed: &Typed, beside: &Beside<'_>, wrong: &mut Vec<String>) -> Option<ExperimentSpec> {
    let models = beside.models;
    let question = Question {
        margin: typed.margin.map_or(MARGIN, |share| f64::from(share.0)),
        error: typed.error.map_or(ERROR, |share| f64::from(share.0)),
    };
    if !(0.001..=0.5).contains(&question.margin) {
        wrong.push("`margin` must lie between 0.1% and 50%".into());
    }
    if !(0.000_1..=0.5).contains(&question.error) {
        wrong.push("`error` must lie between 0.01% and 50%".into());
    }
    let Some(share) = typed.share.map(|share| share.0) else {
        wrong.push("`share` is missing".into());
        return None;
    };
    let is_split = match typed.kind.as_str() {
        "shadow" => false,
        "split" => true,
        "interleave" => {
            wrong.push("`kind`: `interleave` is for evaluation sets; `sluice compare` does it on a file".into());
            return None;
        }
        _ => {
            wrong.push("`kind` must be `shadow` or `split`".into());
            return None;
        }
    };
    let only_shadow =
        typed.judge.is_some() || typed.max_usd_per_day.is_some() || typed.act || typed.opens_per_day.is_some();
    if is_split && only_shadow {
        wrong.push("`judge`, `max_usd_per_day`, `act` and `opens_per_day` go with `kind = \"shadow\"`".into());
    }
    if !is_split && (typed.by_user || typed.ramp.is_some() || typed.ramp_from.is_some() || typed.labels.is_some()) {
        wrong.push("`by_user`, `ramp`, `ramp_from` and `labels` go with `kind = \"split\"`".into());
    }
    if !is_split && named_arms(typed) {
        let what = "`right_system` and thresholds go with `kind = \"split\"`: in a shadow the client's answer is made as \
                    without it, and two thresholds differ only in who answers";
        wrong.push(what.into());
    }
    let mut model = |name: &str, key: &str| -> Option<ModelName> {
        let known = models.iter().find(|model| model.name.as_str() == name);
        if known.is_none() {
            wrong.push(format!("`{key}`: no model `{name}`"));
        }
        if is_embedding(models, name) {
            wrong.push(format!("`{key}`: model `{name}` makes embeddings and answers nothing"));
        }
        known.map(|known| known.name.clone())
    };
    let sides = match (&typed.left, &typed.right) {
        (None, None) => None,
        (Some(left), Some(right)) => model(left, "left").zip(model(right, "right")).map(|(left, right)| [left, right]),
        (Some(_), None) | (None, Some(_)) => {
            wrong.push("`left` and `right` go together, one of them is missing".into());
            None
        }
    };
    if let Some([left, right]) = &sides {
        if left == right && typed.left_system.is_none() && typed.right_system.is_none() {
            wrong.push(format!("`{left}` would be compared with itself"));
        }
        let place = |name: &ModelName| models.iter().find(|model| model.name == *name).map(|model| model.location);
        if typed.act && (place(left), place(right)) != (Some(Location::Local), Some(Location::Hosted)) {
            wrong.push("`act` opens slices to the local side: `left` has to be local and `right` hosted".into());
        }
    }
    let judge = judge(typed, is_split, models, wrong)?;
    if typed.act && typed.left_system.is_some() {
        wrong.push("`act` opens slices to the local side as it is, not under `left_system`".into());
    }
    let (kind, system) = if is_split {
        let arms = read_arms(typed, sides.as_ref(), beside, wrong);
        (Trial::Split { left: f64::from(share), arms, by_user: typed.by_user, ramp: ramp(typed, wrong) }, None)
    } else {
        (Trial::Shadow(share), read_system("left_system", typed.left_system.as_deref(), beside.folder, wrong))
    };
    if typed.act && judge == PairJudge::Nobody {
        wrong.push("`act` needs a `judge`".into());
    }
    Some(ExperimentSpec {
        name: name.to_owned(),
        kind,
        sides,
        judge,
        question,
        daily: typed.max_usd_per_day.map(|dollars| dollars.0),
        act: typed.act.then(|| typed.opens_per_day.unwrap_or(1)),
        system,
        quiet: quiet(typed, beside.implicit, wrong),
    })
}

/// How long nobody may have asked again, where that counts.
fn quiet(typed: &Typed, implicit: Option<AgainSpec>, wrong: &mut Vec<String>) -> Option<Duration> {
    let names = typed.labels.as_ref()?;
    for name in names.0.iter().filter(|name| !["feedback", "implicit"].contains(&name.as_str())) {
        wrong.push(format!("`labels`: `{name}` cannot count: known are feedback, implicit"));
    }
    if !names.0.iter().any(|name| name == "feedback") {
        wrong.push("`labels`: `feedback` always counts: a person's word is the measure".into());
    }
    let wanted = names.0.iter().any(|name| name == "implicit");
    if wanted && implicit.is_none() {
        wrong.push("`labels`: `implicit` needs the section `[learning.implicit]`".into());
    }
    implicit.filter(|_| wanted).map(|spec| spec.window)
}

fn ramp(typed: &Typed, wrong: &mut Vec<String>) -> Option<(jiff::Timestamp, Duration)> {
    match (&typed.ramp_from, typed.ramp) {
        (None, None) => None,
        (Some(from), Some(over)) => match from.parse() {
            Ok(from) => Some((from, over.0)),
            Err(_) => {
                wrong.push("`ramp_from` is not a time in RFC 3339".into());
                None
            }
        },
        (Some(_), None) | (None, Some(_)) => {
            wrong.push("`ramp` and `ramp_from` go together, one of them is missing".into());
            None
        }
    }
}

fn judge(typed: &Typed, is_split: bool, models: &[ModelSettings], wrong: &mut Vec<String>) -> Option<PairJudge> {
    let word = typed.judge.as_deref().unwrap_or(if is_split { "people" } else { "embedding" });
    let named = word.strip_prefix("model:");
    if named.is_none() && (typed.rubric.is_some() || typed.judge_max_tokens.is_some()) {
        wrong.push("`rubric` and `judge_max_tokens` go with `judge = \"model:NAME\"`".into());
    }
    match (word, named) {
        ("people", _) => Some(PairJudge::Nobody),
        ("embedding", _) => Some(PairJudge::Embedding),
        (_, Some(name)) => {
            let Some(model) = models.iter().find(|model| model.name.as_str() == name) else {
                wrong.push(format!("`judge`: no model `{name}`"));
                return None;
            };
            if is_embedding(models, name) {
                wrong.push(format!("`judge`: model `{name}` makes embeddings and answers nothing"));
            }
            if typed.max_usd_per_day.is_some() && model.pricing == Pricing::Unpriced {
                wrong.push(format!("`judge`: `{name}` has no price, so that `max_usd_per_day` could not be held"));
            }
            Some(PairJudge::Model {
                name: name.to_owned(),
                rubric: typed.rubric.as_deref().unwrap_or(RUBRIC).into(),
                max_tokens: typed.judge_max_tokens.unwrap_or(JUDGE_TOKENS).max(1),
            })
        }
        (_, None) => match Rule::named(word).filter(|rule| *rule != Rule::Tool) {
            Some(rule) => Some(PairJudge::Rule(rule)),
            None => {
                let known = "exact, normalised, numeric, schema, embedding, people or model:NAME";
                wrong.push(format!("`judge`: one of {known}"));
                None
            }
        },
    }
}

//! `[experiments.NAME]`: from what was typed to what it means.

use super::providers::Findings;
use super::settings::{ModelSettings, RouterSettings};
use super::spec::ExperimentSpec as Typed;
use policies::{Location, ModelName, Pricing};
use router::compare::{Question, Rule, judge::RUBRIC};
use router::{ExperimentSpec, PairJudge, Trial};
use std::collections::BTreeMap;

/// The margin where none is typed.
const MARGIN: f64 = 0.05;
/// The error where none is typed.
const ERROR: f64 = 0.05;
/// The most tokens of a judge where none are typed.
const JUDGE_TOKENS: u64 = 256;

pub(super) fn read_experiments(
    specs: &BTreeMap<String, Typed>,
    models: &[ModelSettings],
    router: &RouterSettings,
    found: &mut Findings,
) -> Vec<ExperimentSpec> {
    let experiments: Vec<ExperimentSpec> = specs
        .iter()
        .filter_map(|(name, typed)| {
            let mut wrong = Vec::new();
            let read = read(name, typed, models, &mut wrong);
            found.problems.extend(wrong.into_iter().map(|what| format!("`experiments.{name}`: {what}")));
            let kind = &read.as_ref()?.kind;
            if matches!(kind, Trial::Split { .. }) && (router.local.is_empty() || router.hosted.is_empty()) {
                found.problems.push(format!("`experiments.{name}`: a split needs models on both sides of `[router]`"));
            }
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

fn read(name: &str, typed: &Typed, models: &[ModelSettings], wrong: &mut Vec<String>) -> Option<ExperimentSpec> {
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
    let kind = match typed.kind.as_str() {
        "shadow" => Trial::Shadow(share),
        "split" => Trial::Split { local: f64::from(share), by_user: typed.by_user, ramp: ramp(typed, wrong) },
        "interleave" => {
            wrong.push("`kind`: `interleave` is for evaluation sets; `sluice compare` does it on a file".into());
            return None;
        }
        _ => {
            wrong.push("`kind` must be `shadow` or `split`".into());
            return None;
        }
    };
    let is_split = matches!(kind, Trial::Split { .. });
    let only_shadow = typed.left.is_some()
        || typed.right.is_some()
        || typed.judge.is_some()
        || typed.max_usd_per_day.is_some()
        || typed.act
        || typed.opens_per_day.is_some();
    if is_split && only_shadow {
        let what = "`left`, `right`, `judge`, `max_usd_per_day`, `act` and `opens_per_day` go with `kind = \"shadow\"`";
        wrong.push(what.into());
    }
    if !is_split && (typed.by_user || typed.ramp.is_some() || typed.ramp_from.is_some()) {
        wrong.push("`by_user`, `ramp` and `ramp_from` go with `kind = \"split\"`".into());
    }
    let mut model = |name: &str, key: &str| -> Option<ModelName> {
        let known = models.iter().find(|model| model.name.as_str() == name);
        if known.is_none() {
            wrong.push(format!("`{key}`: no model `{name}`"));
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
        if left == right {
            wrong.push(format!("`{left}` would be compared with itself"));
        }
        let place = |name: &ModelName| models.iter().find(|model| model.name == *name).map(|model| model.location);
        if typed.act && (place(left), place(right)) != (Some(Location::Local), Some(Location::Hosted)) {
            wrong.push("`act` opens slices to the local side: `left` has to be local and `right` hosted".into());
        }
    }
    let judge = judge(typed, is_split, models, wrong)?;
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
    })
}

fn ramp(typed: &Typed, wrong: &mut Vec<String>) -> Option<(jiff::Timestamp, std::time::Duration)> {
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

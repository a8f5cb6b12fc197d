//! `/api/experiments`: what experiments have shown, blind votes, openings by hand, and the pairs as JSON Lines.
//!
//! **Blind.** A pair to vote on is shown as A and B in an order that only the ledger's key and the pair decide, without
//! models, scores and the judge's word. The vote names A or B; which side that was is worked out here.
//!
//! **What is not here.** Experiments are made in the configuration: an API that changed what is answered twice, and paid for,
//! would be a second configuration.

use super::Answered;
use super::admin::{Shared, ask, refuse, shown};
use super::fault::Fault;
use super::sign_in::Operator;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use policies::{Location, RequestId};
use router::compare::judge::left_comes_first;
use router::compare::{Look, Side, Slice};
use router::ledger::{ArmAsked, ArmFigures, LedgerError, PairRecord, PairRow, Step, Texts, Vote};
use router::{ArmGoal, ArmSpec, Experiment, ExperimentSpec, SystemPrompt, Trial, assess, split};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The longest name of a voter, in bytes.
const LONGEST_VOTER: usize = 128;
/// Pairs that are listed with an experiment, the latest.
const LISTED: usize = 50;

fn time(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map(|at| at.to_string()).unwrap_or_default()
}

fn micros(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn find(app: &Shared, name: &str) -> Result<Arc<Experiment>, Fault> {
    let router = app.router.load();
    let found = router.config().experiments.iter().find(|experiment| experiment.spec.name == name);
    found.cloned().ok_or_else(|| Fault::unknown_id("experiment"))
}

/// What is configured and what it cost.
fn head(experiment: &Experiment) -> Value {
    let spec = &experiment.spec;
    let (kind, share) = match &spec.kind {
        Trial::Shadow(share) => ("shadow", f64::from(*share)),
        Trial::Split { left, .. } => ("split", *left),
    };
    let [left, right] = match (&spec.kind, &spec.sides) {
        (Trial::Split { arms, .. }, _) => arms.each_ref().map(ArmSpec::what),
        (Trial::Shadow(_), Some(sides)) => sides.each_ref().map(ToString::to_string),
        (Trial::Shadow(_), None) => [Location::Local, Location::Hosted].map(|side| side.word().to_owned()),
    };
    json!({
        "name": spec.name, "kind": kind, "share": share, "left": left, "right": right, "judge": spec.judge.name(),
        "question": spec.question, "max_usd_per_day": spec.daily,
        "spent_today_usd": experiment.live().spent_today(), "act": spec.act.is_some(),
        "opened": experiment.live().opened(),
        "left_system": spec.system.as_ref().map(SystemPrompt::digest),
    })
}

/// An experiment with what it has shown.
fn told(app: &super::app::App, experiment: &Experiment, whole: bool) -> Result<Value, LedgerError> {
    let spec = &experiment.spec;
    let mut told = head(experiment);
    if let Trial::Split { left, arms, .. } = &spec.kind {
        let quiet = spec.quiet.map(|window| jiff::Timestamp::now().as_microsecond() - micros(window));
        told["counts"] = json!(if spec.quiet.is_some() { vec!["feedback", "implicit"] } else { vec!["feedback"] });
        for (name, value) in arms_told(app, spec, (*left, arms), quiet)? {
            told[name] = value;
        }
        return Ok(told);
    }
    let rows = app.ledger.pairs_of(&spec.name)?;
    let assessment = assess(spec.question, spec.judge.needs_trust(), &rows);
    let summary = &assessment.summary;
    told["verdict"] = json!(summary.verdict);
    told["recorded"] = json!(assessment.recorded);
    told["whole"] = json!(summary.whole);
    told["slices"] = json!(summary.slices);
    told["judge_trust"] = json!(summary.judge);
    told["reopened"] = match &assessment.reopened {
        Some(reopened) => json!({"time": time(reopened.at_us), "why": reopened.why}),
        None => Value::Null,
    };
    if whole {
        told["course"] = course(&rows, &summary.course, summary.whole.pairs);
        let steps = app.ledger.steps_of(&spec.name)?;
        let steps = steps.iter().map(|step| {
            json!({"time": time(step.at_us), "slice": step.slice, "opened": step.opened, "by": step.by, "why": step.why})
        });
        told["steps"] = steps.collect();
        let mut pairs = Vec::new();
        for row in rows.iter().rev().take(LISTED) {
            pairs.push(pair(app, row)?);
        }
        told["pairs"] = Value::Array(pairs);
    }
    Ok(told)
}

/// Both arms of a split: what they do, who was in them, and what was said of their answers. The verdict is on what each arm
/// itself served; beside it stands that on all that was put in it.
fn arms_told(
    app: &super::app::App,
    spec: &ExperimentSpec,
    (share, arms): (f64, &[ArmSpec; 2]),
    quiet: Option<i64>,
) -> Result<[(&'static str, Value); 6], LedgerError> {
    let whats = arms.each_ref().map(ArmSpec::what);
    let [left_what, right_what] = &whats;
    let figures = |arm: Side, spec_of: &ArmSpec, what: &str| {
        app.ledger.arm_figures(&ArmAsked { experiment: &spec.name, arm, what, own: spec_of.own() }, quiet)
    };
    let [left_does, right_does] = arms;
    let left = figures(Side::Left, left_does, left_what)?;
    let right = figures(Side::Right, right_does, right_what)?;
    let fallen = app.ledger.sessions_of(&spec.name, [left_what, right_what])?;
    let [left_sessions, right_sessions] = fallen.sessions;
    let judged = |left: &[f64], right: &[f64]| {
        let (verdict, interval) = split(spec.question, left, right);
        (json!(verdict), json!(interval), json!({"left": left.len(), "right": right.len()}))
    };
    let (verdict, interval, labels) = judged(&left.as_served(), &right.as_served());
    let intended = judged(&left.intended(), &right.intended());
    let shown = |does: &ArmSpec, share: f64, sessions: u64, arm: &ArmFigures| {
        let (hosted_share, cut) = match does.goal {
            Some(ArmGoal::Share(share)) => (Some(as_written(share.into())), None),
            Some(ArmGoal::Cut(cut)) => (None, Some(as_written(cut.into()))),
            None => (None, None),
        };
        json!({
            "side": does.side.map(Location::word), "model": does.model,
            "system": does.system.as_ref().map(SystemPrompt::digest), "hosted_share": hosted_share, "cut": cut,
            "share": as_written(share), "sessions": sessions, "requests": arm.requests, "answered": arm.answered,
            "served": arm.served, "hosted": arm.hosted, "cost_usd": arm.cost,
        })
    };
    let [left_arm, right_arm] =
        [shown(left_does, share, left_sessions, &left), shown(right_does, 1.0 - share, right_sessions, &right)];
    Ok([
        ("verdict", verdict),
        ("interval", interval),
        ("labels", labels),
        ("intention_to_treat", json!({"verdict": intended.0, "interval": intended.1, "labels": intended.2})),
        ("arms", json!({"left": left_arm, "right": right_arm})),
        ("draw", json!(fallen.test())),
    ])
}

/// A share as it was written: a float of 32 bits would have digits that nobody wrote.
fn as_written(share: f64) -> f64 {
    (share * 1e6).round() / 1e6
}

/// The course of the interval, with the time of the pair after which each look was taken. The pairs of this era are the last
/// ones that count.
fn course(rows: &[PairRow], looks: &[Look], pairs: u64) -> Value {
    let counts = |row: &&PairRow| row.pair.difference.is_some() || row.human.is_some();
    let times: Vec<i64> = rows.iter().filter(counts).map(|row| row.pair.at_us).collect();
    let before = times.len().saturating_sub(usize::try_from(pairs).unwrap_or(usize::MAX));
    let looks = looks.iter().map(|look| {
        let at = usize::try_from(look.pairs).ok().and_then(|pairs| times.get(before + pairs.checked_sub(1)?));
        json!({"pairs": look.pairs, "time": at.map(|at| time(*at)), "mean": look.mean, "low": look.low, "high": look.high})
    });
    looks.collect()
}

/// The texts of a pair, where the page may tell them.
fn texts(app: &super::app::App, pair: &PairRecord) -> Result<Option<Texts>, LedgerError> {
    match super::evidence::may_show(app, pair.request.as_str())? {
        true => app.ledger.texts_of(pair),
        false => Ok(None),
    }
}

/// A pair with its texts.
fn pair(app: &super::app::App, row: &PairRow) -> Result<Value, LedgerError> {
    let pair = &row.pair;
    let texts = texts(app, pair)?;
    let (prompt, [left, right]) = match texts {
        Some(texts) => {
            let prompt = serde_json::from_str::<Value>(&texts.prompt).unwrap_or(Value::String(texts.prompt));
            (prompt, texts.answers.map(Value::String))
        }
        None => (Value::Null, [Value::Null, Value::Null]),
    };
    Ok(json!({
        "request_id": pair.request, "experiment": pair.experiment, "time": time(pair.at_us), "prompt": prompt,
        "left_model": pair.left, "right_model": pair.right, "left": left, "right": right,
        "shadow": pair.asked, "version": pair.version, "slices": pair.slices, "difference": pair.difference,
        "ballot": pair.ballot, "human": row.human, "unjudged": pair.why,
    }))
}

/// `GET /api/experiments`
pub(super) async fn list(State(app): State<Shared>) -> Answered {
    let listed = ask(&app, |app| {
        let router = app.router.load();
        let experiments = router.config().experiments.iter().map(|experiment| told(app, experiment, false));
        let experiments: Vec<Value> = experiments.collect::<Result<_, _>>()?;
        let mut shadows = app.ledger.shadows(50)?;
        for shadow in &mut shadows {
            if !super::evidence::may_show(app, shadow["request_id"].as_str().unwrap_or_default())? {
                for text in ["prompt", "served_text", "shadow_text"] {
                    shadow[text] = Value::Null;
                }
            }
        }
        Ok(json!({"experiments": experiments, "shadows": shadows}))
    });
    shown(listed.await)
}

/// `GET /api/experiments/{name}`
pub(super) async fn one(State(app): State<Shared>, Path(name): Path<String>) -> Answered {
    let one = async {
        let experiment = find(&app, &name)?;
        ask(&app, move |app| told(app, &experiment, true)).await
    };
    shown(one.await)
}

/// `GET /api/experiments/{name}/export`: a pair a line.
pub(super) async fn export(State(app): State<Shared>, Path(name): Path<String>) -> Answered {
    let lines = async {
        find(&app, &name)?;
        ask(&app, move |app| {
            let rows = app.ledger.pairs_of(&name)?;
            let mut text = String::new();
            for row in &rows {
                text.push_str(&pair(app, row)?.to_string());
                text.push('\n');
            }
            Ok(text)
        })
        .await
    };
    match lines.await {
        Ok(text) => {
            let mut response = Response::new(Body::from(text));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
            response
        }
        Err(fault) => refuse(fault),
    }
}

/// `GET /api/experiments/{name}/votes`: a pair that nobody has voted on, blind.
pub(super) async fn ballot(State(app): State<Shared>, Path(name): Path<String>) -> Answered {
    let ballot = async {
        let experiment = find(&app, &name)?;
        ask(&app, move |app| {
            let rows = app.ledger.pairs_of(&name)?;
            let open: Vec<&PairRow> =
                rows.iter().filter(|row| row.human.is_none() && row.pair.version.is_some()).collect();
            for row in &open {
                let Some(texts) = texts(app, &row.pair)? else { continue };
                let [left, right] = texts.answers;
                if left.trim() == right.trim() {
                    continue;
                }
                let first = left_comes_first(experiment.key(), row.pair.request.as_str());
                let (a, b) = if first { (left, right) } else { (right, left) };
                let prompt = serde_json::from_str::<Value>(&texts.prompt).unwrap_or(Value::String(texts.prompt));
                return Ok(
                    json!({"request_id": row.pair.request, "prompt": prompt, "a": a, "b": b, "open": open.len()}),
                );
            }
            Ok(json!({"request_id": null, "open": 0}))
        })
        .await
    };
    shown(ballot.await)
}

/// The body of a vote.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Voted {
    request_id: String,
    vote: Choice,
    #[serde(default)]
    voter: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Choice {
    A,
    B,
    Tie,
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::invalid(format!("the body cannot be read: {error}"), None))
}

/// `POST /api/experiments/{name}/votes`
pub(super) async fn vote(
    State(app): State<Shared>,
    Path(name): Path<String>,
    Extension(operator): Extension<Operator>,
    body: Bytes,
) -> Answered {
    let voted = async {
        let experiment = find(&app, &name)?;
        let Voted { request_id, vote, voter } = read(&body)?;
        let voter = voter.unwrap_or_else(|| "admin".into());
        if voter.is_empty() || voter.len() > LONGEST_VOTER {
            return Err(Fault::invalid(format!("`voter` must have 1 to {LONGEST_VOTER} bytes"), Some("voter")));
        }
        // Who is signed in votes as nobody else.
        let voter = operator.name().map_or(voter, ToOwned::to_owned);
        let (wanted, of) = (request_id.clone(), name.clone());
        let known =
            ask(&app, move |app| Ok(app.ledger.pairs_of(&of)?.iter().any(|row| row.pair.request.as_str() == wanted)));
        if !known.await? {
            return Err(Fault::unknown_id("pair"));
        }
        let first = left_comes_first(experiment.key(), &request_id);
        let side = match (vote, first) {
            (Choice::A, true) | (Choice::B, false) => Side::Left,
            (Choice::B, true) | (Choice::A, false) => Side::Right,
            (Choice::Tie, _) => Side::Tie,
        };
        let at_us = jiff::Timestamp::now().as_microsecond();
        let request = RequestId::from(request_id.clone());
        let kept = app.ledger.vote(Vote { experiment: name, request, voter, at_us, side }).await;
        kept.map_err(|_| Fault::ledger())?;
        Ok(json!({"request_id": request_id, "recorded": true}))
    };
    shown(voted.await)
}

/// The body of an opening or a closing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    experiment: String,
    slice: Slice,
    opened: bool,
    #[serde(default)]
    why: Option<String>,
}

/// `POST /api/experiments`: opens or closes a slice by hand; this is also how a step is undone.
pub(super) async fn step(State(app): State<Shared>, Extension(operator): Extension<Operator>, body: Bytes) -> Answered {
    let stepped = async {
        let Wanted { experiment, slice, opened, why } = read(&body)?;
        let experiment = find(&app, &experiment)?;
        if experiment.spec.act.is_none() {
            let what = "this experiment does not act: set `act = true` in its section";
            return Err(Fault::invalid(what, Some("experiment")));
        }
        let at_us = jiff::Timestamp::now().as_microsecond();
        let why = why.unwrap_or_else(|| "by hand".into());
        let why = operator.name().map_or(why.clone(), |name| format!("{why} ({name})"));
        let step = Step { experiment: experiment.spec.name.clone(), at_us, slice, opened, by: "person", why };
        experiment.step(&app.ledger, step).await.map_err(|_| Fault::ledger())?;
        Ok(json!({"experiment": experiment.spec.name, "opened": experiment.live().opened()}))
    };
    shown(stepped.await)
}

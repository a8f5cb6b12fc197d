//! What is learnt from one's own traffic: the risk target, and how new heads are rolled out.

use super::defaults;
use super::providers::Findings;
use super::settings::RouterSettings;
use super::spec::{ImplicitSpec, RollOutSpec, RouterSpec};
use policies::Unsure;
use router::compare::Question;
use router::rollout::Bounds;
use router::{AgainSpec, REASK, REGENERATE, RiskGoal};
use std::time::Duration;

/// Whose word on answers can be compared.
const LABELS: [&str; 3] = ["feedback", "shadow", "shadow-model"];

/// Whether shadows' labels count, and what cannot count.
fn risk_labels(spec: &RouterSpec, found: &mut Findings) -> bool {
    let Some(names) = &spec.risk_labels else { return false };
    for name in &names.0 {
        let why = match name.as_str() {
            "feedback" | "shadow" => continue,
            "cascade" => {
                "a second look is there only for requests near a threshold, and is a guess itself: no risk can be shown by it"
            }
            "shadow-model" => "a model's word is not known to agree with people's: no risk can be shown by it",
            REASK | REGENERATE | "implicit" => "what a client did next is no word of his: no risk can be shown by it",
            _ => "known are feedback, shadow",
        };
        found.problems.push(format!("`router.risk_labels`: `{name}` cannot count: {why}"));
    }
    if !names.0.iter().any(|name| name == "feedback") {
        found.problems.push("`router.risk_labels`: `feedback` always counts: a person's word is the measure".into());
    }
    names.0.iter().any(|name| name == "shadow")
}

/// Says what makes shadows' labels an uneven sample.
pub(super) fn check_shadows(router: &RouterSettings, experiments: &[router::ExperimentSpec], found: &mut Findings) {
    if !router.risk.is_some_and(|risk| risk.shadows) {
        return;
    }
    let mut shadows = experiments.iter().filter(|spec| matches!(spec.kind, router::Trial::Shadow(_)));
    if shadows.clone().next().is_none() {
        found.warnings.push("`router.risk_labels` counts shadows, and no experiment makes any".into());
    }
    if let Some(capped) = shadows.find(|spec| spec.daily.is_some()) {
        found.warnings.push(format!(
            "`router.risk_labels` counts shadows, and `experiments.{}.max_usd_per_day` ends those of local answers first: what \
             remains is no even sample of all requests on such a day",
            capped.name
        ));
    }
}

/// Reads `[learning.implicit]`.
pub(super) fn read_implicit(spec: Option<&ImplicitSpec>, found: &mut Findings) -> Option<AgainSpec> {
    let spec = spec?;
    let mut wrong = |what: String| found.problems.push(format!("`learning.implicit{what}"));
    let likeness = spec.likeness.map_or(defaults::IMPLICIT_LIKENESS, |share| share.0);
    if !(0.3..=1.0).contains(&likeness) {
        wrong(".likeness` must lie between 30% and 100%: below that any two questions of one subject are alike".into());
    }
    let window = spec.window.map_or(defaults::IMPLICIT_WINDOW, |time| time.0);
    if window.is_zero() || window > Duration::from_secs(86_400) {
        wrong(".window` must be above 0 and at most 1 day".into());
    }
    let names = spec.signals.as_ref().map(|names| names.0.as_slice());
    for name in names.unwrap_or_default().iter().filter(|name| ![REASK, REGENERATE].contains(&name.as_str())) {
        wrong(format!(".signals`: `{name}` is unknown; known are {REASK}, {REGENERATE}"));
    }
    let wanted = |signal: &str| names.is_none_or(|names| names.iter().any(|name| name == signal));
    let (reask, regenerate) = (wanted(REASK), wanted(REGENERATE));
    if !reask && !regenerate {
        wrong(".signals` names nothing: leave the section out".into());
    }
    Some(AgainSpec { window, likeness, reask, regenerate })
}

/// Reads `[learning.roll_out]`.
pub(super) fn read_roll_out(
    spec: Option<&RollOutSpec>,
    router: &RouterSettings,
    found: &mut Findings,
) -> Option<Bounds> {
    let spec = spec?;
    let mut wrong = |what: String| found.problems.push(format!("`learning.roll_out{what}"));
    let share = |typed: Option<super::units::Share>, default: f32| typed.map_or(default, |share| share.0);
    let part = share(spec.part, defaults::ROLL_OUT_PART);
    let margin = f64::from(share(spec.margin, defaults::ROLL_OUT_MARGIN));
    let error = f64::from(share(spec.error, defaults::ROLL_OUT_ERROR));
    if !(0.001..=0.9).contains(&part) {
        wrong(".part` must lie between 0.1% and 90%: both heads are needed to compare them".into());
    }
    let watch = share(spec.watch, defaults::ROLL_OUT_WATCH);
    let train = spec.train.map(|time| time.0);
    if train.is_some_and(|every| every < Duration::from_secs(1)) {
        wrong(".train` must be at least 1 second".into());
    }
    if watch > 0.5 {
        wrong(".watch` must be at most 50%: most sessions are the promoted head's".into());
    }
    if !(0.001..=0.5).contains(&margin) {
        wrong(".margin` must lie between 0.1% and 50%".into());
    }
    if !(0.000_1..=0.5).contains(&error) {
        wrong(".error` must lie between 0.01% and 50%".into());
    }
    let labels = spec
        .labels
        .as_ref()
        .map_or_else(|| LABELS[..2].iter().map(ToString::to_string).collect(), |names| names.0.clone());
    for label in labels.iter().filter(|label| !LABELS.contains(&label.as_str())) {
        let why = match label.as_str() {
            "cascade" => "a second look speaks only of answers that one of the heads was unsure of".to_owned(),
            REASK | REGENERATE | "implicit" => "it is only ever a bad mark, so it compares nothing".to_owned(),
            _ => format!("known are {}", LABELS.join(", ")),
        };
        wrong(format!(".labels`: `{label}` cannot count: {why}"));
    }
    if labels.is_empty() {
        wrong(".labels` is empty: nothing could ever be shown".into());
    }
    if router.classifier != "probe" {
        wrong(format!("` is for `classifier = \"probe\"`, not for `{}`", router.classifier));
    }
    if router.risk.is_some() {
        wrong("` and `router.risk`: a head without labels of its own would send all of its part hosted".into());
    }
    let longest = spec.longest.map_or(defaults::ROLL_OUT_LONGEST, |time| time.0);
    let least = spec.least_pairs.unwrap_or(defaults::ROLL_OUT_LEAST);
    Some(Bounds { part, question: Question { margin, error }, least, longest, labels, watch, train })
}

/// Reads `[router] risk` and what belongs to it.
pub(super) fn read_risk(spec: &RouterSpec, found: &mut Findings) -> Option<RiskGoal> {
    let Some(target) = spec.risk.map(|share| share.0) else {
        if spec.risk_labels.is_some() {
            found
                .problems
                .push("`router.risk_labels` says which labels count for `router.risk`, which is not set".into());
        }
        if spec.risk_confidence.is_some() {
            found.problems.push("`router.risk_confidence` is the confidence of `router.risk`, which is not set".into());
        }
        return None;
    };
    let confidence = spec.risk_confidence.map_or(defaults::RISK_CONFIDENCE, |share| share.0);
    if target <= 0.0 || target >= 1.0 {
        found.problems.push("`router.risk` must be above 0% and below 100%".into());
    }
    if !(0.5..1.0).contains(&confidence) {
        found.problems.push("`router.risk_confidence` must be at least 50% and below 100%".into());
    }
    let drawn = spec.risk_labels.as_ref().is_some_and(|names| names.0.iter().any(|name| name == "shadow"));
    if !drawn && spec.exploration.is_none_or(|share| share.0 <= 0.0) {
        found.warnings.push(
            "`router.risk` with `router.exploration` at 0%: everything that can go hosted does, until the ledger has labels \
             of local answers, and without exploration none come in"
                .into(),
        );
    }
    if spec.unsure == Some(Unsure::Local) {
        let text =
            "`router.unsure` is `local`: what nobody judged stays local, and `router.risk` says nothing about it";
        found.warnings.push(text.into());
    }
    let shadows = risk_labels(spec, found);
    Some(RiskGoal { target, confidence, shadows })
}

#[cfg(test)]
mod tests {
    use super::super::units::Share;
    use super::*;

    fn read(spec: RouterSpec) -> (Option<RiskGoal>, Findings) {
        let mut found = Findings::default();
        (read_risk(&spec, &mut found), found)
    }

    #[test]
    fn a_risk_has_a_confidence() {
        let spec = RouterSpec { risk: Some(Share(0.05)), exploration: Some(Share(0.02)), ..RouterSpec::default() };
        let (goal, found) = read(spec.clone());
        assert_eq!(goal, Some(RiskGoal { target: 0.05, confidence: 0.9, shadows: false }));
        assert!(found.problems.is_empty() && found.warnings.is_empty(), "{found:?}");
        let (_, found) = read(RouterSpec { risk: Some(Share(0.0)), risk_confidence: Some(Share(1.0)), ..spec });
        assert_eq!(found.problems.len(), 2, "{found:?}");
        let (goal, found) = read(RouterSpec { risk_confidence: Some(Share(0.9)), ..RouterSpec::default() });
        assert!(goal.is_none() && found.problems.len() == 1);
    }

    #[test]
    fn a_risk_that_can_never_be_shown_is_warned_of() {
        let (_, found) = read(RouterSpec { risk: Some(Share(0.05)), ..RouterSpec::default() });
        assert!(found.warnings[0].contains("exploration"), "{found:?}");
    }
}

//! A decision in sentences that a person understands.
//!
//! What decided, what moved the judgement most, who judged, what was not read, and what would have changed the outcome.
//! Made from the decision alone, so that `POST /v1/route`, `sluice explain` and the record say the same; where nothing was
//! weighed there is nothing to tell but one fixed sentence.

use crate::compare;
use crate::ledger::Placed;
use policies::{Considered, Constraint, JudgedBy, Location, Reason, Refusal, RoutingDecision, Signals, Steering};
use std::borrow::Cow;

/// Features that are named.
const NAMED: usize = 3;

type Sentence = Cow<'static, str>;

/// Tells a decision or a refusal.
pub(super) fn told(outcome: &Result<RoutingDecision, Box<Refusal>>) -> Vec<Sentence> {
    let mut sentences = Vec::new();
    match outcome {
        Ok(decision) => {
            sentences.push(reason(decision));
            if let Some(signals) = &decision.signals {
                judged(signals, &mut sentences);
                sentences.extend(turning_point(decision));
            }
            struck(&decision.considered, &mut sentences);
        }
        Err(refusal) if refusal.by == Constraint::RateLimit => {
            sentences.push(format!("Nobody was considered: {}.", refusal.message).into());
        }
        Err(refusal) => {
            sentences.push(
                format!("Nobody is left, and `{}` speaks for it: {}.", refusal.by.word(), refusal.message).into(),
            );
            struck(&refusal.considered, &mut sentences);
        }
    }
    sentences
}

fn side(location: Location) -> &'static str {
    match location {
        Location::Local => "the local model",
        Location::Hosted => "the hosted model",
    }
}

/// What put the first target first.
fn reason(decision: &RoutingDecision) -> Sentence {
    let first = decision.first_side().unwrap_or(Location::Hosted);
    let need = decision.signals.as_ref().and_then(|signals| signals.need);
    match (decision.reason, need) {
        (Reason::Classifier, Some(need)) => weighed(need, decision).into(),
        (Reason::Classifier | Reason::Unsure, _) => {
            format!("Nobody judged, and `[router] unsure` says that {} goes first.", side(first)).into()
        }
        (Reason::Session, _) => format!("The conversation is with {}, and stays there.", side(first)).into(),
        (Reason::ToolLoop, _) => {
            "The same call of a tool has failed again and again: the strong model goes first.".into()
        }
        (Reason::Exploration, _) => {
            format!("The request was drawn to explore: {} goes first, against the judgement.", side(first)).into()
        }
        (Reason::Holdout, _) => {
            "The session is held out of routing, to measure what routing saves: the hosted model goes first.".into()
        }
        (Reason::Experiment, _) => {
            format!("An experiment, or what one has shown, puts the request on one side: {} goes first.", side(first))
                .into()
        }
        (Reason::Pinned, _) => "The client named the model.".into(),
        (Reason::Header, _) => "`x-sluice-route` leaves one side.".into(),
        (Reason::Rule, _) => "A rule of the configuration leaves one side, or names the model.".into(),
        (Reason::Only, _) => "Only one side is configured.".into(),
        (Reason::Fallback, _) => "An earlier target failed.".into(),
        (Reason::Cascade, _) => "The local answer was looked at, and not found good enough.".into(),
        (Reason::Constraint(constraint), _) => format!("`{}` leaves only {}.", constraint.word(), side(first)).into(),
    }
}

/// The arm of an experiment that a request is in.
pub(super) fn placed(placed: &Placed) -> Sentence {
    let Placed { experiment, arm, what, .. } = placed;
    let arm = if *arm == compare::Side::Left { "left" } else { "right" };
    format!("Experiment `{experiment}` has put the session in its {arm} arm: {what}.").into()
}

/// How a score met the threshold.
fn weighed(need: f32, decision: &RoutingDecision) -> String {
    let Steering { threshold, uncertain, .. } = decision.steering;
    let needed = format!("The strong model is needed with {need:.2}");
    match (uncertain, decision.first_side()) {
        (Some((from, to)), _) if decision.watch => format!(
            "{needed}, and {from:.2} to {:.2} is too close to call: the local model begins, and its answer is looked at before \
             any of it is sent.",
            to.min(1.0)
        ),
        (_, Some(Location::Hosted)) => format!("{needed}, and from {threshold:.2} on requests go to it."),
        (_, _) if threshold > 1.0 => {
            format!("{needed}, and none goes to it for now: as many have gone as the goal allows.")
        }
        (_, _) => format!("{needed}, and only from {threshold:.2} on requests go to it."),
    }
}

/// Who judged, what moved it most, and what was not read.
fn judged(signals: &Signals, sentences: &mut Vec<Sentence>) {
    if let Some(why) = signals.abstained {
        let stood_in = match signals.judged_by {
            JudgedBy::Heuristic if signals.need.is_some() => ", and the heuristic stood in for it",
            JudgedBy::Heuristic | JudgedBy::Probe | JudgedBy::Slm => "",
        };
        sentences.push(format!("The judge abstained ({why}){stood_in}.").into());
    }
    if signals.skipped.is_some() {
        sentences.push("All encoders were busy: the judge did not read what the sentences mean.".into());
    }
    let mut features: Vec<&(&'static str, f32)> = signals.features.iter().filter(|(_, moved)| *moved != 0.0).collect();
    features.sort_by(|one, other| other.1.abs().total_cmp(&one.1.abs()));
    if !features.is_empty() {
        let named: Vec<String> = features
            .iter()
            .take(NAMED)
            .map(|(name, moved)| {
                let towards = if *moved > 0.0 { "towards the strong model" } else { "towards the local one" };
                format!("{name} ({moved:+.2}, {towards})")
            })
            .collect();
        sentences.push(format!("What moved it most: {}.", named.join("; ")).into());
    }
    if let Some(head) = &signals.head {
        sentences.push(format!("The head {head} judged.").into());
    }
    if signals.unread_bytes > 0 {
        sentences.push(format!("{} bytes of the conversation were not read.", signals.unread_bytes).into());
    }
}

/// The score at which it would have gone the other way.
fn turning_point(decision: &RoutingDecision) -> Option<Sentence> {
    let Steering { threshold, uncertain, kept, switch_cost, .. } = decision.steering;
    let first = decision.first_side()?;
    let could = decision.considered.iter().any(|seen| seen.admitted() && seen.candidate.location != first);
    if !could {
        return None;
    }
    match (decision.reason, kept) {
        (Reason::Classifier, _) if threshold > 1.0 && first == Location::Local && !decision.watch => {
            Some(match uncertain {
                Some((from, _)) if from <= 1.0 => {
                    format!("From {from:.2} on the local answer would have been looked at.").into()
                }
                Some(_) | None => "No need would have changed it: the threshold comes back as requests stay local.".into(),
            })
        }
        (Reason::Session, Some(kept)) => Some(left(kept.need - switch_cost, kept.need + switch_cost)),
        (Reason::Classifier, _) if threshold <= 1.0 => Some(
            match (first, uncertain) {
                (Location::Hosted, None) => format!("Below {threshold:.2} the local model would have gone first."),
                (Location::Hosted, Some((_, to))) => {
                    format!("At {to:.2} or below the local model would have begun, and its answer been looked at.")
                }
                (Location::Local, None) => format!("From {threshold:.2} on the hosted model would have gone first."),
                (Location::Local, Some((from, to))) if decision.watch => format!(
                    "Above {:.2} the hosted model would have gone first; below {from:.2} nobody would have looked at the \
                     local answer.",
                    to.min(1.0)
                ),
                (Location::Local, Some((from, to))) => format!(
                    "From {from:.2} on the local answer would have been looked at, above {:.2} the hosted model would have gone \
                     first.",
                    to.min(1.0)
                ),
            }
            .into(),
        ),
        (
            Reason::Classifier
            | Reason::Unsure
            | Reason::Pinned
            | Reason::Header
            | Reason::Rule
            | Reason::Only
            | Reason::Fallback
            | Reason::Cascade
            | Reason::Session
            | Reason::ToolLoop
            | Reason::Exploration
            | Reason::Holdout
            | Reason::Experiment
            | Reason::Constraint(_),
            _,
        ) => None,
    }
}

/// The needs at which a conversation would have been judged anew, as far as a need (0 to 1) can be there.
fn left(below: f32, above: f32) -> Sentence {
    match (below > 0.0, above < 1.0) {
        (true, true) => {
            format!("It would have been judged anew at a need below {below:.2} or above {above:.2}.").into()
        }
        (true, false) => format!("It would have been judged anew at a need below {below:.2}.").into(),
        (false, true) => format!("It would have been judged anew at a need above {above:.2}.").into(),
        (false, false) => "No need would have changed it: switching costs more than that.".into(),
    }
}

/// Whom one constraint alone keeps out.
fn struck(considered: &[Considered], sentences: &mut Vec<Sentence>) {
    for seen in considered {
        let Some(strike) = seen.refused_by() else { continue };
        if seen.strikes.iter().all(|other| other.by == strike.by) {
            let model = &seen.candidate.model;
            sentences.push(format!("Without `{}` {model} would have been admitted.", strike.by.word()).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policies::{
        Candidate, Capabilities, Choice, Classed, Classes, Endpoint, Exploration, Facts, Kept, ModelKind, Needs,
        Pricing, Principal, Readiness, RouteWish, Side, TokenEstimate, Unsure, World, admit, decide,
    };
    use std::sync::Arc;

    fn candidate(model: &str, location: Location) -> Candidate {
        Candidate {
            model: model.into(),
            provider: "p".into(),
            location,
            region: Some("us".into()),
            kind: ModelKind::Chat,
            capabilities: Capabilities::ALL,
            context_window: None,
            max_output: None,
            tells: true,
            pricing: Pricing::Free,
            readiness: Readiness::Ready,
            first_token_in: None,
            expected_output: None,
        }
    }

    fn text(steering: impl FnOnce(&mut Steering), class: &str, signals: Option<Signals>) -> String {
        let classes = Classes::standard();
        let facts = Facts {
            endpoint: Endpoint::Chat,
            principal: Principal::default(),
            choice: Choice::Auto,
            wish: RouteWish::Auto,
            class: classes.named(class).unwrap(),
            classed: Classed::default(),
            session: None,
            tags: vec![],
            prompt: TokenEstimate { floor: 1, likely: 1, ceiling: 1 },
            output_ceiling: None,
            stream: false,
            needs: Needs { choices: 1, ..Needs::default() },
            messages: 1,
            tool_loop: false,
        };
        let mut world = World {
            candidates: vec![candidate("small", Location::Local), candidate("big", Location::Hosted)],
            local: ["small".into()].into(),
            hosted: ["big".into()].into(),
            classes: Arc::new(classes),
            rules: [].into(),
            budgets: vec![],
            max_per_request: None,
            max_first_token: None,
            assumed_output: 1,
            steering: Steering::new(0.5, Unsure::Local, 0.15),
        };
        steering(&mut world.steering);
        told(&decide(admit(&facts, &world), signals)).join(" ")
    }

    fn judged(need: f32) -> Option<Signals> {
        Some(Signals {
            need: Some(need),
            judged_by: JudgedBy::Probe,
            abstained: None,
            skipped: None,
            unread_bytes: 70,
            took_us: 0,
            features: vec![("words of proof", 0.2), ("length", -0.05), ("nothing", 0.0)],
            head: Some("need-1".into()),
        })
    }

    #[test]
    fn a_judged_request_is_told_with_what_moved_it_and_what_would_have_changed_it() {
        let told = text(|_| {}, "internal", judged(0.3));
        assert_eq!(
            told,
            "The strong model is needed with 0.30, and only from 0.50 on requests go to it. What moved it most: words of \
             proof (+0.20, towards the strong model); length (-0.05, towards the local one). The head need-1 judged. 70 \
             bytes of the conversation were not read. From 0.50 on the hosted model would have gone first."
        );
    }

    #[test]
    fn every_way_to_decide_has_its_words() {
        let close = |steering: &mut Steering| steering.uncertain = Some((0.4, 0.6));
        let kept = |steering: &mut Steering| steering.kept = Some(Kept { side: Side::Hosted, need: 0.6 });
        let low = |steering: &mut Steering| steering.kept = Some(Kept { side: Side::Local, need: 0.1 });
        let high = |steering: &mut Steering| steering.kept = Some(Kept { side: Side::Hosted, need: 0.9 });
        let dear = |steering: &mut Steering| {
            steering.kept = Some(Kept { side: Side::Hosted, need: 0.5 });
            steering.switch_cost = 1.0;
        };
        let explored = |steering: &mut Steering| steering.exploration = Exploration { rate: 0.1, drawn: true };
        let held_out = |steering: &mut Steering| steering.holdout = true;
        let bare = |need| judged(need).map(|signals| Signals { skipped: Some("encoder"), ..signals });
        let never = |steering: &mut Steering| steering.threshold = f32::INFINITY;
        for (told, says) in [
            (text(|_| {}, "internal", judged(0.7)), "Below 0.50 the local model would have gone first."),
            (text(close, "internal", judged(0.5)), "0.40 to 0.60 is too close to call"),
            (text(close, "internal", judged(0.5)), "Above 0.60 the hosted model would have gone first"),
            (text(close, "internal", judged(0.7)), "At 0.60 or below the local model would have begun"),
            (text(close, "internal", judged(0.2)), "From 0.40 on the local answer would have been looked at"),
            (text(kept, "internal", judged(0.5)), "The conversation is with the hosted model, and stays there."),
            (text(kept, "internal", judged(0.5)), "judged anew at a need below 0.45 or above 0.75"),
            (text(low, "internal", judged(0.1)), "judged anew at a need above 0.25."),
            (text(high, "internal", judged(0.9)), "judged anew at a need below 0.75."),
            (text(dear, "internal", judged(0.5)), "No need would have changed it"),
            (text(explored, "internal", judged(0.2)), "drawn to explore: the hosted model goes first"),
            (text(|_| {}, "internal", bare(0.3)), "All encoders were busy"),
            (
                text(never, "internal", judged(0.9)),
                "none goes to it for now: as many have gone as the goal allows. What moved it most",
            ),
            (text(never, "internal", judged(0.9)), "No need would have changed it: the threshold comes back"),
            (text(held_out, "internal", None), "held out of routing"),
            (text(held_out, "restricted", None), "`residency` leaves only the local model."),
            (text(|_| {}, "internal", None), "`[router] unsure` says that the local model goes first"),
            (text(|_| {}, "restricted", None), "`residency` leaves only the local model."),
            (text(|_| {}, "restricted", None), "Without `residency` big would have been admitted."),
        ] {
            assert!(told.contains(says), "{says}: {told}");
        }
    }
}

//! `[experiments.NAME]`, `kind = "split"`: what the two arms do.

use super::experiments::Beside;
use super::spec::ExperimentSpec as Typed;
use policies::{Location, ModelName};
use router::{ArmGoal, ArmSpec, SystemPrompt};
use std::path::{Path, PathBuf};

/// The longest system prompt, in bytes.
const LONGEST: u64 = 64 << 10;

/// Reads a system prompt; `None` where none is named, or it cannot be read.
pub(super) fn read_system(
    key: &str,
    path: Option<&Path>,
    folder: &Path,
    wrong: &mut Vec<String>,
) -> Option<SystemPrompt> {
    let path = folder.join(path?);
    let shown = path.display();
    match std::fs::metadata(&path) {
        Ok(found) if found.len() > LONGEST => {
            wrong.push(format!("`{key}`: `{shown}` is longer than {LONGEST} bytes"));
            return None;
        }
        // Whatever is wrong with it is told by whoever reads it.
        Ok(_) | Err(_) => {}
    }
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(SystemPrompt::new(&text)),
        Err(error) => {
            wrong.push(format!("`{key}`: cannot read `{shown}`: {error}"));
            None
        }
    }
}

/// The files that experiments name.
pub(super) fn prompt_files<'a>(specs: impl Iterator<Item = &'a Typed>, folder: &Path) -> Vec<PathBuf> {
    specs.flat_map(|typed| [&typed.left_system, &typed.right_system]).flatten().map(|file| folder.join(file)).collect()
}

/// Whether anything is typed that only a split's arms have.
pub(super) fn named_arms(typed: &Typed) -> bool {
    typed.right_system.is_some()
        || [typed.left_hosted_share, typed.right_hosted_share].iter().any(Option::is_some)
        || [typed.left_cut, typed.right_cut].iter().any(Option::is_some)
}

/// Reads both arms; where nothing is named they are the local and the hosted side.
pub(super) fn read_arms(
    typed: &Typed,
    sides: Option<&[ModelName; 2]>,
    beside: &Beside<'_>,
    wrong: &mut Vec<String>,
) -> Box<[ArmSpec; 2]> {
    let router = beside.router;
    let goals = [
        goal("left", typed.left_hosted_share.map(|share| share.0), typed.left_cut.map(|cut| cut.0), wrong),
        goal("right", typed.right_hosted_share.map(|share| share.0), typed.right_cut.map(|cut| cut.0), wrong),
    ];
    let systems = [
        read_system("left_system", typed.left_system.as_deref(), beside.folder, wrong),
        read_system("right_system", typed.right_system.as_deref(), beside.folder, wrong),
    ];
    let places = sides.map(|sides| {
        sides.clone().map(|model| {
            let list = if router.local.contains(&model) { Some(Location::Local) } else { None };
            list.or_else(|| router.hosted.contains(&model).then_some(Location::Hosted))
        })
    });
    if let (Some(sides), Some(places)) = (sides, &places) {
        for (model, _) in sides.iter().zip(places).filter(|(_, place)| place.is_none()) {
            wrong.push(format!(
                "`{model}` is neither in `router.local` nor in `router.hosted`: nothing is routed to it"
            ));
        }
    }
    // Models of one side leave it to the judge which side that is.
    let apart = places.filter(|[left, right]| left != right);
    let thresholds = goals.iter().any(Option::is_some);
    let prompts = typed.left_system.is_some() || typed.right_system.is_some();
    let sided = match (&apart, sides, thresholds || prompts) {
        (Some(places), _, _) => *places,
        (None, None, false) => [Some(Location::Local), Some(Location::Hosted)],
        (None, _, _) => [None, None],
    };
    if thresholds && apart.is_some() {
        wrong.push("a threshold decides nothing where `left` and `right` are on different sides".into());
    }
    if thresholds && router.risk.is_some() {
        wrong.push("`router.risk` sets the threshold itself: arms cannot have another".into());
    }
    if thresholds && router.hosted_rate.is_some() {
        wrong.push("`router.hosted_rate` moves the threshold itself: arms cannot have another".into());
    }
    if thresholds && beside.tries_heads {
        wrong.push("`learning.roll_out` compares heads under one threshold: arms cannot have another".into());
    }
    let needs_both = thresholds || sided.iter().any(Option::is_some);
    if needs_both && (router.local.is_empty() || router.hosted.is_empty()) {
        wrong.push("a split of sides or thresholds needs models on both sides of `[router]`".into());
    }
    let [left_model, right_model] = sides.cloned().map_or([None, None], |sides| sides.map(Some));
    let ([left_side, right_side], [left_goal, right_goal]) = (sided, goals);
    let [left_system, right_system] = systems;
    let arms = [
        ArmSpec { side: left_side, model: left_model, system: left_system, goal: left_goal },
        ArmSpec { side: right_side, model: right_model, system: right_system, goal: right_goal },
    ];
    if arms[0] == arms[1] && wrong.is_empty() {
        wrong.push("both arms do the same: nothing could be shown".into());
    }
    Box::new(arms)
}

fn goal(arm: &str, share: Option<f32>, cut: Option<f32>, wrong: &mut Vec<String>) -> Option<ArmGoal> {
    match (share, cut) {
        (None, None) => None,
        (Some(share), None) => Some(ArmGoal::Share(share)),
        (None, Some(cut)) => Some(ArmGoal::Cut(cut)),
        (Some(_), Some(_)) => {
            wrong.push(format!("`{arm}_hosted_share` and `{arm}_cut` set the same threshold: give one of them"));
            None
        }
    }
}

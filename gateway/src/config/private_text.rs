//! `[residency.detectors.text]`: names, addresses and health in free text. Off unless `enabled = true`.

use super::defaults;
use super::load::nearest;
use super::providers::Findings;
use policies::{Classes, DataClass};
use router::private_text::{Kind, PrivateConfig, PrivateText};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TextSpec {
    enabled: bool,
    kinds: Option<Vec<String>>,
    classes: BTreeMap<String, String>,
    thresholds: BTreeMap<String, f32>,
    most_windows: Option<usize>,
}

/// Makes the reader; `None` where nobody reads.
pub(super) fn read_text(spec: &TextSpec, classes: &Classes, found: &mut Findings) -> Option<Arc<PrivateText>> {
    let TextSpec { enabled, kinds, classes: typed_classes, thresholds: typed_thresholds, most_windows } = spec;
    let mut wrong = |key: &str, what: &str| {
        found.problems.push(format!("`residency.detectors.text.{key}`: {what}"));
    };
    let mut on = [kinds.is_none(); 3];
    for word in kinds.iter().flatten() {
        match named(word) {
            Ok(kind) => on[kind.place()] = true,
            Err(what) => wrong("kinds", &what),
        }
    }
    let highest = classes.rules().last().and_then(|rule| classes.named(&rule.name).ok());
    let mut chosen: [Option<DataClass>; 3] =
        Kind::ALL.map(|kind| classes.named(kind.usual_class()).ok().or(highest).filter(|_| on[kind.place()]));
    for (word, class) in typed_classes {
        match (named(word), classes.named(class)) {
            (Ok(kind), Ok(class)) => chosen[kind.place()] = Some(class).filter(|_| on[kind.place()]),
            (Err(what), _) => wrong("classes", &what),
            (Ok(_), Err(error)) => wrong("classes", &error.to_string()),
        }
    }
    let mut thresholds = [None; 3];
    for (word, threshold) in typed_thresholds {
        match named(word) {
            Ok(kind) if *threshold > 0.0 && *threshold < 1.0 => thresholds[kind.place()] = Some(*threshold),
            Ok(_) => wrong("thresholds", &format!("`{word}` is {threshold}, and a probability lies between 0 and 1")),
            Err(what) => wrong("thresholds", &what),
        }
    }
    let most = most_windows.unwrap_or(defaults::TEXT_WINDOWS);
    if most == 0 {
        wrong("most_windows", "0 windows are none: write `enabled = false`");
    }
    if !enabled {
        return None;
    }
    match PrivateText::bundled(PrivateConfig { classes: chosen, thresholds, most }) {
        Ok(reader) => Some(Arc::new(reader)),
        Err(error) => {
            wrong("enabled", &error.to_string());
            None
        }
    }
}

/// Whether records use that name for something in free text.
pub(super) fn is_taken(name: &str) -> bool {
    Kind::named(name).is_some()
}

fn named(word: &str) -> Result<Kind, String> {
    Kind::named(word).ok_or_else(|| {
        let known = Kind::ALL.map(Kind::word);
        match nearest(word, &known) {
            Some(near) => format!("no kind `{word}`, did you mean `{near}`?"),
            None => format!("no kind `{word}`; known are: {}", known.join(", ")),
        }
    })
}

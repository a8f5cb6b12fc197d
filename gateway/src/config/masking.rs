//! `[residency.masking]`: what hosted models get placeholders for.

use super::load::nearest;
use super::providers::Findings;
use super::spec::{MaskingSpec, WhenWord};
use policies::detect::{Detectors, Kind};
use policies::mask::MaskRules;

/// Reads the section; a kind that nobody looks for cannot be masked.
pub(super) fn read_masking(
    spec: Option<&MaskingSpec>,
    detectors: Option<&Detectors>,
    found: &mut Findings,
) -> Option<MaskRules> {
    let MaskingSpec { kinds, when } = spec?;
    let mut wrong = |what: String| found.problems.push(format!("`residency.masking.kinds`: {what}"));
    if kinds.is_empty() {
        wrong("name at least one kind".into());
    }
    let looked_for = detectors.map(Detectors::names).unwrap_or_default();
    let mut masked = Vec::new();
    for word in kinds {
        match Kind::named(word) {
            Some(kind) if looked_for.iter().any(|name| name == kind.word()) => masked.push(kind),
            Some(_) => wrong(format!("no detector looks for `{word}`: see `residency.detectors`")),
            None => {
                let known = Kind::ALL.map(Kind::word);
                let near = nearest(word, &known).map(|known| format!(", did you mean `{known}`?"));
                let near = near.unwrap_or_else(|| format!("; known are: {}", known.join(", ")));
                wrong(format!("no kind `{word}`{near}"));
            }
        }
    }
    Some(MaskRules::new(&masked, when.unwrap_or_default() == WhenWord::Always))
}

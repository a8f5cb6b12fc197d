//! `[residency.masking]`: what hosted models get placeholders for.

use super::load::nearest;
use super::providers::{Findings, ProviderSettings};
use super::spec::{MaskingSpec, WhenWord};
use super::units::Names;
use policies::detect::{Detectors, Kind};
use policies::mask::MaskRules;
use policies::{Location, ProviderName};

/// Reads the section; a kind that nobody looks for cannot be masked.
pub(super) fn read_masking(
    spec: Option<&MaskingSpec>,
    detectors: Option<&Detectors>,
    configured: &[ProviderSettings],
    found: &mut Findings,
) -> Option<MaskRules> {
    let MaskingSpec { kinds, when, providers } = spec?;
    let mut wrong = |what: String| found.problems.push(format!("`residency.masking.kinds`: {what}"));
    if kinds.is_empty() {
        wrong("name at least one kind".into());
    }
    let mut masked = Vec::new();
    for word in kinds {
        match (detectors.and_then(|detectors| detectors.kind_of(word)), Kind::named(word)) {
            (Some(kind), _) => masked.push(kind),
            (None, Some(_)) => wrong(format!("no detector looks for `{word}`: see `residency.detectors`")),
            (None, None) => {
                let names = detectors.map(Detectors::names).unwrap_or_default();
                let known: Vec<&str> =
                    Kind::ALL.map(Kind::word).into_iter().chain(names.iter().map(String::as_str)).collect();
                let near = nearest(word, &known).map(|known| format!(", did you mean `{known}`?"));
                let near = near.unwrap_or_else(|| format!("; known are: {}", known.join(", ")));
                wrong(format!("no kind `{word}`{near}"));
            }
        }
    }
    let named = providers.as_ref().map(|Names(names)| {
        let hosted = configured.iter().filter(|provider| provider.location == Location::Hosted);
        let hosted: Vec<&str> = hosted.map(|provider| provider.name.as_str()).collect();
        for name in names.iter().filter(|name| !hosted.contains(&name.as_str())) {
            let near = nearest(name, &hosted).map(|known| format!(", did you mean `{known}`?")).unwrap_or_default();
            found.problems.push(format!("`residency.masking.providers`: no hosted provider `{name}`{near}"));
        }
        names.iter().map(|name| ProviderName::from(name.as_str())).collect()
    });
    let mut rules = MaskRules::new(&masked, when.unwrap_or_default() == WhenWord::Always);
    rules.providers = named;
    Some(rules)
}

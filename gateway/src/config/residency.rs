//! `[residency]`: classes, who has which, and the evidence log.

use super::defaults;
use super::load::nearest;
use super::providers::Findings;
use super::spec::{ClassMatcherSpec, EvidenceSpec, ResidencySpec};
use policies::{ClassMatcher, ClassRule, Classes};
use router::ledger::{EvidenceRetention, Place};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) fn read_classes(spec: &ResidencySpec, found: &mut Findings) -> (Classes, String) {
    let standard = Classes::standard();
    let standard_names: Vec<String> = standard.rules().iter().map(|rule| rule.name.clone()).collect();
    let order = spec.order.clone().unwrap_or(standard_names);
    let known: Vec<&str> = order.iter().map(String::as_str).collect();
    for name in spec.classes.keys().filter(|name| !order.contains(name)) {
        let near = nearest(name, &known).map(|known| format!(", did you mean `{known}`?")).unwrap_or_default();
        found.problems.push(format!("`residency.classes.{name}`: not among `residency.order`{near}"));
    }
    let rules = order.iter().map(|name| match spec.classes.get(name) {
        Some(class) => ClassRule {
            name: name.clone(),
            locations: class.locations.clone(),
            regions: class.regions.clone(),
            providers: class.providers.as_ref().map(|names| names.iter().map(|name| name.as_str().into()).collect()),
            sinks: class.sinks.clone().unwrap_or_else(|| ClassRule::usual_sinks(&class.locations)),
        },
        None => match standard.rules().iter().find(|rule| rule.name == *name) {
            Some(rule) => rule.clone(),
            None => {
                found.problems.push(format!("`residency.classes.{name}` is missing: say where the class may go"));
                ClassRule { name: name.clone(), locations: vec![], regions: None, providers: None, sinks: vec![] }
            }
        },
    });
    let classes = Classes::new(rules.collect()).unwrap_or_else(|error| {
        found.problems.push(format!("`residency.order`: {error}"));
        Classes::standard()
    });
    let default = spec.default_class.clone().unwrap_or_else(|| defaults::DEFAULT_CLASS.into());
    if let Err(error) = classes.named(&default) {
        found.problems.push(format!("`residency.default_class`: {error}"));
    }
    (classes, default)
}

/// `[[residency.matchers]]`.
pub(super) fn read_matchers(
    specs: &[ClassMatcherSpec],
    classes: &Classes,
    found: &mut Findings,
) -> Arc<[ClassMatcher]> {
    let mut matchers = Vec::new();
    for (at, spec) in specs.iter().enumerate() {
        let mut wrong =
            |key: &str, what: String| found.problems.push(format!("`residency.matchers[{at}].{key}`: {what}"));
        if let Err(error) = classes.named(&spec.class) {
            wrong("class", error.to_string());
        }
        let when = &spec.when;
        let said = [&when.key, &when.team, &when.user, &when.tag, &when.system];
        if said.iter().all(|condition| condition.is_none()) {
            wrong("when", "says nothing: the class of all requests is `residency.default_class`".into());
        }
        let tag = when.tag.as_deref().and_then(|tag| {
            let pair = tag.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            if pair.is_none() {
                wrong("when.tag", format!("`{tag}` is not of the form key=value"));
            }
            pair
        });
        let system = when
            .system
            .as_deref()
            .and_then(|pattern| ClassMatcher::pattern(pattern).map_err(|error| wrong("when.system", error)).ok());
        matchers.push(ClassMatcher {
            class: spec.class.clone(),
            key: when.key.clone(),
            team: when.team.clone(),
            user: when.user.clone(),
            tag,
            system,
        });
    }
    matchers.into()
}

/// `[residency.evidence]`: the key file, or nothing where no evidence is kept, and how long. The key lies beside the ledger,
/// unless said otherwise.
pub(super) fn read_evidence(
    spec: &EvidenceSpec,
    folder: &Path,
    ledger: &Place,
    found: &mut Findings,
) -> (Option<PathBuf>, EvidenceRetention) {
    let EvidenceSpec { enabled, key_file, max_age, max_size } = spec;
    if max_size.is_some() && ledger.file().is_none() {
        found.problems.push(
            "`residency.evidence.max_size` is a file's: with `ledger.url` evidence goes by `residency.evidence.max_age` alone"
                .into(),
        );
    }
    if max_age.as_ref().is_some_and(|age| age.0 < defaults::EVIDENCE_LEAST_AGE) {
        found.problems.push("`residency.evidence.max_age` is less than an hour: that is no log".into());
    }
    let keep =
        EvidenceRetention { age: max_age.as_ref().map(|age| age.0), bytes: max_size.as_ref().map(|size| size.0) };
    let beside = || match ledger {
        Place::File(file) => file.with_extension("evidence.key"),
        Place::Server(_) => folder.join(defaults::EVIDENCE_KEY),
    };
    let path = key_file.as_ref().map(|path| folder.join(path));
    (enabled.unwrap_or(true).then(|| path.unwrap_or_else(beside)), keep)
}

//! How a request came to its data class, as it is shown and kept: names and numbers of what was found, never the content.

use policies::detect::{Finding, Kind, Unscanned};
use policies::{Classed, ClassedBy, Classes, Facts};
use serde::Serialize;
use std::borrow::Cow;

/// The class's origin among the facts.
#[derive(Debug, Serialize)]
pub(super) struct ClassedShown<'a> {
    class_by: ClassedBy,
    /// What the client named, whether it counted or not.
    class_named: Option<&'a str>,
    /// Nothing where nobody looked.
    detected: Option<Vec<Detected<'a>>>,
    unscanned: Option<Unscanned>,
    /// What hosted models get placeholders for; nothing where nothing can be masked.
    masked: Option<MaskedShown<'a>>,
}

#[derive(Debug, Serialize)]
struct MaskedShown<'a> {
    /// The class of what is left.
    class: &'a str,
    kinds: Vec<Replaced>,
}

#[derive(Debug, Serialize)]
struct Replaced {
    kind: &'static str,
    count: u32,
}

#[derive(Debug, Serialize)]
struct Detected<'a> {
    kind: &'a str,
    variety: Option<&'static str>,
    class: &'a str,
    count: u32,
}

// === impl ClassedShown ===

impl<'a> ClassedShown<'a> {
    pub(super) fn new(facts: &'a Facts, classes: &'a Classes) -> Self {
        let Classed { by, named, findings, masked } = &facts.classed;
        let replaced = |(kind, count): &(Kind, u32)| Replaced { kind: kind.word(), count: *count };
        let shown = |finding: &'a Finding| Detected {
            kind: &finding.name,
            variety: finding.variety,
            class: classes.name(finding.class),
            count: finding.count,
        };
        Self {
            class_by: *by,
            class_named: named.map(|class| classes.name(class)),
            detected: findings.as_ref().map(|findings| findings.found.iter().map(shown).collect()),
            unscanned: findings.as_ref().map(|findings| findings.unscanned).filter(Unscanned::any),
            masked: masked.as_ref().map(|masked| MaskedShown {
                class: classes.name(masked.class),
                kinds: masked.kinds.iter().map(replaced).collect(),
            }),
        }
    }
}

/// The class in sentences, where its content had a say.
pub(super) fn told(facts: &Facts, classes: &Classes) -> Vec<Cow<'static, str>> {
    let Classed { by, named, findings, masked } = &facts.classed;
    let mut sentences = Vec::new();
    let class = classes.name(facts.class);
    match by {
        ClassedBy::Content => {
            let found = facts.classed.found(facts.class).join(", ");
            sentences.push(format!("The content makes the request `{class}`: {found}.").into());
        }
        ClassedBy::Unscanned => {
            sentences.push(format!("Not all content could be looked at, which makes the request `{class}`.").into());
        }
        ClassedBy::Matcher => sentences.push(format!("A configured matcher makes the request `{class}`.").into()),
        ClassedBy::Session => sentences.push(format!("An earlier turn of the session was `{class}`.").into()),
        ClassedBy::Default | ClassedBy::Header => {}
    }
    if let Some(named) = named.filter(|named| *named < facts.class) {
        let named = classes.name(named);
        sentences.push(format!("The client named `{named}`, which is less and does not count.").into());
    }
    if let Some(masked) = masked {
        let kinds: Vec<String> = masked.kinds.iter().map(|(kind, count)| format!("{count} {}", kind.word())).collect();
        let left = classes.name(masked.class);
        sentences.push(match kinds.is_empty() {
            true => format!("Earlier turns are `{left}` once they are masked.").into(),
            false => format!("Masked ({}), it is `{left}`.", kinds.join(", ")).into(),
        });
    }
    if findings.as_ref().is_some_and(|findings| findings.observed && !findings.found.is_empty()) {
        sentences.push("The detectors only observe: what they found sets no class.".into());
    }
    sentences
}

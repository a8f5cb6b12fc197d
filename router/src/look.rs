//! Looking at a request's content before it is decided on.
//!
//! A request is looked at once, whoever asks: its decision, its record and the refusal of it share what was found. Small
//! bodies are looked at where they are; above [`INLINE`] it is done on a thread that may block, so that it keeps no other
//! request waiting.
//!
//! **Failure behaviour.** A scan that dies leaves the request with the most sensitive class that anything sets: it is not
//! known to be harmless.

use crate::ask::Ask;
use adapters::wire::{Content, WireRequest};
use policies::detect::{Detectors, Findings};
use policies::{Classed, ClassedBy, DataClass};
use std::sync::{Arc, OnceLock};

/// Bytes of a body that are looked at in place: a fraction of a millisecond.
const INLINE: usize = 32 << 10;

/// What was found in a request's content; copies of a request share it.
#[derive(Clone, Debug, Default)]
pub struct Looked(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    findings: OnceLock<Arc<Findings>>,
    /// The class that earlier turns of its session left to it.
    before: OnceLock<DataClass>,
}

// === impl Looked ===

impl Looked {
    /// The class: the highest of the default, the matchers', the client's, the content's and that of earlier turns. A lower one that the
    /// client named is kept on record only.
    pub(crate) fn class(
        &self,
        default: DataClass,
        floor: Option<DataClass>,
        named: Option<DataClass>,
    ) -> (DataClass, Classed) {
        let findings = self.0.findings.get().cloned();
        let least = match floor {
            Some(floor) if floor > default => (floor, ClassedBy::Matcher),
            Some(_) | None => (default, ClassedBy::Default),
        };
        let asked = match named {
            Some(named) if named > least.0 => (named, ClassedBy::Header),
            Some(_) | None => least,
        };
        let (class, by) = match findings.as_ref().and_then(|findings| Some((findings.class?, findings))) {
            Some((class, findings)) if class > asked.0 => {
                let found = findings.found.iter().any(|finding| finding.class == class);
                (class, if found { ClassedBy::Content } else { ClassedBy::Unscanned })
            }
            Some(_) | None => asked,
        };
        let (class, by) = match self.0.before.get() {
            Some(before) if *before > class => (*before, ClassedBy::Session),
            Some(_) | None => (class, by),
        };
        (class, Classed { by, named, findings })
    }

    /// Notes the class that earlier turns left to it.
    pub(crate) fn follows(&self, before: DataClass) {
        self.0.before.get_or_init(|| before);
    }
}

/// Looks at a request, if nobody has.
pub(crate) async fn look(ask: &Ask, detectors: Option<&Arc<Detectors>>) {
    let Some(detectors) = detectors else { return };
    if ask.looked.0.findings.get().is_some() {
        return;
    }
    let bytes = ask.request.raw.body().len();
    let findings = if bytes <= INLINE {
        scan(&ask.request, detectors)
    } else {
        let (request, tools) = (ask.request.clone(), detectors.clone());
        tokio::task::spawn_blocking(move || scan(&request, &tools)).await.unwrap_or_else(|error| {
            tracing::error!(panicked = error.is_panic(), "the detectors ended without a result");
            detectors.blind(bytes as u64)
        })
    };
    ask.looked.0.findings.get_or_init(|| Arc::new(findings));
}

fn scan(request: &WireRequest, detectors: &Detectors) -> Findings {
    let Content { passages, unscanned } = Content::of(request);
    detectors.scan(&passages, unscanned)
}

//! Looking at a request's content before it is decided on.
//!
//! A request is looked at once, whoever asks: its decision, its record and the refusal of it share what was found. Small
//! bodies are looked at where they are; above [`INLINE`], or where free text is read (`private_text`), it is done on a thread
//! that may block, so that it keeps no other request waiting.
//!
//! **Failure behaviour.** A scan that dies leaves the request with the most sensitive class that anything sets: it is not
//! known to be harmless.

use crate::ask::Ask;
use crate::experiment::{Drawn, Enrolled};
use crate::masking::{self, Mask, Masking, mask};
use crate::taint::Left;
use adapters::wire::{Content, WireRequest};
use policies::detect::{Detectors, Findings};
use policies::mask::{MaskRules, Masked, Numbers};
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
    /// What may be masked, where anything may.
    rules: OnceLock<MaskRules>,
    /// What takes the values out of it, where anything does.
    mask: OnceLock<Arc<Mask>>,
    /// The class that earlier turns of its session left to it.
    before: OnceLock<Left>,
    /// What an experiment makes of it, once somebody asked.
    enrolled: OnceLock<Option<Enrolled>>,
    /// The request as it came, where an experiment put another system prompt into it.
    came: OnceLock<Arc<WireRequest>>,
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
        let masked = self.masked(asked.0, class);
        let (class, by) = match self.0.before.get() {
            Some(before) if before.class > class => (before.class, ClassedBy::Session),
            Some(_) | None => (class, by),
        };
        let masked = masked.filter(|masked| masked.class < class || !masked.kinds.is_empty());
        (class, Classed { by, named, findings, masked })
    }

    /// What it is once it is masked: nothing lowers what the default and the client say, nor what masking left of earlier
    /// turns. A turn with nothing in it of its own only has these.
    fn masked(&self, asked: DataClass, own: DataClass) -> Option<Masked> {
        let (rules, before) = (self.0.rules.get()?, self.0.before.get());
        let floor = before.map_or(asked, |before| before.masked.max(asked));
        match (self.0.mask.get(), before) {
            (Some(mask), _) => Some(mask.shown(floor)),
            (None, Some(_)) => Some(masking::shown(rules, floor.max(own), vec![])),
            (None, None) => None,
        }
    }

    /// What takes the values out of it.
    pub(crate) fn mask(&self) -> Option<&Arc<Mask>> {
        self.0.mask.get()
    }

    /// For a request that an experiment made of the one that came; `drawn`: the arm that it is in already.
    pub(crate) fn of(came: Arc<WireRequest>, drawn: Option<Drawn>) -> Self {
        let seen = Seen { enrolled: OnceLock::from(drawn.map(Enrolled::already)), ..Seen::default() };
        seen.came.get_or_init(|| came);
        Self(Arc::new(seen))
    }

    /// The request as it came, where it was changed.
    pub(crate) fn came(&self) -> Option<&Arc<WireRequest>> {
        self.0.came.get()
    }

    /// What an experiment makes of it; `make` is asked once.
    pub(crate) fn enrolled(&self, make: impl FnOnce() -> Option<Enrolled>) -> Option<&Enrolled> {
        self.0.enrolled.get_or_init(make).as_ref()
    }

    /// The arm that it was drawn for, where somebody drew.
    pub(crate) fn drawn(&self) -> Option<&Drawn> {
        self.0.enrolled.get()?.as_ref().map(Enrolled::drawn)
    }

    /// Notes the class that earlier turns left to it.
    pub(crate) fn follows(&self, before: Left) {
        self.0.before.get_or_init(|| before);
    }
}

/// Looks at a request, if nobody has, and prepares to mask it.
pub(crate) async fn look(ask: &Ask, detectors: Option<&Arc<Detectors>>, masking: Option<&Masking>) {
    let Some(detectors) = detectors else { return };
    if ask.looked.0.findings.get().is_some() {
        return;
    }
    let bytes = ask.request.raw.body().len();
    if let Some(masking) = masking {
        ask.looked.0.rules.get_or_init(|| masking.rules.clone());
    }
    let numbers = masking.map(|masking| (masking.clone(), masking.names.of(ask)));
    let (findings, mask) = if bytes <= INLINE && !detectors.reads_text() {
        scan(&ask.request, detectors, numbers)
    } else {
        let (request, tools) = (ask.request.clone(), detectors.clone());
        tokio::task::spawn_blocking(move || scan(&request, &tools, numbers)).await.unwrap_or_else(|error| {
            tracing::error!(panicked = error.is_panic(), "the detectors ended without a result");
            (detectors.blind(bytes as u64), None)
        })
    };
    if let Some(mask) = mask {
        ask.looked.0.mask.get_or_init(|| Arc::new(mask));
    }
    ask.looked.0.findings.get_or_init(|| Arc::new(findings));
}

fn scan(
    request: &WireRequest,
    detectors: &Arc<Detectors>,
    masking: Option<(Masking, Numbers)>,
) -> (Findings, Option<Mask>) {
    let content = Content::of(request);
    let findings = detectors.scan(&content.passages, content.unscanned);
    // Most requests have nothing in them: where things stand is asked of the others only.
    let wanted = masking.filter(|(masking, _)| {
        masking.rules.kinds().any(|kind| findings.found.iter().any(|finding| &*finding.name == detectors.name_of(kind)))
    });
    let mask = wanted.and_then(|(masking, numbers)| {
        let located = detectors.locate(&content.passages, content.unscanned);
        mask(request, &content, &located, (detectors, &masking.rules), (&masking.names, numbers))
    });
    (findings, mask)
}

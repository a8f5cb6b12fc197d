//! A request with placeholders in the place of what was found in it, for hosted models.
//!
//! **Promise.** [`mask`] gives a request in which every value of the configured kinds that could be cut out exactly is a
//! placeholder, what puts the values back, and the class of what is left: that of a second scan of the masked request, or of
//! whatever the first scan found and nobody can account for, whichever is higher. Nothing else can lower a class. The
//! client's request is not touched: local models, judges and counters read that.
//!
//! **Where the values are.** In memory, as long as somebody answers the request; nothing prints a [`Mask`]. Between requests a
//! session keeps digests under a key of this process, and numbers ([`Names`]): so `<EMAIL_1>` stays who it was.
//!
//! **Failure behaviour.** What cannot be done leaves the request unmasked, and its class as it was.
//!
//! **What it does not do.** Requests that want log-probabilities or sound are not masked: their answers hold the text in
//! pieces that nobody can put back.

use crate::ask::Ask;
use adapters::wire::{Content, Edit, WireRequest, edited};
use parking_lot::Mutex;
use policies::DataClass;
use policies::detect::{Detectors, Kind, Located, Unscanned};
use policies::mask::{MaskRules, Masked, Numbers, Taken, Values, choose};
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Sessions in each of the two generations.
const KEPT: usize = 1_024;

/// What is masked, and who remembers numbers.
#[derive(Clone, Debug)]
pub struct Masking {
    /// The configuration.
    pub rules: MaskRules,
    /// Outlives a reload.
    pub names: Arc<Names>,
}

/// Which number a value has in its session.
#[derive(Debug, Default)]
pub struct Names {
    /// Its keys are drawn when the process starts.
    digests: RandomState,
    known: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, Numbers>,
    old: HashMap<u64, Numbers>,
}

/// A masked request.
pub(crate) struct Mask {
    /// What a hosted model gets.
    pub(crate) request: Arc<WireRequest>,
    /// What its placeholders stand for.
    pub(crate) values: Arc<Values>,
    /// The class of what is left, where anything in it sets one.
    left: Option<DataClass>,
    kinds: Vec<(Kind, u32)>,
    rules: MaskRules,
    detectors: Arc<Detectors>,
    numbers: Numbers,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

// === impl Names ===

impl Names {
    fn digest(&self, kind: Kind, text: &str) -> u64 {
        self.digests.hash_one((kind, text))
    }

    /// The session of one key; `None`: the request stands alone.
    fn session(&self, ask: &Ask) -> Option<u64> {
        let session = ask.session.as_ref()?;
        Some(self.digests.hash_one((ask.principal.key.as_ref().map(|key| key.as_str()), session.as_str())))
    }

    pub(crate) fn of(&self, ask: &Ask) -> Numbers {
        let known = self.known.lock();
        let session = self.session(ask);
        session
            .and_then(|session| known.young.get(&session).or_else(|| known.old.get(&session)))
            .cloned()
            .unwrap_or_default()
    }

    /// Keeps the numbers of a request that is about to be answered.
    pub(crate) fn keep(&self, ask: &Ask, mask: &Mask) {
        let (Some(session), Some(numbers)) = (self.session(ask), mask.numbers.kept()) else { return };
        let mut known = self.known.lock();
        if known.young.len() >= KEPT && !known.young.contains_key(&session) {
            known.old = std::mem::take(&mut known.young);
        }
        known.young.insert(session, numbers);
    }
}

// === impl Mask ===

impl Mask {
    /// The request as the decision knows it: at least of class `floor`.
    pub(crate) fn shown(&self, floor: DataClass) -> Masked {
        let class = self.left.map_or(floor, |left| left.max(floor));
        shown(&self.rules, class, self.kinds.clone())
    }

    /// A text of the same request, to be kept: masked by what is known; `None` where that leaves more than the request has.
    pub(crate) fn conceal(&self, text: &str) -> Option<String> {
        let masked = self.values.conceal(text).ok()?;
        let found = self.detectors.scan(&[vec![masked.as_str().into()]], Unscanned::default());
        (found.class <= self.left).then_some(masked)
    }
}

/// Masks a request whose content was read; `None` where nothing in it can be.
pub(crate) fn mask(
    request: &WireRequest,
    content: &Content<'_>,
    located: &Located,
    (detectors, rules): (&Arc<Detectors>, &MaskRules),
    (names, mut numbers): (&Names, Numbers),
) -> Option<Mask> {
    if request.view.sampling.logprobs.is_some() || request.view.audio {
        return None;
    }
    let open = |passage: usize, part: usize| place(content, passage, part).is_some();
    let chosen = choose(&content.passages, located, rules, open).ok().flatten()?;
    let digests = chosen.texts.iter().map(|(kind, text)| (*kind, names.digest(*kind, text)));
    let given = numbers.assign(digests, &Taken::of(&content.passages));
    let values = chosen.texts.iter().zip(&given).map(|((kind, text), number)| (*kind, *number, Arc::from(*text)));
    let values = Values::new(values);
    let edits = chosen.cuts.iter().map(|cut| {
        let ((kind, text), number) = (chosen.texts.get(cut.value)?, given.get(cut.value)?);
        let (was, with) = ((*text).to_owned(), Values::placeholder(*kind, *number));
        Some(Edit { place: place(content, cut.passage, cut.part)?, range: cut.range.clone(), was, with })
    });
    let sent = edited(request, &edits.collect::<Option<Vec<_>>>()?).ok()?;
    let mut sought = chosen.sought().ok()?;
    let Content { passages, unscanned, .. } = Content::of(&sent);
    let found = detectors.scan_for(&passages, unscanned, &mut sought);
    drop(passages);
    let still = chosen.texts.iter().zip(&sought.met).filter(|(_, met)| **met).map(|((kind, _), _)| *kind);
    let bound = still.chain(chosen.unaccounted(located).ok()?).filter_map(|kind| detectors.class_of(kind)).max();
    Some(Mask {
        values: Arc::new(values),
        left: found.class.max(bound),
        kinds: chosen.kinds(),
        rules: rules.clone(),
        detectors: detectors.clone(),
        numbers,
        request: Arc::new(sent),
    })
}

/// A request as the decision knows it, of that class once it is masked by these rules.
pub(crate) fn shown(rules: &MaskRules, class: DataClass, kinds: Vec<(Kind, u32)>) -> Masked {
    let MaskRules { always, providers, .. } = rules;
    Masked { class, always: *always, providers: providers.clone(), kinds }
}

/// Where a part may be changed.
fn place(content: &Content<'_>, passage: usize, part: usize) -> Option<adapters::wire::Place> {
    content.places.get(passage)?.get(part).copied().flatten()
}

//! What a record says.

use super::tree::{Hash, Tree, leaf, link};
use crate::ledger::{AttemptOpen, Payer};
use policies::{ClassedBy, Constraint, Facts, RequestId};
use serde::Serialize;
use std::sync::Arc;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The log begins.
    Log,
    /// A model is about to be asked.
    Dial,
    /// A model was not asked, because a rule forbids it.
    Refused,
    /// Something is connected to, and no model asked: the collector of traces and metrics, the ledger's server, the store that
    /// replicas share, a server in the house that is looked at, whoever a model is fetched from.
    Connect,
    /// Checkpoints are signed by another key from here on.
    Key,
    /// The beginning of a log was pruned.
    Pruned,
}

/// A record before it has its place in the log. Ids, names, rules and digests; never content.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Microseconds since 1970.
    pub at_us: i64,
    /// What happened.
    pub event: Event,
    /// The request it was for.
    pub request: Option<RequestId>,
    /// The attempt.
    pub attempt: Option<u32>,
    /// `answer`, `shadow`, `judge`.
    pub purpose: Option<&'static str>,
    /// Who asked.
    pub payer: Payer,
    /// The data class.
    pub class: Option<String>,
    /// What set it.
    pub class_by: Option<ClassedBy>,
    /// The class of what was sent, where that is the request with placeholders.
    pub masked: Option<String>,
    /// Where to.
    pub to: Destination,
    /// The rule that refused it.
    pub rule: Option<String>,
    /// A keyed digest of the request's body (HMAC-SHA-256): whoever has the body and the log's digest key can tell that it is
    /// the one.
    pub content: Option<Hash>,
    /// What else there is to say: keys and the signature of a handover, in JSON.
    pub note: Option<serde_json::Value>,
}

/// Where a record's data goes, or would have gone.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Destination {
    /// The model, by its configured name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Arc<str>>,
    /// The provider, or the name of what is connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Arc<str>>,
    /// `local` or `hosted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<&'static str>,
    /// The region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Arc<str>>,
}

/// A record as it is written.
#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    log: &'a str,
    at: jiff::Timestamp,
    event: Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class_by: Option<ClassedBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    masked: Option<&'a str>,
    #[serde(flatten)]
    to: &'a Destination,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a serde_json::Value>,
}

/// Where a log stands: what a record is chained to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The log's id.
    pub log: Arc<str>,
    /// Digest over all records so far, in order.
    pub head: Hash,
    /// The tree over them.
    pub tree: Tree,
}

// === impl Entry ===

impl Entry {
    /// A record of nothing yet.
    pub fn new(event: Event, at_us: i64) -> Self {
        Self {
            at_us,
            event,
            request: None,
            attempt: None,
            purpose: None,
            payer: Payer::default(),
            class: None,
            class_by: None,
            masked: None,
            to: Destination::default(),
            rule: None,
            content: None,
            note: None,
        }
    }

    /// An attempt that is about to be dialled.
    pub fn dial(open: &AttemptOpen) -> Self {
        Self {
            request: Some(open.request.clone()),
            attempt: Some(open.attempt),
            purpose: Some(open.purpose),
            payer: open.payer.clone(),
            class: Some(open.class.clone()),
            class_by: Some(open.class_by),
            masked: open.masked.clone(),
            to: Destination {
                model: Some(open.model.clone().into()),
                provider: Some(open.provider.clone().into()),
                location: Some(open.route),
                region: open.region.as_deref().map(Into::into),
            },
            content: open.content,
            ..Self::new(Event::Dial, open.at_us)
        }
    }

    /// What residency refused a request: a record for each model.
    pub fn refused<'a>(
        (request, facts, class): (&'a RequestId, &'a Facts, &'a str),
        payer: &'a Payer,
        considered: &'a [policies::Considered],
        at_us: i64,
    ) -> impl Iterator<Item = Self> + 'a {
        considered.iter().filter_map(move |seen| {
            let strike = seen.strikes.iter().find(|strike| strike.by == Constraint::Residency)?;
            let candidate = &seen.candidate;
            Some(Self {
                request: Some(request.clone()),
                payer: payer.clone(),
                class: Some(class.to_owned()),
                class_by: Some(facts.classed.by),
                to: Destination {
                    model: Some(candidate.model.clone().into()),
                    provider: Some(candidate.provider.clone().into()),
                    location: Some(candidate.location.word()),
                    region: candidate.region.as_deref().map(Into::into),
                },
                rule: Some(strike.detail.clone()),
                ..Self::new(Event::Refused, at_us)
            })
        })
    }
}

// === impl State ===

impl State {
    /// A log without records.
    pub fn new(log: Arc<str>) -> Self {
        Self { log, head: Hash::default(), tree: Tree::default() }
    }

    /// Number of records.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Gives a record its place; the text is what is hashed, stored and exported.
    pub fn append(&mut self, entry: &Entry) -> String {
        let (payer, request) = (&entry.payer, entry.request.as_ref());
        let line = Line {
            seq: self.size(),
            log: &self.log,
            at: jiff::Timestamp::from_microsecond(entry.at_us).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
            event: entry.event,
            request: request.map(|id| id.as_str()),
            attempt: entry.attempt,
            purpose: entry.purpose,
            class: entry.class.as_deref(),
            class_by: entry.class_by,
            masked: entry.masked.as_deref(),
            to: &entry.to,
            rule: entry.rule.as_deref(),
            key: payer.key.as_ref().map(|key| key.as_str()),
            team: payer.team.as_deref(),
            user: payer.user.as_deref(),
            session: payer.session.as_ref().map(|session| session.as_str()),
            content: entry.content.map(hex::encode),
            note: entry.note.as_ref(),
        };
        // Strings and numbers: there is nothing that JSON could not say.
        let text = serde_json::to_string(&line).unwrap_or_default();
        self.take(text.as_bytes());
        text
    }

    /// Takes a record that has its place.
    pub fn take(&mut self, record: &[u8]) {
        let leaf = leaf(record);
        self.head = link(&self.head, &leaf);
        self.tree.push(leaf);
    }
}

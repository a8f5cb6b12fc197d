//! What a line of the ledger says.

use super::arms::ArmRecord;
use super::learning::JudgementRecord;
use super::placed::Placed;
use crate::audit::Hash;
use policies::{
    ClassedBy, Counted, Endpoint, KeyId, ModelName, NanoDollars, Permit, Price, ProviderName, RequestId, SessionId,
    Usage,
};
use std::sync::Arc;

/// How an attempt ended: exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It came to its end.
    Ok,
    /// The upstream refused or failed before an event.
    Error,
    /// It was looked at and not found good enough; nothing of it was sent.
    Rejected,
    /// It ran beside another one and was not needed any longer; nothing of it was sent.
    Cancelled,
    /// It broke off in the midst.
    Truncated,
    /// A budget had no more for it; the stream was brought to its end.
    Ended,
    /// The client left.
    Disconnected,
    /// The gateway died or was stopped while it ran; charged at its ceiling.
    Unknown,
}

/// Who pays for an attempt.
#[derive(Clone, Debug, Default)]
pub struct Payer {
    /// The key.
    pub key: Option<KeyId>,
    /// The key's team.
    pub team: Option<String>,
    /// The key's user.
    pub user: Option<String>,
    /// The session.
    pub session: Option<SessionId>,
    /// Labels.
    pub tags: Vec<(String, String)>,
}

/// An attempt about to be dialled.
#[derive(Clone, Debug)]
pub struct AttemptOpen {
    /// The request.
    pub request: RequestId,
    /// 1 for the first.
    pub attempt: u32,
    /// Microseconds since 1970.
    pub at_us: i64,
    /// `answer`, `shadow` or `judge`.
    pub purpose: &'static str,
    /// What is asked of the model, for spans and metrics; not stored: the request's own line has it.
    pub endpoint: Endpoint,
    /// Who pays.
    pub payer: Payer,
    /// The configured model.
    pub model: ModelName,
    /// Its provider.
    pub provider: ProviderName,
    /// `local` or `hosted`.
    pub route: &'static str,
    /// The provider's own name of it.
    pub upstream: String,
    /// The most it can cost: what is set aside for it, or, where nothing is, the dearest that may come.
    pub ceiling: Option<NanoDollars>,
    /// Tokens that are set aside for it.
    pub ceiling_tokens: Option<u64>,
    /// The rates.
    pub price: Option<Price>,
    /// Where they were read.
    pub price_source: String,
    /// The client's trace context, for the span of this attempt; not stored.
    pub traceparent: Option<String>,
    /// The class of the data, by name.
    pub class: String,
    /// What set it.
    pub class_by: ClassedBy,
    /// The provider's region.
    pub region: Option<String>,
    /// Leave to export a span of it.
    pub traces: Option<Permit>,
    /// The class of what is sent, where that is the masked request.
    pub masked: Option<String>,
    /// A keyed digest of the request's body, for the evidence log.
    pub content: Option<Hash>,
}

/// The end of an attempt. Carries its opening, so that a line is whole even where nothing was written at the start.
#[derive(Clone, Debug)]
pub struct AttemptClose {
    /// Its opening.
    pub open: Arc<AttemptOpen>,
    /// Microseconds since 1970.
    pub ended_us: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// Tokens.
    pub counted: Counted,
    /// What it cost; `None`: unpriced.
    pub cost: Option<NanoDollars>,
    /// What the machine in the house cost, which is in no token's price; `None`: it did not work, or nobody knows.
    pub local_cost: Option<NanoDollars>,
    /// What the hosted model would have cost.
    pub baseline: Option<NanoDollars>,
    /// From the start to the first event, in microseconds.
    pub first_event_us: Option<u64>,
    /// The label of the error.
    pub error: Option<&'static str>,
}

/// A request's whole story.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// Its id.
    pub id: RequestId,
    /// Microseconds since 1970.
    pub at_us: i64,
    /// Who pays.
    pub payer: Payer,
    /// `chat` or `completions`.
    pub endpoint: &'static str,
    /// What `model` asked for.
    pub asked: String,
    /// The data class.
    pub class: String,
    /// `local` or `hosted`; `None` when refused.
    pub route: Option<&'static str>,
    /// The model that answered.
    pub model: Option<ModelName>,
    /// The reason word.
    pub reason: String,
    /// The need that was judged.
    pub score: Option<f32>,
    /// The HTTP status that was sent.
    pub status: u16,
    /// Number of attempts, hedged ones included.
    pub attempts: u32,
    /// The decision as it was explained: JSON text.
    pub record: String,
    /// What a second look at the local answer found: JSON text.
    pub cascade: Option<String>,
    /// How it was judged, where that decided.
    pub judgement: Option<Box<JudgementRecord>>,
    /// The arm it is in, where sessions are held out.
    pub arm: Option<Box<ArmRecord>>,
    /// The arm of an experiment that it counts for.
    pub placed: Option<Box<Placed>>,
}

/// Both answers of a shadowed request.
#[derive(Clone, Debug)]
pub struct ShadowRecord {
    /// The request.
    pub request: RequestId,
    /// The experiment.
    pub experiment: String,
    /// Microseconds since 1970.
    pub at_us: i64,
    /// Who answered the client.
    pub served: ModelName,
    /// Who answered in the shadow.
    pub shadow: ModelName,
    /// The prompt, as JSON.
    pub prompt: String,
    /// The client's answer.
    pub served_text: String,
    /// The other answer.
    pub shadow_text: String,
    /// Its finish reason.
    pub finish: Option<String>,
    /// The label of its error.
    pub error: Option<&'static str>,
}

// === impl Outcome ===

impl Outcome {
    /// The word on the ledger and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Truncated => "truncated",
            Self::Ended => "ended",
            Self::Disconnected => "disconnected",
            Self::Unknown => "unknown",
        }
    }
}

// === impl AttemptClose ===

impl AttemptClose {
    /// The end of an attempt that was put on the ledger and could not be dialled any more.
    pub(crate) fn never_dialled(open: Arc<AttemptOpen>, why: &'static str) -> Self {
        Self {
            ended_us: jiff::Timestamp::now().as_microsecond(),
            outcome: Outcome::Error,
            counted: Counted::Exact(Usage::default()),
            cost: open.ceiling.map(|_| NanoDollars::ZERO),
            local_cost: None,
            baseline: None,
            first_event_us: None,
            error: Some(why),
            open,
        }
    }

    /// The tokens.
    pub fn usage(&self) -> &Usage {
        self.counted.usage()
    }
}

//! A request as it enters the router, and the facts that are read off it.

use crate::limits::{Charge, TokensWanted};
use crate::look::Looked;
use adapters::wire::{Format, Inputs, WireRequest};
use policies::{
    Choice, ClassMatcher, Classes, Endpoint, Facts, Needs, Principal, RequestId, ResidencyError, RouteWish, SessionId,
    TokenEstimate,
};
use std::sync::Arc;
use tokio::time::Instant;

/// A request with what its headers said.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its id.
    pub id: RequestId,
    /// The body.
    pub request: Arc<WireRequest>,
    /// Who asks.
    pub principal: Principal,
    /// What the client narrows the route to.
    pub wish: RouteWish,
    /// The data class the client names; it can only raise.
    pub class: Option<String>,
    /// The session.
    pub session: Option<SessionId>,
    /// Labels, sorted.
    pub tags: Vec<(String, String)>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// When its head arrived.
    pub received: Instant,
    /// What it took of its caller's rate limits.
    pub charge: Option<Charge>,
    /// What was found in its content, once somebody looked.
    pub looked: Looked,
}

/// Bytes that make one token at the very most and at the very least, and usually.
const MOST_BYTES: u64 = 8;
const USUAL_BYTES: u64 = 4;
/// Tokens a chat template adds for a message, and for the conversation.
const TEMPLATE_PER_MESSAGE: u64 = 16;
const TEMPLATE: u64 = 64;
/// Tokens an encoder adds to a text at most: marks of its beginning and end.
const MARKS: u64 = 4;
/// Tokens a picture can cost at most with the providers of today.
const PICTURE: u64 = 4_096;

/// Tokens of an answer whose length the client does not bound, for a rate limit: what a usual answer has. The real count
/// takes its place.
const USUAL_OUTPUT: u64 = 256;

// === impl Ask ===

impl Ask {
    /// The tokens of its prompt, as a chat template would make them: an estimate.
    pub fn prompt_tokens(&self) -> u64 {
        let messages = self.request.view.messages();
        let pictures = messages.iter().filter(|message| message.vision).count() as u64;
        estimate(&self.request, messages.len() as u64, pictures).likely
    }

    /// The request as the client sent it: without the system prompt that an experiment put into it.
    pub(crate) fn came(&self) -> &Arc<WireRequest> {
        self.looked.came().unwrap_or(&self.request)
    }

    /// The tokens that it counts for at a rate limit until its answer has ended.
    pub fn tokens_wanted(&self) -> TokensWanted {
        let view = &self.request.view;
        let (messages, choices) = (view.messages(), u64::from(view.sampling.written().max(1)));
        let prompt = estimate(&self.request, messages.len() as u64, 0).likely;
        match view.sampling.max_tokens {
            Some(most) => TokensWanted { stated: prompt.saturating_add(most.saturating_mul(choices)), guessed: 0 },
            None => TokensWanted { stated: prompt, guessed: USUAL_OUTPUT.saturating_mul(choices) },
        }
    }
}

/// Reads the facts.
///
/// # Errors
/// A data class that nobody configured: unknown means refused.
pub(crate) fn facts(
    ask: &Ask,
    classes: &Classes,
    (default_class, matchers): (&str, &[ClassMatcher]),
) -> Result<Facts, ResidencyError> {
    let view = &ask.request.view;
    // What the client's own instructions mean goes on holding where an experiment put others in their place.
    let own = ask.looked.came().map(|came| &came.view);
    let instructions = || view.instructions().chain(own.iter().flat_map(|own| own.instructions()));
    let meant = matchers.iter().filter(|matcher| matcher.takes(&ask.principal, &ask.tags, instructions()));
    // Names are checked with the configuration; one that is unknown all the same is as sensitive as can be.
    let floor = meant.map(|matcher| classes.named(&matcher.class).unwrap_or_else(|_| classes.highest())).max();
    let named = ask.class.as_deref().map(|name| classes.named(name)).transpose()?;
    let (class, classed) = ask.looked.class(classes.named(default_class)?, floor, named);
    let messages = view.messages();
    let some = |has: fn(&adapters::wire::Message) -> bool| messages.iter().any(has);
    let needs = Needs {
        tools: !view.tools.is_empty(),
        vision: some(|message| message.vision),
        audio: view.audio || some(|message| message.audio),
        files: some(|message| message.files),
        json_schema: matches!(view.format, Format::JsonSchema(_) | Format::Regex(_)),
        logprobs: view.sampling.logprobs.is_some(),
        choices: view.sampling.written(),
    };
    let pictures = messages.iter().filter(|message| message.vision).count() as u64;
    let mut prompt = estimate(&ask.request, messages.len() as u64, pictures);
    if let Some(mask) = ask.looked.mask() {
        // A placeholder may be longer than what it stands for.
        let (own, masked) = (ask.request.raw.body().len() as u64, mask.request.raw.body().len() as u64);
        prompt.ceiling = prompt.ceiling.saturating_add(masked.saturating_sub(own));
    }
    Ok(Facts {
        endpoint: ask.request.endpoint,
        principal: ask.principal.clone(),
        choice: match view.model.as_str() {
            "auto" | "sluice/auto" => Choice::Auto,
            name => Choice::Pinned(name.into()),
        },
        wish: ask.wish,
        class,
        classed,
        session: ask.session.clone(),
        tags: ask.tags.clone(),
        prompt,
        output_ceiling: view.sampling.max_tokens,
        stream: view.stream,
        needs,
        messages: messages.len(),
        tool_loop: crate::tool_loop::repeats_a_failure(messages),
    })
}

fn estimate(request: &WireRequest, messages: u64, pictures: u64) -> TokenEstimate {
    if let Some(inputs) = request.view.inputs() {
        return estimate_inputs(request, inputs);
    }
    let text: u64 = request.view.texts().map(|text| text.len() as u64).sum();
    let tools = request.raw.field("tools").map_or(0, |tools| tools.len() as u64);
    let template = messages * TEMPLATE_PER_MESSAGE + TEMPLATE;
    // The whole body bounds every text in it, arguments of earlier calls included.
    let bound = request.raw.body().len() as u64;
    TokenEstimate {
        floor: text / MOST_BYTES,
        likely: (text + tools) / USUAL_BYTES + messages * 4,
        ceiling: bound + template + pictures * PICTURE,
    }
}

/// The tokens of what is to be turned into vectors: each input has a context of its own, and all are billed.
fn estimate_inputs(request: &WireRequest, inputs: &Inputs) -> TokenEstimate {
    let bytes = || inputs.texts().iter().map(|text| text.0.len() as u64);
    let given: u64 = inputs.tokens().iter().sum();
    let longest = bytes().map(|bytes| bytes / MOST_BYTES).chain(inputs.tokens().iter().copied()).max();
    let marks = (inputs.texts().len() + inputs.tokens().len()) as u64 * MARKS;
    TokenEstimate {
        floor: longest.unwrap_or(0),
        likely: bytes().map(|bytes| bytes.div_ceil(USUAL_BYTES)).sum::<u64>() + given,
        // A token that was sent has at least a digit and what parts it from the next.
        ceiling: request.raw.body().len() as u64 + marks,
    }
}

/// The endpoint's word on the ledger.
pub fn endpoint_word(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Chat => "chat",
        Endpoint::Completions => "completions",
        Endpoint::Embeddings => "embeddings",
    }
}

//! From a call to what the line does with it.
//!
//! **Promise.** Whatever the engine in process cannot do is refused here, before it waits for a turn: a bad schema or
//! expression as the client's error, a missing ability as [`Kind::Unsupported`], a prompt that leaves no room for one
//! token as [`Kind::ContextLength`]. A ceiling on output that does not fit is lowered to what fits.
//!
//! **Defaults.** What the client leaves open comes from the model's `generation_config.json`, then from [`super::spec`].

use super::line::{Task, Writing};
use super::load::Voice;
use super::prompt;
use super::sampling::{Past, Settings};
use super::spec::{DEFAULT_TEMPERATURE, LocalSpec};
use super::text::Writer;
use super::tools::{self, Mode};
use crate::backend::{Call, Question};
use crate::error::Kind;
use crate::wire::{Format, Sampling, View};
use mistralrs_core::llguidance::Matcher;
use mistralrs_core::llguidance::api::TopLevelGrammar;
use policies::Endpoint;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// A request, ready for the engine.
pub(super) struct Prepared {
    pub(super) tokens: Vec<u32>,
    pub(super) task: Task,
    pub(super) limit: u64,
    pub(super) mode: Mode,
}

/// Reads, checks and tokenises a call; takes milliseconds of CPU, so not for an executor's thread.
pub(super) fn prepare(spec: &LocalSpec, voice: &Arc<Voice>, call: &Call) -> Result<Prepared, Kind> {
    let view = &call.request.view;
    refuse(view, call.request.endpoint)?;
    let mode = match call.request.endpoint {
        Endpoint::Chat => tools::mode(&view.tools, &view.tool_choice).map_err(Kind::Invalid)?,
        Endpoint::Completions | Endpoint::Embeddings => Mode::None,
    };
    let tokens = prompt::tokens(voice, view, &mode)?;
    let prompt = tokens.len() as u64;
    if prompt + 1 > voice.window {
        return Err(Kind::ContextLength { prompt, window: voice.window });
    }
    let wanted = [view.sampling.max_tokens, call.max_output].into_iter().flatten().min();
    let limit = wanted.unwrap_or(spec.default_max_tokens).clamp(1, voice.window - prompt);
    let grammar = grammar(voice, view, &mode)?;
    let writing = Writing {
        settings: settings(spec, voice, &view.sampling),
        past: Past { prompt: tokens.iter().copied().collect(), ..Past::default() },
        writer: Writer::new(Arc::clone(&voice.tokenizer), view.sampling.stop.clone()),
        grammar,
        limit,
        wants_tokens: view.sampling.logprobs.is_some() || call.watch,
        generated: 0,
        pending: VecDeque::new(),
    };
    Ok(Prepared { tokens, task: Task::Write(Box::new(writing)), limit, mode })
}

/// Reads and tokenises a question that is answered by one of two words.
pub(super) fn compare(voice: &Voice, question: &Question) -> Result<Prepared, Kind> {
    let words = first_tokens(voice, &question.words)?;
    let tokens = prompt::question(voice, &question.system, &question.user)?;
    let prompt = tokens.len() as u64;
    if prompt + 1 > voice.window {
        return Err(Kind::ContextLength { prompt, window: voice.window });
    }
    Ok(Prepared { tokens, task: Task::Compare(words), limit: 1, mode: Mode::None })
}

/// The first tokens of two words; an error when they cannot be told apart.
fn first_tokens(voice: &Voice, words: &[String; 2]) -> Result<[u32; 2], Kind> {
    let first = |word: &String| {
        let encoding =
            voice.tokenizer.encode_fast(word.as_str(), false).map_err(|error| Kind::Internal(error.to_string()))?;
        encoding.get_ids().first().copied().ok_or_else(|| Kind::Invalid("a word is empty".into()))
    };
    let tokens = [first(&words[0])?, first(&words[1])?];
    if tokens[0] == tokens[1] {
        return Err(Kind::Invalid("the two words begin with the same token".into()));
    }
    Ok(tokens)
}

fn refuse(view: &View, endpoint: Endpoint) -> Result<(), Kind> {
    let any = |what: fn(&crate::wire::Message) -> bool| view.messages().iter().any(what);
    let refused = [
        (
            endpoint == Endpoint::Embeddings,
            "the engine in process makes no embeddings: the provider kind `encoder` does",
        ),
        (view.sampling.n > 1, "the local model gives one choice: `n` must be 1"),
        (any(|message| message.vision), "the local model does not see pictures"),
        (view.audio || any(|message| message.audio), "the local model does not hear or speak"),
        (any(|message| message.files), "the local model does not read files"),
        (view.sampling.logit_bias, "the local model does not know `logit_bias`"),
        (view.sampling.echo, "the local model does not know `echo`"),
        (endpoint == Endpoint::Completions && !view.tools.is_empty(), "`tools` need /v1/chat/completions"),
    ];
    match refused.into_iter().find(|(bad, _)| *bad) {
        Some((_, why)) => Err(Kind::Unsupported(why.into())),
        None => Ok(()),
    }
}

fn settings(spec: &LocalSpec, voice: &Voice, sampling: &Sampling) -> Settings {
    let defaults = &voice.defaults;
    let model_is_greedy = defaults.do_sample == Some(false);
    let temperature = if model_is_greedy { Some(0.0) } else { defaults.temperature };
    // Filters of the model belong to its temperature: a client that sets its own gets its own filters, too.
    let own = sampling.temperature.is_none();
    Settings {
        temperature: sampling.temperature.or(temperature).unwrap_or(DEFAULT_TEMPERATURE),
        top_p: sampling.top_p.or(defaults.top_p.filter(|_| own)).unwrap_or(1.0),
        top_k: sampling.top_k.map(|k| k as usize).or(defaults.top_k.filter(|_| own)).unwrap_or(0),
        min_p: sampling.min_p.or(defaults.min_p.filter(|_| own)).unwrap_or(0.0),
        presence: sampling.presence_penalty.unwrap_or(0.0),
        frequency: sampling.frequency_penalty.unwrap_or(0.0),
        repetition: sampling.repetition_penalty.or(defaults.repetition_penalty.map(f64::from)).unwrap_or(1.0),
        // A fresh hasher's keys are random.
        seed: sampling.seed.map(|seed| seed as u64).or(spec.seed).unwrap_or_else(|| RandomState::new().hash_one(0)),
        alternatives: sampling.logprobs.unwrap_or(0) as usize,
    }
}

fn grammar(voice: &Voice, view: &View, mode: &Mode) -> Result<Option<Matcher>, Kind> {
    let (grammar, field) = match (mode, &view.format) {
        (Mode::Forced(_, schema), _) => (TopLevelGrammar::from_json_schema(strict(schema)), "tools"),
        (Mode::None | Mode::Auto(_), Format::Text) => return Ok(None),
        (Mode::None | Mode::Auto(_), Format::JsonObject) => {
            (TopLevelGrammar::from_json_schema(strict(&json!({"type": "object"}))), "response_format")
        }
        (Mode::None | Mode::Auto(_), Format::JsonSchema(schema)) => {
            (TopLevelGrammar::from_json_schema(strict(schema)), "response_format")
        }
        (Mode::None | Mode::Auto(_), Format::Regex(regex)) => (TopLevelGrammar::from_regex(regex), "guided_regex"),
    };
    let Some(factory) = &voice.grammars else {
        return Err(Kind::Unsupported("this model's tokenizer does not allow constraints".into()));
    };
    let parser = factory.create_parser(grammar).map_err(|error| {
        let text = error.to_string();
        Kind::Invalid(format!("`{field}` cannot be used: {}", text.lines().next().unwrap_or_default()))
    })?;
    let mut matcher = Matcher::new(Ok(parser));
    // A grammar may compile and still allow nothing.
    match matcher.compute_mask() {
        Ok(_) => Ok(Some(matcher)),
        Err(error) => Err(Kind::Invalid(format!(
            "`{field}` cannot be used: {}",
            error.to_string().lines().next().unwrap_or_default()
        ))),
    }
}

/// Python's separators and no other white space: small models write line ends without end where they may.
fn strict(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(fields) = schema.as_object_mut() {
        let options = json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "});
        fields.entry("x-guidance").or_insert(options);
    }
    schema
}

/// The task of a warm-up: greedy, and blind to what comes out.
pub(super) fn probe(voice: &Voice, limit: u64) -> Task {
    let settings = Settings {
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        presence: 0.0,
        frequency: 0.0,
        repetition: 1.0,
        seed: 0,
        alternatives: 0,
    };
    Task::Write(Box::new(Writing {
        settings,
        past: Past::default(),
        writer: Writer::new(Arc::clone(&voice.tokenizer), Vec::new()),
        grammar: None,
        limit,
        wants_tokens: false,
        generated: 0,
        pending: VecDeque::new(),
    }))
}

//! One request inside the engine: mistral.rs computes the logits, everything else happens here.
//!
//! **Promise.** The line chooses every token itself (sampling, grammar, end, stop texts, limit), so counts and
//! log-probabilities are exact whatever the engine's own stream would say; it ends a sequence by answering with the
//! model's end token, in the very step in which the answer is complete or the client is gone: a client that leaves
//! costs at most one more token after the first.
//!
//! **Why so.** Every trap of mistral.rs 0.8.1's sampler and stream (measurements.md) is passed by: log10, seeds, leaking
//! stop texts, missing usage, withheld chunks, the second pass under a constraint. The request to the engine is not
//! streamed and its reply is only read for errors; its receiver lives in here, as long as the sequence does, because
//! the engine panics when a non-streaming receiver is gone.
//!
//! **Failure behaviour.** Pieces go into a channel that holds as many as the answer can have: the engine never waits for a
//! reader. If the sequence dies (error, panic), the channel ends without an [`End`], and the reader says so.

use super::queue::Ticket;
use super::sampling::{Choice, Past, Settings, choose, first_of_two};
use super::text::Writer;
use candle_core::Tensor;
use mistralrs_core::llguidance::Matcher;
use mistralrs_core::llguidance::toktrie::SimpleVob;
use mistralrs_core::{CustomLogitsProcessor, Response};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::mpsc::{Receiver, Sender};

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By the model, a stop text or the grammar.
    Stop,
    /// At the limit.
    Length,
}

/// What a step brought.
#[derive(Debug)]
pub(super) enum Piece {
    /// Text, the tokens that are wholly in it, and the count so far.
    Text { text: String, tokens: Vec<Choice>, generated: u64, end: Option<End> },
    /// The probability of the first of two words.
    Share(f32),
    /// The engine or the grammar failed.
    Failed(String),
}

/// What the line does with logits.
pub(super) enum Task {
    /// Writes an answer.
    Write(Box<Writing>),
    /// Compares two tokens.
    Compare([u32; 2]),
}

/// The state of an answer.
pub(super) struct Writing {
    pub(super) settings: Settings,
    pub(super) past: Past,
    pub(super) writer: Writer,
    pub(super) grammar: Option<Matcher>,
    pub(super) limit: u64,
    pub(super) wants_tokens: bool,
    pub(super) generated: u64,
    /// Tokens whose text is not out yet, each with the end of its text.
    pub(super) pending: VecDeque<(usize, Choice)>,
}

/// What lines share with the engine they run in.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Tokens chosen since the engine came up.
    pub(super) generated: AtomicU64,
    /// The next step panics: for tests of the restart.
    pub(super) fault: AtomicBool,
}

/// What a model needs to end a sequence.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    /// Tokens that end an answer.
    pub(super) tokens: Arc<[u32]>,
    /// The one that the engine understands for sure.
    pub(super) engine: u32,
    /// Logits beyond the vocabulary are padding.
    pub(super) vocabulary: usize,
}

struct Inside {
    task: Task,
    pieces: Option<Sender<Piece>>,
    started: Instant,
    last: Option<Instant>,
    ticket: Ticket,
}

/// One request inside the engine.
pub(super) struct Line {
    inside: Mutex<Inside>,
    gone: Arc<AtomicBool>,
    ends: Ends,
    meter: Arc<Meter>,
    /// Kept open for the engine; the reader looks in when the pieces end without an [`End`].
    _replies: Arc<Mutex<Receiver<Response>>>,
}

// === impl Line ===

impl Line {
    pub(super) fn new(
        task: Task,
        pieces: Sender<Piece>,
        replies: Arc<Mutex<Receiver<Response>>>,
        gone: Arc<AtomicBool>,
        fixed: (Ends, Arc<Meter>),
        ticket: Ticket,
    ) -> Self {
        let (ends, meter) = fixed;
        let inside = Inside { task, pieces: Some(pieces), started: Instant::now(), last: None, ticket };
        Self { inside: Mutex::new(inside), gone, ends, meter, _replies: replies }
    }

    fn end_token(&self, logits: &Tensor, width: usize) -> candle_core::Result<Tensor> {
        one_hot(self.ends.engine, width, logits)
    }
}

impl CustomLogitsProcessor for Line {
    fn apply(&self, logits: &Tensor, context: &[u32]) -> candle_core::Result<Tensor> {
        if self.meter.fault.swap(false, Ordering::Relaxed) {
            std::panic::resume_unwind(Box::new("a fault that a test asked for"));
        }
        super::workers::enlist();
        let mut row: Vec<f32> = logits.to_vec1()?;
        let width = row.len();
        let mut inside = self.inside.lock();
        inside.clock(context.len());
        let Some(pieces) = inside.pieces.clone() else { return self.end_token(logits, width) };
        if self.gone.load(Ordering::Relaxed) || pieces.is_closed() {
            inside.pieces = None;
            return self.end_token(logits, width);
        }
        row.truncate(self.ends.vocabulary);
        let (piece, token) = match &mut inside.task {
            Task::Compare(tokens) => (first_of_two(&row, *tokens).map_or_else(not_numbers, Piece::Share), None),
            Task::Write(writing) => {
                let (piece, token) = writing.step(&row, &self.ends.tokens);
                if token.is_some() {
                    self.meter.generated.fetch_add(1, Ordering::Relaxed);
                }
                (piece, token)
            }
        };
        let over = !matches!(piece, Piece::Text { end: None, .. });
        let delivered = pieces.try_send(piece).is_ok();
        if let (false, true, Some(token)) = (over, delivered, token) {
            inside.ticket.progress(1);
            return one_hot(token, width, logits);
        }
        inside.pieces = None;
        self.end_token(logits, width)
    }
}

fn one_hot(token: u32, width: usize, like: &Tensor) -> candle_core::Result<Tensor> {
    let mut row = vec![f32::NEG_INFINITY; width];
    if let Some(place) = row.get_mut(token as usize) {
        *place = 1.0;
    }
    Tensor::from_vec(row, width, like.device())
}

fn not_numbers() -> Piece {
    Piece::Failed("the model's logits are not numbers".into())
}

// === impl Inside ===

impl Inside {
    /// Takes the time of a step: the first is the prompt's, the others are a token's each.
    fn clock(&mut self, context: usize) {
        let now = Instant::now();
        match self.last {
            None => self.ticket.prefilled(now - self.started, context as u64),
            Some(last) => self.ticket.decoded(now - last),
        }
        self.last = Some(now);
    }
}

// === impl Writing ===

impl Writing {
    /// Chooses a token; without one the answer is over.
    fn step(&mut self, logits: &[f32], ends: &[u32]) -> (Piece, Option<u32>) {
        let mask = match self.mask(ends, logits.len()) {
            Ok(mask) => mask,
            Err(error) => return (Piece::Failed(error), None),
        };
        let Some(choice) = choose(&self.settings, logits, &self.past, mask.as_ref(), self.generated) else {
            return (not_numbers(), None);
        };
        if ends.contains(&choice.token) {
            return (self.close(End::Stop), None);
        }
        let token = choice.token;
        self.generated += 1;
        *self.past.generated.entry(token).or_default() += 1;
        let mut over = None;
        if let Some(grammar) = &mut self.grammar {
            if let Err(error) = grammar.consume_token(token) {
                return (Piece::Failed(error.to_string()), Some(token));
            }
            over = grammar.is_stopped().then_some(End::Stop);
        }
        let written = match self.writer.push(token) {
            Ok(written) => written,
            Err(error) => return (Piece::Failed(error), Some(token)),
        };
        if self.wants_tokens {
            self.pending.push_back((self.writer.decoded(), choice));
        }
        if written.stopped {
            return (self.piece(written.text, Some(End::Stop)), Some(token));
        }
        if over.is_none() && self.generated >= self.limit {
            over = Some(End::Length);
        }
        let Some(end) = over else { return (self.piece(written.text, None), Some(token)) };
        let piece = match self.close(end) {
            Piece::Text { text, tokens, generated, end } => {
                Piece::Text { text: written.text + &text, tokens, generated, end }
            }
            other @ (Piece::Share(_) | Piece::Failed(_)) => other,
        };
        (piece, Some(token))
    }

    fn mask(&mut self, ends: &[u32], width: usize) -> Result<Option<SimpleVob>, String> {
        let Some(grammar) = &mut self.grammar else { return Ok(None) };
        let mut mask = grammar.compute_mask().map_err(|error| error.to_string())?;
        // The grammar knows one end token, by its name; the model may have others.
        if grammar.is_accepting().unwrap_or(false) {
            let width = width.min(mask.len());
            ends.iter().filter(|end| (**end as usize) < width).for_each(|end| mask.allow_token(*end));
        }
        Ok(Some(mask))
    }

    fn close(&mut self, end: End) -> Piece {
        match self.writer.finish() {
            Ok(written) => self.piece(written.text, Some(if written.stopped { End::Stop } else { end })),
            Err(error) => Piece::Failed(error),
        }
    }

    fn piece(&mut self, text: String, end: Option<End>) -> Piece {
        let out = self.writer.released();
        let mut tokens = Vec::new();
        while let Some((upto, _)) = self.pending.front() {
            if *upto > out {
                break;
            }
            tokens.extend(self.pending.pop_front().map(|(_, choice)| choice));
        }
        Piece::Text { text, tokens, generated: self.generated, end }
    }
}

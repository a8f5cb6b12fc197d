//! The local model is asked itself: is this hard?
//!
//! One constrained token, its probability read from the logits. On a CPU this takes hundreds of milliseconds and a tiny
//! model judges no better than length; it is for a GPU, or for a larger local model.

use adapters::wire::{Role, WireRequest};
use adapters::{Backend, Kind, Question};
use policies::{JudgedBy, Readiness, Signals};
use std::time::Duration;

/// Bytes of the last turn that the model reads.
const MOST: usize = 1_500;

/// Asks; the error says why there is no judgement.
pub(super) async fn judge(
    backend: &dyn Backend,
    request: &WireRequest,
    deadline: Duration,
) -> Result<Signals, &'static str> {
    if backend.readiness() != Readiness::Ready {
        return Err("not_ready");
    }
    let view = &request.view;
    let last = view.messages().iter().rev().find(|message| message.role == Role::User);
    let text = last.map_or_else(|| view.texts().last().unwrap_or_default(), |message| message.text.0.as_str());
    let mut end = text.len().min(MOST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let question = Question {
        system: "You rate requests to an assistant. Answer with one word: `easy` if a small model answers the request \
                 well, `hard` if it needs expert knowledge, long reasoning, mathematics or code."
            .into(),
        user: format!("Request:\n{}\n\nIs this request easy or hard?", &text[..end]),
        words: ["hard".into(), "easy".into()],
    };
    match tokio::time::timeout(deadline, backend.ask(question)).await {
        Err(_) => Err("deadline"),
        Ok(Err(error)) => Err(match error.kind {
            Kind::QueueFull | Kind::Timeout(_) => "busy",
            Kind::Unsupported(_) => "unsupported",
            Kind::NotReady(_) => "not_ready",
            Kind::Connect(_)
            | Kind::Status { .. }
            | Kind::InStream
            | Kind::Truncated(_)
            | Kind::Protocol(_)
            | Kind::ContextLength { .. }
            | Kind::TooLarge { .. }
            | Kind::Field { .. }
            | Kind::Invalid(_)
            | Kind::Budget(_)
            | Kind::Forbidden(_)
            | Kind::Internal(_) => "failed",
        }),
        Ok(Ok(need)) => Ok(Signals {
            need: Some(need),
            judged_by: JudgedBy::Slm,
            abstained: None,
            skipped: None,
            unread_bytes: text.len() - end,
            took_us: 0,
            features: vec![],
            head: None,
        }),
    }
}

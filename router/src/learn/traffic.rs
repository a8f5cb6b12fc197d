//! One's own traffic becomes rows to learn from.
//!
//! **Rated.** A local answer that somebody rated (`POST /v1/feedback`) tells how much the strong model was needed: as much as
//! the answer was bad. A rating of a hosted answer tells nothing of the local one. The text is there only where
//! `[learning] keep_prompts` allows it to be kept.
//!
//! **Shadowed.** A shadowed request was answered by both sides. The hosted answer is taken as the right one; the local one is as good as
//! it is alike: the same after normalising, the same JSON or the same number is wholly good, otherwise the cosine of the
//! two sentence embeddings says how far. That is a weaker word than a person's or a test's, so such rows are *graded*
//! (field `need`, see [`rows`](super::rows)), name their source, and a head that was adapted to them passes the same gate
//! as any other.
//!
//! **What it does not do.** It takes no word of the cascade for a label: a judge's verdict is not the truth.

use crate::ledger::JudgedRow;
use policies::Location;
use serde_json::{Value, json};

/// A request that both sides answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The request.
    pub id: String,
    /// Microseconds since 1970.
    pub at_us: i64,
    /// The team that asked.
    pub team: Option<String>,
    /// `messages` or `prompt` as the client sent it: JSON text.
    pub prompt: String,
    /// The local model and its answer.
    pub weak: (String, String),
    /// The hosted model and its answer.
    pub strong: (String, String),
}

/// The source of what a shadow experiment's judge said of the local answer; a model as judge has a name of its own.
pub const SHADOW: &str = "shadow";

/// Cosines at which a local answer counts as another one altogether, and as the same.
const OTHER: f32 = 0.5;
const SAME: f32 = 0.95;

/// How far two texts are alike, as the cosine of their embeddings; `None` where no encoder is at hand.
pub type Alike<'a> = &'a dyn Fn(&str, &str) -> Option<f32>;

// === impl Pair ===

impl Pair {
    /// The row, in the format of graded rows; `None` where the prompt is not text, or nobody can compare the answers.
    pub fn row(&self, alike: Alike<'_>) -> Option<Value> {
        let need = need(&self.weak.1, &self.strong.1, alike)?;
        let mut row = json!({
            "id": self.id, "source": "shadow", "task": self.team, "need": need,
            "weak_model": self.weak.0, "strong_model": self.strong.0,
        });
        match serde_json::from_str(&self.prompt).ok()? {
            Value::String(prompt) => row["prompt"] = prompt.into(),
            messages @ Value::Array(_) => row["messages"] = messages,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
        }
        Some(row)
    }
}

/// The row of a rated local answer, in the format of graded rows; `None` where nothing was said, or the text is not kept.
pub fn rated(judged: &JudgedRow) -> Option<Value> {
    let value = judged.value?;
    let prompt = judged.judgement.prompt.as_deref().filter(|prompt| !prompt.is_empty())?;
    if judged.served.as_deref() != Some(Location::Local.word()) {
        return None;
    }
    let need = (1.0 - value).clamp(0.0, 1.0);
    Some(json!({"id": judged.request, "source": "feedback", "task": judged.team, "need": need, "prompt": prompt}))
}

/// How much the strong model was needed, 0 to 1, told from both answers.
pub fn need(weak: &str, strong: &str, alike: Alike<'_>) -> Option<f32> {
    let (weak, strong) = (weak.trim(), strong.trim());
    if strong.is_empty() {
        // Nothing to compare with: a tool call, or an empty answer.
        return None;
    }
    if weak.is_empty() {
        return Some(1.0);
    }
    if normalised(weak) == normalised(strong) {
        return Some(0.0);
    }
    let values = (serde_json::from_str::<Value>(weak), serde_json::from_str::<Value>(strong));
    if let (Ok(weak), Ok(strong)) = values {
        // Both are data: either the same or not.
        let same = weak == strong || matches!((weak.as_f64(), strong.as_f64()), (Some(a), Some(b)) if a == b);
        return Some(f32::from(u8::from(!same)));
    }
    let cosine = alike(weak, strong)?;
    Some((1.0 - (cosine - OTHER) / (SAME - OTHER)).clamp(0.0, 1.0))
}

/// Letters and digits in lower case, words apart by one space.
fn normalised(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    plain.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_follow_how_alike_the_answers_are() {
        for (weak, strong, cosine, expected) in [
            ("Paris.", "paris", None, Some(0.0)),
            ("{\"a\": 1}", "{ \"a\":1 }", None, Some(0.0)),
            ("{\"a\": 1}", "{\"a\": 2}", None, Some(1.0)),
            ("4", "4.0", None, Some(0.0)),
            ("", "Paris", None, Some(1.0)),
            ("Paris", "", None, None),
            ("It is Paris", "The capital is Paris", Some(0.95), Some(0.0)),
            ("No idea", "The capital is Paris", Some(0.2), Some(1.0)),
            ("Lyon, I think", "The capital is Paris", None, None),
        ] {
            assert_eq!(need(weak, strong, &|_, _| cosine), expected, "{weak} {strong}");
        }
        let half = need("a b", "c d", &|_, _| Some(0.725)).unwrap();
        assert!((half - 0.5).abs() < 1e-4, "{half}");
    }

    #[test]
    fn a_row_is_one_that_training_reads() {
        let pair = Pair {
            id: "r1".into(),
            at_us: 1,
            team: Some("research".into()),
            prompt: r#"[{"role": "user", "content": "hi"}]"#.into(),
            weak: ("small".into(), "hello".into()),
            strong: ("big".into(), "Hello!".into()),
        };
        let row = pair.row(&|_, _| None).unwrap();
        assert_eq!(row["need"], 0.0);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows.jsonl");
        std::fs::write(&file, row.to_string()).unwrap();
        let read = crate::learn::rows::read_labelled(&file).unwrap();
        assert_eq!((read[0].source.as_str(), read[0].task.as_str()), ("shadow", "research"));
        assert_eq!(read[0].pair, Some(("small".into(), "big".into())));
        assert!(Pair { prompt: "7".into(), ..pair }.row(&|_, _| None).is_none());
    }
}

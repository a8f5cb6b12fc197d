//! One's own traffic becomes rows to learn from.
//!
//! | source | what it is | how strong |
//! | --- | --- | --- |
//! | `feedback` | a client rated a local answer (`POST /v1/feedback`): the strong model was needed as much as that was bad. A rating of a hosted answer tells nothing of the local one | a person's word |
//! | `shadow` | both sides answered, and a rule or the likeness of both texts judged the local answer by the hosted one | a machine's word, of requests drawn whatever their score was |
//! | `shadow-model` | the same, and a model judged | as good as that model; whether it agrees with people is not looked at here |
//! | `reask`, `regenerate` | the session asked nearly the same, or the same, again after a local answer ([`crate::again`]) | weak: a guess about a client, and only ever a bad one |
//! | `cascade` | a second look found the local answer so probably wrong | weak: the guess of a small head, of requests near the threshold only |
//!
//! Of a request that several have spoken of the first of the wanted sources counts ([`SOURCES`] is their order of strength). All
//! but the weak ones are wanted where nobody says otherwise.
//!
//! **How likely it was known.** A rated answer is a local one, and the judgement sends the easy ones there: what is known of
//! hard ones comes from exploration. So rows of `feedback` and `cascade` say with which `propensity` the local side was
//! taken, and training counts them by its inverse. Shadows are drawn by chance alone and count 1.
//!
//! **Without prompts.** Where the text is not kept ([`learning] keep_prompts`, or no shadow) the row has what the head saw: see
//! [`rows`](super::rows).
//!
//! **What it does not do.** No row says that the hosted answer was wrong, too: it is taken as the measure. Such rows are *graded*
//! (field `need`), and a head that was adapted to them passes the same gate as any other.

use crate::again::{REASK, REGENERATE};
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

/// A client's word.
pub const FEEDBACK: &str = "feedback";
/// What a shadow experiment's rule or embedding said of the local answer.
pub const SHADOW: &str = "shadow";
/// What a model as its judge said.
pub const SHADOW_BY_MODEL: &str = "shadow-model";
/// What a second look said.
pub const CASCADE: &str = "cascade";
/// All sources of labels, the strongest first.
pub const SOURCES: [&str; 6] = [FEEDBACK, SHADOW, SHADOW_BY_MODEL, REGENERATE, REASK, CASCADE];

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
        self.with_text(json!({"id": self.id, "source": SHADOW, "task": self.team, "need": need}))
    }

    fn with_text(&self, mut row: Value) -> Option<Value> {
        row["weak_model"] = self.weak.0.as_str().into();
        row["strong_model"] = self.strong.0.as_str().into();
        match serde_json::from_str(&self.prompt).ok()? {
            Value::String(prompt) => row["prompt"] = prompt.into(),
            messages @ Value::Array(_) => row["messages"] = messages,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
        }
        Some(row)
    }
}

/// What is known of a judged request's local answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Who says so.
    pub source: &'static str,
    /// How much the strong model was needed, 0 to 1.
    pub need: f32,
    /// With which probability (above 0, at most 1) it came to be known.
    pub propensity: f32,
}

impl Known {
    /// What the first of these sources says that says anything.
    pub fn of(judged: &JudgedRow, sources: &[&'static str]) -> Option<Self> {
        let local = judged.served.as_deref() == Some(Location::Local.word());
        let judgement = &judged.judgement;
        // A local answer that was not what the judgement, or a draw, asked for is there for reasons of its own.
        let chance = if judgement.side == Location::Local { judgement.propensity } else { 1.0 };
        sources.iter().find_map(|source| {
            let said = || judged.labels.iter().find(|(known, _)| known == source).map(|(_, value)| *value);
            let (value, propensity) = match *source {
                FEEDBACK | REASK | REGENERATE if local => (said()?, chance),
                FEEDBACK | REASK | REGENERATE => return None,
                CASCADE => (1.0 - judged.doubt?, chance),
                _ => (said()?, 1.0),
            };
            let propensity = propensity.clamp(f32::MIN_POSITIVE, 1.0);
            Some(Self { source, need: (1.0 - value).clamp(0.0, 1.0), propensity })
        })
    }

    /// The row, in the format of graded rows: with the text where it is kept, else with what the head saw; `None` where there is
    /// neither. `alone`: the score is that head's alone, no second opinion had a say in it.
    pub fn row(&self, judged: &JudgedRow, alone: bool) -> Option<Value> {
        let mut row = self.head(&judged.request, judged.team.as_deref());
        let judgement = &judged.judgement;
        if let Some(prompt) = judgement.prompt.as_deref().filter(|prompt| !prompt.is_empty()) {
            row["prompt"] = prompt.into();
            return Some(row);
        }
        let views = judgement.evidence.as_ref()?.views();
        row["features"] = short(&views.features, f32::clone);
        if let Some(embedding) = views.embedding {
            // Kept in steps of some thousandths.
            row["embedding"] = short(&embedding, |value| (value * 1e5).round() / 1e5);
        }
        if let Some(head) = judgement.head.as_deref().filter(|_| alone) {
            row["head"] = head.into();
            row["score"] = json!(judgement.score);
        }
        Some(row)
    }

    /// The row of a pair whose texts are there, with what is known of its request.
    pub fn row_of(&self, pair: &Pair) -> Option<Value> {
        pair.with_text(self.head(&pair.id, pair.team.as_deref()))
    }

    fn head(&self, id: &str, team: Option<&str>) -> Value {
        let mut row = json!({"id": id, "source": self.source, "task": team, "need": self.need});
        if self.propensity < 1.0 {
            row["propensity"] = json!(self.propensity);
        }
        row
    }
}

/// Numbers with as many digits as tell them from other 32-bit ones.
fn short(values: &[f32], rounded: impl Fn(&f32) -> f32) -> Value {
    values.iter().map(|value| rounded(value).to_string().parse::<f64>().map_or(Value::Null, Value::from)).collect()
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

    fn judged(side: Location, labels: &[(&str, f32)]) -> JudgedRow {
        let reading = crate::probe::Reading::of_prompt("What is 17 times 23?");
        let views = crate::probe::head::Views {
            features: crate::probe::features::compute(&reading),
            grams: vec![(1, 1)],
            embedding: Some((0..crate::encoder::DIMENSIONS).map(|at| (at as f32).sin() / 14.0).collect()),
        };
        JudgedRow {
            request: "r1".into(),
            at_us: 1,
            team: Some("research".into()),
            judgement: crate::ledger::JudgementRecord {
                judge: "Probe(need-1)".into(),
                lane: "".into(),
                head: Some("need-1".into()),
                score: 0.25,
                threshold: 0.5,
                looked_from: None,
                side,
                propensity: 0.125,
                explored: true,
                evidence: Some(std::sync::Arc::new(crate::classify::Evidence::of(&views))),
                prompt: None,
            },
            served: Some(side.word().into()),
            model: Some("small".into()),
            labels: labels.iter().map(|(source, value)| ((*source).to_owned(), *value)).collect(),
            doubt: Some(0.75),
        }
    }

    #[test]
    fn the_strongest_wanted_word_counts_and_says_how_likely_it_was_to_be_known() {
        let both = [("feedback", 0.0), ("shadow", 1.0), ("reask", 0.0)];
        for (side, sources, expected) in [
            (Location::Local, &SOURCES[..], Some(("feedback", 1.0, 0.125))),
            (Location::Hosted, &SOURCES[..], Some(("shadow", 0.0, 1.0))),
            (Location::Local, &[SHADOW][..], Some(("shadow", 0.0, 1.0))),
            (Location::Local, &[CASCADE][..], Some(("cascade", 0.75, 0.125))),
            (Location::Hosted, &[FEEDBACK][..], None),
            (Location::Local, &[SHADOW_BY_MODEL][..], None),
            (Location::Local, &[REASK, REGENERATE][..], Some(("reask", 1.0, 0.125))),
            (Location::Hosted, &[REASK][..], None),
        ] {
            let known = Known::of(&judged(side, &both), sources);
            let known = known.map(|known| (known.source, known.need, known.propensity));
            assert_eq!(known, expected, "{side:?} {sources:?}");
        }
    }

    #[test]
    fn without_a_prompt_a_row_has_what_the_head_saw() {
        let of = judged(Location::Local, &[("feedback", 0.0)]);
        let known = Known::of(&of, &SOURCES).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows.jsonl");
        std::fs::write(&file, known.row(&of, true).unwrap().to_string()).unwrap();
        let read = crate::learn::rows::read_labelled(&file).unwrap().remove(0);
        let (kept, saw) = (read.kept.as_deref().unwrap(), of.judgement.evidence.as_ref().unwrap().views());
        assert_eq!((&kept.features, &kept.judged), (&saw.features, &Some(("need-1".to_owned(), 0.25))));
        let apart = kept.embedding.iter().flatten().zip(saw.embedding.iter().flatten());
        assert!(apart.map(|(one, other)| (one - other).abs()).fold(0.0, f32::max) < 1e-5);
        assert_eq!((read.weight, read.label.map(|label| label.need)), (8.0, Some(1.0)));
        assert_eq!(known.row(&of, false).unwrap().get("score"), None, "not the head's alone");
        assert!(read.views(17, None).embedding.is_none() && read.views(17, None).grams.is_empty());
        let nothing =
            JudgedRow { judgement: crate::ledger::JudgementRecord { evidence: None, ..of.judgement.clone() }, ..of };
        assert_eq!(known.row(&nothing, true), None);
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

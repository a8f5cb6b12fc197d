//! A row as it is typed: everything but the id may be left out, and what is wrong with it is said in half a sentence.

use super::{Kept, Label, MOST_WEIGHT, Row};
use crate::probe::{Reading, features};
use adapters::wire::WireRequest;
use policies::Endpoint;
use serde::Deserialize;
use serde_json::Value;

/// A line of a file of rows.
#[derive(Deserialize)]
pub(super) struct WireRow {
    id: String,
    #[serde(default)]
    features: Option<Vec<f32>>,
    #[serde(default)]
    embedding: Option<Vec<f32>>,
    #[serde(default)]
    head: Option<String>,
    #[serde(default)]
    score: Option<f32>,
    #[serde(default)]
    propensity: Option<f32>,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    messages: Option<Value>,
    #[serde(default)]
    tools: Option<Value>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    task: Option<String>,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    q_weak: Option<f32>,
    #[serde(default)]
    q_strong: Option<f32>,
    #[serde(default)]
    need: Option<f32>,
    #[serde(default)]
    weak_model: Option<String>,
    #[serde(default)]
    strong_model: Option<String>,
}

// === impl WireRow ===

impl WireRow {
    /// The chat request that asks what the row asks.
    pub(super) fn request(&self) -> Result<WireRequest, String> {
        let messages = match (&self.prompt, &self.messages) {
            (Some(prompt), None) => serde_json::json!([{"role": "user", "content": prompt}]),
            (None, Some(messages)) => messages.clone(),
            (Some(_), Some(_)) => return Err("it has both `prompt` and `messages`".into()),
            (None, None) => return Err("it has neither `prompt` nor `messages`, and only a text is a request".into()),
        };
        let mut body = serde_json::json!({"model": "auto", "messages": messages});
        if let Some(tools) = &self.tools {
            body["tools"] = tools.clone();
        }
        WireRequest::parse(Endpoint::Chat, body.to_string().into()).map_err(|why| why.message)
    }

    /// What takes the place of the prompt.
    fn kept(&self) -> Result<Option<Box<Kept>>, String> {
        let wanted = (features::NAMES.len(), crate::encoder::DIMENSIONS);
        match (&self.prompt, &self.messages, &self.features) {
            (Some(_), _, _) | (_, Some(_), _) => Ok(None),
            (None, None, None) => Err("it has neither `prompt` nor `messages`, nor `features`".into()),
            (None, None, Some(features)) if features.len() != wanted.0 => {
                let (found, wanted) = (features.len(), wanted.0);
                Err(format!("`features` has {found} numbers, this program's heads look at {wanted}"))
            }
            (None, None, Some(_)) if self.embedding.as_ref().is_some_and(|embedding| embedding.len() != wanted.1) => {
                Err(format!("`embedding` has not {} numbers", wanted.1))
            }
            (None, None, Some(features)) => Ok(Some(Box::new(Kept {
                features: features.clone(),
                embedding: self.embedding.clone(),
                judged: self.head.clone().zip(self.score),
            }))),
        }
    }

    /// What the row means.
    pub(super) fn read(self) -> Result<Row, String> {
        let kept = self.kept()?;
        let weight = match self.propensity {
            None => 1.0,
            Some(propensity) if propensity > 0.0 && propensity <= 1.0 => (1.0 / propensity).min(MOST_WEIGHT),
            Some(_) => return Err("`propensity` is not above 0 and at most 1".into()),
        };
        let (reading, chars) = match (&self.prompt, &self.messages) {
            (None, None) => (Reading::of_prompt(""), 0),
            (Some(prompt), None) if self.tools.is_none() => (Reading::of_prompt(prompt), prompt.chars().count()),
            _ => {
                let request = self.request()?;
                let chars = request.view.texts().map(|text| text.chars().count()).sum();
                (Reading::of_request(&request), chars)
            }
        };
        let in_range = |name: &str, value: f32| {
            if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(format!("`{name}` is not from 0 to 1")) }
        };
        let label = match (self.q_weak, self.q_strong, self.need) {
            (Some(weak), Some(strong), _) => {
                let (weak, strong) = (in_range("q_weak", weak)?, in_range("q_strong", strong)?);
                Some(Label { weak, strong, need: f32::from(u8::from(strong > weak)), graded: false })
            }
            (None, None, Some(need)) => {
                let need = in_range("need", need)?;
                Some(Label { weak: 1.0 - need, strong: 1.0, need, graded: true })
            }
            (None, None, None) => None,
            (Some(_), None, _) => return Err("it has `q_weak` but not `q_strong`".into()),
            (None, Some(_), _) => return Err("it has `q_strong` but not `q_weak`".into()),
        };
        Ok(Row {
            source: self.source.or(self.category).unwrap_or_default(),
            task: self.task.or(self.language).unwrap_or_default(),
            group: self.group.unwrap_or_else(|| self.id.clone()),
            id: self.id,
            reading,
            kept,
            weight,
            chars,
            label,
            pair: self.weak_model.zip(self.strong_model),
        })
    }
}

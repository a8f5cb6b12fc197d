//! Requests for vectors (`/v1/embeddings`), and their answers.
//!
//! **Promise.** A request is a text, a list of texts, or tokens (one list of numbers, or several) of the model's own vocabulary; it
//! names its model. What is wrong is said by field before anything is dialled.
//!
//! **Why `auto` is refused.** Vectors of two models cannot be compared: an index that was made with one is worthless to the
//! other. So nobody chooses here, and no other model steps in where the named one fails.
//!
//! **What it does not do.** Tokens are counted and not read: whose vocabulary they are of is the model's business.
//!
//! Source: OpenAI API reference, "Create embeddings" and "The embedding object".

use super::chat::{Format, Prompt, Sampling, ToolChoice, View};
use super::{RawObject, Seen, WireError};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use policies::{Counted, Redacted, TokenCount, Usage};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The most texts, or lists of tokens, in one request.
const MAX_INPUTS: usize = 2_048;

/// What is to be turned into vectors, and how they are wanted.
#[derive(Debug)]
pub struct Inputs {
    what: What,
    /// As base64 of little-endian floats of 32 bits, not as numbers.
    pub base64: bool,
    /// How long a vector shall be, where the client says so.
    pub dimensions: Option<u64>,
}

#[derive(Debug)]
enum What {
    Texts(Vec<Redacted<String>>),
    /// How many tokens each has.
    Tokens(Vec<u64>),
}

// === impl Inputs ===

impl Inputs {
    /// The texts, in order; none where tokens came.
    pub fn texts(&self) -> &[Redacted<String>] {
        match &self.what {
            What::Texts(texts) => texts,
            What::Tokens(_) => &[],
        }
    }

    /// How many tokens each list has, in order; none where texts came.
    pub fn tokens(&self) -> &[u64] {
        match &self.what {
            What::Texts(_) => &[],
            What::Tokens(tokens) => tokens,
        }
    }
}

/// Reads a request for vectors from a model.
pub(super) fn view(model: String, raw: &RawObject) -> Result<View, WireError> {
    if matches!(model.as_str(), "auto" | "sluice/auto") {
        let text =
            "`model` must name an embedding model: vectors of different models cannot be compared, so none is chosen";
        return Err(WireError::new(text, Some("model")));
    }
    if raw.read::<bool>("stream")?.unwrap_or(false) {
        return Err(WireError::new("`stream` means nothing for embeddings", Some("stream")));
    }
    raw.read::<String>("user")?;
    let base64 = match raw.read::<String>("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            return Err(WireError::new("`encoding_format` must be `float` or `base64`", Some("encoding_format")));
        }
    };
    let dimensions = raw.read::<u64>("dimensions")?;
    if dimensions == Some(0) {
        return Err(WireError::new("`dimensions` must be at least 1", Some("dimensions")));
    }
    Ok(View {
        model,
        prompt: Prompt::Inputs(Inputs { what: inputs(raw)?, base64, dimensions }),
        stream: false,
        include_usage: false,
        // No token is written.
        sampling: Sampling { n: 1, max_tokens: Some(0), ..Sampling::default() },
        format: Format::Text,
        tools: vec![],
        tool_choice: ToolChoice::Auto,
        audio: false,
    })
}

fn inputs(raw: &RawObject) -> Result<What, WireError> {
    let wrong = |what: String| WireError::new(format!("`input` {what}"), Some("input"));
    let form = || wrong("must be a text, a list of texts, or tokens as whole numbers (one list, or several)".into());
    let Some(text) = raw.field("input") else { return Err(wrong("is missing".into())) };
    if text.starts_with('"') {
        let only: String = serde_json::from_str(text).map_err(|_| form())?;
        return texts(vec![only]).map_err(wrong);
    }
    let entries: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| form())?;
    let Some(first) = entries.first() else { return Err(wrong("is empty".into())) };
    match first.get().as_bytes().first() {
        Some(b'"') => {
            let read = serde_json::from_str::<Vec<String>>(text).map_err(|_| form())?;
            texts(read).map_err(wrong)
        }
        Some(b'[') => {
            let lists = serde_json::from_str::<Vec<Vec<u32>>>(text).map_err(|_| form())?;
            match lists.iter().position(Vec::is_empty) {
                Some(at) => Err(wrong(format!("has no token at {at}"))),
                None if lists.len() > MAX_INPUTS => Err(wrong(too_many())),
                None => Ok(What::Tokens(lists.iter().map(|list| list.len() as u64).collect())),
            }
        }
        _ => {
            let tokens = serde_json::from_str::<Vec<u32>>(text).map_err(|_| form())?;
            Ok(What::Tokens(vec![tokens.len() as u64]))
        }
    }
}

fn texts(texts: Vec<String>) -> Result<What, String> {
    match texts.iter().position(String::is_empty) {
        Some(at) => Err(format!("has an empty text at {at}")),
        None if texts.len() > MAX_INPUTS => Err(too_many()),
        None => Ok(What::Texts(texts.into_iter().map(Redacted).collect())),
    }
}

fn too_many() -> String {
    format!("has more than {MAX_INPUTS} entries")
}

#[derive(Serialize)]
struct Answer<'a> {
    object: &'static str,
    data: Vec<Datum<'a>>,
    model: &'a str,
    usage: Used,
}

#[derive(Serialize)]
struct Datum<'a> {
    object: &'static str,
    index: usize,
    embedding: Shown<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Numbers(&'a [f32]),
    Text(String),
}

#[derive(Serialize)]
struct Used {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// The answer of a model in the house: one vector for each input, and the tokens that were read.
pub fn vectors<V: AsRef<[f32]>>(model: &str, vectors: &[V], base64: bool, tokens: u64) -> Bytes {
    let data = vectors.iter().map(AsRef::as_ref).enumerate().map(|(index, vector)| {
        let embedding = if base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            Shown::Text(BASE64_STANDARD.encode(bytes))
        } else {
            Shown::Numbers(vector)
        };
        Datum { object: "embedding", index, embedding }
    });
    let usage = Used { prompt_tokens: tokens, total_tokens: tokens };
    let answer = Answer { object: "list", data: data.collect(), model, usage };
    // Strings and numbers: there is nothing that JSON could not say.
    serde_json::to_vec(&answer).unwrap_or_default().into()
}

/// Reads the answer of a provider; `None` when it is no JSON object with vectors in it.
///
/// The vectors are not looked at; there may be millions of numbers.
pub fn seen_in_vectors(body: &[u8]) -> Option<Seen> {
    #[derive(Deserialize)]
    struct View<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
        #[serde(default, borrow)]
        usage: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Told {
        prompt_tokens: u64,
    }
    let View { data, usage } = serde_json::from_slice(body).ok()?;
    if data.is_empty() || data.iter().any(|entry| !entry.get().starts_with('{')) {
        return None;
    }
    let told = usage.and_then(|usage| serde_json::from_str::<Told>(usage.get()).ok());
    let usage = told.map(|told| Counted::Exact(Usage { input: TokenCount(told.prompt_tokens), ..Usage::default() }));
    Some(Seen { usage, finish: Some("stop".into()), ..Seen::default() })
}

#[cfg(test)]
mod tests {
    use super::super::WireRequest;
    use super::*;
    use policies::Endpoint;
    use serde_json::{Value, json};

    fn read(body: Value) -> Result<WireRequest, WireError> {
        WireRequest::parse(Endpoint::Embeddings, Bytes::from(body.to_string()))
    }

    #[test]
    fn inputs_are_texts_or_tokens_in_any_of_their_four_forms() {
        for (input, texts, tokens) in [
            (json!("one"), vec!["one"], vec![]),
            (json!(["one", "two"]), vec!["one", "two"], vec![]),
            (json!([7, 8, 9]), vec![], vec![3]),
            (json!([[7, 8], [9]]), vec![], vec![2, 1]),
        ] {
            let request = read(json!({"model": "e", "input": input, "dimensions": 3, "user": "u"})).unwrap();
            let inputs = request.view.inputs().unwrap();
            assert_eq!(request.view.texts().collect::<Vec<_>>(), texts);
            assert_eq!((inputs.tokens(), inputs.dimensions, inputs.base64), (tokens.as_slice(), Some(3), false));
            assert_eq!(request.view.sampling.max_tokens, Some(0), "no token is written");
        }
    }

    #[test]
    fn what_is_wrong_is_said_by_its_field() {
        let many = vec!["x"; MAX_INPUTS + 1];
        for (field, value, says) in [
            ("model", json!("auto"), "cannot be compared"),
            ("model", Value::Null, "missing"),
            ("input", Value::Null, "missing"),
            ("input", json!(""), "empty text"),
            ("input", json!([]), "is empty"),
            ("input", json!(["a", ""]), "empty text at 1"),
            ("input", json!(["a", 7]), "must be a text"),
            ("input", json!([7, "a"]), "must be a text"),
            ("input", json!([[7], []]), "no token at 1"),
            ("input", json!([-1]), "must be a text"),
            ("input", json!([1.5]), "must be a text"),
            ("input", json!({"text": "a"}), "must be a text"),
            ("input", json!(many), "more than 2048"),
            ("encoding_format", json!("int8"), "`float` or `base64`"),
            ("dimensions", json!(0), "at least 1"),
            ("dimensions", json!("x"), "dimensions"),
            ("stream", json!(true), "means nothing"),
            ("user", json!(7), "user"),
        ] {
            let mut body = json!({"model": "e", "input": "x"});
            body[field] = value;
            let error = read(body).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(field), "{}", error.message);
            assert!(error.message.contains(says), "{field}: {}", error.message);
        }
    }

    #[test]
    fn an_answer_says_the_same_as_numbers_and_as_base64() {
        let made = [vec![0.1_f32, -2.0], vec![3.5, f32::MIN_POSITIVE]];
        let plain: Value = serde_json::from_slice(&vectors("m", &made, false, 7)).unwrap();
        assert_eq!(plain["data"][0]["embedding"].to_string(), "[0.1,-2.0]", "as short as they can be said");
        assert_eq!(plain["usage"], json!({"prompt_tokens": 7, "total_tokens": 7}));
        let packed: Value = serde_json::from_slice(&vectors("m", &made, true, 7)).unwrap();
        let bytes = BASE64_STANDARD.decode(packed["data"][1]["embedding"].as_str().unwrap()).unwrap();
        let numbers: Vec<f32> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        assert_eq!(numbers, made[1]);
        assert_eq!((packed["data"][1]["index"].as_u64(), packed["model"].as_str()), (Some(1), Some("m")));
    }

    #[test]
    fn of_an_answer_only_its_form_and_its_tokens_are_read() {
        let seen = seen_in_vectors(&vectors("m", &[vec![1.0_f32]], true, 9)).unwrap();
        assert_eq!(seen.usage, Some(Counted::Exact(Usage::plain(9, 0))));
        let untold = seen_in_vectors(br#"{"data":[{"embedding":[1]}]}"#).unwrap();
        assert_eq!(untold.usage, None, "a missing count is not a zero");
        for bad in [r#"{"error":{}}"#, r#"{"data":[]}"#, r#"{"data":[7]}"#, "[1]", "<html>"] {
            assert!(seen_in_vectors(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}

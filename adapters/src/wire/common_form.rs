//! The form that nearly every answer has, read in one pass.
//!
//! **Promise.** What is read here is what [`super::seen`] reads piece by piece, several passes over each byte: texts, finish,
//! usage. Strings without escapes are not copied on the way.
//!
//! **Failure behaviour.** Whatever is not exactly of this form (a field twice, a list where an object is foreseen, parts where a
//! text is) gives `None`, and the patient reader has its turn: it passes over what it does not know.

use super::seen::{Seen, UsageView};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// An object: a derived reader would take a list of its fields, too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// A text, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default, borrow)]
    choices: Option<Vec<Object<Choice<'a>>>>,
    #[serde(default)]
    usage: Option<Object<UsageView>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default, borrow)]
    delta: Option<Object<Message<'a>>>,
    #[serde(default, borrow)]
    message: Option<Object<Message<'a>>>,
    #[serde(default, borrow)]
    text: Option<Text<'a>>,
    #[serde(default, borrow)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default, borrow)]
    content: Option<Text<'a>>,
    #[serde(default, borrow)]
    refusal: Option<Text<'a>>,
    #[serde(default, borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(default, borrow)]
    tool_calls: Option<Vec<Object<ToolCall<'a>>>>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(default, borrow)]
    function: Option<Object<Function<'a>>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(default, borrow)]
    name: Option<Text<'a>>,
    #[serde(default, borrow)]
    arguments: Option<Text<'a>>,
}

/// What an event or a whole answer tells, and how many choices it has, if it has a list of them; `None`: it has another form.
pub(super) fn read(payload: &[u8]) -> Option<(Seen, Option<usize>)> {
    let Object(answer) = serde_json::from_slice::<Object<Answer<'_>>>(payload).ok()?;
    let told = answer.choices.as_ref().map(Vec::len);
    let choices = answer.choices.unwrap_or_default();
    let usage = answer.usage.and_then(|Object(usage)| usage.counted());
    let mut seen = Seen { usage, ..Seen::default() };
    for Object(Choice { delta, message, text, finish_reason }) in choices {
        add(&mut seen.text, text);
        for Object(message) in [delta, message].into_iter().flatten() {
            let Message { content, refusal, reasoning_content, tool_calls } = message;
            [reasoning_content, content, refusal].into_iter().for_each(|text| add(&mut seen.text, text));
            for function in tool_calls.unwrap_or_default().into_iter().filter_map(|Object(call)| call.function) {
                let Object(Function { name, arguments }) = function;
                [name, arguments].into_iter().for_each(|text| add(&mut seen.text, text));
            }
        }
        seen.finish = finish_reason.map(|Text(finish)| finish.into_owned()).or(seen.finish);
    }
    Some((seen, told))
}

/// Adds a text; the first one of an answer is moved where it is already a string of its own.
fn add(into: &mut String, text: Option<Text<'_>>) {
    match text {
        Some(Text(Cow::Owned(text))) if into.is_empty() => *into = text,
        Some(Text(text)) => into.push_str(&text),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::seen::patient;
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn the_usual_forms_are_read_in_one_pass() {
        for (payload, text, finish) in [
            (json!({"choices": [{"delta": {"content": "h\u{e9}"}, "finish_reason": null}]}), "h\u{e9}", None),
            (json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": null}), "", Some("stop")),
            (json!({"choices": [{"message": {"content": null, "refusal": "no"}}]}), "no", None),
            (json!({"choices": [{"text": "a\n"}, {"text": "b"}]}), "a\nb", None),
        ] {
            let (seen, _) = read(payload.to_string().as_bytes()).unwrap();
            assert_eq!((seen.text.as_str(), seen.finish.as_deref()), (text, finish), "{payload}");
        }
    }

    #[test]
    fn another_form_is_left_to_the_patient_reader() {
        for payload in [
            "[]",
            "[[]]",
            r#"{"choices":7}"#,
            r#"{"choices":[["x"]]}"#,
            r#"{"choices":[{"delta":["x"]}]}"#,
            r#"{"choices":[],"choices":[]}"#,
            r#"{"choices":[{"delta":{"content":[{"text":"x"}]}}]}"#,
            r#"{"choices":[],"usage":[1,2]}"#,
            r#"{"choices":[]} x"#,
        ] {
            assert!(read(payload.as_bytes()).is_none(), "{payload}");
        }
    }

    fn some_value() -> impl Strategy<Value = Value> {
        let text = "[a-c\u{e9}\"\\\\\n]{0,4}".prop_map(Value::from);
        let leaf = prop_oneof![Just(Value::Null), any::<i8>().prop_map(Value::from), Just(json!(true)), text];
        leaf.prop_recursive(5, 24, 4, |inner| {
            let key = proptest::sample::select(vec![
                "choices",
                "delta",
                "message",
                "content",
                "text",
                "finish_reason",
                "usage",
                "tool_calls",
                "function",
                "name",
                "arguments",
                "refusal",
                "reasoning_content",
                "prompt_tokens",
                "completion_tokens",
                "x",
            ]);
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::vec((key, inner), 0..5).prop_map(|fields| Value::Object(
                    fields.into_iter().map(|(key, value)| (key.into(), value)).collect()
                )),
            ]
        })
    }

    /// Values of the foreseen form, with some that are not.
    fn answer() -> impl Strategy<Value = Value> {
        proptest::collection::vec(some_value(), 11).prop_map(|values| {
            let message = |at: usize| {
                json!({"content": values[at], "refusal": values[at + 1], "reasoning_content": values[at + 2],
                    "tool_calls": values[at + 3]})
            };
            let choice =
                json!({"delta": message(0), "message": message(4), "text": values[8], "finish_reason": values[9]});
            json!({"choices": [choice], "usage": values[10]})
        })
    }

    proptest! {
        #[test]
        fn both_readers_read_the_same(value in prop_oneof![answer(), some_value()]) {
            let payload = value.to_string();
            if let Some((seen, choices)) = read(payload.as_bytes()) {
                let (other, told) = patient(payload.as_bytes()).unwrap();
                prop_assert_eq!((seen.text, seen.finish, seen.usage, choices), (other.text, other.finish, other.usage, told));
            }
        }
    }
}

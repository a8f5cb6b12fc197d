//! Golden answers: what an upstream says, and what a client of each form is told for it, whole and streamed, field by field
//! (reliability test 19). What is expected is written down here once more, by the documents of the three APIs.

use async_openai::types::chat::{CreateChatCompletionResponse, CreateChatCompletionStreamResponse};
use serde_json::{Value, json};
use tests::upstream::Script;
use tests::{Gateway, Told, Upstream, sse};

/// An answer of an upstream, in parts, and the words for its end in each form.
struct Golden {
    name: &'static str,
    thoughts: &'static str,
    text: &'static str,
    refusal: &'static str,
    /// Name and arguments.
    calls: &'static [(&'static str, &'static str)],
    finish: &'static str,
    /// Which text ended it, as vLLM says it.
    stopped_at: Option<&'static str>,
    /// `stop_reason` of a message.
    stop_reason: &'static str,
    /// Why a response is incomplete.
    incomplete: Option<&'static str>,
    /// Prompt, cached of it, answer, reasoning of it.
    usage: (u64, u64, u64, u64),
}

const PLAIN: Golden = Golden {
    name: "plain",
    thoughts: "",
    text: "Paris is the capital of France.",
    refusal: "",
    calls: &[],
    finish: "stop",
    stopped_at: None,
    stop_reason: "end_turn",
    incomplete: None,
    usage: (11, 0, 8, 0),
};

const CALLED: Golden = Golden { finish: "tool_calls", stop_reason: "tool_use", text: "", ..PLAIN };

const GOLDENS: [Golden; 20] = [
    PLAIN,
    Golden { name: "letters", text: "Grüße, 世界 👋🏽, \u{202e}right to left\u{202c}, e\u{301}", ..PLAIN },
    Golden { name: "escapes", text: "\"quoted\"\\back\\slash\ttab\nline\r\nreturn\u{0}zero\u{7f}", ..PLAIN },
    Golden { name: "looks-like-sse", text: "data: [DONE]\n\nevent: error\ndata: {}\n\n: comment", ..PLAIN },
    Golden { name: "looks-like-json", text: "{\"choices\":[{\"delta\":{\"content\":\"no\"}}]}", ..PLAIN },
    Golden { name: "blank", text: "   \n ", ..PLAIN },
    Golden { name: "empty", text: "", usage: (11, 0, 0, 0), ..PLAIN },
    Golden { name: "long", text: include_str!("goldens.rs"), usage: (11, 0, 5_000, 0), ..PLAIN },
    Golden {
        name: "length",
        finish: "length",
        stop_reason: "max_tokens",
        incomplete: Some("max_output_tokens"),
        ..PLAIN
    },
    Golden {
        name: "filtered",
        finish: "content_filter",
        stop_reason: "refusal",
        incomplete: Some("content_filter"),
        ..PLAIN
    },
    Golden { name: "stopped-at", stopped_at: Some("###"), stop_reason: "stop_sequence", ..PLAIN },
    Golden { name: "refused", text: "", refusal: "I can't help with that.", ..PLAIN },
    Golden { name: "thought", thoughts: "The user asks for a capital.", usage: (11, 0, 20, 12), ..PLAIN },
    Golden { name: "cached", usage: (2_000, 1_920, 8, 0), ..PLAIN },
    Golden { name: "huge-counts", usage: (3_000_000_000, 1, 1_000_000_000, 3), ..PLAIN },
    Golden { name: "one-call", calls: &[("lookup", "{\"city\":\"Paris\"}")], ..CALLED },
    Golden { name: "no-arguments", calls: &[("now", "{}")], ..CALLED },
    Golden {
        name: "two-calls",
        calls: &[("lookup", "{\"city\":\"Paris\"}"), ("lookup", "{\"city\":\"Rome\",\"days\":[1,2]}")],
        ..CALLED
    },
    Golden { name: "text-then-call", text: "Let me look.", calls: &[("lookup", "{\"q\":\"ü\\n\"}")], ..CALLED },
    Golden {
        name: "thought-then-call",
        thoughts: "I need the weather.",
        calls: &[("lookup", "{\"city\":\"Oslo\"}")],
        usage: (30, 10, 40, 25),
        ..CALLED
    },
];

// === impl Golden ===

/// Pieces of at most so many letters.
fn pieces(text: &str, letters: usize) -> Vec<String> {
    let letters: Vec<String> =
        text.chars().collect::<Vec<_>>().chunks(letters).map(|piece| piece.iter().collect()).collect();
    letters
}

impl Golden {
    fn usage(&self) -> Value {
        let (prompt, cached, answer, reasoning) = self.usage;
        json!({
            "prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer,
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0},
        })
    }

    /// The upstream's whole answer, with fields that nobody here knows.
    fn whole(&self) -> Value {
        let filled = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
        let mut message = json!({"role": "assistant", "content": filled(self.text), "refusal": filled(self.refusal)});
        if self.text.is_empty() && self.calls.is_empty() && self.refusal.is_empty() {
            message["content"] = "".into();
        }
        if !self.thoughts.is_empty() {
            message["reasoning_content"] = self.thoughts.into();
        }
        if !self.calls.is_empty() {
            let calls = self.calls.iter().enumerate().map(|(n, (name, arguments))| {
                json!({"id": format!("call_{n}"), "type": "function", "function": {"name": name, "arguments": arguments}})
            });
            message["tool_calls"] = calls.collect();
        }
        let mut choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": self.finish});
        if let Some(at) = self.stopped_at {
            choice["stop_reason"] = at.into();
        }
        json!({
            "id": format!("chatcmpl-{}", self.name), "object": "chat.completion", "created": 1_700_000_000,
            "model": "served-model", "choices": [choice], "usage": self.usage(), "system_fingerprint": "fp_1",
            "x_unknown": {"kept": [1.50, null]},
        })
    }

    /// The data of the upstream's stream: the usage event is the last but `[DONE]`.
    fn streamed(&self) -> Vec<String> {
        let chunk = |choices: Value, usage: Value| {
            json!({
                "id": format!("chatcmpl-{}", self.name), "object": "chat.completion.chunk", "created": 1_700_000_000,
                "model": "served-model", "choices": choices, "usage": usage, "x_unknown": true,
            })
            .to_string()
        };
        let delta = |delta: Value| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]), Value::Null);
        let mut data = vec![delta(json!({"role": "assistant", "content": ""}))];
        for (field, text) in [("reasoning_content", self.thoughts), ("content", self.text), ("refusal", self.refusal)] {
            let letters = if text.len() > 1_000 { 500 } else { 3 };
            data.extend(pieces(text, letters).into_iter().map(|piece| delta(json!({field: piece}))));
        }
        for (n, (name, arguments)) in self.calls.iter().enumerate() {
            let head = json!({"index": n, "id": format!("call_{n}"), "type": "function",
                "function": {"name": name, "arguments": ""}});
            data.push(delta(json!({"tool_calls": [head]})));
            data.extend(
                pieces(arguments, 4)
                    .into_iter()
                    .map(|piece| delta(json!({"tool_calls": [{"index": n, "function": {"arguments": piece}}]}))),
            );
        }
        let mut last = json!({"index": 0, "delta": {}, "finish_reason": self.finish});
        if let Some(at) = self.stopped_at {
            last["stop_reason"] = at.into();
        }
        data.push(chunk(json!([last]), Value::Null));
        data.push(chunk(json!([]), self.usage()));
        data.push("[DONE]".into());
        data
    }

    /// What Anthropic's API says for it.
    fn message(&self) -> Value {
        let mut content = Vec::new();
        if !self.thoughts.is_empty() {
            content.push(json!({"type": "thinking", "thinking": self.thoughts, "signature": ""}));
        }
        content.extend(
            [self.text, self.refusal]
                .iter()
                .filter(|text| !text.is_empty())
                .map(|text| json!({"type": "text", "text": text})),
        );
        content.extend(self.calls.iter().enumerate().map(|(n, (name, arguments))| {
            let input: Value = serde_json::from_str(arguments).expect("JSON");
            json!({"type": "tool_use", "id": format!("call_{n}"), "name": name, "input": input})
        }));
        let (prompt, cached, answer, _) = self.usage;
        json!({
            "id": format!("msg_chatcmpl-{}", self.name), "type": "message", "role": "assistant", "model": "served-model",
            "content": content, "stop_reason": self.stop_reason, "stop_sequence": self.stopped_at,
            "usage": {"input_tokens": prompt - cached, "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": cached, "output_tokens": answer},
        })
    }

    /// The output of a response for it: type, and what is said.
    fn output(&self) -> Vec<Value> {
        let said = |kind: &str, text: &str| (!text.is_empty()).then(|| json!([kind, text]));
        let texts = [("reasoning_text", self.thoughts), ("output_text", self.text), ("refusal", self.refusal)];
        let texts = texts.iter().filter_map(|(kind, text)| said(kind, text));
        let calls = self.calls.iter().enumerate();
        texts.chain(calls.map(|(n, (name, arguments))| json!([format!("call_{n}"), name, arguments]))).collect()
    }

    fn assert_response(&self, response: &Value, case: &str) {
        let (prompt, cached, answer, reasoning) = self.usage;
        let status = if self.incomplete.is_some() { "incomplete" } else { "completed" };
        assert_eq!((&response["object"], &response["status"]), (&json!("response"), &json!(status)), "{case}");
        assert_eq!(response["incomplete_details"]["reason"].as_str(), self.incomplete, "{case}");
        assert_eq!(
            response["usage"],
            json!({
                "input_tokens": prompt, "output_tokens": answer, "total_tokens": prompt + answer,
                "input_tokens_details": {"cached_tokens": cached}, "output_tokens_details": {"reasoning_tokens": reasoning},
            }),
            "{case}"
        );
        let output = response["output"].as_array().expect("items").iter().map(|item| match item["type"].as_str() {
            Some("function_call") => json!([item["call_id"], item["name"], item["arguments"]]),
            Some("message" | "reasoning") => {
                let part = &item["content"][0];
                let text = part.get("text").unwrap_or(&part["refusal"]);
                json!([part["type"], text])
            }
            other => panic!("{case}: {other:?}"),
        });
        assert_eq!(output.collect::<Vec<_>>(), self.output(), "{case}");
    }
}

/// The three forms of the same question.
fn question(path: &str, model: &str, more: &Value) -> Value {
    let messages = json!([{"role": "user", "content": "What is the capital of France?"}]);
    let mut body = match path {
        "/v1/messages" => json!({"model": model, "messages": messages, "max_tokens": 100}),
        "/v1/responses" => json!({"model": model, "input": "What is the capital of France?"}),
        _ => json!({"model": model, "messages": messages}),
    };
    body.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    body
}

async fn stage() -> (Gateway, Upstream) {
    let upstream = Upstream::start().await;
    let mut models = Vec::new();
    for golden in &GOLDENS {
        upstream.script(golden.name, Script::json(golden.whole().to_string()));
        let stream = format!("{}-stream", golden.name);
        upstream.script(&stream, Script::stream(golden.streamed().iter().map(|data| format!("data: {data}\n\n"))));
        models.extend([golden.name.to_owned(), stream]);
    }
    let models: Vec<(&str, &str)> = models.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let gateway = Gateway::start(&upstream.provider("hosted", "hosted", &models)).await;
    (gateway, upstream)
}

async fn ask(gateway: &Gateway, path: &str, model: &str, more: &Value) -> Told {
    let headers = [("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    let told = gateway.send(path, question(path, model, more).to_string(), &headers).await;
    assert_eq!(told.status, 200, "{path} {model}: {}", told.text());
    told
}

/// Events of a stream that have data, by name.
fn events(told: &Told) -> Vec<Value> {
    let events = sse::split(&told.body).0.into_iter().filter_map(|event| event.data);
    events.map(|data| serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"))).collect()
}

#[tokio::test]
async fn each_whole_answer_is_told_in_each_form_as_its_documents_say() {
    let (gateway, _upstream) = stage().await;
    for golden in &GOLDENS {
        let case = golden.name;
        let chat = ask(&gateway, "/v1/chat/completions", case, &json!({})).await;
        assert_eq!(chat.text(), golden.whole().to_string(), "{case}: byte for byte");
        let strict: CreateChatCompletionResponse =
            serde_json::from_slice(&chat.body).unwrap_or_else(|error| panic!("{case}: {error}"));
        let said = &strict.choices[0].message;
        assert_eq!(said.content.as_deref().unwrap_or_default(), golden.text, "{case}");
        assert_eq!(said.refusal.as_deref().unwrap_or_default(), golden.refusal, "{case}");
        assert_eq!(said.tool_calls.as_ref().map_or(0, Vec::len), golden.calls.len(), "{case}");

        let message = ask(&gateway, "/v1/messages", case, &json!({})).await;
        assert_eq!(message.json(), golden.message(), "{case}");

        let response = ask(&gateway, "/v1/responses", case, &json!({})).await;
        golden.assert_response(&response.json(), case);
    }
}

#[tokio::test]
async fn each_streamed_chat_is_the_upstreams_own_and_its_usage_event_comes_only_when_asked_for() {
    let (gateway, _upstream) = stage().await;
    for golden in &GOLDENS {
        let (case, model) = (golden.name, format!("{}-stream", golden.name));
        let full = golden.streamed();
        let mut quiet = full.clone();
        quiet.remove(full.len() - 2);
        for (more, expected) in [
            (json!({"stream": true}), &quiet),
            (json!({"stream": true, "stream_options": {"include_usage": false}}), &quiet),
            (json!({"stream": true, "stream_options": {"include_usage": true}}), &full),
        ] {
            let told = ask(&gateway, "/v1/chat/completions", &model, &more).await;
            assert_eq!(&told.data(), expected, "{case} {more}");
            let mut text = String::new();
            for data in expected.iter().filter(|data| *data != "[DONE]") {
                let chunk: CreateChatCompletionStreamResponse =
                    serde_json::from_str(data).unwrap_or_else(|error| panic!("{case}: {error}: {data}"));
                text.extend(chunk.choices.into_iter().filter_map(|choice| choice.delta.content));
            }
            assert_eq!(text, golden.text, "{case}");
        }
    }
}

#[tokio::test]
async fn each_streamed_message_adds_up_to_the_whole_one() {
    let (gateway, _upstream) = stage().await;
    for golden in &GOLDENS {
        let (case, model) = (golden.name, format!("{}-stream", golden.name));
        let told = ask(&gateway, "/v1/messages", &model, &json!({"stream": true})).await;
        let events = events(&told);
        assert_eq!(events.first().map(|event| &event["type"]), Some(&json!("message_start")), "{case}");
        assert_eq!(events.last(), Some(&json!({"type": "message_stop"})), "{case}");
        let mut message = events[0]["message"].clone();
        let (mut blocks, mut inputs): (Vec<Value>, Vec<String>) = (Vec::new(), Vec::new());
        for event in &events[1..] {
            let at = event["index"].as_u64().unwrap_or_default() as usize;
            let delta = &event["delta"];
            match event["type"].as_str().expect("a type") {
                "content_block_start" => {
                    assert_eq!(at, blocks.len(), "{case}: in order");
                    blocks.push(event["content_block"].clone());
                    inputs.push(String::new());
                }
                "content_block_delta" => match delta["type"].as_str().expect("a type") {
                    "input_json_delta" => inputs[at].push_str(delta["partial_json"].as_str().expect("text")),
                    kind => {
                        let field = kind.trim_end_matches("_delta");
                        let more = delta[field].as_str().expect("text");
                        blocks[at][field] = format!("{}{more}", blocks[at][field].as_str().expect("text")).into();
                    }
                },
                "message_delta" => {
                    for name in ["stop_reason", "stop_sequence"] {
                        message[name] = delta[name].clone();
                    }
                    message["usage"] = event["usage"].clone();
                }
                "content_block_stop" | "ping" | "message_stop" => {}
                other => panic!("{case}: {other}"),
            }
        }
        for (block, input) in blocks.iter_mut().zip(inputs).filter(|(_, input)| !input.is_empty()) {
            block["input"] = serde_json::from_str(&input).expect("JSON");
        }
        message["content"] = blocks.into();
        assert_eq!(message, golden.message(), "{case}");
    }
}

#[tokio::test]
async fn each_streamed_response_adds_up_to_the_whole_one() {
    let (gateway, _upstream) = stage().await;
    for golden in &GOLDENS {
        let (case, model) = (golden.name, format!("{}-stream", golden.name));
        let told = ask(&gateway, "/v1/responses", &model, &json!({"stream": true})).await;
        let events = events(&told);
        for (n, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"].as_u64(), Some(n as u64), "{case}: numbered without a gap");
        }
        let last = events.last().expect("events");
        let name = if golden.incomplete.is_some() { "response.incomplete" } else { "response.completed" };
        assert_eq!(last["type"], name, "{case}");
        golden.assert_response(&last["response"], case);
        let joined = |kind: &str| -> String {
            let deltas = events.iter().filter(|event| event["type"] == format!("response.{kind}.delta"));
            deltas.map(|event| event["delta"].as_str().expect("text")).collect()
        };
        assert_eq!(joined("output_text"), golden.text, "{case}");
        assert_eq!(joined("refusal"), golden.refusal, "{case}");
        assert_eq!(joined("reasoning_text"), golden.thoughts, "{case}");
        let arguments: String = golden.calls.iter().map(|(_, arguments)| *arguments).collect();
        assert_eq!(joined("function_call_arguments"), arguments, "{case}");
    }
}

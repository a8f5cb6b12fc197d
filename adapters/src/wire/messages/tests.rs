use super::*;
use crate::wire::walk::Object;
use crate::wire::{Door, Fold, sse};
use bytes::Bytes;
use policies::Endpoint;
use proptest::prelude::*;

fn read(body: &Value) -> Result<Value, String> {
    let object: Object = body.as_object().cloned().unwrap();
    let chat = chat(&object, Version::June2023, false).map_err(|error| error.message)?;
    // As everybody but a provider of Anthropic's API sees it.
    Ok(Value::Object(crate::wire::marks::without(&chat).unwrap_or(chat)))
}

#[test]
fn a_conversation_with_tools_pictures_and_papers_is_a_chat() {
    let told = read(&json!({
        "model": "auto", "max_tokens": 64, "stream": true, "temperature": 0.5, "top_k": 5, "stop_sequences": ["END"],
        "system": [{"type": "text", "text": "Be brief", "cache_control": {"type": "ephemeral"}}],
        "metadata": {"user_id": "u1"}, "thinking": {"type": "disabled"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "tools": [{"name": "look", "description": "looks", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "See"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "document", "title": "t", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "Looking"},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"a": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "gone", "is_error": true},
                {"type": "text", "text": "And now?"},
            ]},
        ],
    }));
    let schema = json!({"name": "answer", "strict": true, "schema": {"type": "object"}});
    assert_eq!(
        told.unwrap(),
        json!({
            "model": "auto", "max_completion_tokens": 64, "stream": true, "stream_options": {"include_usage": true},
            "temperature": 0.5, "top_k": 5, "stop": ["END"], "user": "u1", "reasoning_effort": "low",
            "response_format": {"type": "json_schema", "json_schema": schema},
            "parallel_tool_calls": false, "tool_choice": {"type": "function", "function": {"name": "look"}},
            "tools": [{"type": "function", "function":
                {"name": "look", "description": "looks", "parameters": {"type": "object"}}}],
            "messages": [
                {"role": "system", "content": "Be brief"},
                {"role": "user", "content": [
                    {"type": "text", "text": "See"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "text", "text": "t\n\nd"},
                ]},
                {"role": "assistant", "content": "Looking", "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"a\":1}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "Error: gone"},
                {"role": "user", "content": "And now?"},
            ],
        })
    );
}

#[test]
fn what_has_no_counterpart_is_refused_by_its_path() {
    let plain = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]});
    for (field, value, says) in [
        ("mcp_servers", json!([]), "`mcp_servers` is not supported"),
        ("container", json!("c"), "`container`"),
        ("inference_geo", json!("us"), "`inference_geo`"),
        ("max_tokens", json!(0), "`max_tokens` must be"),
        ("max_tokens", Value::Null, "`max_tokens` is missing"),
        ("model", json!(7), "`model` must be a text"),
        ("temperature", json!(1.5), "`temperature`"),
        ("stop_sequences", json!(["a", ""]), "`stop_sequences`"),
        ("thinking", json!({"type": "enabled", "budget_tokens": 1024}), "`thinking.type`"),
        ("tools", json!([{"type": "web_search_20250305", "name": "web_search"}]), "`tools[0].type` is `web_search"),
        ("tools", json!([{"name": "f"}]), "`tools[0].input_schema` is missing"),
        ("tools", json!([{"name": "f", "input_schema": {}, "defer_loading": true}]), "`tools[0].defer_loading`"),
        ("tool_choice", json!({"type": "some"}), "`tool_choice.type`"),
        ("metadata", json!({"user_id": "u", "x": 1}), "`metadata.x`"),
        ("messages", json!([{"role": "assistant", "content": "The answer is"}]), "`messages[0]` begins the answer"),
        ("messages", json!([{"role": "user", "content": [{"type": "search_result"}]}]), "type `search_result`"),
        ("messages", json!([{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]), "`base64`"),
        ("messages", json!([{"role": "user"}]), "`messages[0].content` is missing"),
        ("messages", json!(["x"]), "`messages[0]` must be an object"),
    ] {
        let mut body = plain.clone();
        body[field] = value;
        let error = read(&body).unwrap_err();
        assert!(error.contains(says), "{field}: {error}");
    }
    let counted = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    let body = Bytes::from(counted.to_string());
    assert!(Door::CountTokens.read(body.clone(), Version::default()).is_ok());
    assert!(Door::Messages.read(body, Version::default()).is_err());
}

#[test]
fn the_newer_version_is_without_sampling_and_without_what_a_user_cites() {
    let read = |version, field: &str, value: Value| {
        let mut body = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]});
        body[field] = value;
        chat(body.as_object().unwrap(), version, false).map_err(|error| error.message)
    };
    let cited = json!([{"role": "user", "content": [{"type": "text", "text": "x", "citations": [{"type": "c"}]}]}]);
    for (field, value) in [("temperature", json!(0.5)), ("top_p", json!(0.5)), ("top_k", json!(3)), ("messages", cited)]
    {
        assert!(read(Version::June2023, field, value.clone()).is_ok(), "{field}");
        assert!(read(Version::October2026, field, value).unwrap_err().contains(field), "{field}");
    }
}

#[test]
fn hostile_bodies_are_refused_before_they_are_walked() {
    let deep = format!(r#"{{"model":"m","messages":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    for body in [deep.as_str(), r#"{"model":"a","model":"b"}"#, "[]", ""] {
        assert!(Door::Messages.read(Bytes::copy_from_slice(body.as_bytes()), Version::default()).is_err());
    }
}

#[test]
fn why_an_answer_ended_is_told_in_their_words() {
    for (finish, told) in [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("content_filter", "refusal"),
        ("new", "end_turn"),
    ] {
        let answer = json!({"id": "i", "model": "m", "choices": [{"message": {"content": "x"}, "finish_reason": finish}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}});
        let said = message(&answer).unwrap();
        assert_eq!((said["stop_reason"].as_str(), said["id"].as_str()), (Some(told), Some("msg_i")));
        assert_eq!(
            (said["usage"]["input_tokens"].as_u64(), said["usage"]["cache_read_input_tokens"].as_u64()),
            (Some(5), Some(4))
        );
    }
    let at = json!({"choices": [{"message": {"content": "x"}, "finish_reason": "stop", "stop_reason": "END"}]});
    let said = message(&at).unwrap();
    assert_eq!((&said["stop_reason"], &said["stop_sequence"]), (&json!("stop_sequence"), &json!("END")));
    assert!(message(&json!({"choices": []})).is_err());
    let cut =
        json!({"choices": [{"message": {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]}}]});
    assert!(message(&cut).is_err(), "arguments that are no object cannot be an input");
}

/// What a client makes of the events: the message, with arguments still as text; checks their order in passing.
fn gathered(events: &[u8]) -> Value {
    let mut splitter = sse::Splitter::default();
    splitter.push(events).unwrap();
    let (mut message, mut open, mut ended) = (Value::Null, None, false);
    while let Some(event) = splitter.next_event() {
        let Some(data) = sse::data(&event) else { continue };
        let event_type = sse::event_type(&event).map(str::to_owned);
        let data: Value = serde_json::from_slice(&data).unwrap();
        assert_eq!(data["type"].as_str(), event_type.as_deref());
        assert!(!ended, "nothing follows the end");
        let index = data["index"].as_u64().map(|index| index as usize);
        match event_type.as_deref().unwrap() {
            "message_start" => {
                assert!(message.is_null());
                message = data["message"].clone();
            }
            "content_block_start" => {
                assert_eq!((open, index), (None, Some(message["content"].as_array().unwrap().len())));
                open = index;
                message["content"].as_array_mut().unwrap().push(data["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(open, index);
                let block = &mut message["content"][index.unwrap()];
                let delta = &data["delta"];
                let (into, from) = match delta["type"].as_str().unwrap() {
                    "text_delta" => ("text", "text"),
                    "thinking_delta" => ("thinking", "thinking"),
                    "input_json_delta" => ("input", "partial_json"),
                    other => panic!("{other}"),
                };
                let known = block[into].as_str().unwrap_or_default().to_owned();
                block[into] = (known + delta[from].as_str().unwrap()).into();
            }
            "content_block_stop" => {
                assert_eq!(open, index);
                open = None;
            }
            "message_delta" => {
                assert_eq!(open, None);
                message["stop_reason"] = data["delta"]["stop_reason"].clone();
                message["stop_sequence"] = data["delta"]["stop_sequence"].clone();
                message["usage"] = data["usage"].clone();
            }
            "message_stop" => ended = true,
            "ping" => {}
            other => panic!("{other}"),
        }
    }
    assert!(ended, "a stream ends");
    for block in message["content"].as_array_mut().unwrap() {
        if block["type"] == "tool_use" {
            block["input"] = match block["input"].as_str() {
                Some(text) => serde_json::from_str(text).unwrap(),
                None => block["input"].clone(),
            };
        }
    }
    message
}

/// An answer as a chat stream: payloads.
fn chunks(thoughts: &[String], text: &[String], calls: &[(String, Vec<String>)], usage: bool) -> Vec<Value> {
    let chunk = |delta: Value| {
        json!({"id": "i", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta}]})
    };
    let mut all = vec![chunk(json!({"role": "assistant", "content": ""}))];
    all.extend(thoughts.iter().map(|piece| chunk(json!({"reasoning_content": piece}))));
    all.extend(text.iter().map(|piece| chunk(json!({"content": piece}))));
    for (at, (name, pieces)) in calls.iter().enumerate() {
        let id = format!("c{at}");
        let function = json!({"name": name, "arguments": ""});
        let call = json!([{"index": at, "id": id, "type": "function", "function": function}]);
        all.push(chunk(json!({"tool_calls": call})));
        for piece in pieces {
            all.push(chunk(json!({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})));
        }
    }
    let finish = if calls.is_empty() { "stop" } else { "tool_calls" };
    all.push(json!({"id": "i", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}));
    if usage {
        let counts = json!({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10});
        all.push(json!({"id": "i", "model": "m", "choices": [], "usage": counts}));
    }
    all
}

/// The arguments `{"k": VALUE}`, cut somewhere.
fn arguments() -> impl Strategy<Value = (String, Vec<String>)> {
    ("[a-z]{1,5}", "\\PC{0,12}", any::<prop::sample::Index>()).prop_map(|(name, value, at)| {
        let text = json!({"k": value}).to_string();
        let mut cut = at.index(text.len() + 1);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        (name, vec![text[..cut].to_owned(), text[cut..].to_owned()])
    })
}

proptest! {
    #[test]
    fn a_stream_tells_what_the_whole_answer_tells(
        thoughts in proptest::collection::vec("\\PC{1,6}", 0..3),
        text in proptest::collection::vec("\\PC{1,6}", 0..4),
        calls in proptest::collection::vec(arguments(), 0..3),
        usage: bool,
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let chunks = chunks(&thoughts, &text, &calls, usage);
        let mut fold = Fold::new(Endpoint::Chat);
        chunks.iter().for_each(|chunk| fold.push(chunk.to_string().as_bytes()));
        let whole = message(&fold.finish()).unwrap();
        // However the upstream cut its bytes, whole frames come here.
        let bytes: Vec<u8> = chunks.iter().flat_map(|chunk| sse::frame(chunk.to_string().as_bytes())).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        let (mut splitter, mut stream, mut out, mut from) = (sse::Splitter::default(), MessageStream::default(), Vec::new(), 0);
        for cut in cuts.into_iter().chain([bytes.len()]) {
            splitter.push(&bytes[from..cut]).unwrap();
            from = cut;
            while let Some(frame) = splitter.next_event() {
                out.extend_from_slice(&stream.frame(&frame));
            }
        }
        out.extend_from_slice(&stream.end(": sluice-cost-usd=0\n\n"));
        prop_assert_eq!(gathered(&out), whole);
    }

    #[test]
    fn an_answer_that_is_sent_back_is_the_turn_it_was(
        text in "\\PC{1,20}",
        calls in proptest::collection::vec(arguments(), 0..3),
        result in "\\PC{0,12}",
    ) {
        let calls: Vec<Value> = calls.iter().enumerate().map(|(at, (name, pieces))| {
            json!({"id": format!("c{at}"), "type": "function", "function": {"name": name, "arguments": pieces.concat()}})
        }).collect();
        let mut said = json!({"role": "assistant", "content": text});
        if !calls.is_empty() {
            said["tool_calls"] = calls.clone().into();
        }
        let turn = message(&json!({"choices": [{"message": said, "finish_reason": "stop"}]})).unwrap();
        let results: Vec<Value> = calls.iter()
            .map(|call| json!({"type": "tool_result", "tool_use_id": call["id"], "content": result})).collect();
        let next = if results.is_empty() { json!("next") } else { results.into() };
        let back = read(&json!({"model": "m", "max_tokens": 1, "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": turn["content"]},
            {"role": "user", "content": next},
        ]})).unwrap();
        prop_assert_eq!(&back["messages"][1], &said);
        let told = calls.iter().map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": result}));
        let told: Vec<Value> = if calls.is_empty() { vec![json!({"role": "user", "content": "next"})] } else { told.collect() };
        prop_assert_eq!(&back["messages"].as_array().unwrap()[2..], &told[..]);
    }
}

use super::*;
use crate::backend::Event;
use crate::error::Kind;
use crate::wire::messages;
use crate::wire::{Door, Fold, MessagesVersion, Seen, WireRequest, sse};
use policies::{Counted, Endpoint};
use proptest::prelude::*;

fn sent(body: &Value, most: Option<u64>) -> Result<Value, Kind> {
    let request = WireRequest::parse(Endpoint::Chat, body.to_string().into()).unwrap();
    let stream = request.view.stream;
    message(&request, "claude", stream, most).map(|body| serde_json::from_slice(&body).unwrap())
}

#[test]
fn a_chat_becomes_the_message_that_means_the_same() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let told = sent(
        &json!({
            "model": "auto", "max_completion_tokens": 9, "temperature": 0.5, "top_p": 0.9, "stop": "END", "seed": 7,
            "stream": true, "stream_options": {"include_usage": true}, "user": "u", "reasoning_effort": "low",
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}],
            "tool_choice": "required", "parallel_tool_calls": false,
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
            "messages": [
                {"role": "system", "content": "Be brief"},
                {"role": "user", "content": [{"type": "text", "text": "See", "cache_control": {"type": "ephemeral"}},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "image_url", "image_url": {"url": "https://pictures.example/1"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
                    {"type": "file", "file": {"file_data": "data:text/plain;base64,aW5uZXI="}}]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"city\":\"Paris\"}"}},
                    {"id": "c2", "type": "function", "function": {"name": "f", "arguments": ""}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
                {"role": "tool", "tool_call_id": "c2", "content": ""},
                {"role": "user", "content": "And?"},
                {"role": "developer", "content": "In English"},
            ],
        }),
        Some(7),
    )
    .unwrap();
    assert_eq!(
        told,
        json!({
            "model": "claude", "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["END"], "stream": true,
            "metadata": {"user_id": "u"},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": schema}},
            "tools": [{"name": "f", "description": "d", "input_schema": schema}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
            "system": [{"type": "text", "text": "Be brief"}, {"type": "text", "text": "In English"}],
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "See", "cache_control": {"type": "ephemeral"}},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "image", "source": {"type": "url", "url": "https://pictures.example/1"}},
                    {"type": "document", "title": "a.pdf",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}},
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "inner"}}]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"city": "Paris"}},
                    {"type": "tool_use", "id": "c2", "name": "f", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
                    {"type": "tool_result", "tool_use_id": "c2", "content": []},
                    {"type": "text", "text": "And?"}]},
            ],
        })
    );
}

#[test]
fn there_is_always_a_ceiling_and_it_is_the_lowest_that_anybody_set() {
    for (typed, most, limit) in [(None, None, 4_096), (None, Some(5), 5), (Some(9), Some(50), 9), (Some(9), None, 9)] {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": typed});
        assert_eq!(sent(&body, most).unwrap()["max_tokens"], limit);
    }
}

#[test]
fn tools_are_functions_and_of_allowed_ones_those_alone_are_offered() {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    let asked = |tools: Value, allowed: &str| {
        let among = json!({"mode": "required", "tools": [tool(allowed)]});
        json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": tools,
            "tool_choice": {"type": "allowed_tools", "allowed_tools": among}})
    };
    let told = sent(&asked(json!([tool("f"), tool("g")]), "g"), None).unwrap();
    assert_eq!(told["tools"], json!([{"name": "g", "input_schema": {"type": "object", "properties": {}}}]));
    assert_eq!(told["tool_choice"], json!({"type": "any"}));
    let custom = json!({"type": "custom", "custom": {"name": "h"}});
    for (tools, allowed, field) in
        [(json!([tool("f")]), "g", "tool_choice"), (json!([tool("f"), custom]), "f", "tools[1].type")]
    {
        let refused = sent(&asked(tools, allowed), None);
        assert!(matches!(&refused, Err(Kind::Field { field: named, .. }) if named == field), "{refused:?}");
    }
}

#[test]
fn what_anthropic_would_refuse_is_refused_by_its_field() {
    for (field, value) in [
        ("user", json!(5)),
        ("reasoning_effort", json!(3)),
        ("messages", json!([{"role": "user", "content": ""}])),
        ("messages", json!([{"role": "system", "content": "x"}])),
    ] {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        body[field] = value;
        let refused = sent(&body, None);
        assert!(matches!(&refused, Err(Kind::Field { field: named, .. }) if named == field), "{refused:?}");
    }
}

#[test]
fn what_has_no_counterpart_is_left_to_another_target() {
    for (field, value, says) in [
        ("n", json!(2), "`n` above 1"),
        ("logprobs", json!(true), "log-probabilities"),
        ("temperature", json!(1.5), "`temperature` above 1"),
        ("presence_penalty", json!(0.5), "presence_penalty"),
        ("frequency_penalty", json!(-1), "frequency_penalty"),
        ("logit_bias", json!({"1": 5}), "logit_bias"),
        ("response_format", json!({"type": "json_object"}), "needs a JSON schema"),
        ("guided_regex", json!("a+"), "guided_regex"),
        ("reasoning_effort", json!("odd"), "reasoning_effort"),
        ("web_search_options", json!({}), "`web_search_options`"),
        (
            "messages",
            json!([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]),
            "`input_audio`",
        ),
        ("messages", json!([{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]), "by value"),
        ("messages", json!([{"role": "function", "name": "f", "content": "x"}]), "`function`"),
    ] {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        body[field] = value;
        match sent(&body, None) {
            Err(Kind::Unsupported(why)) => assert!(why.contains(says), "{field}: {why}"),
            other => unreachable!("{field}: {other:?}"),
        }
    }
    let neutral = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "presence_penalty": 0,
        "logit_bias": {}, "n": 1, "seed": 3, "metadata": {"a": "b"}, "temperature": null});
    let told = sent(&neutral, None).unwrap();
    assert_eq!(told.as_object().unwrap().keys().collect::<Vec<_>>(), ["model", "max_tokens", "messages"]);
    let broken = json!({"model": "m", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": null,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}]}]});
    assert!(matches!(sent(&broken, None), Err(Kind::Invalid(_))));
}

#[test]
fn a_whole_message_is_told_with_its_tokens_and_its_reason() {
    let body = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_sequence": "END",
        "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "a"},
            {"type": "text", "text": "b"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}, {"type": "new"}],
        "stop_reason": "stop_sequence",
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 3, "output_tokens": 7}});
    let (answer, seen) = completion(body.to_string().as_bytes(), 9).unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "ab");
    assert_eq!(choice["message"]["reasoning_content"], "hm");
    assert_eq!(choice["message"]["tool_calls"][0]["function"], json!({"name": "f", "arguments": "{\"x\":1}"}));
    assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!("stop"), &json!("END")));
    assert_eq!(answer["usage"]["prompt_tokens"], 28);
    assert_eq!((seen.text.as_str(), seen.finish.as_deref()), ("hmabf{\"x\":1}", Some("stop")));
    let usage = *seen.usage.unwrap().usage();
    assert_eq!((usage.input.0, usage.cached_input.0, usage.cache_write.0, usage.output.0), (28, 20, 3, 7));
    // And a client of `/v1/messages` gets its own numbers back.
    let back = messages::message(&answer).unwrap();
    assert_eq!(back["usage"], body["usage"]);
    assert_eq!((&back["stop_reason"], &back["stop_sequence"]), (&body["stop_reason"], &body["stop_sequence"]));
    for (reason, finish) in [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("new", "stop"),
    ] {
        let body = json!({"type": "message", "content": [], "stop_reason": reason});
        let (_, seen) = completion(body.to_string().as_bytes(), 9).unwrap();
        assert_eq!((seen.finish.as_deref(), seen.usage), (Some(finish), None), "{reason}");
    }
    for other in [r#"{"type":"error","error":{}}"#, "[]", "<html>", r#"{"content":[]}"#] {
        assert!(completion(other.as_bytes(), 9).is_none(), "{other}");
    }
}

#[test]
fn errors_are_told_in_a_chats_form() {
    let said = error(br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#).unwrap();
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert_eq!(
        said,
        json!({"error": {"message": "Overloaded", "type": "overloaded_error", "param": null, "code": null}})
    );
    assert!(error(b"{}").is_none() && error(b"<html>").is_none());
}

/// The chat stream of these events, each with what was seen in it.
fn chunks(events: &[Value]) -> Result<Vec<(Value, Seen)>, Kind> {
    let (mut chunks, mut told, mut done) = (Chunks::new(9), Vec::new(), false);
    for event in events {
        for event in chunks.event(event.to_string().as_bytes())? {
            match event {
                Event::Delta { frame, seen } => {
                    told.push((serde_json::from_slice(&sse::data(&frame).unwrap()).unwrap(), seen));
                }
                Event::Done => done = true,
                Event::Whole { .. } => unreachable!("a stream"),
            }
        }
    }
    assert!(done, "the end is told");
    Ok(told)
}

fn start() -> Value {
    let usage = json!({"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1});
    json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": usage}})
}

#[test]
fn a_stream_that_breaks_the_protocol_is_an_error() {
    let stop = json!({"type": "message_stop"});
    assert!(matches!(chunks(&[start(), stop]), Err(Kind::Truncated(_))), "an end without a reason");
    assert!(matches!(chunks(&[start(), json!({"type": "error", "error": {}})]), Err(Kind::InStream)));
    let text = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}});
    assert!(matches!(chunks(&[text]), Err(Kind::Protocol(_))), "no beginning");
    assert!(matches!(Chunks::new(9).event(b"<html>"), Err(Kind::Protocol(_))));
}

proptest! {
    /// A stream says what the whole message says, calls that are written in turns included.
    #[test]
    fn a_stream_adds_up_to_the_whole_message(
        text in proptest::collection::vec("\\PC{1,6}", 0..4),
        calls in proptest::collection::vec(("[a-z]{1,5}", "[a-z]{1,12}"), 0..3),
        reason in proptest::sample::select(vec!["end_turn", "max_tokens", "tool_use", "refusal"]),
        seed in any::<u64>(),
    ) {
        let mut events = vec![start(), json!({"type": "ping"})];
        let mut content = Vec::new();
        if !text.is_empty() {
            events.push(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}));
            let delta = |piece| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}});
            events.extend(text.iter().map(delta));
            content.push(json!({"type": "text", "text": text.concat()}));
        }
        let first = content.len();
        let mut left = Vec::new();
        for (at, (name, argument)) in calls.iter().enumerate() {
            let (input, id) = (json!({"a": argument}), format!("t{at}"));
            let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
            events.push(json!({"type": "content_block_start", "index": first + at, "content_block": block}));
            left.push((first + at, input.to_string()));
            content.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
        }
        let mut turn = seed;
        while left.iter().any(|(_, rest)| !rest.is_empty()) {
            let at = (turn % left.len() as u64) as usize;
            turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) >> 1;
            let (index, rest) = &mut left[at];
            let piece: String = rest.chars().take(3).collect();
            rest.drain(..piece.len());
            let delta = json!({"type": "input_json_delta", "partial_json": piece});
            events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        events.push(json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 7}}));
        events.push(json!({"type": "message_stop"}));
        let told = chunks(&events).unwrap();
        let usage = json!({"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 7});
        let whole = json!({"id": "msg_1", "type": "message", "model": "claude", "content": content, "stop_reason": reason, "usage": usage});
        let (answer, seen) = completion(whole.to_string().as_bytes(), 9).unwrap();
        let mut answer: Value = serde_json::from_slice(&answer).unwrap();
        let mut fold = Fold::new(Endpoint::Chat);
        told.iter().for_each(|(chunk, _)| fold.push(chunk.to_string().as_bytes()));
        let mut folded = fold.finish();
        for whole in [&mut answer, &mut folded] {
            let message = whole["choices"][0]["message"].as_object_mut().unwrap();
            message.remove("refusal");
            // A stream begins with an empty text.
            message.retain(|name, value| name != "content" || (!value.is_null() && value != ""));
        }
        prop_assert_eq!(&folded, &answer);
        let text: String = told.iter().map(|(_, seen)| seen.text.as_str()).collect();
        prop_assert_eq!(text.len(), seen.text.len());
        let last = &told.last().unwrap().1;
        prop_assert!(last.usage_only && last.usage == seen.usage);
        prop_assert_eq!(last.usage.unwrap().usage().input.0, 7);
        let is_exact = matches!(last.usage, Some(Counted::Exact(_)));
        prop_assert!(is_exact);
    }

    /// Marks for the provider's cache come through both doors, wherever they are, and nobody else sees them.
    #[test]
    fn marks_reach_the_provider_and_nobody_else(which in 0u32..128) {
        let mark = |at: u32, mut block: Value| {
            if which & (1 << at) != 0 {
                block["cache_control"] = json!({"type": "ephemeral"});
            }
            block
        };
        let text = |at: u32, text: &str| mark(at, json!({"type": "text", "text": text}));
        let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
        let result = json!({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "sunny"}]});
        let asked = mark(6, json!({"model": "claude", "max_tokens": 9, "system": [text(0, "Be brief")],
            "messages": [{"role": "user", "content": [text(1, "one"), text(2, "two")]},
                {"role": "assistant", "content": [mark(3, call)]}, {"role": "user", "content": [mark(4, result)]}],
            "tools": [mark(5, json!({"name": "f", "input_schema": {"type": "object"}}))]}));
        let (request, _) = Door::Messages.read(asked.to_string().into(), MessagesVersion::June2023).unwrap();
        prop_assert!(!std::str::from_utf8(request.raw.body()).unwrap().contains("cache_control"));
        prop_assert_eq!(request.marked.is_some(), which != 0);
        let sent: Value = serde_json::from_slice(&message(&request, "claude", false, None).unwrap()).unwrap();
        prop_assert_eq!(sent, asked);
    }

    /// A Messages request that came in by our door leaves by this one as what it was, but for what is named.
    #[test]
    fn a_message_survives_both_doors(
        system in "[a-z ]{1,20}", turns in proptest::collection::vec("[a-z]{1,10}", 1..4), limit in 1u64..1_000, heat in 0u32..=10,
    ) {
        let text = |text: &String| json!([{"type": "text", "text": text}]);
        let messages: Vec<Value> = turns.iter().enumerate().flat_map(|(at, turn)| {
            let answer = (at + 1 < turns.len()).then(|| json!({"role": "assistant", "content": text(turn)}));
            std::iter::once(json!({"role": "user", "content": text(turn)})).chain(answer)
        }).collect();
        let asked = json!({"model": "claude", "max_tokens": limit, "system": [{"type": "text", "text": system}],
            "messages": messages, "temperature": f64::from(heat) / 10.0, "stop_sequences": ["x"], "stream": true,
            "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool", "name": "f"}});
        let chat = messages::chat(asked.as_object().unwrap(), MessagesVersion::June2023, false).unwrap();
        prop_assert_eq!(sent(&Value::Object(chat), None).unwrap(), asked);
    }
}

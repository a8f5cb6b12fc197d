use super::*;
use crate::wire::{Fold, sse};
use policies::Endpoint;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn read(body: &Value) -> Result<Value, String> {
    chat(body.as_object().unwrap()).map(Value::Object).map_err(|error| error.message)
}

#[test]
fn items_become_the_turns_of_a_chat() {
    let told = read(&json!({
        "model": "auto", "instructions": "Be brief", "max_output_tokens": 9, "store": false, "stream": true,
        "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}],
        "tool_choice": {"type": "function", "name": "f"}, "metadata": {"a": "b"}, "background": false,
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "See"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}]},
            {"type": "reasoning", "id": "r", "summary": []},
            {"type": "message", "id": "m", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "I look", "annotations": []}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "1"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
        ],
    }))
    .unwrap();
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let schema = json!({"name": "n", "schema": {"type": "object"}, "strict": true});
    assert_eq!(
        told,
        json!({
            "model": "auto", "max_completion_tokens": 9, "stream": true, "stream_options": {"include_usage": true},
            "reasoning_effort": "low", "response_format": {"type": "json_schema", "json_schema": schema},
            "tools": [{"type": "function",
                "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "messages": [
                {"role": "system", "content": "Be brief"},
                {"role": "user", "content": [{"type": "text", "text": "See"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}]},
                {"role": "assistant", "content": "I look", "tool_calls": [call("c1"), call("c2")]},
                {"role": "tool", "tool_call_id": "c1", "content": "1"},
                {"role": "tool", "tool_call_id": "c2", "content": "2"},
            ],
        })
    );
}

#[test]
fn a_choice_among_some_tools_is_one_of_a_chat() {
    let tool = |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object"}});
    let choice = json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]});
    let told =
        read(&json!({"model": "m", "input": "x", "tools": [tool("f"), tool("g")], "tool_choice": choice})).unwrap();
    let allowed = json!({"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]});
    assert_eq!(told["tool_choice"], json!({"type": "allowed_tools", "allowed_tools": allowed}));
}

#[test]
fn what_needs_state_or_has_no_counterpart_is_refused_by_its_path() {
    for (field, value, says) in [
        ("previous_response_id", json!("r"), "`previous_response_id` is not supported: no response is stored"),
        ("conversation", json!("c"), "`conversation`"),
        ("store", json!(true), "`store` cannot be true"),
        ("background", json!(true), "`background` cannot be true"),
        ("truncation", json!("auto"), "`truncation`"),
        ("include", json!(["file_search_call.results"]), "`include` cannot have"),
        ("max_tool_calls", json!(3), "`max_tool_calls` is not supported"),
        ("max_output_tokens", json!("x"), "`max_output_tokens`"),
        ("input", Value::Null, "`input` is missing"),
        ("input", json!([]), "`input` is empty"),
        ("metadata", json!(7), "`metadata` must be an object"),
        ("input", json!([{"type": "item_reference", "id": "x"}]), "`input[0]` is an item of type `item_reference`"),
        ("input", json!([{"role": "user", "content": [{"type": "input_audio"}]}]), "`input[0].content[0]` is a part"),
        ("input", json!([{"role": "tool", "content": "x"}]), "`input[0].role`"),
        ("input", json!([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]), "file_id` is not"),
        ("tools", json!([{"type": "web_search"}]), "`tools[0].type` is `web_search`"),
        ("tool_choice", json!({"type": "web_search"}), "`tool_choice.type`"),
        (
            "tool_choice",
            json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}),
            "`tool_choice.tools[0].type`",
        ),
        ("text", json!({"format": {"type": "grammar"}}), "`text.format.type`"),
    ] {
        let mut body = json!({"model": "m", "input": "x"});
        body[field] = value;
        let error = read(&body).unwrap_err();
        assert!(error.contains(says), "{field}: {error}");
    }
}

/// The last event's response, once the order of the others was checked.
fn gathered(events: &[u8]) -> Value {
    let mut splitter = sse::Splitter::default();
    splitter.push(events).unwrap();
    let (mut sequence, mut last, mut names) = (0, Value::Null, Vec::new());
    let (mut texts, mut done) = (BTreeMap::<u64, String>::new(), BTreeMap::<u64, Value>::new());
    while let Some(event) = splitter.next_event() {
        let Some(data) = sse::data(&event) else { continue };
        let data: Value = serde_json::from_slice(&data).unwrap();
        assert_eq!(data["type"].as_str(), sse::event_type(&event));
        assert_eq!(data["sequence_number"], sequence);
        sequence += 1;
        if let Some(delta) = data["delta"].as_str() {
            texts.entry(data["output_index"].as_u64().unwrap()).or_default().push_str(delta);
        }
        if data["type"] == "response.output_item.done" {
            let before = done.insert(data["output_index"].as_u64().unwrap(), data["item"].clone());
            assert_eq!(before, None, "an item ends once");
        }
        names.push(data["type"].as_str().unwrap().to_owned());
        last = data;
    }
    assert_eq!(names[..2], ["response.created", "response.in_progress"]);
    let done: Vec<Value> = done.into_values().collect();
    assert_eq!(last["response"]["output"].as_array().unwrap(), &done, "the end repeats what was done");
    for (at, text) in texts {
        let item = &done[at as usize];
        let whole = item.pointer("/content/0/text").or(item.get("arguments")).or(item.pointer("/content/0/refusal"));
        assert_eq!(whole.unwrap(), &json!(text), "deltas add up");
    }
    last["response"].clone()
}

proptest! {
    #[test]
    fn a_stream_ends_with_what_the_whole_answer_is(
        text in proptest::collection::vec("\\PC{1,6}", 0..4),
        calls in proptest::collection::vec(("[a-z]{1,5}", proptest::collection::vec("\\PC{1,6}", 0..3)), 0..3),
        in_turns in any::<bool>(),
        finish in proptest::sample::select(vec!["stop", "length", "content_filter", "tool_calls"]),
    ) {
        let chunk = |delta: Value| json!({"id": "i", "created": 5, "model": "m", "choices": [{"index": 0, "delta": delta}]});
        let mut chunks: Vec<Value> = text.iter().map(|piece| chunk(json!({"content": piece}))).collect();
        let more = |at: usize, piece: &String| chunk(json!({"tool_calls": [{"index": at, "function": {"arguments": piece}}]}));
        for (at, (name, pieces)) in calls.iter().enumerate() {
            let function = json!({"name": name, "arguments": ""});
            chunks.push(chunk(json!({"tool_calls": [{"index": at, "id": format!("c{at}"), "function": function}]})));
            if !in_turns {
                chunks.extend(pieces.iter().map(|piece| more(at, piece)));
            }
        }
        for turn in 0..if in_turns { 3 } else { 0 } {
            let pieces = calls.iter().enumerate().filter_map(|(at, (_, pieces))| Some((at, pieces.get(turn)?)));
            chunks.extend(pieces.map(|(at, piece)| more(at, piece)));
        }
        chunks.push(json!({"id": "i", "created": 5, "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}));
        let counts = json!({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10});
        chunks.push(json!({"id": "i", "created": 5, "model": "m", "choices": [], "usage": counts}));
        let asked = json!({"model": "auto", "input": "x", "temperature": 0.5, "metadata": {"a": "b"}});
        let echo = echo(asked.as_object().unwrap());
        let (mut fold, mut stream, mut out) = (Fold::new(Endpoint::Chat), ResponseStream::new(echo.clone()), Vec::new());
        for chunk in &chunks {
            fold.push(chunk.to_string().as_bytes());
            out.extend_from_slice(&stream.frame(&sse::frame(chunk.to_string().as_bytes())));
        }
        out.extend_from_slice(&stream.end(": sluice-cost-usd=0\n\n"));
        let whole = response(&echo, &fold.finish()).unwrap();
        prop_assert_eq!(gathered(&out), whole.clone());
        prop_assert_eq!(&whole["temperature"], 0.5);
        let cut = ["length", "content_filter"].contains(&finish);
        prop_assert_eq!(whole["status"] == "incomplete", cut);
        let states: Vec<&str> = whole["output"].as_array().unwrap().iter().filter_map(|item| item["status"].as_str()).collect();
        let (last, others) = states.split_last().map_or((None, &[][..]), |(last, others)| (Some(*last), others));
        prop_assert!(others.iter().all(|state| *state == "completed"), "{:?}", states);
        prop_assert_eq!(last.is_some_and(|state| state == "incomplete"), cut && last.is_some(), "{:?}", states);
    }
}

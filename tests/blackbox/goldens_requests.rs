//! Golden requests: what a client of each form asks, and what its upstream is asked for it, as a whole (reliability test 19).
//! Of a chat, a completion and a request for vectors nothing but the model's name is another one; of a message and a response each
//! field has its counterpart.

use serde_json::{Map, Value, json};
use tests::upstream::Play;
use tests::{Gateway, Upstream};

/// A gateway whose hosted model has another name at its upstream.
async fn stage() -> (Gateway, Upstream) {
    let upstream = Upstream::start().await;
    upstream.play("there", Play::events(3));
    let provider = upstream.provider("hosted", "hosted", &[("here", "there")]);
    let vectors = "[models.vectors]\nprovider = \"hosted\"\nupstream = \"text-embedding-3-small\"\n";
    let gateway = Gateway::start(&format!("{provider}{vectors}")).await;
    (gateway, upstream)
}

fn with(base: &Value, more: &Value) -> Value {
    let mut all: Map<String, Value> = base.as_object().expect("an object").clone();
    all.extend(more.as_object().expect("an object").clone());
    all.into()
}

/// What the upstream was asked for this.
async fn asked(gateway: &Gateway, upstream: &Upstream, path: &str, body: &Value) -> Value {
    let headers = [("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    let told = gateway.send(path, body.to_string(), &headers).await;
    assert_eq!(told.status, 200, "{path} {body}: {}", told.text());
    upstream.of(told.id()).expect("it was asked").json()
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false})
}

fn function() -> Value {
    json!({"name": "lookup", "description": "Looks up.", "parameters": schema(), "strict": true})
}

#[tokio::test]
async fn every_field_of_a_chat_reaches_the_upstream_as_it_came() {
    let (gateway, upstream) = stage().await;
    let base = json!({"model": "here", "messages": [{"role": "user", "content": "Hello"}]});
    let tools = json!([{"type": "function", "function": function()}]);
    let call =
        json!({"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": "{\"city\":\"Paris\"}"}});
    let parts = |parts: Value| json!([{"role": "user", "content": parts}]);
    for more in [
        json!({}),
        json!({"temperature": 0}),
        json!({"temperature": 1.5}),
        json!({"top_p": 0.25}),
        json!({"max_tokens": 7}),
        json!({"max_completion_tokens": 7}),
        json!({"seed": -42}),
        json!({"stop": "END"}),
        json!({"stop": ["a", "b", "c", "d"]}),
        json!({"presence_penalty": -1.5}),
        json!({"frequency_penalty": 0.5}),
        json!({"logit_bias": {"50256": -100}}),
        json!({"logprobs": true, "top_logprobs": 3}),
        json!({"n": 2}),
        json!({"user": "u-1"}),
        json!({"metadata": {"job": "nightly"}}),
        json!({"reasoning_effort": "low"}),
        json!({"verbosity": "low"}),
        json!({"service_tier": "flex"}),
        json!({"prompt_cache_key": "k"}),
        json!({"parallel_tool_calls": false, "tools": tools}),
        json!({"tools": tools, "tool_choice": "required"}),
        json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "lookup"}}}),
        json!({"response_format": {"type": "json_object"}}),
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema()}}}),
        json!({"x_unknown": {"deep": [1, 2.50, null, "\u{2028}"]}}),
        json!({"store": false}),
        json!({"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}]}),
        json!({"messages": [{"role": "developer", "content": "Be short."}, {"role": "user", "content": "Hello", "name": "ann"}]}),
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]}),
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"}]}),
        json!({"messages": parts(json!([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]))}),
        json!({"messages": parts(json!([{"type": "text", "text": "what is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}]))}),
        json!({"messages": [{"role": "user", "content": "Grüße 世界 👋🏽 \" \\ \n \u{7f}"}]}),
    ] {
        let body = with(&base, &more);
        let there = with(&body, &json!({"model": "there"}));
        assert_eq!(asked(&gateway, &upstream, "/v1/chat/completions", &body).await, there, "{more}");
        // Streamed it also says how many tokens there were; what else was wanted of the stream is kept.
        if more.get("n").is_none() {
            let body = with(&body, &json!({"stream": true}));
            let there = with(&there, &json!({"stream": true, "stream_options": {"include_usage": true}}));
            assert_eq!(asked(&gateway, &upstream, "/v1/chat/completions", &body).await, there, "{more}");
        }
    }
}

#[tokio::test]
async fn every_field_of_a_completion_and_of_a_request_for_vectors_reaches_the_upstream_as_it_came() {
    let (gateway, upstream) = stage().await;
    let base = json!({"model": "here", "prompt": "Once upon a time"});
    for more in [
        json!({}),
        json!({"prompt": ["Once upon a time"]}),
        json!({"prompt": ""}),
        json!({"suffix": "the end"}),
        json!({"max_tokens": 1}),
        json!({"temperature": 0.0}),
        json!({"top_p": 0.5}),
        json!({"echo": true}),
        json!({"best_of": 1}),
        json!({"logprobs": 2}),
        json!({"stop": ["\n\n"]}),
        json!({"seed": 7, "user": "u"}),
        json!({"presence_penalty": 1, "frequency_penalty": -1}),
        json!({"logit_bias": {"1": 1}}),
        json!({"x_unknown": [1.50]}),
    ] {
        let body = with(&base, &more);
        let there = with(&body, &json!({"model": "there"}));
        assert_eq!(asked(&gateway, &upstream, "/v1/completions", &body).await, there, "{more}");
    }
    let base = json!({"model": "vectors", "input": "two words"});
    for more in [
        json!({}),
        json!({"input": ["two words", "and three more"]}),
        json!({"input": [1, 2, 3]}),
        json!({"input": [[1, 2], [3]]}),
        json!({"dimensions": 8}),
        json!({"encoding_format": "base64"}),
        json!({"encoding_format": "float", "user": "u"}),
        json!({"x_unknown": {"a": 1}}),
    ] {
        let body = with(&base, &more);
        let there = with(&body, &json!({"model": "text-embedding-3-small"}));
        assert_eq!(asked(&gateway, &upstream, "/v1/embeddings", &body).await, there, "{more}");
    }
}

#[tokio::test]
async fn every_field_of_a_message_has_its_counterpart_in_a_chat() {
    let (gateway, upstream) = stage().await;
    let base = json!({"model": "here", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]});
    let chat =
        json!({"model": "there", "max_completion_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]});
    let tool = json!({"name": "lookup", "description": "Looks up.", "input_schema": schema(), "strict": true});
    let tools = json!([{"type": "function", "function": function()}]);
    let turns = |turns: Value| json!({"messages": turns});
    let system =
        |content: Value| turns(json!([{"role": "system", "content": content}, {"role": "user", "content": "Hello"}]));
    let cases = [
        (json!({}), json!({})),
        (json!({"max_tokens": 1}), json!({"max_completion_tokens": 1})),
        (json!({"system": "Be short."}), system(json!("Be short."))),
        (json!({"system": [{"type": "text", "text": "Be short."}]}), system(json!("Be short."))),
        (json!({"temperature": 0.5}), json!({"temperature": 0.5})),
        (json!({"top_p": 0.5}), json!({"top_p": 0.5})),
        (json!({"top_k": 5}), json!({"top_k": 5})),
        (json!({"stop_sequences": ["END", "###"]}), json!({"stop": ["END", "###"]})),
        (json!({"stop_sequences": []}), json!({})),
        (json!({"metadata": {"user_id": "u-1"}}), json!({"user": "u-1"})),
        (json!({"thinking": {"type": "disabled"}}), json!({})),
        (json!({"output_config": {"effort": "low"}}), json!({"reasoning_effort": "low"})),
        (
            json!({"output_config": {"format": {"type": "json_schema", "schema": schema()}}}),
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema()}}}),
        ),
        (json!({"tools": [tool]}), json!({"tools": tools})),
        (json!({"tools": [tool], "tool_choice": {"type": "auto"}}), json!({"tools": tools, "tool_choice": "auto"})),
        (json!({"tools": [tool], "tool_choice": {"type": "any"}}), json!({"tools": tools, "tool_choice": "required"})),
        (json!({"tools": [tool], "tool_choice": {"type": "none"}}), json!({"tools": tools, "tool_choice": "none"})),
        (
            json!({"tools": [tool], "tool_choice": {"type": "tool", "name": "lookup"}}),
            json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "lookup"}}}),
        ),
        (
            json!({"tools": [tool], "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
            json!({"tools": tools, "tool_choice": "auto", "parallel_tool_calls": false}),
        ),
        (
            turns(
                json!([{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]),
            ),
            turns(
                json!([{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]),
            ),
        ),
        (
            turns(json!([{"role": "user", "content": [{"type": "text", "text": "only"}]}])),
            turns(json!([{"role": "user", "content": "only"}])),
        ),
        (
            turns(json!([{"role": "user", "content": [{"type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]}])),
            turns(json!([{"role": "user", "content": [{"type": "image_url",
                "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}])),
        ),
        (
            turns(json!([{"role": "user", "content": [{"type": "document", "title": "t",
                "source": {"type": "text", "media_type": "text/plain", "data": "body"}}]}])),
            turns(json!([{"role": "user", "content": "t\n\nbody"}])),
        ),
        (
            turns(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "b"}]},
                {"role": "user", "content": "c"}])),
            turns(
                json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]),
            ),
        ),
        (
            turns(json!([{"role": "user", "content": "a"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "lookup", "input": {"city": "Paris"}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"},
                    {"type": "text", "text": "go on"}]}])),
            turns(json!([{"role": "user", "content": "a"},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "t1", "type": "function",
                    "function": {"name": "lookup", "arguments": "{\"city\":\"Paris\"}"}}]},
                {"role": "tool", "tool_call_id": "t1", "content": "sunny"}, {"role": "user", "content": "go on"}])),
        ),
        (
            turns(
                json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "is_error": true, "content": "gone"}]}]),
            ),
            turns(json!([{"role": "tool", "tool_call_id": "t1", "content": "Error: gone"}])),
        ),
        (json!({"stream": true}), json!({"stream": true, "stream_options": {"include_usage": true}})),
    ];
    for (more, counterpart) in cases {
        let there = asked(&gateway, &upstream, "/v1/messages", &with(&base, &more)).await;
        assert_eq!(there, with(&chat, &counterpart), "{more}");
    }
}

#[tokio::test]
async fn every_field_of_a_response_has_its_counterpart_in_a_chat() {
    let (gateway, upstream) = stage().await;
    let base = json!({"model": "here", "input": "Hello"});
    let chat = json!({"model": "there", "messages": [{"role": "user", "content": "Hello"}]});
    let tools = json!([{"type": "function", "function": function()}]);
    let tool = with(&function(), &json!({"type": "function"}));
    let input = |items: Value| json!({"input": items});
    let turns = |turns: Value| json!({"messages": turns});
    let cases = [
        (json!({}), json!({})),
        (
            json!({"instructions": "Be short."}),
            turns(json!([{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}])),
        ),
        (json!({"max_output_tokens": 9}), json!({"max_completion_tokens": 9})),
        (json!({"temperature": 0.5, "top_p": 0.5}), json!({"temperature": 0.5, "top_p": 0.5})),
        (json!({"user": "u", "prompt_cache_key": "k"}), json!({"user": "u", "prompt_cache_key": "k"})),
        (
            json!({"safety_identifier": "s", "service_tier": "flex"}),
            json!({"safety_identifier": "s", "service_tier": "flex"}),
        ),
        (json!({"reasoning": {"effort": "high"}}), json!({"reasoning_effort": "high"})),
        (json!({"text": {"verbosity": "low"}}), json!({"verbosity": "low"})),
        (json!({"text": {"format": {"type": "text"}}}), json!({})),
        (json!({"text": {"format": {"type": "json_object"}}}), json!({"response_format": {"type": "json_object"}})),
        (
            json!({"text": {"format": {"type": "json_schema", "name": "x", "schema": schema(), "strict": true}}}),
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema(), "strict": true}}}),
        ),
        (json!({"store": false, "truncation": "disabled"}), json!({})),
        (json!({"include": ["reasoning.encrypted_content"]}), json!({})),
        (json!({"tools": [tool]}), json!({"tools": tools})),
        (json!({"tools": [tool], "tool_choice": "required"}), json!({"tools": tools, "tool_choice": "required"})),
        (
            json!({"tools": [tool], "tool_choice": {"type": "function", "name": "lookup"}, "parallel_tool_calls": false}),
            json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "lookup"}}, "parallel_tool_calls": false}),
        ),
        (
            input(
                json!([{"role": "developer", "content": "Be short."}, {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]),
            ),
            turns(json!([{"role": "developer", "content": "Be short."}, {"role": "user", "content": "Hi"}])),
        ),
        (
            input(json!([{"role": "user", "content": [{"type": "input_text", "text": "what?"},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}]}])),
            turns(json!([{"role": "user", "content": [{"type": "text", "text": "what?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}]}])),
        ),
        (
            input(json!([{"role": "user", "content": "a"}, {"type": "reasoning", "id": "r", "summary": []},
                {"type": "function_call", "call_id": "c1", "name": "lookup", "arguments": "{}"},
                {"type": "function_call", "call_id": "c2", "name": "lookup", "arguments": "{\"city\":\"Rome\"}"},
                {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
                {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]}])),
            turns(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "lookup", "arguments": "{\"city\":\"Rome\"}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "sunny"}, {"role": "tool", "tool_call_id": "c2", "content": "rain"}])),
        ),
        (
            input(
                json!([{"role": "user", "content": "a"}, {"type": "message", "role": "assistant", "id": "m", "status": "completed",
                "content": [{"type": "output_text", "text": "b", "annotations": []}]}, {"role": "user", "content": "c"}]),
            ),
            turns(
                json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]),
            ),
        ),
        (json!({"stream": true}), json!({"stream": true, "stream_options": {"include_usage": true}})),
    ];
    for (more, counterpart) in cases {
        let there = asked(&gateway, &upstream, "/v1/responses", &with(&base, &more)).await;
        assert_eq!(there, with(&chat, &counterpart), "{more}");
    }
}

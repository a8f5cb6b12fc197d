//! Forms that real clients send and few tests do, through every door; and what an answer that was cut says in each.

use serde_json::{Value, json};
use tests::upstream::Script;
use tests::{Gateway, Upstream, hosted_only};

#[tokio::test]
async fn a_response_that_was_cut_says_so_in_its_last_item() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "cut")).await;
    let message = json!({"role": "assistant", "content": "Rome was", "refusal": null});
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
    let head = json!({"id": "c1", "created": 1, "model": "m"});
    let of = |choices: Value, usage: Option<&Value>| {
        let mut body = head.clone();
        body["choices"] = choices;
        if let Some(usage) = usage {
            body["usage"] = usage.clone();
        }
        body.to_string()
    };
    let whole = of(json!([{"index": 0, "message": message, "finish_reason": "length"}]), Some(&usage));
    upstream.script("cut", Script::json(whole));
    let asked = json!({"model": "big", "input": "x", "max_output_tokens": 2});
    let told = gateway.send("/v1/responses", asked.to_string(), &[]).await.json();
    let item = json!({"type": "message", "id": "msg_c1_0", "status": "incomplete", "role": "assistant",
        "content": [{"type": "output_text", "text": "Rome was", "annotations": [], "logprobs": []}]});
    assert_eq!((&told["status"], &told["output"]), (&json!("incomplete"), &json!([item])), "{told}");
    let piece = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
    let events = [
        of(piece(json!({"role": "assistant", "content": "Rome was"}), Value::Null), None),
        of(piece(json!({}), json!("length")), None),
        of(json!([]), Some(&usage)),
        "[DONE]".to_owned(),
    ];
    upstream.script("cut", Script::stream(events.map(|data| format!("data: {data}\n\n"))));
    let mut asked = asked;
    asked["stream"] = true.into();
    let told = gateway.send("/v1/responses", asked.to_string(), &[]).await;
    let events: Vec<Value> = told.data().iter().map(|data| serde_json::from_str(data).expect("JSON")).collect();
    let done = events.iter().find(|event| event["type"] == "response.output_item.done").expect("the item ends");
    assert_eq!(done["item"], item);
    let last = events.last().expect("an end");
    assert_eq!((&last["type"], &last["response"]["output"]), (&json!("response.incomplete"), &json!([item])));
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_400_and_its_field_through_every_door() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    let turns = json!([{"role": "user", "content": "x"}]);
    for (path, good, wrong) in [
        (
            "/v1/completions",
            json!({"model": "big", "prompt": "x"}),
            vec![
                ("prompt", json!(5)),
                ("best_of", json!(0)),
                ("best_of", json!("3")),
                ("logprobs", json!(30)),
                ("logprobs", json!(true)),
                ("echo", json!("yes")),
            ],
        ),
        (
            "/v1/responses",
            json!({"model": "big", "input": "x"}),
            vec![
                ("input", json!([])),
                ("input", json!([{"role": "user", "content": 5}])),
                ("metadata", json!(7)),
                ("temperature", json!("x")),
                ("tool_choice", json!({"type": "allowed_tools", "mode": "auto"})),
            ],
        ),
        (
            "/v1/chat/completions",
            json!({"model": "big", "messages": turns}),
            vec![
                ("tool_choice", json!({"type": "function", "name": "f"})),
                ("tool_choice", json!({"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": []}})),
            ],
        ),
    ] {
        for (field, value) in wrong {
            let mut body = good.clone();
            body[field] = value.clone();
            let error = gateway.send(path, body.to_string(), &[]).await.error(400);
            assert_eq!(
                (&error["param"], &error["type"]),
                (&json!(field), &json!("invalid_request_error")),
                "{path} {value}"
            );
        }
    }
    let empty = json!({"model": "big", "max_tokens": 9, "messages": [{"role": "user", "content": []}]});
    let told = gateway.send("/v1/messages", empty.to_string(), &[]).await;
    assert_eq!(told.status, 400);
    assert!(told.text().contains("`messages[0].content` is empty"), "{}", told.text());
    assert_eq!(upstream.count(), 0, "nothing was dialled");
}

#[tokio::test]
async fn what_is_odd_and_legal_is_answered() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    let function = |name: &str| json!({"type": "function", "function": {"name": name}});
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    for (path, body) in [
        (
            "/v1/chat/completions",
            json!({"messages": [
                {"role": "developer", "content": [{"type": "text", "text": "Be brief"}]}, {"role": "user", "content": "x"},
                {"role": "assistant", "content": null, "refusal": null, "function_call": null, "tool_calls": [call("a", "{}"), call("b", "")]},
                {"role": "tool", "tool_call_id": "a", "content": "1"},
                {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
            ], "tools": [function("f")], "parallel_tool_calls": true, "stop": null, "n": null, "logit_bias": {}}),
        ),
        (
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": "x"}], "tools": [function("f"), function("g")], "tool_choice":
                {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function("f")]}}}),
        ),
        (
            "/v1/responses",
            json!({"input": [{"role": "developer", "content": "x"}, {"role": "user", "content": "y"}], "include": [],
                "text": {"format": null}, "tools": [{"type": "function", "name": "f", "parameters": null, "strict": null}],
                "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}}),
        ),
        (
            "/v1/messages",
            json!({"max_tokens": 9, "system": [], "messages": [{"role": "user", "content": [
                {"type": "text", "text": "x", "citations": null, "cache_control": null}]}], "metadata": {"user_id": null}}),
        ),
        (
            "/v1/messages/count_tokens",
            json!({"messages": [{"role": "user", "content": "x"}],
            "thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ),
        ("/v1/completions", json!({"prompt": ["x"], "suffix": null, "best_of": null, "logprobs": 0})),
    ] {
        let mut body = body;
        body["model"] = "big".into();
        let told = gateway.send(path, body.to_string(), &[]).await;
        assert_eq!(told.status, 200, "{path} {body}: {}", told.text());
    }
}

#[tokio::test]
async fn every_answer_that_is_written_is_reckoned_with_also_those_that_are_not_chosen() {
    let upstream = Upstream::start().await;
    let rest = hosted_only(&upstream, "echo").replace("[router]\n", "[router]\nmax_usd_per_request = \"0.002\"\n");
    let gateway = Gateway::start(&rest).await;
    // A hundred tokens at $10 a million are $0.001.
    let asked =
        |best_of: u32| json!({"model": "big", "prompt": "x", "max_tokens": 100, "best_of": best_of}).to_string();
    assert_eq!(gateway.send("/v1/completions", asked(1), &[]).await.status, 200);
    assert_eq!(gateway.send("/v1/completions", asked(3), &[]).await.error(422)["code"], "price");
}

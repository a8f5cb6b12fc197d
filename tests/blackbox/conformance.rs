//! What Sluice writes itself parses with the strict types of a well-known client library.

use async_openai::types::chat::{CreateChatCompletionResponse, CreateChatCompletionStreamResponse};
use async_openai::types::models::{ListModelResponse, Model};
use serde_json::json;
use tests::{Gateway, Told, Upstream, chat, streamed, streamed_with_usage, two_sides};

fn whole(told: &Told) -> CreateChatCompletionResponse {
    assert_eq!(told.status, 200, "{}", told.text());
    serde_json::from_slice(&told.body).unwrap_or_else(|error| panic!("{error}: {}", told.text()))
}

fn chunks(told: &Told) -> Vec<CreateChatCompletionStreamResponse> {
    assert!(told.status == 200 && told.done(), "{}", told.text());
    let data = told.data();
    let chunks = data.iter().filter(|data| *data != "[DONE]");
    chunks.map(|data| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"))).collect()
}

#[tokio::test]
async fn answers_of_the_simulated_provider_are_in_openais_form_and_say_what_they_are() {
    let rest = "[providers.p]\nkind = \"simulated\"\n[models.sim]\nprovider = \"p\"\n[router]\nhosted = [\"sim\"]\n";
    let gateway = Gateway::start(rest).await;
    let answer = whole(&gateway.tell(&chat("sim", "hello")).await);
    let text = answer.choices[0].message.content.clone().expect("text");
    assert!(text.contains("simulated"), "{text}");
    let usage = answer.usage.expect("usage");
    assert_eq!(usage.prompt_tokens + usage.completion_tokens, usage.total_tokens);

    let told = gateway.tell(&streamed_with_usage("auto", "hello")).await;
    let parts = chunks(&told);
    let streamed_text: String =
        parts.iter().flat_map(|part| &part.choices).filter_map(|choice| choice.delta.content.clone()).collect();
    assert_eq!(streamed_text, text, "the same answer, streamed");
    assert!(parts.last().expect("chunks").usage.is_some());
    assert_eq!(told.said("x-sluice-route"), "hosted");
    assert!(told.cost().is_some_and(|cost| cost != "0.000000"), "simulated prices are prices");
    let line = tests::oracle::attempt(&gateway, told.id()).await;
    assert_eq!(line["price_source"], "simulated", "{line}");

    let mut short = chat("sim", "hello");
    short["max_tokens"] = 3.into();
    let cut = whole(&gateway.tell(&short).await);
    assert_eq!(cut.usage.expect("usage").completion_tokens, 3);
    let reason = serde_json::to_value(cut.choices[0].finish_reason).expect("JSON");
    assert_eq!(reason, "length");
}

#[tokio::test]
async fn relayed_answers_parse_whole_streamed_and_with_tools() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let rest = tests::two_sides_as(&hosted, "echo-tools", &house, "echo");
    let gateway = Gateway::start(&rest).await;
    let mut with_tools = chat("big", "What is the weather in Paris?");
    with_tools["tools"] =
        json!([{"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}]);
    let called = whole(&gateway.tell(&with_tools).await);
    assert_eq!(called.choices[0].message.tool_calls.as_ref().map(Vec::len), Some(1));
    with_tools["stream"] = true.into();
    let parts = chunks(&gateway.tell(&with_tools).await);
    let arguments: String = parts
        .iter()
        .flat_map(|part| &part.choices)
        .flat_map(|choice| choice.delta.tool_calls.iter().flatten())
        .filter_map(|call| call.function.as_ref()?.arguments.clone())
        .collect();
    assert_eq!(arguments, "{\"city\":\"Paris\"}");
    assert!(parts.iter().all(|part| part.usage.is_none()), "nobody asked for usage");

    let answer = whole(&gateway.tell(&chat("small", "hi")).await);
    assert_eq!(answer.choices[0].message.content.as_deref(), Some("one two three four five"));
    assert_eq!(chunks(&gateway.tell(&streamed("small", "hi")).await).len(), 6);
}

#[tokio::test]
async fn the_lists_of_models_parse() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    let list: ListModelResponse = serde_json::from_slice(&gateway.get("/v1/models").await.body).expect("a list");
    assert_eq!(list.data.len(), 3);
    let one: Model = serde_json::from_slice(&gateway.get("/v1/models/big").await.body).expect("a model");
    assert_eq!(one.id, "big");
}

#[tokio::test]
async fn bare_completions_are_served_whole_and_streamed() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    for (body, path) in [
        (json!({"model": "big", "prompt": "Once"}), "whole"),
        (json!({"model": "auto", "prompt": ["Once"], "stream": true}), "streamed"),
    ] {
        let told = gateway.send("/v1/completions", body.to_string(), &[]).await;
        assert_eq!(told.status, 200, "{path}: {}", told.text());
        assert!(told.cost().is_some() && (path == "whole" || told.done()), "{path}");
    }
    for bad in
        [json!({"model": "big"}), json!({"model": "big", "prompt": 5}), json!({"model": "big", "prompt": [1, 2]})]
    {
        let told = gateway.send("/v1/completions", bad.to_string(), &[]).await;
        assert_eq!(told.error(400)["param"], "prompt");
    }
}

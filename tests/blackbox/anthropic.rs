//! A provider that speaks Anthropic's API: asked in its own words, and its answers told, charged and failed over like any other's.

use serde_json::{Value, json};
use tests::oracle::{self, attempt, nanos_of};
use tests::upstream::{Fault, Play, Script};
use tests::{Gateway, PROVIDER_KEY, PROVIDER_KEY_VARIABLE, Told, Upstream, chat, streamed, streamed_with_usage};

/// `big` is Anthropic's, `other` (behind it) speaks OpenAI's API.
fn config(big: &str, claude: &Upstream, other: &Upstream) -> String {
    format!(
        "[providers.claude]\nkind = \"anthropic\"\nbase_url = \"{}\"\napi_key_env = \"{PROVIDER_KEY_VARIABLE}\"\nregion = \"us\"\n\
         [models.big]\nprovider = \"claude\"\nupstream = \"{big}\"\ninput_usd_per_mtok = \"2.50\"\noutput_usd_per_mtok = \"10.00\"\n\
         cached_input_usd_per_mtok = \"0.25\"\ncache_write_usd_per_mtok = \"5.00\"\n{}\
         [router]\nhosted = [\"big\", \"other\"]\nclassifier = \"heuristic\"\n[ledger]\ndurability = \"process\"\n",
        claude.url,
        other.provider("plain", "hosted", &[("other", "echo")]),
    )
}

async fn start(big: &str) -> (Gateway, Upstream, Upstream) {
    let (claude, other) = (Upstream::start().await, Upstream::start().await);
    (Gateway::start(&config(big, &claude, &other)).await, claude, other)
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body
}

#[tokio::test]
async fn it_is_asked_in_its_own_words_and_every_token_is_accounted_for() {
    let (gateway, claude, _other) = start("echo").await;
    let asked =
        with(chat("big", "Name two big rivers"), json!({"max_tokens": 64, "temperature": 0.5, "stop": ["END"]}));
    let whole = gateway.tell(&asked).await;
    assert_eq!((whole.status, whole.answer().as_str()), (200, "one two three four five"), "{}", whole.text());
    let seen = claude.last();
    assert_eq!(seen.path, "/v1/messages");
    assert_eq!((seen.header("x-api-key"), seen.header("authorization")), (Some(PROVIDER_KEY), None));
    assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
    let turn = json!({"role": "user", "content": [{"type": "text", "text": "Name two big rivers"}]});
    assert_eq!(
        seen.json(),
        json!({"model": "echo", "max_tokens": 64, "temperature": 0.5, "stop_sequences": ["END"], "messages": [turn]})
    );
    let stream = gateway.tell(&streamed("big", "Name two big rivers")).await;
    assert!(stream.done() && stream.answer().starts_with("word0 word1"), "{}", stream.text());
    assert!(!stream.text().contains("prompt_tokens"), "nobody asked for usage");
    assert_eq!(claude.last().json()["max_tokens"], 4_096, "it has to have a ceiling");
    let told = gateway.tell(&streamed_with_usage("big", "Name two big rivers")).await;
    let last: Value = serde_json::from_str(&told.data()[told.data().len() - 2]).expect("JSON");
    assert_eq!(last["usage"]["total_tokens"], 14 + 5);
    oracle::agree(&gateway, &[whole, stream, told], &[("big", &claude, oracle::BIG)]).await;
}

#[tokio::test]
async fn tools_are_called_whole_and_streamed() {
    let (gateway, claude, _other) = start("echo-tools").await;
    let tools = json!([{"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}]);
    let whole = gateway.tell(&with(chat("big", "weather?"), json!({"tools": tools}))).await.json();
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(
        (&call["id"], &call["function"]),
        (&json!("toolu_1"), &json!({"name": "lookup", "arguments": "{\"city\":\"Paris\"}"}))
    );
    assert_eq!(claude.last().json()["tools"], json!([{"name": "lookup", "input_schema": {"type": "object"}}]));
    let told = gateway.tell(&with(streamed("big", "weather?"), json!({"tools": tools}))).await;
    let deltas: Vec<Value> = told.data().iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
    let calls = deltas.iter().filter_map(|delta| delta.pointer("/choices/0/delta/tool_calls/0"));
    let arguments: String = calls.filter_map(|call| call["function"]["arguments"].as_str()).collect();
    assert!(told.done() && arguments == "{\"city\":\"Paris\"}", "{}", told.text());
}

#[tokio::test]
async fn tokens_of_the_providers_cache_have_their_own_prices() {
    let (gateway, claude, _other) = start("cached").await;
    let usage = json!({"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 4});
    let body = json!({"id": "msg_1", "type": "message", "model": "claude", "stop_reason": "end_turn", "usage": usage,
        "content": [{"type": "text", "text": "hi"}]});
    claude.script("cached", Script::json(body.to_string()));
    let told = gateway.tell(&chat("big", "x")).await;
    // 10 at $2.50, 100 at $0.25, 20 at $5.00 and 4 at $10.00 a million.
    assert_eq!(told.cost().map(|cost| nanos_of(&cost)), Some(25_000 + 25_000 + 100_000 + 40_000));
    let line = attempt(&gateway, told.id()).await;
    assert_eq!((&line["input_tokens"], &line["cached_tokens"]), (&json!(130), &json!(100)), "{line}");
    let asked = json!({"model": "big", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
    let message = gateway.send("/v1/messages", asked.to_string(), &[]).await.json();
    assert_eq!((&message["usage"], &message["content"]), (&usage, &json!([{"type": "text", "text": "hi"}])));
}

#[tokio::test]
async fn its_errors_are_told_and_other_targets_take_over() {
    let (gateway, claude, other) = start("play").await;
    let body = chat("big", "x");
    let told = |play: Play| {
        claude.play("play", play);
        gateway.tell(&body)
    };
    let refused: Told = told(Play::status(400)).await;
    assert_eq!(refused.error(400)["message"], "scripted", "its own words, in a chat's form");
    let asked = json!({"model": "big", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
    let message = gateway.send("/v1/messages", asked.to_string(), &[]).await;
    assert_eq!((message.status, &message.json()["error"]["message"]), (400, &json!("scripted")));
    let limited = told(Play::retry_after(429, "7")).await;
    assert_eq!((limited.error(429)["code"].clone(), limited.said("retry-after")), (json!("upstream_rate_limit"), "7"));
    let overloaded = told(Play::retry_after(529, "3")).await;
    assert_eq!(
        (overloaded.error(502)["code"].clone(), overloaded.said("retry-after")),
        (json!("upstream_status"), "3")
    );
    let auto = gateway.tell(&chat("auto", "x")).await;
    assert_eq!((auto.status, auto.said("x-sluice-model"), auto.said("x-sluice-reason")), (200, "other", "fallback"));
    assert_eq!(other.count(), 1);
}

#[tokio::test]
async fn a_stream_that_goes_wrong_ends_with_an_error_and_not_in_silence() {
    for (fault, code) in [
        (Fault::ErrorEvent, "upstream_error"),
        (Fault::EarlyEnd, "upstream_truncated"),
        (Fault::NoFinish, "upstream_truncated"),
        (Fault::Break, "upstream_truncated"),
    ] {
        let (gateway, claude, _other) = start("play").await;
        claude.play("play", Play::fault(5, fault));
        let told = gateway.tell(&streamed("big", "x")).await;
        assert_eq!((told.status, told.done()), (200, false), "{fault:?}: {}", told.text());
        let error = told.stream_error().unwrap_or_else(|| panic!("{fault:?}: {}", told.text()));
        assert_eq!(error["code"], code, "{fault:?}");
        assert_eq!(attempt(&gateway, told.id()).await["outcome"], "truncated", "{fault:?}");
    }
    let (gateway, claude, _other) = start("play").await;
    claude.script("play", Script::json("{\"type\":\"message\"}"));
    assert_eq!(gateway.tell(&chat("big", "x")).await.error(502)["code"], "upstream_protocol");
}

#[tokio::test]
async fn what_it_cannot_say_goes_to_who_can() {
    let (gateway, claude, other) = start("echo").await;
    for more in [json!({"n": 2}), json!({"temperature": 1.5}), json!({"response_format": {"type": "json_object"}})] {
        let told = gateway.tell(&with(chat("auto", "x"), more.clone())).await;
        assert_eq!((told.status, told.said("x-sluice-model")), (200, "other"), "{more}");
        let pinned = gateway.tell(&with(chat("big", "x"), more.clone())).await;
        assert_eq!(pinned.status, 422, "{more}: {}", pinned.text());
    }
    assert_eq!((claude.count(), other.count()), (0, 3));
}

#[tokio::test]
async fn a_client_of_anthropics_api_gets_its_own_form_whole_and_streamed() {
    let (gateway, claude, _other) = start("echo").await;
    let asked = json!({"model": "big", "max_tokens": 9, "system": "Be brief",
        "messages": [{"role": "user", "content": "Name two big rivers"}]});
    let whole = gateway.send("/v1/messages", asked.to_string(), &[]).await.json();
    assert_eq!(whole["usage"]["input_tokens"], 16);
    assert_eq!(whole["content"], json!([{"type": "text", "text": "one two three four five"}]));
    assert_eq!(claude.last().json()["system"], json!([{"type": "text", "text": "Be brief"}]));
    let told = gateway.send("/v1/messages", with(asked, json!({"stream": true})).to_string(), &[]).await;
    let kinds: Vec<Value> =
        told.data().iter().map(|data| serde_json::from_str::<Value>(data).expect("JSON")["type"].clone()).collect();
    assert_eq!(
        (&kinds[0], &kinds[kinds.len() - 1]),
        (&json!("message_start"), &json!("message_stop")),
        "{}",
        told.text()
    );
}

#[tokio::test]
async fn what_was_masked_comes_back() {
    let claude = Upstream::start().await;
    claude.play("echo", Play::repeat(3));
    let rest = format!(
        "[providers.claude]\nkind = \"anthropic\"\nbase_url = \"{}\"\nregion = \"us\"\n[models.big]\nprovider = \"claude\"\n\
         upstream = \"echo\"\n[router]\nhosted = [\"big\"]\n[ledger]\ndurability = \"process\"\n\
         [residency.classes.restricted]\nlocations = [\"local\"]\n\
         [residency.masking]\nkinds = [\"email\"]\nwhen = \"always\"\n",
        claude.url
    );
    let gateway = Gateway::start(&rest).await;
    for body in [chat("big", "write to ann@example.org"), streamed("big", "write to ann@example.org")] {
        let told = gateway.tell(&body).await;
        assert_eq!(told.answer(), "write to ann@example.org", "{}", told.text());
        let sent = claude.last();
        assert!(!String::from_utf8_lossy(&sent.body).contains("ann@"), "{:?}", sent.body);
    }
}

#[tokio::test]
async fn marks_for_its_cache_reach_it_and_nobody_else() {
    let (gateway, claude, other) = start("echo").await;
    let mark = json!({"type": "ephemeral"});
    let system = json!([{"type": "text", "text": "A long text that is the same each time", "cache_control": mark}]);
    let asked = |model: &str| json!({"model": model, "max_tokens": 9, "system": system, "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(gateway.send("/v1/messages", asked("big").to_string(), &[]).await.status, 200);
    assert_eq!(claude.last().json()["system"], system);
    assert_eq!(gateway.send("/v1/messages", asked("other").to_string(), &[]).await.status, 200);
    assert_eq!(other.last().json()["messages"][0]["content"], "A long text that is the same each time");
}

#[tokio::test]
async fn marks_for_its_cache_stay_under_an_arms_system_prompt() {
    let (claude, other) = (Upstream::start().await, Upstream::start().await);
    let arm = "[experiments.x]\nkind = \"split\"\nshare = \"100%\"\nleft_system = \"kind.txt\"\n";
    let folder = tests::gateway::folder(&format!("{}{arm}", config("echo", &claude, &other)));
    std::fs::write(folder.path().join("kind.txt"), "Be kind. {system}").expect("written");
    let gateway = Gateway::serve(folder, &[]).await;
    let mark = json!({"type": "ephemeral"});
    let block = |text: &str| json!([{"type": "text", "text": text, "cache_control": mark}]);
    let turns = json!([{"role": "user", "content": block("x")}]);
    let asked = json!({"model": "auto", "max_tokens": 9, "system": block("Own words."), "messages": turns,
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": mark}]});
    let told = gateway.send("/v1/messages", asked.to_string(), &[]).await;
    assert_eq!((told.status, told.said("x-sluice-model")), (200, "big"), "{}", told.text());
    let sent = claude.last().json();
    assert_eq!((&sent["system"], &sent["messages"]), (&block("Be kind. Own words."), &turns));
    assert_eq!(sent["tools"][0]["cache_control"], mark);
}

#[tokio::test]
async fn a_tool_that_is_no_function_is_refused_by_its_path_or_goes_to_who_knows_it() {
    let (gateway, claude, other) = start("echo").await;
    let function = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    for tool in [json!({"type": "custom", "custom": {"name": "shell"}}), json!({"type": "web_search"})] {
        let tools = json!({"tools": [function, tool]});
        let error = gateway.tell(&with(chat("big", "x"), tools.clone())).await.error(400);
        assert_eq!(
            (&error["param"], &error["type"]),
            (&json!("tools[1].type"), &json!("invalid_request_error")),
            "{error}"
        );
        assert!(error["message"].as_str().is_some_and(|text| text.contains("`function` only")), "{error}");
        let told = gateway.tell(&with(chat("auto", "x"), tools)).await;
        assert_eq!((told.status, told.said("x-sluice-model")), (200, "other"), "{}", told.text());
        assert_eq!(other.last().json()["tools"][1], tool, "as it came");
    }
    assert_eq!(claude.count(), 0);
}

#[test]
fn capabilities_that_nobody_uses_there_are_refused_by_name() {
    let check = |words: &str| {
        let text = format!("[providers.claude]\nkind = \"anthropic\"\nregion = \"us\"\ncapabilities = [{words}]\n");
        let output = tests::gateway::run(tests::gateway::folder(&text).path(), &["check"], "");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let known = "\"tools\", \"vision\", \"files\", \"json_schema\"";
    assert_eq!(check(known).0, Some(0), "{}", check(known).1);
    for word in ["audio", "logprobs", "n"] {
        let (code, said) = check(&format!("\"tools\", \"{word}\""));
        let says = format!("`providers.claude.capabilities`: `{word}` means nothing for kind `anthropic`");
        assert!(code == Some(64) && said.contains(&says), "{said}");
    }
}

#[tokio::test]
async fn a_stream_whose_last_event_lacks_its_blank_line_is_whole() {
    let (gateway, claude, _other) = start("raw").await;
    let start = r#"{"type":"message_start","message":{"id":"msg_1","model":"claude","usage":{"input_tokens":3,"output_tokens":1}}}"#;
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#;
    let text = format!("data: {start}\n\ndata: {end}\n\ndata: {{\"type\":\"message_stop\"}}\n");
    claude.script("raw", Script::stream([text]));
    let told = gateway.tell(&streamed("big", "x")).await;
    assert!(told.done(), "{}", told.text());
    assert_eq!(told.cost().map(|cost| nanos_of(&cost)), Some(3 * 2_500 + 2 * 10_000));
}

#[tokio::test]
async fn gemini_and_bedrock_are_asked_at_their_endpoints_for_openais_api() {
    for kind in ["gemini", "bedrock"] {
        by_bearer(kind).await;
    }
    let usual =
        "[providers.g]\nkind = \"gemini\"\nregion = \"us\"\n[providers.a]\nkind = \"anthropic\"\nregion = \"us\"\n";
    let folder = tests::gateway::folder(usual);
    let known = tests::gateway::run_json(folder.path(), &["check", "--json"], "");
    assert_eq!(known["valid"], true, "their addresses are known");
}

async fn by_bearer(kind: &str) {
    let gemini = Upstream::start().await;
    let rest = format!(
        "[providers.gemini]\nkind = \"{kind}\"\nbase_url = \"{}/v1beta/openai\"\napi_key_env = \"{PROVIDER_KEY_VARIABLE}\"\n\
         region = \"us\"\n[models.flash]\nprovider = \"gemini\"\nupstream = \"echo\"\n",
        gemini.root
    );
    let gateway = Gateway::start(&rest).await;
    assert_eq!(gateway.tell(&chat("flash", "x")).await.answer(), "one two three four five");
    let seen = gemini.last();
    let bearer = format!("Bearer {PROVIDER_KEY}");
    assert_eq!(
        (seen.path.as_str(), seen.header("authorization")),
        ("/v1beta/openai/chat/completions", Some(bearer.as_str()))
    );
    let meaning = gateway.cli(&["check"]);
    assert_eq!(meaning["providers"][0]["kind"], kind);
}

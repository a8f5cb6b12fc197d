use super::*;

fn chat(body: &str) -> Result<WireRequest, WireError> {
    WireRequest::parse(Endpoint::Chat, Bytes::copy_from_slice(body.as_bytes()))
}

#[test]
fn wrong_types_are_named_by_field() {
    let user = r#""model":"auto","messages":[{"role":"user","content":"hi"}]"#;
    for (body, param) in [
        (r#"{"messages":[]}"#.to_owned(), "model"),
        (r#"{"model":7,"messages":[]}"#.to_owned(), "model"),
        (r#"{"model":"auto"}"#.to_owned(), "messages"),
        (r#"{"model":"auto","messages":[]}"#.to_owned(), "messages"),
        (r#"{"model":"auto","messages":"hi"}"#.to_owned(), "messages"),
        (r#"{"model":"auto","messages":[{"role":"king","content":"hi"}]}"#.to_owned(), "messages"),
        (r#"{"model":"auto","messages":[{"role":"user"}]}"#.to_owned(), "messages"),
        (r#"{"model":"auto","messages":[{"role":"user","content":5}]}"#.to_owned(), "messages"),
        (r#"{"model":"auto","messages":[{"role":"user","content":[{"type":"text"}]}]}"#.to_owned(), "messages"),
        (format!(r#"{{{user},"temperature":"hot"}}"#), "temperature"),
        (format!(r#"{{{user},"temperature":3}}"#), "temperature"),
        (format!(r#"{{{user},"max_tokens":0}}"#), "max_tokens"),
        (format!(r#"{{{user},"max_tokens":-4}}"#), "max_tokens"),
        (format!(r#"{{{user},"max_completion_tokens":"9"}}"#), "max_completion_tokens"),
        (format!(r#"{{{user},"n":0}}"#), "n"),
        (format!(r#"{{{user},"stream":"yes"}}"#), "stream"),
        (format!(r#"{{{user},"stop":["a","b","c","d","e"]}}"#), "stop"),
        (format!(r#"{{{user},"top_logprobs":2}}"#), "top_logprobs"),
        (format!(r#"{{{user},"logprobs":true,"top_logprobs":21}}"#), "top_logprobs"),
        (format!(r#"{{{user},"response_format":{{"type":"xml"}}}}"#), "response_format"),
        (format!(r#"{{{user},"tools":[{{"type":"function"}}]}}"#), "tools"),
        (format!(r#"{{{user},"tool_choice":"maybe"}}"#), "tool_choice"),
        (format!(r#"{{{user},"stream_options":[true]}}"#), "stream_options"),
        (format!(r#"{{{user},"tools":[["function",["f"]]]}}"#), "tools"),
        (format!(r#"{{{user},"tools":[{{"type":"function","function":["f"]}}]}}"#), "tools"),
        (r#"{"model":"auto","messages":[["user","hi"]]}"#.to_owned(), "messages"),
    ] {
        let error = chat(&body).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{body}: {}", error.message);
    }
}

#[test]
fn parts_are_joined_and_modalities_noticed() {
    let request = chat(
        r#"{"model":"auto","messages":[{"role":"system","content":"s"},{"role":"user","content":[
        {"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"b"}]}],
        "stream":true,"stream_options":{"include_usage":true},"tool_choice":{"type":"function","function":{"name":"f"}}}"#,
    )
    .unwrap();
    let view = &request.view;
    assert_eq!(view.texts().collect::<Vec<_>>(), ["s", "a\nb"]);
    assert!(view.messages()[1].vision && view.stream && view.include_usage);
    assert_eq!(view.tool_choice, ToolChoice::Named("f".into()));
}

#[test]
fn a_choice_among_some_tools_leaves_those() {
    let function = |name: &str| format!(r#"{{"type":"function","function":{{"name":"{name}"}}}}"#);
    let of = |tools: &str, choice: &str| {
        chat(&format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"tools":[{tools}],"tool_choice":{choice}}}"#
        ))
    };
    let tools = format!(r#"{},{},{{"type":"custom","custom":{{"name":"h"}}}}"#, function("f"), function("g"));
    let among = |mode: &str, allowed: &str| {
        format!(r#"{{"type":"allowed_tools","allowed_tools":{{"mode":"{mode}","tools":[{allowed}]}}}}"#)
    };
    let names = |request: &WireRequest| request.view.tools.iter().map(|tool| tool.name.clone()).collect::<Vec<_>>();
    let some = of(&tools, &among("required", &function("g"))).unwrap();
    assert_eq!((names(&some), &some.view.tool_choice), (vec!["g".to_owned()], &ToolChoice::Required));
    let custom = of(&tools, r#"{"type":"custom","custom":{"name":"h"}}"#).unwrap();
    assert_eq!((names(&custom).len(), &custom.view.tool_choice), (3, &ToolChoice::Named("h".into())));
    for wrong in [
        among("none", &function("g")),
        r#"{"type":"allowed_tools","allowed_tools":[]}"#.into(),
        r#"{"type":"mcp"}"#.into(),
    ] {
        assert_eq!(of(&tools, &wrong).unwrap_err().param.as_deref(), Some("tool_choice"), "{wrong}");
    }
}

#[test]
fn the_debug_form_shows_no_prompt() {
    let request = chat(r#"{"model":"auto","messages":[{"role":"user","content":"canary"}]}"#).unwrap();
    assert!(!format!("{request:?}").contains("canary"));
}

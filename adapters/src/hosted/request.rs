//! What is sent: the client's own object with the fields that Sluice owns.

use super::{Dialect, HostedSpec};
use crate::backend::Call;
use crate::error::Kind;
use crate::wire::{ALTERNATIVES, anthropic};
use bytes::Bytes;
use policies::Endpoint;
use reqwest::Url;
use serde_json::{Map, Value};

/// The address of a call.
pub(super) fn url(spec: &HostedSpec, call: &Call) -> Url {
    let path = match call.request.endpoint {
        _ if spec.dialect == Dialect::Anthropic => ["messages"].as_slice(),
        Endpoint::Chat => ["chat", "completions"].as_slice(),
        Endpoint::Completions => ["completions"].as_slice(),
        Endpoint::Embeddings => ["embeddings"].as_slice(),
    };
    let mut url = spec.base_url.clone();
    let versioned = url.path().trim_end_matches('/').ends_with("/v1");
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty();
        match &spec.dialect {
            Dialect::OpenAi => {}
            Dialect::Anthropic if versioned => {}
            Dialect::Anthropic => {
                segments.push("v1");
            }
            Dialect::Azure { api_version: None } if versioned => {}
            Dialect::Azure { api_version: None } => {
                segments.extend(["openai", "v1"]);
            }
            Dialect::Azure { api_version: Some(_) } => {
                // One path segment: `extend` escapes whatever the name holds.
                segments.extend(["openai", "deployments", call.model.as_str()]);
            }
        }
        segments.extend(path);
    }
    if let Dialect::Azure { api_version: Some(version) } = &spec.dialect {
        url.query_pairs_mut().append_pair("api-version", version);
    }
    url
}

/// The body of a call; `asked`: the server is to tell how sure it is of each token.
///
/// # Errors
/// What the provider's API cannot say.
pub(super) fn body(spec: &HostedSpec, call: &Call, asked: bool) -> Result<Bytes, Kind> {
    if spec.dialect == Dialect::Anthropic {
        return anthropic::message(&call.request, &call.model, call.stream, call.max_output);
    }
    let raw = &call.request.raw;
    let text = |value: Value| Some(value.to_string());
    let mut owned = vec![("model", text(call.model.clone().into()))];
    if call.stream != call.request.view.stream {
        owned.push(("stream", text(call.stream.into())));
    }
    if call.stream {
        let mut options: Map<String, Value> = raw.read("stream_options").ok().flatten().unwrap_or_default();
        if options.get("include_usage") != Some(&Value::Bool(true)) {
            options.insert("include_usage".into(), true.into());
            owned.push(("stream_options", text(options.into())));
        }
    } else if raw.field("stream_options").is_some() {
        owned.push(("stream_options", None));
    }
    if asked {
        owned.push(("logprobs", text(true.into())));
        owned.push(("top_logprobs", text(ALTERNATIVES.into())));
    }
    if let Some(most) = call.max_output {
        let newer = spec.base_url.host_str().is_some_and(|host| host.ends_with("openai.com"))
            || matches!(spec.dialect, Dialect::Azure { .. });
        let fields = ["max_completion_tokens", "max_tokens"];
        let given = fields.iter().copied().filter(|field| raw.field(field).is_some());
        let mut any = false;
        for field in given {
            any = true;
            owned.push((field, text(most.into())));
        }
        if !any {
            owned.push((if newer { fields[0] } else { fields[1] }, text(most.into())));
        }
    }
    Ok(raw.with(&owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosted::Timeouts;
    use crate::wire::WireRequest;
    use policies::Capabilities;
    use std::sync::Arc;
    use std::time::Duration;

    fn spec(dialect: Dialect, base: &str) -> HostedSpec {
        let second = Duration::from_secs(1);
        HostedSpec {
            name: "p".into(),
            reach: crate::hosted::Reach::World,
            authorities: vec![],
            identity: None,
            dialect,
            base_url: base.parse().unwrap(),
            api_key: None,
            missing_key: None,
            capabilities: Capabilities::ALL,
            most_vectors: 1 << 20,
            timeouts: Timeouts { connect: second, first_event: second, idle: second, total: second },
            house: None,
        }
    }

    fn call(fields: &str, max_output: Option<u64>) -> Call {
        let body = format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"x"}}]{fields}}}"#);
        let request = WireRequest::parse(Endpoint::Chat, body.into()).unwrap();
        let stream = request.view.stream;
        let classes = policies::Classes::standard();
        let class = classes.named("public").unwrap();
        Call {
            permit: classes.permit(class, &"p".into(), policies::Location::Hosted, Some("eu")).unwrap(),
            request: Arc::new(request),
            masked: None,
            id: "r".into(),
            model: "m/1".into(),
            stream,
            max_output,
            traceparent: None,
            watch: false,
        }
    }

    #[test]
    fn addresses_follow_the_dialect_and_a_model_is_one_segment() {
        let azure = |version: Option<&str>| Dialect::Azure { api_version: version.map(Into::into) };
        for (dialect, base, address) in [
            (Dialect::OpenAi, "http://h/v1", "http://h/v1/chat/completions"),
            (Dialect::OpenAi, "http://h/v1/", "http://h/v1/chat/completions"),
            (Dialect::Anthropic, "http://h/v1", "http://h/v1/messages"),
            (Dialect::Anthropic, "http://h", "http://h/v1/messages"),
            (azure(None), "http://h", "http://h/openai/v1/chat/completions"),
            (azure(None), "http://h/openai/v1/", "http://h/openai/v1/chat/completions"),
            (
                azure(Some("2024-10-21")),
                "http://h",
                "http://h/openai/deployments/m%2F1/chat/completions?api-version=2024-10-21",
            ),
        ] {
            assert_eq!(url(&spec(dialect, base), &call("", None)).as_str(), address);
        }
    }

    #[test]
    fn vectors_are_asked_for_at_their_own_address_and_only_the_model_changes() {
        let request = r#"{"model":"e","input":["a"],"dimensions":3,"x":[1.0]}"#;
        let request = Arc::new(WireRequest::parse(Endpoint::Embeddings, request.into()).unwrap());
        let call = Call { request, ..call("", None) };
        let older = Dialect::Azure { api_version: Some("v".into()) };
        for (dialect, base, address) in [
            (Dialect::OpenAi, "http://h/v1", "http://h/v1/embeddings"),
            (older, "http://h", "http://h/openai/deployments/m%2F1/embeddings?api-version=v"),
        ] {
            let spec = spec(dialect, base);
            assert_eq!(url(&spec, &call).as_str(), address);
            let sent = body(&spec, &call, false).unwrap();
            assert_eq!(sent, r#"{"model":"m/1","input":["a"],"dimensions":3,"x":[1.0]}"#);
        }
        assert!(matches!(body(&spec(Dialect::Anthropic, "http://h"), &call, false), Err(Kind::Unsupported(_))));
    }

    #[test]
    fn a_server_in_the_house_is_asked_how_sure_it_is() {
        let sent = body(&spec(Dialect::OpenAi, "http://h/v1"), &call("", None), true).unwrap();
        let text = std::str::from_utf8(&sent).unwrap();
        assert!(text.ends_with(r#""logprobs":true,"top_logprobs":10}"#), "{text}");
    }

    #[test]
    fn only_owned_fields_change() {
        for (fields, most, expected) in [
            ("", None, ""),
            (r#","stream":true"#, None, r#","stream":true,"stream_options":{"include_usage":true}"#),
            (
                r#","stream":true,"stream_options":{"x":1,"include_usage":false}"#,
                None,
                r#","stream":true,"stream_options":{"x":1,"include_usage":true}"#,
            ),
            (r#","x":{"y": 1.0}"#, None, r#","x":{"y": 1.0}"#),
            (r#","max_tokens":500"#, Some(7), r#","max_tokens":7"#),
            (r#","max_completion_tokens":500"#, Some(7), r#","max_completion_tokens":7"#),
            ("", Some(7), r#","max_tokens":7"#),
        ] {
            let sent = body(&spec(Dialect::OpenAi, "http://h/v1"), &call(fields, most), false).unwrap();
            let expected = format!(r#"{{"model":"m/1","messages":[{{"role":"user","content":"x"}}]{expected}}}"#);
            assert_eq!(std::str::from_utf8(&sent).unwrap(), expected);
        }
    }
}

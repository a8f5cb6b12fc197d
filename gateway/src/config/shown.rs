//! The configuration as the admin API shows it: each key with its value and where it came from.
//!
//! **Promise.** What the file and the environment say is shown under the keys they use, the environment's word where both
//! say something; what neither says is shown with its default where it is a plain one. A secret is never in it: what may
//! hold one is replaced by `redacted`, and names of environment variables (`..._env`) are names.
//!
//! **Why by key names and not by type.** The merged values are read before they are typed, so that a key shows the form in
//! which it was typed; the test below tries keys and forms of each kind.

use super::settings::Settings;
use super::units::shown;
use figment::Figment;
use figment::value::{Dict, Value as Found};
use serde::Serialize;
use serde_json::{Value, json};

/// Keys whose values may hold a password: addresses of stores.
const SECRET: [&str; 2] = ["ledger.url", "replicas.url"];

/// One key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// Its path: `server.listen`.
    pub key: String,
    /// Its value, or `redacted`.
    pub value: Value,
    /// `file`, `environment` or `default`.
    pub from: &'static str,
}

/// What file and environment say, in the order of the keys.
pub(super) fn written(figment: &Figment) -> Vec<Shown> {
    let mut rows = Vec::new();
    let everything: Dict = figment.extract().unwrap_or_default();
    for (key, value) in &everything {
        walk(figment, key.clone(), value, &mut rows);
    }
    rows
}

fn walk(figment: &Figment, key: String, value: &Found, rows: &mut Vec<Shown>) {
    if let Found::Dict(_, dict) = value
        && !dict.is_empty()
    {
        for (name, value) in dict {
            walk(figment, format!("{key}.{name}"), value, rows);
        }
        return;
    }
    let metadata = figment.get_metadata(value.tag());
    let from = match metadata {
        Some(metadata) if metadata.name.contains("environment") => "environment",
        Some(_) | None => "file",
    };
    let value = if hides(&key) { json!("redacted") } else { redacted(json!(value)) };
    rows.push(Shown { key, value, from });
}

fn hides(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or_default();
    let secret = ["password", "secret", "token", "api_key"].iter().any(|word| last.ends_with(word));
    SECRET.contains(&key) || secret
}

/// Values as they are, but for addresses with credentials, wherever they are.
fn redacted(value: Value) -> Value {
    match value {
        Value::String(text) => {
            let authority = text.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
            if authority.is_some_and(|authority| authority.contains('@')) { json!("redacted") } else { text.into() }
        }
        Value::Array(list) => list.into_iter().map(redacted).collect(),
        Value::Object(fields) => {
            let hide = |(name, value): (String, Value)| {
                let value = if hides(&name) { json!("redacted") } else { redacted(value) };
                (name, value)
            };
            Value::Object(fields.into_iter().map(hide).collect())
        }
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
    }
}

/// All keys: what was written, and the plain defaults of the rest.
pub(super) fn effective(written: Vec<Shown>, settings: &Settings) -> Vec<Shown> {
    let millis = |time: std::time::Duration| json!(format!("{}ms", time.as_millis()));
    let clocks = &settings.timeouts;
    let defaults = [
        ("server.listen", json!(settings.server.listen.to_string())),
        ("server.admin_listen", json!(settings.server.admin_listen.to_string())),
        ("residency.mode", json!(if settings.offline { "offline" } else { "online" })),
        ("residency.default_class", json!(settings.default_class)),
        ("router.hosted_share", json!(shown(settings.router.hosted_share))),
        ("limits.connections", json!(settings.connections)),
        ("limits.in_flight", json!(settings.in_flight)),
        ("limits.body", json!(settings.body_bytes)),
        ("limits.head", json!(settings.head_bytes)),
        ("limits.vectors", json!(settings.vector_bytes)),
        ("keys.required", json!(settings.keys_required)),
        ("learning.keep_prompts", json!(settings.keep_prompts)),
        ("timeouts.header", millis(clocks.header)),
        ("timeouts.body", millis(clocks.body)),
        ("timeouts.queue", millis(clocks.queue)),
        ("timeouts.connect", millis(clocks.attempt.connect)),
        ("timeouts.first_event", millis(clocks.attempt.first_event)),
        ("timeouts.idle", millis(clocks.attempt.idle)),
        ("timeouts.total", millis(clocks.attempt.total)),
        ("timeouts.write", millis(clocks.write)),
        ("timeouts.drain", millis(clocks.drain)),
        ("timeouts.drain_delay", millis(clocks.drain_delay)),
        ("savings.holdout", json!(shown(settings.holdout))),
    ];
    let mut rows = written;
    for (key, value) in defaults {
        if !rows.iter().any(|row| row.key == key) {
            rows.push(Shown { key: key.into(), value, from: "default" });
        }
    }
    rows.sort_by(|one, other| one.key.cmp(&other.key));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use figment::providers::{Format, Serialized, Toml};

    #[test]
    fn no_secret_is_shown_and_names_of_variables_are() {
        let text = r#"
            [ledger]
            url = "postgres://u:hunter2@db/x"
            [replicas]
            url = "redis://:hunter2@r"
            [providers.p]
            api_key_env = "OPENAI_API_KEY"
            base_url = "https://u:hunter2@h/v1"
            [telemetry]
            list = [{ token = "hunter2", plain = "https://h/a@b" }]
        "#;
        let rows = written(&Figment::from(Toml::string(text)));
        let all = serde_json::to_string(&rows).unwrap();
        assert!(!all.contains("hunter2"), "{all}");
        let of = |key: &str| rows.iter().find(|row| row.key == key).unwrap().value.clone();
        assert_eq!(of("providers.p.api_key_env"), "OPENAI_API_KEY");
        assert_eq!(of("telemetry.list"), json!([{"token": "redacted", "plain": "https://h/a@b"}]));
        assert_eq!(of("ledger.url"), "redacted");
    }

    #[test]
    fn a_key_says_where_it_came_from() {
        let figment = Figment::from(Toml::string("[server]\nlisten = \"a\"\nadmin_listen = \"b\"\n"));
        let figment = figment.merge(Serialized::default("server.listen", "c"));
        let rows = written(&figment);
        assert_eq!((rows[1].key.as_str(), &rows[1].value, rows[1].from), ("server.listen", &json!("c"), "file"));
    }
}

//! Settings that the documentation names, against the program: every key is there, none is made up, defaults are those of the
//! code, and examples can be read.

use super::defaults;
use super::spec::ConfigSpec;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md"));

/// The keys of the table that a key nobody knows is put into by `shape`; none where no table is, or one with any keys.
fn keys(shape: &dyn Fn(Value) -> Value) -> Vec<String> {
    let Err(error) = serde_json::from_value::<ConfigSpec>(shape(json!({"?": 0}))) else { return vec![] };
    let error = error.to_string();
    let known = error.strip_prefix("unknown field `?`, expected ").unwrap_or_default();
    known.split('`').skip(1).step_by(2).map(String::from).collect()
}

/// Paths of all keys that are no tables themselves, below a place.
fn collect(at: &str, shape: &dyn Fn(Value) -> Value, all: &mut BTreeSet<String>) {
    for key in keys(shape) {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        let table = |inner: Value| shape(json!({ key.clone(): inner }));
        let list = |inner: Value| table(json!([inner]));
        let named = |inner: Value| table(json!({ "NAME": inner }));
        if !keys(&table).is_empty() {
            collect(&path, &table, all);
        } else if !keys(&list).is_empty() {
            collect(&path, &list, all);
        } else if !keys(&named).is_empty() {
            collect(&format!("{path}.NAME"), &named, all);
        } else {
            all.insert(path);
        }
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The rows of the page's tables by path, each with its default; sections are headings such as ``## `[server]` ``.
fn documented() -> BTreeMap<String, String> {
    let (mut rows, mut sections) = (BTreeMap::new(), Vec::new());
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            sections = quoted(heading).into_iter().map(|name| name.trim_matches(['[', ']'])).collect();
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        let key = cells.first().and_then(|cell| cell.strip_prefix("| `")).and_then(|cell| cell.strip_suffix('`'));
        if let (Some(key), [_, default, _]) = (key, cells.as_slice()) {
            for section in &sections {
                let before = rows.insert(format!("{section}.{key}"), default.replace('`', ""));
                assert_eq!(before, None, "`{section}.{key}` is there twice");
            }
        }
    }
    rows
}

#[test]
fn every_key_of_the_configuration_is_documented_and_every_documented_key_exists() {
    let mut known = BTreeSet::new();
    collect("", &|inner| inner, &mut known);
    // Of each way in which a table can lie in another.
    for path in
        ["server.tls.cert", "budgets.scope", "models.NAME.provider", "providers.NAME.lora.path", "rules.when.tag"]
    {
        assert!(known.contains(path), "{path} was not found in the program: {known:?}");
    }
    assert!(known.contains("residency.detectors.text.enabled") && known.len() > 150, "{known:?}");
    let written: BTreeSet<String> = documented().into_keys().collect();
    let missing: Vec<_> = known.difference(&written).collect();
    assert!(missing.is_empty(), "not in docs/configuration.md: {missing:?}");
    let made_up: Vec<_> = written.difference(&known).collect();
    assert!(made_up.is_empty(), "in docs/configuration.md, and no key: {made_up:?}");
}

#[test]
fn documented_defaults_are_those_of_the_program() {
    let time = |time: std::time::Duration| humantime::format_duration(time).to_string();
    let share = |share: f32| format!("{}%", (f64::from(share) * 1e4).round() / 1e2);
    let size =
        |bytes: u64| if bytes >= 1 << 20 { format!("{}MiB", bytes >> 20) } else { format!("{}KiB", bytes >> 10) };
    let rows = documented();
    for (key, default) in [
        ("server.listen", defaults::LISTEN.into()),
        ("server.admin_listen", defaults::ADMIN_LISTEN.into()),
        ("ledger.path", defaults::LEDGER_PATH.into()),
        ("ledger.max_age", format!("{}d", defaults::LEDGER_AGE.as_secs() / 86_400)),
        ("ledger.max_size", format!("{}GiB", defaults::LEDGER_BYTES >> 30)),
        ("replicas.lease", time(defaults::REPLICA_LEASE)),
        ("replicas.prefix", defaults::REPLICA_PREFIX.into()),
        ("residency.default_class", defaults::DEFAULT_CLASS.into()),
        ("residency.detectors.max", size(defaults::DETECTOR_BYTES)),
        ("residency.detectors.text.most_windows", defaults::TEXT_WINDOWS.to_string()),
        ("router.hosted_share", share(defaults::HOSTED_SHARE)),
        ("router.switch_cost", format!("\"{}\"", defaults::SWITCH_COST)),
        ("router.risk_confidence", share(defaults::RISK_CONFIDENCE)),
        ("router.probe_deadline", time(defaults::PROBE_DEADLINE)),
        ("router.slm_deadline", time(defaults::SLM_DEADLINE)),
        ("router.max_first_token", time(defaults::MAX_FIRST_TOKEN)),
        ("router.assumed_output_tokens", defaults::ASSUMED_OUTPUT.to_string()),
        ("router.cascade.width", share(defaults::CASCADE_WIDTH)),
        ("router.cascade.hold_tokens", defaults::CASCADE_HOLD_TOKENS.to_string()),
        ("router.cascade.hold", time(defaults::CASCADE_HOLD)),
        ("limits.connections", defaults::CONNECTIONS.to_string()),
        ("limits.in_flight", defaults::IN_FLIGHT.to_string()),
        ("limits.body", size(defaults::BODY_BYTES)),
        ("limits.head", size(defaults::HEAD_BYTES)),
        ("limits.vectors", size(defaults::VECTOR_BYTES)),
        ("providers.NAME.queue", format!("{}; encoder: {}", defaults::LOCAL_QUEUE, defaults::ENCODER_QUEUE)),
        ("providers.NAME.concurrency", defaults::LOCAL_CONCURRENCY.to_string()),
        ("timeouts.header", time(defaults::HEADER_TIMEOUT)),
        ("timeouts.body", time(defaults::BODY_TIMEOUT)),
        ("timeouts.queue", time(defaults::QUEUE_TIMEOUT)),
        ("timeouts.connect", time(defaults::CONNECT_TIMEOUT)),
        ("timeouts.first_event", time(defaults::FIRST_EVENT_TIMEOUT)),
        ("timeouts.idle", time(defaults::IDLE_TIMEOUT)),
        ("timeouts.total", time(defaults::TOTAL_TIMEOUT)),
        ("timeouts.write", time(defaults::WRITE_TIMEOUT)),
        ("timeouts.drain", time(defaults::DRAIN)),
        ("timeouts.drain_delay", time(defaults::DRAIN_DELAY)),
        ("learning.implicit.window", time(defaults::IMPLICIT_WINDOW)),
        ("learning.implicit.likeness", share(defaults::IMPLICIT_LIKENESS)),
        ("learning.roll_out.part", share(defaults::ROLL_OUT_PART)),
        ("learning.roll_out.margin", share(defaults::ROLL_OUT_MARGIN)),
        ("learning.roll_out.error", share(defaults::ROLL_OUT_ERROR)),
        ("learning.roll_out.least_pairs", defaults::ROLL_OUT_LEAST.to_string()),
        ("learning.roll_out.longest", format!("{}d", defaults::ROLL_OUT_LONGEST.as_secs() / 86_400)),
        ("learning.roll_out.watch", share(defaults::ROLL_OUT_WATCH)),
    ] {
        assert_eq!(rows.get(key), Some(&default), "{key}");
    }
}

#[test]
fn every_example_of_the_documentation_has_keys_that_exist_and_values_of_their_form() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut read = 0;
    for page in
        docs.chain([root.join("README.md")]).filter(|path| path.extension().is_some_and(|ending| ending == "md"))
    {
        let text = std::fs::read_to_string(&page).unwrap();
        for example in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            read += 1;
            if let Err(error) = toml::from_str::<ConfigSpec>(example) {
                panic!("{}: {error}\n{example}", page.display());
            }
        }
    }
    assert!(read > 15, "only {read} examples were found");
}

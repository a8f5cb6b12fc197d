//! A configuration that makes no sense ends the start with 64 and says what is wrong; no port is opened, no secret told.

use std::path::Path;
use tests::gateway::{self, run};
use tests::{Gateway, PROVIDER_KEY, Upstream, chat, two_sides};

/// `check` and `serve` both end with 64 and say all of `says`.
fn refused(rest: &str, says: &[&str]) -> String {
    let folder = gateway::folder(rest);
    let mut told = String::new();
    for command in ["check", "serve"] {
        let output = run(folder.path(), &[command], "");
        told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{command}: {told}\n{rest}");
        for word in says {
            assert!(told.contains(word), "{command} does not say `{word}`: {told}");
        }
        assert!(!told.contains("\"listening\""), "{told}");
        assert!(!told.contains(PROVIDER_KEY), "{told}");
    }
    told
}

/// A provider and a model that are fine.
const FINE: &str = "[providers.p]\nkind = \"simulated\"\n[models.m]\nprovider = \"p\"\n";

fn fine_and(more: &str) -> String {
    format!("{FINE}{more}")
}

#[test]
fn an_unknown_key_is_named_with_its_path_and_the_nearest_known_one() {
    for (rest, path, nearest) in [
        ("[rooter]\nlocal = []\n".to_owned(), "rooter", "router"),
        (fine_and("[router]\nclasifier = \"heuristic\"\n"), "router.clasifier", "classifier"),
        (fine_and("[timeouts]\nfirst_evnt = \"3s\"\n"), "timeouts.first_evnt", "first_event"),
        ("[providers.p]\nkind = \"openai\"\nbase_ur = \"http://x/v1\"\n".into(), "base_ur", "base_url"),
        ("[providers.p]\nkind = \"simulated\"\n[models.m]\nprovidr = \"p\"\n".into(), "providr", "provider"),
        (fine_and("[ledger]\npaht = \"x\"\n"), "ledger.paht", "path"),
        (fine_and("[[budgets]]\nscop = \"org\"\nlimit_usd = \"1\"\nwindow = \"day\"\n"), "scop", "scope"),
        (fine_and("[residency]\nmod = \"online\"\n"), "residency.mod", "mode"),
    ] {
        refused(&rest, &[path, nearest]);
    }
}

#[test]
fn wrong_values_are_named_with_their_path() {
    for (rest, says) in [
        (fine_and("[router]\nclassifier = \"oracle\"\n"), vec!["router.classifier", "oracle"]),
        (fine_and("[router]\nclassifier = \"heuristics\"\n"), vec!["heuristic"]),
        (fine_and("[router]\nlocal = [\"nobody\"]\n"), vec!["router.local", "nobody"]),
        (fine_and("[router]\nhosted_share = \"130%\"\n"), vec!["hosted_share", "130%"]),
        (fine_and("[router]\nhosted_share = 0.3\n"), vec!["hosted_share"]),
        (fine_and("[router]\nmax_usd_per_request = 0.5\n"), vec!["max_usd_per_request"]),
        (fine_and("[router.cascade]\nsamples = 3\n"), vec!["router.cascade.samples", "3"]),
        (fine_and("[router.cascade]\nhedge = \"yes\"\n"), vec!["router.cascade.hedge"]),
        (fine_and("[timeouts]\nidle = 15\n"), vec!["timeouts.idle"]),
        (fine_and("[limits]\nbody = \"four\"\n"), vec!["limits.body", "four"]),
        (fine_and("[[budgets]]\nscope = \"nobody\"\nlimit_usd = \"1\"\nwindow = \"day\"\n"), vec!["budgets[0].scope"]),
        (fine_and("[[budgets]]\nscope = \"org\"\nlimit_usd = 1.5\nwindow = \"day\"\n"), vec!["limit_usd"]),
        (fine_and("[[budgets]]\nscope = \"org\"\nlimit_usd = \"-1\"\nwindow = \"day\"\n"), vec!["limit_usd"]),
        (fine_and("[[rules]]\nwhen = { class = \"secret\" }\nroute = \"local\"\n"), vec!["rules[0]", "secret"]),
        (fine_and("[residency]\ndefault_class = \"secret\"\n"), vec!["residency.default_class", "secret"]),
        ("[models.m]\nprovider = \"nobody\"\n".into(), vec!["models.m.provider", "nobody"]),
        ("[models.auto]\nprovider = \"p\"\n[providers.p]\nkind = \"simulated\"\n".into(), vec!["auto"]),
        ("[providers.p]\nbase_url = \"http://x\"\n".into(), vec!["providers.p.kind"]),
        ("[providers.p]\nkind = \"opneai\"\n".into(), vec!["providers.p.kind", "openai"]),
        ("[providers.p]\nkind = \"openai\"\nbase_url = \"ftp://x\"\n".into(), vec!["providers.p.base_url"]),
        ("[providers.p]\nkind = \"mistralrs\"\n".into(), vec!["providers.p.source"]),
        (
            fine_and("[models.x]\nprovider = \"p\"\ninput_usd_per_mtok = 2.5\noutput_usd_per_mtok = 10\n"),
            vec!["input_usd_per_mtok"],
        ),
        ("not toml at all".into(), vec!["sluice.toml"]),
    ] {
        refused(&rest, &says);
    }
}

#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    refused(&fine_and("[[rules]]\nwhen = { task = \"code\" }\nroute = \"local\"\n"), &["when.task", "not built yet"]);
}

#[test]
fn credentials_in_an_address_are_refused_without_repeating_them() {
    let rest = format!("[providers.p]\nkind = \"openai\"\nbase_url = \"https://user:{PROVIDER_KEY}@host/v1\"\n");
    refused(&rest, &["providers.p.base_url"]);
}

#[test]
fn a_missing_configuration_or_command_is_64() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in
        [&["check"][..], &["serve"], &["check", "--config", "nowhere.toml"], &["bogus"], &["serve", "--bogus"], &[]]
    {
        let output = run(folder.path(), arguments, "");
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_model_path_that_does_not_exist_is_64() {
    for source in ["no/such/model.gguf", "/nowhere/model.gguf", "./no-such-folder"] {
        let rest = format!("[providers.in-process]\nkind = \"mistralrs\"\nsource = \"{source}\"\n");
        refused(&rest, &["providers.in-process.source", source.trim_start_matches("./")]);
    }
}

#[test]
fn an_admin_listener_that_others_can_reach_needs_a_token() {
    let open = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"0.0.0.0:0\"\n";
    refused(&format!("{open}{FINE}"), &["server.admin_listen", "admin_token_env"]);
    let unset = format!("{open}admin_token_env = \"SLUICE_TEST_UNSET\"\n{FINE}");
    refused(&unset, &["admin_token_env", "SLUICE_TEST_UNSET"]);
}

#[test]
fn offline_refuses_hosted_providers() {
    let rest = "[providers.p]\nkind = \"openai\"\nregion = \"us\"\n[residency]\nmode = \"offline\"\n";
    refused(rest, &["providers.p", "offline"]);
}

#[test]
fn the_environment_sets_plain_keys_only() {
    let folder = gateway::folder(FINE);
    let check = |name: &str, value: &str| {
        gateway::command(folder.path()).arg("check").env(name, value).output().expect("it runs")
    };
    assert_eq!(check("SLUICE__ROUTER__HOSTED_SHARE", "50%").status.code(), Some(0));
    let wrong = check("SLUICE__ROUTER__HOSTED_SHAR", "50%");
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(64), "{told}");
    assert!(told.contains("hosted_share"), "{told}");
    let models = check("SLUICE__MODELS__X__PROVIDER", "p");
    assert_eq!(models.status.code(), Some(64), "{}", String::from_utf8_lossy(&models.stderr));
}

/// A GGUF file with a proper head and nothing behind it.
fn truncated_gguf(path: &Path, bytes: usize) {
    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend(200u64.to_le_bytes());
    file.extend(30u64.to_le_bytes());
    file.resize(bytes, 0x41);
    std::fs::write(path, file).expect("written");
}

#[tokio::test]
async fn a_truncated_gguf_shows_in_readyz_and_only_requests_that_need_it_are_503() {
    for bytes in [3usize, 10, 24, 4_096] {
        let hosted = Upstream::start().await;
        let rest = format!(
            "{}[providers.in-process]\nkind = \"mistralrs\"\nsource = \"broken.gguf\"\n[models.broken]\nprovider = \"in-process\"\n\
             [router]\nlocal = [\"broken\"]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\n",
            hosted.provider("hosted", "hosted", &[("big", "echo")])
        );
        let folder = gateway::folder(&rest);
        truncated_gguf(&folder.path().join("broken.gguf"), bytes);
        let mut gateway = Gateway::serve(folder, &[]).await;
        gateway.ready().await;
        let ready = gateway.get("/readyz").await.json();
        let broken =
            ready["models"].as_array().unwrap().iter().find(|model| model["model"] == "broken").unwrap().clone();
        assert_eq!(broken["state"], "down", "{ready}");
        assert!(broken["why"].as_str().is_some_and(|why| !why.is_empty()), "{ready}");

        let pinned = gateway.tell(&chat("broken", "hello")).await;
        pinned.error(503);
        let narrowed = gateway.tell_with(&chat("auto", "hello"), &[("x-sluice-route", "local")]).await;
        narrowed.error(503);
        let elsewhere = gateway.tell(&chat("auto", "hello")).await;
        assert_eq!((elsewhere.status, elsewhere.said("x-sluice-model")), (200, "big"), "{bytes} bytes");
        assert!(gateway.alive());
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_and_ends_the_start() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    let address = gateway.data.trim_start_matches("http://");
    let rest = format!("[server]\nlisten = \"{address}\"\nadmin_listen = \"127.0.0.1:0\"\n{FINE}");
    let output = run(gateway::folder(&rest).path(), &["serve"], "");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(address), "{told}");
}

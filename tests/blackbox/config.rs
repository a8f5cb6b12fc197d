//! Configuration: what is typed is checked, and what is wrong is named.

use serde_json::Value;
use tests::gateway::{Gateway, config, run};
use tests::upstream::Upstream;
use tests::{chat, eventually};

const EXAMPLE: &str = r#"
[server]
listen = "127.0.0.1:8080"
admin_listen = "127.0.0.1:8081"

[providers.hosted]
kind = "openai"                      # openai | azure | anthropic | gemini | bedrock | mistralrs | simulated
base_url = "https://api.openai.com/v1"
api_key_env = "OPENAI_API_KEY"
region = "us"
location = "hosted"

[providers.in-process]
kind = "mistralrs"
source = "smollm2-135m"

[models."gpt-4o"]
provider = "hosted"
upstream = "gpt-4o"
input_usd_per_mtok = "2.50"
output_usd_per_mtok = "10.00"

[models."smollm2"]
provider = "in-process"

[router]
local = ["smollm2"]
hosted = ["gpt-4o"]
classifier = "probe"
hosted_share = "30%"
unsure = "heuristic"
max_usd_per_request = "0.50"

[[rules]]
when = { tag = "job=nightly" }
route = "local"

[ledger]
path = "sluice.db"
durability = "disk"

[residency]
mode = "online"
default_class = "internal"
[residency.classes.restricted]
locations = ["local"]

[[budgets]]
scope = "team:research"
limit_usd = "500"
window = "month"
on_exceeded = "local"
"#;

fn check(text: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("sluice.toml"), text).expect("written");
    let output = run(folder.path(), &["check", "--json"], "");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_example_of_the_contract_works_as_it_stands() {
    let (code, out, err) = check(EXAMPLE);
    assert_eq!(code, Some(0), "{err}");
    let meaning: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(meaning["valid"], true);
}

#[test]
fn what_is_wrong_is_named_with_its_path_and_ends_with_64() {
    let small = "[providers.p]\nkind = \"simulated\"\n[models.m]\nprovider = \"p\"\n";
    for (text, says) in [
        ("[serverr]\nlisten = \"127.0.0.1:0\"\n".to_owned(), "did you mean `server`"),
        ("[server]\nlisten_adress = \"127.0.0.1:0\"\n".to_owned(), "server.listen_adress"),
        ("[router]\nhosted_shar = \"30%\"\n".to_owned(), "did you mean `hosted_share`"),
        ("[providers.p]\nkind = \"opnai\"\n".to_owned(), "did you mean `openai`"),
        ("[providers.p]\nkind = \"bedrock\"\n".to_owned(), "`providers.p.base_url` is missing: https://bedrock"),
        ("[providers.p]\nkind = \"openai\"\nbase_url = \"ftp://x\"\n".to_owned(), "providers.p.base_url"),
        ("[providers.p]\nkind = \"openai\"\nbase_url = \"http://u:secret@h/v1\"\n".to_owned(), "credentials"),
        ("[models.m]\nprovider = \"nobody\"\n".to_owned(), "models.m.provider"),
        (format!("{small}[router]\nlocal = \"mm\"\n"), "did you mean `m`"),
        (format!("{small}[router]\nmax_usd_per_request = 0.5\n"), "max_usd_per_request"),
        (format!("{small}[router]\nclassifier = \"oracle\"\n"), "router.classifier"),
        (
            format!("{small}[router]\nrisk = \"5%\"\nhosted_share = \"30%\"\n"),
            "`router.hosted_share` and `router.risk`",
        ),
        (format!("{small}[router]\nrisk = \"0%\"\n"), "router.risk"),
        (format!("{small}[router]\nrisk_confidence = \"90%\"\n"), "router.risk_confidence"),
        (format!("{small}[learning]\nkeep_prompt = true\n"), "did you mean `keep_prompts`"),
        (format!("{small}[timeouts]\nidle = 15\n"), "timeouts.idle"),
        (format!("{small}[limits]\nbody = \"many\"\n"), "limits.body"),
        (format!("{small}[ledger]\nurl = \"postgres://x\"\n"), "`ledger.url`: it has to name"),
        (format!("{small}[ledger]\npath = \"x\"\nurl = \"postgres://u@h/d\"\n"), "both set"),
        (format!("{small}[ledger]\nurl_env = \"SLUICE_NOT_SET\"\n"), "`SLUICE_NOT_SET` is not set"),
        (format!("{small}[ledger]\nurl = \"postgres://u@h/d?sslmode=prefer\"\n"), "prefer"),
        (format!("{small}[replicas]\nurl = \"redis://h\"\n"), "needs a ledger that replicas share"),
        (format!("{small}[replicas]\nlease = \"5s\"\n"), "`replicas.url` is missing"),
        (format!("{small}[ledger]\nurl = \"postgres://u@localhost/d\"\n[replicas]\nurl = \"http://h\"\n"), "redis://"),
        (
            format!(
                "{small}[ledger]\nurl = \"postgres://u@localhost/d\"\n[replicas]\nurl = \"redis://h\"\nlease = \"1s\"\n"
            ),
            "replicas.lease",
        ),
        (
            format!(
                "{small}[ledger]\nurl = \"postgres://u@localhost/d\"\n[[budgets]]\nscope = \"org\"\nlimit_usd = \"1\"\nwindow = \"day\"\n"
            ),
            "need `replicas.url`",
        ),
        (format!("{small}[residency]\ndefault_class = \"secret\"\n"), "residency.default_class"),
        (format!("{small}[residency]\nmode = \"offline\"\n"), "offline"),
        (
            format!("{small}[[budgets]]\nscope = \"everyone\"\nlimit_usd = \"1\"\nwindow = \"day\"\n"),
            "budgets[0].scope",
        ),
        (format!("{small}[[rules]]\nwhen = {{ tag = \"x\" }}\nroute = \"local\"\n"), "rules[0].when.tag"),
        (format!("{small}[server]\nadmin_listen = \"0.0.0.0:0\"\n"), "admin_token_env"),
        (format!("{small}[experiments.e]\nkind = \"interleave\"\nshare = \"1%\"\n"), "sluice compare"),
        ("[providers.p]\nkind = \"mistralrs\"\nsource = \"/nowhere/model.gguf\"\n".to_owned(), "/nowhere/model.gguf"),
        ("[models.auto]\nprovider = \"p\"\n".to_owned(), "models.auto"),
        ("this is not toml".to_owned(), "sluice.toml"),
    ] {
        let (code, _, err) = check(&text);
        assert_eq!(code, Some(64), "{text}\n{err}");
        assert!(err.contains(says), "{text}\nsays: {err}");
        assert!(!err.contains("secret@"), "no credential is repeated");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(folder.path(), &["check"], "");
    assert_eq!(output.status.code(), Some(64), "no file at all");
    assert_eq!(run(folder.path(), &["fly"], "").status.code(), Some(64), "no such command");
}

#[test]
fn yaml_works_too_and_the_environment_sets_plain_keys_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = "providers:\n  p:\n    kind: simulated\nmodels:\n  m:\n    provider: p\n";
    std::fs::write(folder.path().join("sluice.yaml"), yaml).expect("written");
    let run = |name: &str, value: &str| {
        std::process::Command::new(tests::gateway::binary())
            .args(["--config", "sluice.yaml", "check", "--json"])
            .current_dir(folder.path())
            .env(name, value)
            .output()
            .expect("it runs")
    };
    let output = run("SLUICE__LEDGER__PATH", "/tmp/elsewhere.db");
    let meaning: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(meaning["ledger"], "/tmp/elsewhere.db");
    for (name, value, says) in [
        ("SLUICE__ROUTER__MAX_USD_PER_REQUEST", "2.50", "max_usd_per_request"),
        ("SLUICE__MODELS__M__PROVIDER", "q", "plain keys"),
        ("SLUICE__SERVER__LISTN", "x", "did you mean `listen`"),
    ] {
        let output = run(name, value);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        if name.contains("USD") {
            // Text in the file, and a number in the environment: money that arrives as a float is refused.
            assert_eq!(output.status.code(), Some(64), "{err}");
        }
        assert_eq!(output.status.code(), Some(64), "{name}: {err}");
        assert!(err.contains(says), "{name}: {err}");
    }
}

#[tokio::test]
async fn a_changed_file_counts_and_a_bad_one_keeps_the_old() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.provider("hosted", "hosted", &[("one", "echo")])).await;
    assert_eq!(gateway.chat(&chat("two", "x")).await.status(), 404);
    let path = gateway.folder.path().join("sluice.toml");
    let more = upstream.provider("hosted", "hosted", &[("one", "echo"), ("two", "echo")]);
    std::fs::write(&path, config(&more)).expect("written");
    gateway.signal("HUP");
    eventually("the new model is there", async || {
        (gateway.chat(&chat("two", "x")).await.status() == 200).then_some(())
    })
    .await;
    std::fs::write(&path, "[servr]\n").expect("written");
    gateway.signal("HUP");
    eventually("the bad file is refused", async || gateway.log.lock().contains("is refused").then_some(())).await;
    assert_eq!(gateway.chat(&chat("two", "x")).await.status(), 200);
}

#[tokio::test]
async fn a_file_that_is_gone_is_named_and_stops_no_change_of_another() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let plain = tests::two_sides(&hosted, &house);
    let split = |share: u32| {
        format!("{plain}[experiments.x]\nkind = \"split\"\nshare = \"{share}%\"\nleft_system = \"terse.txt\"\n")
    };
    let folder = tests::gateway::folder(&split(50));
    let prompt = folder.path().join("terse.txt");
    std::fs::write(&prompt, "Be terse.").expect("written");
    let gateway = Gateway::serve(folder.clone(), &[]).await;
    let lines = |says: &str| -> Vec<Value> {
        let lines = gateway.log_lines().into_iter().map(|line| line["fields"].clone());
        lines.filter(|fields| fields["message"].as_str().is_some_and(|message| message.contains(says))).collect()
    };
    let nth = async |says: &str, nth: usize| {
        eventually(&format!("{nth} times `{says}`"), async || lines(says).into_iter().nth(nth - 1)).await
    };
    std::fs::remove_file(&prompt).expect("removed");
    let gone = nth("a file that the configuration names is gone", 1).await;
    assert!(gone["file"].as_str().is_some_and(|file| file.ends_with("terse.txt")), "{gone}");
    // A change that still names it is refused by its name, and comes by itself when it is there again.
    tests::gateway::write_config(folder.path(), &split(20));
    let refused = nth("is refused, the old one stays", 1).await;
    assert!(refused["error"].as_str().is_some_and(|error| error.contains("terse.txt")), "{refused}");
    std::fs::write(&prompt, "Be very terse.").expect("written");
    nth("configuration reloaded", 1).await;
    // A change that names it no more is taken over.
    std::fs::remove_file(&prompt).expect("removed");
    nth("a file that the configuration names is gone", 2).await;
    tests::gateway::write_config(folder.path(), &plain);
    nth("configuration reloaded", 2).await;
    // What a new configuration lacks may come later.
    tests::gateway::write_config(folder.path(), &split(50).replace("terse.txt", "other.txt"));
    nth("is refused, the old one stays", 2).await;
    std::fs::write(folder.path().join("other.txt"), "Be kind.").expect("written");
    nth("configuration reloaded", 3).await;
}

#[tokio::test]
async fn the_admin_listener_is_open_to_its_own_page_only() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.provider("hosted", "hosted", &[("one", "echo")])).await;
    let get = |path: &str, name: &'static str, value: &'static str| {
        gateway.client.get(format!("{}{path}", gateway.admin)).header(name, value).send()
    };
    for (path, name, value, status) in [
        ("/", "accept", "*/*", 200),
        ("/api/models", "accept", "*/*", 200),
        ("/metrics", "accept", "*/*", 200),
        ("/api/models", "host", "evil.example", 403),
        ("/api/models", "origin", "http://evil.example", 403),
        ("/api/models", "authorization", "Bearer sk-sluice-1", 403),
        ("/api/spend?group_by=moon", "accept", "*/*", 400),
        ("/api/spend?since=yesterday", "accept", "*/*", 400),
        ("/api/requests/nothing", "accept", "*/*", 404),
        ("/api/nothing", "accept", "*/*", 404),
        ("/v1/models", "accept", "*/*", 404),
    ] {
        assert_eq!(get(path, name, value).await.expect("an answer").status(), status, "{path} {name}: {value}");
    }
    let page = get("/", "accept", "*/*").await.expect("an answer");
    assert!(page.headers()["content-security-policy"].to_str().expect("text").contains("default-src 'self'"));
}

#[tokio::test]
async fn the_admin_token_opens_and_nothing_else_does() {
    let upstream = Upstream::start().await;
    let folder = std::sync::Arc::new(tempfile::tempdir().expect("a folder"));
    std::fs::create_dir_all(folder.path()).expect("a folder");
    let rest = format!("admin_token_env = \"ADMIN\"\n{}", upstream.provider("hosted", "hosted", &[("one", "echo")]));
    let gateway = Gateway::start_in(folder, &rest, &[("ADMIN", "token-of-admin")]).await;
    for path in ["/api/models", "/api/spend", "/api/keys", "/api/requests", "/api/budgets", "/metrics"] {
        let plain = gateway.client.get(format!("{}{path}", gateway.admin)).send().await.expect("an answer");
        assert_eq!(plain.status(), 401, "{path}");
        let wrong = gateway
            .client
            .get(format!("{}{path}", gateway.admin))
            .bearer_auth("token")
            .send()
            .await
            .expect("an answer");
        assert_eq!(wrong.status(), 401, "{path}");
        let right = gateway
            .client
            .get(format!("{}{path}", gateway.admin))
            .bearer_auth("token-of-admin")
            .send()
            .await
            .expect("an answer");
        assert_eq!(right.status(), 200, "{path}");
    }
}

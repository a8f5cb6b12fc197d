//! Secrets and content in no sink, however much is logged and whatever fails: the log at its most talkative, traces, metrics,
//! the ledger's files, the evidence, error bodies, admin pages and the command line are searched for every secret of a
//! gateway that is asked, mis-asked and let down in every way.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::sync::Arc;
use tests::gateway::{Gateway, command, run};
use tests::tls::Authority;
use tests::upstream::{Fault, Nobody, Play, Script, Upstream};
use tests::{HARD, Told, eventually, size};

const PROVIDER: &str = "sk-canary-of-the-hosted-provider";
const HOUSE: &str = "sk-canary-of-the-house";
const ADMIN: &str = "canary-of-the-admin";
const UNKNOWN: &str = "sk-sluice-canary-that-nobody-gave";
const MAIL: &str = "canary.lovelace@example.org";
const CARD: &str = "4012 8888 8888 1881";
const PROMPT: &str = "canary-of-a-prompt";

/// All that is looked for: a name, and a text.
struct Secrets(Vec<(&'static str, String)>);

// === impl Secrets ===

impl Secrets {
    /// In this place nothing of it may be but what is excepted.
    fn absent(&self, place: &str, bytes: &[u8], but: &[&str]) {
        for (name, secret) in self.0.iter().filter(|(name, _)| !but.contains(name)) {
            let forms =
                [secret.clone(), BASE64_STANDARD.encode(secret), BASE64_URL_SAFE_NO_PAD.encode(secret), hex(secret)];
            for form in forms.iter().map(|form| form.trim_end_matches('=').as_bytes()) {
                let at = bytes.windows(form.len()).position(|window| window == form);
                let around =
                    at.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(200)..bytes.len().min(at + 200)]));
                assert!(at.is_none(), "{place} has {name}: {}", around.unwrap_or_default());
            }
        }
    }

    fn told(&self, place: &str, told: &Told, but: &[&str]) {
        self.absent(place, format!("{:?}", told.headers).as_bytes(), but);
        self.absent(place, &told.body, but);
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// What an upstream does to a request, by the name of its model.
fn troubles(upstream: &Upstream) -> Vec<&'static str> {
    let leaky = |status: u16| {
        // As a provider does that repeats the key which it does not know, and the prompt.
        let said = json!({"error": {"message": format!("Incorrect API key provided: {PROVIDER}, about {PROMPT}"), "type": "invalid_request_error"}});
        let mut script = Script::json(said.to_string());
        script.status = status;
        Play::Script(script)
    };
    let page = |text: &str| Play::Script(Script::of("text/html", [text.to_owned()]));
    let mut cut = Script::stream(["data: {\"id\": \"c\", \"cho".to_owned()]);
    cut.cut = true;
    let plays = [
        ("fine", Play::repeat(7)),
        ("leaky-400", leaky(400)),
        ("leaky-401", leaky(401)),
        ("leaky-403", leaky(403)),
        ("leaky-429", leaky(429)),
        ("leaky-500", leaky(500)),
        ("page", page(&format!("<h1>{PROVIDER} {PROMPT}</h1>"))),
        ("nonsense", Play::Script(Script::json(format!("{{\"{PROMPT}\": \"{PROVIDER}\"")))),
        ("cut", Play::Script(cut)),
        ("hang", Play::Hang),
        ("stall", Play::fault(1, Fault::Stall)),
        ("break", Play::fault(0, Fault::Break)),
        ("break-late", Play::fault(2, Fault::Break)),
        ("error-event", Play::fault(1, Fault::ErrorEvent)),
        ("early-end", Play::fault(1, Fault::EarlyEnd)),
        ("busy", Play::status(503)),
    ];
    plays.into_iter().map(|(name, play)| (upstream.play(name, play), name).1).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_and_no_content_is_in_any_sink_whatever_fails() {
    let (hosted, house, collector, nobody) =
        (Upstream::start().await, Upstream::start().await, Upstream::start().await, Nobody::new());
    let models = troubles(&hosted);
    house.play("fine", Play::repeat(7));
    let (authority, folder) = (Authority::new(), Arc::new(tempfile::tempdir().expect("a folder")));
    let identity = authority.identity("localhost", false);
    for (name, text) in [("tls.key", &identity.key), ("tls.crt", &identity.cert)] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    // Each has a provider of its own: what fails too often is not dialled any more.
    let named: String =
        models.iter().map(|name| hosted.provider(&format!("p-{name}"), "hosted", &[(*name, *name)])).collect();
    let keyed = |text: String, variable: &str| text.replace("region", &format!("api_key_env = \"{variable}\"\nregion"));
    let rest = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nadmin_token_env = \"ADMIN\"\n\
         [server.tls]\ncert = \"tls.crt\"\nkey = \"tls.key\"\n{}{}{}[router]\nlocal = \"small\"\nhosted = \"fine\"\nclassifier = \"heuristic\"\n\
         [residency.classes.restricted]\nlocations = [\"local\"]\n\
         [residency.masking]\nkinds = [\"payment_card\", \"email\"]\n\
         [timeouts]\nfirst_event = \"200ms\"\nidle = \"200ms\"\n\
         [telemetry]\nlog = \"trace\"\notlp_endpoint = \"{}\"\n",
        keyed(named, "PROVIDER"),
        keyed(house.provider("house", "local", &[("small", "fine")]), "HOUSE"),
        keyed(tests::upstream::provider(&nobody.url, "gone", "hosted", &[("refused", "fine")]), "PROVIDER"),
        collector.root,
    );
    let mut gateway =
        Gateway::start_in(folder.clone(), &rest, &[("ADMIN", ADMIN), ("PROVIDER", PROVIDER), ("HOUSE", HOUSE)]).await;
    let cli = |arguments: &[&str]| {
        let mut command = command(folder.path());
        command.args(arguments).envs([("ADMIN", ADMIN), ("PROVIDER", PROVIDER), ("HOUSE", HOUSE)]);
        command.stdin(std::process::Stdio::null()).output().expect("it runs")
    };
    let made = cli(&["keys", "create", "--json", "--name", "one"]);
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let client_key = made["key"].as_str().expect("a key").to_owned();
    let private = identity.key.lines().nth(1).expect("a line of the key").to_owned();
    let secrets = Secrets(vec![
        ("the client's key", client_key.clone()),
        ("an unknown key", UNKNOWN.into()),
        ("the provider's key", PROVIDER.into()),
        ("the house's key", HOUSE.into()),
        ("the admin's token", ADMIN.into()),
        ("the TLS key", private),
        ("an address", "canary.lovelace".into()),
        ("a card", CARD.into()),
        ("a card's digits", CARD.replace(' ', "")),
        ("the prompt", PROMPT.into()),
    ]);
    // What a client sent is its own: it may come back to it. Secrets of others may not.
    let own = ["an address", "a card", "a card's digits", "the prompt"];

    let root = reqwest::Certificate::from_pem(authority.pem.as_bytes()).expect("a certificate");
    let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().expect("a client");
    let data = format!("https://localhost:{}", gateway.data.rsplit(':').next().expect("a port"));
    let ask = async |path: &str, body: String, key: &str| {
        let request = client.post(format!("{data}{path}")).header("content-type", "application/json").bearer_auth(key);
        Told::read(request.body(body).send().await.expect("an answer")).await
    };
    eventually("the key counts", async || {
        (ask("/v1/chat/completions", "{}".into(), UNKNOWN).await.status == 401).then_some(())
    })
    .await;
    let (mut ids, mut statuses) = (Vec::new(), std::collections::BTreeSet::new());
    for round in 0..size(1, 8) {
        for model in models.iter().chain(&["refused", "small", "auto", "no-such-model"]) {
            for stream in [false, true] {
                let text = format!("{HARD} {PROMPT} {round}: write to {MAIL}, pay with {CARD}.");
                let body = json!({"model": model, "stream": stream, "user": MAIL, "messages": [{"role": "user", "content": text}]});
                let told = ask("/v1/chat/completions", body.to_string(), &client_key).await;
                secrets.told(&format!("the answer of {model}"), &told, &own);
                statuses.insert(told.status);
                ids.extend(told.headers.get("x-sluice-request-id").map(|id| id.to_str().expect("text").to_owned()));
            }
        }
    }
    let body = json!({"model": "fine", "messages": [{"role": "user", "content": PROMPT}]}).to_string();
    for (path, body, key) in [
        ("/v1/chat/completions", body.clone(), UNKNOWN),
        ("/v1/chat/completions", body.clone(), ADMIN),
        ("/v1/chat/completions", format!("{{\"model\": \"{PROMPT}\", \"messages\": {CARD}"), client_key.as_str()),
        ("/v1/chat/completions", format!("{{\"messages\": \"{PROMPT}\", \"model\": 7}}"), &client_key),
        ("/v1/route", body.clone(), &client_key),
        ("/v1/feedback", json!({"request_id": ids[0], "score": 1.0, "comment": PROMPT}).to_string(), &client_key),
        ("/v1/nothing", body, &client_key),
    ] {
        let told = ask(path, body, key).await;
        secrets.told(path, &told, &own);
        statuses.insert(told.status);
    }
    assert!([200, 400, 401, 404, 502, 504].iter().all(|status| statuses.contains(status)), "{statuses:?}");

    // Every page, with the token, with a wrong one, and with one in the address.
    let mut pages: Vec<String> = "/ /metrics /api/spend /api/savings /api/overview /api/requests /api/models /api/router /api/budgets \
        /api/keys /api/experiments /api/evidence /api/evidence/export /api/evidence/export?format=html /api/residency /api/series /api/operator /readyz"
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    pages.extend(ids.iter().map(|id| format!("/api/requests/{id}")));
    for page in &pages {
        let get = |token: &str| gateway.client.get(format!("{}{page}", gateway.admin)).bearer_auth(token);
        secrets.told(page, &Told::of(get(ADMIN)).await, &[]);
        secrets.told(page, &Told::of(get(UNKNOWN)).await, &[]);
        let asked = format!("{}{}{}token={UNKNOWN}", gateway.admin, page, if page.contains('?') { '&' } else { '?' });
        secrets.told(page, &Told::of(gateway.client.get(asked)).await, &[]);
    }
    let ask_page = |path: &str| gateway.client.post(format!("{}{path}", gateway.admin)).bearer_auth(ADMIN);
    for path in ["/api/playground", "/api/playground/decision"] {
        let body = json!({"model": "leaky-401", "messages": [{"role": "user", "content": format!("{PROMPT} {MAIL}")}]});
        secrets.told(path, &Told::of(ask_page(path).json(&body)).await, &own);
    }
    // What a file says that cannot be read is not repeated either.
    for arguments in
        [&["check", "--json"][..], &["check"], &["keys", "list"], &["spend"], &["explain"], &["ledger", "export"]]
    {
        let output = cli(arguments);
        secrets.absent(&format!("{arguments:?}"), &[output.stdout, output.stderr].concat(), &[]);
    }
    gateway.stop().await;

    assert!(collector.count() > 0, "traces were sent");
    for seen in collector.log() {
        secrets.absent("traces and metrics", &seen.body, &[]);
        secrets.absent("the head of traces", format!("{} {:?}", seen.path, seen.headers).as_bytes(), &[]);
    }
    let log = gateway.log.lock().clone();
    assert!(log.contains("\"TRACE\"") || log.contains("TRACE"), "the log is at its most talkative");
    secrets.absent("the log", log.as_bytes(), &[]);
    for file in std::fs::read_dir(folder.path()).expect("a folder") {
        let path = file.expect("a file").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name != "tls.key" {
            secrets.absent(&name, &std::fs::read(&path).expect("bytes"), &[]);
        }
    }
    // Each provider has its own key and nobody else's, and a hosted one gets no value that is masked.
    assert!(hosted.count() > 0 && house.count() > 0);
    for (upstream, but) in [
        (&hosted, &["the provider's key", "the prompt"][..]),
        (&house, &["the house's key", own[0], own[1], own[2], own[3]]),
    ] {
        for seen in upstream.log() {
            secrets.absent("a provider", format!("{} {:?}", seen.path, seen.headers).as_bytes(), but);
            secrets.absent("a provider", &seen.body, but);
        }
    }
}

#[test]
fn a_secret_that_was_typed_where_it_does_not_belong_is_not_repeated() {
    let fine = "[providers.p]\nkind = \"openai\"\nlocation = \"hosted\"\nregion = \"us\"\nbase_url = \"http://127.0.0.1:1/v1\"\n";
    for wrong in [
        format!("{fine}api_key = \"sk-canary-typed\"\n"),
        format!("{fine}api_key_env = \"sk-canary-typed\"\n"),
        format!("{fine}api_key_env = [\"sk-canary-typed\"]\n"),
        format!("{fine}headers = {{ authorization = \"Bearer sk-canary-typed\" }}\n"),
        format!("{}\n", fine.replace("http://127", "http://u:sk-canary-typed@127")),
        format!("{fine}[ledger]\nurl = \"postgres://u:sk-canary-typed@\"\n"),
        format!("{fine}[ledger]\nurl = \"mysql://u:sk-canary-typed@h/d\"\n"),
        format!("{fine}[ledger]\nurl = [\"postgres://u:sk-canary-typed@h/d\"]\n"),
        format!("{fine}[replicas]\nurl = \"redis://:sk-canary-typed@h:notaport\"\n"),
        format!("{fine}[telemetry]\notlp_endpoint = \"ftp://u:sk-canary-typed@h\"\n"),
        format!("[server]\nadmin_token = \"sk-canary-typed\"\n{fine}"),
        format!("[server]\nadmin_token_env = \"sk-canary-typed\"\nadmin_listen = \"0.0.0.0:0\"\n{fine}"),
        format!("{fine}api_key_env = \"sk-canary-typed\n"),
    ] {
        let folder = tests::gateway::folder(&wrong);
        for command in [&["check"][..], &["check", "--json"], &["serve"]] {
            let output = run(folder.path(), command, "");
            let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(!output.status.success(), "{command:?} {wrong}: {told}");
            assert!(!told.contains("sk-canary"), "{command:?} {wrong}: {told}");
        }
    }
}

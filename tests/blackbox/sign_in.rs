//! Sign-in on the admin listener by an authenticating proxy: its word counts from its address only, for listed people only,
//! and changes nothing on behalf of another site's page.
//!
//! The proxy is a client that calls from 127.0.0.2, everybody else one that calls from another loopback address.

use reqwest::Method;
use serde_json::{Value, json};
use tests::gateway::{Gateway, folder, run};
use tests::{PATIENCE, Told, Upstream, eventually, two_sides};

const PROXY: &str = "127.0.0.2";
const ELSEWHERE: &str = "127.0.0.3";
const ANN: (&str, &str) = ("x-forwarded-email", "ann@example.org");
const TOKEN: (&str, &str) = ("authorization", "Bearer token-of-admin");
const SIDES: &str = "[providers.p]\nkind = \"simulated\"\n[models.m]\nprovider = \"p\"\n";

fn server(listen: &str, more: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"{listen}\"\nadmin_identity_header = \"X-Forwarded-Email\"\n\
         admin_trusted_proxies = \"{PROXY}\"\nadmin_identities = [\"ann@example.org\", \"*@staff.example\"]\n{more}"
    )
}

async fn start(listen: &str, token: bool, rest: &str) -> Gateway {
    let more = if token { "admin_token_env = \"ADMIN\"\n" } else { "" };
    let folder = folder(&format!("{}{rest}", server(listen, more)));
    Gateway::serve(folder, &[("ADMIN", "token-of-admin")]).await
}

/// A request to the admin listener from one of this machine's addresses.
async fn from(gateway: &Gateway, address: &str, asked: (&str, &str), headers: &[(&str, &str)], body: &Value) -> Told {
    let client = reqwest::Client::builder()
        .no_proxy()
        .local_address(address.parse::<std::net::IpAddr>().expect("an address"))
        .timeout(PATIENCE)
        .build()
        .expect("a client");
    let (method, path) = asked;
    let method: Method = method.parse().expect("a method");
    let at = gateway.admin.replace("0.0.0.0", "127.0.0.1");
    let mut request = client.request(method, format!("{at}{path}")).body(body.to_string());
    for (name, value) in [("content-type", "application/json")].iter().chain(headers) {
        request = request.header(*name, *value);
    }
    Told::of(request).await
}

/// Method, from where, headers; status, the error's code.
type Line<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, u16, &'a str);

/// Asks for each line and compares what it is told.
async fn holds(gateway: &Gateway, table: &[Line<'_>]) {
    for (at, (method, address, headers, status, code)) in table.iter().enumerate() {
        let path = if *method == "GET" { "/api/models" } else { "/api/keys" };
        let told = from(gateway, address, (method, path), headers, &json!({"name": format!("key-{at}")})).await;
        let line = format!("{method} from {address} with {headers:?}: {}", told.text());
        assert_eq!(told.status, *status, "{line}");
        if *status >= 400 {
            assert_eq!(told.json()["error"]["code"], *code, "{line}");
            for listed in ["ann", "staff.example"] {
                assert!(!told.text().contains(listed), "{line} tells who is listed");
            }
        }
    }
}

#[tokio::test]
async fn beside_a_token_the_proxys_word_opens_for_who_is_listed_and_nobody_elses_does() {
    let gateway = start("127.0.0.1:0", true, SIDES).await;
    let own = ("origin", "https://sluice.example");
    let host = ("host", "sluice.example");
    holds(
        &gateway,
        &[
            ("GET", PROXY, vec![ANN], 200, ""),
            ("GET", PROXY, vec![("x-forwarded-email", "bob@STAFF.example")], 200, ""),
            ("GET", PROXY, vec![("x-forwarded-email", "eve@example.org")], 403, "unlisted_identity"),
            ("GET", PROXY, vec![("x-forwarded-email", "ANN@example.org")], 403, "unlisted_identity"),
            ("GET", PROXY, vec![("x-forwarded-email", "eve@a.example,bob@staff.example")], 403, "unlisted_identity"),
            ("GET", PROXY, vec![], 401, "invalid_admin_token"),
            ("GET", PROXY, vec![("x-forwarded-email", "")], 400, "bad_identity"),
            ("GET", PROXY, vec![ANN, ANN], 400, "bad_identity"),
            ("GET", PROXY, vec![ANN, ("x-forwarded-email", "eve@example.org")], 400, "bad_identity"),
            ("GET", PROXY, vec![("x-auth-request-email", "ann@example.org")], 401, "invalid_admin_token"),
            // Somebody else's word, whatever it says of where it comes from.
            ("GET", ELSEWHERE, vec![ANN], 401, "invalid_admin_token"),
            ("GET", ELSEWHERE, vec![ANN, ("x-forwarded-for", PROXY)], 401, "invalid_admin_token"),
            ("GET", ELSEWHERE, vec![ANN, ANN], 401, "invalid_admin_token"),
            // Pages.
            ("GET", PROXY, vec![ANN, ("origin", "https://evil.example")], 403, "foreign_origin"),
            ("POST", PROXY, vec![ANN], 403, "foreign_origin"),
            ("POST", PROXY, vec![ANN, host, ("origin", "https://evil.example")], 403, "foreign_origin"),
            ("POST", PROXY, vec![ANN, host, ("origin", "null")], 403, "foreign_origin"),
            ("POST", PROXY, vec![ANN, host, own], 200, ""),
            ("POST", ELSEWHERE, vec![ANN, host, own], 401, "invalid_admin_token"),
            // The token.
            ("GET", ELSEWHERE, vec![TOKEN], 200, ""),
            ("POST", ELSEWHERE, vec![TOKEN, ANN], 200, ""),
            ("POST", PROXY, vec![TOKEN], 200, ""),
            ("POST", PROXY, vec![TOKEN, ANN], 200, ""),
            ("POST", PROXY, vec![TOKEN, ("x-forwarded-email", "eve@example.org")], 200, ""),
            ("POST", PROXY, vec![("authorization", "Bearer wrong"), ANN, host, own], 200, ""),
            ("GET", PROXY, vec![("authorization", "Bearer sk-sluice-1"), ANN], 403, "data_key"),
        ],
    )
    .await;
}

#[tokio::test]
async fn without_a_token_this_machine_stays_in_and_an_unnamed_visitor_of_the_proxy_out() {
    let gateway = start("127.0.0.1:0", false, SIDES).await;
    holds(
        &gateway,
        &[
            ("GET", PROXY, vec![ANN], 200, ""),
            ("GET", PROXY, vec![], 403, "not_signed_in"),
            ("POST", PROXY, vec![("host", "localhost")], 403, "not_signed_in"),
            ("GET", "127.0.0.1", vec![], 200, ""),
            ("POST", "127.0.0.1", vec![], 200, ""),
            ("GET", "127.0.0.1", vec![("host", "evil.example"), ANN], 403, "foreign_origin"),
            ("POST", "127.0.0.1", vec![("origin", "http://evil.example")], 403, "foreign_origin"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_listener_that_others_can_reach_is_open_to_the_proxys_people_alone() {
    let gateway = start("0.0.0.0:0", false, SIDES).await;
    holds(
        &gateway,
        &[
            ("GET", PROXY, vec![ANN], 200, ""),
            ("GET", PROXY, vec![("host", "localhost")], 403, "not_signed_in"),
            ("GET", ELSEWHERE, vec![("host", "localhost"), ANN], 403, "not_signed_in"),
            ("GET", "127.0.0.1", vec![("host", "localhost")], 403, "not_signed_in"),
            ("GET", ELSEWHERE, vec![TOKEN], 403, "not_signed_in"),
        ],
    )
    .await;
    assert_eq!(from(&gateway, ELSEWHERE, ("GET", "/livez"), &[], &Value::Null).await.status, 200);
}

#[tokio::test]
async fn the_page_is_told_who_is_signed_in_and_by_what() {
    let beside = start("127.0.0.1:0", true, SIDES).await;
    let open = start("127.0.0.1:0", false, SIDES).await;
    let local = ("host", "localhost");
    for (gateway, address, headers, name, by) in [
        (&beside, PROXY, vec![ANN], json!("ann@example.org"), "proxy"),
        (&beside, PROXY, vec![TOKEN], Value::Null, "token"),
        (&beside, ELSEWHERE, vec![TOKEN, ANN], Value::Null, "token"),
        (&open, "127.0.0.1", vec![local], Value::Null, "loopback"),
    ] {
        let told = from(gateway, address, ("GET", "/api/operator"), &headers, &Value::Null).await;
        assert_eq!(told.json(), json!({"name": name, "signed_in_by": by}), "{address}: {headers:?}");
    }
    let nobody = from(&beside, ELSEWHERE, ("GET", "/api/operator"), &[ANN], &Value::Null).await;
    assert_eq!(nobody.status, 401);
}

#[tokio::test]
async fn who_changed_what_is_on_record_with_the_name() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let experiment = "[experiments.x]\nkind = \"shadow\"\nshare = \"1%\"\njudge = \"normalised\"\nact = true\n";
    let gateway = start("127.0.0.1:0", true, &format!("{}{experiment}", two_sides(&hosted, &house))).await;
    let page = [ANN, ("host", "sluice.example"), ("origin", "https://sluice.example")];
    let step =
        json!({"experiment": "x", "slice": {"by": "kind", "value": "code"}, "opened": true, "why": "looks good"});
    let told = from(&gateway, PROXY, ("POST", "/api/experiments"), &page, &step).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let told = from(&gateway, ELSEWHERE, ("POST", "/api/experiments"), &[TOKEN, ANN], &step).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let told = from(&gateway, PROXY, ("GET", "/api/experiments/x"), &[ANN], &Value::Null).await.json();
    let why: Vec<&str> =
        told["steps"].as_array().expect("steps").iter().filter_map(|step| step["why"].as_str()).collect();
    assert_eq!(why, ["looks good (ann@example.org)", "looks good"], "{told}");
    let made = from(&gateway, PROXY, ("POST", "/api/keys"), &page, &json!({"name": "ci"})).await.json();
    let path = format!("/api/keys/{}", made["id"].as_str().expect("an id"));
    assert_eq!(from(&gateway, PROXY, ("DELETE", &path), &page, &Value::Null).await.status, 200);
    for (operator, method, path) in [
        ("ann@example.org", "POST", "/api/experiments"),
        ("token", "POST", "/api/experiments"),
        ("ann@example.org", "POST", "/api/keys"),
        ("ann@example.org", "DELETE", path.as_str()),
    ] {
        eventually(&format!("{operator} is logged for {method} {path}"), async || {
            let is = |line: &Value| {
                let said = &line["fields"];
                said["operator"] == operator
                    && said["method"] == method
                    && said["path"] == path
                    && said["status"] == 200
            };
            gateway.log_lines().iter().any(is).then_some(())
        })
        .await;
    }
    assert!(!gateway.log.lock().contains(made["key"].as_str().expect("a key")), "a key is in the log");
}

#[test]
fn check_says_who_comes_in_and_refuses_what_would_let_others_in() {
    let told = |text: &str| {
        let output = run(folder(&format!("{text}{SIDES}")).path(), &["check"], "");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("text"))
    };
    let (code, said) = told(&server("0.0.0.0:0", ""));
    assert_eq!(code, Some(0), "{said}");
    for phrase in ["ann@example.org, *@staff.example, as `x-forwarded-email` says from 127.0.0.2", "without TLS"] {
        assert!(said.contains(phrase), "`{phrase}`: {said}");
    }
    assert!(!said.contains("this machine, by a loopback name") && !said.contains("admin token"), "{said}");
    let (code, said) = told(&server("127.0.0.1:0", "").replace(PROXY, "10.0.0.0/8"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("10.0.0.0/8 is wide") && said.contains("this machine, by a loopback name"), "{said}");
    assert!(!said.contains("without TLS"), "{said}");
    let (code, said) = told("[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n");
    assert!(code == Some(0) && said.contains("admin is open to: this machine"), "{said}");
    let whole = server("0.0.0.0:0", "");
    let without =
        |key: &str| whole.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
    for (text, says) in [
        (without("admin_identity_header"), "does nothing without"),
        (without("admin_trusted_proxies"), "`server.admin_trusted_proxies` is missing"),
        (without("admin_identities"), "`server.admin_identities` is missing"),
        (whole.replace("X-Forwarded-Email", "Authorization"), "says something else already"),
        (whole.replace("X-Forwarded-Email", "a header"), "no name of a header"),
        (whole.replace(PROXY, "proxy.example"), "neither an address nor a network"),
        (whole.replace("*@staff.example", "*"), "whole domain"),
        (
            "[server]\nadmin_listen = \"0.0.0.0:0\"\n".into(),
            "set `server.admin_token_env` or `server.admin_identity_header`",
        ),
    ] {
        let text: String = text;
        let (code, said) = told(&text);
        assert!(code == Some(64) && said.contains(says), "`{says}`: {code:?} {said}\n{text}");
    }
}

//! TLS in and out: who is who on both sides of the gateway, and certificates that are renewed while it runs.

use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tests::gateway::{Gateway, run};
use tests::tls::{Authority, Front, Identity};
use tests::upstream::{Play, Upstream};
use tests::{chat, eventually, hosted_only, streamed};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

const TLS: &str = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
    [server.tls]\ncert = \"tls.crt\"\nkey = \"tls.key\"\n";

/// As an operator's tool does: written beside it, then moved.
fn put(folder: &Path, name: &str, text: &str) {
    let beside = folder.join(format!("{name}.next"));
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, folder.join(name)).unwrap();
}

fn install(folder: &Path, identity: &Identity) {
    put(folder, "tls.key", &identity.key);
    put(folder, "tls.crt", &identity.cert);
}

async fn secured(upstream: &Upstream, identity: &Identity, more: &str) -> (Arc<TempDir>, Gateway) {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    install(folder.path(), identity);
    let rest = format!("{TLS}{more}{}", hosted_only(upstream, "echo"));
    let gateway = Gateway::start_in(folder.clone(), &rest, &[]).await;
    (folder, gateway)
}

fn trusting(authority: &Authority) -> reqwest::ClientBuilder {
    let root = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    // A connection of its own for each request: what is asked is what a new connection meets.
    reqwest::Client::builder().tls_certs_only([root]).no_proxy().pool_max_idle_per_host(0)
}

fn https(gateway: &Gateway) -> String {
    let port = gateway.data.rsplit(':').next().unwrap();
    format!("https://localhost:{port}/v1/chat/completions")
}

#[tokio::test]
async fn clients_are_served_over_tls_in_both_versions_of_http_and_not_without_it() {
    let (upstream, authority) = (Upstream::start().await, Authority::new());
    let (_folder, gateway) = secured(&upstream, &authority.identity("localhost", false), "").await;
    for (client, version) in [
        (trusting(&authority).http1_only().build().unwrap(), http::Version::HTTP_11),
        (trusting(&authority).build().unwrap(), http::Version::HTTP_2),
    ] {
        let answer = client.post(https(&gateway)).json(&chat("auto", "hello")).send().await.unwrap();
        assert_eq!((answer.status(), answer.version()), (http::StatusCode::OK, version));
        let answer = client.post(https(&gateway)).json(&streamed("auto", "hello")).send().await.unwrap();
        assert!(answer.text().await.unwrap().contains("data: [DONE]"));
    }
    let old = trusting(&authority).tls_version_max(reqwest::tls::Version::TLS_1_1).build();
    if let Ok(old) = old {
        assert!(old.post(https(&gateway)).json(&json!({})).send().await.is_err(), "TLS 1.1");
    }
    let plain = https(&gateway).replace("https", "http");
    assert!(tests::client::client().post(plain).json(&json!({})).send().await.is_err(), "no TLS");
    let stranger = trusting(&Authority::new()).build().unwrap();
    assert!(stranger.post(https(&gateway)).json(&json!({})).send().await.is_err(), "another authority");
}

#[tokio::test]
async fn a_renewed_certificate_counts_for_new_connections_and_running_streams_go_on() {
    let (upstream, before, after) = (Upstream::start().await, Authority::new(), Authority::new());
    let gate = Arc::new(Semaphore::new(1));
    upstream.play("echo", Play::gated(3, &gate));
    let (folder, gateway) = secured(&upstream, &before.identity("localhost", false), "").await;
    let client = trusting(&before).build().unwrap();
    let mut running = client.post(https(&gateway)).json(&streamed("auto", "hello")).send().await.unwrap();
    assert!(running.chunk().await.unwrap().is_some());

    put(folder.path(), "tls.crt", "nonsense");
    gateway.logged("the new certificate is refused, the old one stays").await;
    let live = https(&gateway).replace("/v1/chat/completions", "/livez");
    assert!(trusting(&before).build().unwrap().get(&live).send().await.is_ok(), "the old one stays");

    install(folder.path(), &after.identity("localhost", false));
    eventually("the new certificate is shown", async || trusting(&after).build().unwrap().get(&live).send().await.ok())
        .await;
    assert!(trusting(&before).build().unwrap().get(&live).send().await.is_err());
    gate.add_permits(10);
    let mut text = String::new();
    while let Some(chunk) = running.chunk().await.unwrap() {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(text.contains("data: [DONE]"), "{text}");
}

#[tokio::test]
async fn with_an_authority_for_clients_only_those_it_has_signed_get_in() {
    let (upstream, authority, clients) = (Upstream::start().await, Authority::new(), Authority::new());
    let folder = Arc::new(tempfile::tempdir().unwrap());
    install(folder.path(), &authority.identity("localhost", false));
    put(folder.path(), "clients.pem", &clients.pem);
    let rest = format!("{TLS}client_ca = \"clients.pem\"\n{}", hosted_only(&upstream, "echo"));
    let gateway = Gateway::start_in(folder, &rest, &[]).await;
    let live = https(&gateway).replace("/v1/chat/completions", "/livez");
    let with = |identity: &Identity| {
        let pem = format!("{}{}", identity.cert, identity.key);
        trusting(&authority).identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap()).build().unwrap()
    };
    assert!(with(&clients.identity("someone", false)).get(&live).send().await.is_ok());
    assert!(with(&Authority::new().identity("someone", false)).get(&live).send().await.is_err());
    assert!(with(&clients.identity("someone", true)).get(&live).send().await.is_err(), "expired");
    assert!(trusting(&authority).build().unwrap().get(&live).send().await.is_err(), "none");
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut_and_others_are_served_meanwhile() {
    let (upstream, authority) = (Upstream::start().await, Authority::new());
    let (_folder, gateway) =
        secured(&upstream, &authority.identity("localhost", false), "[timeouts]\nheader = \"300ms\"\n").await;
    let mut stalled = TcpStream::connect(gateway.data.trim_start_matches("http://")).await.unwrap();
    let live = https(&gateway).replace("/v1/chat/completions", "/livez");
    assert!(trusting(&authority).build().unwrap().get(&live).send().await.is_ok());
    let mut buffer = [0; 16];
    let read = tokio::time::timeout(Duration::from_secs(60), stalled.read(&mut buffer)).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
}

#[tokio::test]
async fn a_provider_is_spoken_to_only_if_its_certificate_is_its_own() {
    let (upstream, authority) = (Upstream::start().await, Authority::new());
    let fronts = [
        ("good", Front::start(&authority.identity("localhost", false), &upstream.root).await),
        ("expired", Front::start(&authority.identity("localhost", true), &upstream.root).await),
        ("another-name", Front::start(&authority.identity("example.org", false), &upstream.root).await),
        ("another-authority", Front::start(&Authority::new().identity("localhost", false), &upstream.root).await),
    ];
    let folder = Arc::new(tempfile::tempdir().unwrap());
    put(folder.path(), "ca.pem", &authority.pem);
    let mut rest = String::new();
    for (name, front) in &fronts {
        rest.push_str(&format!(
            "[providers.{name}]\nkind = \"openai\"\nbase_url = \"https://localhost:{}/v1\"\nregion = \"eu\"\nca_file = \"ca.pem\"\n\
             [models.{name}]\nprovider = \"{name}\"\nupstream = \"echo\"\n",
            front.port
        ));
    }
    rest.push_str(&format!(
        "[providers.unknown]\nkind = \"openai\"\nbase_url = \"https://localhost:{}/v1\"\nregion = \"eu\"\n\
         [models.unknown]\nprovider = \"unknown\"\n[router]\nlocal = []\nhosted = [\"good\"]\n",
        fronts[0].1.port
    ));
    let gateway = Gateway::start_in(folder, &rest, &[]).await;
    assert_eq!(gateway.tell(&chat("good", "hello")).await.status, 200);
    let asked = upstream.count();
    for name in ["expired", "another-name", "another-authority", "unknown"] {
        let told = gateway.tell(&chat(name, "hello")).await;
        assert_eq!(told.error(502)["code"], "connect", "{name}: {}", told.text());
    }
    assert_eq!(upstream.count(), asked, "nothing was sent to any of them");
    assert_eq!(fronts[1..].iter().map(|(_, front)| front.shaken()).sum::<usize>(), 0);
}

#[test]
fn files_that_cannot_be_used_are_refused_at_the_start_and_no_key_is_shown() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (one, other) = (authority.identity("localhost", false), authority.identity("localhost", false));
    for (cert, key, says) in [
        (&one.cert, &other.key, "tls.crt"),
        (&one.key, &one.key, "tls.crt"),
        (&one.cert, &one.cert, "tls.key"),
        (&String::new(), &one.key, "tls.crt"),
    ] {
        put(folder.path(), "tls.crt", cert);
        put(folder.path(), "tls.key", key);
        put(
            folder.path(),
            "sluice.toml",
            &format!("{TLS}[providers.s]\nkind = \"simulated\"\n[models.m]\nprovider = \"s\"\n"),
        );
        let output = run(folder.path(), &["check"], "");
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!((output.status.code(), said.contains(says)), (Some(64), true), "{said}");
        assert!(!said.contains("PRIVATE"), "{said}");
    }
}

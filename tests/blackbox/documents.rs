//! What the admin API says of itself: the configuration in force, and the document of its paths.

use serde_json::{Value, json};
use tests::gateway::{Gateway, folder};
use tests::upstream::Upstream;
use tests::{eventually, hosted_only};

/// The row of a key.
fn row<'a>(config: &'a Value, key: &str) -> &'a Value {
    let rows = config["settings"].as_array().expect("rows");
    rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key}: {config}"))
}

#[tokio::test]
async fn the_configuration_says_where_each_value_came_from_and_follows_a_reload() {
    let upstream = Upstream::start().await;
    let rest = format!("{}\n[limits]\nin_flight = 7\nbody = \"1 MiB\"\n", hosted_only(&upstream, "echo"));
    let environment = [("SLUICE__LIMITS__IN_FLIGHT", "9"), ("SLUICE__RESIDENCY__DEFAULT_CLASS", "public")];
    let folder = folder(&rest);
    let gateway = Gateway::start_in(folder.clone(), &rest, &environment).await;
    let config = gateway.api("/api/config").await;
    assert_eq!(
        row(&config, "limits.in_flight"),
        &json!({"key": "limits.in_flight", "value": 9, "from": "environment"})
    );
    assert_eq!(row(&config, "residency.default_class")["from"], "environment");
    assert_eq!(
        (&row(&config, "limits.body")["value"], &row(&config, "limits.body")["from"]),
        (&json!("1 MiB"), &json!("file"))
    );
    assert_eq!(
        row(&config, "limits.connections"),
        &json!({"key": "limits.connections", "value": 1024, "from": "default"})
    );
    tests::gateway::write_config(folder.path(), &rest.replace("1 MiB", "2 MiB"));
    eventually("the new file is in force", async || {
        let config = gateway.api("/api/config").await;
        (row(&config, "limits.body")["value"] == "2 MiB").then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_secret_is_in_the_configuration_that_is_shown() {
    let upstream = Upstream::start().await;
    let rest = hosted_only(&upstream, "echo");
    let rest = rest.replacen("kind = \"openai\"", "kind = \"openai\"\napi_key_env = \"HOUSE_KEY\"", 1);
    let environment = [("HOUSE_KEY", "sk-very-secret")];
    let gateway = Gateway::start_in(folder(&rest), &rest, &environment).await;
    let told = gateway.admin_get("/api/config").await;
    assert!(!told.text().contains("very-secret"), "{}", told.text());
    assert!(told.text().contains("HOUSE_KEY"), "names of variables are no secrets: {}", told.text());
}

#[tokio::test]
async fn every_path_in_the_document_is_served_and_its_methods_are_the_only_ones() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    let document = gateway.api("/api/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 30, "{}", paths.len());
    for (path, operations) in paths {
        let operations = operations.as_object().expect("operations");
        for (method, operation) in operations {
            let listener = operation["tags"][0].as_str().expect("a listener");
            let base = if listener == "data" { &gateway.data } else { &gateway.admin };
            // An endless stream of events: its head is enough, which `send` waits for.
            let url = format!("{base}{}", path.replace("{id}", "nobody").replace("{name}", "nobody"));
            let verb = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let response = gateway.client.request(verb, &url).send().await.expect("an answer");
            let status = response.status().as_u16();
            // What is not found has a name in its path; what is malformed needs a body.
            assert_ne!(status, 405, "{method} {path}");
            assert!(status != 404 || path.contains('{'), "{method} {path}: {status}");
            assert_ne!(status, 501, "{method} {path}");
            if !operations.contains_key("delete") {
                let response = gateway.client.delete(&url).send().await.expect("an answer");
                assert_eq!(response.status(), 405, "DELETE {path}");
            }
        }
    }
}

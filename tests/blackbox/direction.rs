//! Packages import only to their left, and secrets are shown only where they must be.

use std::path::{Path, PathBuf};
use std::process::Command;

const LINE: [&str; 5] = ["policies", "adapters", "router", "gateway", "tests"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new("cargo").args(arguments).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn packages_import_only_to_their_left() {
    let metadata = cargo(&["metadata", "--no-deps", "--locked", "--offline", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert_eq!(packages.len(), LINE.len(), "five packages in a straight line");
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let place = LINE.iter().position(|known| *known == name).expect("a known package");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let wanted = dependency["name"].as_str().expect("a name");
            if let Some(other) = LINE.iter().position(|known| *known == wanted) {
                assert!(other < place, "{name} must not import {wanted}");
                assert!(name != "tests", "the tests know nothing private: {wanted}");
            }
        }
    }
}

#[test]
fn the_edit_loop_never_compiles_the_inference_stack() {
    let tree = cargo(&[
        "tree",
        "--locked",
        "--offline",
        "-p",
        "policies",
        "-p",
        "adapters",
        "-p",
        "router",
        "--no-default-features",
        "-e",
        "normal",
        "--prefix",
        "none",
    ]);
    assert!(tree.contains("rusqlite") && !tree.contains("mistralrs") && !tree.contains("candle"));
}

#[test]
fn secrets_are_exposed_only_to_the_wire_and_to_those_who_compare_or_create_them() {
    let allowed = [
        "policies/src/secret.rs",
        "adapters/src/hosted/mod.rs",
        "gateway/src/server/auth.rs",
        // A new key is shown once, to whoever made it.
        "gateway/src/server/admin.rs",
        "gateway/src/cli/keys.rs",
        // Addresses of databases hold their passwords.
        "router/src/ledger/store/place.rs",
        "router/src/replicas/mod.rs",
        "router/src/ledger/keys/tests.rs",
    ];
    let mut folders = vec![root()];
    let mut callers = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if entry.is_dir() && !name.starts_with('.') && !["target", "tests", "helm"].contains(&name.as_str()) {
                folders.push(entry);
            } else if name.ends_with(".rs") && std::fs::read_to_string(&entry).expect("text").contains(".expose()") {
                let shown = entry.strip_prefix(root()).expect("below the root").display().to_string();
                callers.push(shown);
            }
        }
    }
    for caller in callers {
        assert!(allowed.contains(&caller.as_str()), "{caller} exposes a secret");
    }
}

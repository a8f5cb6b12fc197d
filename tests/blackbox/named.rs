//! What the documents name exists: paths, tests, modules and items.
//!
//! A test that a table names and nobody has written proves nothing, and a path that has moved sends a reader astray.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The documents, beside everything in `docs`.
const DOCUMENTS: [&str; 5] = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "tests/README.md", "tests/mutants.md"];
/// A token that begins so is a path.
const TOPS: [&str; 9] =
    ["policies/", "adapters/", "router/", "gateway/", "tests/", "docs/", "fuzz/", "helm/", "scripts/"];
/// So is one that ends so.
const ENDS: [&str; 5] = [".rs", ".md", ".py", ".js", ".sh"];
/// What defines an item, in Rust.
const DEFINERS: [&str; 8] = ["fn", "struct", "enum", "trait", "const", "static", "mod", "type"];

/// What there is.
#[derive(Default)]
struct Tree {
    /// Files and folders, from the root on.
    paths: BTreeSet<String>,
    /// Where something of a name is: items of Rust, and files by their stem.
    names: BTreeMap<String, BTreeSet<String>>,
    /// The words of each file of Rust.
    words: Vec<BTreeSet<String>>,
}

// === impl Tree ===

impl Tree {
    fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(root.join(&folder)).expect("a folder").flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if ["target", "node_modules"].contains(&name.as_str()) || name.starts_with('.') {
                    continue;
                }
                let path = folder.join(&name);
                let text = path.to_string_lossy().into_owned();
                tree.paths.insert(text.clone());
                let stem = name.split('.').next().unwrap_or_default();
                tree.names.entry(stem.to_owned()).or_default().insert(text.clone());
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if name.ends_with(".rs") {
                    tree.items(&std::fs::read_to_string(root.join(&path)).expect("text"), &text);
                }
            }
        }
        tree
    }

    fn items(&mut self, source: &str, path: &str) {
        let words = source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        let (mut before, mut all) = ("", BTreeSet::new());
        for word in words {
            all.insert(word.to_owned());
            if DEFINERS.contains(&before) {
                self.names.entry(word.to_owned()).or_default().insert(path.to_owned());
            }
            before = word;
        }
        self.words.push(all);
    }

    /// Whether a type has such a member: methods, fields and variants stand in files that speak of their type.
    fn has_member(&self, of: &str, member: &str) -> bool {
        self.names.contains_key(of) && self.words.iter().any(|words| words.contains(of) && words.contains(member))
    }

    fn has_path(&self, named: &str, folder: &str) -> bool {
        let named = named.trim_end_matches('/');
        let inside = format!("/{named}");
        let beside = named.strip_prefix("../").map_or_else(|| format!("{folder}/{named}"), str::to_owned);
        self.paths.contains(named)
            || self.paths.contains(&beside)
            || self.paths.iter().any(|path| path.ends_with(&inside))
    }

    /// Whether something of that name is in a file whose path has all those modules; an open name is a beginning.
    fn has_name(&self, modules: &[&str], name: &str, open: bool) -> bool {
        let named = |found: &&str| if open { found.starts_with(name) } else { *found == name };
        let found = self.names.iter().filter(|(found, _)| named(&found.as_str()));
        found.flat_map(|(_, paths)| paths).any(|path| {
            let parts: Vec<&str> = path.split(['/', '.']).collect();
            modules.iter().all(|module| parts.contains(module))
        })
    }

    /// What is wrong with a token, if it names something.
    fn missing(&self, token: &str, document: &str) -> bool {
        let plain = |more: &str| token.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
        let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
        let is_path = TOPS.iter().any(|top| token.starts_with(top)) || ENDS.iter().any(|end| token.ends_with(end));
        if plain("_./-") && token.contains('/') && is_path {
            // What lies outside of the repository, and what stands for any module.
            return !token.starts_with("shared/") && !token.contains("MODULE") && !self.has_path(token, folder);
        }
        let closed = token.strip_suffix("...").unwrap_or(token);
        if plain("_:.") && closed.contains("::") && !closed.contains('.') {
            let parts: Vec<&str> = closed.split("::").collect();
            let (name, modules) = parts.split_last().expect("two parts");
            if let Some(of) = modules.last().filter(|of| of.starts_with(|first: char| first.is_ascii_uppercase())) {
                return !self.has_member(of, name);
            }
            // Inline modules have no file of their own.
            let modules: Vec<&str> = modules
                .iter()
                .copied()
                .filter(|module| !["tests", "on_sqlite", "on_postgres"].contains(module))
                .collect();
            return !self.has_name(&modules, name, closed != token);
        }
        let is_test = plain("_") && token.matches('_').count() > 3 && document == "tests/mutants.md";
        is_test && !self.has_name(&[], token, false)
    }
}

/// What stands between backticks outside of blocks of code.
fn tokens(text: &str) -> Vec<&str> {
    let outside = text.split("```").step_by(2);
    let lines = outside.flat_map(str::lines);
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_path_and_every_test_that_a_document_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tree = Tree::read(&root);
    let docs = tree.paths.iter().filter(|path| path.starts_with("docs/") && path.ends_with(".md"));
    let documents = DOCUMENTS.iter().map(|path| (*path).to_owned()).chain(docs.cloned());
    let (mut seen, mut missing) = (0, Vec::new());
    for document in documents {
        let text = std::fs::read_to_string(root.join(&document)).expect("a document");
        for token in tokens(&text) {
            seen += 1;
            if tree.missing(token, &document) {
                missing.push(format!("{document}: `{token}`"));
            }
        }
    }
    assert!(seen > 1_000, "only {seen} tokens were found: documents are read wrongly");
    assert!(missing.is_empty(), "named, and not there:\n{}", missing.join("\n"));
}

#[test]
fn what_is_not_there_is_found_missing() {
    let tree = Tree::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    for (token, missing) in [
        ("tests/blackbox/named.rs", false),
        ("blackbox/named.rs", false),
        ("tests/blackbox/no_such_file.rs", true),
        ("named::every_path_and_every_...", false),
        ("named::what_is_not_there_is_found_missing", false),
        ("named::nobody_has_written_this_one", true),
        ("drain::what_is_not_there_is_found_missing", true),
        ("Tree::has_member", false),
        (concat!("Tree::has_", "leaves"), true),
        ("POST /v1/chat/completions", false),
    ] {
        assert_eq!(tree.missing(token, "tests/README.md"), missing, "{token}");
    }
}

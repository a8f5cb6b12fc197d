//! Commands that the documentation names, against the program.

use super::Arguments;
use clap::Parser;
use clap::error::ErrorKind;
use std::path::Path;

/// The pages that a reader of the repository finds.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let named = ["README.md", "SECURITY.md", "ARCHITECTURE.md", "helm/README.md", "tests/README.md"];
    let pages = pages.chain(named.into_iter().map(|name| root.join(name)));
    pages.map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap())).collect()
}

/// What stands in the page as code: blocks line by line, continued lines joined, and words between backticks.
fn code(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, part) in page.split("```").enumerate() {
        if at % 2 == 1 {
            found.extend(part.replace("\\\n", " ").lines().map(|line| line.trim_start_matches("$ ").to_owned()));
        } else {
            found.extend(part.split('`').skip(1).step_by(2).map(|words| words.replace('\n', " ")));
        }
    }
    found
}

/// The words of a command as a shell would give them, up to a comment, a pipe or a redirection.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for letter in line.chars().chain([' ']) {
        match (quote, letter) {
            (Some(open), letter) if open == letter => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, ' ') if word.is_empty() => {}
            (None, ' ') => words.push(std::mem::take(&mut word)),
            (_, letter) => word.push(letter),
        }
    }
    let ends = |word: &String| word.starts_with(['#', '|', '<', '>', ';']);
    words.into_iter().take_while(|word| !ends(word)).map(|word| word.trim_matches(['[', ']']).to_owned()).collect()
}

#[test]
fn every_command_that_the_documentation_names_exists_with_its_flags() {
    let mut tried = 0;
    for (page, text) in pages() {
        for line in code(&text).iter().filter(|line| line.starts_with("sluice ") && !line.contains("...")) {
            tried += 1;
            let Err(error) = Arguments::try_parse_from(words(line)) else { continue };
            // A command may be named without what it needs; what is there has to exist.
            let unknown = [ErrorKind::UnknownArgument, ErrorKind::InvalidSubcommand, ErrorKind::InvalidValue];
            assert!(!unknown.contains(&error.kind()), "{page}: `{line}`: {error}");
        }
    }
    assert!(tried > 60, "only {tried} commands were found");
}

//! From files and environment to the typed specification.

use super::environment::Environment;
use super::settings::Settings;
use super::shown::{self, Shown};
use super::spec::ConfigSpec;
use figment::Figment;
use figment::error::{Error as FigmentError, Kind};
use figment::providers::{Env, Format, Toml, Yaml};
use std::path::Path;

/// Sections whose plain keys the environment may set.
const FROM_ENVIRONMENT: &[&str] = &[
    "server",
    "router",
    "ledger",
    "replicas",
    "learning",
    "residency",
    "limits",
    "timeouts",
    "keys",
    "prices",
    "savings",
    "local_cost",
    "telemetry",
];

/// All keys there are, for the nearest one.
const SECTIONS: &[&str] = &[
    "server",
    "providers",
    "models",
    "router",
    "rules",
    "ledger",
    "replicas",
    "learning",
    "residency",
    "budgets",
    "limits",
    "timeouts",
    "keys",
    "prices",
    "experiments",
    "savings",
    "local_cost",
    "telemetry",
];

/// Why a configuration is refused; each problem is one sentence.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct ConfigError {
    /// What is wrong.
    pub problems: Vec<String>,
}

impl ConfigError {
    fn one(problem: impl Into<String>) -> Self {
        Self { problems: vec![problem.into()] }
    }
}

/// Reads and validates a configuration file.
pub fn load(path: &Path, environment: &Environment) -> Result<Settings, ConfigError> {
    let (spec, written) = read(path)?;
    let folder = path.parent().map_or_else(|| Path::new(".").to_owned(), Path::to_owned);
    let settings = Settings::validate(spec, &folder, environment)?;
    Ok(Settings { shown: shown::effective(written, &settings), ..settings })
}

/// Validates a configuration that is no file yet, as it stands: variables of the environment change nothing in it.
pub fn parse(text: &str, folder: &Path) -> Result<Settings, ConfigError> {
    let spec = Figment::from(Toml::string(text)).extract();
    let spec: ConfigSpec = spec.map_err(|error: FigmentError| ConfigError {
        problems: error.into_iter().map(|error| sentence(&error, Path::new("the configuration"))).collect(),
    })?;
    Settings::validate(spec, folder, &Environment)
}

fn read(path: &Path) -> Result<(ConfigSpec, Vec<Shown>), ConfigError> {
    if !path.is_file() {
        let shown = path.display();
        return Err(ConfigError::one(format!("no configuration file at `{shown}`; name one with --config")));
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let file = match extension {
        "yaml" | "yml" => Figment::from(Yaml::file_exact(path)),
        _ => Figment::from(Toml::file_exact(path)),
    };
    let environment = Env::prefixed("SLUICE__").split("__");
    let merged = file.merge(environment);
    refuse_lists_from_environment()?;
    let spec = merged
        .extract()
        .map_err(|error| ConfigError { problems: error.into_iter().map(|error| sentence(&error, path)).collect() })?;
    Ok((spec, shown::written(&merged)))
}

/// Only plain keys of plain sections may come from the environment.
fn refuse_lists_from_environment() -> Result<(), ConfigError> {
    for (key, _) in Env::prefixed("SLUICE__").iter() {
        let key = key.as_str().to_lowercase();
        let section = key.split("__").next().unwrap_or_default().to_owned();
        if !FROM_ENVIRONMENT.contains(&section.as_str()) {
            let nearest = nearest(&section, FROM_ENVIRONMENT).map(|known| format!("; did you mean `{known}`?"));
            return Err(ConfigError::one(format!(
                "the environment variable `SLUICE__{}` cannot set `{section}`: only plain keys of {} can be set there{}",
                key.to_uppercase(),
                FROM_ENVIRONMENT.join(", "),
                nearest.unwrap_or_default()
            )));
        }
    }
    Ok(())
}

/// A parser's complaint without the line of the file that it shows: there may be a secret in it. Its number stays.
fn without_source(text: &str) -> String {
    let shown =
        |line: &&str| line.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ' ').starts_with('|');
    let kept: Vec<&str> = text.lines().filter(|line| !shown(line) && !line.trim().is_empty()).collect();
    kept.join(": ")
}

/// One sentence with the key's path, where it was set and, for an unknown key, the nearest known one.
fn sentence(error: &FigmentError, path: &Path) -> String {
    let mut at = error.path.clone();
    let what = match &error.kind {
        Kind::UnknownField(name, known) => {
            if at.last() != Some(name) {
                at.push(name.clone());
            }
            let known: Vec<&str> = if at.len() <= 1 { SECTIONS.to_vec() } else { known.to_vec() };
            match nearest(name, &known) {
                Some(near) => format!("unknown key, did you mean `{near}`?"),
                None => format!("unknown key; known are: {}", known.join(", ")),
            }
        }
        Kind::MissingField(name) => format!("`{name}` is missing"),
        Kind::Message(text) => without_source(text),
        Kind::InvalidType(..)
        | Kind::InvalidValue(..)
        | Kind::InvalidLength(..)
        | Kind::UnknownVariant(..)
        | Kind::DuplicateField(_)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_)
        | Kind::Unsupported(_)
        | Kind::UnsupportedKey(..) => error.kind.to_string(),
    };
    let from = match &error.metadata {
        Some(metadata) if metadata.name.contains("environment") => "the environment".to_owned(),
        Some(_) | None => path.display().to_string(),
    };
    if at.is_empty() { format!("{from}: {what}") } else { format!("{from}: `{}`: {what}", at.join(".")) }
}

/// The most similar known word, if it is similar at all.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate));
    scored.filter(|(score, _)| *score > 0.75).max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, word)| word)
}

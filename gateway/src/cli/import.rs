//! `sluice import`: another gateway's configuration as ours.
//!
//! **Promise.** Every setting of the file is either carried over or named with the reason why not; a secret is never
//! written, not even into a comment: a key that stood in the file becomes the name of an environment variable. What is
//! written has passed the gateway's own check.
//!
//! **What it does not do.** It reads no database and no environment: keys, users and spend of the other gateway stay there.

mod draft;
mod litellm;
mod place;
mod settings;

use super::{Failure, Setting, complain, say};
use crate::config;
use draft::Draft;
use figment::providers::YamlExtended;
use router::prices::PriceTable;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Whose configuration.
#[derive(Debug, clap::Subcommand)]
pub enum Import {
    /// LiteLLM's proxy configuration (config.yaml).
    Litellm {
        /// The file.
        file: PathBuf,
        /// Where the configuration is written, a file that does not exist yet; default: standard output.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

const SECTIONS: [&str; 4] = ["model_list", "litellm_settings", "router_settings", "general_settings"];

/// Does it.
pub fn run(setting: &Setting, command: &Import) -> Result<(), Failure> {
    let Import::Litellm { file, out } = command;
    let shown = file.display();
    let text =
        std::fs::read_to_string(file).map_err(|error| Failure::Usage(format!("cannot read `{shown}`: {error}")))?;
    let root = parse(&text).map_err(|why| Failure::Usage(format!("`{shown}`: {why}")))?;
    let table = PriceTable::bundled().map_err(|error| Failure::Failed(error.to_string()))?;
    let draft = litellm::read(&root, &table);
    let name = file.file_name().map_or_else(|| shown.to_string(), |name| name.to_string_lossy().into_owned());
    let toml = draft.toml(&name);
    // The gateway's own word on it, before anybody relies on it.
    config::parse(&toml, Path::new("."))
        .map_err(|error| Failure::Failed(format!("what was made of `{shown}` is not valid: {error}")))?;
    if let Some(out) = out {
        let written = std::fs::File::create_new(out).and_then(|mut file| file.write_all(toml.as_bytes()));
        written.map_err(|error| Failure::Failed(format!("cannot write `{}`: {error}", out.display())))?;
    }
    if setting.json {
        let left = draft.left.iter().map(|left| json!({"setting": left.setting, "why": left.why}));
        say(json!({
            "written": out, "toml": toml, "models": draft.models.len(), "providers": draft.providers.len(),
            "to_do": draft.notes, "not_carried_over": left.collect::<Vec<_>>(),
        }));
    } else {
        if out.is_none() {
            say(toml.trim_end());
        }
        report(&draft, out.as_deref());
    }
    Ok(())
}

/// Reads YAML, merge keys applied, as LiteLLM's own reader does.
fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let root: Value = YamlExtended::from_str(text).map_err(|error| error.to_string())?;
    match root {
        Value::Object(root) if SECTIONS.iter().any(|section| root.contains_key(*section)) => Ok(root),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("not a LiteLLM proxy configuration: it has none of {}", SECTIONS.join(", ")))
        }
    }
}

/// For the person, beside the configuration.
fn report(draft: &Draft, out: Option<&Path>) {
    let (models, providers) = (draft.models.len(), draft.providers.len());
    let place = out.map_or_else(String::new, |out| format!(" in {}", out.display()));
    complain(format!("{models} models at {providers} providers{place}"));
    for note in &draft.notes {
        complain(format!("to do: {note}"));
    }
    for left in &draft.left {
        complain(format!("not carried over: {}: {}", left.setting, left.why));
    }
}

#[cfg(test)]
mod tests;

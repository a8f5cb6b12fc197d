//! `sluice models`: the catalogue of local models.

use super::{Failure, Setting};

/// What to do with models.
#[derive(Debug, clap::Subcommand)]
pub enum Models {
    /// Fetches a model, verified, with progress.
    Pull {
        /// A name of the catalogue or hf:ORG/REPO; default: every source in the configuration.
        source: Option<String>,
    },
    /// Lists the catalogue and what is there.
    List,
}

/// Built without the engine there is nothing to fetch.
#[cfg(not(feature = "local"))]
pub fn run(_setting: &Setting, _models: &Models) -> Result<(), Failure> {
    Err(Failure::Failed("this program was built without the engine in process".into()))
}

/// Does it.
#[cfg(feature = "local")]
pub fn run(setting: &Setting, models: &Models) -> Result<(), Failure> {
    use super::{complain, say};
    use crate::config::{Environment, ProviderKind};
    use adapters::local::Source;
    use adapters::local::store::{list, resolve};
    use serde_json::json;

    let cache = Environment.cache_dir();
    match models {
        Models::List => {
            for entry in list(&cache) {
                let path = entry.path.as_ref().map(|path| path.display().to_string());
                if setting.json {
                    say(json!({
                        "name": entry.name, "origin": entry.origin, "licence": entry.licence, "bytes": entry.bytes,
                        "path": path,
                    }));
                } else {
                    let there = path.unwrap_or_else(|| "not fetched".into());
                    say(format!(
                        "{}  {} ({}, {} MB)  {there}",
                        entry.name,
                        entry.origin,
                        entry.licence,
                        entry.bytes / 1_000_000
                    ));
                }
            }
            Ok(())
        }
        Models::Pull { source } => {
            let sources = match source {
                Some(source) => vec![Source::parse(source)],
                None => {
                    let settings = setting.load()?;
                    let engines = settings.providers.iter().filter_map(|provider| match &provider.kind {
                        ProviderKind::Engine(engine) => Some(Source::parse(&engine.source).relative_to(&engine.folder)),
                        ProviderKind::Hosted(_) | ProviderKind::Encoder { .. } | ProviderKind::Simulated => None,
                    });
                    engines.collect()
                }
            };
            for source in sources {
                let tenth = std::sync::atomic::AtomicU32::new(0);
                let progress = |share: f32| {
                    let now = (share * 10.0) as u32;
                    if tenth.swap(now, std::sync::atomic::Ordering::Relaxed) < now {
                        complain(format!("{source}: {} %", now * 10));
                    }
                };
                let path = resolve(&source, &cache, &progress).map_err(|error| Failure::Failed(error.to_string()))?;
                if setting.json { say(json!({"path": path})) } else { say(path.display()) }
            }
            Ok(())
        }
    }
}

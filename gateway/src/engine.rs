//! The engine's settings in the engine's own types.

use crate::config::{EngineSettings, ProviderSettings};
use adapters::local::{LocalSpec, LoraSpec, Quantize, Source};
use anyhow::Context;
use std::path::Path;

/// The engine's specification.
pub fn spec(provider: &ProviderSettings, engine: &EngineSettings) -> anyhow::Result<LocalSpec> {
    let source = Source::parse(&engine.source).relative_to(Path::new(&engine.folder));
    let mut spec = LocalSpec::new(provider.name.clone(), source, engine.cache_dir.clone());
    spec.chat_template = engine.chat_template.clone();
    spec.lora = engine.lora.iter().map(|(path, scale)| LoraSpec { path: path.clone(), scale: *scale }).collect();
    spec.quantize = Quantize::parse(&engine.quantize).with_context(|| {
        format!("`quantize`: unknown `{}`; auto, off, q8_0, q4_0, q4k, q6k or dense", engine.quantize)
    })?;
    spec.queue = engine.queue;
    spec.queue_wait = engine.queue_wait;
    spec.concurrency = engine.concurrency;
    spec.context_window = engine.context_window;
    spec.fetch = engine.fetch;
    if let Some(most) = engine.default_max_tokens {
        spec.default_max_tokens = most;
    }
    Ok(spec)
}

//! What the operator says of a local model, and what can be known of it before it is loaded.
//!
//! **Promise.** [`validate`] finds, without loading anything, what would make loading fail for sure: a path that is not
//! there, a file that is no GGUF or is cut short, an adapter that does not fit. Every default is a constant with its reason.
//!
//! **What it does not do.** It reads no environment and opens no connection.

use super::gguf;
use super::lora;
use super::store::{Source, StoreError};
use policies::ProviderName;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Requests that may wait in front of the engine: more would wait longer than their clients do.
pub const DEFAULT_QUEUE: usize = 8;
/// How long a request waits for the engine before it is refused.
pub const DEFAULT_QUEUE_WAIT: Duration = Duration::from_secs(20);
/// Sequences in the engine at once. More than one is refused: mistral.rs 0.8.1 mixes up the caches of sequences that it
/// decodes together on a CPU (asked for the capitals of Japan and Spain at once, it gives both clients Tokyo), and
/// batching would gain nothing there (docs/local-speed.md).
pub const DEFAULT_CONCURRENCY: usize = 1;
/// The most output tokens when the client names no ceiling.
pub const DEFAULT_MAX_TOKENS: u64 = 1024;
/// The temperature when neither the client nor the model's `generation_config.json` names one. OpenAI's 1.0 suits large
/// models; at 1.0 a model of 135 million parameters rambles.
pub const DEFAULT_TEMPERATURE: f64 = 0.7;
/// Restarts of a dying engine in a row before it is given up.
pub const MAX_RESTARTS: u32 = 8;

/// A local model as configured.
#[derive(Clone, Debug)]
pub struct LocalSpec {
    /// The provider's configured name.
    pub provider: ProviderName,
    /// Where the model comes from.
    pub source: Source,
    /// A chat template (`.jinja`) in place of the model's own.
    pub chat_template: Option<PathBuf>,
    /// Adapters, merged into the weights in this order.
    pub lora: Vec<LoraSpec>,
    /// Whether and to what the weights are converted.
    pub quantize: Quantize,
    /// Where models, converted weights and merged adapters are kept.
    pub cache_dir: PathBuf,
    /// Requests that may wait in front of the engine.
    pub queue: usize,
    /// How long one waits.
    pub queue_wait: Duration,
    /// Sequences in the engine at once: 1, see [`DEFAULT_CONCURRENCY`].
    pub concurrency: usize,
    /// A context window below the model's own.
    pub context_window: Option<u64>,
    /// The most output tokens when the client names no ceiling.
    pub default_max_tokens: u64,
    /// Whether a short prompt is run before the model counts as ready: the first requests are slower, and the measured
    /// rates start from it.
    pub warm_up: bool,
    /// The seed of requests that name none; `None` draws a fresh one for each.
    pub seed: Option<u64>,
    /// Whether a model that is not on disk may be fetched.
    pub fetch: bool,
}

/// An adapter in PEFT's folder format.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraSpec {
    /// The folder with `adapter_config.json` and `adapter_model.safetensors`.
    pub path: PathBuf,
    /// A factor on top of the adapter's own `alpha / r`.
    pub scale: f32,
}

/// Whether and to what the weights are converted at load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quantize {
    /// To Q8_0 where the kind at hand has no SIMD kernel (docs/local-speed.md has the measurements).
    #[default]
    Auto,
    /// Never.
    Off,
    /// Eight bits a weight.
    Q8_0,
    /// Four bits a weight, blocks of 32.
    Q4_0,
    /// Four bits a weight, blocks of 256; rows that are no multiple of 256 become Q8_0.
    Q4K,
    /// Six bits a weight, blocks of 256; rows that are no multiple of 256 become Q8_0.
    Q6K,
    /// Numbers of 32 bits: prompts are read up to twice as fast, answers written at half the speed, four times the memory.
    Dense,
}

/// What makes a specification useless.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The model's path is not there.
    #[error("the model path `{0}` does not exist")]
    NotFound(String),
    /// The model is not on disk, and may not be fetched.
    #[error("the model is not on disk, and `residency.mode` is `offline`: nothing is fetched")]
    Absent,
    /// The model's file or folder cannot be used.
    #[error("{0}")]
    Model(String),
    /// An adapter cannot be used.
    #[error("{0}")]
    Adapter(String),
    /// A number makes no sense.
    #[error("`{0}` must be at least 1")]
    Zero(&'static str),
    /// Several sequences at once.
    #[error("`concurrency` must be 1: the engine mixes up sequences that it decodes together")]
    Concurrency,
}

// === impl LocalSpec ===

impl LocalSpec {
    /// A specification with the defaults.
    pub fn new(provider: ProviderName, source: Source, cache_dir: PathBuf) -> Self {
        Self {
            provider,
            source,
            chat_template: None,
            lora: Vec::new(),
            quantize: Quantize::Auto,
            cache_dir,
            queue: DEFAULT_QUEUE,
            queue_wait: DEFAULT_QUEUE_WAIT,
            concurrency: DEFAULT_CONCURRENCY,
            context_window: None,
            default_max_tokens: DEFAULT_MAX_TOKENS,
            warm_up: true,
            seed: None,
            fetch: true,
        }
    }
}

// === impl Quantize ===

impl Quantize {
    /// Reads `auto`, `off`, `q8_0`, `q4_0`, `q4k`, `q6k` or `dense`.
    pub fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "auto" => Some(Self::Auto),
            "off" | "none" => Some(Self::Off),
            "q8_0" => Some(Self::Q8_0),
            "q4_0" => Some(Self::Q4_0),
            "q4k" | "q4_k" => Some(Self::Q4K),
            "q6k" | "q6_k" => Some(Self::Q6K),
            "dense" | "f32" => Some(Self::Dense),
            _ => None,
        }
    }

    /// The word that [`Quantize::parse`] reads.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4K => "q4k",
            Self::Q6K => "q6k",
            Self::Dense => "dense",
        }
    }
}

/// Finds what would make loading fail for sure, without loading.
///
/// # Errors
/// The first thing that is wrong, as a sentence for the operator. A model that has yet to be fetched is not looked at.
pub fn validate(spec: &LocalSpec) -> Result<(), SpecError> {
    for (name, number) in [
        ("queue", spec.queue as u64),
        ("concurrency", spec.concurrency as u64),
        ("default_max_tokens", spec.default_max_tokens),
    ] {
        if number == 0 {
            return Err(SpecError::Zero(name));
        }
    }
    if spec.concurrency > DEFAULT_CONCURRENCY {
        return Err(SpecError::Concurrency);
    }
    if let Some(path) = &spec.chat_template
        && !path.is_file()
    {
        return Err(SpecError::NotFound(path.display().to_string()));
    }
    let model = match spec.source.present_in(&spec.cache_dir) {
        Ok(Some(path)) => path,
        Ok(None) if !spec.fetch => {
            return Err(SpecError::Absent);
        }
        Ok(None) => {
            return spec
                .lora
                .iter()
                .try_for_each(|adapter| lora::check_config(&adapter.path).map(drop))
                .map_err(SpecError::Adapter);
        }
        Err(StoreError::NotFound(path)) => return Err(SpecError::NotFound(path)),
        Err(error) => return Err(SpecError::Model(error.to_string())),
    };
    check_model(&model)?;
    if spec.lora.is_empty() {
        return Ok(());
    }
    if model.is_file() {
        let text = "a LoRA adapter needs a safetensors base: the weights of a GGUF file are already rounded";
        return Err(SpecError::Adapter(text.into()));
    }
    spec.lora.iter().try_for_each(|adapter| lora::check(&adapter.path, &model)).map_err(SpecError::Adapter)
}

fn check_model(path: &Path) -> Result<(), SpecError> {
    if !path.exists() {
        return Err(SpecError::NotFound(path.display().to_string()));
    }
    if path.is_file() {
        return gguf::read(path).map(drop).map_err(|error| SpecError::Model(error.to_string()));
    }
    match super::load::weights_in(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(SpecError::Model(error)),
    }
}

/// Environment variables that candle and rayon read once, before the first thread starts: the gateway sets those that
/// are absent and executes itself again.
///
/// Candle's quantised kernels split a matrix over `RAYON_NUM_THREADS` threads and wait for the slowest at each of them,
/// so a thread that shares its core costs more than it brings: as many as there are cores, at most
/// [`MOST_THREADS`] (memory bandwidth is spent by then).
pub fn environment(cores: usize) -> Vec<(&'static str, String)> {
    vec![
        ("RAYON_NUM_THREADS", cores.clamp(1, MOST_THREADS).to_string()),
        // The encoder that judges brings a pool of its own, and runs on one thread.
        ("RTEN_NUM_THREADS", "1".to_owned()),
    ]
}

/// The most threads that [`environment`] asks for.
pub const MOST_THREADS: usize = 16;

/// Whether this binary was built with the SIMD level that the quantised kernels need; without it they are three to
/// four times slower, which is worth a warning.
pub fn built_for_speed() -> bool {
    cfg!(any(target_feature = "avx2", target_feature = "neon"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_path_is_found_before_loading() {
        let source = Source::parse("/nowhere/model.gguf");
        let spec = LocalSpec::new("p".into(), source, PathBuf::from("/nowhere"));
        let said = validate(&spec).map_err(|error| error.to_string());
        assert_eq!(said, Err("the model path `/nowhere/model.gguf` does not exist".into()));
    }

    #[test]
    fn words_of_quantize_come_back() {
        for kind in [
            Quantize::Auto,
            Quantize::Off,
            Quantize::Q8_0,
            Quantize::Q4_0,
            Quantize::Q4K,
            Quantize::Q6K,
            Quantize::Dense,
        ] {
            assert_eq!(Quantize::parse(kind.word()), Some(kind));
        }
        assert_eq!(Quantize::parse("fp3"), None);
    }
}

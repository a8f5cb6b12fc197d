//! `[providers.NAME]` as it is typed.

use crate::config::units::Time;
use policies::Location;
use serde::Deserialize;
use std::path::PathBuf;

/// `[providers.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSpec {
    /// `openai`, `azure`, `anthropic`, `gemini`, `bedrock`, `encoder`, `mistralrs`, `simulated`.
    pub kind: String,
    /// Where it is.
    pub base_url: Option<String>,
    /// The environment variable that holds its key.
    pub api_key_env: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Addresses that its name may stand for (`10.0.0.0/8`); left out: public ones when hosted, private ones when local.
    pub addresses: Option<Vec<String>>,
    /// Where it runs.
    pub location: Option<Location>,
    /// An authority that its certificate may be signed by besides the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// A certificate with its private key that is shown to it, in PEM.
    pub client_cert_file: Option<PathBuf>,
    /// Azure's older form.
    pub api_version: Option<String>,
    /// What its models can do: `tools`, `vision`, `audio`, `files`, `json_schema`, `logprobs`, `n`. Default: everything.
    pub capabilities: Option<Vec<String>>,
    /// Time between two looks (GET only) at a server in the house; `0s`: none. Default: 5 s where `location` is `local`.
    pub health_check: Option<Time>,
    /// It bills an answer to its end also when it is cancelled.
    pub bills_after_cancel: Option<bool>,
    /// mistralrs: a name of the catalogue, `hf:ORG/REPO`, or a path.
    pub source: Option<String>,
    /// mistralrs: a chat template in place of the model's own.
    pub chat_template: Option<PathBuf>,
    /// mistralrs: LoRA adapters, merged at load.
    pub lora: Vec<LoraEntry>,
    /// mistralrs: `auto`, `off`, `q8_0`, `q4_0`, `q4k`, `q6k`, `dense`.
    pub quantize: Option<String>,
    /// mistralrs, encoder: requests that may wait.
    pub queue: Option<usize>,
    /// mistralrs: sequences at once.
    pub concurrency: Option<usize>,
    /// mistralrs: a context window below the model's own, in tokens.
    pub context_window: Option<u64>,
    /// mistralrs: output tokens when the client names no ceiling.
    pub default_max_tokens: Option<u64>,
}

/// An entry of `lora`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraEntry {
    /// A PEFT folder.
    pub path: PathBuf,
    /// A factor on top of the adapter's own.
    #[serde(default)]
    pub scale: Option<f32>,
}

//! Providers as they are meant.

use super::clocks::Timeouts;
use super::defaults;
use super::environment::{Environment, misnamed};
use super::load::nearest;
use super::spec::ProviderSpec;
use adapters::hosted::{Dialect, HostedSpec, Looks, Reach};
use ipnet::IpNet;
use policies::{Capabilities, Location, ProviderName};
use reqwest::Url;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const KINDS: &[&str] = &["openai", "azure", "anthropic", "gemini", "bedrock", "encoder", "mistralrs", "simulated"];
const CAPABILITIES: &[&str] = &["tools", "vision", "audio", "files", "json_schema", "logprobs", "n"];

/// Time between two looks at a server in the house.
const HEALTH_CHECK: Duration = Duration::from_secs(5);

/// A provider, validated.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// Its name.
    pub name: ProviderName,
    /// Where it runs.
    pub location: Location,
    /// Its region.
    pub region: Option<String>,
    /// What it is.
    pub kind: ProviderKind,
    /// As it was typed: unchanged after a reload, its backend lives on.
    pub spec: ProviderSpec,
}

/// What a provider is.
#[derive(Clone, Debug)]
pub enum ProviderKind {
    /// An HTTP API.
    Hosted(Box<HostedSpec>),
    /// The engine in process.
    Engine(Box<EngineSettings>),
    /// The sentence encoder in the binary.
    Encoder {
        /// Requests that may wait.
        queue: usize,
        /// How long one waits.
        queue_wait: Duration,
    },
    /// The built-in simulated provider.
    Simulated,
}

/// The engine's settings, without its types: the gateway also builds without it.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineSettings {
    /// A name of the catalogue, `hf:ORG/REPO`, or a path.
    pub source: String,
    /// The folder that a relative path begins at: the configuration file's.
    pub folder: PathBuf,
    /// A chat template in place of the model's own.
    pub chat_template: Option<PathBuf>,
    /// LoRA adapters with their factor.
    pub lora: Vec<(PathBuf, f32)>,
    /// The conversion's word.
    pub quantize: String,
    /// Where models and conversions are kept.
    pub cache_dir: PathBuf,
    /// Requests that may wait.
    pub queue: usize,
    /// How long one waits.
    pub queue_wait: Duration,
    /// Sequences at once.
    pub concurrency: usize,
    /// A context window below the model's own.
    pub context_window: Option<u64>,
    /// Output tokens when the client names no ceiling.
    pub default_max_tokens: Option<u64>,
    /// Whether a model that is not on disk may be fetched.
    pub fetch: bool,
}

/// What validation finds besides the provider.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl ProviderSettings {
    /// Whether it is in process.
    pub fn is_engine(&self) -> bool {
        matches!(self.kind, ProviderKind::Engine(_))
    }

    /// Nothing may be fetched: models come from disk.
    pub(super) fn stay_offline(&mut self) {
        if let ProviderKind::Engine(engine) = &mut self.kind {
            engine.fetch = false;
        }
    }

    /// No larger answer of vectors is read.
    pub(super) fn read_vectors_up_to(&mut self, most: u64) {
        if let ProviderKind::Hosted(spec) = &mut self.kind {
            spec.most_vectors = most;
        }
    }

    pub(super) fn validate(
        name: &str,
        spec: &ProviderSpec,
        folder: &Path,
        timeouts: &Timeouts,
        environment: &Environment,
        found: &mut Findings,
    ) -> Option<Self> {
        let at = |key: &str| format!("`providers.{name}.{key}`");
        let kind = match spec.kind.as_str() {
            "openai" | "azure" | "anthropic" | "gemini" | "bedrock" => {
                ProviderKind::Hosted(Box::new(hosted((name, spec), folder, timeouts, environment, found)?))
            }
            "mistralrs" => ProviderKind::Engine(Box::new(engine(name, spec, folder, timeouts, environment, found)?)),
            "encoder" => {
                let queue = spec.queue.unwrap_or(defaults::ENCODER_QUEUE);
                ProviderKind::Encoder { queue, queue_wait: timeouts.queue }
            }
            "simulated" => ProviderKind::Simulated,
            "" => {
                found.problems.push(format!("{} is missing: one of {}", at("kind"), KINDS.join(", ")));
                return None;
            }
            word => {
                let near = nearest(word, KINDS).map(|known| format!(", did you mean `{known}`?")).unwrap_or_default();
                found.problems.push(format!("{}: unknown kind `{word}`{near}", at("kind")));
                return None;
            }
        };
        let engine_only = [
            (spec.source.is_some(), "source"),
            (spec.chat_template.is_some(), "chat_template"),
            (!spec.lora.is_empty(), "lora"),
            (spec.quantize.is_some(), "quantize"),
            (spec.queue.is_some(), "queue"),
            (spec.concurrency.is_some(), "concurrency"),
            (spec.context_window.is_some(), "context_window"),
            (spec.default_max_tokens.is_some(), "default_max_tokens"),
        ];
        let hosted_only = [
            (spec.base_url.is_some(), "base_url"),
            (spec.api_key_env.is_some(), "api_key_env"),
            (spec.capabilities.is_some(), "capabilities"),
            (spec.addresses.is_some(), "addresses"),
            (spec.ca_file.is_some(), "ca_file"),
            (spec.client_cert_file.is_some(), "client_cert_file"),
            (spec.bills_after_cancel.is_some(), "bills_after_cancel"),
            (spec.health_check.is_some(), "health_check"),
        ];
        let encoders = |key: &str| key == "queue";
        let misplaced: Vec<(bool, &str)> = match kind {
            ProviderKind::Hosted(_) => engine_only.into(),
            ProviderKind::Engine(_) => hosted_only.into(),
            ProviderKind::Encoder { .. } => {
                hosted_only.into_iter().chain(engine_only).filter(|(_, key)| !encoders(key)).collect()
            }
            ProviderKind::Simulated => vec![],
        };
        for (_, key) in misplaced.iter().filter(|(set, _)| *set) {
            found.problems.push(format!("{} means nothing for kind `{}`", at(key), spec.kind));
        }
        let location = match (&kind, spec.location) {
            (ProviderKind::Engine(_) | ProviderKind::Encoder { .. }, Some(Location::Hosted)) => {
                found.problems.push(format!("{}: what runs in this process is always local", at("location")));
                Location::Local
            }
            (ProviderKind::Engine(_) | ProviderKind::Encoder { .. }, _) => Location::Local,
            (ProviderKind::Hosted(_) | ProviderKind::Simulated, location) => location.unwrap_or(Location::Hosted),
        };
        // The simulated provider never leaves the process, but stands in for one that does.
        let region = match kind {
            ProviderKind::Simulated => spec.region.clone().or_else(|| Some("simulated".into())),
            ProviderKind::Hosted(_) | ProviderKind::Engine(_) | ProviderKind::Encoder { .. } => spec.region.clone(),
        };
        if location == Location::Hosted && region.is_none() {
            let text = format!("{} is not set: nothing may go to a hosted provider of unknown region", at("region"));
            found.warnings.push(text);
        }
        Some(Self { name: name.into(), location, region, kind, spec: spec.clone() })
    }
}

fn hosted(
    (name, spec): (&str, &ProviderSpec),
    folder: &Path,
    timeouts: &Timeouts,
    environment: &Environment,
    found: &mut Findings,
) -> Option<HostedSpec> {
    let at = |key: &str| format!("`providers.{name}.{key}`");
    let (dialect, usual) = match spec.kind.as_str() {
        "azure" => (Dialect::Azure { api_version: spec.api_version.clone() }, None),
        "anthropic" => (Dialect::Anthropic, Some("https://api.anthropic.com/v1")),
        // The endpoint by which Gemini speaks OpenAI's API.
        "gemini" => (Dialect::OpenAi, Some("https://generativelanguage.googleapis.com/v1beta/openai")),
        // The same of Bedrock's; it has one in each region.
        "bedrock" => (Dialect::OpenAi, None),
        _ => (Dialect::OpenAi, Some("https://api.openai.com/v1")),
    };
    let Some(text) = spec.base_url.as_deref().or(usual) else {
        let like = if spec.kind == "bedrock" { ": https://bedrock-mantle.REGION.api.aws/v1" } else { "" };
        found.problems.push(format!("{} is missing{like}", at("base_url")));
        return None;
    };
    let url = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        Ok(_) | Err(_) => {
            found.problems.push(format!("{}: not an http or https address", at("base_url")));
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        let text = format!("{}: credentials, queries and fragments do not belong in an address", at("base_url"));
        found.problems.push(text);
        return None;
    }
    let reach = reach(name, spec, &url, found);
    let mut read = |key: &str, path: &Option<PathBuf>| {
        let path = path.as_ref().map(|path| folder.join(path))?;
        let read = std::fs::read(&path);
        read.inspect_err(|error| found.problems.push(format!("{}: {}: {error}", at(key), path.display()))).ok()
    };
    let (authorities, identity) = (read("ca_file", &spec.ca_file), read("client_cert_file", &spec.client_cert_file));
    let authorities = authorities.and_then(|pem| match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Some(certificates),
        Ok(_) | Err(_) => {
            found.problems.push(format!("{}: holds no certificate in PEM", at("ca_file")));
            None
        }
    });
    let identity = identity.and_then(|pem| {
        let identity = reqwest::Identity::from_pem(&pem);
        let what = "needs a certificate and its private key in PEM";
        identity.inspect_err(|_| found.problems.push(format!("{}: {what}", at("client_cert_file")))).ok()
    });
    if let Some(why) = spec.api_key_env.as_deref().and_then(misnamed) {
        found.problems.push(format!("{}: {why}", at("api_key_env")));
    }
    let api_key = spec.api_key_env.as_deref().and_then(|variable| environment.secret(variable));
    let missing_key = spec.api_key_env.clone().filter(|_| api_key.is_none());
    if let Some(variable) = &missing_key {
        found.warnings.push(format!("provider `{name}`: `{variable}` is not set, so the provider is not eligible"));
    }
    let unknown: &[&str] = match dialect {
        Dialect::OpenAi | Dialect::Azure { .. } => &[],
        // What Messages has no word for.
        Dialect::Anthropic => &["audio", "logprobs", "n"],
    };
    let capabilities = match &spec.capabilities {
        None => {
            let can = |word: &str| !unknown.contains(&word);
            Capabilities {
                audio: can("audio"),
                logprobs: can("logprobs"),
                several_choices: can("n"),
                ..Capabilities::ALL
            }
        }
        Some(words) => {
            for word in words.iter().filter(|word| !CAPABILITIES.contains(&word.as_str())) {
                let near = nearest(word, CAPABILITIES).map(|known| format!(", did you mean `{known}`?"));
                found.problems.push(format!("{}: unknown `{word}`{}", at("capabilities"), near.unwrap_or_default()));
            }
            for word in words.iter().filter(|word| unknown.contains(&word.as_str())) {
                let why = "Anthropic's Messages API cannot do that, so no request for it is sent there";
                found.problems.push(format!(
                    "{}: `{word}` means nothing for kind `{}`: {why}",
                    at("capabilities"),
                    spec.kind
                ));
            }
            let can = |word: &str| words.iter().any(|known| known == word);
            Capabilities {
                tools: can("tools"),
                vision: can("vision"),
                audio: can("audio"),
                files: can("files"),
                json_schema: can("json_schema"),
                logprobs: can("logprobs"),
                several_choices: can("n"),
            }
        }
    };
    Some(HostedSpec {
        name: name.into(),
        reach,
        authorities: authorities.unwrap_or_default(),
        identity,
        dialect,
        base_url: url,
        api_key,
        missing_key,
        capabilities,
        most_vectors: defaults::VECTOR_BYTES,
        timeouts: timeouts.attempt,
        house: looks(name, spec, found),
    })
}

/// How a server in the house is looked at; a provider elsewhere is not.
fn looks(name: &str, spec: &ProviderSpec, found: &mut Findings) -> Option<Looks> {
    let local = spec.location == Some(Location::Local);
    if spec.health_check.is_some() && !local {
        found.problems.push(format!(
            "`providers.{name}.health_check`: only a server in the house (`location = \"local\"`) is looked at"
        ));
    }
    let every = spec.health_check.map_or(HEALTH_CHECK, |time| time.0);
    local.then(|| Looks { every: Some(every).filter(|every| !every.is_zero()) })
}

/// Which addresses the provider's name may stand for.
fn reach(name: &str, spec: &ProviderSpec, url: &Url, found: &mut Findings) -> Reach {
    let Some(texts) = &spec.addresses else {
        return Reach::usual(spec.location.unwrap_or(Location::Hosted));
    };
    let at = format!("`providers.{name}.addresses`");
    let net = |text: &String| text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let nets = texts.iter().filter_map(|text| {
        net(text)
            .inspect_err(|_| found.problems.push(format!("{at}: `{text}` is neither an address nor a network")))
            .ok()
    });
    let reach = Reach::Listed(nets.collect());
    let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
    if let Some(address) = literal.filter(|address| !reach.permits("", *address)) {
        found.problems.push(format!("{at}: {address} of `base_url` is not among them"));
    }
    reach
}

fn engine(
    name: &str,
    spec: &ProviderSpec,
    folder: &Path,
    timeouts: &Timeouts,
    environment: &Environment,
    found: &mut Findings,
) -> Option<EngineSettings> {
    let Some(source) = &spec.source else {
        found.problems.push(format!(
            "`providers.{name}.source` is missing: a name of the catalogue, hf:ORG/REPO, or a path to a .gguf file or a model folder"
        ));
        return None;
    };
    let beside = |path: &PathBuf| if path.is_absolute() { path.clone() } else { folder.join(path) };
    Some(EngineSettings {
        source: source.clone(),
        folder: folder.to_owned(),
        chat_template: spec.chat_template.as_ref().map(beside),
        lora: spec.lora.iter().map(|entry| (beside(&entry.path), entry.scale.unwrap_or(1.0))).collect(),
        quantize: spec.quantize.clone().unwrap_or_else(|| "auto".into()),
        cache_dir: environment.cache_dir(),
        queue: spec.queue.unwrap_or(defaults::LOCAL_QUEUE),
        queue_wait: timeouts.queue,
        concurrency: spec.concurrency.unwrap_or(defaults::LOCAL_CONCURRENCY),
        context_window: spec.context_window,
        default_max_tokens: spec.default_max_tokens,
        fetch: true,
    })
}

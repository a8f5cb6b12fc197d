//! Whom a LiteLLM model name means, and where that is.
//!
//! Prefixes, default addresses and the variables of keys are LiteLLM's (its documentation, "Providers"). Whoever speaks
//! OpenAI's protocol becomes `kind = "openai"` with an address.

use reqwest::Url;
use std::net::IpAddr;

/// What a prefix means.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The prefix, without its slash.
    pub prefix: &'static str,
    /// Our kind of provider.
    pub kind: &'static str,
    /// Where it is when the file does not say.
    pub base_url: Option<&'static str>,
    /// The variable that LiteLLM reads the key from when the file has none; empty: none is needed.
    pub key: &'static str,
}

const fn known(prefix: &'static str, kind: &'static str, base_url: Option<&'static str>, key: &'static str) -> Known {
    Known { prefix, kind, base_url, key }
}

const KNOWN: [Known; 29] = [
    known("openai", "openai", None, "OPENAI_API_KEY"),
    known("text-completion-openai", "openai", None, "OPENAI_API_KEY"),
    known("azure", "azure", None, "AZURE_API_KEY"),
    known("anthropic", "anthropic", None, "ANTHROPIC_API_KEY"),
    known("gemini", "gemini", None, "GEMINI_API_KEY"),
    known("groq", "openai", Some("https://api.groq.com/openai/v1"), "GROQ_API_KEY"),
    known("together_ai", "openai", Some("https://api.together.xyz/v1"), "TOGETHERAI_API_KEY"),
    known("fireworks_ai", "openai", Some("https://api.fireworks.ai/inference/v1"), "FIREWORKS_AI_API_KEY"),
    known("deepseek", "openai", Some("https://api.deepseek.com/v1"), "DEEPSEEK_API_KEY"),
    known("mistral", "openai", Some("https://api.mistral.ai/v1"), "MISTRAL_API_KEY"),
    known("openrouter", "openai", Some("https://openrouter.ai/api/v1"), "OPENROUTER_API_KEY"),
    known("xai", "openai", Some("https://api.x.ai/v1"), "XAI_API_KEY"),
    known("cerebras", "openai", Some("https://api.cerebras.ai/v1"), "CEREBRAS_API_KEY"),
    known("perplexity", "openai", Some("https://api.perplexity.ai"), "PERPLEXITYAI_API_KEY"),
    known("nvidia_nim", "openai", Some("https://integrate.api.nvidia.com/v1"), "NVIDIA_NIM_API_KEY"),
    known("deepinfra", "openai", Some("https://api.deepinfra.com/v1/openai"), "DEEPINFRA_API_KEY"),
    known("ollama", "openai", Some("http://localhost:11434/v1"), ""),
    known("ollama_chat", "openai", Some("http://localhost:11434/v1"), ""),
    known("lm_studio", "openai", Some("http://localhost:1234/v1"), ""),
    known("llamafile", "openai", Some("http://localhost:8080/v1"), ""),
    known("hosted_vllm", "openai", Some(UNSAID), ""),
    known("vllm", "openai", Some(UNSAID), ""),
    known("xinference", "openai", Some("http://localhost:9997/v1"), ""),
    known("docker_model_runner", "openai", Some("http://localhost:12434/engines/v1"), ""),
    known("custom_openai", "openai", Some(UNSAID), ""),
    known("openai_like", "openai", Some(UNSAID), ""),
    known("litellm_proxy", "openai", Some(UNSAID), ""),
    known("github", "openai", Some("https://models.inference.ai.azure.com"), "GITHUB_API_KEY"),
    known("sambanova", "openai", Some("https://api.sambanova.ai/v1"), "SAMBANOVA_API_KEY"),
];

/// Stands for an address that only the file could have said.
pub const UNSAID: &str = "";

/// Beginnings of names that mean OpenAI without a prefix.
const OPENAI: [&str; 9] = ["gpt-", "chatgpt-", "o1", "o3", "o4", "ft:gpt-", "davinci", "babbage", "text-davinci"];

/// What LiteLLM's `model` means: whom, and the provider's own name of the model.
pub fn meaning<'a>(model: &'a str, custom: Option<&'a str>, has_address: bool) -> Result<(Known, &'a str), String> {
    let by_prefix = |prefix: &str| KNOWN.iter().find(|known| known.prefix == prefix).copied();
    let unknown = |prefix: &str| format!("the provider `{prefix}` is not one that the gateway can call");
    if let Some(prefix) = custom {
        let known = by_prefix(prefix).ok_or_else(|| unknown(prefix))?;
        return Ok((known, model.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model)));
    }
    let openai = || by_prefix("openai").ok_or_else(|| unknown("openai"));
    match model.split_once('/') {
        Some((prefix, rest)) => match by_prefix(prefix) {
            Some(known) => Ok((known, rest)),
            // An address makes anything a server that speaks OpenAI's protocol, as long as nobody else is meant.
            None => Err(unknown(prefix)),
        },
        None if has_address || OPENAI.iter().any(|start| model.starts_with(start)) => Ok((openai()?, model)),
        None if model.starts_with("claude") => Ok((by_prefix("anthropic").ok_or_else(|| unknown("anthropic"))?, model)),
        None => Err("it does not say whose model it is".into()),
    }
}

/// Whether a host is this machine or one of the house: nothing that is sent there leaves.
pub fn in_the_house(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified(),
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified()
        }
        Err(_) => {
            // A name without a dot is another container or machine of the same network.
            let ends = [".localhost", ".local", ".internal", ".lan", ".home.arpa", ".svc", ".cluster.local"];
            !bare.contains('.') || ends.iter().any(|end| bare.ends_with(end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_say_whose_model_it_is() {
        for (model, custom, address, prefix, upstream) in [
            ("openai/gpt-4o", None, false, "openai", "gpt-4o"),
            ("gpt-4o", None, false, "openai", "gpt-4o"),
            ("my-model", None, true, "openai", "my-model"),
            ("azure/my-deployment", None, true, "azure", "my-deployment"),
            ("openrouter/anthropic/claude-3", None, false, "openrouter", "anthropic/claude-3"),
            ("claude-3-5-sonnet", None, false, "anthropic", "claude-3-5-sonnet"),
            ("org/model", Some("hosted_vllm"), true, "hosted_vllm", "org/model"),
            ("openai/m", Some("openai"), true, "openai", "m"),
        ] {
            let (known, rest) = meaning(model, custom, address).unwrap();
            assert_eq!((known.prefix, rest), (prefix, upstream), "{model}");
        }
        for (model, custom) in [("bedrock/x", None), ("mystery", None), ("m", Some("sagemaker"))] {
            assert!(meaning(model, custom, false).is_err(), "{model}");
        }
    }

    #[test]
    fn the_house_ends_where_the_internet_begins() {
        let inside = |text: &str| in_the_house(&Url::parse(text).unwrap());
        for text in [
            "http://localhost:11434",
            "http://127.0.0.1:8000/v1",
            "http://10.1.2.3/v1",
            "http://192.168.0.9/v1",
            "http://[::1]:8000",
            "http://vllm:8000/v1",
            "http://llm.models.svc.cluster.local/v1",
            "http://host.docker.internal:11434",
        ] {
            assert!(inside(text), "{text}");
        }
        for text in ["https://api.openai.com/v1", "http://8.8.8.8/v1", "https://local.example.com", "http://172.32.0.1"]
        {
            assert!(!inside(text), "{text}");
        }
    }
}

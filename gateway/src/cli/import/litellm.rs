//! LiteLLM's `model_list`: deployments become providers and models.

use super::draft::{Draft, Model, Provider, free};
use super::place::{Known, UNSAID, in_the_house, meaning};
use super::settings;
use policies::{ModelKind, Pricing, Rate};
use reqwest::Url;
use router::prices::PriceTable;
use serde_json::{Map, Value};

/// Names that let the gateway choose.
pub const TAKEN: [&str; 2] = ["auto", "sluice/auto"];

/// Modes that the gateway serves.
const MODES: [&str; 4] = ["chat", "completion", "responses", "embedding"];

/// What people write where a server of their own wants no key.
const NO_KEY: [&str; 14] = [
    "",
    "none",
    "null",
    "empty",
    "dummy",
    "anything",
    "not-needed",
    "n/a",
    "na",
    "fake",
    "fake-key",
    "ollama",
    "lm-studio",
    "sk-1234",
];

/// Prices: LiteLLM's key and ours.
const PRICES: [(&str, &str); 5] = [
    ("input_cost_per_token", "input_usd_per_mtok"),
    ("output_cost_per_token", "output_usd_per_mtok"),
    ("cache_read_input_token_cost", "cached_input_usd_per_mtok"),
    ("cache_creation_input_token_cost", "cache_write_usd_per_mtok"),
    ("output_cost_per_reasoning_token", "reasoning_usd_per_mtok"),
];
const LIMITS: [(&str, &str); 2] = [("max_input_tokens", "context_window"), ("max_output_tokens", "max_output_tokens")];

/// Keys of `litellm_params` that are read; the others are reported.
const PARAMS: [&str; 7] =
    ["model", "api_base", "base_url", "api_key", "api_version", "region_name", "custom_llm_provider"];
/// Keys of `model_info` that are read or say nothing that could be carried over.
const INFO: [&str; 4] = ["mode", "base_model", "id", "description"];

/// Keys that stood in the file, with the variables that take their place.
#[derive(Default)]
struct Keys(Vec<(String, Option<String>)>);

/// Reads the whole configuration.
pub fn read(root: &Map<String, Value>, table: &PriceTable) -> Draft {
    let mut draft = Draft::default();
    let mut keys = Keys::default();
    let list = root.get("model_list").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = list.iter().filter_map(|entry| entry.get("model_name")?.as_str()).collect();
    for (at, entry) in list.iter().enumerate() {
        let name = entry.get("model_name").and_then(Value::as_str).unwrap_or_default();
        let place = format!("model_list[{at}]");
        let shown = if name.is_empty() { place } else { format!("{place} ({name})") };
        if let Err(why) = deployment(&shown, name, entry, &names, table, &mut keys, &mut draft) {
            draft.leave(shown, why);
        }
    }
    settings::read(root, &mut draft);
    draft
}

fn deployment(
    at: &str,
    name: &str,
    entry: &Value,
    names: &[&str],
    table: &PriceTable,
    keys: &mut Keys,
    draft: &mut Draft,
) -> Result<(), String> {
    let nothing = Map::new();
    let part = |key: &str| entry.get(key).and_then(Value::as_object).unwrap_or(&nothing);
    let (params, info) = (part("litellm_params"), part("model_info"));
    let text = |key: &str| params.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    if name.is_empty() {
        return Err("it has no `model_name`".into());
    }
    let full = text("model").ok_or("it has no `litellm_params.model`")?;
    if name.contains('*') || full.contains('*') {
        return Err("models are named one by one, there are no wildcards".into());
    }
    if let Some(mode) = info.get("mode").and_then(Value::as_str).filter(|mode| !MODES.contains(mode)) {
        return Err(format!("its mode is `{mode}`, and only chats, completions and embeddings are served"));
    }
    let typed = text("api_base").or_else(|| text("base_url"));
    let (known, upstream) = meaning(full, text("custom_llm_provider"), typed.is_some())?;
    let (base_url, local) = address(&known, typed, draft)?;
    let region = match (text("region_name"), local) {
        (_, true) => None,
        (Some(region), false) => Some(region.to_owned()),
        (None, false) if known.prefix == "openai" && is_openai(base_url.as_deref()) => Some("us".into()),
        (None, false) => None,
    };
    let api_key_env = keys.variable(at, &known, local, params.get("api_key"), draft);
    let versioned = known.kind == "azure";
    let api_version = text("api_version").filter(|_| versioned).map(str::to_owned);
    let provider = Provider { kind: known.kind, base_url, api_key_env, api_version, region, local };
    let unplaced = !local && provider.region.is_none();
    let provider = draft.provider(known.prefix, provider);
    if unplaced {
        let note =
            format!("set `region` of provider `{provider}`: nothing may go to a hosted provider of unknown region");
        if !draft.notes.contains(&note) {
            draft.notes.push(note);
        }
    }

    let taken = |wish: &str| draft.models.iter().any(|model| model.name == wish);
    let fresh = if TAKEN.contains(&name) {
        let fresh = free("auto-model", |wish| taken(wish) || names.contains(&wish));
        draft.notes.push(format!("{at} is called `{fresh}` here: `{name}` lets Sluice choose"));
        fresh
    } else if taken(name) {
        free(name, |wish| taken(wish) || names.contains(&wish))
    } else {
        name.to_owned()
    };
    let priced = Priced { at, params, info, local, full, upstream, prefix: known.prefix };
    let (prices, priced_as) = prices(&priced, table, draft);
    let limit = |(theirs, ours): (&'static str, &'static str)| {
        let limit = info.get(theirs).or_else(|| params.get(theirs))?.as_u64().filter(|limit| *limit > 0)?;
        Some((ours, limit))
    };
    let limits = LIMITS.into_iter().filter_map(limit).collect();
    let embedding = match info.get("mode").and_then(Value::as_str) {
        Some(mode) => mode == "embedding",
        // As the gateway itself takes it.
        None => table.find(upstream).is_some_and(|listed| listed.kind == ModelKind::Embedding),
    };
    if !embedding {
        if local { &mut draft.local } else { &mut draft.hosted }.push(fresh.clone());
    }
    draft.models.push(Model {
        name: fresh,
        provider,
        upstream: upstream.to_owned(),
        embedding,
        prices,
        priced_as,
        limits,
    });
    leave_others(at, entry, draft);
    if text("api_version").is_some() && !versioned {
        draft.leave(format!("{at}.litellm_params.api_version"), "it belongs to Azure");
    }
    Ok(())
}

/// Everything of a deployment that was not read.
fn leave_others(at: &str, entry: &Value, draft: &mut Draft) {
    let read =
        |key: &str| PRICES.iter().any(|(theirs, _)| *theirs == key) || LIMITS.iter().any(|(theirs, _)| *theirs == key);
    for (section, value) in entry.as_object().into_iter().flatten() {
        let known: &[&str] = match section.as_str() {
            "model_name" => continue,
            "litellm_params" => &PARAMS,
            "model_info" => &INFO,
            _ => {
                draft.leave(format!("{at}.{section}"), settings::why(section));
                continue;
            }
        };
        for (key, value) in value.as_object().into_iter().flatten() {
            if !known.contains(&key.as_str()) && !read(key) && !value.is_null() {
                draft.leave(format!("{at}.{section}.{key}"), settings::why(key));
            }
        }
    }
}

fn is_openai(base_url: Option<&str>) -> bool {
    base_url.is_none_or(|text| Url::parse(text).is_ok_and(|url| url.host_str() == Some("api.openai.com")))
}

/// The address as the gateway wants it, and whether it is in the house.
fn address(known: &Known, typed: Option<&str>, draft: &mut Draft) -> Result<(Option<String>, bool), String> {
    if let Some(variable) = typed.and_then(|text| text.strip_prefix("os.environ/")) {
        // An address is written in the file; this one can be dialled by nobody (RFC 2606) until somebody does.
        let label: String =
            variable.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let placeholder = format!("https://{}.invalid", label.trim_matches('-'));
        draft.notes.push(format!("write the address that `{variable}` holds in place of {placeholder}"));
        return Ok((Some(placeholder), false));
    }
    let text = match (typed, known.base_url, known.kind) {
        (Some(text), ..) => text,
        (None, Some(UNSAID), _) => return Err("it has no `api_base`".into()),
        (None, None, "azure") => return Err("it has no `api_base`".into()),
        (None, Some(text), _) => text,
        (None, None, _) => return Ok((None, false)),
    };
    let mut url = Url::parse(text).map_err(|_| "its `api_base` is not an address")?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("its `api_base` is not an http or https address".into());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("its `api_base` has credentials or a query in it".into());
    }
    if known.prefix.starts_with("ollama") && !url.path().trim_end_matches('/').ends_with("/v1") {
        // Ollama's own API is at the root, the one that speaks OpenAI's protocol at /v1.
        let path = format!("{}/v1", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    let local = known.kind == "openai" && in_the_house(&url);
    Ok((Some(url.to_string().trim_end_matches('/').to_owned()), local))
}

/// What the price of a deployment is looked for in.
struct Priced<'a> {
    at: &'a str,
    params: &'a Map<String, Value>,
    info: &'a Map<String, Value>,
    local: bool,
    /// LiteLLM's name of it.
    full: &'a str,
    /// The provider's.
    upstream: &'a str,
    prefix: &'static str,
}

fn prices(wanted: &Priced<'_>, table: &PriceTable, draft: &mut Draft) -> (Vec<(&'static str, Rate)>, Option<String>) {
    let Priced { at, params, info, local, full, upstream, prefix } = *wanted;
    let mut prices = Vec::new();
    for (theirs, ours) in PRICES {
        let Some(value) = params.get(theirs).or_else(|| info.get(theirs)).filter(|value| !value.is_null()) else {
            continue;
        };
        match number(value).and_then(|text| Rate::per_token(&text).ok()) {
            Some(rate) => prices.push((ours, rate)),
            None => draft.leave(format!("{at}: {theirs}"), "it is not a price"),
        }
    }
    let has = |key: &str| prices.iter().any(|(ours, _)| *ours == key);
    match (has("input_usd_per_mtok"), has("output_usd_per_mtok")) {
        (true, true) => return (prices, None),
        (false, false) => {}
        (true, false) | (false, true) => {
            draft.leave(format!("{at}: prices"), "input and output prices go together, one of them is missing");
        }
    }
    if local {
        return (vec![], None);
    }
    // The gateway looks a price up by the provider's own name of the model; LiteLLM's names also say whose it is.
    let base = info.get("base_model").or_else(|| params.get("base_model")).and_then(Value::as_str);
    let with_prefix = |name: &str| format!("{prefix}/{name}");
    let known = [base.map(with_prefix), base.map(str::to_owned), Some(full.to_owned()), Some(with_prefix(upstream))];
    let price_of = |name: &str| match table.find(name).map(|listed| listed.pricing) {
        Some(Pricing::Priced(price, _)) => Some(price),
        Some(Pricing::Free | Pricing::Unpriced) | None => None,
    };
    let own = price_of(upstream);
    for name in known.into_iter().flatten() {
        let Some(price) = price_of(&name) else { continue };
        if own == Some(price) {
            return (vec![], None);
        }
        let rates = [Some(price.input), Some(price.output), price.cached_input, price.cache_write, price.reasoning];
        let prices = PRICES.iter().zip(rates).filter_map(|((_, ours), rate)| Some((*ours, rate?))).collect();
        return (prices, Some(name));
    }
    if own.is_some() {
        return (vec![], None);
    }
    draft.notes.push(format!("{at} has no price: it is `unpriced` until `[models.NAME]` has one"));
    (vec![], None)
}

/// The digits of a number, also of one that is text: the shortest that mean the same number.
pub fn number(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

// === impl Keys ===

impl Keys {
    /// The variable that holds a deployment's key; what stood in the file is never written.
    fn variable(
        &mut self,
        at: &str,
        known: &Known,
        local: bool,
        typed: Option<&Value>,
        draft: &mut Draft,
    ) -> Option<String> {
        let typed = typed.and_then(Value::as_str).map(str::trim);
        if let Some(variable) = typed.and_then(|text| text.strip_prefix("os.environ/")) {
            if !self.0.iter().any(|(name, _)| name == variable) {
                self.0.push((variable.to_owned(), None));
            }
            return Some(variable.to_owned());
        }
        match typed {
            None if known.key.is_empty() || local => None,
            None => Some(known.key.to_owned()),
            Some(text) if local && NO_KEY.contains(&text.to_lowercase().as_str()) => None,
            Some(secret) => {
                if let Some((name, _)) = self.0.iter().find(|(_, inline)| inline.as_deref() == Some(secret)) {
                    return Some(name.clone());
                }
                let wish = if known.key.is_empty() {
                    format!("{}_API_KEY", known.prefix.to_uppercase().replace('-', "_"))
                } else {
                    known.key.to_owned()
                };
                let name = free(&wish, |name| self.0.iter().any(|(known, _)| known == name)).replace('-', "_");
                self.0.push((name.clone(), Some(secret.to_owned())));
                draft.notes.push(format!("put the key that stood in {at} into the environment variable {name}"));
                let text = format!("a key is not written into a file: set the environment variable {name}");
                draft.leave(format!("{at}.litellm_params.api_key"), text);
                Some(name)
            }
        }
    }
}

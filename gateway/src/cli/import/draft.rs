//! A configuration in the making, and the text it becomes.

use policies::Rate;
use serde_json::Value;
use std::fmt::Write;

/// What becomes `[providers.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provider {
    /// Its kind.
    pub kind: &'static str,
    /// Its address.
    pub base_url: Option<String>,
    /// The variable that holds its key.
    pub api_key_env: Option<String>,
    /// Azure's older form.
    pub api_version: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Whether it runs in the house.
    pub local: bool,
}

/// What becomes `[models.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its provider's name.
    pub provider: String,
    /// The provider's own name of it.
    pub upstream: String,
    /// It makes vectors, and is no target of `auto`.
    pub embedding: bool,
    /// Prices by our key.
    pub prices: Vec<(&'static str, Rate)>,
    /// Where the prices were read, when it was not the file itself.
    pub priced_as: Option<String>,
    /// Limits in tokens, by our key.
    pub limits: Vec<(&'static str, u64)>,
}

/// A setting that was not carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Where it stands, without its value.
    pub setting: String,
    /// Why.
    pub why: String,
}

/// Everything.
#[derive(Debug, Default)]
pub struct Draft {
    /// Providers by name, in the order of the file.
    pub providers: Vec<(String, Provider)>,
    /// Models in the order of the file.
    pub models: Vec<Model>,
    /// Names of models in the house.
    pub local: Vec<String>,
    /// Names of the others.
    pub hosted: Vec<String>,
    /// Seconds for an attempt.
    pub total: Option<String>,
    /// Requests at once.
    pub in_flight: Option<u64>,
    /// Whether a key is needed from the start.
    pub keys_required: bool,
    /// The organisation's budget: dollars and window.
    pub budget: Option<(String, &'static str)>,
    /// What is left to do.
    pub notes: Vec<String>,
    /// What was not carried over.
    pub left: Vec<Left>,
}

/// Text as a TOML string: JSON's escapes are TOML's, too (TOML 1.0, "String").
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

// === impl Draft ===

impl Draft {
    /// Notes that a setting was not carried over.
    pub fn leave(&mut self, setting: impl Into<String>, why: impl Into<String>) {
        self.left.push(Left { setting: setting.into(), why: why.into() });
    }

    /// The provider's name: an equal one is used again, another gets a name of its own.
    pub fn provider(&mut self, wish: &str, provider: Provider) -> String {
        if let Some((name, _)) = self.providers.iter().find(|(_, known)| *known == provider) {
            return name.clone();
        }
        let name = free(wish, |name| self.providers.iter().any(|(known, _)| known == name));
        self.providers.push((name.clone(), provider));
        name
    }

    /// The configuration as TOML.
    pub fn toml(&self, from: &str) -> String {
        let mut text = format!("# Made by `sluice import litellm` from {}.\n", from.replace(char::is_control, " "));
        for note in &self.notes {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# To do: {}", note.replace(char::is_control, " "));
        }
        for (name, provider) in &self.providers {
            let _ = write!(text, "\n[providers.{}]\nkind = {}\n", quoted(name), quoted(provider.kind));
            let cells = [
                ("base_url", &provider.base_url),
                ("api_key_env", &provider.api_key_env),
                ("api_version", &provider.api_version),
                ("region", &provider.region),
            ];
            for (key, value) in cells {
                if let Some(value) = value {
                    let _ = writeln!(text, "{key} = {}", quoted(value));
                }
            }
            let _ = writeln!(text, "location = \"{}\"", if provider.local { "local" } else { "hosted" });
        }
        for model in &self.models {
            let _ = write!(text, "\n[models.{}]\nprovider = {}\n", quoted(&model.name), quoted(&model.provider));
            let _ = writeln!(text, "upstream = {}", quoted(&model.upstream));
            if model.embedding {
                text.push_str("kind = \"embedding\"\n");
            }
            if let Some(name) = &model.priced_as {
                let _ = writeln!(text, "# As the price table has it for {}.", name.replace(char::is_control, " "));
            }
            for (key, rate) in &model.prices {
                // A rate is nano-dollars per million tokens, and so are these prices.
                let _ = writeln!(text, "{key} = \"{}\"", policies::NanoDollars(rate.0));
            }
            for (key, limit) in &model.limits {
                let _ = writeln!(text, "{key} = {limit}");
            }
        }
        let list = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let _ = write!(text, "\n[router]\nlocal = [{}]\nhosted = [{}]\n", list(&self.local), list(&self.hosted));
        if let Some(total) = &self.total {
            let _ = write!(text, "\n[timeouts]\ntotal = {}\n", quoted(total));
        }
        if let Some(requests) = self.in_flight {
            let _ = write!(text, "\n[limits]\nin_flight = {requests}\n");
        }
        if self.keys_required {
            text.push_str("\n[keys]\nrequired = true\n");
        }
        if let Some((limit, window)) = &self.budget {
            let _ =
                write!(text, "\n[[budgets]]\nscope = \"org\"\nlimit_usd = {}\nwindow = \"{window}\"\n", quoted(limit));
            text.push_str("on_exceeded = \"refuse\"\n");
        }
        text
    }
}

/// The first of `wish`, `wish-2`, `wish-3` ... that is free.
pub fn free(wish: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut name = wish.to_owned();
    let mut number = 2_u32;
    while taken(&name) {
        name = format!("{wish}-{number}");
        number += 1;
    }
    name
}

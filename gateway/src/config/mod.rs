//! Configuration in two layers: what was typed ([`spec`]) and what it means ([`Settings`]).
//!
//! **Promise.** Defaults, then the file, then the environment. An unknown key is refused with its path and the
//! nearest known one; a setting whose part of the product is not built yet is refused by name, never ignored. A secret is
//! read from the environment by its name and is opaque from then on.
//!
//! **Failure behaviour.** Every problem that can be found is reported at once; nothing is opened before all is well.

mod arms;
pub mod budgets;
mod cascade;
mod clocks;
pub mod defaults;
mod detectors;
#[cfg(test)]
mod documented;
mod environment;
mod experiments;
mod goals;
mod learning;
mod listeners;
mod load;
mod masking;
mod prices;
mod private_text;
mod providers;
mod residency;
mod savings;
mod sections;
mod settings;
mod shown;
mod sign_in;
pub mod spec;
mod stores;
pub mod units;

pub use environment::Environment;
pub use listeners::ServerSettings;
pub use load::{ConfigError, load, nearest, parse};
pub use prices::PriceSettings;
#[cfg(feature = "local")]
pub use providers::EngineSettings;
pub use providers::{ProviderKind, ProviderSettings};
pub use settings::{ModelSettings, RouterSettings, Settings, TelemetrySettings};
pub use shown::Shown;
pub use sign_in::SignIn;

//! Leave to hand data on.
//!
//! **Promise.** Whoever dials, copies or keeps content asks for a [`Permit`], and only [`Classes`] makes one: code that
//! forgot to ask does not compile. A permit names its destination, so that one for a provider opens no other.
//!
//! ```compile_fail,E0451
//! // Nobody writes a permit by hand.
//! let permit = policies::Permit { class: todo!(), to: todo!() };
//! ```
//!
//! **Failure behaviour.** A class or a destination that nobody knows is refused; the error is the rule, never the data.
//!
//! **What it does not do.** It does not know addresses: where the connection is opened they are checked again
//! (`adapters::hosted`).

use crate::candidate::Location;
use crate::ids::ProviderName;
use crate::residency::{Classes, DataClass};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where content may end up besides the providers that answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sink {
    /// The classifier in process reads the prompt.
    Classifier,
    /// A model reads prompt or answer to give a verdict.
    Judge,
    /// The other side answers, too, and both texts are kept.
    Shadow,
    /// The answer is kept for a repeat with the same `idempotency-key`.
    Cache,
    /// Prompts, embeddings and comments are kept for learning.
    Log,
    /// A span of each attempt leaves by OTLP: no content, but session and request id.
    Traces,
    /// The web page and the admin API tell the request's story.
    Page,
}

/// Leave to hand data of one class to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Permit {
    class: DataClass,
    to: Destination,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Destination {
    Provider(ProviderName),
    Sink(Sink),
}

// === impl Sink ===

impl Sink {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Classifier, Self::Judge, Self::Shadow, Self::Cache, Self::Log, Self::Traces, Self::Page];

    /// Where data goes that may not leave the house, unless the configuration says otherwise: nothing keeps a copy of its
    /// content but what the answer needs, and nothing of it is exported.
    pub const INSIDE: [Self; 4] = [Self::Classifier, Self::Judge, Self::Cache, Self::Page];

    /// The word in the configuration and on record.
    pub fn word(self) -> &'static str {
        match self {
            Self::Classifier => "classifier",
            Self::Judge => "judge",
            Self::Shadow => "shadow",
            Self::Cache => "cache",
            Self::Log => "log",
            Self::Traces => "traces",
            Self::Page => "page",
        }
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

// === impl Permit ===

impl Permit {
    /// The class of the data.
    pub fn class(&self) -> DataClass {
        self.class
    }

    /// Whether it is for that provider.
    pub fn opens(&self, provider: &ProviderName) -> bool {
        matches!(&self.to, Destination::Provider(name) if name == provider)
    }

    /// Whether it is for that sink.
    pub fn is_for(&self, sink: Sink) -> bool {
        self.to == Destination::Sink(sink)
    }
}

// === impl Classes ===

impl Classes {
    /// Leave to send data of `class` to that provider.
    ///
    /// # Errors
    /// The rule that forbids it, without the data.
    pub fn permit(
        &self,
        class: DataClass,
        provider: &ProviderName,
        location: Location,
        region: Option<&str>,
    ) -> Result<Permit, String> {
        self.permits(class, provider, location, region)?;
        Ok(Permit { class, to: Destination::Provider(provider.clone()) })
    }

    /// Leave to hand content of `class` to a sink.
    ///
    /// # Errors
    /// The rule that forbids it, without the data.
    pub fn permit_sink(&self, class: DataClass, sink: Sink) -> Result<Permit, String> {
        let Some(rule) = self.rule(class) else {
            return Err("the data class is unknown".into());
        };
        if !rule.sinks.contains(&sink) {
            return Err(format!("data class `{}` may not go to `{sink}`", rule.name));
        }
        Ok(Permit { class, to: Destination::Sink(sink) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_opens_one_destination_and_no_other() {
        let classes = Classes::standard();
        let class = classes.named("internal").unwrap();
        let permit = classes.permit(class, &"eu".into(), Location::Hosted, Some("eu")).unwrap();
        assert!(permit.opens(&"eu".into()) && !permit.opens(&"us".into()));
        assert!(Sink::ALL.iter().all(|sink| !permit.is_for(*sink)));
    }

    #[test]
    fn restricted_data_reaches_no_sink_that_keeps_or_exports_it() {
        let classes = Classes::standard();
        for sink in Sink::ALL {
            let permitted = |class: &str| classes.permit_sink(classes.named(class).unwrap(), sink).is_ok();
            assert!(permitted("confidential"));
            assert_eq!(permitted("restricted"), Sink::INSIDE.contains(&sink), "{sink}");
        }
    }
}

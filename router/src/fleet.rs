//! The configured models and who answers for them.

use crate::execute::Drains;
use crate::health::Breaker;
use crate::idle::Idle;
use adapters::Backend;
use policies::{
    Candidate, Capabilities, LocalCost, Location, ModelKind, ModelName, NanoDollars, Pricing, ProviderName, Readiness,
};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A configured provider.
#[derive(Clone)]
pub struct Provider {
    /// Its name.
    pub name: ProviderName,
    /// Where it runs.
    pub location: Location,
    /// Its region.
    pub region: Option<String>,
    /// Who answers.
    pub backend: Arc<dyn Backend>,
    /// Its breaker.
    pub breaker: Arc<Breaker>,
    /// Where its answers are read on when their clients leave, because it bills them all the same; `None`: it does not.
    pub drains: Option<Drains>,
    /// Who of the clients is with it; work that nobody waits for gives way to them.
    pub idle: Idle,
}

/// A configured model.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name.
    pub name: ModelName,
    /// Its provider.
    pub provider: Provider,
    /// The provider's own name of it.
    pub upstream: String,
    /// What it makes of a request.
    pub kind: ModelKind,
    /// What its tokens cost.
    pub pricing: Pricing,
    /// Its context window, when the configuration or the price table says so.
    pub context_window: Option<u64>,
    /// The most it writes.
    pub max_output: Option<u64>,
    /// What it can do, when the configuration says so; otherwise the backend's word.
    pub capabilities: Option<Capabilities>,
}

/// All models.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    models: HashMap<ModelName, Model>,
    order: Vec<ModelName>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("name", &self.name).field("location", &self.location).finish_non_exhaustive()
    }
}

// === impl Model ===

impl Model {
    /// The model as it stands now, for a prompt of about so many tokens.
    pub fn candidate(&self, prompt_tokens: u64) -> Candidate {
        let backend = &self.provider.backend;
        let described = backend.describe();
        let readiness = match (backend.readiness(), self.provider.breaker.open_for()) {
            (Readiness::Ready, Some(left)) => {
                Readiness::Down { why: "its provider failed repeatedly".into(), retry_after: Some(left) }
            }
            (readiness, _) => readiness,
        };
        Candidate {
            model: self.name.clone(),
            provider: self.provider.name.clone(),
            location: self.provider.location,
            region: self.provider.region.clone(),
            kind: self.kind,
            capabilities: self.capabilities.unwrap_or(described.capabilities),
            context_window: smaller(self.context_window, described.context_window),
            max_output: self.max_output,
            tells: described.capabilities.logprobs,
            pricing: self.pricing.clone(),
            readiness,
            first_token_in: backend.first_token_in(prompt_tokens),
            expected_output: None,
        }
    }
}

/// What the machine of a model in the house cost for so much busy time; `None` where it did not work, or nobody knows.
///
/// A price that the operator gave to its tokens is what it costs: the machine is in it, and not counted twice.
pub(crate) fn local_cost(
    (location, pricing): (Location, &Pricing),
    machine: Option<LocalCost>,
    busy: Duration,
) -> Option<NanoDollars> {
    let free = location == Location::Local && *pricing == Pricing::Free;
    machine.filter(|_| free)?.of(busy).ok()
}

fn smaller(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    [one, other].into_iter().flatten().min()
}

// === impl Fleet ===

impl Fleet {
    /// Builds the fleet; the order is the one that `/v1/models` lists.
    pub fn new(models: Vec<Model>) -> Self {
        let order = models.iter().map(|model| model.name.clone()).collect();
        Self { models: models.into_iter().map(|model| (model.name.clone(), model)).collect(), order }
    }

    /// The model of that name.
    pub fn get(&self, name: &ModelName) -> Option<&Model> {
        self.models.get(name)
    }

    /// All models, in configured order.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.order.iter().filter_map(|name| self.models.get(name))
    }
}

//! The settings of the router.

use super::cascade::CascadeConfig;
use crate::affinity::Affinity;
use crate::again::{Again, AgainSpec};
use crate::classify::{Classifier, Lane, Second, Spender};
use crate::experiment::Experiment;
use crate::holdout::Holdout;
use crate::masking::Masking;
use crate::taint::Taint;
use policies::detect::Detectors;
use policies::{ClassMatcher, Classes, LocalCost, ModelName, NanoDollars, Rule, Unsure};
use std::sync::Arc;
use std::time::Duration;

/// The settings of the router.
#[derive(Debug)]
pub struct RouterConfig {
    /// `[router] local`.
    pub local: Arc<[ModelName]>,
    /// `[router] hosted`.
    pub hosted: Arc<[ModelName]>,
    /// The residency table.
    pub classes: Arc<Classes>,
    /// The class of a request that names none.
    pub default_class: String,
    /// Whose requests, or which, have at least a class.
    pub matchers: Arc<[ClassMatcher]>,
    /// What is looked for in content; `None`: nobody looks.
    pub detectors: Option<Arc<Detectors>>,
    /// What is masked for hosted models; `None`: nothing.
    pub masking: Option<Masking>,
    /// Rules in order.
    pub rules: Arc<[Rule]>,
    /// The most a request may cost.
    pub max_per_request: Option<NanoDollars>,
    /// The longest predicted wait for a first token.
    pub max_first_token: Option<Duration>,
    /// Output tokens assumed, and imposed where dollars are limited, when the client gives no ceiling.
    pub assumed_output: u64,
    /// What to do when nobody judged.
    pub unsure: Unsure,
    /// Who judges, where no lane does.
    pub classifier: Classifier,
    /// Judges of tenants and of parts of the traffic; the first that takes a request judges it.
    pub lanes: Vec<Lane>,
    /// Who is asked, too, where the need is too close to call.
    pub second: Option<Arc<Second>>,
    /// Steers the shares to a rate of money, where one is the goal.
    pub spender: Option<Arc<Spender>>,
    /// The second look at local answers.
    pub cascade: CascadeConfig,
    /// The sides that conversations are on; outlives a reload.
    pub affinity: Arc<Affinity>,
    /// Remembers which data class a session has.
    pub taint: Arc<Taint>,
    /// How far the need (0 to 1) has to move before a conversation changes sides; 0: conversations are not remembered.
    pub switch_cost: f32,
    /// With which probability (0 to 1) a judged request takes the other side.
    pub exploration: f32,
    /// The text that was judged is kept on the ledger, to learn from.
    pub keep_prompts: bool,
    /// Whether, and how, a client who asks again is heard; what was asked outlives a reload.
    pub again: Option<(AgainSpec, Arc<Again>)>,
    /// Experiments.
    pub experiments: Vec<Arc<Experiment>>,
    /// The hosted model that local answers are compared with; default: the first of `hosted` that has a price.
    pub baseline: Option<ModelName>,
    /// What the machine in the house costs, where the operator says so.
    pub local_cost: Option<LocalCost>,
    /// Which sessions always go hosted, to measure what routing saves.
    pub holdout: Option<Holdout>,
}

// === impl RouterConfig ===

impl RouterConfig {
    /// What a request's class is at least.
    pub(super) fn least_class(&self) -> (&str, &[ClassMatcher]) {
        (&self.default_class, &self.matchers)
    }
}

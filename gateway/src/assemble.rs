//! From settings to a router: the one place where the parts are put together.
//!
//! What outlives a reload is kept here by name: a provider that was typed the same keeps its backend (and so its
//! connections, its breaker and its loaded model).

use crate::config::{ProviderKind, ProviderSettings, RouterSettings, Settings};
use crate::connects;
use crate::roll_out::{Judges, Registry};
use adapters::hosted::Hosted;
use adapters::simulated::Simulated;
use adapters::{Backend, BackendError, Call, Description, Events, Kind};
use anyhow::Context;
use async_trait::async_trait;
use parking_lot::Mutex;
use policies::{Capabilities, ModelName, NanoDollars, Readiness};
use router::compare::Side;
use router::ledger::{KeyBudget, Ledger, LedgerError, NewKey};
use router::{
    Affinity, Again, ArmGoal, Breaker, BudgetSpec, Budgets, Cascade, Classifier, Control, Drains, Embedder, Experiment,
    ExperimentSpec, Fleet, Holdout, Idle, Lane, LimitSpecs, Live, Masking, Model, MoneyRate, Names, Observer, Provider,
    Risk, RiskGoal, Router, RouterConfig, Scope, Second, Share, Spender, Taint,
};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Backends by provider name, with what they were made from.
#[derive(Default)]
pub struct Parts {
    backends: Mutex<HashMap<String, (ProviderSettings, Provider)>>,
    /// By judge and lane, with the goal they were made for.
    controls: Mutex<HashMap<String, (Goal, Arc<Control>)>>,
    spender: Mutex<Option<Arc<Spender>>>,
    cascade: Arc<Cascade>,
    affinity: Arc<Affinity>,
    taint: Arc<Taint>,
    again: Arc<Again>,
    /// What experiments remember, by name.
    experiments: Mutex<HashMap<String, Arc<Live>>>,
    names: Arc<Names>,
    /// Heads that were rolled out.
    heads: Registry,
    /// Who is taken as ready and never started.
    assumed: Taken,
}

/// Who is taken as ready and never started.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Taken {
    /// Nobody.
    #[default]
    Nobody,
    /// Engines: for `explain`, which loads no model.
    Engines,
    /// Engines and providers behind HTTP: for `replay`, which has nothing to do with how they are now.
    All,
}

/// What the threshold serves.
#[derive(Clone, Copy, PartialEq)]
enum Goal {
    Share(f32),
    Risk(RiskGoal),
    Cut(f32),
}

/// What a router is put together from, besides settings.
#[derive(Clone)]
pub struct Ground {
    /// Backends that live on.
    pub parts: Arc<Parts>,
    /// The ledger.
    pub ledger: Ledger,
    /// The accounts.
    pub budgets: Arc<Budgets>,
    /// Telemetry.
    pub observer: Arc<dyn Observer>,
    /// Background work.
    pub tasks: TaskTracker,
}

// === impl Parts ===

impl Parts {
    /// Parts whose engines are taken as ready and are never started.
    pub fn assumed_ready() -> Self {
        Self { assumed: Taken::Engines, ..Self::default() }
    }

    /// Parts that take everybody as ready and look at nobody.
    pub fn all_assumed_ready() -> Self {
        Self { assumed: Taken::All, ..Self::default() }
    }

    fn provider(&self, settings: &ProviderSettings, ledger: &Ledger) -> anyhow::Result<Provider> {
        let mut backends = self.backends.lock();
        if let Some((made_from, provider)) = backends.get(settings.name.as_str())
            && made_from.spec == settings.spec
        {
            let provider =
                Provider { location: settings.location, region: settings.region.clone(), ..provider.clone() };
            return Ok(provider);
        }
        let assumed = |capabilities| Ok(Arc::new(Assumed(capabilities)) as Arc<dyn Backend>);
        let backend = match (&settings.kind, self.assumed) {
            (ProviderKind::Engine(_), Taken::Engines | Taken::All) => assumed(Capabilities::TEXT),
            (ProviderKind::Hosted(spec), Taken::All) => assumed(spec.capabilities),
            (_, _) => {
                connects::of_provider(ledger, settings);
                backend(settings)
            }
        };
        let backend = backend.with_context(|| format!("provider `{}`", settings.name))?;
        let provider = fresh(settings, backend);
        backends.insert(settings.name.to_string(), (settings.clone(), provider.clone()));
        Ok(provider)
    }

    /// Lets somebody else answer in a provider's place.
    #[cfg(test)]
    pub fn stand_in(&self, settings: &ProviderSettings, backend: Arc<dyn Backend>) {
        let provider = fresh(settings, backend);
        self.backends.lock().insert(settings.name.to_string(), (settings.clone(), provider));
    }

    /// The memory of what sets the threshold lives on until its goal or its judge changes; says whether it is fresh.
    fn control(&self, goal: Goal, lane: &str, classifier: &Classifier) -> (Arc<Control>, bool) {
        let judge = format!("{lane}:{classifier:?}");
        let mut controls = self.controls.lock();
        if let Some((known, control)) = controls.get(&judge)
            && *known == goal
        {
            return (control.clone(), false);
        }
        let cold = classifier.cold_quantiles();
        let fresh = Arc::new(match goal {
            Goal::Share(hosted) => Control::from(Share::new(hosted, cold)),
            Goal::Risk(risk) => Control::from(Risk::new(risk, cold)),
            Goal::Cut(cut) => Control::Cut(cut),
        });
        controls.insert(judge, (goal, fresh.clone()));
        (fresh, true)
    }

    /// What was spent lately is known across reloads, as long as the rate stays.
    /// Says whether it is fresh.
    fn spender(&self, rate: Option<MoneyRate>) -> (Option<Arc<Spender>>, bool) {
        let mut spender = self.spender.lock();
        if let Some(same) = spender.as_ref().filter(|spender| Some(spender.rate()) == rate) {
            return (Some(same.clone()), false);
        }
        *spender = rate.map(|rate| Arc::new(Spender::new(rate, Instant::now())));
        (spender.clone(), spender.is_some())
    }

    /// What an experiment remembers lives on across reloads; a fresh one takes it from the ledger.
    fn experiment(&self, ledger: &Ledger, spec: &ExperimentSpec, key: [u8; 32]) -> Result<Experiment, LedgerError> {
        let mut known = self.experiments.lock();
        let live = match known.get(&spec.name) {
            Some(live) => live.clone(),
            None => {
                let fresh = Arc::new(Live::recall(ledger, spec)?);
                known.insert(spec.name.clone(), fresh.clone());
                fresh
            }
        };
        Ok(Experiment::new(spec.clone(), live, key))
    }

    /// Every backend that was made.
    pub fn backends(&self) -> Vec<Arc<dyn Backend>> {
        self.backends.lock().values().map(|(_, provider)| provider.backend.clone()).collect()
    }
}

fn fresh(settings: &ProviderSettings, backend: Arc<dyn Backend>) -> Provider {
    Provider {
        name: settings.name.clone(),
        location: settings.location,
        region: settings.region.clone(),
        backend,
        breaker: Arc::new(Breaker::default()),
        drains: settings.spec.bills_after_cancel.unwrap_or(false).then(Drains::default),
        idle: Idle::default(),
    }
}

impl Ground {
    /// Puts a router together.
    pub fn router(&self, settings: &Settings) -> anyhow::Result<Router> {
        let mut models = Vec::new();
        for model in &settings.models {
            let Some(provider) = settings.providers.iter().find(|provider| provider.name == model.provider) else {
                continue;
            };
            models.push(Model {
                name: model.name.clone(),
                provider: self.parts.provider(provider, &self.ledger)?,
                upstream: model.upstream.clone(),
                kind: model.kind,
                pricing: model.pricing.clone(),
                context_window: model.context_window,
                max_output: model.max_output,
                capabilities: None,
            });
        }
        let fleet = Fleet::new(models);
        let RouterSettings {
            local,
            hosted,
            classifier,
            second_opinion,
            slm_model,
            head: _,
            lanes: _,
            head_files: _,
            probe_deadline,
            slm_deadline,
            hosted_share,
            hosted_rate,
            switch_cost,
            risk,
            exploration,
            unsure,
            max_per_request,
            max_first_token,
            assumed_output,
            rules,
            baseline,
            cascade,
        } = settings.router.clone();
        let asked = slm_model.and_then(|name: ModelName| fleet.get(&name));
        let second = asked.filter(|_| second_opinion);
        let second = second.map(|model| Arc::new(Second::new(model.provider.backend.clone(), slm_deadline)));
        let Judges { usual, lanes } = self.parts.heads.judges(&self.ledger, settings)?;
        let classifier = match (classifier.as_str(), asked) {
            ("slm", Some(model)) => Classifier::Slm { backend: model.provider.backend.clone(), deadline: slm_deadline },
            ("probe", _) => Classifier::probe(usual, probe_deadline),
            _ => Classifier::Heuristic,
        };
        let goal = risk.map_or(Goal::Share(hosted_share), Goal::Risk);
        let (control, mut fresh) = self.parts.control(goal, "", &classifier);
        let lanes = lanes.into_iter().map(|(rule, head)| {
            let classifier = Classifier::probe(Some(head), probe_deadline);
            let (share, new) = self.parts.control(goal, rule.lane(), &classifier);
            fresh |= new;
            Lane { rule, classifier, share }
        });
        let lanes = lanes.collect();
        let (spender, unspent) = self.parts.spender(hosted_rate);
        let steering = (control, self.parts.cascade.clone());
        let held_out = (settings.holdout > 0.0).then_some(settings.holdout);
        let holdout = held_out.map(|share| self.ledger.salt().map(|salt| Holdout::new(share, salt)));
        let mut experiments = Vec::new();
        for spec in &settings.experiments {
            let key = self.ledger.salt().context("cannot read the key of the experiments from the ledger")?;
            let experiment = self.parts.experiment(&self.ledger, spec, key);
            let experiment = experiment.context("cannot read the experiments from the ledger")?;
            let controls = [Side::Left, Side::Right].map(|arm| {
                let goal = match spec.kind.arm(arm)?.goal? {
                    ArmGoal::Share(hosted) => Goal::Share(hosted),
                    ArmGoal::Cut(cut) => Goal::Cut(cut),
                };
                let lane = format!("experiment {} {arm:?}", spec.name);
                let (control, new) = self.parts.control(goal, &lane, &classifier);
                fresh |= new;
                Some(control)
            });
            experiments.push(Arc::new(experiment.steered(controls)));
        }
        let config = RouterConfig {
            local,
            hosted,
            classes: settings.classes.clone(),
            default_class: settings.default_class.clone(),
            matchers: settings.matchers.clone(),
            detectors: settings.detectors.clone(),
            masking: settings.masking.clone().map(|rules| Masking { rules, names: self.parts.names.clone() }),
            rules,
            max_per_request,
            max_first_token: Some(max_first_token),
            assumed_output,
            unsure,
            classifier,
            lanes,
            second,
            spender,
            cascade,
            affinity: self.parts.affinity.clone(),
            taint: self.parts.taint.clone(),
            switch_cost,
            exploration,
            keep_prompts: settings.keep_prompts,
            again: settings.implicit.map(|spec| (spec, self.parts.again.clone())),
            experiments,
            baseline,
            local_cost: settings.local_cost,
            holdout: holdout.transpose().context("cannot read the key of the holdout from the ledger")?,
        };
        let router = Router::new(
            config,
            fleet,
            steering,
            self.budgets.clone(),
            self.ledger.clone(),
            self.observer.clone(),
            self.tasks.clone(),
        );
        if fresh {
            router.recall().context("cannot read the labels on the ledger")?;
        }
        // A replay follows the scores that it replays, from where every workload starts.
        if (fresh || unspent) && self.parts.assumed != Taken::All {
            router.resume().context("cannot read the judgements on the ledger")?;
        }
        Ok(router)
    }
}

/// Stands for somebody who was not started, and can do this.
struct Assumed(Capabilities);

#[async_trait]
impl Backend for Assumed {
    async fn call(&self, _call: Call) -> Result<Events, BackendError> {
        Err(BackendError::before_send(Kind::NotReady("it was not started".into())))
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    fn describe(&self) -> Description {
        Description { capabilities: self.0, context_window: None, memory_bytes: None, source: "not started".into() }
    }
}

/// The configured budgets, and those of the keys.
pub fn budget_specs(settings: &Settings, keys: &[NewKeyWithId]) -> Vec<BudgetSpec> {
    let of_keys = keys.iter().flat_map(|(id, key)| {
        key.budgets.iter().map(|KeyBudget { measure, limit, window }| BudgetSpec {
            measure: *measure,
            ..BudgetSpec::dollars(Scope::Key(id.clone()), NanoDollars(*limit), *window)
        })
    });
    settings.budgets.iter().cloned().chain(of_keys).collect()
}

/// The configured rate limits, and those of the keys.
pub fn limit_specs(settings: &Settings, keys: &[NewKeyWithId]) -> LimitSpecs {
    LimitSpecs {
        every_key: settings.rates.clone(),
        keys: keys.iter().map(|(id, key)| (id.as_str().into(), key.rates.clone())).collect(),
        teams: settings.team_rates.clone(),
    }
}

/// A key's id and what it is.
pub type NewKeyWithId = (String, NewKey);

fn backend(settings: &ProviderSettings) -> anyhow::Result<Arc<dyn Backend>> {
    match &settings.kind {
        ProviderKind::Hosted(spec) => Ok(Arc::new(Hosted::new(spec.as_ref().clone())?)),
        ProviderKind::Simulated => Ok(Arc::new(Simulated)),
        ProviderKind::Encoder { queue, queue_wait } => {
            Ok(Arc::new(Embedder::new(settings.name.clone(), *queue, *queue_wait)?))
        }
        #[cfg(feature = "local")]
        ProviderKind::Engine(engine) => Ok(adapters::local::LocalEngine::spawn(crate::engine::spec(settings, engine)?)),
        #[cfg(not(feature = "local"))]
        ProviderKind::Engine(_) => {
            anyhow::bail!("this program was built without the engine in process (feature `local`)")
        }
    }
}

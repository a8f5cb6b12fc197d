//! From a wire request to a metered answer.
//!
//! The life of a request: [`Ask`] (what came) → facts → [`classify`] (signals) → `policies::decide` (a plan) →
//! [`execute`] (reserve, dial, stream) → one outcome on the [`ledger`]. Each arrow is a value handed over.
//!
//! **What it does not know.** No HTTP server, no status codes, no configuration files.

mod affinity;
mod again;
mod ask;
pub mod audit;
mod budgets;
mod classify;
pub mod compare;
mod embedder;
mod execute;
mod experiment;
mod fleet;
mod health;
mod holdout;
mod idle;
pub mod learn;
pub mod ledger;
mod limits;
mod look;
mod masking;
mod observe;
pub mod prices;
pub mod private_text;
pub mod replay;
mod replicas;
pub mod rollout;
pub mod savings;
mod shadow;
mod taint;
mod tool_loop;

pub use affinity::Affinity;
pub use again::{Again, AgainSpec, REASK, REGENERATE};
pub use ask::{Ask, endpoint_word};
pub use budgets::{BudgetSpec, BudgetState, Budgets, Calendar, Keeper, Scope, Window};
pub use classify::{
    Classifier, Control, Counted, Evidence, Label, Lane, LaneRule, MoneyRate, Risk, RiskGoal, RiskState, Second, Share,
    Spender, WINDOW as RISK_WINDOW, encoder, heuristic_need, probe,
};
pub use embedder::Embedder;
pub use execute::{
    Answer, AnswerBody, AnswerStream, Cascade, CascadeConfig, Denied, DeniedBy, Drains, Explanation, Head, Piece,
    Router, RouterConfig, Side, SideAnswer, SideFailure, Spent,
};
pub use experiment::{
    AT_ONCE, ArmGoal, ArmSpec, Assessment, Experiment, ExperimentSpec, Live, PairJudge, SystemPrompt, Trial, assess,
    split,
};
pub use fleet::{Fleet, Model, Provider};
pub use health::{Breaker, BreakerState};
pub use holdout::Holdout;
pub use idle::Idle;
pub use limits::{Charge, LimitSpecs, Limits, OverLimit, Standing, TokensWanted};
pub use look::Looked;
pub use masking::{Masking, Names};
pub use observe::{Observer, Silent, Trace};
pub use replicas::{MOST as MOST_SHARED, Shared, SharedError, SharedSpec};
pub use taint::Taint;

/// Shared with the black-box tests by its text: nothing of the product may depend on it.
// The same lines as integration tests and benchmarks have, which know this crate by its name.
#[cfg(test)]
extern crate self as router;
#[cfg(test)]
#[path = "../tests/lines/mod.rs"]
mod lines;
#[cfg(test)]
#[path = "../../tests/src/stores.rs"]
#[expect(dead_code, reason = "the black-box tests use the rest")]
mod stores;

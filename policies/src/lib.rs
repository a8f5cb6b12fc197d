//! The vocabulary of Sluice and its pure rules.
//!
//! **Promise.** Everything here is a value or a pure function over values: the same facts, signals and world give the
//! same decision, on every machine and at every time. `now`, health and prices arrive as arguments.
//!
//! **Why.** Safety (residency, budgets, allow-lists) must be provable by tables and properties, without a clock, a
//! network or a database in the room.
//!
//! **What it does not know.** No tokio, no HTTP, no clock, no environment, no database, no model names.
//!
//! The way of a request through it: [`Facts`] and [`World`] give an [`Admission`] (constraints strike candidates out),
//! an admission and [`Signals`] give a [`RoutingDecision`] with a [`Plan`] (preferences order the rest), or a
//! [`Refusal`] that names who refused what.

mod budget;
mod candidate;
mod constraint;
mod decide;
pub mod detect;
mod exploration;
mod facts;
mod ids;
mod limit;
mod local_cost;
pub mod mask;
mod matcher;
mod money;
mod permit;
mod plan;
mod residency;
mod rule;
mod secret;
mod signals;
mod steering;
mod usage;

pub use budget::{Account, Amount, BudgetView, HoldError, Measure, OnExceeded, counts};
pub use candidate::{Candidate, Capabilities, Location, ModelKind, Readiness, Side};
pub use constraint::{Constraint, Strike, strikes};
pub use decide::{Admission, Considered, Reason, Refusal, RoutingDecision, World, admit, decide};
pub use exploration::Exploration;
pub use facts::{Choice, Classed, ClassedBy, Endpoint, Facts, Needs, Principal, RouteWish, TokenEstimate};
pub use ids::{KeyId, ModelName, ProviderName, RequestId, SessionId};
pub use limit::{Bucket, Metered, Period, RateLimit, Short};
pub use local_cost::{LocalCost, LocalCostError};
pub use matcher::ClassMatcher;
pub use money::{MoneyError, NanoDollars, Price, PriceSource, Pricing, Rate};
pub use permit::{Permit, Sink};
pub use plan::Plan;
pub use residency::{ClassRule, Classes, DataClass, ResidencyError};
pub use rule::Rule;
pub use secret::{Redacted, Secret};
pub use signals::{JudgedBy, Signals, Unsure};
pub use steering::{Kept, Steering};
pub use usage::{Counted, TokenCount, Usage};

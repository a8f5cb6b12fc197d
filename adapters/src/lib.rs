//! The outside world of Sluice, one trait wide.
//!
//! Everything that answers implements [`Backend`]: hosted providers over HTTP ([`hosted`]), the engine in process
//! (`local`, feature `local`), the built-in [`simulated`] provider and, for tests of what lies to the right, a `scripted`
//! one. Wire types live in [`wire`].
//!
//! **What it does not know.** Budgets, keys, tenants, routing, ledgers.

mod backend;
mod dial;
mod error;
pub mod hosted;
#[cfg(feature = "local")]
pub mod local;
#[cfg(feature = "scripted")]
pub mod scripted;
pub mod simulated;
pub mod tokens;
pub mod wire;

pub use backend::{Backend, Call, Description, Event, Events, Load, Question};
pub use dial::dial;
pub use error::{BackendError, Clock, Kind, Phase};

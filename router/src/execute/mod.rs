//! Walking the plan: reserve, dial, wait for the first event, stream.
//!
//! **Promise.** Every attempt ends in exactly one outcome: end, error, truncation, the client's leaving and a dropped
//! future all close the same guard ([`attempt::Attempt`]), and the ledger has its line before the client has the last
//! byte. Another target is tried only before the first event reached the client, each at most once, and only those that
//! every constraint admitted.
//!
//! **What it does not know.** HTTP: status codes are a matter of the gateway.

mod agree;
mod anew;
mod answer;
mod attempt;
mod cascade;
mod classed;
mod consider;
mod copies;
mod deny;
mod drain;
mod growth;
mod hedge;
mod learning;
mod prepare;
mod reserve;
mod resume;
mod settings;
mod side;
mod story;
mod tally;
mod walk;
mod words;

pub(crate) use agree::words;
pub use anew::Spent;
pub use answer::{Answer, AnswerBody, AnswerStream, Denied, DeniedBy, Head, Piece};
pub use cascade::{Cascade, CascadeConfig};
pub(crate) use copies::Later;
pub use drain::Drains;
pub use settings::RouterConfig;
pub use side::{Side, SideAnswer, SideFailure};
pub use story::Explanation;
pub use walk::Router;

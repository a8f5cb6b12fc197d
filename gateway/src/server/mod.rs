//! Two listeners: data for clients, admin for operators.
//!
//! **Promise.** Every data request passes the same steps in the same order ([`data`]): a place in flight, an id, identity,
//! the route, the capped body. Whatever goes wrong leaves through one [`fault`] mapping, in the shape of the endpoint that
//! was called. A place in flight is held until the last byte of the answer's body.

mod admin;
mod app;
pub mod auth;
mod data;
mod events;
mod evidence;
mod experiments;
mod fault;
mod feedback;
mod headers;
mod id;
pub mod idempotency;
mod limits;
mod listen;
mod openapi;
mod page;
#[cfg(test)]
mod panics;
mod playground;
mod routes;
mod series;
mod sign_in;
mod stream;
pub mod tls;
mod unrouted;

pub use app::App;
pub use limits::REFUSING;
pub use listen::{Certificates, Connections, Places, bind, serve};

/// The sentence that a client would get.
pub fn denied_text(by: &router::DeniedBy) -> String {
    fault::Fault::denied(by).text().to_owned()
}

/// A body of an answer, whole or streamed.
pub type Answered = http::Response<axum::body::Body>;

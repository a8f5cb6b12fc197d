//! Who is told what happened: telemetry, on the other side of one trait.

use crate::classify::RiskState;
use crate::ledger::{AttemptClose, RequestRecord};
use policies::{Permit, Signals};
use std::time::Duration;

/// How a request's span hangs together with others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace<'a> {
    /// W3C trace context of the client.
    pub parent: Option<&'a str>,
    /// Leave to export a span of it; `None`: its class forbids that.
    pub permit: Option<&'a Permit>,
}

/// Told of every end; must not block.
pub trait Observer: Send + Sync + 'static {
    /// An attempt has ended.
    fn attempt(&self, _closed: &AttemptClose, _took: Duration) {}
    /// A request has ended, refused ones included.
    fn request(&self, _record: &RequestRecord, _took: Duration, _trace: Trace<'_>) {}
    /// A request was judged; whether the strong side goes first, where it was not an abstention.
    fn judged(&self, _signals: &Signals, _hosted: Option<bool>) {}
    /// The risk target stands elsewhere, or was looked at.
    fn risk(&self, _state: &RiskState) {}
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}

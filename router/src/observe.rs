//! Who is told what happened: telemetry, on the other side of one trait.

use crate::classify::RiskState;
use crate::ledger::{AttemptClose, RequestRecord};
use policies::Signals;
use std::time::Duration;

/// Told of every end; must not block.
pub trait Observer: Send + Sync + 'static {
    /// An attempt has ended.
    fn attempt(&self, _closed: &AttemptClose, _took: Duration) {}
    /// A request has ended, refused ones included.
    fn request(&self, _record: &RequestRecord, _took: Duration) {}
    /// A request was judged.
    fn judged(&self, _signals: &Signals) {}
    /// The risk target stands elsewhere, or was looked at.
    fn risk(&self, _state: &RiskState) {}
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}

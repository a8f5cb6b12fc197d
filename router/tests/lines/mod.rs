//! Lines of a ledger, for tests and benchmarks: an attempt as the product opens and closes it, at prices of its own.

use policies::{Counted, NanoDollars, Price, Rate, Usage};
use router::ledger::{AttemptClose, AttemptOpen, Outcome, Payer};

/// The most that an attempt may cost, in nano-dollars: what an open one is charged.
pub const CEILING: u64 = 90_000;

/// An attempt that is about to be dialled, `at_us` microseconds after 1970.
pub fn open(id: &str, at_us: i64) -> AttemptOpen {
    AttemptOpen {
        request: id.into(),
        attempt: 1,
        at_us,
        purpose: "answer",
        endpoint: policies::Endpoint::Chat,
        payer: Payer::default(),
        model: "big".into(),
        provider: "hosted".into(),
        route: "hosted",
        upstream: "gpt".into(),
        ceiling: Some(NanoDollars(CEILING)),
        ceiling_tokens: Some(100),
        price: Some(Price { input: Rate(1_000_000), output: Rate(2_000_000), ..Price::default() }),
        price_source: "config".into(),
        traceparent: None,
        class: "internal".into(),
        class_by: policies::ClassedBy::Default,
        region: Some("eu".into()),
        traces: None,
        masked: None,
        content: None,
    }
}

/// Its end, which cost so many nano-dollars.
pub fn closed(open: impl Into<std::sync::Arc<AttemptOpen>>, ended_us: i64, cost: u64) -> AttemptClose {
    AttemptClose {
        open: open.into(),
        ended_us,
        outcome: Outcome::Ok,
        counted: Counted::Exact(Usage::plain(10, 20)),
        cost: Some(NanoDollars(cost)),
        local_cost: None,
        baseline: Some(NanoDollars(cost)),
        first_event_us: Some(5),
        error: None,
    }
}

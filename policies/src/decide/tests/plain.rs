//! A request as plain as they come, for tests of the decision and for the benchmark that times it (`benches/micro.rs`).

use super::{Choice, Classed, Classes, Endpoint, Facts, Needs, Principal, RouteWish, TokenEstimate};

/// A short chat of the class `internal` by nobody in particular, for whoever may answer.
pub fn facts() -> Facts {
    Facts {
        endpoint: Endpoint::Chat,
        principal: Principal::default(),
        choice: Choice::Auto,
        wish: RouteWish::Auto,
        class: Classes::standard().named("internal").unwrap(),
        classed: Classed::default(),
        session: None,
        tags: vec![],
        prompt: TokenEstimate { floor: 10, likely: 20, ceiling: 80 },
        output_ceiling: Some(100),
        stream: false,
        needs: Needs { choices: 1, ..Needs::default() },
        messages: 1,
        tool_loop: false,
    }
}

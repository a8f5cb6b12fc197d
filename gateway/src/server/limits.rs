//! Rate limits at the door: a place to be refused in, and the headers that say where a caller stands.
//!
//! A caller who is over its limit takes no place in flight, so it cannot keep others out. Its body is read all the same,
//! in one of a few places of their own: only then is known how many tokens it needs, when it fits, and what goes on
//! record. When these are taken, too, it is refused unread and is not on record; the time it is told is then that of the
//! smallest request.

use super::app::App;
use super::fault::Fault;
use super::headers::put;
use http::HeaderMap;
use policies::{Metered, Principal};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// Requests over their limit that are read at once, to be refused.
pub const REFUSING: usize = 16;

/// Where a request is read.
pub(super) enum Place {
    /// In flight.
    InFlight(OwnedSemaphorePermit),
    /// Among those that are over their limit.
    Refusing(#[expect(dead_code, reason = "held while the body is read")] OwnedSemaphorePermit),
}

// === impl Place ===

impl Place {
    /// A place for a request of this caller.
    pub(super) fn of(app: &App, limited: Option<&Principal>) -> Result<Self, Fault> {
        match limited.and_then(|caller| app.limits.refuses_all(caller, Instant::now())) {
            Some(over) => match app.refusing.clone().try_acquire_owned() {
                Ok(place) => Ok(Self::Refusing(place)),
                Err(_) => Err(Fault::over_limit(over.to_string(), over.retry_after)),
            },
            None => in_flight(app).map(Self::InFlight),
        }
    }

    /// The place in flight of a request that was let in; its bucket may have filled while its body was read.
    pub(super) fn in_flight(self, app: &App) -> Result<OwnedSemaphorePermit, Fault> {
        match self {
            Self::InFlight(permit) => Ok(permit),
            Self::Refusing(_) => in_flight(app),
        }
    }
}

fn in_flight(app: &App) -> Result<OwnedSemaphorePermit, Fault> {
    app.in_flight.clone().try_acquire_owned().map_err(|_| Fault::overloaded())
}

/// Puts on a response where the caller stands, in the headers of OpenAI's API.
pub(super) fn put_standings(app: &App, caller: &Principal, out: &mut HeaderMap) {
    for standing in app.limits.standings(caller, Instant::now()) {
        let [limit, remaining, reset] = match standing.measure {
            Metered::Requests => {
                ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"]
            }
            Metered::Tokens => ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
        };
        put(out, limit, &standing.limit.to_string());
        put(out, remaining, &standing.remaining.to_string());
        put(out, reset, &reset_text(standing.reset));
    }
}

/// A time as OpenAI writes it: `1s`, `6m0s`, `120ms`; never less than it is.
fn reset_text(time: Duration) -> String {
    let milliseconds = time.as_nanos().div_ceil(1_000_000);
    let (seconds, rest) = (milliseconds / 1_000, milliseconds % 1_000);
    if seconds == 0 && rest > 0 {
        return format!("{rest}ms");
    }
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let mut text = String::new();
    if hours > 0 {
        text.push_str(&format!("{hours}h"));
    }
    if hours > 0 || minutes > 0 {
        text.push_str(&format!("{minutes}m"));
    }
    let fraction = if rest > 0 { format!(".{rest:03}") } else { String::new() };
    text.push_str(&format!("{}{}s", seconds % 60, fraction.trim_end_matches('0')));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_openai_does_and_rounded_up() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ms"),
            (120_000_000, "120ms"),
            (999_000_001, "1s"),
            (1_000_000_000, "1s"),
            (8_640_000_000, "8.64s"),
            (59_999_999_999, "1m0s"),
            (360_000_000_000, "6m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (86_399_500_000_000, "23h59m59.5s"),
        ] {
            assert_eq!(reset_text(Duration::from_nanos(nanoseconds)), text);
        }
    }
}

//! Calls of backends, masked ones included.
//!
//! **Promise.** A call that carries [`Values`](policies::mask::Values) was masked before it came here: its events are restored
//! on their way back, and what was *seen* in them ([`crate::wire::Seen`]) stays what the provider said, so that what is counted,
//! and kept, is masked. Any other call goes through as it is.

use crate::backend::{Backend, Call, Events};
use crate::error::BackendError;
use crate::wire::Restoring;
use futures::{StreamExt, stream};
use std::collections::VecDeque;

/// Starts an attempt: the way to a backend for everybody who dials.
///
/// # Errors
/// As [`Backend::call`].
///
/// # Cancel safety
/// Dropping the future or the stream cancels the attempt.
pub async fn dial(backend: &dyn Backend, call: Call) -> Result<Events, BackendError> {
    let Some(values) = call.masked.clone() else { return backend.call(call).await };
    let events = backend.call(call).await.map_err(|error| crate::wire::restored_error(&values, error))?;
    let state = (events, Restoring::new(values), VecDeque::new());
    let restored = stream::unfold(state, |(mut events, mut restoring, mut ready)| async move {
        loop {
            if let Some(next) = ready.pop_front() {
                return Some((next, (events, restoring, ready)));
            }
            match events.next().await? {
                Ok(event) => ready.extend(restoring.event(event).into_iter().map(Ok)),
                Err(error) => {
                    ready.extend(restoring.end().map(Ok));
                    ready.push_back(Err(error));
                }
            }
        }
    });
    Ok(restored.boxed())
}

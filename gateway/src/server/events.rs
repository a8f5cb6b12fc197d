//! `GET /api/events`: tells the page that requests have ended, as server-sent events.
//!
//! An event holds a request's id and nothing else: what the page may tell of it is what the rest of the API answers. The
//! channel is bounded and nobody waits for a reader; one that is too slow is told that it `missed` some and asks for the
//! list again. Every [`BEAT`] a comment says that the line is up.
//!
//! Whoever reads holds a connection of the admin listener, until it leaves or the gateway stops.

use super::Answered;
use super::admin::Shared;
use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::json;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// Time between signs of life.
const BEAT: Duration = Duration::from_secs(15);

/// The stream.
pub(super) async fn stream(State(app): State<Shared>) -> Answered {
    let ended = app.telemetry.ended();
    // A line that stayed up would keep the gateway from stopping.
    let cut = app.draining.clone();
    let hello = futures::stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b": here\n\n")) });
    let events = futures::stream::unfold((ended, cut), |(mut ended, cut)| async move {
        let next = tokio::select! {
            () = cut.cancelled() => return None,
            next = tokio::time::timeout(BEAT, ended.recv()) => next,
        };
        let text = match next {
            Ok(Ok(id)) => format!("event: request\ndata: {}\n\n", json!({"id": id})),
            Ok(Err(RecvError::Lagged(missed))) => format!("event: missed\ndata: {}\n\n", json!({"requests": missed})),
            Ok(Err(RecvError::Closed)) => return None,
            Err(_) => ": here\n\n".to_owned(),
        };
        Some((Ok(Bytes::from(text)), (ended, cut)))
    });
    let mut response = Response::new(Body::from_stream(futures::StreamExt::chain(hello, events)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

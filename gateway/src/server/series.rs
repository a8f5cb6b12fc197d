//! `GET /api/series`: what happened over time, for the page's charts.
//!
//! An answer has at most [`MOST`] pieces: who wants more asks in longer ones.

use super::Answered;
use super::admin::{Shared, ask, moment, shown};
use super::fault::Fault;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use router::ledger::Pieces;
use serde::Deserialize;
use serde_json::json;

/// Pieces of an answer, at most: a day in minutes, two months in hours.
const MOST: i64 = 1_500;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    by: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

/// The rows.
pub(super) async fn show(State(app): State<Shared>, query: Result<Query<Wanted>, QueryRejection>) -> Answered {
    let told = async {
        let Query(Wanted { by, since, until }) = query.map_err(|error| Fault::invalid(error.body_text(), None))?;
        let pieces = Pieces::parse(by.as_deref().unwrap_or("day"));
        let pieces = pieces.ok_or_else(|| Fault::invalid("`by` must be minute, hour or day", Some("by")))?;
        let now = jiff::Timestamp::now().as_microsecond();
        let until = moment(until.as_deref(), "until", now.saturating_add(1))?;
        let usual = until.saturating_sub(30 * Pieces::Day.length_us());
        let since = moment(since.as_deref(), "since", usual)?;
        if until.saturating_sub(since) / pieces.length_us() >= MOST {
            let what = format!("from `since` to `until` there are more than {MOST} pieces: ask `by` longer ones");
            return Err(Fault::invalid(what, Some("by")));
        }
        let rows = ask(&app, move |app| app.ledger.series(pieces, since, until)).await?;
        Ok(json!({"rows": rows, "seconds": pieces.length_us() / 1_000_000, "next": null}))
    };
    shown(told.await)
}

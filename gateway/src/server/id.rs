//! The id of a request: the client's, where it chose one that is free, else a fresh one.

use super::app::App;
use super::headers;
use http::HeaderMap;
use policies::RequestId;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A request's id; one that the client chose is reserved while the request runs, so that two lines on the ledger never
/// share it.
pub(super) struct Id {
    pub(super) id: RequestId,
    reserved: Option<(Arc<App>, String)>,
}

// === impl Id ===

impl Id {
    pub(super) fn of(app: &Arc<App>, headers: &HeaderMap) -> Self {
        let fresh = || RequestId::from_uuid(time_ordered());
        let Some(chosen) = headers::chosen_id(headers) else { return Self { id: fresh(), reserved: None } };
        let taken = !app.client_ids.lock().insert(chosen.to_owned());
        if taken {
            return Self { id: format!("{chosen}~{}", short()).into(), reserved: None };
        }
        let reserved = Some((app.clone(), chosen.to_owned()));
        match app.ledger.claim_request(chosen) {
            Ok(true) => Self { id: chosen.into(), reserved },
            Ok(false) | Err(_) => Self { id: format!("{chosen}~{}", short()).into(), reserved },
        }
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        if let Some((app, chosen)) = &self.reserved {
            app.client_ids.lock().remove(chosen);
        }
    }
}

/// A UUID of version 7 (RFC 9562). Its random part comes from a generator in this process: an id is no secret, and asking
/// the system for each costs a call.
fn time_ordered() -> uuid::Uuid {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let milliseconds = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &rand::random()).into_uuid()
}

fn short() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    id.chars().take(8).collect()
}

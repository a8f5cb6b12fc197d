//! `idempotency-key`: a repeat is answered once and billed once.
//!
//! **Promise.** Two requests of one caller with the same key and the same body cost one answer: a repeat gets the bytes of
//! the first, one that comes while the first is running waits for them. The same key with another body is refused. What
//! failed is not kept: a repeat tries again. The answer is on the ledger's disk before the client has its last byte, so a
//! restart changes nothing.
//!
//! **Bounds.** Kept for [`KEPT`]; in memory at most [`MOST_BYTES`], the oldest go first and are read back from disk. An
//! answer above [`LARGEST`] is not kept.
//!
//! **Failure behaviour.** Where the disk cannot be written the answer is kept in memory alone; where it cannot be read the
//! request is refused (503), because it might be billed a second time.

use super::Answered;
use super::fault::Fault;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use parking_lot::Mutex;
use policies::{Permit, Sink};
use router::ledger::{KEPT_US, KeptAnswer, Ledger, LedgerError};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_micros(KEPT_US.unsigned_abs());
/// All kept answers together.
const MOST_BYTES: usize = 64 << 20;
/// The largest answer that is kept.
const LARGEST: usize = 1 << 20;
/// The longest key.
const LONGEST: usize = 256;
/// How often is looked whether another replica has ended.
const ELSEWHERE: Duration = Duration::from_millis(100);

type Name = [u8; 32];

/// Answers by caller and key.
#[derive(Default)]
pub struct Kept(Mutex<HashMap<Name, Entry>>);

struct Entry {
    body: Name,
    made: Instant,
    bytes: usize,
    state: watch::Sender<State>,
}

#[derive(Clone)]
enum State {
    Running,
    Done(Arc<Answer>),
    Failed,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// The first request of its key; dropped without [`First::keep`] it lets repeats try again.
pub(super) struct First {
    kept: Arc<Kept>,
    ledger: Ledger,
    name: Name,
    request: Name,
    done: bool,
    /// Other processes on the ledger wait for it.
    claimed: bool,
}

/// What a key means for a request.
pub(super) enum Begun {
    /// It has none, or is the first.
    Run(Option<First>),
    /// It is a repeat: here is the answer.
    Repeat(Answered),
}

// === impl Kept ===

impl Kept {
    /// Looks whether a request repeats another; waits for one that is running.
    pub(super) async fn begin(
        self: &Arc<Self>,
        ledger: &Ledger,
        headers: &HeaderMap,
        caller: &str,
        path: &str,
        body: &[u8],
    ) -> Result<Begun, Fault> {
        let Some(key) = headers.get("idempotency-key") else { return Ok(Begun::Run(None)) };
        if key.is_empty() || key.len() > LONGEST {
            return Err(Fault::invalid(format!("`idempotency-key` must have 1 to {LONGEST} bytes"), None));
        }
        // Full digests, each part ended by a length: no two callers can share an entry.
        let mut hash = Sha256::new();
        for part in [caller.as_bytes(), path.as_bytes(), key.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let name: Name = hash.finalize().into();
        let body: Name = Sha256::digest(body).into();
        loop {
            let running = {
                let mut entries = self.0.lock();
                entries.retain(|_, entry| entry.made.elapsed() < KEPT);
                match entries.get(&name) {
                    None => {
                        let (state, _) = watch::channel(State::Running);
                        entries.insert(name, Entry { body, made: Instant::now(), bytes: 0, state });
                        None
                    }
                    Some(entry) if entry.body != body => return Err(Fault::key_reused()),
                    Some(entry) => Some(entry.state.subscribe()),
                }
            };
            let Some(mut running) = running else {
                let first = First {
                    kept: self.clone(),
                    ledger: ledger.clone(),
                    name,
                    request: body,
                    done: false,
                    claimed: false,
                };
                return first.or_earlier().await;
            };
            // An error is a sender that is gone: the entry was dropped.
            let state = match running.wait_for(|state| !matches!(state, State::Running)).await {
                Ok(state) => state.clone(),
                Err(_) => State::Failed,
            };
            if let State::Done(answer) = state {
                return Ok(Begun::Repeat(answer.again()));
            }
        }
    }

    fn make_room(entries: &mut HashMap<Name, Entry>, wanted: usize) {
        let mut held: usize = entries.values().map(|entry| entry.bytes).sum();
        while held + wanted > MOST_BYTES {
            let oldest = entries.iter().filter(|(_, entry)| entry.bytes > 0).min_by_key(|(_, entry)| entry.made);
            let Some((name, bytes)) = oldest.map(|(name, entry)| (*name, entry.bytes)) else { return };
            entries.remove(&name);
            held -= bytes;
        }
    }
}

// === impl First ===

impl First {
    /// Looks whether an earlier life, or one whose answer had to make room, has answered already.
    async fn or_earlier(mut self) -> Result<Begun, Fault> {
        while self.ledger.is_shared() && !self.claimed {
            let (ledger, name) = (self.ledger.clone(), self.name);
            match tokio::task::spawn_blocking(move || ledger.claim_answer(&name)).await {
                Ok(Ok(true)) => self.claimed = true,
                // Another replica answers it just now.
                Ok(Ok(false)) => tokio::time::sleep(ELSEWHERE).await,
                Ok(Err(error)) => return Err(Self::unreadable(&error)),
                Err(_) => return Err(Fault::internal()),
            }
        }
        // With the name in hand: what another replica kept was kept before it gave the name back.
        self.or_kept().await
    }

    async fn or_kept(self) -> Result<Begun, Fault> {
        let (ledger, name) = (self.ledger.clone(), self.name);
        let now = jiff::Timestamp::now().as_microsecond();
        let read = tokio::task::spawn_blocking(move || ledger.kept_answer(&name, now)).await;
        match read {
            Ok(Ok(None)) => Ok(Begun::Run(Some(self))),
            Ok(Ok(Some(kept))) if kept.request != self.request => Err(Fault::key_reused()),
            Ok(Ok(Some(kept))) => {
                let answer = Arc::new(Answer::from(kept));
                let again = answer.again();
                self.done_with(answer);
                Ok(Begun::Repeat(again))
            }
            Ok(Err(error)) => Err(Self::unreadable(&error)),
            Err(_) => Err(Fault::internal()),
        }
    }

    fn unreadable(error: &LedgerError) -> Fault {
        tracing::error!(error = %error, "cannot look for an earlier answer");
        Fault::ledger()
    }

    /// Keeps the answer for repeats, with leave to keep it; returns once it is durable. Without leave a repeat is answered
    /// anew.
    ///
    /// # Cancel safety
    /// A dropped future may have kept it or not: a client that is gone will ask again.
    pub(super) async fn keep(self, status: StatusCode, headers: &HeaderMap, body: Bytes, leave: Option<&Permit>) {
        let Some(leave) = leave.filter(|leave| leave.is_for(Sink::Cache)) else { return };
        if body.len() > LARGEST {
            return;
        }
        let pairs =
            headers.iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let kept = KeptAnswer {
            name: self.name,
            request: self.request,
            at_us: jiff::Timestamp::now().as_microsecond(),
            status: status.as_u16(),
            headers: pairs.collect(),
            body: body.to_vec(),
        };
        if let Err(error) = self.ledger.keep_answer(kept, leave).await {
            tracing::error!(error = %error, "an answer is kept for repeats in memory only");
        }
        self.done_with(Arc::new(Answer { status, headers: headers.clone(), body }));
    }

    fn done_with(mut self, answer: Arc<Answer>) {
        let mut entries = self.kept.0.lock();
        Kept::make_room(&mut entries, answer.body.len());
        if let Some(entry) = entries.get_mut(&self.name) {
            entry.bytes = answer.body.len().max(1);
            entry.state.send_replace(State::Done(answer));
            drop(entries);
            self.done = true;
        }
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if self.claimed {
            // Behind the answer, if it was kept.
            self.ledger.release_answer(&self.name);
        }
        if !self.done
            && let Some(entry) = self.kept.0.lock().remove(&self.name)
        {
            entry.state.send_replace(State::Failed);
        }
    }
}

// === impl Answer ===

impl From<KeptAnswer> for Answer {
    fn from(kept: KeptAnswer) -> Self {
        let pair = |(name, value): &(String, String)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::from_str(value).ok()?))
        };
        Self {
            status: StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK),
            headers: kept.headers.iter().filter_map(pair).collect(),
            body: kept.body.into(),
        }
    }
}

impl Answer {
    fn again(&self) -> Answered {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
            .headers_mut()
            .insert(HeaderName::from_static("x-sluice-idempotent-replay"), HeaderValue::from_static("true"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(key: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", key.parse().unwrap());
        headers
    }

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::start(folder.path().join("l.db"), router::ledger::Durability::Process).unwrap();
        (folder, ledger)
    }

    async fn begin(kept: &Arc<Kept>, ledger: &Ledger, (key, caller, body): (&str, &str, &str)) -> Result<Begun, Fault> {
        kept.begin(ledger, &headers(key), caller, "/v1/chat/completions", body.as_bytes()).await
    }

    #[tokio::test]
    async fn a_repeat_waits_and_gets_the_same_bytes_and_another_caller_does_not() {
        let (kept, (_folder, ledger)) = (Arc::new(Kept::default()), ledger());
        let Ok(Begun::Run(Some(first))) = begin(&kept, &ledger, ("k", "a", "x")).await else { unreachable!() };
        assert!(matches!(begin(&kept, &ledger, ("k", "b", "x")).await, Ok(Begun::Run(Some(_)))));
        assert!(begin(&kept, &ledger, ("k", "a", "y")).await.is_err(), "another body");
        let (repeat, ()) = tokio::join!(begin(&kept, &ledger, ("k", "a", "x")), async {
            tokio::task::yield_now().await;
            let classes = policies::Classes::standard();
            let leave = classes.permit_sink(classes.highest(), Sink::Cache).unwrap();
            first.keep(StatusCode::OK, &HeaderMap::new(), Bytes::from_static(b"answer"), Some(&leave)).await;
        });
        assert!(matches!(repeat, Ok(Begun::Repeat(_))));
        // Another life has only the disk.
        let later = Arc::new(Kept::default());
        assert!(matches!(begin(&later, &ledger, ("k", "a", "x")).await, Ok(Begun::Repeat(_))));
        assert!(begin(&Arc::new(Kept::default()), &ledger, ("k", "a", "y")).await.is_err(), "another body");
    }

    #[tokio::test]
    async fn what_failed_can_be_tried_again() {
        let (kept, (_folder, ledger)) = (Arc::new(Kept::default()), ledger());
        drop(begin(&kept, &ledger, ("k", "a", "x")).await);
        assert!(matches!(begin(&kept, &ledger, ("k", "a", "y")).await, Ok(Begun::Run(Some(_)))));
    }
}

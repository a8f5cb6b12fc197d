//! What is known of a server in the house: whether it answers, what fits into it, how long its queue is.
//!
//! **Promise.** A llama.cpp or vLLM server is as good a local side as the engine in process: down or still loading it is passed over
//! before anybody waits for it, a request that does not fit is refused before it is sent, and the wait for its first token is
//! predicted.
//!
//! **How.** A task looks every few seconds, by GET only and only at servers that the configuration calls local: `/health`
//! (llama.cpp and vLLM: 503 while a model loads), `/v1/models` (`max_model_len` of vLLM), `/props` (`n_ctx` and `total_slots` of
//! llama.cpp), `/metrics` (requests at work and waiting, where the server counts them). A path that a server does not have tells
//! nothing. The prediction is the mean time to the first event lately, plus what waits ahead: requests waiting, each as long as one
//! takes, shared by those that are answered at once.
//!
//! **Failure behaviour.** One look that fails proves nothing; after two in a row the server counts as down until one succeeds. Looks
//! have two seconds and read at most a megabyte.
//!
//! **What it does not do.** It never sends a prompt, and never looks at a provider that takes money.

use crate::error::BackendError;
use crate::{Event, Events, Load};
use futures::StreamExt;
use parking_lot::Mutex;
use policies::Readiness;
use reqwest::{StatusCode, Url};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most that is read of one.
const MOST: usize = 1 << 20;
/// Looks in a row that must fail before the server counts as down.
const FAILURES: u32 = 2;
/// Looks between two at what seldom changes.
const SELDOM: u64 = 12;
/// What was seen of first events so long ago says nothing: a server that was slow once gets another request.
const STALE: Duration = Duration::from_secs(30);
/// Weight of the newest in the running means.
const NEWEST: f64 = 0.2;

/// A server in the house, as it stands.
#[derive(Debug)]
pub(super) struct House {
    seen: Mutex<Seen>,
    /// Calls of ours that are under way.
    under_way: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    failures: u32,
    loading: bool,
    why: String,
    context: Option<u64>,
    slots: Option<u64>,
    waiting: u64,
    running: u64,
    /// It has answered a look with something else than 503.
    served: bool,
    /// When an answer was last measured.
    noted: Option<Instant>,
    /// Seconds to the first event, and of a whole answer, of late.
    first: Option<f64>,
    whole: Option<f64>,
}

/// What one look found.
struct Found {
    status: StatusCode,
    body: String,
}

/// A call that is under way.
struct UnderWay {
    house: Arc<House>,
    began: Instant,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.house.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl House ===

impl House {
    /// Looks at a server every so often, until the set that comes with it is dropped; outside of a runtime nobody looks.
    pub(super) fn watch(client: reqwest::Client, base: &Url, every: Duration) -> (Arc<Self>, JoinSet<()>) {
        let house = Arc::new(Self { seen: Mutex::default(), under_way: AtomicU64::new(0) });
        let mut tasks = JoinSet::new();
        if let Ok(runtime) = Handle::try_current() {
            tasks.spawn_on(looking(client, base.clone(), house.clone(), every), &runtime);
        }
        (house, tasks)
    }

    pub(super) fn readiness(&self) -> Readiness {
        let seen = self.seen.lock();
        let down = |why: String| Readiness::Down { why, retry_after: Some(Duration::from_secs(5)) };
        match (seen.failures >= FAILURES, seen.loading) {
            (true, _) => down(seen.why.clone()),
            // Who waits for readiness waits for a first start, not for a server that fails later on.
            (false, true) if seen.served => down("the server answers 503 when it is looked at".into()),
            (false, true) => Readiness::Loading,
            (false, false) => Readiness::Ready,
        }
    }

    pub(super) fn context_window(&self) -> Option<u64> {
        self.seen.lock().context
    }

    /// What the server counts itself, as of the last look; where it counts nothing, what is under way from here.
    pub(super) fn load(&self) -> Load {
        let (waiting, running) = {
            let seen = self.seen.lock();
            (seen.waiting, seen.running)
        };
        Load { waiting, running: running.max(self.under_way.load(Ordering::Relaxed)), most_waiting: None }
    }

    /// `None` until an answer has been seen.
    pub(super) fn first_token_in(&self) -> Option<Duration> {
        let seen = self.seen.lock().clone();
        let under_way = self.under_way.load(Ordering::Relaxed);
        let at_once = seen.slots.unwrap_or(seen.running).max(1);
        // The server counts everybody's requests, but some seconds ago; ours are known now.
        let ours = seen.slots.map_or(0, |slots| under_way.saturating_sub(slots));
        let ahead = seen.waiting.max(ours) as f64 / at_once as f64;
        let fresh = under_way > 0 || seen.noted.is_some_and(|at| at.elapsed() < STALE);
        let first = seen.first.map(|first| if fresh { first } else { 0.0 })?;
        Duration::try_from_secs_f64(first + ahead * seen.whole.unwrap_or(0.0)).ok()
    }

    /// Measures a call; what it gives is what the call gives.
    ///
    /// # Errors
    /// The call's own.
    pub(super) async fn measured(
        self: &Arc<Self>,
        call: impl Future<Output = Result<Events, BackendError>>,
    ) -> Result<Events, BackendError> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay { house: self.clone(), began: Instant::now() };
        let events = call.await?;
        // A stream has its first event by now; of a whole answer there is none to speak of.
        let first = under_way.began.elapsed();
        Ok(events
            .map(move |event| {
                match &event {
                    Ok(Event::Done) => under_way.house.note(Some(first), under_way.began.elapsed()),
                    Ok(Event::Whole { .. }) => under_way.house.note(None, under_way.began.elapsed()),
                    Ok(Event::Delta { .. }) | Err(_) => {}
                }
                event
            })
            .boxed())
    }

    fn note(&self, first: Option<Duration>, whole: Duration) {
        let newer = |mean: Option<f64>, now: Duration| {
            let now = now.as_secs_f64();
            Some(mean.map_or(now, |mean| mean + NEWEST * (now - mean)))
        };
        let mut seen = self.seen.lock();
        seen.noted = Some(Instant::now());
        seen.whole = newer(seen.whole, whole);
        if let Some(first) = first {
            seen.first = newer(seen.first, first);
        }
    }

    fn learn(&self, found: &Result<Found, String>) {
        let mut seen = self.seen.lock();
        match found {
            Err(why) => {
                seen.failures = seen.failures.saturating_add(1);
                seen.why = format!("the server does not answer: {why}");
            }
            Ok(found) => {
                seen.failures = 0;
                seen.loading = found.status == StatusCode::SERVICE_UNAVAILABLE;
                seen.served |= !seen.loading;
            }
        }
    }
}

async fn looking(client: reqwest::Client, base: Url, house: Arc<House>, every: Duration) {
    let mut looks = 0u64;
    loop {
        let health = look(&client, &root(&base, "health")).await;
        let was = house.readiness();
        house.learn(&health);
        let alive = house.readiness() == Readiness::Ready;
        if alive && (was != Readiness::Ready || looks.is_multiple_of(SELDOM)) {
            let models = look(&client, &beside(&base, "models")).await;
            let props = look(&client, &root(&base, "props")).await;
            let mut seen = house.seen.lock();
            (seen.context, seen.slots) = fits(json(&props).as_ref(), json(&models).as_ref());
        }
        if alive {
            let metrics = look(&client, &root(&base, "metrics")).await;
            let text = metrics.ok().filter(|found| found.status.is_success()).map(|found| found.body);
            let text = text.unwrap_or_default();
            let mut seen = house.seen.lock();
            (seen.waiting, seen.running) = (summed(&text, WAITING), summed(&text, RUNNING));
        }
        looks += 1;
        tokio::time::sleep(every).await;
    }
}

/// `http://host/PATH`, whatever the API's own path is.
fn root(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(path);
    url.set_query(None);
    url
}

/// `http://host/v1/PATH`
fn beside(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push(path);
    }
    url
}

async fn look(client: &reqwest::Client, url: &Url) -> Result<Found, String> {
    let looking = async {
        let response = client.get(url.clone()).send().await.map_err(|error| super::cause(&error))?;
        let status = response.status();
        let body = super::capped(response, MOST).await.map_err(|_| "its answer breaks off".to_owned())?;
        Ok(Found { status, body: String::from_utf8_lossy(&body).into_owned() })
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| Err("it takes too long".into()))
}

fn json(found: &Result<Found, String>) -> Option<Value> {
    let found = found.as_ref().ok().filter(|found| found.status.is_success())?;
    serde_json::from_str(&found.body).ok()
}

/// Context window and requests at once: llama.cpp's `/props`, else the one window that vLLM's `/v1/models` lists.
fn fits(props: Option<&Value>, models: Option<&Value>) -> (Option<u64>, Option<u64>) {
    let slots = props.and_then(|props| props["total_slots"].as_u64());
    let of_slot = props.and_then(|props| props["default_generation_settings"]["n_ctx"].as_u64());
    let listed: Vec<u64> = models
        .and_then(|models| models["data"].as_array())
        .into_iter()
        .flatten()
        .filter_map(|model| model["max_model_len"].as_u64())
        .collect();
    // Two models with two windows: which one a request is for is not known here.
    let one = listed.first().copied().filter(|first| listed.iter().all(|window| window == first));
    (of_slot.or(one).filter(|window| *window > 0), slots)
}

/// Requests that wait, and that are at work, by the names that vLLM and llama.cpp count them under.
const WAITING: [&str; 2] = ["vllm:num_requests_waiting", "llamacpp:requests_deferred"];
const RUNNING: [&str; 2] = ["vllm:num_requests_running", "llamacpp:requests_processing"];

/// The sum of what has one of these names, in Prometheus' text format, over all labels.
fn summed(text: &str, names: [&str; 2]) -> u64 {
    let named =
        |line: &&str| names.iter().any(|name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let values = text.lines().filter(named).filter_map(|line| line.split_whitespace().last()?.parse::<f64>().ok());
    values.filter(|value| value.is_finite() && *value >= 0.0).sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn house() -> Arc<House> {
        Arc::new(House { seen: Mutex::default(), under_way: AtomicU64::new(0) })
    }

    fn found(status: u16) -> Result<Found, String> {
        Ok(Found { status: StatusCode::from_u16(status).unwrap(), body: String::new() })
    }

    #[test]
    fn a_server_is_down_after_two_looks_in_vain_and_up_after_one_that_succeeds() {
        let house = house();
        house.learn(&Err("refused".into()));
        assert_eq!(house.readiness(), Readiness::Ready);
        house.learn(&Err("refused".into()));
        assert!(matches!(house.readiness(), Readiness::Down { why, .. } if why.contains("refused")));
        house.learn(&found(503));
        assert_eq!(house.readiness(), Readiness::Loading);
        // A server without the path is alive as well.
        house.learn(&found(404));
        assert_eq!(house.readiness(), Readiness::Ready);
        // Whoever waits for readiness does not wait for one that has served before.
        house.learn(&found(503));
        assert!(matches!(house.readiness(), Readiness::Down { .. }));
    }

    #[test]
    fn windows_and_slots_are_read_where_servers_state_them() {
        let props = json!({"total_slots": 4, "default_generation_settings": {"n_ctx": 2048}});
        let vllm = json!({"data": [{"id": "a", "max_model_len": 8192}]});
        let two = json!({"data": [{"max_model_len": 8192}, {"max_model_len": 4096}]});
        assert_eq!(fits(Some(&props), Some(&vllm)), (Some(2048), Some(4)));
        assert_eq!(fits(None, Some(&vllm)), (Some(8192), None));
        assert_eq!(fits(None, Some(&two)), (None, None));
        assert_eq!(fits(Some(&json!({"total_slots": "x"})), Some(&json!([]))), (None, None));
    }

    #[test]
    fn what_waits_is_summed_over_labels() {
        let text = "# HELP vllm:num_requests_waiting x\nvllm:num_requests_waiting{model=\"a\"} 2.0\n\
                    vllm:num_requests_waiting{model=\"b\"} 1.0\nvllm:num_requests_waiting_total 9\n\
                    llamacpp:requests_deferred 4\nvllm:num_requests_waiting{m=\"c\"} NaN\n";
        assert_eq!((summed(text, WAITING), summed(text, RUNNING)), (7, 0));
        assert_eq!(summed("vllm:num_requests_running 3", RUNNING), 3);
        assert_eq!(summed("nothing", WAITING), 0);
    }

    #[test]
    fn the_wait_is_predicted_from_what_was_seen_and_what_is_ahead() {
        let house = house();
        assert_eq!(house.first_token_in(), None);
        house.note(Some(Duration::from_millis(100)), Duration::from_secs(2));
        assert_eq!(house.first_token_in(), Some(Duration::from_millis(100)));
        house.seen.lock().waiting = 3;
        assert_eq!(house.load(), Load { waiting: 3, ..Load::default() });
        assert_eq!(house.first_token_in(), Some(Duration::from_millis(6_100)));
        house.seen.lock().slots = Some(4);
        assert_eq!(house.first_token_in(), Some(Duration::from_millis(1_600)));
        // A server without slots answers as many at once as are at work.
        (house.seen.lock().slots, house.seen.lock().running) = (None, 2);
        assert_eq!(house.first_token_in(), Some(Duration::from_millis(3_100)));
        house.seen.lock().slots = Some(4);
        // Ours that are beyond its slots wait for sure, whatever it said some seconds ago.
        house.seen.lock().waiting = 0;
        house.under_way.store(8, Ordering::Relaxed);
        assert_eq!(house.first_token_in(), Some(Duration::from_millis(2_100)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_slow_once_gets_another_request() {
        let house = house();
        house.note(Some(Duration::from_secs(25)), Duration::from_secs(30));
        assert_eq!(house.first_token_in(), Some(Duration::from_secs(25)));
        tokio::time::advance(STALE).await;
        assert_eq!(house.first_token_in(), Some(Duration::ZERO));
    }

    #[test]
    fn paths_are_the_servers_own() {
        let base: Url = "http://h:1/api/v1/".parse().unwrap();
        assert_eq!(root(&base, "health").as_str(), "http://h:1/health");
        assert_eq!(beside(&base, "models").as_str(), "http://h:1/api/v1/models");
    }
}

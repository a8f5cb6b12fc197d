//! Panics at places inside of the gateway (reliability test 35), over the real listeners, router and ledger.
//!
//! A backend and an observer of the test's stand where the product calls out: one of them panics, once, where it was told to. The
//! product has no such places of its own. What a panic of the ledger's thread does is shown in `router`.

use super::app::App;
use super::auth::KeyRing;
use super::listen::{Connections, bind, serve};
use crate::assemble::{Ground, Parts, budget_specs};
use crate::config;
use crate::telemetry::Telemetry;
use adapters::wire::{seen_in_chunk, seen_in_whole, sse};
use adapters::{Backend, BackendError, Call, Description, Event, Events};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use policies::{Capabilities, NanoDollars, Readiness, Signals};
use reqwest::Client;
use router::ledger::{AttemptClose, Durability, Ledger, RequestRecord};
use router::{Budgets, LimitSpecs, Limits, Observer, Trace};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[providers.hosted]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
region = "us"
bills_after_cancel = true
[models.big]
provider = "hosted"
input_usd_per_mtok = "2.50"
output_usd_per_mtok = "10.00"
[models.slow]
provider = "hosted"
input_usd_per_mtok = "2.50"
output_usd_per_mtok = "10.00"
[providers.house]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
region = "us"
location = "local"
[models.small]
provider = "house"
[router]
local = ["small"]
hosted = ["big"]
classifier = "heuristic"
hosted_share = "100%"
[[budgets]]
scope = "org"
limit_usd = "100"
window = "total"
"#;

/// Events of a stream that bring text.
const EVENTS: usize = 6;

/// Where something panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// When the candidates are looked at.
    Described,
    Readiness,
    FirstToken,
    /// Telling of a judgement.
    Judged,
    /// The call, and an event of its answer.
    Called,
    Event(usize),
    /// Telling of an end.
    AttemptTold,
    RequestTold,
}

/// Who panics.
#[derive(Default)]
struct Planted(Mutex<Option<Place>>);

/// Models that answer in [`EVENTS`] words; of all but `big`, each waits for a permit.
struct Backed {
    planted: Arc<Planted>,
    gate: Arc<Semaphore>,
}

struct Told {
    planted: Arc<Planted>,
    telemetry: Arc<Telemetry>,
}

/// A gateway in this process.
struct Stage {
    app: Arc<App>,
    budgets: Arc<Budgets>,
    /// Of the hosted side, and of what is told.
    planted: Arc<Planted>,
    /// Permits of events, of the local and of the hosted side.
    house: Arc<Semaphore>,
    hosted: Arc<Semaphore>,
    client: Client,
    data: String,
    admin: String,
    stop: CancellationToken,
    _folder: TempDir,
}

// === impl Planted ===

impl Planted {
    fn plant(&self, place: Place) {
        *self.0.lock() = Some(place);
    }

    /// The product has come to a place.
    fn at(&self, place: Place) {
        let here = self.0.lock().take_if(|planted| *planted == place).is_some();
        assert!(!here, "planted at {place:?}");
    }

    /// Whether it has gone off.
    fn is_spent(&self) -> bool {
        self.0.lock().is_none()
    }
}

// === impl Backed ===

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}).to_string()
}

#[async_trait]
impl Backend for Backed {
    async fn call(&self, call: Call) -> Result<Events, BackendError> {
        self.planted.at(Place::Called);
        let usage = json!({"prompt_tokens": 7, "completion_tokens": EVENTS, "total_tokens": 7 + EVENTS});
        let planted = self.planted.clone();
        if !call.stream {
            let message = json!({"role": "assistant", "content": "word ".repeat(EVENTS)});
            let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
            let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice],
                "usage": usage});
            let body = body.to_string();
            let seen = seen_in_whole(body.as_bytes()).unwrap();
            let whole = stream::once(async move {
                planted.at(Place::Event(0));
                Ok(Event::Whole { body: body.into(), seen })
            });
            return Ok(whole.boxed());
        }
        let mut payloads: Vec<String> =
            (0..EVENTS).map(|_| chunk(&json!({"role": "assistant", "content": "word "}), None)).collect();
        payloads.push(chunk(&json!({}), Some("stop")));
        payloads.push(
            json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
            "usage": usage})
            .to_string(),
        );
        let gate = (call.model != "big").then(|| self.gate.clone());
        let events = stream::iter(payloads.into_iter().enumerate()).then(move |(n, payload)| {
            let (planted, gate) = (planted.clone(), gate.clone());
            async move {
                if let Some(gate) = gate {
                    gate.acquire().await.expect("it is never closed").forget();
                }
                planted.at(Place::Event(n));
                Ok(Event::Delta {
                    frame: sse::frame(payload.as_bytes()),
                    seen: seen_in_chunk(payload.as_bytes()).unwrap(),
                })
            }
        });
        Ok(events.chain(stream::iter([Ok(Event::Done)])).boxed())
    }

    fn readiness(&self) -> Readiness {
        self.planted.at(Place::Readiness);
        Readiness::Ready
    }

    fn describe(&self) -> Description {
        self.planted.at(Place::Described);
        let capabilities = Capabilities::ALL;
        Description { capabilities, context_window: None, memory_bytes: None, source: "planted".into() }
    }

    fn first_token_in(&self, _prompt_tokens: u64) -> Option<Duration> {
        self.planted.at(Place::FirstToken);
        None
    }
}

// === impl Told ===

impl Observer for Told {
    fn attempt(&self, closed: &AttemptClose, took: Duration) {
        self.planted.at(Place::AttemptTold);
        self.telemetry.attempt(closed, took);
    }

    fn request(&self, record: &RequestRecord, took: Duration, trace: Trace<'_>) {
        self.planted.at(Place::RequestTold);
        self.telemetry.request(record, took, trace);
    }

    fn judged(&self, signals: &Signals, hosted: Option<bool>) {
        self.planted.at(Place::Judged);
        self.telemetry.judged(signals, hosted);
    }
}

// === impl Stage ===

impl Stage {
    async fn set() -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let settings = config::parse(CONFIG, folder.path()).unwrap();
        let telemetry = Arc::new(Telemetry::start(&settings.telemetry).unwrap());
        let (ledger, _) = Ledger::start(folder.path().join("l.db"), Durability::Process).unwrap();
        let specs = budget_specs(&settings, &[]);
        let budgets = Budgets::start(ledger.clone(), specs, jiff::Timestamp::now()).unwrap();
        let planted = Arc::new(Planted::default());
        let (house, hosted) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let parts = Parts::default();
        for provider in &settings.providers {
            let (planted, gate) = match provider.name.as_str() {
                "hosted" => (planted.clone(), hosted.clone()),
                _ => (Arc::default(), house.clone()),
            };
            parts.stand_in(provider, Arc::new(Backed { planted, gate }));
        }
        let tasks = TaskTracker::new();
        let ground = Ground {
            parts: Arc::new(parts),
            ledger: ledger.clone(),
            budgets: budgets.clone(),
            observer: Arc::new(Told { planted: planted.clone(), telemetry: telemetry.clone() }),
            tasks: tasks.clone(),
        };
        let router = ground.router(&settings).unwrap();
        let listeners = bind(&settings.server).await.unwrap();
        let at = |listener: &tokio::net::TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let (data, admin, stop) = (at(&listeners.data), at(&listeners.admin), CancellationToken::new());
        let app = Arc::new(App {
            router: ArcSwap::from_pointee(router),
            limits: Limits::new(&LimitSpecs::default()),
            in_flight: Arc::new(Semaphore::new(settings.in_flight)),
            most_in_flight: settings.in_flight,
            connections: Connections::up_to(settings.connections),
            refusing: Arc::new(Semaphore::new(super::REFUSING)),
            settings: ArcSwap::from_pointee(settings),
            keys: KeyRing::start(&ledger).unwrap(),
            ledger,
            telemetry,
            tasks: tasks.clone(),
            draining: CancellationToken::new(),
            cut: CancellationToken::new(),
            client_ids: Mutex::default(),
            kept: Arc::default(),
            started: jiff::Timestamp::now(),
        });
        tasks.spawn(serve(app.clone(), listeners, stop.clone(), CancellationToken::new()));
        let client = Client::builder().no_proxy().build().unwrap();
        Self { app, budgets, planted, house, hosted, client, data, admin, stop, _folder: folder }
    }

    async fn post(&self, path: &str, id: &str, body: &Value) -> reqwest::Response {
        let request = self.client.post(format!("{}{path}", self.data)).header("x-request-id", id);
        let request = request.header("content-type", "application/json").header("anthropic-version", "2023-06-01");
        request.body(body.to_string()).send().await.unwrap()
    }

    /// Waits for something that comes true by itself.
    async fn eventually(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !condition() {
            assert!(Instant::now() < end, "it did not come true: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn dollars(&self) -> (NanoDollars, NanoDollars) {
        let dollars = self.budgets.states(jiff::Timestamp::now()).remove(0).dollars.unwrap();
        (dollars.held_usd, dollars.spent_usd)
    }

    /// Attempts of a request on the ledger.
    fn attempts(&self, id: &str) -> Vec<Value> {
        let request = self.app.ledger.request(id).unwrap();
        request.and_then(|request| Some(request["attempt_log"].as_array()?.clone())).unwrap_or_default()
    }

    /// What is given back after a panic: places, money that was set aside; and no line stays open.
    async fn assert_settled(&self, id: &str, places: usize) {
        self.eventually("the place in flight is given back", || self.app.in_flight.available_permits() == places).await;
        self.eventually("the hold is settled", || self.dollars().0 == NanoDollars::ZERO).await;
        self.eventually("its lines are closed", || {
            self.attempts(id).iter().all(|attempt| !attempt["outcome"].is_null())
        })
        .await;
        // What a dropped attempt came to is counted and written behind it.
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let table = self.client.get(format!("{}/api/spend?group_by=route", self.admin)).send().await.unwrap();
            let table: Value = serde_json::from_slice(&table.bytes().await.unwrap()).unwrap();
            let (says, spent) = (&table["total"]["cost_usd"], self.dollars().1.to_string());
            if *says == spent {
                break;
            }
            assert!(Instant::now() < end, "{id}: the ledger says {says}, the account {spent}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A form of the API: its path, a request, the code in its refusal.
fn forms(stream: bool) -> [(&'static str, Value, &'static str); 3] {
    let message = json!([{"role": "user", "content": "one word"}]);
    [
        ("/v1/chat/completions", json!({"model": "big", "messages": message, "stream": stream}), "/error/code"),
        (
            "/v1/messages",
            json!({"model": "big", "messages": message, "max_tokens": 50, "stream": stream}),
            "/error/type",
        ),
        ("/v1/responses", json!({"model": "big", "input": "one word", "stream": stream}), "/error/code"),
    ]
}

#[tokio::test]
async fn a_panic_anywhere_costs_one_request_its_answer_and_gives_back_what_it_held() {
    let stage = Stage::set().await;
    let all = stage.app.in_flight.available_permits();
    // Somebody else's stream is under way all the time.
    let aside = json!({"model": "small", "messages": [{"role": "user", "content": "x"}], "stream": true});
    stage.house.add_permits(1);
    let mut neighbour = stage.post("/v1/chat/completions", "neighbour", &aside).await;
    assert_eq!(neighbour.status(), 200);
    let first = neighbour.chunk().await.unwrap().unwrap();

    let before_the_head = [Place::Described, Place::Readiness, Place::FirstToken, Place::Called, Place::Event(0)];
    let told = [Place::AttemptTold, Place::RequestTold];
    let in_the_midst = [1, 2, EVENTS - 1, EVENTS, EVENTS + 1].map(Place::Event);
    let mut n = 0;
    for streams in [false, true] {
        let places = before_the_head.iter().chain(&told).chain(in_the_midst.iter().filter(|_| streams));
        for place in places {
            for (path, body, code) in forms(streams) {
                n += 1;
                let (id, case) = (format!("broken-{n}"), format!("{place:?} {path} stream {streams}"));
                stage.planted.plant(*place);
                let mut response = stage.post(path, &id, &body).await;
                let status = response.status().as_u16();
                let mut said = Vec::new();
                let ended = loop {
                    match response.chunk().await {
                        Ok(Some(piece)) => said.extend_from_slice(&piece),
                        Ok(None) => break true,
                        Err(_) => break false,
                    }
                };
                let said = String::from_utf8(said).unwrap();
                assert!(stage.planted.is_spent(), "{case}: nobody came there");
                if before_the_head.contains(place) {
                    assert_eq!(status, 500, "{case}: {said}");
                    let error: Value = serde_json::from_str(&said).unwrap();
                    let word = if code == "/error/type" { "api_error" } else { "internal" };
                    assert_eq!(error.pointer(code).and_then(Value::as_str), Some(word), "{case}: {said}");
                } else if told.contains(place) {
                    // Whoever counts has nothing to do with the answer.
                    assert!(status == 200 && ended && !said.contains("\"error\":{"), "{case}: {said}");
                } else {
                    let finished =
                        said.contains("[DONE]") || said.contains("message_stop") || said.contains("response.completed");
                    assert!(status == 200 && !ended && !finished, "{case}: it must not look finished: {said}");
                    assert!(path != "/v1/chat/completions" || said.contains("\"code\":\"internal\""), "{case}: {said}");
                }
                stage.assert_settled(&id, all - 1).await;
                let fine = stage.post(path, &format!("fine-{n}"), &body).await;
                assert_eq!(fine.status(), 200, "{case}: the next one is served");
                fine.bytes().await.unwrap();
            }
        }
    }
    stage.house.add_permits(100);
    let rest = neighbour.bytes().await.unwrap();
    let whole = [&first[..], &rest[..]].concat();
    let whole = String::from_utf8(whole).unwrap();
    assert!(whole.ends_with("data: [DONE]\n\n") && whole.matches("word ").count() == EVENTS, "{whole}");
}

#[tokio::test]
async fn a_panic_of_who_is_told_of_a_judgement_ends_before_anything_is_dialled() {
    let stage = Stage::set().await;
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": "one word"}]});
    stage.planted.plant(Place::Judged);
    let broken = stage.post("/v1/chat/completions", "broken", &body).await;
    assert_eq!(broken.status(), 500);
    assert!(stage.planted.is_spent() && stage.attempts("broken").is_empty());
    assert_eq!(stage.dollars(), (NanoDollars::ZERO, NanoDollars::ZERO));
    assert_eq!(stage.post("/v1/chat/completions", "fine", &body).await.status(), 200);
}

#[tokio::test]
async fn a_panic_in_what_is_read_on_after_its_client_left_is_charged_at_the_most() {
    let stage = Stage::set().await;
    let all = stage.app.in_flight.available_permits();
    for n in 1..=EVENTS {
        let id = format!("left-{n}");
        let body = json!({"model": "slow", "messages": [{"role": "user", "content": "x"}], "stream": true});
        stage.planted.plant(Place::Event(n));
        stage.hosted.add_permits(1);
        let mut stream = stage.post("/v1/chat/completions", &id, &body).await;
        stream.chunk().await.unwrap().unwrap();
        drop(stream);
        stage.eventually("its place is free", || stage.app.in_flight.available_permits() == all).await;
        assert!(!stage.planted.is_spent(), "it is read on, and has not come so far");
        stage.hosted.add_permits(n);
        stage.eventually("it has gone off", || stage.planted.is_spent()).await;
        stage
            .eventually("its line is closed", || {
                stage.attempts(&id).first().is_some_and(|attempt| !attempt["outcome"].is_null())
            })
            .await;
        stage.assert_settled(&id, all).await;
        let line = stage.attempts(&id).remove(0);
        assert_eq!(line["cost_usd"], line["ceiling_usd"], "what it came to nobody knows: {line}");
    }
}

#[tokio::test]
async fn a_panic_on_the_admin_listener_and_in_health_costs_one_answer() {
    let stage = Stage::set().await;
    for place in [Place::Described, Place::Readiness] {
        for (base, path) in [(&stage.admin, "/api/models"), (&stage.admin, "/readyz"), (&stage.data, "/readyz")] {
            if path == "/readyz" && place == Place::Described {
                continue;
            }
            let get = || stage.client.get(format!("{base}{path}")).send();
            stage.planted.plant(place);
            let broken = get().await.unwrap();
            assert_eq!(broken.status(), 500, "{place:?} {base}{path}");
            let error: Value = serde_json::from_slice(&broken.bytes().await.unwrap()).unwrap();
            assert_eq!(error["error"]["code"], "internal");
            assert_eq!(get().await.unwrap().status(), 200);
        }
    }
}

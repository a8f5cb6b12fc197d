//! Whatever is asked, and however the model in the house fails, data of a class is handed only to models that may have it: with
//! a local model that panics, is full, breaks off and comes back (reliability test 36; the same from outside: `blackbox/canaries.rs`).

use super::bench::{Bench, HOSTED, LOCAL, LONG, NO_LOOK, ask, chunk, config, half, model};
use adapters::scripted::{Play, Scripted};
use adapters::{Backend, BackendError, Call, Clock, Description, Events, Kind};
use async_trait::async_trait;
use parking_lot::Mutex;
use policies::{Location, NanoDollars, Readiness, RouteWish};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use router::{Answer, AnswerBody, Ask, BudgetSpec, DeniedBy, Piece, RouterConfig, Scope, Window};
use serde_json::json;
use std::sync::Arc;
use tokio::task::JoinSet;

const CLASSES: [&str; 4] = ["public", "internal", "confidential", "restricted"];

/// Keeps all that it was handed, and answers by its script.
struct Holds {
    script: Scripted,
    held: Mutex<String>,
}

// === impl Holds ===

impl Holds {
    fn new(script: Vec<Play>) -> Arc<Self> {
        Arc::new(Self { script: Scripted::new(script), held: Mutex::default() })
    }

    /// Texts of a class that it was handed.
    fn marks(&self, class: &str) -> usize {
        self.held.lock().matches(&format!("canary-{class}-")).count()
    }
}

#[async_trait]
impl Backend for Holds {
    async fn call(&self, call: Call) -> Result<Events, BackendError> {
        for text in call.request.view.texts() {
            self.held.lock().push_str(text);
        }
        self.script.call(call).await
    }

    fn readiness(&self) -> Readiness {
        self.script.readiness()
    }

    fn describe(&self) -> Description {
        self.script.describe()
    }
}

fn answer(text: &str) -> Play {
    Play::Stream(vec![chunk(text, Some("stop"))], None)
}

/// What the model in the house does, call by call.
fn trouble(random: &mut StdRng, calls: usize) -> Vec<Play> {
    let plays = (0..calls).map(|_| match random.random_range(0..8) {
        0 => Play::Panic,
        1 | 2 => Play::Fail(BackendError::before_send(Kind::QueueFull)),
        3 => Play::Fail(BackendError::before_send(Kind::Timeout(Clock::Queue))),
        4 => Play::Stream(vec![chunk("half", None)], Some(BackendError::before_send(Kind::Internal("gone".into())))),
        _ => answer("of the house"),
    });
    plays.collect()
}

fn request(random: &mut StdRng, n: usize) -> (Ask, &'static str) {
    let class = *CLASSES.choose(random).unwrap();
    let hard = "Prove step by step that the algorithm terminates and derive its complexity in detail.";
    let text = format!("canary-{class}-{n} {}", if random.random() { hard } else { "Hello!" });
    let wish = *[RouteWish::Auto, RouteWish::Auto, RouteWish::Local, RouteWish::Hosted].choose(random).unwrap();
    let model = *["auto", "auto", LOCAL, HOSTED].choose(random).unwrap();
    let asked = ask(&format!("r{n}"), &text, &json!({"model": model, "stream": random.random::<bool>()}));
    (Ask { wish, class: Some(class.into()), ..asked }, class)
}

/// All of an answer, as far as it goes.
async fn read(answer: Answer) -> String {
    let mut stream = match answer.body {
        AnswerBody::Whole { body, .. } => return String::from_utf8(body.to_vec()).unwrap(),
        AnswerBody::Stream(stream) => stream,
    };
    let mut all = String::new();
    while let Some(Piece::Frame(frame)) = stream.next().await {
        all.push_str(std::str::from_utf8(&frame).unwrap());
    }
    all
}

#[tokio::test]
async fn however_the_model_in_the_house_fails_no_hosted_one_gets_what_it_may_not_have() {
    let full = std::env::var_os("SLUICE_TEST_SIZE").is_some_and(|size| size == "full");
    let (rounds, at_once) = (if full { 400 } else { 40 }, 25);
    let mut random = StdRng::seed_from_u64(5);
    let (house, hosted) = (Holds::new(trouble(&mut random, rounds * at_once)), Holds::new(vec![answer("hosted")]));
    let models = vec![model(LOCAL, Location::Local, house.clone()), model(HOSTED, Location::Hosted, hosted.clone())];
    let limit = BudgetSpec::dollars(Scope::Org, NanoDollars(1_000_000_000_000), Window::Total);
    let bench = Bench::limited(RouterConfig { cascade: NO_LOOK, ..config() }, models, half(), vec![limit]);
    let (mut panics, mut full_queues, mut restricted_in_vain) = (0, 0, 0);
    for round in 0..rounds {
        let mut asking = JoinSet::new();
        for n in 0..at_once {
            let (asked, class) = request(&mut random, round * at_once + n);
            let router = bench.router.clone();
            asking.spawn(async move {
                let answered = router.answer(asked).await;
                let said = match answered {
                    Ok(answer) => Ok(read(answer).await),
                    Err(denied) => Err(denied.by),
                };
                (class, said)
            });
        }
        while let Some(ended) = tokio::time::timeout(LONG, asking.join_next()).await.expect("in time") {
            match ended {
                Err(error) => panics += usize::from(error.is_panic()),
                Ok((class, Err(by))) => {
                    let full = matches!(&by, DeniedBy::Backend(error) if matches!(error.kind, Kind::QueueFull));
                    full_queues += usize::from(full);
                    restricted_in_vain += usize::from(class == "restricted");
                }
                Ok((class, Ok(text))) => assert!(class != "restricted" || !text.contains("hosted"), "{class}: {text}"),
            }
        }
    }
    assert!(panics > 0 && full_queues > 0 && restricted_in_vain > 0, "{panics} {full_queues} {restricted_in_vain}");
    for class in CLASSES {
        assert!(house.marks(class) > 0, "the house never saw {class}: the test shows nothing");
        assert_eq!(hosted.marks(class) > 0, class != "restricted", "{class}");
    }
    let state = bench.budgets.states(jiff::Timestamp::now()).remove(0).dollars.unwrap();
    assert_eq!(state.held_usd, NanoDollars::ZERO, "nothing stays set aside");
}

//! A second local sample of a short whole answer that is hard to tell: agreement keeps it, disagreement escalates.

use super::bench::{self, HOSTED, LOCAL, LONG, NO_LOOK, chunk, config, half, model, text_of};
use adapters::scripted::{Play, Scripted};
use adapters::wire::Certainty;
use adapters::{Backend, BackendError, Call, Description, Events, Kind};
use async_trait::async_trait;
use parking_lot::Mutex;
use policies::{Location, NanoDollars, Readiness};
use router::{Answer, AnswerBody, CascadeConfig, RouterConfig};
use serde_json::{Value, json};
use std::ops::Deref;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Uncertainty of a token at which its log-probability alone moves the doubt from one end to the other.
const ENTROPY: f32 = 2.0;
const SURE: f32 = -0.01;
const CLUELESS: f32 = -9.0;

/// A scripted backend that keeps what it was asked.
struct Noting {
    script: Scripted,
    calls: Mutex<Vec<Call>>,
    more: Notify,
}

// === impl Noting ===

impl Noting {
    /// Waits until it was asked so often.
    async fn asked(&self, times: usize) {
        loop {
            let more = self.more.notified();
            if self.calls.lock().len() >= times {
                return;
            }
            more.await;
        }
    }
}

#[async_trait]
impl Backend for Noting {
    async fn call(&self, call: Call) -> Result<Events, BackendError> {
        self.calls.lock().push(call.clone());
        self.more.notify_waiters();
        self.script.call(call).await
    }

    fn readiness(&self) -> Readiness {
        self.script.readiness()
    }

    fn describe(&self) -> Description {
        self.script.describe()
    }
}

/// A local answer, a token a word, that its model is so sure of.
fn told(text: &str, logprob: f32) -> Play {
    let certainty = Certainty { logprob, entropy: ENTROPY };
    let mut all: Vec<_> = text.split_inclusive(' ').map(|word| (chunk(word, None), certainty)).collect();
    all.push((chunk("", Some("stop")), certainty));
    Play::Told(all)
}

struct Bench {
    bench: bench::Bench,
    local: Arc<Noting>,
    hosted: Arc<Noting>,
}

impl Deref for Bench {
    type Target = bench::Bench;

    fn deref(&self) -> &bench::Bench {
        &self.bench
    }
}

const TWICE: CascadeConfig = CascadeConfig { width: 0.5, samples: 2, ..NO_LOOK };

// === impl Bench ===

impl Bench {
    fn new(local: Vec<Play>, cascade: CascadeConfig) -> Self {
        let noting = |script: Vec<Play>| {
            Arc::new(Noting { script: Scripted::new(script), calls: Mutex::default(), more: Notify::new() })
        };
        let (local, hosted) = (noting(local), noting(vec![Play::Stream(vec![chunk("hosted ", Some("stop"))], None)]));
        let models =
            vec![model(LOCAL, Location::Local, local.clone()), model(HOSTED, Location::Hosted, hosted.clone())];
        let bench = bench::Bench::new(RouterConfig { cascade, ..config() }, models, half());
        Self { bench, local, hosted }
    }

    async fn ask(&self, id: &str, stream: bool, more: Value) -> Answer {
        let mut more = more;
        more["stream"] = stream.into();
        self.answer(bench::ask(id, "Compare two things.", &more)).await
    }

    /// A whole answer's text.
    async fn whole(&self, id: &str) -> String {
        let answer = self.ask(id, false, json!({})).await;
        assert!(matches!(answer.body, AnswerBody::Whole { .. }));
        text_of(answer).await
    }

    /// Purposes and outcomes of the lines.
    fn ways(&self, id: &str) -> Vec<(String, String)> {
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let story = self.story(id);
        let lines = story["attempt_log"].as_array().unwrap().iter();
        lines.map(|line| (word(&line["purpose"]), word(&line["outcome"]))).collect()
    }
}

fn lines<const N: usize>(lines: [(&str, &str); N]) -> Vec<(String, String)> {
    lines.map(|(purpose, outcome)| (purpose.to_owned(), outcome.to_owned())).into()
}

/// A log-probability at which the head is as unsure of this answer as it can be, whatever the head in the binary is.
async fn torn(text: &str) -> f32 {
    let (mut sure, mut clueless) = (SURE, CLUELESS);
    for _ in 0..10 {
        let middle = f32::midpoint(sure, clueless);
        let bench = Bench::new(vec![told(text, middle)], CascadeConfig { observe: true, samples: 1, ..TWICE });
        bench.whole("r").await;
        let look = &bench.story("r")["cascade"];
        let doubtful = look["wrong"].as_f64().unwrap() >= look["threshold"].as_f64().unwrap();
        *(if doubtful { &mut clueless } else { &mut sure }) = middle;
    }
    f32::midpoint(sure, clueless)
}

#[tokio::test]
async fn an_answer_that_is_drawn_again_is_kept() {
    let unsure = torn("It is 42.").await;
    let bench = Bench::new(vec![told("It is 42.", unsure), told("it is  42.0", unsure)], TWICE);
    let text = bench.whole("r").await;
    assert!(text.contains("It is 42.") && !text.contains("42.0"), "the first one is sent: {text}");
    let story = bench.story("r");
    assert_eq!((&story["cascade"]["agreement"], &story["cascade"]["verdict"]), (&json!("agreed"), &json!("kept")));
    assert_eq!(bench.ways("r"), lines([("answer", "ok"), ("judge", "ok")]));
    assert_eq!(bench.hosted.script.calls(), 0);
    let sample = &story["attempt_log"][1];
    assert_eq!((&sample["route"], &sample["model"]), (&json!("local"), &json!(LOCAL)));
    assert!(sample["output_tokens"].as_u64().unwrap() > 0, "its tokens count: {sample}");
    assert!(sample["baseline_usd"].is_null(), "nobody would have paid for it: {sample}");
}

#[tokio::test]
async fn an_answer_that_is_drawn_otherwise_escalates_and_nothing_of_either_is_sent() {
    let unsure = torn("It is 42.").await;
    let bench = Bench::new(vec![told("It is 42.", unsure), told("It is 43.", SURE)], TWICE);
    let text = bench.whole("r").await;
    assert!(text.contains("hosted") && !text.contains("It is"), "{text}");
    let look = &bench.story("r")["cascade"];
    assert_eq!((&look["agreement"], &look["verdict"]), (&json!("differed"), &json!("escalated")));
    assert_eq!(bench.ways("r"), lines([("answer", "rejected"), ("judge", "ok"), ("answer", "ok")]));
    assert_eq!(bench.story("r")["reason"], "cascade");
}

#[tokio::test]
async fn the_second_sample_asks_the_same_hotter_with_another_seed_and_unwatched() {
    let unsure = torn("It is 42.").await;
    let bench = Bench::new(vec![told("It is 42.", unsure)], TWICE);
    let more = json!({"temperature": 0.2, "seed": 7, "max_tokens": 50, "x_own": [1.5]});
    assert_eq!(bench.ask("r", false, more).await.head.attempts, 2);
    let calls = bench.local.calls.lock();
    let [first, second] = calls.as_slice() else { panic!("{calls:?}") };
    let sampling = |call: &Call| call.request.view.sampling.clone();
    assert_eq!((sampling(first).temperature, sampling(first).seed), (Some(0.2), Some(7)));
    assert_eq!((sampling(second).temperature, sampling(second).seed), (Some(0.7), Some(8)));
    assert_eq!(sampling(second).max_tokens, Some(50));
    assert_eq!(second.request.raw.field("x_own"), Some("[1.5]"));
    assert_eq!(first.request.raw.field("messages"), second.request.raw.field("messages"));
    assert!(first.watch && !second.watch);
}

#[tokio::test]
async fn who_is_sure_or_clueless_is_asked_once() {
    for (logprob, outcomes) in
        [(SURE, lines([("answer", "ok")])), (CLUELESS, lines([("answer", "rejected"), ("answer", "ok")]))]
    {
        let bench = Bench::new(vec![told("It is 42.", logprob)], TWICE);
        bench.whole("r").await;
        assert_eq!(bench.ways("r"), outcomes);
        assert_eq!(bench.local.script.calls(), 1);
        assert!(bench.story("r")["cascade"].get("agreement").is_none());
    }
}

#[tokio::test]
async fn nobody_is_asked_twice_for_a_stream_a_long_answer_or_without_being_told_to() {
    let long = "word ".repeat(40);
    for (text, stream, samples) in [("It is 42.", true, 2), (long.as_str(), false, 2), ("It is 42.", false, 1)] {
        let unsure = torn(text).await;
        let bench = Bench::new(vec![told(text, unsure)], CascadeConfig { samples, ..TWICE });
        let answer = bench.ask("r", stream, json!({})).await;
        if let AnswerBody::Stream(mut stream) = answer.body {
            while stream.next().await.is_some() {}
        }
        assert_eq!(bench.local.script.calls(), 1, "{text} {stream} {samples}");
    }
}

#[tokio::test]
async fn a_second_sample_that_fails_leaves_the_doubt_to_decide() {
    let unsure = torn("It is 42.").await;
    let down = Play::Fail(BackendError::before_send(Kind::NotReady("down".into())));
    let bench = Bench::new(vec![told("It is 42.", unsure), down], TWICE);
    let text = bench.whole("r").await;
    let look = &bench.story("r")["cascade"];
    assert_eq!(look["agreement"], "failed");
    let kept = look["wrong"].as_f64().unwrap() < look["threshold"].as_f64().unwrap();
    assert_eq!((look["verdict"] == "kept", text.contains("It is 42.")), (kept, kept));
    assert_eq!(bench.ways("r")[1], ("judge".to_owned(), "error".to_owned()));
}

#[tokio::test]
async fn observing_keeps_an_answer_that_is_drawn_otherwise_and_says_so() {
    let unsure = torn("It is 42.").await;
    let observing = CascadeConfig { observe: true, ..TWICE };
    let bench = Bench::new(vec![told("It is 42.", unsure), told("It is 43.", unsure)], observing);
    assert!(bench.whole("r").await.contains("It is 42."));
    let look = &bench.story("r")["cascade"];
    assert_eq!((&look["agreement"], &look["verdict"]), (&json!("differed"), &json!("would_escalate")));
    assert_eq!(bench.hosted.script.calls(), 0);
}

#[tokio::test]
async fn a_hedge_runs_beside_both_samples_and_every_attempt_has_its_own_line() {
    let unsure = torn("It is 42.").await;
    let hang = |second: Play| vec![told("It is 42.", unsure), second];
    // The second sample never comes, and the client leaves: three lines, each with its end.
    let bench = Bench::new(hang(Play::Hang), CascadeConfig { hedge: true, ..TWICE });
    // The hosted call has its opening line before it is dialled.
    let both_run = async {
        bench.local.asked(2).await;
        bench.hosted.asked(1).await;
    };
    tokio::select! {
        answer = bench.ask("r", false, json!({})) => panic!("answered: {answer:?}"),
        both = timeout(LONG, both_run) => both.unwrap(),
    }
    let all = bench.lines("r", 3).await;
    let words: Vec<_> = all.iter().map(|line| (&line["attempt"], &line["outcome"])).collect();
    let (one, two, three) = (json!(1), json!(2), json!(3));
    let (left, cancelled) = (json!("disconnected"), json!("cancelled"));
    assert_eq!(words, [(&one, &left), (&two, &cancelled), (&three, &cancelled)]);
    let cost: NanoDollars = serde_json::from_value(all[1]["cost_usd"].clone()).unwrap();
    assert!(cost > NanoDollars::ZERO);
}

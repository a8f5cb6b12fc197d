//! A model shared by the tests of this binary, and a client.

use adapters::local::{LocalEngine, LocalSpec, Source};
use adapters::wire::{Fold, WireRequest, sse};
use adapters::{Backend, BackendError, Call, Event};
use futures::StreamExt;
use policies::{Classes, Counted, Endpoint, Location, Readiness, RequestId};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// The folder that the product uses, too.
#[expect(clippy::disallowed_methods, reason = "tests read the environment themselves")]
pub(crate) fn cache_dir() -> PathBuf {
    match (std::env::var("XDG_CACHE_HOME"), std::env::var("HOME")) {
        (Ok(cache), _) if !cache.is_empty() => PathBuf::from(cache).join("sluice"),
        (_, Ok(home)) => PathBuf::from(home).join(".cache/sluice"),
        (_, Err(_)) => std::env::temp_dir().join("sluice"),
    }
}

/// A variable, or a default.
#[expect(clippy::disallowed_methods, reason = "tests read the environment themselves")]
pub(crate) fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

pub(crate) fn smollm2_spec() -> LocalSpec {
    LocalSpec::new("in-process".into(), Source::parse("smollm2-135m"), cache_dir())
}

/// One runtime for the engine that the tests share: a runtime of a single test would take its timers along.
pub(crate) fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
}

pub(crate) fn smollm2() -> Arc<LocalEngine> {
    static ENGINE: OnceLock<Arc<LocalEngine>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        LocalEngine::spawn(LocalSpec { queue: 64, queue_wait: std::time::Duration::from_secs(300), ..smollm2_spec() })
    });
    assert_eq!(runtime().block_on(engine.settled()), Readiness::Ready);
    Arc::clone(engine)
}

pub(crate) fn call(endpoint: Endpoint, body: &Value) -> Call {
    let request = WireRequest::parse(endpoint, body.to_string().into()).unwrap();
    Call {
        permit: Classes::standard()
            .permit(Classes::standard().highest(), &"in-process".into(), Location::Local, None)
            .unwrap(),
        request: Arc::new(request),
        id: RequestId::from("test"),
        model: "smollm2".into(),
        stream: true,
        max_output: None,
        masked: None,
        traceparent: None,
        watch: false,
    }
}

/// An answer, as a client that streams sees it.
#[derive(Debug)]
pub(crate) struct Answer {
    /// All deltas folded into one object.
    pub(crate) whole: Value,
    pub(crate) text: String,
    pub(crate) finish: String,
    pub(crate) prompt: u64,
    pub(crate) completion: u64,
    pub(crate) deltas: usize,
}

pub(crate) async fn run(engine: &LocalEngine, endpoint: Endpoint, body: Value) -> Result<Answer, BackendError> {
    let mut events = engine.call(call(endpoint, &body)).await?;
    let mut fold = Fold::new(endpoint);
    let mut answer =
        Answer { whole: Value::Null, text: String::new(), finish: String::new(), prompt: 0, completion: 0, deltas: 0 };
    let (mut running, mut exact, mut done) = (0, 0, 0);
    while let Some(event) = events.next().await {
        match event? {
            Event::Delta { frame, seen } => {
                assert_eq!((exact, done), (0, 0), "nothing but [DONE] comes after usage");
                let payload = sse::data(&frame).unwrap();
                if endpoint == Endpoint::Chat {
                    serde_json::from_slice::<Value>(&payload).unwrap();
                }
                fold.push(&payload);
                answer.deltas += 1;
                answer.text.push_str(&seen.text);
                if let Some(finish) = seen.finish {
                    assert!(answer.finish.is_empty(), "one finish");
                    answer.finish = finish;
                }
                match seen.usage.unwrap() {
                    Counted::AtLeast(usage) => {
                        assert!(usage.output.0 >= running && !seen.usage_only);
                        running = usage.output.0;
                    }
                    Counted::Exact(usage) => {
                        assert!(seen.usage_only && usage.output.0 == running);
                        exact += 1;
                        answer.prompt = usage.input.0;
                        answer.completion = usage.output.0;
                    }
                }
            }
            Event::Done => done += 1,
            Event::Whole { .. } => panic!("the engine streams"),
        }
    }
    assert_eq!((exact, done), (1, 1), "usage once, [DONE] once");
    answer.whole = fold.finish();
    Ok(answer)
}

/// Runs a chat request to its end.
pub(crate) fn chat(engine: &LocalEngine, body: Value) -> Result<Answer, BackendError> {
    runtime().block_on(run(engine, Endpoint::Chat, body))
}

//! Clients that leave, queues that fill, files that are cut short, engines that die.

use crate::support::{call, chat, runtime, smollm2_spec};
use adapters::local::{LocalEngine, LocalSpec, Source, SpecError, store, validate};
use adapters::{Backend, Event, Kind, Phase};
use futures::StreamExt;
use policies::{Endpoint, Readiness};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn long_story(limit: u64) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "Write a long story about the sea."}], "temperature": 0, "max_tokens": limit})
}

/// An engine of one's own, with the same weights.
fn own(spec: LocalSpec) -> Arc<LocalEngine> {
    let engine = LocalEngine::spawn(spec);
    assert_eq!(runtime().block_on(engine.settled()), Readiness::Ready);
    engine
}

async fn text_in(events: &mut adapters::Events, pieces: usize) {
    let mut seen = 0;
    while seen < pieces {
        if let Event::Delta { seen: part, .. } = events.next().await.unwrap().unwrap() {
            seen += usize::from(!part.text.is_empty());
        }
    }
}

#[test]
fn a_client_that_leaves_stops_the_generation_within_two_tokens() {
    let engine = own(smollm2_spec());
    runtime().block_on(async {
        let before = engine.generated();
        let mut events = engine.call(call(Endpoint::Chat, &long_story(400))).await.unwrap();
        text_in(&mut events, 3).await;
        let at_leave = engine.generated();
        drop(events);
        // The next request is answered only when the sequence before it has left the engine.
        let mut next = engine.call(call(Endpoint::Chat, &long_story(1))).await.unwrap();
        while next.next().await.is_some() {}
        let after = engine.generated() - 1;
        assert!(at_leave - before >= 3 && after - at_leave <= 2, "{before} {at_leave} {after}");
    });
}

#[test]
fn a_slow_reader_holds_nobody_up() {
    let engine = own(smollm2_spec());
    runtime().block_on(async {
        let slow = engine.call(call(Endpoint::Chat, &long_story(20))).await.unwrap();
        let quick = engine.call(call(Endpoint::Chat, &long_story(2))).await.unwrap().collect::<Vec<_>>().await;
        assert!(quick.iter().all(Result::is_ok));
        assert!(slow.collect::<Vec<_>>().await.iter().all(Result::is_ok));
    });
}

#[test]
fn a_full_queue_refuses_at_once_and_a_long_wait_ends() {
    let engine = own(LocalSpec { queue: 1, queue_wait: Duration::from_millis(50), ..smollm2_spec() });
    runtime().block_on(async {
        let mut running = engine.call(call(Endpoint::Chat, &long_story(200))).await.unwrap();
        text_in(&mut running, 1).await;
        assert!(engine.first_token_in(10).unwrap() > Duration::from_millis(100));
        let (second, third) = (call(Endpoint::Chat, &long_story(2)), call(Endpoint::Chat, &long_story(2)));
        let (second, third) = tokio::join!(engine.call(second), engine.call(third));
        let kinds = [second.err().unwrap().kind, third.err().unwrap().kind];
        assert!(kinds.iter().any(|kind| matches!(kind, Kind::QueueFull)), "{kinds:?}");
        assert!(kinds.iter().any(|kind| matches!(kind, Kind::Timeout(adapters::Clock::Queue))), "{kinds:?}");
    });
}

#[test]
fn four_at_once_get_their_own_answers() {
    let engine = own(smollm2_spec());
    let answers = runtime().block_on(async {
        let calls = ["Japan", "France", "Germany", "Japan"].map(|land| {
            let text = format!("Name the capital of {land}.");
            json!({"model": "m", "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 16})
        });
        let answers = calls.map(|body| crate::support::run(&engine, Endpoint::Chat, body));
        futures::future::join_all(answers).await
    });
    for (answer, city) in answers.into_iter().zip(["Tokyo", "Paris", "Berlin", "Tokyo"]) {
        let answer = answer.unwrap();
        assert!(answer.text.contains(city), "{}", answer.text);
    }
    assert_eq!(validate(&LocalSpec { concurrency: 2, ..smollm2_spec() }), Err(SpecError::Concurrency));
}

#[test]
fn an_engine_that_dies_fails_its_requests_and_comes_back() {
    let engine = own(smollm2_spec());
    runtime().block_on(async {
        let mut events = engine.call(call(Endpoint::Chat, &long_story(200))).await.unwrap();
        text_in(&mut events, 2).await;
        engine.fail_next_step();
        let rest: Vec<_> = events.collect().await;
        let error = rest.into_iter().find_map(Result::err).expect("one error, never silence");
        assert!(matches!(error.kind, Kind::Internal(_)) && error.phase == Phase::Streaming, "{error:?}");
        let mut changes = engine.changes();
        let mut was_down = false;
        while !(was_down && engine.readiness() == Readiness::Ready) {
            if let Readiness::Down { retry_after, .. } = engine.readiness() {
                assert!(retry_after.is_some());
                was_down = true;
            }
            changes.changed().await.unwrap();
        }
    });
    assert_eq!(chat(&engine, long_story(3)).unwrap().completion, 3);
}

#[test]
fn a_truncated_file_is_named_before_and_at_loading() {
    let folder = tempfile::tempdir().unwrap();
    let whole = store::resolve(&Source::parse("smollm2-135m"), &crate::support::cache_dir(), &|_| {}).unwrap();
    let bytes = std::fs::read(whole).unwrap();
    for (name, keep) in
        [("head.gguf", 3000), ("half.gguf", bytes.len() / 2), ("last.gguf", bytes.len() - 1), ("none.gguf", 0)]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes[..keep]).unwrap();
        let spec = LocalSpec { source: Source::Path(path), ..smollm2_spec() };
        let says = validate(&spec).unwrap_err().to_string();
        assert!(says.contains("truncated") || keep == 0 && says.contains("not a GGUF"), "{says}");
        let engine = LocalEngine::spawn(spec);
        assert_eq!(runtime().block_on(engine.settled()), Readiness::Down { why: says, retry_after: None });
        let refused = runtime().block_on(engine.call(call(Endpoint::Chat, &long_story(1)))).err().unwrap();
        assert!(matches!(refused.kind, Kind::NotReady(_)) && refused.phase == Phase::BeforeSend);
    }
    let missing = LocalSpec { source: Source::parse("/nowhere/x.gguf"), ..smollm2_spec() };
    assert!(matches!(validate(&missing), Err(SpecError::NotFound(_))));
}

#[test]
fn a_file_that_makes_the_loader_panic_takes_nobody_along() {
    let folder = tempfile::tempdir().unwrap();
    let whole = store::resolve(&Source::parse("smollm2-135m"), &crate::support::cache_dir(), &|_| {}).unwrap();
    let mut bytes = std::fs::read(whole).unwrap();
    // The key that the loader unwraps gets another name of the same length.
    let key = b"llama.block_count";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
    bytes[at..at + key.len()].copy_from_slice(b"llama.block_cOunt");
    let path = folder.path().join("bent.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let spec = LocalSpec { source: Source::Path(path), cache_dir: folder.path().to_owned(), ..smollm2_spec() };
    let engine = LocalEngine::spawn(spec);
    assert!(matches!(runtime().block_on(engine.settled()), Readiness::Down { retry_after: None, .. }));
}

#[test]
fn shutting_down_lets_the_answer_end_and_refuses_the_next() {
    let engine = own(smollm2_spec());
    runtime().block_on(async {
        let mut events = engine.call(call(Endpoint::Chat, &long_story(12))).await.unwrap();
        text_in(&mut events, 1).await;
        engine.shutdown().await;
        assert!(events.collect::<Vec<_>>().await.iter().all(Result::is_ok));
        assert!(engine.call(call(Endpoint::Chat, &long_story(1))).await.is_err());
    });
}

//! Clients that leave answers of a provider that bills them all the same.

use super::puppet::{HOSTED, Line, SURE, Setting, Stage, answered, dollars};
use policies::{NanoDollars, RouteWish};
use router::{Answer, AnswerBody, AnswerStream, Ask, CascadeConfig, Piece};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// Answers of one provider that are read on at a time, and for how long at most: as the documentation says.
const AT_ONCE: usize = 32;
const LONGEST: Duration = Duration::from_secs(60);

fn stage(bills: bool) -> Stage {
    let cascade = CascadeConfig { width: 0.0, ..Setting::default().cascade };
    Stage::new(Setting { bills, cascade, limit: Some(NanoDollars(1_000_000_000)), ..Setting::default() })
}

/// A hosted stream that has begun.
async fn begun(stage: &Stage, id: &str) -> (Box<AnswerStream>, Line) {
    let asked =
        Ask { wish: RouteWish::Hosted, ..super::bench::ask(id, "Compare two things.", &json!({"stream": true})) };
    let router = stage.router.clone();
    let asking = async move { router.answer(asked).await.unwrap_or_else(|denied| panic!("denied: {denied:?}")) };
    let playing = async {
        let line = stage.hosted[0].next().await;
        line.text("one ");
        line
    };
    let (answer, line): (Answer, Line) = tokio::join!(asking, playing);
    let AnswerBody::Stream(mut stream) = answer.body else { panic!("a stream was asked for") };
    assert!(matches!(stream.next().await, Some(Piece::Frame(_))));
    (stream, line)
}

async fn line(stage: &Stage, id: &str) -> Value {
    let line = stage.lines(id, 1).await.remove(0);
    assert_eq!((&line["outcome"], &line["error"]), (&json!("disconnected"), &json!("client_left")));
    let state = stage.budgets.states(jiff::Timestamp::now()).remove(0).dollars.unwrap();
    assert_eq!((state.held_usd, state.spent_usd), (NanoDollars::ZERO, dollars(&line["cost_usd"])));
    line
}

#[tokio::test]
async fn the_rest_is_read_and_what_the_provider_says_is_charged_a_zero_as_a_zero() {
    for (input, output) in [(11, 7), (0, 0)] {
        let stage = stage(true);
        let (stream, upstream) = begun(&stage, "r").await;
        drop(stream);
        upstream.text("two ");
        upstream.read(2).await;
        upstream.delta("", Some("stop"), None);
        upstream.usage(input, output);
        upstream.end();
        let line = line(&stage, "r").await;
        assert_eq!(line["counted"], "exact");
        assert_eq!((&line["input_tokens"], &line["output_tokens"]), (&json!(input), &json!(output)));
        assert_eq!(dollars(&line["cost_usd"]), NanoDollars((input + output) * 1_000));
    }
}

#[tokio::test]
async fn where_it_does_not_say_the_most_is_charged() {
    let stage = stage(true);
    let (stream, upstream) = begun(&stage, "r").await;
    drop(stream);
    upstream.end();
    let line = line(&stage, "r").await;
    assert_eq!((&line["counted"], &line["cost_usd"]), (&json!("at_least"), &line["ceiling_usd"]));
}

#[tokio::test]
async fn a_count_in_the_midst_of_a_stream_is_not_its_last_word() {
    let stage = stage(true);
    let (mut stream, upstream) = begun(&stage, "r").await;
    // Some providers say with every event what it was so far.
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4});
    upstream.payload(&json!({"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": usage}));
    assert!(matches!(stream.next().await, Some(Piece::Frame(_))));
    drop(stream);
    drop(upstream);
    let line = line(&stage, "r").await;
    assert_eq!(line["cost_usd"], line["ceiling_usd"]);
}

#[tokio::test]
async fn of_one_provider_no_more_are_read_on_at_a_time_than_it_has_places() {
    let stage = stage(true);
    let mut running = Vec::new();
    for n in 0..=AT_ONCE {
        running.push(begun(&stage, &format!("r{n}")).await);
    }
    let (streams, lines): (Vec<_>, Vec<_>) = running.into_iter().unzip();
    drop(streams);
    // Who finds no place is stopped at once, and pays the most.
    lines[AT_ONCE].dropped().await;
    let last = stage.lines(&format!("r{AT_ONCE}"), 1).await.remove(0);
    assert_eq!(last["cost_usd"], last["ceiling_usd"]);
    for (n, upstream) in lines[..AT_ONCE].iter().enumerate() {
        upstream.delta("", Some("stop"), None);
        upstream.usage(5, 5);
        upstream.end();
        let line = stage.lines(&format!("r{n}"), 1).await.remove(0);
        assert_eq!((&line["counted"], dollars(&line["cost_usd"])), (&json!("exact"), NanoDollars(10_000)));
    }
    // The places are free again.
    let (stream, upstream) = begun(&stage, "again").await;
    drop(stream);
    upstream.usage(5, 5);
    upstream.end();
    assert_eq!(stage.lines("again", 1).await[0]["counted"], "exact");
}

#[tokio::test]
async fn nothing_is_read_on_for_longer_than_a_minute() {
    let stage = stage(true);
    let (stream, upstream) = begun(&stage, "r").await;
    drop(stream);
    upstream.text("two ");
    upstream.read(2).await;
    tokio::time::pause();
    tokio::time::advance(LONGEST + Duration::from_secs(1)).await;
    tokio::time::resume();
    upstream.dropped().await;
    let line = line(&stage, "r").await;
    assert_eq!(line["cost_usd"], line["ceiling_usd"]);
}

#[tokio::test]
async fn who_leaves_before_the_first_event_pays_the_most_and_elsewhere_what_was_seen() {
    let stage = stage(true);
    let asked = Ask { wish: RouteWish::Hosted, ..super::bench::ask("r", "Compare two things.", &json!({})) };
    let router = stage.router.clone();
    let asking = TaskTracker::new().spawn(async move { router.answer(asked).await.map(|_| ()) });
    let upstream = stage.hosted[0].next().await;
    asking.abort();
    upstream.dropped().await;
    let told = line(&stage, "r").await;
    assert_eq!(told["cost_usd"], told["ceiling_usd"]);
    // A provider that stops with its client bills what was streamed.
    let stage = self::stage(false);
    let (stream, upstream) = begun(&stage, "r").await;
    drop(stream);
    upstream.dropped().await;
    let told = line(&stage, "r").await;
    assert!(dollars(&told["cost_usd"]) < dollars(&told["ceiling_usd"]), "{told}");
    assert_eq!(told["counted"], "at_least");
}

#[tokio::test]
async fn a_hedge_that_nobody_needs_is_charged_its_most() {
    let stage = Stage::new(Setting { bills: true, ..Setting::default() });
    let asked = stage.ask("r", true, None);
    let local = stage.local.next().await;
    local.token("local ", SURE);
    let hosted = stage.hosted[0].next().await;
    hosted.text("hosted ");
    hosted.read(1).await;
    local.token("local ", SURE);
    local.end();
    super::bench::text_of(answered(asked).await).await;
    let lines = stage.lines("r", 2).await;
    assert_eq!((&lines[1]["outcome"], &lines[1]["model"]), (&json!("cancelled"), &json!(HOSTED[0])));
    assert_eq!(lines[1]["cost_usd"], lines[1]["ceiling_usd"]);
}

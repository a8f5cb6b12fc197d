//! Hedging: a hosted call that runs beside a local answer while that one is judged. Every event is sent by the test.

use super::bench::text_of;
use super::puppet::{HOSTED, ON, SURE, Setting, Stage, UNSURE, answered, dollars};
use adapters::Event;
use adapters::scripted::Play;
use policies::NanoDollars;
use router::CascadeConfig;
use serde_json::json;
use std::sync::atomic::Ordering;

#[tokio::test]
async fn the_hosted_call_is_on_the_ledger_and_dialled_while_the_local_beginning_is_held() {
    let bench = Stage::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    local.token("local ", UNSURE);
    let hosted = bench.hosted[0].next().await;
    assert!(local.call.watch && !hosted.call.watch);
    // The local attempt costs nothing and has no opening line: this one is the hosted attempt's.
    assert!(bench.ledger.knows("r").unwrap() && bench.ledger.request("r").unwrap().is_none());
    assert!(!asked.is_finished());
    local.token("local ", UNSURE);
    hosted.text("hosted ");
    hosted.end();
    assert!(text_of(answered(asked).await).await.contains("hosted "));
}

#[tokio::test]
async fn a_kept_local_answer_cancels_the_hosted_call_and_its_line_says_what_it_cost() {
    let bench = Stage::new(Setting::default());
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    local.token("local ", SURE);
    let hosted = bench.hosted[0].next().await;
    hosted.text("hosted words nobody reads ");
    hosted.read(1).await;
    local.token("local ", SURE);
    let answer = answered(asked).await;
    hosted.dropped().await;
    assert_eq!((answer.head.reason.as_str(), answer.head.attempts), ("classifier", 2));
    local.end();
    let text = text_of(answer).await;
    assert!(text.contains("local ") && !text.contains("hosted"), "{text}");
    let lines = bench.lines("r", 2).await;
    let (kept, cancelled) = (&lines[0], &lines[1]);
    assert_eq!((&kept["outcome"], &cancelled["outcome"]), (&json!("ok"), &json!("cancelled")));
    assert_eq!((&cancelled["counted"], &cancelled["model"]), (&json!("at_least"), &json!(HOSTED[0])));
    assert!(dollars(&cancelled["cost_usd"]) > NanoDollars::ZERO, "{cancelled}");
    assert!(cancelled["output_tokens"].as_u64().unwrap() > 0 && cancelled["input_tokens"].as_u64().unwrap() > 0);
    assert!(cancelled["baseline_usd"].is_null() && cancelled["error"].is_null(), "{cancelled}");
    let story = bench.story("r");
    assert_eq!((&story["route"], bench.attempts("r")), (&json!("local"), 2));
    assert_eq!(story["cascade"]["verdict"], "kept");
}

#[tokio::test]
async fn a_rejected_local_answer_is_followed_by_the_call_already_under_way_and_by_no_other() {
    // The hosted stream has begun before the verdict, or begins only after it.
    for early in [true, false] {
        let bench = Stage::new(Setting::default());
        let asked = bench.ask("r", true, None);
        let local = bench.local.next().await;
        local.token("local ", UNSURE);
        let hosted = bench.hosted[0].next().await;
        if early {
            hosted.text("hosted first ");
            hosted.text("hosted second ");
            hosted.read(1).await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(hosted.read.load(Ordering::SeqCst), 1, "no more is read than shows that it answers");
            local.token("local ", UNSURE);
            local.dropped().await;
        } else {
            local.token("local ", UNSURE);
            local.dropped().await;
            hosted.text("hosted first ");
            hosted.text("hosted second ");
        }
        hosted.end();
        let answer = answered(asked).await;
        assert_eq!((answer.head.reason.as_str(), answer.head.attempts), ("cascade", 2));
        let text = text_of(answer).await;
        assert!(!text.contains("local"), "no byte of the rejected one: {text}");
        assert_eq!(text.matches("hosted first ").count(), 1, "{text}");
        assert_eq!(text.matches("hosted second ").count(), 1, "{text}");
        assert_eq!(bench.outcomes("r", 2).await, ["rejected", "ok"]);
        assert!(bench.hosted[0].none().await && bench.hosted[1].none().await, "one hosted call");
        let story = bench.story("r");
        assert_eq!((&story["model"], bench.attempts("r")), (&json!(HOSTED[0]), 2));
        assert_eq!(story["cascade"]["verdict"], "escalated");
        // Its tokens are counted once, however early the first of them came.
        let spoken = adapters::tokens::count("hosted first hosted second ");
        assert_eq!(story["attempt_log"][1]["output_tokens"], json!(spoken));
        assert_eq!(story["attempt_log"][1]["baseline_usd"], story["attempt_log"][1]["cost_usd"]);
    }
}

#[tokio::test]
async fn a_whole_answer_is_hedged_too_and_a_cancelled_one_is_charged_the_providers_count() {
    for (certainty, words, outcomes) in
        [(UNSURE, "hosted words", ["rejected", "ok"]), (SURE, "local words", ["ok", "cancelled"])]
    {
        let bench = Stage::new(Setting::default());
        let asked = bench.ask("r", false, None);
        let local = bench.local.next().await;
        let hosted = bench.hosted[0].next().await;
        hosted.whole("hosted words", 11, 7);
        local.token("local words", certainty);
        local.delta("", Some("stop"), Some(certainty));
        local.send(Ok(Event::Done));
        let text = text_of(answered(asked).await).await;
        assert!(text.contains(words) && text.contains("hosted") != text.contains("local"), "{text}");
        let lines = bench.lines("r", 2).await;
        assert_eq!([&lines[0]["outcome"], &lines[1]["outcome"]], outcomes);
        assert!(bench.hosted[0].none().await);
        if certainty == UNSURE {
            assert_eq!((&lines[1]["input_tokens"], &lines[1]["output_tokens"]), (&json!(11), &json!(7)));
        }
    }
}

#[tokio::test]
async fn a_whole_hosted_answer_that_came_in_vain_is_charged_what_its_provider_counted() {
    let bench = Stage::new(Setting::default());
    let asked = bench.ask("r", false, None);
    let local = bench.local.next().await;
    local.token("local words", SURE);
    let hosted = bench.hosted[0].next().await;
    hosted.whole("hosted words", 11, 7);
    hosted.read(1).await;
    local.delta("", Some("stop"), Some(SURE));
    local.send(Ok(Event::Done));
    assert!(text_of(answered(asked).await).await.contains("local words"));
    let lines = bench.lines("r", 2).await;
    assert_eq!(lines[1]["outcome"], "cancelled");
    assert_eq!((&lines[1]["input_tokens"], &lines[1]["output_tokens"]), (&json!(11), &json!(7)));
}

#[tokio::test]
async fn observing_hedges_nothing() {
    let bench = Stage::new(Setting { cascade: CascadeConfig { observe: true, ..ON }, ..Setting::default() });
    let asked = bench.ask("r", true, None);
    let local = bench.local.next().await;
    for _ in 0..ON.hold_tokens {
        local.token("local ", UNSURE);
    }
    local.end();
    assert!(text_of(answered(asked).await).await.contains("local "));
    assert_eq!(bench.story("r")["cascade"]["verdict"], "would_escalate");
    assert!(bench.hosted[0].none().await);
    assert_eq!(bench.outcomes("r", 1).await, ["ok"]);
}

#[tokio::test]
async fn nobody_is_hedged_whom_a_constraint_keeps_out() {
    // Data that has to stay.
    let bench = Stage::new(Setting::default());
    let asked = bench.ask("stays", true, Some("restricted"));
    let local = bench.local.next().await;
    local.token("local ", UNSURE);
    local.token("local ", UNSURE);
    local.end();
    assert!(text_of(answered(asked).await).await.contains("local "));
    assert!(bench.hosted[0].none().await && bench.hosted[1].none().await);
    // The first hosted model is too small for the prompt: it is the second that is hedged.
    let bench = Stage::new(Setting { window: Some(1), ..Setting::default() });
    let asked = bench.ask("small", true, None);
    let local = bench.local.next().await;
    local.token("local ", SURE);
    let hosted = bench.hosted[1].next().await;
    local.token("local ", SURE);
    local.end();
    assert!(text_of(answered(asked).await).await.contains("local "));
    hosted.dropped().await;
    assert!(bench.hosted[0].none().await);
    assert_eq!(bench.lines("small", 2).await[1]["model"], HOSTED[1]);
}

#[tokio::test]
async fn a_local_answer_that_nobody_waits_for_needs_no_hedge() {
    let token = |text: &str, finish: Option<&str>| {
        let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": finish});
        (json!({"object": "chat.completion.chunk", "choices": [choice]}).to_string(), SURE)
    };
    let told = Play::Told(vec![token("local ", None), token("local ", None), token("", Some("stop"))]);
    let limit = Some(NanoDollars(1_000_000_000));
    let bench = Stage::new(Setting { at_once: Some(told), limit, ..Setting::default() });
    for stream in [true, false] {
        let id = format!("stream-{stream}");
        let answer = answered(bench.ask(&id, stream, None)).await;
        assert_eq!(answer.head.attempts, 1);
        assert!(text_of(answer).await.contains("local "));
        assert!(bench.hosted[0].none().await);
        assert_eq!(bench.outcomes(&id, 1).await, ["ok"]);
        assert_eq!((bench.attempts(&id), &bench.story(&id)["cascade"]["verdict"]), (1, &json!("kept")));
        let state = bench.budgets.states(jiff::Timestamp::now()).remove(0).dollars.unwrap();
        assert_eq!((state.held_usd, state.spent_usd), (NanoDollars::ZERO, NanoDollars::ZERO));
    }
}

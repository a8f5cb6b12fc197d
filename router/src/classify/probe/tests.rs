//! What the shipped head promises.

use super::*;
use adapters::wire::WireRequest;
use policies::Endpoint;
use std::time::Duration;

fn request(prompt: &str) -> WireRequest {
    let body = serde_json::json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]});
    WireRequest::parse(Endpoint::Chat, body.to_string().into()).unwrap()
}

#[test]
fn the_shipped_head_fits_this_program() {
    let probe = Probe::bundled().unwrap();
    assert_eq!(probe.cold_quantiles().len(), 101);
    assert!(probe.cold_quantiles().windows(2).all(|two| two[0] <= two[1]));
    assert!(probe.head().version().starts_with("need-"));
    let file = include_bytes!("../../../assets/heads/need.head");
    assert_eq!(write(probe.head()).unwrap(), file, "read and written back");
    assert!(file.len() < 2 << 20, "{} bytes", file.len());
    let sources: Vec<&str> = probe.head().header.provenance.rows.iter().map(|(source, _)| source.as_str()).collect();
    assert!(!sources.contains(&"bbh") && !sources.contains(&"ifeval"), "labels without a licence: {sources:?}");
}

#[test]
fn greetings_stay_below_proofs_in_several_languages() {
    let probe = Probe::bundled().unwrap();
    let easy = ["hello", "Danke, das hat geholfen!", "hola, ¿qué tal?", "Translate 'good night' to Spanish."];
    let hard = [
        "Prove that there are infinitely many primes of the form 4k + 3.",
        "Beweise, dass die Wurzel aus zwei irrational ist, und verallgemeinere den Beweis.",
        "Design a distributed rate limiter and argue why it never lets through more than the limit.",
    ];
    let hardest_easy = easy.iter().map(|prompt| probe.raw_score(prompt)).fold(0.0, f32::max);
    let easiest_hard = hard.iter().map(|prompt| probe.raw_score(prompt)).fold(1.0, f32::min);
    assert!(hardest_easy < easiest_hard, "{hardest_easy} {easiest_hard}");
}

#[test]
fn contributions_are_named_and_few_and_a_judgement_repeats() {
    let probe = Probe::bundled().unwrap();
    let reading = Reading::of_prompt("Explain step by step why the harmonic series diverges.");
    let judged = probe.judge(&reading);
    assert_eq!(judged, probe.judge(&reading));
    assert!((1..=6).contains(&judged.contributions.len()));
    assert!(judged.contributions.windows(2).all(|two| two[0].1.abs() >= two[1].1.abs()));
    assert!((judged.need - probe.raw_score("Explain step by step why the harmonic series diverges.")).abs() < 1e-6);
}

#[tokio::test]
async fn who_is_late_is_not_waited_for() {
    let probe = Probe::bundled().unwrap();
    assert!(probe.has_encoder());
    // Running the encoder takes milliseconds.
    let late = Arc::new(Live::new(probe, Duration::from_micros(50)));
    // Through the router, a thousand times: `router/tests/answers/late.rs`.
    for n in 0..100 {
        let words = format!("{n} why is the sky blue? ").repeat(40);
        assert_eq!(late.judge(&request(&words)).await.unwrap_err(), "deadline", "{n}");
    }
}

#[tokio::test]
async fn who_finds_all_encoders_busy_is_judged_without_one_at_once_says_so_and_is_not_remembered_so() {
    let live = Arc::new(Live::new(Probe::bundled().unwrap(), Duration::from_secs(60)));
    let asked = request("Prove that there are infinitely many primes of the form 4k + 3.");
    let bare = Probe::bundled().unwrap().without_encoder().judge(&Reading::of_request(&asked));
    let mut places = Vec::new();
    // Other tests hold places for a while.
    let count = std::thread::available_parallelism().map_or(1, |count| count.get());
    while places.len() < count {
        places.extend(meaning::place().await);
    }
    let judged = live.judge(&asked).await.unwrap();
    assert_eq!((judged.skipped, judged.need), (Some("encoder"), bare.need));
    assert_eq!(bare.skipped, None, "a head without an encoder misses nothing");
    // Many at once do not wait one after the other: there is a queue of as many as there are encoders, and no more.
    let began = std::time::Instant::now();
    let many = futures::future::join_all((0..300).map(|n| {
        let (live, asked) = (live.clone(), request(&format!("{n}: why is the sky blue?")));
        async move { live.judge(&asked).await.unwrap().skipped }
    }));
    assert!(many.await.into_iter().all(|skipped| skipped == Some("encoder")));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(places);
    let judged = live.judge(&asked).await.unwrap();
    assert_eq!(judged, live.probe().judge(&Reading::of_request(&asked)), "the encoder takes part again");
    assert_eq!(judged.skipped, None);
}

#[tokio::test]
async fn the_same_request_again_is_remembered() {
    let live = Arc::new(Live::new(Probe::bundled().unwrap().without_encoder(), Duration::from_secs(5)));
    let asked = request("What is the capital of France?");
    let first = live.judge(&asked).await.unwrap();
    assert_eq!(first, live.judge(&asked).await.unwrap());
    assert_eq!(first, live.probe().judge(&Reading::of_request(&asked)), "live and offline agree");
}

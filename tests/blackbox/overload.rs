//! More than it can take, and upstreams that fail: what is refused is refused at once and says when to come again, what is
//! tried is tried once, and afterwards all is as before (reliability tests 4, 31, 32, 39, 40).

use futures::future::join_all;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tests::gateway::{config, write_config};
use tests::upstream::raw::{RawUpstream, Step};
use tests::upstream::{Manner, Nobody, Pace, Play};
use tests::{Gateway, Told, Upstream, chat, eventually, hosted_only, size, streamed, two_sides};

#[tokio::test]
async fn three_times_the_load_is_shed_at_once_and_what_is_accepted_is_served() {
    const PLACES: usize = 8;
    let upstream = Upstream::start().await;
    let pace = Pace::Every(Duration::from_millis(20));
    upstream.play("echo", Play::Answer(Manner { events: 10, pace, ..Manner::default() }));
    let gateway = Gateway::start(&format!("{}[limits]\nin_flight = {PLACES}\n", hosted_only(&upstream, "echo"))).await;
    let rounds = size(5, 100);
    // So many at a time, each asking again as soon as it has its answer; the accepted, and the slowest refusal.
    let load = async |hands: usize| {
        let (served, slowest) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let began = Instant::now();
        let over = AtomicBool::new(false);
        let hand = async || {
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let told = gateway.tell(&streamed("big", "x")).await;
                if told.status == 200 {
                    assert!(told.done(), "whoever is let in is served: {}", told.text());
                    if served.fetch_add(1, Ordering::Relaxed) + 1 >= rounds * PLACES {
                        over.store(true, Ordering::Relaxed);
                    }
                } else {
                    assert_eq!(told.error(503)["code"], "overloaded");
                    slowest.fetch_max(asked.elapsed().as_millis() as usize, Ordering::Relaxed);
                    let after: u64 = told.said("retry-after").parse().expect("a number");
                    assert!((1..=60).contains(&after));
                    // A pace and no wait: a client that heeds nothing, but is no flood.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        join_all((0..hands).map(|_| hand())).await;
        (
            served.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64(),
            Duration::from_millis(slowest.load(Ordering::Relaxed) as u64),
        )
    };
    // By turns, and the best of each: what else runs on this machine takes from both.
    let (mut fitting, mut overloaded, mut slowest) = (0_f64, 0_f64, Duration::MAX);
    for _ in 0..3 {
        fitting = fitting.max(load(PLACES).await.0);
        let (served, refused) = load(3 * PLACES).await;
        (overloaded, slowest) = (overloaded.max(served), slowest.min(refused));
    }
    assert!(
        overloaded > fitting * size(0.6, 0.9),
        "{fitting:.0} answers a second, {overloaded:.0} under three times the load"
    );
    assert!(slowest < Duration::from_secs(size(3, 1)), "a refusal took {slowest:?}");
    eventually("all is as before", async || (gateway.tell(&chat("big", "x")).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn an_upstream_that_fails_is_not_stormed_and_served_again_when_it_is_well() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    upstream.play("echo", Play::status(503));
    let asked = size(300, 6_000);
    let began = Instant::now();
    let mut refused = 0;
    for _ in 0..asked {
        let told = gateway.tell(&chat("big", "x")).await;
        assert!(matches!(told.status, 502 | 503), "{}", told.status);
        if told.status == 503 {
            refused += 1;
            assert!(told.header("retry-after").is_some());
        }
    }
    // Five open the breaker; then one probe for each time it was open: 1 s, 2 s, 4 s ...
    let probes = (began.elapsed().as_secs_f64() + 1.0).log2().ceil() as usize;
    assert!(upstream.count() <= 5 + probes, "{} calls in {:?}", upstream.count(), began.elapsed());
    assert_eq!(refused, asked - upstream.count(), "everybody else is told at once");
    upstream.play("echo", Play::events(3));
    let healed = Instant::now();
    eventually("it is served again", async || (gateway.tell(&chat("big", "x")).await.status == 200).then_some(()))
        .await;
    assert!(healed.elapsed() < Duration::from_secs(90), "within the longest time that a breaker stays open");
    for _ in 0..20 {
        assert_eq!(gateway.tell(&chat("big", "x")).await.status, 200, "one good probe, and all traffic is back");
    }
}

#[tokio::test]
async fn one_request_that_fails_everywhere_is_tried_once_each_and_logged_in_a_few_lines() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    // A tool call that is no JSON, an answer that is an error, a status: whatever it is, there is no loop.
    for (at, play) in [Play::named("ok-error"), Play::named("html"), Play::status(500)].into_iter().enumerate() {
        hosted.play("echo", play.clone());
        house.play("echo", play);
        let before = gateway.log.lock().len();
        let told = gateway.tell(&chat("auto", "What is the capital of France?")).await;
        told.error(502);
        assert_eq!(told.said("x-sluice-attempts"), "2");
        assert_eq!((hosted.count(), house.count()), (at + 1, at + 1), "each once");
        let grown = gateway.log.lock().len() - before;
        assert!(grown < 4 << 10, "{grown} bytes of log for one request");
    }
}

#[tokio::test]
async fn a_configuration_that_changes_all_the_time_fails_no_request() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    let over = AtomicBool::new(false);
    let asking = async {
        let mut asked = 0;
        while !over.load(Ordering::Relaxed) {
            let told = gateway.tell(&streamed("big", "x")).await;
            assert!(told.status == 200 && told.done(), "{}", told.text());
            asked += 1;
        }
        asked
    };
    let reloading = async {
        for round in 0..size(20, 100) {
            let places = 100 + round;
            let bad = round % 10 == 9;
            let more = if bad {
                "[limits]\nin_flightt = 1\n"
            } else {
                &format!("[limits]\nrequests_per_minute = {}\n", 1_000_000 + places)
            };
            write_config(gateway.folder.path(), &format!("{}{more}", hosted_only(&upstream, "echo")));
            gateway.signal("HUP");
            if bad {
                eventually("the wrong key is named", async || gateway.log.lock().contains("in_flightt").then_some(()))
                    .await;
            } else {
                let wanted = (1_000_000 + places).to_string();
                eventually("the new limit counts", async || {
                    let told = gateway.send("/v1/chat/completions", "{", &[]).await;
                    (told.header("x-ratelimit-limit-requests") == Some(wanted.as_str())).then_some(())
                })
                .await;
            }
        }
        over.store(true, Ordering::Relaxed);
    };
    let (asked, ()) = tokio::join!(asking, reloading);
    assert!(asked > 0);
}

#[tokio::test]
async fn a_collector_that_is_down_silent_or_mad_costs_nothing_but_its_own_data() {
    let (upstream, nobody) = (Upstream::start().await, Nobody::new());
    let (silent, mad) = (RawUpstream::start().await, RawUpstream::start().await);
    silent.play(vec![Step::Hold]);
    mad.send("SSH-2.0-nonsense\r\n\u{0}\u{1}");
    for (name, url) in [("down", &nobody.url), ("silent", &silent.url), ("mad", &mad.url)] {
        let endpoint = url.trim_end_matches("/v1");
        let rest = format!("{}[telemetry]\notlp_endpoint = \"{endpoint}\"\n", hosted_only(&upstream, "echo"));
        let mut gateway = Gateway::start(&rest).await;
        let asked = size(300, 20_000);
        let mut memory = 0;
        for n in 0..asked {
            assert_eq!(gateway.tell(&chat("big", "x")).await.status, 200, "{name}");
            if n == asked / 3 {
                memory = gateway.resident_kib();
            }
        }
        let grown = gateway.resident_kib().saturating_sub(memory);
        assert!(grown < 16 << 10, "{name}: it grew by {grown} KiB");
        let began = Instant::now();
        gateway.signal("TERM");
        assert_eq!(gateway.ended().await.code(), Some(0), "{name}");
        assert!(began.elapsed() < Duration::from_secs(30), "{name}: it ended after {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_file_of_nonsense_is_refused_and_the_process_goes_on_as_it_was() {
    let upstream = Upstream::start().await;
    let good = config(&hosted_only(&upstream, "echo"));
    let gateway = Gateway::start(&good).await;
    let mut dice = 7u64;
    for round in 0..size(30, 300) {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..3 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (dice >> 33) as usize % bytes.len();
            bytes[at] = b"\0[]={}\"'\n#\xff"[(dice >> 20) as usize % 11];
        }
        std::fs::write(gateway.folder.path().join("sluice.toml"), &bytes).expect("written");
        gateway.signal("HUP");
        let told: Told = gateway.tell(&chat("big", "x")).await;
        assert!(matches!(told.status, 200 | 404 | 502 | 503), "round {round}: {}", told.text());
        assert_eq!(gateway.get("/livez").await.status, 200);
    }
    write_config(gateway.folder.path(), &hosted_only(&upstream, "echo"));
    gateway.signal("HUP");
    eventually("a good one counts again", async || (gateway.tell(&chat("big", "x")).await.status == 200).then_some(()))
        .await;
}

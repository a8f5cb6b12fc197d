//! Whatever the network between gateway and upstream does, each client gets a definite end in time, and the others do not
//! notice (reliability test 33).

use futures::future::join_all;
use std::time::{Duration, Instant};
use tests::toxics::{Link, Toxic};
use tests::upstream::{Manner, Nobody, Pace, Play, provider};
use tests::{Gateway, Told, Upstream, chat, eventually, oracle, size, streamed};

/// Longer than the clocks below allow, and far less than a client waits.
const DEFINITE: Duration = Duration::from_secs(60);
const CLOCKS: &str = "[timeouts]\nconnect = \"1s\"\nfirst_event = \"1s\"\nidle = \"1s\"\ntotal = \"3s\"\n";

/// A kind of trouble, at a place that the seed chooses.
fn kinds(seed: u64) -> Vec<(&'static str, Toxic)> {
    // An answer of the fake is some 1,100 bytes long, its head some 150.
    let at = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as usize % 1_000;
    let pause = Duration::from_millis(1 + seed % 20);
    vec![
        ("clean", Toxic::Clean),
        ("late", Toxic::Latency(Duration::from_millis(10 + 10 * (seed % 20)))),
        ("jitter", Toxic::Jitter(Duration::from_millis(200), seed)),
        ("a byte at a time", Toxic::Slices(1, Duration::ZERO)),
        ("slices", Toxic::Slices(1 + at % 97, pause)),
        // 1 B/s and less: the idle clock does not see it, the total clock does.
        ("a trickle", Toxic::Slices(1, Duration::from_millis(500))),
        ("reset", Toxic::Reset(at)),
        ("half-close", Toxic::HalfClose(at)),
        ("closed", Toxic::Close(at)),
        ("black hole", Toxic::BlackHole(at)),
        ("deaf", Toxic::Deaf),
        ("refused", Toxic::Refuse),
        ("garbage", Toxic::Garbage(vec![0x15, 3, 1, 0, 2, 2, 0x46])),
        ("a flipped bit", Toxic::FlipBit(at)),
    ]
}

/// An end that leaves no doubt: an error in its shape, a whole answer, a finished stream, or one that says it broke off.
fn assert_definite(name: &str, told: &Told) {
    if told.status != 200 {
        assert!(told.whole, "{name}: an error is whole");
        told.error(told.status);
    } else if told.said("content-type").starts_with("text/event-stream") {
        assert!(told.done() != told.stream_error().is_some(), "{name}: {}", told.text());
    } else {
        assert!(told.whole && told.json()["choices"].is_array(), "{name}: {}", told.text());
    }
}

#[tokio::test]
async fn every_trouble_of_the_link_has_a_definite_end_and_others_do_not_notice() {
    let (upstream, healthy, nobody) = (Upstream::start().await, Upstream::start().await, Nobody::new());
    let pace = Pace::Every(Duration::from_millis(2));
    upstream.play("echo", Play::Answer(Manner { pace, ..Manner::default() }));
    let seeds = size(2, 100);
    let names = kinds(0).len();
    let mut links = Vec::new();
    let mut rest = format!("{CLOCKS}[ledger]\ndurability = \"process\"\n[limits]\nin_flight = {}\n", 3 * names + 8);
    for at in 0..names {
        let link = Link::to(&upstream.root).await;
        for seed in 0..seeds {
            // A provider each: a breaker that opens is another test's promise.
            let model = format!("m{at}-{seed}");
            rest.push_str(&provider(&link.url, &format!("p{at}-{seed}"), "hosted", &[(&model, "echo")]));
        }
        links.push(link);
    }
    rest.push_str(&healthy.provider("healthy", "hosted", &[("healthy", "echo")]));
    rest.push_str(&provider(&nobody.url, "nobody", "hosted", &[("nobody", "echo")]));
    rest.push_str(&provider("http://no-such-host.invalid/v1", "nameless", "hosted", &[("nameless", "echo")]));
    let mut gateway = Gateway::start(&rest).await;
    for model in ["nobody", "nameless"] {
        let told = gateway.tell(&chat(model, "x")).await;
        assert_eq!(told.error(502)["code"], "connect", "{model}");
    }
    for seed in 0..seeds {
        let kinds = kinds(seed);
        let trouble = kinds.iter().enumerate().map(|(at, (name, toxic))| {
            links[at].set(toxic.clone());
            let (gateway, model) = (&gateway, format!("m{at}-{seed}"));
            async move {
                let began = Instant::now();
                for body in [chat(&model, "x"), streamed(&model, "x")] {
                    let told = gateway.tell(&body).await;
                    assert_definite(name, &told);
                    let line = oracle::attempt(gateway, told.id()).await;
                    let fine = told.status == 200 && told.whole && told.stream_error().is_none();
                    assert_eq!(line["outcome"] == "ok", fine, "{name}: the ledger says it, too: {line}");
                    if matches!(*name, "clean" | "late" | "jitter") {
                        assert!(fine, "{name}: {}", told.text());
                    }
                }
                assert!(began.elapsed() < DEFINITE, "{name} took {:?}", began.elapsed());
            }
        });
        let others = async {
            for _ in 0..20 {
                let told = gateway.tell(&streamed("healthy", "x")).await;
                assert!(told.status == 200 && told.done(), "others are served: {}", told.text());
            }
        };
        tokio::join!(join_all(trouble), others);
    }
    eventually("nothing hangs: all links are let go", async || {
        upstream.log().iter().all(tests::upstream::Seen::over).then_some(())
    })
    .await;
    assert!(gateway.alive() && !gateway.log.lock().contains("panicked"));
}

#[tokio::test]
async fn an_upstream_whose_clock_has_run_out_is_let_go_at_once() {
    let upstream = Upstream::start().await;
    let link = Link::to(&upstream.root).await;
    let models = [("hang", "hang"), ("stall-first", "stall-first"), ("stall", "stall")];
    let mut rest = CLOCKS.to_owned();
    for model in models {
        rest.push_str(&provider(&link.url, model.0, "hosted", &[model]));
    }
    let gateway = Gateway::start(&rest).await;
    for (model, _) in models {
        let told = gateway.tell(&streamed(model, "x")).await;
        assert_definite(model, &told);
        let began = Instant::now();
        eventually("the connection is closed", async || (link.open() == 0).then_some(())).await;
        assert!(began.elapsed() < Duration::from_secs(1), "{model}: {:?}", began.elapsed());
    }
}

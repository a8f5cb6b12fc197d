//! The next target serves when the first cannot: before the first byte, each at most once, where everything agrees.

use tests::gateway::{Gateway, header};
use tests::upstream::Upstream;
use tests::{chat, streamed};

const EASY: &str = "What is the capital of France?";
const HARD: &str =
    "Prove step by step that the algorithm terminates, derive its complexity and compare the trade-offs in detail.";

async fn pair(small: &str, big: &str) -> (Upstream, Upstream, Gateway) {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let rest = format!(
        "{}{}[router]\nlocal = \"small\"\nhosted = \"big\"\nclassifier = \"heuristic\"\n[timeouts]\nfirst_event = \"300ms\"\n",
        house.provider("house", "local", &[("small", small)]),
        hosted.provider("hosted", "hosted", &[("big", big)]),
    );
    let gateway = Gateway::start(&rest).await;
    (house, hosted, gateway)
}

#[tokio::test]
async fn hosted_falls_back_to_local_and_local_to_hosted() {
    for (small, big, prompt, route) in [
        ("echo", "status-500", HARD, "local"),
        ("echo", "status-429", HARD, "local"),
        ("echo", "hang", HARD, "local"),
        ("echo", "html", HARD, "local"),
        ("status-503", "echo", EASY, "hosted"),
        ("hang", "echo", EASY, "hosted"),
    ] {
        for body in [chat("auto", prompt), streamed("auto", prompt)] {
            let (house, hosted, gateway) = pair(small, big).await;
            let response = gateway.chat(&body).await;
            assert_eq!(response.status(), 200, "{small} {big}");
            assert_eq!(header(&response, "x-sluice-route"), Some(route), "{small} {big}");
            assert_eq!(header(&response, "x-sluice-reason"), Some("fallback"));
            assert_eq!(header(&response, "x-sluice-attempts"), Some("2"));
            let id = header(&response, "x-sluice-request-id").expect("an id").to_owned();
            response.text().await.expect("text");
            assert_eq!((house.count(), hosted.count()), (1, 1), "each once");
            let story = gateway.api(&format!("/api/requests/{id}")).await;
            let outcomes: Vec<&str> = story["attempt_log"]
                .as_array()
                .expect("attempts")
                .iter()
                .filter_map(|attempt| attempt["outcome"].as_str())
                .collect();
            assert_eq!(outcomes, ["error", "ok"]);
        }
    }
}

#[tokio::test]
async fn when_all_fail_each_was_tried_once_and_the_error_is_the_last_ones() {
    let (house, hosted, gateway) = pair("status-500", "status-503").await;
    let response = gateway.chat(&chat("auto", HARD)).await;
    assert_eq!((response.status().as_u16(), header(&response, "x-sluice-attempts")), (502, Some("2")));
    assert_eq!((house.count(), hosted.count()), (1, 1));
}

#[tokio::test]
async fn nothing_is_tried_again_after_the_first_byte() {
    let (house, hosted, gateway) = pair("echo", "error-event").await;
    let text = gateway.tell(&streamed("auto", HARD)).await.text();
    assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{text}");
    assert_eq!((house.count(), hosted.count()), (0, 1));
}

#[tokio::test]
async fn the_requests_own_fault_is_not_tried_elsewhere() {
    let (house, hosted, gateway) = pair("echo", "status-400").await;
    assert_eq!(gateway.chat(&chat("auto", HARD)).await.status(), 400);
    assert_eq!((house.count(), hosted.count()), (0, 1));
}

#[tokio::test]
async fn restricted_data_never_leaves_whatever_happens_to_the_local_model() {
    for small in ["echo", "status-500", "status-503", "status-429", "hang", "html", "ok-error", "error-event", "stall"]
    {
        let (_house, hosted, gateway) = pair(small, "echo").await;
        for body in [chat("auto", HARD), streamed("auto", HARD)] {
            for headers in [
                vec![("x-sluice-data-class", "restricted")],
                vec![("x-sluice-data-class", "restricted"), ("x-sluice-route", "hosted")],
            ] {
                let asked_hosted = headers.len() == 2;
                let small_streams = matches!(small, "stall" | "error-event");
                if small == "stall" && !asked_hosted {
                    // It streams two events and then nothing: waiting for its clock is another test's.
                    continue;
                }
                let status = gateway.tell_with(&body, &headers).await.status;
                match (asked_hosted, small) {
                    (true, _) => assert_eq!(status, 403),
                    (false, "echo") => assert_eq!(status, 200),
                    (false, _) if small_streams => assert_eq!(status, 200),
                    (false, _) => {
                        assert!(status == 502 || status == 503 || status == 504 || status == 429, "{small}: {status}")
                    }
                }
            }
        }
        assert_eq!(hosted.count(), 0, "{small}");
    }
}

#[tokio::test]
async fn a_provider_that_keeps_failing_is_left_alone_for_a_while() {
    let (_house, hosted, gateway) = pair("echo", "status-500").await;
    for _ in 0..20 {
        assert_eq!(gateway.chat(&chat("auto", HARD)).await.status(), 200);
    }
    assert!(hosted.count() < 10, "the breaker opened: {}", hosted.count());
    let response = gateway.chat(&chat("big", HARD)).await;
    assert_eq!(response.status(), 503);
    assert!(header(&response, "retry-after").is_some());
}

//! A session that once had restricted data keeps its class.

use serde_json::{Value, json};
use tests::gateway::run_json;
use tests::oracle::record;
use tests::{Gateway, HARD, Told, Upstream, chat, eventually, two_sides};

const SECRET: &str = "My card is 4111 1111 1111 1111, is it valid?";

async fn start() -> (Gateway, Upstream, Upstream) {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let rest = format!("{}[residency.classes.restricted]\nlocations = [\"local\"]\n", two_sides(&hosted, &house));
    (Gateway::start(&rest).await, hosted, house)
}

async fn turn(gateway: &Gateway, body: &Value, session: &str) -> Told {
    gateway.tell_with(body, &[("x-sluice-session", session)]).await
}

#[tokio::test]
async fn later_turns_stay_where_the_first_had_to_stay_also_after_a_restart() {
    let (mut gateway, hosted, _house) = start().await;
    let tool = json!({"model": "auto", "messages": [
        {"role": "user", "content": "Look up the customer."},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function",
            "function": {"name": "lookup", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": SECRET},
    ]});
    for (session, first) in [("text", chat("auto", SECRET)), ("tool", tool)] {
        assert_eq!(turn(&gateway, &chat("auto", HARD), session).await.said("x-sluice-route"), "hosted", "{session}");
        let told = turn(&gateway, &first, session).await;
        assert_eq!(told.said("x-sluice-route"), "local", "{session}: {}", told.text());
        hosted.forget();
        // The last turn alone, and hard enough for the strong side.
        let told = turn(&gateway, &chat("auto", HARD), session).await;
        assert_eq!((told.said("x-sluice-route"), told.said("x-sluice-reason")), ("local", "residency"), "{session}");
        let shown = record(&gateway, told.id()).await;
        assert!(shown.to_string().contains("\"class_by\":\"session\""), "{shown}");
        let told = turn(&gateway, &chat("big", "Hello"), session).await;
        assert!(told.error(403).to_string().contains("an earlier turn"), "{}", told.text());
        assert_eq!(turn(&gateway, &chat("auto", HARD), "another").await.said("x-sluice-route"), "hosted");
        hosted.forget();
    }
    let folder = gateway.folder.clone();
    gateway.stop().await;
    let gateway = Gateway::serve(folder, &[]).await;
    for session in ["text", "tool"] {
        assert_eq!(
            turn(&gateway, &chat("auto", HARD), session).await.said("x-sluice-reason"),
            "residency",
            "{session}"
        );
    }
    assert_eq!(hosted.count(), 0);
}

#[tokio::test]
async fn a_turn_that_was_refused_counts_and_a_session_of_another_key_does_not() {
    let (gateway, hosted, _house) = start().await;
    let told = turn(&gateway, &chat("big", SECRET), "s").await;
    told.error(403);
    assert_eq!(turn(&gateway, &chat("auto", HARD), "s").await.said("x-sluice-reason"), "residency");
    assert_eq!(hosted.count(), 0);
    let made = run_json(gateway.folder.path(), &["keys", "create", "--name", "one", "--json"], "");
    let key = format!("Bearer {}", made["key"].as_str().expect("a key"));
    let headers = [("authorization", key.as_str()), ("x-sluice-session", "s")];
    eventually("the key counts", async || (gateway.tell(&chat("small", "x")).await.status == 401).then_some(())).await;
    // Pinned, so that nothing but the class could speak against it.
    let told = gateway.tell_with(&chat("big", "Hello"), &headers).await;
    assert_eq!((told.status, told.said("x-sluice-route")), (200, "hosted"), "{}", told.text());
}

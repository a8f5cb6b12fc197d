//! A conversation keeps its side; an agent that goes round in circles is helped.

use serde_json::{Value, json};
use tests::gateway::{Gateway, folder, header, run_json, write_config};
use tests::upstream::Upstream;
use tests::{chat, eventually};

const EASY: &str = "What is the capital of France?";
const HARD: &str =
    "Prove step by step that the algorithm terminates, derive its complexity and compare the trade-offs in detail.";

fn config(house: &Upstream, hosted: &Upstream, rest: &str) -> String {
    format!(
        "{}{}[router]\nlocal = [\"small\"]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\n{rest}\n\
         [router.cascade]\nmode = \"off\"\n",
        house.provider("house", "local", &[("small", "echo")]),
        hosted.provider("hosted", "hosted", &[("big", "echo"), ("down", "status-500")]),
    )
}

/// Where an answer came from, and why.
async fn went(gateway: &Gateway, body: &Value, headers: &[(&str, &str)]) -> (String, String) {
    let answer = gateway.chat_with(body, headers).await;
    assert_eq!(answer.status(), 200, "{body}");
    let said = |name| header(&answer, name).expect("a header").to_owned();
    (said("x-sluice-route"), said("x-sluice-reason"))
}

fn pair(route: &str, reason: &str) -> (String, String) {
    (route.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn a_session_stays_where_it_is_unless_the_need_moves_by_more_than_switching_costs() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    for (cost, then) in
        [("1", pair("hosted", "session")), ("0.15", pair("local", "classifier")), ("0", pair("local", "classifier"))]
    {
        let gateway = Gateway::start(&config(&house, &hosted, &format!("switch_cost = \"{cost}\""))).await;
        let session = [("x-sluice-session", "one")];
        assert_eq!(went(&gateway, &chat("auto", HARD), &session).await, pair("hosted", "classifier"), "{cost}");
        assert_eq!(went(&gateway, &chat("auto", EASY), &session).await, then, "{cost}");
        // Others are judged by what they ask.
        assert_eq!(
            went(&gateway, &chat("auto", EASY), &[("x-sluice-session", "two")]).await,
            pair("local", "classifier")
        );
        assert_eq!(went(&gateway, &chat("auto", EASY), &[]).await, pair("local", "classifier"), "{cost}");
    }
}

#[tokio::test]
async fn a_conversation_without_a_session_is_known_by_its_beginning() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&config(&house, &hosted, "switch_cost = \"1\"")).await;
    let turns = |first: &str| {
        json!({"model": "auto", "messages": [{"role": "user", "content": first},
            {"role": "assistant", "content": "So it is."}, {"role": "user", "content": EASY}]})
    };
    assert_eq!(went(&gateway, &chat("auto", HARD), &[]).await, pair("hosted", "classifier"));
    assert_eq!(went(&gateway, &turns(HARD), &[]).await, pair("hosted", "session"));
    assert_eq!(went(&gateway, &turns("Hello."), &[]).await.1, "classifier");
    // The first turn again is a new conversation.
    assert_eq!(went(&gateway, &chat("auto", HARD), &[]).await.1, "classifier");
    // What is forbidden stays so.
    let restricted = [("x-sluice-data-class", "restricted")];
    assert_eq!(went(&gateway, &turns(HARD), &restricted).await, pair("local", "residency"));
}

#[tokio::test]
async fn two_keys_with_the_same_session_share_nothing_and_a_reload_forgets_nothing() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let folder = folder("");
    let written = config(&house, &hosted, "switch_cost = \"1\"");
    write_config(folder.path(), &written);
    let key = |name: &str| {
        let made = run_json(folder.path(), &["keys", "create", "--name", name, "--json"], "");
        format!("Bearer {}", made["key"].as_str().expect("a key"))
    };
    let (one, other) = (key("one"), key("other"));
    let gateway = Gateway::serve(folder.clone(), &[]).await;
    let of = |key| [("authorization", key), ("x-sluice-session", "same")];
    assert_eq!(went(&gateway, &chat("auto", HARD), &of(one.as_str())).await, pair("hosted", "classifier"));
    assert_eq!(went(&gateway, &chat("auto", EASY), &of(other.as_str())).await, pair("local", "classifier"));
    write_config(folder.path(), &format!("{written}\n# the same again\n"));
    gateway.logged("configuration reloaded; addresses, limits and the ledger's place count after a restart").await;
    assert_eq!(went(&gateway, &chat("auto", EASY), &of(one.as_str())).await, pair("hosted", "session"));
    assert_eq!(went(&gateway, &chat("auto", EASY), &of(other.as_str())).await, pair("local", "session"));
}

#[tokio::test]
async fn a_session_is_on_the_side_that_really_answered() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let written = config(&house, &hosted, "switch_cost = \"1\"").replace("hosted = [\"big\"]", "hosted = [\"down\"]");
    let gateway = Gateway::start(&written).await;
    let session = [("x-sluice-session", "one")];
    assert_eq!(went(&gateway, &chat("auto", HARD), &session).await, pair("local", "fallback"));
    assert_eq!(went(&gateway, &chat("auto", HARD), &session).await, pair("local", "session"));
}

#[tokio::test]
async fn an_agent_that_repeats_a_failing_call_is_escalated_where_it_may_be() {
    let (house, hosted) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&config(&house, &hosted, "")).await;
    let turns = |times: usize, result: &str| {
        let mut messages = vec![json!({"role": "user", "content": EASY})];
        for n in 0..times {
            let function = json!({"name": "look", "arguments": "{\"q\":1}"});
            let calls = json!([{"id": format!("call-{n}"), "type": "function", "function": function}]);
            messages.push(json!({"role": "assistant", "content": null, "tool_calls": calls}));
            messages.push(json!({"role": "tool", "tool_call_id": format!("call-{n}"), "content": result}));
        }
        json!({"model": "auto", "messages": messages})
    };
    let failed = "Error: no such table";
    assert_eq!(went(&gateway, &turns(1, failed), &[]).await.0, "local");
    assert_eq!(went(&gateway, &turns(3, "Paris"), &[]).await.0, "local");
    assert_eq!(went(&gateway, &turns(2, failed), &[]).await, pair("hosted", "tool_loop"));
    let restricted = [("x-sluice-data-class", "restricted")];
    assert_eq!(went(&gateway, &turns(2, failed), &restricted).await, pair("local", "residency"));
    // It is on record, and the decision that can be asked for says the same.
    let decided = gateway.send("/v1/route", turns(2, failed).to_string(), &[]).await;
    assert_eq!(decided.json()["reason"], "tool_loop");
    let counted = eventually("the hosted side was asked once", async || (hosted.count() == 1).then_some(1)).await;
    assert_eq!(counted, 1);
}

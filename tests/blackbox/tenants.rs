//! Two tenants on one gateway who use the same names for everything: what is remembered of one is never another's
//! (reliability test 46).

use futures::StreamExt;
use serde_json::Value;
use tests::gateway::run_json;
use tests::upstream::Play;
use tests::{Dice, EASY, Gateway, HARD, Told, Upstream, chat, eventually, size, streamed, two_sides};

/// A key, and the word that only its owner says.
struct Tenant {
    key: String,
    word: &'static str,
}

fn tenant(gateway: &Gateway, word: &'static str) -> Tenant {
    let made = run_json(gateway.folder.path(), &["keys", "create", "--json", "--name", word, "--team", word], "");
    Tenant { key: format!("Bearer {}", made["key"].as_str().expect("a key")), word }
}

#[tokio::test]
async fn of_many_interleaved_requests_none_gets_what_is_another_tenants() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    for upstream in [&hosted, &house] {
        upstream.play("echo", Play::repeat(7));
    }
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    let tenants = [tenant(&gateway, "aardvark"), tenant(&gateway, "zeppelin")];
    for tenant in &tenants {
        let models = async || {
            let asked = gateway.client.get(format!("{}/v1/models", gateway.data));
            Told::of(asked.header("authorization", &tenant.key)).await.status
        };
        eventually("the key counts", async || (models().await == 200).then_some(())).await;
    }
    eventually("all need one", async || (gateway.tell(&chat("auto", "x")).await.status == 401).then_some(())).await;
    hosted.forget();
    house.forget();
    let rounds = size(600, 10_000);
    let mut dice = Dice(46);
    // Drawn before anything runs, so that a seed is a schedule.
    let wishes: Vec<_> = (0..rounds)
        .map(|n| (n, dice.roll(2) as usize, dice.roll(2) == 0, dice.roll(2) == 0, dice.roll(40), dice.roll(4)))
        .collect();
    let calls = futures::stream::iter(wishes).map(|(n, who, hard, stream, repeated, session)| {
        let (gateway, tenant, other) = (&gateway, &tenants[who], tenants[1 - who].word);
        async move {
            // The same names, keys and questions on both sides; the word of its owner is in each question.
            let prompt = format!("{} ({} {repeated})", if hard { HARD } else { EASY }, tenant.word);
            let body = if stream { streamed("auto", &prompt) } else { chat("auto", &prompt) };
            let (name, session) = (format!("{hard}-{stream}-{repeated}"), format!("session-{session}"));
            let mut headers = vec![("authorization", &*tenant.key), ("x-sluice-session", &session)];
            if n % 3 > 0 {
                headers.push(("idempotency-key", &name));
            }
            let told = gateway.tell_with(&body, &headers).await;
            // Not 409, either: of one tenant's keys each goes with one body.
            assert_eq!(told.status, 200, "{}", told.text());
            let answer = if stream { told.answer() } else { told.text() };
            assert!(answer.contains(tenant.word) && !answer.contains(other), "{}: {answer}", tenant.word);
            told.header("x-sluice-idempotent-replay") == Some("true")
        }
    });
    let again = calls.buffer_unordered(16).filter(|again| std::future::ready(*again)).count().await;
    assert!(again > rounds / 10, "{again} were answered from memory");
    // And each one's money and requests are its own.
    let teams = gateway.api("/api/spend?group_by=team").await;
    let rows: Vec<&Value> = teams["rows"].as_array().expect("rows").iter().collect();
    for tenant in &tenants {
        let row = rows.iter().find(|row| row["group"] == tenant.word).expect("a row");
        let said = |upstream: &Upstream| {
            upstream.log().iter().filter(|seen| seen.json().to_string().contains(tenant.word)).count() as u64
        };
        assert_eq!(row["requests"].as_u64(), Some(said(&hosted) + said(&house)), "{row}");
    }
}

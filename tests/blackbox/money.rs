//! Headers, ledger, `/api/spend`, the command line and the upstream's own count agree to the nano-dollar.

use serde_json::{Value, json};
use tests::gateway::{run_json, write_config};
use tests::oracle::{self, BIG, Sums, agree, cost, nanos, nanos_of};
use tests::upstream::{Play, Usage};
use tests::{EASY, Gateway, HARD, Upstream, chat, hosted_only, streamed, streamed_with_usage, two_sides};

const PROMPTS: [&str; 10] = [
    "Hello!",
    EASY,
    "Translate 'good night' to Spanish.",
    "Give me a synonym for happy.",
    "Thanks, that helped.",
    HARD,
    "Implement a lock-free concurrent queue in Rust and explain why it is linearizable.",
    "Design a distributed rate limiter architecture and compare the trade-offs of three algorithms in detail.",
    "Solve the equation x^3 - 6x^2 + 11x - 6 = 0 and prove that the probability of an even root is one third, step by step.",
    "Refactor this function that parses a regex, debug the race condition and derive its complexity: ```fn f() {}```",
];

#[tokio::test]
async fn twenty_mixed_prompts_agree_everywhere() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    let mut answers = Vec::new();
    for prompt in PROMPTS {
        for body in [chat("auto", prompt), streamed("auto", prompt)] {
            let told = gateway.tell(&body).await;
            assert_eq!(told.status, 200, "{}", told.text());
            answers.push(told);
        }
    }
    assert!(hosted.count() >= 4 && house.count() >= 4, "both sides answer: {} and {}", hosted.count(), house.count());
    agree(&gateway, &answers, &[("big", &hosted, BIG), ("small", &house, (0, 0))]).await;

    // The command line reads the same ledger, also while the gateway runs.
    for by in ["model", "provider", "route", "key", "team", "tag", "day"] {
        let shown = gateway.cli(&["spend", "--group-by", by]);
        assert_eq!(shown, gateway.api(&format!("/api/spend?group_by={by}")).await, "{by}");
    }
    assert_eq!(gateway.cli(&["ledger", "verify"])["valid"], true);

    // What local answers would have cost at the hosted price.
    let table = gateway.api("/api/spend?group_by=route").await;
    let row = |name: &str| table["rows"].as_array().expect("rows").iter().find(|row| row["group"] == name).cloned();
    let (local, hosted_row) = (row("local").expect("local"), row("hosted").expect("hosted"));
    let saved: u128 = house.log().iter().map(|seen| cost(seen.stated.expect("stated"), BIG)).sum();
    assert_eq!(nanos(&local["baseline_usd"]), Some(saved));
    assert_eq!(hosted_row["baseline_usd"], hosted_row["cost_usd"]);
}

#[tokio::test]
async fn the_ledger_outlives_the_process() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    for body in [chat("big", "x"), streamed("big", "y")] {
        assert_eq!(gateway.tell(&body).await.status, 200);
    }
    let before = gateway.api("/api/spend").await;
    let folder = gateway.folder.clone();
    gateway.stop().await;
    assert_eq!(run_json(folder.path(), &["spend", "--json"], ""), before, "while nothing runs");
    let gateway = Gateway::serve(folder, &[]).await;
    assert_eq!(gateway.api("/api/spend").await, before, "after a restart");
}

#[tokio::test]
async fn spend_is_grouped_by_who_what_where_and_when() {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&two_sides(&hosted, &house)).await;
    let made = |name: &str, team: &str| {
        let key = gateway.cli(&["keys", "create", "--name", name, "--team", team]);
        format!("Bearer {}", key["key"].as_str().expect("a key"))
    };
    let (ada, bob) = (made("ada", "research"), made("bob", "sales"));
    tests::eventually("keys are needed", async || (gateway.tell(&chat("big", "x")).await.status == 401).then_some(()))
        .await;
    // The last one that was made may be noticed a look later.
    let known = async || {
        let models = gateway.client.get(format!("{}/v1/models", gateway.data)).header("authorization", &bob);
        models.send().await.is_ok_and(|models| models.status() == 200).then_some(())
    };
    tests::eventually("all keys are known", known).await;
    let (counted, _) = oracle::spend(&gateway, "key").await;
    assert!(!counted.contains_key("ada"));
    for (model, key, tags) in
        [("big", &ada, "job=a"), ("big", &ada, "job=a,owner=x"), ("small", &ada, "job=b"), ("big", &bob, "owner=x")]
    {
        let told = gateway.tell_with(&chat(model, "x"), &[("authorization", key), ("x-sluice-tags", tags)]).await;
        assert_eq!(told.status, 200);
    }
    let of_big = |requests: u64| {
        let (input, output) = (11 * requests, 5 * requests);
        Sums { requests, input, output, cost: u128::from(requests) * cost((11, 5), BIG) }
    };
    let small = Sums { requests: 1, input: 11, output: 5, cost: 0 };
    let plus = |one: Sums, two: Sums| Sums {
        requests: one.requests + two.requests,
        input: one.input + two.input,
        output: one.output + two.output,
        cost: one.cost + two.cost,
    };
    for (by, group, expected) in [
        ("key", "ada", plus(of_big(2), small)),
        ("key", "bob", of_big(1)),
        ("team", "research", plus(of_big(2), small)),
        ("team", "sales", of_big(1)),
        ("tag", "job=a", of_big(2)),
        ("tag", "job=b", small),
        ("tag", "owner=x", of_big(2)),
    ] {
        let (rows, _) = oracle::spend(&gateway, by).await;
        assert_eq!(rows.get(group), Some(&expected), "{by} {group}: {rows:?}");
    }
    let (days, total) = oracle::spend(&gateway, "day").await;
    assert!(days.len() <= 2, "today, or the days around midnight: {days:?}");
    assert_eq!(days.values().fold(Sums::default(), |sum, row| plus(sum, *row)), total);
    // A span in the future is empty, one in the past has everything.
    let later = gateway.api("/api/spend?since=2999-01-01T00:00:00Z").await;
    assert_eq!((later["rows"].as_array().map(Vec::len), later["total"]["requests"].as_u64()), (Some(0), Some(0)));
    let all = gateway.api("/api/spend?since=2020-01-01T00:00:00Z&until=2999-01-01T00:00:00Z").await;
    assert_eq!(all, gateway.api("/api/spend").await);
}

#[tokio::test]
async fn a_fraction_of_a_nano_dollar_is_rounded_up_once_a_line() {
    let upstream = Upstream::start().await;
    // A thousandth and a third of a nano-dollar a token.
    let rest = upstream
        .provider("p", "hosted", &[("tiny", "echo")])
        .replace("\"2.50\"", "\"0.000001\"")
        .replace("\"10.00\"", "\"0.000333\"");
    let gateway = Gateway::start(&rest).await;
    let rates = (1_000, 333_000);
    for (stated, nanos) in
        [((0, 0), 0), ((1, 0), 1), ((999, 0), 1), ((1_000, 0), 1), ((1_001, 0), 2), ((1, 3), 1), ((7, 5_000), 1_666)]
    {
        upstream.play("echo", Play::usage(Usage::Stated(stated.0, stated.1)));
        let told = gateway.tell(&chat("tiny", "x")).await;
        assert_eq!(told.cost().map(|cost| nanos_of(&cost)), Some(nanos), "{stated:?}");
        assert_eq!(cost(stated, rates), nanos, "{stated:?}");
    }
}

#[tokio::test]
async fn cached_and_reasoning_tokens_have_their_own_price() {
    let upstream = Upstream::start().await;
    let rest = upstream.provider("p", "hosted", &[("big", "echo")]).replace(
        "output_usd_per_mtok",
        "cached_input_usd_per_mtok = \"1.25\"\nreasoning_usd_per_mtok = \"20\"\noutput_usd_per_mtok",
    );
    let gateway = Gateway::start(&rest).await;
    let usage = json!({"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400},
        "completion_tokens_details": {"reasoning_tokens": 30}});
    upstream.play("echo", Play::usage(Usage::Odd(usage.to_string())));
    for body in [chat("big", "x"), streamed("big", "x")] {
        let told = gateway.tell(&body).await;
        let owed = (600 * 2_500 + 400 * 1_250 + 70 * 10_000 + 30 * 20_000) as u128;
        assert_eq!(told.cost().map(|cost| nanos_of(&cost)), Some(owed));
        let line = oracle::attempt(&gateway, told.id()).await;
        assert_eq!(
            (line["cached_tokens"].as_u64(), line["reasoning_tokens"].as_u64()),
            (Some(400), Some(30)),
            "{line}"
        );
    }
}

#[tokio::test]
async fn usage_that_makes_no_sense_is_never_cheaper_than_what_was_seen() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    let prompt = "one two three four five six seven eight";
    for odd in [
        json!({"prompt_tokens": -5, "completion_tokens": -5}),
        json!({"prompt_tokens": "8", "completion_tokens": "5"}),
        json!({"prompt_tokens": 8}),
        json!({"completion_tokens": 5}),
        json!({"prompt_tokens": null, "completion_tokens": null}),
        json!({"prompt_tokens": 1.5, "completion_tokens": 2.5}),
        json!({}),
        json!([1, 2]),
        json!("many"),
    ] {
        upstream.play("echo", Play::usage(Usage::Odd(odd.to_string())));
        for body in [chat("big", prompt), streamed("big", prompt), streamed_with_usage("big", prompt)] {
            let told = gateway.tell(&body).await;
            // The answer is fine, its bill is odd: counted as if it had none.
            assert!(told.status == 200 && (body["stream"].is_null() || told.done()), "{odd}: {}", told.text());
            let line = oracle::attempt(&gateway, told.id()).await;
            let least = cost((8, 5), BIG);
            assert!(nanos(&line["cost_usd"]).is_some_and(|cost| cost >= least), "{odd}: {line}");
        }
    }
}

#[tokio::test]
async fn a_client_cannot_talk_itself_out_of_being_charged() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    let mut evasive = streamed("big", "one two three");
    for (key, value) in [
        ("stream_options", json!({"include_usage": false})),
        ("max_tokens", json!(9_007_199_254_740_991u64)),
        ("usage", json!({"prompt_tokens": 0, "completion_tokens": 0})),
        ("user", json!("nobody")),
    ] {
        evasive[key] = value;
        let told = gateway.tell(&evasive).await;
        assert_eq!(told.status, 200, "{key}: {}", told.text());
        assert_eq!(told.cost().map(|cost| nanos_of(&cost)), Some(cost((13, 5), BIG)), "{key}");
    }
}

#[tokio::test]
async fn prices_of_the_bundled_table_say_where_they_are_from() {
    let upstream = Upstream::start().await;
    let rest: String = upstream
        .provider("p", "hosted", &[("gpt-4o", "gpt-4o"), ("gpt-4o-mini", "gpt-4o-mini")])
        .lines()
        .filter(|line| !line.contains("usd_per_mtok"))
        .map(|line| format!("{line}\n"))
        .collect();
    let gateway = Gateway::start(&rest).await;
    for model in ["gpt-4o", "gpt-4o-mini"] {
        let told = gateway.tell(&chat(model, "x")).await;
        let line = oracle::attempt(&gateway, told.id()).await;
        assert!(nanos(&line["cost_usd"]).is_some_and(|cost| cost > 0), "{line}");
        let source = line["price_source"].as_str().expect("a source");
        let digits = source.chars().filter(char::is_ascii_digit).count();
        assert!(source.contains("20") && digits >= 8, "it names date and digest: {source}");
    }
    let shown: Value = gateway.cli(&["check"]);
    assert!(
        shown["models"].as_array().expect("models").iter().all(|model| model["price_source"] != "unpriced"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_price_that_changes_counts_from_then_on_and_changes_nothing_that_was() {
    let upstream = Upstream::start().await;
    let rest = hosted_only(&upstream, "echo");
    let gateway = Gateway::start(&rest).await;
    let before = gateway.tell(&chat("big", "x")).await;
    write_config(gateway.folder.path(), &rest.replace("\"2.50\"", "\"5.00\"").replace("\"10.00\"", "\"20.00\""));
    gateway.signal("HUP");
    tests::eventually("the new price counts", async || {
        let told = gateway.tell(&chat("big", "x")).await;
        (told.cost().map(|cost| nanos_of(&cost)) == Some(2 * cost((11, 5), BIG))).then_some(())
    })
    .await;
    let line = oracle::attempt(&gateway, before.id()).await;
    assert_eq!(nanos(&line["cost_usd"]), Some(cost((11, 5), BIG)));
}

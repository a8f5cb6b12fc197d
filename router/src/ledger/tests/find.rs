//! Looking for requests, on both stores.

use super::*;

on_both_stores! {
    a_word_finds_the_requests_that_have_it_and_no_others;
    what_is_looked_for_is_a_value_and_never_a_pattern;
    a_search_goes_together_with_a_span_a_side_and_a_page;
    what_an_experiment_spent_beside_an_answer_stands_apart_from_what_the_answer_cost;
}

/// A request that nobody pays for.
pub(super) fn request(id: &str, at_us: i64, reason: &str) -> RequestRecord {
    sought(id, at_us, Payer::default(), None, reason)
}

/// A refused request, with what can be looked for.
fn sought(id: &str, at_us: i64, payer: Payer, model: Option<&str>, reason: &str) -> RequestRecord {
    RequestRecord {
        id: id.into(),
        at_us,
        payer,
        endpoint: "chat",
        asked: "auto".into(),
        class: "internal".into(),
        route: model.map(|model| if model == "small" { "local" } else { "hosted" }),
        model: model.map(Into::into),
        reason: reason.into(),
        score: None,
        status: 200,
        attempts: 0,
        record: "{}".into(),
        cascade: None,
        judgement: None,
        arm: None,
        placed: None,
    }
}

fn payer(session: &str, key: &str, tags: &[(&str, &str)]) -> Payer {
    let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Payer { session: Some(session.into()), key: Some(key.into()), tags, ..Payer::default() }
}

/// Ids that a search finds, the latest first.
fn found(ledger: &Ledger, filter: &RequestFilter) -> Vec<String> {
    let rows = ledger.requests(filter).unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

fn by(find: Find, word: &str) -> RequestFilter {
    RequestFilter { find: Some((find, word.into())), limit: 50, ..RequestFilter::default() }
}

async fn with(bed: &Bed, requests: Vec<RequestRecord>) -> Ledger {
    let (ledger, _) = bed.start(Durability::Process);
    for request in requests {
        ledger.refused_later(request);
    }
    // Lines are written in order.
    ledger.open(attempt("last", 1)).await.unwrap();
    ledger
}

async fn a_word_finds_the_requests_that_have_it_and_no_others(bed: Bed) {
    let ledger = with(
        &bed,
        vec![
            sought("req-1", 1, payer("s-1", "k-1", &[("job", "a"), ("job2", "x")]), Some("big"), "classifier"),
            sought("req-12", 2, payer("s-2", "k-1", &[("job", "b")]), Some("small"), "classifier"),
            sought("other", 3, payer("s-1", "k-2", &[]), None, "budget"),
        ],
    )
    .await;
    let (key, _) = ledger.create_key(&NewKey { name: "ada".into(), ..NewKey::default() }).unwrap().unwrap();
    ledger.refused_later(sought("keyed", 4, payer("s-9", key.id.as_str(), &[]), Some("big"), "asked"));
    ledger.open(attempt("last", 2)).await.unwrap();
    let cases: [(Find, &str, &[&str]); 16] = [
        (Find::Id, "req-1", &["req-12", "req-1"]),
        (Find::Id, "req-12", &["req-12"]),
        (Find::Id, "eq", &[]),
        (Find::Session, "s-1", &["other", "req-1"]),
        (Find::Session, "s", &[]),
        (Find::Key, "k-1", &["req-12", "req-1"]),
        (Find::Key, "ada", &["keyed"]),
        (Find::Tag, "job", &["req-12", "req-1"]),
        (Find::Tag, "job=b", &["req-12"]),
        (Find::Tag, "b", &[]),
        (Find::Model, "small", &["req-12"]),
        (Find::Model, "auto", &["keyed", "other", "req-12", "req-1"]),
        (Find::Reason, "budget", &["other"]),
        (Find::Any, "s-1", &["other", "req-1"]),
        (Find::Any, "budget", &["other"]),
        (Find::Any, "nothing", &[]),
    ];
    for (find, word, expected) in cases {
        assert_eq!(found(&ledger, &by(find, word)), expected, "{find:?} {word}");
    }
}

async fn what_is_looked_for_is_a_value_and_never_a_pattern(bed: Bed) {
    let odd = [("quoted", "a\"b"), ("percent", "50%_off"), ("slash", "a\\b"), ("umlaut", "größe"), ("sql", "'; --")];
    let requests = odd.iter().enumerate().map(|(n, (name, value))| {
        sought(&format!("r-{name}"), n as i64, payer(value, "k", &[(name, value)]), Some("big"), "asked")
    });
    let ledger = with(&bed, requests.collect()).await;
    for (name, value) in odd {
        let id = format!("r-{name}");
        for filter in [by(Find::Session, value), by(Find::Tag, &format!("{name}={value}")), by(Find::Any, value)] {
            assert_eq!(found(&ledger, &filter), [id.as_str()], "{filter:?}");
        }
    }
    for word in ["%", "r-%", "_", "'", "\"", "\\", "r-\u{10ffff}", "a\0b", "\0", "' OR TRUE --"] {
        for find in [Find::Any, Find::Id, Find::Session, Find::Key, Find::Tag, Find::Model, Find::Reason] {
            assert!(found(&ledger, &by(find, word)).is_empty(), "{find:?} {word:?}");
        }
    }
}

async fn a_search_goes_together_with_a_span_a_side_and_a_page(bed: Bed) {
    let requests = (0..20).map(|n| {
        let model = if n % 2 == 0 { "big" } else { "small" };
        sought(&format!("r{n:02}"), n, payer("s", "k", &[]), Some(model), if n < 10 { "asked" } else { "classifier" })
    });
    let ledger = with(&bed, requests.collect()).await;
    let filter = RequestFilter {
        since_us: Some(4),
        before_us: Some(15),
        route: Some("hosted".into()),
        ..by(Find::Reason, "asked")
    };
    assert_eq!(found(&ledger, &filter), ["r08", "r06", "r04"]);
    assert_eq!(found(&ledger, &RequestFilter { limit: 2, ..filter.clone() }), ["r08", "r06"]);
    let next = RequestFilter { limit: 2, before_us: Some(6), ..filter };
    assert_eq!(found(&ledger, &next), ["r04"], "the next page");
    assert_eq!(found(&ledger, &RequestFilter { route: Some("none".into()), ..by(Find::Any, "s") }), [""; 0]);
}

async fn what_an_experiment_spent_beside_an_answer_stands_apart_from_what_the_answer_cost(bed: Bed) {
    let (ledger, _) = bed.start(Durability::Process);
    let line = async |request: &str, number: u32, cost: Option<u64>| {
        let open = Arc::new(AttemptOpen { at_us: 1_000, ..(*attempt(request, number)).clone() });
        let close = AttemptClose { ended_us: 1_000 * i64::from(number), ..closed(open, 0) };
        let close = AttemptClose { cost: cost.map(NanoDollars), ..close };
        let record = (number == 1).then(|| sought(request, 1_000, Payer::default(), Some("big"), "asked"));
        ledger.close(close, record).await.unwrap();
    };
    for (number, cost) in [(1, 5_000), (2, 20_000), (FIRST_ATTEMPT, 300_000), (FIRST_ATTEMPT + 1, 4_000_000)] {
        line("compared", number, Some(cost)).await;
    }
    line("alone", 1, Some(7)).await;
    line("beside-unpriced", 1, Some(8)).await;
    line("beside-unpriced", FIRST_ATTEMPT, None).await;
    let listed = ledger.requests(&RequestFilter { limit: 10, ..RequestFilter::default() }).unwrap();
    for (id, cost, beside, tokens, took) in [
        ("compared", "0.000025", serde_json::json!("0.004300"), 20, 1.0),
        ("alone", "0.000000007", serde_json::Value::Null, 10, 0.0),
        ("beside-unpriced", "0.000000008", serde_json::Value::Null, 10, 0.0),
    ] {
        let story = ledger.request(id).unwrap().unwrap();
        let row = listed.iter().find(|row| row["id"] == id).unwrap();
        for told in [row, &story] {
            let said = (&told["cost_usd"], &told["experiment_cost_usd"], &told["input_tokens"], &told["duration_ms"]);
            assert_eq!(said, (&cost.into(), &beside, &tokens.into(), &took.into()), "{id}: {told}");
        }
    }
    let log = ledger.request("compared").unwrap().unwrap()["attempt_log"].as_array().unwrap().len();
    assert_eq!(log, 4, "every line is in the story");
}

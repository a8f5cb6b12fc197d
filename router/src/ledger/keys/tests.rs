use super::*;
use crate::ledger::bed::{Bed, on_both_stores};
use crate::ledger::{Durability, schema};
use policies::RateLimit;
use rusqlite::params;

on_both_stores! {
    keys_are_found_by_digest_and_revoked_for_good;
    a_rotation_keeps_the_key_and_ends_every_older_secret_with_the_overlap;
    budgets_in_dollars_and_in_tokens_are_kept_and_one_that_limits_nothing_cannot_be_read;
    a_list_that_cannot_be_read_never_widens_a_key;
}

const DAY: Duration = Duration::from_secs(86_400);

fn ledgers(bed: &Bed) -> (Ledger, Ledger) {
    (bed.start(Durability::Process).0, bed.attach())
}

fn named(name: &str) -> NewKey {
    NewKey { name: name.into(), ..NewKey::default() }
}

async fn keys_are_found_by_digest_and_revoked_for_good(bed: Bed) {
    let (ledger, other) = ledgers(&bed);
    let before = ledger.version().unwrap();
    let wanted = NewKey {
        team: Some("t".into()),
        user: Some("u".into()),
        models: Some(vec!["big".into()]),
        routes: Some(vec![Location::Hosted]),
        classes: Some(vec!["public".into()]),
        budgets: vec![
            KeyBudget { measure: Measure::Money, limit: 1, window: Window::Month },
            KeyBudget { measure: Measure::Money, limit: i64::MAX as u64, window: Window::Total },
        ],
        rates: vec![RateLimit::parse("60 requests/minute").unwrap(), RateLimit::parse("9 tokens/day").unwrap()],
        expires_us: Some(i64::MAX),
        ..named("n")
    };
    let (record, secret) = other.create_key(&wanted).unwrap().unwrap();
    assert_ne!(ledger.version().unwrap(), before, "another connection's write is noticed");
    assert!(other.create_key(&wanted).unwrap().is_none(), "names are unique");
    let stored = ledger.keys().unwrap().remove(0);
    assert_eq!((&stored, &stored.key), (&record, &wanted), "what was written is read");
    assert_eq!(stored.digest, KeyRecord::digest_of(secret.expose()));
    assert!(stored.valid_at(0) && !stored.shown().to_string().contains("sk-sluice"));
    assert!(other.revoke_key("n").unwrap().is_some() && other.revoke_key("n").unwrap().is_none());
    assert!(!ledger.keys().unwrap()[0].valid_at(0));
}

async fn a_rotation_keeps_the_key_and_ends_every_older_secret_with_the_overlap(bed: Bed) {
    let (ledger, other) = ledgers(&bed);
    let now = jiff::Timestamp::now().as_microsecond();
    let (made, first) = ledger.create_key(&named("n")).unwrap().unwrap();
    let (rotated, second) = other.rotate_key("n", DAY).unwrap().unwrap();
    assert_eq!((&rotated.id, &rotated.key, rotated.created_us), (&made.id, &made.key, made.created_us));
    assert_eq!(rotated.digest, KeyRecord::digest_of(second.expose()));
    let ends = |record: &KeyRecord, secret: &Secret| {
        let digest = KeyRecord::digest_of(secret.expose());
        record.old.iter().find(|old| old.digest == digest).map(|old| (old.until_us - now) / 60_000_000)
    };
    assert_eq!(ends(&rotated, &first), Some(24 * 60));
    let (rotated, third) = other.rotate_key(made.id.as_str(), DAY * 2).unwrap().unwrap();
    assert_eq!((ends(&rotated, &first), ends(&rotated, &second)), (Some(24 * 60), Some(48 * 60)));
    let (rotated, _) = other.rotate_key("n", DAY / 24).unwrap().unwrap();
    for secret in [&first, &second, &third] {
        assert_eq!(ends(&rotated, secret), Some(60), "no older secret outlives the overlap");
    }
    let (rotated, _) = other.rotate_key("n", Duration::ZERO).unwrap().unwrap();
    assert!(rotated.old.is_empty(), "none is good any longer");
    assert_eq!(ledger.keys().unwrap(), [rotated]);
    for gone in [NewKey { expires_us: Some(1), ..named("ended") }, named("revoked")] {
        ledger.create_key(&gone).unwrap();
    }
    ledger.revoke_key("revoked").unwrap();
    for name in ["ended", "revoked", "nobody"] {
        assert!(ledger.rotate_key(name, DAY).unwrap().is_none(), "{name}");
    }
}

#[test]
fn a_key_of_an_older_ledger_keeps_its_budget_and_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    let before = rusqlite::Connection::open(&path).unwrap();
    before.execute_batch(schema::MIGRATIONS[0]).unwrap();
    before.pragma_update(None, "user_version", 1).unwrap();
    let digest = KeyRecord::digest_of("sk-sluice-old");
    for (id, limit, window) in [("key-1", Some(5_000_000_000_i64), Some("month")), ("key-2", None, None)] {
        before
            .execute(
                "INSERT INTO keys (id, name, digest, models, limit_nd, window, created_us) VALUES (?1, ?1, ?2, '[\"m\"]', ?3, ?4, 1)",
                params![id, if limit.is_some() { digest } else { [0; 32] }.as_slice(), limit, window],
            )
            .unwrap();
    }
    drop(before);
    let (ledger, _) = Ledger::start(&path, Durability::Process).unwrap();
    let keys = ledger.keys().unwrap();
    assert_eq!(
        keys[0].key.budgets,
        [KeyBudget { measure: Measure::Money, limit: 5_000_000_000, window: Window::Month }]
    );
    assert_eq!((keys[0].digest, keys[0].key.models.as_ref().map(Vec::len)), (digest, Some(1)));
    assert!(keys[1].key.budgets.is_empty() && keys[1].key.rates.is_empty() && keys[1].key.routes.is_none());
}

async fn budgets_in_dollars_and_in_tokens_are_kept_and_one_that_limits_nothing_cannot_be_read(bed: Bed) {
    let (ledger, _) = ledgers(&bed);
    let budget = |measure, limit| KeyBudget { measure, limit, window: Window::Day };
    let budgets = vec![budget(Measure::Money, 5), budget(Measure::Tokens, 100_000)];
    ledger.create_key(&NewKey { budgets: budgets.clone(), ..named("n") }).unwrap();
    let key = ledger.keys().unwrap().remove(0);
    assert_eq!(key.key.budgets, budgets);
    let shown = key.shown()["budgets"].clone();
    assert_eq!(shown[0], serde_json::json!({"limit_usd": "0.000000005", "window": "day"}));
    assert_eq!(shown[1], serde_json::json!({"limit_tokens": 100_000, "window": "day"}));
    for stored in [r#"[{"window":"day"}]"#, r#"[{"limit_nd":1,"limit_tokens":1,"window":"day"}]"#] {
        ledger.aside(|db| db.execute("UPDATE keys SET budgets = ?1", cells![stored])).unwrap();
        assert!(ledger.keys().is_err(), "{stored}");
    }
}

async fn a_list_that_cannot_be_read_never_widens_a_key(bed: Bed) {
    let (ledger, _) = ledgers(&bed);
    ledger.create_key(&named("n")).unwrap();
    let set = |column: &str| {
        let text = format!("UPDATE keys SET {column} = 'nonsense'");
        ledger.aside(|db| db.execute(&text, &[])).unwrap();
    };
    for column in ["models", "routes", "classes"] {
        set(column);
    }
    let key = ledger.keys().unwrap().remove(0).key;
    assert!(key.models.is_some_and(|list| list.is_empty()) && key.routes.is_some_and(|list| list.is_empty()));
    assert!(key.classes.is_some_and(|list| list.is_empty()));
    set("budgets");
    assert!(ledger.keys().is_err(), "the keys that are known stay");
}

#[test]
fn a_key_opens_until_it_is_revoked_or_its_time_is_over() {
    let record = |revoked_us, expires_us| KeyRecord {
        id: "k".into(),
        digest: [0; 32],
        old: vec![],
        key: NewKey { name: "one".into(), expires_us, ..NewKey::default() },
        created_us: 0,
        revoked_us,
    };
    for (revoked, expires, now, opens) in [
        (None, None, 5, true),
        (Some(3), None, 5, false),
        (None, Some(6), 5, true),
        (None, Some(5), 5, false),
        (Some(9), Some(6), 5, false),
    ] {
        assert_eq!(record(revoked, expires).valid_at(now), opens, "revoked {revoked:?}, expires {expires:?}");
    }
}

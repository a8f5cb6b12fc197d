use super::*;
use policies::{PriceSource, Pricing};

const LITELLM: &str = r#"{
  "sample_spec": {"input_cost_per_token": "cost in dollars", "mode": "one of chat, embedding"},
  "small": {"input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07, "cache_read_input_token_cost": 7.5e-08,
            "max_input_tokens": 128000, "max_output_tokens": 16384.0, "litellm_provider": "openai", "mode": "chat"},
  "text \"quoted\"": {"input_cost_per_token": "0.000002", "output_cost_per_token": 8E-6, "mode": "chat"},
  "half": {"input_cost_per_token": 1e-06, "mode": "chat"},
  "by-second": {"input_cost_per_token": 0, "output_cost_per_token": 0.0, "input_cost_per_second": 0.001, "mode": "chat"},
  "at-home": {"input_cost_per_token": 0, "output_cost_per_token": 0, "mode": "chat"},
  "pictures": {"input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06, "mode": "image_generation"}
}"#;

const MODELS_DEV: &str = r#"{
  "openai": {"id": "openai", "env": ["K"], "models": {
    "one": {"id": "one", "cost": {"input": 0.15, "output": 0.6, "cache_read": 0.075, "reasoning": 1.10}, "limit": {"context": 128000, "output": 16384}},
    "two": {"id": "two", "limit": {"context": 0, "output": 0}}}},
  "reseller": {"id": "reseller", "models": {
    "one": {"id": "one", "cost": {"input": 0.000000001, "output": 1e-7}, "limit": {"context": 0, "output": 8}}}}
}"#;

fn rates(imported: &Imported, name: &str) -> (u64, u64, Option<u64>) {
    let listed = imported.table.find(name).unwrap_or_else(|| unreachable!("{name} is priced"));
    let Pricing::Priced(price, PriceSource::Table(source)) = listed.pricing else { unreachable!("a table's price") };
    assert!(source.starts_with("table:2026-01-31@"), "{source}");
    (price.input.0, price.output.0, price.cached_input.map(|rate| rate.0))
}

#[test]
fn litellms_prices_keep_their_digits() {
    let imported = import(LITELLM.as_bytes(), "m.json", "2026-01-31").unwrap();
    assert_eq!(imported.publisher, Publisher::LiteLlm);
    assert_eq!(rates(&imported, "small"), (150_000_000, 600_000_000, Some(75_000_000)));
    assert_eq!(rates(&imported, "text \"quoted\""), (2_000_000_000, 8_000_000_000, None));
    assert_eq!(rates(&imported, "at-home"), (0, 0, None));
    assert!(imported.text.contains("1.5e-07"), "as it was spelled");
    let small = imported.table.find("small").unwrap();
    assert_eq!((small.context_window, small.max_output), (Some(128_000), Some(16_384)));
    for name in ["half", "by-second", "pictures", "sample_spec", "_meta"] {
        assert!(imported.table.find(name).is_none(), "{name}");
    }
    assert_eq!((imported.table.len(), imported.unpriced, imported.other_modes), (3, 2, 1));
    let digest = hex::encode(Sha256::digest(LITELLM));
    assert!(imported.text.contains(&digest) && imported.table.source().ends_with(&digest[..12]));
}

#[test]
fn models_devs_prices_per_million_are_read_from_their_text() {
    let imported = import(MODELS_DEV.as_bytes(), "api.json", "2026-01-31").unwrap();
    assert_eq!(imported.publisher, Publisher::ModelsDev);
    assert_eq!(rates(&imported, "one"), (150_000_000, 600_000_000, Some(75_000_000)), "the maker's own price");
    assert_eq!(rates(&imported, "openai/one"), rates(&imported, "one"));
    assert_eq!(rates(&imported, "reseller/one"), (1, 100, None));
    let (one, other) = (imported.table.find("one").unwrap(), imported.table.find("reseller/one").unwrap());
    assert_eq!((one.context_window, one.max_output), (Some(128_000), Some(16_384)));
    assert_eq!((other.context_window, other.max_output), (None, Some(8)), "zero is unknown");
    assert!(imported.table.find("two").is_none());
    assert_eq!(imported.unpriced, 1);
    let wrapped = import(format!("{{\"providers\": {MODELS_DEV}}}").as_bytes(), "x", "2026-01-31").unwrap();
    assert_eq!(wrapped.table.len(), imported.table.len());
}

#[test]
fn every_rate_is_written_so_that_it_is_read_again() {
    for rate in [0, 1, 10, 150_000_000, 2_500_000_000, 123_456_789_012_345, u64::MAX] {
        let text = per_token(Rate(rate));
        assert_eq!(Rate::per_token(&text), Ok(Rate(rate)), "{text}");
    }
}

#[test]
fn what_is_no_price_table_is_refused_and_says_why() {
    let wrong = |text: &str| import(text.as_bytes(), "x", "2026-01-31").unwrap_err().to_string();
    let model = |cells: &str| format!("{{\"m\": {{\"mode\": \"chat\", {cells}}}}}");
    let good = "\"input_cost_per_token\": 1, \"output_cost_per_token\": 1";
    for (text, says) in [
        ("nothing", "not valid JSON"),
        ("[]", "not valid JSON"),
        ("{}", "neither"),
        ("{\"a\": {\"b\": 1}}", "neither"),
        (&model("\"input_cost_per_token\": \"dear\""), "`m`: `input_cost_per_token` is \"dear\""),
        (&model("\"input_cost_per_token\": -1e-6"), "not a price"),
        (&format!("{{\"m\": {{{good}}}, \"m\": {{{good}}}}}"), "twice"),
        ("{\"p\": {\"models\": {\"m\": {\"cost\": {\"input\": true, \"output\": 1}}}}}", "`p/m`: `input` is true"),
    ] {
        assert!(wrong(text).contains(says), "{text}\nsays: {}", wrong(text));
    }
}

#[test]
fn two_tables_are_compared_by_what_they_cost() {
    let table = |text: &str| import(text.as_bytes(), "x", "2026-01-31").unwrap().table;
    let cells = |input: &str| format!("{{\"input_cost_per_token\": {input}, \"output_cost_per_token\": 1e-6}}");
    let before = table(&format!("{{\"a\": {}, \"b\": {}, \"c\": {}}}", cells("1e-6"), cells("2e-6"), cells("3e-6")));
    let after = table(&format!("{{\"a\": {}, \"b\": {}, \"d\": {}}}", cells("0.000001"), cells("2.5e-6"), cells("0")));
    let changes = after.changes_from(&before);
    assert_eq!((changes.new, changes.changed, changes.dropped), (vec!["d".into()], vec!["b".into()], vec!["c".into()]));
    assert_eq!(changes.same, 1);
}

//! What a whole scan says.

use super::*;
use crate::residency::Classes;
use proptest::prelude::*;
use std::sync::LazyLock;

/// Compiling them takes longer than most tests.
static DETECTORS: LazyLock<Detectors> = LazyLock::new(|| Detectors::new(config()).unwrap());

fn config() -> DetectConfig {
    let classes = Classes::standard();
    DetectConfig {
        kinds: Kind::ALL.map(|kind| classes.named(kind.sensitivity().class()).ok()),
        patterns: vec![],
        words: vec![],
        unscanned: None,
        most_bytes: 1 << 20,
        observe: false,
    }
}

fn scan_parts(config: DetectConfig, parts: &[&str]) -> Findings {
    let passage = parts.iter().map(|part| Cow::Borrowed(*part)).collect();
    Detectors::new(config).unwrap().scan(&[passage], Unscanned::default())
}

/// What is found, as `count name (variety)`.
fn said(findings: &Findings) -> String {
    let mut said: Vec<String> = findings.found.iter().map(ToString::to_string).collect();
    said.sort();
    said.join(", ")
}

fn check(text: &str, expected: &str) {
    assert_eq!(said(&scan_parts(config(), &[text])), expected, "{text}");
}

#[test]
fn numbers_are_told_from_numbers() {
    for (text, expected) in [
        ("4111 1111 1111 1111", "1 payment_card (visa)"),
        ("pay with 4111-1111-1111-1111, 12/27", "1 payment_card (visa)"),
        ("378282246310005 and 3782 822463 10005", "1 payment_card (american_express)"),
        ("my card: 411111 1111 111111", "1 payment_card (visa)"),
        ("4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "1 payment_card (visa)"),
        ("4111111111111111 4242424242424242", "2 payment_card (visa)"),
        ("0.4111111111111111", ""),
        ("4111-1111-1111-1111-1111", ""),
        ("4111 1111 1111 1111 1111", ""),
        ("the card 4111 1111 1111 1111 1111", "1 payment_card (visa)"),
        ("a4111111111111111", ""),
        ("550e8400-e29b-41d4-a716-446655440000", ""),
        ("IBAN DE89 3704 0044 0532 0130 00.", "1 iban"),
        ("PESEL 44051401359", "1 national_id (pl_pesel)"),
        ("order 44051401359", ""),
        ("mein Name; Steuer-ID: 86 095 742 719", "1 national_id (de_steuer_id)"),
        ("nr 85.07.30-033.28", "1 national_id (be_nrn)"),
        ("DNI 12.345.678-Z, NIE X-1234567-L", "2 national_id (es_nif)"),
        ("131052-308T", "1 national_id (fi_hetu)"),
        ("SSN: 078-05-1120", "1 national_id (us_ssn)"),
        ("part 078-05-1120", ""),
        ("NI number AB 12 34 56 C", "1 national_id (gb_nino)"),
        ("身份证号11010519491231002X。", "1 national_id (cn_resident_id)"),
        ("passport no. C01X00T47", "1 passport"),
        ("MRN: 00482913", "1 medical_record"),
        ("call +49 30 901820", "1 phone"),
        ("Tel. (030) 901820", "1 phone"),
        ("ring me 2024-01-15", ""),
        ("10.20.30.40 and 10.20.30.40", "1 ip_address (ipv4)"),
        ("version 10.20.30.40", ""),
        ("Chrome/120.0.0.0 v1.2.3.4 1.2.3.4.5", ""),
        ("host 1.2.3.4", "1 ip_address (ipv4)"),
        ("fe80::1ff:fe23:4567:890a", "1 ip_address (ipv6)"),
        ("00:1a:2b:3c:4d:5e or 00-1a-2b-3c-4d-5e", "2 mac_address"),
        ("at 12:30:45, std::net", ""),
        ("Ada@Example.org, ada@example.org", "1 email"),
    ] {
        check(text, expected);
    }
}

#[test]
fn disguise_and_encoding_do_not_hide_one_level_deep() {
    for text in [
        "4111\u{200B}1111\u{200B}1111\u{200B}1111",
        "４１１１１１１１１１１１１１１１",
        "٤١١١١١١١١١١١١١١١",
        "4111\u{2009}1111\u{2013}1111\u{00A0}1111",
        "NDExMTExMTExMTExMTExMQ==",
        "4111%201111%201111%201111",
        r#"{\"n\":\"\u0034111111111111111\"}"#,
        "\u{00B9}4111111111111111",
    ] {
        let findings = scan_parts(config(), &[text]);
        assert!(findings.found.iter().any(|finding| &*finding.name == "payment_card"), "{text}: {}", said(&findings));
    }
}

#[test]
fn what_was_split_is_whole_again_however_long_its_parts() {
    let long = "no numbers here; ".repeat(100);
    let (before, after) = (format!("{long}4111 1111"), format!("1111 1111; {long}"));
    for parts in [
        &["41111111", "11111111"][..],
        &["4111 1111", "1111 1111"],
        &["4", "1", "1", "1", "1", "1", "1", "1", "1", "1", "1", "1", "1", "1", "1", "1"],
        &[&before, &after],
        &["write ada@exam", "ple.org 4111111111111111"],
    ] {
        let found = said(&scan_parts(config(), parts));
        assert!(found.contains("payment_card"), "{parts:?}: {found}");
    }
}

#[test]
fn the_class_is_the_highest_found_and_observing_sets_none() {
    let classes = Classes::standard();
    let class = |config, text| scan_parts(config, &[text]).class.map(|class| classes.name(class).to_owned());
    assert_eq!(class(config(), "a@b.co"), Some("confidential".into()));
    assert_eq!(class(config(), "a@b.co 4111111111111111"), Some("restricted".into()));
    assert_eq!(class(config(), "nothing"), None);
    assert_eq!(class(DetectConfig { observe: true, ..config() }, "4111111111111111"), None);
    let mut off = config();
    off.kinds[Kind::PaymentCard.place()] = None;
    assert_eq!(class(off, "4111111111111111"), None);
}

#[test]
fn what_is_not_scanned_is_counted_and_sets_its_class() {
    let classes = Classes::standard();
    let unscanned = classes.named("restricted").ok();
    let short = DetectConfig { most_bytes: 10, unscanned, ..config() };
    let findings = scan_parts(short.clone(), &["é123456789 4111111111111111"]);
    assert_eq!((findings.unscanned.text_bytes, findings.class), (18, unscanned));
    assert_eq!(scan_parts(short.clone(), &["short"]).class, None);
    let picture = Unscanned { pictures: 1, ..Unscanned::default() };
    assert_eq!(Detectors::new(short.clone()).unwrap().scan(&[], picture).class, unscanned);
    assert_eq!(Detectors::new(short).unwrap().blind(5).class, unscanned);
}

#[test]
fn configured_patterns_and_words_are_found_whole_and_bad_ones_are_refused_by_name() {
    let class = Classes::standard().named("restricted").unwrap();
    let pattern = |regex: &str| Pattern { name: "project".into(), regex: regex.into(), class };
    let list = |words: &[&str]| WordList {
        name: "customers".into(),
        words: words.iter().map(ToString::to_string).collect(),
        class,
    };
    let with = |patterns, words| DetectConfig { patterns, words, ..config() };
    let both = with(vec![pattern(r"\bPRJ-\d{4}\b")], vec![list(&["Acme", "Größe AG"])]);
    for (text, expected) in [
        ("see PRJ-1234 and PRJ-9999", "1 project"),
        ("ACME and acme", "1 customers"),
        ("die GRÖSSE ag", ""),
        ("die größe ag", "1 customers"),
        ("acmeism", ""),
        ("PRJ\u{200B}-1234", "1 project"),
    ] {
        assert_eq!(said(&scan_parts(both.clone(), &[text])), expected, "{text}");
    }
    for (config, says) in [
        (with(vec![pattern("(")], vec![]), "project"),
        (with(vec![pattern("a*")], vec![]), "empty text"),
        (with(vec![pattern(&"a{1000}".repeat(1000))], vec![]), "project"),
        (with(vec![], vec![list(&[])]), "customers"),
        (with(vec![], vec![list(&["a", " "])]), "customers"),
    ] {
        let error = Detectors::new(config).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn work_grows_with_the_text_and_no_faster() {
    let detectors = Detectors::new(config()).unwrap();
    let work = |text: &str| detectors.scan(&[vec![Cow::Borrowed(text)]], Unscanned::default()).work;
    for unit in [
        "1:",
        "a:b:",
        "ya29.",
        "glpat-.",
        "pwd=abc;",
        "=eyJ",
        "((1",
        "4",
        "41 ",
        "4111 1111 ",
        "1.",
        "1-",
        "a:",
        ":",
        "::1",
        "a@",
        "@",
        "eyJ.",
        "sk-",
        "sk-proj-",
        "://a:",
        "GB82",
        "AA11 ",
        "4\n",
        "+1",
        "NDEx",
        "%41",
        "\\u0034",
        "\u{200B}4",
        "aa-",
        "-----BEGIN ",
        "passport 12345678 ",
        "\u{FDFA}",
        "\u{301}\u{316}",
        "中文１：",
        "中",
        "abcdefghijklmno ",
        "1:1:1:1.",
        ":.",
        "٤",
        "password=x;",
        "x@y.zz:",
        "1a2b ",
        "(1) ",
    ] {
        let (once, twice) = (work(&unit.repeat(1_000)), work(&unit.repeat(2_000)));
        let within = |one: u64, two: u64| two <= one * 21 / 10 + 64;
        let linear = within(once.checks, twice.checks) && within(once.bytes, twice.bytes);
        assert!(linear && within(once.looked, twice.looked), "{unit}: {once:?} {twice:?}");
        assert!(once.bytes <= 12 * unit.len() as u64 * 1_000 + 64, "{unit}: {once:?}");
    }
}

#[test]
fn a_card_among_many_numbers_of_its_length_is_found_as_it_is_alone() {
    let scanned = |text: &str| scan_parts(config(), &[text]);
    for (text, found) in [
        ("4111111111111111 4111111111111111", "1 payment_card"),
        ("1234567812345678 4111111111111111 1234567812345678", "1 payment_card"),
        // Groups that go on as they are: a table, and no word says otherwise.
        ("4111 1111 1111 1111 4111 1111 1111 1111", ""),
        ("card 4111 1111 1111 1111 4111 1111 1111 1111", "1 payment_card"),
    ] {
        assert!(said(&scanned(text)).starts_with(found), "{text}: {}", said(&scanned(text)));
        assert_eq!(said(&scanned(text)), said(&scan_plainly(&DETECTORS, text)), "{text}");
    }
}

/// What is found where nothing is passed over.
fn scan_plainly(detectors: &Detectors, text: &str) -> Findings {
    let mut looking = Looking::new(detectors, Unscanned::default());
    looking.scan.plainly = true;
    looking.passage(&vec![Cow::Borrowed(text)]);
    looking.findings()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn passing_over_changes_no_finding(
        parts in proptest::collection::vec(
            prop_oneof![
                "[0-9]{1,5}", "[0-9]{6,20}", "[0-9a-f]{1,4}:{1,2}", "([0-9A-F]{2}[:-]){5}[0-9A-F]{2}", "([0-9]{1,3}\\.){1,4}",
                "[0-9]{1,4}[ .\\-/_()\n]{1,2}", "(::|[0-9a-f]{1,4}:){2,7}([0-9]{1,3}\\.){0,3}[0-9a-f]{0,4}", "[a-z]{1,4}@[a-z]{1,4}\\.[a-z]{2}",
                Just("4111 1111 1111 1111".to_owned()), Just("+49 30 901820".to_owned()), Just("078-05-1120".to_owned()),
                Just("12.345.678-Z".to_owned()), Just("131052-308T".to_owned()), Just("AB 12 34 56 C".to_owned()), Just("fe80::1ff:fe23:4567:890a".to_owned()),
                Just("２００１:db8::1:2".to_owned()), Just("aabb.cc1d.eeff".to_owned()), Just("10.20.30.40".to_owned()),
                "(passport|MRN|tel|SSN|card|Steuer-ID|身份证号|version|host):? ", "[ .,:;/@+\\-\"]{1,3}", "[a-z中é\u{200b}\u{301}]{1,6}", "[A-Za-z0-9+/]{16,40}={0,2}",
            ],
            0..16,
        ),
    ) {
        let text = parts.concat();
        let detectors = &*DETECTORS;
        let (plain, fast) = (scan_plainly(detectors, &text), detectors.scan(&[vec![Cow::Borrowed(&text)]], Unscanned::default()));
        prop_assert_eq!(said(&fast), said(&plain));
        prop_assert_eq!(fast.class, plain.class);
        prop_assert!(fast.work.checks <= plain.work.checks && fast.work.looked <= plain.work.looked);
    }
}

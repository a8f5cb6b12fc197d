//! Laws of the placeholders.

use super::restore::LONGEST;
use super::*;
use crate::detect::{DetectConfig, Detectors, Pattern, Unscanned, WordList};
use crate::residency::Classes;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

/// Compiling them takes longer than most tests.
static DETECTORS: LazyLock<Detectors> = LazyLock::new(|| {
    let class = Classes::standard().named("restricted").ok();
    Detectors::new(DetectConfig {
        kinds: Kind::ALL.map(|_| class),
        patterns: class
            .map(|class| Pattern { name: "project".into(), regex: r"\bPRJ-\d{4}\b".into(), class })
            .into_iter()
            .collect(),
        words: class
            .map(|class| WordList {
                name: "customers".into(),
                words: vec!["Acme Works".into(), "Größe AG".into()],
                class,
            })
            .into_iter()
            .collect(),
        unscanned: None,
        most_bytes: 1 << 20,
        observe: false,
    })
    .unwrap()
});

/// The text with placeholders, what puts it back, and the kinds that nobody can account for.
fn masked(passage: &[&str], kinds: &[Kind]) -> (Vec<String>, Arc<Values>, Vec<Kind>) {
    let detectors = &*DETECTORS;
    let passages: Vec<Passage<'_>> = vec![passage.iter().map(|part| (*part).into()).collect()];
    let located = detectors.locate(&passages, Unscanned::default());
    assert_eq!(located.findings, detectors.scan(&passages, Unscanned::default()), "locating finds what scanning finds");
    let all = || located.values.iter().map(|(kind, _)| *kind).collect::<BTreeSet<_>>().into_iter().collect();
    let plain = || passage.iter().map(|part| (*part).to_owned()).collect();
    let Some(chosen) = choose(&passages, &located, &MaskRules::new(kinds, true), |_, _| true).unwrap() else {
        return (plain(), Arc::default(), all());
    };
    let digests = chosen.texts.iter().enumerate().map(|(at, (kind, _))| (*kind, at as u64));
    let given = Numbers::default().assign(digests, &Taken::of(&passages));
    let values = chosen.texts.iter().zip(&given).map(|((kind, text), number)| (*kind, *number, Arc::from(*text)));
    let mut parts: Vec<String> = plain();
    for cut in chosen.cuts.iter().rev() {
        let placeholder = Values::placeholder(chosen.texts[cut.value].0, given[cut.value]);
        parts[cut.part].replace_range(cut.range.clone(), &placeholder);
    }
    let left = chosen.unaccounted(&located).unwrap().into_iter().collect();
    (parts, Arc::new(Values::new(values)), left)
}

/// The expression, then the list.
const CONFIGURED: [Kind; 2] = [Kind::Configured(0), Kind::Configured(1)];

fn check(text: &str, sent: &str, left: &[Kind]) {
    let (parts, values, unaccounted) = masked(&[text], &[&Kind::ALL[..], &CONFIGURED].concat());
    assert_eq!((parts[0].as_str(), unaccounted.as_slice()), (sent, left), "{text}");
    assert_eq!(values.restore(&parts[0]), text);
}

#[test]
fn values_become_placeholders_and_what_cannot_be_cut_out_exactly_stays() {
    for (text, sent, left) in [
        (
            "write to ada@example.org, ada@example.org or bob@example.org",
            "write to <EMAIL_1>, <EMAIL_1> or <EMAIL_2>",
            &[][..],
        ),
        ("card 4012 8888 8888 1881.", "card <CARD_1>.", &[]),
        ("call +49 30 12345678 now", "call <PHONE_1> now", &[]),
        ("IBAN DE89 3704 0044 0532 0130 00", "IBAN <IBAN_1>", &[]),
        ("my DNI is 12.345.678-Z, really", "my DNI is <NATIONAL_ID_1>, really", &[]),
        ("host 203.0.113.77 and 00:1A:2b:3c:4d:5e", "host <IP_ADDRESS_1> and <MAC_ADDRESS_1>", &[]),
        ("key AKIAIOSFODNN7EXAMPLE!", "key <SECRET_1>!", &[]),
        ("my SSN is 078-05-1121", "my SSN is <NATIONAL_ID_1>", &[]),
        // Invisible characters inside belong to the value; those of other scripts, too.
        ("4012\u{200B}8888\u{200B}8888\u{200B}1881", "<CARD_1>", &[]),
        ("٤٠١٢٨٨٨٨٨٨٨٨١٨٨١", "<CARD_1>", &[]),
        // A line of JSON inside of the text.
        (r#"{"a":"x\nada@example.org"}"#, r#"{"a":"x\n<EMAIL_1>"}"#, &[]),
        // The client's own words.
        ("<EMAIL_1>, email_2 and EMAIL-3 are ada@example.org", "<EMAIL_1>, email_2 and EMAIL-3 are <EMAIL_4>", &[]),
        // In other clothes: a run of base64 goes as a whole, percent codes with what they are part of.
        ("NDAxMjg4ODg4ODg4MTg4MQ==", "<CARD_1>", &[]),
        ("see NDAxMjg4ODg4ODg4MTg4MQ, bG9yZW0gaXBzdW0gZG9sb3I=.", "see <CARD_1>, bG9yZW0gaXBzdW0gZG9sb3I=.", &[]),
        ("YWRhQGV4YW1wbGUub3Jn ada@example.org", "<EMAIL_1> <EMAIL_2>", &[]),
        ("mail ada%40example.org", "mail <EMAIL_1>", &[]),
        ("?a=1%20ada%40example.org%20&b=%", "?a=1%20<EMAIL_1>%20&b=%", &[]),
        ("%41da%40example.org", "<EMAIL_1>", &[]),
        // What NFKC composes, and what it does not.
        // (Without its ligature it is another address, and nobody can account for that one.)
        ("ﬁnn@example.org, né e\u{301}", "<EMAIL_1>, né e\u{301}", &[Kind::Email]),
        ("pay ④⓪①②8888８８８８1881, né e\u{301}", "pay <CARD_1>, né e\u{301}", &[]),
        ("to a①@example.org", "to <EMAIL_1>", &[]),
        // What was configured, in any reading.
        ("PRJ-1234, PRJ-1234 and PRJ-9999", "<CUSTOM_1>, <CUSTOM_1> and <CUSTOM_2>", &[]),
        ("ACME works and die größe ag", "<CUSTOM_1> and die <CUSTOM_2>", &[]),
        ("Ⱥ größe ag", "Ⱥ <CUSTOM_1>", &[]),
        ("PRJ\u{200B}-1234", "<CUSTOM_1>", &[]),
        ("UFJKLTEyMzQgaXMgbGF0ZQ==", "<CUSTOM_1>", &[]),
        ("custom_1 is PRJ-1234", "custom_1 is <CUSTOM_2>", &[]),
        // Only known by its beginning, or in pieces: left, and not accounted for.
        ("客Acme Works户", "客Acme Works户", &[CONFIGURED[1]]),
        ("NDAxMjg4ODg= ODg4ODE4ODE=", "NDAxMjg4ODg= ODg4ODE4ODE=", &[]),
        ("-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----", &[Kind::Secret]),
        ("postgres://app:h4rd2guess@db/x", "postgres://app:h4rd2guess@db/x", &[Kind::Secret]),
        ("4012 8888\n8888 1881", "4012 8888\n8888 1881", &[Kind::PaymentCard]),
        (r#"{"a":"\u0061da@example.org"}"#, r#"{"a":"\u0061da@example.org"}"#, &[Kind::Email]),
        ("übada@example.org", "übada@example.org", &[Kind::Email]),
    ] {
        check(text, sent, left);
    }
}

#[test]
fn only_the_configured_kinds_are_masked() {
    let text = "ada@example.org pays with 4012 8888 8888 1881";
    let (parts, _, left) = masked(&[text], &[Kind::Email]);
    assert_eq!(parts[0], "<EMAIL_1> pays with 4012 8888 8888 1881");
    assert_eq!(left, [Kind::PaymentCard]);
}

#[test]
fn a_value_across_a_seam_stays_and_one_beside_a_seam_does_not() {
    let (parts, _, left) = masked(&["pay 40128888", "88881881 now"], &Kind::ALL);
    assert_eq!((parts.concat().as_str(), left.as_slice()), ("pay 4012888888881881 now", &[Kind::PaymentCard][..]));
    let (parts, _, left) = masked(&["write to ada@example.org", "thanks"], &Kind::ALL);
    assert_eq!((parts.concat().as_str(), left.as_slice()), ("write to <EMAIL_1>thanks", &[][..]));
}

#[test]
fn a_number_that_is_known_in_one_place_goes_from_every_place() {
    let far = format!("My SSN is 078-05-1121.{} It was 078-05-1121.", " and so on".repeat(30));
    let (parts, _, left) = masked(&[&far], &Kind::ALL);
    assert!(!parts[0].contains("078-05-1121") && left.is_empty(), "{}", parts[0]);
}

#[test]
fn numbers_stay_in_a_session_and_meet_nobody() {
    let mut numbers = Numbers::default();
    let none = Taken::default();
    assert_eq!(numbers.assign([(Kind::Email, 10), (Kind::Email, 20), (Kind::Phone, 30)], &none), [1, 2, 1]);
    assert_eq!(numbers.assign([(Kind::Email, 20), (Kind::Email, 40)], &none), [2, 3]);
    let taken = Taken::of(&[vec!["see <email_2> and EMAIL_4".into()]]);
    assert_eq!(numbers.assign([(Kind::Email, 20), (Kind::Email, 10)], &taken), [5, 1]);
    assert_eq!(numbers.assign([(Kind::Email, 20)], &none), [5]);
}

#[test]
fn many_values_take_no_more_than_their_number() {
    // With the square of it this would take minutes.
    let lines: Vec<String> = (0..10_000).map(|n| format!("{{\"to\":\"x\\nuser{n}@example.org\"}}")).collect();
    let text = lines.join("\n");
    let (parts, values, left) = masked(&[&text], &Kind::ALL);
    assert!(left.is_empty() && !parts[0].contains('@'));
    assert_eq!(parts[0].matches("<EMAIL_").count(), 10_000);
    assert_eq!(values.restore(&parts[0]), text);
    assert_eq!(values.conceal(&text).unwrap(), parts[0]);
}

fn values() -> Arc<Values> {
    let value = |kind, number, text: &str| (kind, number, Arc::from(text));
    Arc::new(Values::new([
        value(Kind::Email, 1, "ada@example.org"),
        value(Kind::Email, 12, "bob@example.org"),
        value(Kind::IpAddress, 3, "203.0.113.7"),
        value(Kind::PaymentCard, 2, "4012 <EMAIL_1>"),
        value(Kind::Configured(7), 3, "PRJ-1234"),
    ]))
}

fn pieces(text: &str, cuts: &[usize]) -> String {
    let (mut restorer, mut out, mut from) = (Restorer::new(values()), String::new(), 0);
    for cut in cuts.iter().copied().chain([text.len()]) {
        out.push_str(&restorer.push(&text[from..cut]));
        assert!(restorer.holds() != restorer.held_back().is_empty() && restorer.held_back().len() <= LONGEST);
        from = cut;
    }
    out + &restorer.finish()
}

#[test]
fn placeholders_are_known_in_their_spellings_and_nothing_else_is() {
    for (text, restored) in [
        ("<EMAIL_1>", "ada@example.org"),
        ("<<email_12>>", "<bob@example.org>"),
        ("&lt;Email_1&gt;", "ada@example.org"),
        (r"\u003cEMAIL_1\u003E", "ada@example.org"),
        ("<IP_ADDRESS_3>:80", "203.0.113.7:80"),
        ("<CARD_2>", "4012 <EMAIL_1>"),
        ("<Custom_3>.", "PRJ-1234."),
        ("<EMAIL_2>", "<EMAIL_2>"),
        ("<EMAIL_01>", "<EMAIL_01>"),
        ("<EMAIL_", "<EMAIL_"),
        ("<EMAIL 1>", "<EMAIL 1>"),
        ("EMAIL_1", "EMAIL_1"),
        ("<EMAIL_<EMAIL_1>", "<EMAIL_ada@example.org"),
        ("<EMAIL_99999999999>", "<EMAIL_99999999999>"),
        ("<EMAIL_4294967296>", "<EMAIL_4294967296>"),
        ("a < b && c", "a < b && c"),
        ("<em", "<em"),
    ] {
        assert_eq!(values().restore(text), restored, "{text}");
        for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            assert_eq!(pieces(text, &[cut]), restored, "{text} at {cut}");
        }
        let every: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        assert_eq!(pieces(text, &every), restored, "{text} letter by letter");
    }
}

/// Restoring, said independently: one expression over the whole text.
fn oracle(text: &str) -> String {
    let placeholder = regex::Regex::new(
        r"(?i)(?:<|&lt;|\\u003c)(CUSTOM|CARD|IBAN|NATIONAL_ID|PASSPORT|MEDICAL_RECORD|SECRET|EMAIL|PHONE|IP_ADDRESS|MAC_ADDRESS)_([1-9][0-9]{0,9})(?:>|&gt;|\\u003e)",
    )
    .unwrap();
    let known = |label: &str, number: &str| match (label.to_ascii_uppercase().as_str(), number) {
        ("EMAIL", "1") => Some("ada@example.org"),
        ("EMAIL", "12") => Some("bob@example.org"),
        ("IP_ADDRESS", "3") => Some("203.0.113.7"),
        ("CARD", "2") => Some("4012 <EMAIL_1>"),
        ("CUSTOM", "3") => Some("PRJ-1234"),
        _ => None,
    };
    let restored = placeholder.replace_all(text, |found: &regex::Captures<'_>| {
        known(&found[1], &found[2]).map_or_else(|| found[0].to_owned(), str::to_owned)
    });
    restored.into_owned()
}

#[test]
fn an_endless_beginning_takes_no_more_work_than_its_length() {
    // Every sign may begin a placeholder; letter by letter each is held back and given up.
    let text = "<EMAIL_".repeat(20_000);
    let mut restorer = Restorer::new(values());
    let mut given = 0;
    for at in 0..text.len() {
        given += restorer.push(&text[at..=at]).len();
        assert!(restorer.held_back().len() <= LONGEST);
    }
    assert_eq!(given + restorer.finish().len(), text.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn however_a_text_is_cut_it_is_restored_the_same(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("<EMAIL_1>"), Just("<email_12>"), Just("&lt;IP_ADDRESS_3&gt;"), Just("\\u003cCARD_2\\u003e"), Just("<EMAIL_"),
                Just("<"), Just(">"), Just("&l"), Just("<CUSTOM_3>"), Just("<CUST"), Just("\\u00"), Just("_1>"), Just("EMAIL"), Just("12"), Just("é😀"), Just(" x "), Just("<IP_"),
            ],
            0..12,
        ),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let text = parts.concat();
        let boundaries: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| boundaries[cut.index(boundaries.len())]).collect();
        cuts.sort_unstable();
        let whole = oracle(&text);
        prop_assert_eq!(&pieces(&text, &cuts), &whole);
        prop_assert_eq!(values().restore(&text), whole);
    }

    #[test]
    fn masking_and_restoring_gives_every_byte_again(
        words in proptest::collection::vec(
            prop_oneof![
                "[a-z]{1,6}@[a-z]{2,6}\\.(org|de)", "\\+49 30 [0-9]{7}", Just("4012888888881881".to_owned()),
                Just("DE89370400440532013000".to_owned()), "203\\.0\\.113\\.[1-9]", "[a-zé]{1,8}", Just("<EMAIL_1>".to_owned()),
                "PRJ-[0-9]{4}", Just("größe AG".to_owned()), Just("YWRhQGV4YW1wbGUub3Jn".to_owned()), "[a-z]{2}%40x\\.org", Just("ﬁ".to_owned()), Just("e\u{301}".to_owned()),
                Just("\\".to_owned()), Just("\"".to_owned()), Just("\n".to_owned()), Just("\u{200b}".to_owned()),
            ],
            0..12,
        ),
        between in prop_oneof![Just(" "), Just(", "), Just("")],
    ) {
        let text = words.join(between);
        let (parts, values, _) = masked(&[&text], &[&Kind::ALL[..], &CONFIGURED].concat());
        prop_assert_eq!(values.restore(&parts[0]), text);
    }
}

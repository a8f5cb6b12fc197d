//! Recall and precision of the detectors on generated text with known truth.
//!
//! `cargo test -p policies --test detectors -- --ignored` writes the tables into `docs/detectors.md`.
#![expect(clippy::unwrap_used, reason = "tests")]

mod labelled;

use labelled::{Case, numbers};
use policies::Classes;
use policies::detect::{DetectConfig, Detectors, Kind, Unscanned};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Kinds, and groups of kinds, that have a check digit or a checksum.
const CHECKED: [&str; 3] = ["payment_card", "iban", "national_id"];

#[derive(Default)]
struct Count {
    cases: u32,
    found: u32,
    /// Cases in which this kind was found and is not.
    wrong: u32,
}

struct Measured {
    groups: BTreeMap<&'static str, (Option<&'static str>, Count)>,
    kinds: BTreeMap<&'static str, Count>,
    negatives: BTreeMap<&'static str, (u32, BTreeMap<String, u32>)>,
    cases: u32,
    missed: Vec<String>,
}

fn detectors() -> Detectors {
    let classes = Classes::standard();
    Detectors::new(DetectConfig {
        kinds: Kind::ALL.map(|kind| classes.named(kind.sensitivity().class()).ok()),
        patterns: vec![],
        words: vec![],
        unscanned: None,
        most_bytes: 1 << 20,
        observe: false,
    })
    .unwrap()
}

fn measure() -> Measured {
    let detectors = detectors();
    let mut measured = Measured {
        groups: BTreeMap::new(),
        kinds: BTreeMap::new(),
        negatives: BTreeMap::new(),
        cases: 0,
        missed: vec![],
    };
    for Case { text, kind, group } in labelled::cases() {
        measured.cases += 1;
        let findings = detectors.scan(&[vec![Cow::Borrowed(text.as_str())]], Unscanned::default());
        let found: BTreeSet<&str> = findings.found.iter().map(|finding| &*finding.name).collect();
        let hit = kind.is_some_and(|kind| found.contains(kind));
        if let Some(kind) = kind {
            let (_, count) = measured.groups.entry(group).or_insert_with(|| (Some(kind), Count::default()));
            count.cases += 1;
            count.found += u32::from(hit);
            if group != numbers::BARE {
                let count = measured.kinds.entry(kind).or_default();
                count.cases += 1;
                count.found += u32::from(hit);
                if !hit {
                    measured.missed.push(format!("{group}: {text}"));
                }
            }
        } else {
            let (cases, wrong) = measured.negatives.entry(group).or_default();
            *cases += 1;
            found.iter().for_each(|name| *wrong.entry((*name).to_owned()).or_default() += 1);
        }
        for other in Kind::ALL.map(Kind::word).into_iter().filter(|word| Some(*word) != kind && found.contains(word)) {
            measured.kinds.entry(other).or_default().wrong += 1;
            measured.missed.push(format!("{other} in {group}: {text}"));
        }
    }
    measured
}

fn share(part: u32, whole: u32) -> f64 {
    if whole == 0 { 1.0 } else { f64::from(part) / f64::from(whole) }
}

#[test]
fn kinds_with_a_check_digit_have_a_recall_of_99_and_a_precision_of_98_in_a_hundred() {
    let measured = measure();
    assert!(measured.cases >= 5_000, "{}", measured.cases);
    for kind in CHECKED {
        let Count { cases, found, wrong } = measured.kinds[kind];
        let (recall, precision) = (share(found, cases), share(found, found + wrong));
        let shown: Vec<&String> = measured.missed.iter().filter(|case| case.starts_with(kind)).take(40).collect();
        assert!(recall >= 0.99 && precision >= 0.98, "{kind}: {recall:.4}, {precision:.4}: {shown:#?}");
    }
    let (_, github) = &measured.groups["secret github (checksum)"];
    assert!(share(github.found, github.cases) >= 0.99);
    for (group, (kind, Count { cases, found, .. })) in &measured.groups {
        if *kind == Some("national_id") && *group != numbers::BARE {
            assert!(
                share(*found, *cases) >= 0.95,
                "{group}: {found} of {cases}: {:#?}",
                measured.missed.iter().filter(|c| c.starts_with(group)).take(10).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
#[ignore = "writes docs/detectors.md"]
fn write_the_tables() {
    let measured = measure();
    let mut out = format!(
        "{} generated cases.\n\n| kind | cases | recall | precision |\n| --- | ---: | ---: | ---: |\n",
        measured.cases
    );
    for (kind, Count { cases, found, wrong }) in &measured.kinds {
        let (recall, precision) = (share(*found, *cases), share(*found, found + wrong));
        writeln!(out, "| `{kind}` | {cases} | {recall:.4} | {precision:.4} |").unwrap();
    }
    out.push_str("\n| group | cases | recall |\n| --- | ---: | ---: |\n");
    for (group, (_, Count { cases, found, .. })) in &measured.groups {
        writeln!(out, "| {group} | {cases} | {:.4} |", share(*found, *cases)).unwrap();
    }
    out.push_str("\n| nothing to find in | cases | found all the same |\n| --- | ---: | --- |\n");
    for (group, (cases, wrong)) in &measured.negatives {
        let wrong: Vec<String> = wrong.iter().map(|(kind, count)| format!("{count} `{kind}`")).collect();
        writeln!(out, "| {group} | {cases} | {} |", if wrong.is_empty() { "-".into() } else { wrong.join(", ") })
            .unwrap();
    }
    println!("{out}");
    measured.missed.iter().for_each(|case| println!("{}", case.replace('\n', "\\n")));
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/detectors.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let (head, rest) = page.split_once("<!-- measured -->\n").unwrap();
    let (_, tail) = rest.split_once("<!-- end -->").unwrap();
    std::fs::write(file, format!("{head}<!-- measured -->\n{out}<!-- end -->{tail}")).unwrap();
}

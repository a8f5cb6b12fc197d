//! Rows in, head out: what a person would notice.

use super::fit::{self, Recipe};
use super::rows::{Label, Row};
use super::{adapt, boost::Growth};
use crate::probe::head::Provenance;
use crate::probe::{Probe, Reading, read, write};
use std::sync::Arc;

fn quiet(_: &'static str, _: usize, _: usize) {}

fn small() -> Recipe {
    Recipe { bits: 12, growth: Growth { trees: 60, least: 10, ..Growth::default() }, ..Recipe::default() }
}

/// Sums of many terms need the strong model, greetings do not; one label in eight is noise.
fn rows(count: usize, turned: bool) -> Vec<Row> {
    let row = |n: usize| {
        let hard = n.is_multiple_of(2);
        let prompt = match hard {
            true => format!("Prove that {n} + {} = {} and explain the theorem step by step.", n * 3, n * 4),
            false => format!("hello, please say good morning to number {n}"),
        };
        let noise = (n * 7_919).is_multiple_of(8);
        let need = f32::from(u8::from((hard != noise) != turned));
        Row {
            id: format!("row {n}"),
            source: "made".into(),
            task: String::new(),
            group: format!("group {}", n / 2),
            chars: prompt.len(),
            reading: Reading::of_prompt(&prompt),
            kept: None,
            weight: 1.0,
            label: Some(Label { weak: 1.0 - need, strong: 1.0, need, graded: false }),
            pair: None,
        }
    };
    (0..count).map(row).collect()
}

#[test]
fn a_head_learns_is_stored_and_judges_the_same_when_read_back() {
    let rows = rows(600, false);
    let views = fit::views(&rows, 12, None, &quiet);
    let train = || fit::train(&rows, &views, &small(), 1, "made", Provenance::default(), &quiet).unwrap();
    let fitted = train();
    let file = write(&fitted.head).unwrap();
    assert_eq!(file, write(&train().head).unwrap(), "the same rows and seed give the same bytes");
    let probe = Probe::new(Arc::new(read(&file).unwrap()));
    let (easy, hard) =
        (Reading::of_prompt("hello, good morning"), Reading::of_prompt("Prove the theorem step by step."));
    let (easy, hard) = (probe.judge(&easy), probe.judge(&hard));
    assert!(easy.need < 0.3 && hard.need > 0.7, "{easy:?} {hard:?}");
    assert!(!hard.contributions.is_empty() && hard.head_version.starts_with("made-"));
    assert_eq!(probe.cold_quantiles().len(), 101);
    for (row, views) in rows.iter().zip(&views).take(20) {
        assert_eq!(probe.need(&row.reading), fitted.head.judge(views).1);
    }
}

#[test]
fn a_changed_file_is_refused() {
    let rows = rows(200, false);
    let views = fit::views(&rows, 12, None, &quiet);
    let fitted = fit::train(&rows, &views, &small(), 1, "made", Provenance::default(), &quiet).unwrap();
    let mut file = write(&fitted.head).unwrap();
    assert!(read(&file[..file.len() - 1]).is_err() && read(b"else").is_err());
    let last = file.len() - 1;
    file[last] ^= 1;
    assert!(read(&file).unwrap_err().to_string().contains("damaged"));
}

#[test]
fn a_head_that_is_wrong_here_is_adapted_and_one_that_is_right_is_kept() {
    let base_rows = rows(400, false);
    let views = fit::views(&base_rows, 12, None, &quiet);
    let base = fit::train(&base_rows, &views, &small(), 1, "base", Provenance::default(), &quiet).unwrap().head;
    let base = read(&write(&base).unwrap()).unwrap();
    let turned = rows(300, true);
    let views = fit::views(&turned, 12, None, &quiet);
    let adapted = adapt::adapt(&base, &turned, &views, 1, "own", Provenance::default(), &quiet).unwrap();
    assert!(adapted.accepted && adapted.new_apgr > adapted.base_apgr + 0.2, "{adapted:?}");
    let again = read(&write(&adapted.head).unwrap()).unwrap();
    assert_eq!(again.header.provenance.base.as_deref(), Some(base.version().as_str()));
    // Labels that nothing predicts: nothing to gain.
    let mut coin = rows(300, false);
    for (n, row) in coin.iter_mut().enumerate() {
        let need = f32::from(u8::from(twox_hash::XxHash3_64::oneshot(&n.to_le_bytes()).is_multiple_of(2)));
        row.label = Some(Label { weak: 1.0 - need, strong: 1.0, need, graded: false });
    }
    let views = fit::views(&coin, 12, None, &quiet);
    let kept = adapt::adapt(&base, &coin, &views, 1, "own", Provenance::default(), &quiet).unwrap();
    assert!(!kept.accepted && kept.head == base, "{} {}", kept.base_apgr, kept.new_apgr);
}

#[test]
fn graded_rows_have_an_opinion_of_their_own() {
    let mut rows = rows(800, false);
    // Measured rows are about sums; graded ones about poems, of which the long ones are hard.
    for (n, row) in rows.iter_mut().enumerate().filter(|(n, _)| n % 4 > 1) {
        let need = if n.is_multiple_of(2) { 0.9 } else { 0.1 };
        let prompt =
            format!("poem number {n} about the sea{}", if n.is_multiple_of(2) { " in strict terza rima" } else { "" });
        row.reading = Reading::of_prompt(&prompt);
        row.label = Some(Label { weak: 1.0 - need, strong: 1.0, need, graded: true });
    }
    let views = fit::views(&rows, 12, None, &quiet);
    let fitted = fit::train(&rows, &views, &small(), 1, "made", Provenance::default(), &quiet).unwrap();
    let need = |text: &str| fitted.head.judge(&fitted.head.views(&Reading::of_prompt(text))).1;
    assert!(need("poem number 5 about the sea in strict terza rima") > need("poem number 5 about the sea"));
    assert!(need("Prove the theorem step by step.") > need("hello, good morning"));
}

//! Windows with what is in them: what heads learn from, and its digest.

use crate::corpus::{Corpus, Part, Sizes, Text, Truth};
use router::private_text::windows;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// The seed of the shipped heads' training texts.
pub const SEED: u64 = 20_261_128;
/// The seed of the texts that they are measured with.
pub const HELD_BACK_SEED: u64 = 7_041_776;
/// How many training texts a language has: about persons and places, about health, about nothing of the kind.
pub const TRAINING: Sizes = Sizes([280, 250, 380]);
/// Everyday prompts (`assets/everyday`) of these subjects name nobody.
const NAMELESS: [&str; 6] = ["code", "math", "facts", "logic", "greeting", "creative"];

const EVERYDAY: [&str; 2] =
    [include_str!("../../assets/everyday/part1.jsonl"), include_str!("../../assets/everyday/part2.jsonl")];

/// A window.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its text.
    pub window: String,
    /// What is in it.
    pub truth: Truth,
    /// Its language's code.
    pub language: String,
    /// Rows of one group are alike: never one to learn from and one to measure with.
    pub group: usize,
}

/// The windows of texts, each once.
pub fn rows(texts: &[Text]) -> Vec<Row> {
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    for text in texts {
        for range in windows(&text.text) {
            let window = text.text[range.clone()].to_owned();
            // The stretch that most of the window lies in; two that went together count as the first one's.
            let group =
                text.stretches.iter().find(|(stretch, ..)| stretch.end > range.start).map_or(0, |found| found.2);
            if seen.insert(window.clone()) {
                rows.push(Row { window, truth: text.truth_of(&range), language: text.language.into(), group });
            }
        }
    }
    rows
}

/// Everyday prompts that name nobody, as they are: the training half (of even digest) or the other one.
pub fn everyday(part: Part) -> Result<Vec<Row>, serde_json::Error> {
    let mut found = Vec::new();
    for line in EVERYDAY.iter().flat_map(|file| file.lines()) {
        let row: serde_json::Value = serde_json::from_str(line)?;
        let word = |key: &str| row[key].as_str().unwrap_or_default();
        let half = if Sha256::digest(word("id"))[0] % 2 == 0 { Part::Training } else { Part::HeldBack };
        if half == part && NAMELESS.contains(&word("category")) {
            let prompt = word("prompt");
            let group = 100_000 + found.len();
            found.extend(windows(prompt).into_iter().map(|range| Row {
                window: prompt[range].to_owned(),
                truth: [false; 3],
                language: word("language").to_owned(),
                group,
            }));
        }
    }
    Ok(found)
}

/// All that the shipped heads learn from.
pub fn training() -> Result<Vec<Row>, serde_json::Error> {
    let mut all = rows(&Corpus::new().texts(Part::Training, TRAINING, SEED));
    all.extend(everyday(Part::Training)?);
    Ok(all)
}

/// The digest of windows and what is in them.
pub fn digest(rows: &[Row]) -> String {
    let mut digest = Sha256::new();
    for row in rows {
        digest.update(row.window.as_bytes());
        digest.update([0, u8::from(row.truth[0]), u8::from(row.truth[1]), u8::from(row.truth[2])]);
    }
    hex::encode(digest.finalize())
}

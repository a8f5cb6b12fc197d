//! Counts of right and wrong findings, and the tables that are made of them.

use crate::corpus::{LANGUAGES, Text};
use policies::Classes;
use policies::detect::TextReader;
use router::private_text::{Heads, Kind, PrivateConfig, PrivateText, PrivateTextError};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What was found of one kind in the texts of one language.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Texts that have it.
    pub there: u32,
    /// Of these, those in which it was found.
    pub found: u32,
    /// Texts that do not have it and in which it was found.
    pub wrong: u32,
    /// Texts.
    pub texts: u32,
}

/// By language and kind.
pub type Counts = BTreeMap<(String, Kind), Count>;

// === impl Count ===

impl Count {
    /// The share of what is there that was found.
    pub fn recall(self) -> f64 {
        share(self.found, self.there)
    }

    /// The share of what was found that is there.
    pub fn precision(self) -> f64 {
        share(self.found, self.found + self.wrong)
    }

    fn add(&mut self, other: Self) {
        self.there += other.there;
        self.found += other.found;
        self.wrong += other.wrong;
        self.texts += other.texts;
    }
}

/// A reader as the product has it: all kinds, the heads' own thresholds.
pub fn reader(heads: Option<Heads>) -> Result<PrivateText, PrivateTextError> {
    let classes = Classes::standard();
    let config = PrivateConfig {
        classes: Kind::ALL.map(|kind| classes.named(kind.usual_class()).ok()),
        thresholds: [None; 3],
        most: 512,
    };
    match heads {
        Some(heads) => PrivateText::new(config, heads),
        None => PrivateText::bundled(config),
    }
}

/// Reads one text as a request's; tells which kinds were found.
pub fn found(reader: &PrivateText, text: &str) -> [bool; 3] {
    let mut reading = reader.begin();
    reading.text(text);
    let read = reading.end();
    assert!(!read.failed, "no encoder");
    Kind::ALL.map(|kind| read.found.iter().any(|finding| &*finding.name == kind.word()))
}

/// Reads texts whole, as the product does.
pub fn measure(reader: &PrivateText, texts: &[Text], mut missed: impl FnMut(String)) -> Counts {
    let mut counts = Counts::new();
    for text in texts {
        let (found, truth) = (found(reader, &text.text), text.truth());
        for kind in Kind::ALL {
            let (there, found) = (truth[kind.place()], found[kind.place()]);
            let count = counts.entry((text.language.to_owned(), kind)).or_default();
            count.texts += 1;
            count.there += u32::from(there);
            count.found += u32::from(there && found);
            count.wrong += u32::from(found && !there);
            if there != found {
                missed(format!(
                    "{} {} {}: {}",
                    text.language,
                    kind.word(),
                    if there { "missed" } else { "wrong" },
                    text.text
                ));
            }
        }
    }
    counts
}

/// All languages together.
pub fn total(counts: &Counts, kind: Kind) -> Count {
    let mut total = Count::default();
    counts.iter().filter(|((_, of), _)| *of == kind).for_each(|(_, count)| total.add(*count));
    total
}

/// Recall and precision of each kind in each language.
pub fn table(counts: &Counts) -> String {
    let mut out = String::from("| language | texts |");
    Kind::ALL.iter().for_each(|kind| _ = write!(out, " `{0}` recall | `{0}` precision |", kind.word()));
    out.push_str("\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    let mut line = |name: &str, of: &dyn Fn(Kind) -> Count| {
        _ = write!(out, "| {name} | {} |", of(Kind::PersonName).texts);
        for kind in Kind::ALL {
            let count = of(kind);
            _ = write!(out, " {:.3} | {:.3} |", count.recall(), count.precision());
        }
        out.push('\n');
    };
    for language in LANGUAGES {
        line(language, &|kind| counts.get(&(language.to_owned(), kind)).copied().unwrap_or_default());
    }
    line("all", &|kind| total(counts, kind));
    out
}

fn share(part: u32, whole: u32) -> f64 {
    if whole == 0 { 1.0 } else { f64::from(part) / f64::from(whole) }
}

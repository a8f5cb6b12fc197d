//! Text about persons, places and illnesses that nobody has: made from templates and word lists in eight languages.
//!
//! **Promise.** The same seed gives the same texts on every machine. Texts of the held-back part come from other templates,
//! names, streets, towns, illnesses, symptoms and medicines than those of training: every list in `corpus/*.txt` has a line
//! `--`, what stands before it is for training, what stands behind it is held back.
//!
//! **What is in a text is known** because it was put there: a slot for a name makes it a text with a person's name, a slot
//! for an address one with an address, and the templates of the section `health` speak of somebody's illness. Those of
//! `plain` have what is easily taken for it: companies, products, places, famous people, illnesses in general, code.
//!
//! **What it is not.** A sample of what anybody writes. One author wrote both parts, so figures from it are too good.

use std::collections::BTreeMap;
use std::ops::Range;

/// The languages, by code.
pub const LANGUAGES: [&str; 8] = ["en", "de", "fr", "es", "it", "pt", "nl", "pl"];

const FILES: [(&str, &str); 9] = [
    ("shared", include_str!("shared.txt")),
    ("en", include_str!("en.txt")),
    ("de", include_str!("de.txt")),
    ("fr", include_str!("fr.txt")),
    ("es", include_str!("es.txt")),
    ("it", include_str!("it.txt")),
    ("pt", include_str!("pt.txt")),
    ("nl", include_str!("nl.txt")),
    ("pl", include_str!("pl.txt")),
];

/// Sections whose entries are lines; in all others a bar stands between entries.
const LINES: [&str; 5] = ["texts", "health", "plain", "addr", "street"];

/// Where names come from: those of a language, then others.
const ORIGINS: [&str; 14] = ["en", "de", "fr", "es", "it", "pt", "nl", "pl", "tr", "ar", "in", "cn", "af", "ru"];

/// Which part of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// To learn from.
    Training,
    /// To measure with.
    HeldBack,
}

/// What is in a stretch of text: a person's name, a postal address, somebody's health.
pub type Truth = [bool; 3];

/// A text.
#[derive(Clone, Debug)]
pub struct Text {
    /// All of it.
    pub text: String,
    /// Its language's code.
    pub language: &'static str,
    /// Its stretches: where, what is in it, and the number of its template.
    pub stretches: Vec<(Range<usize>, Truth, usize)>,
}

/// How many texts of a language: about persons and places, about health, about nothing of the kind.
#[derive(Clone, Copy, Debug)]
pub struct Sizes(pub [usize; 3]);

/// SplitMix64 (Steele, Lea, Flood 2014): numbers that are the same everywhere.
pub struct Draw(pub u64);

type Lists = BTreeMap<(&'static str, &'static str, Part), Vec<&'static str>>;

/// All lists.
pub struct Corpus(Lists);

// === impl Draw ===

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn within(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high + 1 - low)
    }

    /// True in so many of a hundred.
    fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|at| char::from(b'0' + self.within(usize::from(at == 0), 9) as u8)).collect()
    }

    fn capital(&mut self) -> char {
        char::from(b"ABCDEFGHJKLMNPRSTWXYZ"[self.below(21)])
    }
}

// === impl Text ===

impl Text {
    /// What is in it.
    pub fn truth(&self) -> Truth {
        self.truth_of(&(0..self.text.len()))
    }

    /// What is in a part of it: of a stretch counts what lies in it with more than half.
    pub fn truth_of(&self, part: &Range<usize>) -> Truth {
        let mut truth = [false; 3];
        for (range, has, _) in &self.stretches {
            let common = range.end.min(part.end).saturating_sub(range.start.max(part.start));
            if 2 * common > range.len() {
                truth.iter_mut().zip(has).for_each(|(truth, has)| *truth |= has);
            }
        }
        truth
    }
}

// === impl Corpus ===

impl Corpus {
    /// Reads the lists.
    pub fn new() -> Self {
        let mut lists = Lists::new();
        for (file, content) in FILES {
            let (mut section, mut part) = ("", Part::Training);
            for line in content.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
                if let Some(name) = line.strip_prefix("== ") {
                    (section, part) = (name, Part::Training);
                } else if line == "--" {
                    part = Part::HeldBack;
                } else {
                    let list = lists.entry((file, section, part)).or_default();
                    if LINES.contains(&section) {
                        list.push(line);
                    } else {
                        list.extend(line.split('|'));
                    }
                }
            }
        }
        Self(lists)
    }

    /// One list; empty where there is none.
    pub fn list(&self, file: &str, section: &str, part: Part) -> &[&'static str] {
        let found = self.0.iter().find(|((in_file, name, of), _)| *in_file == file && *name == section && *of == part);
        found.map_or(&[], |(_, list)| list)
    }

    /// Names of all lists: file and section.
    pub fn sections(&self) -> Vec<(&'static str, &'static str)> {
        let mut all: Vec<_> = self.0.keys().map(|(file, section, _)| (*file, *section)).collect();
        all.dedup();
        all
    }

    /// Texts of a part in all languages.
    pub fn texts(&self, part: Part, sizes: Sizes, seed: u64) -> Vec<Text> {
        let mut draw = Draw(seed);
        let mut texts = Vec::new();
        for language in LANGUAGES {
            for (section, count) in ["texts", "health", "plain"].into_iter().zip(sizes.0) {
                texts.extend((0..count).map(|_| self.text(language, section, part, &mut draw)));
            }
        }
        texts
    }

    /// One of a section, often with sentences about nothing before it or behind it.
    fn text(&self, language: &'static str, section: &str, part: Part, draw: &mut Draw) -> Text {
        let mut sections = vec![section];
        if draw.percent(25) {
            sections.insert(0, "plain");
        }
        if draw.percent(25) {
            sections.push("plain");
        }
        let between = if draw.percent(25) { "\n" } else { " " };
        let (low, lower_names) = (draw.percent(10), draw.percent(50));
        let mut text = Text { text: String::new(), language, stretches: vec![] };
        for section in sections {
            let (mut said, truth, template) = self.sentence(language, section, part, draw);
            if low && lower_names {
                said = said.to_lowercase();
            } else if low {
                let mut letters = said.chars();
                said = letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect();
            }
            if draw.percent(12) {
                said.truncate(said.trim_end_matches(['.', '?', ' ']).len());
            }
            if !text.text.is_empty() {
                text.text.push_str(between);
            }
            let start = text.text.len();
            text.text.push_str(&said);
            text.stretches.push((start..text.text.len(), truth, template));
        }
        text
    }

    fn sentence(&self, language: &'static str, section: &str, part: Part, draw: &mut Draw) -> (String, Truth, usize) {
        if section == "plain" && draw.percent(10) {
            let code = self.list("shared", "code", part);
            let at = draw.below(code.len());
            return (code[at].to_owned(), [false; 3], 90_000 + at);
        }
        let templates = self.list(language, section, part);
        let at = draw.below(templates.len());
        let mut truth = [false, false, section == "health"];
        let said = self.fill(templates[at], language, part, draw, &mut truth);
        let place = LANGUAGES.iter().position(|known| *known == language).unwrap_or_default();
        let place = 10 * place + ["texts", "health", "plain"].iter().position(|s| *s == section).unwrap_or_default();
        (said, truth, 1_000 * place + at)
    }

    fn fill(&self, template: &str, language: &str, part: Part, draw: &mut Draw, truth: &mut Truth) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            // A brace of code is no slot.
            let Some((slot, after)) = after.split_once('}').filter(|(slot, _)| !slot.contains(' ')) else {
                out.push('{');
                rest = after;
                continue;
            };
            out.push_str(&self.slot(slot, language, part, draw, truth));
            rest = after;
        }
        out + rest
    }

    fn slot(&self, slot: &str, language: &str, part: Part, draw: &mut Draw, truth: &mut Truth) -> String {
        let pick = |file: &str, draw: &mut Draw| {
            let list = self.list(file, slot, part);
            list.get(draw.below(list.len())).copied().unwrap_or_default().to_owned()
        };
        match slot {
            "name" | "given" | "family" => {
                truth[0] = true;
                self.name(slot, language, part, draw)
            }
            "addr" | "street" => {
                truth[1] = true;
                let form = pick(language, draw);
                self.fill(&form, language, part, draw, truth)
            }
            "famous" | "company" | "product" | "drug" => pick("shared", draw),
            "n" => draw.within(2, 199).to_string(),
            "age" => draw.within(19, 88).to_string(),
            "year" => draw.within(1998, 2025).to_string(),
            "date" => {
                let (day, month, year) = (draw.within(1, 28), draw.within(1, 12), draw.within(1940, 2005));
                let mark = ['.', '/', '-'][draw.below(3)];
                format!("{day:02}{mark}{month:02}{mark}{year}")
            }
            "us" => format!("{} {}", ["MA", "IL", "CO", "TX", "OR", "WA", "AZ"][draw.below(7)], draw.digits(5)),
            "uk" => {
                let (a, b, c) = (draw.capital(), draw.capital(), draw.capital());
                format!("{a}{b}{} {}{c}{a}", draw.within(1, 29), draw.within(1, 9))
            }
            "de" | "pc5" => draw.digits(5),
            "pt" => format!("{}-{}", draw.digits(4), draw.digits(3)),
            "cep" => format!("{}-{}", draw.digits(5), draw.digits(3)),
            "nl" => format!("{} {}{}", draw.digits(4), draw.capital(), draw.capital()),
            "pl" => format!("{}-{}", draw.digits(2), draw.digits(3)),
            _ => pick(language, draw),
        }
    }

    fn name(&self, slot: &str, language: &str, part: Part, draw: &mut Draw) -> String {
        let at_home = ORIGINS.iter().find(|origin| **origin == language).filter(|_| draw.percent(50));
        let origin = at_home.copied().unwrap_or_else(|| ORIGINS[draw.below(ORIGINS.len())]);
        let mut one = |kind: &str| {
            let list = self.list("shared", &format!("{kind}.{origin}"), part);
            list.get(draw.below(list.len())).copied().unwrap_or_default().to_owned()
        };
        let (given, family) = (one("given"), one("family"));
        match (slot, draw.below(20)) {
            ("given", _) => given,
            ("family", _) => family,
            (_, 0) => format!("{}. {family}", given.chars().next().unwrap_or('A')),
            (_, 1) => format!("{given} {}. {family}", draw.capital()),
            (_, 2) => format!("{family}, {given}"),
            _ => format!("{given} {family}"),
        }
    }
}

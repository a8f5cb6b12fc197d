//! `[residency.detectors]`: what is looked for in a request's content.

use super::defaults;
use super::load::nearest;
use super::private_text::{TextSpec, is_taken, read_text};
use super::providers::Findings;
use super::spec::ResidencySpec;
use super::units::Size;
use policies::detect::{DetectConfig, Detectors, Kind, Pattern, WordList};
use policies::{Classes, DataClass};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whether content is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectorMode {
    /// What is found sets a class.
    #[default]
    On,
    /// What is found is on record only.
    Observe,
    /// Nobody looks.
    Off,
}

/// The table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    mode: DetectorMode,
    kinds: Option<Vec<String>>,
    classes: BTreeMap<String, String>,
    unscanned: Option<String>,
    max: Option<Size>,
    patterns: Vec<PatternSpec>,
    words: Vec<WordsSpec>,
    text: TextSpec,
}

/// An expression to look for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternSpec {
    name: String,
    regex: String,
    class: String,
}

/// Words to look for, here or in a file of one a line.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WordsSpec {
    name: String,
    words: Option<Vec<String>>,
    file: Option<PathBuf>,
    class: String,
}

/// A word for the mode alone, or the table.
#[derive(Clone, Debug, Default)]
pub struct DetectorsSpec(Table);

impl<'de> Deserialize<'de> for DetectorsSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrTable;
        impl<'de> Visitor<'de> for WordOrTable {
            type Value = DetectorsSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`on`, `observe`, `off` or a table")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let mode = match text {
                    "on" => DetectorMode::On,
                    "observe" => DetectorMode::Observe,
                    "off" => DetectorMode::Off,
                    _ => return Err(E::custom(format!("`{text}` is not `on`, `observe`, `off` or a table"))),
                };
                Ok(DetectorsSpec(Table { mode, ..Table::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Table::deserialize(MapAccessDeserializer::new(map)).map(DetectorsSpec)
            }
        }
        deserializer.deserialize_any(WordOrTable)
    }
}

/// Compiles the detectors; `None` where nobody looks: without a configured class nothing depends on what is found.
pub(super) fn read_detectors(
    spec: &ResidencySpec,
    classes: &Classes,
    folder: &Path,
    found: &mut Findings,
) -> Option<Arc<Detectors>> {
    let configured = !spec.classes.is_empty() || spec.order.is_some();
    let table = match &spec.detectors {
        Some(DetectorsSpec(table)) => table.clone(),
        None if configured => Table::default(),
        None => return None,
    };
    let problems = found.problems.len();
    let mut reading = Reading { classes, found };
    let config = DetectConfig {
        kinds: reading.kinds(&table),
        patterns: reading.patterns(&table),
        words: reading.words(&table, folder),
        unscanned: table.unscanned.as_deref().and_then(|name| reading.class("unscanned", name)),
        most_bytes: table.max.map_or(defaults::DETECTOR_BYTES, |size| size.0),
        observe: table.mode == DetectorMode::Observe,
    };
    let text = read_text(&table.text, classes, found);
    if found.problems.len() > problems || table.mode == DetectorMode::Off {
        return None;
    }
    match Detectors::new(config) {
        Ok(detectors) => Some(Arc::new(match text {
            Some(text) => detectors.with_reader(text),
            None => detectors,
        })),
        Err(error) => {
            found.problems.push(format!("`residency.detectors`: {error}"));
            None
        }
    }
}

struct Reading<'a> {
    classes: &'a Classes,
    found: &'a mut Findings,
}

impl Reading<'_> {
    fn wrong(&mut self, key: &str, what: &str) {
        self.found.problems.push(format!("`residency.detectors.{key}`: {what}"));
    }

    fn class(&mut self, key: &str, name: &str) -> Option<DataClass> {
        let class = self.classes.named(name);
        class.map_err(|error| self.wrong(key, &error.to_string())).ok()
    }

    fn kind(&mut self, key: &str, word: &str) -> Option<Kind> {
        let kind = Kind::named(word);
        if kind.is_none() {
            let known = Kind::ALL.map(Kind::word);
            let near = nearest(word, &known).map(|known| format!(", did you mean `{known}`?"));
            let near = near.unwrap_or_else(|| format!("; known are: {}", known.join(", ")));
            self.wrong(key, &format!("no kind `{word}`{near}"));
        }
        kind
    }

    /// The class of each kind that is on. Where the standard class is not among those that were configured, the most
    /// sensitive one takes its place: too much stays, never too little.
    fn kinds(&mut self, table: &Table) -> [Option<DataClass>; Kind::ALL.len()] {
        let on: Option<Vec<Kind>> =
            table.kinds.as_ref().map(|words| words.iter().filter_map(|word| self.kind("kinds", word)).collect());
        let mut typed = BTreeMap::new();
        for (word, name) in &table.classes {
            if let (Some(kind), Some(class)) = (self.kind("classes", word), self.class("classes", name)) {
                typed.insert(kind, class);
            }
        }
        let highest = self.classes.rules().last().and_then(|rule| self.classes.named(&rule.name).ok());
        Kind::ALL.map(|kind| {
            let usual = self.classes.named(kind.sensitivity().class()).ok().or(highest);
            let class = typed.get(&kind).copied().or(usual);
            class.filter(|_| on.as_ref().is_none_or(|on| on.contains(&kind)))
        })
    }

    /// A name that records use: of one rule only, and not a kind's.
    fn name(&mut self, key: &str, name: &str, table: &Table) {
        let names = table.patterns.iter().map(|pattern| &pattern.name).chain(table.words.iter().map(|list| &list.name));
        if name.is_empty()
            || Kind::named(name).is_some()
            || is_taken(name)
            || names.filter(|other| *other == name).count() > 1
        {
            self.wrong(key, &format!("the name `{name}` is empty, a kind's or used twice"));
        }
    }

    fn patterns(&mut self, table: &Table) -> Vec<Pattern> {
        let mut patterns = Vec::new();
        for (at, PatternSpec { name, regex, class }) in table.patterns.iter().enumerate() {
            self.name(&format!("patterns[{at}].name"), name, table);
            if let Some(class) = self.class(&format!("patterns[{at}].class"), class) {
                patterns.push(Pattern { name: name.clone(), regex: regex.clone(), class });
            }
        }
        patterns
    }

    fn words(&mut self, table: &Table, folder: &Path) -> Vec<WordList> {
        let mut lists = Vec::new();
        for (at, WordsSpec { name, words, file, class }) in table.words.iter().enumerate() {
            self.name(&format!("words[{at}].name"), name, table);
            let read = match (words, file) {
                (Some(words), None) => Ok(words.clone()),
                (None, Some(file)) => std::fs::read_to_string(folder.join(file))
                    .map(|text| text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Into::into).collect())
                    .map_err(|error| format!("cannot read `{}`: {error}", file.display())),
                (Some(_), Some(_)) | (None, None) => Err("write `words` or `file`, one of them".to_owned()),
            };
            match read {
                Ok(words) => {
                    if let Some(class) = self.class(&format!("words[{at}].class"), class) {
                        lists.push(WordList { name: name.clone(), words, class });
                    }
                }
                Err(why) => self.wrong(&format!("words[{at}]"), &why),
            }
        }
        lists
    }
}

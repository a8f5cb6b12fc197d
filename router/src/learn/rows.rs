//! Rows of training and evaluation data.
//!
//! JSON Lines, plain or gzip (told by the first bytes, not by the name). Two kinds of rows are read, by the fields they
//! have:
//!
//! - *measured* (the pack's format): `id`, `prompt`, `q_weak`, `q_strong`; optional `source`, `task`, `group`,
//!   `weak_model`, `strong_model`;
//! - *graded* (`router/assets/everyday`): `id`, `prompt` or `messages` (and `tools`), `need` from 0 to 1; optional
//!   `category`, `language`. Read as a strong answer that is right and a weak one that is right as often as the strong
//!   one is not needed.
//!
//! In place of a prompt a row may have what a head saw of it, as the ledger keeps it when prompts are not kept: `features` (the
//! numbers of [`features::NAMES`], in that order) and, where an encoder ran, `embedding` (384 numbers). Such a row has no
//! n-grams: parts that look at words learn nothing from it. With `head` and `score` (who judged it, and how) the head that is
//! adapted is known to have given that score, words included.
//!
//! `propensity` (above 0, at most 1; default 1) is the probability with which the label of a row came to be known: a row that
//! was known with one in ten counts for ten, at most for [`MOST_WEIGHT`].
//!
//! A row to be scored needs `id` and `prompt` (or `messages`, or `features`) only. Other fields are let pass. Every complaint
//! names the file and the line.

mod typed;

use self::typed::WireRow;
use super::fit::Embed;
use crate::probe::head::Views;
use crate::probe::{Reading, features, ngrams};
use adapters::wire::WireRequest;
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

/// Why a file of rows cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// It cannot be opened or read.
    #[error("cannot read `{}`: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not a row.
    #[error("`{}`, line {line}: {what}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// There is nothing in it.
    #[error("`{}` holds no rows", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
}

/// What is known of the answers to a prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    /// Quality of the weak model's answer, 0 to 1.
    pub weak: f32,
    /// Quality of the strong model's answer, 0 to 1.
    pub strong: f32,
    /// How much the strong model is needed: 0 or 1 when measured, anything between when graded.
    pub need: f32,
    /// Somebody graded it; nobody measured it.
    pub graded: bool,
}

/// A prompt and what is known of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Unique in its file.
    pub id: String,
    /// Where it comes from: the row's `source`, or its `category`.
    pub source: String,
    /// The subject within the source, or the language.
    pub task: String,
    /// Prompts that ask nearly the same share a group.
    pub group: String,
    /// What is read of the prompt; nothing where `kept` takes its place.
    pub reading: Reading,
    /// What a head saw of it, where there is no prompt.
    pub kept: Option<Box<Kept>>,
    /// How much it counts, from 1 (its label was sure to be known) to [`MOST_WEIGHT`].
    pub weight: f32,
    /// Characters of the prompt.
    pub chars: usize,
    /// Absent when there is nothing but the prompt.
    pub label: Option<Label>,
    /// The weak and the strong model.
    pub pair: Option<(String, String)>,
}

/// What a head saw of a prompt that is not kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The features, as many as [`features::NAMES`].
    pub features: Vec<f32>,
    /// The embedding, where an encoder ran.
    pub embedding: Option<Vec<f32>>,
    /// The head that judged it, and the score that it gave.
    pub judged: Option<(String, f32)>,
}

/// The most that a row counts: beyond, few rows would say all.
pub const MOST_WEIGHT: f32 = 20.0;

// === impl Row ===

impl Row {
    /// Quality of the strong answer less that of the weak one; 0 without a label.
    pub fn gain(&self) -> f32 {
        self.label.map_or(0.0, |label| label.strong - label.weak)
    }

    /// As the parts of a head see it; without `embed`, without the embedding.
    pub fn views(&self, bits: u32, embed: Embed<'_>) -> Views {
        match &self.kept {
            Some(kept) => Views {
                features: kept.features.clone(),
                grams: vec![],
                embedding: kept.embedding.clone().filter(|_| embed.is_some()),
            },
            None => Views {
                features: features::compute(&self.reading),
                grams: ngrams::count(self.reading.text(), bits),
                embedding: embed.and_then(|embed| embed(&self.reading)),
            },
        }
    }

    /// The half of the graded rows that heads are trained on: the first byte of the id's SHA-256 is even. The other half
    /// is for evaluation only.
    pub fn is_training_half(&self) -> bool {
        Sha256::digest(self.id.as_bytes())[0].is_multiple_of(2)
    }
}

/// Opens a text file, unpacking it when it is gzip.
pub fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let mut file = File::open(path)?;
    let mut start = [0u8; 2];
    let read = file.read(&mut start)?;
    file.rewind()?;
    if read == 2 && start == [0x1f, 0x8b] {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(file))));
    }
    Ok(Box::new(BufReader::new(file)))
}

/// Reads the rows of a file; at least one.
///
/// # Errors
/// The file cannot be read, is empty, or a line is not a row.
pub fn read(path: &Path) -> Result<Vec<Row>, RowError> {
    read_as(path, WireRow::read)
}

/// Reads the rows of a file as chat requests.
///
/// # Errors
/// As [`read`].
pub fn read_requests(path: &Path) -> Result<Vec<WireRequest>, RowError> {
    read_as(path, |row| row.request())
}

fn read_as<T>(path: &Path, as_what: impl Fn(WireRow) -> Result<T, String>) -> Result<Vec<T>, RowError> {
    let failed = |source| RowError::Read { file: path.to_owned(), source };
    let mut rows = Vec::new();
    for (at, line) in open(path).map_err(failed)?.lines().enumerate() {
        let line = line.map_err(failed)?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |what: String| RowError::Line { file: path.to_owned(), line: at + 1, what };
        let row: WireRow = serde_json::from_str(&line).map_err(|why| wrong(format!("not a row: {why}")))?;
        rows.push(as_what(row).map_err(wrong)?);
    }
    if rows.is_empty() {
        return Err(RowError::Empty { file: path.to_owned() });
    }
    Ok(rows)
}

/// Reads rows that must have labels.
///
/// # Errors
/// As [`read`]; or a row has no label.
pub fn read_labelled(path: &Path) -> Result<Vec<Row>, RowError> {
    let rows = read(path)?;
    match rows.iter().find(|row| row.label.is_none()) {
        None => Ok(rows),
        Some(row) => Err(RowError::Line {
            file: path.to_owned(),
            line: line_of(path, &row.id),
            what: format!("row `{}` has no label: `q_weak` and `q_strong`, or `need`", row.id),
        }),
    }
}

fn line_of(path: &Path, id: &str) -> usize {
    let has_it = |line: &std::io::Result<String>| line.as_ref().is_ok_and(|line| line.contains(id));
    open(path).ok().and_then(|file| file.lines().position(|line| has_it(&line))).map_or(0, |at| at + 1)
}

/// The SHA-256 of a file.
///
/// # Errors
/// The file cannot be read.
pub fn digest(path: &Path) -> Result<String, RowError> {
    let failed = |source| RowError::Read { file: path.to_owned(), source };
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(failed)?;
    std::io::copy(&mut file, &mut hasher).map_err(failed)?;
    Ok(hex::encode(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn both_kinds_of_rows_are_read() {
        let rows = file(concat!(
            "{\"id\": \"a\", \"prompt\": \"x\", \"q_weak\": 0, \"q_strong\": 1, \"source\": \"s\", \"group\": \"g\", \"other\": []}\n\n",
            "{\"id\": \"b\", \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}], \"need\": 0.25, \"category\": \"greeting\"}\n",
        ));
        let rows = read_labelled(rows.path()).unwrap();
        assert_eq!((rows[0].gain(), rows[0].group.as_str(), rows[0].source.as_str()), (1.0, "g", "s"));
        let graded = rows[1].label.unwrap();
        assert!(graded.graded && rows[1].gain() == 0.25 && rows[1].source == "greeting" && rows[1].group == "b");
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_line() {
        for (text, what) in [
            ("{\"id\": \"a\", \"prompt\": \"x\"}\nnonsense", "line 2: not a row"),
            ("{\"id\": \"a\"}", "line 1: it has neither `prompt` nor `messages`, nor `features`"),
            ("{\"id\": \"a\", \"prompt\": \"x\", \"q_weak\": 0}", "but not `q_strong`"),
            ("{\"id\": \"a\", \"prompt\": \"x\", \"need\": 7}", "`need` is not from 0 to 1"),
            ("{\"id\": \"a\", \"features\": [1, 2]}", "`features` has 2 numbers"),
            ("{\"id\": \"a\", \"prompt\": \"x\", \"propensity\": 0}", "`propensity` is not"),
            ("\n\n", "holds no rows"),
        ] {
            let file = file(text);
            let said = read(file.path()).unwrap_err().to_string();
            assert!(said.contains(what) && said.contains(&file.path().display().to_string()), "{said}");
        }
        let unlabelled = file("{\"id\": \"a\", \"prompt\": \"x\"}");
        assert!(read_labelled(unlabelled.path()).unwrap_err().to_string().contains("line 1: row `a` has no label"));
    }

    #[test]
    fn gzip_is_told_by_its_bytes() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(b"{\"id\": \"a\", \"prompt\": \"x\"}\n").unwrap();
        let mut packed = tempfile::NamedTempFile::new().unwrap();
        packed.write_all(&packer.finish().unwrap()).unwrap();
        assert_eq!(read(packed.path()).unwrap()[0].id, "a");
    }
}

//! What was asked and answered so far, in a file that outlives `kill -9`.
//!
//! **Promise.** Before something that costs money is asked, a line says so, and is on the disk (fsync); so is its answer before
//! the next thing is asked in its place. Whoever runs again over the same file therefore pays for nothing twice: what was
//! answered is taken from here, and what was under way when an earlier run died is *in doubt*. It may have been paid for, so
//! it is counted at the most that it could cost and not asked again, unless that is wanted.
//!
//! **Form.** JSON Lines. A line names what it belongs to by a digest of purpose, row, model, upstream and request: another dataset, model or
//! limit finds nothing, the same one finds everything, whatever else changed. A torn last line is one that was never
//! written.
//!
//! **What is kept.** Answers, in plain text: the file is as sensitive as the dataset.

use crate::cli::Failure;
use policies::NanoDollars;
use router::compare::Answer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    /// Something is about to be asked.
    Asking { key: String, most_nd: u64 },
    /// It was answered.
    Answered {
        key: String,
        #[serde(flatten)]
        kept: Kept,
    },
    /// It failed; it is asked again in another run.
    Failed { key: String, cost_nd: u64 },
    /// A person wants it asked again, whatever it may have cost.
    AskedAgain { key: String },
}

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The answer.
    pub answer: Answer,
    /// Why it ended.
    pub finish: Option<String>,
    /// What it cost in nano-dollars; `None`: unpriced.
    pub cost_nd: Option<u64>,
    /// The upstream's own word for its model.
    pub version: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// The file, locked for this run.
pub struct State {
    file: File,
    answered: HashMap<String, Kept>,
    doubtful: HashMap<String, u64>,
    /// What failed answers and doubtful ones that were given up have cost.
    lost_nd: u64,
}

/// What something is kept under.
pub fn key(purpose: &str, row: &str, body: &str) -> String {
    let digest = Sha256::new()
        .chain_update((purpose.len() as u64).to_le_bytes())
        .chain_update(purpose)
        .chain_update((row.len() as u64).to_le_bytes())
        .chain_update(row)
        .chain_update(body)
        .finalize();
    hex::encode(&digest[..16])
}

// === impl State ===

impl State {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// It is in use, or holds something else.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |what: &dyn std::fmt::Display| Failure::Failed(format!("`{}`: {what}", path.display()));
        let wrong = |what: String| Failure::Usage(format!("`{}`{what}", path.display()));
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = open.map_err(|error| failed(&error))?;
        file.try_lock().map_err(|_| wrong(" is in use by another run".into()))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| failed(&error))?;
        // What follows the last line's end was torn off by a crash.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut state = Self { file, answered: HashMap::new(), doubtful: HashMap::new(), lost_nd: 0 };
        for (at, line) in text[..whole].lines().enumerate() {
            let line = serde_json::from_str(line);
            state.take(line.map_err(|error| wrong(format!(", line {}: {error}", at + 1)))?);
        }
        state.file.set_len(whole as u64).map_err(|error| failed(&error))?;
        state.file.seek(SeekFrom::End(0)).map_err(|error| failed(&error))?;
        // A new file's name has to outlive a crash, too.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(&error))?;
        Ok(state)
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Asking { key, most_nd } => {
                self.doubtful.insert(key, most_nd);
            }
            Line::Answered { key, kept } => {
                self.doubtful.remove(&key);
                self.answered.insert(key, kept);
            }
            Line::Failed { key, cost_nd } => {
                self.doubtful.remove(&key);
                self.lost_nd = self.lost_nd.saturating_add(cost_nd);
            }
            Line::AskedAgain { key } => {
                let most = self.doubtful.remove(&key).unwrap_or(0);
                self.lost_nd = self.lost_nd.saturating_add(most);
            }
        }
    }

    fn put(&mut self, line: Line) -> Result<(), Failure> {
        let failed = |what: &dyn std::fmt::Display| Failure::Failed(format!("cannot keep an answer: {what}"));
        let mut text = serde_json::to_string(&line).map_err(|error| failed(&error))?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data()).map_err(|error| failed(&error))?;
        self.take(line);
        Ok(())
    }

    /// What is known under a key.
    pub fn answered(&self, key: &str) -> Option<&Kept> {
        self.answered.get(key)
    }

    /// Whether an earlier run died while it was asked.
    pub fn doubtful(&self, key: &str) -> bool {
        self.doubtful.contains_key(key)
    }

    /// Everything that this file's runs have cost, at most.
    pub fn spent(&self) -> NanoDollars {
        let answers = self.answered.values().filter_map(|kept| kept.cost_nd);
        let all = answers.chain(self.doubtful.values().copied()).chain([self.lost_nd]);
        NanoDollars(all.fold(0, u64::saturating_add))
    }

    /// Notes that something is about to be asked; it is on the disk when this returns.
    pub fn asking(&mut self, key: &str, most: NanoDollars) -> Result<(), Failure> {
        self.put(Line::Asking { key: key.to_owned(), most_nd: most.0 })
    }

    /// Keeps an answer; it is on the disk when this returns.
    pub fn keep(&mut self, key: &str, kept: Kept) -> Result<(), Failure> {
        self.put(Line::Answered { key: key.to_owned(), kept })
    }

    /// Notes that it failed.
    pub fn failed(&mut self, key: &str, cost: NanoDollars) -> Result<(), Failure> {
        self.put(Line::Failed { key: key.to_owned(), cost_nd: cost.0 })
    }

    /// Lets something in doubt be asked again.
    pub fn ask_again(&mut self, key: &str) -> Result<(), Failure> {
        self.put(Line::AskedAgain { key: key.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Kept {
        let answer = Answer { text: text.into(), tool_calls: None };
        Kept { answer, finish: Some("stop".into()), cost_nd: Some(7), version: None, took_ms: 1 }
    }

    #[test]
    fn what_was_answered_is_known_and_what_was_under_way_is_in_doubt() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        let mut state = State::open(&path).unwrap();
        for key in ["a", "b", "c"] {
            state.asking(key, NanoDollars(10)).unwrap();
        }
        state.keep("a", kept("yes")).unwrap();
        state.failed("c", NanoDollars(3)).unwrap();
        assert!(matches!(State::open(&path), Err(Failure::Usage(_))), "one run at a time");
        drop(state);
        // A crash tears the line that was being written.
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"line\":\"answered\",\"key\":\"b\",\"answer\":{\"te");
        std::fs::write(&path, text).unwrap();
        let mut state = State::open(&path).unwrap();
        assert_eq!(state.answered("a"), Some(&kept("yes")));
        assert_eq!([state.doubtful("a"), state.doubtful("b"), state.doubtful("c")], [false, true, false]);
        assert_eq!(state.spent(), NanoDollars(7 + 10 + 3));
        state.ask_again("b").unwrap();
        state.keep("b", kept("no")).unwrap();
        drop(state);
        let state = State::open(&path).unwrap();
        assert_eq!((state.answered("b"), state.spent()), (Some(&kept("no")), NanoDollars(7 + 7 + 10 + 3)));
    }

    #[test]
    fn another_file_is_refused_and_other_requests_have_other_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, "{\"id\": \"1\"}\n").unwrap();
        assert!(matches!(State::open(&path), Err(Failure::Usage(what)) if what.contains("line 1")));
        let keys = [key("left", "1", "x"), key("left", "2", "x"), key("right", "1", "x"), key("left", "1", "y")];
        assert!((1..4).all(|at| !keys[..at].contains(&keys[at])));
        assert_ne!(key("ab", "c", ""), key("a", "bc", ""));
    }
}

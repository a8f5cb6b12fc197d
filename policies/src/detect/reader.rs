//! Readers of free text: what no pattern knows, seen by something that was trained.
//!
//! **Promise.** What a [`TextReader`] finds joins what the patterns found, in every scan: the class, the record and a refusal
//! do not know the difference. It is handed the text that the patterns read, without disguise and up to the cap.
//!
//! **Failure behaviour.** A reader that fails leaves the request with the most sensitive class that anything sets, as for a
//! scan that dies.

use super::Finding;
use crate::residency::DataClass;
use std::fmt;

/// Something that reads free text. Reading may take tens of milliseconds: scan where a thread may block.
pub trait TextReader: Send + Sync + fmt::Debug {
    /// What it looks for, as records call it.
    fn names(&self) -> Vec<String>;
    /// The most sensitive class that it sets.
    fn highest(&self) -> Option<DataClass>;
    /// Begins to read a request.
    fn begin(&self) -> Box<dyn TextReading + '_>;
}

/// A request being read.
pub trait TextReading {
    /// The next text, in the body's order.
    fn text(&mut self, text: &str);
    /// Reads what there was.
    fn end(self: Box<Self>) -> TextRead;
}

/// What a reader found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextRead {
    /// Names, classes and counts.
    pub found: Vec<Finding>,
    /// Bytes that it did not read.
    pub unread_bytes: u64,
    /// It could not read: what it found may not be all.
    pub failed: bool,
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Classes;
    use crate::detect::{DetectConfig, Detectors, Kind, Unscanned};
    use std::sync::Arc;

    /// Finds a name in every text, or fails.
    #[derive(Debug)]
    struct Fake {
        class: DataClass,
        fails: bool,
    }

    struct FakeReading<'f>(&'f Fake, u32);

    impl TextReader for Fake {
        fn names(&self) -> Vec<String> {
            vec!["fake".into()]
        }

        fn highest(&self) -> Option<DataClass> {
            Some(self.class)
        }

        fn begin(&self) -> Box<dyn TextReading + '_> {
            Box::new(FakeReading(self, 0))
        }
    }

    impl TextReading for FakeReading<'_> {
        fn text(&mut self, text: &str) {
            assert!(!text.contains('\u{200b}'), "in disguise");
            self.1 += 1;
        }

        fn end(self: Box<Self>) -> TextRead {
            if self.0.fails {
                return TextRead { unread_bytes: 7, failed: true, ..TextRead::default() };
            }
            let found = Finding { name: "fake".into(), variety: None, class: self.0.class, count: self.1 };
            TextRead { found: vec![found], ..TextRead::default() }
        }
    }

    fn detectors(fails: bool, observe: bool) -> (Detectors, DataClass) {
        let class = Classes::standard().named("restricted").unwrap();
        let kinds = [None; Kind::ALL.len()];
        let config =
            DetectConfig { kinds, patterns: vec![], words: vec![], unscanned: None, most_bytes: 1 << 20, observe };
        (Detectors::new(config).unwrap().with_reader(Arc::new(Fake { class, fails })), class)
    }

    #[test]
    fn what_a_reader_finds_joins_the_findings_and_a_failure_counts_as_the_worst() {
        let passages = [vec!["A\u{200b}da".into()], vec!["two".into(), "parts".into()]];
        let (reads, class) = detectors(false, false);
        let found = reads.scan(&passages, Unscanned::default());
        assert_eq!((found.class, found.found.len(), found.found[0].count), (Some(class), 1, 2));
        assert_eq!((reads.names(), reads.reads_text()), (vec!["fake".to_owned()], true));
        let (fails, _) = detectors(true, false);
        let found = fails.scan(&passages, Unscanned::default());
        assert_eq!((found.class, found.found.len(), found.unscanned.text_bytes), (Some(class), 0, 7));
        assert_eq!(fails.blind(9).class, Some(class));
        let (observes, _) = detectors(false, true);
        assert_eq!(observes.scan(&passages, Unscanned::default()).class, None);
    }
}

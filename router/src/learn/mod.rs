//! Learning: rows of prompts with the quality of two models become a head for the [probe](crate::probe).
//!
//! **Promise.** The same rows, seed and program give the same head, byte for byte. No figure of a head is measured on a
//! row that it was fitted to: cross-validation goes by groups of alike prompts, and everything that is fitted on top (the
//! mix, the calibration, the limits of the guard) is fitted on out-of-fold values.
//!
//! | step | where |
//! | --- | --- |
//! | files to rows, with file and line in every complaint | [`rows`] |
//! | groups to folds | [`folds`] |
//! | n-grams and embeddings to weights | [`logistic`] |
//! | hand-made features to trees | [`boost`] |
//! | all of it to a head | [`fit`], [`material`] |
//! | a head and a few rows of one's own to another head | [`adapt`] |
//! | scores and labels to figures, equal to those of the pack's `eval.py` | [`metrics`] |
//! | figures to pictures | [`plots`] |
//! | what the ledger knows to rows | [`traffic`] |
//!
//! Nothing here runs while a request waits.

pub mod adapt;
mod algebra;
pub mod boost;
pub mod fit;
pub mod folds;
mod limits;
pub mod logistic;
mod material;
pub mod metrics;
pub mod plots;
pub mod rows;
pub mod traffic;

/// Told how far a long step is: its name, how much is done, of how much.
pub type Progress<'a> = &'a (dyn Fn(&'static str, usize, usize) + Sync);

#[cfg(test)]
mod tests;

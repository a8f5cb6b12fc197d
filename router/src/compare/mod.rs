//! Local against hosted, compared soundly: judging, statistics and their summary, as pure values.
//!
//! **Promise.** A verdict is *not worse*, *worse* or *not yet known*, never a bare percentage. It holds however often one
//! looks ([`Evidence`]), for slices with false discoveries under control ([`Question::slices`]), and a model's
//! word on a pair counts only when it was found to agree with people ([`Trust`]).
//!
//! **Life of a pair.** Two answers to the same request → a difference of scores in \[-1, 1\], by a [`Rule`], an embedding, a
//! command, or a model's [`Ballot`] → [`Summary`].
//!
//! **What it does not do.** No clock, no network, no files: `sluice compare` (gateway) and the experiments of the
//! router bring pairs here.

mod alarm;
mod evidence;
mod interleave;
pub mod judge;
pub mod pictures;
mod purse;
mod score;
#[cfg(test)]
mod simulation;
mod slices;
mod split;
mod summary;
mod trust;
mod verdict;

pub use alarm::Alarm;
pub use evidence::{Evidence, Interval, Way};
pub use interleave::{BLOCK, first_sides};
pub use judge::{Ballot, Word};
pub use purse::Purse;
pub use score::{Answer, Expected, Rule, Unfit};
pub use slices::{Asked, Slice};
pub use split::{Arm, ChiSquare, Fallen, arm};
pub use summary::{Judged, Look, SliceFinding, Summary};
pub use trust::{LEAST_KAPPA, LEAST_LABELS, Side, Trust, Withheld, kappa};
pub use verdict::{Finding, Question, Verdict, e_bh};

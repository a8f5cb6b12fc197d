//! `sluice classifier score|train|eval|calibrate`.
//!
//! None of these needs a configuration, a ledger or a gateway: they read files of rows (the format of the training pack
//! or graded prompts, see [`router::learn::rows`]) and write files. A file that cannot be used is the caller's error and
//! is named with its line (64). Progress is shown on standard error, on a terminal only.

mod cache;
mod heads;
mod report;
mod time;
mod traffic;
mod train;

use super::{Failure, Setting, say};
use cache::Cache;
use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use router::learn::adapt;
use router::learn::fit::{self, Embed, FitError};
use router::learn::folds::spread;
use router::learn::metrics::Scored;
use router::learn::rows::{self, Row, RowError};
use router::probe::{self, Head, HeadError, Probe, Reading};
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The classifier.
#[derive(Debug, Subcommand)]
pub enum Classifier {
    /// Scores prompts: JSON Lines with `id` and `prompt` in, `id` and `score` out.
    Score(Score),
    /// Writes rows of one's own traffic: rated local answers, and requests that a shadow experiment had both
    /// sides answer.
    Rows(traffic::Rows),
    /// Trains a head, or adapts one to a new workload.
    Train(train::Train),
    /// Measures a head on labelled rows.
    Eval(report::Eval),
    /// Fits a head's probabilities anew to labelled rows; the order of its scores stays.
    Calibrate(Calibrate),
    /// Heads that are tried on a part of the traffic, promoted and taken back.
    #[command(subcommand)]
    Heads(heads::Heads),
    /// Measures how long a judgement takes on this machine.
    Time(time::Time),
}

/// Scores prompts.
#[derive(Debug, clap::Args)]
pub struct Score {
    /// JSON Lines with `id` and `prompt` (or `messages`), plain or gzip.
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// Where the scores go; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    judge: Judge,
    /// Scores with the untrained heuristic, to compare.
    #[arg(long, conflicts_with_all = ["head", "no_encoder"])]
    heuristic: bool,
}

/// Which head judges, and with what.
#[derive(Debug, clap::Args)]
pub struct Judge {
    /// The head; without it the one that is shipped.
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// Leaves the encoder out: n-grams and hand-made features only.
    #[arg(long)]
    no_encoder: bool,
    /// A file that keeps embeddings between runs.
    #[arg(long, value_name = "FILE", hide = true)]
    embeddings: Option<PathBuf>,
}

/// Which of the graded rows are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Half {
    /// Those that heads are trained on.
    Training,
    /// Those that are held back for evaluation.
    HeldBack,
    /// All.
    All,
}

/// Fits a head's probabilities anew.
#[derive(Debug, clap::Args)]
pub struct Calibrate {
    /// Labelled rows, plain or gzip.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    /// The head.
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// Where the new head goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Leaves the encoder out.
    #[arg(long)]
    no_encoder: bool,
    /// A file that keeps embeddings between runs.
    #[arg(long, value_name = "FILE", hide = true)]
    embeddings: Option<PathBuf>,
}

impl From<RowError> for Failure {
    fn from(error: RowError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<FitError> for Failure {
    fn from(error: FitError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<&HeadError> for Failure {
    fn from(error: &HeadError) -> Self {
        Self::Failed(format!("the head that is shipped: {error}"))
    }
}

/// Does what was asked for.
pub fn run(setting: &Setting, command: &Classifier) -> Result<(), Failure> {
    match command {
        Classifier::Score(wanted) => score(setting, wanted),
        Classifier::Rows(wanted) => traffic::rows(setting, wanted),
        Classifier::Train(wanted) => train::train(setting, wanted),
        Classifier::Eval(wanted) => report::eval(setting, wanted),
        Classifier::Calibrate(wanted) => calibrate(setting, wanted),
        Classifier::Heads(wanted) => heads::run(setting, wanted),
        Classifier::Time(wanted) => time::time(setting, wanted),
    }
}

// === impl Judge ===

impl Judge {
    fn probe(&self) -> Result<Probe, Failure> {
        let probe = load(self.head.as_deref())?;
        Ok(if self.no_encoder { probe.without_encoder() } else { probe })
    }
}

fn load(head: Option<&Path>) -> Result<Probe, Failure> {
    match head {
        None => Ok(Probe::bundled()?),
        Some(path) => Ok(Probe::new(Arc::new(read_head(path)?))),
    }
}

fn read_head(path: &Path) -> Result<Head, Failure> {
    let wrong = |why: &dyn std::fmt::Display| Failure::Usage(format!("`{}`: {why}", path.display()));
    let bytes = std::fs::read(path).map_err(|why| wrong(&why))?;
    probe::read(&bytes).map_err(|why| wrong(&why))
}

fn write_head(path: &Path, head: &Head) -> Result<Head, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::Failed(format!("`{}`: {why}", path.display()));
    let bytes = probe::write(head).map_err(|why| failed(&why))?;
    std::fs::write(path, &bytes).map_err(|why| failed(&why))?;
    // Read back: what is on the disk is what counts, and the digest comes from there.
    probe::read(&bytes).map_err(|why| failed(&why))
}

/// A bar on standard error, or nothing where that is no terminal.
pub(super) fn bar() -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) = ProgressStyle::with_template("{msg:>10} [{bar:40}] {pos}/{len} {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn show(bar: &ProgressBar) -> impl Fn(&'static str, usize, usize) + Sync + '_ {
    move |step, done, all| {
        bar.set_message(step);
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    }
}

/// The needs of rows, in order, guard off, and how many of them the guard calls far.
fn needs(judge: &Judge, probe: &Probe, rows: &[Row]) -> Result<(Vec<f32>, usize), Failure> {
    let (bar, done, far) = (bar(), AtomicUsize::new(0), AtomicUsize::new(0));
    let progress = show(&bar);
    let cache = Cache::open(judge.embeddings.as_deref())?;
    let needs = spread(rows.len(), |at| {
        let embed = |reading: &Reading| cache.embed(reading);
        let views = rows[at].views(probe.head().header.bits, if probe.has_encoder() { Some(&embed) } else { None });
        let (_, need) = probe.head().judge(&views);
        far.fetch_add(usize::from(probe.is_far(&views)), Ordering::Relaxed);
        let so_far = done.fetch_add(1, Ordering::Relaxed) + 1;
        if so_far.is_multiple_of(50) {
            progress("scoring", so_far, rows.len());
        }
        need
    });
    bar.finish_and_clear();
    cache.close(judge.embeddings.as_deref())?;
    Ok((needs, far.into_inner()))
}

fn score(setting: &Setting, wanted: &Score) -> Result<(), Failure> {
    let probe = wanted.judge.probe()?;
    let rows = rows::read(&wanted.input)?;
    let needs = match wanted.heuristic {
        true => heuristic(&wanted.input)?,
        false => needs(&wanted.judge, &probe, &rows)?.0,
    };
    let failed = |why: std::io::Error| Failure::Failed(format!("`{}`: {why}", wanted.out.display()));
    let to_stdout = wanted.out.as_os_str() == "-";
    let mut out: Box<dyn Write> = if to_stdout {
        Box::new(std::io::stdout().lock())
    } else {
        Box::new(std::io::BufWriter::new(std::fs::File::create(&wanted.out).map_err(failed)?))
    };
    for (row, need) in rows.iter().zip(&needs) {
        writeln!(out, "{}", json!({"id": row.id, "score": need})).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    if to_stdout {
        return Ok(());
    }
    if setting.json {
        say(json!({"rows": rows.len(), "head": probe.head().version(), "encoder": probe.has_encoder()}));
    } else {
        say(format!("{} rows scored by {} to {}", rows.len(), probe.describe(), wanted.out.display()));
    }
    Ok(())
}

/// The heuristic's needs; it reads requests, not rows.
fn heuristic(file: &Path) -> Result<Vec<f32>, Failure> {
    Ok(rows::read_requests(file)?.iter().map(router::heuristic_need).collect())
}

/// Labelled rows of several files; of graded rows the half that is wanted.
fn labelled(files: &[PathBuf], half: Half, without: &[String]) -> Result<Vec<Row>, Failure> {
    let mut all = Vec::new();
    for file in files {
        all.extend(rows::read_labelled(file)?);
    }
    all.retain(|row| {
        let graded = row.label.is_some_and(|label| label.graded);
        let half_fits = match half {
            Half::All => true,
            Half::Training => !graded || row.is_training_half(),
            Half::HeldBack => !graded || !row.is_training_half(),
        };
        half_fits && !without.contains(&row.source)
    });
    if all.is_empty() {
        return Err(Failure::Usage("no rows are left".into()));
    }
    Ok(all)
}

fn calibrate(setting: &Setting, wanted: &Calibrate) -> Result<(), Failure> {
    let rows = labelled(&wanted.data, Half::All, &[])?;
    let probe = load(wanted.head.as_deref())?;
    let cache = Cache::open(wanted.embeddings.as_deref())?;
    let embed = |reading: &Reading| cache.embed(reading);
    let embed: Embed<'_> = if wanted.no_encoder { None } else { Some(&embed) };
    let bar = bar();
    let views = fit::views(&rows, probe.head().header.bits, embed, &show(&bar));
    cache.close(wanted.embeddings.as_deref())?;
    bar.finish_and_clear();
    let before = report::figures(&rows, &judged(probe.head(), &views));
    let head = write_head(&wanted.out, &adapt::recalibrate(probe.head(), &rows, &views)?)?;
    let after = report::figures(&rows, &judged(&head, &views));
    if setting.json {
        say(json!({"head": head.version(), "digest": head.digest(), "before": before, "after": after}));
    } else {
        say(format!("{} written to {}", head.version(), wanted.out.display()));
        say(format!("  ECE {:.4} before, {:.4} after, on the rows it was fitted to", before.ece, after.ece));
    }
    Ok(())
}

fn judged(head: &Head, views: &[probe::head::Views]) -> Vec<f32> {
    views.iter().map(|views| head.judge(views).1).collect()
}

/// Rows with their scores.
fn scored(rows: &[Row], needs: &[f32]) -> Vec<Scored> {
    rows.iter().zip(needs).filter_map(|(row, need)| fit::scored(row, *need)).collect()
}

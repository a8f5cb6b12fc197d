//! `sluice classifier eval`: figures with intervals, per source, and pictures.

use super::{Half, Judge, labelled, needs, scored};
use crate::cli::{Failure, Setting, say};
use router::learn::metrics::{self, Bin, Figures, Interval, Intervals, Scored};
use router::learn::plots;
use router::learn::rows::Row;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Measures a head.
#[derive(Debug, clap::Args)]
pub struct Eval {
    /// Labelled rows, plain or gzip.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    judge: Judge,
    /// Measures each group by itself, too.
    #[arg(long, value_name = "FIELD", value_parser = ["source", "task"])]
    by: Option<String>,
    /// A folder for the reliability diagram and the cost-quality curve, as SVG and PNG.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Resamples behind an interval.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    bootstrap: usize,
    /// The seed of the resamples.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Graded rows (field `need`) that are measured.
    #[arg(long, value_enum, default_value_t = Half::HeldBack)]
    graded: Half,
}

#[derive(Serialize)]
struct Group {
    name: String,
    figures: Figures,
    intervals: Intervals,
    reliability: Vec<Bin>,
}

/// The figures of rows with their needs.
pub(super) fn figures(rows: &[Row], needs: &[f32]) -> Figures {
    Figures::of(&scored(rows, needs))
}

pub(super) fn eval(setting: &Setting, wanted: &Eval) -> Result<(), Failure> {
    let probe = wanted.judge.probe()?;
    let rows = labelled(&wanted.data, wanted.graded, &[])?;
    let (needs, far) = needs(&wanted.judge, &probe, &rows)?;
    let all = scored(&rows, &needs);
    let mut sets: Vec<(String, Vec<Scored>)> = vec![("all".to_owned(), all.clone())];
    if let Some(field) = &wanted.by {
        let mut by: BTreeMap<&str, Vec<Scored>> = BTreeMap::new();
        for (row, scored) in rows.iter().zip(&all) {
            by.entry(if field == "task" { &row.task } else { &row.source }).or_default().push(*scored);
        }
        sets.extend(by.into_iter().map(|(name, scored)| (name.to_owned(), scored)));
    }
    let groups: Vec<Group> = sets
        .iter()
        .map(|(name, scored)| {
            let (figures, intervals) = metrics::with_intervals(scored, wanted.bootstrap, wanted.seed);
            Group { name: name.clone(), figures, intervals, reliability: metrics::reliability(scored) }
        })
        .collect();
    let pictures = match &wanted.out {
        Some(folder) => draw(folder, &sets)?,
        None => Vec::new(),
    };
    if setting.json {
        say(json!({
            "head": probe.head().version(), "encoder": probe.has_encoder(), "groups": groups, "pictures": pictures,
            "cold": probe.cold_quantiles(), "far": far,
        }));
        return Ok(());
    }
    say(format!("{} on {} rows", probe.describe(), rows.len()));
    let width = groups.iter().map(|group| group.name.len()).max().unwrap_or(3);
    say(format!(
        "{:width$} {:>6} {:>20} {:>20} {:>20} {:>20} {:>20} {:>20}",
        "", "rows", "APGR", "CPT(50)", "CPT(80)", "AUROC", "Brier", "ECE"
    ));
    for group in &groups {
        let (f, i) = (&group.figures, &group.intervals);
        let cells = [
            cell(f.apgr, i.apgr),
            cell(f.cpt50, i.cpt50),
            cell(f.cpt80, i.cpt80),
            cell(f.auroc, i.auroc),
            cell(f.brier, i.brier),
            cell(f.ece, i.ece),
        ];
        say(format!("{:width$} {:>6} {}", group.name, f.n, cells.map(|cell| format!("{cell:>20}")).join(" ")));
    }
    say(format!("{far} of {} rows are far from anything the head was trained on", rows.len()));
    for picture in pictures {
        say(picture.display());
    }
    Ok(())
}

fn cell(value: f64, interval: Interval) -> String {
    if value.is_nan() {
        return "-".to_owned();
    }
    format!("{value:.3} [{:.3}, {:.3}]", interval.low, interval.high)
}

fn draw(folder: &Path, sets: &[(String, Vec<Scored>)]) -> Result<Vec<PathBuf>, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::Failed(format!("`{}`: {why}", folder.display()));
    std::fs::create_dir_all(folder).map_err(|why| failed(&why))?;
    let mut drawn = Vec::new();
    let Some((_, all)) = sets.first() else { return Ok(drawn) };
    for (name, picture) in [("reliability", plots::reliability(all)), ("cost-quality", plots::cost_quality(sets))] {
        let picture = picture.map_err(|why| failed(&why))?;
        for (ending, bytes) in [("svg", picture.svg.as_bytes()), ("png", picture.png.as_slice())] {
            let path = folder.join(format!("{name}.{ending}"));
            std::fs::write(&path, bytes).map_err(|why| failed(&why))?;
            drawn.push(path);
        }
    }
    Ok(drawn)
}

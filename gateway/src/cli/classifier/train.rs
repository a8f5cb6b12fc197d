//! `sluice classifier train`: rows become a head, or a head and rows another head.

use super::cache::Cache;
use super::heads::Lane;
use super::{Half, bar, labelled, load, read_head, show, write_head};
use crate::cli::{Failure, Setting, say};
use crate::config::units::shown;
use router::learn::adapt;
use router::learn::fit::{self, Embed, Recipe};
use router::learn::rows::{self, Row};
use router::probe::head::Provenance;
use router::probe::{Head, Reading};
use router::rollout::Step;
use serde_json::json;
use std::path::PathBuf;

/// Trains a head.
#[derive(Debug, clap::Args)]
pub struct Train {
    /// Labelled rows, plain or gzip.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    /// Where the head goes.
    #[arg(long, value_name = "FILE", default_value = "sluice.head")]
    out: PathBuf,
    /// A head to adapt to these rows instead of beginning anew.
    #[arg(long, value_name = "HEAD")]
    base: Option<PathBuf>,
    /// Adapts the head that is shipped.
    #[arg(long, conflicts_with = "base")]
    adapt: bool,
    /// Adapting: this part of the rows, the last ones, is held back; the head is accepted only if it does not do worse on it.
    #[arg(long, value_name = "PART", default_value = "0%", value_parser = part)]
    newest: f32,
    /// The same seed and rows give the same head.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// What the head is called.
    #[arg(long, value_name = "NAME", default_value = "need")]
    name: String,
    /// Leaves the encoder out.
    #[arg(long)]
    no_encoder: bool,
    /// A file that keeps embeddings between runs.
    #[arg(long, value_name = "FILE", hide = true)]
    embeddings: Option<PathBuf>,
    /// Graded rows (field `need`) that are trained on, told by a hash of their id.
    #[arg(long, value_enum, default_value_t = Half::Training)]
    graded: Half,
    /// Leaves these sources out.
    #[arg(long, value_name = "SOURCE")]
    without: Vec<String>,
    /// How the head is fitted, as JSON; what is left out is as usual.
    #[arg(long, value_name = "JSON", default_value = "{}", hide = true)]
    recipe: String,
    /// Recorded in the head.
    #[arg(long, value_name = "COMMIT", default_value = "", hide = true)]
    commit: String,
    /// Seconds since 1970 that are recorded in the head instead of now.
    #[arg(long, env = "SOURCE_DATE_EPOCH", hide = true)]
    made: Option<i64>,
    /// Adapts the head that judges now; if the new one is accepted, a running gateway tries it on a part of the sessions.
    #[arg(long, conflicts_with_all = ["base", "adapt"])]
    roll_out: bool,
    /// With `--roll-out`: the entry of `[[router.heads]]`; default: what no entry takes.
    #[arg(long, value_name = "NAME", default_value = "", requires = "roll_out", hide_default_value = true)]
    lane: String,
}

/// A share, as the configuration has it: `20%`.
fn part(text: &str) -> Result<f32, String> {
    let wrong = || format!("`{text}` is not a part; write e.g. 20%");
    let number: f32 = text.strip_suffix('%').and_then(|number| number.trim().parse().ok()).ok_or_else(wrong)?;
    if (0.0..=90.0).contains(&number) { Ok(number / 100.0) } else { Err(wrong()) }
}

pub(super) fn train(setting: &Setting, wanted: &Train) -> Result<(), Failure> {
    let rows = labelled(&wanted.data, wanted.graded, &wanted.without)?;
    let lane = if wanted.roll_out { Some(Lane::open(setting, &wanted.lane)?) } else { None };
    let base = match (&lane, &wanted.base, wanted.adapt) {
        (Some(lane), _, _) => Some(lane.judging()?),
        (None, Some(path), _) => Some(read_head(path)?),
        (None, None, true) => Some(load(None)?.head().clone()),
        (None, None, false) => None,
    };
    let provenance = provenance(wanted, &rows)?;
    let cache = Cache::open(wanted.embeddings.as_deref())?;
    let embed = |reading: &Reading| cache.embed(reading);
    let embed: Embed<'_> = if wanted.no_encoder { None } else { Some(&embed) };
    let bar = bar();
    let progress = show(&bar);
    let recipe: Recipe =
        serde_json::from_str(&wanted.recipe).map_err(|why| Failure::Usage(format!("`--recipe`: {why}")))?;
    let bits = base.as_ref().map_or(recipe.bits, |base| base.header.bits);
    let views = fit::views(&rows, bits, embed, &progress);
    cache.close(wanted.embeddings.as_deref())?;
    let Some(base) = base else {
        let fitted = fit::train(&rows, &views, &recipe, wanted.seed, &wanted.name, provenance, &progress)?;
        bar.finish_and_clear();
        let head = write_head(&wanted.out, &fitted.head)?;
        return told(setting, wanted, &rows, &head, None, None);
    };
    let older = rows.len() - (rows.len() as f32 * wanted.newest) as usize;
    let adapted =
        adapt::adapt(&base, &rows[..older], &views[..older], wanted.seed, &wanted.name, provenance, &progress)?;
    let adapted = adapted.unless_worse_on(&base, &rows[older..], &views[older..], wanted.seed);
    bar.finish_and_clear();
    let head = write_head(&wanted.out, &adapted.head)?;
    let tried = match lane.filter(|_| adapted.accepted) {
        Some(lane) => Some(lane.try_out(&wanted.out, None, format!("trained on {} rows", rows.len()))?),
        None => None,
    };
    told(setting, wanted, &rows, &head, Some(&adapted), tried.as_ref())
}

fn provenance(wanted: &Train, rows: &[Row]) -> Result<Provenance, Failure> {
    let made = match wanted.made {
        Some(seconds) => jiff::Timestamp::from_second(seconds)
            .map_err(|why| Failure::Usage(format!("SOURCE_DATE_EPOCH {seconds}: {why}")))?,
        None => jiff::Timestamp::from_second(jiff::Timestamp::now().as_second())
            .map_err(|why| Failure::Failed(why.to_string()))?,
    };
    let mut data = Vec::new();
    for file in &wanted.data {
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        data.push((name, rows::digest(file)?));
    }
    let first = rows.iter().find_map(|row| row.pair.clone());
    let pair = first.filter(|first| rows.iter().all(|row| row.pair.as_ref().is_none_or(|pair| pair == first)));
    Ok(Provenance { made: made.to_string(), commit: wanted.commit.clone(), data, pair, ..Provenance::default() })
}

fn told(
    setting: &Setting,
    wanted: &Train,
    rows: &[Row],
    head: &Head,
    adapted: Option<&adapt::Adapted>,
    tried: Option<&Step>,
) -> Result<(), Failure> {
    if setting.json {
        say(json!({
            "head": head.version(), "digest": head.digest(), "out": wanted.out, "rows": rows.len(),
            "provenance": head.header.provenance,
            "tried": tried.map(|step| json!({"lane": step.lane, "part": shown(step.part)})),
            "accepted": adapted.map(|adapted| adapted.accepted),
            "gate": adapted.map(|adapted| json!({
                "base_apgr": adapted.base_apgr, "new_apgr": adapted.new_apgr, "standard_error": adapted.error,
                "newest": adapted.newest,
            })),
        }));
        return Ok(());
    }
    say(format!("{} from {} rows, written to {}", head.version(), rows.len(), wanted.out.display()));
    for (name, value) in &head.header.provenance.figures {
        say(format!("  {name}: {value:.4}"));
    }
    if let Some(adapted) = adapted {
        let verdict = if adapted.accepted { "accepted" } else { "not accepted: the base head is kept as it is" };
        let (base, new) = (adapted.base_apgr, adapted.new_apgr);
        say(format!("  held-out APGR {new:.4} against {base:.4} of the base: {verdict}"));
        if let Some(newest) = adapted.newest {
            say(format!("  APGR on the newest rows, of the new head less that of the base: {newest:+.4}"));
        }
    }
    if let Some(step) = tried {
        say(format!(
            "  it is tried on {}% of the sessions: see `sluice classifier heads list`",
            shown(step.part * 100.0)
        ));
    }
    Ok(())
}

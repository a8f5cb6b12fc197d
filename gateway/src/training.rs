//! Training on a schedule: every so often the gateway runs its own commands, out of the way of those that it serves.
//!
//! **Promise.** With `[learning.roll_out] train` what the ledger knows becomes rows (`sluice classifier rows`), and the head that judges is
//! adapted to them (`sluice classifier train --roll-out`): the gate that accepts a head, and the roll-out that tries it, are those of
//! the commands. They run as processes of their own, with the lowest priority where the system has `nice`: what they take,
//! and how they end, is not the gateway's. They are ended when the gateway drains.
//!
//! **What it does not do.** While a head is tried nothing is trained, and nothing from fewer than [`LEAST`] rows. The clock begins with
//! the process. Each replica has its own: of two that train at once only the first head is tried. Heads of `[[router.heads]]` are
//! trained by hand.
//!
//! **Failure behaviour.** It is in the log, and the next time comes.

use crate::roll_out;
use crate::server::App;
use serde_json::Value;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// From fewer rows nothing is learnt: a head needs 50, and a part of them is held back for the gate.
const LEAST: u64 = 100;
/// The part of the rows, the newest, that decides whether a head is accepted.
const NEWEST: &str = "20%";
/// The lowest priority that there is.
const NICE: [&str; 3] = ["nice", "-n", "19"];

/// A folder that only its owner can look into; it goes with the value.
struct Folder(PathBuf);

/// Trains whenever it is time, until the gateway drains.
pub async fn keep(app: Arc<App>, config: PathBuf) {
    let mut since = Instant::now();
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.draining.cancelled() => return,
            _ = tick.tick() => {}
        }
        let every = app.settings.load().roll_out.as_ref().and_then(|bounds| bounds.train);
        if every.is_none_or(|every| since.elapsed() < every) {
            continue;
        }
        since = Instant::now();
        tokio::select! {
            // The process is ended with the future that waits for it.
            () = app.draining.cancelled() => return,
            trained = train(&app, &config) => match trained {
                Ok(said) => tracing::info!(said, "heads are trained on a schedule"),
                Err(error) => tracing::warn!(error = format!("{error:#}"), "training on a schedule failed"),
            }
        }
    }
}

async fn train(app: &Arc<App>, config: &Path) -> anyhow::Result<String> {
    let looked = app.clone();
    let standings =
        tokio::task::spawn_blocking(move || roll_out::standings(&looked.ledger, &looked.settings.load())).await??;
    if let Some(trial) =
        standings.iter().find(|standing| standing.lane.is_empty()).and_then(|usual| usual.trial.as_ref())
    {
        return Ok(format!("nothing was trained: {} is being tried", trial.head));
    }
    let folder = Folder::new()?;
    let (rows, head) = (folder.0.join("rows.jsonl"), folder.0.join("next.head"));
    let told = run(config, &["rows", "--out"], &[&rows], &["--lane", ""]).await?;
    let known = told["rows"].as_u64().unwrap_or(0);
    if known < LEAST {
        return Ok(format!("nothing was trained: {known} labelled requests, {LEAST} are needed"));
    }
    let more = ["--graded", "all", "--newest", NEWEST, "--roll-out"];
    let told = run(config, &["train", "--data"], &[&rows, Path::new("--out"), &head], &more).await?;
    let name = told["head"].as_str().unwrap_or_default();
    Ok(match told["tried"].is_object() {
        true => format!("{name} from {known} rows is being tried"),
        false => format!("{name} from {known} rows was not accepted"),
    })
}

/// Runs `sluice classifier`, and reads what it says.
async fn run(config: &Path, first: &[&str], paths: &[&Path], more: &[&str]) -> anyhow::Result<Value> {
    let program = std::env::current_exe()?;
    let started = |mut command: Command| {
        command.arg("classifier").args(first).args(paths).args(more).arg("--json").arg("--config").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.output()
    };
    let [nice, options @ ..] = NICE;
    let mut polite = Command::new(nice);
    polite.args(options).arg(&program);
    let output: Output = match started(polite).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => started(Command::new(&program)).await?,
        ran => ran?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("`classifier {}`: {}: {}", first.join(" "), output.status, said.trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

// === impl Folder ===

impl Folder {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("sluice-training-{}", uuid::Uuid::now_v7()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Rows may hold prompts.
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(error = %error, folder = %self.0.display(), "rows to train on cannot be removed");
        }
    }
}

//! `sluice replay`: what would change if past requests were decided on under this configuration.
//!
//! **Promise.** From the ledger nothing is dialled and nothing is charged; it can run beside the gateway. What cannot be known
//! without the text is counted as unknown, by its reason ([`router::replay`]). From a file of requests each decision is made as
//! the gateway makes it, and with `--run` really answered: through every constraint, on the ledger under its own purpose, never
//! beyond `--max-usd`. When that has to end early (the ledger cannot be written any longer), what was answered and spent until
//! then is told before the failure, and `--out` has each answer since it came.
//!
//! **What it does not do.** The ledger keeps no requests, so nothing of it can be answered again.

mod file;

use super::ledger::moment;
use super::{Failure, Setting, complain, say, serve};
use crate::assemble::{Ground, Parts, budget_specs};
use crate::config::Settings;
use crate::upkeep;
use clap::Args;
use policies::NanoDollars;
use router::ledger::{Ledger, RecordedFilter};
use router::replay::{Decided, Replayed, Share, Summary, Verdict};
use router::{Budgets, Keeper, Router, Silent};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// Shows what would change if past requests were decided on under this configuration.
#[derive(Debug, Args)]
pub struct Replay {
    /// Requests as JSON Lines (`request`, `messages` or `prompt`; optional `id`, `route`, `model`, `data_class`, `tags`,
    /// `input_tokens`, `output_tokens`, `cost_usd`); default: the configured ledger's decisions.
    file: Option<PathBuf>,
    /// Not before this time (RFC 3339); of the ledger.
    #[arg(long)]
    since: Option<String>,
    /// Before this time (RFC 3339); of the ledger.
    #[arg(long)]
    until: Option<String>,
    /// At most so many, the latest; of the ledger.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// So many changed requests are listed.
    #[arg(long, default_value_t = 10)]
    list: usize,
    /// Answers each request of a file with the model that it is decided for; needs `--max-usd`.
    #[arg(long, requires_all = ["file", "max_usd"])]
    run: bool,
    /// The most that answering may cost, in dollars.
    #[arg(long, value_parser = super::dollars)]
    max_usd: Option<NanoDollars>,
    /// Writes each answer there as it comes: JSON Lines.
    #[arg(long, value_name = "FILE", requires = "run")]
    out: Option<PathBuf>,
}

/// What came of it.
struct Outcome {
    replayed: Vec<Replayed>,
    /// What answering came to, where it was wanted.
    run: Option<file::Ran>,
    /// Why it ended early.
    failed: Option<String>,
}

/// Replays.
pub fn replay(setting: &Setting, wanted: &Replay) -> Result<(), Failure> {
    let mut settings = setting.load()?;
    // Draws are of the traffic that comes, not of what has come.
    settings.holdout = 0.0;
    settings.experiments.clear();
    if wanted.run {
        serve::check_engines(&settings)?;
        serve::prepare_environment()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))?;
    let outcome = runtime.block_on(start(&settings, wanted))?;
    let summary = Summary::of(&outcome.replayed);
    let changed: Vec<&Replayed> = outcome.replayed.iter().filter(|one| changed(one)).take(wanted.list).collect();
    let notes = notes(&settings, wanted);
    if setting.json {
        let run = outcome.run.as_ref().map(file::Ran::shown);
        say(json!({
            "summary": summary, "changes": changed, "run": run, "notes": notes, "ended_early": outcome.failed,
        }));
    } else {
        tell(&summary, &changed, &notes);
        if let Some(ran) = &outcome.run {
            ran.tell();
        }
    }
    outcome.failed.map_or(Ok(()), |why| Err(Failure::Failed(why)))
}

async fn start(settings: &Settings, wanted: &Replay) -> Result<Outcome, Failure> {
    if !wanted.run {
        // A decision needs a ledger, also where nothing was served yet; asking makes none.
        let empty = tempfile_beside();
        let place = match &settings.ledger.place {
            router::ledger::Place::File(path) if !path.is_file() => router::ledger::Place::File(empty.clone()),
            place @ (router::ledger::Place::File(_) | router::ledger::Place::Server(_)) => place.clone(),
        };
        let ledger = Ledger::attach(&place)?;
        // What was left of a budget then is gone, and what is left now has nothing to do with it.
        let budgets = Budgets::kept_by(Keeper::Onlooker, ledger.clone(), vec![], jiff::Timestamp::now())?;
        let ground = ground(Parts::all_assumed_ready(), &ledger, budgets);
        let done = decide(settings, wanted, &ground).await;
        ledger.shutdown().await?;
        super::explain::remove_scratch(&empty);
        return done;
    }
    let ledger = Ledger::attach_with(&settings.ledger.place, super::evidence::keys(settings)?)?;
    let specs = budget_specs(settings, &upkeep::named(&ledger.keys()?));
    let budgets = Budgets::start(ledger.clone(), specs, jiff::Timestamp::now())?;
    let ground = ground(Parts::default(), &ledger, budgets);
    let done = decide(settings, wanted, &ground).await;
    for backend in ground.parts.backends() {
        backend.shutdown().await;
    }
    ground.tasks.close();
    ground.tasks.wait().await;
    let closed = ledger.shutdown().await;
    // What was spent is told also where the ledger is gone.
    done.map(|outcome| {
        let unclosed = closed.err().map(|error| format!("the ledger cannot be closed: {error}"));
        Outcome { failed: outcome.failed.or(unclosed), ..outcome }
    })
}

fn tempfile_beside() -> PathBuf {
    std::env::temp_dir().join(format!("sluice-replay-{}.db", uuid::Uuid::new_v4()))
}

fn ground(parts: Parts, ledger: &Ledger, budgets: Arc<Budgets>) -> Ground {
    let (parts, observer, tasks) = (Arc::new(parts), Arc::new(Silent), TaskTracker::new());
    Ground { parts, ledger: ledger.clone(), budgets, observer, tasks }
}

async fn decide(settings: &Settings, wanted: &Replay, ground: &Ground) -> Result<Outcome, Failure> {
    let router = ground.router(settings).map_err(|error| Failure::Failed(format!("{error:#}")))?;
    match &wanted.file {
        Some(path) => {
            let rows = file::read(path)?;
            let most = wanted.max_usd.filter(|_| wanted.run);
            let running = most.map(|most| file::Running::begin(most, wanted.out.as_deref(), rows.len())).transpose()?;
            file::decide(&router, rows, running).await
        }
        None => from_ledger(&router, wanted).map(|replayed| Outcome { replayed, run: None, failed: None }),
    }
}

fn from_ledger(router: &Router, wanted: &Replay) -> Result<Vec<Replayed>, Failure> {
    let filter = RecordedFilter {
        since_us: Some(moment(&wanted.since, "since", i64::MIN)?),
        until_us: Some(moment(&wanted.until, "until", i64::MAX)?),
        limit: wanted.limit,
    };
    let ledger = router.ledger();
    let (recorded, keys) = (ledger.recorded(&filter)?, ledger.keys()?);
    Ok(recorded.iter().map(|recorded| router.replay(recorded, &keys)).collect())
}

/// Whether another model, or nobody, answers.
fn changed(one: &Replayed) -> bool {
    matches!(&one.now, Verdict::Decided { decided, .. } if decided.model != one.then.model)
}

/// What the reader has to know.
fn notes(settings: &Settings, wanted: &Replay) -> Vec<&'static str> {
    let mut notes = match wanted.run {
        true => vec!["conversations, holdout, experiments and exploration are not replayed"],
        false => vec![
            "budgets, health, conversations, holdout, experiments and exploration are not replayed",
            "an answer that changes its model is priced with the tokens that it had",
        ],
    };
    if settings.router.hosted_rate.is_some() {
        notes.push("`hosted_rate` is a goal over time: the share stays where it starts");
    }
    if wanted.file.is_none() {
        notes.push("data classes are those on record: detectors and system-prompt matchers need the text");
        if !settings.router.lanes.is_empty() || settings.router.head.is_some() {
            notes.push("a head that did not judge then sees features and embeddings, not words");
        }
    }
    notes
}

fn percent(share: &Share) -> String {
    match (share.share, share.interval) {
        (Some(part), Some(interval)) => format!(
            "{} of {}: {:.1}% ({:.1}% to {:.1}%)",
            share.count,
            share.of,
            part * 100.0,
            interval.low * 100.0,
            interval.high * 100.0
        ),
        _ => "none".into(),
    }
}

fn tell(summary: &Summary, changes: &[&Replayed], notes: &[&str]) {
    say(format!("{} requests, {} of them decided anew", summary.requests, summary.known));
    for (why, count) in &summary.unknown {
        say(format!("  unknown: {count}, because {}", why.words()));
    }
    for (name, share) in [
        ("another answer", &summary.changed),
        ("another side", &summary.other_side),
        ("newly refused", &summary.newly_refused),
        ("newly answered", &summary.newly_answered),
        ("hosted then", &summary.hosted_then),
        ("hosted now", &summary.hosted_now),
    ] {
        say(format!("{name:15} {}", percent(share)));
    }
    if summary.watched > 0 {
        say(format!("{:15} {} local answers would get one", "second look", summary.watched));
    }
    let money = &summary.money;
    let interval = money.interval_usd.as_ref().map(|[low, high]| format!(" ({low} to {high})")).unwrap_or_default();
    say(format!(
        "cost of {} requests: ${} then, ${} now, difference ${}{interval}",
        money.requests, money.then_usd, money.now_usd, money.difference_usd
    ));
    for moved in &summary.moved {
        say(format!("  {} -> {} because of {}: {}", moved.from, moved.to, moved.reason, moved.requests));
    }
    for one in changes {
        let name = |decided: &Decided| decided.model.as_ref().map_or("refused".to_owned(), ToString::to_string);
        if let Verdict::Decided { decided, .. } = &one.now {
            say(format!(
                "  {}: {} ({}) -> {} ({})",
                one.id,
                name(&one.then),
                one.then.reason,
                name(decided),
                decided.reason
            ));
        }
    }
    notes.iter().for_each(|note| complain(format!("note: {note}")));
}

/// A cost as JSON.
fn dollars(cost: Option<NanoDollars>) -> Value {
    cost.map_or(Value::Null, |cost| cost.to_string().into())
}

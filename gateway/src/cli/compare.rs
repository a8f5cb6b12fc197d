//! `sluice compare`: two models answer a dataset, a judge compares them, and a report says what that proves.
//!
//! **Promise.** Nothing is asked before its cost was shown and agreed to; `--max-usd` is held to the nano-dollar; every answer
//! is on the disk before the next is paid ([`state`]), so that a run can be killed at any time and goes on where it was, paying
//! for nothing twice. Residency, budgets and every other constraint hold for each row and for the judge, and every call is
//! on the configured ledger (purposes `compare` and `judge`).
//!
//! **Interleaved.** Both sides answer each row; which of them first is drawn in balanced blocks ([`first_sides`]).
//!
//! **Failure behaviour.** A side that fails on a row, or is down, has lost that row until another run finds it up again; a row that a constraint keeps from a side or from the judge is not
//! judged and is counted. Refusals of an overloaded upstream are tried twice more.
//!
//! **What it does not do.** It does not see what a running gateway holds back for its own calls: budgets are read from the ledger
//! at the start.

mod command;
mod dataset;
mod judged;
mod plan;
mod report;
mod run;
mod state;

use super::{Failure, Setting, complain, say, serve};
use crate::assemble::{Ground, Parts, budget_specs};
use crate::config::Settings;
use crate::upkeep;
use clap::Args;
use dataset::Row;
use futures::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use judged::{Judge, Outcome};
use parking_lot::Mutex;
use plan::{Plan, beside};
use policies::{ModelName, NanoDollars, Readiness};
use router::compare::{Judged, Purse, Side, Summary, Trust, first_sides};
use router::ledger::Ledger;
use router::{Budgets, Router, Silent};
use run::{Cost, Run, Told};
use serde_json::Value;
use state::State;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Compares two models on a file of requests.
#[derive(Debug, Args)]
pub struct Compare {
    /// JSON Lines: `id`, `prompt` or `messages`; optional `reference`, `schema`, `tool_calls`, `tests`, `human`, `data_class`, `tags`.
    #[arg(long, value_name = "FILE")]
    dataset: PathBuf,
    /// The model in question, or `local` / `hosted` for the first of that side.
    #[arg(long, default_value = "local")]
    left: String,
    /// The model that it is compared with.
    #[arg(long, default_value = "hosted")]
    right: String,
    /// A file with the left side's system prompt; `{system}` in it stands for the row's own.
    #[arg(long, value_name = "FILE")]
    left_system: Option<PathBuf>,
    /// The same for the right side.
    #[arg(long, value_name = "FILE")]
    right_system: Option<PathBuf>,
    /// exact, normalised, numeric, schema, tool, embedding, command, or model:NAME.
    #[arg(long, default_value = "normalised")]
    judge: String,
    /// The command of `--judge command`: it gets the answer on standard input, and the row's `tests` in SLUICE_TESTS.
    #[arg(long, value_name = "LINE")]
    command: Option<String>,
    /// How long that command may take.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    command_timeout: Duration,
    /// A file that tells a model what to judge by.
    #[arg(long, value_name = "FILE")]
    rubric: Option<PathBuf>,
    /// The most tokens that a judge may write.
    #[arg(long, default_value_t = 256)]
    judge_max_tokens: u64,
    /// So much worse, in the mean score of 0 to 1, is still not worse.
    #[arg(long, default_value_t = 0.05, value_parser = margin)]
    margin: f64,
    /// The probability of a wrong verdict.
    #[arg(long, default_value_t = 0.05, value_parser = error)]
    error: f64,
    /// The most tokens of an answer.
    #[arg(long, default_value_t = 1_024)]
    max_tokens: u64,
    /// The temperature that is asked for; default: the model's.
    #[arg(long)]
    temperature: Option<f64>,
    /// Rows under way at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// The report; what was answered is kept beside it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Asks without showing the cost first.
    #[arg(long)]
    yes: bool,
    /// The most that all runs over this report may cost together, in dollars.
    #[arg(long, value_parser = super::dollars)]
    max_usd: Option<NanoDollars>,
    /// Asks again what was under way when an earlier run died; it may be paid for a second time.
    #[arg(long)]
    retry_lost: bool,
}

fn between(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number >= least && number <= most { Ok(number) } else { Err(format!("must lie between {least} and {most}")) }
}

fn margin(text: &str) -> Result<f64, String> {
    between(text, 0.001, 0.5)
}

fn error(text: &str) -> Result<f64, String> {
    between(text, 0.000_1, 0.5)
}

/// Runs the comparison.
pub fn compare(setting: &Setting, wanted: &Compare) -> Result<(), Failure> {
    let settings = setting.load()?;
    let plan = Plan::new(&settings, wanted)?;
    serve::check_engines(&settings)?;
    serve::prepare_environment()?;
    if let Some(folder) = settings.ledger.place.file().and_then(std::path::Path::parent) {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::Failed(format!("cannot make the ledger's folder: {error}")))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(start(setting, settings, wanted, plan))
}

async fn start(setting: &Setting, settings: Settings, wanted: &Compare, plan: Plan) -> Result<(), Failure> {
    let ledger = Ledger::attach_with(&settings.ledger.place, super::evidence::keys(&settings)?)?;
    let specs = budget_specs(&settings, &upkeep::named(&ledger.keys()?));
    let tasks = TaskTracker::new();
    let ground = Ground {
        parts: Arc::new(Parts::default()),
        ledger: ledger.clone(),
        budgets: Budgets::start(ledger.clone(), specs, jiff::Timestamp::now())?,
        observer: Arc::new(Silent),
        tasks: tasks.clone(),
    };
    let router = ground.router(&settings).map_err(|error| Failure::Failed(format!("{error:#}")))?;
    let done = whole(setting, wanted, &plan, Arc::new(router)).await;
    for backend in ground.parts.backends() {
        backend.shutdown().await;
    }
    tasks.close();
    tasks.wait().await;
    ledger.shutdown().await?;
    done
}

async fn whole(setting: &Setting, wanted: &Compare, plan: &Plan, router: Arc<Router>) -> Result<(), Failure> {
    ready(&router, plan).await?;
    let state = State::open(&beside(&plan.out, "answers.jsonl"))?;
    let purse = Purse::new(wanted.max_usd, state.spent());
    let stop = CancellationToken::new();
    let run = Run {
        router,
        state: Mutex::new(state),
        purse: Mutex::new(purse),
        stop: stop.clone(),
        retry_lost: wanted.retry_lost,
    };
    let cost = estimate(&run, wanted, plan).await?;
    agreed(wanted, plan, cost)?;
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_ok() {
            complain("stopping: what is under way is waited for; once more to leave at once");
            stop.cancel();
            if tokio::signal::ctrl_c().await.is_ok() {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    let outcomes = tokio::select! {
        outcomes = ask(&run, wanted, plan) => outcomes?,
        () = interrupted => return Err(Failure::Failed("left at once: what was under way is in doubt".into())),
    };
    let told = sum_up(&run, plan, &outcomes);
    let page = report::page(plan, &outcomes, &told);
    super::write_whole(&plan.out, page.as_bytes())?;
    if setting.json {
        say(report::json(plan, &told));
    } else {
        report::tell(plan, &told);
    }
    Ok(())
}

/// Waits until what is loading has loaded.
async fn ready(router: &Router, plan: &Plan) -> Result<(), Failure> {
    let judge = match &plan.judge {
        Judge::Model(name, ..) => Some(ModelName::from(name.as_str())),
        Judge::Rule(_) | Judge::Embedding | Judge::Command(..) => None,
    };
    for name in plan.sides.iter().chain(&judge) {
        let Some(model) = router.fleet().get(name) else { continue };
        loop {
            match model.provider.backend.readiness() {
                Readiness::Ready => break,
                Readiness::Loading => tokio::time::sleep(Duration::from_millis(100)).await,
                Readiness::Down { why, .. } => return Err(Failure::Failed(format!("model `{name}`: {why}"))),
            }
        }
    }
    Ok(())
}

fn bodies(wanted: &Compare, plan: &Plan, row: &Row) -> [Value; 2] {
    [0, 1].map(|side| {
        let system = plan.systems[side].as_deref();
        row.body(plan.sides[side].as_str(), system, wanted.max_tokens, wanted.temperature)
    })
}

/// What is left to ask, and what that costs: left, right, judge.
async fn estimate(run: &Run, wanted: &Compare, plan: &Plan) -> Result<[Cost; 3], Failure> {
    let mut costs = [Cost::default(); 3];
    for row in &plan.rows {
        let bodies = bodies(wanted, plan, row);
        for (side, body) in bodies.iter().enumerate() {
            costs[side].add(run.cost("compare", row, body).await?);
        }
        let known = {
            let state = run.state.lock();
            bodies.each_ref().map(|body| {
                let key = run.key("compare", row, body);
                state.answered(&key).map(|kept| kept.answer.clone())
            })
        };
        let known = [known[0].as_ref(), known[1].as_ref()];
        costs[2].add(plan.judge.cost(run, row, known, wanted.max_tokens).await?);
    }
    Ok(costs)
}

/// Shows the cost and has it agreed to.
fn agreed(wanted: &Compare, plan: &Plan, costs: [Cost; 3]) -> Result<(), Failure> {
    let mut all = Cost::default();
    let names = [plan.names[0].clone(), plan.names[1].clone(), plan.judge.name()];
    for (name, cost) in names.iter().zip(costs) {
        all.add(cost);
        if cost.questions > 0 {
            let money = match cost {
                Cost { unpriced: 1.., .. } => "nobody knows at what price".to_owned(),
                Cost { most: 0, .. } => "at no price".to_owned(),
                Cost { most, likely, .. } => {
                    format!("probably ${}, at most ${}", NanoDollars(likely), NanoDollars(most))
                }
            };
            complain(format!("{name} is to be asked {} times, {money}", cost.questions));
        }
    }
    if all.unpriced > 0 && wanted.max_usd.is_some() {
        return Err(Failure::Usage("`--max-usd` cannot be held: a model has no price".into()));
    }
    if wanted.yes || (all.most == 0 && all.unpriced == 0) {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage("this costs money: say `--yes`, with `--max-usd` to set a limit".into()));
    }
    let _ = write!(std::io::stderr().lock(), "sluice: ask? [y/N] ");
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line).is_ok();
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" if read => Ok(()),
        _ => Err(Failure::Failed("nothing was asked".into())),
    }
}

/// A bar on standard error, or nothing where that is no terminal.
fn bar(rows: usize) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(rows as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{msg:>20} [{bar:40}] {pos}/{len} {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Asks and judges every row.
async fn ask(run: &Run, wanted: &Compare, plan: &Plan) -> Result<Vec<Outcome>, Failure> {
    let bar = bar(plan.rows.len());
    let ids: Vec<&str> = plan.rows.iter().map(|row| row.id.as_str()).collect();
    let first = first_sides(&ids);
    let rows = plan.rows.iter().zip(first).enumerate().map(|(at, (row, first))| {
        let bar = &bar;
        async move {
            let [left, right] = bodies(wanted, plan, row);
            // One after the other, in a drawn order: what changes meanwhile changes for both sides alike.
            let told = match first {
                Side::Left | Side::Tie => {
                    let told = run.ask("compare", row, &left).await?;
                    [told, run.ask("compare", row, &right).await?]
                }
                Side::Right => {
                    let told = run.ask("compare", row, &right).await?;
                    [run.ask("compare", row, &left).await?, told]
                }
            };
            let outcome = plan.judge.judge(run, at, row, told).await?;
            bar.set_message(format!("${} spent", run.purse.lock().spent()));
            bar.inc(1);
            Ok::<_, Failure>(outcome)
        }
    });
    let mut outcomes: Vec<Outcome> =
        futures::stream::iter(rows).buffer_unordered(usize::from(wanted.parallel)).try_collect().await?;
    bar.finish_and_clear();
    // The order of the file, not of arrival: two runs tell the same.
    outcomes.sort_by_key(|outcome| outcome.at);
    Ok(outcomes)
}

/// What a comparison came to.
pub(super) struct Summed {
    summary: Summary,
    /// Everything that the runs over this report cost, what is in doubt included.
    spent: NanoDollars,
    costs: [NanoDollars; 2],
    failed: [u64; 2],
    denied: u64,
    in_doubt: u64,
    not_asked: u64,
    /// Mean score, where a judge gives each side its own.
    scores: [Option<f64>; 2],
    /// Mean time of an answer in milliseconds.
    took: [Option<f64>; 2],
    versions: [Vec<String>; 2],
}

fn sum_up(run: &Run, plan: &Plan, outcomes: &[Outcome]) -> Summed {
    let judged: Vec<Judged> = outcomes.iter().filter_map(|outcome| outcome.judged(&plan.rows[outcome.at])).collect();
    let trust = plan.judge.needs_trust().then(|| {
        let ballots = outcomes.iter();
        Trust::of(ballots.filter_map(|outcome| Some((outcome.ballot.as_ref()?, plan.rows[outcome.at].human))))
    });
    let count =
        |side: usize, is: fn(&Told) -> bool| outcomes.iter().filter(|outcome| is(&outcome.told[side])).count() as u64;
    let both = |is: fn(&Told) -> bool| outcomes.iter().filter(|outcome| outcome.told.iter().any(is)).count() as u64;
    let kept = |side: usize| {
        outcomes.iter().filter_map(move |outcome| match &outcome.told[side] {
            Told::Answer(kept) => Some(kept),
            Told::Failed(_) | Told::Denied(_) | Told::InDoubt | Told::NotAsked => None,
        })
    };
    Summed {
        summary: Summary::of(plan.question, &judged, trust),
        spent: run.state.lock().spent(),
        costs: [0, 1].map(|side| NanoDollars(kept(side).filter_map(|kept| kept.cost_nd).sum())),
        failed: [0, 1].map(|side| count(side, |told| matches!(told, Told::Failed(_)))),
        denied: both(|told| matches!(told, Told::Denied(_))),
        in_doubt: both(|told| matches!(told, Told::InDoubt)),
        not_asked: both(|told| matches!(told, Told::NotAsked)),
        scores: [0, 1].map(|side| {
            let scores: Vec<f64> = outcomes.iter().filter_map(|outcome| Some(outcome.scores?[side])).collect();
            (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
        }),
        took: [0, 1].map(|side| {
            let times: Vec<u64> = kept(side).map(|kept| kept.took_ms).collect();
            (!times.is_empty()).then(|| times.iter().sum::<u64>() as f64 / times.len() as f64)
        }),
        versions: [0, 1].map(|side| {
            let mut versions: Vec<String> = kept(side).filter_map(|kept| kept.version.clone()).collect();
            versions.sort();
            versions.dedup();
            versions
        }),
    }
}

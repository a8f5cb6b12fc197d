//! `sluice serve`: start, run, drain.
//!
//! Start: configuration (64 on a bad one, before any port), ledger, listeners, models in the background. Drain on SIGTERM
//! or SIGINT: readiness fails at once, connections are still accepted for `timeouts.drain_delay`, then answers under way
//! have `timeouts.drain` to end, laggards get an error event, the ledger is closed; a second signal forces.

use super::{Failure, Setting};
use crate::assemble::{Ground, Parts, budget_specs, limit_specs};
use crate::config::{ProviderKind, Settings};
use crate::connects;
use crate::server::auth::KeyRing;
use crate::server::{App, Connections, bind, serve as serve_listeners};
use crate::telemetry::{Telemetry, start_logs};
use crate::upkeep;
use arc_swap::ArcSwap;
use router::ledger::Ledger;
use router::{Budgets, Keeper, Limits, Shared};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_appender::non_blocking::ErrorCounter;

/// Time for the last lines of what was cut.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Runs the gateway until it is told to stop.
pub fn serve(setting: &Setting) -> Result<(), Failure> {
    let settings = setting.load()?;
    check_engines(&settings)?;
    prepare_environment()?;
    // Held to the end: what waits is written when it is dropped.
    let (_log, dropped) = start_logs(&settings.telemetry);
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    warn_if_slow(&settings);
    let failed = |error: anyhow::Error| Failure::Failed(format!("{error:#}"));
    // Outside of async: the OTLP client blocks.
    let telemetry = Arc::new(Telemetry::start(&settings.telemetry).map_err(failed)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))?;
    let done = runtime.block_on(run(setting, settings, telemetry.clone(), dropped));
    runtime.shutdown_timeout(LAST_LINES);
    telemetry.shutdown();
    done
}

async fn run(
    setting: &Setting,
    settings: Settings,
    telemetry: Arc<Telemetry>,
    dropped_lines: ErrorCounter,
) -> Result<(), Failure> {
    let failed = |error: anyhow::Error| Failure::Failed(format!("{error:#}"));
    let listeners = bind(&settings.server).await.map_err(Failure::Failed)?;
    if let Some(folder) = settings.ledger.place.file().and_then(Path::parent) {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::Failed(format!("cannot make the ledger's folder: {error}")))?;
    }
    let keys = super::evidence::keys(&settings)?;
    let (ledger, recovered) = Ledger::start_with(&settings.ledger.place, settings.ledger.durability, keys)?;
    connects::at_start(&ledger, &settings);
    if recovered > 0 {
        tracing::warn!(attempts = recovered, "attempts of an earlier life were charged at their ceiling");
    }
    let keys = KeyRing::start(&ledger)?;
    let named = upkeep::named(&keys.all());
    let specs = budget_specs(&settings, &named);
    let no_thread = |error: std::io::Error| Failure::Failed(format!("cannot start a thread: {error}"));
    let limits = limit_specs(&settings, &named);
    let (keeper, limits) = match &settings.replicas {
        None => (Keeper::Alone, Limits::new(&limits)),
        Some(spec) => {
            let shared = Shared::start(spec.clone()).map_err(no_thread)?;
            let limits = Limits::shared(&limits, &shared).map_err(no_thread)?;
            (Keeper::Shared(shared), limits)
        }
    };
    let budgets = Budgets::kept_by(keeper, ledger.clone(), specs, jiff::Timestamp::now())?;
    if !budgets.renew().await {
        tracing::warn!("nothing is spent before the store that replicas share lets this one in");
    }
    let tasks = TaskTracker::new();
    let ground = Ground {
        parts: Arc::new(Parts::default()),
        ledger: ledger.clone(),
        budgets,
        observer: telemetry.clone(),
        tasks: tasks.clone(),
    };
    let router = ground.router(&settings).map_err(failed)?;
    if keys.all().is_empty() && !settings.server.listen.ip().is_loopback() {
        tracing::warn!("no key is configured, so only this machine itself is served: see `sluice keys create`");
    }
    let app = Arc::new(App {
        router: ArcSwap::from_pointee(router),
        limits,
        in_flight: Arc::new(Semaphore::new(settings.in_flight)),
        most_in_flight: settings.in_flight,
        connections: Connections::up_to(settings.connections),
        refusing: Arc::new(Semaphore::new(crate::server::REFUSING)),
        settings: ArcSwap::from_pointee(settings),
        ledger: ledger.clone(),
        keys,
        telemetry,
        tasks: tasks.clone(),
        draining: CancellationToken::new(),
        cut: CancellationToken::new(),
        client_ids: parking_lot::Mutex::default(),
        kept: Arc::default(),
        started: jiff::Timestamp::now(),
    });
    app.telemetry.watch(&app, dropped_lines);
    for (name, listener) in [("data", &listeners.data), ("admin", &listeners.admin)] {
        if let Ok(address) = listener.local_addr() {
            tracing::info!(listener = name, address = %address, "listening");
        }
    }
    upkeep::start(&app, ground.clone(), setting.config.clone(), listeners.tls.clone());
    let ended = CancellationToken::new();
    upkeep::live(&app, &ground, &ended);

    let (stop, force) = (CancellationToken::new(), CancellationToken::new());
    // Awaited below, whatever happens.
    let serving = tasks.spawn(serve_listeners(app.clone(), listeners, stop.clone(), force.clone()));
    drain(&app, serving, &stop, &force).await?;

    for backend in ground.parts.backends() {
        backend.shutdown().await;
    }
    ended.cancel();
    tasks.close();
    // Lines of cut streams are still on their way.
    let _ = tokio::time::timeout(LAST_LINES, tasks.wait()).await;
    ledger.shutdown().await?;
    tracing::info!("stopped");
    Ok(())
}

async fn drain(
    app: &Arc<App>,
    mut serving: tokio::task::JoinHandle<()>,
    stop: &CancellationToken,
    force: &CancellationToken,
) -> Result<(), Failure> {
    let signals = |kind| signal(kind).map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")));
    let mut term = signals(SignalKind::terminate())?;
    let mut interrupt = signals(SignalKind::interrupt())?;
    tokio::select! {
        () = told(&mut term, &mut interrupt) => {}
        ended = &mut serving => {
            return ended.map_err(|error| Failure::Failed(format!("the listeners ended: {error}")));
        }
    }
    let timeouts = app.settings.load().timeouts;
    tracing::info!("draining");
    app.draining.cancel();
    let orderly = async {
        tokio::time::sleep(timeouts.drain_delay).await;
        stop.cancel();
        if tokio::time::timeout(timeouts.drain, &mut serving).await.is_err() {
            tracing::warn!("time is over: what still runs is cut");
            app.cut.cancel();
            // Each laggard gets its error event.
            if tokio::time::timeout(LAST_LINES, &mut serving).await.is_err() {
                force.cancel();
            }
        }
    };
    tokio::select! {
        () = orderly => {}
        () = told(&mut term, &mut interrupt) => {
            tracing::warn!("told twice: stopping at once");
            app.cut.cancel();
            stop.cancel();
            force.cancel();
        }
    }
    Ok(())
}

async fn told(term: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// A model path that is not there is an error of the configuration; one that cannot be read shows in readiness.
#[cfg(feature = "local")]
pub fn check_engines(settings: &Settings) -> Result<(), Failure> {
    use adapters::local::{SpecError, validate};
    for provider in &settings.providers {
        let ProviderKind::Engine(engine) = &provider.kind else { continue };
        let at = &provider.name;
        let spec = crate::engine::spec(provider, engine)
            .map_err(|error| Failure::Usage(format!("`providers.{at}`: {error}")))?;
        match validate(&spec) {
            Ok(()) => {}
            Err(
                error @ (SpecError::NotFound(_)
                | SpecError::Absent
                | SpecError::Adapter(_)
                | SpecError::Zero(_)
                | SpecError::Concurrency),
            ) => {
                return Err(Failure::Usage(format!("`providers.{at}.source`: {error}")));
            }
            Err(error @ SpecError::Model(_)) => super::complain(format!("provider `{at}`: {error}")),
        }
    }
    Ok(())
}

/// Built without the engine: a provider that needs it is an error of the configuration.
#[cfg(not(feature = "local"))]
pub fn check_engines(settings: &Settings) -> Result<(), Failure> {
    match settings.providers.iter().find(|provider| matches!(provider.kind, ProviderKind::Engine(_))) {
        None => Ok(()),
        Some(provider) => {
            Err(Failure::Usage(format!("`providers.{}`: this program was built without the engine", provider.name)))
        }
    }
}

/// Says so when the engine's kernels were built without SIMD.
#[cfg(feature = "local")]
fn warn_if_slow(settings: &Settings) {
    let engine = settings.providers.iter().any(|provider| provider.is_engine());
    if engine && !adapters::local::built_for_speed() {
        tracing::warn!(
            "built without AVX2 or NEON: the local model is three to four times slower (docs/local-speed.md)"
        );
    }
}

#[cfg(not(feature = "local"))]
fn warn_if_slow(_settings: &Settings) {}

/// Sets what candle and rayon read once, by executing this program again with the variables set.
#[cfg(feature = "local")]
pub fn prepare_environment() -> Result<(), Failure> {
    use std::os::unix::process::CommandExt;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let environment = crate::config::Environment;
    let missing: Vec<_> =
        adapters::local::environment(cores).into_iter().filter(|(name, _)| !environment.has(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let program = std::env::current_exe().map_err(|error| Failure::Failed(format!("cannot find myself: {error}")))?;
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).envs(missing).exec();
    Err(Failure::Failed(format!("cannot start again with the engine's variables: {error}")))
}

#[cfg(not(feature = "local"))]
pub fn prepare_environment() -> Result<(), Failure> {
    Ok(())
}

//! What runs beside the requests: keys are read again, the configuration reloaded, the ledger pruned.

use crate::assemble::{Ground, budget_specs, limit_specs};
use crate::config::{self, Environment};
use crate::roll_out;
use crate::server::{App, Certificates};
use crate::training;
use router::ledger::KeyRecord;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Keys made or revoked elsewhere count within a second.
const KEYS: Duration = Duration::from_millis(400);
/// How often the file is looked at.
const FILE: Duration = Duration::from_secs(1);
/// How often a new evidence key is looked for, and what has no checkpoint yet gets one.
const CHECKPOINT: Duration = Duration::from_secs(60);
/// How often this process says on a shared ledger that it lives; also how soon a ledger that could not be reached is tried
/// again.
const BEAT: Duration = Duration::from_secs(1);
/// How often the ledger is pruned.
const PRUNE: Duration = Duration::from_secs(3_600);

/// Reads the keys again and, if they changed, their limits and budgets.
pub fn refresh_keys(app: &App) {
    match app.keys.refresh(&app.ledger) {
        Ok(true) => {
            let settings = app.settings.load();
            let keys = named(&app.keys.all());
            app.limits.configure(&limit_specs(&settings, &keys));
            let specs = budget_specs(&settings, &keys);
            if let Err(error) = app.router.load().budgets().configure(specs, jiff::Timestamp::now()) {
                tracing::error!(error = %error, "cannot take over the keys' budgets");
            }
        }
        Ok(false) => {}
        Err(error) => tracing::error!(error = %error, "cannot read the keys"),
    }
}

/// Keys by id.
pub fn named(keys: &[KeyRecord]) -> Vec<(String, router::ledger::NewKey)> {
    keys.iter().map(|key| (key.id.as_str().to_owned(), key.key.clone())).collect()
}

/// Says that this process lives, until `ended`: also while it drains, because its streams still run.
pub fn live(app: &Arc<App>, ground: &Ground, ended: &CancellationToken) {
    app.tasks.spawn(ground.budgets.clone().keep(ended.clone()));
    let (living, ended) = (app.clone(), ended.clone());
    app.tasks.spawn(async move {
        let mut tick = interval(BEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                _ = tick.tick() => {
                    // A failure is in the log and in the readiness already.
                    let _ = living.ledger.beat().await;
                }
            }
        }
    });
}

/// Starts everything else; it ends with the app's drain.
pub fn start(app: &Arc<App>, ground: Ground, config: PathBuf, certificates: Certificates) {
    let renewed = app.clone();
    app.tasks.spawn(async move {
        let tls: Vec<_> = [certificates.data, certificates.admin].into_iter().flatten().collect();
        let mut tick = interval(FILE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !tls.is_empty() {
            tokio::select! {
                () = renewed.draining.cancelled() => return,
                _ = tick.tick() => tls.iter().for_each(|tls| tls.refresh()),
            }
        }
    });
    let watched = app.clone();
    app.tasks.spawn(async move {
        let mut tick = interval(KEYS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = watched.draining.cancelled() => return,
                _ = tick.tick() => refresh_keys(&watched),
            }
        }
    });
    let pruned = app.clone();
    app.tasks.spawn(async move {
        let mut tick = interval(PRUNE);
        loop {
            tokio::select! {
                () = pruned.draining.cancelled() => return,
                _ = tick.tick() => {
                    let retention = pruned.settings.load().ledger.retention;
                    if let Err(error) = pruned.ledger.prune(retention).await {
                        tracing::warn!(error = %error, "cannot prune the ledger");
                    }
                    let keep = pruned.settings.load().evidence_keep;
                    if let Err(error) = pruned.ledger.prune_evidence(keep).await {
                        tracing::warn!(error = %error, "cannot prune the evidence log");
                    }
                }
            }
        }
    });
    let signed = app.clone();
    app.tasks.spawn(async move {
        let mut tick = interval(CHECKPOINT);
        loop {
            tokio::select! {
                () = signed.draining.cancelled() => return,
                _ = tick.tick() => {
                    if let Err(error) = signed.ledger.checkpoint().await {
                        tracing::warn!(error = %error, "the evidence log has no new checkpoint");
                    }
                }
            }
        }
    });
    app.tasks.spawn(training::keep(app.clone(), config.clone()));
    let reloaded = app.clone();
    app.tasks.spawn(async move { watch(reloaded, ground, config).await });
}

async fn watch(app: Arc<App>, ground: Ground, config: PathBuf) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::warn!(error = %error, "cannot listen for SIGHUP: changes of the file are still noticed");
            return;
        }
    };
    // The file and what it names: a head that is trained anew and a new price table are taken over, too.
    let changed = || -> Option<Vec<(PathBuf, SystemTime)>> {
        let settings = app.settings.load();
        let files = std::iter::once(&config).chain(&settings.router.head_files).chain(&settings.prices.file);
        let stamped =
            |file: &PathBuf| Some((file.clone(), std::fs::metadata(file).and_then(|meta| meta.modified()).ok()?));
        files.map(stamped).collect()
    };
    let mut known = changed();
    let mut heads = roll_out::Watch::default();
    let mut tick = interval(FILE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = app.draining.cancelled() => return,
            _ = hangup.recv() => known = changed(),
            _ = tick.tick() => {
                heads.look(&app, &ground).await;
                let now = changed();
                // A file that is being replaced may be missing for a moment.
                if now.is_none() || now == known {
                    continue;
                }
                known = now;
            }
        }
        reload(&app, &ground, &config);
        heads.forget();
        // Other heads may be named now; of the others a change since then must still be noticed.
        let then = known.unwrap_or_default();
        let stamp = |(file, now): (PathBuf, SystemTime)| {
            let before = then.iter().find(|(known, _)| *known == file).map(|(_, before)| *before);
            (file, before.unwrap_or(now))
        };
        known = changed().map(|files| files.into_iter().map(stamp).collect());
    }
}

/// Takes over a changed file; a bad one is reported and the old configuration stays.
fn reload(app: &App, ground: &Ground, path: &std::path::Path) {
    let settings = match config::load(path, &Environment) {
        Ok(settings) => settings,
        Err(error) => {
            tracing::error!(error = %error, "the changed configuration is refused, the old one stays");
            return;
        }
    };
    let router = match ground.router(&settings) {
        Ok(router) => router,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the changed configuration is refused, the old one stays");
            return;
        }
    };
    let keys = named(&app.keys.all());
    let specs = budget_specs(&settings, &keys);
    if let Err(error) = ground.budgets.configure(specs, jiff::Timestamp::now()) {
        tracing::error!(error = %error, "the changed budgets cannot be taken over, the old configuration stays");
        return;
    }
    app.limits.configure(&limit_specs(&settings, &keys));
    app.router.store(Arc::new(router));
    app.settings.store(Arc::new(settings));
    tracing::info!("configuration reloaded; addresses, limits and the ledger's place count after a restart");
}

//! What runs beside the requests: keys are read again, the configuration reloaded, the ledger pruned.

use crate::assemble::{Ground, budget_specs, limit_specs};
use crate::config::{self, Environment};
use crate::roll_out;
use crate::server::{App, Certificates};
use crate::training;
use router::ledger::KeyRecord;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Keys made or revoked elsewhere count within a second.
const KEYS: Duration = Duration::from_millis(400);
/// How often the file is looked at.
const FILE: Duration = Duration::from_secs(1);
/// Looks after which a configuration that was refused is tried again: what it names may be there now.
const AGAIN: u32 = 5;
/// How often a new evidence key is looked for, and what has no checkpoint yet gets one.
const CHECKPOINT: Duration = Duration::from_secs(60);
/// How often this process says on a shared ledger that it lives; also how soon a ledger that could not be reached is tried
/// again.
const BEAT: Duration = Duration::from_secs(1);
/// How often hours that are over are looked for, to be summed.
const SUM: Duration = Duration::from_secs(60);
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
    let summed = app.clone();
    app.tasks.spawn(async move {
        let mut tick = interval(SUM);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = summed.draining.cancelled() => return,
                _ = tick.tick() => {}
            }
            let now = jiff::Timestamp::now().as_microsecond();
            tokio::select! {
                () = summed.draining.cancelled() => return,
                done = summed.ledger.sum_hours(now) => if let Err(error) = done {
                    tracing::warn!(error = %error, "hours of the ledger cannot be summed: what asks for them reads their lines");
                },
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
    let mut files = Files::of(named_files(&app, &config));
    let mut refused = Refused::default();
    let mut heads = roll_out::Watch::default();
    let mut tick = interval(FILE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = app.draining.cancelled() => return,
            _ = hangup.recv() => {
                files.look();
                // Whoever asks is told, also what was told before.
                refused = Refused::default();
            }
            _ = tick.tick() => {
                heads.look(&app, &ground).await;
                // What was refused may only have lacked what is there now.
                if !files.look() && !refused.is_due() {
                    continue;
                }
            }
        }
        let done = reload(&app, &ground, &config);
        refused.tell(&done);
        if done.is_ok() {
            heads.forget();
            files.follow(named_files(&app, &config));
        }
    }
}

/// The file and what it names: a head that is trained anew and a new price table are taken over, too.
fn named_files(app: &App, config: &Path) -> Vec<PathBuf> {
    let settings = app.settings.load();
    let named = settings.router.head_files.iter().chain(&settings.prices.file).cloned();
    std::iter::once(config.to_owned()).chain(named).collect()
}

/// Files that are watched, each as it was last taken note of.
///
/// A file that is gone stops nobody: it is named in the log, what was read of it stays in force, and changes of the others are
/// noticed. When it is there again, that is a change.
struct Files(Vec<File>);

struct File {
    path: PathBuf,
    /// When it was changed; `None`: it is not there.
    changed: Option<SystemTime>,
    /// It was not there at the last look. One that is being replaced may be missing for a moment.
    missed: bool,
    /// It is gone, and was named in the log.
    named: bool,
}

// === impl Files ===

impl Files {
    fn of(paths: Vec<PathBuf>) -> Self {
        Self(paths.into_iter().map(File::of).collect())
    }

    /// Looks at all of them; says whether one has other content, or is there again.
    fn look(&mut self) -> bool {
        let now: Vec<Option<SystemTime>> = self.0.iter().map(|file| stamp(&file.path)).collect();
        let (mut changed, mut in_passing) = (false, false);
        for (file, now) in self.0.iter_mut().zip(&now) {
            if now.is_some() {
                (file.missed, file.named) = (false, false);
            } else if file.named {
                // It is as it was.
            } else if std::mem::replace(&mut file.missed, true) {
                let path = file.path.display();
                tracing::error!(file = %path, "a file that the configuration names is gone: what was read of it stays in force until it is there again");
                file.named = true;
            } else {
                in_passing = true;
            }
        }
        // A reload would be refused for what comes back in a moment.
        if !in_passing {
            for (file, now) in self.0.iter_mut().zip(now) {
                changed |= now.is_some() && now != file.changed;
                file.changed = now;
            }
        }
        changed
    }

    /// Watches these from now on. What is among them already keeps its time, so that a change since the last look is noticed.
    fn follow(&mut self, paths: Vec<PathBuf>) {
        let mut known = std::mem::take(&mut self.0);
        let place = |known: &[File], path: &Path| known.iter().position(|file| file.path == *path);
        for path in paths {
            let file = place(&known, &path).map(|at| known.swap_remove(at));
            self.0.push(file.unwrap_or_else(|| File::of(path)));
        }
    }
}

impl File {
    fn of(path: PathBuf) -> Self {
        Self { changed: stamp(&path), path, missed: false, named: false }
    }
}

fn stamp(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

/// Why a configuration is not taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    what: &'static str,
    why: String,
}

/// The configuration that was refused last, as long as none was taken over since.
#[derive(Debug, Default)]
struct Refused {
    last: Option<Refusal>,
    looks: u32,
}

// === impl Refused ===

impl Refused {
    /// Whether it is time to try it again.
    fn is_due(&mut self) -> bool {
        self.looks += 1;
        self.last.is_some() && self.looks.is_multiple_of(AGAIN)
    }

    /// Puts the outcome in the log; the same refusal once.
    fn tell(&mut self, done: &Result<(), Refusal>) {
        match done {
            Ok(()) => {
                tracing::info!(
                    "configuration reloaded; addresses, limits and the ledger's place count after a restart"
                );
            }
            Err(refusal) if self.last.as_ref() == Some(refusal) => {}
            Err(Refusal { what, why }) => tracing::error!(error = %why, "{what}"),
        }
        self.last = done.as_ref().err().cloned();
    }
}

/// Takes over a changed file; where it is a bad one the old configuration stays.
fn reload(app: &App, ground: &Ground, path: &Path) -> Result<(), Refusal> {
    let refused = |why: String| Refusal { what: "the changed configuration is refused, the old one stays", why };
    let settings = config::load(path, &Environment).map_err(|error| refused(error.to_string()))?;
    let router = ground.router(&settings).map_err(|error| refused(format!("{error:#}")))?;
    let keys = named(&app.keys.all());
    let specs = budget_specs(&settings, &keys);
    ground.budgets.configure(specs, jiff::Timestamp::now()).map_err(|error| Refusal {
        what: "the changed budgets cannot be taken over, the old configuration stays",
        why: error.to_string(),
    })?;
    app.limits.configure(&limit_specs(&settings, &keys));
    app.router.store(Arc::new(router));
    app.settings.store(Arc::new(settings));
    Ok(())
}

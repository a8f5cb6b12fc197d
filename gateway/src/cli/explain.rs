//! `sluice explain`: the decision for a request, without asking anybody.

use super::{Failure, Setting, say};
use crate::assemble::{Ground, Parts, budget_specs};
use crate::config::Settings;
use crate::upkeep;
use adapters::wire::WireRequest;
use policies::{Endpoint, Location, Principal, RequestId, RouteWish};
use router::ledger::{Ledger, Place};
use router::{Ask, Budgets, Keeper, Silent};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Shows the decision for a chat request; nothing is dialled, nothing charged.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The request; `-` or nothing reads standard input.
    file: Option<PathBuf>,
    /// As the header `x-sluice-route`.
    #[arg(long, value_parser = ["local", "hosted", "auto"])]
    route: Option<String>,
    /// As the header `x-sluice-data-class`.
    #[arg(long)]
    data_class: Option<String>,
    /// As the header `x-sluice-tags`: `a=b`, repeatable.
    #[arg(long = "tag")]
    tags: Vec<String>,
}

/// Shows the decision for a request.
pub fn explain(setting: &Setting, wanted: &Explain) -> Result<(), Failure> {
    let settings = setting.load()?;
    let body = match &wanted.file {
        Some(path) if path.as_os_str() != "-" => {
            std::fs::read(path).map_err(|error| Failure::Usage(format!("cannot read `{}`: {error}", path.display())))?
        }
        Some(_) | None => {
            let mut body = Vec::new();
            std::io::stdin()
                .lock()
                .take(settings.body_bytes + 1)
                .read_to_end(&mut body)
                .map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
            body
        }
    };
    let request = WireRequest::parse(Endpoint::Chat, body.into()).map_err(|error| Failure::Usage(error.message))?;
    let mut tags = Vec::new();
    for tag in &wanted.tags {
        let Some((key, value)) = tag.split_once('=') else {
            return Err(Failure::Usage(format!("`--tag {tag}`: write a=b")));
        };
        tags.push((key.to_owned(), value.to_owned()));
    }
    tags.sort();
    let wish = match wanted.route.as_deref() {
        Some("local") => RouteWish::Local,
        Some("hosted") => RouteWish::Hosted,
        _ => RouteWish::Auto,
    };
    let ask = Ask { wish, ..asked(request, wanted.data_class.clone(), tags) };
    let explained = decide(settings, &ask)?;
    if setting.json {
        say(explained);
    } else {
        tell(&serde_json::from_str(&explained).map_err(|error| Failure::Failed(error.to_string()))?);
    }
    Ok(())
}

/// A request that no client sent.
pub(super) fn asked(request: WireRequest, class: Option<String>, tags: Vec<(String, String)>) -> Ask {
    Ask {
        id: RequestId::from_uuid(uuid::Uuid::now_v7()),
        request: Arc::new(request),
        principal: Principal::default(),
        wish: RouteWish::Auto,
        class,
        session: None,
        tags,
        traceparent: None,
        received: Instant::now(),
        charge: None,
        looked: router::Looked::default(),
    }
}

/// Decides with the models taken as ready: a command that loads no model cannot know better, and says so.
fn decide(settings: Settings, ask: &Ask) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    let scratch = std::env::temp_dir().join(format!("sluice-explain-{}.db", uuid::Uuid::new_v4()));
    let place = match &settings.ledger.place {
        // Nothing was served yet: a decision needs an empty ledger, and asking makes none.
        Place::File(path) if !path.is_file() => Place::File(scratch.clone()),
        place @ (Place::File(_) | Place::Server(_)) => place.clone(),
    };
    let explained = runtime.block_on(async {
        let ledger = Ledger::attach(place)?;
        let keys = ledger.keys()?;
        let specs = budget_specs(&settings, &upkeep::named(&keys));
        let budgets = Budgets::kept_by(Keeper::Onlooker, ledger.clone(), specs, jiff::Timestamp::now())?;
        let ground = Ground {
            parts: Arc::new(Parts::assumed_ready()),
            ledger: ledger.clone(),
            budgets,
            observer: Arc::new(Silent),
            tasks: TaskTracker::new(),
        };
        let router = ground.router(&settings).map_err(|error| Failure::Failed(format!("{error:#}")))?;
        let explained = router.explain(ask).await.map_err(|by| Failure::Usage(crate::server::denied_text(&by)))?;
        ledger.shutdown().await?;
        Ok(explained)
    });
    remove_scratch(&scratch);
    explained
}

/// Removes an empty ledger that a decision needed.
pub(super) fn remove_scratch(scratch: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = scratch.as_os_str().to_owned();
        name.push(suffix);
        // Usually not there.
        let _ = std::fs::remove_file(name);
    }
}

fn tell(explained: &Value) {
    let text = |key: &str| explained[key].as_str().unwrap_or("-").to_owned();
    let place = Location::Local.word().len().max(Location::Hosted.word().len());
    match explained["refusal"]["message"].as_str() {
        Some(message) => say(format!("refused by {}: {message}", text("reason"))),
        None => say(format!("{:place$} {} because of {}", text("route"), text("model"), text("reason"))),
    }
    if let Some(score) = explained["score"].as_f64() {
        let threshold = explained["threshold"]
            .as_f64()
            .map_or("none for now: no score is high enough".into(), |threshold| format!("{threshold:.4}"));
        say(format!("score {score:.4}, threshold {threshold}"));
    }
    for finding in explained["facts"]["detected"].as_array().into_iter().flatten() {
        let word = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let variety = finding["variety"].as_str().map(|variety| format!(" ({variety})")).unwrap_or_default();
        say(format!("  found {} {}{variety}: {}", finding["count"], word("kind"), word("class")));
    }
    for masked in explained["facts"]["masked"]["kinds"].as_array().into_iter().flatten() {
        say(format!("  masked {} {}", masked["count"], masked["kind"].as_str().unwrap_or_default()));
    }
    for candidate in explained["candidates"].as_array().into_iter().flatten() {
        let verdict = match candidate["refused_because"].as_str() {
            Some(because) => format!("refused by {}: {because}", candidate["refused_by"].as_str().unwrap_or("-")),
            None if candidate["masked"] == true => format!("rank {}, masked", candidate["rank"]),
            None => format!("rank {}", candidate["rank"]),
        };
        say(format!(
            "  {} ({}): {verdict}",
            candidate["model"].as_str().unwrap_or("-"),
            candidate["route"].as_str().unwrap_or("-")
        ));
    }
}

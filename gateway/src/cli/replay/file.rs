//! Requests from a file: decided as the gateway decides, and answered where that is wanted.

use super::{Outcome, dollars};
use crate::cli::{Failure, classifier, complain, explain, say};
use adapters::wire::WireRequest;
use indicatif::ProgressBar;
use policies::{Endpoint, Location, ModelName, NanoDollars, Readiness, Usage};
use router::compare::Purse;
use router::replay::{Decided, Replayed, Unknown, Verdict};
use router::{Ask, DeniedBy, Router, SideFailure, Spent};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Duration;

/// The purpose of answers on the ledger.
const PURPOSE: &str = "replay";

/// A line as it is typed; other fields are let pass.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    request: Option<Map<String, Value>>,
    #[serde(default)]
    messages: Option<Value>,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    data_class: Option<String>,
    #[serde(default)]
    tags: Map<String, Value>,
    #[serde(default)]
    route: Option<Location>,
    #[serde(default)]
    model: Option<ModelName>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    cost_usd: Option<String>,
}

/// A request with what is known of its earlier answer.
pub struct Row {
    id: String,
    body: Map<String, Value>,
    ask: Ask,
    then: Decided,
    /// Whether the file says anything of an earlier answer.
    told: bool,
    usage: Option<Usage>,
}

/// What answering came to.
#[derive(Debug, Default)]
pub struct Ran {
    rows: Vec<Value>,
    answered: u64,
    failed: u64,
    refused: u64,
    /// The money was over.
    unasked: u64,
    unpriced: u64,
    cost: NanoDollars,
    /// The part of the cost that is set aside in full, because how its answers ended could not be written.
    doubtful: NanoDollars,
}

/// Answers are being asked for.
pub(super) struct Running {
    ran: Ran,
    purse: Purse,
    bar: ProgressBar,
    /// Where answers go as they come.
    out: Option<File>,
}

/// Why a request has no answer.
enum Missed {
    /// That one.
    This(String),
    /// And none after it, because nothing may be spent that cannot be kept.
    AllFromHere(String),
}

// === impl Row ===

impl Row {
    fn read(number: usize, text: &str) -> Result<Self, String> {
        let line: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let id = match line.id {
            None | Some(Value::Null) => format!("line-{number}"),
            Some(Value::String(id)) => id,
            Some(other) => other.to_string(),
        };
        let mut body = match (line.request, line.messages, line.prompt) {
            (Some(request), None, None) => request,
            (None, Some(messages), None) => Map::from_iter([("messages".to_owned(), messages)]),
            (None, None, Some(prompt)) => {
                Map::from_iter([("messages".to_owned(), json!([{"role": "user", "content": prompt}]))])
            }
            (None, None, None) => return Err("`request`, `messages` or `prompt` is missing".into()),
            (_, _, _) => return Err("`request`, `messages` and `prompt` say the same: give one of them".into()),
        };
        body.entry("model").or_insert_with(|| "auto".into());
        // What is asked is read whole.
        body.remove("stream");
        body.remove("stream_options");
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut tags: Vec<(String, String)> = line.tags.into_iter().map(|(key, value)| (key, text(value))).collect();
        tags.sort();
        let cost = line.cost_usd.as_deref().map(NanoDollars::parse).transpose();
        let told = line.model.is_some() || line.route.is_some();
        let then = Decided {
            route: line.route,
            model: line.model,
            reason: line.reason.unwrap_or_default(),
            cost_usd: cost.map_err(|error| format!("`cost_usd`: {error}"))?,
        };
        let usage = line.input_tokens.zip(line.output_tokens).map(|(input, output)| Usage::plain(input, output));
        let ask = asked(&body, line.data_class, tags)?;
        Ok(Self { id, body, ask, then, told, usage })
    }
}

fn asked(body: &Map<String, Value>, class: Option<String>, tags: Vec<(String, String)>) -> Result<Ask, String> {
    let request = WireRequest::parse(Endpoint::Chat, Value::Object(body.clone()).to_string().into())
        .map_err(|error| error.message)?;
    Ok(explain::asked(request, class, tags))
}

/// Reads the requests of a file; all of it is read before anything is asked.
///
/// # Errors
/// A line that is no request, by its number.
pub fn read(path: &Path) -> Result<Vec<Row>, Failure> {
    let cannot = |error: std::io::Error| Failure::Usage(format!("cannot read `{}`: {error}", path.display()));
    let file = std::io::BufReader::new(std::fs::File::open(path).map_err(cannot)?);
    let mut rows = Vec::new();
    for (at, line) in file.lines().enumerate() {
        let line = line.map_err(cannot)?;
        if !line.trim().is_empty() {
            let row = Row::read(at + 1, &line);
            rows.push(row.map_err(|why| Failure::Usage(format!("{}:{}: {why}", path.display(), at + 1)))?);
        }
    }
    if rows.is_empty() {
        return Err(Failure::Usage(format!("`{}` has no request", path.display())));
    }
    Ok(rows)
}

/// Waits until what is loading has loaded, or failed.
async fn ready(router: &Router) {
    for model in router.fleet().models() {
        while model.provider.backend.readiness() == Readiness::Loading {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Decides on each request and, where money is given for it, answers it.
///
/// Once answers are asked for every failure is one of the outcome: what was spent until then has to be told.
pub(super) async fn decide(router: &Router, rows: Vec<Row>, mut running: Option<Running>) -> Result<Outcome, Failure> {
    if running.is_some() {
        ready(router).await;
    }
    let of = rows.len();
    let (mut replayed, mut failed) = (Vec::with_capacity(of), None);
    for row in rows {
        let spent = row.usage.map(|usage| Spent { model: row.then.model.as_ref().map(ModelName::as_str), usage });
        let mut now = match router.replay_whole(&row.ask, spent).await {
            Ok(now) => now,
            Err(DeniedBy::UnknownModel(_)) => Verdict::Unknown(Unknown::UnknownModel),
            Err(DeniedBy::UnknownClass(_)) => Verdict::Unknown(Unknown::UnknownClass),
            Err(by @ (DeniedBy::Refusal(_) | DeniedBy::Backend(_) | DeniedBy::Ledger(_))) => {
                failed = Some(crate::server::denied_text(&by));
                break;
            }
        };
        if let (Some(running), Verdict::Decided { decided, .. }) = (&mut running, &mut now) {
            failed = running.answer(router, &row, decided).await.err();
        }
        // Of a request that nobody says anything of there is nothing to compare with: it is as it is decided.
        let then = match (row.told, &now) {
            (false, Verdict::Decided { decided, .. }) => Decided { cost_usd: row.then.cost_usd, ..decided.clone() },
            (_, _) => row.then,
        };
        replayed.push(Replayed { id: row.id, then, now });
        if failed.is_some() {
            break;
        }
    }
    let run = running.map(Running::end);
    let spent = run.as_ref().map(|ran| format!("; {}", ran.spent())).unwrap_or_default();
    let at = replayed.len();
    let failed = failed.map(|why| format!("{why}: ended at request {at} of {of}{spent}"));
    Ok(Outcome { replayed, run, failed })
}

// === impl Running ===

impl Running {
    /// Answers may cost `most`; each goes to `out` as it comes.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(super) fn begin(most: NanoDollars, out: Option<&Path>, rows: usize) -> Result<Self, Failure> {
        let made = |path: &Path| {
            File::create(path).map_err(|error| Failure::Usage(format!("cannot write `{}`: {error}", path.display())))
        };
        let out = out.map(made).transpose()?;
        let bar = classifier::bar();
        bar.set_length(rows as u64);
        bar.set_message("$0");
        Ok(Self { ran: Ran::default(), purse: Purse::new(Some(most), NanoDollars::ZERO), bar, out })
    }

    fn end(self) -> Ran {
        self.bar.finish_and_clear();
        Ran { cost: self.purse.spent(), ..self.ran }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Why no other one may be asked.
    async fn answer(&mut self, router: &Router, row: &Row, decided: &mut Decided) -> Result<(), String> {
        self.bar.inc(1);
        let Some(model) = decided.model.clone() else {
            self.ran.refused += 1;
            return Ok(());
        };
        let mut body = row.body.clone();
        body.insert("model".into(), model.as_str().into());
        let answered = match asked(&body, row.ask.class.clone(), row.ask.tags.clone()) {
            Ok(ask) => self.ran.ask(router, &ask, decided, &mut self.purse).await,
            Err(why) => Err(Missed::This(why)),
        };
        self.bar.set_message(format!("${}", self.purse.spent()));
        let mut shown = json!({"id": row.id, "model": model});
        let mut last = Ok(());
        match answered {
            Ok(more) => {
                if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
                    shown.extend(more);
                }
            }
            Err(missed) => {
                let (Missed::This(why) | Missed::AllFromHere(why)) = &missed;
                self.bar.suspend(|| complain(format!("{}: {why}", row.id)));
                shown["error"] = why.as_str().into();
                if let Missed::AllFromHere(why) = missed {
                    last = Err(why);
                }
            }
        }
        if let Some(out) = &mut self.out {
            // Each line with one write: what was paid for is there, whatever comes.
            let written = out.write_all(format!("{shown}\n").as_bytes());
            last = last.and(written.map_err(|error| format!("an answer cannot be written: {error}")));
        }
        self.ran.rows.push(shown);
        last
    }
}

// === impl Ran ===

impl Ran {
    async fn ask(
        &mut self,
        router: &Router,
        ask: &Ask,
        decided: &mut Decided,
        purse: &mut Purse,
    ) -> Result<Value, Missed> {
        let denied = |by: &DeniedBy| {
            let why = crate::server::denied_text(by);
            if matches!(by, DeniedBy::Ledger(_)) { Missed::AllFromHere(why) } else { Missed::This(why) }
        };
        let side = match router.side(ask).await {
            Ok(side) => side,
            Err(by) => {
                self.refused += 1;
                return Err(denied(&by));
            }
        };
        let Some(most) = side.ceiling() else {
            // Nobody knows what it costs, so that no limit could be held.
            self.unpriced += 1;
            return Err(Missed::This("the model has no price, and money is limited".into()));
        };
        if !purse.take(most) {
            self.unasked += 1;
            return Err(Missed::This(format!("it may cost ${most}, which is more than is left of --max-usd")));
        }
        match side.answer(PURPOSE).await {
            Ok(said) => {
                let cost = said.cost.unwrap_or(NanoDollars::ZERO);
                purse.settle(most, cost);
                self.answered += 1;
                decided.cost_usd = said.cost;
                Ok(json!({"text": said.answer.text, "tool_calls": said.answer.tool_calls, "finish": said.finish,
                    "input_tokens": said.usage.input, "output_tokens": said.usage.output, "cost_usd": dollars(said.cost),
                    "took_ms": u64::try_from(said.took.as_millis()).unwrap_or(u64::MAX)}))
            }
            Err(SideFailure::Denied(by)) => {
                purse.settle(most, NanoDollars::ZERO);
                self.refused += 1;
                Err(denied(&by))
            }
            Err(SideFailure::Unwritten(error)) => {
                purse.settle(most, most);
                self.failed += 1;
                self.doubtful = NanoDollars(self.doubtful.0.saturating_add(most.0));
                Err(Missed::AllFromHere(crate::server::denied_text(&DeniedBy::Ledger(error))))
            }
            Err(SideFailure::Failed { error, cost }) => {
                let cost = cost.unwrap_or(most);
                purse.settle(most, cost);
                self.failed += 1;
                Err(Missed::This(error.public()))
            }
        }
    }

    /// As JSON.
    pub fn shown(&self) -> Value {
        json!({"answered": self.answered, "failed": self.failed, "refused": self.refused, "not_asked": self.unasked,
            "unpriced": self.unpriced, "cost_usd": self.cost.to_string(), "doubtful_usd": self.doubtful.to_string(),
            "answers": self.rows})
    }

    /// What was spent, in words.
    fn spent(&self) -> String {
        let doubtful = match self.doubtful {
            NanoDollars::ZERO => String::new(),
            doubtful => format!(", of which ${doubtful} at most are in doubt"),
        };
        format!("answered {}, spent ${}{doubtful}", self.answered, self.cost)
    }

    /// In words.
    pub fn tell(&self) {
        say(format!(
            "answered {}, failed {}, refused {}, not asked for want of money {}, without a price {}; cost ${}",
            self.answered, self.failed, self.refused, self.unasked, self.unpriced, self.cost
        ));
    }
}

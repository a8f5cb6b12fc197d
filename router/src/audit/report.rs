//! The log as a page that a person can read: what left, what stayed, what was refused, by class, provider and region.
//!
//! The page is one HTML file without anything from elsewhere. A comment at its end holds a manifest of all bytes before it,
//! signed with the log's key; [`verify`] checks it.

use super::export::{ExportError, Filter, Manifest, Told, each};
use super::sign::{PublicKey, Purpose, Signer};
use super::{Signed, verify::Fault};
use crate::ledger::Ledger;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

const MARK: &str = "\n<!-- sluice-evidence ";
const END: &str = " -->\n";
/// Records that are listed; more are only counted.
const LISTED: usize = 5_000;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1f24;\
    background:#fff}table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}th,td{text-align:left;padding:.3rem .6rem;\
    border-bottom:1px solid #d0d7de;vertical-align:top}.n{text-align:right;font-variant-numeric:tabular-nums}td.t{white-space:nowrap}code{font-size:.85em;\
    overflow-wrap:anywhere}@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th,td{border-color:#30363d}}";

/// A line of the summary: class, what happened, provider, where.
type Way = (String, &'static str, String, String);

/// What a report is made of.
#[derive(Default)]
struct Material {
    ways: BTreeMap<Way, u64>,
    rules: BTreeMap<(String, String), u64>,
    listed: Vec<Told>,
    records: u64,
    /// Times that something was sent to a hosted model, with placeholders, and to a local one; times that a model was ruled out.
    left: u64,
    masked: u64,
    stayed: u64,
    ruled_out: u64,
    /// Records that were pruned.
    gone: u64,
    span: Option<(jiff::Timestamp, jiff::Timestamp)>,
}

// === impl Material ===

impl Material {
    fn take(&mut self, told: Told) {
        self.records += 1;
        self.span = match self.span {
            None => Some((told.at, told.at)),
            Some((from, to)) => Some((from.min(told.at), to.max(told.at))),
        };
        let text = |field: &Option<String>| field.clone().unwrap_or_else(|| "-".into());
        if told.event == "dial" || told.event == "refused" {
            let hosted = told.location.as_deref() == Some("hosted");
            let place = if hosted { format!("hosted, region {}", text(&told.region)) } else { "in the house".into() };
            *self.ways.entry((text(&told.class), happened(&told), text(&told.provider), place)).or_default() += 1;
            let count = match (told.event.as_str(), hosted) {
                ("refused", _) => &mut self.ruled_out,
                (_, true) => &mut self.left,
                (_, false) => &mut self.stayed,
            };
            *count += 1;
            self.masked += u64::from(told.event == "dial" && hosted && told.masked.is_some());
        }
        if let Some(rule) = &told.rule {
            *self.rules.entry((text(&told.class), rule.clone())).or_default() += 1;
        }
        if self.listed.len() < LISTED {
            self.listed.push(told);
        }
    }

    fn page(&self, filter: &Filter, key: &str, logs: &[String]) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width";
                    title { "Evidence of Sluice" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { "Evidence: what left, what stayed" }
                    p {
                        "Made at " (second(jiff::Timestamp::now())) ", of " (chosen(filter)) ". "
                        @if let Some((from, to)) = self.span {
                            (self.records) " records from " (second(from)) " to " (second(to)) " (UTC)."
                        }
                    }
                    ul {
                        li {
                            (self.left) " times a hosted model was asked: the request left the house. " (self.masked)
                            " of these were sent with placeholders in the place of what was found in them."
                        }
                        li { (self.stayed) " times a model in the house was asked: the request stayed." }
                        li {
                            (self.ruled_out) " times a model was not asked because of the data's class. A request counts once for \
                             each model that it could have gone to, and may have been answered by another."
                        }
                    }
                    @if self.gone > 0 {
                        p { (self.gone) " earlier records were pruned and are not in this report; ask for the archived export." }
                    }
                    h2 { "By class and destination" }
                    table {
                        thead {
                            tr { th { "Data class" } th { "What happened" } th { "Provider" } th { "Where" } th.n { "Times" } }
                        }
                        tbody {
                            @for ((class, event, provider, place), count) in &self.ways {
                                tr {
                                    td { (class) } td { (event) } td { (provider) } td { (place) } td.n { (count) }
                                }
                            }
                        }
                    }
                    @if !self.rules.is_empty() {
                        h2 { "Rules that kept data back" }
                        table {
                            thead { tr { th { "Data class" } th { "Rule" } th.n { "Times" } } }
                            tbody {
                                @for ((class, rule), count) in &self.rules {
                                    tr { td { (class) } td { (rule) } td.n { (count) } }
                                }
                            }
                        }
                    }
                    h2 { "Records" }
                    @if self.records > self.listed.len() as u64 {
                        p { "The first " (self.listed.len()) " of them; the export as JSON Lines has all." }
                    }
                    table {
                        thead {
                            tr {
                                th.n { "No." } th { "Time (UTC)" } th { "What happened" } th { "Request" }
                                th { "Data class, set by" } th { "Provider" } th { "Who" } th { "Rule" }
                            }
                        }
                        tbody { @for told in &self.listed { (row(told)) } }
                    }
                    h2 { "How to check this report" }
                    p {
                        code { "sluice ledger verify FILE.html --public-key " (key) }
                        " says whether this file is, byte for byte, what was signed with that key; ask for the key elsewhere than where \
                         the file comes from. That no record was changed or left out is shown by the export as JSON Lines, which \
                         has the records of the same log" @if logs.len() > 1 { "s" } ": " @for log in logs { code { (log) } " " }
                    }
                }
            }
        }
    }
}

/// What happened, in words.
fn happened(told: &Told) -> &'static str {
    match (told.event.as_str(), told.masked.is_some()) {
        ("dial", false) => "asked",
        ("dial", true) => "asked, with placeholders",
        ("refused", _) => "not asked",
        ("connect", _) => "connected, for traces and metrics",
        ("key", _) => "another key signs from here on",
        ("log", _) => "the log begins",
        ("pruned", _) => "earlier records were pruned",
        _ => "something that this version does not know",
    }
}

/// What set a class, in words.
fn set_by(word: &str) -> &str {
    match word {
        "default" => "the configuration's default",
        "header" => "the client",
        "matcher" => "a configured matcher",
        "content" => "what was found in it",
        "unscanned" => "what could not be looked at",
        "session" => "an earlier turn",
        other => other,
    }
}

/// A time to the second.
fn second(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// What was chosen, in words.
fn chosen(filter: &Filter) -> String {
    let Filter { key, team, user, session, request, since, until } = filter;
    let named = [("key", key), ("team", team), ("user", user), ("session", session), ("request", request)];
    let mut said: Vec<String> =
        named.iter().filter_map(|(what, name)| Some(format!("{what} {}", name.as_ref()?))).collect();
    said.extend(since.map(|at| format!("from {} on", second(at))));
    said.extend(until.map(|at| format!("before {}", second(at))));
    if said.is_empty() { "the whole log".into() } else { said.join(", ") }
}

fn row(told: &Told) -> Markup {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let who = [("team", &told.team), ("user", &told.user), ("key", &told.key), ("session", &told.session)];
    let who: Vec<String> = who.iter().filter_map(|(what, name)| Some(format!("{what} {}", name.as_ref()?))).collect();
    html! {
        tr {
            td.n { (told.seq) }
            td.t { (second(told.at)) }
            td {
                (happened(told))
                @if let Some(purpose) = told.purpose.as_deref().filter(|purpose| *purpose != "answer") { " (" (purpose) ")" }
            }
            td { code { (text(&told.request)) } }
            td {
                (text(&told.class)) @if let Some(by) = &told.class_by { ", " (set_by(by)) }
                @if let Some(masked) = &told.masked { "; " (masked) " as it was sent" }
            }
            td { (text(&told.provider)) @if let Some(region) = &told.region { ", " (region) } }
            td { (who.join(", ")) }
            td { (text(&told.rule)) }
        }
    }
}

/// The page, signed.
///
/// # Errors
/// The ledger cannot be read, or there is no key.
pub fn report(ledger: &Ledger, signer: &Signer, filter: &Filter) -> Result<String, ExportError> {
    let logs = ledger.evidence_logs()?;
    let mut material = Material::default();
    for log in &logs {
        let begin = ledger.evidence_cut(log)?.map_or(0, |cut| cut.state.size());
        material.gone += begin;
        each(ledger, log, (begin, u64::MAX), |_, record| {
            let told: Told = serde_json::from_str(&record)?;
            if filter.takes(&told) {
                material.take(told);
            }
            Ok(())
        })?;
    }
    let key = signer.public().ok_or(ExportError::Unsigned)?.to_string();
    let mut page = material.page(filter, &key, &logs).into_string();
    let manifest = manifest(page.as_bytes());
    let signed = Signed::new(&manifest, Purpose::Export, signer).ok_or(ExportError::Unsigned)?;
    page.push_str(MARK);
    page.push_str(&serde_json::to_string(&signed)?);
    page.push_str(END);
    Ok(page)
}

fn manifest(page: &[u8]) -> Manifest {
    let lines = page.iter().filter(|byte| **byte == b'\n').count() as u64;
    Manifest { lines, sha256: hex::encode(Sha256::digest(page)) }
}

/// Whether a page is as it was signed.
///
/// # Errors
/// What is wrong with it.
pub fn verify(page: &[u8], key: PublicKey) -> Result<(), Fault> {
    let fault = |what: &str| Fault { line: 0, what: what.to_owned() };
    let at = page.windows(MARK.len()).rposition(|part| part == MARK.as_bytes());
    let at = at.ok_or_else(|| fault("the page has no signature"))?;
    let rest = page[at + MARK.len()..].strip_suffix(END.as_bytes());
    let rest = rest.ok_or_else(|| fault("something comes after the signature"))?;
    let signed: Signed = serde_json::from_slice(rest).map_err(|_| fault("the signature cannot be read"))?;
    let (said, by): (Manifest, PublicKey) = signed.open(Purpose::Export).map_err(fault)?;
    if by != key {
        return Err(fault("the page is signed with another key"));
    }
    let found = manifest(&page[..at]);
    if said.sha256 == found.sha256 && said.lines == found.lines {
        Ok(())
    } else {
        Err(fault("the page is not as it was signed"))
    }
}

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
    border-bottom:1px solid #d0d7de;vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:.85em;\
    overflow-wrap:anywhere}@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th,td{border-color:#30363d}}";

/// A line of the summary.
type Way = (String, String, String, String);

/// What a report is made of.
#[derive(Default)]
struct Material {
    ways: BTreeMap<Way, u64>,
    rules: BTreeMap<(String, String), u64>,
    listed: Vec<Told>,
    records: u64,
    left: u64,
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
            let place = format!("{} ({})", text(&told.location), text(&told.region));
            *self.ways.entry((text(&told.class), told.event.clone(), text(&told.provider), place)).or_default() += 1;
            self.left += u64::from(told.event == "dial" && told.location.as_deref() == Some("hosted"));
        }
        if let Some(rule) = &told.rule {
            *self.rules.entry((text(&told.class), rule.clone())).or_default() += 1;
        }
        if self.listed.len() < LISTED {
            self.listed.push(told);
        }
    }

    fn page(&self, filter: &Filter, key: &str, logs: &[String]) -> Markup {
        let refused: u64 =
            self.ways.iter().filter(|((_, event, ..), _)| event == "refused").map(|(_, count)| count).sum();
        let chosen = serde_json::to_string(filter).unwrap_or_default();
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
                        "Made at " (jiff::Timestamp::now()) ". Selection: " code { (chosen) } ". "
                        @if let Some((from, to)) = self.span { "Records from " (from) " to " (to) ". " }
                        (self.records) " records; " (self.left) " requests went to a hosted provider, "
                        (refused) " were refused by residency."
                    }
                    @if self.gone > 0 {
                        p { (self.gone) " earlier records were pruned and are not in this report; ask for the archived export." }
                    }
                    p { "Logs: " @for log in logs { code { (log) } " " } ". Signed with " code { (key) } "." }
                    h2 { "By class and destination" }
                    table {
                        thead { tr { th { "Class" } th { "What" } th { "Provider" } th { "Where" } th { "Records" } } }
                        tbody {
                            @for ((class, event, provider, place), count) in &self.ways {
                                tr {
                                    td { (class) } td { (event) } td { (provider) } td { (place) } td.n { (count) }
                                }
                            }
                        }
                    }
                    @if !self.rules.is_empty() {
                        h2 { "Rules that refused" }
                        table {
                            thead { tr { th { "Class" } th { "Rule" } th { "Records" } } }
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
                                th { "Place" } th { "Time" } th { "What" } th { "Request" } th { "Class" } th { "To" } th { "Who" }
                                th { "Rule" }
                            }
                        }
                        tbody { @for told in &self.listed { (row(told)) } }
                    }
                }
            }
        }
    }
}

fn row(told: &Told) -> Markup {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let who = [&told.team, &told.user, &told.key, &told.session].into_iter().flatten().cloned().collect::<Vec<_>>();
    html! {
        tr {
            td.n { (told.seq) }
            td { (told.at) }
            td { (told.event) }
            td { code { (text(&told.request)) } }
            td { (text(&told.class)) @if let Some(by) = &told.class_by { " (" (by) ")" } }
            td { (text(&told.provider)) " " (text(&told.location)) " " (text(&told.region)) }
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

//! The evidence log on the command line: `sluice ledger verify FILE`, `export`, `checkpoint`, `public-key`, `rotate-key`,
//! `digest`. None of them needs the gateway to run, and none disturbs it.

use super::{Failure, Setting, say};
use crate::config::Settings;
use router::audit::export::{Exported, Filter};
use router::audit::{Checkpoint, Keys, PublicKey, Purpose, Signed, Signer, export, report, verify};
use router::ledger::Ledger;
use serde_json::json;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What is exported, and how.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// Where to; left out: standard output.
    #[arg(long)]
    out: Option<PathBuf>,
    /// jsonl (to verify) or html (to read; signed, too).
    #[arg(long, default_value = "jsonl")]
    format: String,
    /// Only records of this key, by id.
    #[arg(long)]
    key: Option<String>,
    /// Only records of this team.
    #[arg(long)]
    team: Option<String>,
    /// Only records of this user.
    #[arg(long)]
    user: Option<String>,
    /// Only records of this session.
    #[arg(long)]
    session: Option<String>,
    /// Only records of this request.
    #[arg(long)]
    request: Option<String>,
    /// Not before this time (RFC 3339).
    #[arg(long)]
    since: Option<jiff::Timestamp>,
    /// Before this time (RFC 3339).
    #[arg(long)]
    until: Option<jiff::Timestamp>,
}

/// An exported file, and what it is held against.
#[derive(Debug)]
pub struct Verify<'a> {
    /// The file.
    pub file: &'a Path,
    /// The public key, or a file that holds it.
    pub public_key: Option<&'a str>,
    /// A checkpoint that was published earlier.
    pub checkpoint: Option<&'a Path>,
    /// An archived export that it goes on from.
    pub archive: Option<&'a Path>,
}

fn signer(settings: &Settings) -> Result<Signer, Failure> {
    let path = settings.evidence_key.as_deref();
    let path = path.ok_or_else(|| Failure::Usage("`residency.evidence.enabled` is false: there is no log".into()))?;
    Signer::load_or_create(path).map_err(|error| Failure::Failed(error.to_string()))
}

/// What the evidence log is written with, where it is kept.
pub fn keys(settings: &Settings) -> Result<Option<Keys>, Failure> {
    let keys = settings.evidence_key.as_deref().map(Keys::open).transpose();
    keys.map_err(|error| Failure::Usage(format!("`residency.evidence.key_file`: {error}")))
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

/// Writes the log, or a selection of it.
pub fn export(setting: &Setting, wanted: &Export) -> Result<(), Failure> {
    let settings = setting.load()?;
    let (signer, ledger) = (signer(&settings)?, Ledger::attach(&settings.ledger.place)?);
    let filter = Filter {
        key: wanted.key.clone(),
        team: wanted.team.clone(),
        user: wanted.user.clone(),
        session: wanted.session.clone(),
        request: wanted.request.clone(),
        since: wanted.since,
        until: wanted.until,
    };
    let mut out: Box<dyn Write> = match &wanted.out {
        Some(path) => Box::new(File::create(path).map_err(|error| failed(format!("{}: {error}", path.display())))?),
        None => Box::new(std::io::stdout().lock()),
    };
    let exported = match wanted.format.as_str() {
        "jsonl" => Some(export::export(&ledger, &signer, &filter, BufWriter::new(&mut out)).map_err(failed)?),
        "html" => {
            let page = report::report(&ledger, &signer, &filter).map_err(failed)?;
            out.write_all(page.as_bytes()).map_err(failed)?;
            None
        }
        other => return Err(Failure::Usage(format!("`--format {other}`: jsonl or html"))),
    };
    if let (Some(Exported { records, logs }), Some(_)) = (exported, &wanted.out) {
        match setting.json {
            true => say(json!({"records": records, "logs": logs})),
            false => say(format!("{records} records of {logs} logs")),
        }
    }
    Ok(())
}

/// Verifies an exported file; nothing else than the file and the key is needed.
pub fn verify(setting: &Setting, wanted: &Verify<'_>) -> Result<(), Failure> {
    let key = wanted.public_key.ok_or_else(|| Failure::Usage("`--public-key` is missing: whose word is it?".into()))?;
    let text = if Path::new(key).is_file() { std::fs::read_to_string(key).map_err(failed)? } else { key.to_owned() };
    let key: PublicKey = text.parse().map_err(|error| Failure::Usage(format!("`--public-key`: {error}")))?;
    let mut published: Vec<Checkpoint> =
        wanted.checkpoint.map(|path| read_checkpoint(path, key)).transpose()?.into_iter().collect();
    let open = |path: &Path| {
        let file = File::open(path).map_err(|error| failed(format!("{}: {error}", path.display())))?;
        Ok::<_, Failure>(BufReader::with_capacity(1 << 20, file))
    };
    if let Some(archive) = wanted.archive {
        let sound = verify::verify(open(archive)?, key, &[]);
        let sound = sound.map_err(|fault| failed(format!("{}: {fault}", archive.display())))?;
        if !sound.whole {
            return Err(failed(format!("{}: a selection is no archive", archive.display())));
        }
        published.extend(sound.ends);
    }
    let file = open(wanted.file)?;
    let page = wanted.file.extension().is_some_and(|extension| extension == "html");
    let (told, fault) = if page {
        let bytes = std::fs::read(wanted.file).map_err(failed)?;
        (json!({"report": true}), report::verify(&bytes, key).err())
    } else {
        match verify::verify(file, key, &published) {
            Ok(sound) => (json!(sound), None),
            Err(fault) => (json!({}), Some(fault)),
        }
    };
    if setting.json {
        let fault = fault.as_ref().map(|fault| json!({"line": fault.line, "what": fault.what}));
        say(json!({"valid": fault.is_none(), "fault": fault, "found": told}));
    } else if fault.is_none() {
        match page {
            true => say("the report is as it was signed"),
            false => say(format!(
                "the evidence is sound: {} records of {} logs under {} checkpoints{}{}",
                told["records"],
                told["logs"],
                told["checkpoints"],
                if told["whole"] == json!(true) { "" } else { " (a selection)" },
                match told["pruned"].as_u64() {
                    None | Some(0) => String::new(),
                    Some(pruned) => format!(", after {pruned} that were pruned on record"),
                }
            )),
        }
    }
    fault.map_or(Ok(()), |fault| Err(Failure::Failed(fault.to_string())))
}

/// A checkpoint as `sluice ledger checkpoint` prints it.
fn read_checkpoint(path: &Path, key: PublicKey) -> Result<Checkpoint, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| failed(format!("{}: {error}", path.display())))?;
    let signed: Signed = serde_json::from_str(&text).map_err(|_| failed("the checkpoint cannot be read"))?;
    let (checkpoint, by) =
        signed.open(Purpose::Checkpoint).map_err(|what| failed(format!("the checkpoint: {what}")))?;
    if by == key { Ok(checkpoint) } else { Err(failed(format!("the checkpoint is signed by {by}"))) }
}

/// Prints the newest checkpoint of the newest log: to be put where the gateway cannot change it.
pub fn checkpoint(setting: &Setting) -> Result<(), Failure> {
    let settings = setting.load()?;
    let ledger = Ledger::attach(&settings.ledger.place)?;
    let log = ledger.evidence_logs()?.pop().ok_or_else(|| failed("there is no evidence log yet"))?;
    let kept = ledger.checkpoints(&log)?.pop().ok_or_else(|| failed("the log has no checkpoint yet"))?;
    say(kept.line);
    Ok(())
}

/// Prints the key that signs.
pub fn public_key(setting: &Setting) -> Result<(), Failure> {
    let key = signer(&setting.load()?)?.public().ok_or_else(|| failed("there is no key"))?;
    if setting.json {
        say(json!({"public_key": key.to_string()}))
    } else {
        say(key)
    }
    Ok(())
}

/// Makes another key; a running gateway takes it up within a minute and says so in its log.
pub fn rotate_key(setting: &Setting) -> Result<(), Failure> {
    let settings = setting.load()?;
    let before = signer(&settings)?.public();
    let path = settings.evidence_key.as_deref().ok_or_else(|| failed("there is no key file"))?;
    let after = Signer::rotate(path).map_err(failed)?.public();
    let text = |key: Option<PublicKey>| key.map(|key| key.to_string());
    match setting.json {
        true => say(json!({"before": text(before), "public_key": text(after)})),
        false => say(text(after).unwrap_or_default()),
    }
    Ok(())
}

/// Prints the digest that records have of a body.
pub fn digest(setting: &Setting, file: &Path) -> Result<(), Failure> {
    let settings = setting.load()?;
    let digester = Ledger::attach(&settings.ledger.place)?.digester()?;
    let digester = digester.ok_or_else(|| failed("there is no evidence log yet"))?;
    let body = std::fs::read(file).map_err(|error| failed(format!("{}: {error}", file.display())))?;
    let digest: String = digester.digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    if setting.json {
        say(json!({"content": digest}))
    } else {
        say(digest)
    }
    Ok(())
}

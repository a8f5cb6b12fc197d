//! Makes `assets/heads/private.head`: three heads for names, addresses and health in free text, from text made here.
//!
//! `scripts/train-private` runs it; minutes, no network. It trains, writes the heads and their page, measures them on the held-back
//! part and writes the table and the time a request takes into `docs/detectors.md`. With a folder as argument the encoder's
//! vectors are kept there between runs.

mod corpus;
mod fit;
mod measure;
mod rows;

use corpus::{Corpus, Part, Sizes};
use measure::{found, measure, reader, table};
use router::encoder::{DIMENSIONS, Encoder};
use router::private_text::{Heads, Kind, Reader};
use rows::{HELD_BACK_SEED, Row, everyday, training};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What an error costs against a large weight.
const COST: f64 = 1.0;
/// How many held-back texts a language has: about persons and places, about health, about nothing of the kind.
const HELD_BACK: Sizes = Sizes([110, 90, 130]);

fn main() -> Result<(), Box<dyn Error>> {
    let cache = std::env::args().nth(1).map(PathBuf::from);
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut out = std::io::stdout().lock();
    let training = training()?;
    writeln!(out, "{} windows", training.len())?;
    let vectors = vectors(&training, cache.as_deref())?;
    let made = fit::heads(&training, &vectors, &Reader::new()?, COST);
    for kind in Kind::ALL {
        let (recall, precision, loss) = made.out_of_fold[kind.place()];
        let calibration = made.heads.calibration[kind.place()];
        writeln!(out, "{}: out of fold {recall:.3} {precision:.3} loss {loss:.4}; {calibration:?}", kind.word())?;
    }
    let file = made.heads.write()?;
    fs::write(home.join("assets/heads/private.head"), &file)?;
    fs::write(home.join("assets/heads/PRIVATE.md"), page(&made.heads, &file, &training))?;

    let reader = reader(Some(made.heads))?;
    let before = processor_time()?;
    let timed = &training[..training.len().min(300)];
    timed.iter().for_each(|row| _ = found(&reader, &row.window));
    let each = (processor_time()? - before) / timed.len() as f64;
    let texts = Corpus::new().texts(Part::HeldBack, HELD_BACK, HELD_BACK_SEED);
    let mut missed = Vec::new();
    let counts = measure(&reader, &texts, |case| missed.push(case));
    let table = table(&counts);
    let everyday = everyday(Part::HeldBack)?;
    let mut alarms = [0u32; 3];
    for row in &everyday {
        let found = found(&reader, &row.window);
        alarms.iter_mut().zip(found).for_each(|(alarms, found)| *alarms += u32::from(found));
        if found.contains(&true) {
            missed.push(format!("everyday {found:?}: {}", row.window));
        }
    }
    let alarms: Vec<String> =
        Kind::ALL.iter().zip(alarms).map(|(kind, count)| format!("{count} `{}`", kind.word())).collect();
    let table = format!(
        "{} held-back texts.\n\n{table}\n{} windows of everyday prompts that name nobody: {} found all the same.\n\n\
         A window takes {each:.1} ms of one core (release build, mean of {}, encoder included; what came before: nothing), so a \
         request of a sentence {each:.0} ms and one of 64 windows {:.0} ms.\n",
        texts.len(),
        everyday.len(),
        alarms.join(", "),
        timed.len(),
        64.0 * each
    );
    writeln!(out, "{table}")?;
    if let Some(cache) = &cache {
        fs::write(cache.join("missed.txt"), missed.join("\n----\n"))?;
    }
    let docs = home.join("../docs/detectors.md");
    let text = fs::read_to_string(&docs)?;
    if let Some((before, rest)) = text.split_once("<!-- free text measured -->\n")
        && let Some((_, after)) = rest.split_once("<!-- free text end -->")
    {
        fs::write(docs, format!("{before}<!-- free text measured -->\n{table}<!-- free text end -->{after}"))?;
    }
    Ok(())
}

/// Milliseconds of processors that this process has used (Linux counts them in hundredths of a second).
fn processor_time() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 * 10.0)
}

/// The encoder's vectors of windows, from the cache where they are known.
fn vectors(rows: &[Row], cache: Option<&Path>) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
    let file = cache.map(|folder| folder.join("vectors"));
    let mut known: HashMap<Vec<u8>, Vec<f32>> = HashMap::new();
    let stored = file.as_ref().and_then(|file| fs::read(file).ok()).unwrap_or_default();
    for entry in stored.chunks_exact(32 + 4 * DIMENSIONS) {
        let (key, numbers) = entry.split_at(32);
        let numbers = numbers.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
        known.insert(key.to_vec(), numbers.collect());
    }
    let encoder = Encoder::bundled()?;
    let mut fresh = Vec::new();
    let mut vectors = Vec::with_capacity(rows.len());
    for row in rows {
        let key = Sha256::digest(&row.window).to_vec();
        if let Some(vector) = known.get(&key) {
            vectors.push(vector.clone());
            continue;
        }
        let vector = encoder.encode(&row.window, "")?.vector.to_vec();
        fresh.extend_from_slice(&key);
        vector.iter().for_each(|number| fresh.extend_from_slice(&number.to_le_bytes()));
        vectors.push(vector);
    }
    if let Some(file) = file {
        fs::write(file, [stored, fresh].concat())?;
    }
    Ok(vectors)
}

/// What the heads are and come from.
fn page(heads: &Heads, file: &[u8], rows: &[Row]) -> String {
    let mut lines = vec![
        "# Heads for free text".to_owned(),
        String::new(),
        "Made by `scripts/train-private`; do not edit. The format: `router/src/private_text/head.rs`. They learn from text that".into(),
        "`router/examples/train-private/corpus` makes, and from everyday prompts that name nobody; no text is in them.".into(),
        String::new(),
        format!("| `private.head` | {} bytes |", file.len()),
        "| --- | --- |".into(),
        format!("| SHA-256 | `{}` |", hex::encode(Sha256::digest(file))),
        format!("| training windows | {}, SHA-256 `{}` |", rows.len(), heads.provenance.windows_sha256),
        format!("| seed | {} |", heads.provenance.seed),
    ];
    for kind in Kind::ALL {
        let with = rows.iter().filter(|row| row.truth[kind.place()]).count();
        let threshold = heads.calibration[kind.place()].threshold;
        lines.push(format!("| `{}` | in {with} windows; counts from {threshold} |", kind.word()));
    }
    let corpus = Corpus::new();
    let entries =
        |part| corpus.sections().iter().map(|(file, name)| corpus.list(file, name, part).len()).sum::<usize>();
    let (learnt, held) = (entries(Part::Training), entries(Part::HeldBack));
    lines.push(format!("| templates and words | {learnt} for training, {held} others held back |"));
    for language in corpus::LANGUAGES {
        let count = rows.iter().filter(|row| row.language == language).count();
        lines.push(format!("| windows in `{language}` | {count} |"));
    }
    lines.join("\n") + "\n"
}

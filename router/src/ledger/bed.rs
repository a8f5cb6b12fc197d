//! A ledger for a test, on either store.

use super::{Durability, Ledger, Place};
use crate::stores::Postgres;
use std::sync::OnceLock;
use tempfile::TempDir;

/// A place for a ledger, thrown away afterwards.
pub(crate) struct Bed {
    place: Place,
    url: String,
    _folder: TempDir,
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
        Self { place: folder.path().join("l.db").into(), url: String::new(), _folder: folder }
    }

    /// `None`: there is no PostgreSQL here.
    pub(crate) fn server() -> Option<Self> {
        let url = server()?.database();
        let place = Place::parse(&policies::Secret::new(url.clone()), None).unwrap();
        Some(Self { place, url, _folder: tempfile::tempdir().unwrap() })
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn start(&self, durability: Durability) -> (Ledger, usize) {
        Ledger::start(&self.place, durability).unwrap()
    }

    pub(crate) fn attach(&self) -> Ledger {
        Ledger::attach(&self.place).unwrap()
    }

    /// Runs a statement beside the ledger.
    pub(crate) fn run(&self, sql: &str) {
        assert!(server().unwrap().run(&self.url, sql), "{sql}");
    }
}

//! Where a ledger is: a file, or a PostgreSQL server.
//!
//! **TLS.** `sslmode` is `disable` or `require`; `verify-ca` and `verify-full` mean the same as `require`, because a
//! certificate is always checked, against the system's roots or the file that `sslrootcert` names. Without `sslmode` this
//! machine itself is spoken to in the clear and everybody else over TLS. `prefer` is refused: whoever sits in between
//! could talk it down.

use super::{Db, postgres, sqlite};
use crate::ledger::LedgerError;
use policies::Secret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a server may take to be reached, and to answer a line, where the URL has no `connect_timeout`.
const CONNECT: Duration = Duration::from_secs(3);

/// Where a ledger is.
#[derive(Clone, Debug)]
pub enum Place {
    /// A file of SQLite's.
    File(PathBuf),
    /// A PostgreSQL server.
    Server(Arc<Server>),
}

/// A PostgreSQL server, a user and a database.
pub struct Server {
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: MakeRustlsConnect,
    /// How long it may take to be reached, and to answer a line.
    pub(super) reach: Duration,
    runtime: OnceLock<Runtime>,
    shown: String,
}

/// Why a URL names no ledger. Never holds the URL, because a password is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlaceError(String);

// === impl Place ===

impl Place {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=...&sslrootcert=...`; nobody is dialled. `password` is
    /// taken where the URL has none. `connect_timeout` (seconds, 3 by default) is how long the server may take to be reached,
    /// and to answer a line: after twice that time a request that needs a line is refused.
    ///
    /// # Errors
    /// What is wrong with it, without the URL.
    pub fn parse(url: &Secret, password: Option<&Secret>) -> Result<Self, PlaceError> {
        let url = url.expose();
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(PlaceError("it does not begin with `postgres://`".into()));
        }
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut root, mut rest) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", word)) => mode = Some(word),
                Some(("sslrootcert", path)) => root = Some(Path::new(path)),
                _ => rest.push(pair),
            }
        }
        let bare = if rest.is_empty() { address.to_owned() } else { format!("{address}?{}", rest.join("&")) };
        // The parser's own words name keys, never values.
        let mut config: tokio_postgres::Config = bare.parse().map_err(|error: tokio_postgres::Error| {
            let why = std::error::Error::source(&error).map_or(String::new(), |why| format!(": {why}"));
            PlaceError(format!("it is not a PostgreSQL URL{why}"))
        })?;
        if config.get_hosts().is_empty() || config.get_dbname().is_none() {
            return Err(PlaceError("it has to name a host and a database".into()));
        }
        let here = config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1" | "[::1]"),
            Host::Unix(_) => true,
        });
        config.ssl_mode(match mode {
            None if here => SslMode::Disable,
            Some("disable") => SslMode::Disable,
            None | Some("require" | "verify-ca" | "verify-full") => SslMode::Require,
            Some(word) => {
                return Err(PlaceError(format!("`sslmode={word}` is not taken: use `require` or `disable`")));
            }
        });
        let reach = config.get_connect_timeout().copied().unwrap_or(CONNECT);
        config.connect_timeout(reach).keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(reach * 4);
        if let (None, Some(password)) = (config.get_password(), password) {
            config.password(password.expose());
        }
        if config.get_application_name().is_none() {
            config.application_name("sluice");
        }
        let secure = config.get_ssl_mode() == SslMode::Require;
        let tls = MakeRustlsConnect::new(client_config(secure, root)?);
        let shown = shown(&config);
        Ok(Self::Server(Arc::new(Server { config, tls, reach, runtime: OnceLock::new(), shown })))
    }

    /// The file; `None` for a server.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Server(_) => None,
        }
    }

    pub(in crate::ledger) fn connect(&self) -> Result<Db, LedgerError> {
        Ok(match self {
            Self::File(path) => Db::Sqlite(sqlite::connect(path)?),
            Self::Server(server) => Db::Postgres(Box::new(postgres::Session::new(server.clone()))),
        })
    }
}

impl fmt::Display for Place {
    /// The path, or the URL without its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(server) => f.write_str(&server.shown),
        }
    }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Self {
        Self::File(path.clone())
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<&Place> for Place {
    fn from(place: &Place) -> Self {
        place.clone()
    }
}

// === impl Server ===

impl Server {
    /// Where its connections are read and written: a thread of its own, so that whoever waits for an answer blocks nobody
    /// who serves.
    pub(super) fn runtime(&self) -> Result<&Runtime, LedgerError> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let fresh = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("ledger-net")
            .enable_all()
            .build()
            .map_err(|error| LedgerError::Database(error.to_string()))?;
        // Of two that were made at the same time one stays.
        if let Err(spare) = self.runtime.set(fresh) {
            spare.shutdown_background();
        }
        self.runtime.get().ok_or(LedgerError::Closed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dropped where nobody may wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.shown).finish()
    }
}

fn shown(config: &tokio_postgres::Config) -> String {
    let user = config.get_user().map_or(String::new(), |user| format!("{user}@"));
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
        let host = match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        };
        let port = ports.get(at).or(ports.first()).map_or(String::new(), |port| format!(":{port}"));
        format!("{host}{port}")
    });
    let hosts = hosts.collect::<Vec<_>>().join(",");
    format!("postgres://{user}{hosts}/{}", config.get_dbname().unwrap_or_default())
}

fn client_config(secure: bool, root: Option<&Path>) -> Result<ClientConfig, PlaceError> {
    let mut roots = RootCertStore::empty();
    if let (true, Some(path)) = (secure, root) {
        let unreadable = |why: String| PlaceError(format!("`sslrootcert` {} cannot be read: {why}", path.display()));
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))? {
            let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
            roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
        }
    } else if secure {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if secure && roots.is_empty() {
        return Err(PlaceError("no root certificate is known: name a file with `sslrootcert=`".into()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| PlaceError(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Place, PlaceError> {
        Place::parse(&Secret::new(url.into()), None)
    }

    #[test]
    fn a_password_of_its_own_is_taken_where_the_address_has_none() {
        for (url, expected) in [("postgres://u@localhost/d", "apart"), ("postgres://u:within@localhost/d", "within")] {
            let apart = Secret::new("apart".into());
            let Place::Server(server) = Place::parse(&Secret::new(url.into()), Some(&apart)).unwrap() else {
                unreachable!()
            };
            assert_eq!(server.config.get_password(), Some(expected.as_bytes()));
        }
    }

    #[test]
    fn a_password_is_never_shown_and_only_this_machine_is_spoken_to_in_the_clear() {
        let ssl = |place: &Place| match place {
            Place::Server(server) => server.config.get_ssl_mode(),
            Place::File(_) => unreachable!(),
        };
        let near = parse("postgres://u:pa%24s@127.0.0.1:5433/sluice").unwrap();
        assert_eq!(near.to_string(), "postgres://u@127.0.0.1:5433/sluice");
        assert!(!format!("{near:?}").contains("pa"), "{near:?}");
        assert_eq!(ssl(&near), SslMode::Disable);
        let far = "postgresql://u:secret@db.example/sluice";
        assert_eq!(ssl(&parse(&format!("{far}?sslmode=disable&connect_timeout=2")).unwrap()), SslMode::Disable);
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("ca.pem");
        std::fs::write(&root, "nothing").unwrap();
        let cases = [
            ("mysql://u:secret@h/d".to_owned(), "postgres://"),
            ("postgres://u:secret@h".to_owned(), "a database"),
            ("postgres://u:secret@h:no/d".to_owned(), "not a PostgreSQL URL"),
            (format!("{far}?sslmode=prefer"), "prefer"),
            (format!("{far}?sslmode=require&sslrootcert={}", root.display()), "no root certificate"),
            (format!("{far}?sslrootcert=/nowhere"), "/nowhere"),
            (format!("{far}?sslmode=disable&nonsense=1"), "nonsense"),
        ];
        for (url, expected) in cases {
            let why = parse(&url).unwrap_err().to_string();
            assert!(why.contains(expected) && !why.contains("secret"), "{url}: {why}");
        }
    }
}

//! TLS on a listener.
//!
//! **Promise.** TLS 1.2 or newer, HTTP/2 and HTTP/1.1 by ALPN. A certificate that is renewed on disk counts for the next
//! connection within a second or so; connections that are open go on. A file that cannot be used is reported and the old
//! certificate stays. A handshake has as long as the head of a request.
//!
//! With `client_ca` only clients whose certificate that authority has signed get a connection; who they are beyond that is
//! told by their key, as ever.
//!
//! **What it does not do.** No certificates from ACME, no choice by server name: put a proxy in front for these.

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio_rustls::TlsAcceptor;

/// Where a listener's certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those that lead to its authority, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// The authority of clients' certificates; `None`: clients need none.
    pub client_ca: Option<PathBuf>,
}

/// A listener's certificate as it is now.
pub struct Tls {
    files: TlsFiles,
    config: ArcSwap<ServerConfig>,
    read_from: Mutex<Option<Vec<SystemTime>>>,
}

// === impl TlsFiles ===

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// One sentence that names the file, never its content.
    pub fn read(&self) -> Result<ServerConfig, String> {
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| wrong(&self.key, &error))?;
        let builder = ServerConfig::builder();
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| wrong(path, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder(roots.into()).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| wrong(path, &error))?)
            }
        };
        let mut config =
            builder.with_single_cert(certificates(&self.cert)?, key).map_err(|error| wrong(&self.cert, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// When the files were changed last; `None` where one is missing, as it may be for a moment while it is replaced.
    fn stamp(&self) -> Option<Vec<SystemTime>> {
        let files = [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten();
        files.map(|file| std::fs::metadata(file).and_then(|meta| meta.modified()).ok()).collect()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, &error))?;
    let read: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| wrong(path, &error))?;
    if read.is_empty() { Err(format!("{}: holds no certificate", path.display())) } else { Ok(read) }
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

// === impl Tls ===

impl Tls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// As [`TlsFiles::read`].
    pub fn start(files: TlsFiles) -> Result<Self, String> {
        let read_from = Mutex::new(files.stamp());
        let config = ArcSwap::from_pointee(files.read()?);
        Ok(Self { files, config, read_from })
    }

    /// Takes a connection in, with the certificate of now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Reads the files again, if they have changed; a bad one is reported once and the old certificate stays.
    pub fn refresh(&self) {
        let now = self.files.stamp();
        let mut read_from = self.read_from.lock();
        if now.is_none() || *read_from == now {
            return;
        }
        *read_from = now;
        match self.files.read() {
            Ok(config) => {
                self.config.store(Arc::new(config));
                tracing::info!(cert = %self.files.cert.display(), "the certificate was renewed");
            }
            Err(error) => tracing::error!(error, "the new certificate is refused, the old one stays"),
        }
    }
}

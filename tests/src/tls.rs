//! An authority of one's own, certificates good and bad, and a TLS front for an upstream.

use crate::accept;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, in PEM.
    pub pem: String,
}

/// A certificate with its key, in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub cert: String,
    /// The private key.
    pub key: String,
}

/// A server that takes TLS off and hands on to an upstream.
pub struct Front {
    _serving: JoinSet<()>,
    shaken: Arc<AtomicUsize>,
    /// Its port on the loopback.
    pub port: u16,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Authority ===

impl Authority {
    /// A fresh one.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a name; `expired` ended years ago.
    pub fn identity(&self, name: &str, expired: bool) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
        }
        let cert = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Identity { cert, key: key.serialize_pem() }
    }
}

// === impl Front ===

impl Front {
    /// Starts before an upstream at `root` (`http://127.0.0.1:PORT`).
    pub async fn start(identity: &Identity, root: &str) -> Self {
        // Two providers of cryptography are in the graph. It is there already where a client was made before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let cert = CertificateDer::from_pem_slice(identity.cert.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert], key).expect("a pair");
        let (acceptor, behind) = (TlsAcceptor::from(Arc::new(config)), root.trim_start_matches("http://").to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (mut serving, shaken) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        let counted = shaken.clone();
        serving.spawn(accept::each(listener, move |socket| {
            let (acceptor, behind, counted) = (acceptor.clone(), behind.clone(), counted.clone());
            async move {
                // A handshake that fails is what some tests want.
                let Ok(mut socket) = acceptor.accept(socket).await else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                let Ok(mut upstream) = TcpStream::connect(behind).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut socket, &mut upstream).await;
            }
        }));
        Self { _serving: serving, shaken, port }
    }

    /// Handshakes that came to their end.
    pub fn shaken(&self) -> usize {
        self.shaken.load(Ordering::SeqCst)
    }
}

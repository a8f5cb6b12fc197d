//! `[server]`: the two listeners, their certificates, and who may use the admin one.
//!
//! **Promise.** An admin listener that others can reach, and that asks for nothing, is refused.

use super::defaults;
use super::environment::{Environment, misnamed};
use super::providers::Findings;
use super::sign_in::{SignIn, read_sign_in};
use super::spec::{ServerSpec, TlsSpec};
use crate::server::tls::TlsFiles;
use policies::Secret;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

/// Listeners.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The data listener.
    pub listen: SocketAddr,
    /// The admin listener.
    pub admin_listen: SocketAddr,
    /// The admin token.
    pub admin_token: Option<Secret>,
    /// Sign-in by an authenticating proxy.
    pub sign_in: Option<SignIn>,
    /// TLS on the data listener.
    pub tls: Option<TlsFiles>,
    /// TLS on the admin listener.
    pub admin_tls: Option<TlsFiles>,
}

pub(super) fn read_server(
    spec: &ServerSpec,
    folder: &Path,
    environment: &Environment,
    found: &mut Findings,
) -> ServerSettings {
    let mut address = |key: &str, typed: &Option<String>, default: &str| -> SocketAddr {
        let text = typed.as_deref().unwrap_or(default);
        match text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()) {
            Some(address) => address,
            None => {
                found.problems.push(format!("`server.{key}`: `{text}` is not an address like 127.0.0.1:8080"));
                SocketAddr::from(([127, 0, 0, 1], 0))
            }
        }
    };
    let listen = address("listen", &spec.listen, defaults::LISTEN);
    let admin_listen = address("admin_listen", &spec.admin_listen, defaults::ADMIN_LISTEN);
    let admin_token = spec.admin_token_env.as_deref().and_then(|name| environment.secret(name));
    match (&spec.admin_token_env, &admin_token) {
        (Some(name), _) if let Some(why) = misnamed(name) => {
            found.problems.push(format!("`server.admin_token_env`: {why}"));
        }
        (Some(name), None) => found.problems.push(format!("`server.admin_token_env`: `{name}` is not set")),
        (None, _) if !admin_listen.ip().is_loopback() && spec.admin_identity_header.is_none() => {
            found.problems.push(format!(
                "`server.admin_listen` is {admin_listen}, which others can reach: set `server.admin_token_env` or \
             `server.admin_identity_header`"
            ))
        }
        _ => {}
    }
    let sign_in = read_sign_in(spec, admin_listen, found);
    let mut tls = |key: &str, typed: &Option<TlsSpec>| {
        let TlsSpec { cert, key: private, client_ca } = typed.as_ref()?;
        let files = TlsFiles {
            cert: folder.join(cert),
            key: folder.join(private),
            client_ca: client_ca.as_ref().map(|path| folder.join(path)),
        };
        if let Err(error) = files.read() {
            found.problems.push(format!("`server.{key}`: {error}"));
        }
        Some(files)
    };
    let (tls, admin_tls) = (tls("tls", &spec.tls), tls("admin_tls", &spec.admin_tls));
    ServerSettings { listen, admin_listen, admin_token, sign_in, tls, admin_tls }
}

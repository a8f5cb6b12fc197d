//! Who may use the admin listener, and in whose name.
//!
//! **Promise.** Three ways in, each tried only where it is configured: the token, from anywhere; a name that a trusted
//! proxy gives in its header ([`SignIn`]); and, without a token, this machine itself ([`auth::admits_admin`]). The peer
//! is the other end of the connection; `X-Forwarded-For` is never read. From anybody but a trusted proxy the header is as
//! if it were not there.
//!
//! **Forms of other sites.** The proxy signs its visitors in by a cookie, which their browsers may send along with what
//! another site's page submits; that a cookie is `SameSite` is the proxy's affair and cannot be seen here. So a request
//! that may change something and is signed in by the header must come with an `Origin` that is the `Host` it was sent to.
//! No other page can name that origin, and browsers send it with each such request. Where an `Origin` is sent with
//! anything else it must be the same, too. Programs that send none use the token.
//!
//! **A proxy that lets somebody pass unnamed** opens nothing: what comes from its address without a name has to bring the
//! token, even on loopback, where others need none.
//!
//! **On record.** Each request that may change something is logged with who asked for it; votes and steps of experiments
//! carry the name.

use super::Answered;
use super::admin::{Shared, refuse};
use super::auth;
use super::data::json_response;
use super::fault::Fault;
use crate::config::{ServerSettings, SignIn};
use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The longest name that is looked at: an address of mail has at most 254 bytes (RFC 5321, errata 1690).
const LONGEST_NAME: usize = 254;

/// The other end of a connection, as the listener saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Who uses the admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// A holder of the token.
    Token,
    /// A program of this machine.
    Machine,
    /// Somebody whom a trusted proxy named.
    Person(Arc<str>),
}

// === impl Operator ===

impl Operator {
    /// The name, where there is one.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Person(name) => Some(name),
            Self::Token | Self::Machine => None,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token => f.write_str("token"),
            Self::Machine => f.write_str("loopback"),
            Self::Person(name) => f.write_str(name),
        }
    }
}

/// The layer before everything that is not open: lets a request on with its [`Operator`], or refuses it.
pub(super) async fn admit(State(app): State<Shared>, mut request: Request, next: Next) -> Answered {
    let settings = app.settings.load_full();
    let operator = match operator(&request, &settings.server) {
        Ok(operator) => operator,
        Err(fault) => return refuse(fault),
    };
    if request.method().is_safe() {
        request.extensions_mut().insert(operator);
        return next.run(request).await;
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    request.extensions_mut().insert(operator.clone());
    let answer = next.run(request).await;
    tracing::info!(operator = %operator, %method, path, status = answer.status().as_u16(), "asked of the admin API");
    answer
}

/// `GET /api/operator`: who is signed in, so that the page asks nobody for a name that it has.
pub(super) async fn whoami(Extension(operator): Extension<Operator>) -> Answered {
    let by = match &operator {
        Operator::Token => "token",
        Operator::Machine => "loopback",
        Operator::Person(_) => "proxy",
    };
    json_response(StatusCode::OK, &json!({"name": operator.name(), "signed_in_by": by}))
}

/// Who asks, or why nobody may.
fn operator<B>(request: &http::Request<B>, server: &ServerSettings) -> Result<Operator, Fault> {
    let (headers, token) = (request.headers(), server.admin_token.as_ref());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.to_canonical());
    let trusted = server.sign_in.as_ref().filter(|sign_in| peer.is_some_and(|peer| sign_in.trusts(peer)));
    let Some(sign_in) = trusted else {
        // Of an open listener `Host` says nothing: whoever calls writes it.
        let near = server.open_to_this_machine() && peer.is_some_and(|peer| peer.is_loopback());
        if token.is_none() && !near {
            return Err(Fault::not_signed_in());
        }
        auth::admits_admin(headers, token)?;
        return Ok(if token.is_some() { Operator::Token } else { Operator::Machine });
    };
    auth::refuse_data_key(headers)?;
    let named = named(headers, sign_in);
    if token.is_some_and(|token| auth::has_token(headers, token)) {
        let name = named.ok().flatten().filter(|name| sign_in.lists(name));
        return Ok(name.map_or(Operator::Token, |name| Operator::Person(name.into())));
    }
    let Some(name) = named? else {
        return Err(if token.is_some() { Fault::bad_admin_token() } else { Fault::not_signed_in() });
    };
    if !sign_in.lists(name) {
        tracing::info!(operator = name, "is not among `server.admin_identities`");
        return Err(Fault::unlisted_identity());
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    // HTTP/2 has it in the address.
    let host = host.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    if !is_of_own_page(request.method(), headers, host.unwrap_or_default()) {
        return Err(Fault::foreign_page());
    }
    Ok(Operator::Person(name.into()))
}

/// Whom the proxy names; a name that is there twice, empty or unreadable is refused.
fn named<'a>(headers: &'a HeaderMap, sign_in: &SignIn) -> Result<Option<&'a str>, Fault> {
    let mut values = headers.get_all(&sign_in.header).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let name = value.to_str().ok().map(str::trim).filter(|name| (1..=LONGEST_NAME).contains(&name.len()));
    let name = name.filter(|_| values.next().is_none());
    name.map(Some).ok_or_else(Fault::bad_identity)
}

/// Whether a request comes from the page that was loaded from this host, as far as its browser says so.
fn is_of_own_page(method: &Method, headers: &HeaderMap, host: &str) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return method.is_safe() };
    let parts = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let Some((scheme, authority)) = parts.filter(|_| origins.next().is_none()) else { return false };
    // Browsers leave the usual port out of an origin; what is between may write it into the host.
    let usual = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return false,
    };
    let host = host.strip_suffix(usual).unwrap_or(host);
    !host.is_empty() && authority.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use policies::Secret;

    fn server(listen: &str, token: Option<&str>) -> ServerSettings {
        let text = format!(
            "[server]\nadmin_listen = \"{listen}\"\nadmin_identity_header = \"X-User\"\n\
             admin_trusted_proxies = [\"10.0.0.9\", \"127.0.0.2\"]\nadmin_identities = [\"ann@example.org\"]\n"
        );
        let settings: Settings = crate::config::parse(&text, std::path::Path::new(".")).unwrap();
        ServerSettings { admin_token: token.map(|token| Secret::new(token.into())), ..settings.server }
    }

    fn asked(
        server: &ServerSettings,
        method: &str,
        peer: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<Operator, u16> {
        let mut request = http::Request::builder().method(method).uri("/api/keys");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(Peer(peer.parse().unwrap()));
        }
        operator(&request, server)
            .map_err(|fault| fault.response(super::super::routes::Shape::OpenAi).status().as_u16())
    }

    #[test]
    fn an_open_listener_without_a_token_believes_no_host_and_nobody_but_the_proxy() {
        let server = server("0.0.0.0:1", None);
        let ann = ("x-user", "ann@example.org");
        for (peer, headers, is) in [
            (Some("10.0.0.9"), vec![("host", "a.example"), ann], Ok(Operator::Person("ann@example.org".into()))),
            (Some("::ffff:10.0.0.9"), vec![("host", "a.example"), ann], Ok(Operator::Person("ann@example.org".into()))),
            (Some("10.0.0.8"), vec![("host", "localhost"), ann], Err(403)),
            (Some("10.0.0.8"), vec![("host", "localhost"), ("x-forwarded-for", "10.0.0.9"), ann], Err(403)),
            (Some("127.0.0.1"), vec![("host", "localhost")], Err(403)),
            (Some("10.0.0.9"), vec![("host", "localhost")], Err(403)),
            (None, vec![("host", "localhost"), ann], Err(403)),
        ] {
            assert_eq!(asked(&server, "GET", peer, &headers), is, "{peer:?} {headers:?}");
        }
    }

    #[test]
    fn what_may_change_something_comes_from_the_own_page_or_with_the_token() {
        let server = server("127.0.0.1:1", Some("t"));
        let ann = Ok(Operator::Person("ann@example.org".into()));
        for (method, more, is) in [
            ("GET", vec![], ann.clone()),
            ("GET", vec![("origin", "https://evil.example")], Err(403)),
            ("POST", vec![], Err(403)),
            ("DELETE", vec![], Err(403)),
            ("POST", vec![("origin", "null")], Err(403)),
            ("POST", vec![("origin", "https://evil.example")], Err(403)),
            ("POST", vec![("origin", "https://a.example:8443")], Err(403)),
            ("POST", vec![("origin", "https://a.example.evil.example")], Err(403)),
            ("POST", vec![("origin", "https://a.example"), ("origin", "https://evil.example")], Err(403)),
            ("POST", vec![("origin", "https://A.example")], ann.clone()),
            ("POST", vec![("authorization", "Bearer t")], ann.clone()),
            ("POST", vec![("authorization", "Bearer another")], Err(403)),
            ("POST", vec![("authorization", "Bearer sk-sluice-1"), ("origin", "https://a.example")], Err(403)),
        ] {
            let mut headers = vec![("x-user", "ann@example.org"), ("host", "a.example:443")];
            headers.extend(more);
            assert_eq!(asked(&server, method, Some("10.0.0.9"), &headers), is, "{method} {headers:?}");
        }
    }
}

//! Sign-in on the admin listener by an authenticating proxy: who is believed, and who may come in.
//!
//! **Promise.** A name counts only when it comes from an address that is listed, and only a listed name opens. Nothing is
//! believed by default: the header, the proxies and the names are all given, or the start is refused.
//!
//! **Why names are listed here too**, although the proxy has its own list: the same proxy often stands in front of much
//! that is open to everybody in the house.
//!
//! **What it does not do.** It checks no signature. Whoever can open a connection from a trusted address can be anybody on
//! the list; on a machine with a trusted loopback address that is each of its programs.

use super::listeners::ServerSettings;
use super::providers::Findings;
use super::spec::ServerSpec;
use http::HeaderName;
use ipnet::{IpNet, Ipv4Net};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Headers that say something else already: one of them as a name would let a client's own word in.
const TAKEN: [&str; 17] = [
    "accept",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "origin",
    "proxy-authorization",
    "referer",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-api-key",
    "x-forwarded-for",
];

/// Networks with a shorter prefix hold more than a few proxies: IPv4, IPv6.
const WIDE: (u8, u8) = (24, 64);

/// Sign-in by a header.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The header that names who is signed in.
    pub header: HeaderName,
    /// Whose word on it counts.
    pub proxies: Vec<IpNet>,
    /// Who may come in; empty: nobody.
    pub identities: Vec<Identity>,
}

/// Who may come in. Domains are compared without regard to case, everything else exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// This name: `ann@example.org`, or a name without a domain.
    Name(String),
    /// `*@example.org`: each plain address at exactly this domain.
    At(String),
}

// === impl SignIn ===

impl SignIn {
    /// Whether a peer's word counts. The peer is the other end of the connection, never what a header says of it.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxies.iter().any(|net| net.contains(&peer))
    }

    /// Whether somebody may come in.
    pub fn lists(&self, name: &str) -> bool {
        self.identities.iter().any(|identity| identity.is(name))
    }
}

// === impl Identity ===

impl Identity {
    fn read(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || text.trim() != text {
            return Err("an identity is visible ASCII, without space around it");
        }
        let domain = match (text.strip_prefix("*@"), text.contains('*')) {
            (Some(domain), _) => domain,
            (None, false) => return Ok(Self::Name(text.to_owned())),
            (None, true) => return Err("a `*` stands before a whole domain only: `*@example.org`"),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        if domain.is_empty() || !domain.bytes().all(plain) {
            return Err("after `*@` there must be a domain: `*@example.org`");
        }
        Ok(Self::At(domain.to_owned()))
    }

    /// Whether this is who is named.
    fn is(&self, name: &str) -> bool {
        let parts = name.rsplit_once('@');
        match self {
            Self::Name(listed) => match (listed.rsplit_once('@'), parts) {
                (Some((who, at)), Some((local, domain))) => who == local && at.eq_ignore_ascii_case(domain),
                (None, None) => listed == name,
                (Some(_), None) | (None, Some(_)) => false,
            },
            // A list that a proxy made of two headers is no address, nor is one in quotes.
            Self::At(at) => parts.is_some_and(|(local, domain)| {
                !local.is_empty() && local.bytes().all(is_atom) && at.eq_ignore_ascii_case(domain)
            }),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::At(domain) => write!(f, "*@{domain}"),
        }
    }
}

/// What may be before the `@` of an address without quotes (RFC 5322, `dot-atom`).
fn is_atom(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte)
}

// === impl ServerSettings ===

impl ServerSettings {
    /// To whom the admin listener is open, a phrase each.
    pub fn admin_open_to(&self) -> Vec<String> {
        let mut open = Vec::new();
        if self.admin_token.is_some() {
            open.push("whoever has the admin token".to_owned());
        }
        if let Some(SignIn { header, proxies, identities }) = &self.sign_in {
            let who = if identities.is_empty() { "nobody".into() } else { words(identities) };
            let from = words(proxies);
            open.push(format!("{who}, as `{header}` says from {from} (who can connect from there can be any of them)"));
        }
        if self.open_to_this_machine() {
            let but = if self.sign_in.is_some() { ", but not from the trusted proxies" } else { "" };
            open.push(format!("this machine, by a loopback name{but}"));
        }
        open
    }

    /// Whether programs of this machine come in without a word.
    pub fn open_to_this_machine(&self) -> bool {
        self.admin_token.is_none() && self.admin_listen.ip().is_loopback()
    }
}

fn words<T: fmt::Display>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Reads sign-in by a header; `None` where it is not configured, or wrong.
pub(super) fn read_sign_in(spec: &ServerSpec, listen: SocketAddr, found: &mut Findings) -> Option<SignIn> {
    let (proxies, identities) = (&spec.admin_trusted_proxies, &spec.admin_identities);
    let Some(typed) = &spec.admin_identity_header else {
        for (key, idle) in [("admin_trusted_proxies", proxies.is_some()), ("admin_identities", identities.is_some())] {
            if idle {
                found.problems.push(format!("`server.{key}` does nothing without `server.admin_identity_header`"));
            }
        }
        return None;
    };
    let header = read_header(typed).map_err(|why| format!("`server.admin_identity_header`: {why}"));
    let header = header.map_err(|problem| found.problems.push(problem)).ok();
    let proxies = proxies.as_ref().map_or(&[][..], |names| &names.0);
    if proxies.is_empty() {
        found.problems.push(
            "`server.admin_trusted_proxies` is missing: without it nobody's `server.admin_identity_header` is believed"
                .into(),
        );
    }
    let mut nets = Vec::new();
    for text in proxies {
        match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(net) => nets.push(canonical(net)),
            Err(_) => found
                .problems
                .push(format!("`server.admin_trusted_proxies`: `{text}` is neither an address nor a network")),
        }
    }
    let Some(identities) = identities else {
        found.problems.push(
            "`server.admin_identities` is missing: list who may come in, as `ann@example.org` or `*@example.org`"
                .into(),
        );
        return None;
    };
    let mut listed = Vec::new();
    for text in &identities.0 {
        match Identity::read(text) {
            Ok(identity) => listed.push(identity),
            Err(why) => found.problems.push(format!("`server.admin_identities`: `{text}`: {why}")),
        }
    }
    let sign_in = SignIn { header: header?, proxies: nets, identities: listed };
    found.warnings.extend(doubts(&sign_in, spec.admin_tls.is_some(), listen));
    Some(sign_in)
}

fn read_header(text: &str) -> Result<HeaderName, String> {
    let name: HeaderName = text.parse().map_err(|_| format!("`{text}` is no name of a header"))?;
    match TAKEN.contains(&name.as_str()) {
        true => Err(format!("`{name}` says something else already; use one of its own, such as `x-forwarded-email`")),
        false => Ok(name),
    }
}

/// An IPv4 network that was written as part of IPv6 is the IPv4 network.
fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(six) = net else { return net.trunc() };
    let four = six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(96));
    let four = four.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    four.map_or(net, IpNet::V4).trunc()
}

/// What works, but not as one might think.
fn doubts(sign_in: &SignIn, tls: bool, listen: SocketAddr) -> Vec<String> {
    let wide = |net: &&IpNet| match net {
        IpNet::V4(net) => net.prefix_len() < WIDE.0,
        IpNet::V6(net) => net.prefix_len() < WIDE.1,
    };
    let mut doubts: Vec<String> = sign_in
        .proxies
        .iter()
        .filter(wide)
        .map(|net| {
            format!(
                "`server.admin_trusted_proxies`: {net} is wide; each machine in it can sign in as anybody who is listed"
            )
        })
        .collect();
    if !tls && !listen.ip().is_loopback() {
        doubts.push(
            "`server.admin_identity_header` is believed without TLS: who is between the proxy and this listener can read and \
             change what passes; set `server.admin_tls`"
                .into(),
        );
    }
    if sign_in.identities.is_empty() {
        doubts.push("`server.admin_identities` is empty: nobody can sign in through the proxy".into());
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units::Names;

    fn names(list: &[&str]) -> Option<Names> {
        Some(Names(list.iter().map(ToString::to_string).collect()))
    }

    fn read(header: &str, proxies: &[&str], identities: &[&str]) -> (Option<SignIn>, Findings) {
        let spec = ServerSpec {
            admin_identity_header: Some(header.into()),
            admin_trusted_proxies: names(proxies),
            admin_identities: names(identities),
            ..ServerSpec::default()
        };
        let mut found = Findings::default();
        let sign_in = read_sign_in(&spec, SocketAddr::from(([10, 0, 0, 1], 1)), &mut found);
        (sign_in, found)
    }

    #[test]
    fn only_who_is_listed_is_listed() {
        for (listed, name, is) in [
            ("ann@example.org", "ann@example.org", true),
            ("ann@example.org", "ann@EXAMPLE.org", true),
            ("ann@example.org", "Ann@example.org", false),
            ("ann@example.org", "ann@example.org.evil.example", false),
            ("ann@example.org", "xann@example.org", false),
            ("ann@example.org", "ann@example.org,bob@example.org", false),
            ("ann@example.org", "ann", false),
            ("ann", "ann", true),
            ("ann", "Ann", false),
            ("ann", "ann@example.org", false),
            ("*@example.org", "bob@example.org", true),
            ("*@example.org", "bob.b+c@Example.Org", true),
            ("*@example.org", "@example.org", false),
            ("*@example.org", "example.org", false),
            ("*@example.org", "bob@sub.example.org", false),
            ("*@example.org", "bob@notexample.org", false),
            ("*@example.org", "eve@evil.example,bob@example.org", false),
            ("*@example.org", "eve@evil.example bob@example.org", false),
            ("*@example.org", "eve@evil.example@example.org", false),
            ("*@example.org", "\"eve@evil.example\"@example.org", false),
        ] {
            let sign_in = read("x-user", &["10.0.0.9"], &[listed]).0.unwrap();
            assert_eq!(sign_in.lists(name), is, "{listed}: {name}");
        }
        assert!(!read("x-user", &["10.0.0.9"], &[]).0.unwrap().lists("ann"), "an empty list lets nobody in");
    }

    #[test]
    fn only_the_networks_that_are_listed_are_trusted_in_either_form() {
        for (net, peer, trusted) in [
            ("10.0.0.9", "10.0.0.9", true),
            ("10.0.0.9", "10.0.0.8", false),
            ("10.0.0.9", "::ffff:10.0.0.9", true),
            ("::ffff:10.0.0.9", "10.0.0.9", true),
            ("::ffff:10.0.0.0/120", "10.0.0.7", true),
            ("::ffff:10.0.0.0/120", "10.0.1.7", false),
            ("10.0.0.9/24", "10.0.0.1", true),
            ("10.0.0.9/24", "10.0.1.1", false),
            ("fd00::/64", "fd00::7", true),
            ("fd00::/64", "fd00:0:0:1::7", false),
            ("::/0", "10.0.0.9", false),
        ] {
            let sign_in = read("x-user", &[net], &["ann"]).0.unwrap();
            assert_eq!(sign_in.trusts(peer.parse().unwrap()), trusted, "{net}: {peer}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_problem_and_what_is_wide_a_warning() {
        for (header, proxies, identities, says) in [
            ("x user", &["10.0.0.9"][..], &["ann"][..], "no name of a header"),
            ("", &["10.0.0.9"], &["ann"], "no name of a header"),
            ("Authorization", &["10.0.0.9"], &["ann"], "something else"),
            ("cookie", &["10.0.0.9"], &["ann"], "something else"),
            ("HOST", &["10.0.0.9"], &["ann"], "something else"),
            ("x-user", &[], &["ann"], "admin_trusted_proxies"),
            ("x-user", &["proxy.example"], &["ann"], "neither an address nor a network"),
            ("x-user", &["10.0.0.0/33"], &["ann"], "neither an address nor a network"),
            ("x-user", &["10.0.0.9"], &["*"], "whole domain"),
            ("x-user", &["10.0.0.9"], &["*@*.org"], "a domain"),
            ("x-user", &["10.0.0.9"], &["a*@example.org"], "whole domain"),
            ("x-user", &["10.0.0.9"], &[""], "visible ASCII"),
            ("x-user", &["10.0.0.9"], &[" ann"], "visible ASCII"),
        ] {
            let problems = read(header, proxies, identities).1.problems;
            assert!(
                problems.len() == 1 && problems[0].contains(says),
                "{header} {proxies:?} {identities:?}: {problems:?}"
            );
        }
        for (net, wide) in [("10.0.0.0/23", true), ("10.0.0.0/24", false), ("fd00::/63", true), ("fd00::/64", false)] {
            let warnings = read("x-user", &[net], &["ann"]).1.warnings;
            assert_eq!(warnings.iter().any(|text| text.contains("wide")), wide, "{warnings:?}");
            assert!(warnings.iter().any(|text| text.contains("without TLS")), "{warnings:?}");
        }
    }
}

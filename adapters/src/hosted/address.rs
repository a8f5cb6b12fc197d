//! Which addresses a provider's name may stand for.
//!
//! **Promise.** A connection is opened only to an address that was permitted when the name was resolved for it: the
//! check and the connection use the same answer of the resolver, so a name that is pointed elsewhere a moment later
//! (DNS rebinding) gains nothing.
//!
//! **Why.** A permit names a provider, but what is dialled is an address. A hosted provider whose name suddenly resolves into
//! the house is an attack on the house (SSRF); one in the house whose name suddenly resolves to the world is a leak.
//!
//! **Rules.** Addresses that the configuration lists; else a hosted provider has public ones, one in the house has
//! addresses of private use. Link-local ones, where clouds serve their metadata, have to be listed. An address in
//! the configuration in place of a name is what the operator typed, and is dialled as it is.

use ipnet::IpNet;
use policies::Location;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Which addresses are a provider's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Public ones.
    World,
    /// Those of private use and the machine's own.
    House,
    /// These.
    Listed(Vec<IpNet>),
}

/// A name resolved to nothing that the provider may have.
#[derive(Debug, thiserror::Error)]
#[error("the provider's name stands for addresses that are none of its own ({found} found, none permitted)")]
pub(super) struct Elsewhere {
    found: usize,
}

/// Resolves through the system, and lets through what may be dialled.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    reach: Arc<Reach>,
}

// === impl Reach ===

impl Reach {
    /// What is assumed of a provider that lists none.
    pub fn usual(location: Location) -> Self {
        match location {
            Location::Hosted => Self::World,
            Location::Local => Self::House,
        }
    }

    /// Whether `name` may stand for that address.
    pub fn permits(&self, name: &str, address: IpAddr) -> bool {
        let address = canonical(address);
        match self {
            Self::Listed(nets) => nets.iter().any(|net| net.contains(&address)),
            // RFC 6761, 6.3: the name means the machine itself, and only that.
            Self::World | Self::House if is_localhost(name) => address.is_loopback(),
            Self::World => is_public(address),
            Self::House => is_private(address),
        }
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// The address that is meant by those that carry another one: IPv4-mapped (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056).
fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([one, two], [three, four]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(one, two, three, four))
    };
    match (a, b, [c, d, e, f]) {
        (0x0064, 0xff9b, [0, 0, 0, 0]) => v4(g, h),
        (0x2002, high, [low, ..]) => v4(high, low),
        (0, 0, [0, 0, 0, 0]) if (g, h) != (0, 0) && (g, h) != (0, 1) => v4(g, h),
        _ => address,
    }
}

/// RFC 1918, RFC 4193 and loopback.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private(),
        IpAddr::V6(v6) => v6.is_loopback() || (v6.segments()[0] & 0xfe00) == 0xfc00,
    }
}

/// Globally reachable, by the registries of special-purpose addresses (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        || a >= 224;
    !(special || address.is_private() || address.is_loopback() || address.is_link_local() || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Global unicast without documentation (RFC 3849, RFC 9637), Teredo, benchmarking and ORCHID.
    (a & 0xe000) == 0x2000 && !(a == 0x2001 && (b < 0x0200 || b == 0x0db8)) && !(a == 0x3fff && b < 0x1000)
}

// === impl Resolver ===

impl Resolver {
    pub(super) fn new(reach: Reach) -> Self {
        Self { reach: Arc::new(reach) }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.reach.clone();
        Box::pin(async move {
            let name = name.as_str();
            let all: Vec<SocketAddr> = tokio::net::lookup_host((name, 0)).await?.collect();
            let found = all.len();
            let permitted: Vec<SocketAddr> =
                all.into_iter().filter(|address| reach.permits(name, address.ip())).collect();
            if permitted.is_empty() && found > 0 {
                return Err(Elsewhere { found }.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_only_for_addresses_of_its_side() {
        let world = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1"];
        let house =
            ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "::1", "fd00::1", "::ffff:10.0.0.1", "127.8.8.8"];
        let neither = [
            "169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "192.0.2.1",
            "2001:db8::1",
            "ff02::1",
            "64:ff9b::a9fe:a9fe",
            "::ffff:169.254.169.254",
            "2002:a9fe:a9fe::1",
            "192.88.99.1",
            "2001::1",
            "3fff::1",
            "240.0.0.1",
            "64:ff9b:1::1",
            "203.0.113.9",
        ];
        for (addresses, in_world, in_house) in
            [(&world[..], true, false), (&house, false, true), (&neither, false, false)]
        {
            for text in addresses {
                let address = text.parse().unwrap();
                assert_eq!(Reach::World.permits("api.example.com", address), in_world, "{text}");
                assert_eq!(Reach::House.permits("llm.lan", address), in_house, "{text}");
            }
        }
        for text in ["::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"] {
            assert!(!Reach::World.permits("api.example.com", text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn listed_addresses_are_the_only_ones_and_localhost_is_the_machine() {
        let listed = Reach::Listed(vec!["10.0.0.0/8".parse().unwrap(), "169.254.169.254/32".parse().unwrap()]);
        for (text, permitted) in [
            ("10.9.9.9", true),
            ("::ffff:10.9.9.9", true),
            ("169.254.169.254", true),
            ("8.8.8.8", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(listed.permits("azure.example.com", text.parse().unwrap()), permitted, "{text}");
        }
        assert!(Reach::World.permits("localhost", "127.0.0.1".parse().unwrap()));
        assert!(!Reach::World.permits("localhost", "8.8.8.8".parse().unwrap()));
        assert!(!Reach::World.permits("localhost.example.com", "127.0.0.1".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_name_that_resolves_elsewhere_is_not_dialled() {
        let error = Resolver::new(Reach::Listed(vec![])).resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert!(error.downcast_ref::<Elsewhere>().is_some(), "{error}");
        let mut found = Resolver::new(Reach::World).resolve("localhost".parse().unwrap()).await.unwrap();
        assert!(found.all(|address| address.ip().is_loopback()));
    }
}

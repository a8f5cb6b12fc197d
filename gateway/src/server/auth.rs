//! Who asks.
//!
//! **Promise.** A presented key is hashed first and looked up by its full digest in memory, compared in constant time; no
//! SQL runs in this path. With no key in the ledger only loopback is served and a presented key is ignored; from the
//! first key on every request needs one. A key made or revoked by another process counts within a second.

use super::fault::Fault;
use arc_swap::ArcSwap;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use policies::{Principal, Secret};
use router::ledger::{KeyRecord, Ledger, LedgerError};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The longest key that is looked at.
const LONGEST_KEY: usize = 512;

type Keys = HashMap<[u8; 32], KeyRecord>;

/// All keys, in memory.
pub struct KeyRing {
    keys: ArcSwap<Keys>,
    version: parking_lot::Mutex<i64>,
}

// === impl KeyRing ===

impl KeyRing {
    /// Reads the keys.
    pub fn start(ledger: &Ledger) -> Result<Self, LedgerError> {
        let ring = Self { keys: ArcSwap::default(), version: parking_lot::Mutex::new(i64::MIN) };
        ring.refresh(ledger)?;
        Ok(ring)
    }

    /// Reads the keys again if anybody wrote to the ledger's file; says whether they changed.
    pub fn refresh(&self, ledger: &Ledger) -> Result<bool, LedgerError> {
        let version = ledger.version()?;
        {
            let mut known = self.version.lock();
            if *known == version {
                return Ok(false);
            }
            *known = version;
        }
        let keys: Keys = ledger.keys()?.into_iter().map(|key| (key.digest, key)).collect();
        let old = self.keys.load();
        let same = old.len() == keys.len()
            && keys.iter().all(|(digest, key)| old.get(digest).is_some_and(|known| known.revoked_us == key.revoked_us));
        self.keys.store(Arc::new(keys));
        Ok(!same)
    }

    /// All keys.
    pub fn all(&self) -> Vec<KeyRecord> {
        self.keys.load().values().cloned().collect()
    }

    /// Says who asks, or why nobody may.
    pub fn identify(&self, headers: &HeaderMap, peer: IpAddr, required: bool) -> Result<Principal, Fault> {
        let keys = self.keys.load();
        if keys.is_empty() && !required {
            return if peer.is_loopback() { Ok(Principal::default()) } else { Err(Fault::no_keys_and_not_loopback()) };
        }
        let Some(presented) = presented(headers) else { return Err(Fault::no_key()) };
        if presented.len() > LONGEST_KEY {
            return Err(Fault::bad_key());
        }
        let digest = KeyRecord::digest_of(presented);
        let Some(record) = keys.get(&digest) else { return Err(Fault::bad_key()) };
        let same = bool::from(record.digest.ct_eq(&digest));
        if !same || !record.valid_at(jiff::Timestamp::now().as_microsecond()) {
            return Err(Fault::bad_key());
        }
        Ok(Principal {
            key: Some(record.id.clone()),
            key_name: Some(record.key.name.clone()),
            team: record.key.team.clone(),
            user: record.key.user.clone(),
            models: record.key.models.clone(),
        })
    }
}

/// The key in `Authorization: Bearer` or `x-api-key`.
fn presented(headers: &HeaderMap) -> Option<&str> {
    bearer(headers).or_else(|| headers.get("x-api-key")?.to_str().ok()).filter(|key| !key.is_empty())
}

/// The bearer token.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Who may use the admin listener.
///
/// With a token: whoever presents it. Without one the listener is on loopback: `Host` and `Origin` must be, too, so that
/// a page in the operator's browser cannot reach it by another name. A data key opens nothing here.
pub fn admits_admin(headers: &HeaderMap, token: Option<&Secret>) -> Result<(), Fault> {
    let in_header = headers.get("x-api-key").and_then(|key| key.to_str().ok());
    if [bearer(headers), in_header].into_iter().flatten().any(|key| key.starts_with("sk-sluice-")) {
        return Err(Fault::data_key_on_admin());
    }
    let presented = bearer(headers);
    match token {
        Some(token) => {
            let given = KeyRecord::digest_of(presented.unwrap_or_default());
            let wanted = KeyRecord::digest_of(token.expose());
            if bool::from(given.ct_eq(&wanted)) { Ok(()) } else { Err(Fault::bad_admin_token()) }
        }
        None => {
            let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            let origin = headers.get(http::header::ORIGIN).and_then(|origin| origin.to_str().ok());
            let own = origin.is_none_or(|origin| {
                origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
            });
            if is_loopback(host) && own { Ok(()) } else { Err(Fault::foreign_origin()) }
        }
    }
}

/// Whether an authority names this machine to itself.
fn is_loopback(authority: &str) -> bool {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => authority,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn without_a_token_only_loopback_names_and_the_page_itself_are_admitted() {
        for (pairs, admitted) in [
            (vec![("host", "127.0.0.1:8081")], true),
            (vec![("host", "localhost:8081"), ("origin", "http://localhost:8081")], true),
            (vec![("host", "[::1]:8081")], true),
            (vec![("host", "evil.example:8081")], false),
            (vec![("host", "127.0.0.1.evil.example")], false),
            (vec![("host", "localhost:8081"), ("origin", "http://evil.example")], false),
            (vec![("host", "localhost:8081"), ("origin", "null")], false),
            (vec![("host", "localhost:8081"), ("authorization", "Bearer sk-sluice-1")], false),
            (vec![("host", "localhost:8081"), ("x-api-key", "sk-sluice-1")], false),
            (vec![], false),
        ] {
            assert_eq!(admits_admin(&headers(&pairs), None).is_ok(), admitted, "{pairs:?}");
        }
    }

    #[test]
    fn with_a_token_only_the_token_opens() {
        let token = Secret::new("t".into());
        let admitted =
            |value: &str| admits_admin(&headers(&[("authorization", value), ("host", "x")]), Some(&token)).is_ok();
        assert!(admitted("Bearer t") && admitted("bearer t"));
        assert!(
            !admitted("Bearer tt") && !admitted("Bearer ") && !admitted("Basic t") && !admitted("Bearer sk-sluice-t")
        );
    }
}

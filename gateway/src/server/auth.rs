//! Who asks.
//!
//! **Promise.** A presented key is hashed first and looked up by its full digest in memory, compared in constant time; no
//! SQL runs in this path. With no key in the ledger only loopback is served and a presented key is ignored; from the
//! first key on every request needs one. A key that another process made, rotated or revoked counts
//! within a second.

use super::fault::Fault;
use arc_swap::ArcSwap;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use policies::{Principal, Secret};
use router::ledger::{KeyDigest, KeyRecord, Ledger, LedgerError};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The longest key that is looked at.
const LONGEST_KEY: usize = 512;

/// Keys, and by digest which of them a secret is of, and until when (microseconds since 1970) if it was replaced.
#[derive(Default)]
struct Keys {
    all: Vec<KeyRecord>,
    secrets: HashMap<KeyDigest, (usize, Option<i64>)>,
}

/// All keys, in memory.
pub struct KeyRing {
    keys: ArcSwap<Keys>,
    /// The version of the ledger's file that was read last.
    version: parking_lot::Mutex<i64>,
}

// === impl Keys ===

impl Keys {
    fn of(all: Vec<KeyRecord>) -> Self {
        let mut secrets = HashMap::new();
        for (at, key) in all.iter().enumerate() {
            secrets.insert(key.digest, (at, None));
            secrets.extend(key.old.iter().map(|old| (old.digest, (at, Some(old.until_us)))));
        }
        Self { all, secrets }
    }

    /// The key that a secret with this digest opens at that time.
    fn opened_by(&self, digest: &KeyDigest, now_us: i64) -> Option<&KeyRecord> {
        let (stored, (at, until)) = self.secrets.get_key_value(digest)?;
        let record = self.all.get(*at)?;
        let current = until.is_none_or(|until| now_us < until) && record.valid_at(now_us);
        (bool::from(stored.ct_eq(digest)) && current).then_some(record)
    }
}

// === impl KeyRing ===

impl KeyRing {
    /// Reads the keys.
    pub fn start(ledger: &Ledger) -> Result<Self, LedgerError> {
        let ring = Self::of(vec![]);
        ring.refresh(ledger)?;
        Ok(ring)
    }

    /// These keys, without a ledger.
    pub fn of(keys: Vec<KeyRecord>) -> Self {
        Self { keys: ArcSwap::from_pointee(Keys::of(keys)), version: parking_lot::Mutex::new(i64::MIN) }
    }

    /// Reads the keys again if anybody wrote to the ledger's file; says whether they changed.
    pub fn refresh(&self, ledger: &Ledger) -> Result<bool, LedgerError> {
        // Held while reading: of two readers the later one must not be overtaken by what the earlier one saw.
        let mut known = self.version.lock();
        let version = ledger.version()?;
        if *known == version {
            return Ok(false);
        }
        let keys = ledger.keys()?;
        *known = version;
        let changed = self.keys.load().all != keys;
        if changed {
            self.keys.store(Arc::new(Keys::of(keys)));
        }
        Ok(changed)
    }

    /// All keys.
    pub fn all(&self) -> Vec<KeyRecord> {
        self.keys.load().all.clone()
    }

    /// Says who asks, or why nobody may.
    pub fn identify(&self, headers: &HeaderMap, peer: IpAddr, required: bool) -> Result<Principal, Fault> {
        let keys = self.keys.load();
        if keys.all.is_empty() && !required {
            return if peer.is_loopback() { Ok(Principal::default()) } else { Err(Fault::no_keys_and_not_loopback()) };
        }
        let Some(presented) = presented(headers) else { return Err(Fault::no_key()) };
        if presented.len() > LONGEST_KEY {
            return Err(Fault::bad_key());
        }
        let digest = KeyRecord::digest_of(presented);
        let now = jiff::Timestamp::now().as_microsecond();
        let Some(record) = keys.opened_by(&digest, now) else { return Err(Fault::bad_key()) };
        Ok(Principal {
            key: Some(record.id.clone()),
            key_name: Some(record.key.name.clone()),
            team: record.key.team.clone(),
            user: record.key.user.clone(),
            models: record.key.models.clone(),
            routes: record.key.routes.clone(),
            classes: record.key.classes.clone(),
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
    refuse_data_key(headers)?;
    match token {
        Some(token) if has_token(headers, token) => Ok(()),
        Some(_) => Err(Fault::bad_admin_token()),
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

/// A data key is a mistake on the admin listener, whatever else comes with it.
pub(super) fn refuse_data_key(headers: &HeaderMap) -> Result<(), Fault> {
    let in_header = headers.get("x-api-key").and_then(|key| key.to_str().ok());
    let given = [bearer(headers), in_header].into_iter().flatten().any(|key| key.starts_with("sk-sluice-"));
    if given { Err(Fault::data_key_on_admin()) } else { Ok(()) }
}

/// Whether the admin token is presented.
pub(super) fn has_token(headers: &HeaderMap, token: &Secret) -> bool {
    let given = KeyRecord::digest_of(bearer(headers).unwrap_or_default());
    let wanted = KeyRecord::digest_of(token.expose());
    given.ct_eq(&wanted).into()
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
    use router::ledger::{NewKey, OldSecret};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_replaced_secret_opens_until_its_overlap_ends_and_none_opens_an_ended_or_revoked_key() {
        let digest = |secret: &str| KeyRecord::digest_of(secret);
        let record = |id: &str, expires_us, revoked_us| KeyRecord {
            id: id.into(),
            digest: digest(&format!("{id}-new")),
            old: vec![OldSecret { digest: digest(&format!("{id}-old")), until_us: 100 }],
            key: NewKey { expires_us, ..NewKey::default() },
            created_us: 0,
            revoked_us,
        };
        let keys = Keys::of(vec![
            record("good", None, None),
            record("ending", Some(50), None),
            record("revoked", None, Some(10)),
        ]);
        for (secret, now, opens) in [
            ("good-new", 0, true),
            ("good-new", i64::MAX, true),
            ("good-old", 99, true),
            ("good-old", 100, false),
            ("ending-new", 49, true),
            ("ending-old", 49, true),
            ("ending-new", 50, false),
            ("ending-old", 50, false),
            ("revoked-new", 0, false),
            ("revoked-old", 0, false),
            ("good-ne", 0, false),
            ("", 0, false),
        ] {
            let opened = keys.opened_by(&digest(secret), now).map(|key| key.id.as_str());
            assert_eq!(opened, opens.then(|| secret.split('-').next().unwrap()), "{secret} at {now}");
        }
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

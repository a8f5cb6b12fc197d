//! Addresses: e-mail, IP, MAC.

use super::chain::Window;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

/// Endings of file names that a picture `logo@2x.png` has, and no e-mail address.
const FILES: [&str; 10] = ["png", "jpg", "jpeg", "gif", "svg", "webp", "pdf", "css", "html", "json"];

/// The extent of an e-mail address around its `@` (RFC 5321's common form: no quotes, no comments).
pub(super) fn email(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let local = |byte: &&u8| byte.is_ascii_alphanumeric() || b"._%+-'".contains(*byte);
    let before = bytes[..at].iter().rev().take(64).take_while(local).count();
    let after = bytes[at + 1..]
        .iter()
        .take(253)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        .count();
    let (start, end) = (at - before, at + 1 + after);
    let domain = std::str::from_utf8(&bytes[at + 1..end]).ok()?.trim_end_matches(['.', '-']);
    let end = at + 1 + domain.len();
    let (host, top) = domain.rsplit_once('.')?;
    let labels = host.split('.').all(|label| !label.is_empty() && !label.starts_with('-'));
    let ending = (2..=24).contains(&top.len()) && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    let punycode = top.starts_with("xn--");
    let named = bytes[start..at].iter().any(u8::is_ascii_alphanumeric);
    let file = FILES.iter().any(|ending| top.eq_ignore_ascii_case(ending));
    // `git@host:path` is a repository, `scheme://user:password@host` a connection.
    let repository = &bytes[start..at] == b"git" && bytes.get(end) == Some(&b':');
    let userinfo = start > 0 && bytes[start - 1] == b':' && {
        let word = bytes[..start].iter().rev().take(80).take_while(|byte| !byte.is_ascii_whitespace());
        word.zip(bytes[..start].iter().rev().skip(1)).any(|pair| pair == (&b'/', &b'/'))
    };
    (labels && (ending || punycode) && named && !file && !repository && !userinfo).then_some(start..end)
}

/// An IPv4 address: four groups between dots.
pub(super) fn ipv4(window: &Window<'_>) -> Option<[u8; 4]> {
    if window.lengths.len() != 4 || window.joints != b"..." {
        return None;
    }
    let mut octets = [0_u8; 4];
    let mut begin = 0;
    for (octet, length) in octets.iter_mut().zip(window.lengths) {
        let end = begin + usize::from(*length);
        let digits = &window.digits[begin..end];
        if *length > 3 || (*length > 1 && digits[0] == 0) {
            return None;
        }
        *octet = u8::try_from(super::checks::number(digits)).ok()?;
        begin = end;
    }
    // Nobody's machine: this host, this network, everybody.
    (!matches!(octets, [127, ..] | [0, ..] | [255, 255, 255, 255])).then_some(octets)
}

/// Whether four numbers are rather a version than an address: all of them small.
pub(super) fn like_a_version(octets: [u8; 4]) -> bool {
    octets.iter().all(|octet| *octet < 20) || octets[1..] == [0, 0, 0]
}

/// The extent of hexadecimal digits and colons around a colon; `None` where it is longer than any address.
pub(super) fn colons(bytes: &[u8], at: usize) -> (Range<usize>, bool) {
    const MOST: usize = 45;
    let part = |byte: &&u8| byte.is_ascii_hexdigit() || **byte == b':';
    let before = bytes[..at].iter().rev().take(MOST + 1).take_while(part).count();
    let after = bytes[at..].iter().take(MOST + 1).take_while(|byte| part(byte) || **byte == b'.').count();
    let span = at - before..at + after;
    let short = span.len() <= MOST;
    (span, short)
}

/// What groups between colons are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colons {
    Mac,
    Ipv6,
}

/// Reads groups between colons.
pub(super) fn read_colons(word: &str) -> Option<Colons> {
    let word = word.trim_end_matches('.');
    if mac(word.as_bytes()) {
        return Some(Colons::Mac);
    }
    // With fewer it is a time, a ratio or `::`, not an address of three groups.
    if word.bytes().filter(|byte| *byte == b':').count() < 3 {
        return None;
    }
    let groups = word.split(':').filter(|group| !group.is_empty()).count();
    let address: Ipv6Addr = word.parse().ok()?;
    // `dead::beef` may be code; an address has a digit and three groups.
    let telling = groups >= 3 && word.bytes().any(|byte| byte.is_ascii_digit());
    (telling && !IpAddr::V6(address).is_loopback()).then_some(Colons::Ipv6)
}

/// A MAC address: six pairs between colons or hyphens.
pub(super) fn mac(word: &[u8]) -> bool {
    let [first, ..] = word else { return false };
    let Some(mark @ (b':' | b'-')) = word.get(2) else { return false };
    word.len() == 17
        && word.iter().any(|byte| byte != first && byte != mark)
        && word.iter().enumerate().all(|(at, byte)| if at % 3 == 2 { byte == mark } else { byte.is_ascii_hexdigit() })
}

/// The extent of a MAC address with hyphens, or in three groups of four between dots, in which the word at `start` stands.
pub(super) fn mac_around(bytes: &[u8], start: usize, length: usize) -> Option<Range<usize>> {
    let (mark, step, total) = match length {
        2 => (b'-', 3, 17),
        4 => (b'.', 5, 14),
        _ => return None,
    };
    let beside = |byte: Option<&u8>| byte == Some(&mark);
    if !beside(bytes.get(start + length)) && !beside(start.checked_sub(1).and_then(|at| bytes.get(at))) {
        return None;
    }
    let mut begin = start;
    while begin >= step
        && start - begin < total
        && bytes[begin - 1] == mark
        && bytes[begin - step..begin - 1].iter().all(u8::is_ascii_hexdigit)
    {
        begin -= step;
    }
    let word = bytes.get(begin..begin + total)?;
    let outside = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == mark);
    let bounded = !outside(bytes.get(begin + total)) && !outside(begin.checked_sub(1).and_then(|at| bytes.get(at)));
    let right = match length {
        2 => mac(word),
        _ => {
            let parts = word
                .iter()
                .enumerate()
                .all(|(at, byte)| if at % 5 == 4 { *byte == b'.' } else { byte.is_ascii_hexdigit() });
            parts && word.iter().any(u8::is_ascii_alphabetic)
        }
    };
    (bounded && right).then(|| begin..begin + total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_what_looks_like_them() {
        for (text, found) in [
            ("write to ada.l+x@mail.example.org.", Some("ada.l+x@mail.example.org")),
            ("git@host.example:team/x", None),
            ("logo@2x.png", None),
            ("react@18.2.0", None),
            ("@app.route", None),
            ("user@localhost", None),
            ("redis://u:p@h.example.org/0", None),
            ("mailto:a@b.co", Some("a@b.co")),
        ] {
            let read = email(text.as_bytes(), text.find('@').unwrap()).map(|span| &text[span]);
            assert_eq!(read, found, "{text}");
        }
        for (text, read) in [
            ("2001:db8:0:1::8a2e", Some(Colons::Ipv6)),
            ("::1", None),
            ("12:30:45", None),
            ("dead::beef", None),
            ("00:1A:2b:3c:4d:5e", Some(Colons::Mac)),
            ("00:00:00:00:00:00", None),
        ] {
            assert_eq!(read_colons(text), read, "{text}");
        }
        for (text, word, found) in [
            ("aa-bb-1c-dd-ee-ff", "1c", true),
            ("aa-bb-1c-dd-ee-ff-00", "1c", false),
            ("aabb.cc1d.eeff", "cc1d", true),
            ("1234.5678.9012", "5678", false),
        ] {
            let at = text.find(word).unwrap();
            assert_eq!(mac_around(text.as_bytes(), at, word.len()).is_some(), found, "{text}");
        }
    }
}

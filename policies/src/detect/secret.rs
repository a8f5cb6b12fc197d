//! Credentials.
//!
//! Each has a beginning that its issuer documents, an alphabet and a length; GitHub's and npm's carry a checksum. One pass of
//! Aho-Corasick finds beginnings, and what follows is read once, up to a bound. The words are public prefixes, no secrets.

use super::DetectError;
use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::ops::Range;

/// Letters that a credential is made of.
#[derive(Clone, Copy, Debug)]
enum Letters {
    /// Letters and digits.
    Plain,
    /// With `-` and `_`.
    Word,
    /// With `+`, `/`, `=`.
    Base64,
    Hex,
    /// With `-`, `_` and `.`.
    Dotted,
}

/// How a credential is known.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Letters up to a number between two.
    Body(Letters, usize, usize),
    /// As many, and right by its checksum.
    Checked(usize),
    /// After an equals sign, colon or quotes: as many, between two.
    Assigned(Letters, usize, usize),
    Jwt,
    Pem,
    /// `://` with a password before the host.
    Connection,
    /// A password among the fields of a connection string.
    Field,
}

/// Name, beginning, shape; the beginning's case counts but for those in lower case with a space or an equals sign.
const ALL: &[(&str, &str, Shape)] = &[
    ("aws_access_key", "AKIA", Shape::Body(Letters::Plain, 16, 16)),
    ("aws_access_key", "ASIA", Shape::Body(Letters::Plain, 16, 16)),
    ("aws_secret_key", "aws_secret_access_key", Shape::Assigned(Letters::Base64, 40, 40)),
    ("aws_secret_key", "aws_secret_key", Shape::Assigned(Letters::Base64, 40, 40)),
    ("aws_secret_key", "secretaccesskey", Shape::Assigned(Letters::Base64, 40, 40)),
    ("aws_secret_key", "aws_session_token", Shape::Assigned(Letters::Base64, 100, 2_048)),
    ("github", "ghp_", Shape::Checked(36)),
    ("github", "gho_", Shape::Checked(36)),
    ("github", "ghu_", Shape::Checked(36)),
    ("github", "ghs_", Shape::Checked(36)),
    ("github", "ghr_", Shape::Checked(36)),
    ("github", "github_pat_", Shape::Body(Letters::Word, 82, 82)),
    ("npm", "npm_", Shape::Checked(36)),
    ("gitlab", "glpat-", Shape::Body(Letters::Dotted, 20, 300)),
    ("slack", "xoxb-", Shape::Body(Letters::Word, 24, 200)),
    ("slack", "xoxp-", Shape::Body(Letters::Word, 24, 200)),
    ("slack", "xoxa-", Shape::Body(Letters::Word, 24, 200)),
    ("slack", "xoxr-", Shape::Body(Letters::Word, 24, 200)),
    ("slack", "xoxs-", Shape::Body(Letters::Word, 24, 200)),
    ("slack", "xoxe-", Shape::Body(Letters::Word, 24, 300)),
    ("slack", "xapp-", Shape::Body(Letters::Word, 24, 200)),
    ("slack", "hooks.slack.com/services/T", Shape::Body(Letters::Base64, 30, 80)),
    ("stripe", "sk_live_", Shape::Body(Letters::Plain, 16, 250)),
    ("stripe", "sk_test_", Shape::Body(Letters::Plain, 16, 250)),
    ("stripe", "rk_live_", Shape::Body(Letters::Plain, 16, 250)),
    ("stripe", "rk_test_", Shape::Body(Letters::Plain, 16, 250)),
    ("stripe", "whsec_", Shape::Body(Letters::Base64, 24, 100)),
    ("google", "AIza", Shape::Body(Letters::Word, 35, 35)),
    ("google", "GOCSPX-", Shape::Body(Letters::Word, 28, 28)),
    ("google", "ya29.", Shape::Body(Letters::Dotted, 30, 2_048)),
    ("openai", "sk-proj-", Shape::Body(Letters::Word, 32, 250)),
    ("openai", "sk-svcacct-", Shape::Body(Letters::Word, 32, 250)),
    ("openai", "sk-admin-", Shape::Body(Letters::Word, 32, 250)),
    ("openai", "sk-", Shape::Body(Letters::Plain, 32, 64)),
    ("anthropic", "sk-ant-", Shape::Body(Letters::Word, 32, 250)),
    ("openrouter", "sk-or-v1-", Shape::Body(Letters::Hex, 64, 64)),
    ("sluice", "sk-sluice-", Shape::Body(Letters::Hex, 64, 64)),
    ("hugging_face", "hf_", Shape::Body(Letters::Plain, 34, 40)),
    ("groq", "gsk_", Shape::Body(Letters::Plain, 48, 60)),
    ("xai", "xai-", Shape::Body(Letters::Plain, 70, 100)),
    ("replicate", "r8_", Shape::Body(Letters::Plain, 37, 40)),
    ("pypi", "pypi-AgEIcHlwaS5vcmc", Shape::Body(Letters::Word, 50, 1_000)),
    ("sendgrid", "SG.", Shape::Body(Letters::Dotted, 66, 66)),
    ("digitalocean", "dop_v1_", Shape::Body(Letters::Hex, 64, 64)),
    ("databricks", "dapi", Shape::Body(Letters::Hex, 32, 32)),
    ("shopify", "shpat_", Shape::Body(Letters::Hex, 32, 32)),
    ("vault", "hvs.", Shape::Body(Letters::Word, 24, 300)),
    ("azure_storage", "accountkey=", Shape::Body(Letters::Base64, 86, 88)),
    ("azure_shared_access", "sharedaccesskey=", Shape::Body(Letters::Base64, 43, 88)),
    ("bearer_token", "bearer ", Shape::Body(Letters::Dotted, 24, 4_096)),
    ("jwt", "eyJ", Shape::Jwt),
    ("private_key", "-----BEGIN ", Shape::Pem),
    ("connection_string", "://", Shape::Connection),
    ("connection_string", "password=", Shape::Field),
    ("connection_string", "pwd=", Shape::Field),
];

/// Beginnings, compiled.
#[derive(Debug)]
pub(super) struct Secrets(AhoCorasick);

// === impl Secrets ===

impl Secrets {
    pub(super) fn compile() -> Result<Self, DetectError> {
        let beginnings = ALL.iter().map(|(_, beginning, _)| beginning);
        let build = AhoCorasickBuilder::new()
            .kind(Some(AhoCorasickKind::DFA))
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .build(beginnings);
        Ok(Self(build?))
    }

    /// Every beginning in a text, and the credential there if it is one.
    pub(super) fn find<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Option<(&'static str, Range<usize>)>> + 't {
        let bytes = text.as_bytes();
        self.0.find_iter(text).map(move |begin| {
            let (name, beginning, shape) = ALL.get(begin.pattern().as_usize())?;
            let spelled = &text[begin.range()];
            let any_case = matches!(shape, Shape::Assigned(..) | Shape::Field) || beginning.ends_with(['=', ' ']);
            let end = (any_case || spelled == *beginning).then(|| read(bytes, &begin.range(), *shape))??;
            Some((*name, begin.start()..end))
        })
    }
}

/// The end of a credential whose beginning is there.
fn read(bytes: &[u8], begin: &Range<usize>, shape: Shape) -> Option<usize> {
    let from = begin.end;
    let before = begin.start.checked_sub(1).map(|at| bytes[at]);
    let inside = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    match shape {
        Shape::Body(letters, least, most) => {
            // A beginning inside of a run is no beginning, or every one of them would read the run again.
            let inside = inside || (matches!(letters, Letters::Dotted) && before == Some(b'.'));
            let length = letters.run(&bytes[from..], most + 1);
            (!inside && (least..=most).contains(&length) && varied(&bytes[from..from + length]))
                .then_some(from + length)
        }
        Shape::Checked(length) => {
            let run = Letters::Plain.run(&bytes[from..], length + 1);
            (!inside && run == length && checked(&bytes[from..from + length])).then_some(from + length)
        }
        Shape::Assigned(letters, least, most) => {
            let gap = bytes[from..].iter().take(8).take_while(|byte| b" \t\"':=>\\".contains(byte)).count();
            let from = from + gap;
            let length = letters.run(&bytes[from..], most + 1);
            (gap > 0 && (least..=most).contains(&length) && varied(&bytes[from..from + length]))
                .then_some(from + length)
        }
        Shape::Jwt => (!inside).then(|| jwt(bytes, begin.start))?,
        Shape::Pem => pem(&bytes[from..]).map(|length| from + length),
        Shape::Connection => connection(bytes, begin),
        Shape::Field => field(bytes, begin),
    }
}

// === impl Letters ===

impl Letters {
    fn run(self, bytes: &[u8], most: usize) -> usize {
        let mine = |byte: &&u8| {
            let byte = **byte;
            match self {
                Self::Plain => byte.is_ascii_alphanumeric(),
                Self::Word => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
                Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
                Self::Hex => byte.is_ascii_hexdigit(),
                Self::Dotted => {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=')
                }
            }
        };
        bytes.iter().take(most).take_while(mine).count()
    }
}

/// Whether it is no placeholder: `xxxx...`, `your-key-here`.
fn varied(body: &[u8]) -> bool {
    let mut seen = [false; 256];
    body.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let different = seen.iter().filter(|seen| **seen).count();
    // A short key may have no digit by chance.
    let short = body.len() <= 16 && different >= 8;
    short || (different >= 6 && body.iter().any(u8::is_ascii_digit)) || different >= 16
}

/// GitHub's and npm's tokens end in the CRC-32 of what is before, in six digits of base 62 (GitHub's blog, April and September
/// 2021).
fn checked(body: &[u8]) -> bool {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let Some((random, check)) = body.split_at_checked(30) else { return false };
    let mut rest = crc32fast::hash(random) as usize;
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[rest % 62];
        rest /= 62;
    }
    digits == check
}

/// A JSON web token (RFC 7519): two or three parts, the first a JSON object that names an algorithm.
fn jwt(bytes: &[u8], start: usize) -> Option<usize> {
    const MOST: usize = 8_192;
    let header = Letters::Word.run(&bytes[start..], MOST);
    let dot = start + header;
    let payload = bytes.get(dot).filter(|byte| **byte == b'.').map(|_| Letters::Word.run(&bytes[dot + 1..], MOST))?;
    let second = dot + 1 + payload;
    let known = BASE64_URL_SAFE_NO_PAD.decode(&bytes[start..dot]).ok()?;
    let names = known.windows(5).any(|window| window == b"\"alg\"");
    let signature = bytes
        .get(second)
        .filter(|byte| **byte == b'.')
        .map_or(0, |_| 1 + Letters::Word.run(&bytes[second + 1..], MOST));
    (names && payload >= 8).then_some(second + signature)
}

/// What follows the beginning of a private key (RFC 7468 and its older kin); gives the length of the line.
fn pem(rest: &[u8]) -> Option<usize> {
    let line = &rest[..rest.len().min(48)];
    let length = line.windows(5).position(|window| window == b"-----")?;
    let label = std::str::from_utf8(&line[..length]).ok()?;
    label.contains("PRIVATE KEY").then_some(length + 5)
}

/// `scheme://user:password@host`; gives the end of the password.
fn connection(bytes: &[u8], begin: &Range<usize>) -> Option<usize> {
    const MOST: usize = 256;
    let rest = &bytes[begin.end..];
    let userinfo =
        rest.iter().take(MOST).take_while(|byte| !byte.is_ascii_whitespace() && !b"/\"'<>`".contains(byte)).count();
    let at = rest[..userinfo].iter().rposition(|byte| *byte == b'@')?;
    let colon = rest[..at].iter().position(|byte| *byte == b':')?;
    let host = rest.get(at + 1).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'[');
    let scheme = begin.start.checked_sub(1).is_some_and(|at| bytes[at].is_ascii_alphanumeric());
    (scheme && host && real_password(&rest[colon + 1..at])).then_some(begin.end + at)
}

/// A password among fields (`Server=...;Password=...`).
fn field(bytes: &[u8], begin: &Range<usize>) -> Option<usize> {
    const REACH: usize = 200;
    let rest = &bytes[begin.end..];
    let length =
        rest.iter().take(128).take_while(|byte| !byte.is_ascii_whitespace() && !b";\"'&".contains(byte)).count();
    let around =
        [&bytes[begin.start.saturating_sub(REACH)..begin.start], &rest[length..rest.len().min(length + REACH)]];
    let names = |part: &[u8]| {
        let part = part.to_ascii_lowercase();
        let has = |word: &[u8]| part.windows(word.len()).any(|window| window == word);
        [&b"server="[..], b"host=", b"data source=", b"user id=", b"uid=", b"database=", b"dbname="]
            .into_iter()
            .any(has)
    };
    (real_password(&rest[..length]) && around.into_iter().any(names)).then_some(begin.end + length)
}

/// Whether it is no placeholder: documentation is full of `user:password@host`.
fn real_password(password: &[u8]) -> bool {
    const PLACEHOLDERS: [&[u8]; 8] =
        [b"password", b"passwd", b"pass", b"pwd", b"secret", b"changeme", b"mypassword", b"yourpassword"];
    let lower = password.to_ascii_lowercase();
    let marked = password.first().is_some_and(|byte| b"$<{[%*.".contains(byte));
    let same = password.iter().all(|byte| Some(byte) == password.first());
    password.len() >= 3 && !marked && !same && !PLACEHOLDERS.contains(&lower.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&'static str> {
        Secrets::compile().unwrap().find(text).flatten().map(|(name, _)| name).collect()
    }

    #[test]
    fn credentials_are_known_by_their_issuer_and_placeholders_are_not_credentials() {
        let hex = "0123456789abcdef".repeat(4);
        let body = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xYzAbCdEfGhIjKlMnO";
        for (text, expected) in [
            ("AKIAIOSFODNN7EXAMPLE", Some("aws_access_key")),
            ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", Some("aws_secret_key")),
            ("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", Some("github")),
            ("ghp_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq18", None),
            ("ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", None),
            (&format!("key sk-sluice-{hex}"), Some("sluice")),
            (&format!("sk-ant-api03-{body}"), Some("anthropic")),
            (&format!("sk-proj-{body}"), Some("openai")),
            (&format!("sk-{body}"), Some("openai")),
            ("class=\"sk-fading-circle sk-cube-grid\"", None),
            ("sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", None),
            ("-----BEGIN RSA PRIVATE KEY-----", Some("private_key")),
            ("-----BEGIN PUBLIC KEY-----", None),
            ("postgres://app:h4rd2guess@db.example.org/app", Some("connection_string")),
            ("postgres://user:password@localhost/db", None),
            ("https://example.org/a:b@c", None),
            ("Server=db;User Id=sa;Password=h4rd2guess;", Some("connection_string")),
            ("password=h4rd2guess", None),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0abcd.c2lnbmF0dXJl", Some("jwt")),
            ("eyJzdWIiOiIxIn0.eyJzdWIiOiIxIn0abcd.c2lnbmF0dXJl", None),
        ] {
            assert_eq!(found(text), expected.into_iter().collect::<Vec<_>>(), "{text}");
        }
    }
}

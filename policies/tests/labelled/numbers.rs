//! Values of each kind.

use super::Draw;
use super::nationals::{aadhaar, be, br, ch, cn, de, es, fi, fr, gb, it, nl, no, pl, pt, se, sin, ssn, tr};

/// A generator of one kind of value.
pub struct Spec {
    pub kind: &'static str,
    pub group: &'static str,
    /// What sentences call it.
    pub label: &'static str,
    pub languages: &'static [&'static str],
    pub cases: usize,
    /// A second case each without a word beside it, reported on its own.
    pub bare: bool,
    pub make: fn(&mut Draw) -> String,
}

/// Group of identifiers with a weak check digit and no word beside them.
pub const BARE: &str = "national_id without a word beside it";

const EIGHT: &[&str] = &["en", "de", "fr", "es", "it", "nl", "pl", "pt"];

const fn national(
    group: &'static str,
    label: &'static str,
    languages: &'static [&'static str],
    bare: bool,
    make: fn(&mut Draw) -> String,
) -> Spec {
    Spec { kind: "national_id", group, label, languages, cases: 120, bare, make }
}

const fn other(
    kind: &'static str,
    group: &'static str,
    label: &'static str,
    cases: usize,
    make: fn(&mut Draw) -> String,
) -> Spec {
    Spec { kind, group, label, languages: EIGHT, cases, bare: false, make }
}

pub const ALL: &[Spec] = &[
    other("payment_card", "payment_card", "card", 700, card),
    other("iban", "iban", "iban", 500, iban),
    national("national_id es_nif", "id", &["es", "en"], false, es),
    national("national_id fr_nir", "id", &["fr", "en"], false, fr),
    national("national_id it_codice_fiscale", "id", &["it", "en"], false, it),
    national("national_id de_steuer_id", "id", &["de", "en"], true, de),
    national("national_id nl_bsn", "id", &["nl", "en"], true, nl),
    national("national_id pl_pesel", "id", &["pl", "en"], true, pl),
    national("national_id be_nrn", "id", &["fr", "nl", "en"], false, be),
    national("national_id pt_nif", "id", &["pt", "en"], true, pt),
    national("national_id se_personnummer", "id", &["sv", "en"], true, se),
    national("national_id fi_hetu", "id", &["fi", "en"], false, fi),
    national("national_id no_fnr", "id", &["en"], false, no),
    national("national_id gb_nhs", "id", &["en"], true, gb),
    national("national_id br_cpf", "id", &["pt", "en"], true, br),
    national("national_id cn_resident_id", "id", &["zh", "en"], false, cn),
    national("national_id tr_tckn", "id", &["tr", "en"], true, tr),
    national("national_id ch_ahv", "id", &["de", "fr", "it", "en"], false, ch),
    national("national_id in_aadhaar", "id", &["en"], true, aadhaar),
    national("national_id ca_sin", "id", &["en", "fr"], true, sin),
    national("national_id us_ssn (no check digit)", "id", &["en"], true, ssn),
    other("secret", "secret github (checksum)", "key", 200, github),
    other("secret", "secret by prefix", "key", 300, prefixed),
    other("secret", "secret jwt, private key, connection string", "key", 200, structured),
    other("passport", "passport", "passport", 240, passport),
    other("medical_record", "medical_record", "medical", 240, medical),
    other("email", "email", "email", 300, email),
    other("phone", "phone international", "phone", 240, abroad),
    other("phone", "phone national", "phone", 240, home),
    other("ip_address", "ip_address", "machine", 240, ip),
    other("mac_address", "mac_address", "machine", 120, mac),
];

/// The digit that makes an equation true, in place of `?`; draws the rest again where none does.
pub fn fitting(draw: &mut Draw, rest: impl Fn(&mut Draw) -> String, right: impl Fn(&[u64]) -> bool) -> String {
    loop {
        let template = rest(draw);
        let unknown = template.matches('?').count() as u32;
        for guess in 0..10_u64.pow(unknown) {
            let mut guess = format!("{guess:0width$}", width = unknown as usize).into_bytes().into_iter();
            let number: String =
                template.chars().map(|c| if c == '?' { guess.next().map_or('0', char::from) } else { c }).collect();
            let digits: Vec<u64> = number.bytes().map(|byte| u64::from(byte - b'0')).collect();
            if right(&digits) {
                return number;
            }
        }
    }
}

pub fn sum(digits: &[u64], weights: &[u64]) -> u64 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// Luhn by its definition: every second digit from the right doubled, digits of the products added.
pub fn luhn(digits: &[u64]) -> bool {
    let doubled = |(at, digit): (usize, &u64)| if at % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { *digit };
    digits.iter().rev().enumerate().map(doubled).sum::<u64>().is_multiple_of(10)
}

pub fn grouped(number: &str, lengths: &[usize], mark: &str) -> String {
    let mut at = 0;
    let parts: Vec<&str> = lengths
        .iter()
        .map(|length| {
            at += length;
            &number[at - length..at]
        })
        .collect();
    parts.join(mark)
}

pub fn date(draw: &mut Draw) -> (u64, u64, u64) {
    (draw.within(0, 99), draw.within(1, 12), draw.within(1, 28))
}

fn card(draw: &mut Draw) -> String {
    let (start, length) = draw.of(&[
        ("4", 16),
        ("51", 16),
        ("55", 16),
        ("2345", 16),
        ("34", 15),
        ("37", 15),
        ("6011", 16),
        ("65", 16),
        ("3540", 16),
        ("36", 14),
        ("62", 16),
    ]);
    let number = fitting(draw, |draw| format!("{start}{}?", draw.digits(length - start.len() - 1)), luhn);
    let lengths: &[usize] = match length {
        16 => &[4, 4, 4, 4],
        15 => &[4, 6, 5],
        _ => &[4, 6, 4],
    };
    match draw.below(4) {
        0 => grouped(&number, lengths, " "),
        1 => grouped(&number, lengths, "-"),
        _ => number,
    }
}

fn iban(draw: &mut Draw) -> String {
    let (country, form) = draw.of(&[
        ("DE", "nnnnnnnnnnnnnnnnnn"),
        ("FR", "nnnnnnnnnnccccccccccnnn"[..23].into()),
        ("ES", "nnnnnnnnnnnnnnnnnnnn"),
        ("IT", "annnnnnnnnncccccccccccc"),
        ("NL", "aaaannnnnnnnnn"),
        ("BE", "nnnnnnnnnnnn"),
        ("PL", "nnnnnnnnnnnnnnnnnnnnnnnn"),
        ("PT", "nnnnnnnnnnnnnnnnnnnnn"),
        ("GB", "aaaannnnnnnnnnnnnn"),
        ("AT", "nnnnnnnnnnnnnnnn"),
        ("CH", "nnnnncccccccccccc"),
        ("SE", "nnnnnnnnnnnnnnnnnnnn"),
        ("FI", "nnnnnnnnnnnnnn"),
        ("NO", "nnnnnnnnnnn"),
        ("DK", "nnnnnnnnnnnnnn"),
    ]);
    let own: String = form
        .chars()
        .map(|c| match c {
            'n' => draw.digits(1),
            'a' => draw.letters(1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            _ => draw.letters(1, "0123456789ABCDEFGHJKLM"),
        })
        .collect();
    let rest = format!("{own}{country}00").chars().fold(0_u64, |rest, c| {
        let value = c.to_digit(36).map_or(0, u64::from);
        (if value > 9 { rest * 100 + value } else { rest * 10 + value }) % 97
    });
    let number = format!("{country}{:02}{own}", 98 - rest);
    if draw.below(2) == 0 {
        return number;
    }
    number.as_bytes().chunks(4).map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect::<Vec<_>>().join(" ")
}

const BASE62: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn github(draw: &mut Draw) -> String {
    let random = draw.letters(30, BASE62);
    // CRC-32 bit by bit (ITU-T V.42).
    let crc = !random.bytes().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    });
    let digit = |power: u32| BASE62.as_bytes()[(u64::from(crc) / 62_u64.pow(power) % 62) as usize] as char;
    let check: String = (0..6).rev().map(digit).collect();
    format!("{}{random}{check}", draw.of(&["ghp_", "gho_", "ghu_", "ghs_", "ghr_"]))
}

fn prefixed(draw: &mut Draw) -> String {
    let word = format!("{BASE62}-_");
    let hex = "0123456789abcdef";
    match draw.below(11) {
        0 => format!("AKIA{}", draw.letters(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")),
        1 => format!("xoxb-{}-{}-{}", draw.digits(12), draw.digits(12), draw.letters(24, BASE62)),
        2 => format!("sk_live_{}", draw.letters(24, BASE62)),
        3 => format!("AIza{}", draw.letters(35, &word)),
        4 => format!("sk-proj-{}", draw.letters(120, BASE62)),
        5 => format!("sk-ant-api03-{}", draw.letters(93, &word)),
        6 => format!("sk-sluice-{}", draw.letters(64, hex)),
        7 => format!("glpat-{}", draw.letters(20, BASE62)),
        8 => format!("hf_{}", draw.letters(34, BASE62)),
        9 => format!("aws_secret_access_key={}", draw.letters(40, BASE62)),
        _ => format!("github_pat_{}_{}", draw.letters(22, BASE62), draw.letters(59, BASE62)),
    }
}

fn structured(draw: &mut Draw) -> String {
    let b64 = BASE62;
    match draw.below(4) {
        0 => format!(
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI{}.{}",
            draw.letters(30, b64),
            draw.letters(43, b64)
        ),
        1 => format!(
            "-----BEGIN {}PRIVATE KEY-----\n{}",
            draw.of(&["", "RSA ", "EC ", "OPENSSH "]),
            draw.letters(64, b64)
        ),
        2 => format!(
            "{}://app:{}@db.example.org/app",
            draw.of(&["postgres", "mysql", "redis", "mongodb+srv", "amqp"]),
            draw.letters(12, b64)
        ),
        _ => format!("Server=db.example.org;Database=app;User Id=sa;Password={};", draw.letters(14, b64)),
    }
}

fn passport(draw: &mut Draw) -> String {
    let capitals = "CFGHJKLMNPRTVWXYZ";
    match draw.below(5) {
        0 => draw.digits(9),
        1 => format!("{}{}", draw.letters(2, capitals), draw.digits(7)),
        2 => format!("{}{}", draw.letters(1, capitals), draw.digits(8)),
        3 => format!("{}{}{}", draw.digits(2), draw.letters(2, capitals), draw.digits(5)),
        _ => format!("{}{}{}{}", draw.letters(1, capitals), draw.digits(2), draw.letters(1, capitals), draw.digits(5)),
    }
}

fn medical(draw: &mut Draw) -> String {
    match draw.below(3) {
        0 => draw.digits(7),
        1 => format!("H{}", draw.digits(7)),
        _ => format!("{:08}", draw.within(100_000, 9_999_999)),
    }
}

fn email(draw: &mut Draw) -> String {
    let name = draw.of(&["ada", "j.smith", "maria_lopez", "k.mueller+news", "x99", "o'neil"]);
    format!(
        "{name}{}@{}.{}",
        draw.below(90),
        draw.of(&["example", "mail.example", "firma-beispiel", "uni.example"]),
        draw.of(&["org", "com", "de", "co.uk", "museum"])
    )
}

fn abroad(draw: &mut Draw) -> String {
    match draw.below(6) {
        0 => format!("+49 {} {}", draw.within(151, 179), draw.digits(7)),
        1 => format!(
            "+1 ({}{}) {}{}-{}",
            draw.within(2, 9),
            draw.digits(2),
            draw.within(2, 9),
            draw.digits(2),
            draw.digits(4)
        ),
        2 => format!("+33 6 {} {} {} {}", draw.digits(2), draw.digits(2), draw.digits(2), draw.digits(2)),
        3 => format!("+34{}{}", draw.within(6, 7), draw.digits(8)),
        4 => format!("+48 {}", grouped(&draw.digits(9), &[3, 3, 3], " ")),
        _ => format!("+351-9{}-{}-{}", draw.digits(2), draw.digits(3), draw.digits(3)),
    }
}

fn home(draw: &mut Draw) -> String {
    match draw.below(5) {
        0 => format!("0{} {}", draw.within(151, 179), draw.digits(7)),
        1 => format!(
            "({}{}) {}{}-{}",
            draw.within(2, 9),
            draw.digits(2),
            draw.within(2, 9),
            draw.digits(2),
            draw.digits(4)
        ),
        2 => format!("06 {} {} {} {}", draw.digits(2), draw.digits(2), draw.digits(2), draw.digits(2)),
        3 => format!("6{}", draw.digits(8)),
        _ => grouped(&format!("5{}", draw.digits(8)), &[3, 3, 3], " "),
    }
}

fn ip(draw: &mut Draw) -> String {
    if draw.below(4) == 0 {
        let mut part = || draw.letters(4, "0123456789abcdef");
        return format!("2001:db8:{}:{}::{}", part(), part(), part());
    }
    format!("{}.{}.{}.{}", draw.of(&[10, 172, 192, 203, 84, 51]), draw.below(256), draw.below(256), draw.within(1, 254))
}

fn mac(draw: &mut Draw) -> String {
    let pairs: Vec<String> = (0..6).map(|_| draw.letters(2, "0123456789abcdef")).collect();
    pairs.join(draw.of(&[":", "-"]))
}

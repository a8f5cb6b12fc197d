//! Values of each kind.

use super::Draw;

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
fn fitting(draw: &mut Draw, rest: impl Fn(&mut Draw) -> String, right: impl Fn(&[u64]) -> bool) -> String {
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

fn sum(digits: &[u64], weights: &[u64]) -> u64 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// Luhn by its definition: every second digit from the right doubled, digits of the products added.
fn luhn(digits: &[u64]) -> bool {
    let doubled = |(at, digit): (usize, &u64)| if at % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { *digit };
    digits.iter().rev().enumerate().map(doubled).sum::<u64>() % 10 == 0
}

fn grouped(number: &str, lengths: &[usize], mark: &str) -> String {
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

fn date(draw: &mut Draw) -> (u64, u64, u64) {
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

fn es(draw: &mut Draw) -> String {
    let letter = |n: u64| char::from(b"TRWAGMYFPDXBNJZSQVHLCKE"[(n % 23) as usize]);
    let n = draw.within(1_000_000, 99_999_999);
    match draw.below(5) {
        0 => {
            let n = n % 10_000_000;
            format!("Y{n:07}{}", letter(10_000_000 + n))
        }
        1 => format!("{n:08}-{}", letter(n)),
        2 => {
            let t = format!("{n:08}");
            format!("{}-{}", grouped(&t, &[2, 3, 3], "."), letter(n))
        }
        _ => format!("{n:08}{}", letter(n)),
    }
}

fn fr(draw: &mut Draw) -> String {
    let (year, month, _) = date(draw);
    let corsica = draw.below(50) == 0;
    let (department, shown) = if corsica {
        ("19".to_owned(), "2A".to_owned())
    } else {
        let d = format!("{:02}", draw.within(1, 95));
        (d.clone(), d)
    };
    let (sex, rest) = (draw.within(1, 2), draw.digits(6));
    let counted: u64 = format!("{sex}{year:02}{month:02}{department}{rest}").parse().unwrap();
    let number = format!("{sex}{year:02}{month:02}{shown}{rest}{:02}", 97 - counted % 97);
    if draw.below(2) == 0 { grouped(&number, &[1, 2, 2, 2, 3, 3, 2], " ") } else { number }
}

fn it(draw: &mut Draw) -> String {
    let consonants = "BCDFGLMNPRSTVZ";
    let (year, _, day) = date(draw);
    let body = format!(
        "{}{year:02}{}{:02}{}{}",
        draw.letters(6, consonants),
        draw.letters(1, "ABCDEHLMPRST"),
        day + 40 * draw.below(2),
        draw.letters(1, "ABCDEFGHIL"),
        draw.digits(3)
    );
    let odd = "BAKPLCQDREVOSFTGUHMINJWZYX";
    let total: u64 = body
        .chars()
        .enumerate()
        .map(|(at, c)| {
            let value = if c.is_ascii_digit() { c as u64 - 48 } else { c as u64 - 65 };
            let as_letter = char::from(b'A' + value as u8);
            if at % 2 == 1 { value } else { odd.find(as_letter).unwrap() as u64 }
        })
        .sum();
    format!("{body}{}", char::from(b'A' + (total % 26) as u8))
}

fn de(draw: &mut Draw) -> String {
    let number = loop {
        let ten = format!("{}{}", draw.within(1, 9), draw.digits(9));
        let most = (0..10).map(|d| ten.matches(&d.to_string()).count()).collect::<Vec<_>>();
        if most.iter().filter(|n| **n > 1).count() == 1 && most.iter().all(|n| *n < 4) {
            let product = ten.bytes().fold(10_u64, |p, b| {
                let s = (u64::from(b - 48) + p) % 10;
                (if s == 0 { 10 } else { s }) * 2 % 11
            });
            break format!("{ten}{}", (11 - product) % 10);
        }
    };
    if draw.below(2) == 0 { grouped(&number, &[2, 3, 3, 3], " ") } else { number }
}

fn nl(draw: &mut Draw) -> String {
    let number = fitting(
        draw,
        |draw| format!("{}{}?", draw.within(1, 9), draw.digits(7)),
        |d| (sum(d, &[9, 8, 7, 6, 5, 4, 3, 2]) + 11 - d[8]) % 11 == 0,
    );
    if draw.below(3) == 0 { grouped(&number, &[4, 2, 3], ".") } else { number }
}

fn pl(draw: &mut Draw) -> String {
    let (year, month, day) = date(draw);
    fitting(
        draw,
        |draw| format!("{year:02}{month:02}{day:02}{}?", draw.digits(4)),
        |d| (sum(d, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) + d[10]) % 10 == 0,
    )
}

fn be(draw: &mut Draw) -> String {
    let (year, month, day) = date(draw);
    let nine = format!("{year:02}{month:02}{day:02}{:03}", draw.within(1, 997));
    let counted: u64 = nine.parse().unwrap();
    let number = format!("{nine}{:02}", 97 - counted % 97);
    if draw.below(2) == 0 {
        return number;
    }
    format!("{}-{}.{}", grouped(&number, &[2, 2, 2], "."), &number[6..9], &number[9..])
}

fn pt(draw: &mut Draw) -> String {
    let number = fitting(
        draw,
        |draw| format!("{}{}?", draw.within(1, 3), draw.digits(7)),
        |d| {
            let rest = sum(d, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
            d[8] == if rest < 2 { 0 } else { 11 - rest }
        },
    );
    if draw.below(3) == 0 { grouped(&number, &[3, 3, 3], " ") } else { number }
}

fn se(draw: &mut Draw) -> String {
    let (year, month, day) = date(draw);
    let number = fitting(draw, |draw| format!("{year:02}{month:02}{day:02}{}?", draw.digits(3)), luhn);
    match draw.below(3) {
        0 => number,
        1 => format!("19{}-{}", &number[..6], &number[6..]),
        _ => format!("{}-{}", &number[..6], &number[6..]),
    }
}

fn fi(draw: &mut Draw) -> String {
    let (year, month, day) = date(draw);
    let (date, serial) = (format!("{day:02}{month:02}{year:02}"), format!("{:03}", draw.within(2, 899)));
    let counted: usize = format!("{date}{serial}").parse().unwrap();
    let check = "0123456789ABCDEFHJKLMNPRSTUVWXY".chars().nth(counted % 31).unwrap();
    format!("{date}{}{serial}{check}", draw.of(&["-", "-", "A"]))
}

fn no(draw: &mut Draw) -> String {
    let (year, month, day) = date(draw);
    let number = fitting(
        draw,
        |draw| format!("{day:02}{month:02}{year:02}{}??", draw.digits(3)),
        |d| {
            (sum(d, &[3, 7, 6, 1, 8, 9, 4, 5, 2]) + d[9]) % 11 == 0
                && (sum(d, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) + d[10]) % 11 == 0
        },
    );
    if draw.below(2) == 0 { grouped(&number, &[6, 5], " ") } else { number }
}

fn gb(draw: &mut Draw) -> String {
    let number = fitting(
        draw,
        |draw| format!("{}{}?", draw.within(4, 7), draw.digits(8)),
        |d| (sum(d, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) + d[9]) % 11 == 0,
    );
    if draw.below(2) == 0 { grouped(&number, &[3, 3, 4], " ") } else { number }
}

fn br(draw: &mut Draw) -> String {
    let check = |rest: u64| if rest < 2 { 0 } else { 11 - rest };
    let number = fitting(
        draw,
        |draw| format!("{}??", draw.digits(9)),
        |d| {
            d[9] == check(sum(d, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11)
                && d[10] == check(sum(d, &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11)
        },
    );
    if draw.below(3) > 0 { format!("{}-{}", grouped(&number, &[3, 3, 3], "."), &number[9..]) } else { number }
}

fn cn(draw: &mut Draw) -> String {
    let (year, month, day) = date(draw);
    let body = format!(
        "{}19{year:02}{month:02}{day:02}{}",
        draw.of(&["110105", "440524", "310104", "510107"]),
        draw.digits(3)
    );
    // The remainder of the number in base 2, by Horner, as the standard defines it.
    let rest = body.bytes().fold(0_u64, |rest, b| (rest + u64::from(b - 48)) * 2 % 11);
    let check = (12 - rest) % 11;
    format!("{body}{}", if check == 10 { "X".to_owned() } else { check.to_string() })
}

fn tr(draw: &mut Draw) -> String {
    fitting(
        draw,
        |draw| format!("{}{}??", draw.within(1, 9), draw.digits(8)),
        |d| {
            let (odd, even) = (d[0] + d[2] + d[4] + d[6] + d[8], d[1] + d[3] + d[5] + d[7]);
            (odd * 7 + 100 - even) % 10 == d[9] && d[..10].iter().sum::<u64>() % 10 == d[10]
        },
    )
}

fn ch(draw: &mut Draw) -> String {
    let number = fitting(
        draw,
        |draw| format!("756{}?", draw.digits(9)),
        |d| sum(d, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]) % 10 == 0,
    );
    if draw.below(3) > 0 { grouped(&number, &[3, 4, 4, 2], ".") } else { number }
}

fn aadhaar(draw: &mut Draw) -> String {
    /// Verhoeff by the tables of his thesis.
    const D: [&str; 10] = [
        "0123456789",
        "1234067895",
        "2340178956",
        "3401289567",
        "4012395678",
        "5987604321",
        "6598710432",
        "7659821043",
        "8765932104",
        "9876543210",
    ];
    const P: [&str; 8] = [
        "0123456789",
        "1576283094",
        "5803796142",
        "8916043527",
        "9453126870",
        "4286573901",
        "2793806415",
        "7046913258",
    ];
    let at = |row: &str, column: u64| u64::from(row.as_bytes()[column as usize] - 48);
    let number = fitting(
        draw,
        |draw| format!("{}{}?", draw.within(2, 9), draw.digits(10)),
        |d| d.iter().rev().enumerate().fold(0, |c, (i, digit)| at(D[c as usize], at(P[i % 8], *digit))) == 0,
    );
    if draw.below(3) > 0 { grouped(&number, &[4, 4, 4], " ") } else { number }
}

fn sin(draw: &mut Draw) -> String {
    let number = fitting(draw, |draw| format!("{}{}?", draw.within(1, 7), draw.digits(7)), luhn);
    if draw.below(3) > 0 { grouped(&number, &[3, 3, 3], draw.of(&[" ", "-"])) } else { number }
}

fn ssn(draw: &mut Draw) -> String {
    format!("{:03}-{:02}-{:04}", draw.within(1, 665), draw.within(1, 99), draw.within(1, 9999))
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

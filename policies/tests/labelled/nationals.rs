//! National identifiers, with check digits from their issuers' rules.

use super::Draw;
use super::numbers::{date, fitting, grouped, luhn, sum};

pub fn es(draw: &mut Draw) -> String {
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

pub fn fr(draw: &mut Draw) -> String {
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

pub fn it(draw: &mut Draw) -> String {
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

pub fn de(draw: &mut Draw) -> String {
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

pub fn nl(draw: &mut Draw) -> String {
    let number = fitting(
        draw,
        |draw| format!("{}{}?", draw.within(1, 9), draw.digits(7)),
        |d| (sum(d, &[9, 8, 7, 6, 5, 4, 3, 2]) + 11 - d[8]).is_multiple_of(11),
    );
    if draw.below(3) == 0 { grouped(&number, &[4, 2, 3], ".") } else { number }
}

pub fn pl(draw: &mut Draw) -> String {
    let (year, month, day) = date(draw);
    fitting(
        draw,
        |draw| format!("{year:02}{month:02}{day:02}{}?", draw.digits(4)),
        |d| (sum(d, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) + d[10]).is_multiple_of(10),
    )
}

pub fn be(draw: &mut Draw) -> String {
    let (year, month, day) = date(draw);
    let nine = format!("{year:02}{month:02}{day:02}{:03}", draw.within(1, 997));
    let counted: u64 = nine.parse().unwrap();
    let number = format!("{nine}{:02}", 97 - counted % 97);
    if draw.below(2) == 0 {
        return number;
    }
    format!("{}-{}.{}", grouped(&number, &[2, 2, 2], "."), &number[6..9], &number[9..])
}

pub fn pt(draw: &mut Draw) -> String {
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

pub fn se(draw: &mut Draw) -> String {
    let (year, month, day) = date(draw);
    let number = fitting(draw, |draw| format!("{year:02}{month:02}{day:02}{}?", draw.digits(3)), luhn);
    match draw.below(3) {
        0 => number,
        1 => format!("19{}-{}", &number[..6], &number[6..]),
        _ => format!("{}-{}", &number[..6], &number[6..]),
    }
}

pub fn fi(draw: &mut Draw) -> String {
    let (year, month, day) = date(draw);
    let (date, serial) = (format!("{day:02}{month:02}{year:02}"), format!("{:03}", draw.within(2, 899)));
    let counted: usize = format!("{date}{serial}").parse().unwrap();
    let check = "0123456789ABCDEFHJKLMNPRSTUVWXY".chars().nth(counted % 31).unwrap();
    format!("{date}{}{serial}{check}", draw.of(&["-", "-", "A"]))
}

pub fn no(draw: &mut Draw) -> String {
    let (year, month, day) = date(draw);
    let number = fitting(
        draw,
        |draw| format!("{day:02}{month:02}{year:02}{}??", draw.digits(3)),
        |d| {
            (sum(d, &[3, 7, 6, 1, 8, 9, 4, 5, 2]) + d[9]).is_multiple_of(11)
                && (sum(d, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) + d[10]).is_multiple_of(11)
        },
    );
    if draw.below(2) == 0 { grouped(&number, &[6, 5], " ") } else { number }
}

pub fn gb(draw: &mut Draw) -> String {
    let number = fitting(
        draw,
        |draw| format!("{}{}?", draw.within(4, 7), draw.digits(8)),
        |d| (sum(d, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) + d[9]).is_multiple_of(11),
    );
    if draw.below(2) == 0 { grouped(&number, &[3, 3, 4], " ") } else { number }
}

pub fn br(draw: &mut Draw) -> String {
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

pub fn cn(draw: &mut Draw) -> String {
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

pub fn tr(draw: &mut Draw) -> String {
    fitting(
        draw,
        |draw| format!("{}{}??", draw.within(1, 9), draw.digits(8)),
        |d| {
            let (odd, even) = (d[0] + d[2] + d[4] + d[6] + d[8], d[1] + d[3] + d[5] + d[7]);
            (odd * 7 + 100 - even) % 10 == d[9] && d[..10].iter().sum::<u64>() % 10 == d[10]
        },
    )
}

pub fn ch(draw: &mut Draw) -> String {
    let number = fitting(
        draw,
        |draw| format!("756{}?", draw.digits(9)),
        |d| sum(d, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10),
    );
    if draw.below(3) > 0 { grouped(&number, &[3, 4, 4, 2], ".") } else { number }
}

pub fn aadhaar(draw: &mut Draw) -> String {
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

pub fn sin(draw: &mut Draw) -> String {
    let number = fitting(draw, |draw| format!("{}{}?", draw.within(1, 7), draw.digits(7)), luhn);
    if draw.below(3) > 0 { grouped(&number, &[3, 3, 3], draw.of(&[" ", "-"])) } else { number }
}

pub fn ssn(draw: &mut Draw) -> String {
    format!("{:03}-{:02}-{:04}", draw.within(1, 665), draw.within(1, 99), draw.within(1, 9999))
}

//! Identifiers with letters among their digits.

use super::checks::{month_and_day, number};
use super::national::{cn_resident_id, fr_nir, hetu_remainder};
use std::ops::Range;

/// What a token is, if its check characters are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A national identifier.
    National(&'static str),
    /// The form of one whose letters prove little: it needs a word.
    Worded(&'static str),
}

/// What a word of letters and digits is.
pub(super) fn read(word: &[u8]) -> Option<Token> {
    let shown = |yes: bool, name| yes.then_some(Token::National(name));
    match word.len() {
        8 | 9 if ie_pps(word) => Some(Token::Worded("ie_pps")),
        9 => match es_nif(word) {
            true if word[8].is_ascii_uppercase() => Some(Token::National("es_nif")),
            true => Some(Token::Worded("es_nif")),
            false => gb_nino(word).then_some(Token::Worded("gb_nino")),
        },
        11 => shown(fi_hetu(word), "fi_hetu"),
        15 => shown(corsican(word), "fr_nir"),
        16 => shown(it_codice_fiscale(word), "it_codice_fiscale"),
        18 => shown(resident_with_x(word), "cn_resident_id"),
        _ => None,
    }
}

/// Spain, NIF of citizens (DNI) and residents (NIE): the remainder by 23 names the letter; X, Y, Z stand for 0, 1, 2.
pub(super) fn es_nif(word: &[u8]) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let [first, middle @ .., last] = word else { return false };
    let lead = match first.to_ascii_uppercase() {
        digit @ b'0'..=b'9' => u64::from(digit - b'0'),
        letter @ b'X'..=b'Z' => u64::from(letter - b'X'),
        _ => return false,
    };
    if middle.len() != 7 || !middle.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let number = lead * 10_000_000 + number(&values(middle));
    let letter = LETTERS[(number % 23) as usize];
    // Eight zeros are a placeholder.
    number > 0 && letter == last.to_ascii_uppercase()
}

/// Finland, henkilötunnus in one word: date, a letter for the century, serial, check character.
fn fi_hetu(word: &[u8]) -> bool {
    matches!(word[6].to_ascii_uppercase(), b'A'..=b'F' | b'U'..=b'Y') && fi_hetu_parts(&word[..6], &word[7..])
}

/// Finland, henkilötunnus around its sign: six digits, and three with the check character.
pub(super) fn fi_hetu_parts(date: &[u8], serial: &[u8]) -> bool {
    const CHECKS: &[u8; 31] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let ([serial @ .., check], 6, 4) = (serial, date.len(), serial.len()) else { return false };
    if !date.iter().chain(serial).all(u8::is_ascii_digit) {
        return false;
    }
    let nine = values(&[date, serial].concat());
    let dated = month_and_day(number(&nine[2..4]), number(&nine[..2]));
    dated && CHECKS[hetu_remainder(&nine) as usize] == check.to_ascii_uppercase()
}

/// Italy, codice fiscale: names, date, municipality, check letter (D.M. 12 March 1974); letters may stand for digits.
fn it_codice_fiscale(word: &[u8]) -> bool {
    const DIGITS: [usize; 7] = [6, 7, 9, 10, 12, 13, 14];
    /// What a letter in an odd place counts; a digit counts as the letter of its value.
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let word = word.to_ascii_uppercase();
    let fits = word.iter().enumerate().all(|(place, letter)| match DIGITS.contains(&place) {
        true => letter.is_ascii_digit() || b"LMNPQRSTUV".contains(letter),
        false => letter.is_ascii_uppercase(),
    });
    let value = |letter: u8| usize::from(if letter.is_ascii_digit() { letter - b'0' } else { letter - b'A' });
    fits && b"ABCDEHLMPRST".contains(&word[8]) && {
        let places = word[..15].iter().enumerate();
        // Places are counted from one: the first is odd.
        let sum: u32 =
            places.map(|(at, letter)| if at % 2 == 0 { ODD[value(*letter)] } else { value(*letter) as u32 }).sum();
        sum % 26 == value(word[15]) as u32
    }
}

/// United Kingdom, National Insurance number: two letters, six digits, A to D; it has no check digit.
pub(super) fn gb_nino(word: &[u8]) -> bool {
    let [one, two, digits @ .., suffix] = word else { return false };
    let prefix = [one.to_ascii_uppercase(), two.to_ascii_uppercase()];
    let letters = prefix.iter().all(u8::is_ascii_uppercase)
        && !prefix.iter().any(|letter| b"DFIQUV".contains(letter))
        && prefix[1] != b'O'
        && ![b"BG", b"GB", b"NK", b"KN", b"TN", b"NT", b"ZZ"].contains(&&prefix);
    letters
        && digits.len() == 6
        && digits.iter().all(u8::is_ascii_digit)
        && matches!(suffix.to_ascii_uppercase(), b'A'..=b'D')
}

/// Ireland, PPS number: seven digits, a letter modulo 23, perhaps a second letter that counts nine times.
fn ie_pps(word: &[u8]) -> bool {
    let (digits, letters) = word.split_at(7);
    if !digits.iter().all(u8::is_ascii_digit) || !letters.iter().all(u8::is_ascii_alphabetic) {
        return false;
    }
    let order = |letter: u8| u32::from(letter.to_ascii_uppercase() - b'A') + 1;
    let sum = super::checks::weighed(&values(digits), &[8, 7, 6, 5, 4, 3, 2]);
    let sum = sum + letters.get(1).map_or(0, |letter| order(*letter) * 9);
    // W stands for zero.
    order(letters[0]) % 23 == sum % 23
}

fn corsican(word: &[u8]) -> bool {
    let mut digits = word.to_ascii_uppercase();
    let department = match &word[5..7] {
        [b'2', b'A' | b'a'] => b"19",
        [b'2', b'B' | b'b'] => b"18",
        _ => return false,
    };
    digits[5..7].copy_from_slice(department);
    digits.iter().all(u8::is_ascii_digit) && fr_nir(&values(&digits))
}

fn resident_with_x(word: &[u8]) -> bool {
    let [digits @ .., b'X' | b'x'] = word else { return false };
    let mut values = values(digits);
    values.push(10);
    digits.iter().all(u8::is_ascii_digit) && cn_resident_id(&values)
}

/// The form of a passport's number: seven to nine capital letters and digits, most of them digits.
pub(super) fn passport(word: &[u8]) -> bool {
    let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    (7..=9).contains(&word.len())
        && digits >= 5
        && word.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

/// The form of a patient's or a file's number: five to fourteen letters and digits, at least four of them digits.
pub(super) fn medical(word: &[u8]) -> bool {
    let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    (5..=14).contains(&word.len()) && digits >= 4
}

/// Where the digits and letters of an IBAN may end, counted from its country: ends of its groups.
pub(super) fn iban_ends(bytes: &[u8], start: usize) -> (String, Vec<(usize, usize)>) {
    const MOST: usize = 34;
    let (mut letters, mut ends, mut at) = (String::with_capacity(MOST), Vec::new(), start);
    while letters.len() < MOST {
        match bytes.get(at) {
            Some(byte) if byte.is_ascii_alphanumeric() => {
                letters.push(char::from(byte.to_ascii_uppercase()));
                at += 1;
                if !bytes.get(at).is_some_and(u8::is_ascii_alphanumeric) && letters.len() >= 15 {
                    ends.push((letters.len(), at));
                }
            }
            Some(b' ' | b'-' | b'.' | b'\n') if bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric) => at += 1,
            _ => break,
        }
    }
    (letters, ends)
}

/// The extent of an IBAN that begins here.
pub(super) fn iban(bytes: &[u8], start: usize) -> Option<(String, Range<usize>)> {
    let (letters, ends) = iban_ends(bytes, start);
    let (length, end) = ends.into_iter().rev().find(|(length, _)| letters[..*length].parse::<iban::Iban>().is_ok())?;
    Some((letters[..length].to_owned(), start..end))
}

fn values(digits: &[u8]) -> Vec<u8> {
    digits.iter().map(|digit| digit.wrapping_sub(b'0')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples_are_read() {
        for (word, token) in [
            ("12345678Z", Some(Token::National("es_nif"))),
            ("12345678z", Some(Token::Worded("es_nif"))),
            ("X1234567L", Some(Token::National("es_nif"))),
            ("12345678A", None),
            ("131052A308T", Some(Token::National("fi_hetu"))),
            ("131052A308U", None),
            ("RSSMRA85T10A562S", Some(Token::National("it_codice_fiscale"))),
            ("rssmra85t10a562s", Some(Token::National("it_codice_fiscale"))),
            ("RSSMRA85T10A562T", None),
            ("11010519491231002X", Some(Token::National("cn_resident_id"))),
            ("11010519491331002X", None),
            ("AB123456C", Some(Token::Worded("gb_nino"))),
            ("1234567T", Some(Token::Worded("ie_pps"))),
        ] {
            assert_eq!(read(word.as_bytes()), token, "{word}");
        }
        assert!(fi_hetu_parts(b"131052", b"308T"));
    }

    #[test]
    fn an_iban_ends_where_its_country_says() {
        for (text, found) in [
            ("GB82 WEST 1234 5698 7654 32 and more", Some("GB82WEST12345698765432")),
            ("DE89370400440532013000.", Some("DE89370400440532013000")),
            ("fr14 2004 1010 0505 0001 3m02 606", Some("FR1420041010050500013M02606")),
            ("DE89370400440532013001", None),
            ("DE8937040044053201300012", None),
        ] {
            let read = iban(text.as_bytes(), 0).map(|(letters, _)| letters);
            assert_eq!(read.as_deref(), found, "{text}");
        }
    }
}

//! National identifiers made of digits.
//!
//! **How sure a check digit is.** A rule that more than about one random number in five hundred of its form would pass
//! needs a word of context ([`Proof::Word`]); one that fewer pass stands by its form ([`Proof::Form`]). What the rate is
//! depends on how the number is written: eleven bare digits prove less than `123.456.789-09`.
//!
//! Sources are the issuers' own descriptions, named at each check.

use super::checks::{luhn, mod_11_10, month_and_day, number, verhoeff, weighed};

/// What it takes to be sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The form and its check digits.
    Form,
    /// A word of any identifier beside it, too.
    Word,
    /// A word of just this one.
    OwnWord,
}

/// One way to write an identifier: lengths of its groups, and what is between them (`~`: a space, dot, hyphen or nothing
/// else, the same everywhere or not).
pub(super) struct Written {
    pub(super) form: &'static str,
    pub(super) proof: Proof,
}

/// An identifier.
pub(super) struct National {
    pub(super) name: &'static str,
    pub(super) written: &'static [Written],
    pub(super) check: fn(&[u8]) -> bool,
}

const fn plain(form: &'static str) -> Written {
    Written { form, proof: Proof::Word }
}

const fn telling(form: &'static str) -> Written {
    Written { form, proof: Proof::Form }
}

/// All of them.
pub(super) const ALL: &[National] = &[
    National { name: "fr_nir", written: &[telling("15"), telling("1~2~2~2~3~3~2"), telling("13~2")], check: fr_nir },
    National {
        name: "be_nrn",
        written: &[telling("2.2.2-3.2"), telling("6-3.2"), telling("6-3-2"), telling("11")],
        check: be_nrn,
    },
    National { name: "no_fnr", written: &[telling("11"), telling("6~5")], check: no_fnr },
    National { name: "de_steuer_id", written: &[plain("11"), plain("2~3~3~3"), plain("2~9")], check: de_steuer_id },
    National { name: "pl_pesel", written: &[plain("11"), plain("6~5")], check: pl_pesel },
    National { name: "tr_tckn", written: &[plain("11"), plain("3~3~3~2"), plain("3~3~5")], check: tr_tckn },
    National {
        name: "br_cpf",
        written: &[telling("3.3.3-2"), plain("11"), plain("3~3~3~2"), plain("9~2")],
        check: br_cpf,
    },
    National {
        name: "se_personnummer",
        written: &[plain("6~4"), plain("8~4"), plain("10"), plain("12")],
        check: se_personnummer,
    },
    National { name: "fi_hetu", written: &[plain("6-4")], check: fi_hetu },
    National { name: "gb_nhs", written: &[plain("10"), plain("3~3~4")], check: gb_nhs },
    National {
        name: "nl_bsn",
        written: &[plain("9"), plain("4~2~3"), plain("3~3~3"), plain("4~5"), plain("8")],
        check: nl_bsn,
    },
    National { name: "pt_nif", written: &[plain("9"), plain("3~3~3")], check: pt_nif },
    National { name: "ca_sin", written: &[plain("9"), plain("3~3~3")], check: ca_sin },
    National { name: "ch_ahv", written: &[telling("3.4.4.2"), telling("3~4~4~2"), telling("13")], check: ch_ahv },
    National { name: "kr_rrn", written: &[telling("6-7"), plain("13")], check: kr_rrn },
    National { name: "cn_resident_id", written: &[telling("18"), telling("6~8~4")], check: cn_resident_id },
    National { name: "in_aadhaar", written: &[plain("12"), plain("4~4~4")], check: in_aadhaar },
    National { name: "jp_my_number", written: &[plain("12"), plain("4~4~4")], check: jp_my_number },
    National {
        name: "us_ssn",
        written: &[plain("3~2~4"), Written { form: "9", proof: Proof::OwnWord }],
        check: us_ssn,
    },
];

/// France, numéro d'inscription au répertoire: sex, year, month, department, municipality, order, key of 97 (INSEE). Of
/// Corsica's departments `2A` and `2B` come as 19 and 18.
pub(super) fn fr_nir(digits: &[u8]) -> bool {
    let [.., _, _] = digits else { return false };
    let (payload, key) = digits.split_at(13);
    let month = number(&digits[3..5]);
    let known = (1..=12).contains(&month) || (20..=42).contains(&month) || (50..=99).contains(&month);
    matches!(digits[0], 1..=4 | 7 | 8) && known && number(key) == 97 - number(payload) % 97
}

/// Belgium, rijksregisternummer: date, serial, 97 less the remainder; born from 2000 on a 2 goes before it.
fn be_nrn(digits: &[u8]) -> bool {
    let (month, day) = (number(&digits[2..4]), number(&digits[4..6]));
    // Bis numbers add 20 or 40 to the month; unknown dates are zero.
    let dated = month_and_day(month % 20, day) || (month % 20 == 0 && day <= 31 && month > 0);
    let (payload, key) = (number(&digits[..9]), number(&digits[9..]));
    dated && [payload, payload + 2_000_000_000].into_iter().any(|payload| key == 97 - payload % 97)
}

/// Norway, fødselsnummer: date (D numbers add 40 to the day, H numbers to the month), two check digits modulo 11.
fn no_fnr(digits: &[u8]) -> bool {
    let (day, month) = (number(&digits[..2]), number(&digits[2..4]));
    let first = weighed(digits, &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]);
    let second = weighed(digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]);
    month_and_day(month % 40, day % 40) && first.is_multiple_of(11) && second.is_multiple_of(11)
}

/// Germany, Identifikationsnummer: among its first ten digits exactly one stands two or three times; MOD 11,10 (BZSt).
fn de_steuer_id(digits: &[u8]) -> bool {
    let mut counts = [0_u8; 10];
    digits[..10].iter().for_each(|digit| counts[usize::from(*digit) % 10] += 1);
    let repeated = counts.iter().filter(|count| **count > 1).count();
    let most = counts.iter().max().copied().unwrap_or_default();
    digits[0] != 0 && repeated == 1 && most <= 3 && mod_11_10(digits)
}

/// Poland, PESEL: date with the century in its month, serial, check digit by 1, 3, 7, 9.
fn pl_pesel(digits: &[u8]) -> bool {
    let (month, day) = (number(&digits[2..4]), number(&digits[4..6]));
    month_and_day(month % 20, day) && weighed(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
}

/// Turkey, T.C. kimlik numarası: two check digits.
fn tr_tckn(digits: &[u8]) -> bool {
    let odd: i64 = digits[..9].iter().step_by(2).map(|digit| i64::from(*digit)).sum();
    let even: i64 = digits[1..8].iter().step_by(2).map(|digit| i64::from(*digit)).sum();
    let tenth = (odd * 7 - even).rem_euclid(10);
    let eleventh = (odd + even + tenth) % 10;
    digits[0] != 0 && i64::from(digits[9]) == tenth && i64::from(digits[10]) == eleventh
}

/// Brazil, CPF: two check digits modulo 11; equal digits are nobody's (Receita Federal).
fn br_cpf(digits: &[u8]) -> bool {
    let check = |weights: &[u32]| match weighed(digits, weights) * 10 % 11 {
        10 => 0,
        rest => rest,
    };
    let varied = digits.iter().any(|digit| *digit != digits[0]);
    varied
        && check(&[10, 9, 8, 7, 6, 5, 4, 3, 2]) == u32::from(digits[9])
        && check(&[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) == u32::from(digits[10])
}

/// Sweden, personnummer: date (coordination numbers add 60 to the day), Luhn over the last ten digits (Skatteverket).
fn se_personnummer(digits: &[u8]) -> bool {
    let century = digits.len() == 12;
    let ten = if century { &digits[2..] } else { digits };
    let dated = month_and_day(number(&ten[2..4]), number(&ten[4..6]) % 60);
    dated && luhn(ten) && (!century || matches!(number(&digits[..2]), 18..=20))
}

/// Finland, henkilötunnus whose check character is a digit: the others are mixed tokens. Date, serial from 2, modulo 31.
fn fi_hetu(digits: &[u8]) -> bool {
    month_and_day(number(&digits[2..4]), number(&digits[..2])) && hetu_remainder(&digits[..9]) == u64::from(digits[9])
}

/// The remainder of the nine digits that a henkilötunnus checks.
pub(super) fn hetu_remainder(nine: &[u8]) -> u64 {
    number(nine) % 31
}

/// United Kingdom, NHS number: modulo 11 (NHS Data Dictionary).
fn gb_nhs(digits: &[u8]) -> bool {
    let check = match 11 - weighed(digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11 {
        11 => 0,
        rest => rest,
    };
    check == u32::from(digits[9]) && digits.iter().any(|digit| *digit != digits[0])
}

/// Netherlands, burgerservicenummer: the "elfproef"; older ones have eight digits.
fn nl_bsn(digits: &[u8]) -> bool {
    let weights: &[u32] = if digits.len() == 8 { &[8, 7, 6, 5, 4, 3, 2] } else { &[9, 8, 7, 6, 5, 4, 3, 2] };
    let Some((last, payload)) = digits.split_last() else { return false };
    let sum = weighed(payload, weights);
    sum > 0 && sum % 11 == u32::from(*last)
}

/// Portugal, NIF: modulo 11, of persons (first digit 1 to 3, or 45).
fn pt_nif(digits: &[u8]) -> bool {
    let check = match 11 - weighed(digits, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11 {
        10 | 11 => 0,
        rest => rest,
    };
    (matches!(digits[0], 1..=3) || digits.starts_with(&[4, 5])) && check == u32::from(digits[8])
}

/// Canada, social insurance number: Luhn, not from 0 or 8.
fn ca_sin(digits: &[u8]) -> bool {
    !matches!(digits[0], 0 | 8) && luhn(digits)
}

/// Switzerland, AHV number: an EAN-13 with the country's number 756.
fn ch_ahv(digits: &[u8]) -> bool {
    digits.starts_with(&[7, 5, 6]) && weighed(digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
}

/// Korea, resident registration number: date, sex and century, check digit (those given out since October 2020 have none
/// and need their word).
fn kr_rrn(digits: &[u8]) -> bool {
    let check = (11 - weighed(digits, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]) % 11) % 10;
    month_and_day(number(&digits[2..4]), number(&digits[4..6])) && digits[6] > 0 && check == u32::from(digits[12])
}

/// China, resident identity number (GB 11643): region, date, serial, ISO/IEC 7064 MOD 11-2. Its `X` comes as 10.
pub(super) fn cn_resident_id(digits: &[u8]) -> bool {
    let dated =
        matches!(number(&digits[6..8]), 18..=20) && month_and_day(number(&digits[10..12]), number(&digits[12..14]));
    let sum = weighed(digits, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    matches!(digits[0], 1..=8) && dated && u32::from(digits[17]) == (12 - sum % 11) % 11
}

/// India, Aadhaar: Verhoeff, not from 0 or 1 (UIDAI).
fn in_aadhaar(digits: &[u8]) -> bool {
    digits[0] > 1 && verhoeff(digits)
}

/// Japan, individual number ("My Number"): modulo 11.
fn jp_my_number(digits: &[u8]) -> bool {
    let check = match weighed(digits, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11 {
        0 | 1 => 0,
        rest => 11 - rest,
    };
    check == u32::from(digits[11])
}

/// United States, social security number: no check digit; areas 000, 666 and 900 up, group 00 and serial 0000 are not given
/// out (SSA).
fn us_ssn(digits: &[u8]) -> bool {
    let area = number(&digits[..3]);
    area != 0 && area != 666 && area < 900 && number(&digits[3..5]) != 0 && number(&digits[5..]) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples_pass_and_their_neighbours_do_not() {
        for (name, text) in [
            ("fr_nir", "255081416802538"),
            ("be_nrn", "85073003328"),
            ("be_nrn", "17073003384"),
            ("no_fnr", "15076500565"),
            ("de_steuer_id", "86095742719"),
            ("de_steuer_id", "47036892816"),
            ("pl_pesel", "44051401359"),
            ("tr_tckn", "10000000146"),
            ("br_cpf", "52998224725"),
            ("se_personnummer", "8112289874"),
            ("se_personnummer", "198112289874"),
            ("gb_nhs", "9434765919"),
            ("nl_bsn", "111222333"),
            ("pt_nif", "123456789"),
            ("ca_sin", "130692544"),
            ("ch_ahv", "7569217076985"),
            ("cn_resident_id", "440524188001010014"),
            ("in_aadhaar", "234123412346"),
        ] {
            let national = ALL.iter().find(|national| national.name == name).unwrap();
            let mut digits: Vec<u8> = text.bytes().map(|byte| byte - b'0').collect();
            assert!((national.check)(&digits), "{name} {text}");
            let last = digits.last_mut().unwrap();
            *last = (*last + 1) % 10;
            assert!(!(national.check)(&digits), "{name} {text} with another last digit");
        }
    }

    /// Digits that are as good as random, the same in every run.
    fn digits(seed: &mut u64, count: usize) -> Vec<u8> {
        let mut digit = || {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((*seed >> 33) % 10) as u8
        };
        (0..count).map(|_| digit()).collect()
    }

    #[test]
    fn every_form_has_as_many_digits_as_its_check_reads() {
        let mut seed = 7;
        for national in ALL {
            for Written { form, .. } in national.written {
                let total: usize =
                    form.split(|mark: char| !mark.is_ascii_digit()).filter_map(|n| n.parse::<usize>().ok()).sum();
                // With too few it would read beyond their end; with too many none would pass.
                let passes = (0..500_000).any(|_| (national.check)(&digits(&mut seed, total)));
                assert!(passes, "{} of {total} digits, written {form}", national.name);
            }
        }
    }
}

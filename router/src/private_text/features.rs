//! What a head sees of a window.
//!
//! Three parts, one after the other: the encoder's vector, features that somebody thought of (groups of words, how words
//! are written, numbers beside a street, crosses of two of them), and hashed pieces. The encoder has read English mostly; the
//! other two carry the other languages.

use super::grams::{BUCKETS, buckets};
use super::lexicon::{CARE, FIRST_PERSON, GENERAL, GROUPS, ILLNESS, KIN, STREETS, patterns};
use super::tokens::{Shape, Token, tokens};
use crate::classify::encoder::DIMENSIONS;
use aho_corasick::{AhoCorasick, BuildError};
use sha2::{Digest, Sha256};

/// Features that are computed here, behind those of the groups.
const SHAPES: usize = 40;
/// Features that somebody thought of.
pub const MADE: usize = GROUPS.len() + SHAPES;
/// All columns.
pub const WIDTH: usize = DIMENSIONS + MADE + BUCKETS;
/// What a vector's numbers count, whose length is one.
const MEANING: f32 = 4.0;
/// What the pieces count together.
const PIECES: f32 = 3.0;
/// Words behind which a house number still belongs to a street.
const NEAR: usize = 3;
/// Raised when anything here changes its meaning, so that an older head is refused.
const VERSION: &str = "private-text-1";

/// Words for years of age, as they follow a number.
const YEARS: [&str; 12] =
    ["years", "year", "jahre", "jähriger", "ans", "años", "anni", "anos", "jaar", "jr", "lat", "lebensjahr"];
/// Units of a dose.
const UNITS: [&str; 9] = ["mg", "ml", "mcg", "µg", "μg", "iu", "ie", "units", "einheiten"];
/// Letters of a state of the United States before its postal code.
const STATE: usize = 2;

/// Finds features.
pub struct Reader {
    search: AhoCorasick,
    /// The group of each pattern.
    owners: Vec<usize>,
}

// === impl Reader ===

impl Reader {
    /// Compiles the groups.
    ///
    /// # Errors
    /// The patterns cannot be searched for, which the tests rule out.
    pub fn new() -> Result<Self, BuildError> {
        let (owners, patterns): (Vec<usize>, Vec<String>) = patterns().unzip();
        Ok(Self { search: AhoCorasick::new(patterns)?, owners })
    }

    /// Columns and values of a window, in order of the columns; `vector` is the encoder's.
    pub fn read(&self, window: &str, vector: &[f32]) -> Vec<(u32, f32)> {
        let tokens = tokens(window);
        let mut row: Vec<(u32, f32)> = Vec::with_capacity(DIMENSIONS + 512);
        row.extend(vector.iter().take(DIMENSIONS).enumerate().map(|(at, value)| (at as u32, MEANING * value)));
        let made = self.made(window, &tokens);
        let made = made.iter().enumerate().filter(|(_, value)| **value != 0.0);
        row.extend(made.map(|(at, value)| ((DIMENSIONS + at) as u32, *value)));
        let buckets = buckets(&tokens);
        let value = PIECES / (buckets.len().max(1) as f32).sqrt();
        row.extend(buckets.into_iter().map(|bucket| ((DIMENSIONS + MADE) as u32 + bucket, value)));
        row
    }

    /// What somebody thought of, each from 0 to 1.
    fn made(&self, window: &str, tokens: &[Token<'_>]) -> [f32; MADE] {
        let mut out = [0f32; MADE];
        let (groups, street) = self.groups(tokens);
        for (out, count) in out.iter_mut().zip(groups) {
            *out = f32::from(count.min(2)) / 2.0;
        }
        let has = |group: usize| groups[group] > 0;
        let names = Names::of(tokens);
        let numbers = Numbers::of(tokens);
        let pair = names.inside + names.at_start > 0;
        let of = |yes: bool| f32::from(u8::from(yes));
        let letters = window.chars().filter(|letter| !letter.is_whitespace()).count().max(1) as f32;
        let share = |test: fn(char) -> bool| window.chars().filter(|letter| test(*letter)).count() as f32 / letters;
        let near_street = street.iter().any(|at| {
            let around = at.saturating_sub(NEAR)..(at + NEAR + 1).min(tokens.len());
            tokens[around].iter().any(|token| token.number().is_some_and(|(number, _)| (1..10_000).contains(&number)))
        });
        let crosses = |group: usize| of(pair && has(group));
        let shapes: [f32; SHAPES] = [
            of(names.inside > 0),
            f32::from(names.inside.min(4)) / 4.0,
            of(names.at_start > 0),
            of(names.initial),
            of(names.turned),
            of(names.capitals > 0 && !pair),
            f32::from(names.capitals.min(8)) / 8.0,
            of(near_street),
            of(near_street && numbers.postal()),
            of(numbers.five),
            of(numbers.dashed),
            of(numbers.dutch),
            of(numbers.british),
            of(numbers.state),
            of(numbers.age),
            of(numbers.dose),
            of(numbers.version),
            f32::from(numbers.count.min(4)) / 4.0,
            of(has(FIRST_PERSON) && has(ILLNESS)),
            of(has(FIRST_PERSON) && has(CARE)),
            of(has(KIN) && (has(ILLNESS) || has(CARE))),
            crosses(ILLNESS),
            crosses(CARE),
            of(numbers.age && (has(ILLNESS) || has(CARE))),
            of(numbers.dose && has(FIRST_PERSON)),
            of(has(GENERAL) && !has(FIRST_PERSON) && !has(KIN)),
            of(has(GENERAL) && (has(ILLNESS) || has(CARE)) && !has(FIRST_PERSON)),
            // Form of address, who somebody is, end and beginning of a letter, field of a form, where somebody lives.
            crosses(6),
            crosses(7),
            crosses(8),
            crosses(9),
            crosses(10),
            of(has(11) && near_street),
            // Fame, firm, a place to see.
            crosses(13),
            crosses(14),
            crosses(15),
            of(window.contains('?')),
            share(|letter| matches!(letter, '{' | '}' | '(' | ')' | ';' | '=' | '<' | '>' | '_' | '$' | '[' | ']'))
                .min(0.2)
                * 5.0,
            share(char::is_numeric),
            (tokens.len() as f32 / 40.0).min(1.0),
        ];
        out[GROUPS.len()..].copy_from_slice(&shapes);
        out
    }

    /// How often each group is met, and the words that are streets.
    fn groups(&self, tokens: &[Token<'_>]) -> ([u8; GROUPS.len()], Vec<usize>) {
        let mut text = String::from(" ");
        let mut starts = Vec::with_capacity(tokens.len());
        for token in tokens {
            starts.push(text.len());
            text.push_str(&token.lower.replace('’', "'"));
            text.push(' ');
        }
        let (mut counts, mut streets) = ([0u8; GROUPS.len()], Vec::new());
        for found in self.search.find_overlapping_iter(&text) {
            let group = self.owners[found.pattern().as_usize()];
            counts[group] = counts[group].saturating_add(1);
            if group == STREETS {
                // The word of the match's last letter.
                streets.push(starts.partition_point(|start| *start + 1 < found.end()).saturating_sub(1));
            }
        }
        (counts, streets)
    }
}

/// Names by the way they are written.
#[derive(Default)]
struct Names {
    /// Two capitals in a row, inside a sentence.
    inside: u8,
    /// Two capitals in a row of which the first begins a sentence.
    at_start: u8,
    /// A single letter with a full stop before a capital.
    initial: bool,
    /// `Stone, Ada`
    turned: bool,
    /// Words with a capital inside sentences.
    capitals: u8,
}

// === impl Names ===

impl Names {
    fn of(tokens: &[Token<'_>]) -> Self {
        let mut names = Self::default();
        for (at, token) in tokens.iter().enumerate() {
            if token.capital() && !token.first {
                names.capitals = names.capitals.saturating_add(1);
            }
            let Some(before) = at.checked_sub(1).map(|before| &tokens[before]) else { continue };
            if !token.capital() || token.first && !token.joined {
                continue;
            }
            if before.capital() && token.joined {
                let count = if before.first { &mut names.at_start } else { &mut names.inside };
                *count = count.saturating_add(1);
            }
            names.initial |= before.shape == Shape::Letter && before.dot && token.joined;
            names.turned |= before.capital() && token.comma;
        }
        names
    }
}

/// What numbers say by the way they are written.
#[derive(Default)]
struct Numbers {
    /// Five digits before a word with a capital, or two apart from it.
    five: bool,
    /// `00-950`, `1200-445`, `01310-100`
    dashed: bool,
    /// `1017 AB`
    dutch: bool,
    /// `LS1 4DY`
    british: bool,
    /// `MA 02139`
    state: bool,
    age: bool,
    dose: bool,
    /// `3.0.12`
    version: bool,
    count: u8,
}

// === impl Numbers ===

impl Numbers {
    fn postal(&self) -> bool {
        self.five || self.dashed || self.dutch || self.british || self.state
    }

    fn of(tokens: &[Token<'_>]) -> Self {
        let mut numbers = Self::default();
        for (at, token) in tokens.iter().enumerate() {
            let next = tokens.get(at + 1);
            let digits =
                |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
            let capitals = |token: &Token<'_>, count: usize| token.shape == Shape::Capitals && token.raw.len() == count;
            if let Some((outward, inward)) = token.shape.eq(&Shape::Capitals).then_some(token).zip(next) {
                let inner = inward.raw.as_bytes();
                numbers.british |= outward.raw.len() <= 4
                    && outward.raw.ends_with(|letter: char| letter.is_ascii_digit())
                    && matches!(inner, [b'0'..=b'9', b'A'..=b'Z', b'A'..=b'Z']);
                numbers.state |= capitals(outward, STATE) && digits(inward.raw, 5);
            }
            let Some((number, rest)) = token.number() else { continue };
            numbers.count = numbers.count.saturating_add(1);
            numbers.five |= digits(token.raw, 5) && next.is_some_and(|next| next.capital() && next.joined);
            numbers.dutch |= digits(token.raw, 4) && next.is_some_and(|next| capitals(next, 2));
            if let Some((one, two)) = token.raw.split_once('-') {
                numbers.dashed |= [(2, 3), (4, 3), (5, 3)].iter().any(|(a, b)| digits(one, *a) && digits(two, *b));
            }
            numbers.version |= token.raw.split('.').filter(|part| digits(part, part.len().max(1))).count() > 2;
            let unit = |word: &str| UNITS.contains(&word);
            numbers.dose |= unit(rest) || rest.is_empty() && next.is_some_and(|next| unit(&next.lower));
            let aged =
                rest.contains("year") || rest.contains("jähr") || rest.contains("jarig") || rest.contains("letni");
            let years = rest.is_empty() && next.is_some_and(|next| YEARS.contains(&next.lower.as_str()));
            numbers.age |= number <= 120 && (aged || years);
        }
        numbers
    }
}

/// What the columns mean, in a word that changes with them: a head that was trained on others is refused.
pub fn fingerprint() -> String {
    let mut digest = Sha256::new();
    digest.update(VERSION);
    for (name, patterns) in GROUPS {
        digest.update(name);
        digest.update(patterns);
    }
    digest.update(format!("{SHAPES} {BUCKETS} {DIMENSIONS} {MEANING} {PIECES} {YEARS:?} {UNITS:?}"));
    format!("{VERSION}-{}", &hex::encode(digest.finalize())[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(window: &str) -> [f32; MADE] {
        Reader::new().unwrap().made(window, &tokens(window))
    }

    fn at(feature: usize, window: &str) -> f32 {
        made(window)[GROUPS.len() + feature]
    }

    #[test]
    fn a_name_inside_a_sentence_is_seen_and_an_address_by_its_number() {
        assert_eq!(at(0, "please write to Ada Stone today"), 1.0);
        assert_eq!(at(0, "please write to the team"), 0.0);
        assert_eq!(at(3, "ask J. Stone"), 1.0);
        assert_eq!(at(4, "Stone, Ada"), 1.0);
        for street in ["5 Mill Road", "Lindenstraße 5", "rue du Moulin 5", "ul. Polna 5", "Kerkstraat 5"] {
            assert_eq!(at(7, street), 1.0, "{street}");
        }
        assert_eq!(at(7, "the long and winding road goes on for miles and miles past 5 hills"), 0.0);
    }

    #[test]
    fn postal_codes_ages_and_doses_are_seen_by_their_form() {
        for (feature, text) in [
            (9, "80331 München"),
            (10, "00-950 Warszawa"),
            (11, "1017 AB Amsterdam"),
            (12, "Leeds LS1 4DY"),
            (13, "Boston, MA 02139"),
            (14, "a 54-year-old man"),
            (14, "tiene 54 años"),
            (15, "take 500 mg"),
            (15, "take 500mg"),
            (16, "version 3.0.12"),
        ] {
            assert_eq!(at(feature, text), 1.0, "{text}");
            assert_eq!(at(feature, "I took 54 apples to 1017 people"), 0.0, "{text}");
        }
    }

    #[test]
    fn a_row_is_sorted_and_within_the_width() {
        let row = Reader::new().unwrap().read("My mother, Ada Stone, 54 years, has pain; 5 mg.", &[0.05; DIMENSIONS]);
        assert!(row.windows(2).all(|two| two[0].0 < two[1].0), "{row:?}");
        assert!(row.iter().all(|(column, value)| (*column as usize) < WIDTH && value.is_finite()));
    }
}

//! Values with units, as they are typed: durations, sizes, shares, money.

use policies::{NanoDollars, Rate};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::time::Duration;

/// A duration with its unit: `"30s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

/// A size with its unit: `"4MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A share: `"30%"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f32);

/// A score or a distance between scores, 0 to 1: `"0.15"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need(pub f32);

/// Dollars: text or a whole number, never a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dollars(pub NanoDollars);

/// Dollars per million tokens: text or a whole number, never a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMillion(pub Rate);

/// A measured number such as watts or years, in thousandths: text or a whole number, never a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thousandths(pub u64);

/// One name, or a list of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

/// A share, a score or a threshold as it is shown: four decimals, as it was typed and not as 32 bits keep it.
pub fn shown(number: f32) -> f64 {
    (f64::from(number) * 1e4).round() / 1e4
}

macro_rules! from_text {
    ($name:ident, $expecting:literal, $read:expr) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                        let read: fn(&str) -> Result<$name, String> = $read;
                        read(text).map_err(E::custom)
                    }

                    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                        self.visit_str(&number.to_string())
                    }

                    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                        self.visit_str(&number.to_string())
                    }
                }
                deserializer.deserialize_any(Text)
            }
        }
    };
}

from_text!(Time, "a duration with its unit as text, e.g. \"30s\"", |text| {
    if text == "0" {
        return Ok(Time(Duration::ZERO));
    }
    humantime::parse_duration(text)
        .map(Time)
        .map_err(|error| format!("`{text}` is not a duration ({error}); write e.g. \"30s\""))
});
from_text!(Size, "a size with its unit as text, e.g. \"4MiB\"", |text| {
    text.parse::<bytesize::ByteSize>()
        .map(|size| Size(size.as_u64()))
        .map_err(|_| format!("`{text}` is not a size; write e.g. \"4MiB\""))
});
from_text!(Share, "a share as text, e.g. \"30%\"", |text| {
    let wrong = || format!("`{text}` is not a share; write e.g. \"30%\"");
    let number = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim().parse::<f32>().map_err(|_| wrong())?;
    if (0.0..=100.0).contains(&number) { Ok(Share(number / 100.0)) } else { Err(wrong()) }
});
from_text!(Need, "a score from 0 to 1 as text, e.g. \"0.15\"", |text| {
    let wrong = || format!("`{text}` is not a score from 0 to 1; write e.g. \"0.15\"");
    let number = text.trim().parse::<f32>().map_err(|_| wrong())?;
    if (0.0..=1.0).contains(&number) { Ok(Need(number)) } else { Err(wrong()) }
});
from_text!(Dollars, "dollars as text or a whole number, e.g. \"0.50\"", |text| {
    NanoDollars::parse(text).map(Dollars).map_err(|error| error.to_string())
});
from_text!(PerMillion, "dollars per million tokens as text or a whole number, e.g. \"2.50\"", |text| {
    Rate::per_million(text).map(PerMillion).map_err(|error| error.to_string())
});
from_text!(Thousandths, "a number as text or a whole number, e.g. \"65\" or \"3.5\"", |text| {
    let wrong = || format!("`{text}` is not a number with at most three decimals; write e.g. \"65\" or \"3.5\"");
    let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 3 || text.trim().ends_with('.') || !digits(whole) || !digits(part) {
        return Err(wrong());
    }
    format!("{whole}{part:0<3}").parse().map(Thousandths).map_err(|_| wrong())
});

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Names(vec![text.to_owned()]))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    #[test]
    fn values_carry_their_units_and_money_is_never_a_float() {
        assert_eq!(from_value::<Time>(json!("1m 30s")).unwrap().0, Duration::from_secs(90));
        assert_eq!(from_value::<Size>(json!("4MiB")).unwrap().0, 4 << 20);
        assert_eq!(from_value::<Share>(json!("30%")).unwrap().0, 0.3);
        assert_eq!(from_value::<Dollars>(json!(500)).unwrap().0, NanoDollars::parse("500").unwrap());
        for (typed, thousandths) in [(json!(65), 65_000), (json!("3.5"), 3_500), (json!("0.125"), 125)] {
            assert_eq!(from_value::<Thousandths>(typed).unwrap().0, thousandths);
        }
        assert_eq!(from_value::<Names>(json!("a")).unwrap().0, ["a"]);
        let refused: [(&str, Result<(), serde_json::Error>); 10] = [
            ("2.5", from_value::<Dollars>(json!(2.5)).map(drop)),
            ("30", from_value::<Time>(json!(30)).map(drop)),
            ("0.3", from_value::<Share>(json!("0.3")).map(drop)),
            ("-1", from_value::<Dollars>(json!("-1")).map(drop)),
            ("65.5", from_value::<Thousandths>(json!(65.5)).map(drop)),
            ("1.2345", from_value::<Thousandths>(json!("1.2345")).map(drop)),
            ("5.", from_value::<Thousandths>(json!("5.")).map(drop)),
            ("-5", from_value::<Thousandths>(json!(-5)).map(drop)),
            ("watts", from_value::<Thousandths>(json!("many")).map(drop)),
            ("null", from_value::<Size>(Value::Null).map(drop)),
        ];
        for (text, result) in refused {
            assert!(result.is_err(), "{text}");
        }
    }
}

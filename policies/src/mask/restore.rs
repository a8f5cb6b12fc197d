//! From placeholders back to values, however a stream is cut.
//!
//! **Promise.** Whatever the pieces, [`Restorer::push`] and [`Restorer::finish`] together give the text with every
//! placeholder of the request replaced: the same as in one piece. At most the 37 bytes of the longest placeholder are held back, and only while
//! they can still become a placeholder. Work grows with the text: each sign that may begin one is looked at for at most
//! that many bytes.
//!
//! **What counts as a placeholder.** `<EMAIL_1>` in any case of its letters; its brackets may be written `&lt;` and `&gt;`, or
//! `\u003c` and `\u003e`, as some encoders do. A number that this request did not give, a placeholder without brackets, with
//! spaces in it, or one that the model broke off is left as it is: it is text, and stands for nothing.
//!
//! **What it does not do.** A restored value is not read again: what is in it is no placeholder.

use crate::detect::Kind;
use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The longest placeholder: both brackets as escapes, the longest label, a sign, ten digits.
#[cfg(test)]
pub(super) const LONGEST: usize = 6 + 14 + 1 + 10 + 6;

const OPENING: [&str; 3] = ["<", "&lt;", "\\u003c"];
const CLOSING: [&str; 3] = [">", "&gt;", "\\u003e"];

/// What placeholders of one request stand for. It lives as long as the request, and nothing prints it.
#[derive(Default)]
pub struct Values(HashMap<(Kind, u32), Arc<str>>);

/// Restores one text that comes in pieces.
pub struct Restorer {
    values: Arc<Values>,
    /// What may become a placeholder.
    held: String,
}

/// What begins at a sign.
enum Begins {
    Placeholder(Kind, u32, usize),
    Text,
    /// Nobody knows yet.
    Open,
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} masked values", self.0.len())
    }
}

impl fmt::Debug for Restorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restorer").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

// === impl Values ===

impl Values {
    /// What each placeholder stands for.
    pub fn new(values: impl IntoIterator<Item = (Kind, u32, Arc<str>)>) -> Self {
        Self(values.into_iter().map(|(kind, number, text)| ((kind.as_labelled(), number), text)).collect())
    }

    /// A placeholder as it is sent.
    pub fn placeholder(kind: Kind, number: u32) -> String {
        format!("<{}_{number}>", kind.label())
    }

    /// A text that is there as a whole.
    pub fn restore(self: &Arc<Self>, text: &str) -> String {
        let mut restorer = Restorer::new(self.clone());
        let mut restored = restorer.push(text);
        restored.push_str(&restorer.finish());
        restored
    }

    /// Placeholders in the place of values, wherever they stand: for a text of the same request that is to be kept.
    ///
    /// # Errors
    /// There are too many values.
    pub fn conceal(&self, text: &str) -> Result<String, BuildError> {
        let (known, placeholders): (Vec<&str>, Vec<String>) = self.pairs().unzip();
        let search = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(known)?;
        Ok(search.replace_all(text, &placeholders))
    }

    /// The values with their placeholders.
    fn pairs(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().map(|((kind, number), text)| (&**text, Self::placeholder(*kind, *number)))
    }
}

// === impl Restorer ===

impl Restorer {
    /// Nothing has come yet.
    pub fn new(values: Arc<Values>) -> Self {
        Self { values, held: String::new() }
    }

    /// Takes the next piece; gives what is sure.
    pub fn push(&mut self, piece: &str) -> String {
        let joined;
        let text = if self.held.is_empty() {
            piece
        } else {
            joined = std::mem::take(&mut self.held) + piece;
            &joined
        };
        let (mut out, mut done, mut at) = (String::with_capacity(text.len()), 0, 0);
        while let Some(step) = text.as_bytes()[at..].iter().position(|byte| matches!(byte, b'<' | b'&' | b'\\')) {
            at += step;
            match begins(&text[at..]) {
                Begins::Placeholder(kind, number, length) => {
                    if let Some(value) = self.values.0.get(&(kind, number)) {
                        out.push_str(&text[done..at]);
                        out.push_str(value);
                        done = at + length;
                    }
                    at += length;
                }
                Begins::Text => at += 1,
                Begins::Open => {
                    text[at..].clone_into(&mut self.held);
                    out.push_str(&text[done..at]);
                    return out;
                }
            }
        }
        out.push_str(&text[done..]);
        out
    }

    /// Whether something is held back.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// What is held back.
    #[cfg(test)]
    pub(super) fn held_back(&self) -> &str {
        &self.held
    }

    /// The end: what is held back is no placeholder. A further text may follow.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// What begins with a text.
fn begins(text: &str) -> Begins {
    let after = match one_of(text, &OPENING) {
        Ok(after) => after,
        Err(begins) => return begins,
    };
    let mut open = false;
    for kind in Kind::labelled() {
        let label = kind.label().as_bytes();
        let rest = &text.as_bytes()[after..];
        let most = label.len().min(rest.len());
        if !rest[..most].eq_ignore_ascii_case(&label[..most]) {
            continue;
        }
        match rest.get(label.len()) {
            None => open = true,
            Some(b'_') => return numbered(text, after + label.len() + 1, kind),
            Some(_) => {}
        }
    }
    if open { Begins::Open } else { Begins::Text }
}

fn numbered(text: &str, from: usize, kind: Kind) -> Begins {
    let digits = text.as_bytes()[from..].iter().take(11).take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = (&text[from..from + digits], &text[from + digits..]);
    if number.starts_with('0') || digits > 10 {
        return Begins::Text;
    }
    if rest.is_empty() {
        return Begins::Open;
    }
    let Ok(number) = number.parse() else { return Begins::Text };
    match one_of(rest, &CLOSING) {
        Ok(length) => Begins::Placeholder(kind, number, from + digits + length),
        Err(begins) => begins,
    }
}

/// The length of the one that a text begins with, in any case.
fn one_of(text: &str, these: &[&str]) -> Result<usize, Begins> {
    let mut open = false;
    for one in these {
        let most = one.len().min(text.len());
        if text.as_bytes()[..most].eq_ignore_ascii_case(&one.as_bytes()[..most]) {
            if most == one.len() {
                return Ok(most);
            }
            open = true;
        }
    }
    Err(if open { Begins::Open } else { Begins::Text })
}

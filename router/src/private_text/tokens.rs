//! A window in words.
//!
//! A word is a run of letters and digits, with an apostrophe, hyphen, full stop, comma or slash inside. How it is written
//! (capital, all capitals, number) and what stands before it matter as much as what it says.

/// How a word is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `Ada`
    Capital,
    /// `ADA`
    Capitals,
    /// `A`
    Letter,
    /// It begins with a digit.
    Number,
    /// Anything else.
    Small,
}

/// A word.
#[derive(Clone, Debug)]
pub struct Token<'t> {
    /// As it is written.
    pub raw: &'t str,
    /// In small letters.
    pub lower: String,
    /// How it is written.
    pub shape: Shape,
    /// A sentence, line or field begins with it: that it has a capital says little.
    pub first: bool,
    /// Nothing but a space lies before it.
    pub joined: bool,
    /// A comma lies before it.
    pub comma: bool,
    /// A full stop follows.
    pub dot: bool,
}

// === impl Token ===

impl Token<'_> {
    /// Written like a name.
    pub fn capital(&self) -> bool {
        matches!(self.shape, Shape::Capital)
    }

    /// The number that it begins with, and what follows in it: `54-year-old`, `500mg`.
    pub fn number(&self) -> Option<(u32, &str)> {
        let digits = self.lower.bytes().take_while(u8::is_ascii_digit).count();
        Some((self.lower[..digits].parse().ok()?, &self.lower[digits..]))
    }
}

/// The words of a window.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut start: Option<usize> = None;
    let mut end = 0;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let inside = matches!(letter, '\'' | '’' | '-' | '.' | ',' | '/')
            && start.is_some()
            && letters.peek().is_some_and(|(_, next)| next.is_alphanumeric())
            // `9.30,then` is two words, `1,234` one.
            && (letter != ',' || letters.peek().is_some_and(|(_, next)| next.is_ascii_digit()));
        if letter.is_alphanumeric() || inside {
            start.get_or_insert(at);
        } else if let Some(from) = start.take() {
            tokens.push(token(text, from, at, end, tokens.is_empty()));
            end = at;
        }
    }
    if let Some(from) = start {
        tokens.push(token(text, from, text.len(), end, tokens.is_empty()));
    }
    tokens
}

fn token(text: &str, from: usize, to: usize, before: usize, none_before: bool) -> Token<'_> {
    let (raw, gap) = (&text[from..to], &text[before..from]);
    let mut letters = raw.chars();
    let (one, two) = (letters.next(), letters.next());
    let small = raw.chars().any(char::is_lowercase);
    let shape = match one {
        Some(letter) if letter.is_ascii_digit() => Shape::Number,
        Some(letter) if letter.is_uppercase() => match (two, small) {
            (None, _) => Shape::Letter,
            (Some(_), true) => Shape::Capital,
            (Some(_), false) => Shape::Capitals,
        },
        Some(_) | None => Shape::Small,
    };
    // `J. Smith`: the stop of an initial or of `Dr.` is no end.
    let ends = gap.contains(['\n', '!', '?', ':', '"', '(', '{', '[', ';', '¿', '¡'])
        || gap.contains('.')
            && before.checked_sub(4).is_some_and(|near| !text.as_bytes()[near..before].contains(&b' '));
    Token {
        raw,
        lower: raw.to_lowercase(),
        shape,
        first: none_before || ends,
        joined: !none_before && matches!(gap, " " | ". " | "\u{a0}"),
        comma: gap.trim() == ",",
        dot: text[to..].starts_with('.'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_know_how_they_are_written_and_where_they_stand() {
        let text = "Please ask Ada O'Brien, 5 Mill St., D-80331 München: NATO, J. Smith took 1,000 mg.";
        let tokens = tokens(text);
        let raw: Vec<&str> = tokens.iter().map(|token| token.raw).collect();
        assert_eq!(
            raw,
            [
                "Please", "ask", "Ada", "O'Brien", "5", "Mill", "St", "D-80331", "München", "NATO", "J", "Smith",
                "took", "1,000", "mg"
            ]
        );
        assert!(tokens[0].first && !tokens[2].first && tokens[3].joined && tokens[4].comma);
        assert_eq!((tokens[9].shape, tokens[10].shape), (Shape::Capitals, Shape::Letter));
        assert!(tokens[9].first && tokens[11].joined && !tokens[11].first, "{tokens:?}");
    }

    #[test]
    fn words_of_other_scripts_are_words_and_signs_are_none() {
        for (text, expected) in [
            ("", vec![]),
            ("...", vec![]),
            ("ß", vec!["ß"]),
            ("İstanbul'da", vec!["İstanbul'da"]),
            ("我的名字是李娜。", vec!["我的名字是李娜"]),
            ("a\u{301}'", vec!["a"]),
            ("'''a'''", vec!["a"]),
            ("é. È", vec!["é", "È"]),
        ] {
            let found: Vec<&str> = tokens(text).iter().map(|token| token.raw).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}

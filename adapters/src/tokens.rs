//! Counting the tokens of a hosted model whose provider did not say.
//!
//! Used where a stream was cut or usage is missing: the count is a lower bound of what the provider may bill. The table
//! (tiktoken's o200k, about 40 MB once loaded) is loaded on first use, so an idle gateway does not carry it.
//!
//! Text is counted in pieces of [`PIECE`] bytes, and a run of letters, or of white space, in pieces of [`RUN`]: byte-pair merging of
//! one run is quadratic, and whoever makes a model write a megabyte of `xxxx` must not have us count for seconds.

const PIECE: usize = 4096;
/// Longer than words are; the count of what is cut is at most one higher for each cut.
const RUN: usize = 256;

/// Tokens in `text`, by the o200k table.
pub fn count(text: &str) -> u64 {
    let table = tiktoken_rs::o200k_base_singleton();
    let mut rest = text;
    let mut tokens = 0u64;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(piece_end(rest));
        tokens += table.encode_ordinary(piece).len() as u64;
        rest = more;
    }
    tokens
}

/// Where the first piece of a text ends: behind a whole letter, and never at its beginning.
fn piece_end(text: &str) -> usize {
    let (mut run, mut white) = (0, false);
    for (at, letter) in text.char_indices() {
        run = if letter.is_whitespace() == white { run + letter.len_utf8() } else { letter.len_utf8() };
        white = letter.is_whitespace();
        if at > 0 && (at >= PIECE || run > RUN) {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_run_is_counted_as_a_whole_and_usual_text_is_counted_as_it_is() {
        for text in ["x".repeat(5_000), " ".repeat(5_000), "\u{4e16}".repeat(5_000), "\n\n".repeat(3_000)] {
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let end = piece_end(rest);
                assert!((1..=RUN + 4).contains(&end), "{end}");
                rest = &rest[end..];
            }
        }
        let usual = "The quick brown fox jumps over the lazy dog, twice; then `fn f() -> u8 { 7 }`.\n".repeat(20);
        assert_eq!(piece_end(&usual), usual.len());
        assert_eq!(piece_end(&usual.repeat(9)), PIECE);
    }

    #[test]
    fn text_is_counted_in_whole_characters() {
        assert_eq!(count(""), 0);
        assert_eq!(count("Hello, world!"), 4);
        assert!(count(&"é".repeat(10_000)) > 1_000);
    }
}

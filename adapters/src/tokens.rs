//! Counting the tokens of a hosted model whose provider did not say.
//!
//! Used where a stream was cut or usage is missing: the count is a lower bound of what the provider may bill. The table
//! (tiktoken's o200k, about 40 MB once loaded) is loaded on first use, so an idle gateway does not carry it.
//!
//! Text is counted in pieces of [`PIECE`] bytes, because byte-pair merging of one long run is quadratic.

const PIECE: usize = 4096;

/// Tokens in `text`, by the o200k table.
pub fn count(text: &str) -> u64 {
    let table = tiktoken_rs::o200k_base_singleton();
    let mut rest = text;
    let mut tokens = 0u64;
    while !rest.is_empty() {
        let mut end = rest.len().min(PIECE);
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let (piece, more) = rest.split_at(end);
        tokens += table.encode_ordinary(piece).len() as u64;
        rest = more;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_counted_in_whole_characters() {
        assert_eq!(count(""), 0);
        assert_eq!(count("Hello, world!"), 4);
        assert!(count(&"é".repeat(10_000)) > 1_000);
    }
}

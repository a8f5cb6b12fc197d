//! From tokens to text, one at a time, with stop texts held back.
//!
//! **Promise.** The pieces put together are the text that decoding all tokens at once gives; a piece never ends inside a
//! character; no part of a stop text is ever handed out, however tokens cut it.
//!
//! **Failure behaviour.** Bytes that never become a character come out as U+FFFD when the answer ends.

use std::sync::Arc;
use tokenizers::Tokenizer;

/// Writes an answer.
pub(super) struct Writer {
    tokenizer: Arc<Tokenizer>,
    /// Tokens of the window that is decoded anew with each token, and how many of them were handed out already.
    window: Vec<u32>,
    settled: usize,
    prefix: String,
    /// All that was decoded, and how much of it was handed out.
    text: String,
    released: usize,
    stops: Vec<String>,
}

/// What a token brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Text that may go out.
    pub(super) text: String,
    /// A stop text was met.
    pub(super) stopped: bool,
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(tokenizer: Arc<Tokenizer>, stops: Vec<String>) -> Self {
        Self {
            tokenizer,
            window: Vec::new(),
            settled: 0,
            prefix: String::new(),
            text: String::new(),
            released: 0,
            stops,
        }
    }

    /// Bytes decoded so far, held back ones included.
    pub(super) fn decoded(&self) -> usize {
        self.text.len()
    }

    /// Bytes handed out so far.
    pub(super) fn released(&self) -> usize {
        self.released
    }

    /// Adds a token.
    pub(super) fn push(&mut self, token: u32) -> Result<Written, String> {
        self.window.push(token);
        let decoded = self.decode()?;
        if decoded.len() <= self.prefix.len() || decoded.ends_with('\u{fffd}') {
            return Ok(Written { text: String::new(), stopped: false });
        }
        self.take(&decoded);
        // The tokens that are out stay in the window once more: some decoders join a token to the one before it.
        self.window.drain(..self.settled);
        self.settled = self.window.len();
        self.prefix = self.decode()?;
        Ok(self.release(false))
    }

    /// Ends the answer: what was held back comes out, unless it is a stop text.
    pub(super) fn finish(&mut self) -> Result<Written, String> {
        let decoded = self.decode()?;
        if decoded.len() > self.prefix.len() {
            self.take(&decoded);
        }
        Ok(self.release(true))
    }

    fn decode(&self) -> Result<String, String> {
        self.tokenizer.decode(&self.window, true).map_err(|error| error.to_string())
    }

    fn take(&mut self, decoded: &str) {
        // A decoder that rewrites what it said before would cut at no boundary: then the whole is new.
        self.text.push_str(decoded.get(self.prefix.len()..).unwrap_or(decoded));
    }

    fn release(&mut self, last: bool) -> Written {
        let open = &self.text[self.released..];
        if let Some(at) = self.stops.iter().filter_map(|stop| open.find(stop.as_str())).min() {
            let text = open[..at].to_owned();
            self.released += at;
            return Written { text, stopped: true };
        }
        let held = if last { 0 } else { self.stops.iter().map(|stop| overlap(open, stop)).max().unwrap_or(0) };
        let text = open[..open.len() - held].to_owned();
        self.released += text.len();
        Written { text, stopped: false }
    }
}

/// The longest end of `text` that begins `stop`, in bytes.
fn overlap(text: &str, stop: &str) -> usize {
    let starts = stop.char_indices().map(|(at, _)| at).skip(1);
    starts.filter(|at| text.ends_with(&stop[..*at])).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::models::bpe::BPE;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    /// One token a byte.
    fn bytes() -> Arc<Tokenizer> {
        let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        alphabet.sort_unstable();
        let vocab =
            alphabet.into_iter().enumerate().map(|(id, byte)| (byte.to_string(), id as u32)).collect::<Vec<_>>();
        let model = BPE::builder()
            .vocab_and_merges(vocab.into_iter().collect::<tokenizers::models::bpe::Vocab>(), vec![])
            .build()
            .unwrap();
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, false, false)));
        tokenizer.with_decoder(Some(ByteLevel::new(false, false, false)));
        Arc::new(tokenizer)
    }

    fn write(text: &str, stops: &[&str]) -> (Vec<String>, bool) {
        let tokenizer = bytes();
        let tokens = tokenizer.encode(text, false).unwrap().get_ids().to_vec();
        let mut writer = Writer::new(tokenizer, stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut pieces = Vec::new();
        for token in tokens {
            let written = writer.push(token).unwrap();
            pieces.push(written.text);
            if written.stopped {
                return (pieces, true);
            }
        }
        pieces.push(writer.finish().unwrap().text);
        (pieces, false)
    }

    #[test]
    fn characters_are_never_cut() {
        let (pieces, _) = write("aé€🙂!", &[]);
        assert_eq!(pieces.concat(), "aé€🙂!");
        assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')));
    }

    #[test]
    fn no_part_of_a_stop_text_leaks() {
        assert_eq!(write("one STOP two", &["STOP"]).0.concat(), "one ");
        assert_eq!(write("ab\n\nc", &["\n\n", "zz"]), (["a", "b", "", ""].map(String::from).to_vec(), true));
        assert_eq!(write("one STO", &["STOP"]).0.concat(), "one STO");
        assert_eq!(write("aéé", &["éz"]).0.concat(), "aéé");
        assert_eq!(write("STSTOP", &["STOP"]).0.concat(), "ST");
    }
}

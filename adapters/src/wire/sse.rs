//! Server-sent events, kept as bytes.
//!
//! **Promise.** However the upstream cuts its bytes, the same events come out, each as the exact bytes that made it
//! (blank line included), so that a relay changes nothing. Line ends may be LF, CRLF or CR; a byte-order mark at the
//! start is dropped. (WHATWG HTML, section 9.2.6, "Interpreting an event stream".)
//!
//! **What it does not do.** No reconnecting, no `retry:`; an event that never ends is cut at [`MAX_EVENT`].

use bytes::{Buf, Bytes, BytesMut};

/// The largest event that is kept in memory.
pub const MAX_EVENT: usize = 4 << 20;

/// An event grew beyond [`MAX_EVENT`].
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Cuts a stream of bytes into events.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: BytesMut,
    /// Bytes of `buffer` that hold no end of an event.
    scanned: usize,
    started: bool,
}

// === impl Splitter ===

impl Splitter {
    /// Adds bytes; call [`Splitter::next_event`] until it gives `None` before the next chunk.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), TooLarge> {
        if self.buffer.len() + chunk.len() > MAX_EVENT + 65_536 {
            return Err(TooLarge);
        }
        self.buffer.extend_from_slice(chunk);
        if !self.started && self.buffer.len() >= 3 {
            self.started = true;
            if self.buffer.starts_with(b"\xef\xbb\xbf") {
                self.buffer.advance(3);
            }
        }
        Ok(())
    }

    /// The next whole event, with the blank line that ends it.
    pub fn next_event(&mut self) -> Option<Bytes> {
        let end = self.find_end()?;
        self.scanned = 0;
        Some(self.buffer.split_to(end).freeze())
    }

    /// What is left when the stream ends: an event without its blank line, or nothing.
    pub fn rest(&mut self) -> Bytes {
        self.scanned = 0;
        self.buffer.split().freeze()
    }

    /// Finds the end of the blank line that closes the first event.
    ///
    /// A CR at the very end of the buffer may be the first half of a CRLF, so it waits for one more byte; an event that
    /// the stream's end leaves open is handed out by `rest`.
    fn find_end(&mut self) -> Option<usize> {
        let bytes = &self.buffer[..];
        let mut from = self.scanned;
        while let Some(at) = next_line_end(bytes, from) {
            // Where the line end, or what follows it, is not there yet, it is looked at again from here.
            self.scanned = at;
            let after = line_end(bytes, at)?;
            match bytes.get(after)? {
                b'\n' | b'\r' => return line_end(bytes, after),
                _ => from = after,
            }
        }
        self.scanned = bytes.len();
        None
    }
}

/// Where the next CR or LF is, from `from` on.
fn next_line_end(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr2(b'\n', b'\r', bytes.get(from..)?).map(|at| from + at)
}

/// The index after the line end that starts at `at`; `None` when there is none or it is not whole yet.
fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes[at] {
        b'\n' => Some(at + 1),
        b'\r' => match bytes.get(at + 1) {
            Some(b'\n') => Some(at + 2),
            Some(_) => Some(at + 1),
            None => None,
        },
        _ => None,
    }
}

/// The lines of an event; an empty one between CR and LF says nothing.
fn lines(event: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(event);
    std::iter::from_fn(move || {
        let text = rest?;
        match next_line_end(text, 0) {
            Some(at) => {
                rest = text.get(at + 1..);
                text.get(..at)
            }
            None => rest.take(),
        }
    })
}

/// The payload of an event: its `data:` lines joined with LF. `None` for comments and other fields.
///
/// One line, which is the rule, is shared with the event and not copied.
pub fn data(event: &Bytes) -> Option<Bytes> {
    let mut values = lines(event).filter_map(data_line);
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(event.slice_ref(first)) };
    let mut joined = BytesMut::from(first);
    for value in std::iter::once(second).chain(values) {
        joined.extend_from_slice(b"\n");
        joined.extend_from_slice(value);
    }
    Some(joined.freeze())
}

/// The value of a `data` line.
fn data_line(line: &[u8]) -> Option<&[u8]> {
    let value = line.strip_prefix(b"data")?;
    match value.split_first() {
        None => Some(value),
        Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        Some(_) => None,
    }
}

/// The type of an event (`event:` line), if it has one.
pub fn event_type(event: &[u8]) -> Option<&str> {
    lines(event).find_map(|line| {
        let value = line.strip_prefix(b"event:")?;
        std::str::from_utf8(value).ok().map(str::trim)
    })
}

/// Writes a payload as one event.
pub fn frame(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 8);
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\n\n");
    out.freeze()
}

/// Writes a payload as one event with a type.
pub fn named(name: &str, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(name.len() + payload.len() + 16);
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\n");
    out.extend_from_slice(&frame(payload));
    out.freeze()
}

/// The same event with another payload: its other lines stay.
pub fn with_data(event: &[u8], payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(event.len() + payload.len());
    for line in lines(event) {
        if !line.is_empty() && data_line(line).is_none() {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\n");
        }
    }
    out.extend_from_slice(&frame(payload));
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "data: {\"a\":1}\n\n: note\r\n\r\nevent: error\ndata: x\ndata: y\n\ndata:z\r\rdata: [DONE]\n\n";

    fn split(cuts: &[usize], text: &[u8]) -> Vec<Bytes> {
        let mut splitter = Splitter::default();
        let mut events = Vec::new();
        let mut from = 0;
        for cut in cuts.iter().copied().chain([text.len()]) {
            splitter.push(&text[from..cut]).unwrap();
            from = cut;
            while let Some(event) = splitter.next_event() {
                events.push(event);
            }
        }
        let rest = splitter.rest();
        if !rest.is_empty() {
            events.push(rest);
        }
        events
    }

    #[test]
    fn every_way_to_cut_gives_the_same_events() {
        let whole: Vec<_> = split(&[], TEXT.as_bytes()).iter().filter_map(data).collect();
        assert_eq!(whole, ["{\"a\":1}", "x\ny", "z", "[DONE]"].map(|text| Bytes::from_static(text.as_bytes())));
        for at in 0..TEXT.len() {
            let cut: Vec<_> = split(&[at], TEXT.as_bytes()).iter().filter_map(data).collect();
            assert_eq!(cut, whole, "cut at {at}");
        }
        let single: Vec<usize> = (1..TEXT.len()).collect();
        assert_eq!(split(&single, TEXT.as_bytes()).iter().filter_map(data).collect::<Vec<_>>(), whole);
    }

    #[test]
    fn a_byte_order_mark_is_dropped_and_types_are_read() {
        assert_eq!(split(&[1], b"\xef\xbb\xbfdata: a\n\n"), [Bytes::from_static(b"data: a\n\n")]);
        assert_eq!(event_type(b"event: error\ndata: x\n\n"), Some("error"));
        assert_eq!(with_data(b"id: 7\r\ndata: a\r\ndata: b\r\n: c\r\n\r\n", b"x"), "id: 7\n: c\ndata: x\n\n");
        assert_eq!(data(&Bytes::from_static(b": comment\n\n")), None);
        assert_eq!(data(&Bytes::from_static(b"database: x\n\n")), None);
    }

    #[test]
    fn lines_of_one_event_stay_together_whatever_ends_them() {
        for end in ["\n", "\r\n", "\r"] {
            let text = "event: x|data: a|data: b||data: c||".replace('|', end);
            let mut splitter = Splitter::default();
            splitter.push(format!("{text}:").as_bytes()).unwrap();
            let events: Vec<Bytes> = std::iter::from_fn(|| splitter.next_event()).collect();
            let payloads: Vec<Option<Bytes>> = events.iter().map(data).collect();
            assert_eq!(payloads, [Some(Bytes::from("a\nb")), Some(Bytes::from("c"))], "{end:?}");
        }
    }

    #[test]
    fn an_endless_event_is_cut() {
        let mut splitter = Splitter::default();
        let chunk = vec![b'a'; 1 << 20];
        let refused = (0..8).any(|_| splitter.push(&chunk).is_err());
        assert!(refused);
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_or_invented(text in "(data: [a-z]{0,5}|:|event: e|[\r\n]|\r\n){0,12}", cuts in proptest::collection::vec(0usize..60, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            prop_assert_eq!(split(&cuts, text.as_bytes()).concat(), text.as_bytes());
        }
    }
}

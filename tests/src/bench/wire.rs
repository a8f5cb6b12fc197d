//! Just enough of HTTP/1.1 to send a request and to know where its answer ends: the generator and the upstream share one
//! core, so what they spend is what the proxies cannot show.

use std::ops::Range;

/// The longest message that is read.
const LONGEST: usize = 1 << 20;

/// Bytes that are not HTTP as it is expected here.
#[derive(Debug)]
pub struct Malformed;

/// A whole message.
#[derive(Debug)]
pub struct Message {
    /// Status of a response; 0 for a request.
    pub status: u16,
    /// Bytes of its body, without the framing of chunks.
    pub payload: usize,
    /// The body as it came, with the framing of chunks.
    pub body: Range<usize>,
}

/// Collects one message; there is never a second one behind it (no pipelining).
#[derive(Default)]
pub struct Reader {
    /// What has come so far: append to it, then call [`Reader::message`].
    pub bytes: Vec<u8>,
    head: Option<Head>,
    /// Where the next chunk's size line begins.
    chunk: usize,
    payload: usize,
}

#[derive(Clone, Copy)]
struct Head {
    status: u16,
    end: usize,
    /// `None`: chunked.
    length: Option<usize>,
}

// === impl Reader ===

impl Reader {
    /// The message, once all of it is there; then [`Reader::clear`] comes before the next.
    pub fn message(&mut self) -> Result<Option<Message>, Malformed> {
        let head = match self.head {
            Some(head) => head,
            None => match head(&self.bytes)? {
                Some(head) => {
                    self.head = Some(head);
                    self.chunk = head.end;
                    head
                }
                None => return if self.bytes.len() > LONGEST { Err(Malformed) } else { Ok(None) },
            },
        };
        let end = match head.length {
            Some(length) => {
                self.payload = length;
                Some(head.end + length).filter(|end| *end <= self.bytes.len())
            }
            None => self.last_chunk()?,
        };
        Ok(end.map(|end| Message { status: head.status, payload: self.payload, body: head.end..end }))
    }

    /// Makes ready for the next message.
    pub fn clear(&mut self) {
        self.bytes.clear();
        (self.head, self.chunk, self.payload) = (None, 0, 0);
    }

    fn last_chunk(&mut self) -> Result<Option<usize>, Malformed> {
        loop {
            let rest = &self.bytes[self.chunk..];
            let Some(line) = rest.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
            let digits = std::str::from_utf8(&rest[..line]).map_err(|_| Malformed)?.trim_end();
            let size = usize::from_str_radix(digits, 16).map_err(|_| Malformed)?;
            if size > LONGEST {
                return Err(Malformed);
            }
            let next = line + 1 + size + 2;
            if rest.len() < next {
                return Ok(None);
            }
            self.chunk += next;
            if size == 0 {
                return Ok(Some(self.chunk));
            }
            self.payload += size;
        }
    }
}

fn head(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| Malformed)?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = match first.strip_prefix("HTTP/1.1 ") {
        Some(rest) => rest.get(..3).and_then(|digits| digits.parse().ok()).ok_or(Malformed)?,
        None => 0,
    };
    let (mut length, mut chunked) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().map_err(|_| Malformed)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    match (length, chunked) {
        (_, true) => Ok(Some(Head { status, end: end + 4, length: None })),
        (Some(length), false) if length <= LONGEST => Ok(Some(Head { status, end: end + 4, length: Some(length) })),
        // A body that only the end of the connection ends is not kept alive, so nobody here sends one.
        (Some(_) | None, false) => Err(Malformed),
    }
}

/// The payload of a body that came in chunks, or of one that did not.
pub fn unframed(body: &[u8], payload: usize) -> Vec<u8> {
    if body.len() == payload {
        return body.to_vec();
    }
    let (mut out, mut at) = (Vec::with_capacity(payload), 0);
    while let Some(line) = body[at..].iter().position(|byte| *byte == b'\n') {
        let digits = std::str::from_utf8(&body[at..at + line]).unwrap_or_default().trim_end();
        let size = usize::from_str_radix(digits, 16).unwrap_or(0);
        let from = at + line + 1;
        out.extend_from_slice(body.get(from..from + size).unwrap_or_default());
        at = from + size + 2;
        if size == 0 || at >= body.len() {
            break;
        }
    }
    out
}

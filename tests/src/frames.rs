//! Frames of HTTP/2 by hand (RFC 9113), for what no client library would send.

use crate::soon;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames.
pub const DATA: u8 = 0;
/// Fields of a request or an answer.
pub const HEADERS: u8 = 1;
/// The end of a stream.
pub const RESET: u8 = 3;
/// Settings of the connection.
pub const SETTINGS: u8 = 4;
/// A ping.
pub const PING: u8 = 6;
/// The end of the connection.
pub const GO_AWAY: u8 = 7;
/// More room to send.
pub const WINDOW: u8 = 8;
/// More fields.
pub const CONTINUATION: u8 = 9;

/// The stream ends with this frame.
pub const END_STREAM: u8 = 0x01;
/// The fields end with this frame.
pub const END_HEADERS: u8 = 0x04;

/// A frame (section 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields as literals without an index (RFC 7541, section 6.2.2).
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // A length of seven bits, or 127 and the rest in seven bits each.
            match text.len() {
                short @ 0..127 => block.push(short as u8),
                long => {
                    let mut rest = long - 127;
                    block.push(127);
                    while rest >= 128 {
                        block.push((rest % 128) as u8 | 128);
                        rest /= 128;
                    }
                    block.push(rest as u8);
                }
            }
            block.extend(text.bytes());
        }
    }
    block
}

/// A connection.
pub struct Framed {
    stream: TcpStream,
    read: Vec<u8>,
}

/// What a stream came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was answered: the bytes of its data.
    Answer(Vec<u8>),
    /// It was reset, with this code.
    Reset(u32),
    /// The connection was ended.
    Gone,
}

// === impl Framed ===

impl Framed {
    /// Connects to `http://HOST:PORT` and says hello, with settings.
    pub async fn open(address: &str, settings: &[u8]) -> Self {
        let address: SocketAddr = address.trim_start_matches("http://").parse().expect("an address");
        let mut stream = soon("a connection", TcpStream::connect(address)).await.expect("the gateway accepts");
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await.expect("written");
        Self { stream, read: Vec::new() }
    }

    /// Sends bytes; false when the other side is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        soon("the bytes are taken", self.stream.write_all(bytes)).await.is_ok()
    }

    /// The next frame: its kind, flags, stream and payload; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        loop {
            if let [one, two, three, kind, flags, id @ ..] = &self.read[..]
                && let Some((stream, rest)) = id.split_first_chunk::<4>()
            {
                let length = u32::from_be_bytes([0, *one, *two, *three]) as usize;
                if rest.len() >= length {
                    let whole = (*kind, *flags, u32::from_be_bytes(*stream), rest[..length].to_vec());
                    self.read.drain(..9 + length);
                    return Some(whole);
                }
            }
            let mut chunk = vec![0; 16 << 10];
            match self.stream.read(&mut chunk).await {
                Ok(count @ 1..) => self.read.extend_from_slice(&chunk[..count]),
                Ok(0) | Err(_) => return None,
            }
        }
    }

    /// What a stream comes to.
    pub async fn came(&mut self, stream: u32) -> Came {
        let mut said = Vec::new();
        loop {
            let Some((kind, flags, id, payload)) = soon("a frame or the end", self.next()).await else {
                return Came::Gone;
            };
            match kind {
                GO_AWAY => return Came::Gone,
                RESET if id == stream => {
                    let code = payload.first_chunk::<4>().map_or(0, |code| u32::from_be_bytes(*code));
                    return Came::Reset(code);
                }
                DATA if id == stream => said.extend(payload),
                _ => {}
            }
            if id == stream && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                return Came::Answer(said);
            }
        }
    }
}

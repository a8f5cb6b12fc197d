//! Clients for crowds: connections that are kept, and as little work as possible between two requests.
//!
//! A test of a thousand rounds with 256 callers each spends most of its time in its own client, if every call makes a
//! connection and parses all that comes. A [`Hand`] does neither; what an answer looks like in full, [`crate::Told`] says.

use crate::soon;
use futures::future::join_all;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A caller with a connection of its own.
pub struct Hand {
    address: SocketAddr,
    stream: Option<TcpStream>,
    unread: Vec<u8>,
}

/// What a caller got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body, without chunks' sizes.
    pub body: Vec<u8>,
}

// === impl Reply ===

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether a stream came to its proper end, or the answer was whole.
    pub fn is_done(&self, streamed: bool) -> bool {
        self.status == 200 && (!streamed || self.text().contains("data: [DONE]"))
    }
}

// === impl Hand ===

impl Hand {
    /// A caller of `http://HOST:PORT`; it connects with its first call.
    pub fn new(base: &str) -> Self {
        let address = base.trim_start_matches("http://").parse().expect("an address");
        Self { address, stream: None, unread: Vec::new() }
    }

    /// So many callers of the same gateway, connected.
    pub async fn crowd(base: &str, count: usize) -> Vec<Self> {
        let mut hands: Vec<Self> = (0..count).map(|_| Self::new(base)).collect();
        join_all(hands.iter_mut().map(async |hand| assert!(hand.connect().await, "the gateway accepts"))).await;
        hands
    }

    /// Asks for a chat completion; `None`: the other side went away before the answer had its end.
    pub async fn chat(&mut self, body: &Value, headers: &[(&str, &str)]) -> Option<Reply> {
        let body = body.to_string();
        let mut request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: sluice.test\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(&body);
        if self.stream.is_none() && !self.connect().await {
            return None;
        }
        let reply = soon("an answer", self.exchange(request.as_bytes())).await;
        if reply.is_none() {
            self.stream = None;
        }
        reply
    }

    async fn connect(&mut self) -> bool {
        self.unread.clear();
        self.stream = TcpStream::connect(self.address).await.ok();
        self.stream.as_ref().is_some_and(|stream| stream.set_nodelay(true).is_ok())
    }

    async fn exchange(&mut self, request: &[u8]) -> Option<Reply> {
        self.stream.as_mut()?.write_all(request).await.ok()?;
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).to_ascii_lowercase();
        self.unread.drain(..end);
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let said = |name: &str| head.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
        let mut body = Vec::new();
        if said("transfer-encoding:") == Some("chunked") {
            loop {
                let line = loop {
                    if let Some(at) = find(&self.unread, b"\r\n") {
                        break self.unread.drain(..at + 2).collect::<Vec<u8>>();
                    }
                    self.more().await?;
                };
                let size = std::str::from_utf8(&line).ok()?.trim();
                let size = usize::from_str_radix(size, 16).ok()?;
                self.take(size, &mut body).await?;
                self.take(2, &mut Vec::new()).await?;
                if size == 0 {
                    break;
                }
            }
        } else {
            let length = said("content-length:")?.parse().ok()?;
            self.take(length, &mut body).await?;
        }
        if said("connection:") == Some("close") {
            self.stream = None;
        }
        Some(Reply { status, body })
    }

    async fn take(&mut self, count: usize, into: &mut Vec<u8>) -> Option<()> {
        while self.unread.len() < count {
            self.more().await?;
        }
        into.extend(self.unread.drain(..count));
        Some(())
    }

    async fn more(&mut self) -> Option<()> {
        let mut chunk = [0; 4 << 10];
        let count = self.stream.as_mut()?.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        self.unread.extend_from_slice(&chunk[..count]);
        Some(())
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

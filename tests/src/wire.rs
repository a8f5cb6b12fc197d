//! A client on the bare socket: exact bytes out, exact bytes in.

use crate::soon;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection.
pub struct Wire {
    stream: TcpStream,
    /// Everything that came so far.
    pub read: Vec<u8>,
}

impl Wire {
    /// Connects to `http://HOST:PORT` or `HOST:PORT`.
    pub async fn open(address: &str) -> Self {
        let address: SocketAddr = address.trim_start_matches("http://").parse().expect("an address");
        let stream = soon("a connection", TcpStream::connect(address)).await.expect("the gateway accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self { stream, read: Vec::new() }
    }

    /// Sends bytes; false when the other side is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        soon("the bytes are taken", self.stream.write_all(bytes)).await.is_ok()
    }

    /// Ends the sending half.
    pub async fn finish(&mut self) {
        // The other side may be gone already.
        let _ = self.stream.shutdown().await;
    }

    /// Reads until `marker` has come; panics when the connection ends before.
    pub async fn until(&mut self, marker: &str) -> String {
        loop {
            if self.text().contains(marker) {
                return self.text();
            }
            assert!(self.more().await, "the connection ended before `{marker}`:\n{}", self.text());
        }
    }

    /// Reads to the end of the connection.
    pub async fn to_end(&mut self) -> String {
        while self.more().await {}
        self.text()
    }

    /// What has come, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Reads once; false at the end of the connection.
    async fn more(&mut self) -> bool {
        let mut chunk = vec![0; 16 << 10];
        match soon("bytes or the end of the connection", self.stream.read(&mut chunk)).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.read.extend_from_slice(&chunk[..count]);
                true
            }
        }
    }
}

/// Sends a request in one piece and reads to the end of the connection.
pub async fn exchange(address: &str, request: &[u8]) -> String {
    let mut wire = Wire::open(address).await;
    wire.send(request).await;
    wire.to_end().await
}

/// The head of a POST with a JSON body of that length; the connection closes after the answer.
pub fn post_head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: sluice.test\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// The status in an answer's first line.
pub fn status(answer: &str) -> u16 {
    let word = answer.split(' ').nth(1).unwrap_or_default();
    word.parse().unwrap_or_else(|_| panic!("no status in: {answer}"))
}

//! The fake upstream as a program, for clients in other languages: prints its addresses as one line of JSON, then a line
//! for each request, and runs until it is killed.

use std::time::Duration;
use tests::Upstream;

#[tokio::main]
async fn main() {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let upstream = Upstream::on(&address).await;
    println!("{}", serde_json::json!({"url": upstream.url, "root": upstream.root}));
    let mut told = 0;
    loop {
        let log = upstream.log();
        for seen in &log[told..] {
            let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            println!("{}", serde_json::json!({"path": seen.path, "body": body, "stated": seen.stated}));
        }
        told = log.len();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

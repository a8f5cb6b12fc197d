//! A thousand streams at once: each has every event of the upstream's, byte for byte, once Sluice's comment lines are taken out
//! and the usage event that the client did not ask for; and what Sluice keeps in memory meanwhile.
//!
//! The upstream sends an event a pause, so that all streams run at the same time.

use super::Options;
use super::load::Target;
use super::machine::{self, memory, table, verdict};
use super::proxy::Proxy;
use super::relay::with_ledger;
use super::upstream::{Upstream, events};
use super::wire::{Reader, unframed};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const STREAMS: usize = 1_000;
/// Between two events.
const PAUSE: Duration = Duration::from_millis(400);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The most memory, in MiB.
const MOST: f64 = 150.0;

/// Measures and prints.
pub async fn run(_options: &Options) -> Result<Value, String> {
    let binary = tests::gateway::binary();
    let environment = machine::environment(&binary);
    let pinned = machine::pin_myself();
    let upstream = Upstream::paced(PAUSE).await;
    let config = with_ledger(upstream.address, "heuristic", "off");
    // By default 256 are answered at once, and the next one gets 503.
    let config = format!("{config}\n[limits]\nin_flight = {}\n", 2 * STREAMS);
    let gateway = Proxy::sluice(&binary, &config, true, pinned)?;
    gateway.ready().await?;
    let before = memory(gateway.pid(), "VmRSS");
    let target = Target::without_usage(gateway.whole, "gpt-4o", gateway.key.as_deref());
    let started = Instant::now();
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        streams.spawn(stream(target.clone()));
    }
    let (mut most, mut equal, mut wrong) = (before, 0_usize, Vec::new());
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            ended = streams.join_next() => match ended {
                None => break,
                Some(Ok(Ok(()))) => equal += 1,
                Some(Ok(Err(why))) => wrong.push(why),
                Some(Err(error)) => wrong.push(error.to_string()),
            },
            _ = looks.tick() => most = most.max(memory(gateway.pid(), "VmRSS")),
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("only {equal} of {STREAMS} streams have ended after {} s", PATIENCE.as_secs()));
        }
    }
    let took = started.elapsed().as_secs_f64();
    let ledger = gateway.ledger().await.unwrap_or_default();
    let counted = ledger["requests"].as_u64().unwrap_or(0);
    println!("## Streams\n\n{}\n", machine::environment_line(&environment));
    let head = ["streams at once", "event-equal", "on the ledger", "MiB before", "MiB at most", "below"];
    let line = vec![
        STREAMS.to_string(),
        equal.to_string(),
        counted.to_string(),
        format!("{before:.0}"),
        format!("{most:.0}"),
        format!("{MOST:.0}: {}", verdict(most <= MOST && equal == STREAMS)),
    ];
    println!("{}", table(&head, &[line]));
    println!("an event each {} ms, all in {took:.1} s", PAUSE.as_millis());
    if let Some(why) = wrong.first() {
        println!("{} streams are not equal, the first: {why}", wrong.len());
    }
    Ok(json!({
        "environment": environment, "streams": STREAMS, "equal": equal, "ledger": counted, "before_mib": before,
        "most_mib": most, "limit_mib": MOST, "seconds": took,
    }))
}

/// One stream to its end; an error says what is not as the upstream sent it.
async fn stream(target: Target) -> Result<(), String> {
    let mut socket = TcpStream::connect(target.address).await.map_err(|error| error.to_string())?;
    socket.write_all(&target.request).await.map_err(|error| error.to_string())?;
    let mut reader = Reader::default();
    let message = loop {
        if let Some(message) = reader.message().map_err(|_| "not HTTP as it is expected".to_owned())? {
            break message;
        }
        if socket.read_buf(&mut reader.bytes).await.map_err(|error| error.to_string())? == 0 {
            return Err("the connection ended early".to_owned());
        }
    };
    let body = unframed(&reader.bytes[message.body], message.payload);
    let text = String::from_utf8_lossy(&body);
    let is_comment = |event: &&str| !event.starts_with(':');
    let came: Vec<&str> = text.split_inclusive("\n\n").filter(is_comment).collect();
    let all = events(false);
    let sent: Vec<&str> = all.split_inclusive("\n\n").filter(|event| !event.contains("\"choices\":[]")).collect();
    if message.status == 200 && came == sent {
        Ok(())
    } else {
        Err(format!("status {}, {} events instead of {}: {text:.300}", message.status, came.len(), sent.len()))
    }
}

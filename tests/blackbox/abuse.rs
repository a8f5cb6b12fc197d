//! Connections that are made to hurt: by slowness, by number, by frames of HTTP/2. They end by themselves, and others are
//! served meanwhile (reliability tests 5, 8, 11, 12).

use futures::future::join_all;
use serde_json::json;
use std::time::{Duration, Instant};
use tests::frames::{
    CONTINUATION, Came, DATA, END_HEADERS, END_STREAM, Framed, GO_AWAY, HEADERS, PING, PREFACE, RESET, SETTINGS,
    WINDOW, fields, frame,
};
use tests::upstream::{Manner, Pace, Play, Script};
use tests::wire::{Wire, post_head};
use tests::{Gateway, Told, Upstream, chat, eventually, hosted_only, size, streamed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The middle of the times that some healthy requests take.
async fn healthy(gateway: &Gateway) -> Duration {
    let mut times = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        let told = gateway.tell(&chat("big", "x")).await;
        assert_eq!(told.status, 200, "{}", told.text());
        times.push(began.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

/// Sends a byte now and then until the other side has enough, and says how long that took.
async fn drip(address: &str, head: &str) -> Duration {
    let began = Instant::now();
    let mut wire = Wire::open(address).await;
    wire.send(head.as_bytes()).await;
    loop {
        tokio::select! {
            _ = wire.to_end() => return began.elapsed(),
            // A pace and no wait: slowness is what is tried here, and the other side's end is waited for beside it.
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        if !wire.send(b"x").await {
            return began.elapsed();
        }
    }
}

#[tokio::test]
async fn clients_that_send_a_byte_now_and_then_are_cut_in_time_and_cost_others_nothing() {
    let upstream = Upstream::start().await;
    let rest = format!(
        "{}[timeouts]\nheader = \"2s\"\nbody = \"2s\"\n[limits]\nconnections = 4096\nin_flight = 2048\n",
        hosted_only(&upstream, "echo")
    );
    let gateway = Gateway::start(&rest).await;
    let (alone, before) = (healthy(&gateway).await, gateway.resident_kib());
    let many = size(100, 1_000);
    let heads = "POST /v1/chat/completions HTTP/1.1\r\nhost: s\r\nx-slow: ".to_owned();
    let bodies = post_head("/v1/chat/completions", 1_000);
    let slow = join_all((0..2 * many).map(|n| drip(&gateway.data, if n % 2 == 0 { &heads } else { &bodies })));
    let beside = async {
        let beside = healthy(&gateway).await;
        (beside, gateway.resident_kib().saturating_sub(before))
    };
    let (times, (beside, grown)) = tokio::join!(slow, beside);
    let longest = times.iter().max().expect("some");
    // The limit, what the answer 408 takes, and a second.
    assert!(*longest < Duration::from_secs(size(8, 4)), "the last was cut after {longest:?}");
    assert!(*longest > Duration::from_millis(1_900), "not before its time: {longest:?}");
    assert!(beside < alone * 10 + Duration::from_millis(200), "alone {alone:?}, beside them {beside:?}");
    assert!(grown < 40 << 10, "it grew by {grown} KiB");
}

#[tokio::test]
async fn a_flood_of_connections_neither_ends_it_nor_keeps_health_from_answering() {
    let upstream = Upstream::start().await;
    // Fewer descriptors than connections: accepting fails, and goes on.
    let mut gateway = Gateway::after("ulimit -n 128", &hosted_only(&upstream, "echo")).await;
    let address = gateway.data.trim_start_matches("http://").to_owned();
    let mut held = Vec::new();
    for _ in 0..size(300, 3_000) {
        // What does not fit waits in the kernel's queue, or is refused there.
        if let Ok(Ok(socket)) = tokio::time::timeout(Duration::from_millis(50), TcpStream::connect(&address)).await {
            held.push(socket);
        }
    }
    gateway.logged("cannot accept a connection").await;
    assert!(gateway.alive(), "no descriptors are no reason to end");
    drop(held);
    eventually("it serves again", async || {
        let asked = gateway.post("/v1/chat/completions").body(chat("big", "x").to_string()).send().await.ok()?;
        (asked.status() == 200).then_some(())
    })
    .await;
    let flood = async {
        for _ in 0..size(10, 300) {
            join_all((0..100).map(|_| TcpStream::connect(&address))).await;
        }
    };
    let health = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let began = Instant::now();
            assert_eq!(gateway.admin_get("/livez").await.status, 200, "health has a listener of its own");
            slowest = slowest.max(began.elapsed());
        }
        slowest
    };
    let ((), slowest) = tokio::join!(flood, health);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(gateway.alive());
}

/// Connections on which a port of this machine has something to send and the other side's window is shut: the kernel waits
/// to ask again (timer 4, `proc_net_tcp`).
fn stalled(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("connections");
    let local = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1].ends_with(&local) && row[5].starts_with("04:")).count()
}

#[tokio::test]
async fn readers_that_stop_take_bounded_memory_and_others_do_not_notice() {
    let upstream = Upstream::start().await;
    let event = json!({"choices": [{"index": 0, "delta": {"content": "word ".repeat(6 << 10)}}]});
    let pieces = vec![format!("data: {event}\n\n"); 400];
    upstream.script("flood", Script::stream(pieces));
    let pace = Pace::Every(Duration::from_millis(10));
    upstream.play("paced", Play::Answer(Manner { events: 100, pace, ..Manner::default() }));
    let models = [("flood", "flood"), ("paced", "paced")];
    let rest = format!("{}[timeouts]\nwrite = \"10m\"\n", upstream.provider("p", "hosted", &models));
    let gateway = Gateway::start(&rest).await;
    // Beside it one that has no such readers: what else runs on this machine, both feel.
    let other = Gateway::start(&rest).await;
    let paced = async |gateway: &Gateway| {
        let began = Instant::now();
        let told = gateway.tell(&streamed("paced", "x")).await;
        assert!(told.done(), "{}", told.text());
        began.elapsed()
    };
    paced(&gateway).await;
    let before = gateway.resident_kib();
    let (readers, body) = (size(20, 200), streamed("flood", "x").to_string());
    let stopped = (0..readers).map(|_| async {
        let mut wire = Wire::open(&gateway.data).await;
        wire.send(format!("{}{body}", post_head("/v1/chat/completions", body.len())).as_bytes()).await;
        wire.until("data: ").await;
        wire
    });
    let wires = join_all(stopped).await;
    // The kernel's buffers take some first; when they are full, nobody moves.
    let port = upstream.root.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    eventually("all stand still", async || (stalled(port) >= readers).then_some(())).await;
    let grown = gateway.resident_kib().saturating_sub(before) / readers as u64;
    // Sixteen events of 32 KiB, as much in the write that is under way, and 1 MiB of text that is kept to count its tokens.
    assert!(grown < 4 << 10, "each takes {grown} KiB");
    let mut slower = f64::INFINITY;
    for _ in 0..size(3, 5) {
        let (beside, alone) = tokio::join!(paced(&gateway), paced(&other));
        slower = slower.min(beside.as_secs_f64() / alone.as_secs_f64());
    }
    assert!(slower < size(2.0, 1.2), "beside them a stream takes {slower:.2} times as long");
    // That they are cut in time is another test's; counting what they got takes the processor.
    drop(wires);
    eventually("all are let go", async || (upstream.open() == 0).then_some(())).await;
    eventually("each is on record", async || {
        let rows = gateway.api("/api/requests?limit=1000").await;
        let cut = rows["requests"].as_array()?.iter().filter(|row| row["status"] == 499).count();
        (cut == readers).then_some(())
    })
    .await;
}

type Frames = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// `GET http /livez` with the authority `s`, by HPACK's static table (RFC 7541, appendix A).
fn get() -> Vec<u8> {
    [&[0x82, 0x86, 0x04, 6][..], b"/livez", &[0x01, 1], b"s"].concat()
}

/// Sends frames until the other side has enough; gives whether it ended the connection, and what it said.
async fn attack(address: &str, frames: impl Iterator<Item = Vec<u8>>) -> (bool, Vec<u8>) {
    let mut socket = TcpStream::connect(address.trim_start_matches("http://")).await.expect("a connection");
    socket.write_all(PREFACE).await.expect("written");
    socket.write_all(&frame(SETTINGS, 0, 0, &[])).await.expect("written");
    let (mut reading, mut writing) = socket.split();
    let mut said = Vec::new();
    let write = async {
        for bytes in frames {
            if writing.write_all(&bytes).await.is_err() {
                return true;
            }
        }
        // Whoever has not been cut yet is when it goes on saying nothing.
        std::future::pending().await
    };
    let read = async {
        let mut chunk = vec![0; 16 << 10];
        while let Ok(count @ 1..) = reading.read(&mut chunk).await {
            said.extend_from_slice(&chunk[..count]);
        }
        true
    };
    let cut = async {
        tokio::select! { ended = read => ended, ended = write => ended }
    };
    let ended = tokio::time::timeout(Duration::from_secs(30), cut).await.unwrap_or(false);
    (ended, said)
}

#[tokio::test]
async fn floods_of_http_2_frames_end_their_connection_and_no_other() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    let (alone, before) = (healthy(&gateway).await, gateway.resident_kib());
    let streams = size(2_000, 10_000);
    let rapid = (0..streams).map(|n| {
        let id = 2 * n + 1;
        [frame(HEADERS, 0x05, id, &get()), frame(RESET, 0, id, &8u32.to_be_bytes())].concat()
    });
    let endless = std::iter::once(frame(HEADERS, 0x01, 1, &get())).chain(
        (0..streams).map(|_| frame(CONTINUATION, 0, 1, &[[0x40, 1, b'a', 120].as_slice(), &[b'y'; 120]].concat())),
    );
    let zero = std::iter::once(frame(WINDOW, 0, 0, &0u32.to_be_bytes()));
    let nonsense = std::iter::once(frame(HEADERS, 0x05, 2, &get()));
    let attacks: [(&str, Frames); 5] = [
        ("rapid reset", Box::new(rapid)),
        ("endless continuation", Box::new(endless)),
        ("a window of nothing", Box::new(zero)),
        ("a stream of the server's", Box::new(nonsense)),
        ("a frame that is too long", Box::new(std::iter::once(frame(PING, 0, 0, &[0; 70_000])))),
    ];
    for (name, frames) in attacks {
        let (attacked, beside) = tokio::join!(attack(&gateway.data, frames), healthy(&gateway));
        assert!(attacked.0, "{name}: the connection was not ended");
        assert!(beside < alone * 10 + Duration::from_millis(200), "{name}: alone {alone:?}, beside it {beside:?}");
        let away = attacked.1.windows(5).any(|head| head[0] == GO_AWAY && head[1..] == [0, 0, 0, 0]);
        assert!(away || attacked.1.len() < 200, "{name}: it says that it goes, or just goes");
    }
    // Pings are answered, one by one: that is their meaning, and each costs the other side as much.
    let pings = (0..streams).map(|_| frame(PING, 0, 0, &[7; 8])).chain([frame(PING, 0, 0, &[0; 3])]);
    let (ended, _) = attack(&gateway.data, pings).await;
    assert!(ended, "and a broken one ends the connection");
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 20 << 10, "it grew by {grown} KiB");
    assert!(gateway.alive() && !gateway.log.lock().contains("panicked"));
    let told = Told::of(gateway.post("/v1/chat/completions").body(chat("big", "x").to_string())).await;
    assert_eq!(told.status, 200);
}

#[tokio::test]
async fn a_window_of_http_2_that_stays_shut_lets_the_upstream_go_and_opened_later_is_no_end() {
    let upstream = Upstream::start().await;
    // More than is taken for a stream whose window may still open.
    let event = json!({"choices": [{"index": 0, "delta": {"content": "word ".repeat(6 << 10)}}]});
    upstream.script("flood", Script::stream(vec![format!("data: {event}\n\n"); 400]));
    let models = [("big", "flood"), ("uncounted", "echo-nousage")];
    let rest = format!("{}[timeouts]\nwrite = \"1s\"\n", upstream.provider("hosted", "hosted", &models));
    let mut gateway = Gateway::start(&rest).await;
    // Counting tokens loads a table, once.
    assert_eq!(gateway.tell(&chat("uncounted", "x")).await.status, 200);
    upstream.forget();
    let before = gateway.resident_kib();
    let body = streamed("big", "x").to_string();
    let length = body.len().to_string();
    let head = fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/v1/chat/completions"),
        (":authority", "s"),
        ("content-type", "application/json"),
        ("content-length", &length),
    ]);
    let shut = async || {
        // SETTINGS_INITIAL_WINDOW_SIZE is 4: nothing of an answer may be sent.
        let mut framed = Framed::open(&gateway.data, &[0, 4, 0, 0, 0, 0]).await;
        framed
            .send(&[frame(HEADERS, END_HEADERS, 1, &head), frame(DATA, END_STREAM, 1, body.as_bytes())].concat())
            .await;
        framed
    };
    let count = size(8, 100);
    let mut shut = join_all((0..count).map(|_| shut())).await;
    eventually("each upstream is let go", async || (upstream.count() == count && upstream.open() == 0).then_some(()))
        .await;
    let grown = gateway.resident_kib().saturating_sub(before) / count as u64;
    assert!(grown < 4 << 10, "each takes {grown} KiB");
    for framed in &mut shut {
        for stream in [0, 1] {
            framed.send(&frame(WINDOW, 0, stream, &(1u32 << 26).to_be_bytes())).await;
        }
        match framed.came(1).await {
            Came::Reset(_) | Came::Gone => {}
            Came::Answer(said) => panic!("{} bytes, then a proper end", said.len()),
        }
    }
    assert!(gateway.alive());
}

/// Sends until nothing more is taken for a while, or the connection is ended; gives what was taken, in bytes.
async fn pour(socket: &mut TcpStream, bytes: &[u8], most: usize) -> usize {
    let mut taken = 0;
    while taken < most {
        let piece = &bytes[taken % bytes.len()..];
        match tokio::time::timeout(Duration::from_secs(2), socket.write(piece)).await {
            Ok(Ok(count @ 1..)) => taken += count,
            Ok(Ok(0) | Err(_)) | Err(_) => break,
        }
    }
    taken
}

/// The flood of pings of CVE-2019-9512 (RFC 9113, section 10.5): answers to pings that nobody reads are not collected. One is
/// owed at a time, and until it is taken nothing more is read from there.
#[tokio::test]
async fn pings_whose_answers_nobody_reads_are_not_collected_and_others_are_served() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    healthy(&gateway).await;
    let before = gateway.resident_kib();
    let ping = frame(PING, 0, 0, &[7; 8]);
    // Others that are not read either: each of these frames is answered, too.
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]);
    let most = size(256 << 20, 1 << 30);
    let connections = size(4, 32);
    for frames in [ping.repeat(4_096), settings.repeat(4_096)] {
        let flood = async |frames: &[u8]| {
            let mut socket =
                TcpStream::connect(gateway.data.trim_start_matches("http://")).await.expect("a connection");
            let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
            socket.write_all(&hello).await.expect("written");
            (pour(&mut socket, frames, most).await, socket)
        };
        let floods = join_all((0..connections).map(|_| flood(&frames))).await;
        // They stand still, and others are served.
        healthy(&gateway).await;
        for (taken, _) in &floods {
            // What both kernels keep of a connection, with much to spare.
            assert!(*taken < 64 << 20, "{taken} bytes were taken without an answer read");
        }
        let grown = gateway.resident_kib().saturating_sub(before);
        assert!(grown < 20 << 10, "it grew by {grown} KiB");
        if tests::full_size() {
            // It asks for a sign of life itself after half a minute, and gives up who does not answer.
            for (_, mut socket) in floods {
                let ended = async {
                    let mut chunk = vec![0; 1 << 20];
                    // Not a wait for something else: to read nothing for so long is what is tried, and a look would be a read.
                    tokio::time::sleep(Duration::from_secs(70)).await;
                    while let Ok(1..) = socket.read(&mut chunk).await {}
                };
                tokio::time::timeout(Duration::from_secs(90), ended).await.expect("it was ended");
            }
        }
    }
    assert!(gateway.alive() && !gateway.log.lock().contains("panicked"));
    // Read in time they are answered, each with what it carries.
    let mut framed = Framed::open(&gateway.data, &[]).await;
    for n in 0..size(1_000u64, 10_000) {
        framed.send(&frame(PING, 0, 0, &n.to_be_bytes())).await;
        loop {
            let (kind, flags, _, payload) = framed.next().await.expect("a frame");
            if kind == PING {
                assert_eq!((flags, payload), (1, n.to_be_bytes().to_vec()));
                break;
            }
        }
    }
}

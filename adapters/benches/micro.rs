//! What reading a request and cutting a stream into events cost: `make bench-micro`.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use adapters::wire::{WireRequest, sse};
use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use policies::Endpoint;

fn main() {
    divan::main();
}

/// An answer of 200 events as providers send them.
fn stream() -> Vec<u8> {
    let event = |n: usize| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word{n}\"}},\"finish_reason\":null}}]}}\n\n"
        )
    };
    (0..200).map(event).chain(["data: [DONE]\n\n".to_owned()]).collect::<String>().into_bytes()
}

/// Events of a stream that comes in pieces of so many bytes, each with its payload read.
#[divan::bench(args = [64, 1_460, 16_384])]
fn events(bencher: Bencher<'_, '_>, piece: usize) {
    let stream = stream();
    bencher.counter(BytesCount::of_slice(&stream)).counter(ItemsCount::new(201_usize)).bench(|| {
        let (mut splitter, mut seen) = (sse::Splitter::default(), 0);
        for piece in stream.chunks(piece) {
            splitter.push(black_box(piece)).unwrap();
            while let Some(event) = splitter.next_event() {
                seen += usize::from(sse::data(&event).is_some());
            }
        }
        assert_eq!(seen, 201);
    });
}

/// A chat request of so many kilobytes.
#[divan::bench(args = [1, 8, 64])]
fn request(bencher: Bencher<'_, '_>, kilobytes: usize) {
    let content = "word ".repeat(kilobytes * 1_024 / 5);
    let body = serde_json::json!({"model": "auto", "messages": [{"role": "user", "content": content}], "stream": true});
    let body = Bytes::from(body.to_string());
    bencher
        .counter(BytesCount::of_slice(&body))
        .bench(|| WireRequest::parse(Endpoint::Chat, black_box(body.clone())).unwrap());
}

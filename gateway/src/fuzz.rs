//! What fuzz targets call: one function a target, for any bytes.
//!
//! Each states laws and not only that nothing panics. `cargo fuzz` runs them from `fuzz/`; `gateway/tests/corpora.rs` replays
//! the committed corpora, and variants of them, on stable Rust with every `make test`.

use crate::config;
use crate::server::auth::KeyRing;
use adapters::wire::{
    Content, Fold, Restoring, WireRequest, anthropic, closing, error_in, seen_in_chunk, seen_in_whole, sse,
};
use http::{HeaderMap, HeaderValue};
use policies::Endpoint;
use policies::detect::{DetectConfig, Detectors, Kind};
use router::audit::{PublicKey, verify};
use router::ledger::{KeyRecord, NewKey};
use router::prices::PriceTable;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::OnceLock;

/// A target: its name, which is that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 8] = [
    ("wire_request", wire_request),
    ("sse", sse_scan),
    ("translation", translation),
    ("config", configuration),
    ("price_file", price_file),
    ("key_header", key_header),
    ("detectors", detectors),
    ("evidence", evidence),
];

/// The key that [`key_header`] knows.
pub const KNOWN_KEY: &str = "sk-sluice-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

/// The public key of the committed export.
pub const EXPORT_KEY: &str = include_str!("../../fuzz/corpus/export.pub");

/// The committed export: what [`evidence`] finds sound is this one, or nothing.
pub const EXPORT: &[u8] = include_bytes!("../../fuzz/corpus/evidence/whole.jsonl");

/// A request's body: what is read of it is in it, and what is changed in it is changed alone.
pub fn wire_request(data: &[u8]) {
    for endpoint in [Endpoint::Chat, Endpoint::Completions, Endpoint::Embeddings] {
        let Ok(request) = WireRequest::parse(endpoint, data.to_vec().into()) else { continue };
        if let Ok(message) = anthropic::message(&request, "another", request.view.stream, None) {
            let message = serde_json::from_slice::<serde_json::Value>(&message).unwrap_or_default();
            assert!(message["model"] == "another" && message["max_tokens"].is_u64(), "what is told anew is a message");
        }
        assert_eq!(request.raw.body().as_ref(), data, "the body is kept as it came");
        let content = Content::of(&request);
        assert_eq!(content.passages.len(), content.places.len());
        let changed = request.raw.with(&[("model", Some("\"another\"".into()))]);
        let again = WireRequest::parse(endpoint, changed);
        assert!(again.is_ok_and(|again| again.view.model == "another"), "an override is valid and counts");
    }
}

/// A stream of events: however it is cut, the same events come out, and none of their bytes is lost or made up.
pub fn sse_scan(data: &[u8]) {
    let split = |step: usize| {
        let mut splitter = sse::Splitter::default();
        let (mut events, mut bytes) = (Vec::new(), Vec::new());
        for chunk in data.chunks(step) {
            if splitter.push(chunk).is_err() {
                return None;
            }
            while let Some(event) = splitter.next_event() {
                bytes.extend_from_slice(&event);
                events.push((sse::data(&event), sse::event_type(&event).map(str::to_owned)));
            }
        }
        bytes.extend_from_slice(&splitter.rest());
        Some((events, bytes))
    };
    let Some((whole, bytes)) = split(data.len().max(1)) else { return };
    let without_mark = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    assert!(bytes == data || bytes == without_mark, "every byte is passed on");
    for step in [1, 2, 3, 7] {
        assert!(
            split(step).is_some_and(|(events, bytes_again)| events == whole && bytes_again == bytes),
            "cut at {step}"
        );
    }
    for payload in whole.into_iter().filter_map(|(payload, _)| payload) {
        // What is read of a payload, whatever it is, and what is sent on in its place.
        let framed = sse::frame(&payload);
        if !payload.contains(&b'\r') && !payload.contains(&b'\n') {
            assert_eq!(sse::data(&framed).as_deref(), Some(payload.as_ref()));
        }
        seen_in_chunk(&payload);
        error_in(&payload);
    }
}

/// Answers of a provider, line by line: folded into a whole one, closed where they broke off, placeholders put back.
pub fn translation(data: &[u8]) {
    for endpoint in [Endpoint::Chat, Endpoint::Completions] {
        let mut fold = Fold::new(endpoint);
        for line in data.split(|byte| *byte == b'\n') {
            fold.push(line);
            seen_in_whole(line);
            for made in closing(line, None) {
                let payload = sse::data(&made);
                let json = payload.and_then(|payload| serde_json::from_slice::<serde_json::Value>(&payload).ok());
                assert!(
                    json.is_some_and(|json| json.is_object()),
                    "what is made in a provider's stead is an event of JSON"
                );
            }
        }
        let whole = fold.finish();
        assert!(whole["choices"].is_array() && whole["object"].is_string());
        seen_in_whole(whole.to_string().as_bytes());
    }
    let mut chunks = anthropic::Chunks::new(0);
    for event in data.split(|byte| *byte == b'\n').map_while(|line| chunks.event(line).ok()).flatten() {
        if let adapters::Event::Delta { frame, .. } = event {
            let payload = sse::data(&frame).unwrap_or_default();
            assert!(seen_in_chunk(&payload).is_some(), "a message's event is told as a chunk");
        }
    }
    if let Some((answer, _)) = anthropic::completion(data, 0) {
        assert!(seen_in_whole(&answer).is_some_and(|seen| seen.finish.is_some()), "a message is told as an answer");
    }
    // Nothing was taken out, so nothing may be put back.
    let mut restoring = Restoring::new(std::sync::Arc::default());
    if let Some(seen) = seen_in_whole(data) {
        let body = bytes::Bytes::copy_from_slice(data);
        let events = restoring.event(adapters::Event::Whole { body: body.clone(), seen });
        let same =
            events.iter().all(|event| matches!(event, adapters::Event::Whole { body: after, .. } if *after == body));
        assert!(same, "an answer without placeholders is relayed as it is");
    }
}

/// A configuration: whatever is wrong with it is said in sentences, and no secret of the environment is in them.
pub fn configuration(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // It may name files: those of an empty folder only.
    if text.contains("=\"/") || text.contains("= \"/") || text.contains("..") {
        return;
    }
    if let Err(error) = config::parse(&text, Path::new("/nonexistent")) {
        assert!(!error.problems.is_empty() && error.problems.iter().all(|problem| !problem.trim().is_empty()));
    }
}

/// A price table, ours or one to be imported: refused, or made of prices that can be looked up.
pub fn price_file(data: &[u8]) {
    if let Ok(table) = std::str::from_utf8(data).map(PriceTable::parse)
        && let Ok(table) = table
    {
        assert!(table.changes_from(&table).same == table.len(), "a table has no changes from itself");
    }
    if let Ok(imported) = router::prices::import::import(data, "fuzz.json", "2026-01-01") {
        assert!(PriceTable::parse(&imported.text).is_ok(), "what was imported can be read");
    }
}

/// The headers of a caller: exactly one key opens, and no bytes end in anything but yes or no.
pub fn key_header(data: &[u8]) {
    static RING: OnceLock<KeyRing> = OnceLock::new();
    let ring = RING.get_or_init(|| {
        KeyRing::of(vec![KeyRecord {
            id: "key_fuzz".into(),
            digest: KeyRecord::digest_of(KNOWN_KEY),
            old: vec![],
            key: NewKey { name: "fuzz".into(), ..NewKey::default() },
            created_us: 0,
            revoked_us: None,
        }])
    });
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    for name in ["authorization", "x-api-key"] {
        let headers: HeaderMap = [(http::HeaderName::from_static(name), value.clone())].into_iter().collect();
        let opened = ring.identify(&headers, IpAddr::V4(Ipv4Addr::LOCALHOST), true).is_ok();
        let said = std::str::from_utf8(data).unwrap_or_default();
        let key = if name == "x-api-key" {
            Some(said)
        } else {
            said.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key.trim())
        };
        assert_eq!(opened, key == Some(KNOWN_KEY));
    }
}

/// Detectors on any text: what they find lies in the text, at whole letters, and twice is the same as once.
pub fn detectors(data: &[u8]) {
    static DETECTORS: OnceLock<Option<Detectors>> = OnceLock::new();
    let made = || {
        let classes = policies::Classes::standard();
        let class = classes.named("restricted").ok();
        let config = DetectConfig {
            kinds: [class; Kind::ALL.len()],
            patterns: vec![],
            words: vec![],
            unscanned: class,
            most_bytes: 1 << 20,
            observe: false,
        };
        Detectors::new(config).ok()
    };
    let Some(detectors) = DETECTORS.get_or_init(made) else { return };
    let text = String::from_utf8_lossy(data);
    let (head, tail) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let passages = [vec![text.as_ref().into()], vec![head.into(), tail.into()]];
    let located = detectors.locate(&passages, policies::detect::Unscanned::default());
    for spot in &located.spots {
        let part = passages.get(spot.passage).and_then(|passage| passage.get(spot.part));
        assert!(part.is_some_and(|part| part.get(spot.range.clone()).is_some()), "{:?}", spot.range);
        assert!(!spot.range.is_empty());
    }
    let again = detectors.scan(&passages, policies::detect::Unscanned::default());
    assert_eq!(again, located.findings, "to say where is to find the same");
}

/// An exported evidence log: none but the one that the key signed is sound.
pub fn evidence(data: &[u8]) {
    let Ok(key) = EXPORT_KEY.trim().parse::<PublicKey>() else { return };
    if verify::verify(data, key, &[]).is_ok() {
        assert!(same_lines(data, EXPORT), "an export that was altered passes as sound");
    }
}

/// Whether both have the same lines, whatever ends the last one.
fn same_lines(one: &[u8], other: &[u8]) -> bool {
    one.trim_ascii_end() == other.trim_ascii_end()
}

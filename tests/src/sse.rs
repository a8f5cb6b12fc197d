//! Server-sent events as a client reads them, and nothing more: LF, CRLF or CR line ends, comments, several data lines.

/// One event or comment, with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The bytes, blank line included.
    pub raw: Vec<u8>,
    /// Its data lines joined with LF.
    pub data: Option<String>,
    /// Its comment, without the colon.
    pub comment: Option<String>,
}

/// Cuts a transcript into events; an unfinished last one is left out and comes back as the rest.
pub fn split(transcript: &[u8]) -> (Vec<Event>, Vec<u8>) {
    let mut events = Vec::new();
    let (mut start, mut at, mut line_start) = (0, 0, 0);
    while at < transcript.len() {
        let ends = match (transcript[at], transcript.get(at + 1)) {
            (b'\r', Some(b'\n')) => 2,
            (b'\r' | b'\n', _) => 1,
            _ => 0,
        };
        if ends == 0 {
            at += 1;
            continue;
        }
        let blank = line_start == at;
        at += ends;
        line_start = at;
        if blank {
            events.push(event(&transcript[start..at]));
            start = at;
        }
    }
    (events, transcript[start..].to_vec())
}

/// All events of a transcript; panics when the last one is unfinished.
pub fn events(transcript: &[u8]) -> Vec<Event> {
    let (events, rest) = split(transcript);
    assert!(rest.is_empty(), "unfinished event: {}", String::from_utf8_lossy(&rest));
    events
}

/// The data of all events that have some, `[DONE]` included.
pub fn data(transcript: &[u8]) -> Vec<String> {
    split(transcript).0.into_iter().filter_map(|event| event.data).collect()
}

/// The transcript without comments and without events that `drop` picks by their data.
pub fn without(transcript: &[u8], drop: impl Fn(&str) -> bool) -> Vec<u8> {
    let (events, rest) = split(transcript);
    let kept = events.into_iter().filter(|event| event.data.as_deref().is_some_and(|data| !drop(data)));
    kept.flat_map(|event| event.raw).chain(rest).collect()
}

fn event(raw: &[u8]) -> Event {
    let text = String::from_utf8_lossy(raw);
    let (mut data, mut comment) = (None::<String>, None::<String>);
    let mut add = |to_comment: bool, value: &str| {
        let known = if to_comment { &mut comment } else { &mut data };
        match known {
            Some(known) => {
                known.push('\n');
                known.push_str(value);
            }
            None => *known = Some(value.to_owned()),
        }
    };
    for line in text.split(['\n', '\r']) {
        let line = line.trim_start_matches('\u{feff}');
        let field = |name: &str| line.strip_prefix(name).map(|value| value.strip_prefix(' ').unwrap_or(value));
        if let Some(value) = field("data:") {
            add(false, value);
        } else if let Some(value) = field(":") {
            add(true, value);
        }
    }
    Event { raw: raw.to_vec(), data, comment }
}

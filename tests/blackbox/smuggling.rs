//! Framing: what two parsers could read in two ways is refused or read once, and the connection ends with it (reliability
//! test 13). Each request carries a second one inside; the second may never reach an upstream.

use futures::future::join_all;
use std::collections::BTreeSet;
use tests::wire::Wire;
use tests::{Gateway, Upstream, chat, hosted_only};

/// A request on the wire, and what it is.
struct Raw {
    name: String,
    bytes: Vec<u8>,
    /// Whether it has to be answered; `None`: hyper reads it leniently, which does no harm as long as it is read once.
    proper: Option<bool>,
}

const LINE: &str = "POST /v1/chat/completions HTTP/1.1\r\n";
const HOST: &str = "host: s\r\ncontent-type: application/json\r\n";

pub(crate) fn body(n: usize) -> String {
    chat("big", &format!("open-{n}")).to_string()
}

/// The hidden request.
pub(crate) fn ghost(n: usize) -> String {
    let body = chat("big", &format!("ghost-{n}")).to_string();
    format!("{LINE}{HOST}content-length: {}\r\n\r\n{body}", body.len())
}

pub(crate) fn chunked(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len())
}

#[derive(Default)]
struct Corpus(Vec<Raw>);

impl Corpus {
    fn bad(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push(Raw { name: name.into(), bytes: bytes.into(), proper: Some(false) });
    }

    fn good(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push(Raw { name: name.into(), bytes: bytes.into(), proper: Some(true) });
    }

    /// hyper takes a bare line feed for the beginning of a trailer.
    fn lenient(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push(Raw { name: name.into(), bytes: bytes.into(), proper: None });
    }

    fn n(&self) -> usize {
        self.0.len()
    }
}

/// Ways to write `transfer-encoding: chunked` that are not it, or are it only to some.
fn encodings() -> Vec<String> {
    let values = [
        "xchunked",
        "chunkedx",
        "chunk",
        "cow",
        "identity",
        "chunked;q=1",
        "chunked, identity",
        "chunked, gzip",
        "\"chunked\"",
        "'chunked'",
        "chunked\u{b}",
        "\u{b}chunked",
        "\u{c}chunked",
        "chunked,",
        ", chunked",
        "chunked chunked",
        "chunked\t, cow",
        "chu\tnked",
        "gzip",
        "",
    ]
    .map(|value| format!("transfer-encoding: {value}\r\n"));
    let names = [
        "transfer-encoding : chunked\r\n",
        "transfer-encoding\t: chunked\r\n",
        " transfer-encoding: chunked\r\n",
        "\ttransfer-encoding: chunked\r\n",
        "x: y\r\n transfer-encoding: chunked\r\n",
        "transfer-encoding\r\n: chunked\r\n",
        "transfer-encoding:\r\n chunked\r\n",
        "transfer encoding: chunked\r\n",
        "transfer_encoding: chunked\r\n",
        "\0transfer-encoding: chunked\r\n",
        "x: y\ntransfer-encoding: chunked\r\n",
        "x: y\rtransfer-encoding: chunked\r\n",
        "transfer-encoding: cow\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: cow\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "te: chunked\r\nx-transfer-encoding: chunked\r\n",
    ]
    .map(str::to_owned);
    values.into_iter().chain(names).collect()
}

fn corpus() -> Vec<Raw> {
    let mut all = Corpus::default();
    // Length against encoding: the length covers the hidden request, the encoding would end before it.
    for way in encodings().into_iter().chain(["transfer-encoding: chunked\r\n".into()]) {
        for first in [true, false] {
            let inside = format!("0\r\n\r\n{}", ghost(all.n()));
            let length = format!("content-length: {}\r\n", inside.len());
            let (one, two) = if first { (&length, &way) } else { (&way, &length) };
            all.bad(format!("length and {way:?}"), format!("{LINE}{HOST}{one}{two}\r\n{inside}"));
        }
        // Encoding against length: the chunk covers the hidden request, the length would end before it.
        let hidden = ghost(all.n());
        let short = format!("{:x}\r\n", hidden.len()).len();
        let text = format!("{LINE}{HOST}content-length: {short}\r\n{way}\r\n{}", chunked(&hidden));
        let honest = way.starts_with("te:") || way.starts_with("transfer_encoding") || way.starts_with("x: y\r\n");
        // A header that means nothing leaves the length, and what follows it is the next request, or nonsense.
        if !honest {
            all.bad(format!("short length and {way:?}"), text);
        }
    }
    // Lengths that are none, or two.
    for length in [
        "+{}",
        "-{}",
        "0x{}",
        "{}.0",
        "{}e0",
        "{} {}",
        "{},",
        ",{}",
        "{};",
        "\"{}\"",
        "{}\u{b}",
        "{}\0",
        "０{}",
        "18446744073709551616",
        "99999999999999999999999999",
        "-1",
        "abc",
        "",
        "0{}, 1",
        "{}, 0",
        "0, {}",
        "{}\t1",
    ] {
        let text = body(all.n());
        let value = length.replace("{}", &text.len().to_string());
        let hidden = ghost(all.n());
        all.bad(format!("length {length:?}"), format!("{LINE}{HOST}content-length: {value}\r\n\r\n{text}{hidden}"));
    }
    for (one, two) in [(0, 1), (1, 0), (1, 2), (2, 1), (3, 0), (0, 3)] {
        let (text, hidden) = (body(all.n()), ghost(all.n()));
        let both = text.len() + hidden.len();
        let length = |which| [0, text.len(), both, 1][which];
        let (one, two) = (length(one), length(two));
        let head = format!("{LINE}{HOST}content-length: {one}\r\nContent-Length: {two}\r\n\r\n");
        all.bad(format!("lengths {one} and {two}"), format!("{head}{text}{hidden}"));
    }
    // Names of the length that are not it.
    for name in ["content-length :", " content-length:", "content-length\t:", "content length:", "\0content-length:"] {
        let (text, hidden) = (body(all.n()), ghost(all.n()));
        all.bad(format!("{name:?}"), format!("{LINE}{HOST}{name} {}\r\n\r\n{text}{hidden}", text.len()));
    }
    // Chunks.
    for size in [
        "+{}",
        "-{}",
        "0x{}",
        "{} {}",
        "{}\0",
        "x{}",
        "",
        " ",
        "ffffffffffffffff1",
        "10000000000000000",
        "{}\n",
        "{}\r",
        "{}\r\r\n",
        "{};a\n",
        "{};a\rb",
        "\r\n{}",
        "\"{}\"",
        "{}h",
        "{}.0",
        "{},",
    ] {
        let (text, hidden) = (body(all.n()), ghost(all.n()));
        let line = size.replace("{}", &format!("{:x}", text.len()));
        let head = format!("{LINE}{HOST}transfer-encoding: chunked\r\n\r\n");
        all.bad(format!("chunk size {size:?}"), format!("{head}{line}\r\n{text}\r\n0\r\n\r\n{hidden}"));
    }
    for (name, after) in [
        ("no end of the chunk", "0\r\n\r\n"),
        ("a bare end of the chunk", "\n0\r\n\r\n"),
        ("too much in the chunk", "xx\r\n0\r\n\r\n"),
        ("a bare end of the last", "\r\n0\n\n"),
        ("a bare end of the trailer", "\r\n0\r\n\n"),
        ("a last chunk of another name", "\r\n-0\r\n\r\n"),
    ] {
        let (text, hidden) = (body(all.n()), ghost(all.n()));
        let head = format!("{LINE}{HOST}transfer-encoding: chunked\r\n\r\n{:x}\r\n{text}", text.len());
        let text = format!("{head}{after}{hidden}");
        if after.ends_with("0\r\n\n") { all.lenient(name, text) } else { all.bad(name, text) }
    }
    // Lines and heads.
    for line in [
        "POST /v1/chat/completions HTTP/1.1\n",
        "POST\t/v1/chat/completions\tHTTP/1.1\r\n",
        "POST  /v1/chat/completions HTTP/1.1\r\n",
        "POST /v1/chat/completions  HTTP/1.1\r\n",
        "POST /v1/chat/completions HTTP/1.2\r\n",
        "POST /v1/chat/completions HTTP/2.0\r\n",
        "POST /v1/chat/completions HTTP/0.9\r\n",
        "POST /v1/chat/completions http/1.1\r\n",
        "POST /v1/chat/completions HTTP/1.1x\r\n",
        "POST /v1/chat/completions\r\n",
        "POST /v1/chat completions HTTP/1.1\r\n",
        "POST /v1/chat/completions\0 HTTP/1.1\r\n",
        " POST /v1/chat/completions HTTP/1.1\r\n",
        "PO ST /v1/chat/completions HTTP/1.1\r\n",
        "POST: /v1/chat/completions HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST v1/chat/completions HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
    ] {
        // A line that ends bare is read by some, with the same meaning: then it is answered once.
        let (text, hidden) = (body(all.n()), ghost(all.n()));
        let inside = format!("{text}{hidden}");
        all.bad(format!("line {line:?}"), format!("{line}{HOST}content-length: {}\r\n\r\n{inside}", inside.len()));
    }
    for header in [
        "x\r\n",
        ": x\r\n",
        "x y: z\r\n",
        "x: y\r\n z\r\n",
        "x: \0\r\n",
        "x\0: y\r\n",
        "x: a\rb\r\n",
        "(x): y\r\n",
        "x[]: y\r\n",
        "x: \u{7f}\r\n",
        "\u{e9}: x\r\n",
        "x@y: z\r\n",
        "\"x\": y\r\n",
        "x,y: z\r\n",
        "x;y: z\r\n",
        "{x}: y\r\n",
    ] {
        let (text, hidden) = (body(all.n()), ghost(all.n()));
        let inside = format!("{text}{hidden}");
        let head = format!("{LINE}{HOST}{header}content-length: {}\r\n\r\n", inside.len());
        all.bad(format!("header {header:?}"), format!("{head}{inside}"));
    }
    // HTTP/1.0 knows no chunks; an upgrade that nobody takes; a tunnel that nobody opens.
    let old = LINE.replace("1.1", "1.0");
    let hidden = ghost(all.n());
    all.bad("chunks in HTTP/1.0", format!("{old}{HOST}transfer-encoding: chunked\r\n\r\n{}", chunked(&hidden)));
    let hidden = ghost(all.n());
    let inside = format!("0\r\n\r\n{hidden}");
    let length = inside.len();
    let head =
        format!("{old}{HOST}transfer-encoding: chunked\r\ncontent-length: {length}\r\nconnection: keep-alive\r\n\r\n");
    all.bad("chunks and length in HTTP/1.0", format!("{head}{inside}"));
    for up in ["h2c", "websocket", "TLS/1.0", "HTTP/2.0"] {
        let hidden = ghost(all.n());
        let head =
            format!("{LINE}{HOST}connection: upgrade, http2-settings\r\nupgrade: {up}\r\nhttp2-settings: AAMAAABk\r\n");
        all.bad(format!("upgrade to {up}"), format!("{head}content-length: {}\r\n\r\n{hidden}", hidden.len()));
    }
    let hidden = ghost(all.n());
    let tunnel = format!("CONNECT s:80 HTTP/1.1\r\nhost: s\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len());
    all.bad("a tunnel", tunnel);
    let hidden = ghost(all.n());
    let expects = format!("{LINE}{HOST}expect: 200-ok\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len());
    all.bad("an expectation", expects);
    // What is proper has to pass, or the rest proves nothing.
    for way in ["transfer-encoding: chunked\r\n", "Transfer-Encoding: CHUNKED\r\n", "transfer-encoding:\tchunked \r\n"]
    {
        let text = body(all.n());
        all.good(way, format!("{LINE}{HOST}{way}connection: close\r\n\r\n{}", chunked(&text)));
    }
    for extra in ["", "x_y: z\r\n", "x-a:\r\n", "expect: 100-continue\r\n", "connection: te\r\nte: trailers\r\n"] {
        let text = body(all.n());
        let head = format!("{LINE}{HOST}{extra}connection: close\r\ncontent-length: {}\r\n\r\n", text.len());
        all.good(format!("header {extra:?}"), format!("{head}{text}"));
    }
    let text = body(all.n());
    let absolute = LINE.replace("/v1", "http://elsewhere.test/v1");
    let head = format!("{absolute}{HOST}connection: close\r\ncontent-length: {}\r\n\r\n", text.len());
    all.good("a whole address, and another host", format!("{head}{text}"));
    all.0
}

/// How often a text is in the bodies that an upstream saw.
fn seen(upstream: &Upstream, text: &str) -> usize {
    upstream.log().iter().filter(|seen| String::from_utf8_lossy(&seen.body).contains(&format!("\"{text}\""))).count()
}

#[tokio::test]
async fn no_hidden_request_reaches_an_upstream_and_each_accepted_one_does_once() {
    let upstream = Upstream::start().await;
    let rest = format!("[timeouts]\nheader = \"1s\"\nbody = \"1s\"\n{}", hosted_only(&upstream, "echo"));
    let mut gateway = Gateway::start(&rest).await;
    // Two in a row: what a hidden request looks like when it gets through.
    let (text, mut wire) = (body(9_999), Wire::open(&gateway.data).await);
    wire.send(format!("{LINE}{HOST}content-length: {}\r\n\r\n{text}{}", text.len(), ghost(9_999)).as_bytes()).await;
    wire.to_end().await;
    assert_eq!((seen(&upstream, "open-9999"), seen(&upstream, "ghost-9999")), (1, 1), "a control");

    let corpus = corpus();
    let names: BTreeSet<&[u8]> = corpus.iter().map(|raw| raw.bytes.as_slice()).collect();
    assert!(names.len() >= 200, "{} different requests", names.len());
    for (first, some) in corpus.chunks(32).enumerate() {
        let sent = some.iter().enumerate().map(|(at, raw)| {
            let (gateway, upstream, n) = (&gateway, &upstream, first * 32 + at);
            async move {
                let mut wire = Wire::open(&gateway.data).await;
                wire.send(&raw.bytes).await;
                // To the end that the gateway makes: ours stays open.
                let answer = wire.to_end().await;
                let accepted = answer.matches("HTTP/1.1 200").count() + answer.matches("HTTP/1.0 200").count();
                let (open, ghosts) = (seen(upstream, &format!("open-{n}")), seen(upstream, &format!("ghost-{n}")));
                assert_eq!(ghosts, 0, "{}: the hidden request got through\n{answer}", raw.name);
                assert_eq!(open, accepted, "{}: seen and accepted differ\n{answer}", raw.name);
                let right = raw.proper.is_none_or(|proper| open == usize::from(proper)) && open <= 1;
                assert!(right, "{}: seen {open} times\n{answer}", raw.name);
            }
        });
        join_all(sent).await;
    }
    assert!(gateway.alive() && !gateway.log.lock().contains("panicked"));
}

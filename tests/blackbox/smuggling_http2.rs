//! Framing over HTTP/2: what would be two requests, or other fields, where it is written down again for HTTP/1.1 (reliability
//! test 13).

use crate::smuggling::{body, chunked, ghost};
use tests::frames::{self, Came, Framed};
use tests::{Gateway, Upstream, hosted_only};

/// A request over HTTP/2 that carries something in its fields, or whose length is not what it says.
struct Odd {
    name: &'static str,
    fields: Vec<(&'static str, String)>,
    data: String,
}

/// What could become two requests, or other fields, where it is written down again for HTTP/1.1 (RFC 9113, sections 8.1 to
/// 8.3; J. Kettle, HTTP/2: The Sequel is Always Worse, 2021).
fn odd() -> Vec<Odd> {
    let (data, hidden) = (body(0), ghost(0));
    let plain = |length: usize| {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/v1/chat/completions"),
            (":authority", "s"),
            ("content-type", "application/json"),
        ];
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned()));
        fields.chain([("content-length", length.to_string())]).collect::<Vec<_>>()
    };
    let length = data.len();
    let with = |name, value: &str| [plain(length), vec![(name, value.to_owned())]].concat();
    let at = |place: usize, field: Option<(&'static str, String)>| {
        let mut fields = plain(length);
        fields.splice(place..=place, field);
        fields
    };
    let inside = format!("x\r\n\r\n{hidden}");
    let odd = |name, fields, data: &str| Odd { name, fields, data: data.to_owned() };
    vec![
        odd("more than its length", plain(length), &format!("{data}{hidden}")),
        odd("less than its length", plain(length + hidden.len()), &data),
        odd("a length of nothing", plain(0), &data),
        odd("two lengths", with("content-length", "1"), &data),
        odd("a length with a plus", at(5, Some(("content-length", format!("+{length}")))), &data),
        odd("chunks", with("transfer-encoding", "chunked"), &chunked(&data)),
        odd("a connection", with("connection", "content-length"), &data),
        odd("an upgrade", with("upgrade", "h2c"), &data),
        odd("a proxy's connection", with("proxy-connection", "keep-alive"), &data),
        odd("a line end in a value", with("x-a", "b\r\nx-ghost: 1"), &data),
        odd("a request in a value", with("x-a", &inside), &data),
        odd("a bare line feed in a value", with("x-a", "b\nx-ghost: 1"), &data),
        odd("a zero byte in a value", with("x-a", "b\0c"), &data),
        odd("a line end in a name", with("x-a: b\r\nx-ghost", "1"), &data),
        odd("a colon in a name", with("x-ghost: 1", "1"), &data),
        odd("capitals in a name", with("X-Ghost", "1"), &data),
        odd("an empty name", with("", "1"), &data),
        odd("a line end in the path", at(2, Some((":path", format!("/v1/models HTTP/1.1\r\n\r\n{hidden}")))), &data),
        odd("a space in the path", at(2, Some((":path", "/v1/chat/completions x".into()))), &data),
        odd("a request in the method", at(0, Some((":method", format!("GET / HTTP/1.1\r\n\r\n{hidden}")))), &data),
        odd("a line end in the host", at(3, Some((":authority", "s\r\nx-ghost: 1".into()))), &data),
        odd("no path", at(2, None), &data),
        odd("no method", at(0, None), &data),
        odd("two paths", [vec![(":path", "/v1/models".to_owned())], plain(length)].concat(), &data),
        odd("a path behind the fields", with(":path", "/v1/models"), &data),
        odd("a field of nobody's", [vec![(":ghost", "1".to_owned())], plain(length)].concat(), &data),
    ]
}

#[tokio::test]
async fn over_http_2_nothing_hides_in_fields_and_a_length_is_what_was_sent() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&hosted_only(&upstream, "echo")).await;
    let exchange = async |fields: &[(&'static str, String)], data: &str| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut framed = Framed::open(&gateway.data, &[]).await;
        let (head, body) = (frames::fields(&fields), data.as_bytes());
        let head = frames::frame(frames::HEADERS, frames::END_HEADERS, 1, &head);
        framed.send(&[head, frames::frame(frames::DATA, frames::END_STREAM, 1, body)].concat()).await;
        framed.came(1).await
    };
    let mut sane = odd().remove(0);
    sane.data = body(0);
    let Came::Answer(answer) = exchange(&sane.fields, &sane.data).await else { panic!("a request as it should be") };
    assert!(String::from_utf8_lossy(&answer).contains("chat.completion"));
    for odd in odd() {
        let came = exchange(&odd.fields, &odd.data).await;
        if let Came::Answer(answer) = &came {
            assert!(String::from_utf8_lossy(answer).contains("error"), "{}: it was served", odd.name);
        }
        assert_eq!(upstream.count(), 1, "{}: {came:?}, and it reached the upstream", odd.name);
    }
    assert!(gateway.alive() && !gateway.log.lock().contains("panicked"));
}

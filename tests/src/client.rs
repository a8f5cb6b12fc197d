//! What a client was told.

use crate::{PATIENCE, soon, sse};
use bytes::Bytes;
use http::HeaderMap;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use std::time::Duration;

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Told {
    /// The status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body as far as it came.
    pub body: Bytes,
    /// Whether the body came to a proper end.
    pub whole: bool,
}

/// A stream that is read event by event.
pub struct Live {
    /// The status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    response: Response,
    unread: Vec<u8>,
}

/// A client without proxies, redirects, retries and reuse of connections.
pub fn client() -> Client {
    // Two providers of cryptography are in the graph, so one has to be chosen; a second time is no harm.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        // A connection each: what one test's answer does to its connection is no business of the next request.
        .pool_max_idle_per_host(0)
        .timeout(PATIENCE + Duration::from_secs(60))
        .build()
        .expect("a client")
}

/// A header of a response, or nothing.
pub fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

// === impl Told ===

impl Told {
    /// Sends a request and reads the answer to its end.
    pub async fn of(request: RequestBuilder) -> Self {
        Self::read(request.send().await.expect("an answer")).await
    }

    /// Reads an answer to its end.
    pub async fn read(mut response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        let whole = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        Self { status, headers, body: body.into(), whole }
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A header that has to be there.
    pub fn said(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no `{name}` in {:?}\n{}", self.headers, self.text()))
    }

    /// The request's id.
    pub fn id(&self) -> &str {
        self.said("x-sluice-request-id")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON: {error}: {}", self.text()))
    }

    /// The data of all events, `[DONE]` included.
    pub fn data(&self) -> Vec<String> {
        sse::data(&self.body)
    }

    /// Whether the stream ended as a finished one does.
    pub fn done(&self) -> bool {
        self.data().last().is_some_and(|data| data == "[DONE]")
    }

    /// The text of an answer, whole or streamed.
    pub fn answer(&self) -> String {
        if !self.said("content-type").starts_with("text/event-stream") {
            return self.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        }
        let pieces = self.data().into_iter().filter_map(|data| {
            let event: Value = serde_json::from_str(&data).ok()?;
            Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned())
        });
        pieces.collect()
    }

    /// The last event's error, where a stream ended with one.
    pub fn stream_error(&self) -> Option<Value> {
        let last: Value = serde_json::from_str(self.data().last()?).ok()?;
        last.get("error").cloned()
    }

    /// What it cost: the header of a whole answer, the comment of a stream. `None`: unpriced.
    pub fn cost(&self) -> Option<String> {
        let text = match self.header("x-sluice-cost-usd") {
            Some(cost) => cost.to_owned(),
            None => {
                let comments = sse::split(&self.body).0.into_iter().filter_map(|event| event.comment);
                let cost =
                    comments.filter_map(|comment| comment.strip_prefix("sluice-cost-usd=").map(str::to_owned)).next();
                cost.unwrap_or_else(|| panic!("no cost in {:?}\n{}", self.headers, self.text()))
            }
        };
        Some(text).filter(|cost| cost != "unpriced")
    }

    /// Asserts OpenAI's error shape, exactly, and gives the object.
    pub fn error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.text());
        let body = self.json();
        error_shape(&body);
        body["error"].clone()
    }
}

/// Asserts that a value is exactly `{"error": {"message", "type", "param", "code"}}`.
pub fn error_shape(body: &Value) {
    let object = body.as_object().unwrap_or_else(|| panic!("not an object: {body}"));
    assert_eq!(object.keys().collect::<Vec<_>>(), ["error"], "{body}");
    let error = object["error"].as_object().unwrap_or_else(|| panic!("not an object: {body}"));
    let mut keys: Vec<&str> = error.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["code", "message", "param", "type"], "{body}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    assert!(error["type"].is_string(), "{body}");
    assert!(error["param"].is_null() || error["param"].is_string(), "{body}");
    assert!(error["code"].is_null() || error["code"].is_string(), "{body}");
}

// === impl Live ===

impl Live {
    /// Sends a chat request to a data listener and waits for the head of the answer.
    pub async fn open(client: &Client, data: &str, body: &Value, headers: &[(&str, &str)]) -> Self {
        let mut request = client
            .post(format!("{data}/v1/chat/completions"))
            .header("content-type", "application/json")
            .body(body.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = soon("the head of the answer", request.send()).await.expect("an answer");
        Self { status: response.status().as_u16(), headers: response.headers().clone(), response, unread: Vec::new() }
    }

    /// The next event or comment; `None` at the end of the body, proper or not.
    pub async fn next(&mut self) -> Option<sse::Event> {
        loop {
            let (events, _) = sse::split(&self.unread);
            if let Some(first) = events.into_iter().next() {
                self.unread.drain(..first.raw.len());
                return Some(first);
            }
            match soon("the next event", self.response.chunk()).await {
                Ok(Some(chunk)) => self.unread.extend_from_slice(&chunk),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// All of it, read to the end; what was taken by [`Live::next`] is not in it.
    pub async fn told(self) -> Told {
        Told::read(self.response).await
    }

    /// The data of everything that still comes.
    pub async fn rest(mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Some(event) = self.next().await {
            rest.extend(event.data);
        }
        rest
    }
}

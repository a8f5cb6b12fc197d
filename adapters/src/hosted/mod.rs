//! Hosted providers, and servers in the house, that speak OpenAI's HTTP API, or Anthropic's.
//!
//! **Promise.** The request reaches the provider as the client sent it, save the fields that Sluice owns (`model`,
//! `stream`, `stream_options`, a clamped ceiling on output); the answer comes back byte for byte. What goes to a provider that
//! speaks Anthropic's API is translated, both ways ([`crate::wire::anthropic`]). Nothing of the client's headers is handed on. A stream that ends without a finish reason and the provider's own `[DONE]` is an error.
//!
//! **Residency.** A call is sent with a [`Permit`](policies::Permit) for this provider or not at all, and only to addresses
//! that are its own ([`Reach`]).
//!
//! **Time.** Four clocks, all finite: connect, first event, gap between events, total ([`Timeouts`]).
//!
//! **What it does not do.** No retries (the router has them), no redirects, no proxies from the environment, no
//! decompression.

mod address;
mod house;
mod relay;
mod request;

pub use address::Reach;

use crate::backend::{Backend, Call, Description, Events, Load};
use crate::error::{BackendError, Clock, Kind};
use crate::wire::anthropic;
use async_trait::async_trait;
use bytes::Bytes;
use house::House;
use policies::{Capabilities, Endpoint, ProviderName, Readiness, Secret};
use relay::Reading;
use reqwest::Url;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The largest error body that is read.
const MAX_ERROR_BODY: usize = 64 << 10;

/// The clocks of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From dialling to a connection.
    pub connect: Duration,
    /// From the sent request to the first event, or to the head of a whole answer.
    pub first_event: Duration,
    /// Between two events.
    pub idle: Duration,
    /// From start to end.
    pub total: Duration,
}

/// The dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `Authorization: Bearer`, `BASE/chat/completions`.
    OpenAi,
    /// `api-key`, `BASE/openai/v1/chat/completions`; with an API version the older
    /// `BASE/openai/deployments/MODEL/chat/completions?api-version=`. Source: Azure OpenAI REST reference.
    Azure {
        /// The older form's version.
        api_version: Option<String>,
    },
    /// `x-api-key`, `BASE/messages`: Anthropic's Messages API.
    Anthropic,
}

/// What a provider is.
#[derive(Clone, Debug)]
pub struct HostedSpec {
    /// Its name: permits for another one open nothing here.
    pub name: ProviderName,
    /// Which addresses are its own.
    pub reach: Reach,
    /// Authorities that its certificate may be signed by besides the system's.
    pub authorities: Vec<reqwest::Certificate>,
    /// What is shown to it, where it asks for a certificate.
    pub identity: Option<reqwest::Identity>,
    /// The dialect.
    pub dialect: Dialect,
    /// Where it is, from the configuration only.
    pub base_url: Url,
    /// Its key; without one no credential is sent.
    pub api_key: Option<Secret>,
    /// The name of an environment variable that is unset, so that nothing can be sent.
    pub missing_key: Option<String>,
    /// What its models can do.
    pub capabilities: Capabilities,
    /// Bytes that are read of an answer of vectors.
    pub most_vectors: u64,
    /// The clocks.
    pub timeouts: Timeouts,
    /// It is a server in the house, which is asked how sure it is and, so often, how it is; `None`: a provider elsewhere.
    pub house: Option<Looks>,
}

/// How a server in the house is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// Time between two looks; `None`: it is not looked at.
    pub every: Option<Duration>,
}

/// A provider behind HTTP.
#[derive(Debug)]
pub struct Hosted {
    spec: HostedSpec,
    client: reqwest::Client,
    /// What is the same for every call: made once, cloned by reference count.
    credential: Option<(HeaderName, HeaderValue)>,
    shown: Arc<str>,
    house: Option<(Arc<House>, JoinSet<()>)>,
    /// A server in the house that has refused to tell how sure it is.
    silent: AtomicBool,
}

// === impl Hosted ===

impl Hosted {
    /// Builds the provider's client; a server in the house is looked at from here on, in a task of the current runtime.
    ///
    /// # Errors
    /// When TLS cannot be set up (no roots, no provider).
    pub fn new(spec: HostedSpec) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(address::Resolver::new(spec.reach.clone())))
            .retry(reqwest::retry::never())
            .connect_timeout(spec.timeouts.connect)
            .pool_idle_timeout(Duration::from_secs(60))
            .tcp_nodelay(true)
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .tls_certs_merge(spec.authorities.clone());
        let client = match spec.identity.clone() {
            Some(identity) => client.identity(identity).build()?,
            None => client.build()?,
        };
        // A key that no header can hold is refused when it is used, by name: the configuration keeps such ones out.
        let credential = spec.api_key.as_ref().and_then(|key| {
            let (name, text) = match spec.dialect {
                Dialect::OpenAi => (AUTHORIZATION, format!("Bearer {}", key.expose())),
                Dialect::Azure { .. } => (HeaderName::from_static("api-key"), key.expose().to_owned()),
                Dialect::Anthropic => (HeaderName::from_static("x-api-key"), key.expose().to_owned()),
            };
            let mut value = HeaderValue::from_str(&text).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        let mut shown = spec.base_url.clone();
        // Credentials in an address are refused by the configuration; this is the second lock.
        let _ = shown.set_password(None);
        let _ = shown.set_username("");
        let shown = shown.as_str().into();
        let every = spec.house.and_then(|looks| looks.every);
        let house = every.map(|every| House::watch(client.clone(), &spec.base_url, every));
        Ok(Self { spec, client, credential, shown, house, silent: AtomicBool::new(false) })
    }

    fn house(&self) -> Option<&House> {
        self.house.as_ref().map(|(house, _)| &**house)
    }

    /// Whether the call asks, on Sluice's account, how sure the model is.
    fn asks(&self, call: &Call) -> bool {
        call.watch && self.tells(call.request.endpoint, call.request.view.sampling.n)
    }

    async fn send(&self, call: &Call, asked: bool, end: Instant) -> Result<Events, BackendError> {
        let clocks = self.spec.timeouts;
        let url = request::url(&self.spec, call);
        let body = request::body(&self.spec, call, asked).map_err(BackendError::before_send)?;
        let sending = self.client.post(url).headers(self.headers(call)?).body(body).send();
        let response = match tokio::time::timeout(clocks.connect.max(clocks.first_event), sending).await {
            Err(_) => return Err(BackendError::before_first_event(Kind::Timeout(Clock::FirstEvent))),
            Ok(Err(error)) => return Err(sending_error(&error)),
            Ok(Ok(response)) => response,
        };
        if !response.status().is_success() {
            let error = refused(response, clocks, self.spec.api_key.as_ref()).await;
            return Err(if self.spec.dialect == Dialect::Anthropic { told_as_chat(error) } else { error });
        }
        let reading = match (self.spec.house.is_some() && call.watch, asked) {
            _ if self.spec.dialect == Dialect::Anthropic => Reading::Message,
            _ if call.request.endpoint == Endpoint::Embeddings => Reading::Vectors,
            (_, true) => Reading::AndTaken,
            (true, false) => Reading::Certainty,
            (false, false) => Reading::Plain,
        };
        if call.stream {
            relay::streamed(response, clocks, end, reading).await
        } else {
            relay::whole(response, end, reading, self.spec.most_vectors).await
        }
    }

    fn headers(&self, call: &Call) -> Result<HeaderMap, BackendError> {
        let unfit = |_| BackendError::before_send(Kind::Internal("a header value is not printable".into()));
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept = if call.stream { "text/event-stream" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers
            .insert(HeaderName::from_static("x-request-id"), HeaderValue::from_str(call.id.as_str()).map_err(unfit)?);
        if self.spec.dialect == Dialect::Anthropic {
            headers.insert(HeaderName::from_static("anthropic-version"), HeaderValue::from_static(anthropic::VERSION));
        }
        if let Some(parent) = &call.traceparent {
            headers.insert(HeaderName::from_static("traceparent"), HeaderValue::from_str(parent).map_err(unfit)?);
        }
        match (&self.credential, &self.spec.api_key) {
            (Some((name, value)), _) => {
                headers.insert(name, value.clone());
            }
            (None, Some(_)) => {
                let unfit = "the provider's key cannot be sent in a header".into();
                return Err(BackendError::before_send(Kind::Internal(unfit)));
            }
            (None, None) => {}
        }
        Ok(headers)
    }
}

#[async_trait]
impl Backend for Hosted {
    async fn call(&self, call: Call) -> Result<Events, BackendError> {
        call.permitted_for(&self.spec.name)?;
        if let Some(name) = &self.spec.missing_key {
            return Err(BackendError::before_send(Kind::NotReady(format!("{name} is not set"))));
        }
        let end = Instant::now() + self.spec.timeouts.total;
        let calling = async {
            // A client that asked for log-probabilities itself gets what it asked for.
            let asked = self.asks(&call) && call.request.raw.field("logprobs").is_none();
            match self.send(&call, asked, end).await {
                Err(error) if asked && error.says_malformed() => {
                    let without = self.send(&call, false, end).await;
                    if without.is_ok() {
                        // What it refused is what Sluice had added.
                        self.silent.store(true, Ordering::Relaxed);
                        tracing::info!(provider = %self.spec.name, "does not tell how sure it is: its answers get no second look");
                    }
                    without
                }
                sent => sent,
            }
        };
        match &self.house {
            Some((house, _)) => house.measured(calling).await,
            None => calling.await,
        }
    }

    fn tells(&self, endpoint: Endpoint, choices: u32) -> bool {
        // Of a Messages answer, and of a text that is completed, log-probabilities are not read.
        let asked = self.spec.house.is_some() && self.spec.capabilities.logprobs;
        let read = self.spec.dialect != Dialect::Anthropic && endpoint == Endpoint::Chat && choices <= 1;
        asked && read && !self.silent.load(Ordering::Relaxed)
    }

    fn readiness(&self) -> Readiness {
        match &self.spec.missing_key {
            None => self.house().map_or(Readiness::Ready, House::readiness),
            Some(name) => Readiness::Down { why: format!("{name} is not set"), retry_after: None },
        }
    }

    fn describe(&self) -> Description {
        Description {
            capabilities: self.spec.capabilities,
            context_window: self.house().and_then(House::context_window),
            memory_bytes: None,
            source: self.shown.clone(),
        }
    }

    fn first_token_in(&self, _prompt_tokens: u64) -> Option<Duration> {
        self.house()?.first_token_in()
    }

    fn load(&self) -> Option<Load> {
        self.house().map(House::load)
    }
}

/// Says what stopped a request that got no answer; the address is left out.
fn sending_error(error: &reqwest::Error) -> BackendError {
    if let Some(elsewhere) = elsewhere(error) {
        BackendError::before_send(Kind::Forbidden(elsewhere.to_string()))
    } else if error.is_connect() && error.is_timeout() {
        BackendError::before_send(Kind::Timeout(Clock::Connect))
    } else if error.is_connect() {
        BackendError::before_send(Kind::Connect(cause(error)))
    } else {
        BackendError::before_first_event(Kind::Truncated(cause(error)))
    }
}

/// Whether the name stood for addresses that may not be dialled.
fn elsewhere(error: &reqwest::Error) -> Option<&address::Elsewhere> {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.into_iter().find_map(|cause| cause.downcast_ref::<address::Elsewhere>())
}

/// The innermost cause, which names no address.
fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    if std::ptr::eq(inner, error as &dyn std::error::Error) { "transport".into() } else { inner.to_string() }
}

/// The provider's refusal. Some repeat the key that they do not like: it is the gateway's, and not for the client.
async fn refused(response: reqwest::Response, clocks: Timeouts, key: Option<&Secret>) -> BackendError {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let read = tokio::time::timeout(clocks.idle, capped(response, MAX_ERROR_BODY)).await;
    let body = match read {
        Ok(Ok(body)) if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&body).is_ok() => {
            Some(key.and_then(|key| key.taken_out_of(&body)).map_or(body, Bytes::from))
        }
        Ok(Ok(_) | Err(_)) | Err(_) => None,
    };
    BackendError::before_first_event(Kind::Status { status, body, retry_after })
}

/// An error of Anthropic's API, its body in the form of a chat's.
fn told_as_chat(mut error: BackendError) -> BackendError {
    if let Kind::Status { body, .. } = &mut error.kind {
        *body = body.take().and_then(|body| anthropic::error(&body));
    }
    error
}

/// Reads a body up to a cap.
async fn capped(response: reqwest::Response, most: usize) -> Result<Bytes, Kind> {
    capped_or(response, most, || Kind::Protocol("the body is too large".into())).await
}

/// Reads a body up to a cap; `beyond`: what a larger one is called.
async fn capped_or(mut response: reqwest::Response, most: usize, beyond: impl Fn() -> Kind) -> Result<Bytes, Kind> {
    let told = response.content_length().and_then(|length| usize::try_from(length).ok());
    if told.is_some_and(|length| length > most) {
        return Err(beyond());
    }
    let mut body = Vec::with_capacity(told.unwrap_or(0));
    while let Some(chunk) = response.chunk().await.map_err(|error| Kind::Truncated(cause(&error)))? {
        if body.len() + chunk.len() > most {
            return Err(beyond());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

/// Seconds of `Retry-After` (RFC 9110, 10.2.3) or of `retry-after-ms`; a date is passed over.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

//! How spans hang together, and how many were lost.
//!
//! **Promise.** Each request for an answer, and each that is refused, has one span of kind server; the spans of its attempts
//! are its children, whether the client sent a trace context or not. Spans that could not leave are counted: those for which
//! the queue had no room, and those that the collector did not take.
//!
//! **How.** Spans are made at the end, attempts before their request, so a request's span must be known by its ids before it
//! is made: both are digests of the request's id ([`Family`]), and [`Ids`] gives the span the id that its children have
//! named. Nothing is kept of a request while it runs.
//!
//! **What it does not do.** A request that is refused before it was read has no data class, so nothing of it is told but the
//! code, the status and the time: neither its id nor its session.

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, IdGenerator, RandomIdGenerator, SdkTracerProvider, Span, SpanData,
    SpanExporter, SpanProcessor,
};
use policies::RequestId;
use sha2::{Digest, Sha256};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// Spans that wait for the collector, those on their way included; beyond them spans are dropped.
const WAITING: usize = 2_048;

thread_local! {
    /// The ids of the span that this thread makes now, where they are chosen.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// The trace that a request belongs to, and its own span in it.
#[derive(Clone, Debug)]
pub(super) struct Family {
    /// The client's span; nothing where it sent none.
    parent: Context,
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

/// The context of a span whose ids are chosen.
pub(super) struct Chosen<'a>(&'a Context);

/// Gives random ids, but where they were chosen.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

/// Spans that were lost.
#[derive(Debug, Default)]
pub(super) struct Lost {
    waiting: AtomicUsize,
    no_room: AtomicU64,
    not_taken: AtomicU64,
}

/// Lets no more spans wait than there is room for.
#[derive(Debug)]
pub(super) struct Counted {
    inner: BatchSpanProcessor,
    lost: Arc<Lost>,
}

#[derive(Debug)]
struct CountedExporter<E> {
    inner: E,
    lost: Arc<Lost>,
}

// === impl Family ===

impl Family {
    pub(super) fn of(request: &RequestId, traceparent: Option<&str>) -> Self {
        let digest = Sha256::digest(request.as_str().as_bytes());
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&digest[..16]);
        span.copy_from_slice(&digest[16..24]);
        let parent = traceparent.and_then(parent);
        let client = parent.as_ref().map(|parent| parent.span().span_context().clone());
        Self {
            trace: client.as_ref().map_or(TraceId::from_bytes(trace), SpanContext::trace_id),
            span: SpanId::from_bytes(span),
            flags: client.as_ref().map_or(TraceFlags::SAMPLED, SpanContext::trace_flags),
            parent: parent.unwrap_or_default(),
        }
    }

    /// What the request's own span is made under; as long as this lives, spans that this thread makes get its ids.
    pub(super) fn own(&self) -> Chosen<'_> {
        NEXT.set(Some((self.trace, self.span)));
        Chosen(&self.parent)
    }

    /// What the spans of its attempts are made under.
    pub(super) fn children(&self) -> Context {
        let own = SpanContext::new(self.trace, self.span, self.flags, true, TraceState::default());
        Context::new().with_remote_span_context(own)
    }
}

/// The remote parent that a `traceparent` names.
pub(super) fn parent(traceparent: &str) -> Option<Context> {
    let mut parts = traceparent.split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    let remote = SpanContext::new(trace, span, TraceFlags::new(flags), true, TraceState::default());
    remote.is_valid().then(|| Context::new().with_remote_span_context(remote))
}

// === impl Chosen ===

impl std::ops::Deref for Chosen<'_> {
    type Target = Context;

    fn deref(&self) -> &Context {
        self.0
    }
}

impl Drop for Chosen<'_> {
    fn drop(&mut self) {
        NEXT.set(None);
    }
}

// === impl Ids ===

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

// === impl Lost ===

impl Lost {
    /// How many, by what they were lost to.
    pub(super) fn counts(&self) -> [(&'static str, u64); 2] {
        [("no_room", &self.no_room), ("not_taken", &self.not_taken)]
            .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }
}

// === impl Counted ===

impl Counted {
    pub(super) fn new(exporter: impl SpanExporter + 'static, lost: Arc<Lost>) -> Self {
        let exporter = CountedExporter { inner: exporter, lost: lost.clone() };
        let config = BatchConfigBuilder::default().with_max_queue_size(WAITING).build();
        Self { inner: BatchSpanProcessor::builder(exporter).with_batch_config(config).build(), lost }
    }
}

impl SpanProcessor for Counted {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        // Its queue has as much room, so that whatever comes this far finds some.
        if self.lost.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            self.lost.waiting.fetch_sub(1, Ordering::Relaxed);
            self.lost.no_room.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: SpanExporter> SpanExporter for CountedExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.inner.export(batch).await;
        self.lost.waiting.fetch_sub(spans, Ordering::Relaxed);
        if sent.is_err() {
            self.lost.not_taken.fetch_add(spans as u64, Ordering::Relaxed);
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Makes a span that has ended now, and began so long ago.
pub(super) fn make(
    traces: &SdkTracerProvider,
    name: String,
    kind: SpanKind,
    (parent, attributes): (&Context, Vec<KeyValue>),
    took: Duration,
    failed: bool,
) {
    let (tracer, end) = (traces.tracer("sluice"), SystemTime::now());
    let mut span = tracer
        .span_builder(name)
        .with_kind(kind)
        .with_start_time(end.checked_sub(took).unwrap_or(end))
        .with_attributes(attributes)
        .start_with_context(&tracer, parent);
    if failed {
        span.set_status(Status::error(""));
    }
    span.end_with_timestamp(end);
}

/// What every span of a request says, and nothing else.
pub(super) fn ended(status: u16, error: Option<String>) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new("http.response.status_code", i64::from(status))];
    attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_sdk::error::OTelSdkError;
    use parking_lot::{Condvar, Mutex};

    /// Keeps what it is given; while shut, lets nothing pass.
    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Door>);

    #[derive(Debug, Default)]
    struct Door {
        shut: Mutex<bool>,
        opened: Condvar,
        spans: Mutex<Vec<SpanData>>,
    }

    impl Kept {
        fn shut(&self, shut: bool) {
            *self.0.shut.lock() = shut;
            self.0.opened.notify_all();
        }
    }

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            let mut shut = self.0.shut.lock();
            while *shut {
                self.0.opened.wait(&mut shut);
            }
            if batch.iter().any(|span| span.name == "bad") {
                return Err(OTelSdkError::InternalFailure("refused".into()));
            }
            self.0.spans.lock().extend(batch);
            Ok(())
        }
    }

    fn provider(kept: &Kept) -> (SdkTracerProvider, Arc<Lost>) {
        let lost = Arc::<Lost>::default();
        let processor = Counted::new(kept.clone(), lost.clone());
        (SdkTracerProvider::builder().with_id_generator(Ids::default()).with_span_processor(processor).build(), lost)
    }

    #[test]
    fn attempts_are_children_of_their_request_with_and_without_a_client_that_traces() {
        let client = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for traceparent in [None, Some(client)] {
            let kept = Kept::default();
            let (provider, _) = provider(&kept);
            let tracer = provider.tracer("t");
            // As it happens: attempts end first, each with what it knows.
            for attempt in ["one", "two"] {
                let family = Family::of(&"request".into(), traceparent);
                tracer.span_builder(attempt).start_with_context(&tracer, &family.children()).end();
            }
            let family = Family::of(&"request".into(), traceparent);
            tracer.span_builder("request").start_with_context(&tracer, &family.own()).end();
            tracer.span_builder("other").start_with_context(&tracer, &Context::new()).end();
            provider.force_flush().unwrap();
            let spans = &kept.0.spans.lock();
            let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
            let request = named("request");
            for attempt in ["one", "two"] {
                let attempt = named(attempt);
                assert_eq!(attempt.parent_span_id, request.span_context.span_id());
                assert_eq!(attempt.span_context.trace_id(), request.span_context.trace_id());
                assert_ne!(attempt.span_context.span_id(), request.span_context.span_id());
            }
            match traceparent {
                None => assert_eq!(request.parent_span_id, SpanId::INVALID),
                Some(_) => {
                    assert_eq!(request.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
                    assert_eq!(request.parent_span_id.to_string(), "b7ad6b7169203331");
                }
            }
            // Chosen ids are used once.
            let other = named("other").span_context.clone();
            assert_ne!(other.trace_id(), request.span_context.trace_id());
            assert_ne!(other.span_id(), request.span_context.span_id());
        }
    }

    #[test]
    fn a_client_that_does_not_sample_gets_no_spans() {
        let kept = Kept::default();
        let (provider, lost) = provider(&kept);
        let tracer = provider.tracer("t");
        let family = Family::of(&"request".into(), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"));
        tracer.span_builder("attempt").start_with_context(&tracer, &family.children()).end();
        tracer.span_builder("request").start_with_context(&tracer, &family.own()).end();
        provider.force_flush().unwrap();
        assert!(kept.0.spans.lock().is_empty() && lost.counts() == [("no_room", 0), ("not_taken", 0)]);
        assert!(parent("00-00000000000000000000000000000000-b7ad6b7169203331-01").is_none(), "no trace has this id");
    }

    #[test]
    fn spans_that_are_lost_are_counted_to_the_last_one() {
        let kept = Kept::default();
        let (provider, lost) = provider(&kept);
        let tracer = provider.tracer("t");
        let make = |name: &'static str, count: usize| {
            (0..count).for_each(|_| tracer.span_builder(name).start_with_context(&tracer, &Context::new()).end());
        };
        kept.shut(true);
        make("good", WAITING + 100);
        assert_eq!(lost.counts(), [("no_room", 100), ("not_taken", 0)]);
        kept.shut(false);
        provider.force_flush().unwrap();
        assert_eq!(kept.0.spans.lock().len(), WAITING, "all others have left");
        make("bad", 7);
        assert!(provider.force_flush().is_err());
        make("good", 1);
        provider.force_flush().unwrap();
        assert_eq!(lost.counts(), [("no_room", 100), ("not_taken", 7)]);
    }
}

//! What is told to the outside: logs, metrics, traces.
//!
//! Metrics are made once with OpenTelemetry and leave by two doors: `/metrics` (Prometheus) and, when an endpoint is
//! configured, OTLP over HTTP with the GenAI names of the semantic conventions (status: development). Spans are made at
//! an attempt's end, with its true start and end, as children of the client's trace context.
//!
//! **Labels** are bounded: names of configured models and providers, routes, outcomes, statuses; never keys, users,
//! prompts or what a client made up.
//!
//! **Failure behaviour.** A collector that is down, slow or talks nonsense costs nothing but its own data: the exporters
//! batch in threads of their own, bounded.

mod logs;
mod spans;
mod standing;

pub use logs::start_logs;

use crate::config::TelemetrySettings;
use crate::server::App;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider};
use opentelemetry::trace::{Span, SpanKind, Status, Tracer, TracerProvider};
use opentelemetry::{KeyValue, StringValue};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use policies::{Endpoint, RequestId, Signals, Sink};
use prometheus::{Encoder, Registry, TextEncoder};
use router::ledger::{AttemptClose, Outcome, RequestRecord};
use router::{Observer, RiskState, Trace};
use spans::{Family, Lost};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::broadcast;
use tracing_appender::non_blocking::ErrorCounter;

/// Seconds, from a tenth of a millisecond to ten minutes.
const SECONDS: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0];
/// Tokens, as the semantic conventions have them.
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Instruments and exporters.
pub struct Telemetry {
    registry: Registry,
    meters: SdkMeterProvider,
    traces: Option<SdkTracerProvider>,
    requests: Counter<u64>,
    request_seconds: Histogram<f64>,
    attempts: Counter<u64>,
    failures: Counter<u64>,
    refusals: Counter<u64>,
    cost: Counter<f64>,
    baseline: Counter<f64>,
    tokens: Histogram<u64>,
    attempt_seconds: Histogram<f64>,
    first_event_seconds: Histogram<f64>,
    judged: Counter<u64>,
    judge_seconds: Histogram<f64>,
    unpriced: Counter<u64>,
    risk: RiskGauges,
    /// Spans that were lost.
    lost: Arc<Lost>,
    /// Ids of requests, as they end.
    ended: broadcast::Sender<RequestId>,
}

/// Ended requests that wait for a slow reader of `/api/events`.
const WAITING_ENDS: usize = 256;

/// Where the risk target stands; without one they are not there.
struct RiskGauges {
    holding: Gauge<u64>,
    threshold: Gauge<f64>,
    bound: Gauge<f64>,
    labels: Gauge<u64>,
}

// === impl Telemetry ===

impl Telemetry {
    /// Makes the instruments and, if an endpoint is configured, the exporters.
    ///
    /// Must be called outside of async: the OTLP client blocks.
    pub fn start(settings: &TelemetrySettings) -> anyhow::Result<Self> {
        let resource = Resource::builder()
            .with_service_name("sluice")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let registry = Registry::new();
        let prometheus =
            opentelemetry_prometheus::exporter().with_registry(registry.clone()).without_target_info().build()?;
        let mut meters = SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(prometheus);
        let (mut traces, lost) = (None, Arc::<Lost>::default());
        if let Some(endpoint) = &settings.otlp_endpoint {
            let base = endpoint.trim_end_matches('/');
            let exporter = opentelemetry_otlp::MetricExporter::builder()
                .with_http()
                .with_endpoint(format!("{base}/v1/metrics"))
                .with_timeout(Duration::from_secs(5))
                .build()?;
            meters = meters.with_periodic_exporter(exporter);
            let exporter = opentelemetry_otlp::SpanExporter::builder()
                .with_http()
                .with_endpoint(format!("{base}/v1/traces"))
                .with_timeout(Duration::from_secs(5))
                .build()?;
            let provider = SdkTracerProvider::builder()
                .with_resource(resource)
                .with_id_generator(spans::Ids::default())
                .with_span_processor(spans::Counted::new(exporter, lost.clone()));
            traces = Some(provider.build());
        }
        let meters = meters.build();
        let meter = meters.meter("sluice");
        let seconds = |name: &'static str, what: &'static str| seconds(&meter, name, what);
        let this = Self {
            ended: broadcast::channel(WAITING_ENDS).0,
            requests: meter.u64_counter("sluice.requests").with_description("Requests by route and status").build(),
            request_seconds: seconds("gen_ai.server.request.duration", "Time of a request at the gateway"),
            attempts: meter
                .u64_counter("sluice.attempts")
                .with_description("Attempts by model, route and outcome")
                .build(),
            failures: meter
                .u64_counter("sluice.failures")
                .with_description("Attempts that did not end well, by provider and code: which clock, limit or fault")
                .build(),
            refusals: meter
                .u64_counter("sluice.refusals")
                .with_description("Requests refused before they were routed, by code")
                .build(),
            cost: meter.f64_counter("sluice.cost").with_unit("USD").with_description("Money spent").build(),
            baseline: meter
                .f64_counter("sluice.baseline")
                .with_unit("USD")
                .with_description("What the hosted model would have cost")
                .build(),
            tokens: meter
                .u64_histogram("gen_ai.client.token.usage")
                .with_unit("{token}")
                .with_description("Tokens of an attempt")
                .with_boundaries(TOKENS.to_vec())
                .build(),
            attempt_seconds: seconds("gen_ai.client.operation.duration", "Time of an attempt"),
            first_event_seconds: seconds("gen_ai.server.time_to_first_token", "Time to an attempt's first event"),
            judged: meter
                .u64_counter("sluice.judgements")
                .with_description("Judgements by who gave them and the side that the score chose")
                .build(),
            judge_seconds: seconds("sluice.judgement.duration", "Time of a judgement"),
            unpriced: meter
                .u64_counter("sluice.unpriced")
                .with_description("Attempts at models without a price")
                .build(),
            risk: RiskGauges::new(&meter),
            lost,
            registry,
            meters,
            traces,
        };
        // Seeded, so that a dashboard shows zeros rather than gaps.
        for route in ["local", "hosted", "none"] {
            this.requests.add(0, &[KeyValue::new("route", route), KeyValue::new("status", 200_i64)]);
        }
        this.unpriced.add(0, &[]);
        Ok(this)
    }

    /// Looks at the running gateway from now on, whenever metrics are asked for.
    pub fn watch(&self, app: &Arc<App>, dropped_lines: ErrorCounter) {
        standing::watch(&self.meters.meter("sluice"), app, dropped_lines, self.lost.clone());
    }

    /// All metrics in Prometheus' text format.
    pub fn prometheus(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing to memory does not fail; an encoding error leaves the page short, not wrong.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }

    /// Sends what has gathered; blocks for a few seconds at most.
    pub fn shutdown(&self) {
        if let Some(traces) = &self.traces
            && let Err(error) = traces.shutdown_with_timeout(Duration::from_secs(2))
        {
            tracing::debug!(error = %error, "traces were not all sent");
        }
        if let Err(error) = self.meters.shutdown() {
            tracing::debug!(error = %error, "metrics were not all sent");
        }
    }

    /// A request was refused before it was routed; the code is the one that its caller was told.
    pub fn refused(&self, code: &'static str, status: u16, traceparent: Option<&str>, took: Duration) {
        self.refusals.add(1, &[KeyValue::new("error.type", code)]);
        let Some(traces) = &self.traces else { return };
        let parent = traceparent.and_then(spans::parent).unwrap_or_default();
        let attributes = spans::ended(status, Some(code.into()));
        spans::make(traces, "refused".into(), SpanKind::Server, (&parent, attributes), took, status >= 500);
    }

    /// The span of a request; its attempts' are its children.
    fn request_span(&self, record: &RequestRecord, took: Duration, trace: Trace<'_>) {
        let permitted = trace.permit.is_some_and(|permit| permit.is_for(Sink::Traces));
        let Some(traces) = self.traces.as_ref().filter(|_| permitted) else { return };
        let failed = (record.status >= 400).then(|| record.reason.clone());
        let mut attributes = spans::ended(record.status, failed);
        attributes.extend([
            KeyValue::new("sluice.request_id", record.id.to_string()),
            KeyValue::new("sluice.endpoint", record.endpoint),
            KeyValue::new("sluice.route", record.route.unwrap_or("none")),
            KeyValue::new("sluice.reason", record.reason.clone()),
            KeyValue::new("sluice.attempts", i64::from(record.attempts)),
        ]);
        let family = Family::of(&record.id, trace.parent);
        let name = format!("request {}", record.endpoint);
        spans::make(traces, name, SpanKind::Server, (&family.own(), attributes), took, record.status >= 500);
    }

    fn span(&self, closed: &AttemptClose, took: Duration) {
        let permitted = closed.open.traces.as_ref().is_some_and(|permit| permit.is_for(Sink::Traces));
        let Some(traces) = self.traces.as_ref().filter(|_| permitted) else { return };
        let tracer = traces.tracer("sluice");
        let (open, usage) = (&closed.open, closed.usage());
        let parent = Family::of(&open.request, open.traceparent.as_deref()).children();
        let end = SystemTime::now();
        let tokens = |count: policies::TokenCount| i64::try_from(count.0).unwrap_or(i64::MAX);
        let operation = operation(open.endpoint);
        let mut attributes = vec![
            KeyValue::new("gen_ai.operation.name", operation),
            KeyValue::new("gen_ai.provider.name", open.provider.to_string()),
            KeyValue::new("gen_ai.request.model", open.upstream.clone()),
            KeyValue::new("gen_ai.usage.input_tokens", tokens(usage.input)),
            KeyValue::new("gen_ai.usage.cache_read.input_tokens", tokens(usage.cached_input)),
            KeyValue::new("sluice.request_id", open.request.to_string()),
            KeyValue::new("sluice.model", open.model.to_string()),
            KeyValue::new("sluice.route", open.route),
            KeyValue::new("sluice.attempt", i64::from(open.attempt)),
            KeyValue::new("sluice.outcome", closed.outcome.word()),
        ];
        if writes(open.endpoint) {
            attributes.push(KeyValue::new("gen_ai.usage.output_tokens", tokens(usage.output)));
        }
        if let Some(cost) = closed.cost {
            attributes.push(KeyValue::new("sluice.cost_usd", cost.to_string()));
        }
        if let Some(session) = &open.payer.session {
            attributes.push(KeyValue::new("gen_ai.conversation.id", session.to_string()));
        }
        if let Some(error) = closed.error {
            attributes.push(KeyValue::new("error.type", error));
        }
        let mut span = tracer
            .span_builder(format!("{operation} {}", open.model))
            .with_kind(SpanKind::Client)
            .with_start_time(end.checked_sub(took).unwrap_or(end))
            .with_attributes(attributes)
            .start_with_context(&tracer, &parent);
        // One that was begun beside an answer that was kept did nothing wrong.
        if !matches!(closed.outcome, Outcome::Ok | Outcome::Cancelled) {
            span.set_status(Status::error(closed.error.unwrap_or(closed.outcome.word())));
        }
        span.end_with_timestamp(end);
    }
}

impl Observer for Telemetry {
    fn attempt(&self, closed: &AttemptClose, took: Duration) {
        let open = &closed.open;
        let name = |name: Arc<str>| StringValue::from(name);
        let model = KeyValue::new("gen_ai.request.model", name(open.model.clone().into()));
        let provider = KeyValue::new("gen_ai.provider.name", name(open.provider.clone().into()));
        let route = KeyValue::new("route", open.route);
        let outcome = KeyValue::new("outcome", closed.outcome.word());
        let purpose = KeyValue::new("purpose", open.purpose);
        if let Some(code) = closed.error {
            self.failures.add(1, &[KeyValue::new("error.type", code), provider.clone()]);
        }
        let operation = KeyValue::new("gen_ai.operation.name", operation(open.endpoint));
        let who = [operation.clone(), model.clone(), provider, route.clone()];
        self.attempts.add(1, &[model.clone(), route.clone(), outcome, purpose]);
        self.attempt_seconds.record(took.as_secs_f64(), &who);
        if let Some(first) = closed.first_event_us {
            self.first_event_seconds.record(first as f64 / 1e6, &who);
        }
        let output = writes(open.endpoint).then_some(("output", closed.usage().output));
        for (kind, count) in [("input", closed.usage().input)].into_iter().chain(output) {
            let kind = KeyValue::new("gen_ai.token.type", kind);
            self.tokens.record(count.0, &[operation.clone(), model.clone(), route.clone(), kind]);
        }
        let dollars = |amount: policies::NanoDollars| amount.0 as f64 / 1e9;
        match closed.cost {
            Some(cost) => self.cost.add(dollars(cost), &[model.clone(), route.clone()]),
            None => self.unpriced.add(1, &[]),
        }
        if let Some(baseline) = closed.baseline {
            self.baseline.add(dollars(baseline), &[model, route]);
        }
        self.span(closed, took);
    }

    fn request(&self, record: &RequestRecord, took: Duration, trace: Trace<'_>) {
        // Nobody may be listening.
        let _ = self.ended.send(record.id.clone());
        let route = KeyValue::new("route", record.route.unwrap_or("none"));
        let status = KeyValue::new("status", i64::from(record.status));
        self.requests.add(1, &[route.clone(), status]);
        self.request_seconds.record(took.as_secs_f64(), &[route]);
        self.request_span(record, took, trace);
        tracing::info!(
            request_id = %record.id,
            route = record.route.unwrap_or("none"),
            model = record.model.as_ref().map(|model| model.as_str()),
            reason = record.reason,
            status = record.status,
            attempts = record.attempts,
            took_ms = (took.as_secs_f64() * 1e6).round() / 1e3,
            "request"
        );
    }

    fn judged(&self, signals: &Signals, hosted: Option<bool>) {
        let by = KeyValue::new("by", format!("{:?}", signals.judged_by).to_lowercase());
        let abstained = KeyValue::new("abstained", signals.abstained.unwrap_or("no"));
        let side = KeyValue::new("side", hosted.map_or("none", |hosted| if hosted { "hosted" } else { "local" }));
        let skipped = KeyValue::new("skipped", signals.skipped.unwrap_or("no"));
        self.judged.add(1, &[by.clone(), abstained, side, skipped]);
        self.judge_seconds.record(signals.took_us as f64 / 1e6, &[by]);
    }

    fn risk(&self, state: &RiskState) {
        self.risk.tell(state);
    }
}

// === impl Telemetry: requests as they end ===

impl Telemetry {
    /// Ids of requests that end from now on; bounded, whoever reads too slowly misses the oldest.
    pub fn ended(&self) -> broadcast::Receiver<RequestId> {
        self.ended.subscribe()
    }
}

// === impl RiskGauges ===

impl RiskGauges {
    fn new(meter: &Meter) -> Self {
        let number = |name: &'static str, what: &'static str| meter.f64_gauge(name).with_description(what).build();
        let count = |name: &'static str, what: &'static str| meter.u64_gauge(name).with_description(what).build();
        Self {
            holding: count("sluice.risk.holding", "1: the risk target is shown to hold; 0: everything goes hosted"),
            threshold: number("sluice.risk.threshold", "From this score on requests go hosted; 1: none does"),
            bound: number("sluice.risk.bound", "Upper bound of the risk of local answers; 1 while nothing is shown"),
            labels: count("sluice.risk.labels", "Labels of local answers that are remembered"),
        }
    }

    fn tell(&self, state: &RiskState) {
        self.holding.record(u64::from(state.bound.is_some()), &[]);
        self.threshold.record(state.threshold.map_or(1.0, f64::from), &[]);
        self.bound.record(state.bound.unwrap_or(1.0), &[]);
        self.labels.record(state.labels as u64, &[]);
    }
}

fn seconds(meter: &Meter, name: &'static str, what: &'static str) -> Histogram<f64> {
    meter.f64_histogram(name).with_unit("s").with_description(what).with_boundaries(SECONDS.to_vec()).build()
}

/// What is asked of a model, in the words of the semantic conventions (`gen_ai.operation.name`).
fn operation(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Chat => "chat",
        Endpoint::Completions => "text_completion",
        Endpoint::Embeddings => "embeddings",
    }
}

/// Whether the model writes tokens: a zero of who cannot would only bend the histogram.
fn writes(endpoint: Endpoint) -> bool {
    match endpoint {
        Endpoint::Chat | Endpoint::Completions => true,
        Endpoint::Embeddings => false,
    }
}

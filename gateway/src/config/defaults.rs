//! Every default, with its reason where it has one. All times and sizes are finite.

use std::time::Duration;

/// The data listener.
pub const LISTEN: &str = "127.0.0.1:8080";
/// The admin listener.
pub const ADMIN_LISTEN: &str = "127.0.0.1:8081";
/// The ledger, beside the configuration file.
pub const LEDGER_PATH: &str = "sluice.db";
/// How long lines are kept: a year and a month, so that a year can be compared with the last.
pub const LEDGER_AGE: Duration = Duration::from_secs(400 * 86_400);
/// The ledger's size above which the oldest lines go.
pub const LEDGER_BYTES: u64 = 10 << 30;
/// How long a replica spends without having been heard: the others wait as long for what a dead one did not spend.
pub const REPLICA_LEASE: Duration = Duration::from_secs(10);
/// Shorter, a slow answer ends it; longer, a dead replica keeps its slices too long.
pub const REPLICA_LEASES: std::ops::RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(300);
/// What the names of shared keys begin with.
pub const REPLICA_PREFIX: &str = "sluice";
/// The data class of a request that names none.
pub const DEFAULT_CLASS: &str = "internal";
/// Bytes of text of a request that detectors look at: as many as a body has at most.
pub const DETECTOR_BYTES: u64 = BODY_BYTES;
/// Windows of free text that a request is judged by, the last ones: some 10 KB, in some tenths of a second.
pub const TEXT_WINDOWS: usize = 64;
/// Share of judged requests that go to the hosted side first.
pub const HOSTED_SHARE: f32 = 0.30;
/// How far the need has to move before a conversation changes sides.
pub const SWITCH_COST: f32 = 0.15;
/// `[router] risk_confidence`
pub const RISK_CONFIDENCE: f32 = 0.90;
/// How long the local model may take to judge.
pub const SLM_DEADLINE: Duration = Duration::from_millis(800);
/// The longest predicted wait for a local model's first token.
pub const MAX_FIRST_TOKEN: Duration = Duration::from_secs(20);
/// Output tokens assumed, and imposed where dollars are limited, when the client gives no ceiling.
pub const ASSUMED_OUTPUT: u64 = 4_096;

/// Connections at once, on the data listener.
pub const CONNECTIONS: usize = 1_024;
/// Requests at once; a place is held until the body of the answer has ended.
pub const IN_FLIGHT: usize = 256;
/// The largest request body.
pub const BODY_BYTES: u64 = 4 << 20;
/// The largest request head.
pub const HEAD_BYTES: u64 = 64 << 10;
/// The largest answer of vectors: 2,048 vectors of 3,072 numbers of 30 bytes each, as one writes them one a line.
pub const VECTOR_BYTES: u64 = 192 << 20;
/// Requests that may wait for the encoder in the binary.
pub const ENCODER_QUEUE: usize = 32;
/// Requests that may wait for the local engine.
pub const LOCAL_QUEUE: usize = 8;
/// Sequences in the local engine at once.
pub const LOCAL_CONCURRENCY: usize = 1;

/// For the head of a request.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// For the body of a request.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// In the local queue.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(20);
/// To connect to a provider.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// To a hosted provider's first event.
pub const FIRST_EVENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two events.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// From start to end of an attempt.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(600);
/// A client that does not read its stream.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Running streams may go on for so long after SIGTERM.
pub const DRAIN: Duration = Duration::from_secs(30);
/// Connections are still accepted for so long after SIGTERM, with readiness already failing.
pub const DRAIN_DELAY: Duration = Duration::ZERO;
/// What is logged: the engine tells much while it loads.
pub const LOG: &str = "info,mistralrs_core=warn,mistralrs_quant=warn";

/// `[router.cascade] width`: this far in rank from the threshold a need is too close to call.
pub const CASCADE_WIDTH: f32 = 0.15;
/// `[router.cascade] hold_tokens`
pub const CASCADE_HOLD_TOKENS: usize = 24;
/// `[router.cascade] hold`: what a reader does not notice.
pub const CASCADE_HOLD: Duration = Duration::from_millis(150);
/// `[router] probe_deadline`: five times what 128 tokens take on one core.
pub const PROBE_DEADLINE: Duration = Duration::from_millis(60);

/// The least time that evidence is kept, where it is not kept for ever.
pub const EVIDENCE_LEAST_AGE: Duration = Duration::from_secs(3_600);

/// `[learning.implicit] window`
pub const IMPLICIT_WINDOW: Duration = Duration::from_secs(600);
/// `[learning.implicit] likeness`
pub const IMPLICIT_LIKENESS: f32 = 0.7;
/// `[learning.roll_out] watch`
pub const ROLL_OUT_WATCH: f32 = 0.05;
/// `[learning.roll_out] part`
pub const ROLL_OUT_PART: f32 = 0.1;
/// `[learning.roll_out] margin`
pub const ROLL_OUT_MARGIN: f32 = 0.05;
/// `[learning.roll_out] error`
pub const ROLL_OUT_ERROR: f32 = 0.05;
/// `[learning.roll_out] least_pairs`
pub const ROLL_OUT_LEAST: u64 = 100;
/// `[learning.roll_out] longest`
pub const ROLL_OUT_LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The evidence log's key, where the ledger is no file that it could lie beside.
pub const EVIDENCE_KEY: &str = "sluice.evidence.key";

//! The log: lines on standard error, from a thread of its own.
//!
//! **Promise.** A reader of the log that does not keep up costs lines of the log, never answers; how many is counted.

use crate::config::TelemetrySettings;
use crate::config::spec::LogFormat;
use crate::log_line::JsonLines;
use std::io::{BufWriter, IsTerminal};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Log lines that wait for whoever reads standard error; beyond them lines are dropped.
const WAITING_LINES: usize = 16_384;

/// Starts logging to standard error; lines that are ready together leave in one write. Gives what counts the lines that
/// were dropped, too.
///
/// What waits is written when the guard is dropped. Where somebody has started logging before, nothing changes.
pub fn start_logs(settings: &TelemetrySettings) -> (WorkerGuard, ErrorCounter) {
    let filter = EnvFilter::try_new(&settings.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("log")
        .finish(BufWriter::new(std::io::stderr()));
    let dropped = writer.error_counter();
    let base = tracing_subscriber::registry().with(filter);
    let started = match settings.log_format {
        LogFormat::Json => base
            .with(tracing_subscriber::fmt::layer().event_format(JsonLines).with_ansi(false).with_writer(writer))
            .try_init(),
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal();
            base.with(tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(writer)).try_init()
        }
    };
    if let Err(error) = started {
        tracing::debug!(error = %error, "logging was started before");
    }
    (guard, dropped)
}

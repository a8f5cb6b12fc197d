//! `[timeouts]`: every clock is finite, also where nothing is configured.

use super::defaults;
use super::spec::TimeoutsSpec;
use super::units::Time;
use adapters::hosted;
use std::time::Duration;

/// Clocks.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the head of a request.
    pub header: Duration,
    /// For the body of a request.
    pub body: Duration,
    /// In the local queue.
    pub queue: Duration,
    /// Of an attempt at a provider.
    pub attempt: hosted::Timeouts,
    /// A client that does not read.
    pub write: Duration,
    /// Running streams after SIGTERM.
    pub drain: Duration,
    /// Accepting after SIGTERM.
    pub drain_delay: Duration,
}

pub(super) fn read_timeouts(spec: &TimeoutsSpec) -> Timeouts {
    let TimeoutsSpec { header, body, queue, connect, first_event, idle, total, write, drain, drain_delay } = spec;
    let time = |typed: &Option<Time>, default: Duration| typed.map_or(default, |time| time.0);
    Timeouts {
        header: time(header, defaults::HEADER_TIMEOUT),
        body: time(body, defaults::BODY_TIMEOUT),
        queue: time(queue, defaults::QUEUE_TIMEOUT),
        attempt: hosted::Timeouts {
            connect: time(connect, defaults::CONNECT_TIMEOUT),
            first_event: time(first_event, defaults::FIRST_EVENT_TIMEOUT),
            idle: time(idle, defaults::IDLE_TIMEOUT),
            total: time(total, defaults::TOTAL_TIMEOUT),
        },
        write: time(write, defaults::WRITE_TIMEOUT),
        drain: time(drain, defaults::DRAIN),
        drain_delay: time(drain_delay, defaults::DRAIN_DELAY),
    }
}

//! Kernel times become NTP times: the one place that knows both.

use crate::server::Clock;
use crate::sys::clock::{self, Timespec};
use crate::wire::NtpTimestamp;

/// CLOCK_REALTIME, which is also what the kernel's receive stamps are taken from.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> NtpTimestamp {
        to_ntp(clock::realtime())
    }
}

/// A kernel time as the wire carries it.
#[inline]
pub fn to_ntp(time: Timespec) -> NtpTimestamp {
    NtpTimestamp::from_unix(time.seconds, time.nanoseconds)
}

/// A short time in units of an NTP timestamp, 2^-32 s.
#[inline]
pub(super) fn to_ntp_units(nanoseconds: u32) -> i64 {
    (i64::from(nanoseconds) << 32) / 1_000_000_000
}

/// Notices that somebody set the clock. Requests received before that and answered after it would carry a
/// mixture of two times.
pub(super) struct StepWatch {
    /// CLOCK_REALTIME − CLOCK_MONOTONIC in ns; both are slewed alike, so only a step changes it.
    offset: i128,
}

/// Reading two clocks is not atomic: this much difference between readings is an interrupt, not a step.
const READING_SLACK_NS: i128 = 100_000;
const READINGS: usize = 5;

impl StepWatch {
    pub(super) fn new() -> Self {
        Self { offset: best(&readings()) }
    }

    /// Whether the clock was stepped since the last call. Two clock readings when it was not.
    #[inline]
    pub(super) fn stepped(&mut self) -> bool {
        (offset() - self.offset).abs() > READING_SLACK_NS && self.confirm()
    }

    /// An interrupt between two readings only ever makes the difference of one try wrong: a step shows in all
    /// of them.
    #[cold]
    fn confirm(&mut self) -> bool {
        let readings = readings();
        let stepped = readings.iter().all(|reading| (reading - self.offset).abs() > READING_SLACK_NS);
        if stepped {
            self.offset = best(&readings);
        }
        stepped
    }
}

fn readings() -> [i128; READINGS] {
    std::array::from_fn(|_| offset())
}

/// The second reading of an undisturbed pair comes soonest after the first.
fn best(readings: &[i128; READINGS]) -> i128 {
    readings.iter().copied().fold(i128::MIN, i128::max)
}

/// A delay between the two readings makes the result smaller, never larger.
#[inline]
fn offset() -> i128 {
    let realtime = clock::realtime();
    realtime.as_nanos() - clock::monotonic().as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undisturbed_clock_is_never_reported_as_stepped() {
        let mut watch = StepWatch::new();
        assert!((0..100_000).all(|_| !watch.stepped()));
    }

    #[test]
    fn a_step_is_reported_once() {
        let mut watch = StepWatch::new();
        for step in [500_000_000, -500_000_000] {
            watch.offset += step;
            assert!(watch.stepped());
            assert!(!watch.stepped());
        }
    }
}

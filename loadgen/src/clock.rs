//! One timescale for everything that is measured: nanoseconds of CLOCK_MONOTONIC.

use ntpring::sys::clock::{self, Timespec};
use ntpring::sys::exchange::Seen;

/// Now, in nanoseconds of CLOCK_MONOTONIC.
#[inline]
pub(crate) fn now() -> u64 {
    nanoseconds(clock::monotonic())
}

/// Nanoseconds since the clock's epoch; 0 before it.
pub(crate) fn nanoseconds(time: Timespec) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(0)
}

/// Two readings of the same undisturbed clocks never differ by this much.
const STEP_NS: i128 = 100_000;
/// Replies that were stamped before a step may still be queued this long after it.
const DISTRUST_NS: u64 = 1_000_000_000;

/// Brings the kernel's receive stamps, which are CLOCK_REALTIME, to the monotonic timescale.
///
/// Both clocks are slewed alike, so their difference changes only when somebody sets the time. From then on
/// stamps are not used until no older one can be queued any more.
#[derive(Debug, Default)]
pub(crate) struct StampClock {
    /// CLOCK_REALTIME − CLOCK_MONOTONIC at the last look.
    offset: Option<i128>,
    distrusted_until: u64,
}

/// When a reply arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub(crate) at: u64,
    /// Whether the kernel said so; otherwise it is when the reply was read.
    pub(crate) stamped: bool,
}

impl StampClock {
    /// When a reply arrived that was read at `seen` and answers a request sent at `sent`. Whatever the clocks
    /// do, the result lies between the two.
    pub(crate) fn arrival(&mut self, stamp: Option<Timespec>, seen: Seen, sent: u64) -> Arrival {
        let read = nanoseconds(seen.monotonic);
        let offset = seen.realtime.as_nanos() - seen.monotonic.as_nanos();
        if self.offset.is_some_and(|before| (offset - before).abs() > STEP_NS) {
            self.distrusted_until = read + DISTRUST_NS;
        }
        self.offset = Some(offset);
        stamp
            .filter(|_| read >= self.distrusted_until)
            .and_then(|stamp| u64::try_from(stamp.as_nanos() - offset).ok())
            .filter(|at| (sent..=read).contains(at))
            .map_or(Arrival { at: read, stamped: false }, |at| Arrival { at, stamped: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(nanoseconds: u64) -> Timespec {
        let (seconds, nanoseconds) = (nanoseconds / SECOND, nanoseconds % SECOND);
        Timespec { seconds: seconds.cast_signed(), nanoseconds: nanoseconds as u32 }
    }

    /// Monotonic time `monotonic` while CLOCK_REALTIME is `ahead` of it.
    fn seen(monotonic: u64, ahead: u64) -> Seen {
        Seen { monotonic: at(monotonic), realtime: at(monotonic + ahead) }
    }

    #[test]
    fn the_stamp_counts_not_the_time_of_reading() {
        let mut clock = StampClock::default();
        let arrival = clock.arrival(Some(at(1_000 * SECOND + 50)), seen(90, 1_000 * SECOND), 10);
        assert_eq!(arrival, Arrival { at: 50, stamped: true });
        assert_eq!(clock.arrival(None, seen(90, 1_000 * SECOND), 10), Arrival { at: 90, stamped: false });
    }

    #[test]
    fn a_stamp_outside_of_what_is_possible_is_not_used() {
        let mut clock = StampClock::default();
        for impossible in [5, 95] {
            let arrival = clock.arrival(Some(at(1_000 * SECOND + impossible)), seen(90, 1_000 * SECOND), 10);
            assert_eq!(arrival, Arrival { at: 90, stamped: false }, "stamped at {impossible}");
        }
    }

    #[test]
    fn after_a_step_stamps_rest_until_all_are_of_the_new_time() {
        let mut clock = StampClock::default();
        let (before, after) = (1_000 * SECOND, 1_000 * SECOND + 1_000_000);
        assert!(clock.arrival(Some(at(before + 20)), seen(30, before), 10).stamped);
        // Stamped before the step of one millisecond, read after it.
        let stale = clock.arrival(Some(at(before + 2_000_000)), seen(2_100_000, after), 10);
        assert_eq!(stale, Arrival { at: 2_100_000, stamped: false });
        let later = 2 * SECOND;
        let arrival = clock.arrival(Some(at(after + later - 5)), seen(later, after), later - 50);
        assert_eq!(arrival, Arrival { at: later - 5, stamped: true });
    }
}

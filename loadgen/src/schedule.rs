//! When requests are meant to leave, whatever becomes of the ones before.

/// How the requests of an open loop are spread over time. All have the same mean rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arrivals {
    /// Evenly spaced
    #[default]
    Fixed,
    /// At random, each independent of the others, as a great many clients ask
    Poisson,
    /// All that are due in 10 ms at once
    Burst,
    /// Evenly spaced, at a rate that grows from zero to twice the mean
    Ramp,
}

impl Arrivals {
    /// Its name in JSON, which is that on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Poisson => "poisson",
            Self::Burst => "burst",
            Self::Ramp => "ramp",
        }
    }
}

/// How requests are paced on one thread. Times are nanoseconds since the start.
#[derive(Debug)]
pub(crate) enum Pace {
    /// Each request has its time, and that is where its latency counts from: a server that stalls cannot slow
    /// the load down.
    Open(Schedule),
    /// A request leaves as soon as fewer than `outstanding` are unanswered, until `until`: finds the rate
    /// that the server sets.
    Closed {
        /// Requests in flight.
        outstanding: usize,
        /// The end.
        until: u64,
    },
}

impl Pace {
    /// The intended time of the next request, if it may leave now, with `in_flight` requests unanswered.
    pub(crate) fn take(&mut self, now: u64, in_flight: usize) -> Option<u64> {
        match self {
            Self::Open(schedule) => schedule.take(now),
            Self::Closed { outstanding, until } => (now < *until && in_flight < *outstanding).then_some(now),
        }
    }

    /// When the next request is due; `None` if that depends on replies.
    pub(crate) fn next(&self) -> Option<u64> {
        match self {
            Self::Open(schedule) => schedule.next(),
            Self::Closed { .. } => None,
        }
    }

    /// Whether there is nothing more to send.
    pub(crate) fn is_over(&self, now: u64) -> bool {
        match self {
            Self::Open(schedule) => schedule.next().is_none(),
            Self::Closed { until, .. } => now >= *until,
        }
    }

    /// Nothing more is to be sent.
    pub(crate) fn cut(&mut self) {
        match self {
            Self::Open(schedule) => schedule.cut(),
            Self::Closed { until, .. } => *until = 0,
        }
    }
}

/// Evenly spaced requests. Threads take turns: each has every `threads`-th request of one common schedule.
#[derive(Debug)]
pub(crate) struct Schedule {
    rate: u64,
    total: u64,
    threads: u64,
    /// Number of the next request of this thread in the common schedule.
    number: u64,
    /// Its time.
    due: u64,
}

const SECOND: u64 = 1_000_000_000;

impl Schedule {
    /// `total` requests at `rate` per second by `threads` threads, of which this is number `thread`.
    pub(crate) fn new(rate: u64, total: u64, threads: usize, thread: usize) -> Self {
        let mut schedule = Self { rate, total, threads: threads as u64, number: thread as u64, due: 0 };
        schedule.due = schedule.time();
        schedule
    }

    fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.next().filter(|&due| due <= now)?;
        self.number += self.threads;
        self.due = self.time();
        Some(due)
    }

    fn next(&self) -> Option<u64> {
        (self.number < self.total).then_some(self.due)
    }

    fn cut(&mut self) {
        self.total = self.number;
    }

    /// Computed from the number, so that rounding never adds up.
    fn time(&self) -> u64 {
        self.number / self.rate * SECOND + self.number % self.rate * SECOND / self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(rate: u64, total: u64, threads: usize) -> Vec<u64> {
        let mut times: Vec<u64> = (0..threads)
            .flat_map(|thread| {
                let mut schedule = Schedule::new(rate, total, threads, thread);
                std::iter::from_fn(move || schedule.take(u64::MAX))
            })
            .collect();
        times.sort_unstable();
        times
    }

    #[test]
    fn a_rate_that_divides_no_second_does_not_drift() {
        let times = times(3, 3_000_001, 1);
        assert_eq!(times[..4], [0, 333_333_333, 666_666_666, SECOND]);
        assert_eq!(times.last(), Some(&(1_000_000 * SECOND)));
    }

    #[test]
    fn threads_share_one_schedule() {
        assert_eq!(times(10_000, 1_000, 3), times(10_000, 1_000, 1));
    }

    #[test]
    fn nothing_is_due_early_and_what_is_overdue_keeps_its_time() {
        let mut pace = Pace::Open(Schedule::new(1_000, 10, 1, 0));
        assert_eq!(pace.take(0, 0), Some(0));
        assert_eq!(pace.take(999_999, 0), None);
        assert_eq!(pace.take(5_000_000, 1_000), Some(1_000_000));
        assert_eq!(pace.next(), Some(2_000_000));
        pace.cut();
        assert!(pace.is_over(0) && pace.take(u64::MAX, 0).is_none());
    }

    #[test]
    fn a_closed_loop_waits_for_answers() {
        let mut pace = Pace::Closed { outstanding: 2, until: 100 };
        assert_eq!((pace.take(7, 1), pace.take(7, 2), pace.take(100, 0)), (Some(7), None, None));
        assert!(pace.is_over(100));
    }
}

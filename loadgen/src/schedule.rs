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

    /// The highest rate, in mean rates.
    pub(crate) fn peak(self) -> u64 {
        match self {
            Self::Fixed | Self::Poisson | Self::Burst => 1,
            Self::Ramp => 2,
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

/// The requests of one thread, each with its time.
#[derive(Debug)]
pub(crate) struct Schedule {
    timing: Timing,
    threads: u64,
    /// Number of the next request of this thread in the common schedule.
    number: u64,
    /// Numbers end here.
    total: u64,
    /// Its time.
    due: u64,
    /// Times end here.
    until: u64,
}

/// What is asked of all threads together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    pub(crate) arrivals: Arrivals,
    /// Mean requests per second.
    pub(crate) rate: u64,
    /// At first there is so much time of evenly spaced requests, in nanoseconds.
    pub(crate) warmup: u64,
    /// Then there is so much time of what was asked for.
    pub(crate) duration: u64,
}

#[derive(Debug)]
enum Timing {
    /// Times follow from numbers, which threads take in turns.
    Numbered(Demand),
    /// Times follow from times; the sum of independent threads is as random as each.
    Poisson { random: fastrand::Rng, mean: f64, time: f64 },
}

const SECOND: u64 = 1_000_000_000;
/// From burst to burst.
const BURST: u64 = 10_000_000;

impl Demand {
    /// Requests in so many nanoseconds, the last one's time not included.
    fn requests(&self, time: u64) -> u64 {
        let requests = (u128::from(self.rate) * u128::from(time)).div_ceil(u128::from(SECOND));
        u64::try_from(requests).unwrap_or(u64::MAX)
    }

    /// Computed from the number, so that rounding never adds up.
    fn time(&self, number: u64) -> u64 {
        let Some(number) = number.checked_sub(self.requests(self.warmup)) else { return self.even(number) };
        self.warmup
            + match self.arrivals {
                Arrivals::Fixed | Arrivals::Poisson => self.even(number),
                Arrivals::Burst => self.even(number) / BURST * BURST,
                // A rate of 2 R t / D makes R t² / D requests until t.
                Arrivals::Ramp => {
                    let part = number as f64 / self.requests(self.duration) as f64;
                    (self.duration as f64 * part.sqrt()) as u64
                }
            }
    }

    fn even(&self, number: u64) -> u64 {
        number / self.rate * SECOND + number % self.rate * SECOND / self.rate
    }
}

impl Schedule {
    /// The part of thread number `thread` of `threads`.
    pub(crate) fn new(demand: Demand, threads: usize, thread: usize) -> Self {
        let (timing, total, until) = match demand.arrivals {
            Arrivals::Poisson => {
                let mean = SECOND as f64 * threads as f64 / demand.rate as f64;
                let timing = Timing::Poisson { random: fastrand::Rng::new(), mean, time: 0.0 };
                (timing, u64::MAX, demand.warmup + demand.duration)
            }
            _ => {
                let total = demand.requests(demand.warmup) + demand.requests(demand.duration);
                (Timing::Numbered(demand), total, u64::MAX)
            }
        };
        let mut schedule =
            Self { timing, total, until, threads: threads as u64, number: thread as u64, due: 0 };
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
        (self.number < self.total && self.due < self.until).then_some(self.due)
    }

    fn cut(&mut self) {
        self.total = self.number;
    }

    fn time(&mut self) -> u64 {
        match &mut self.timing {
            Timing::Numbered(demand) => demand.time(self.number),
            Timing::Poisson { random, mean, time } => {
                // Gaps of a Poisson process are exponential; 1 − [0, 1) has a logarithm.
                *time -= *mean * (1.0 - random.f64()).ln();
                *time as u64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(arrivals: Arrivals, rate: u64, duration: u64) -> Demand {
        Demand { arrivals, rate, warmup: 0, duration }
    }

    fn times(demand: Demand, threads: usize) -> Vec<u64> {
        let mut times: Vec<u64> = (0..threads)
            .flat_map(|thread| {
                let mut schedule = Schedule::new(demand, threads, thread);
                std::iter::from_fn(move || schedule.take(u64::MAX))
            })
            .collect();
        times.sort_unstable();
        times
    }

    #[test]
    fn a_rate_that_divides_no_second_does_not_drift() {
        let times = times(demand(Arrivals::Fixed, 3, 1_000_000 * SECOND + 1), 1);
        assert_eq!(times[..4], [0, 333_333_333, 666_666_666, SECOND]);
        assert_eq!(times.last(), Some(&(1_000_000 * SECOND)));
    }

    #[test]
    fn threads_share_one_schedule() {
        for arrivals in [Arrivals::Fixed, Arrivals::Burst, Arrivals::Ramp] {
            let demand = demand(arrivals, 10_000, SECOND / 10);
            assert_eq!(times(demand, 3), times(demand, 1));
            assert_eq!(times(demand, 1).len(), 1_000);
        }
    }

    #[test]
    fn independent_clients_are_as_many_and_as_irregular_as_a_poisson_process() {
        let times = times(demand(Arrivals::Poisson, 100_000, SECOND), 3);
        assert!((98_000..102_000).contains(&times.len()), "{} arrivals", times.len());
        assert!(times.iter().all(|&time| time < SECOND));
        // The variance of the number in each millisecond is its mean, 100.
        let mut counts = [0.0; 1_000];
        times.iter().for_each(|&time| counts[(time / 1_000_000) as usize] += 1.0);
        let variance = counts.iter().map(|count: &f64| (count - 100.0).powi(2)).sum::<f64>() / 1_000.0;
        assert!((75.0..125.0).contains(&variance), "variance {variance}");
    }

    #[test]
    fn a_burst_is_all_of_ten_milliseconds_at_once() {
        let times = times(demand(Arrivals::Burst, 1_000, 30_000_000), 1);
        assert_eq!(times, [vec![0; 10], vec![BURST; 10], vec![2 * BURST; 10]].concat());
    }

    #[test]
    fn a_ramp_sends_three_quarters_in_its_second_half() {
        let times = times(demand(Arrivals::Ramp, 10_000, SECOND), 1);
        assert_eq!(times.partition_point(|&time| time < SECOND / 2), 2_500);
        let last_tenth = times.iter().filter(|&&time| time >= SECOND * 9 / 10).count();
        assert_eq!(last_tenth, 1_900, "nearly twice the mean rate at the end");
        assert!(times.iter().all(|&time| time < SECOND));
    }

    #[test]
    fn what_counts_begins_after_the_warm_up() {
        for arrivals in [Arrivals::Fixed, Arrivals::Burst, Arrivals::Ramp] {
            let times = times(Demand { warmup: 33_333_333, ..demand(arrivals, 7_000, SECOND) }, 1);
            let warm = times.partition_point(|&time| time < 33_333_333);
            assert_eq!((warm, times.len() - warm), (234, 7_000), "{arrivals:?}");
            assert!(times.is_sorted());
        }
    }

    #[test]
    fn nothing_is_due_early_and_what_is_overdue_keeps_its_time() {
        let mut pace = Pace::Open(Schedule::new(demand(Arrivals::Fixed, 1_000, SECOND / 100), 1, 0));
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

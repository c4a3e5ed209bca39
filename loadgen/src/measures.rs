//! What is measured, of a whole run and of each of its seconds.

use crate::histogram::{Sparse, Summary, Times};

/// The five measures, and the bound of one of them. `T` is [`Times`], or [`Sparse`] where many are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measures<T = Times> {
    /// From the intended send time to the kernel's receive stamp of the reply, for requests that were
    /// answered in time: what a client would have waited, had it been served as it came.
    pub(crate) intended: T,
    /// From the kernel's send stamp of the request to its receive stamp of the reply, for those of them that
    /// have both.
    pub(crate) wire: T,
    /// The server's own T3 − T2, for all of them.
    pub(crate) residence: T,
    /// RFC 5905 §8: theta, the server's clock before the client's, from requests that have both kernel
    /// stamps.
    pub(crate) offset: Signed<T>,
    /// Half of the delay of the same requests: what an asymmetric path can have done to the offset, at most.
    pub(crate) offset_bound: T,
    /// From the intended to the true send time, for all requests that were sent.
    pub(crate) lag: T,
}

/// A distribution around zero, as two of magnitudes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signed<T = Times> {
    /// Zero and above.
    pub(crate) ahead: T,
    /// Below zero.
    pub(crate) behind: T,
}

/// What became of one second of a run, by the time at which it became known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Second {
    /// Requests that left.
    pub(crate) sent: u64,
    /// Replies that came in time.
    pub(crate) answered: u64,
    /// Requests that got no valid reply in time, when that became known.
    pub(crate) lost: u64,
    /// Median latency from the intended time, in microseconds; `None` without answers.
    pub(crate) p50: Option<f64>,
    /// Its 99th percentile.
    pub(crate) p99: Option<f64>,
    /// All that was measured in it, if the plan says that it is to be kept.
    pub(crate) measures: Option<Box<Measures<Sparse>>>,
}

impl Measures {
    /// Adds what another thread has measured.
    pub(crate) fn add(&mut self, other: &Self) {
        self.intended.add(&other.intended);
        self.wire.add(&other.wire);
        self.residence.add(&other.residence);
        self.offset.ahead.add(&other.offset.ahead);
        self.offset.behind.add(&other.offset.behind);
        self.offset_bound.add(&other.offset_bound);
        self.lag.add(&other.lag);
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        for times in [
            &mut self.intended,
            &mut self.wire,
            &mut self.residence,
            &mut self.offset.ahead,
            &mut self.offset.behind,
            &mut self.offset_bound,
            &mut self.lag,
        ] {
            times.clear();
        }
    }

    /// The same in little memory.
    pub(crate) fn sparse(&self) -> Measures<Sparse> {
        Measures {
            intended: self.intended.sparse(),
            wire: self.wire.sparse(),
            residence: self.residence.sparse(),
            offset: Signed { ahead: self.offset.ahead.sparse(), behind: self.offset.behind.sparse() },
            offset_bound: self.offset_bound.sparse(),
            lag: self.lag.sparse(),
        }
    }
}

impl Signed {
    /// One more, in nanoseconds.
    pub(crate) fn record(&mut self, nanoseconds: i64) {
        let side = if nanoseconds < 0 { &mut self.behind } else { &mut self.ahead };
        side.record(nanoseconds.unsigned_abs());
    }

    /// Quantiles from the most negative to the most positive; `None` if nothing was recorded.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let (below, above) = (self.behind.len(), self.ahead.len());
        let count = below + above;
        let value = |rank: u64| {
            if rank <= below {
                -self.behind.value_at_rank(below + 1 - rank)
            } else {
                self.ahead.value_at_rank(rank - below)
            }
        };
        let quantile = |q: f64| value(((q * count as f64).ceil() as u64).clamp(1, count));
        let sum = |side: &Times| side.summary().map_or(0.0, |side| side.mean * side.count as f64);
        (count > 0).then(|| Summary {
            count,
            min: value(1),
            mean: (sum(&self.ahead) - sum(&self.behind)) / count as f64,
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            p9999: quantile(0.9999),
            max: value(count),
        })
    }
}

impl Second {
    /// The counts of this that are not in `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            answered: self.answered - earlier.answered,
            lost: self.lost - earlier.lost,
            ..Self::default()
        }
    }

    /// Adds the counts of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.lost += other.lost;
    }

    /// Says what the second's latency was, and keeps all measures if they are wanted.
    pub(crate) fn conclude(&mut self, measures: &Measures, keep: bool) {
        let latency = measures.intended.summary();
        self.p50 = latency.map(|latency| latency.p50);
        self.p99 = latency.map(|latency| latency.p99);
        self.measures = keep.then(|| Box::new(measures.sparse()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_quantiles_go_from_the_most_negative_to_the_most_positive() {
        let mut signed: Signed = Signed::default();
        assert_eq!(signed.summary(), None);
        (-50..50).for_each(|n| signed.record(n * 1_000));
        let summary = signed.summary().unwrap();
        let near = |found: f64, expected: f64| assert!((found - expected).abs() <= 0.051, "{summary:?}");
        assert_eq!(summary.count, 100);
        near(summary.min, -50.0);
        near(summary.p50, -1.0);
        near(summary.p90, 39.0);
        near(summary.max, 49.0);
        near(summary.mean, -0.5);
    }

    #[test]
    fn a_second_in_little_memory_is_the_same_second() {
        let mut measures: Measures = Measures::default();
        for time in [1_u64, 50, 999, 123_456, 123_456, 59_000_000_000] {
            measures.intended.record(time);
            measures.offset.record(-time.cast_signed());
        }
        let mut second = Second::default();
        second.conclude(&measures, true);
        let sparse = second.measures.unwrap();
        assert_eq!(sparse.intended.times().summary(), measures.intended.summary());
        assert_eq!(sparse.offset.behind.times().summary(), measures.offset.behind.summary());
        assert_eq!(sparse.wire.times().summary(), None);
    }
}

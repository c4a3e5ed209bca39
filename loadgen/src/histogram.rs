//! Distributions of times.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};

/// Longest time that is told apart: 60 s, in nanoseconds.
const LONGEST_NS: u64 = 60_000_000_000;
/// Relative error of 0.1 %.
const DIGITS: u8 = 3;

/// Times in nanoseconds, 1 ns to 60 s, with an error of at most 0.1 %. Recording allocates nothing.
#[derive(Clone, Debug)]
pub(crate) struct Times(Histogram<u64>);

/// The same in little memory: each time that occurs, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sparse(Vec<(u64, u64)>);

/// What a distribution comes to, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) p9999: f64,
    pub(crate) max: f64,
}

/// One line of a drawn histogram: how many times lie in [from, to).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    pub(crate) count: u64,
}

impl Default for Times {
    /// Nothing recorded yet.
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("these bounds are valid"))
    }
}

impl Sparse {
    /// The distribution again.
    pub(crate) fn times(&self) -> Times {
        let mut times = Times::default();
        self.0.iter().for_each(|&(value, count)| times.0.saturating_record_n(value, count));
        times
    }
}

impl Times {
    /// One more; what is longer than 60 s counts as 60 s.
    #[inline]
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds.clamp(1, LONGEST_NS));
    }

    /// Adds what another thread has recorded.
    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds, which is all that could differ.
        self.0 += &other.0;
    }

    /// Whether nothing was recorded.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many were recorded.
    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// The time, in microseconds, that is the `rank`th from the shortest, which is the first.
    pub(crate) fn value_at_rank(&self, rank: u64) -> f64 {
        // Half a rank below, so that rounding cannot make it the next one.
        self.0.value_at_quantile((rank as f64 - 0.5) / self.len() as f64) as f64 / 1e3
    }

    /// The same in little memory.
    pub(crate) fn sparse(&self) -> Sparse {
        let recorded = self.0.iter_recorded();
        Sparse(recorded.map(|step| (step.value_iterated_to(), step.count_since_last_iteration())).collect())
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    /// `None` if nothing was recorded.
    pub(crate) fn summary(&self) -> Option<Summary> {
        (!self.is_empty()).then(|| Summary {
            count: self.0.len(),
            min: self.0.min() as f64 / 1e3,
            mean: self.0.mean() / 1e3,
            p50: self.at(0.5),
            p90: self.at(0.9),
            p99: self.at(0.99),
            p999: self.at(0.999),
            p9999: self.at(0.9999),
            max: self.0.max() as f64 / 1e3,
        })
    }

    /// The whole histogram as text: base64 of HdrHistogram's V2 encoding, deflated, which readers in every
    /// language understand.
    pub(crate) fn encode(&self) -> String {
        let mut bytes = Vec::new();
        // Only a histogram that cannot be addressed, or a writer that fails, is refused; a Vec never fails.
        let written = V2DeflateSerializer::new().serialize(&self.0, &mut bytes);
        written.expect("a histogram of 64-bit counts fits its encoding");
        BASE64.encode(bytes)
    }

    /// Reads what [`Times::encode`], or any other HdrHistogram library, has written.
    ///
    /// # Errors
    /// What is wrong with the text, as a clause.
    pub(crate) fn decode(text: &str) -> Result<Self, String> {
        let bytes = BASE64.decode(text).map_err(|error| format!("its histogram is no base64: {error}"))?;
        let histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| format!("its histogram cannot be read: {error}"))?;
        let mut times = Self::default();
        times.0.add(&histogram).map_err(|error| format!("its histogram is of other times: {error}"))?;
        Ok(times)
    }

    /// The time below which part `quantile` of all lie, in microseconds.
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    /// The curve of latency by percentile: (one in how many takes longer, microseconds), as far as samples
    /// go.
    pub(crate) fn percentiles(&self) -> Vec<(f64, f64)> {
        const TICKS_PER_HALF: u32 = 8;
        let steps = self.0.iter_quantiles(TICKS_PER_HALF);
        let points = steps.map(|step| (step.quantile_iterated_to(), step.value_iterated_to()));
        let points = points.filter(|(quantile, _)| *quantile < 1.0);
        points.map(|(quantile, ns)| (1.0 / (1.0 - quantile), ns as f64 / 1e3)).collect()
    }

    /// How it is written to an interval log.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// Six buckets per decade, from the first that is not empty to the last.
    pub(crate) fn buckets(&self) -> Vec<Bucket> {
        const STEPS: [u64; 6] = [100, 150, 200, 300, 500, 700];
        const DECADES: u32 = 9;
        let mut edges = vec![0];
        edges.extend((0..DECADES).flat_map(|decade| STEPS.map(|step| step * 10_u64.pow(decade))));
        edges.push(u64::MAX);
        let mut buckets: Vec<Bucket> = edges
            .windows(2)
            .map(|edge| Bucket {
                from: Duration::from_nanos(edge[0]),
                to: Duration::from_nanos(edge[1]),
                count: 0,
            })
            .collect();
        for step in self.0.iter_recorded() {
            let value = step.value_iterated_to();
            let place = edges.partition_point(|&edge| edge <= value).saturating_sub(1);
            buckets[place].count += step.count_since_last_iteration();
        }
        let first = buckets.iter().position(|bucket| bucket.count > 0).unwrap_or(buckets.len());
        let end = buckets.iter().rposition(|bucket| bucket.count > 0).map_or(first, |last| last + 1);
        buckets[first..end].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(nanoseconds: impl IntoIterator<Item = u64>) -> Times {
        let mut times = Times::default();
        nanoseconds.into_iter().for_each(|time| times.record(time));
        times
    }

    #[test]
    fn quantiles_are_right_to_a_thousandth() {
        let summary = times((1..=100_000).map(|time| time * 1_000)).summary().unwrap();
        assert_eq!(summary.count, 100_000);
        for (found, expected) in [
            (summary.min, 1.0),
            (summary.mean, 50_000.5),
            (summary.p50, 50_000.0),
            (summary.p90, 90_000.0),
            (summary.p99, 99_000.0),
            (summary.p999, 99_900.0),
            (summary.p9999, 99_990.0),
            (summary.max, 100_000.0),
        ] {
            assert!((found / expected - 1.0).abs() <= 0.001, "{found} instead of {expected}");
        }
        assert_eq!(Times::default().summary(), None);
    }

    #[test]
    fn every_time_is_in_one_bucket() {
        let times = times([0, 99_999, 100_000, 100_001, 149_000, 151_000, 700_000, u64::MAX]);
        let buckets = times.buckets();
        assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 8);
        assert!(buckets.windows(2).all(|pair| pair[0].to == pair[1].from), "no gaps");
        let at = |from| buckets.iter().find(|bucket| bucket.from == Duration::from_micros(from)).unwrap();
        assert_eq!((at(150).count, at(700).count), (1, 1));
        assert_eq!(buckets.last().unwrap().from, Duration::from_secs(50));
    }

    #[test]
    fn text_holds_the_whole_histogram() {
        let before = times((0..10_000).map(|time| time * time));
        let after = Times::decode(&before.encode()).unwrap();
        assert_eq!(after.0, before.0);
        assert!(Times::decode("no base64!").is_err());
        assert!(Times::decode("AAAA").is_err(), "base64 of no histogram");
    }

    #[test]
    fn threads_add_up() {
        let mut sum = times([1_000, 2_000]);
        sum.add(&times([3_000]));
        assert_eq!(sum.summary().unwrap().count, 3);
        assert!(!sum.is_empty());
    }
}

//! What the round trips of the last samples say about the errors of the next.

use std::collections::VecDeque;

/// Round trips that are looked at.
const WINDOW: usize = 64;

/// The median of the sum of two exponential delays of mean 1, and the expected minimum of n such sums times
/// √n.
const MEDIAN: f64 = 1.678;
const MINIMUM: f64 = 1.2533;

/// So many round trips in a row make a new base, when they say so.
const RUN: usize = 8;

/// The scatter of few round trips may be far too small by chance: with this many a sample's variance is taken
/// to be twice what they suggest.
const FEW: f64 = 12.0;

/// With fewer samples than this, the scatter of the delays is not worth much.
const ENOUGH: usize = 4;

/// A normal distribution's standard deviation, in distances between its quartiles.
const QUARTILES: f64 = 1.349;

/// How clearly round trips and errors must go together, as a coefficient of correlation, before one direction
/// is taken to be busier than the other; and with how many samples. By chance alone it is 0.25.
const CORRELATED: f64 = 0.5;
const CORRELATED_FROM: usize = 16;

/// How the wait of a round trip is split between the way there and the way back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Split {
    /// Both waits are exponential, with means of `jitter` × (1 − skew) there and × (1 + skew) back.
    Exponential {
        /// Between −1 and 1.
        skew: f64,
    },
    /// Both are normal alike: the round trip says nothing about the error of its sample.
    Normal,
}

/// What a round trip says about the error that waits brought into its sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Blame {
    /// The error that is to be expected, in seconds.
    pub(super) bias: f64,
    /// Variance around it.
    pub(super) variance: f64,
}

/// Round trip = base + two waits of mean `jitter`, one per direction.
///
/// With independent exponential waits of the same mean, how the sum of both is split is uniform: a sample
/// whose round trip exceeds the base by e is off by up to ±e/2, with variance e²/12.
#[derive(Clone, Debug, Default)]
pub(super) struct Delays {
    window: VecDeque<f64>,
    /// By how much the samples of those round trips were off, when they came.
    residuals: VecDeque<f64>,
    /// How far the two go together, from −1 to 1.
    correlation: f64,
    /// Round trips, one after the other, that exceed the base by far while their offsets do not show it.
    balanced: VecDeque<f64>,
    /// Round trip when nothing waits.
    base: f64,
    /// Mean wait of one direction.
    jitter: f64,
    /// Standard deviation of the round trips, were they normal.
    deviation: f64,
}

impl Delays {
    /// Takes one more round trip, whose sample was off by `residual`.
    pub(super) fn push(&mut self, delay: f64, residual: f64) {
        if self.window.len() == WINDOW {
            self.window.pop_front();
            self.residuals.pop_front();
        }
        self.window.push_back(delay);
        self.residuals.push_back(residual);
        self.balanced.clear();
        self.drop_if_all_faster();
        self.measure();
    }

    /// A sample's round trip exceeds the base by far. If its offset is off by a part of it (`residual`), a
    /// queue in one direction is to blame, and the base is still there. If time and again it is not, both
    /// directions take longer alike: the base is another.
    pub(super) fn suspect(&mut self, delay: f64, residual: f64) {
        // With independent waits the odds of so even a split are one in four, each time.
        if residual.abs() > self.excess(delay) / 8.0 {
            return self.balanced.clear();
        }
        // A lone slow packet before the way became longer is none of the run.
        let base = self.base;
        self.balanced.retain(|earlier| (earlier - base) * 2.0 > delay - base);
        self.balanced.push_back(delay);
        if self.balanced.len() == RUN {
            self.window = std::mem::take(&mut self.balanced);
            // What made it even was that they were not.
            self.residuals = self.window.iter().map(|_| 0.0).collect();
            self.measure();
        }
    }

    /// The last few were all faster than any before: the way became shorter, and what it was like before says
    /// nothing any more.
    fn drop_if_all_faster(&mut self) {
        let Some(older) = self.window.len().checked_sub(RUN).filter(|older| *older >= RUN) else { return };
        let slowest = self.window.range(older..).copied().fold(0.0, f64::max);
        let fastest_before = self.window.range(..older).copied().fold(f64::INFINITY, f64::min);
        if slowest < fastest_before {
            self.window.drain(..older);
            self.residuals.drain(..older);
        }
    }

    fn measure(&mut self) {
        let mut sorted: Vec<f64> = self.window.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let root = (count as f64).sqrt();
        let (minimum, median) = (sorted[0], f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2]));
        self.jitter = if count < ENOUGH {
            sorted[count - 1] / 4.0
        } else {
            ((median - minimum) / (MEDIAN - MINIMUM / root)).max(minimum * 1e-3)
        };
        self.jitter = self.jitter.max(1e-9);
        let quartiles = sorted[count - 1 - count / 4] - sorted[count / 4];
        self.deviation = if count < ENOUGH { self.jitter } else { quartiles / QUARTILES };
        self.base = (minimum - MINIMUM * self.jitter / root).max(0.0);
        self.correlation = if count < CORRELATED_FROM { 0.0 } else { self.correlate() };
    }

    fn correlate(&self) -> f64 {
        let count = self.window.len() as f64;
        let mean = |of: &VecDeque<f64>| of.iter().sum::<f64>() / count;
        let (delay, residual) = (mean(&self.window), mean(&self.residuals));
        let (mut both, mut delays, mut residuals) = (0.0, 0.0, 0.0);
        for (x, y) in self.window.iter().zip(&self.residuals) {
            let (x, y) = (x - delay, y - residual);
            both += x * y;
            delays += x * x;
            residuals += y * y;
        }
        both / (delays * residuals).sqrt().max(f64::MIN_POSITIVE)
    }

    /// Whether the samples give reason to believe in a split. That one direction is busier shows where slow
    /// packets are wrong to one side and fast ones are not; a round trip that is always the same by itself
    /// tells nothing.
    pub(super) fn allows(&self, split: Split) -> bool {
        match split {
            Split::Exponential { skew } if skew != 0.0 => {
                self.correlation.abs() > CORRELATED && self.correlation * skew > 0.0
            }
            _ => true,
        }
    }

    /// How many round trips are looked at.
    pub(super) fn count(&self) -> usize {
        self.window.len()
    }

    /// What a round trip exceeds the base by.
    pub(super) fn excess(&self, delay: f64) -> f64 {
        delay - self.base
    }

    pub(super) fn base(&self) -> f64 {
        self.base
    }

    pub(super) fn jitter(&self) -> f64 {
        self.jitter
    }

    /// What a round trip says about its sample's error, if waits are split so: its excess tells, which is
    /// itself known only as well as the base.
    pub(super) fn blame(&self, delay: f64, split: Split) -> Blame {
        let count = self.window.len().max(1) as f64;
        let hedge = 1.0 + (FEW / count).powi(2);
        let base_error = 0.655 * self.jitter;
        let of_base = base_error * base_error / count / 12.0;
        match split {
            Split::Normal => {
                let variance = self.deviation * self.deviation / 4.0 + of_base;
                Blame { bias: 0.0, variance: hedge * variance }
            }
            Split::Exponential { skew } => {
                // The more unequal the waits are, the closer to the base does the fastest of them come.
                let nearer = MINIMUM * self.jitter / count.sqrt() * (1.0 - (1.0 - skew * skew).sqrt());
                let excess = self.excess(delay) - nearer;
                let steepness = 2.0 * skew * excess.max(0.0) / self.jitter / (1.0 - skew * skew);
                let (share, variance) = exponential_share(steepness);
                Blame {
                    bias: share * excess.max(0.0),
                    variance: hedge * (excess * excess * variance + of_base),
                }
            }
        }
    }
}

/// Mean and variance of a number between −½ and ½ whose density is as e^(steepness · x).
fn exponential_share(steepness: f64) -> (f64, f64) {
    if steepness.abs() < 0.1 {
        let square = steepness * steepness;
        return (steepness / 12.0, (1.0 - square / 20.0) / 12.0);
    }
    let half = steepness / 2.0;
    let sinh = half.clamp(-300.0, 300.0).sinh();
    (0.5 / half.tanh() - 1.0 / steepness, 1.0 / (steepness * steepness) - 0.25 / (sinh * sinh))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_an_exponential_is_where_integration_finds_it() {
        for steepness in [-1000.0, -40.0, -3.0, -0.2, -0.09, 0.0, 0.05, 0.11, 1.0, 7.0, 800.0] {
            let points = (0..200_000).map(|at| (f64::from(at) + 0.5) / 200_000.0 - 0.5);
            let density = |x: f64| (steepness * x - f64::abs(steepness) / 2.0).exp();
            let moment = |power: i32| points.clone().map(|x| density(x) * x.powi(power)).sum::<f64>();
            let mean = moment(1) / moment(0);
            let variance = moment(2) / moment(0) - mean * mean;
            let (share, spread) = exponential_share(steepness);
            assert!((share - mean).abs() < 1e-4, "{steepness}: {share}, {mean}");
            assert!((spread - variance).abs() < 1e-4 && spread >= 0.0, "{steepness}: {spread}, {variance}");
        }
    }

    #[test]
    fn who_believes_in_equal_waits_blames_none_and_who_does_not_one() {
        let mut delays = Delays::default();
        (0..64).for_each(|wait| delays.push(1e-3 + f64::from(wait) * 1e-5, 0.0));
        let excess = delays.excess(2e-3);
        let even = delays.blame(2e-3, Split::Exponential { skew: 0.0 });
        assert_eq!(even.bias, 0.0);
        assert!((even.variance / (excess * excess / 12.0) - 1.0).abs() < 0.1);
        let back = delays.blame(2e-3, Split::Exponential { skew: 0.9 });
        let there = delays.blame(2e-3, Split::Exponential { skew: -0.9 });
        assert!(back.bias > 0.4 * excess && back.bias < 0.5 * excess, "{back:?} of {excess}");
        assert!((back.bias + there.bias).abs() < 1e-12 && back.variance < even.variance / 10.0);
        // As fast as ever: nothing waited, and nobody is to blame.
        assert!(delays.blame(1e-3, Split::Exponential { skew: 0.9 }).bias < 2e-5);
    }

    #[test]
    fn one_way_is_busier_only_where_slow_packets_are_wrong_to_one_side() {
        let there = Split::Exponential { skew: -0.9 };
        let back = Split::Exponential { skew: 0.9 };
        let allowed = |residual: &dyn Fn(u32) -> f64| {
            let mut delays = Delays::default();
            for at in 0..64 {
                delays.push(1e-3 + f64::from(at * 37 % 64) * 1e-5, residual(at));
            }
            assert!(delays.allows(Split::Normal) && delays.allows(Split::Exponential { skew: 0.0 }));
            (delays.allows(there), delays.allows(back))
        };
        let wait = |at: u32| f64::from(at * 37 % 64) * 1e-5;
        assert_eq!(allowed(&|at| wait(at) / 2.0), (false, true));
        assert_eq!(allowed(&|at| 3e-4 - wait(at) / 2.0), (true, false));
        assert_eq!(allowed(&|at| if at % 2 == 0 { wait(at) / 2.0 } else { -wait(at) / 2.0 }), (false, false));
        assert_eq!(allowed(&|_| 1e-3), (false, false));
    }
}

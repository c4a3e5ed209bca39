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

/// Round trip = base + two exponential waits of mean `jitter`, one per direction.
///
/// With independent exponential waits, how the sum of both is split is uniform: a sample whose round trip
/// exceeds the base by e is off by up to ±e/2, with variance e²/12.
#[derive(Clone, Debug, Default)]
pub(super) struct Delays {
    window: VecDeque<f64>,
    /// Round trips, one after the other, that exceed the base by far while their offsets do not show it.
    balanced: VecDeque<f64>,
    /// Round trip when nothing waits.
    base: f64,
    /// Mean wait of one direction.
    jitter: f64,
}

impl Delays {
    /// Takes one more round trip.
    pub(super) fn push(&mut self, delay: f64) {
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(delay);
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
        self.base = (minimum - MINIMUM * self.jitter / root).max(0.0);
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

    /// Variance of the error of a sample with this round trip: by its excess, which is itself known only as
    /// well as the base.
    pub(super) fn variance(&self, delay: f64) -> f64 {
        let excess = self.excess(delay);
        let base_error = 0.655 * self.jitter;
        let count = self.window.len().max(1) as f64;
        let hedge = 1.0 + (FEW / count).powi(2);
        hedge * (excess * excess + base_error * base_error / count) / 12.0
    }
}

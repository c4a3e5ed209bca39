//! What the round trips of the last samples say about the errors of the next.

use std::collections::VecDeque;

/// Round trips that are looked at.
const WINDOW: usize = 64;

/// The median of the sum of two exponential delays of mean 1, and the expected minimum of n such sums times √n.
const MEDIAN: f64 = 1.678;
const MINIMUM: f64 = 1.2533;

/// With fewer samples than this, the scatter of the delays is not worth much.
const ENOUGH: usize = 4;

/// Round trip = base + two exponential waits of mean `jitter`, one per direction.
///
/// With independent exponential waits, how the sum of both is split is uniform: a sample whose round trip
/// exceeds the base by e is off by up to ±e/2, with variance e²/12.
#[derive(Clone, Debug, Default)]
pub(super) struct Delays {
    window: VecDeque<f64>,
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
        let mut sorted: Vec<f64> = self.window.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let root = (count as f64).sqrt();
        let (minimum, median) = (sorted[0], f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2]));
        self.jitter = if count < ENOUGH {
            delay / 4.0
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
        (excess * excess + base_error * base_error / self.window.len().max(1) as f64) / 12.0
    }
}

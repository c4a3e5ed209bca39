//! The last samples as they were measured, for root distance and for whoever asks: RFC 5905's clock filter,
//! which here filters nothing.

use std::time::Duration;

use super::units::between;
use crate::snapshot::FilterSample;

const STAGES: usize = 8;

/// The last eight samples, newest first.
#[derive(Clone, Debug)]
pub(super) struct History {
    samples: [FilterSample; STAGES],
    taken: [Duration; STAGES],
    count: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { samples: [FilterSample::EMPTY; STAGES], taken: [Duration::ZERO; STAGES], count: 0 }
    }
}

impl History {
    pub(super) fn push(&mut self, delay: f64, offset: f64, dispersion: f64, now: Duration) {
        self.samples.rotate_right(1);
        self.taken.rotate_right(1);
        self.samples[0] = FilterSample { delay, offset, dispersion };
        self.taken[0] = now;
        self.count = (self.count + 1).min(STAGES);
    }

    /// The clock was stepped by so much: what was measured before is shown as if measured after.
    pub(super) fn shift(&mut self, step: f64) {
        self.samples.iter_mut().take(self.count).for_each(|sample| sample.offset -= step);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// As shown at `now`: error bounds grow at PHI.
    pub(super) fn stages(&self, now: Duration) -> [FilterSample; STAGES] {
        let mut stages = self.samples;
        for (stage, taken) in stages.iter_mut().zip(self.taken).take(self.count) {
            stage.dispersion += super::PHI * between(now, taken).max(0.0);
        }
        stages
    }

    /// The shortest round trip.
    pub(super) fn delay(&self) -> f64 {
        self.samples[..self.count].iter().map(|sample| sample.delay).fold(f64::INFINITY, f64::min)
    }

    /// RFC 5905 §10: the error bounds, each counting half of the one before.
    pub(super) fn dispersion(&self, now: Duration) -> f64 {
        self.stages(now).iter().rev().fold(0.0, |sum, stage| (sum + stage.dispersion) / 2.0)
    }

    /// RFC 5905 §10: the root mean square of the differences to the sample with the shortest round trip.
    pub(super) fn jitter(&self) -> f64 {
        let samples = &self.samples[..self.count];
        let Some(best) = samples.iter().min_by(|a, b| a.delay.total_cmp(&b.delay)) else { return 0.0 };
        let squares: f64 = samples.iter().map(|sample| (sample.offset - best.offset).powi(2)).sum();
        (squares / (self.count - 1).max(1) as f64).sqrt()
    }
}

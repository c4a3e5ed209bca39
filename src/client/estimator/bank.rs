//! A bank of Kalman filters, mixed by likelihood: multiple-model adaptive estimation.
//!
//! A clock's oscillator may wander by a part in 1e10 or in 1e6 per √s, and the network's noise be what the
//! round trips say or less. One direction may be busier than the other, which makes slow packets wrong to one
//! side. Each filter of the bank believes one combination; whoever predicts the samples best gets the most
//! weight. The filters never mix with each other.

use std::collections::VecDeque;

use super::delays::{Blame, Delays, Split};
use super::{Estimate, Estimator, Sample, Verdict};

/// Random walk of the frequency that filters believe in: from 1e-10 per √s, in half decades.
const WANDERS: usize = 9;
const LEAST_WANDER: f64 = 1e-10;

/// What crystals do, as a decade: a filter that believes in more needs evidence for it. Samples far apart and
/// noisy hardly tell filters apart, and without this those that believe in anything get half the weight.
const USUAL_WANDER: f64 = -9.0;

/// How filters believe that waits are split between the two ways.
const SPLITS: [Split; 8] = [
    Split::Exponential { skew: 0.0 },
    Split::Normal,
    Split::Exponential { skew: -0.5 },
    Split::Exponential { skew: 0.5 },
    Split::Exponential { skew: -0.85 },
    Split::Exponential { skew: 0.85 },
    Split::Exponential { skew: -0.99 },
    Split::Exponential { skew: 0.99 },
];

/// What filters believe of the network, as an index of [`SPLITS`]; how much of the noise that it suggests
/// they believe in; and their log likelihood before any evidence.
const NETWORKS: [(usize, f64, f64); 10] = [
    (0, 0.5, 0.0),
    (0, 1.0, 0.0),
    (0, 2.0, 0.0),
    (1, 1.0, -1.0),
    (2, 1.0, -2.0),
    (3, 1.0, -2.0),
    (4, 1.0, -3.0),
    (5, 1.0, -3.0),
    (6, 1.0, -3.0),
    (7, 1.0, -3.0),
];

/// What a filter's likelihood keeps of its past per sample.
const MEMORY: f64 = 0.99;

/// No filter falls further behind the best than e^-20, so that each can come back.
const FLOOR: f64 = 20.0;

/// Samples further off than five standard deviations are rejected, at most four in a row.
const GATE: f64 = 25.0;
const REJECTED_MAX: u32 = 4;

/// With fewer samples than this it is the estimate that is doubted first: only one is rejected.
const YOUNG: u32 = 10;

/// Samples whose round trip shows congestion are rejected, so many in a row at most, once there are enough
/// round trips to tell.
const CONGESTED_MAX: u32 = 40;
const CONGESTION_FROM: usize = 16;

/// How well the frequency is known at first: an oscillator's tolerance, or a drift file's age.
const FREQUENCY_TOLERANCE: f64 = 1.5e-4;
const DRIFT_TOLERANCE: f64 = 1e-6;

/// How many of the last samples' variances are averaged.
const RECENT: usize = 8;

#[derive(Clone, Debug)]
struct Filter {
    wander: f64,
    /// Which of [`SPLITS`] it believes in.
    split: usize,
    noise_scale: f64,
    /// Log likelihood before any evidence.
    prior: f64,
    error: f64,
    frequency: f64,
    p11: f64,
    p12: f64,
    p22: f64,
    likelihood: f64,
}

impl Filter {
    fn new(wander: f64, (split, noise_scale, likelihood): (usize, f64, f64), tolerance: f64) -> Self {
        let prior = likelihood - (wander.log10() - USUAL_WANDER).max(0.0).powi(2);
        Self {
            wander,
            split,
            noise_scale,
            prior,
            error: 0.0,
            frequency: 0.0,
            p11: 0.0,
            p12: 0.0,
            p22: tolerance * tolerance,
            likelihood: prior,
        }
    }

    fn advance(&mut self, dt: f64, phase: f64) {
        let q = self.wander * self.wander;
        self.error += self.frequency * dt + phase;
        self.p11 += dt * (2.0 * self.p12 + dt * self.p22) + q * dt * dt * dt / 3.0;
        self.p12 += dt * self.p22 + q * dt * dt / 2.0;
        self.p22 += q * dt;
    }

    fn update(&mut self, error: f64, blame: Blame) {
        let residual = error - blame.bias - self.error;
        let s = self.p11 + self.noise_scale * blame.variance;
        let (k1, k2) = (self.p11 / s, self.p12 / s);
        self.error += k1 * residual;
        self.frequency += k2 * residual;
        let p12 = self.p12;
        self.p11 -= k1 * self.p11;
        self.p12 -= k1 * p12;
        self.p22 -= k2 * p12;
        let evidence = -0.5 * (residual * residual / s + s.ln());
        self.likelihood = MEMORY * self.likelihood + (1.0 - MEMORY) * self.prior + evidence;
    }
}

/// The estimator of one source.
#[derive(Clone, Debug)]
pub struct KalmanBank {
    filters: Vec<Filter>,
    delays: Delays,
    /// Variances of the last samples.
    recent: VecDeque<f64>,
    samples: u32,
    rejected: u32,
    congested: u32,
    /// True seconds since the last sample that was taken.
    since_accepted: f64,
    /// Nothing is known about the phase: the next sample sets it.
    phase_unknown: bool,
}

impl KalmanBank {
    /// An estimator that knows nothing but, if so, that the clock's rate is corrected by a drift file.
    pub fn new(frequency_known: bool) -> Self {
        let tolerance = if frequency_known { DRIFT_TOLERANCE } else { FREQUENCY_TOLERANCE };
        let wander = |step: usize| LEAST_WANDER * 10_f64.powf(step as f64 / 2.0);
        Self {
            filters: (0..WANDERS)
                .flat_map(|step| NETWORKS.map(|network| Filter::new(wander(step), network, tolerance)))
                .collect(),
            delays: Delays::default(),
            recent: VecDeque::new(),
            samples: 0,
            rejected: 0,
            congested: 0,
            since_accepted: 0.0,
            phase_unknown: true,
        }
    }

    /// The filters that there is reason to believe in, and how much.
    fn weights(&self) -> impl Iterator<Item = (f64, &Filter)> {
        let allowed = SPLITS.map(|split| self.delays.allows(split));
        let believed = move || self.filters.iter().filter(move |filter| allowed[filter.split]);
        let best = believed().map(|filter| filter.likelihood).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = believed().map(|filter| (filter.likelihood - best).exp()).sum();
        believed().map(move |filter| ((filter.likelihood - best).exp() / total, filter))
    }

    /// The first sample says where the clock is; nothing says yet how fast it moves.
    fn start(&mut self, sample: Sample) {
        for filter in &mut self.filters {
            filter.error = sample.error;
            filter.p11 = sample.delay * sample.delay / 12.0 + sample.stamp_error * sample.stamp_error;
            filter.p12 = 0.0;
        }
        self.phase_unknown = false;
        self.accepted(1);
    }

    /// What each of [`SPLITS`] makes of a sample's round trip.
    fn blames(&self, sample: Sample) -> [Blame; SPLITS.len()] {
        SPLITS.map(|split| {
            let blame = self.delays.blame(sample.delay, split);
            Blame { variance: blame.variance + sample.stamp_error * sample.stamp_error, ..blame }
        })
    }

    /// What they make of it together.
    fn mean_blame(&self, blames: &[Blame; SPLITS.len()]) -> Blame {
        self.weights().fold(Blame::default(), |mean, (weight, filter)| Blame {
            bias: mean.bias + weight * blames[filter.split].bias,
            variance: mean.variance + weight * blames[filter.split].variance,
        })
    }

    fn accepted(&mut self, samples: u32) {
        self.samples = samples;
        self.rejected = 0;
        self.congested = 0;
        self.since_accepted = 0.0;
    }

    /// Too many samples in a row did not fit: whatever moved, start from what they say, and let every filter
    /// explain it its own way.
    fn widen(&mut self, residual: f64) {
        let rate = residual / self.since_accepted.max(1.0);
        for filter in &mut self.filters {
            filter.p11 += residual * residual;
            filter.p22 += (rate * rate).min(1e-7);
            filter.likelihood = filter.prior;
        }
    }

    fn is_congested(&self, delay: f64, estimate: &Estimate) -> bool {
        let jitter = 2.0 * self.delays.jitter();
        // A queue lasts: while there is one, shorter waits are its doing too.
        let patience = if self.congested < 2 { 5.0 } else { 2.5 };
        let expected = (estimate.error_variance + jitter * jitter / 12.0).sqrt();
        self.delays.count() >= CONGESTION_FROM
            && self.congested < CONGESTED_MAX
            && self.delays.excess(delay) / 2.0 > patience * expected
    }
}

impl Estimator for KalmanBank {
    fn advance(&mut self, elapsed: f64, phase: f64) {
        self.filters.iter_mut().for_each(|filter| filter.advance(elapsed, phase));
        self.since_accepted += elapsed;
    }

    fn change_frequency(&mut self, change: f64) {
        self.filters.iter_mut().for_each(|filter| filter.frequency += change);
    }

    fn forget_phase(&mut self) {
        self.phase_unknown = true;
        self.samples = 0;
    }

    fn update(&mut self, sample: Sample) -> Verdict {
        let estimate = self.estimate();
        if !self.phase_unknown && self.is_congested(sample.delay, &estimate) {
            self.congested += 1;
            self.delays.suspect(sample.delay, sample.error - estimate.error);
            return Verdict::Congested;
        }
        let residual = if self.phase_unknown { 0.0 } else { sample.error - estimate.error };
        self.delays.push(sample.delay, residual);
        let blames = self.blames(sample);
        let Blame { bias, variance } = self.mean_blame(&blames);
        let residual = sample.error - bias - estimate.error;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(variance);
        if self.phase_unknown {
            self.start(sample);
            return Verdict::Accepted;
        }
        let fits = residual * residual <= GATE * (estimate.error_variance + variance);
        if !fits {
            self.rejected += 1;
            let patience = if self.samples < YOUNG { 1 } else { REJECTED_MAX };
            if self.rejected <= patience {
                return Verdict::Doubtful;
            }
            self.widen(residual);
        }
        self.filters.iter_mut().for_each(|filter| filter.update(sample.error, blames[filter.split]));
        let best = self.filters.iter().map(|filter| filter.likelihood).fold(f64::NEG_INFINITY, f64::max);
        for filter in &mut self.filters {
            filter.likelihood = (filter.likelihood - best).max(-FLOOR);
        }
        self.accepted(if fits { self.samples.saturating_add(1) } else { 1 });
        if fits { Verdict::Accepted } else { Verdict::Restarted }
    }

    fn estimate(&self) -> Estimate {
        let (mut error, mut frequency) = (0.0, 0.0);
        for (weight, filter) in self.weights() {
            error += weight * filter.error;
            frequency += weight * filter.frequency;
        }
        let (mut error_variance, mut frequency_variance) = (0.0, 0.0);
        for (weight, filter) in self.weights() {
            let (apart, rate_apart) = (filter.error - error, filter.frequency - frequency);
            error_variance += weight * (filter.p11 + apart * apart);
            frequency_variance += weight * (filter.p22 + rate_apart * rate_apart);
        }
        Estimate { error, frequency, error_variance, frequency_variance }
    }

    fn samples(&self) -> u32 {
        self.samples
    }

    fn growth(&self, seconds: f64) -> f64 {
        self.weights()
            .map(|(weight, filter)| {
                let wandered = filter.wander * filter.wander * seconds / 3.0 + filter.p22;
                weight * wandered * seconds * seconds
            })
            .sum::<f64>()
            .sqrt()
    }

    fn noise(&self) -> f64 {
        (self.recent.iter().sum::<f64>() / self.recent.len().max(1) as f64).sqrt()
    }

    fn base_delay(&self) -> f64 {
        self.delays.base()
    }
}

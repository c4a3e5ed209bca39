//! What a run, and what many runs, come to.

use crate::parallel;
use crate::run::{Record, Run};
use crate::scenario::Scenario;

/// Statistics begin here, in seconds: by then every client has settled.
pub const SETTLED: usize = 10_000;

/// What one run comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The seed that brings it back.
    pub seed: u64,
    /// Root mean square of the error after [`SETTLED`], in seconds.
    pub rms: f64,
    /// The largest error after [`SETTLED`].
    pub worst: f64,
    /// Root mean square of the clock's rate after [`SETTLED`], slews included.
    pub frequency: f64,
    /// Seconds per packet.
    pub interval: f64,
    /// From when on the error stays below a millisecond.
    pub below_millisecond: f64,
}

/// Root mean square.
pub fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|value| value * value).sum::<f64>() / values.len().max(1) as f64).sqrt()
}

/// The middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    if count == 0 {
        return f64::NAN;
    }
    f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2])
}

/// The longest run of errors above `threshold`, in seconds.
pub fn longest_astray(errors: &[f64], threshold: f64) -> usize {
    let mut longest = 0;
    let mut present = 0;
    for error in errors {
        present = if error.abs() > threshold { present + 1 } else { 0 };
        longest = longest.max(present);
    }
    longest
}

impl Summary {
    /// Of one run.
    pub fn of(record: &Record, seed: u64) -> Self {
        let settled = &record.errors[SETTLED.min(record.errors.len())..];
        let late = record.errors.iter().rposition(|error| error.abs() >= 1e-3);
        Self {
            seed,
            rms: rms(settled),
            worst: settled.iter().fold(0.0, |worst, error| f64::max(worst, error.abs())),
            frequency: rms(&record.rates[SETTLED.min(record.rates.len())..]),
            interval: record.errors.len() as f64 / record.sent.len().max(1) as f64,
            below_millisecond: late.map_or(0.0, |at| at as f64 + 1.0),
        }
    }
}

/// What the runs of one scenario come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// Each run, in the order of the seeds.
    pub runs: Vec<Summary>,
    /// The seeds of those that diverged.
    pub diverged: Vec<u64>,
}

/// A run diverged that was further off than so many times the scenario's median, for longer than so many
/// seconds.
const ASTRAY: (f64, usize) = (10.0, 600);

impl Survey {
    /// Runs `scenario` with all of these seeds.
    pub fn new(scenario: &Scenario, seeds: &[u64]) -> Self {
        let runs = parallel(seeds, |seed| Summary::of(&Run::new(scenario, *seed).finish(), *seed));
        let (factor, longest) = ASTRAY;
        let threshold = factor * median(runs.iter().map(|run| run.rms));
        let is_astray = |seed: u64| {
            let errors = Run::new(scenario, seed).finish().errors;
            longest_astray(&errors[SETTLED.min(errors.len())..], threshold) > longest
        };
        // Who was never further off needs no second look.
        let suspects = runs.iter().filter(|run| run.worst > threshold).map(|run| run.seed);
        let diverged = suspects.filter(|seed| is_astray(*seed)).collect();
        Self { runs, diverged }
    }

    /// The median of some figure over the first `count` runs.
    pub fn median(&self, count: usize, of: fn(&Summary) -> f64) -> f64 {
        median(self.runs.iter().take(count).map(of))
    }
}

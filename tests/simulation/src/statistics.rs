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
    /// The longest time that the error stays above the threshold asked for, after [`SETTLED`].
    pub astray: usize,
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
    /// Of one run; `threshold` is the error above which it is astray.
    pub fn of(record: &Record, seed: u64, threshold: f64) -> Self {
        let settled = &record.errors[SETTLED.min(record.errors.len())..];
        let late = record.errors.iter().rposition(|error| error.abs() >= 1e-3);
        Self {
            seed,
            rms: rms(settled),
            worst: settled.iter().fold(0.0, |worst, error| f64::max(worst, error.abs())),
            frequency: rms(&record.rates[SETTLED.min(record.rates.len())..]),
            interval: record.errors.len() as f64 / record.sent.len().max(1) as f64,
            below_millisecond: late.map_or(0.0, |at| at as f64 + 1.0),
            astray: longest_astray(settled, threshold),
        }
    }
}

/// Runs a scenario with all of these seeds.
pub fn survey(scenario: &Scenario, seeds: &[u64], threshold: f64) -> Vec<Summary> {
    parallel(seeds, |seed| Summary::of(&Run::new(scenario, *seed).finish(), *seed, threshold))
}

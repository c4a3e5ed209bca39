//! RFC 5905 §11.2.3: one estimate from all survivors.

use super::estimator::Estimate;
use super::select::Candidate;

/// How much of a path's round trip could hide in its asymmetry, typically.
const ASYMMETRY: f64 = 0.1;

/// What the survivors together say about the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Combined {
    pub(super) estimate: Estimate,
    /// Whether the frequency in it is worth anything.
    pub(super) has_frequency: bool,
    /// Scatter of the survivors around it.
    pub(super) jitter: f64,
}

/// Weighs each survivor's phase by how uncertain it is, what its path may hide included: a far source with
/// many samples must not outvote a near one. Frequencies suffer from no asymmetry.
pub(super) fn combine(candidates: &[Candidate], survivors: &[usize]) -> Combined {
    let survivors = || survivors.iter().map(|at| &candidates[*at]);
    let weight = |candidate: &Candidate| {
        let hidden = ASYMMETRY * candidate.path / 2.0;
        let variance =
            candidate.estimate.error_variance + hidden * hidden + candidate.dispersion * candidate.dispersion;
        1.0 / variance.max(1e-24)
    };
    let total: f64 = survivors().map(weight).sum();
    let mean = |of: &dyn Fn(&Candidate) -> f64| survivors().map(|c| weight(c) * of(c)).sum::<f64>() / total;
    let error = mean(&|candidate| candidate.estimate.error);
    let error_variance = survivors()
        .map(|candidate| (weight(candidate) / total).powi(2) * candidate.estimate.error_variance)
        .sum();
    let jitter = mean(&|candidate| (candidate.estimate.error - error).powi(2)).sqrt();

    let with_frequency = || survivors().filter(|candidate| candidate.has_frequency);
    let weight = |candidate: &Candidate| 1.0 / candidate.estimate.frequency_variance.max(1e-30);
    let total: f64 = with_frequency().map(weight).sum();
    let has_frequency = total > 0.0;
    let frequency = if has_frequency {
        with_frequency().map(|candidate| weight(candidate) * candidate.estimate.frequency).sum::<f64>()
            / total
    } else {
        0.0
    };
    let frequency_variance = if has_frequency { 1.0 / total } else { f64::INFINITY };
    Combined {
        estimate: Estimate { error, frequency, error_variance, frequency_variance },
        has_frequency,
        jitter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(error: f64, error_variance: f64, path: f64) -> Candidate {
        Candidate {
            estimate: Estimate { error, frequency: error, error_variance, frequency_variance: 1e-16 },
            has_frequency: true,
            distance: 0.01,
            path,
            dispersion: 0.0,
            jitter: 1e-4,
            stratum: 2,
            is_preferred: false,
            is_truechimer: false,
        }
    }

    #[test]
    fn a_far_source_with_many_samples_does_not_outvote_a_near_one() {
        let near = candidate(1e-5, 1e-10, 2e-4);
        let far = candidate(2e-3, 1e-14, 0.04);
        let combined = combine(&[near, far], &[0, 1]);
        assert!((combined.estimate.error - 1e-5).abs() < 1e-6, "{combined:?}");
        // The frequency of both counts alike.
        assert!((combined.estimate.frequency - 1.005e-3).abs() < 1e-9);
    }

    #[test]
    fn equals_are_averaged_and_only_survivors_count() {
        let all = [candidate(1e-4, 1e-10, 0.0), candidate(3e-4, 1e-10, 0.0), candidate(9.0, 1e-20, 0.0)];
        let combined = combine(&all, &[0, 1]);
        assert!((combined.estimate.error - 2e-4).abs() < 1e-12);
        assert!((combined.jitter - 1e-4).abs() < 1e-12);
        assert!((combined.estimate.error_variance - 0.5e-10).abs() < 1e-20);
    }

    #[test]
    fn without_anybody_s_frequency_there_is_none() {
        let young = Candidate { has_frequency: false, ..candidate(1e-4, 1e-10, 0.0) };
        let combined = combine(&[young], &[0]);
        assert!(!combined.has_frequency && combined.estimate.frequency == 0.0);
    }
}

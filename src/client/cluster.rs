//! RFC 5905 §11.2.2: of those that agree, the ones that agree best.

use super::select::Candidate;

/// What the cluster algorithm leaves of `members`, indices into `candidates`, the best first.
///
/// As long as somebody's distance to the others exceeds what every one of them scatters by itself, the
/// outermost goes; `minclock` always stay.
pub(super) fn survivors(candidates: &[Candidate], members: &[usize], minclock: usize) -> Vec<usize> {
    let mut members = members.to_vec();
    // A low stratum counts more than any distance that can be selected.
    let merit = |at: usize| f64::from(candidates[at].stratum) * 16.0 + candidates[at].distance;
    members.sort_by(|a, b| merit(*a).total_cmp(&merit(*b)));
    while members.len() > minclock.max(1) {
        let spread = |at: usize| {
            let apart = members.iter().map(|other| {
                let apart = candidates[at].estimate.error - candidates[*other].estimate.error;
                apart * apart
            });
            (apart.sum::<f64>() / (members.len() - 1) as f64).sqrt()
        };
        let least_jitter = members.iter().map(|at| candidates[*at].jitter).fold(f64::INFINITY, f64::min);
        let removable = members.iter().enumerate().filter(|(_, at)| {
            let candidate = &candidates[**at];
            !candidate.is_preferred && !candidate.is_truechimer
        });
        let outermost = removable
            .map(|(place, at)| (place, spread(*at)))
            // Of equals, the later one, which is the worse one.
            .max_by(|a, b| a.1.total_cmp(&b.1));
        match outermost {
            Some((place, spread)) if spread > least_jitter => members.remove(place),
            _ => break,
        };
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::estimator::Estimate;

    fn candidate(error: f64, jitter: f64) -> Candidate {
        Candidate {
            estimate: Estimate { error, ..Estimate::default() },
            has_frequency: true,
            distance: 0.01,
            path: 0.001,
            dispersion: 0.0,
            jitter,
            stratum: 2,
            is_preferred: false,
            is_truechimer: false,
        }
    }

    #[test]
    fn outliers_go_as_long_as_there_are_enough_others() {
        let candidates: Vec<_> = [0.0, 1e-5, 5e-3, -1e-5, 2e-5].map(|error| candidate(error, 1e-4)).to_vec();
        let all = [0, 1, 2, 3, 4];
        assert_eq!(survivors(&candidates, &all, 3), [0, 1, 3, 4]);
        assert_eq!(survivors(&candidates, &all, 5), all);
        let noisy: Vec<_> = candidates.iter().map(|c| Candidate { jitter: 1e-2, ..*c }).collect();
        assert_eq!(survivors(&noisy, &all, 3), all, "they scatter more than they differ");
        let mut preferred = candidates;
        preferred[2].is_preferred = true;
        assert!(survivors(&preferred, &all, 3).contains(&2));
    }

    #[test]
    fn the_best_comes_first_by_stratum_then_by_distance() {
        let mut candidates = [candidate(0.0, 1e-4), candidate(0.0, 1e-4), candidate(0.0, 1e-4)];
        candidates[0].stratum = 3;
        candidates[2].distance = 0.001;
        assert_eq!(survivors(&candidates, &[0, 1, 2], 3), [2, 1, 0]);
    }
}

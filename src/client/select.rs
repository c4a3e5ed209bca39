//! RFC 5905 §11.2.1: which sources can all be right at once. A minority of liars never moves the clock.

use super::estimator::Estimate;

/// A source that could be followed, as of one instant common to all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// What it says about the clock.
    pub(super) estimate: Estimate,
    /// The frequency in it is worth something.
    pub(super) has_frequency: bool,
    /// Root distance: what its `error` can be off by, in seconds.
    pub(super) distance: f64,
    /// Base of the round trip and root delay, in seconds: what asymmetry could hide.
    pub(super) path: f64,
    /// The source's own root dispersion, grown to this instant.
    pub(super) dispersion: f64,
    /// Scatter of its samples.
    pub(super) jitter: f64,
    pub(super) stratum: u8,
    /// `prefer`
    pub(super) is_preferred: bool,
    /// `true`
    pub(super) is_truechimer: bool,
}

/// The indices of those that agree, in the order of `candidates`. None if there is no majority: the largest
/// number of correctness intervals with a point in common must exceed half of them.
pub(super) fn truechimers(candidates: &[Candidate], mindist: f64) -> Vec<usize> {
    let interval = |candidate: &Candidate| {
        let (middle, half) = (candidate.estimate.error, candidate.distance.max(mindist));
        (middle - half, middle + half)
    };
    let Some((low, high)) = intersection(&candidates.iter().map(interval).collect::<Vec<_>>()) else {
        return indices(candidates, |candidate| candidate.is_truechimer);
    };
    indices(candidates, |candidate| {
        let (lower, upper) = interval(candidate);
        candidate.is_truechimer || (lower <= high && upper >= low)
    })
}

fn indices(candidates: &[Candidate], is_wanted: impl Fn(&Candidate) -> bool) -> Vec<usize> {
    candidates.iter().enumerate().filter(|(_, candidate)| is_wanted(candidate)).map(|(at, _)| at).collect()
}

/// The smallest interval that holds points of at least m − f of the m intervals, for the least number f of
/// falsetickers below m/2. RFC 5905 asks for the midpoints too: no more than f may lie outside.
fn intersection(intervals: &[(f64, f64)]) -> Option<(f64, f64)> {
    let count = intervals.len();
    let mut edges: Vec<(f64, i32)> = intervals
        .iter()
        .flat_map(|(low, high)| [(*low, -1), (f64::midpoint(*low, *high), 0), (*high, 1)])
        .collect();
    // At the same place an interval begins before another one ends.
    edges.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    for liars in (0..count).take_while(|liars| 2 * liars < count) {
        let needed = i32::try_from(count - liars).ok()?;
        let mut outside = 0;
        let mut inside = 0;
        let low = edges.iter().find_map(|(at, kind)| {
            inside -= kind;
            outside += usize::from(*kind == 0 && inside < needed);
            (inside >= needed).then_some(*at)
        });
        let mut inside = 0;
        let high = edges.iter().rev().find_map(|(at, kind)| {
            inside += kind;
            outside += usize::from(*kind == 0 && inside < needed);
            (inside >= needed).then_some(*at)
        });
        if let (Some(low), Some(high)) = (low, high)
            && low <= high
            && outside <= liars
        {
            return Some((low, high));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(error: f64, distance: f64) -> Candidate {
        Candidate {
            estimate: Estimate { error, error_variance: 1e-8, ..Estimate::default() },
            has_frequency: true,
            distance,
            path: 0.001,
            dispersion: 0.0,
            jitter: 1e-4,
            stratum: 2,
            is_preferred: false,
            is_truechimer: false,
        }
    }

    fn select(sources: &[(f64, f64)]) -> Vec<usize> {
        let candidates: Vec<_> =
            sources.iter().map(|(error, distance)| candidate(*error, *distance)).collect();
        truechimers(&candidates, 0.001)
    }

    #[test]
    fn c18_one_liar_among_three_is_found_and_without_majority_nobody_is_believed() {
        assert_eq!(select(&[(0.0, 0.01), (5.0, 0.01), (0.002, 0.01)]), [0, 2]);
        assert_eq!(select(&[(0.0, 0.01), (86_400.0, 0.01), (0.002, 0.01)]), [0, 2]);
        assert_eq!(select(&[(0.0, 0.01), (5.0, 0.01)]), [] as [usize; 0], "one against one");
        assert_eq!(select(&[(0.0, 0.01), (5.0, 0.01), (-5.0, 0.01)]), [] as [usize; 0]);
        assert_eq!(select(&[(0.0, 0.01), (0.001, 0.01), (5.0, 0.01), (5.001, 0.01)]), [] as [usize; 0]);
        assert_eq!(select(&[(3.0, 0.01)]), [0], "a single source is all there is");
        assert_eq!(select(&[]), [] as [usize; 0]);
    }

    #[test]
    fn a_wide_interval_agrees_with_everybody_and_decides_nothing() {
        assert_eq!(select(&[(0.0, 1.0), (0.5, 0.01), (0.52, 0.01)]), [0, 1, 2]);
    }

    #[test]
    fn mindist_lets_sources_agree_that_are_a_little_apart() {
        assert_eq!(select(&[(0.0, 1e-5), (0.0009, 1e-5)]), [0, 1]);
        assert_eq!(select(&[(0.0, 1e-5), (0.0031, 1e-5)]), [] as [usize; 0]);
    }

    #[test]
    fn a_source_marked_true_is_believed_even_alone() {
        let mut candidates = [candidate(0.0, 0.01), candidate(0.001, 0.01), candidate(7.0, 0.01)];
        candidates[2].is_truechimer = true;
        assert_eq!(truechimers(&candidates, 0.001), [0, 1, 2]);
    }

    proptest! {
        /// Honest sources hold the truth in their intervals. With more of them than of others, whatever those
        /// say, they survive.
        #[test]
        fn an_honest_majority_survives_any_minority(
            honest in prop::collection::vec((-1.0..1.0_f64, 0.001..2.0_f64), 3..10),
            liars in prop::collection::vec((-1e9..1e9_f64, 0.001..2.0_f64), 0..10),
        ) {
            // The midpoints of honest sources need not be near each other; RFC 5905's rule on midpoints may
            // then find no majority. Near ones always make one.
            let honest: Vec<_> = honest.iter().map(|(_, half)| (0.0005 * half, *half)).collect();
            let liars = &liars[..liars.len().min(honest.len() - 1)];
            let all: Vec<_> = honest.iter().chain(liars).copied().collect();
            let survivors = select(&all);
            prop_assert!((0..honest.len()).all(|at| survivors.contains(&at)), "{survivors:?}");
        }

        #[test]
        fn nothing_panics(sources in prop::collection::vec((any::<f64>(), any::<f64>()), 0..12)) {
            select(&sources);
        }
    }
}

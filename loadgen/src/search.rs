//! The search for the highest rate that keeps a limit: which rate to try next, given what was tried.
//!
//! Rates grow geometrically until one fails, then the gap is halved (geometrically too) until it is narrow.
//! One trial is no proof in either direction: [`Proof`] says what is. Where trials vote, both edges of the
//! last gap, and the end of the ramp, are tried until one verdict has enough of them; a verdict that falls
//! moves the gap.

use std::collections::BTreeMap;

/// Where to look, and how closely.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The first rate, requests per second.
    pub(crate) from: u64,
    /// The highest rate that is tried.
    pub(crate) to: u64,
    /// Factor from one rate of the ramp to the next.
    pub(crate) growth: f64,
    /// The search ends when the lowest rate that fails is at most this part above the highest that does not.
    pub(crate) resolution: f64,
    pub(crate) proof: Proof,
}

/// How trials of one rate that disagree are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The most votes count, once one verdict has so many.
    Majority(u32),
    /// One of so many trials that keeps the limit is enough: what disturbs the others is the machine, which
    /// stands still now and then, and not the server.
    Any(u32),
}

/// What one trial says about its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The server kept the limit.
    Kept,
    /// It did not.
    Broken,
    /// The generator could not offer the rate, or lost replies itself: nothing is known of the server, but
    /// higher rates are out of reach too.
    Generator,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A trial at this rate.
    Try(u64),
    /// The search is over.
    End(Found),
}

/// What the search has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The highest rate that keeps the limit, if any does.
    pub(crate) rate: Option<u64>,
    /// Why it is not higher.
    pub(crate) ceiling: Ceiling,
}

/// What ends a ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ceiling {
    /// The server.
    Server,
    /// The generator: the server may be able to do more.
    Generator,
    /// [`Bounds::to`]: the server may be able to do more.
    Bound,
}

/// No search goes below this rate.
const LOWEST: u64 = 10;

/// The next step after `trials`, in any order.
pub(crate) fn next(bounds: &Bounds, trials: &[(u64, Verdict)]) -> Step {
    let mut votes: BTreeMap<u64, Votes> = BTreeMap::new();
    for &(rate, verdict) in trials {
        votes.entry(rate).or_default().add(verdict);
    }
    if let Proof::Any(tries) = bounds.proof
        && let Some((&rate, _)) = votes.iter().find(|(_, votes)| votes.kept == 0 && votes.failed() < tries)
    {
        return Step::Try(rate);
    }
    let failing = votes.iter().find(|(_, votes)| votes.fails(bounds.proof));
    let below = failing.map_or(u64::MAX, |(&rate, _)| rate);
    let keeping = votes.range(..below).next_back();
    match (keeping, failing) {
        (None, None) => Step::Try(bounds.from.min(bounds.to)),
        (Some(keeping), None) => ramp(bounds, keeping),
        (None, Some(failing)) => descend(bounds, failing),
        (Some(keeping), Some(failing)) => narrow(bounds, keeping, failing),
    }
}

fn ramp(bounds: &Bounds, (&rate, votes): (&u64, &Votes)) -> Step {
    if rate < bounds.to {
        let higher = (rate as f64 * bounds.growth) as u64;
        Step::Try(higher.clamp(rate + 1, bounds.to))
    } else if votes.is_decided(bounds.proof) {
        Step::End(Found { rate: Some(rate), ceiling: Ceiling::Bound })
    } else {
        Step::Try(rate)
    }
}

/// Even the lowest rate tried so far fails.
fn descend(bounds: &Bounds, (&rate, votes): (&u64, &Votes)) -> Step {
    if !votes.is_decided(bounds.proof) {
        Step::Try(rate)
    } else if rate <= LOWEST {
        Step::End(Found { rate: None, ceiling: votes.ceiling() })
    } else {
        Step::Try(((rate as f64 / bounds.growth.powi(2)) as u64).max(LOWEST))
    }
}

fn narrow(bounds: &Bounds, (&low, low_votes): (&u64, &Votes), (&high, high_votes): (&u64, &Votes)) -> Step {
    let gap = high as f64 / low as f64;
    // A hiccup on the ramp would send the whole search to the wrong place.
    let ends_ramp = gap >= bounds.growth * 0.99;
    let middle = (low as f64 * gap.sqrt()) as u64;
    let is_narrow = gap <= 1.0 + bounds.resolution || middle <= low;
    if (ends_ramp || is_narrow) && !high_votes.is_decided(bounds.proof) {
        Step::Try(high)
    } else if !is_narrow {
        Step::Try(middle)
    } else if !low_votes.is_decided(bounds.proof) {
        Step::Try(low)
    } else {
        Step::End(Found { rate: Some(low), ceiling: high_votes.ceiling() })
    }
}

/// What the trials at one rate say.
#[derive(Clone, Copy, Debug, Default)]
struct Votes {
    kept: u32,
    broken: u32,
    generator: u32,
}

impl Votes {
    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Kept => self.kept += 1,
            Verdict::Broken => self.broken += 1,
            Verdict::Generator => self.generator += 1,
        }
    }

    fn failed(self) -> u32 {
        self.broken + self.generator
    }

    /// In doubt it does.
    fn fails(self, proof: Proof) -> bool {
        match proof {
            Proof::Majority(_) => self.failed() >= self.kept,
            Proof::Any(_) => self.kept == 0,
        }
    }

    fn is_decided(self, proof: Proof) -> bool {
        match proof {
            Proof::Majority(votes) => self.kept.max(self.failed()) >= votes && self.kept != self.failed(),
            Proof::Any(tries) => self.kept > 0 || self.failed() >= tries,
        }
    }

    fn ceiling(self) -> Ceiling {
        if self.generator > self.broken { Ceiling::Generator } else { Ceiling::Server }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { from: 1_000, to: 10_000_000, growth: 2.0, resolution: 0.02, proof: Proof::Majority(2) };

    /// Searches a server whose verdict on the n-th trial, at some rate, is `verdict`.
    fn search(bounds: &Bounds, verdict: impl Fn(usize, u64) -> Verdict) -> (Found, Vec<(u64, Verdict)>) {
        let mut trials = Vec::new();
        loop {
            match next(bounds, &trials) {
                Step::Try(rate) => trials.push((rate, verdict(trials.len(), rate))),
                Step::End(found) => return (found, trials),
            }
            assert!(trials.len() < 100, "it ends");
        }
    }

    fn capacity(limit: u64) -> impl Fn(usize, u64) -> Verdict {
        move |_, rate| if rate <= limit { Verdict::Kept } else { Verdict::Broken }
    }

    #[test]
    fn the_highest_rate_is_found_to_the_resolution() {
        for limit in [10, 37, 999, 1_000, 1_001, 54_321, 260_000, 9_999_999] {
            let (found, trials) = search(&BOUNDS, capacity(limit));
            let rate = found.rate.unwrap();
            assert!(rate <= limit && rate as f64 * 1.03 + 1.0 >= limit as f64, "{rate} instead of {limit}");
            assert_eq!(found.ceiling, Ceiling::Server);
            assert!(trials.len() < 40, "{} trials", trials.len());
            let confirmed = trials.iter().filter(|trial| **trial == (rate, Verdict::Kept)).count();
            assert!(confirmed >= 2, "{rate} was kept {confirmed} times");
        }
    }

    #[test]
    fn one_hiccup_changes_nothing() {
        for hiccup in 0..20 {
            let server = |trial, rate| {
                if trial == hiccup { Verdict::Broken } else { capacity(54_321)(trial, rate) }
            };
            let (found, _) = search(&BOUNDS, server);
            let rate = found.rate.unwrap();
            assert!((52_000..=54_321).contains(&rate), "{rate} after a hiccup in trial {hiccup}");
        }
    }

    #[test]
    fn one_trial_that_keeps_the_limit_is_enough_where_the_machine_stands_still() {
        let bounds = Bounds { proof: Proof::Any(5), ..BOUNDS };
        // Four of five trials are disturbed; a rate that is too high fails in all.
        let server = |trial: usize, rate| match trial % 5 {
            4 => capacity(54_321)(trial, rate),
            _ => Verdict::Broken,
        };
        let (found, trials) = search(&bounds, server);
        let rate = found.rate.unwrap();
        assert!((52_000..=54_321).contains(&rate), "{rate}");
        assert_eq!(found.ceiling, Ceiling::Server);
        let tried = |rate| trials.iter().filter(|trial| trial.0 == rate).count();
        let lowest_failing = trials.iter().map(|trial| trial.0).filter(|&rate| rate > 54_321).min().unwrap();
        assert_eq!(tried(lowest_failing), 5, "it has had all its tries");
        let (found, trials) = search(&bounds, capacity(54_321));
        assert!((52_000..=54_321).contains(&found.rate.unwrap()));
        let kept = trials.iter().filter(|trial| trial.1 == Verdict::Kept).count();
        let rates: std::collections::BTreeSet<u64> =
            trials.iter().filter(|trial| trial.1 == Verdict::Kept).map(|trial| trial.0).collect();
        assert_eq!(kept, rates.len(), "what keeps the limit is not tried again");
        let (found, _) = search(&bounds, capacity(0));
        assert_eq!(found, Found { rate: None, ceiling: Ceiling::Server });
    }

    #[test]
    fn what_ends_the_ramp_is_told() {
        let weak = |_, rate| if rate <= 20_000 { Verdict::Kept } else { Verdict::Generator };
        assert_eq!(search(&BOUNDS, weak).0.ceiling, Ceiling::Generator);
        let bounds = Bounds { to: 30_000, ..BOUNDS };
        let (found, _) = search(&bounds, capacity(1_000_000));
        assert_eq!(found, Found { rate: Some(30_000), ceiling: Ceiling::Bound });
        let (found, _) = search(&BOUNDS, capacity(0));
        assert_eq!(found, Found { rate: None, ceiling: Ceiling::Server });
    }

    #[test]
    fn trials_of_another_limit_are_used_again() {
        let (_, trials) = search(&BOUNDS, capacity(54_321));
        assert!(matches!(next(&BOUNDS, &trials), Step::End(_)));
        let looser: Vec<_> = trials.iter().map(|&(rate, _)| (rate, capacity(60_000)(0, rate))).collect();
        assert!(matches!(next(&BOUNDS, &looser), Step::Try(rate) if rate > 54_321));
    }
}

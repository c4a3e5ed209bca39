//! The scenarios that chrony, ntpd and ntpd-rs were measured in. The seeds are fixed: what passes here passes
//! everywhere. `./ci.sh sim` runs others.

use std::sync::OnceLock;

use simulation::scenario::{Peers, Scenario, published};
use simulation::statistics::Survey;

/// Runs that must not diverge, and those of them that medians are taken of.
const SEEDS: u64 = 100;
const MEDIAN_OF: usize = 25;

/// Every scenario with every seed, once: the tests look at the same runs.
fn surveys() -> &'static [(Scenario, Peers, Survey)] {
    static SURVEYS: OnceLock<Vec<(Scenario, Peers, Survey)>> = OnceLock::new();
    SURVEYS.get_or_init(|| {
        let seeds: Vec<u64> = (1..=SEEDS).collect();
        let survey = |(scenario, peers)| {
            let survey = Survey::new(&scenario, &seeds);
            (scenario, peers, survey)
        };
        published().into_iter().map(survey).collect()
    })
}

#[test]
fn no_seed_diverges() {
    for (scenario, _, survey) in surveys() {
        assert_eq!(survey.diverged, [] as [u64; 0], "{}: these seeds went astray", scenario.name);
    }
}

#[test]
fn no_scenario_is_worse_than_chrony() {
    for (scenario, peers, survey) in surveys() {
        let rms = survey.median(MEDIAN_OF, |run| run.rms);
        assert!(rms <= peers.chrony * 1.1, "{}: {:.1} µs", scenario.name, rms * 1e6);
        if let Some(theirs) = peers.chrony_interval {
            let ours = survey.median(MEDIAN_OF, |run| run.interval);
            assert!(
                ours >= theirs * 0.9,
                "{}: a packet each {ours:.0} s, chrony {theirs:.0} s",
                scenario.name
            );
        }
    }
}

#[test]
fn the_goals_are_met() {
    for (scenario, peers, survey) in surveys() {
        let (rms, interval) =
            (survey.median(MEDIAN_OF, |run| run.rms), survey.median(MEDIAN_OF, |run| run.interval));
        let Some(goal) = peers.goal else { continue };
        assert!(rms <= goal, "{}: {:.1} µs, the goal is {:.1}", scenario.name, rms * 1e6, goal * 1e6);
        // "At the same or a longer packet interval"; a burst at the start makes fixed intervals a little
        // shorter in the mean.
        let theirs = peers.chrony_interval.unwrap_or_default();
        assert!(interval >= theirs * 0.99, "{}: a packet each {interval:.0} s", scenario.name);
    }
    let (scenario, _, lan) = &surveys()[0];
    assert_eq!(scenario.name, "lan");
    let frequency = lan.median(MEDIAN_OF, |run| run.frequency);
    assert!(frequency <= 0.3e-6, "the clock's rate is off by {:.3} ppm", frequency * 1e6);
    let settled = lan.median(MEDIAN_OF, |run| run.below_millisecond);
    assert!(settled <= 8.0, "below a millisecond after {settled} s");
}

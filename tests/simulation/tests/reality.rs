//! What reality adds: liars, losses, suspended machines, clocks that others set, leap seconds. Each with a
//! handful of seeds, and bounds that hold for every one of them.

use ntpring::client::{ClockControl, Notice};
use ntpring::wire::LeapIndicator;
use simulation::path::{Path, Weather};
use simulation::run::{Record, Run};
use simulation::scenario::{Happening, LAN, Scenario, WAN};
use simulation::server::{Behaviour, Server};
use simulation::statistics::rms;

const HOUR: f64 = 3600.0;

/// Runs the scenario with several seeds, in parallel.
fn runs(scenario: &Scenario) -> Vec<Record> {
    let seeds: Vec<u64> = (1..=8).collect();
    simulation::parallel(&seeds, |seed| Run::new(scenario, *seed).finish())
}

/// The largest error between two instants, in seconds.
fn worst(record: &Record, from: usize, to: usize) -> f64 {
    record.errors[from..to.min(record.errors.len())]
        .iter()
        .fold(0.0, |worst, error| f64::max(worst, error.abs()))
}

fn three(behaviour: &[(f64, Behaviour)]) -> Scenario {
    let mut scenario = Scenario::new("three servers", LAN);
    let honest = Server::new(LAN);
    scenario.servers = vec![honest.clone(), Server::behaving(LAN, behaviour), honest];
    scenario.seconds = 4.0 * HOUR;
    scenario
}

#[test]
fn c18_a_liar_among_three_never_moves_the_clock() {
    // By 5 s, a day, and what an era looks like to stamps of 64 bits: half an era is the most there is.
    for lie in [0.2, 5.0, -5.0, 86_400.0, -86_400.0, 2_147_483_000.0] {
        for from in [0.0, HOUR] {
            for record in runs(&three(&[(0.0, Behaviour::Honest), (from, Behaviour::Off(lie))])) {
                assert_eq!(record.steps, [], "off by {lie} s from {from} s on");
                assert!(worst(&record, 60, usize::MAX) < 2e-3, "{}", worst(&record, 60, usize::MAX));
                assert!(record.served[60..].iter().all(|served| *served == (LeapIndicator::None, 2)));
            }
        }
    }
}

#[test]
fn c18_a_liar_that_answers_first_does_not_set_the_clock() {
    let mut scenario = three(&[]);
    scenario.servers = vec![
        Server::behaving(Path::new(1e-5, 1e-6), &[(0.0, Behaviour::Off(3.0))]),
        Server::new(WAN),
        Server::new(WAN),
    ];
    for record in runs(&scenario) {
        assert_eq!(record.steps, []);
        // Six samples a millisecond apart say little about the frequency, and the next come a minute later.
        assert!(worst(&record, 20, 300) < 50e-3);
        assert!(worst(&record, 300, usize::MAX) < 5e-3);
    }
}

#[test]
fn c18_without_a_majority_nothing_is_served_and_nothing_moves() {
    let mut scenario = three(&[]);
    let liar = |lie| Server::behaving(LAN, &[(0.0, Behaviour::Off(lie))]);
    scenario.servers = vec![liar(5.0), Server::new(LAN), liar(-5.0)];
    scenario.initial_error = 0.0;
    scenario.oscillator.frequency = 0.0;
    for record in runs(&scenario) {
        assert_eq!(record.steps, []);
        assert!(record.served.iter().all(|(leap, _)| *leap == LeapIndicator::Unsynchronised));
        assert!(worst(&record, 0, usize::MAX) < 10e-3, "the clock runs as it was");
    }
}

/// A day in which every hour one of three servers dies, lies or returns.
#[test]
fn a_day_of_dying_lying_and_returning_sources() {
    let mut scenario = Scenario::new("a day", LAN);
    let phases = [
        Behaviour::Honest,
        Behaviour::Silent,
        Behaviour::Honest,
        Behaviour::Off(0.3),
        Behaviour::Honest,
        Behaviour::Unsynchronised,
        Behaviour::Honest,
        Behaviour::Drifts(50e-6),
    ];
    scenario.servers = (0..4)
        .map(|server| {
            let hours = (0..24).map(|hour| {
                // One at a time: while it is this server's turn, the others are honest.
                let phase = if hour % 4 == server {
                    phases[(hour / 2 + server) % phases.len()]
                } else {
                    Behaviour::Honest
                };
                (hour as f64 * HOUR, phase)
            });
            Server::behaving(Path { loss: 0.05, ..LAN }, &hours.collect::<Vec<_>>())
        })
        .collect();
    scenario.seconds = 24.0 * HOUR;
    for record in runs(&scenario) {
        assert!(worst(&record, 60, usize::MAX) < 2e-3, "{}", worst(&record, 60, usize::MAX));
        assert!(record.served[60..].iter().all(|served| *served == (LeapIndicator::None, 2)));
        assert_eq!((record.steps.len(), record.associations), (0, 4));
        assert!(record.sent.len() < 4 * 24 * 60, "{} packets", record.sent.len());
        assert!(record.notices.len() < 200, "{} log lines", record.notices.len());
    }
}

#[test]
fn c24_without_sources_the_clock_holds_over_and_says_how_little_it_knows() {
    let mut scenario = Scenario::new("holdover", LAN);
    scenario.servers[0].behaviour.push((6.0 * HOUR, Behaviour::Silent));
    scenario.seconds = 48.0 * HOUR;
    for record in runs(&scenario) {
        // A random walk of 1e-9 per √s makes about 25 ms in 42 hours.
        assert!(worst(&record, 60, usize::MAX) < 0.3, "{}", worst(&record, 60, usize::MAX));
        assert!(record.served[60..].iter().all(|served| *served == (LeapIndicator::None, 2)));
        assert!(record.notices.iter().any(|(_, notice)| *notice == Notice::NoSource));
        assert!(record.sent.len() < 600, "{} packets", record.sent.len());
    }
}

#[test]
fn loss_of_most_packets_delays_but_does_not_mislead() {
    for loss in [0.15, 0.3, 0.6] {
        let mut scenario = Scenario::new("loss", Path { loss, ..LAN }).poll(4, 6);
        scenario.seconds = 6.0 * HOUR;
        for record in runs(&scenario) {
            let error = worst(&record, 7200, usize::MAX);
            assert!(error < 1e-3, "{loss}: {error}");
            assert_eq!(record.steps, []);
        }
    }
}

#[test]
fn leap_second_announced_by_the_majority_is_the_kernel_s_and_no_step_follows() {
    let mut scenario = three(&[]);
    // 2026-12-31T22:00:00Z
    scenario.epoch = 1_798_754_400;
    scenario.leap = Some(2.0 * HOUR);
    let announcing = [(0.0, Behaviour::Leap(LeapIndicator::Insert)), (2.0 * HOUR + 1.0, Behaviour::Honest)];
    scenario.servers =
        vec![Server::behaving(LAN, &announcing), Server::behaving(LAN, &announcing), Server::new(LAN)];
    for record in runs(&scenario) {
        assert_eq!(record.steps, [], "the kernel inserts the second, not we");
        assert!(record.kernel.iter().any(|(_, status)| status.leap == LeapIndicator::Insert));
        let after = record.kernel.iter().filter(|(time, _)| *time > 2.0 * HOUR + 2.0);
        assert!(
            after.clone().count() > 0 && after.clone().all(|(_, status)| status.leap == LeapIndicator::None)
        );
        assert!(worst(&record, 60, 7199) < 1e-3 && worst(&record, 7203, usize::MAX) < 1e-3);
        assert_eq!(record.served[7190].0, LeapIndicator::Insert);
        assert!(record.served[7203..].iter().all(|(leap, _)| *leap == LeapIndicator::None));
        let jumps = record.notices.iter().filter(|(_, notice)| matches!(notice, Notice::SteppedByOthers(_)));
        assert_eq!(jumps.count(), 0);
    }
}

#[test]
fn leap_second_with_a_virtual_clock_is_taken_by_ourselves() {
    let mut scenario = three(&[]);
    scenario.epoch = 1_798_754_400;
    scenario.leap = Some(2.0 * HOUR);
    scenario.control = ClockControl::Virtual;
    let announcing = [(0.0, Behaviour::Leap(LeapIndicator::Insert)), (2.0 * HOUR + 1.0, Behaviour::Honest)];
    scenario.servers = vec![Server::behaving(LAN, &announcing); 3];
    for record in runs(&scenario) {
        assert!(worst(&record, 60, 7199) < 1e-3, "{}", worst(&record, 60, 7199));
        assert!(worst(&record, 7203, usize::MAX) < 1e-3, "{}", worst(&record, 7203, usize::MAX));
    }
}

#[test]
fn l3_a_leap_flag_of_one_of_three_is_ignored() {
    let mut scenario = three(&[(0.0, Behaviour::Leap(LeapIndicator::Insert))]);
    scenario.epoch = 1_798_754_400;
    for record in runs(&scenario) {
        assert!(record.kernel.iter().all(|(_, status)| status.leap == LeapIndicator::None));
        assert!(record.served[60..].iter().all(|(leap, _)| *leap == LeapIndicator::None));
        assert!(worst(&record, 60, usize::MAX) < 1e-3);
    }
}

#[test]
fn t3_the_end_of_the_era_is_a_second_like_any_other() {
    let mut scenario = Scenario::new("era", LAN).poll(4, 6);
    // 2036-02-07T06:28:16Z is the first second of era 1.
    scenario.epoch = 2_085_978_496 - 7200;
    scenario.seconds = 4.0 * HOUR;
    for control in [ClockControl::Kernel, ClockControl::Virtual] {
        scenario.control = control;
        for record in runs(&scenario) {
            assert_eq!(record.steps, []);
            assert!(worst(&record, 60, usize::MAX) < 1e-3, "{}", worst(&record, 60, usize::MAX));
            assert!(record.served[60..].iter().all(|served| *served == (LeapIndicator::None, 2)));
        }
    }
}

#[test]
fn a_process_that_was_suspended_knows_what_its_slew_did_meanwhile() {
    for at in [0.5, 3.0, 700.0, 8000.0] {
        let mut scenario = Scenario::new("suspended", LAN);
        scenario.happenings = vec![(at, Happening::Suspend(HOUR))];
        scenario.seconds = 6.0 * HOUR;
        for record in runs(&scenario) {
            let awake = (at + HOUR) as usize;
            assert!(
                worst(&record, awake + 60, usize::MAX) < 2e-3,
                "{at}: {}",
                worst(&record, awake + 60, usize::MAX)
            );
        }
    }
}

#[test]
fn o4_a_clock_that_was_set_by_others_is_distrusted_until_it_is_measured() {
    for by in [-3600.0, -5.0, -0.1, 0.1, 5.0, 3600.0, 86_400.0] {
        let mut scenario = Scenario::new("set by others", LAN);
        scenario.happenings = vec![(8000.3, Happening::Step(by))];
        scenario.seconds = 4.0 * HOUR;
        for control in [ClockControl::Kernel, ClockControl::Virtual] {
            scenario.control = control;
            for record in runs(&scenario) {
                assert_eq!(record.panic, None, "{by}");
                let is_it = |jump: f64| (jump - by).abs() < 1e-3;
                let told = |notice: &Notice| matches!(notice, Notice::SteppedByOthers(jump) if is_it(*jump));
                let when =
                    record.notices.iter().find(|(_, notice)| told(notice)).expect("it is told").0 as usize;
                assert!(
                    worst(&record, when + 30, usize::MAX) < 1e-3,
                    "{by}: {}",
                    worst(&record, when + 30, usize::MAX)
                );
                assert_eq!(record.served[when + 30], (LeapIndicator::None, 2));
            }
        }
    }
}

#[test]
fn a_machine_that_slept_measures_anew() {
    for error in [-0.45, 0.002, 0.45] {
        let mut scenario = Scenario::new("sleep", LAN);
        scenario.happenings = vec![(8000.0, Happening::Sleep(2.0 * HOUR, error))];
        scenario.seconds = 6.0 * HOUR;
        for record in runs(&scenario) {
            assert_eq!(record.panic, None);
            // Seconds of sleep are not recorded.
            assert!(
                worst(&record, 8000 + 90, usize::MAX) < 1e-3,
                "{error}: {}",
                worst(&record, 8090, usize::MAX)
            );
        }
    }
}

#[test]
fn a_server_that_restarts_is_followed_again() {
    let mut scenario = Scenario::new("restart", LAN);
    let outage = [
        (0.0, Behaviour::Honest),
        (9000.0, Behaviour::Silent),
        (9300.0, Behaviour::Unsynchronised),
        (9900.0, Behaviour::Honest),
    ];
    scenario.servers = vec![Server::behaving(LAN, &outage)];
    scenario.seconds = 6.0 * HOUR;
    for record in runs(&scenario) {
        assert!(worst(&record, 60, usize::MAX) < 3e-3, "{}", worst(&record, 60, usize::MAX));
        assert!(record.served[60..].iter().all(|served| *served == (LeapIndicator::None, 2)));
    }
}

#[test]
fn without_permission_to_touch_the_clock_what_is_served_is_right() {
    for error in [5.0, -5.0, 700.0, 0.05] {
        let mut scenario = Scenario::new("virtual", LAN);
        scenario.initial_error = error;
        scenario.control = ClockControl::Virtual;
        scenario.seconds = 6.0 * HOUR;
        for record in runs(&scenario) {
            assert!(worst(&record, 10, usize::MAX) < 3e-3, "{error}: {}", worst(&record, 10, usize::MAX));
            assert_eq!(record.served[10], (LeapIndicator::None, 2));
            assert_eq!(record.kernel, [], "the kernel's clock is somebody else's");
        }
    }
}

#[test]
fn disable_ntp_corrects_nothing_and_admits_it() {
    let mut scenario = Scenario::new("free", LAN);
    scenario.control = ClockControl::None;
    scenario.seconds = 2.0 * HOUR;
    for (error, leap) in [(5.0, LeapIndicator::Unsynchronised), (0.0, LeapIndicator::None)] {
        scenario.initial_error = error;
        scenario.oscillator.frequency = 0.0;
        for record in runs(&scenario) {
            assert!((record.errors.last().unwrap() - error).abs() < 1e-3);
            assert_eq!(record.served[100].0, leap, "off by {error} s");
        }
    }
}

#[test]
fn c19_the_first_offset_is_stepped_once_or_slewed() {
    for (error, steps) in [(4.0, 1), (-4.0, 1), (0.12, 0), (-0.05, 0)] {
        let mut scenario = Scenario::new("first", LAN);
        scenario.initial_error = error;
        scenario.seconds = HOUR;
        for record in runs(&scenario) {
            assert_eq!(record.steps.len(), steps, "{error}");
            assert!(worst(&record, 10, usize::MAX) < 3e-3, "{error}: {}", worst(&record, 10, usize::MAX));
        }
    }
}

#[test]
fn c19_beyond_the_panic_threshold_only_g_steps() {
    let mut scenario = Scenario::new("panic", LAN);
    scenario.initial_error = 5000.0;
    scenario.seconds = HOUR;
    for record in runs(&scenario) {
        assert!(record.panic.is_some_and(|offset| (offset + 5000.0).abs() < 1.0));
        assert_eq!(record.steps, []);
    }
    scenario.settings.discipline.allow_first_panic = true;
    for record in runs(&scenario) {
        assert_eq!((record.panic, record.steps.len()), (None, 1));
        assert!(worst(&record, 10, usize::MAX) < 3e-3);
    }
}

#[test]
fn c19_later_a_large_offset_must_last_before_it_is_stepped() {
    let mut scenario = Scenario::new("stepout", LAN).poll(4, 6);
    // For five minutes the only server lies by 2 s, then it tells the truth; later it means it.
    scenario.servers = vec![Server::behaving(
        LAN,
        &[
            (0.0, Behaviour::Honest),
            (4000.0, Behaviour::Off(2.0)),
            (4250.0, Behaviour::Honest),
            (9000.0, Behaviour::Off(2.0)),
        ],
    )];
    scenario.seconds = 4.0 * HOUR;
    for record in runs(&scenario) {
        assert_eq!(record.steps.len(), 1, "{:?}", record.steps);
        let (when, by) = record.steps[0];
        assert!((9300.0..9900.0).contains(&when) && (by - 2.0).abs() < 0.01, "{when} {by}");
        assert!(worst(&record, 60, 9000) < 1e-3, "{}", worst(&record, 60, 9000));
    }
}

#[test]
fn c19_a_lone_server_that_lies_by_a_day_or_half_an_era_ends_the_process_and_moves_nothing() {
    for lie in [86_400.0, -86_400.0, 2_147_483_000.0] {
        for allow_first_panic in [false, true] {
            let mut scenario = Scenario::new("lone liar", LAN).poll(4, 6);
            scenario.servers =
                vec![Server::behaving(LAN, &[(0.0, Behaviour::Honest), (HOUR, Behaviour::Off(lie))])];
            scenario.settings.discipline.allow_first_panic = allow_first_panic;
            scenario.seconds = 2.0 * HOUR;
            for record in runs(&scenario) {
                let refused = record.panic.expect("it ends");
                assert!((refused / lie - 1.0).abs() < 1e-5, "{refused}, not {lie}");
                assert_eq!(record.steps, [], "-g lets the first correction be of any size, and no other");
            }
        }
    }
}

#[test]
fn c19_tinker_panic_0_and_step_0_lift_those_bounds() {
    let mut scenario = Scenario::new("no panic", LAN).poll(4, 6);
    scenario.servers =
        vec![Server::behaving(LAN, &[(0.0, Behaviour::Honest), (HOUR, Behaviour::Off(86_400.0))])];
    scenario.settings.discipline.panic = 0.0;
    scenario.seconds = 2.0 * HOUR;
    for record in runs(&scenario) {
        assert_eq!(record.panic, None);
        let [(when, by)] = record.steps[..] else { panic!("{:?}", record.steps) };
        assert!(when > HOUR + 300.0 && (by - 86_400.0).abs() < 0.01, "{when} {by}");
    }
    let mut scenario = Scenario::new("slew only", LAN);
    scenario.settings.discipline.step = 0.0;
    scenario.initial_error = 2.0;
    scenario.seconds = 2.0 * HOUR;
    for record in runs(&scenario) {
        assert_eq!(record.steps, []);
        // 24 s at the fastest slew.
        assert!(worst(&record, 60, usize::MAX) < 3e-3, "{}", worst(&record, 60, usize::MAX));
    }
}

#[test]
fn c20_large_frequency_errors_are_found_and_kept() {
    for frequency in [-450e-6, -200e-6, 200e-6, 450e-6] {
        let mut scenario = Scenario::new("frequency", LAN).poll(6, 10);
        scenario.oscillator.frequency = frequency;
        scenario.seconds = 6.0 * HOUR;
        for record in runs(&scenario) {
            assert!(
                worst(&record, 3600, usize::MAX) < 1e-3,
                "{frequency}: {}",
                worst(&record, 3600, usize::MAX)
            );
            let (_, ppm) = record.drift.last().expect("a drift file is written");
            assert!((ppm + frequency * 1e6).abs() < 1.0, "{ppm}");
        }
    }
}

#[test]
fn c21_a_drift_file_is_a_head_start_and_a_wrong_one_no_trap() {
    for (drift, limit) in [(-100.0, 0.5e-3), (0.0, 60e-3), (90.0, 60e-3), (1e9, 60e-3)] {
        let mut scenario = Scenario::new("drift", LAN);
        scenario.settings.drift_ppm = Some(drift);
        scenario.seconds = 6.0 * HOUR;
        for record in runs(&scenario) {
            assert!(worst(&record, 30, usize::MAX) < limit, "{drift}: {}", worst(&record, 30, usize::MAX));
            assert!(worst(&record, 7200, usize::MAX) < 1e-3, "{drift}: {}", worst(&record, 7200, usize::MAX));
        }
    }
}

#[test]
fn a_temperature_that_comes_and_goes_is_followed() {
    let mut scenario = Scenario::new("temperature", LAN);
    scenario.oscillator.sine = Some((0.5e-6, HOUR));
    for record in runs(&scenario) {
        let error = rms(&record.errors[10_000..]);
        assert!(error < 100e-6, "{error}");
    }
}

#[test]
fn late_stamps_and_correlated_queues_mislead_only_a_little() {
    let noisy = Path { stamp_noise: 50e-6, ..LAN };
    let queue = Path { weather: Weather::Queue(2e-3), ..LAN };
    for (path, limit) in [(noisy, 100e-6), (queue, 600e-6)] {
        for record in runs(&Scenario::new("noise", path).poll(4, 8)) {
            let error = rms(&record.errors[10_000..]);
            assert!(error < limit, "{path:?}: {error}");
        }
    }
}

#[test]
fn a_route_that_becomes_asymmetric_moves_the_clock_by_half_of_it_and_no_more() {
    let path = Path { weather: Weather::RouteStep(15_000.0, 3e-3), ..LAN };
    for record in runs(&Scenario::new("route", path).poll(4, 6)) {
        assert!(worst(&record, 10_000, usize::MAX) < 2.2e-3, "{}", worst(&record, 10_000, usize::MAX));
        let settled = record.errors.last().unwrap();
        assert!((settled - 1.5e-3).abs() < 0.3e-3, "{settled}: nobody can tell half of an asymmetry");
    }
}

#[test]
fn c9_a_kiss_slows_down_or_ends_and_is_never_answered_by_a_storm() {
    let mut scenario = Scenario::new("kiss", LAN).poll(4, 6);
    scenario.seconds = 2.0 * HOUR;
    scenario.servers = vec![Server::behaving(LAN, &[(0.0, Behaviour::Kiss(*b"RATE", 8))])];
    for record in runs(&scenario) {
        assert!((2..=7200 / 256 + 2).contains(&record.sent.len()), "RATE: {} packets", record.sent.len());
    }
    for code in [*b"DENY", *b"RSTR"] {
        scenario.servers = vec![Server::behaving(LAN, &[(0.0, Behaviour::Kiss(code, 6))])];
        for record in runs(&scenario) {
            assert_eq!(record.sent.len(), 1, "{code:?}");
        }
    }
}

#[test]
fn a_pool_is_expanded_and_its_dead_and_lying_members_do_no_harm() {
    let mut scenario = Scenario::new("pool", LAN);
    scenario.is_pool = true;
    scenario.servers = (0..12)
        .map(|server| match server {
            3 => Server::behaving(LAN, &[(0.0, Behaviour::Off(1.0))]),
            5 => Server::behaving(LAN, &[(0.0, Behaviour::Silent)]),
            7 => Server::behaving(LAN, &[(0.0, Behaviour::Kiss(*b"DENY", 6))]),
            _ => Server::new(LAN),
        })
        .collect();
    scenario.seconds = 4.0 * HOUR;
    for record in runs(&scenario) {
        assert_eq!(record.steps, []);
        assert!(worst(&record, 60, usize::MAX) < 2e-3, "{}", worst(&record, 60, usize::MAX));
        // Nine members, for who lies or is dead does not stay, and the pool's own row.
        assert_eq!(record.associations, 10);
        assert_eq!(
            record.sent.iter().filter(|(_, server)| *server == 7).count(),
            1,
            "denied, never asked again"
        );
        assert!(record.lookups.len() < 20, "{} lookups", record.lookups.len());
    }
}

/// Two of six lie from the start and one dies in the third hour: none of them is asked in the end, though the
/// name stands for all six all the time.
#[test]
fn a_pool_ends_without_the_liars_and_the_dead() {
    let mut scenario = Scenario::new("pool of six", LAN);
    scenario.is_pool = true;
    let behaviour = [
        &[(0.0, Behaviour::Off(0.5))][..],
        &[(0.0, Behaviour::Honest)],
        &[(0.0, Behaviour::Honest), (3.0 * HOUR, Behaviour::Silent)],
        &[(0.0, Behaviour::Off(-3600.0))],
        &[(0.0, Behaviour::Honest)],
        &[(0.0, Behaviour::Honest)],
    ];
    scenario.servers = behaviour.iter().map(|each| Server::behaving(LAN, each)).collect();
    scenario.seconds = 24.0 * HOUR;
    for record in runs(&scenario) {
        assert_eq!(record.steps, []);
        assert!(worst(&record, 60, usize::MAX) < 2e-3, "{}", worst(&record, 60, usize::MAX));
        assert!(record.served[60..].iter().all(|served| *served == (LeapIndicator::None, 2)));
        // Three members and the pool's own row.
        assert_eq!(record.associations, 4);
        let last = |server| record.sent.iter().rev().find(|(_, to)| *to == server).expect("it was asked").0;
        assert!(last(0) < 3.0 * HOUR && last(3) < 3.0 * HOUR, "liars: {} {}", last(0), last(3));
        assert!(last(2) < 6.0 * HOUR, "the dead: {}", last(2));
        let gone = record.notices.iter().filter(|(_, notice)| matches!(notice, Notice::PassedOver(..)));
        assert_eq!(gone.count(), 3);
        assert!(record.lookups.len() < 10, "{} lookups", record.lookups.len());
    }
}

//! Who is followed, and what is served.

use super::*;
use crate::snapshot::{AssociationKind, LocalClock, Selection};

#[test]
fn the_system_peer_is_there_within_seconds_and_its_word_is_passed_on() {
    let mut bench = client_of(1);
    let answer =
        Answer { stratum: 4, root_delay: 0.02, root_dispersion: 0.003, delay: 0.01, ..Answer::default() };
    bench.serve(1.0, |_| Some(answer.clone()));
    let system = bench.client.system();
    assert_eq!((system.leap, system.stratum), (LeapIndicator::None, 5));
    assert_eq!(system.reference_id.octets(), [192, 0, 2, 1]);
    let root_delay = f64::from(system.root_delay.to_bits()) / 65_536.0;
    assert!((root_delay - 0.03).abs() < 1e-4, "{root_delay}");
    let dispersion = f64::from(system.root_dispersion.to_bits()) / 65_536.0;
    assert!((0.003..0.02).contains(&dispersion), "{dispersion}");
    assert_eq!(bench.view(0).selection, Selection::SystemPeer);
    assert!(bench.actions.contains(&Action::PublishSystem));
    assert_eq!(bench.client.discipline().system_peer, bench.view(0).id);
}

#[test]
fn s17_an_ipv6_source_is_served_by_a_hash_of_its_address() {
    let host = Host::Address("2001:db8::1".parse().unwrap(), 0);
    let sources = vec![Source { host, is_pool: false, options: iburst() }];
    let mut bench = Bench::new(Settings { sources, ..Settings::default() });
    let request = bench.next_request();
    bench.answer(&request, &Answer::default());
    assert_eq!(bench.client.system().reference_id.octets(), [0x39, 0xab, 0x9b, 0x37]);
}

#[test]
fn s9_a_source_of_stratum_15_is_too_far_from_a_clock() {
    for (stratum, served) in [(14, Some(15)), (15, None)] {
        let mut bench = client_of(1);
        bench.serve(1.0, |_| Some(Answer { stratum, ..Answer::default() }));
        let system = bench.client.system();
        let is_synchronised = system.leap != LeapIndicator::Unsynchronised;
        assert_eq!(is_synchronised.then_some(system.stratum), served);
    }
}

#[test]
fn c16_whoever_follows_us_or_our_source_is_not_followed() {
    let settings = || Settings {
        sources: vec![source(1, iburst()), source(2, iburst())],
        own_addresses: vec![address(77), "2001:db8::1".parse().unwrap()],
        ..Settings::default()
    };
    let selection = |id: [u8; 4], stratum| {
        let mut bench = Bench::new(settings());
        let second = Answer { stratum, reference_id: ReferenceId::from_octets(id), ..Answer::default() };
        bench.serve(15.0, |host| if host == 1 { good() } else { Some(second.clone()) });
        bench.view(1).selection
    };
    assert_eq!(selection([192, 0, 2, 77], 3), Selection::Rejected, "it follows us");
    assert_eq!(selection([0x39, 0xab, 0x9b, 0x37], 3), Selection::Rejected, "it follows our IPv6 address");
    assert_eq!(
        selection([192, 0, 2, 100], 3),
        Selection::Rejected,
        "it follows the address we asked it from"
    );
    assert_eq!(selection([192, 0, 2, 1], 3), Selection::Rejected, "it follows our system peer");
    assert_eq!(selection([192, 0, 2, 9], 3), Selection::Candidate);
    for everywhere in [[127, 127, 1, 0], [127, 0, 0, 1]] {
        assert_ne!(selection(everywhere, 3), Selection::Rejected, "it means another machine there");
    }
    assert_ne!(selection([192, 0, 2, 77], 1), Selection::Rejected, "stratum 1: four letters, no address");
}

#[test]
fn c17_a_root_distance_beyond_maxdist_is_not_followed() {
    for (root_dispersion, selection) in [(1.4, Selection::SystemPeer), (1.6, Selection::Rejected)] {
        let mut bench = client_of(1);
        bench.serve(5.0, |_| Some(Answer { root_dispersion, ..Answer::default() }));
        assert_eq!(bench.view(0).selection, selection, "{root_dispersion}");
    }
}

#[test]
fn status_words_count_events_of_one_kind_in_a_row() {
    // RFC 9327 §4.1 and §4.3; classic shows c016 and 8011 at first, and 0615 and 961a then.
    const RESTART: u8 = 6;
    const CLOCK_SYNC: u8 = 5;
    const SYSTEM_PEER: u8 = 10;
    let mut bench = client_of(1);
    let system = |bench: &Bench| (bench.client.discipline().event, bench.client.discipline().events);
    assert_eq!(system(&bench), (RESTART, 1));
    bench.serve(15.0, |_| good());
    assert_eq!(system(&bench), (CLOCK_SYNC, 1));
    assert_eq!((bench.view(0).event, bench.view(0).events), (SYSTEM_PEER, 1));

    let local_clock = Some(LocalClock { stratum: 3, ..LocalClock::default() });
    let bench = Bench::new(Settings { local_clock, ..Settings::default() });
    assert_eq!(system(&bench), (CLOCK_SYNC, 1));
    assert_eq!((bench.view(0).event, bench.view(0).events), (SYSTEM_PEER, 1));
}

#[test]
fn the_system_s_jitter_has_its_peer_s_in_it() {
    // RFC 5905 §11.2.3: of one survivor alone, it is all there is.
    let mut bench = client_of(1);
    let offset = std::cell::Cell::new(0.001);
    bench.serve(15.0, |_| {
        offset.set(-offset.get());
        Some(Answer { offset: offset.get(), ..Answer::default() })
    });
    let (system, peer) = (bench.client.discipline().system_jitter, bench.view(0).jitter);
    assert!(peer > 1e-4 && (system - peer).abs() < 1e-9, "{system} {peer}");
}

#[test]
fn c22_a_lone_local_clock_is_served_at_once_and_never_adjusted() {
    let local_clock = Some(LocalClock { stratum: 3, ..LocalClock::default() });
    let mut bench = Bench::new(Settings { local_clock, ..Settings::default() });
    let system = bench.client.system();
    assert_eq!((system.leap, system.stratum), (LeapIndicator::None, 4));
    assert_eq!(system.reference_id.octets(), [127, 127, 1, 0]);
    bench.wait(100_000.0);
    let age = bench.now.realtime.signed_since(bench.client.system().reference_time) >> 32;
    assert!((0..65).contains(&age), "found right {age} s ago");
    // C23
    let is_harmless = |action: &Action| {
        matches!(action, Action::PublishSystem | Action::PublishAssociations | Action::Log(_))
    };
    assert!(bench.actions.iter().all(is_harmless), "no clock is touched, no drift file written");
    let view = bench.view(0);
    assert_eq!(
        (view.kind, view.reach, view.selection),
        (AssociationKind::LocalClock, 0xFF, Selection::SystemPeer)
    );
    assert_eq!(view.source, "127.127.1.0:123".parse().unwrap());
}

#[test]
fn c22_beside_a_source_the_local_clock_waits_and_never_wins() {
    let settings = Settings {
        sources: vec![source(1, iburst())],
        local_clock: Some(LocalClock { stratum: 3, ..LocalClock::default() }),
        ..Settings::default()
    };
    let mut bench = Bench::new(settings);
    bench.wait(299.0);
    assert_eq!(bench.client.system().leap, LeapIndicator::Unsynchronised);
    bench.wait(2.0);
    assert_eq!((bench.client.system().leap, bench.client.system().stratum), (LeapIndicator::None, 4));
    // The source comes, of a higher stratum; then it goes.
    bench.serve(1000.0, |_| Some(Answer { stratum: 9, ..Answer::default() }));
    assert_eq!(bench.client.system().stratum, 10);
    while bench.view(1).reach != 0 {
        bench.wait(1.0);
        assert_eq!(bench.client.system().stratum, 10);
    }
    bench.wait(290.0);
    assert_eq!(bench.client.system().stratum, 10, "what the source said last still holds");
    bench.wait(20.0);
    assert_eq!((bench.client.system().leap, bench.client.system().stratum), (LeapIndicator::None, 4));
}

#[test]
fn an_orphan_serves_its_stratum_after_orphanwait() {
    let mut settings = Settings { sources: vec![source(1, iburst())], ..Settings::default() };
    settings.selection.orphan_stratum = 7;
    settings.selection.orphanwait = 60;
    let mut bench = Bench::new(settings);
    bench.wait(59.0);
    assert_eq!(bench.client.system().leap, LeapIndicator::Unsynchronised);
    bench.wait(2.0);
    let system = bench.client.system();
    assert_eq!((system.leap, system.stratum), (LeapIndicator::None, 7));
    assert_eq!(system.reference_id.octets(), [127, 0, 0, 1]);
}

#[test]
fn c24_without_sources_the_dispersion_grows_until_it_says_nothing() {
    let mut bench = client_of(1);
    bench.serve(700.0, |_| good());
    let before = bench.client.system();
    bench.wait(100_000.0);
    let system = bench.client.system();
    assert_eq!((system.stratum, system.leap), (before.stratum, LeapIndicator::None));
    let grown = |bench: &Bench| {
        f64::from(bench.client.system().root_dispersion_at(bench.now.realtime).to_bits()) / 65_536.0
    };
    assert!((1.4..2.0).contains(&grown(&bench)), "{}", grown(&bench));
    bench.wait(1_000_000.0);
    let dispersion = system.root_dispersion_at(bench.now.realtime);
    assert!(!bench.client.system().is_synchronised(dispersion), "served as unsynchronised");
}

#[test]
fn c25_the_kernel_says_unsynchronised_until_we_are_and_is_told_time_and_again() {
    let mut bench = client_of(1);
    let statuses = |bench: &Bench| -> Vec<KernelStatus> {
        let status = |action: &Action| match action {
            Action::KernelStatus(status) => Some(*status),
            _ => None,
        };
        bench.actions.iter().filter_map(status).collect()
    };
    assert!(statuses(&bench).iter().all(|status| !status.synchronised));
    assert_eq!(statuses(&bench).len(), 1);
    bench.serve(5.0, |_| good());
    let last = *statuses(&bench).last().unwrap();
    assert!(last.synchronised && last.maximum_error < 0.1 && last.estimated_error < last.maximum_error);
    let before = statuses(&bench).len();
    bench.wait(3000.0);
    assert!(statuses(&bench).len() >= before + 10, "its own error bound grows by 500 ppm");
}

#[test]
fn first_thing_at_the_start_the_clock_is_let_run_as_the_drift_file_says() {
    for (drift, expected) in [(Some(-37.5), -37.5), (None, 0.0), (Some(1e9), 0.0), (Some(f64::NAN), 0.0)] {
        let sources = vec![source(1, iburst())];
        let bench = Bench::new(Settings { sources, drift_ppm: drift, ..Settings::default() });
        let Action::Rate(rate) = bench.actions[0] else { panic!("{:?}", bench.actions) };
        assert_eq!((rate.tick, rate.frequency_ppm, rate.base_ppm), (10_000, expected, expected));
    }
}

#[test]
fn c20_fast_slews_are_bounded_short_and_only_while_acquiring() {
    let mut bench = client_of(1);
    bench.serve(1.0, |_| Some(Answer { offset: 0.1, ..Answer::default() }));
    let rate = bench.actions.iter().rev().find_map(|action| match action {
        Action::Rate(rate) => Some(*rate),
        _ => None,
    });
    let rate = rate.unwrap();
    assert!(rate.tick > 10_000 && rate.gain() <= 83_333.5e-6, "{rate:?}");
    assert_eq!(rate.at_rest(), ClockRate::steady(rate.base_ppm));
    assert!(bench.client.wake_at() <= bench.now.monotonic + Duration::from_secs(2));
}

#[test]
fn a_step_that_the_kernel_refuses_is_nobody_else_s() {
    let mut bench = client_of(3);
    bench.refuses_steps = true;
    bench.serve(10.0, |_| Some(Answer { offset: 50.0, ..Answer::default() }));
    assert_eq!((bench.steps() > 0, bench.stepped), (true, 0.0));
    assert!(!bench.client.is_surprised(bench.now));
    bench.wait(300.0);
    let jumps = |notice: &&Notice| matches!(notice, Notice::SteppedByOthers(_));
    assert_eq!(bench.notices().into_iter().find(jumps), None);
}

#[test]
fn o4_after_a_jump_of_the_clock_nothing_is_served_until_it_was_measured() {
    let mut bench = client_of(3);
    bench.serve(300.0, |_| good());
    assert_eq!(bench.client.system().leap, LeapIndicator::None);
    assert!(!bench.client.is_surprised(bench.now));
    bench.now.realtime = bench.now.realtime.offset_by(units(-50.0));
    assert!(bench.client.is_surprised(bench.now), "the timer is due at once");
    bench.handle(Event::Timer);
    assert!(!bench.client.is_surprised(bench.now));
    assert_eq!(bench.client.system().leap, LeapIndicator::Unsynchronised);
    assert!(
        bench
            .notices()
            .iter()
            .any(|notice| matches!(notice, Notice::SteppedByOthers(jump) if (jump + 50.0).abs() < 1e-3))
    );
    // Replies that were under way when it happened have stamps of two times: none counts.
    let under_way = bench.requests.last().unwrap().1;
    bench.answer(&under_way, &Answer { offset: 25.0, ..Answer::default() });
    assert_eq!(bench.steps(), 0);
    bench.serve(10.0, |_| Some(Answer { offset: 50.0, ..Answer::default() }));
    assert_eq!((bench.steps(), bench.client.system().leap), (1, LeapIndicator::None));
}

#[test]
fn a_source_marked_noselect_is_measured_and_never_followed() {
    let sources = vec![source(1, SourceOptions { noselect: true, ..iburst() })];
    let mut bench = Bench::new(Settings { sources, ..Settings::default() });
    bench.serve(30.0, |_| good());
    assert_eq!((bench.view(0).reach, bench.view(0).selection), (1, Selection::Rejected));
    assert_eq!(bench.client.system().leap, LeapIndicator::Unsynchronised);
}

#[test]
fn a_preferred_source_is_followed_alone_if_it_is_no_falseticker() {
    let sources = |prefer| {
        vec![source(1, iburst()), source(2, iburst()), source(3, SourceOptions { prefer, ..iburst() })]
    };
    let peer = |prefer, offset: f64| {
        let mut bench = Bench::new(Settings { sources: sources(prefer), ..Settings::default() });
        bench.serve(15.0, |host| match host {
            3 => Some(Answer { offset, stratum: 5, ..Answer::default() }),
            _ => good(),
        });
        (bench.view(2).selection, bench.client.system().stratum)
    };
    assert_eq!(peer(true, 0.0), (Selection::SystemPeer, 6));
    assert_eq!(peer(false, 0.0), (Selection::Candidate, 3));
    assert_eq!(peer(true, 5.0), (Selection::Falseticker, 3));
}

#[test]
fn maxclock_is_how_many_survivors_count() {
    let mut settings =
        Settings { sources: (1..=5).map(|host| source(host, iburst())).collect(), ..Settings::default() };
    settings.selection.maxclock = 2;
    let mut bench = Bench::new(settings);
    bench.serve(30.0, |_| good());
    let mut selections: Vec<_> = (0..5).map(|at| bench.view(at).selection).collect();
    selections.sort_unstable();
    let excess = Selection::Excess;
    assert_eq!(selections, [excess, excess, excess, Selection::Candidate, Selection::SystemPeer]);
}

#[test]
fn a_source_that_never_answers_is_told_of_once() {
    let mut bench = client_of(2);
    bench.serve(20_000.0, |host| if host == 1 { good() } else { None });
    let silent = Notice::Unreachable(SocketAddr::new(address(2), 123));
    assert_eq!(bench.notices().iter().filter(|notice| ***notice == silent).count(), 1);
}

#[test]
fn minsane_is_how_many_must_agree() {
    let mut settings =
        Settings { sources: vec![source(1, iburst()), source(2, iburst())], ..Settings::default() };
    settings.selection.minsane = 2;
    let mut bench = Bench::new(settings);
    bench.serve(30.0, |host| if host == 1 { good() } else { None });
    assert_eq!(bench.client.system().leap, LeapIndicator::Unsynchronised);
    bench.serve(100.0, |_| good());
    assert_eq!(bench.client.system().leap, LeapIndicator::None);
}

#[test]
fn c26_a_server_s_name_is_looked_up_again_when_it_does_not_answer_and_may_have_moved() {
    let mut bench = Bench::new(named(false));
    bench.handle(Event::Resolved { query: query(&bench), addresses: &[address(1)] });
    bench.serve(200.0, |_| good());
    let first = query(&bench);
    bench.serve(20_000.0, |host| if host == 2 { good() } else { None });
    let second = query(&bench);
    assert_ne!(first, second);
    bench.handle(Event::Resolved { query: second, addresses: &[address(2)] });
    bench.serve(30.0, |host| if host == 2 { good() } else { None });
    let view = bench.view(0);
    assert_eq!((view.source.ip(), view.reach), (address(2), 1));
    assert_eq!(view.host.as_deref(), Some("time.example"));
    bench.handle(Event::Resolved { query: second, addresses: &[address(3)] });
    assert_eq!(bench.view(0).source.ip(), address(2), "an answer to no question is ignored");
}

#[test]
fn a_resolver_that_never_answers_delays_nobody() {
    let mut settings = named(false);
    settings.sources.push(source(1, iburst()));
    let mut bench = Bench::new(settings);
    bench.serve(100.0, |_| good());
    assert_eq!((bench.view(1).reach, bench.view(1).selection), (3, Selection::SystemPeer));
    let lookups = bench.actions.iter().filter(|action| matches!(action, Action::Resolve { .. }));
    assert_eq!(lookups.count(), 1, "one question at a time");
}

#[test]
fn a_reload_keeps_what_did_not_change_and_ends_what_is_gone() {
    let mut bench = client_of(2);
    bench.serve(200.0, |_| good());
    let kept = bench.view(1);
    let sources = vec![source(2, iburst()), source(3, iburst())];
    bench.handle(Event::Reload(Box::new(Settings { sources, ..Settings::default() })));
    let views = bench.client.associations();
    assert_eq!(views.len(), 2);
    assert_eq!((views[0].id, views[0].reach, views[0].filter[0]), (kept.id, kept.reach, kept.filter[0]));
    assert_eq!((views[1].source.ip(), views[1].reach), (address(3), 0));
    assert!(bench.actions.iter().any(|action| matches!(action, Action::Close(_))));
    bench.serve(30.0, |_| good());
    assert_eq!(bench.view(1).reach, 1);
    assert_eq!(bench.client.system().leap, LeapIndicator::None);
}

#[test]
fn a_refused_adjustment_makes_the_clock_virtual() {
    let mut bench = client_of(1);
    bench.handle(Event::ClockRefused);
    bench.serve(10.0, |_| Some(Answer { offset: 5.0, ..Answer::default() }));
    let system = bench.client.system();
    let served =
        system.clock.apply(bench.now.realtime).signed_since(bench.now.realtime) as f64 / 4_294_967_296.0;
    assert!((served - 5.0).abs() < 1e-3, "{served}");
    assert_eq!((bench.steps(), system.leap), (0, LeapIndicator::None));
}

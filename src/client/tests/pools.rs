//! Servers of pools: which go, and who takes their place.

use super::*;
use crate::snapshot::{AssociationKind, Selection};

#[test]
fn a_pool_of_a_hundred_addresses_makes_as_many_associations_as_maxclock() {
    let mut bench = Bench::new(named(true));
    let addresses: Vec<IpAddr> = (1..=100).map(address).collect();
    bench.handle(Event::Resolved { query: query(&bench), addresses: &addresses });
    let views = bench.client.associations();
    assert_eq!(views.len(), 1 + 10);
    assert_eq!((views[0].kind, views[0].reference_id.octets()), (AssociationKind::Pool, *b"POOL"));
    assert!(views[1..].iter().all(|view| view.kind == AssociationKind::PoolMember));
    let mut ids: Vec<u16> = views.iter().map(|view| view.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 11, "each has an id of its own");
}

/// A client of a pool that was told these addresses.
fn pool_of(hosts: &[u8], change: impl FnOnce(&mut Settings)) -> Bench {
    let mut settings = named(true);
    change(&mut settings);
    let mut bench = Bench::new(settings);
    resolve(&mut bench, hosts);
    bench
}

/// Answers the last question.
fn resolve(bench: &mut Bench, hosts: &[u8]) {
    let addresses: Vec<IpAddr> = hosts.iter().copied().map(address).collect();
    bench.handle(Event::Resolved { query: query(bench), addresses: &addresses });
}

/// Last octets of the servers that are asked, in their order.
fn members(bench: &Bench) -> Vec<u8> {
    let views = bench.client.associations();
    let members = views.iter().filter(|view| view.kind == AssociationKind::PoolMember);
    let last = |address: IpAddr| if let IpAddr::V4(v4) = address { v4.octets()[3] } else { 0 };
    let mut hosts: Vec<u8> = members.map(|view| last(view.source.ip())).collect();
    hosts.sort_unstable();
    hosts
}

fn lookups(bench: &Bench) -> usize {
    bench.actions.iter().filter(|action| matches!(action, Action::Resolve { .. })).count()
}

fn lies(by: f64) -> Option<Answer> {
    Some(Answer { offset: by, ..Answer::default() })
}

#[test]
fn a_member_that_does_not_answer_goes_and_another_takes_its_place() {
    let mut bench = pool_of(&[1, 2, 3, 4], |_| {});
    let but_four = |host| if host == 4 { None } else { good() };
    bench.serve(180.0, but_four);
    assert_eq!((members(&bench), lookups(&bench)), (vec![1, 2, 3, 4], 1), "a few packets may be lost");
    bench.serve(150.0, but_four);
    assert_eq!((members(&bench), lookups(&bench)), (vec![1, 2, 3], 2));
    let gone = Notice::PassedOver(SocketAddr::new(address(4), 123), false);
    assert_eq!(bench.notices().iter().filter(|notice| ***notice == gone).count(), 1);
    // The name still stands for the dead one: it is not taken again, the new one is.
    resolve(&mut bench, &[4, 1, 2, 3, 5]);
    bench.serve(30.0, but_four);
    assert_eq!(members(&bench), [1, 2, 3, 5]);
    let asked = |host| bench.requests.iter().filter(|(_, request)| request.to.ip() == address(host)).count();
    assert_eq!(asked(5), 6, "a burst");
    assert!(asked(4) < 12, "{}", asked(4));
}

#[test]
fn a_member_that_answered_once_and_dies_goes_too() {
    let mut bench = pool_of(&[1, 2, 3, 4], |_| {});
    bench.serve(1000.0, |_| good());
    bench.serve(16.0 * 1024.0, |host| if host == 4 { None } else { good() });
    assert_eq!(members(&bench), [1, 2, 3]);
}

#[test]
fn a_member_that_lies_for_long_goes_and_another_takes_its_place() {
    for lie in [0.3, -5.0, 86_400.0] {
        let mut bench = pool_of(&[1, 2, 3, 4], |_| {});
        let but_four = |host| if host == 4 { lies(lie) } else { good() };
        bench.serve(450.0, but_four);
        assert_eq!(members(&bench), [1, 2, 3, 4], "it may mend its ways");
        // Eight polls of at most 1024 s.
        bench.serve(8.0 * 1024.0, but_four);
        assert_eq!((members(&bench), lookups(&bench)), (vec![1, 2, 3], 2), "{lie}");
        assert!(bench.notices().contains(&&Notice::PassedOver(SocketAddr::new(address(4), 123), true)));
        resolve(&mut bench, &[1, 2, 3, 4, 5]);
        bench.serve(3000.0, but_four);
        assert_eq!((members(&bench), lookups(&bench)), (vec![1, 2, 3, 5], 2));
        assert_eq!(bench.steps(), 0);
    }
}

#[test]
fn a_member_that_lies_now_and_then_stays() {
    let mut bench = pool_of(&[1, 2, 3, 4], |_| {});
    for _ in 0..5 {
        bench.serve(1000.0, |_| good());
        bench.serve(150.0, |host| if host == 4 { lies(1.0) } else { good() });
    }
    assert_eq!((members(&bench), lookups(&bench)), (vec![1, 2, 3, 4], 1));
}

#[test]
fn a_member_that_is_too_far_from_a_clock_goes() {
    for answer in [
        Answer { root_dispersion: 2.0, ..Answer::default() },
        Answer { stratum: 15, ..Answer::default() },
        Answer { leap: LeapIndicator::Unsynchronised, ..Answer::default() },
    ] {
        let mut bench = pool_of(&[1, 2, 3, 4], |_| {});
        bench.serve(800.0, |host| if host == 4 { Some(answer.clone()) } else { good() });
        assert_eq!(members(&bench), [1, 2, 3], "{answer:?}");
    }
}

#[test]
fn a_member_that_follows_our_system_peer_is_as_good_as_that_one() {
    let mut bench = pool_of(&[1, 2, 3, 4], |_| {});
    let follower = Answer {
        stratum: 3,
        reference_id: ReferenceId::from_octets([192, 0, 2, 1]),
        root_dispersion: 0.01,
        ..Answer::default()
    };
    bench.serve(3000.0, |host| if host == 4 { Some(follower.clone()) } else { good() });
    assert_eq!(bench.client.system().reference_id.octets(), [192, 0, 2, 1]);
    assert_eq!(members(&bench), [1, 2, 3, 4]);
}

#[test]
fn c9_a_member_that_refuses_us_goes_at_once_and_is_never_asked_again() {
    for kiss in [b"DENY", b"RSTR"] {
        let denies =
            Answer { stratum: 0, reference_id: ReferenceId::from_octets(*kiss), ..Answer::default() };
        let but_four = |host| if host == 4 { Some(denies.clone()) } else { good() };
        let mut bench = pool_of(&[1, 2, 3, 4], |_| {});
        bench.serve(60.0, but_four);
        assert_eq!((members(&bench), lookups(&bench)), (vec![1, 2, 3], 1));
        bench.serve(5.0, but_four);
        assert_eq!(lookups(&bench), 2, "64 s after the first");
        resolve(&mut bench, &[1, 2, 3, 4, 5]);
        bench.serve(100_000.0, but_four);
        assert_eq!(members(&bench), [1, 2, 3, 5]);
        let asked = bench.requests.iter().filter(|(_, request)| request.to.ip() == address(4)).count();
        assert_eq!(asked, 1);
    }
}

#[test]
fn servers_that_are_named_one_by_one_stay_whatever_they_do() {
    let mut settings = named(false);
    settings.sources.extend((1..=3).map(|host| source(host, iburst())));
    settings.sources.push(Source { is_pool: true, ..source(5, iburst()) });
    let mut bench = Bench::new(settings);
    resolve(&mut bench, &[4]);
    // The fifth is a pool of one address: there is no name to look others up by.
    bench.serve(20_000.0, |host| match host {
        3 | 5 => None,
        4 => lies(5.0),
        _ => good(),
    });
    assert_eq!(bench.client.associations().len(), 1 + 5);
    assert!(!bench.notices().iter().any(|notice| matches!(notice, Notice::PassedOver(..))));
}

#[test]
fn while_nobody_is_followed_all_stay_until_there_are_others() {
    let mut bench = pool_of(&[1, 2, 3, 4], |settings| settings.selection.maxclock = 4);
    bench.serve(1000.0, |_| good());
    // The line is cut for a day; names are not found either.
    for _ in 0..24 * 6 {
        bench.wait(600.0);
        resolve(&mut bench, &[]);
    }
    assert_eq!(members(&bench).len(), 4);
    // It is mended: who is still there is found without a resolver.
    bench.serve(1100.0, |_| good());
    assert_eq!(bench.view(1).reach & 1, 1);

    let mut bench = pool_of(&[1, 2, 3, 4], |settings| settings.selection.maxclock = 4);
    bench.wait(700.0);
    resolve(&mut bench, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(members(&bench), [3, 4, 5, 6], "none answers, and others make up for two of them");
}

#[test]
fn without_a_majority_nobody_knows_who_lies() {
    let mut bench = pool_of(&[1, 2, 3, 4], |_| {});
    for _ in 0..100 {
        bench.serve(100.0, |host| if host > 2 { lies(5.0) } else { good() });
        resolve(&mut bench, &[1, 2, 3, 4]);
    }
    assert_eq!(members(&bench), [1, 2, 3, 4]);
    assert!(bench.view(1).selection == Selection::Falseticker);
    assert!((10..20).contains(&lookups(&bench)), "a fifth would help: {}", lookups(&bench));
}

#[test]
fn a_pool_that_is_too_small_is_looked_up_ever_less_often_and_the_dead_get_another_chance() {
    let mut bench = pool_of(&[1, 2, 3], |_| {});
    let hours = 24;
    for _ in 0..hours * 60 {
        bench.serve(60.0, |host| if host == 3 { None } else { good() });
        resolve(&mut bench, &[1, 2, 3]);
    }
    let looked = lookups(&bench);
    assert!((20..hours * 3600 / 1024 + 10).contains(&looked), "{looked} lookups in a day");
    let asked = bench.requests.iter().filter(|(_, request)| request.to.ip() == address(3)).count();
    assert!((20..100).contains(&asked), "{asked} packets to a dead server in a day");
    // It comes back.
    for _ in 0..24 * 60 {
        bench.serve(60.0, |_| good());
        resolve(&mut bench, &[1, 2, 3]);
    }
    assert_eq!(members(&bench), [1, 2, 3]);
    let before = lookups(&bench);
    bench.serve(86_400.0, |_| good());
    assert_eq!(lookups(&bench), before, "three are enough");
}

#[test]
fn a_pool_of_nothing_but_dead_servers_makes_no_storm() {
    // Ever new addresses, of which none answers: 123 is closed somewhere.
    let mut bench = Bench::new(named(true));
    for round in 0..24 * 60_usize {
        let hosts: Vec<u8> = (0..4).map(|host| ((round * 4 + host) % 250) as u8).collect();
        if lookups(&bench) > 0 {
            resolve(&mut bench, &hosts);
        }
        assert!(members(&bench).len() <= 10);
        bench.wait(60.0);
    }
    assert!(lookups(&bench) < 24 * 4 + 10, "{} lookups in a day", lookups(&bench));
    // A burst's first request is tried ever less often; one in 15 s, to all of them together.
    assert!(bench.requests.len() < 86_400 / 15, "{} packets in a day", bench.requests.len());
}

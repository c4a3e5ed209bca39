//! Rules of the program that frames alone do not show: links and VLANs, what is served, reloads.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ntpring::server::{AccessEntry, AccessFlags, IpPrefix};
use ntpring::xdp::{Link, Timescale};

use crate::frames::Frame;
use crate::program::{SERVER, Tested, Verdict, link, serving};

/// A plain request from `client` to the server's address of the same family.
pub(crate) fn request_from(client: &str) -> Frame {
    let client: SocketAddr = client.parse().unwrap();
    let server = SERVER[usize::from(client.is_ipv6())].parse().unwrap();
    let mut payload = [0; 48];
    payload[0] = 0x23;
    payload[40..].copy_from_slice(b"a cookie");
    Frame::new(client, server, &payload)
}

/// A client of each family, whom nothing is wrong with.
pub(crate) const CLIENTS: [&str; 2] = ["198.51.100.7:40000", "[2001:db8:9::7]:40000"];

fn entry(address: &str, flags: AccessFlags) -> AccessEntry {
    AccessEntry { prefix: IpPrefix::host(address.parse().unwrap()), flags, ntpport: false }
}

#[test]
fn nothing_is_answered_before_the_first_state_or_without_an_address() {
    let Some(mut tested) = Tested::new() else { return };
    for client in CLIENTS {
        assert_eq!(tested.reply(&request_from(client)), None);
    }
    assert_eq!(tested.passed_for("state"), 2);
    tested.publish(&serving(&[]));
    for client in CLIENTS {
        assert!(tested.reply(&request_from(client)).is_some());
    }
    assert!(tested.feed.serve(&[], &tested.own.clone(), &[link()]).unwrap());
    for client in CLIENTS {
        assert_eq!(tested.reply(&request_from(client)), None);
    }
}

#[test]
fn only_served_ports_and_addresses_are_answered() {
    let Some(mut tested) = Tested::new() else { return };
    tested.publish(&serving(&[]));
    let listening = ["0.0.0.0:11123".parse().unwrap()];
    assert!(tested.feed.serve(&listening, &tested.own.clone(), &[link()]).unwrap());
    let to = |destination: &str| {
        let destination = destination.parse().unwrap();
        tested.reply(&Frame { destination, ..request_from(CLIENTS[0]) }).is_some()
    };
    assert!(to("192.0.2.1:11123"));
    assert!(!to("192.0.2.1:123"));
    assert!(!to("192.0.2.3:11123"));
    assert_eq!(tested.reply(&request_from(CLIENTS[1])), None, "no IPv6 address is listened at");
}

#[test]
fn frames_of_a_vlan_are_answered_into_it_where_it_is_served() {
    let Some(mut tested) = Tested::new() else { return };
    tested.publish(&serving(&[]));
    // Priority 5, VLAN 7.
    let tagged = |tag| Frame { vlan: Some(tag), ..request_from(CLIENTS[0]) };
    assert_eq!(tested.reply(&tagged(0xA007)), None);
    tested.serve(&Link { vlan: 7, ..link() });
    assert!(tested.reply(&tagged(0xA007)).is_some());
    assert_eq!(tested.reply(&tagged(0xA008)), None, "another VLAN");
    assert_eq!(tested.reply(&tagged(0xA000)), None, "a priority only");
    assert_eq!(tested.reply(&request_from(CLIENTS[0])), None, "without a tag");

    let mut stacked = tagged(7).bytes();
    stacked.splice(12..12, [0x81, 0, 0, 7]);
    assert_eq!(tested.run(&stacked), Verdict::Passed(stacked.clone()), "two tags");
    stacked[12] = 0x88;
    stacked[13] = 0xA8;
    assert_eq!(tested.run(&stacked), Verdict::Passed(stacked.clone()), "a provider's tag");
}

#[test]
fn own_addresses_may_ask_over_the_loopback_interface_alone() {
    let Some(mut tested) = Tested::new() else { return };
    tested.publish(&serving(&[]));
    let own = ["192.0.2.1:40000", "127.0.0.1:40000", "[2001:db8::1]:40000", "[::1]:40000"];
    for client in own {
        assert_eq!(tested.reply(&request_from(client)), None, "{client}");
    }
    assert_eq!(tested.passed_for("martian_source"), 4);
    tested.serve(&Link { loopback: true, ..link() });
    for client in own {
        assert!(tested.reply(&request_from(client)).is_some(), "{client}");
    }
    for client in ["192.0.2.1:123", "[2001:db8::1]:123", "0.0.0.0:40000", "[ff02::1]:40000"] {
        assert_eq!(tested.reply(&request_from(client)), None, "{client}");
    }
}

#[test]
fn a_thousand_reloads_under_load_never_mix_old_and_new() {
    const RELOADS: usize = 1000;
    const PATIENCE: Duration = Duration::from_secs(30);
    let Some(mut tested) = Tested::new() else { return };
    // In even generations the stratum is 4, and the first client may ask; in odd ones it is 9, and the
    // second may.
    let generation = |number: usize| {
        let denied = if number.is_multiple_of(2) { "198.51.100.8" } else { "198.51.100.7" };
        let mut state = serving(&[entry(denied, AccessFlags::IGNORE)]);
        state.system.stratum = if number.is_multiple_of(2) { 4 } else { 9 };
        state
    };
    tested.publish(&generation(0));
    let clients = [("198.51.100.7:40000", 4), ("198.51.100.8:40000", 9)].map(|(client, stratum)| {
        let request = request_from(client);
        (request.bytes(), stratum)
    });
    let Tested { program, feed, own } = &mut tested;
    let stop = AtomicBool::new(false);
    let answers: [AtomicU64; 2] = Default::default();
    let few = || answers.iter().any(|count| count.load(Relaxed) < 100);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !stop.load(Relaxed) {
                for (answers, (request, stratum)) in answers.iter().zip(&clients) {
                    let mut out = [0; 256];
                    let (action, length) = program.test(request, &mut out).unwrap();
                    if action == 3 {
                        let reply = Frame::parse(&out[..length]).payload;
                        assert_eq!(reply[1], *stratum, "the clock of one state, the access list of another");
                        answers.fetch_add(1, Relaxed);
                    }
                }
            }
        });
        // More of them where a busy machine lets the two run by turns.
        let start = Instant::now();
        for number in (1..).take_while(|number| {
            *number <= RELOADS || few() && start.elapsed() < PATIENCE && !load.is_finished()
        }) {
            feed.publish(&generation(number), &Timescale::read(), own).unwrap();
        }
        stop.store(true, Relaxed);
        load.join().expect("no reply was mixed");
    });
    assert!(!few(), "{answers:?}");
    assert_eq!(tested.passed_for("state"), 0, "every request found a state in one piece");
}

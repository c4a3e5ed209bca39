//! A reply leaves from the address its request was sent to (conformance rows S25 to S27, X3), whatever the
//! addresses and routes.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::namespace::Namespace;
use crate::support::ntp::{ask, reply, request};
use crate::support::scene::{SEED, Scene};

/// Long enough for a reply that must not come.
const SILENCE: Duration = Duration::from_millis(300);

fn seed_server(namespace: &Namespace) -> Daemon {
    Daemon::start(namespace, &format!("serve -c {SEED}"))
}

/// Packets that a link has received so far.
fn received_packets(namespace: &Namespace, link: &str) -> u64 {
    let table =
        namespace.inside(|| fs::read_to_string("/proc/thread-self/net/dev")).expect("the table of links");
    let row = table.lines().find_map(|row| row.trim_start().strip_prefix(&format!("{link}:")));
    let row = row.unwrap_or_else(|| panic!("no {link} in {table}"));
    row.split_whitespace().nth(1).expect("a packet count").parse().expect("a number")
}

#[test]
fn s25_request_by_one_uplink_reply_by_the_other_keeps_the_address() {
    let (Some(server), Some(client)) = (Namespace::new(), Namespace::new()) else { return };
    for (link, v4, v6) in [("wan0", "10.0.0", "fd00:0:0:a"), ("wan1", "10.0.1", "fd00:0:0:b")] {
        server.connect(link, &client, link);
        for (namespace, host) in [(&server, 1), (&client, 2)] {
            namespace.address(link, &format!("{v4}.{host}/24"));
            namespace.address(link, &format!("{v6}::{host}/64"));
            // Asymmetric routes are the point, so nobody may filter by the reverse path.
            namespace.sysctl(&format!("net/ipv4/conf/{link}/rp_filter"), "0");
            namespace.sysctl("net/ipv4/conf/all/rp_filter", "0");
        }
    }
    for address in ["10.9.9.9/32", "fd09::9/128"] {
        client.address("lo", address);
    }
    server.ip("route add 10.9.9.9 via 10.0.1.2 dev wan1");
    server.ip("route add fd09::9 via fd00:0:0:b::2 dev wan1");
    let _daemon = seed_server(&server);

    for (from, to) in [("10.9.9.9:0", "10.0.0.1:123"), ("[fd09::9]:0", "[fd00:0:0:a::1]:123")] {
        let (socket, to) = (client.socket(from), to.parse::<SocketAddr>().expect("an address"));
        // After this the neighbours know each other, and nothing but requests and replies moves.
        ask(&socket, to).expect("a first reply");
        let before = received_packets(&client, "wan1");
        let reply = ask(&socket, to).expect("a reply");
        assert_eq!(reply.from, to);
        assert!(received_packets(&client, "wan1") > before, "the reply came by wan1, as the route says");
    }
}

#[test]
fn s25_secondary_and_loopback_alias_addresses_answer_as_themselves() {
    let Some(scene) = Scene::new() else { return };
    for address in ["192.168.0.77/24", "fd00::77/64"] {
        scene.server.address("lan", address);
    }
    for (address, gateway) in [("10.53.53.53", "192.168.0.1"), ("fd53::53", "fd00::1")] {
        scene.server.address("lo", address);
        scene.client.ip(&format!("route add {address} via {gateway}"));
    }
    let _daemon = seed_server(&scene.server);
    let targets = ["192.168.0.1", "192.168.0.77", "10.53.53.53", "fd00::1", "fd00::77", "fd53::53"];
    for target in targets {
        let any = if target.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        let reply =
            ask(&scene.client.socket(any), (target, 123)).unwrap_or_else(|| panic!("no reply from {target}"));
        assert_eq!(reply.from, (target, 123).to_socket_addrs().expect("an address").next().expect("one"));
    }
    // The server asks itself, by the address that only its loopback has.
    let reply = ask(&scene.server.socket("0.0.0.0:0"), "10.53.53.53:123").expect("a reply");
    assert_eq!(reply.from, "10.53.53.53:123".parse().expect("an address"));
}

#[test]
fn s25_link_local_requests_are_answered_on_the_link_they_came_by() {
    let (Some(server), Some(client)) = (Namespace::new(), Namespace::new()) else { return };
    for link in ["left", "right"] {
        server.connect(link, &client, link);
    }
    let _daemon = seed_server(&server);
    for link in ["left", "right"] {
        let scoped =
            move || (format!("fe80::1%{link}"), 123).to_socket_addrs().expect("a scope").next().expect("one");
        let target = client.inside(scoped);
        let reply = ask(&client.socket("[::]:0"), target).unwrap_or_else(|| panic!("no reply by {link}"));
        assert_eq!(reply.from, target, "address and scope");
    }
}

#[test]
fn s26_a_client_that_asks_from_port_123_is_answered_there() {
    let Some(scene) = Scene::new() else { return };
    let _daemon = seed_server(&scene.server);
    for (from, to) in [("192.168.0.2:123", "192.168.0.1:123"), ("[fd00::2]:123", "[fd00::1]:123")] {
        assert!(ask(&scene.client.socket(from), to).is_some(), "{from}");
    }
}

#[test]
fn s27_broadcast_and_multicast_requests_get_no_answer() {
    let Some(scene) = Scene::new() else { return };
    scene.server.ip("addr change 192.168.0.1/24 broadcast 192.168.0.255 dev lan");
    scene.client.ip("addr change 192.168.0.2/24 broadcast 192.168.0.255 dev lan");
    scene.client.ip("route add default dev lan");
    // The kernel hands such a datagram to every socket on the port, so one worker counts it once.
    let daemon = Daemon::start(&scene.server, &format!("serve -c {SEED} --workers 1"));
    let v4 = scene.client.socket("0.0.0.0:0");
    v4.set_broadcast(true).expect("SO_BROADCAST");
    let v6 = scene.client.socket("[::]:0");
    let all_nodes = || ("ff02::1%lan", 123).to_socket_addrs().expect("a scope").next().expect("one");
    let all_nodes = scene.client.inside(all_nodes);

    let shared: [(&UdpSocket, SocketAddr); 4] = [
        (&v4, "192.168.0.255:123".parse().expect("an address")),
        (&v4, "255.255.255.255:123".parse().expect("an address")),
        (&v4, "224.0.0.1:123".parse().expect("an address")),
        (&v6, all_nodes),
    ];
    for (socket, destination) in shared {
        socket.set_read_timeout(Some(SILENCE)).expect("a timeout");
        socket.send_to(&request(4, 1), destination).unwrap_or_else(|error| panic!("{destination}: {error}"));
        assert!(reply(socket).is_none(), "an answer to a request to {destination}");
    }
    // They did arrive: each was dropped for this reason and no other.
    let counters = daemon.counters_when(|counters| counters.get("received") == 4);
    assert_eq!(counters.dropped_for("shared_destination"), 4, "{counters:?}");
}

#[test]
fn x3_a_reply_sent_back_from_port_123_starts_no_loop() {
    let Some(scene) = Scene::new() else { return };
    let daemon = seed_server(&scene.server);
    let socket = scene.client.socket("192.168.0.2:123");
    socket.send_to(&request(4, 1), "192.168.0.1:123").expect("a request leaves");
    let mut first = [0; 48];
    socket.recv(&mut first).expect("a reply");
    socket.set_read_timeout(Some(SILENCE)).expect("a timeout");
    socket.send_to(&first, "192.168.0.1:123").expect("the reply goes back");
    assert!(reply(&socket).is_none(), "an answer to a server's answer");
    let counters = daemon.counters_when(|counters| counters.get("received") == 2);
    assert_eq!(counters.dropped_for("mode"), 1, "{counters:?}");
}

#[test]
fn s25_any_address_of_a_prefix_that_is_routed_to_the_server_answers_as_itself() {
    let Some(scene) = Scene::new() else { return };
    for (prefix, server) in [("10.1.0.0/16", "192.168.0.1"), ("2001:db8:a::/48", "fd00::1")] {
        scene.server.ip(&format!("route add local {prefix} dev lo"));
        scene.client.ip(&format!("route add {prefix} via {server}"));
    }
    for datapath in ["io_uring", "mmsg"] {
        let _daemon = Daemon::start(&scene.server, &format!("serve -c {SEED} --datapath {datapath}"));
        for (any, to) in [("0.0.0.0:0", "10.1.2.3:123"), ("[::]:0", "[2001:db8:a::77]:123")] {
            let to: SocketAddr = to.parse().expect("an address");
            let reply = ask(&scene.client.socket(any), to).expect("a reply");
            assert_eq!(reply.from, to, "{datapath}");
        }
    }
}

#[test]
fn a_link_local_address_is_listened_on_by_the_name_of_its_link() {
    let Some(scene) = Scene::new() else { return };
    let listen = "serve -l [fe80::1%lan]:123";
    let _daemon = Daemon::start(&scene.server, &format!("{listen} -c {SEED}"));
    let reply = scene.client.inside(|| {
        let socket = UdpSocket::bind("[::]:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        ask(&socket, ("fe80::1%lan", 123))
    });
    assert!(reply.is_some());
}

//! What the process may do after its start, and what it does where the kernel forbids it something.

use crate::support::daemon::{Daemon, status_field};
use crate::support::namespace::{Namespace, has_other_users};
use crate::support::ntp::{ask, reply, request};
use crate::support::scene::{SEED, Scene};
use crate::support::seccomp::{IO_URING, IPV6_SOCKETS, forbid};

/// The user that the daemon becomes; its number is the same on every Linux.
const NOBODY: &str = "65534";

/// Every thread: no capability, no way to gain one.
fn has_no_privilege(daemon: &Daemon) {
    for (thread, status) in daemon.threads() {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            // A clock that is never set and ports that are bound already need no capability.
            assert_eq!(status_field(&status, set), "0000000000000000", "{set} of {thread}");
        }
        assert_eq!(status_field(&status, "NoNewPrivs"), "1", "{thread}");
    }
}

#[test]
fn o1_a_daemon_that_became_nobody_keeps_no_group_and_no_capability() {
    let Some(namespace) = Namespace::new().filter(|_| has_other_users()) else { return };
    let daemon = Daemon::start(&namespace, &format!("serve -c {SEED} -u nobody"));
    for (thread, status) in daemon.threads() {
        assert_eq!(status_field(&status, "Uid"), [NOBODY; 4].join("\t"), "{thread}");
        assert_eq!(status_field(&status, "Gid"), [NOBODY; 4].join("\t"), "{thread}");
        assert_eq!(status_field(&status, "Groups"), "", "{thread}");
    }
    has_no_privilege(&daemon);
    assert!(ask(&namespace.socket("127.0.0.1:0"), "127.0.0.1:123").is_some());
}

#[test]
fn o1_a_daemon_that_stays_root_keeps_no_capability_either() {
    let Some(namespace) = Namespace::new() else { return };
    let daemon = Daemon::start(&namespace, &format!("serve -c {SEED}"));
    has_no_privilege(&daemon);
    assert!(ask(&namespace.socket("127.0.0.1:0"), "127.0.0.1:123").is_some());
}

/// What every datapath must do, seen from outside: the right reply, or silence.
fn serves_as_always(scene: &Scene) {
    for (any, server) in [("0.0.0.0:0", "192.168.0.1:123"), ("[::]:0", "[fd00::1]:123")] {
        let socket = scene.client.socket(any);
        for version in 1..=4 {
            socket.send_to(&request(version, 7), server).expect("a request leaves");
            let reply = reply(&socket).unwrap_or_else(|| panic!("no reply to version {version}"));
            assert_eq!(
                (reply.leap, reply.version, reply.mode, reply.stratum),
                (0, version, 4, 4),
                "{reply:?}"
            );
            assert_eq!((reply.refid, reply.origin), ([127, 127, 1, 0], 7));
            assert!(reply.transmit > reply.receive, "{reply:?}");
        }
        // Modes other than client, versions that do not exist, a short and a misaligned packet: all before
        // one good request, whose reply must be the first and only thing that comes back.
        for first in [0x20, 0x21, 0x22, 0x24, 0x25, 0x27, 0x03, 0x2b, 0x3b] {
            let mut packet = request(4, 8);
            packet[0] = first;
            socket.send_to(&packet, server).expect("a datagram leaves");
        }
        socket.send_to(&request(4, 8)[..47], server).expect("a datagram leaves");
        socket.send_to(&[&request(4, 8)[..], &[0]].concat(), server).expect("a datagram leaves");
        socket.send_to(&request(4, 9), server).expect("a request leaves");
        assert_eq!(reply(&socket).expect("a reply").origin, 9);
    }
}

#[test]
fn o9_with_io_uring_forbidden_it_serves_by_mmsg_and_says_so_in_one_line() {
    let Some(scene) = Scene::new() else { return };
    if !forbid(&scene.server, IO_URING) {
        return;
    }
    let daemon = Daemon::start(&scene.server, &format!("serve -c {SEED}"));
    let text = daemon.text();
    let explanations = text.lines().filter(|line| line.contains("io_uring") && !line.contains("ready: "));
    assert_eq!(explanations.count(), 1, "one line says why:\n{text}");
    assert!(daemon.ready_line().contains("mmsg"), "{text}");
    serves_as_always(&scene);
}

#[test]
fn o9_both_datapaths_can_be_chosen_and_serve_alike() {
    for datapath in ["io_uring", "mmsg"] {
        let Some(scene) = Scene::new() else { return };
        let daemon = Daemon::start(&scene.server, &format!("serve -c {SEED} --datapath {datapath}"));
        assert!(daemon.ready_line().contains(datapath), "{}", daemon.text());
        serves_as_always(&scene);
    }
}

#[test]
fn o6_a_kernel_without_ipv6_serves_ipv4_and_says_so() {
    let Some(scene) = Scene::new() else { return };
    if !forbid(&scene.server, IPV6_SOCKETS) {
        return;
    }
    let daemon = Daemon::start(&scene.server, &format!("serve -c {SEED}"));
    assert!(daemon.text().lines().any(|line| line.contains("no IPv6")), "{}", daemon.text());
    assert!(ask(&scene.client.socket("0.0.0.0:0"), "192.168.0.1:123").is_some());
}

//! Links as other people set them up, met by answers in the network driver: with a program of theirs, and
//! with long frames.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, ntpring};
use crate::support::namespace::{Namespace, command};
use crate::support::ntp::ask;
use crate::support::scene::{SEED, Scene};
use crate::support::skip::skip;
use crate::xdp::{in_driver, pass_everything};

const SECOND: Duration = Duration::from_secs(1);
/// An object whose first program passes everything.
const OBJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/src/xdp/programs.bpf.o");

/// The number of the program on an interface, if one is there.
fn program(namespace: &Namespace) -> Option<String> {
    let shown = namespace.ip("-details link show dev lan");
    let number = shown.split("prog/xdp id ").nth(1)?.split(' ').next()?;
    Some(number.to_owned())
}

#[test]
fn a_program_that_somebody_else_put_there_stays() {
    let Some(Scene { server, client }) = Scene::new() else { return };
    let Some(_peer) = pass_everything(&client, "lan") else { return };
    // By netlink, as ip and most other programs do it; ours come by links.
    let mut attach = command("ip");
    attach.args(["link", "set", "dev", "lan", "xdp", "obj", OBJECT, "sec", "xdp.frags"]);
    let attached = server.run(attach);
    if attached.code != Some(0) || program(&server).is_none() {
        return skip("iproute2", &format!("this ip attaches no programs: {}", attached.text));
    }
    let theirs = program(&server);
    let words = "lan has another XDP program, which stays";
    for mode in ["native", "generic"] {
        let command = ntpring(format!("serve -c {SEED} --xdp {mode} -i lan").split(' '));
        let mut daemon = Daemon::spawn(&server, command);
        let end = daemon.end(5 * SECOND).unwrap_or_else(|| panic!("{mode}: {}", daemon.text()));
        assert_eq!(end.code(), Some(1), "{mode}: {}", daemon.text());
        assert!(daemon.text().contains(words), "{mode}: {}", daemon.text());
        assert_eq!(program(&server), theirs, "{mode}");
    }
    let daemon = Daemon::start(&server, &format!("serve -c {SEED} --xdp auto -i lan"));
    assert!(daemon.text().contains(words), "{}", daemon.text());
    let socket = client.socket("0.0.0.0:0");
    assert!(ask(&socket, "192.168.0.1:123").is_some(), "the sockets serve");
    assert_eq!((in_driver(&daemon.counters()), program(&server)), (0, theirs.clone()));

    server.ip("link set dev lan xdp off");
    let deadline = Instant::now() + 10 * SECOND;
    while program(&server).is_none() {
        assert!(Instant::now() < deadline, "{}", daemon.text());
        thread::sleep(SECOND / 20);
    }
    assert_ne!(program(&server), theirs);
    assert!(ask(&socket, "192.168.0.1:123").is_some());
    daemon.counters_when(|counters| in_driver(counters) == 1);
}

#[test]
fn links_of_long_frames_are_answered_too() {
    let Some(Scene { server, client }) = Scene::new() else { return };
    let set = |mtu| [&server, &client].map(|end| end.ip(&format!("link set lan mtu {mtu}")));
    set(9000);
    let Some(_peer) = pass_everything(&client, "lan") else { return };
    let daemon = Daemon::start(&server, &format!("serve -c {SEED} --xdp native -i lan"));
    let socket = client.socket("0.0.0.0:0");
    for (answered, mtu) in [(1, 9000), (2, 1500), (3, 576), (4, 9000)] {
        set(mtu);
        // The requests too that another length of frames makes the kernel lose.
        let replies = (0..5).find(|_| ask(&socket, "192.168.0.1:123").is_some());
        assert!(replies.is_some(), "MTU {mtu}: {}", daemon.text());
        assert!(in_driver(&daemon.counters()) >= answered, "MTU {mtu}: {}", daemon.text());
    }
}
